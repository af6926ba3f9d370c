"""What the backends have in common whose state is made from a state."""

from __future__ import annotations

from typing import Any

import keras

__all__ = [
    "NORM_HAS_FLOOR",
    "THRESHOLD_IN_SCORES_DTYPE",
    "plan_options",
    "register",
    "settle",
    "state_dtype",
    "whole_dtype",
    "written_dtype",
]

# What native kernels must know of Keras's rules there.
THRESHOLD_IN_SCORES_DTYPE = True
NORM_HAS_FLOOR = True


def state_dtype(dtype: str) -> str:
    """Return the dtype of a variable to which Keras gives `dtype`.

    Two 16-bit floats would hold no more than one of 32 bits, and less far; integers
    would truncate what is added up, and a pair of floats counts further.
    """
    narrow = dtype in ("float16", "bfloat16") or keras.backend.is_int_dtype(dtype)
    return "float32" if narrow else dtype


def whole_dtype(dtype: str) -> str:
    """Return the dtype of a variable of integers to which Keras gives `dtype`."""
    return dtype


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
