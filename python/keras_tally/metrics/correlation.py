"""How predictions vary with the truth, as in Keras's correlation metrics."""

from __future__ import annotations

from typing import Any

from keras_tally._declare import metric
from keras_tally.metrics.regression import RowMean


@metric("pearson_correlation")
class PearsonCorrelation(RowMean):
    """The mean Pearson correlation of true and predicted rows.

    Formula, for each row along `axis`: `cov(y_true, y_pred) / (std(y_true) *
    std(y_pred))`; the mean over rows is weighted by `sample_weight`. NaN for a row
    of equal values.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that broadcast (a missing
    or trailing axis of size 1 is squeezed or expanded), bool, integer or float;
    rows of the same length; the result is a scalar of `dtype`, in [-1, 1].

    Differences from Keras: computed in float64 around each row's mean, so that a
    large mean costs no digits; summed in float64.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.
        axis: the axis of the rows, or several.

    Raises:
        ValueError: shapes that do not broadcast, rows of different lengths, no
            such axis, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.PearsonCorrelation()
    >>> m.update_state([[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]])
    >>> round(float(m.result()), 5)
    0.9967

    Source: `keras.metrics.PearsonCorrelation`.
    """

    kernel = "pearson_correlation"

    def __init__(
        self, name: str = "pearson_correlation", dtype: Any = None, axis: Any = -1
    ) -> None:
        self.axis = axis
        super().__init__(name=name, dtype=dtype)


@metric("concordance_correlation")
class ConcordanceCorrelation(RowMean):
    """The mean concordance correlation of true and predicted rows.

    Formula, for each row along `axis`: `2 * cov(y_true, y_pred) / (var(y_true) +
    var(y_pred) + (mean(y_true) - mean(y_pred)) ** 2 + epsilon)`; the mean over
    rows is weighted by `sample_weight`; `epsilon` is `keras.config.epsilon()`.

    Shapes and dtypes: as `PearsonCorrelation`.

    Differences from Keras: as `PearsonCorrelation`.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.
        axis: the axis of the rows, or several.

    Raises:
        ValueError: shapes that do not broadcast, rows of different lengths, no
            such axis, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.ConcordanceCorrelation()
    >>> m.update_state([[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]])
    >>> round(float(m.result()), 5)
    0.98163

    Source: L. I.-K. Lin, "A Concordance Correlation Coefficient to Evaluate
    Reproducibility", Biometrics 45 (1989); `keras.metrics.ConcordanceCorrelation`.
    """

    kernel = "concordance_correlation"

    def __init__(
        self, name: str = "concordance_correlation", dtype: Any = None, axis: Any = -1
    ) -> None:
        self.axis = axis
        super().__init__(name=name, dtype=dtype)
