"""What a metric has counted: exact numbers, which mean the same on every backend.

A metric that has seen nothing, and does not know its shape yet, has no numbers at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_tally import _backends, _native
from keras_tally._engine import IN_PLACE

Array = np.ndarray[Any, Any]


class Numbers(NamedTuple):
    """The numbers of one variable, flat.

    `kind` is `pair` (float64, a row of high halves and a row of low ones), `whole`
    (int64), or `plain`: a variable that no kernel knows, in its own dtype.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    values: Array

    @property
    def layout(self) -> tuple[str, tuple[int, ...], str]:
        """All but the values."""
        return self[:3]


def members_of(metric: Any) -> dict[str, Any]:
    """Return the members of a group by name, or the metric itself."""
    members = getattr(metric, "_members", None)
    return {"": metric} if members is None else members


def is_unbuilt(metric: Any) -> bool:
    """Tell whether the metric still waits for the batch that tells its shape."""
    return getattr(metric, "_built", True) is False


def _own_variables(metric: Any) -> tuple[Any, ...]:
    own: tuple[Any, ...] = metric._own_state() if hasattr(metric, "_own_state") else ()
    return own


def _plain_variables(metric: Any) -> list[Any]:
    state = {id(v) for v in getattr(metric, "_state", ())}
    return [v for v in metric.variables if id(v) not in state]


def read(metric: Any) -> list[Numbers]:
    """Return copies of a metric's numbers; none before it knows its shape.

    Raises:
        ValueError: in a stateless scope, where the variables are not the state.
    """
    if in_stateless_scope():
        raise ValueError(
            "inside of a stateless scope or a compiled step nobody knows a metric's "
            "state. Do it outside."
        )
    if is_unbuilt(metric):
        return []
    numbers = []
    for i, variable in enumerate(_own_variables(metric)):
        values = metric._exact_numbers(i)
        kind = "whole" if values.ndim == 1 else "pair"
        numbers.append(Numbers(variable.name, tuple(variable.shape), kind, values))
    for variable in _plain_variables(metric):
        values = np.array(_backends.active().read_variable(variable)).reshape(-1)
        numbers.append(Numbers(variable.name, tuple(variable.shape), "plain", values))
    return numbers


def check_fits(metric: Any, numbers: Sequence[Numbers]) -> None:
    """Refuse numbers that the metric has no variables for.

    Raises:
        ValueError: other names, shapes or kinds; whole numbers that the backend's
            integers cannot hold.
    """
    if not numbers:
        return
    expected = [n.layout for n in read(metric)]
    received = [n.layout for n in numbers]
    if expected != received:
        raise ValueError(
            f"the states must have the same variables. {metric.name!r} has "
            f"{_shown(expected)}. Received: {_shown(received)}"
        )
    for variable, number in zip(_own_variables(metric), numbers, strict=False):
        dtype = dtype_of(variable)
        if dtype.kind == "i" and number.values.size:
            total = number.values if number.kind == "whole" else number.values.sum(0)
            limits = np.iinfo(dtype)
            if total.min() < limits.min or total.max() > limits.max:
                raise ValueError(
                    f"the numbers of `{number.name}` must fit into {dtype}, the "
                    "integers of this backend. Received: from "
                    f"{total.min()} to {total.max()}"
                )


def _shown(layouts: Sequence[tuple[str, tuple[int, ...], str]]) -> str:
    return ", ".join(f"{name}{list(shape)} ({kind})" for name, shape, kind in layouts)


def write(metric: Any, numbers: Sequence[Numbers]) -> None:
    """Make these numbers, which fit, the state; none: that of nothing seen."""
    if not numbers:
        metric.reset_state()
        return
    own = _own_variables(metric)
    if own:
        metric._assign_numbers([number.values for number in numbers[: len(own)]])
    plain = zip(_plain_variables(metric), numbers[len(own) :], strict=True)
    for variable, number in plain:
        variable.assign(number.values.reshape(number.shape))


def add(numbers: Sequence[Numbers], others: Sequence[Sequence[Numbers]]) -> None:
    """Add the numbers of other states, one after the other, to these.

    Pairs are added as updates add to them: without error in all whole numbers, and
    with one of at most 2^-105 of the sum in others.
    """
    for i, number in enumerate(numbers):
        added = [other[i].values for other in others]
        if number.kind == "pair":
            _native.add_pairs(number.values, np.stack(added))
        else:
            for values in added:
                np.add(number.values, values, out=number.values)


def build_like(metric: Any, arguments: Sequence[Any]) -> None:
    """Give a metric that waits for its first batch the shape of another one."""
    metric._build(*[None if a is None else tuple(a) for a in arguments])


