"""Whether there is a GPU that the kernels can run on."""

from __future__ import annotations

import importlib
from functools import cache
from typing import NamedTuple

from keras_tally import _native


class CudaStatus(NamedTuple):
    """What `cuda_status()` has found."""

    enabled: bool
    reason: str
    devices: tuple[str, ...]

    def __str__(self) -> str:
        """Return a sentence."""
        if not self.enabled:
            return f"CUDA is off: {self.reason}"
        return f"CUDA is on: {', '.join(self.devices)}"


@cache
def cuda_status() -> CudaStatus:
    """Return whether metrics run on NVIDIA GPUs, and if not, why.

    The kernels are loaded by the first call, here or by a metric whose state is on a
    GPU. Where they are off, tensors on a GPU are copied to the host for every update.

    Returns:
        A named tuple: `enabled`; `reason`, a sentence where they are off, else "";
        `devices`, the names of the GPUs. `print()` shows it as one sentence.

    Example:

    >>> import keras_tally as kt
    >>> status = kt.cuda_status()
    >>> status.enabled == (status.reason == "") == (len(status.devices) > 0)
    True
    """
    try:
        module = importlib.import_module("keras_tally._cuda")
    except ModuleNotFoundError:
        return CudaStatus(
            False,
            "this build of keras-tally has no CUDA kernels (they are built on machines "
            "with a GPU and nvcc, or with KERAS_TALLY_CUDA=ON; see docs/cuda.md).",
            (),
        )
    except ImportError as error:
        return CudaStatus(False, f"the CUDA kernels cannot be loaded: {error}", ())
    try:
        _native.set_device_api(module.api())
    except RuntimeError as error:
        return CudaStatus(False, f"no NVIDIA GPU can be used: {error}.", ())
    names = tuple(_native.devices())
    if not names:
        return CudaStatus(False, "the NVIDIA driver has found no GPU.", ())
    return CudaStatus(True, "", names)
