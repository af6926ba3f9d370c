"""NumPy arrays: what the native code cannot borrow is prepared here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_tally._backends import Assignment, Road, as_array
from keras_tally._tensors.numpy import prepare as prepare_array

THRESHOLD_IN_SCORES_DTYPE = False
NORM_HAS_FLOOR = False


def state_dtype(dtype: str) -> str:
    """Return the dtype of a variable to which Keras gives `dtype`."""
    del dtype
    return "float64"


def whole_dtype(dtype: str) -> str:
    """Return the dtype of a variable of integers to which Keras gives `dtype`."""
    del dtype
    return "int64"


def is_symbolic(x: Any) -> bool:
    """Tell whether an array has a shape but no data (none of NumPy's has)."""
    return isinstance(x, keras.KerasTensor)


def symbolic_result(shape: tuple[int, ...], dtype: str) -> Any:
    """Return an array that stands for a result while Keras builds a model."""
    return np.empty(shape, dtype=dtype)


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as an aligned array in native byte order."""
    x = as_array(x)
    if not isinstance(x, np.ndarray):
        # Not of arrays: Keras would cut their integers of 64 bits to 32.
        x = keras.ops.convert_to_tensor(x)
    return prepare_array(x, argument, like)


def register(metric: Any) -> None:
    """Do what a new plan needs: here nothing."""
    del metric


def settle(variable: Any) -> None:
    """Give a new 64-bit variable a 64-bit value: Keras makes it 32 bits wide."""
    if variable._value is not None:
        variable._value = variable._value.astype(variable.dtype)


def read(variables: Sequence[Any]) -> list[Any]:
    """Return the arrays that are the variables' values."""
    return [variable.value for variable in variables]


def assignments(variables: Sequence[Any], values: Sequence[Any]) -> list[Assignment]:
    """Return the calls that put values into the variables."""
    return [
        (vars(variable).__setitem__, "_value", value)
        for variable, value in zip(variables, values, strict=True)
    ]


def copy_for_update(x: Any) -> Any:
    """Return a copy of a state array that native code can add to."""
    whole = np.issubdtype(x.dtype, np.integer)
    return np.array(x, dtype="int64" if whole else "float64")


def on_device(*tensors: Any) -> None:
    """Return nothing: NumPy knows no devices."""
    del tensors


def place_like(result: Any, state: Any) -> Any:
    """Return the result where the state is: there is one place only."""
    del state
    return result


def read_variable(variable: Any) -> Any:
    """Return a variable's value as a NumPy array."""
    if variable._value is None:  # made in a stateless scope that has not ended
        return np.zeros(variable.shape)
    return variable._value


def is_on_host(variable: Any) -> bool:
    """Tell whether reading the variable's value waits for no device."""
    return variable._value is not None


def plan_options(dtype: str) -> dict[str, Any]:
    """Return how a plan makes results of `dtype` from float64 arrays."""
    return {
        "numpy_results": True,
        "wrap_result": lambda array: keras.ops.cast(array, dtype)[()],
    }


def device_of(value: Any) -> str:
    """Return where a state is."""
    del value
    return "cpu"


def roads(value: Any, grouped: bool) -> dict[str, Road]:
    """Return the roads of a metric or a group with this state."""
    del value, grouped
    return {
        "eager": Road("native in place", "arrays are in memory that kernels write to"),
        "stateless scope": Road("native pure", "the variables must not change there"),
    }
