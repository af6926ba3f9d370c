"""What users give becomes a tensor that kernels can read, or an error says why not."""

from __future__ import annotations

from typing import Any

from keras_tally import _backends
from keras_tally._tensors import describe as describe
from keras_tally._tensors import no_tensor, prepare_with, require


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as a tensor of the active backend, where `like` is.

    Raises:
        TypeError: there is no such tensor.
        WrongDeviceError: it is on another GPU.
    """
    return prepare_with(_backends.active(), x, argument, like)


def prepare_weight(sample_weight: Any, like: Any = None) -> Any:
    """Return weights in the same way, where there are any."""
    if sample_weight is None:
        return None
    return prepare(sample_weight, "sample_weight", like)


def shape_of(x: Any, argument: str) -> tuple[int, ...]:
    """Return the shape of a tensor, a list or a number.

    Raises:
        TypeError: it has none.
    """
    require(x, argument)
    try:
        return tuple(_backends.with_shape(x).shape)
    except Exception as error:
        raise no_tensor(x, argument, error) from error
