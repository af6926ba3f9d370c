"""Losses of a margin, as in Keras's hinge metrics."""

from __future__ import annotations

from typing import Any

from keras_tally._declare import metric
from keras_tally._specs import Rules, Spec, mean_spec
from keras_tally.metrics.reduction import KernelMean


class _HingeMean(KernelMean):
    """The mean hinge loss of labels -1 and 1, over the last axis and samples."""

    _direction = "down"

    @classmethod
    def spec(cls, rules: Rules) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return mean_spec(cls.kernel, last_axis="mean", find_zero_one_labels=True)


@metric("hinge")
class Hinge(_HingeMean):
    """The mean hinge loss.

    Formula: `mean(max(1 - y_true * y_pred, 0))`: over the last axis first, then over
    samples with `sample_weight`. Labels are -1 and 1; where a whole batch holds
    only 0 and 1, these mean -1 and 1.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that broadcast by NumPy's
    rules alone, bool, integer or float; the result is a scalar of `dtype`.

    Differences from Keras: computed and summed in float64; an empty batch adds
    nothing.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.Hinge()
    >>> m.update_state([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]])
    >>> round(float(m.result()), 5)
    1.3

    Source: `keras.metrics.Hinge`.
    """

    kernel = "hinge"

    def __init__(self, name: str = "hinge", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@metric("squared_hinge")
class SquaredHinge(_HingeMean):
    """The mean squared hinge loss.

    Formula: `mean(max(1 - y_true * y_pred, 0) ** 2)`: over the last axis first, then
    over samples with `sample_weight`. Labels are -1 and 1; where a whole batch
    holds only 0 and 1, these mean -1 and 1.

    Shapes and dtypes: as `Hinge`.

    Differences from Keras: computed and summed in float64; an empty batch adds
    nothing.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.SquaredHinge()
    >>> m.update_state([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]])
    >>> round(float(m.result()), 5)
    1.86

    Source: `keras.metrics.SquaredHinge`.
    """

    kernel = "squared_hinge"

    def __init__(self, name: str = "squared_hinge", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@metric("categorical_hinge")
class CategoricalHinge(KernelMean):
    """The mean hinge loss of one-hot labels.

    Formula: `mean(max(neg - pos + 1, 0))` with `pos = sum(y_true * y_pred, -1)` and
    `neg = max((1 - y_true) * y_pred, -1)`, weighted by `sample_weight`.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that broadcast by NumPy's
    rules alone, bool, integer or float; the result is a scalar of `dtype`.

    Differences from Keras: computed and summed in float64; an empty batch adds
    nothing.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.CategoricalHinge()
    >>> m.update_state([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]])
    >>> round(float(m.result()), 5)
    1.4

    Source: `keras.metrics.CategoricalHinge`.
    """

    _direction = "down"
    kernel = "categorical_hinge"

    def __init__(self, name: str = "categorical_hinge", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
