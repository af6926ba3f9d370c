"""The active Keras backend, as the metrics need it.

Each module here is the only place that imports its framework.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.backend.common.symbolic_scope import in_symbolic_scope

from keras_tally._backends.protocol import Backend, InPlaceBackend, StoredBackend
from keras_tally._tensors import WrongDeviceError as WrongDeviceError
from keras_tally._versions import OLDEST, check_version

# Where kernels write into the variables, and where they make a state from a state.
IN_PLACE = ("torch", "numpy")
SUPPORTED = (*IN_PLACE, "jax", "tensorflow")
# Which it is here.
writes_in_place = keras.config.backend() in IN_PLACE


# A function and its arguments. Where the framework has one, it is a function of C: then
# no Python code runs between several of them, and no signal handler.
Assignment = tuple[Any, ...]


# Whether `torch.compile` traces this very call; decided at import, since the tracer
# follows no import.
is_torch_compiling = (
    importlib.import_module("torch.compiler").is_compiling
    if keras.config.backend() == "torch"
    else lambda: False
)


class Road(NamedTuple):
    """How an update or a result is computed, and why so."""

    road: str
    why: str


@cache
def _adapter() -> Any:
    name = keras.config.backend()
    if name not in SUPPORTED:
        raise RuntimeError(
            f"keras-tally runs on the Keras backends {', '.join(SUPPORTED)}. "
            f"Received: KERAS_BACKEND={name!r}. Set the environment variable "
            "KERAS_BACKEND before Keras is imported."
        )
    if name in OLDEST:
        check_version(importlib.import_module(name))
    return importlib.import_module(f"keras_tally._backends.{name}")


def active() -> Backend:
    """Return the adapter of the backend that Keras runs on.

    Raises:
        RuntimeError: the backend has no adapter.
        ImportError: the framework is too old for it.
    """
    adapter: Backend = _adapter()
    return adapter


def in_place_backend() -> InPlaceBackend:
    """Return the adapter of torch or NumPy, where kernels write into variables."""
    adapter: InPlaceBackend = _adapter()
    return adapter


def stored_backend() -> StoredBackend:
    """Return the adapter of JAX or TensorFlow, where a state is made from a state."""
    adapter: StoredBackend = _adapter()
    return adapter


def with_shape(x: Any) -> Any:
    """Return lists and numbers as tensors, and others as they are.

    A Keras mask hangs on the very object.
    """
    return x if x is None or hasattr(x, "shape") else keras.ops.convert_to_tensor(x)


def as_array(x: Any) -> Any:
    """Return what NumPy can read (columns of pandas, of Arrow) as its array.

    Others come back as they are, variables of Keras among them.
    """
    readable = hasattr(x, "__array__") and not isinstance(x, keras.Variable)
    return np.asarray(x) if readable else x


def operation(name: str) -> Any:
    """Return an operation of `keras.ops` that computes float64 as such."""
    if keras.config.backend() == "jax":
        return _adapter().operation(name)
    return getattr(keras.ops, name)


def any_symbolic(*tensors: Any) -> bool:
    """Tell whether there are shapes without data, as while Keras builds a model."""
    is_symbolic = in_place_backend().is_symbolic
    return in_symbolic_scope() or any(
        isinstance(x, keras.KerasTensor) or is_symbolic(x) for x in tensors
    )
