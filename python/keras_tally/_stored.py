"""From state to state, for JAX and TensorFlow, whose tensors nobody can write to.

The functions are those of the extension that the classes use. Each plan has two roads:

- native: a program (`csrc/exec/program.h`) of the same kernels as everywhere, which
  takes the state as it is kept here. `_backends` knows how to run it: eagerly, as a
  foreign function of XLA.
- portable: Keras's own operations (`_portable`), wherever the framework's compiler
  cannot call a kernel, or does better without.

Both keep the same state, so one may take over from the other in the middle.
`keras_tally.explain` says which road is taken, and why.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from keras.src.backend.common.masking import get_keras_mask

from keras_tally import _backends, _native, _portable
from keras_tally._atomic import change, read_together
from keras_tally._inputs import describe, prepare
from keras_tally._masks import combine_mask
from keras_tally._numbers import add, carry, halves

if TYPE_CHECKING:
    from keras_tally._packed import Part

# Which inputs a program gets, as bits (csrc/bind/program.h).
TRUTH, WEIGHT = 1, 2

# Changes with what a program's state means: a cache on disk may outlive this version.
_FORMAT = 2

# KERAS_TALLY_ROAD=portable goes without kernels, to find out whether they are at fault;
# `native` takes them wherever they can be called, also where that does not pay.
_asked_for = os.environ.get("KERAS_TALLY_ROAD", "")
if _asked_for not in ("", "native", "portable"):
    raise ValueError(
        "the environment variable KERAS_TALLY_ROAD must be `native` or `portable`. "
        f"Received: {_asked_for!r}"
    )
only_portable = _asked_for == "portable"
even_small = _asked_for == "native"
_ASKED_FOR = "KERAS_TALLY_ROAD=portable asks for it"

# Options that only the fallback knows: a user's function and its finalization.
_OF_FALLBACK = ("terms", "finish")

# An array, where in it the numbers are, how many; and, of pairs, where the rests are
# (no array: -1).
Place = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Program:
    """Metrics that are updated together, as the extension knows them."""

    key: str
    result_dtypes: tuple[str, ...]

    @cached_property
    def result_shapes(self) -> tuple[tuple[int, ...], ...]:
        sizes = _native.result_sizes(self.key)
        return tuple(() if size < 0 else (size,) for size in sizes)


@dataclass(frozen=True)
class Member:
    """One metric on both roads: a native plan, what it was made from, Keras's."""

    native: Any
    description: Any
    portable: _portable.Plan
    result_dtype: str


@dataclass(frozen=True)
class Plan:
    """Metrics that are updated together: one, or those of a group."""

    members: tuple[Member, ...]
    # Of a group's results; one metric has none.
    names: tuple[str, ...] | None
    program: Program
    # The variables in which the state is.
    packs: tuple[Any, ...]
    # Where the last update and the last result went.
    taken: dict[str, str] = field(default_factory=dict)

    @cached_property
    def portable(self) -> list[_portable.Plan]:
        return [member.portable for member in self.members]

    @property
    def takes_values(self) -> bool:
        return self.portable[0].takes_values

    @cached_property
    def is_made_of_operations(self) -> bool:
        """Whether all metrics are functions that users wrote with operations."""
        return all(m.description[0] == "expression" for m in self.members)


def _place(part: Part, array: int) -> Place:
    size = math.prod(part.shape)
    if not part.has_pairs:
        return array, part.start, size, -1, 0
    return array, part.start, size, array, int(part.pack.shape[-1]) + part.start


def _bind(members: Sequence[Member], names: Sequence[str] | None) -> Plan:
    parts = [member.portable.parts for member in members]
    packs = {id(part.pack): part.pack for found in parts for part in found}
    arrays = {key: i for i, key in enumerate(packs)}
    places = [[_place(p, arrays[id(p.pack)]) for p in found] for found in parts]
    described = [[m.description, p] for m, p in zip(members, places, strict=True)]
    text = json.dumps([_FORMAT, described], sort_keys=True, default=repr)
    # In compiled code, also in caches on disk, the key stands for the configuration.
    key = hashlib.sha256(text.encode()).hexdigest()
    _native.define_program(
        key, [(m.native, p) for m, p in zip(members, places, strict=True)]
    )
    return Plan(
        members=tuple(members),
        names=None if names is None else tuple(names),
        program=Program(key, tuple(m.result_dtype for m in members)),
        packs=tuple(packs.values()),
    )


def make_plan(
    kernel: str, result: str, variables: Sequence[Any], options: dict[str, Any]
) -> Plan:
    """Bind a kernel and a result to the variables' places (`Part`)."""
    plain = {k: v for k, v in options.items() if k not in _OF_FALLBACK}
    plain["wrap_result"] = None
    member = Member(
        native=_native.make_plan(kernel, result, [], plain),
        description=[kernel, result, plain],
        portable=_portable.Plan(
            kernel, result, {**options, "result": result}, tuple(variables)
        ),
        result_dtype=options["result_dtype"],
    )
    return _bind([member], None)


def make_group(
    plans: Sequence[Plan], names: Sequence[str], variables: Sequence[Any]
) -> Plan:
    """Make one plan of several whose states lie in the same variables."""
    del variables
    return _bind([member for plan in plans for member in plan.members], names)


