"""Weighted harmonic means of precision and recall, as in Keras's F-scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from keras_tally._declare import always, metric
from keras_tally._results import Options, Sums, in_keras_ops
from keras_tally._specs import Rules, Shape, Spec, one_of
from keras_tally._with_keras import (
    LateMetric,
    check_matrices,
    mean,
    ops,
    result_dtype_of,
)
from keras_tally.metrics.confusion import counts_spec


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


_AVERAGES = (None, "micro", "macro", "weighted")


def _check(average: str | None, beta: Any, threshold: Any) -> None:
    """Refuse arguments that no F-score has."""
    one_of("average", average, _AVERAGES)
    for name, value in (("beta", beta), ("threshold", threshold)):
        if not isinstance(value, float) and not (name == "threshold" and value is None):
            raise ValueError(
                f"`{name}` must be a Python float. "
                f"Received: {name}={value!r} of type {type(value).__name__}"
            )
    if not beta > 0.0:
        raise ValueError(f"`beta` must be above 0. Received: beta={beta}")
    if threshold is not None and not 0.0 < threshold <= 1.0:
        raise ValueError(
            "`threshold` must be above 0 and at most 1. "
            f"Received: threshold={threshold}"
        )


def _f_score_spec(
    rules: Rules,
    average: str | None,
    beta: float,
    threshold: float | None,
    from_logits: bool,
    columns: int | None,
    dtype: str | None,
) -> Spec:
    _check(average, beta, threshold)
    if columns is None:
        # One column, flat: the counts at a threshold are all it takes.
        checked = [0.5 if threshold is None else threshold]
        return counts_spec(
            rules,
            "f_score",
            {
                "true_positives": "tp",
                "false_positives": "fp",
                "false_negatives": "fn",
                "true_negatives": "tn",
            },
            checked,
            False,
            average="micro",
            beta=beta,
            epsilon=rules.epsilon,
            from_logits=from_logits,
        )
    dtype = dtype or rules.floatx
    if threshold is not None and from_logits:
        # Above it is where the probability is above the threshold.
        threshold = (
            math.inf if threshold == 1 else math.log(threshold / (1 - threshold))
        )
    if threshold is not None and dtype != "float64":
        threshold = float(np.float32(threshold))
    shape = () if average == "micro" else (columns,)
    names = (
        "true_positives",
        "false_positives",
        "false_negatives",
        "intermediate_weights",
    )
    return Spec(
        "predicted_cells",
        "f_score",
        dict.fromkeys(names, shape),
        {
            "columns": columns,
            "folded": average == "micro",
            "precision": dtype,
            "threshold": threshold,
            "from_logits": from_logits,
            "average": average,
            "beta": beta,
            "epsilon": rules.epsilon,
        },
    )


@metric("fbeta_score")
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
    `false_negatives`, `intermediate_weights`) is float64, counts exact to 2^53;
    weights may have any shape that broadcasts, as in Keras 3.16; later batches must
    have the columns of the first one.

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
    needs_columns = staticmethod(always)
    true_positives: Any

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
        _check(average, beta, threshold)
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self.from_logits = from_logits
        self.axis = None if average == "micro" else 0

    def _build(self, y_true_shape: Shape, y_pred_shape: Shape) -> None:
        check_matrices(type(self).__name__, y_true_shape, y_pred_shape)
        self._keras_build_args = (y_true_shape, y_pred_shape)
        spec = self._own_spec(columns=y_pred_shape[-1], dtype=self.dtype)
        self._bind(spec, result_dtype_of(self.dtype), self.dtype)
        self._built = True

    @classmethod
    def spec(
        cls,
        rules: Rules,
        beta: float = 1.0,
        average: str | None = None,
        threshold: float | None = None,
        from_logits: bool = False,
        *,
        columns: int | None = None,
        dtype: str | None = None,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        return _f_score_spec(
            rules, average, beta, threshold, from_logits, columns, dtype
        )

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


@metric("f1_score")
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

    @classmethod
    def spec(  # type: ignore[override]
        cls,
        rules: Rules,
        average: str | None = None,
        threshold: float | None = None,
        from_logits: bool = False,
        *,
        columns: int | None = None,
        dtype: str | None = None,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        return _f_score_spec(
            rules, average, 1.0, threshold, from_logits, columns, dtype
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        config = super().get_config()
        del config["beta"]
        return config
