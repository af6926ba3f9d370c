"""What a metric has counted, as numbers that mean the same on every backend.

Each number is a pair of float64, a high and a low half, whose sum is the number. A
metric that waits for the batch that tells its shape has no numbers at all.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_tally import _backends, _native
from keras_tally._atomic import unchanged

IN_PLACE = _backends.writes_in_place
Array = np.ndarray[Any, Any]
# A variable's name and shape.
Layout = list[tuple[str, tuple[int, ...]]]


class Numbers(NamedTuple):
    """All numbers of a metric, one variable after the other."""

    layout: Layout
    pairs: Array  # of shape (2, n)


def members_of(metric: Any) -> dict[str, Any]:
    """Return the members of a group by name, or the metric itself."""
    members = getattr(metric, "_members", None)
    return {"": metric} if members is None else members


def is_unbuilt(metric: Any) -> bool:
    """Tell whether the metric still waits for the batch that tells its shape."""
    return getattr(metric, "_built", True) is False


def is_late(metric: Any) -> bool:
    """Tell whether the metric's shape does not follow from its config."""
    return hasattr(metric, "_built")


def build_arguments(metric: Any) -> Sequence[Any]:
    """Return what a metric that was built late has been built with.

    These are shapes, of which the size of the first batch does not matter.
    """
    shapes = getattr(metric, "_keras_build_args", ())
    return [None if shape is None else [None, *shape[1:]] for shape in shapes]


def own_variables(metric: Any) -> tuple[Any, ...]:
    """Return the variables of the kernel's state, without their low halves."""
    own: tuple[Any, ...] = metric._own_state() if hasattr(metric, "_own_state") else ()
    return own


def named_variables(metric: Any) -> list[Any]:
    """Return the variables as Keras names them, also where the state lies elsewhere."""
    named = getattr(metric, "named_variables", None)
    return list(metric.variables if named is None else named())


def plain_variables(metric: Any) -> list[Any]:
    """Return the variables that no kernel knows."""
    state = {id(v) for v in getattr(metric, "_state", ())}
    return [v for v in named_variables(metric) if id(v) not in state]


def layout_of(metric: Any) -> Layout:
    """Return names and shapes of the variables whose numbers are read."""
    if is_unbuilt(metric):
        return []
    variables = (*own_variables(metric), *plain_variables(metric))
    return [(v.name, tuple(v.shape)) for v in variables]


def count(layout: Layout) -> int:
    """Return how many numbers such variables hold."""
    return sum(math.prod(shape) for _, shape in layout)


def check_scope() -> None:
    """Refuse to read states where nobody knows them.

    Raises:
        ValueError: in a stateless scope, whose variables are not the state.
    """
    if in_stateless_scope():
        raise ValueError(
            "inside of a stateless scope or a compiled step nobody knows a metric's "
            "state. Do it outside."
        )


def read(metric: Any) -> Numbers:
    """Return copies of a metric's numbers.

    Raises:
        ValueError: in a stateless scope.
    """
    check_scope()
    layout = layout_of(metric)
    pairs = np.empty((2, count(layout)))
    read_into(pairs, metric, 0)
    return Numbers(layout, pairs)


def read_values(metric: Any) -> list[Array] | None:
    """Return copies of the values of `named_variables`, all of one moment.

    None: native code cannot read them, and nobody writes to them in place.
    """
    if is_unbuilt(metric) or not IN_PLACE:
        return None
    own = own_variables(metric)
    pairs = np.empty((2, count([(v.name, tuple(v.shape)) for v in own])))
    if _native.read_pairs(metric._plan, pairs, 0) < 0:
        return None
    read = _backends.active().read_variable
    plain = [np.array(read(v)) for v in plain_variables(metric)]
    return [*(value for _, value in _own_values(metric, pairs)), *plain]


def read_into(pairs: Array, metric: Any, column: int) -> int:
    """Write a metric's numbers to the columns from this one on.

    Returns:
        How many there are; if there is no room for all, some may not be written.
    """
    return unchanged(lambda: _read_into(pairs, metric, column))


