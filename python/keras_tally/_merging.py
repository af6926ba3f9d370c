"""States that leave a metric, come back, and are added up."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_tally import _backends, _bytes, _states
from keras_tally._atomic import unchanged
from keras_tally._packed import PairView
from keras_tally._states import Numbers, members_of

# For each member of a group: the arguments of its `_build`, and its numbers.
States = dict[str, tuple[Sequence[Any], Numbers]]


def read_states(metric: Any) -> States:
    """Return copies of the states of all members."""
    return {
        key: (_states.build_arguments(member), _states.read(member))
        for key, member in members_of(metric).items()
    }


def total_states(metric: Any, states: Sequence[States]) -> States:
    """Return the sum of states of metrics like this one.

    Raises:
        ValueError: a member has different variables in two of them.
    """
    totals: States = {}
    for key, member in members_of(metric).items():
        of_member = [state[key] for state in states]
        arguments = next((a for a, numbers in of_member if numbers.layout), ())
        numbers = [numbers for _, numbers in of_member]
        totals[key] = arguments, _states.total(numbers, repr(member.name))
    return totals


def write_states(metric: Any, states: States) -> None:
    """Make these the states of the members, all of them or none.

    Raises:
        ValueError: they do not fit.
    """
    members = members_of(metric)
    for key, (arguments, numbers) in states.items():
        if numbers.layout and _states.is_unbuilt(members[key]):
            _states.build_like(members[key], arguments)
    for key, (_, numbers) in states.items():
        _states.check_fits(members[key], numbers)
    for key, (_, numbers) in states.items():
        _states.write(members[key], numbers)
    metric._states_written()


def check_alike(metric: Any, other: Any) -> None:
    """Refuse a metric whose state means something else.

    Raises:
        TypeError: `other` is no metric of this package.
        ValueError: another class, or another config but for the name.
    """
    if not isinstance(other, Mergeable):
        raise TypeError(
            "`others` must be metrics of keras_tally, or a list of them. "
            f"Received: {other!r} ({type(other).__name__})"
        )
    found = _states.difference(_states.describe(metric), _states.describe(other))
    if found is not None or type(other) is not type(metric):
        raise ValueError(
            "only states of metrics of one class and config add up. "
            f"{metric.name!r} was to take the state of {other.name!r}, which has "
            f"{found or f'the class {type(other).__name__}'}"
        )


class Mergeable:
    """What metrics and groups have in common: states that can be moved and added."""

    name: str

    def merge_state(self, others: Any) -> Any:
        """Add the states of other metrics, as if their data had been seen here.

        Formula: the sum of all states, variable by variable, in float64. Whole numbers
        (counts, sums of whole weights) are exact to 2^53, in any order; the order
        changes other sums by roundings of float64.

        Args:
            others: a metric of the same class and config, or a list of such; the
                names may differ. A group takes groups with the same members.

        Returns:
            The metric itself.

        Raises:
            ValueError: another class or config (the error names what differs), or
                variables of another shape; the state is as it was.
            TypeError: something that is no metric of this package.

        Example:

        >>> import keras_tally as kt
        >>> a, b = kt.Mean(), kt.Mean()
        >>> a.update_state([1, 2])
        >>> b.update_state([6])
        >>> float(a.merge_state(b).result())
        3.0
        """
        listed = list(others) if isinstance(others, list | tuple) else [others]
        for other in listed:
            check_alike(self, other)
        states = [read_states(metric) for metric in (self, *listed)]
        write_states(self, total_states(self, states))
        return self

    def __add__(self, other: Any) -> Any:
        """Return a new metric that has seen the data of both."""
        if not isinstance(other, Mergeable):
            return NotImplemented
        check_alike(self, other)
        both = total_states(self, [read_states(self), read_states(other)])
        new = copy.deepcopy(self)
        write_states(new, both)
        return new

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state, for `torch.save` and the like.

        Returns:
            A dict of `class`, `config`, `built` (what a metric knows of the shape of
            its data, or None) and `variables`: the backend's own tensors by name, on
            torch such that `torch.load(weights_only=True)` reads them. (On JAX and
            TensorFlow, where a number is the sum of a pair of float32, they have shape
            `(2, ...)`.) A group's dict holds one of these for each member, under
            `members`.

        Raises:
            ValueError: in a stateless scope.

        Example:

        >>> import keras_tally as kt
        >>> m = kt.Mean()
        >>> m.update_state([1, 2])
        >>> sorted(m.state_dict()["variables"])
        ['count', 'total']
        """
        members = {
            key: {
                **_states.describe(self)[key],
                "built": None
                if _states.is_unbuilt(member)
                else _states.build_arguments(member),
                "variables": _copied_variables(member),
            }
            for key, member in members_of(self).items()
        }
        return members[""] if list(members) == [""] else {"members": members}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take the state that `state_dict()` has returned, bit for bit.

        Args:
            state: what a metric of the same class and config has returned on a
                backend with the same dtypes (`to_bytes` knows no such limit).

        Raises:
            ValueError: another class or config, missing or unknown variables, other
                shapes or dtypes; the state is as it was.
            TypeError: `state` is no dict.

        Example:

        >>> import keras_tally as kt
        >>> m, again = kt.Mean(), kt.Mean()
        >>> m.update_state([1, 2])
        >>> again.load_state_dict(m.state_dict())
        >>> float(again.result())
        1.5
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                "`state` must be a dict, as state_dict() returns it. "
                f"Received: {type(state).__name__}"
            )
        members = members_of(self)
        given = {"": state} if list(members) == [""] else state.get("members")
        if not isinstance(given, Mapping) or any(
            not isinstance(entry, Mapping)
            or not {"class", "config", "built", "variables"} <= set(entry)
            for entry in given.values()
        ):
            raise ValueError(
                "`state` must be a dict as state_dict() returns it. Received: one "
                f"with the keys {list(state)}"
            )
        found = _states.difference(_states.describe(self), given)
        if found is not None:
            raise ValueError(f"`state` is that of another metric: it has {found}")
        for key, member in members.items():
            arguments = given[key]["built"]
            if arguments is not None and _states.is_unbuilt(member):
                _check_arguments(arguments)
                _states.build_like(member, arguments)
        values = {key: _values_for(m, given[key]) for key, m in members.items()}
        for key, member in members.items():
            if not values[key]:
                member.reset_state()
            for variable, value in zip(
                _variables_of(member), values[key], strict=False
            ):
                _states.assign_exact(variable, value)
        self._states_written()

    def to_bytes(self) -> bytes:
        """Return class, config and state as bytes that any machine can read.

        The format is documented in docs/merging.md. `keras_tally.from_bytes` reads it
        on every backend, and executes nothing that it reads.

        Raises:
            ValueError: a class that is not of this package, or whose config holds
                functions: pickle those.

        Example:

        >>> import keras_tally as kt
        >>> m = kt.Mean()
        >>> m.update_state([1, 2])
        >>> float(kt.from_bytes(m.to_bytes()).result())
        1.5
        """
        return _bytes.encode(self)

    def _states_written(self) -> None:
        """Do what is due after the states have changed from outside."""


