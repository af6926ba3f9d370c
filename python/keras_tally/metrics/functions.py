"""Keras's metric functions: the values of a batch, nothing accumulated.

One native pass from the inputs to the values, with no array in between. On JAX and
TensorFlow, for symbolic tensors, and for what no kernel does (an `alpha` per class),
Keras's own function of the same name does the work.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.masking import set_keras_mask

from keras_tally import _backends, _native
from keras_tally._engine import IN_PLACE
from keras_tally._inputs import prepare
from keras_tally.metrics.regression import row_axes

_PARAMETERS = {
    "y_true": "the ground truth.",
    "y_pred": "the predictions.",
    "axis": "the axis that is reduced.",
    "threshold": "float above which a prediction counts as 1.",
    "delta": "the error at which the loss becomes linear.",
    "k": "number of best scores to look at.",
    "from_sorted_ids": "whether `y_pred` holds class ids, best first.",
    "from_logits": "whether `y_pred` holds logits instead of probabilities.",
    "label_smoothing": "float in [0, 1]: how far labels are moved to the middle.",
    "ignore_class": "a label whose rows have the value 0 and are masked out.",
    "apply_class_balancing": "whether to weigh the two classes by `alpha`.",
    "alpha": "weight of the positive class; of all classes where there are many.",
    "gamma": "power of what is missing to certainty: how little easy ones count.",
}
_DTYPE_OF_SCORES = "of the dtype of `y_pred` (floatx for integers)"
_FLOATX = "of `keras.config.floatx()`"


def _document(
    summary: str,
    formula: str,
    returns: str,
    example: str,
    value: str,
    **parameters: str,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        name = function.__name__
        known = {**_PARAMETERS, **parameters}
        arguments = "\n".join(
            f"    {parameter}: {known[parameter]}"
            for parameter in inspect.signature(function).parameters
        )
        function.__doc__ = f"""{summary}

Formula: {formula}

Shapes and dtypes: {returns}. Bool, integer and float inputs; computed in float64
(on JAX, TensorFlow and symbolic tensors by Keras's function of this name, and as that
computes). There is no gradient: losses to train with are in `keras.losses`.

Args:
{arguments}

Returns:
    A tensor of values.

Raises:
    ValueError: shapes or labels that do not fit.
    TypeError: a dtype that is no bool, integer or float up to 64 bits.

Example:

>>> import keras_tally as kt
>>> values = kt.{name}({example})
>>> [round(float(value), 5) for value in values]
{value}

