"""Tensors of any framework, made fit for kernels, without Keras.

Each module here is for one framework, and imported when such a tensor comes.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any, Protocol

import numpy as np


class WrongDeviceError(ValueError):
    """A tensor is on another GPU than the state."""


def describe(x: Any) -> str:
    """Return what an error says of an argument: its type, and any shape."""
    kind = type(x).__name__
    try:
        return f"{kind} of shape {tuple(x.shape)}"
    except Exception:  # whatever has no shape says instead: nested tensors, modules
        return kind


def adapter_of(*tensors: Any) -> ModuleType:
    """Return the module for tensors of torch, if there is any, or that for arrays."""
    torch = sys.modules.get("torch")
    is_torch = torch is not None and any(isinstance(x, torch.Tensor) for x in tensors)
    return importlib.import_module(
        f"keras_tally._tensors.{'torch' if is_torch else 'numpy'}"
    )


def require(x: Any, argument: str) -> None:
    """Refuse an argument that is missing."""
    if x is None:
        raise TypeError(
            f"`{argument}` must be a tensor, an array, a list or a number. "
            "Received: None"
        )
    if isinstance(x, np.ndarray) and np.any(getattr(x, "mask", False)):
        raise TypeError(
            f"`{argument}` must have no masked elements. Received: {describe(x)}. Use "
            "`.compressed()`, or `.filled(0)` with a `sample_weight` of 0 for them."
        )


def no_tensor(x: Any, argument: str, error: Exception) -> TypeError:
    """Return what to raise where an argument cannot become a tensor."""
    return TypeError(
        f"`{argument}` must be a tensor, an array, a list or a number of a bool, "
        "integer, float16, bfloat16, float32 or float64 dtype. "
        f"Received: {describe(x)} ({error})"
    )


class Adapter(Protocol):
    """What makes tensors of one framework that native code can borrow."""

    def prepare(self, x: Any, argument: str, like: Any = None) -> Any:
        """Return an input as such a tensor, where `like` is."""


def prepare_with(adapter: Adapter, x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as a tensor that native code can borrow, where `like` is.

    Raises:
        TypeError: there is no such tensor.
        WrongDeviceError: it is on another GPU.
    """
    require(x, argument)
    try:
        return adapter.prepare(x, argument, like)
    except WrongDeviceError:
        raise
    except Exception as error:
        if str(error).startswith(f"`{argument}`"):  # says all there is to say
            raise
        raise no_tensor(x, argument, error) from error


def in_memory(state: Any) -> Any:
    """Return a state in host memory as an array that shares it, and others as they are.

    What NumPy does with arrays, it does in one step: other threads wait, where torch
    would let them go on.
    """
    if isinstance(state, np.ndarray) or state.device.type != "cpu":
        return state
    return state.numpy()


def as_column(x: Any) -> Any:
    """Return a vector as a matrix of one column, and others as they are."""
    x = x if hasattr(x, "reshape") else np.asarray(x)
    return x.reshape(-1, 1) if len(x.shape) == 1 else x