def _variables_of(metric: Any) -> list[Any]:
    if _states.is_unbuilt(metric):
        return []
    return _states.named_variables(metric)


def _copied_variables(metric: Any) -> dict[str, Any]:
    variables = _variables_of(metric)
    values = _states.read_values(metric)
    if values is None:
        exact = _states.exact_value
        values = unchanged(lambda: [keras.ops.copy(exact(v)) for v in variables])
    else:
        backend = _backends.in_place_backend()
        values = [
            backend.place_like(keras.ops.convert_to_tensor(x, dtype=v._dtype), v.value)
            for v, x in zip(variables, values, strict=True)
        ]
    return {v.name: value for v, value in zip(variables, values, strict=True)}


def _check_arguments(arguments: Any) -> None:
    ok = isinstance(arguments, list) and all(
        a is None or (isinstance(a, list) and all(isinstance(n, int | None) for n in a))
        for a in arguments
    )
    if not ok:
        raise ValueError(
            f"`built` must be a list of shapes, or None. Received: {arguments!r}"
        )


def _exact_array(variable: Any) -> Any:
    if isinstance(variable, PairView):
        return keras.ops.convert_to_numpy(variable.pairs)
    return _backends.active().read_variable(variable)


def _values_for(metric: Any, entry: Mapping[str, Any]) -> list[Any]:
    """Return the values for a metric's variables, in order; none: nothing was seen."""
    variables = {v.name: _exact_array(v) for v in _variables_of(metric)}
    given = entry["variables"]
    if entry["built"] is None and not given:
        return []
    if set(given) != set(variables):
        raise ValueError(
            f"`state` must have the variables {sorted(variables)}. "
            f"Received: {sorted(given)}"
        )
    values = []
    for name, own in variables.items():
        value = keras.ops.convert_to_numpy(given[name])
        if value.shape != own.shape or value.dtype != own.dtype:
            raise ValueError(
                f"`{name}` must have the shape {own.shape} and the dtype {own.dtype}. "
                f"Received: shape {value.shape}, dtype {value.dtype}"
            )
        values.append(np.array(value))
    return values
