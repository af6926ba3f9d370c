"""Weighted harmonic means of precision and recall, as in Keras's F-scores."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_tally import _specs
from keras_tally._fallback.arrays import Options, mean
from keras_tally._fallback.results import Sums, in_keras_ops
from keras_tally._kernel_metric import (
    LateMetric,
    Shape,
    check_matrices,
    result_dtype_of,
    rules,
)
from keras_tally._registration import register


@in_keras_ops("f_score")
def _f_score(options: Options, sums: Sums) -> Any:
    tp, fp, fn, weight = sums
    epsilon, square = float(options["epsilon"]), float(options["beta"]) ** 2
    precision, recall = tp / (tp + fp + epsilon), tp / (tp + fn + epsilon)
    score = precision * recall / (square * precision + recall + epsilon)
    score = score * (1.0 + square)
    if options["average"] is None:
        return score
    if options["average"] == "weighted":
        return ops.sum(score * weight) / (ops.sum(weight) + epsilon)
    return mean(score)


@register
class FBetaScore(LateMetric):
    """The weighted harmonic mean of precision and recall.

    Formula, for each column, with `precision = tp / (tp + fp)` and
    `recall = tp / (tp + fn)`:
    `(1 + beta**2) * precision * recall / (beta**2 * precision + recall)`, each
    division with `keras.config.epsilon()` added to the divisor; then averaged as
    `average` says.

    Shapes and dtypes: `y_true` and `y_pred` of shape (batch_size, columns), bool,
    integer or float, compared in `dtype`; `sample_weight` one per sample, a scalar,
    or of the shape of `y_pred`; the result is a scalar, or has one entry per column,
    of `dtype` (float32 where that is one of integers). In a row with a NaN score
    nothing is the largest; NaN is above no threshold.

    Differences from Keras: the state (`true_positives`, `false_positives`,
    `false_negatives`, `intermediate_weights`) is float64 and
    exact; weights may have any shape that broadcasts, as in Keras 3.16; later
    batches must have the columns of the first one.

    Args:
        average: None for one score per column, `'micro'` for one score of all
            columns' counts together, `'macro'` for the mean over columns,
            `'weighted'` for the mean weighted by how often a column is true.
        beta: positive Python float: how many times recall counts as much as
            precision.
        threshold: Python float in (0, 1]: scores above it count as predictions.
            None: the largest score of each row does (all that tie, except zeros).
        name: string name of the metric instance.
        dtype: dtype of the comparison and of the result.
        from_logits: whether `y_pred` holds logits instead of probabilities: then
            scores above `log(threshold / (1 - threshold))` count as predictions, and
            a row's largest score does whatever it is. Keyword only; not in Keras.

    Raises:
        ValueError: an unknown average, a `beta` or `threshold` that is no such
            float, inputs that are not two-dimensional or of different shapes,
            weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.FBetaScore(beta=2.0, threshold=0.5)
    >>> y_true = [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    >>> y_pred = [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]]
    >>> m.update_state(y_true, y_pred)
    >>> [round(float(score), 5) for score in m.result()]
    [0.38462, 0.90909, 0.83333]

    Source: `keras.metrics.FBetaScore`; C. J. van Rijsbergen, "Information
    Retrieval" (1979).
    """

    _direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: Any = None,
        *,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        _specs.check_f_score(average, beta, threshold)
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self.from_logits = from_logits
        self.axis = None if average == "micro" else 0

    def _build(self, y_true_shape: Shape, y_pred_shape: Shape) -> None:
        check_matrices(type(self).__name__, y_true_shape, y_pred_shape)
        self._keras_build_args = (y_true_shape, y_pred_shape)
        shape = () if self.average == "micro" else (y_pred_shape[-1],)
        self.true_positives = self._add_state("true_positives", shape, self.dtype)
        self.false_positives = self._add_state("false_positives", shape, self.dtype)
        self.false_negatives = self._add_state("false_negatives", shape, self.dtype)
        self.intermediate_weights = self._add_state(
            "intermediate_weights", shape, self.dtype
        )
        spec = _specs.fbeta_score(
            rules(),
            self.beta,
            self.average,
            self.threshold,
            self.from_logits,
            columns=y_pred_shape[-1],
            dtype=self.dtype,
        )
        self._make_plan(
            spec.kernel,
            spec.result,
            [
                self.true_positives,
                self.false_positives,
                self.false_negatives,
                self.intermediate_weights,
            ],
            result_dtype_of(self.dtype),
            **spec.options,
        )
        self._built = True

    def _result_shape(self) -> tuple[int, ...]:
        return tuple(self.true_positives.shape) if self.average is None else ()

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {
            **super().get_config(),
            "average": self.average,
            "beta": self.beta,
            "threshold": self.threshold,
            **self._extra_config("from_logits"),
        }


@register
class F1Score(FBetaScore):
    """The harmonic mean of precision and recall.

    Formula, for each column: `2 * precision * recall / (precision + recall)`, as
    `FBetaScore` with `beta=1.0`.

    Shapes and dtypes: as `FBetaScore`.

    Differences from Keras: as `FBetaScore`.

    Args:
        average: None for one score per column, `'micro'` for one score of all
            columns' counts together, `'macro'` for the mean over columns,
            `'weighted'` for the mean weighted by how often a column is true.
        threshold: Python float in (0, 1]: scores above it count as predictions.
            None: the largest score of each row does (all that tie, except zeros).
        name: string name of the metric instance.
        dtype: dtype of the comparison and of the result.
        from_logits: whether `y_pred` holds logits instead of probabilities: then
            scores above `log(threshold / (1 - threshold))` count as predictions, and
            a row's largest score does whatever it is. Keyword only; not in Keras.

    Raises:
        ValueError: an unknown average, a `threshold` that is no such float, inputs
            that are not two-dimensional or of different shapes, weights that do
            not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.F1Score(threshold=0.5)
    >>> y_true = [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    >>> y_pred = [[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]]
    >>> m.update_state(y_true, y_pred)
    >>> [round(float(score), 5) for score in m.result()]
    [0.5, 0.8, 0.66667]

    Source: `keras.metrics.F1Score`.
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: Any = None,
        *,
        from_logits: bool = False,
    ) -> None:
        super().__init__(
            average=average,
            beta=1.0,
            threshold=threshold,
            name=name,
            dtype=dtype,
            from_logits=from_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        config = super().get_config()
        del config["beta"]
        return config
