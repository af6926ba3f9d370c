"""What users give becomes a tensor that kernels can read, or an error says why not."""

from __future__ import annotations

from typing import Any

from keras_tally import _backends


def describe(x: Any) -> str:
    """Return what an error says of an argument: its type, and any shape."""
    shape = getattr(x, "shape", None)
    kind = type(x).__name__
    return kind if shape is None else f"{kind} of shape {tuple(shape)}"


def _require(x: Any, argument: str) -> None:
    if x is None:
        raise TypeError(
            f"`{argument}` must be a tensor, an array, a list or a number. "
            "Received: None"
        )


def _no_tensor(x: Any, argument: str, error: Exception) -> TypeError:
    return TypeError(
        f"`{argument}` must be a tensor, an array, a list or a number of a bool, "
        "integer, float16, bfloat16, float32 or float64 dtype. "
        f"Received: {describe(x)} ({error})"
    )


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as a tensor that native code can borrow, where `like` is.

    Raises:
        TypeError: there is no such tensor.
        WrongDeviceError: it is on another GPU.
    """
    _require(x, argument)
    try:
        return _backends.active().prepare(x, argument, like)
    except _backends.WrongDeviceError:
        raise
    except Exception as error:
        raise _no_tensor(x, argument, error) from error


def shape_of(x: Any, argument: str) -> tuple[int, ...]:
    """Return the shape of a tensor, a list or a number.

    Raises:
        TypeError: it has none.
    """
    _require(x, argument)
    try:
        return tuple(_backends.with_shape(x).shape)
    except Exception as error:
        raise _no_tensor(x, argument, error) from error
