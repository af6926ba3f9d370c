"""torch tensors: what the native code cannot borrow is prepared here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import torch

from keras_tally._backends import Assignment, Road, as_array, torch_ops
from keras_tally._device import cuda_status
from keras_tally._tensors.torch import is_symbolic as is_symbolic
from keras_tally._tensors.torch import on_device as on_device
from keras_tally._tensors.torch import prepare as prepare_tensor

# Comparisons with a Python float happen in a 16-bit tensor's own precision.
THRESHOLD_IN_SCORES_DTYPE = True
# Keras divides by a norm of at least epsilon (on NumPy: by any that is not 0).
NORM_HAS_FLOOR = True


def state_dtype(dtype: str) -> str:
    """Return the dtype of a variable to which Keras gives `dtype`."""
    del dtype
    return "float64"


def whole_dtype(dtype: str) -> str:
    """Return the dtype of a variable of integers to which Keras gives `dtype`."""
    del dtype
    return "int64"


def symbolic_result(shape: tuple[int, ...], dtype: str) -> torch.Tensor:
    """Return a tensor that stands for a result while Keras builds a model."""
    return torch.empty(shape, dtype=getattr(torch, dtype), device="meta")


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as a plain tensor where `like` is (default: in host memory).

    It is copied only if need be.
    """
    if not isinstance(x, torch.Tensor):
        x = as_array(x)
        if isinstance(x, np.ndarray):
            # torch warns of memory that must not be written to, which we do not.
            x = np.require(x, requirements=["W"])
        x = keras.ops.convert_to_tensor(x)
    return prepare_tensor(x, argument, like)


def register(metric: Any) -> None:
    """Let code of `torch.compile` find the metric by its plan."""
    torch_ops.register(metric)


def settle(variable: Any) -> None:
    """Load the kernels of the device that a new variable is on."""
    value = variable._value
    if value is not None and value.device.type == "cuda":
        cuda_status()


def read(variables: Sequence[Any]) -> list[torch.Tensor]:
    """Return the tensors that are the variables' values."""
    return [variable.value for variable in variables]


def assignments(variables: Sequence[Any], values: Sequence[Any]) -> list[Assignment]:
    """Return the calls that put values into the variables."""
    return [
        (variable.assign if variable._value is None else variable._value.copy_, value)
        for variable, value in zip(variables, values, strict=True)
    ]


def copy_for_update(x: torch.Tensor) -> torch.Tensor:
    """Return a copy of a state tensor that native code can add to.

    It stays on its GPU, unless the kernels for it cannot be used.
    """
    stays = x.device.type == "cuda" and cuda_status().enabled
    return x.detach().to(x.device if stays else "cpu", copy=True)


def place_like(result: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """Return the result on the device of the state."""
    return result.to(state.device)


def read_variable(variable: Any) -> Any:
    """Return a variable's value as a NumPy array."""
    if variable._value is None:  # made in a stateless scope that has not ended
        return np.zeros(variable.shape)
    value = variable._value.detach().cpu()
    # NumPy has no bfloat16.
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def is_on_host(variable: Any) -> bool:
    """Tell whether reading the variable's value waits for no device."""
    value = variable._value
    return value is not None and value.device.type == "cpu" and not is_symbolic(value)


def plan_options(dtype: str) -> dict[str, Any]:
    """Return how a plan makes results of `dtype` from float64 NumPy arrays."""
    torch_dtype = getattr(torch, dtype)
    return {
        "numpy_results": False,
        "wrap_result": lambda array: torch.from_numpy(array).to(torch_dtype),
    }


def device_of(value: Any) -> str:
    """Return where a state is."""
    return "cpu" if value is None else str(value.device)


def roads(value: Any, grouped: bool) -> dict[str, Road]:
    """Return the roads of a metric or a group with this state."""
    del grouped
    eager = Road("native in place", "the kernels of the CPU write to its memory")
    if value is not None and value.device.type == "cuda":
        status = cuda_status()
        eager = (
            Road("native in place", "the kernels of the GPU write to its memory")
            if status.enabled
            else Road("native pure", f"on a copy in host memory. {status}")
        )
    elif value is not None and value.device.type != "cpu":
        why = f"on a copy in host memory: there are no kernels for {value.device}"
        eager = Road("native pure", why)
    return {
        "eager": eager,
        "stateless scope": Road("native pure", "the variables must not change there"),
        "torch.compile": Road("op", "the compiled graph calls the same kernels"),
    }
