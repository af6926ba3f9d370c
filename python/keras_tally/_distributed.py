"""The states of all processes added up: `sync`.

Every process puts all of its states into one buffer, and one all-gather brings the
buffers of all to all. Each process then adds the states up itself, in float64, in the
order of the ranks, so that all have the same bits. A buffer begins with a few words
about what is in it; all processes see the same words and draw the same conclusions,
also where something is wrong.

The buffers of all processes must have one size, which none of them can know: they
begin with `_FIRST_WIDTH`, and from then on have the size that the largest states so far
needed. States that do not fit are said to be so, and gathered again, in that size.

A buffer is made of 8-byte words: a head, shapes, and all numbers. The shapes are there
if metrics take part whose shapes their configs do not tell.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_tally import _backends, _native, _states
from keras_tally._engine import IN_PLACE
from keras_tally._kernel_metric import KernelMetric, LateMetric
from keras_tally._merging import Mergeable, States, total_states, write_states
from keras_tally._numbers import total_of
from keras_tally._states import Numbers, members_of

Array = np.ndarray[Any, Any]

# Words in a buffer.
_FIRST_WIDTH = 2048
_ROUND_TO = 64

# The words of the head: whether something failed, the digest of what is synced, how
# wide a buffer must be, and how many words the shapes take.
_FORMAT = 2
_FORMAT_AT, _FAILED_AT, _DIGEST_AT, _WIDTH_AT, _SHAPES_AT = 0, 1, 2, 4, 5
_HEAD = 6


class _Alone:
    """What moves buffers between processes where there is one process only."""

    @staticmethod
    def buffer_size(group: Any) -> int:
        """Return the size that buffers were given last: 0 for none."""
        del group
        return 0

    @staticmethod
    def keep_buffer_size(group: Any, size: int) -> None:
        """Keep nothing: there will be no buffers."""

    @staticmethod
    def all_gather(buffer: Array, group: Any) -> Array:
        """Return the buffers of all processes."""
        del group
        return buffer[None]


def _collectives() -> Any:
    """Return what moves buffers between the processes of this backend.

    Raises:
        RuntimeError: there is nothing that could do it.
    """
    name = keras.config.backend()
    if name == "jax":
        return _backends.active()
    if name not in _backends.IN_PLACE:
        raise RuntimeError(
            "sync() works on the Keras backends torch, numpy and jax. "
            f"Received: {name!r}. Elsewhere, add up states that you have moved by "
            "yourself (to_bytes, merge_state)."
        )
    # Process groups exist only where somebody has imported torch.
    if "torch" not in sys.modules:
        return _Alone
    return importlib.import_module("keras_tally._backends.torch_distributed")


class Synced:
    """What all processes have counted together: a state that no longer changes."""

    def __init__(
        self, metric: Any, values: Array, states: States | None = None
    ) -> None:
        self._metric = metric
        self._values = values
        # Given where the shapes of the numbers do not follow from the metric.
        self._states = states
        self._merged: Any = None

    @property
    def name(self) -> str:
        """The metric's name."""
        return str(self._metric.name)

    def metric(self) -> Any:
        """Return a new metric in this state, for whatever else a metric can do."""
        if self._states is None:
            self._states = _split(self._metric, self._values)
        new = copy.deepcopy(self._metric)
        write_states(new, self._states)
        return new

    def _once(self) -> Any:
        if self._merged is None:
            self._merged = self.metric()
        return self._merged

    def result(self) -> Any:
        """Return the result over the data of all processes."""
        results = self._native_results() if self._states is None else None
        if results is None:
            return self._once().result()
        members = members_of(self._metric)
        if members.keys() == {""}:
            return results[""]
        prefix = self._metric.prefix
        return {prefix + key: result for key, result in results.items()}

    def _native_results(self) -> dict[str, Any] | None:
        """Return the members' results without a copy of them, where that can be."""
        results: dict[str, Any] = {}
        at = 0
        for key, member in members_of(self._metric).items():
            if not IN_PLACE or getattr(type(member), "result", None) not in _PLAIN:
                return None
            result = _native.result_of_numbers(member._plan, self._values, at)
            if result is None:
                return None
            results[key] = result
            at += _states.count(_states.layout_of(member))
        return results

    def __repr__(self) -> str:
        return f"<Synced {type(self._metric).__name__} {self.name!r}>"


# Where the plan is all that a result is made of.
_PLAIN = (KernelMetric.result, LateMetric.result)


