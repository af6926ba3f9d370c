"""JAX and TensorFlow: Keras's own operations do everything there."""

from __future__ import annotations

import importlib
from typing import Any

import keras
import numpy as np

# What native kernels would ask.
K_WITHIN_CLASSES = False
THRESHOLD_IN_SCORES_DTYPE = True
NORM_HAS_FLOOR = True


def state_dtype(dtype: str) -> str:
    """Return the dtype of a variable to which Keras gives `dtype`.

    Two 16-bit floats would hold no more than one of 32 bits, and less far.
    """
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def whole_dtype(dtype: str) -> str:
    """Return the dtype of a variable of integers to which Keras gives `dtype`."""
    return dtype


def register(metric: Any) -> None:
    """Do what a new plan needs: here nothing."""
    del metric


def settle(variable: Any) -> None:
    """Keep a variable in its own dtype inside a layer of mixed precision."""
    variable._autocast = False


def read_variable(variable: Any) -> Any:
    """Return a variable's value as a NumPy array, also while a graph is traced."""
    if variable._value is None:  # made in a stateless scope that has not ended
        return np.zeros(variable.shape)
    if keras.config.backend() != "tensorflow":
        return np.asarray(variable._value)
    tf: Any = importlib.import_module("tensorflow")

    with tf.init_scope():
        if not variable._value.is_initialized():  # made in a graph being traced
            return np.zeros(variable.shape)
        value: np.ndarray[Any, Any] = variable._value.numpy()
        return value


def plan_options(dtype: str) -> dict[str, Any]:
    """Return what a plan must know about results: nothing, Keras makes them."""
    del dtype
    return {}
