"""torch tensors: what the native code cannot borrow is prepared here."""

from __future__ import annotations

from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from keras_tally._device import cuda_status
from keras_tally._tensors import WrongDeviceError


def is_symbolic(x: Any) -> bool:
    """Tell whether a tensor has a shape but no data."""
    return isinstance(x, torch.Tensor) and (x.is_meta or isinstance(x, FakeTensor))


def prepare(x: Any, argument: str, like: Any = None) -> torch.Tensor:
    """Return `x` as a plain tensor where `like` is (default: in host memory).

    It is copied only if need be. Of a DTensor the local part is taken: processes have
    their shares of a batch, which `keras_tally.sync` adds up.
    """
    if not isinstance(x, torch.Tensor):
        x = torch.as_tensor(x)
    if torch._C._functorch.is_functorch_wrapped_tensor(x):
        raise TypeError(
            f"`{argument}` must be an ordinary tensor: metrics accumulate and cannot "
            "be transformed by torch.func (vmap, grad). Call the metric outside of "
            "the transformed function."
        )
    if is_symbolic(x):
        raise TypeError(f"`{argument}` must hold data, not only a shape.")
    if hasattr(x, "placements") and hasattr(x, "to_local"):
        x = _local_part(x, argument)
    if x.is_nested:
        raise TypeError(
            f"`{argument}` must be a dense tensor. Received: a nested tensor. Use "
            "`torch.nested.to_padded_tensor()` with weights of 0 for the padding, or "
            "update with one part after the other."
        )
    if x.is_quantized:
        raise TypeError(
            f"`{argument}` must hold numbers as they are. Received: a quantized tensor "
            f"of dtype {x.dtype}. Use `.dequantize()`."
        )
    if x.layout is not torch.strided:
        raise TypeError(
            f"`{argument}` must be a dense tensor. Received: layout={x.layout}. "
            "Use `.to_dense()`."
        )
    if x.untyped_storage().nbytes() == 0 and x.numel() > 0:
        raise TypeError(
            f"`{argument}` must hold data. Received: a tensor whose memory has been "
            "freed (`untyped_storage().resize_(0)`, as FSDP does with parameters)."
        )
    if type(x) is not torch.Tensor and not isinstance(x, torch.nn.Parameter):
        x = x.as_subclass(torch.Tensor)
    device = "cpu" if like is None else like.device
    if x.is_cuda and like is not None and like.is_cuda and device != x.device:
        raise WrongDeviceError(
            f"`{argument}` must be on the device of the metric's state, {device}. "
            f"Received: a tensor on {x.device}. Use `.to()`, or make the metric on "
            "that device."
        )
    return x.detach().resolve_conj().resolve_neg().to(device)


def _local_part(x: Any, argument: str) -> torch.Tensor:
    """Return what this process has of a DTensor: its share of the batch."""
    if any(placement.is_partial() for placement in x.placements):
        raise TypeError(
            f"`{argument}` must hold values. Received: a DTensor of partial sums. Use "
            "`.full_tensor()`."
        )
    local: torch.Tensor = x.to_local()
    return local


def on_device(*tensors: Any) -> torch.Tensor | None:
    """Return the first that is on a GPU whose kernels can be used, or None."""
    for x in tensors:
        if isinstance(x, torch.Tensor) and x.is_cuda and cuda_status().enabled:
            return x
    return None


def state(size: int, *tensors: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the zeros of a state for these tensors, and what they must be near."""
    like = on_device(*tensors)
    return state_on("cpu" if like is None else like.device, size), like


def state_on(device: Any, size: int) -> torch.Tensor:
    """Return the zeros of a state on a device."""
    device = torch.device(device)
    if device.type == "cuda":
        cuda_status()  # loads the kernels
    return torch.zeros(size, dtype=torch.float64, device=device)


def result_like(result: Any, x: Any) -> Any:
    """Return a result on the device of `x`."""
    return result.to(x.device) if isinstance(x, torch.Tensor) else result.numpy()[()]
