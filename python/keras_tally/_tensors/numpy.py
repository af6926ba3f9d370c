"""Arrays, lists and numbers in host memory."""

from __future__ import annotations

from typing import Any

import numpy as np


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as an aligned array in native byte order."""
    del argument, like
    array = np.asarray(x)
    return np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["A"])


def state(size: int, *tensors: Any) -> tuple[Any, None]:
    """Return the zeros of a state for these tensors, and where they must be."""
    del tensors
    return np.zeros(size), None


def result_like(result: Any, x: Any) -> Any:
    """Return a result as a tensor of the framework of `x`."""
    namespace = getattr(x, "__array_namespace__", None)
    if namespace is None or isinstance(x, np.ndarray):
        return result
    return namespace().asarray(result)