def sync(metrics: Any, group: Any = None) -> Any:
    """Add up what the processes have counted, with one collective operation.

    All processes of the group call it with the same metrics, in the same order; it is
    no matter how much data each has seen, or whether any. The metrics themselves stay
    as they are: go on updating them, and sync again, without counting anything twice.

    Formula: as `merge_state` over the processes in the order of their ranks, so all
    processes have the same bits. Counts are those of one process over all data.

    One all-gather is all there is. There is another one where the states need more
    room than at any `sync` of this group before (first: 32 KiB), and there are two more
    to tell what differs, where the metrics do. Each process needs memory for the
    states of all.

    Args:
        metrics: a metric, a group of metrics, a list of these, or a dict of them.
        group: on torch and NumPy, the process group of `torch.distributed` (None: the
            default one). On JAX all processes take part. Without `torch.distributed`
            or with a single process the totals are those of this process.

    Returns:
        For each metric an object with `result()`, and `metric()`,
        which makes a new metric in this state; in a list or dict, if these were given.

    Raises:
        ValueError: the processes have different metrics, or one of them could not take
            part; the error is the same on all of them, and names what differs.
        TypeError: something that is no metric of this package.
        RuntimeError: from the framework, where a process is gone or late; on the
            TensorFlow backend, which has no `sync`.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.Mean()
    >>> m.update_state([1, 2])
    >>> float(kt.sync(m).result())
    1.5
    """
    backend = _collectives()
    width = backend.buffer_size(group) or _FIRST_WIDTH
    named: dict[Any, Any] = {}
    failure: Exception | None = None
    try:
        named = _named(metrics)
        buffer = _filled(named, width)
    except Exception as error:
        # The others wait for this process: they must hear of it.
        failure = error
        buffer = np.zeros(width, "int64")
        buffer[[_FORMAT_AT, _FAILED_AT]] = _FORMAT, True
    gathered = backend.all_gather(buffer, group)
    heads = gathered[:, :_HEAD]
    if heads[:, _FAILED_AT].any():
        if failure is not None:
            raise failure
        _refuse_failed(heads)
    if (heads != heads[0])[:, [_FORMAT_AT, _DIGEST_AT, _DIGEST_AT + 1]].any():
        _refuse_different(named, heads, group)
    needed = -(-int(heads[:, _WIDTH_AT].max()) // _ROUND_TO) * _ROUND_TO
    if needed > width:
        gathered = backend.all_gather(_filled(named, needed), group)
    backend.keep_buffer_size(group, max(needed, backend.buffer_size(group)))
    synced = _total(named, gathered)
    if isinstance(metrics, Mapping):
        return synced
    if isinstance(metrics, Sequence):
        return list(synced.values())
    (only,) = synced.values()
    return only


def _named(metrics: Any) -> dict[Any, Any]:
    if isinstance(metrics, Mapping):
        named = dict(metrics)
    elif isinstance(metrics, Sequence):
        named = dict(enumerate(metrics))
    else:
        named = {"": metrics}
    for metric in named.values():
        if not isinstance(metric, Mergeable):
            raise TypeError(
                "`metrics` must be a metric of keras_tally, a list or a dict of them. "
                f"Received: {metric!r} ({type(metric).__name__})"
            )
    return named


def _digest(named: Mapping[Any, Any]) -> bytes:
    """Return what differs where the processes have different metrics."""
    whole = hashlib.sha256()
    for key, metric in named.items():
        whole.update(f"{key}\0".encode() + _states.digest(metric))
    return whole.digest()[:16]


def _filled(named: Mapping[Any, Any], width: int) -> Array:
    """Return the buffer of this process; if it is too narrow, the head says so."""
    _states.check_scope()
    members = [m for metric in named.values() for m in members_of(metric).values()]
    shapes = [
        [_states.build_arguments(m), _states.layout_of(m)]
        for m in members
        if _states.is_late(m)
    ]
    text = json.dumps(shapes).encode() if shapes else b""
    words = -(-len(text) // 8)
    buffer = np.zeros(width, "int64")
    values = buffer.view("float64")
    at = _HEAD + words
    for member in members:
        at += _states.read_into(values, member, at)
    if at <= width:
        padded = np.frombuffer(text.ljust(8 * words), "int64")
        buffer[_HEAD : _HEAD + words] = padded
    head = buffer[:_HEAD]
    head[_FORMAT_AT], head[_WIDTH_AT], head[_SHAPES_AT] = _FORMAT, at, words
    head[_DIGEST_AT : _DIGEST_AT + 2] = np.frombuffer(_digest(named), "int64")
    return buffer


def _total(named: Mapping[Any, Any], gathered: Array) -> dict[Any, Synced]:
    """Return the sums of all processes' states, by the names of the metrics."""
    start = _HEAD + int(gathered[0, _SHAPES_AT])
    shapes = gathered[:, _SHAPES_AT:start]
    if (shapes == shapes[0]).all():
        # All have the same shapes in the same places, and these need no look.
        return _synced_alike(named, gathered.view("float64"), start)
    by_rank = [_states_of(named, row) for row in gathered]
    return {
        key: Synced(
            metric,
            np.empty(0),
            total_states(metric, [states[key] for states in by_rank]),
        )
        for key, metric in named.items()
    }


def _synced_alike(
    named: Mapping[Any, Any], rows: Array, start: int
) -> dict[Any, Synced]:
    synced = {}
    at = start
    for key, metric in named.items():
        totals = []
        for member in members_of(metric).values():
            layout = _states.layout_of(member)
            own = rows[:, at : at + _states.count(layout)]
            totals.append(total_of(layout, list(own)))
            at += own.shape[1]
        values = np.concatenate(totals)
        # What has no shape yet may have another one when somebody asks for results.
        changes = any(_states.is_unbuilt(m) for m in members_of(metric).values())
        states = _split(metric, values) if changes else None
        synced[key] = Synced(metric, values, states)
    return synced


def _split(metric: Any, values: Array) -> States:
    """Return the states of the members, given all of their numbers."""
    states: States = {}
    at = 0
    for key, member in members_of(metric).items():
        layout = _states.layout_of(member)
        size = _states.count(layout)
        numbers = Numbers(layout, values[at : at + size])
        states[key] = _states.build_arguments(member), numbers
        at += size
    return states


def _states_of(named: Mapping[Any, Any], row: Array) -> dict[Any, States]:
    """Return the states of one process, by the names of its metrics."""
    at = _HEAD + int(row[_SHAPES_AT])
    shapes = iter(json.loads(row[_HEAD:at].tobytes()))
    values = row.view("float64")
    found: dict[Any, States] = {}
    for name, metric in named.items():
        found[name] = {}
        for key, member in members_of(metric).items():
            arguments, layout = (), _states.layout_of(member)
            if _states.is_late(member):
                arguments, given = next(shapes)
                layout = [(variable, tuple(shape)) for variable, shape in given]
            size = _states.count(layout)
            numbers = Numbers(layout, values[at : at + size])
            found[name][key] = arguments, numbers
            at += size
    return found


def _refuse_failed(heads: Array) -> None:
    ranks = np.flatnonzero(heads[:, _FAILED_AT]).tolist()
    raise ValueError(
        f"sync() was not possible, because it has failed on the ranks {ranks}; see the "
        "errors there."
    )


def _refuse_different(named: Mapping[Any, Any], heads: Array, group: Any) -> None:
    """Raise an error that names what differs, the same on all processes."""
    backend = _collectives()
    described = [[str(key), _states.describe(m)] for key, m in named.items()]
    text = json.dumps([_FORMAT, described]).encode()
    sizes = backend.all_gather(np.array([len(text)], "int64"), group)
    padded = text.ljust(-(-int(sizes.max()) // 8) * 8)
    rows = backend.all_gather(np.frombuffer(padded, "int64").copy(), group)
    (version, first), *others = [json.loads(row.tobytes()) for row in rows]
    for rank, (other_version, other) in enumerate(others, 1):
        found: str | None = None
        if other_version != version:
            found = "another version of keras-tally"
        elif [key for key, _ in other] != [key for key, _ in first]:
            found = f"the metrics {_kinds(other)} instead of {_kinds(first)}"
        else:
            for (key, a), (_, b) in zip(first, other, strict=True):
                differs = _states.difference(a, b)
                if found is None and differs is not None:
                    found = f"{differs} in metric {key!r}" if key else differs
        if found:
            raise ValueError(
                "the metrics of all processes must be of the same classes and configs. "
                f"Rank {rank} has {found}, which rank 0 has"
            )
    raise AssertionError("digests differ and descriptions do not")


def _kinds(described: Sequence[Any]) -> str:
    kinds = [
        f"{key}={'+'.join(m['class'] for m in members.values())}"
        for key, members in described
    ]
    return f"[{', '.join(kinds)}]"