def _read_into(pairs: Array, metric: Any, column: int) -> int:
    if is_unbuilt(metric):
        return 0
    at = column
    if IN_PLACE and getattr(metric, "_plan", None) is not None:
        read_natively = _native.read_pairs(metric._plan, pairs, at)
        if read_natively >= 0:
            at += read_natively
            # The usual metric has no other variables.
            if len(metric.variables) == len(metric._state):
                return at - column
    read_variable = _backends.active().read_variable
    halves = []
    if at == column:
        own = own_variables(metric)
        halves += [metric._exact_pairs(i) for i in range(len(own))]
    halves += [exact_pairs(np.ravel(read_variable(v))) for v in plain_variables(metric)]
    for some in halves:
        room = pairs[:, at : at + some.shape[1]]
        room[...] = some[:, : room.shape[1]]
        at += some.shape[1]
    return at - column


def exact_pairs(high: Array, low: Array | float = 0.0) -> Array:
    """Return pairs for halves in any dtype, which may overlap."""
    if high.dtype.kind in "iub":
        whole = high.astype("int64") + np.asarray(low).astype("int64")
        rest = np.where(np.abs(whole) < 2**48, 0, whole % 4096)
        return np.stack([whole - rest, rest]).astype("float64")
    first = high.astype("float64")
    second = np.broadcast_to(np.asarray(low, "float64"), first.shape)
    if IN_PLACE:
        return np.stack([first, second])
    with np.errstate(invalid="ignore"):
        sums = first + second
        rest = second - (sums - first)
    return np.stack([sums, np.where(np.isfinite(sums), rest, 0.0)])


def halves_in(pairs: Array, dtype: Any) -> tuple[Array, Array]:
    """Return the halves of pairs in the dtype of a backend's variables."""
    if dtype.kind in "iub":
        return pairs.astype("int64").sum(0).astype(dtype), np.zeros(pairs.shape[1])
    if dtype == pairs.dtype:
        return pairs[0], pairs[1]
    with np.errstate(over="ignore", invalid="ignore"):
        high = pairs[0].astype(dtype)
        low = ((pairs[0] - high) + pairs[1]).astype(dtype)
    # What an infinite or overflown sum leaves is no number.
    return high, np.where(np.isfinite(high), low, dtype.type(0))


def dtype_of(variable: Any) -> np.dtype[Any]:
    """Return the dtype of a variable's value."""
    return np.dtype(np.asarray(_backends.active().read_variable(variable)).dtype)


def total(states: Sequence[Numbers], what: str) -> Numbers:
    """Return the sum of states, of which those without numbers add nothing.

    They are added one after the other, as updates add to a state: without error in
    all whole numbers, and with one of at most 2^-105 of the sum in others.

    Raises:
        ValueError: they have different variables; `what` names the metric.
    """
    seen = [numbers for numbers in states if numbers.layout]
    if not seen:
        return states[0]
    for other in seen[1:]:
        _check_layouts(seen[0].layout, other.layout, what)
    pairs = seen[0].pairs.copy()
    if len(seen) > 1:
        _native.add_pairs(pairs, np.stack([numbers.pairs for numbers in seen[1:]]))
    return Numbers(seen[0].layout, pairs)


def _check_layouts(expected: Layout, received: Layout, what: str) -> None:
    if expected != received:
        shown = [
            ", ".join(f"{name}{list(shape)}" for name, shape in layout)
            for layout in (expected, received)
        ]
        raise ValueError(
            f"states of {what} must have the same variables to go together: "
            f"{shown[0]}. Received: {shown[1]}"
        )


def build_like(metric: Any, arguments: Sequence[Any]) -> None:
    """Give a metric that waits for its first batch the shape of another one.

    Raises:
        ValueError: it cannot be done to this metric.
    """
    if not arguments:
        raise ValueError(
            f"{metric.name!r} has seen no batch yet, and cannot take a state before"
        )
    metric._build(*[None if a is None else tuple(a) for a in arguments])


