"""What users give becomes a tensor that kernels can read, or an error says why not."""

from __future__ import annotations

from typing import Any

import keras

from keras_tally import _backends
from keras_tally._tensors import describe as describe
from keras_tally._tensors import no_tensor, prepare_with, require


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as a tensor of the active backend, where `like` is.

    Raises:
        TypeError: there is no such tensor.
        WrongDeviceError: it is on another GPU.
    """
    if isinstance(x, keras.KerasTensor):
        raise TypeError(
            f"`{argument}` must hold data, not only a shape. Received: {describe(x)}"
        )
    return prepare_with(_backends.active(), x, argument, like)


def prepare_pair(
    like: Any,
    y_true: Any,
    y_pred: Any,
    sample_weight: Any,
    names: tuple[str, str] = ("y_true", "y_pred"),
) -> tuple[Any, Any, Any]:
    """Return the inputs of an update in the same way, where `like` is."""
    weight = sample_weight
    if weight is not None:
        weight = prepare(weight, "sample_weight", like)
    return prepare(y_true, names[0], like), prepare(y_pred, names[1], like), weight


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
