"""The base class of users' own metrics: Keras's, with sums that lose nothing."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import wraps
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_tally import _backends, _native
from keras_tally._atomic import change
from keras_tally._engine import IN_PLACE
from keras_tally._portable import add_exactly


class SharedVariable(keras.Variable):  # type: ignore[misc]
    """A variable to which several threads may add: none of it is lost."""

    def assign_add(self, value: Any) -> Any:
        """Add a number, or one to each entry."""
        change([self], lambda values: self._with(value, *values))
        return self.value

    def assign_sub(self, value: Any) -> Any:
        """Subtract a number, or one from each entry."""
        return self.assign_add(-keras.ops.convert_to_tensor(value))

    def _with(self, value: Any, *state: Any) -> Sequence[Any]:
        (own,) = state
        return [self._fitting(keras.ops.cast(keras.ops.add(own, value), self._dtype))]

    def _fitting(self, value: Any) -> Any:
        shape = tuple(value.shape)
        if None not in shape and shape != tuple(self.shape):
            raise ValueError(
                f"what is added to {self.path} must fit its shape {tuple(self.shape)}. "
                f"Received: numbers that make a sum of shape {shape}"
            )
        return value


class ExactVariable(SharedVariable):
    """A variable to which numbers are added without rounding errors.

    What its dtype cannot hold is in a second variable, `low`: the sum of both is exact.
    """

    low: Any = None

    def assign(self, value: Any) -> Any:
        """Set the variable; what was left over from sums is gone."""
        new = super().assign(value)
        if self.low is not None:  # there, but for the first value of all
            self.low.assign(keras.ops.zeros(self.low.shape, dtype=self.low.dtype))
        return new

    def assign_add(self, value: Any) -> Any:
        """Add a number, or one to each entry."""
        if not hasattr(value, "shape"):
            value = np.asarray(value, "float64")
        if not (IN_PLACE and not in_stateless_scope() and self._add_in_place(value)):
            change([self, self.low], lambda halves: self._with(value, *halves))
        return self.value

    def _add_in_place(self, value: Any) -> bool:
        """Add to the variable's memory; return False where that is impossible."""
        halves = self._value, self.low._value
        if tuple(value.shape) in ((), tuple(self.shape)) and _native.add_exactly(
            *halves, value
        ):
            return True
        # What is on a device, or not laid out like the variable.
        value = keras.ops.cast(value, self._dtype)
        value = self._fitting(keras.ops.zeros(self.shape, self._dtype) + value)
        backend = _backends.active()
        value = backend.prepare(value, "value", backend.on_device(self._value))
        return _native.add_exactly(*halves, value)

    def _with(self, value: Any, *state: Any) -> Sequence[Any]:
        high, low = state
        high, low = add_exactly(high, low, keras.ops.cast(value, self._dtype))
        return self._fitting(high), low


def _reads_variables(result: Any) -> Any:
    """Let a `result()` that returns variables return copies of their values.

    In a train step of JAX, what a variable holds is gone with the step's scope; on
    torch, a later update would change the result.
    """

    def read(x: Any) -> Any:
        return keras.ops.copy(x.value) if isinstance(x, keras.Variable) else x

    @wraps(result)
    def reading(self: Any) -> Any:
        return keras.tree.map_structure(read, result(self))

    return reading


class Metric(keras.metrics.Metric):  # type: ignore[misc]
    """Keras's base class of metrics, whose variables add up exactly.

    Write a metric as Keras's documentation says: variables from `add_weight()` or
    `add_variable()`, and `update_state()`, `result()`, `get_config()`. What
    `assign_add()` adds to a variable of floats loses nothing: counts do not stop at
    16,777,216, and a million small numbers arrive at their sum. On torch and NumPy such
    variables are float64; everywhere each one has a second one beside it, named
    `..._low`, that takes what its dtype cannot hold.

    A `result()` may return a variable itself (in Keras, that fails on JAX): it is read.

    `isinstance(metric, keras_tally.Metric)` holds for every metric of this package.

    Example:

    >>> import keras
    >>> import keras_tally as kt
    >>> class Positives(kt.Metric):
    ...     def __init__(self, name="positives", dtype=None):
    ...         super().__init__(name=name, dtype=dtype)
    ...         self.total = self.add_weight(name="total", initializer="zeros")
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.total.assign_add(keras.ops.sum(keras.ops.cast(y_true, "float32")))
    ...     def result(self):
    ...         return self.total
    >>> m = Positives()
    >>> _ = m.total.assign(2.0**24)
    >>> m.update_state([1.0], [0.5])
    >>> m.exact_state() == {"total": 2**24 + 1}
    True

    Source: `keras.metrics.Metric`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        result = vars(cls).get("result")
        if result is not None and not cls.__module__.startswith("keras_tally."):
            cls.result = _reads_variables(result)

    def add_variable(
        self,
        shape: Any,
        initializer: Any,
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Any:
        """Add a variable; of floats, one that adds up exactly."""
        dtype = keras.backend.standardize_dtype(dtype)
        self._check_super_called()
        backend = _backends.active()
        is_float = keras.backend.is_float_dtype(dtype)
        options: dict[str, Any] = {
            "shape": shape,
            "dtype": backend.state_dtype(dtype) if is_float else dtype,
            "trainable": False,
            "aggregation": aggregation,
            "synchronization": "on_read",
        }
        kind = ExactVariable if is_float else SharedVariable
        with keras.name_scope(self.name.replace("/", ">"), caller=self):
            variable = kind(
                initializer=keras.initializers.get(initializer), name=name, **options
            )
            made = [variable]
            if is_float:
                variable.low = keras.Variable(
                    initializer=keras.initializers.Zeros(),
                    name=f"{variable.name}_low",
                    **options,
                )
                made.append(variable.low)
        # Not an attribute of the metric: the order of its variables matters.
        for each in made:
            self._tracker.add_to_store("variables", each)
            backend.settle(each)
        return variable

    def _add_plain_variable(self, *args: Any, **kwargs: Any) -> Any:
        """Add a variable as Keras does: one whose low halves are kept elsewhere."""
        return super().add_variable(*args, **kwargs)

    def exact_state(self) -> dict[str, Any]:
        """Return the state without rounding.

        Returns:
            For each variable's name, a Python `int` (or `Fraction`, where it is
            no whole number), or nested lists of them in the variable's shape. A
            value that is infinite or NaN stays a `float`.
        """
        exact = {}
        lows = {id(v.low) for v in self.variables if isinstance(v, ExactVariable)}
        for variable in self.variables:
            if id(variable) in lows:
                continue
            high = keras.ops.convert_to_numpy(variable.value)
            low = high - high
            if isinstance(variable, ExactVariable):
                low = keras.ops.convert_to_numpy(variable.low.value)
            exact[variable.name] = sum_exactly(high.tolist(), low.tolist())
        return exact


def sum_exactly(high: Any, low: Any) -> Any:
    """Return the sums of two numbers, or of nested lists of them, without rounding."""
    if isinstance(high, list):
        return [sum_exactly(h, r) for h, r in zip(high, low, strict=True)]
    if high - high != 0:
        return high
    exact = Fraction(high) + Fraction(low)
    return int(exact) if exact.denominator == 1 else exact
