"""Distances between labels and predicted probabilities, logits or rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_tally._declare import metric
from keras_tally._specs import Rules, Spec, ignored_classes, mean_spec
from keras_tally.metrics.reduction import KernelMean


class _Crossentropy(KernelMean):
    """The mean of a cross-entropy."""

    _direction = "down"
    from_logits: bool

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "from_logits": self.from_logits}


@metric("binary_crossentropy")
class BinaryCrossentropy(_Crossentropy):
    """The mean cross-entropy of two classes.

    Formula, with `p = clip(y_pred, epsilon, 1 - epsilon)` and
    `t = y_true * (1 - label_smoothing) + label_smoothing / 2`:
    `mean(-(t * log(p) + (1 - t) * log(1 - p)))`: over the last axis first, then
    over samples with `sample_weight`. From logits `x`:
    `max(x, 0) - x * t + log(1 + exp(-abs(x)))`.

    Shapes and dtypes: `y_true` and `y_pred` of one shape, bool, integer or
    float; the result is a scalar of `dtype`, in nats.

    Differences from Keras: computed and summed in float64; logits are never
    clipped (Keras does on NumPy).

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.
        from_logits: whether `y_pred` holds logits instead of probabilities.
        label_smoothing: float in [0, 1]: how far labels are moved towards 1/2.

    Raises:
        ValueError: shapes that differ, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.BinaryCrossentropy()
    >>> m.update_state([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]])
    >>> round(float(m.result()), 5)
    0.81492

    Source: `keras.metrics.BinaryCrossentropy`.
    """

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
    ) -> None:
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(
        cls, rules: Rules, from_logits: bool = False, label_smoothing: float = 0.0
    ) -> Spec:
        """Return the kernel, the state and the result."""
        return mean_spec(
            "binary_crossentropy",
            from_logits=from_logits,
            epsilon=rules.epsilon,
            last_axis="mean",
            label_smoothing=label_smoothing,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@metric("categorical_crossentropy")
class CategoricalCrossentropy(_Crossentropy):
    """The mean cross-entropy of one-hot labels.

    Formula, with `p = clip(y_pred / sum(y_pred, axis), epsilon, 1 - epsilon)`
    (`softmax(y_pred, axis)` unclipped from logits) and
    `t = y_true * (1 - label_smoothing) + label_smoothing / num_classes`:
    `mean(-sum(t * log(p), axis))`, weighted by `sample_weight`.

    Shapes and dtypes: `y_true` and `y_pred` of one shape with a class axis, bool,
    integer or float; the result is a scalar of `dtype`, in nats.

    Differences from Keras: computed and summed in float64.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.
        from_logits: whether `y_pred` holds logits instead of probabilities.
        label_smoothing: float in [0, 1]: how far labels are moved towards
            `1 / num_classes`.
        axis: the class axis.

    Raises:
        ValueError: shapes that differ, no such axis, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.CategoricalCrossentropy()
    >>> m.update_state([[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    >>> round(float(m.result()), 5)
    1.17694

    Source: `keras.metrics.CategoricalCrossentropy`.
    """

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0,
        axis: int = -1,
    ) -> None:
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(
        cls,
        rules: Rules,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        return mean_spec(
            "categorical_crossentropy",
            from_logits=from_logits,
            epsilon=rules.epsilon,
            label_smoothing=label_smoothing,
            axis=axis,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "axis": self.axis,
        }


@metric("sparse_categorical_crossentropy")
class SparseCategoricalCrossentropy(_Crossentropy):
    """The mean cross-entropy of integer labels.

    Formula, with `p = clip(y_pred / sum(y_pred, axis), epsilon, 1 - epsilon)`
    (`softmax(y_pred, axis)` unclipped from logits):
    `mean(-log(p[y_true]))`, weighted by `sample_weight`.

    Shapes and dtypes: `y_pred` with a class axis, `y_true` of the same shape
    without that axis or with size 1 there, bool, integer or float; the result
    is a scalar of `dtype`, in nats.

    Differences from Keras: computed and summed in float64; a label that is no
    class is an error on all backends; samples of `ignore_class` are left out as in
    `keras.losses`, where Keras's metric counts them as losses of 0 unless there are
    weights; several labels may be ignored.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.
        from_logits: whether `y_pred` holds logits instead of probabilities.
        ignore_class: a label, or a list of labels, whose samples are left out.
        axis: the class axis.

    Raises:
        ValueError: shapes or weights that do not fit, no such axis, a label
            outside `[0, num_classes)` that is not `ignore_class`.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.SparseCategoricalCrossentropy()
    >>> m.update_state([1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]])
    >>> round(float(m.result()), 5)
    1.17694

    Source: `keras.metrics.SparseCategoricalCrossentropy`.
    """

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | Sequence[int] | None = None,
        axis: int = -1,
    ) -> None:
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(
        cls,
        rules: Rules,
        from_logits: bool = False,
        ignore_class: int | Sequence[int] | None = None,
        axis: int = -1,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        return mean_spec(
            "sparse_categorical_crossentropy",
            from_logits=from_logits,
            epsilon=rules.epsilon,
            ignore_class=ignored_classes(ignore_class),
            axis=axis,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {
            **super().get_config(),
            "ignore_class": self.ignore_class,
            "axis": self.axis,
        }


@metric("kl_divergence")
class KLDivergence(KernelMean):
    """The mean Kullback-Leibler divergence from predicted to true distributions.

    Formula, with both clipped to [epsilon, 1]:
    `mean(sum(y_true * log(y_true / y_pred), -1))`, weighted by `sample_weight`;
    `epsilon` is `keras.config.epsilon()`.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that broadcast by NumPy's
    rules alone, bool, integer or float; the result is a scalar of `dtype`, in
    nats.

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
    >>> m = kt.KLDivergence()
    >>> m.update_state([[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]])
    >>> round(float(m.result()), 5)
    0.45814

    Source: `keras.metrics.KLDivergence`.
    """

    _direction = "down"

    def __init__(self, name: str = "kl_divergence", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(cls, rules: Rules) -> Spec:
        """Return the kernel, the state and the result."""
        return mean_spec("kl_divergence", last_axis="sum", epsilon=rules.epsilon)


@metric("poisson")
class Poisson(KernelMean):
    """The mean Poisson loss of predicted rates.

    Formula: `mean(y_pred - y_true * log(y_pred + epsilon))`: over the last axis
    first, then over samples with `sample_weight`; `epsilon` is
    `keras.config.epsilon()`. NaN for rates below `-epsilon`.

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
    >>> m = kt.Poisson()
    >>> m.update_state([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
    >>> round(float(m.result()), 5)
    0.5

    Source: `keras.metrics.Poisson`.
    """

    _direction = "down"

    def __init__(self, name: str = "poisson", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(cls, rules: Rules) -> Spec:
        """Return the kernel, the state and the result."""
        return mean_spec("poisson", last_axis="mean", epsilon=rules.epsilon)


@metric("mean_max_probability")
class MeanMaxProbability(KernelMean):
    """How sure predictions are: the mean of each row's largest probability.

    Formula: `mean(max(y_pred))` over the class axis, with `from_logits` of
    `softmax(y_pred)`; weighted by `sample_weight`. `y_true` is not looked at. A row
    with a NaN makes the result NaN.

    Shapes and dtypes: `y_pred` with a class axis, bool, integer or float; the result is
    a scalar of `dtype`. Softmax is computed in float64.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.
        from_logits: whether `y_pred` holds logits instead of probabilities.
        axis: the class axis.

    Raises:
        ValueError: no such axis, or weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.MeanMaxProbability()
    >>> m.update_state([2, 1], [[0.25, 0.5, 0.25], [0, 1, 0]])
    >>> float(m.result())
    0.75

    Source: Hendrycks & Gimpel, A Baseline for Detecting Misclassified and
    Out-of-Distribution Examples, 2017. Keras has no such metric.
    """

    _direction = "up"

    def __init__(
        self,
        name: str = "mean_max_probability",
        dtype: Any = None,
        from_logits: bool = False,
        axis: int = -1,
    ) -> None:
        self.from_logits = from_logits
        self.axis = axis
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(cls, rules: Rules, from_logits: bool = False, axis: int = -1) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return mean_spec("max_probability", from_logits=from_logits, axis=axis)

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {
            **super().get_config(),
            "from_logits": self.from_logits,
            "axis": self.axis,
        }
