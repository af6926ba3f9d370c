"""The metrics in Keras's own operations, where no kernel can be called.

On JAX and TensorFlow only, see `_stored`. They work wherever Keras does: eagerly, in
stateless scopes, in `jax.jit`, in `tf.function`, under XLA.

What this road promises:

- The statistics of one batch are those of Keras's own metric of the same name: its
  class computes them, from a state of zeros.
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
from typing import Any

import keras

from keras_tally._backends import with_shape


@dataclass(frozen=True)
class _Plan:
    # Keras's metric, whose variables never hold anything: they are the names under
    # which its code reads and writes. Inside this object Keras does not track it.
    twin: Any
    state: tuple[Any, ...]
    # One row for each variable, in its dtype; None for integers, which need none.
    # In the row of a variable of lower rank, all entries are equal.
    compensation: Any
    takes_values: bool
    result_dtype: str

    def rows(self, tensors: Sequence[Any]) -> Any:
        """Stack one tensor per variable, as the compensation is."""
        shape = self.compensation.shape[1:]
        return keras.ops.stack([keras.ops.broadcast_to(x, shape) for x in tensors])

    def unstack(self, rows: Any) -> list[Any]:
        rank = len(rows.shape)
        return [
            rows[(i,) + (0,) * (rank - 1 - len(variable.shape))]
            for i, variable in enumerate(self.state)
        ]


def make_plan(
    kernel: str, result: str, variables: Sequence[Any], options: dict[str, Any]
) -> Any:
    """Bind Keras's metric to the variables: its own, then any `compensation`."""
    del result
    make_twin: Callable[[], Any] = options["keras_twin"]
    twin = make_twin()
    count = len(twin.variables)
    names = [[v.name for v in found] for found in (variables[:count], twin.variables)]
    if names[0] != names[1] or len(variables) > count + 1:
        raise RuntimeError(
            f"the state of {twin} is {names[1]}, and not {names[0]}. This is a bug in "
            "keras-tally: please report it."
        )
    return _Plan(
        twin=twin,
        state=tuple(variables[:count]),
        compensation=variables[count] if len(variables) > count else None,
        takes_values=kernel == "identity",
        result_dtype=options["result_dtype"],
    )


def update(plan: Any, y_true: Any, y_pred: Any, sample_weight: Any, /) -> bool:
    """Add a batch to the state."""
    additions = _additions(plan, y_true, y_pred, sample_weight)
    state = [variable.value for variable in plan.state]
    if plan.compensation is None:
        state = [high + x for high, x in zip(state, additions, strict=True)]
    else:
        high, low = add_exactly(
            plan.rows(state), plan.compensation.value, plan.rows(additions)
        )
        state = plan.unstack(high)
        plan.compensation.assign(low)
    for variable, value in zip(plan.state, state, strict=True):
        variable.assign(value)
    return True


def _additions(plan: Any, y_true: Any, y_pred: Any, sample_weight: Any) -> list[Any]:
    """Return what a batch adds to each variable."""
    twin = plan.twin
    zeros = [keras.ops.zeros(v.shape, dtype=v.dtype) for v in twin.variables]
    inputs = [with_shape(x) for x in (y_true, y_pred)]
    if plan.takes_values:
        del inputs[0]
    additions = twin.stateless_update_state(zeros, *inputs, sample_weight=sample_weight)
    return [
        keras.ops.cast(addition, variable.dtype)
        for addition, variable in zip(additions, plan.state, strict=True)
    ]


def result(plan: Any, /) -> Any:
    """Return Keras's result for the state."""
    state = [variable.value for variable in plan.state]
    if plan.compensation is not None:
        state = plan.unstack(plan.rows(state) + plan.compensation.value)
    # Not `stateless_result`: some of Keras's metrics return the variable itself,
    # which has this value inside the scope only.
    with keras.StatelessScope(zip(plan.twin.variables, state, strict=True)):
        return keras.ops.cast(plan.twin.result(), plan.result_dtype)


def reset(plan: Any, /) -> bool:
    """Leave it to the metric, which assigns zeros to its variables."""
    del plan
    return False


@dataclass(frozen=True)
class _Group:
    plans: Sequence[_Plan]
    names: Sequence[str]
    packs: Sequence[Any]


def make_group(
    plans: Sequence[Any], names: Sequence[str], variables: Sequence[Any]
) -> Any:
    """Bind plans whose states lie in these variables from the start on, in order."""
    return _Group(plans, names, variables)


def update_group(group: Any, y_true: Any, y_pred: Any, sample_weight: Any, /) -> bool:
    """Add a batch to the states of all plans."""
    additions: dict[str, list[Any]] = {pack._dtype: [] for pack in group.packs}
    for plan in group.plans:
        parts = _additions(plan, y_true, y_pred, sample_weight)
        for variable, part in zip(plan.state, parts, strict=True):
            additions[variable._dtype].append(keras.ops.reshape(part, (-1,)))
    for pack in group.packs:
        if not additions[pack._dtype]:
            continue
        added = keras.ops.concatenate(additions[pack._dtype])
        # Behind them are the states of members that are updated one by one.
        size = added.shape[0]
        rows, others = pack.value[:, :size], pack.value[:, size:]
        if pack.shape[0] == 1:
            new = rows + added
        else:
            new = keras.ops.stack(add_exactly(rows[0], rows[1], added))
        if others.shape[1]:
            new = keras.ops.concatenate([new, others], axis=1)
        pack.assign(new)
    return True


def result_group(group: Any, /) -> Any:
    """Return Keras's results by name."""
    return {
        name: result(plan) for name, plan in zip(group.names, group.plans, strict=True)
    }


def reset_group(group: Any, /) -> bool:
    """Zero the states."""
    for pack in group.packs:
        pack.assign(keras.ops.zeros(pack.shape, dtype=pack.dtype))
    return True


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