Source: `keras.metrics.{name}`.
"""
        return function

    return decorate


@cache
def _plan(kernel: str, options: tuple[tuple[str, Any], ...]) -> Any:
    return _native.make_plan(kernel, "mean", [], {"wrap_result": None, **dict(options)})


def _values(
    kernel: str,
    keras_function: Callable[..., Any],
    y_true: Any,
    y_pred: Any,
    keras_arguments: dict[str, Any] | None = None,
    dtype: str | None = None,
    **options: Any,
) -> Any:
    """Return a kernel's values, or what Keras's function returns where it must."""
    if not IN_PLACE or _backends.any_symbolic(y_true, y_pred):
        tensors = map(_backends.with_shape, (y_true, y_pred))
        return keras_function(*tensors, **(keras_arguments or {}))
    plan = _plan(kernel, tuple(options.items()))
    values = _native.values(plan, y_true, y_pred)
    if values is None:
        # What cannot be borrowed: lists, numbers, other devices.
        place = y_pred
        backend = _backends.in_place_backend()
        like = backend.on_device(y_pred, y_true)
        y_true = prepare(y_true, "y_true", like)
        y_pred = prepare(y_pred, "y_pred", like)
        values = _native.values(plan, y_true, y_pred)
        values = backend.place_like(
            values, place if hasattr(place, "device") else y_pred
        )
    if dtype is None:
        dtype = keras.backend.standardize_dtype(y_pred.dtype)
        if not keras.backend.is_float_dtype(dtype):
            dtype = keras.config.floatx()
    if keras.backend.standardize_dtype(values.dtype) != dtype:
        values = keras.ops.cast(values, dtype)
    return values


def _elementwise(
    kernel: str, keras_function: Callable[..., Any], y_true: Any, y_pred: Any, **kw: Any
) -> Any:
    options = {"last_axis": "mean", "epsilon": keras.config.epsilon(), **kw}
    return _values(kernel, keras_function, y_true, y_pred, **options)


def _with_axis_last(x: Any, axis: int) -> Any:
    if axis == -1 or isinstance(x, keras.KerasTensor):
        return x
    return keras.ops.moveaxis(keras.ops.convert_to_tensor(x), axis, -1)


_PAIR = (
    "`y_true` and `y_pred` of shape (..., n); one value for each row of the last axis"
)


@_document(
    "Return the squared errors, averaged over the last axis.",
    "`mean((y_true - y_pred) ** 2, -1)`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]",
    "[0.5, 0.0]",
)
def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    keras_function = keras.losses.mean_squared_error
    return _elementwise("squared_error", keras_function, y_true, y_pred)


@_document(
    "Return the absolute errors, averaged over the last axis.",
    "`mean(abs(y_true - y_pred), -1)`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]",
    "[0.5, 0.0]",
)
def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    keras_function = keras.losses.mean_absolute_error
    return _elementwise("absolute_error", keras_function, y_true, y_pred)


@_document(
    "Return the absolute errors in percent, averaged over the last axis.",
    "`100 * mean(abs(y_true - y_pred) / max(abs(y_true), epsilon), -1)`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[2.0, 4.0], [5.0, 8.0]], [[1.0, 4.0], [5.0, 6.0]]",
    "[25.0, 12.5]",
)
def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    keras_function = keras.losses.mean_absolute_percentage_error
    return _elementwise("absolute_percentage_error", keras_function, y_true, y_pred)


@_document(
    "Return the squared differences of logarithms, averaged over the last axis.",
    "`mean((log(1 + p) - log(1 + t)) ** 2, -1)`, `p` and `t` at least epsilon.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]",
    "[0.24023, 0.0]",
)
def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    keras_function = keras.losses.mean_squared_logarithmic_error
    return _elementwise("squared_logarithmic_error", keras_function, y_true, y_pred)


@_document(
    "Return the Huber losses, averaged over the last axis.",
    "with `e = abs(y_true - y_pred)`, the mean of `e ** 2 / 2` up to `delta` and of\n"
    "`delta * e - delta ** 2 / 2` above it.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 0.0], [0.0, 0.0]], [[0.5, 3.0], [0.0, 1.0]]",
    "[1.3125, 0.25]",
)
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    return _elementwise(
        "huber_error",
        keras.losses.huber,
        y_true,
        y_pred,
        keras_arguments={"delta": delta},
        threshold=float(delta),
    )


@_document(
    "Return the log-cosh errors, averaged over the last axis.",
    "`mean(log(cosh(y_pred - y_true)), -1)`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]",
    "[0.21689, 0.0]",
)
def log_cosh(y_true: Any, y_pred: Any) -> Any:
    return _elementwise("log_cosh", keras.losses.log_cosh, y_true, y_pred)


@_document(
    "Return the Poisson losses, averaged over the last axis.",
    "`mean(y_pred - y_true * log(y_pred + epsilon), -1)`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]",
    "[1.0, 0.0]",
)
def poisson(y_true: Any, y_pred: Any) -> Any:
    return _elementwise("poisson", keras.losses.poisson, y_true, y_pred)


@_document(
    "Return the Kullback-Leibler divergences of rows of probabilities.",
    "`sum(y_true * log(y_true / y_pred), -1)`, both clipped to [epsilon, 1].",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 1.0]], [[0.6, 0.4], [0.4, 0.6]]",
    "[0.91629, 0.51082]",
)
def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    keras_function = keras.losses.kl_divergence
    return _elementwise(
        "kl_divergence", keras_function, y_true, y_pred, last_axis="sum"
    )


@_document(
    "Return the hinge losses, averaged over the last axis.",
    "`mean(max(1 - y_true * y_pred, 0), -1)`; labels 0 and 1 mean -1 and 1 where\n"
    "there are no others.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 0.0]], [[0.6, 0.4], [0.4, 0.6]]",
    "[1.1, 1.5]",
)
def hinge(y_true: Any, y_pred: Any) -> Any:
    return _elementwise(
        "hinge", keras.losses.hinge, y_true, y_pred, find_zero_one_labels=True
    )


@_document(
    "Return the squared hinge losses, averaged over the last axis.",
    "`mean(max(1 - y_true * y_pred, 0) ** 2, -1)`; labels 0 and 1 mean -1 and 1 where\n"
    "there are no others.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 0.0]], [[0.6, 0.4], [0.4, 0.6]]",
    "[1.46, 2.26]",
)
def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    return _elementwise(
        "squared_hinge",
        keras.losses.squared_hinge,
        y_true,
        y_pred,
        find_zero_one_labels=True,
    )


@_document(
    "Return the hinge losses of rows of class scores.",
    "`max(max((1 - y_true) * y_pred, -1) - sum(y_true * y_pred, -1) + 1, 0)`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [1.0, 0.0]], [[0.6, 0.4], [0.4, 0.6]]",
    "[1.2, 1.2]",
)
def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    keras_function = keras.losses.categorical_hinge
    return _values("categorical_hinge", keras_function, y_true, y_pred)


def _correlation(
    kernel: str, keras_function: Any, y_true: Any, y_pred: Any, axis: Any
) -> Any:
    return _values(
        kernel,
        keras_function,
        y_true,
        y_pred,
        keras_arguments={"axis": axis},
        axes=tuple(row_axes(axis)),
        epsilon=keras.config.epsilon(),
    )


@_document(
    "Return the Pearson correlations of true and predicted rows.",
    "`cov(y_true, y_pred) / (std(y_true) * std(y_pred))` along `axis`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0, 0.5], [1.0, 1.0, 0.2]], [[0.1, 0.9, 0.5], [1.0, 0.9, 0.2]]",
    "[1.0, 0.9934]",
    axis="the axis of the rows, or several.",
)
def pearson_correlation(y_true: Any, y_pred: Any, axis: Any = -1) -> Any:
    keras_function = keras.metrics.pearson_correlation
    return _correlation("pearson_correlation", keras_function, y_true, y_pred, axis)


@_document(
    "Return the concordance correlations of true and predicted rows.",
    "`2 * cov(y_true, y_pred) / (var(y_true) + var(y_pred) + (mean(y_true) -\n"
    "mean(y_pred)) ** 2 + epsilon)` along `axis`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0, 0.5], [1.0, 1.0, 0.2]], [[0.1, 0.9, 0.5], [1.0, 0.9, 0.2]]",
    "[0.97561, 0.98765]",
    axis="the axis of the rows, or several.",
)
def concordance_correlation(y_true: Any, y_pred: Any, axis: Any = -1) -> Any:
    keras_function = keras.metrics.concordance_correlation
    return _correlation("concordance_correlation", keras_function, y_true, y_pred, axis)


@_document(
    "Return where thresholded predictions match binary labels.",
    "`y_true == (y_pred > threshold)`, as 0 and 1.",
    f"`y_true` and `y_pred` of shapes that broadcast; one value each, {_FLOATX}",
    "[1.0, 1.0, 0.0, 0.0], [0.98, 1.0, 0.0, 0.6]",
    "[1.0, 1.0, 1.0, 0.0]",
)
def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> Any:
    return _values(
        "binary_hit",
        keras.metrics.binary_accuracy,
        y_true,
        y_pred,
        keras_arguments={"threshold": threshold},
        dtype=keras.config.floatx(),
        threshold=float(np.float32(threshold)),
    )


_SPARSE = "`y_pred` of shape (..., num_classes) and one label for each row"
_DENSE = "`y_true` and `y_pred` of shape (..., num_classes)"


@_document(
    "Return where the largest score falls on the largest entry of a one-hot label.",
    "`argmax(y_true, -1) == argmax(y_pred, -1)`, as 0 and 1.",
    f"{_DENSE}; one value for each row, {_FLOATX}",
    "[[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]",
    "[0.0, 1.0]",
)
def categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    keras_function = keras.metrics.categorical_accuracy
    return _values(
        "categorical_hit", keras_function, y_true, y_pred, dtype=keras.config.floatx()
    )


@_document(
    "Return where the largest score falls on an integer label.",
    "`y_true == argmax(y_pred, -1)`, as 0 and 1.",
    f"{_SPARSE}; one value for each row, {_FLOATX}",
    "[2, 1], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]]",
    "[0.0, 1.0]",
)
def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> Any:
    keras_function = keras.metrics.sparse_categorical_accuracy
    values = _values(
        "sparse_categorical_hit",
        keras_function,
        y_true,
        y_pred,
        dtype=keras.config.floatx(),
    )
    if len(values.shape) > 1 and values.shape[-1] == 1:
        values = keras.ops.squeeze(values, -1)  # as Keras does
    return values


@_document(
    "Return where a one-hot label's class is among the `k` best scores.",
    "`count(y_pred > y_pred[argmax(y_true)]) < k`, as 0 and 1.",
    f"{_DENSE}; one value for each row, {_FLOATX}",
    "[[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]], k=1",
    "[0.0, 1.0]",
)
def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> Any:
    return _values(
        "top_k_hit",
        keras.metrics.top_k_categorical_accuracy,
        y_true,
        y_pred,
        keras_arguments={"k": k},
        dtype=keras.config.floatx(),
        k=k,
    )


@_document(
    "Return where an integer label's class is among the `k` best scores.",
    "`count(y_pred > y_pred[y_true]) < k`, or `y_true in y_pred[:k]`, as 0 and 1.",
    f"{_SPARSE}; the shape of `y_true`, {_FLOATX}",
    "[2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]], k=1",
    "[0.0, 1.0]",
)
def sparse_top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False
) -> Any:
    kernel = "sorted_ids_hit" if from_sorted_ids else "sparse_top_k_hit"
    values = _values(
        kernel,
        keras.metrics.sparse_top_k_categorical_accuracy,
        y_true,
        y_pred,
        keras_arguments={"k": k, "from_sorted_ids": from_sorted_ids},
        dtype=keras.config.floatx(),
        k=k,
    )
    shape = tuple(getattr(y_true, "shape", values.shape))
    return values if tuple(values.shape) == shape else keras.ops.reshape(values, shape)


def _logits(from_logits: bool, label_smoothing: float) -> dict[str, Any]:
    return {"from_logits": bool(from_logits), "label_smoothing": float(label_smoothing)}


@_document(
    "Return the binary cross-entropies, averaged over an axis.",
    "with `p = clip(y_pred, epsilon, 1 - epsilon)`,\n"
    "`mean(-(y_true * log(p) + (1 - y_true) * log(1 - p)), axis)`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 0.0]], [[0.6, 0.4], [0.4, 0.6]]",
    "[0.91629, 0.71356]",
)
def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    arguments = _logits(from_logits, label_smoothing)
    return _elementwise(
        "binary_crossentropy",
        keras.losses.binary_crossentropy,
        _with_axis_last(y_true, axis),
        _with_axis_last(y_pred, axis),
        keras_arguments=arguments,
        **arguments,
    )


@_document(
    "Return the binary focal cross-entropies, averaged over an axis.",
    "binary cross-entropies times `(1 - q) ** gamma` with\n"
    "`q = y_true * p + (1 - y_true) * (1 - p)`.",
    f"{_PAIR}, {_DTYPE_OF_SCORES}",
    "[[0.0, 1.0], [0.0, 0.0]], [[0.6, 0.4], [0.4, 0.6]]",
    "[0.32986, 0.2058]",
)
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    shared = {**_logits(from_logits, label_smoothing), "alpha": alpha, "gamma": gamma}
    return _elementwise(
        "binary_focal_crossentropy",
        keras.losses.binary_focal_crossentropy,
        _with_axis_last(y_true, axis),
        _with_axis_last(y_pred, axis),
        keras_arguments={**shared, "apply_class_balancing": apply_class_balancing},
        balance_classes=bool(apply_class_balancing),
        **shared,
    )


@_document(
    "Return the cross-entropies of one-hot labels.",
    "with `p = clip(y_pred / sum(y_pred, axis), epsilon, 1 - epsilon)`,\n"
    "`-sum(y_true * log(p), axis)`.",
    f"{_DENSE}; one value for each row, {_DTYPE_OF_SCORES}",
    "[[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]",
    "[0.05129, 2.30259]",
)
def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    arguments = {**_logits(from_logits, label_smoothing), "axis": axis}
    return _values(
        "categorical_crossentropy",
        keras.losses.categorical_crossentropy,
        y_true,
        y_pred,
        keras_arguments=arguments,
        epsilon=keras.config.epsilon(),
        **arguments,
    )


@_document(
    "Return the focal cross-entropies of one-hot labels.",
    "with `p = clip(y_pred / sum(y_pred, axis), epsilon, 1 - epsilon)`,\n"
    "`-sum(alpha * (1 - p) ** gamma * y_true * log(p), axis)`.",
    f"{_DENSE}; one value for each row, {_DTYPE_OF_SCORES}",
    "[[0, 1, 0], [0, 0, 1]], [[0.05, 0.9, 0.05], [0.1, 0.85, 0.05]]",
    "[0.00026, 0.67591]",
    alpha="weight of all classes, or one for each (which Keras then computes).",
)
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    keras_function = keras.losses.categorical_focal_crossentropy
    arguments = {
        **_logits(from_logits, label_smoothing),
        "alpha": alpha,
        "gamma": gamma,
        "axis": axis,
    }
    if not isinstance(alpha, (int, float)):
        return keras_function(y_true, y_pred, **arguments)
    return _values(
        "categorical_focal_crossentropy",
        keras_function,
        y_true,
        y_pred,
        keras_arguments=arguments,
        epsilon=keras.config.epsilon(),
        **arguments,
    )


@_document(
    "Return the cross-entropies of integer labels.",
    "with `p = clip(y_pred / sum(y_pred, axis), epsilon, 1 - epsilon)`,\n"
    "`-log(p[y_true])`.",
    f"{_SPARSE}; one value for each row, {_DTYPE_OF_SCORES}",
    "[1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]",
    "[0.05129, 2.30259]",
)
def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Any:
    arguments: dict[str, Any] = {
        "from_logits": from_logits,
        "ignore_class": ignore_class,
        "axis": axis,
    }
    ignored = () if ignore_class is None else (int(ignore_class),)
    values = _values(
        "sparse_categorical_crossentropy",
        keras.losses.sparse_categorical_crossentropy,
        y_true,
        y_pred,
        keras_arguments=arguments,
        epsilon=keras.config.epsilon(),
        **{**arguments, "ignore_class": ignored},
    )
    if ignore_class is not None and IN_PLACE:
        valid = keras.ops.not_equal(y_true, ignore_class)
        set_keras_mask(values, keras.ops.reshape(valid, values.shape))
    return values
