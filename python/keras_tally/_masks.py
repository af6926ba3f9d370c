"""Keras masks become weights."""

from __future__ import annotations

from typing import Any

import keras

from keras_tally import _backends


def combine_mask(mask: Any, sample_weight: Any) -> Any:
    """Return the weights with masked samples at 0.

    Both are aligned at their leading axes: weights of shape (batch,) and a mask
    of shape (batch, steps) give weights of shape (batch, steps).
    """
    if mask is None:
        return sample_weight
    sample_weight = _backends.with_shape(sample_weight)
    dtype = _backends.active().state_dtype(keras.config.floatx())
    mask = keras.ops.cast(mask, dtype)
    if sample_weight is None:
        return mask
    weight = keras.ops.cast(sample_weight, dtype)
    while 0 < len(weight.shape) < len(mask.shape):
        weight = keras.ops.expand_dims(weight, -1)
    while len(mask.shape) < len(weight.shape):
        mask = keras.ops.expand_dims(mask, -1)
    return weight * mask
