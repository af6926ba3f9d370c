"""Collective operations over torch.distributed, on any backend that keeps its
states in host memory or in torch's tensors.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.distributed as dist

# How large the buffers of a process group are; a new group begins anew.
_buffer_sizes: WeakKeyDictionary[Any, int] = WeakKeyDictionary()


def _process_group(group: Any) -> Any:
    """Return the group's object, or None where there is one process only."""
    if not dist.is_available() or not dist.is_initialized():
        return None
    return dist.group.WORLD if group is None else group


def buffer_size(group: Any) -> int:
    """Return the size that buffers of this group were given last, or 0."""
    found = _process_group(group)
    return 0 if found is None else _buffer_sizes.get(found, 0)


def keep_buffer_size(group: Any, size: int) -> None:
    """Give the next buffers of this group this size."""
    found = _process_group(group)
    if found is not None:
        _buffer_sizes[found] = size


def all_gather(buffer: np.ndarray[Any, Any], group: Any) -> np.ndarray[Any, Any]:
    """Return the buffers of all processes of a group, in the order of ranks."""
    found = _process_group(group)
    if found is None:
        return buffer[None]
    # NCCL takes tensors on a GPU only.
    on_gpu = dist.get_backend(found) == "nccl"
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else "cpu"
    size = (dist.get_world_size(found), *buffer.shape)
    gathered = torch.empty(size, dtype=torch.int64, device=device)
    own = torch.from_numpy(buffer).to(device)
    dist.all_gather(list(gathered.unbind()), own, group=found)
    all_buffers: np.ndarray[Any, Any] = gathered.cpu().numpy()
    return all_buffers
