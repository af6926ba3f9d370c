"""How many threads large updates use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from keras_tally import _native

LARGEST = 256
# Memory bandwidth is spent long before every core of a large machine works.
_LARGEST_DEFAULT = 8
_VARIABLE = "KERAS_TALLY_NUM_THREADS"


def num_threads() -> int:
    """Return how many threads an update of a large batch may use.

    That is what `set_num_threads` or else the environment variable
    `KERAS_TALLY_NUM_THREADS` says, a number from 1 to 256. Without either, it is the
    smallest of these: 8; the cores that this process may run on; the CPU quota of its
    container (cgroup), rounded down; the environment variable `OMP_NUM_THREADS`; and,
    if torch has been imported, `torch.get_num_threads()` at the time of the update.
    The others are read when the package is imported.

    Small batches always use one; results never depend on it.

    Example:

    >>> import keras_tally as kt
    >>> kt.num_threads() >= 1
    True
    """
    return _native.num_threads()


def set_num_threads(count: int | None) -> None:
    """Set how many threads an update of a large batch may use.

    Args:
        count: between 1 and 256; or None for the default, see `num_threads`.

    Raises:
        ValueError: a count out of range.
        TypeError: something that is no integer.

    Example:

    >>> import keras_tally as kt
    >>> kt.set_num_threads(1)
    >>> kt.num_threads()
    1
    >>> kt.set_num_threads(None)
    """
    if count is None:
        _native.set_num_threads(_asked_for or 0)
        return
    if not hasattr(count, "__index__"):
        raise TypeError(
            "`count` must be an integer or None. "
            f"Received: count={count!r} ({type(count).__name__})"
        )
    if not 1 <= count <= LARGEST:
        raise ValueError(
            f"`count` must be between 1 and {LARGEST}, or None for the default. "
            f"Received: count={count}"
        )
    _native.set_num_threads(count)


def _from_environment() -> int | None:
    text = os.environ.get(_VARIABLE, "")
    if not text:
        return None
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST:
        raise ValueError(
            f"the environment variable {_VARIABLE} must be a number from 1 to "
            f"{LARGEST}, or not be set. Received: {text!r}"
        )
    return int(text)


def _openmp_threads() -> int | None:
    """Return what OMP_NUM_THREADS says; None, as in OpenMP, if that is no number."""
    # With commas: one number for each level of nesting.
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: Path) -> list[str]:
    """Return the words in a file of the kernel; none where there is no such file."""
    try:
        return path.read_text().split()
    except OSError:
        return []


def _quotas(own: str, root: Path) -> Iterator[float]:
    """Yield the CPUs that each control group of this process grants.

    `own` is the text of /proc/self/cgroup, and `root` the folder /sys/fs/cgroup.
    """
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        is_v2 = controllers == ""
        if not is_v2 and "cpu" not in controllers.split(","):
            continue
        bases = ("", "unified") if is_v2 else dict.fromkeys(("cpu", controllers))
        for base in (root / name for name in bases):
            # A limit of a group holds for those in it. In a container the path may be
            # that of the host: then only the base is there.
            folder = base if ".." in path else base / path.strip("/")
            for group in (folder, *folder.parents):
                if is_v2:
                    words = _read(group / "cpu.max")
                else:
                    words = _read(group / "cpu.cfs_quota_us")
                    words += _read(group / "cpu.cfs_period_us")
                if len(words) == 2 and all(word.isdecimal() for word in words):
                    quota, period = map(int, words)
                    yield quota / max(period, 1)
                if group == base:
                    break


def _default() -> int:
    try:
        own = Path("/proc/self/cgroup").read_text()
    except OSError:  # no Linux
        own = ""
    granted = [max(1, int(cpus)) for cpus in _quotas(own, Path("/sys/fs/cgroup"))]
    limits = [_LARGEST_DEFAULT, _cores(), *granted, _openmp_threads()]
    return min(limit for limit in limits if limit is not None)


_asked_for = _from_environment()
_native.set_default_threads(_default())
_native.set_num_threads(_asked_for or 0)
