"""What users give becomes a tensor that kernels can read, or an error says why not."""

from __future__ import annotations

from typing import Any

from keras_tally import _backends
from keras_tally._tensors import describe as describe
from keras_tally._tensors import prepare_with


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as a tensor of the active backend, where `like` is.

    Raises:
        TypeError: there is no such tensor.
        WrongDeviceError: it is on another GPU.
    """
    return prepare_with(_backends.active(), x, argument, like)