def check_fits(metric: Any, numbers: Numbers) -> None:
    """Refuse numbers that the metric has no variables for.

    Raises:
        ValueError: other names or shapes; whole numbers that the backend's integers
            cannot hold.
    """
    if not numbers.layout:
        return
    _check_layouts(layout_of(metric), numbers.layout, repr(metric.name))
    at = 0
    for variable in (*own_variables(metric), *plain_variables(metric)):
        size = math.prod(variable.shape)
        values = numbers.pairs[:, at : at + size].sum(0)
        at += size
        dtype = dtype_of(variable)
        if dtype.kind in "iu" and size:
            low, high = values.min(), values.max()
            limits = np.iinfo(dtype)
            if not (limits.min <= low and high <= limits.max):
                raise ValueError(
                    f"the numbers of `{variable.name}` must fit into {dtype}, the "
                    f"integers of this backend. Received: from {low:.0f} to {high:.0f}"
                )


def write(metric: Any, numbers: Numbers) -> None:
    """Make these numbers, which fit, the state; none: that of nothing seen."""
    if not numbers.layout:
        metric.reset_state()
        return
    values = _own_values(metric, numbers.pairs)
    at = sum(math.prod(variable.shape) for variable in own_variables(metric))
    values += _values(plain_variables(metric), numbers.pairs[:, at:])
    for variable, value in values:
        variable.assign(value)


def _own_values(metric: Any, pairs: Array) -> list[tuple[Any, Array]]:
    """Return the variables of the kernel's state, with their low halves, and values."""
    own = own_variables(metric)
    lows: list[tuple[Array, Any]] = []
    values = _values(own, pairs, lows)
    compensation = getattr(metric, "compensation", None)
    if compensation is not None:
        values.append((compensation, _rows(compensation, lows)))
    return values


def _values(
    variables: Sequence[Any], pairs: Array, lows: list[tuple[Array, Any]] | None = None
) -> list[tuple[Any, Array]]:
    """Return each variable and its value; append what it cannot hold to `lows`."""
    at, values = 0, []
    for variable in variables:
        size, shape = math.prod(variable.shape), tuple(variable.shape)
        high, low = halves_in(pairs[:, at : at + size], dtype_of(variable))
        at += size
        values.append((variable, high.reshape(shape)))
        if lows is not None:
            lows.append((low, shape))
    return values


def _rows(like: Any, lows: Sequence[tuple[Array, Any]]) -> Array:
    """Return what the variable of low halves holds: a row for each variable."""
    rows = np.zeros(like.shape, dtype_of(like))
    for i, (low, shape) in enumerate(lows):
        if IN_PLACE:
            rows[i : i + 1].reshape(-1)[: low.size] = low
        else:
            rows[i, ...] = low.reshape(shape)
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
    registered = str(keras.saving.get_registered_name(cls))
    if registered != cls.__name__:
        return registered
    return f"{cls.__module__}.{cls.__qualname__}"


def describe(metric: Any) -> dict[str, Any]:
    """Return class and config of each member: what states that can be added share."""
    known: dict[str, Any] | None = vars(metric).get("_described")
    if known is None:
        known = {}
        for key, member in members_of(metric).items():
            given = member.get_config().items()
            config = {k: plain(v) for k, v in given if k != "name"}
            known[key] = {"class": class_name(member), "config": config}
        # Past Keras's tracking. A metric's config is fixed when it is made.
        object.__setattr__(metric, "_described", known)
    return known


def digest(metric: Any) -> bytes:
    """Return the digest of `describe`."""
    known: bytes | None = vars(metric).get("_digest")
    if known is None:
        text = json.dumps(describe(metric)).encode()
        known = hashlib.sha256(text).digest()
        object.__setattr__(metric, "_digest", known)
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
