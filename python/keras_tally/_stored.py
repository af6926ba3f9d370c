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
from typing import Any

from keras.src.backend import get_keras_mask

from keras_tally import _backends, _native, _portable
from keras_tally._inputs import prepare
from keras_tally._masks import combine_mask

# Which inputs a program gets, as bits (csrc/bind/program.h).
TRUTH, WEIGHT, MASKED_WEIGHT = 1, 2, 4

# Changes with what a program's state means: a cache on disk may outlive this version.
_FORMAT = 1

# KERAS_TALLY_ROAD=portable goes without kernels, to find out whether they are at fault.
_asked_for = os.environ.get("KERAS_TALLY_ROAD", "")
if _asked_for not in ("", "native", "portable"):
    raise ValueError(
        "the environment variable KERAS_TALLY_ROAD must be `native` or `portable`. "
        f"Received: {_asked_for!r}"
    )
only_portable = _asked_for == "portable"

# An array, where in it the high halves are, how many, and the same of the low ones; no
# low array (-1): integers.
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
    """What a program is made of: a native plan, and what it was made from."""

    plan: Any
    description: Any
    result_dtype: str


@dataclass(frozen=True)
class _Plan:
    portable: Any
    member: Member
    program: Program
    state: tuple[Any, ...]
    takes_values: bool
    sees_mask: bool
    mask_only_with_weight: bool
    # Where the last update and the last result went.
    taken: dict[str, str] = field(default_factory=dict)

    @property
    def twin(self) -> Any:
        """Keras's metric, as the portable road has it."""
        return self.portable.twin


def _define(members: Sequence[Member], places: Sequence[Sequence[Place]]) -> Program:
    described = [[m.description, p] for m, p in zip(members, places, strict=True)]
    text = json.dumps([_FORMAT, described], sort_keys=True, default=repr)
    # In compiled code, also in caches on disk, the key stands for the configuration.
    key = hashlib.sha256(text.encode()).hexdigest()
    _native.define_program(
        key, [(m.plan, list(p)) for m, p in zip(members, places, strict=True)]
    )
    return Program(key, tuple(m.result_dtype for m in members))


def make_plan(
    kernel: str, result: str, variables: Sequence[Any], options: dict[str, Any]
) -> Any:
    """Bind a kernel and a result to the variables: Keras's, then any `compensation`."""
    portable = _portable.make_plan(kernel, result, variables, options)
    plain = {k: v for k, v in options.items() if not callable(v)}
    plain["wrap_result"] = None
    own, low = variables[: len(portable.state)], len(portable.state)
    sizes = [math.prod(v.shape) for v in own]
    if portable.compensation is None:
        places = [(i, 0, n, -1, 0) for i, n in enumerate(sizes)]
    else:
        row = math.prod(portable.compensation.shape[1:])
        places = [(i, 0, n, low, i * row) for i, n in enumerate(sizes)]
    member = Member(
        plan=_native.make_plan(kernel, result, [], plain),
        description=[kernel, result, plain],
        result_dtype=options["result_dtype"],
    )
    return _Plan(
        portable=portable,
        member=member,
        program=_define([member], [places]),
        state=tuple(variables),
        takes_values=portable.takes_values,
        sees_mask=options["sees_mask"],
        mask_only_with_weight=options.get("mask_only_with_weight", False),
    )


def why_portable(*tensors: Any) -> str | None:
    """Return why Keras's operations take these tensors; None where a kernel does."""
    if only_portable:
        return "KERAS_TALLY_ROAD=portable asks for it"
    why: str | None = _backends.active().why_portable(*tensors)
    return why


# Which input it is, the argument's name, and what the user gave.
Input = tuple[int, str, Any]


def _inputs(
    y_true: Any, y_pred: Any, sample_weight: Any, mask: Any, values: bool
) -> list[Input]:
    """List the inputs of a program, in order."""
    inputs: list[Input] = [] if values else [(TRUTH, "y_true", y_true)]
    inputs.append((0, "values" if values else "y_pred", y_pred))
    if sample_weight is not None:
        inputs.append((WEIGHT, "sample_weight", sample_weight))
    if mask is not None:
        masked = combine_mask(mask, sample_weight)
        inputs.append((MASKED_WEIGHT, "sample_weight", masked))
    return inputs


