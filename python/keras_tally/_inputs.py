"""What users give becomes a tensor that kernels can read, or an error says why not."""

from __future__ import annotations

from typing import Any

from keras_tally import _backends


def describe(x: Any) -> str:
    """Return what an error says of an argument: its type, and any shape."""
    shape = getattr(x, "shape", None)
    kind = type(x).__name__
    return kind if shape is None else f"{kind} of shape {tuple(shape)}"


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as a tensor that native code can borrow, where `like` is.

    Raises:
        TypeError: there is no such tensor.
        WrongDeviceError: it is on another GPU.
    """
    if x is None:
        raise TypeError(
            f"`{argument}` must be a tensor, an array, a list or a number. "
            "Received: None"
        )
    try:
        return _backends.active().prepare(x, argument, like)
    except _backends.WrongDeviceError:
        raise
    except Exception as error:
        raise TypeError(
            f"`{argument}` must be a tensor, an array, a list or a number of a bool, "
            "integer, float16, bfloat16, float32 or float64 dtype. "
            f"Received: {describe(x)} ({error})"
        ) from error
