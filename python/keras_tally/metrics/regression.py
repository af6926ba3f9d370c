"""Means of elementwise errors, as in Keras's regression metrics."""

from __future__ import annotations

from typing import Any

from keras_tally._registration import register
from keras_tally.metrics.reduction import KernelMean


class _ErrorMean(KernelMean):
    """The mean of an error over the last axis, then over samples."""

    _direction = "down"

    def _kernel_options(self) -> dict[str, Any]:
        return {"mean_over_last_axis": True}


@register
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

    _kernel = "squared_error"

    def __init__(self, name: str = "mean_squared_error", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@register
class RootMeanSquaredError(KernelMean):
    """The square root of the mean of squared errors.

    Formula: `sqrt(mean((y_true - y_pred) ** 2))`.

    Shapes and dtypes: as `MeanSquaredError`; `sample_weight` may also have the
    full shape of the inputs. Keras masks are ignored, as in Keras.

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
    _kernel = "squared_error"
    _mean_result = "root_mean"
    _sees_mask = False

    def __init__(
        self, name: str = "root_mean_squared_error", dtype: Any = None
    ) -> None:
        super().__init__(name=name, dtype=dtype)


@register
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

    _kernel = "absolute_error"

    def __init__(self, name: str = "mean_absolute_error", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@register
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

    _kernel = "huber_error"

    def __init__(
        self, threshold: float = 1.0, name: str = "huber", dtype: Any = None
    ) -> None:
        if not threshold > 0:
            raise ValueError(
                f"`threshold` must be a positive number. Received: {threshold}"
            )
        self.threshold = float(threshold)
        super().__init__(name=name, dtype=dtype)

    def _kernel_options(self) -> dict[str, Any]:
        return {**super()._kernel_options(), "threshold": self.threshold}

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "threshold": self.threshold}
