"""The base class of users' own metrics: Keras's, whose variables count on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

import keras
import numpy as np

from keras_tally import _backends
from keras_tally._atomic import change
from keras_tally._packed import Constant, Part, check_fits, rows_of


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
        # Not `keras.ops.add`, which on NumPy makes float32 of float64.
        total = own + keras.ops.cast(value, self._dtype)
        return [check_fits(self, keras.ops.cast(total, self._dtype))]


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
    """Keras's base class of metrics, whose variables count past float32.

    Write a metric as Keras's documentation says: variables from `add_weight()` or
    `add_variable()`, and `update_state()`, `result()`, `get_config()`. A variable of
    floats is float64 on torch and NumPy, so that counts do not stop at 16,777,216, and
    a million small numbers arrive at their sum; on JAX and TensorFlow its numbers are
    pairs of float32, which hold 48 bits: add with `assign_add()`.

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
    >>> _ = m.total.assign_add(-(2.0**24))
    >>> float(m.result())
    1.0

    Source: `keras.metrics.Metric`.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        result = vars(cls).get("result")
        if result is not None and not cls.__module__.startswith("keras_tally."):
            cls.result = _reads_variables(result)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Past Keras's tracking: for the variables of pairs, what stands for them.
        object.__setattr__(self, "_views", {})
        super().__init__(*args, **kwargs)

    def add_variable(
        self,
        shape: Any,
        initializer: Any,
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Any:
        """Add a variable; of floats, one that counts past float32."""
        dtype = keras.backend.standardize_dtype(dtype)
        self._check_super_called()
        backend = _backends.active()
        is_float = keras.backend.is_float_dtype(dtype)
        options: dict[str, Any] = {
            "dtype": backend.state_dtype(dtype) if is_float else dtype,
            "trainable": False,
            "aggregation": aggregation,
            "synchronization": "on_read",
            "name": name,
        }
        first = keras.initializers.get(initializer)
        with keras.name_scope(self.name.replace("/", ">"), caller=self):
            variable = SharedVariable(shape=shape, initializer=first, **options)
            kept = variable
            if rows_of(variable._dtype) == 2:
                kept, variable = self._as_pairs(variable, options)
        # Not an attribute of the metric: the order of its variables matters.
        self._tracker.add_to_store("variables", kept)
        backend.settle(kept)
        return variable

    def _as_pairs(self, like: Any, options: dict[str, Any]) -> tuple[Any, Any]:
        """Return a variable of pairs, and a view of their sums."""
        shape = tuple(like.shape)
        first = np.ravel(keras.ops.convert_to_numpy(like.value))
        pairs = np.stack([first, np.zeros_like(first)])
        pack = keras.Variable(
            shape=pairs.shape,
            initializer=Constant(pairs),
            **{**options, "name": like.name},
        )
        view = Part(pack, 0, shape, like._dtype).view(like)
        # An attribute of the metric, but none of its variables.
        self._tracker.stored_ids["variables"].add(id(view))
        self._views[id(pack)] = view
        return pack, view

    def named_variables(self) -> list[Any]:
        """Return the variables that were added, in order.

        On torch and NumPy they are `variables`. On JAX and TensorFlow `variables` has
        those in which pairs of numbers lie, and these are views of them.
        """
        return [self._views.get(id(v), v) for v in self.variables]

    def _add_plain_variable(self, *args: Any, **kwargs: Any) -> Any:
        """Add a variable as Keras does: one that kernels add to."""
        return super().add_variable(*args, **kwargs)
