"""What the backends have in common whose state is made from a state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_tally._backends import active

__all__ = [
    "NORM_HAS_FLOOR",
    "RAGGED",
    "THRESHOLD_IN_SCORES_DTYPE",
    "described",
    "plan_options",
    "register",
    "settle",
    "state_dtype",
    "whole_dtype",
    "written_dtype",
]

# What native kernels must know of Keras's rules there.
THRESHOLD_IN_SCORES_DTYPE = True
# The framework's tensors whose rows have lengths of their own.
RAGGED: tuple[type, ...] = ()
NORM_HAS_FLOOR = True


def state_dtype(dtype: str) -> str:
    """Return the dtype of a variable to which Keras gives `dtype`.

    Two 16-bit floats would hold no more than one of 32 bits, and less far; integers
    would truncate what is added up.
    """
    return "float64" if dtype == "float64" else "float32"


def whole_dtype(dtype: str) -> str:
    """Return the dtype of a variable of integers to which Keras gives `dtype`.

    Integers of 32 bits turn negative at 2^31: two floats count on to 2^48.
    """
    backend: Any = active()
    holds_int64 = keras.backend.backend() != "jax" or backend.has_64_bits()
    return "int64" if dtype == "int64" and holds_int64 else state_dtype(dtype)


def register(metric: Any) -> None:
    """Do what a new plan needs: here nothing."""
    del metric


def settle(variable: Any) -> None:
    """Keep a variable in its own dtype inside a layer of mixed precision."""
    variable._autocast = False


def plan_options(dtype: str) -> dict[str, Any]:
    """Return what a plan must know about results."""
    del dtype
    return {}


def written_dtype(dtype: str, wide: bool) -> str:
    """Return the dtype in which a kernel writes results that become `dtype`."""
    kind = "int" if keras.backend.is_int_dtype(dtype) else "float"
    return f"{kind}{64 if wide and dtype.endswith('64') else 32}"


# Stands for the size of a batch that is not known. No memory is asked for it.
_SOME_SIZE = 1_000_003


def described(tensors: Sequence[Any]) -> list[tuple[tuple[int, ...], str]] | None:
    """Return shapes and dtypes; None where not even their ranks and rows are known.

    A batch may be of any size, if it is the first axis of all of them.
    """
    shapes = [x.shape for x in tensors]
    if any(getattr(shape, "rank", 0) is None for shape in shapes):
        return None
    found = []
    known = [[isinstance(n, int) for n in shape] for shape in shapes]
    if not all(map(all, known)) and any(k and (k[0] or not all(k[1:])) for k in known):
        return None
    for x, shape in zip(tensors, shapes, strict=True):
        sizes = tuple(n if isinstance(n, int) else _SOME_SIZE for n in shape)
        found.append((sizes, _dtype_name(x)))
    return found


def _dtype_name(x: Any) -> str:
    """Return the name of a tensor's dtype, also of one that Keras does not know."""
    try:
        name: str = keras.backend.standardize_dtype(x.dtype)
    except ValueError:
        name = x.dtype.name
    return name
