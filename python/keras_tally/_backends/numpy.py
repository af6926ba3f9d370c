"""NumPy arrays: what the native code cannot borrow is prepared here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

NUMPY_RESULTS = True
K_WITHIN_CLASSES = False
THRESHOLD_IN_SCORES_DTYPE = False
NORM_HAS_FLOOR = False


def is_symbolic(x: Any) -> bool:
    """Tell whether an array has a shape but no data (none of NumPy's has)."""
    return isinstance(x, keras.KerasTensor)


def symbolic_result(shape: tuple[int, ...], dtype: str) -> Any:
    """Return an array that stands for a result while Keras builds a model."""
    return np.empty(shape, dtype=dtype)


def prepare(x: Any, argument: str) -> Any:
    """Return `x` as an aligned array in native byte order."""
    del argument
    if not isinstance(x, np.ndarray):
        x = keras.ops.convert_to_tensor(x)
    return np.require(x, dtype=x.dtype.newbyteorder("="), requirements=["A"])


def settle(variable: Any) -> None:
    """Give a new 64-bit variable a 64-bit value: Keras makes it 32 bits wide."""
    if variable._value is not None:
        variable._value = variable._value.astype(variable.dtype)


def host_copy(x: Any) -> Any:
    """Return a copy of a state array."""
    whole = np.issubdtype(x.dtype, np.integer)
    return np.array(x, dtype="int64" if whole else "float64")


def place_like(result: Any, state: Any) -> Any:
    """Return the result where the state is: there is one place only."""
    del state
    return result


def result_wrapper(dtype: str) -> Callable[[np.ndarray[Any, Any]], Any]:
    """Return what makes an array of `dtype` from a float64 array."""
    return lambda array: keras.ops.cast(array, dtype)[()]
