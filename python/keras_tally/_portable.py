"""The metrics in Keras's own operations, where no kernel can be called.

On JAX and TensorFlow only, see `_stored`. They work wherever Keras does: eagerly, in
stateless scopes, in `jax.jit`, in `tf.function`, under XLA.

What this road promises:

- The statistics of one batch are those of Keras's own metric of the same name: its
  class computes them, from a state of zeros; integers it adds to what there is.
- They are added up without rounding errors: what a variable of floatx (float32 at
  least) cannot hold goes into `compensation`, by two-sum additions. Together they
  hold twice as many bits, so unweighted counts are exact up to 2^48 in float32.
- The result is Keras's formula, of each sum rounded once.

What it therefore inherits from Keras: float32 within a batch (whose own counts are
exact up to 2^24 rows), the wrap-around of uint8 inputs, its rules for masks,
weights, NaN and labels out of range, and its errors. Where a class's docstring
speaks of float64 or of an error that Keras lacks, it means the native road.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import keras

from keras_tally._backends import with_shape

if TYPE_CHECKING:
    from keras_tally._packed import Part


@dataclass(frozen=True)
class Plan:
    """One metric."""

    # Keras's metric, whose variables never hold anything: they are the names under
    # which its code reads and writes. Inside this object Keras does not track it.
    twin: Any
    # Where the state of each of its variables is.
    parts: tuple[Part, ...]
    takes_values: bool
    result_dtype: str


def make_plan(kernel: str, parts: Sequence[Part], options: dict[str, Any]) -> Plan:
    """Bind Keras's metric to the places of its state."""
    make_twin: Callable[[], Any] = options["keras_twin"]
    twin = make_twin()
    shapes = [
        [tuple(x.shape) for x in parts],
        [tuple(v.shape) for v in twin.variables],
    ]
    if shapes[0] != shapes[1]:
        raise RuntimeError(
            f"the state of {twin} has the shapes {shapes[1]}, and not {shapes[0]}. "
            "This is a bug in keras-tally: please report it."
        )
    return Plan(
        twin=twin,
        parts=tuple(parts),
        takes_values=kernel == "identity",
        result_dtype=options["result_dtype"],
    )


def updated(
    plans: Sequence[Plan],
    packs: Sequence[Any],
    state: Sequence[Any],
    y_true: Any,
    y_pred: Any,
    sample_weight: Any,
) -> list[Any]:
    """Return what a batch makes of the states of all plans: values of the packs."""
    found: dict[int, list[tuple[int, int, Any]]] = {id(pack): [] for pack in packs}
    values = {id(pack): value for pack, value in zip(packs, state, strict=True)}
    for plan in plans:
        new = _updated_by_keras(plan, values, y_true, y_pred, sample_weight)
        for part, value in zip(plan.parts, new, strict=True):
            # Statistics have no gradient.
            flat = keras.ops.reshape(keras.ops.stop_gradient(value), (-1,))
            flat = keras.ops.cast(flat, part.pack._dtype)
            found[id(part.pack)].append((part.start, part.stop, flat))
    return [
        keras.ops.expand_dims(_row(parts, rows[0]), 0)
        if rows.shape[0] == 1
        else keras.ops.stack(
            add_exactly(rows[0], rows[1], _row(parts, keras.ops.zeros_like(rows[0])))
        )
        for rows, parts in zip(state, found.values(), strict=True)
    ]


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


def _updated_by_keras(
    plan: Plan, values: dict[int, Any], y_true: Any, y_pred: Any, sample_weight: Any
) -> Any:
    """Return integers with a batch added to them, and of pairs what a batch adds."""
    twin = plan.twin
    state = [
        keras.ops.zeros(v.shape, dtype=v.dtype)
        if part.has_low
        else part.of(values[id(part.pack)], 0)
        for part, v in zip(plan.parts, twin.variables, strict=True)
    ]
    inputs = [with_shape(x) for x in (y_true, y_pred)]
    if plan.takes_values:
        del inputs[0]
    return twin.stateless_update_state(state, *inputs, sample_weight=sample_weight)


def result(plan: Plan, packs: Sequence[Any], state: Sequence[Any]) -> Any:
    """Return Keras's result for the state, the values of the packs."""
    values = {id(pack): value for pack, value in zip(packs, state, strict=True)}
    rows = [(values[id(part.pack)], part) for part in plan.parts]
    sums = [
        part.of(value, 0) + part.of(value, 1) if part.has_low else part.of(value, 0)
        for value, part in rows
    ]
    # Not `stateless_result`: some of Keras's metrics return the variable itself,
    # which has this value inside the scope only.
    with keras.StatelessScope(zip(plan.twin.variables, sums, strict=True)):
        return keras.ops.cast(plan.twin.result(), plan.result_dtype)


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
