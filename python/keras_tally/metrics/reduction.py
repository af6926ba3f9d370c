"""Sums and means of values: `Mean`, `Sum`, `MeanMetricWrapper`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_tally._declare import metric
from keras_tally._results import Options, Sums, in_keras_ops
from keras_tally._specs import Rules, Spec, mean_spec
from keras_tally._with_keras import (
    KernelMetric,
    PairMetric,
    combine_mask,
    divide_no_nan,
    get_keras_mask,
    keras,
    keras_rules,
    losses,
    result_dtype_of,
    update,
)


@in_keras_ops("mean")
def mean_of(options: Options, sums: Sums) -> Any:
    """Return the mean of a total and a count."""
    del options
    return divide_no_nan(sums[0], sums[1])


@in_keras_ops("sum")
@in_keras_ops("counts")
def _first(options: Options, sums: Sums) -> Any:
    del options
    return sums[0]


class ValueReduction(KernelMetric):
    """Reduces values that are given, not computed."""

    _input_names = ("values", "values")

    def update_state(self, values: Any, sample_weight: Any = None) -> None:
        """Add values to the state.

        Args:
            values: a tensor of any rank.
            sample_weight: optional weights: a scalar, or a tensor that matches
                the leading axes of `values` (each axis equal or 1). What the Keras
                mask of `values` leaves out weighs 0.

        Raises:
            ValueError: weights that do not fit; the state is as it was.
            TypeError: an argument that is no tensor of an accepted dtype.
        """
        if not update(self._plan, None, values, sample_weight):
            self._update_general(values, values, sample_weight)

    def _value_options(self) -> dict[str, Any]:
        # An integer metric truncates its values, as a cast does.
        whole = keras.backend.is_int_dtype(self.dtype)
        return {"value_dtype": self.dtype if whole else None}


@metric("sum")
class Sum(ValueReduction):
    """The (weighted) sum of values.

    Formula: `sum(sample_weight * values)`; a scalar weight multiplies the
    batch's sum.

    Shapes and dtypes: `values` of any shape and any bool, integer or float
    dtype; the result is a scalar of `dtype`.

    Differences from Keras: the state (`total`) is float64; a Keras
    mask counts without weights, too.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: `sample_weight` does not fit the values.
        TypeError: a dtype that cannot be summed.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.Sum()
    >>> m.update_state([1, 3, 5, 7])
    >>> float(m.result())
    16.0
    >>> m.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    >>> float(m.result())
    20.0

    Source: `keras.metrics.Sum`.
    """

    def __init__(self, name: str = "sum", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        spec = self.spec(keras_rules())
        self._bind(spec, self.dtype, self.dtype, **self._value_options())

    @classmethod
    def spec(cls, rules: Rules) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return Spec("identity", "sum", {"total": ()}, {})


@metric("mean")
class Mean(ValueReduction):
    """The (weighted) mean of values.

    Formula: `sum(sample_weight * values) / sum(sample_weight)`, where each
    entry along the first axis counts once, however many values it has. A scalar
    weight makes the batch one sample. `0 / 0` is 0.

    Shapes and dtypes: `values` of any shape and any bool, integer or float
    dtype; the result is a scalar of `dtype`, or float32 where that is one of
    integers.

    Differences from Keras: the state (`total`, `count`) is float64, counts
    exact to 2^53; an empty batch adds nothing; a Keras mask counts without weights,
    too.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: `sample_weight` does not fit the values.
        TypeError: a dtype that cannot be averaged.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.Mean()
    >>> m.update_state([1, 3, 5, 7])
    >>> float(m.result())
    4.0
    >>> m.reset_state()
    >>> m.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    >>> float(m.result())
    2.0

    Source: `keras.metrics.Mean`.
    """

    def __init__(self, name: str | None = "mean", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self._bind_mean()

    def _bind_mean(self) -> None:
        spec = self.spec(keras_rules())
        result_dtype = result_dtype_of(self.dtype)
        self._bind(spec, result_dtype, self.dtype, **self._value_options())

    @classmethod
    def spec(cls, rules: Rules) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return mean_spec("identity")


class KernelMean(Mean):
    """A mean whose values a kernel computes from y_true and y_pred.

    Subclasses name the kernel, or have a `spec` whose arguments are attributes, set
    before `super().__init__()`.
    """

    kernel: str
    _input_names = ("y_true", "y_pred")

    # As in Keras, a mean of computed values takes pairs where `Mean` takes values.
    update_state = PairMetric.update_state  # type: ignore[assignment]

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Update the state with a batch and return the result."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def _bind_mean(self) -> None:
        self._bind(self._own_spec(), result_dtype_of(self.dtype), self.dtype)

    @classmethod
    def spec(cls, rules: Rules) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return mean_spec(cls.kernel)

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {"name": self.name, "dtype": self.dtype}


@metric()
class MeanMetricWrapper(Mean):
    """The mean of a Python function of `y_true` and `y_pred`.

    Formula: `mean(fn(y_true, y_pred, **kwargs))`, weighted by `sample_weight`
    and by the Keras mask of `y_pred`, if there is one.

    Shapes and dtypes: `fn` returns one value per sample (or several, which are
    averaged); the result is a scalar of `dtype`. The function runs in the
    backend's own operations; its values are reduced natively.

    Differences from Keras: the state (`total`, `count`) is float64, counts
    exact to 2^53.

    Args:
        fn: the function to average, called as `fn(y_true, y_pred, **kwargs)`.
        name: string name of the metric instance.
        dtype: dtype of the result.
        **kwargs: keyword arguments to pass on to `fn`.

    Raises:
        ValueError: `sample_weight` does not fit the values of `fn`.

    Example:

    >>> import keras
    >>> import keras_tally as kt
    >>> def largest_error(y_true, y_pred):
    ...     return keras.ops.max(keras.ops.abs(y_true - y_pred), axis=-1)
    >>> m = kt.MeanMetricWrapper(largest_error)
    >>> y_true = keras.ops.convert_to_tensor([[0.0, 1.0], [0.0, 0.0]])
    >>> y_pred = keras.ops.convert_to_tensor([[0.5, 1.0], [0.0, 1.0]])
    >>> m.update_state(y_true, y_pred)
    >>> float(m.result())
    0.75

    Source: `keras.metrics.MeanMetricWrapper`.
    """

    _plain_config = False

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._fn = fn
        self._fn_kwargs = kwargs
        if fn in losses.ALL_OBJECTS or type(fn) in losses.ALL_OBJECTS:
            self._direction = "down"

    def update_state(  # type: ignore[override]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Add the values of `fn` over a batch to the state.

        Args:
            y_true: the ground truth.
            y_pred: the predictions.
            sample_weight: optional weights that match the leading axes of the
                values of `fn`.
        """
        mask = get_keras_mask(y_pred)
        values = self._fn(y_true, y_pred, **self._fn_kwargs)
        super().update_state(values, combine_mask(mask, sample_weight))

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        serialize = keras.saving.serialize_keras_object
        return {
            **super().get_config(),
            "fn": serialize(self._fn),
            **serialize(self._fn_kwargs),
        }

    def _copied_config(self) -> dict[str, Any]:
        config = super()._copied_config()
        if "fn" in config:
            # By reference, as pickle takes functions: Keras finds registered ones only.
            config |= {"fn": self._fn, **self._fn_kwargs}
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MeanMetricWrapper:
        """Recreate a metric from its config."""
        if "fn" in config and not callable(config["fn"]):
            config = keras.saving.deserialize_keras_object(config)
        return cls(**config)
