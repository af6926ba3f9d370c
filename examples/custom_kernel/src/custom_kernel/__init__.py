"""A Keras metric with a kernel of its own, as a package of its own.

>>> from custom_kernel import QuantileError
>>> m = QuantileError(quantile=0.75)
>>> m.update_state([[1.0, 2.0]], [[0.0, 4.0]])
>>> float(m.result())
0.625
"""

from typing import Any

import keras

import keras_tally as kt
from custom_kernel import _kernels  # importing it registers the kernels


@keras.saving.register_keras_serializable(package="custom_kernel")
class QuantileError(kt.NativeMetric):
    """The mean quantile ("pinball") error of predicted quantiles.

    Formula, with `e = y_true - y_pred` and `q = quantile`:
    `mean(where(e >= 0, q * e, (q - 1) * e))`.

    Args:
        quantile: float between 0 and 1, which quantile of `y_true` is predicted.
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: a quantile that is not between 0 and 1.

    Source: R. Koenker and G. Bassett, "Regression Quantiles", Econometrica 46 (1978).
    """

    kernel = _kernels.quantile_error

    def __init__(
        self,
        quantile: float = 0.5,
        name: str | None = "quantile_error",
        dtype: Any = None,
    ) -> None:
        if not 0 < quantile < 1:
            raise ValueError(
                f"`quantile` must be between 0 and 1. Received: {quantile}"
            )
        self.quantile = float(quantile)
        super().__init__(name=name, dtype=dtype)

    def kernel_arguments(self) -> tuple[float, ...]:
        """Return `params.arguments` of the definition."""
        return (self.quantile,)

    def portable(self, y_true: Any, y_pred: Any) -> Any:
        """Return what the kernel computes, where JAX and TensorFlow cannot call it."""
        error = y_true - y_pred
        return keras.ops.where(
            error >= 0, self.quantile * error, (self.quantile - 1) * error
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "quantile": self.quantile}
