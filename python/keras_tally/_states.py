"""What a metric has counted, as numbers that mean the same on every backend.

A metric that waits for the batch that tells its shape has no numbers at all.
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
from keras_tally._numbers import Layout, carry, halves, places_of_lows, total_of
from keras_tally._packed import PairView

IN_PLACE = _backends.writes_in_place
Array = np.ndarray[Any, Any]


class Numbers(NamedTuple):
    """All numbers of a metric, one variable after the other, as float64."""

    layout: Layout
    values: Array


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
    """Return the variables of the kernel's state."""
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
    values = np.empty(count(layout))
    read_into(values, metric, 0)
    return Numbers(layout, values)


def read_values(metric: Any) -> list[Array] | None:
    """Return copies of the values of `named_variables`, all of one moment.

    None: native code cannot read them, and nobody writes to them in place.
    """
    if is_unbuilt(metric) or not IN_PLACE:
        return None
    own = own_variables(metric)
    values = np.empty(count([(v.name, tuple(v.shape)) for v in own]))
    if _native.read_state(metric._plan, values, 0) < 0:
        return None
    read = _backends.active().read_variable
    plain = [np.array(read(v)) for v in plain_variables(metric)]
    return [*(value for _, value in _split(own, values)), *plain]


def exact_value(variable: Any) -> Any:
    """Return all that a variable holds: of pairs, both halves of each number."""
    return variable.pairs if isinstance(variable, PairView) else variable.value


def assign_exact(variable: Any, value: Any) -> None:
    """Set a variable to what `exact_value` has returned."""
    if isinstance(variable, PairView):
        variable.assign_pairs(value)
    else:
        variable.assign(value)


def read_into(values: Array, metric: Any, start: int) -> int:
    """Write a metric's numbers to an array, from this place on.

    Returns:
        How many there are; if there is no room for all, some may not be written.
    """
    return unchanged(lambda: _read_into(values, metric, start))


def _read_into(values: Array, metric: Any, start: int) -> int:
    if is_unbuilt(metric):
        return 0
    at = start
    if IN_PLACE and getattr(metric, "_plan", None) is not None:
        read_natively = _native.read_state(metric._plan, values, at)
        if read_natively >= 0:
            at += read_natively
            # The usual metric has no other variables.
            if len(metric.variables) == len(metric._state):
                return at - start
    variables = list(plain_variables(metric))
    if at == start:
        variables = [*own_variables(metric), *variables]
    for variable in variables:
        found = _numbers_of(variable)
        room = values[at : at + found.size]
        room[...] = found[: room.size]
        at += found.size
    return at - start


def _numbers_of(variable: Any) -> Array:
    if isinstance(variable, PairView):
        part = variable.part
        rows = _backends.active().read_variable(part.pack)[:, part.start : part.stop]
        found: Array = rows.astype("float64").sum(0)
        return found
    read = _backends.active().read_variable(variable)
    flat: Array = np.ravel(read).astype("float64")
    return flat


def dtype_of(variable: Any) -> np.dtype[Any]:
    """Return the dtype of a variable's value."""
    return np.dtype(np.asarray(_backends.active().read_variable(variable)).dtype)


def total(states: Sequence[Numbers], what: str) -> Numbers:
    """Return the sum of states, of which those without numbers add nothing.

    Raises:
        ValueError: they have different variables; `what` names the metric.
    """
    seen = [numbers for numbers in states if numbers.layout]
    if not seen:
        return states[0]
    for other in seen[1:]:
        _check_layouts(seen[0].layout, other.layout, what)
    layout = seen[0].layout
    return Numbers(layout, total_of(layout, [numbers.values for numbers in seen]))


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
        values = numbers.values[at : at + size]
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
    variables = [*own_variables(metric), *plain_variables(metric)]
    for variable, value in _split(variables, _fitting(variables, numbers)):
        assign_exact(variable, value)


def _fitting(variables: Sequence[Any], numbers: Numbers) -> Array:
    """Return numbers of which pairs lose nothing that the low halves can take."""
    values = numbers.values
    if not any(isinstance(variable, PairView) for variable in variables):
        return values
    values = values.copy()
    carry(values, places_of_lows(numbers.layout))
    return values


def _split(variables: Sequence[Any], values: Array) -> list[tuple[Any, Array]]:
    """Return each variable and what it must hold exactly."""
    at, found = 0, []
    for variable in variables:
        shape = tuple(variable.shape)
        own = values[at : at + math.prod(shape)]
        at += own.size
        if isinstance(variable, PairView):
            pairs = halves(own, dtype_of(variable.part.pack))
            found.append((variable, np.stack(pairs).reshape(2, *shape)))
        else:
            value = own.astype(dtype_of(variable)).reshape(shape)
            found.append((variable, value))
    return found


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
