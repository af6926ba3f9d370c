"""The metrics in Keras's own operations, where no kernel can be called.

On JAX and TensorFlow only, see `_stored`. They work wherever Keras does: eagerly, in
stateless scopes, in `jax.jit`, in `tf.function`, under XLA.

What this road promises is what the kernels promise:

- The statistics of a batch, and the results, are computed in float64 (`_fallback`).
- They are added up in float64, and kept as pairs of float32: unweighted counts are
  exact up to 2^48.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras

from keras_tally import _backends, _fallback, _results
from keras_tally._fallback.arrays import two_sum_error

if TYPE_CHECKING:
    from keras_tally._packed import Part


# The first column, the one after the last, and what to add in between, flat.
Entry = tuple[int, int, Any]


@dataclass(frozen=True)
class Plan:
    """One metric."""

    kernel: str
    result: str
    options: dict[str, Any]
    # Where the state of each of its variables is.
    parts: tuple[Part, ...]

    @property
    def takes_values(self) -> bool:
        return self.kernel == "identity"

    @cached_property
    def lows(self) -> list[tuple[int, int]]:
        """The variables that have low halves, and those that hold them."""
        of = _fallback.low_of(self.kernel, self.options)
        return (
            list(zip(of, range(len(self.parts))[-len(of) :], strict=True)) if of else []
        )

    def lows_in(self, pack: Any) -> list[tuple[slice, slice]]:
        """Return the columns of both in a pack."""
        parts = [[self.parts[i] for i in pair] for pair in self.lows]
        return [
            (slice(a.start, a.stop), slice(b.start, b.stop))
            for a, b in parts
            if a.pack is pack
        ]


def updated(
    plans: Sequence[Plan],
    packs: Sequence[Any],
    state: Sequence[Any],
    batch: tuple[Any, Any, Any],
) -> list[Any]:
    """Return what a batch makes of the states of all plans: values of the packs.

    `batch` is y_true, y_pred and the weights, of which a mask is a part.
    """
    values = {id(pack): rows for pack, rows in zip(packs, state, strict=True)}
    sums: dict[int, list[Entry]] = {key: [] for key in values}
    totals: dict[int, list[Entry]] = {key: [] for key in values}
    with _backends.stored_backend().float64():
        for plan in plans:
            sizes = [math.prod(part.shape) for part in plan.parts]
            found = _fallback.statistics(plan.kernel, plan.options, *batch, sizes)
            # Statistics have no gradient.
            found = [keras.ops.stop_gradient(x) for x in found]
            in_pairs = {i for pair in plan.lows for i in pair}
            for i, (part, x) in enumerate(zip(plan.parts, found, strict=True)):
                if i not in in_pairs:
                    sums[id(part.pack)].append((part.start, part.stop, x))
            for i, low in plan.lows:
                parts = plan.parts[i], plan.parts[low]
                high, rest = (
                    number(values[id(p.pack)], p.start, p.stop) for p in parts
                )
                pair = _add_pairs(high, rest, found[i], found[low])
                for part, x in zip(parts, pair, strict=True):
                    totals[id(part.pack)].append((part.start, part.stop, x))
        return [added(rows, sums[key], totals[key]) for key, rows in values.items()]


def number(rows: Any, start: int, stop: int) -> Any:
    """Return the numbers in these columns of a pack, as float64."""
    found = keras.ops.cast(rows[:, start:stop], "float64")
    return found[0] + found[1] if rows.shape[0] == 2 else found[0]


def _add_pairs(high: Any, low: Any, x: Any, rest: Any) -> tuple[Any, Any]:
    """Return two numbers whose sum is that of all four.

    The first one has no more bits than a pair of float32, and the second one the rest.
    """
    ops = keras.ops
    total = high + x
    head = ops.cast(ops.cast(total, "float32"), "float64")
    tail = ops.cast(ops.cast(total - head, "float32"), "float64")
    left = rest + low + two_sum_error(high, x, total) + (total - head - tail)
    # Infinity and NaN have no rest.
    finite = ops.isfinite(head)
    return ops.where(finite, head + tail, total), ops.where(finite, left, 0.0)


def added(state: Any, sums: list[Entry], totals: Sequence[Entry] = ()) -> Any:
    """Return a pack's rows: to some columns sums are added, others are replaced."""
    ops = keras.ops
    dtype = keras.backend.standardize_dtype(state.dtype)
    with _backends.stored_backend().float64():
        more = _row(sums, ops.zeros((state.shape[1],), dtype="float64"))
        if "int" in dtype:
            return state + ops.cast(ops.expand_dims(more, 0), dtype)
        total = _row(totals, number(state, 0, state.shape[1]) + more)
        if state.shape[0] == 1:  # float64
            return ops.expand_dims(total, 0)
        first = ops.cast(total, dtype)
        # What an infinite sum leaves is no number.
        rest = total - ops.cast(first, "float64")
        rest = ops.cast(ops.where(ops.isfinite(first), rest, 0.0), dtype)
        return ops.stack([first, rest])


def cleared(
    parts: Sequence[Part], packs: Sequence[Any], state: Sequence[Any]
) -> list[Any]:
    """Return the values of the packs with zeros in these places."""
    new = []
    for pack, rows in zip(packs, state, strict=True):
        zeros = keras.ops.zeros_like(rows)
        places = [
            (part.start, part.stop, zeros[0, part.start : part.stop])
            for part in parts
            if part.pack is pack
        ]
        if sum(stop - start for start, stop, _ in places) < rows.shape[1]:
            some = [_row(places, rows[i]) for i in range(rows.shape[0])]
            zeros = keras.ops.stack(some)
        new.append(zeros)
    return new


def _row(parts: Sequence[Entry], others: Any) -> Any:
    """Return a row made of these parts, and of `others` that are updated elsewhere."""
    pieces, at = [], 0
    for start, stop, part in sorted(parts, key=lambda entry: entry[0]):
        if start > at:
            pieces.append(others[at:start])
        pieces.append(part)
        at = stop
    if others.shape[0] > at:
        pieces.append(others[at:])
    return keras.ops.concatenate(pieces)


def result(
    plan: Plan, packs: Sequence[Any], state: Sequence[Any], shape: tuple[int, ...]
) -> Any:
    """Return the result, of this shape, for the values of the packs."""
    values = {id(pack): value for pack, value in zip(packs, state, strict=True)}
    ops = keras.ops
    with _backends.stored_backend().float64():
        sums = []
        for part in plan.parts:
            flat = number(values[id(part.pack)], part.start, part.stop)
            sums.append(ops.reshape(flat, part.shape))
        value = _results.result(plan.result, plan.options, sums)
        value = ops.reshape(value, shape)
        return ops.cast(value, plan.options["result_dtype"])