def _run(
    program: Program,
    variables: Sequence[Any],
    inputs: Sequence[Input],
    taken: dict[str, str],
) -> bool:
    """Put the new state into the variables; False where no kernel can make one."""
    backend = _backends.active()
    state = backend.read(variables)
    why = why_portable(*state, *(x for _, _, x in inputs))
    taken["update"] = why or "native"
    if why is not None:
        return False
    given = sum(bit for bit, _, _ in inputs)
    tensors = [prepare(x, argument) for _, argument, x in inputs]
    backend.assign(variables, backend.update(program, state, given, tensors))
    return True


def update(plan: Any, y_true: Any, y_pred: Any, sample_weight: Any, /) -> bool:
    """Add a batch to the state."""
    mask = None
    if plan.sees_mask and (sample_weight is not None or not plan.mask_only_with_weight):
        mask = get_keras_mask(y_pred)
    inputs = _inputs(y_true, y_pred, sample_weight, mask, plan.takes_values)
    if not _run(plan.program, plan.state, inputs, plan.taken):
        _portable.update(plan.portable, y_true, y_pred, sample_weight)
    return True


def result(plan: Any, /) -> Any:
    """Return the result for the state."""
    backend = _backends.active()
    state = backend.read(plan.state)
    why = why_portable(*state)
    plan.taken["result"] = why or "native"
    if why is not None:
        return _portable.result(plan.portable)
    (value,) = backend.results(plan.program, state)
    return value


def reset(plan: Any, /) -> bool:
    """Leave it to the metric, which assigns zeros to its variables."""
    del plan
    return False


@dataclass(frozen=True)
class _Group:
    portable: Any
    program: Program | None
    packs: tuple[Any, ...]
    names: tuple[str, ...]
    sees_mask: bool
    taken: dict[str, str] = field(default_factory=dict)


def make_group(
    plans: Sequence[Any], names: Sequence[str], variables: Sequence[Any]
) -> Any:
    """Bind plans whose states lie in these variables from the start on, in order."""
    index = {pack._dtype: i for i, pack in enumerate(variables)}
    rows = [int(pack.shape[-1]) for pack in variables]
    used = [0] * len(variables)
    places: list[list[Place]] = []
    for plan in plans:
        places.append([])
        for variable in plan.portable.state:
            at, size = index[variable._dtype], math.prod(variable.shape)
            low = -1 if variables[at].shape[0] == 1 else at
            places[-1].append((at, used[at], size, low, rows[at] + used[at]))
            used[at] += size
    return _Group(
        portable=_portable.make_group([p.portable for p in plans], names, variables),
        program=_define([plan.member for plan in plans], places),
        packs=tuple(variables),
        names=tuple(names),
        sees_mask=any(plan.sees_mask for plan in plans),
    )


def update_group(group: Any, y_true: Any, y_pred: Any, sample_weight: Any, /) -> bool:
    """Add a batch to the states of all plans."""
    mask = get_keras_mask(y_pred) if group.sees_mask else None
    inputs = _inputs(y_true, y_pred, sample_weight, mask, values=False)
    if not _run(group.program, group.packs, inputs, group.taken):
        _portable.update_group(group.portable, y_true, y_pred, sample_weight)
    return True


def result_group(group: Any, /) -> Any:
    """Return the results by name."""
    backend = _backends.active()
    state = backend.read(group.packs)
    why = why_portable(*state)
    group.taken["result"] = why or "native"
    if why is not None:
        return _portable.result_group(group.portable)
    values = backend.results(group.program, state)
    return dict(zip(group.names, values, strict=True))


def reset_group(group: Any, /) -> bool:
    """Zero the states."""
    return _portable.reset_group(group.portable)