def why_portable(*tensors: Any) -> str | None:
    """Return why Keras's operations take these tensors; None where a kernel does."""
    return (
        _ASKED_FOR
        if only_portable
        else _backends.stored_backend().why_portable(*tensors)
    )


# Which input it is, the argument's name, and what the user gave.
Input = tuple[int, str, Any]


def _inputs(y_true: Any, y_pred: Any, sample_weight: Any, values: bool) -> list[Input]:
    """List the inputs of a program, in order."""
    inputs: list[Input] = [] if values else [(TRUTH, "y_true", y_true)]
    inputs.append((0, "values" if values else "y_pred", y_pred))
    if sample_weight is not None:
        inputs.append((WEIGHT, "sample_weight", sample_weight))
    return inputs


def update(
    plan: Any,
    y_true: Any,
    y_pred: Any,
    sample_weight: Any,
    unmasked: bool = False,
    /,
) -> bool:
    """Add a batch to the states of all metrics."""
    del unmasked  # nothing is left to Python
    change(plan.packs, _Sum(plan, y_true, y_pred, sample_weight))
    return True


class _Sum:
    """What a batch makes of a state, however often the state changes meanwhile."""

    def __init__(self, plan: Plan, *batch: Any) -> None:
        self._plan, self._batch = plan, batch
        self._tried = False

    def __call__(self, state: Sequence[Any]) -> list[Any]:
        if not self._tried:
            self._tried = True
            return self._updated(state)
        # A signal handler that comes more often than a batch takes would have it begin
        # for ever: its sums, computed once, are added in no time.
        found = zip(self._plan.packs, state, self._sums, strict=True)
        return [_added(self._plan, *each) for each in found]

    def _updated(self, state: Sequence[Any]) -> list[Any]:
        y_true, y_pred, sample_weight = self._batch
        return list(updated(self._plan, y_true, y_pred, sample_weight, state))

    @cached_property
    def _sums(self) -> list[Any]:
        zeros = [keras.ops.zeros_like(pack.value) for pack in self._plan.packs]
        return self._updated(zeros)


def _added(plan: Plan, pack: Any, state: Any, sums: Any) -> Any:
    """Return a state to which sums are added, by code that is compiled already.

    What a handler does while JAX traces something would be a part of it.
    """
    rows, more = keras.ops.convert_to_numpy(state), keras.ops.convert_to_numpy(sums)
    if len(rows) == 1:
        return keras.ops.convert_to_tensor(rows + more)
    places = [place for member in plan.portable for place in member.lows_in(pack)]
    total = rows.astype("float64").sum(0)
    add(total, more.astype("float64").sum(0), places)
    carry(total, places)
    return keras.ops.convert_to_tensor(np.stack(halves(total, rows.dtype)))


def updated(
    plan: Plan,
    y_true: Any,
    y_pred: Any,
    sample_weight: Any,
    state: Sequence[Any] | None = None,
) -> Sequence[Any]:
    """Return what a batch makes of a state, by default the present one."""
    sample_weight = combine_mask(get_keras_mask(y_pred), sample_weight)
    inputs = _inputs(y_true, y_pred, sample_weight, plan.takes_values)
    backend = _backends.stored_backend()
    if state is None:
        state = backend.read(plan.packs)
    given = sum(bit for bit, _, _ in inputs)
    tensors = [prepare(x, argument) for _, argument, x in inputs]
    if only_portable:
        backend.check(plan.program.key, given, tensors)
        new: Sequence[Any] | str = _ASKED_FOR
    else:
        new = backend.update(plan, state, given, tensors, even_small)
    plan.taken["update"] = new if isinstance(new, str) else "native"
    if not isinstance(new, str):
        return new
    by_input = {bit: x for (bit, _, _), x in zip(inputs, tensors, strict=True)}
    batch = by_input.get(TRUTH), by_input[0], by_input.get(WEIGHT)
    try:
        return _portable.updated(plan.portable, plan.packs, state, batch)
    except Exception as error:
        if not any(isinstance(x, backend.RAGGED) for x in tensors):
            raise
        shapes = ", ".join(f"`{name}`={describe(x)}" for _, name, x in inputs)
        raise ValueError(
            "ragged tensors must have rows of the same lengths, and some metrics take "
            "none: use `.to_tensor()`, with a `sample_weight` of 0 for the padding. "
            f"Received: {shapes} ({error})"
        ) from error


def _results(plan: Any) -> Sequence[Any]:
    state = read_together(plan.packs)
    found: Sequence[Any] | str = _ASKED_FOR
    if not only_portable:
        found = _backends.stored_backend().results(plan.program, state)
    plan.taken["result"] = found if isinstance(found, str) else "native"
    if not isinstance(found, str):
        return found
    return [
        _portable.result(p, plan.packs, state, shape)
        for p, shape in zip(plan.portable, plan.program.result_shapes, strict=True)
    ]


def result(plan: Any, /) -> Any:
    """Return the result of the only metric, or those of a group by name."""
    values = _results(plan)
    if plan.names is None:
        (value,) = values
        return value
    return dict(zip(plan.names, values, strict=True))


def reset(plan: Any, /) -> bool:
    """Zero the states of all metrics."""
    parts = [part for portable in plan.portable for part in portable.parts]
    change(plan.packs, lambda state: _portable.cleared(parts, plan.packs, state))
    return True
