"""Metrics of expressions in Keras's own operations."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from keras.src.backend.common.masking import get_keras_mask
from keras.src.losses.loss import squeeze_or_expand_to_same_rank

from keras_tally._backends import with_shape
from keras_tally._expression import Expression
from keras_tally._masks import combine_mask
from keras_tally._registration import KERAS_CLASSES


def terms_of(expression: Expression, y_true: Any, y_pred: Any) -> dict[str, Any]:
    """Return what an expression makes of each pair, by name, in one shape."""
    y_true, y_pred = map(ops.convert_to_tensor, (y_true, y_pred))
    y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
    terms = expression(y_true, y_pred)
    # Terms that use one input, or none, have another shape.
    both = ops.cast(y_true, "float32") + ops.cast(y_pred, "float32")
    return {name: ops.broadcast_to(x, ops.shape(both)) for name, x in terms.items()}


def mean_twin(expression: Expression, **config: Any) -> keras.metrics.Metric:
    """Return Keras's mean of an expression's only output."""
    (name,) = expression.names

    def values(y_true: Any, y_pred: Any) -> Any:
        return terms_of(expression, y_true, y_pred)[name]

    twin: keras.metrics.Metric = KERAS_CLASSES["MeanMetricWrapper"](values, **config)
    return twin


class SumsOfTerms(keras.metrics.Metric):  # type: ignore[misc]
    """The weighted sum of each term over all elements, and of the weights."""

    def __init__(
        self,
        expression: Expression,
        name: str,
        dtype: Any,
        finalize: Expression | None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._expression = expression
        self._finalize = finalize
        names = expression.names + (("count",) if finalize is not None else ())
        self._sums = [
            self.add_variable((), "zeros", dtype=self.dtype, name=n) for n in names
        ]

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch to the sums."""
        sample_weight = combine_mask(get_keras_mask(y_pred), sample_weight)
        terms = terms_of(self._expression, *map(with_shape, (y_true, y_pred)))
        values = [ops.cast(x, self.dtype) for x in terms.values()]
        if sample_weight is None:
            sample_weight = 1.0
        weight = ops.cast(ops.convert_to_tensor(sample_weight), self.dtype)
        rank = len(values[0].shape)
        missing = rank - len(weight.shape)
        weight = ops.reshape(weight, (*ops.shape(weight), *(1,) * missing))
        values = [x * weight for x in values]
        if len(self._sums) > len(values):
            values.append(ops.broadcast_to(weight, ops.shape(values[0])))
        for variable, x in zip(self._sums, values, strict=True):
            variable.assign_add(ops.sum(x))

    def result(self) -> Any:
        """Return what the sums are made into."""
        sums = [variable.value for variable in self._sums]
        if self._finalize is None:
            return sums[0]
        (value,) = self._finalize(*sums).values()
        return value