def total(states: Sequence[list[Numbers]], what: str) -> list[Numbers]:
    """Return the sum of states, of which those without numbers add nothing.

    Raises:
        ValueError: they have different variables; `what` names the metric.
    """
    seen = [numbers for numbers in states if numbers]
    if not seen:
        return []
    first = seen[0]
    for other in seen[1:]:
        if [n.layout for n in other] != [n.layout for n in first]:
            raise ValueError(
                f"the states of {what} must have the same variables. Received: "
                f"{_shown([n.layout for n in first])}, and "
                f"{_shown([n.layout for n in other])}"
            )
    sums = [n._replace(values=n.values.copy()) for n in first]
    if len(seen) > 1:
        add(sums, seen[1:])
    return sums


def assign_whole(variable: Any, values: Array) -> None:
    """Put whole numbers, which fit, into a variable."""
    variable.assign(values.reshape(variable.shape).astype(dtype_of(variable)))


def halves_in(values: Array, dtype: Any) -> tuple[Array, Array]:
    """Return the halves of pairs in the dtype of a backend's variables."""
    if not np.issubdtype(dtype, np.floating):
        total = values.sum(0)
        return total.astype(dtype), np.zeros(total.shape, dtype)
    if dtype == values.dtype:
        return values[0], values[1]
    with np.errstate(over="ignore", invalid="ignore"):
        high = values[0].astype(dtype)
        low = ((values[0] - high) + values[1]).astype(dtype)
    # What an infinite or overflown sum leaves is no number.
    return high, np.where(np.isfinite(high), low, dtype.type(0))


def exact_pairs(high: Array, low: Array) -> Array:
    """Return pairs of float64 for halves in any dtype."""
    pairs = np.stack([high, low]).astype("float64")
    if not IN_PLACE:  # halves that overlap
        with np.errstate(invalid="ignore"):
            sums = pairs[0] + pairs[1]
            rest = pairs[1] - (sums - pairs[0])
        pairs = np.stack([sums, np.where(np.isfinite(sums), rest, 0.0)])
    return pairs


def dtype_of(variable: Any) -> Any:
    """Return the dtype of a variable's value."""
    return np.asarray(_backends.active().read_variable(variable)).dtype


def compensation_rows(like: Any, lows: Sequence[tuple[Array, Any]]) -> Array:
    """Return what the variable of low halves holds: a row for each variable."""
    rows = np.zeros(like.shape, dtype_of(like))
    for row, (low, shape) in zip(rows, lows, strict=True):
        if IN_PLACE:
            row.reshape(-1)[: low.size] = low
        else:
            row[...] = low.reshape(shape)
    return rows


def plain(value: Any) -> Any:
    """Return a config's value as JSON has it; what JSON lacks becomes its name."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        name = getattr(value, "__qualname__", type(value).__qualname__)
        return f"{getattr(value, '__module__', '')}.{name}"
    return str(value)


def class_name(metric: Any) -> str:
    """Return the class's registered name, or where it was defined."""
    cls = type(metric)
    if keras.saving.get_registered_name(cls) != cls.__name__:
        return str(keras.saving.get_registered_name(cls))
    return f"{cls.__module__}.{cls.__qualname__}"


def describe(metric: Any) -> dict[str, Any]:
    """Return class and config of each member: what states that can be added share."""
    known: dict[str, Any] | None = vars(metric).get("_described")
    if known is None:
        known = {}
        for key, member in members_of(metric).items():
            copied = getattr(member, "_copied_config", member.get_config)()
            config = {k: plain(v) for k, v in copied.items() if k != "name"}
            known[key] = {"class": class_name(member), "config": config}
        # Past Keras's tracking. A metric's config is fixed when it is made.
        object.__setattr__(metric, "_described", known)
    return known


def difference(mine: Any, theirs: Any) -> str | None:
    """Return in words what differs first between two descriptions; None: nothing."""
    if list(mine) != list(theirs):
        return f"the members {list(theirs)} instead of {list(mine)}"
    for key, own in mine.items():
        other = theirs[key]
        where = f" of {key!r}" if key else ""
        if own["class"] != other["class"]:
            return f"the class {other['class']}{where} instead of {own['class']}"
        for name in sorted({*own["config"], *other["config"]}):
            a, b = own["config"].get(name), other["config"].get(name)
            if json.dumps(a) != json.dumps(b):
                return f"{name}={b!r}{where} instead of {a!r}"
    return None


def entries(shape: Sequence[int]) -> int:
    """Return how many numbers an array of this shape holds."""
    return math.prod(shape)
