"""How far predictions are off, as in Keras's regression metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_tally._declare import always, metric
from keras_tally._results import Options, Sums, in_keras_ops
from keras_tally._specs import Rules, Shape, Spec, check_positive, mean_spec, one_of
from keras_tally._with_keras import (
    LateMetric,
    check_matrices,
    keras,
    mean,
    ops,
    product,
    warn,
)
from keras_tally.metrics.reduction import KernelMean, mean_of


@in_keras_ops("root_mean")
def _root_mean(options: Options, sums: Sums) -> Any:
    return ops.sqrt(mean_of(options, sums))


def _variation(
    squares: tuple[Any, Any], total: tuple[Any, Any], count: tuple[Any, Any]
) -> Any:
    """Return sum(t^2) - sum(t)^2 / n, of sums with low halves."""
    mean = total[0] / count[0]
    back, back_rest = product(mean, count[0])
    left = (total[0] - back - back_rest) + (total[1] - mean * count[1])
    mean_low = left / count[0]
    whole, whole_rest = product(total[0], mean)
    whole_rest = whole_rest + (total[0] * mean_low + total[1] * mean)
    variation = (squares[0] - whole) + (squares[1] - whole_rest)
    # What the sums cannot tell from 0: columns of equal values have no variance.
    return ops.where(ops.abs(variation) <= 8.3e-25 * squares[0], 0.0, variation)


def _share_left(sums: Sums) -> tuple[Any, Any]:
    """Return how much of each column's variation is not explained, and the variation.

    Of a constant column it is 0 where all is right and 1 where not.
    """
    _, squares, total, residual, count, *lows = sums
    variation = _variation(*zip((squares, total, count), lows, strict=True))
    right = ops.logical_and(ops.equal(variation, 0.0), ops.equal(residual, 0.0))
    share = ops.where(right, 0.0, residual / variation)
    return ops.where(ops.isinf(share), 1.0, share), variation


def _averaged(options: Options, score: Any, variation: Any) -> Any:
    """Return the average over columns, or the scores themselves."""
    if options["average"] is None:
        return score
    if options["average"] != "weighted":
        return mean(score)
    # Constant columns have no variance to weigh them by.
    of_all = ops.sum(variation)
    varies = ops.not_equal(of_all, 0.0)
    weighted = ops.sum(score * variation) / ops.where(varies, of_all, 1.0)
    return ops.where(varies, weighted, mean(score))


@in_keras_ops("r2")
def _r2(options: Options, sums: Sums) -> Any:
    samples = sums[0]
    share, variation = _share_left(sums)
    score = _averaged(options, 1.0 - share, variation)
    # Corrected for the number of regressors; unchanged where that has no meaning.
    p = float(options["regressors"])
    left = samples - p - 1.0
    corrected = 1.0 - (1.0 - score) * (samples - 1.0) / ops.where(left > 0, left, 1.0)
    return ops.where(ops.logical_and(left > 0.0, p > 0.0), corrected, score)


def error_options(rules: Rules) -> dict[str, Any]:
    """Return how errors are averaged over the last axis."""
    return {"last_axis": "mean", "epsilon": rules.epsilon}


class _ErrorMean(KernelMean):
    """The mean of an error over the last axis, then over samples."""

    _direction = "down"

    @classmethod
    def spec(cls, rules: Rules) -> Spec:
        """Return the kernel, the state and the result."""
        return mean_spec(cls.kernel, **error_options(rules))


@metric("mean_squared_error")
class MeanSquaredError(_ErrorMean):
    """The mean of squared errors.

    Formula: `mean((y_true - y_pred) ** 2)`: over the last axis first, then over
    samples with `sample_weight`.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that broadcast (a missing
    or trailing axis of size 1 is squeezed or expanded), bool, integer or float;
    the result is a scalar of `dtype`.

    Differences from Keras: errors are computed and summed in float64 (uint8
    inputs do not wrap, `y_true` is not rounded to the dtype of `y_pred`); an
    empty batch adds nothing.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.MeanSquaredError()
    >>> m.update_state([[0, 1], [0, 0]], [[1, 1], [0, 0]])
    >>> float(m.result())
    0.25

    Source: `keras.metrics.MeanSquaredError`.
    """

    kernel = "squared_error"

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@metric("root_mean_squared_error")
class RootMeanSquaredError(KernelMean):
    """The square root of the mean of squared errors.

    Formula: `sqrt(mean((y_true - y_pred) ** 2))`.

    Shapes and dtypes: as `MeanSquaredError`; `sample_weight` may also have the
    full shape of the inputs.

    Differences from Keras: errors are computed and summed in float64.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.RootMeanSquaredError()
    >>> m.update_state([[0, 1], [0, 0]], [[1, 1], [0, 0]])
    >>> float(m.result())
    0.5

    Source: `keras.metrics.RootMeanSquaredError`.
    """

    _direction = "down"

    def __init__(
        self, name: str = "root_mean_squared_error", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(cls, rules: Rules) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return mean_spec("squared_error", "root_mean")


@metric("mean_bias_error")
class MeanBiasError(_ErrorMean):
    """The mean of signed errors: how much predictions are too large.

    Formula: `mean(y_pred - y_true)`: over the last axis first, then over samples
    with `sample_weight`. Positive where predictions are too large; nearer to 0 is
    better.

    Shapes and dtypes: as `MeanSquaredError`.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.MeanBiasError()
    >>> m.update_state([[1.0], [2.0]], [[3.0], [1.0]])
    >>> float(m.result())
    0.5
    >>> m.update_state([[0.0]], [[2.0]], sample_weight=[2.0])
    >>> float(m.result())
    1.25

    Source: C. J. Willmott, "Some Comments on the Evaluation of Model Performance",
    Bulletin of the American Meteorological Society 63 (1982).
    """

    kernel = "signed_error"

    def __init__(self, name: str = "mean_bias_error", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@metric("mean_absolute_error")
class MeanAbsoluteError(_ErrorMean):
    """The mean of absolute errors.

    Formula: `mean(abs(y_true - y_pred))`: over the last axis first, then over
    samples with `sample_weight`.

    Shapes and dtypes: as `MeanSquaredError`.

    Differences from Keras: as `MeanSquaredError`.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.MeanAbsoluteError()
    >>> m.update_state([[0, 1], [0, 0]], [[1, 1], [0, 0]])
    >>> float(m.result())
    0.25

    Source: `keras.metrics.MeanAbsoluteError`.
    """

    kernel = "absolute_error"

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@metric("huber")
class Huber(_ErrorMean):
    """The mean Huber loss: quadratic for small errors, linear for large ones.

    Formula, with `e = abs(y_true - y_pred)` and `d = threshold`:
    `mean(where(e <= d, e ** 2 / 2, d * e - d ** 2 / 2))`: over the last axis
    first, then over samples with `sample_weight`.

    Shapes and dtypes: as `MeanSquaredError`.

    Args:
        threshold: positive float, the error at which the loss becomes linear.
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: a threshold that is not a positive number, shapes that do
            not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.Huber(threshold=1.0)
    >>> m.update_state([[0.0, 0.0], [0.0, 0.0]], [[0.5, 3.0], [0.0, 1.0]])
    >>> float(m.result())
    0.78125

    Source: P. J. Huber, "Robust Estimation of a Location Parameter", Annals of
    Mathematical Statistics 35 (1964); `keras.losses.Huber`, whose `delta` is the
    threshold.
    """

    def __init__(
        self, threshold: float = 1.0, name: str = "huber", dtype: Any = None
    ) -> None:
        self.threshold = check_positive("threshold", threshold)
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(cls, rules: Rules, threshold: float = 1.0) -> Spec:
        """Return the kernel, the state and the result."""
        threshold = check_positive("threshold", threshold)
        options = error_options(rules)
        return mean_spec("huber_error", threshold=threshold, **options)

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "threshold": self.threshold}


@metric("mean_absolute_percentage_error")
class MeanAbsolutePercentageError(_ErrorMean):
    """The mean of absolute errors, in percent of the true values.

    Formula: `100 * mean(abs(y_true - y_pred) / max(abs(y_true), epsilon))`: over the
    last axis first, then over samples with `sample_weight`; `epsilon` is
    `keras.config.epsilon()`.

    Shapes and dtypes: as `MeanSquaredError`.

    Differences from Keras: errors are computed and summed in float64; an
    empty batch adds nothing.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.MeanAbsolutePercentageError()
    >>> m.update_state([[2.0, 4.0], [5.0, 8.0]], [[1.0, 4.0], [5.0, 6.0]])
    >>> float(m.result())
    18.75

    Source: `keras.metrics.MeanAbsolutePercentageError`.
    """

    kernel = "absolute_percentage_error"

    def __init__(
        self, name: str = "mean_absolute_percentage_error", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)


@metric("mean_squared_logarithmic_error")
class MeanSquaredLogarithmicError(_ErrorMean):
    """The mean of squared differences of logarithms.

    Formula: `mean((log(1 + p) - log(1 + t)) ** 2)` with `p = max(y_pred, epsilon)` and
    `t = max(y_true, epsilon)`: over the last axis first, then over samples with
    `sample_weight`; `epsilon` is `keras.config.epsilon()`.

    Shapes and dtypes: as `MeanSquaredError`.

    Differences from Keras: errors are computed and summed in float64; an
    empty batch adds nothing.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.MeanSquaredLogarithmicError()
    >>> m.update_state([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
    >>> round(float(m.result()), 5)
    0.12011

    Source: `keras.metrics.MeanSquaredLogarithmicError`.
    """

    kernel = "squared_logarithmic_error"

    def __init__(
        self, name: str = "mean_squared_logarithmic_error", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)


@metric("log_cosh")
class LogCoshError(_ErrorMean):
    """The mean logarithm of the hyperbolic cosine of the error.

    Formula: `mean(log(cosh(y_pred - y_true)))`: over the last axis first, then over
    samples with `sample_weight`. About `error ** 2 / 2` for small errors and
    `abs(error) - log(2)` for large ones.

    Shapes and dtypes: as `MeanSquaredError`.

    Differences from Keras: computed and summed in float64, accurate for tiny
    errors, where Keras cancels, and for huge ones; an empty batch adds nothing.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.LogCoshError()
    >>> m.update_state([[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]])
    >>> round(float(m.result()), 5)
    0.10845

    Source: `keras.metrics.LogCoshError`.
    """

    kernel = "log_cosh"

    def __init__(self, name: str = "logcosh", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


def row_axes(axis: Any) -> list[int]:
    """Return the axes that make a row, of one axis or several."""
    return [int(a) for a in axis] if isinstance(axis, Sequence) else [int(axis)]


class RowMean(KernelMean):
    """The mean of what two rows, of y_true and of y_pred, have in common."""

    _direction = "up"
    axis: Any

    @classmethod
    def spec(cls, rules: Rules, axis: int | Sequence[int] = -1) -> Spec:
        """Return the kernel, the state and the result."""
        return mean_spec(cls.kernel, axes=row_axes(axis), epsilon=rules.epsilon)

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "axis": self.axis}


@metric("cosine_similarity")
class CosineSimilarity(RowMean):
    """The mean cosine of the angle between true and predicted vectors.

    Formula: `mean(sum(y_true * y_pred, axis) / (norm(y_true) * norm(y_pred)))`,
    weighted by `sample_weight`; a vector of zeros has similarity 0 to everything,
    and on torch norms count as at least `keras.config.epsilon()`, as in Keras.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that broadcast (a missing
    or trailing axis of size 1 is squeezed or expanded), bool, integer or float;
    rows of the same length; the result is a scalar of `dtype`, in [-1, 1].

    Differences from Keras: computed and summed in float64; `get_config()` keeps
    `axis`; on the NumPy backend `axis=0` means axis 0.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.
        axis: the axis of the vectors, or several.

    Raises:
        ValueError: shapes that do not broadcast, rows of different lengths, no
            such axis, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.CosineSimilarity()
    >>> m.update_state([[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]])
    >>> round(float(m.result()), 5)
    0.5

    Source: `keras.metrics.CosineSimilarity`.
    """

    kernel = "cosine_similarity"

    def __init__(
        self, name: str = "cosine_similarity", dtype: Any = None, axis: Any = -1
    ) -> None:
        self.axis = axis
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(cls, rules: Rules, axis: int | Sequence[int] = -1) -> Spec:
        """Return the kernel, the state and the result."""
        return mean_spec(
            cls.kernel,
            axes=row_axes(axis),
            epsilon=rules.epsilon,
            smallest_norm=rules.epsilon if rules.norm_has_floor else 0.0,
        )


_AVERAGES = {
    None: None,
    "uniform_average": "macro",
    "variance_weighted_average": "weighted",
}


def _deviations_spec(
    result: str, class_aggregation: str | None, columns: int | None, regressors: int = 0
) -> Spec:
    one_of("class_aggregation", class_aggregation, tuple(_AVERAGES))
    columns = 1 if columns is None else columns
    sums = ("squared_sum", "sum", "residual", "count")
    # What float64 cannot hold of sums that cancel.
    lows = ("squared_sum_low", "sum_low", "count_low")
    return Spec(
        "squared_deviations",
        result,
        {"num_samples": (), **dict.fromkeys((*sums, *lows), (columns,))},
        {
            "columns": columns,
            "counts_samples": True,
            "aligns_ranks": True,
            "average": _AVERAGES[class_aggregation],
            "regressors": regressors,
        },
        takes_matrices=True,
    )


class _OfDeviations(LateMetric):
    """What squared errors are to the squared deviations of the truth, by column."""

    needs_columns = staticmethod(always)
    class_aggregation: str | None
    residual: Any
    count: Any

    def _build_arguments(
        self, y_true_shape: Shape, y_pred_shape: Shape
    ) -> tuple[Any, ...]:
        if len(y_true_shape) == 1 and len(y_pred_shape) == 2 and y_pred_shape[1] == 1:
            y_true_shape = (*y_true_shape, 1)
        if len(y_pred_shape) == 1 and len(y_true_shape) == 2 and y_true_shape[1] == 1:
            y_pred_shape = (*y_pred_shape, 1)
        return y_true_shape, y_pred_shape

    def _build(self, y_true_shape: Shape, y_pred_shape: Shape) -> None:
        check_matrices(type(self).__name__, y_true_shape, y_pred_shape)
        self._keras_build_args = (y_true_shape, y_pred_shape)
        self._bind(self._own_spec(columns=y_pred_shape[-1]), keras.config.floatx())
        self._built = True

    @property
    def total_mse(self) -> Any:
        """The variable `residual`, as Keras calls it."""
        return self.residual

    def _result_shape(self) -> tuple[int, ...]:
        return tuple(self.count.shape) if self.class_aggregation is None else ()


@metric("r2_score")
class R2Score(_OfDeviations):
    """The coefficient of determination: the share of variance that is explained.

    Formula, for each column:
    `1 - sum((y_true - y_pred) ** 2) / sum((y_true - mean(y_true)) ** 2)`, sums
    and mean weighted by `sample_weight`; then averaged over columns as
    `class_aggregation` says. With `p = num_regressors` other than 0 adjusted to
    `1 - (1 - r2) * (n - 1) / (n - p - 1)`, where `n` counts the samples with a weight
    other than 0. Of a constant column the score is 1 where all is right, else 0.

    Shapes and dtypes: `y_true` and `y_pred` of shape (batch_size, columns), bool,
    integer or float; `sample_weight` a scalar, one per sample, or of that shape;
    the result is a scalar, or has one entry per column, of Keras's floatx.

    Differences from Keras: the state (`num_samples`, `squared_sum`, `sum`,
    `residual`, `count`) is float64, with `squared_sum_low`, `sum_low`, `count_low` for
    what float64 cannot hold of these sums, so that a large mean does not cancel the
    variance away; the adjusted score counts samples, as Keras 3.16 does
    (Keras 3.15: entries); a constant column that is right scores 1, as in
    scikit-learn (Keras: NaN); `y_true` of one column does not broadcast to several.

    Args:
        class_aggregation: `'uniform_average'`, `'variance_weighted_average'` or
            None for one score per column.
        num_regressors: number of regressors, for the adjusted score; 0 for the
            plain one. Beyond what the number of samples allows, `result()` warns and
            gives the plain one.
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.

    Raises:
        ValueError: an unknown aggregation, negative `num_regressors`, inputs that
            are not two-dimensional or of different shapes, weights that do not
            fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.R2Score()
    >>> m.update_state([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])
    >>> round(float(m.result()), 5)
    0.57143

    Source: `keras.metrics.R2Score`.
    """

    _direction = "up"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self._warns_of_result = bool(num_regressors)
        self._own_spec()  # refuses what no score has
        self.num_samples = self._add_state("num_samples")

    @classmethod
    def spec(
        cls,
        rules: Rules,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        *,
        columns: int | None = None,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        if num_regressors < 0:
            raise ValueError(
                "`num_regressors` must be at least 0. "
                f"Received: num_regressors={num_regressors}"
            )
        return _deviations_spec("r2", class_aggregation, columns, num_regressors)

    def _warn_of_result(self) -> None:
        # Of every result, as Keras's.
        state = self._state_on_host()
        if state is None:
            return
        spare = float(state["num_samples"]) - 1 - self.num_regressors
        if spare <= 0:
            warn(
                "Division by zero in Adjusted R2 score. Falling back to standard R2 "
                "score."
                if spare == 0
                else "More independent predictors than datapoints in adjusted R2 "
                "score. Falling back to standard R2 score."
            )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {
            **super().get_config(),
            "class_aggregation": self.class_aggregation,
            "num_regressors": self.num_regressors,
        }


@in_keras_ops("relative_squared_error")
def _relative_squared_error(options: Options, sums: Sums) -> Any:
    share, variation = _share_left(sums)
    return _averaged(options, share, variation)


@metric("relative_squared_error")
class RelativeSquaredError(_OfDeviations):
    """The squared errors, relative to those of always predicting the mean.

    Formula, for each column:
    `sum((y_true - y_pred) ** 2) / sum((y_true - mean(y_true)) ** 2)`, sums and mean
    weighted by `sample_weight`; then averaged over columns as `class_aggregation` says.
    It is `1 - R2Score`, without the digits that the difference loses where a model is
    good. Of a constant column it is 0 where all is right, else 1.

    Shapes and dtypes: as `R2Score`.

    Args:
        class_aggregation: `'uniform_average'`, `'variance_weighted_average'` or
            None for one value per column.
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.

    Raises:
        ValueError: an unknown aggregation, inputs that are not two-dimensional or of
            different shapes, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.RelativeSquaredError()
    >>> m.update_state([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])
    >>> round(float(m.result()), 5)
    0.42857
    >>> m.update_state([[0.0]], [[2.0]], sample_weight=[0.5])
    >>> round(float(m.result()), 5)
    0.51852

    Source: L. Breiman et al., "Classification and Regression Trees" (1984), 8.3.
    """

    _direction = "down"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        name: str = "relative_squared_error",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.class_aggregation = class_aggregation
        self._own_spec()  # refuses what no metric has
        self.num_samples = self._add_state("num_samples")

    @classmethod
    def spec(
        cls,
        rules: Rules,
        class_aggregation: str | None = "uniform_average",
        *,
        columns: int | None = None,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return _deviations_spec("relative_squared_error", class_aggregation, columns)

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        config = super().get_config()
        return {**config, "class_aggregation": self.class_aggregation}
