"""The metrics in Keras's own operations, where no kernel can be called.

On JAX and TensorFlow only, see `_stored`. They work wherever Keras does: eagerly, in
stateless scopes, in `jax.jit`, in `tf.function`, under XLA.

What this road promises is what the kernels promise:

- The statistics of a batch, and the results, are computed in float64 (`_fallback`).
- They are added up without rounding errors: what a variable of floatx (float32 at
  least) cannot hold goes into `compensation`, by two-sum additions. Together they
  hold twice as many bits, so unweighted counts are exact up to 2^48 in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

from keras_tally import _backends, _fallback
from keras_tally._fallback import results

if TYPE_CHECKING:
    from keras_tally._packed import Part


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


def updated(
    plans: Sequence[Plan],
    packs: Sequence[Any],
    state: Sequence[Any],
    batch: tuple[Any, Any, Any],
) -> list[Any]:
    """Return what a batch makes of the states of all plans: values of the packs.

    `batch` is y_true, y_pred and the weights, of which a mask is a part.
    """
    found: dict[int, list[tuple[int, int, Any]]] = {id(pack): [] for pack in packs}
    with _backends.active().float64():
        for plan in plans:
            sizes = [math.prod(part.shape) for part in plan.parts]
            sums = _fallback.statistics(plan.kernel, plan.options, *batch, sizes)
            for part, value in zip(plan.parts, sums, strict=True):
                # Statistics have no gradient.
                value = keras.ops.stop_gradient(value)
                found[id(part.pack)].append((part.start, part.stop, value))
        return [
            _added(rows, parts)
            for rows, parts in zip(state, found.values(), strict=True)
        ]


def _added(rows: Any, parts: list[tuple[int, int, Any]]) -> Any:
    """Return the rows of a pack, to which sums are added in float64."""
    ops = keras.ops
    dtype = keras.backend.standardize_dtype(rows.dtype)
    sums = _row(parts, ops.zeros((rows.shape[1],), dtype="float64"))
    if "int" in dtype:
        high = ops.expand_dims(rows[0] + ops.cast(sums, dtype), 0)
        return ops.concatenate([high, rows[1:]])
    if dtype == "float64":
        return ops.stack(add_exactly(rows[0], rows[1], sums))
    total = ops.cast(rows[0], "float64") + ops.cast(rows[1], "float64") + sums
    high = ops.cast(total, dtype)
    # What an infinite sum leaves is no number.
    rest = total - ops.cast(high, "float64")
    return ops.stack([high, ops.cast(ops.where(ops.isfinite(high), rest, 0.0), dtype)])


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


def _row(parts: list[tuple[int, int, Any]], others: Any) -> Any:
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
    with _backends.active().float64():
        sums = []
        for part in plan.parts:
            rows = ops.cast(values[id(part.pack)], "float64")
            high = part.of(rows, 0)
            sums.append(high + part.of(rows, 1) if part.has_low else high)
        value = results.result(plan.result, plan.options, sums)
        value = ops.reshape(value, shape)
        return ops.cast(value, plan.options["result_dtype"])


def add_exactly(high: Any, low: Any, x: Any) -> tuple[Any, Any]:
    """Return high + low + x as its rounded value and what the rounding took away.

    Knuth's two-sum of high and x, Dekker's with what is left over: that is smaller
    than their sum, or the sum is 0. For integers low is and stays 0.
    """
    total = high + x
    added = total - high
    error = low + ((high - (total - added)) + (x - added))
    # The error of an infinite sum is NaN, which would hide that it is infinite.
    finite = keras.ops.isfinite(total)
    new_high = keras.ops.where(finite, total + error, total)
    new_low = keras.ops.where(finite, error - (new_high - total), 0)
    return new_high, new_low
