"""Means of what each pair of elements is worth (`csrc/defs/elementwise.h`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from keras import ops

from keras_tally._fallback.arrays import (
    Options,
    align_ranks,
    clip,
    limits,
    mean,
    mean_sums,
    wide,
)


def sums(
    kernel: str, options: Options, y_true: Any, y_pred: Any, sample_weight: Any
) -> tuple[Any, Any]:
    """Return what a batch adds to `total` and `count`."""
    found = values(kernel, options, y_true, y_pred)
    return mean_sums(found, sample_weight, options.get("result") == "sum")


def values(kernel: str, options: Options, y_true: Any, y_pred: Any) -> Any:
    """Return the values of a batch, of which the last axis may be reduced."""
    if kernel == "identity":
        dtype = options.get("value_dtype")
        return wide(y_pred if dtype is None else ops.cast(y_pred, dtype))
    if options.get("labels_in_scores_dtype"):
        y_true = ops.cast(y_true, y_pred.dtype)
    function, aligned = _FUNCTIONS[kernel]
    t, p = align_ranks(y_true, y_pred) if aligned else (y_true, y_pred)
    found = function(wide(t), wide(p), _Constants(options, y_true, y_pred))
    if not options.get("last_axis") or len(found.shape) == 0:
        return found
    return (mean if options["last_axis"] == "mean" else ops.sum)(found, axis=-1)


class _Constants:
    """What a definition may need besides the two numbers."""

    def __init__(self, options: Options, y_true: Any, y_pred: Any) -> None:
        self.options, self.y_true, self.y_pred = options, y_true, y_pred
        self.epsilon, self.highest = limits(options, y_pred)

    @property
    def threshold(self) -> float:
        threshold = float(self.options["threshold"])
        if self.options.get("threshold_in_scores_dtype"):
            name = str(getattr(self.y_pred.dtype, "name", self.y_pred.dtype))
            narrow = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16}.get(name)
            if narrow is not None:
                threshold = float(np.asarray(threshold).astype(narrow))
        return threshold

    def smoothed(self, y_true: Any) -> Any:
        smoothing = self.options.get("label_smoothing", 0.0)
        return y_true * (1.0 - smoothing) + 0.5 * smoothing


def _truth(x: Any) -> Any:
    return wide(x)


def _log_of_ratio(a: Any, b: Any, difference: Any) -> Any:
    """Return log(a / b): near values lose nothing."""
    near = ops.abs(difference) < 0.5 * ops.abs(b)
    return ops.where(
        near, ops.log1p(ops.where(near, difference / b, 0.0)), ops.log(a / b)
    )


def _huber(t: Any, p: Any, c: _Constants) -> Any:
    error, d = ops.abs(t - p), c.threshold
    return ops.where(error <= d, 0.5 * error * error, d * error - 0.5 * d * d)


def _percentage(t: Any, p: Any, c: _Constants) -> Any:
    size = ops.abs(t)
    return 100.0 * (ops.abs(t - p) / ops.where(size < c.epsilon, c.epsilon, size))


def _squared_logarithmic(t: Any, p: Any, c: _Constants) -> Any:
    t, p = (ops.where(x < c.epsilon, c.epsilon, x) for x in (t, p))
    error = _log_of_ratio(p + 1.0, t + 1.0, p - t)
    return error * error


def _log_cosh(t: Any, p: Any, c: _Constants) -> Any:
    del c
    error = ops.abs(p - t)
    near = error < 1.0  # where the other form would cancel
    m = ops.expm1(ops.where(near, error, 0.0))
    far = error + (ops.log1p(ops.exp(-2.0 * error)) - math.log(2.0))
    # cosh(e) - 1 is m^2 / (2 m + 2).
    return ops.where(near, ops.log1p(m * m / (2.0 * m + 2.0)), far)


def _hinge(t: Any, p: Any, c: _Constants) -> Any:
    # One label decides for the whole batch what 0 and 1 mean.
    labels = wide(c.y_true)
    zero_one = ops.all(ops.logical_or(ops.equal(labels, 0.0), ops.equal(labels, 1.0)))
    loss = 1.0 - ops.where(zero_one, 2.0 * t - 1.0, t) * p
    return ops.where(loss < 0.0, 0.0, loss)


def _kl_divergence(t: Any, p: Any, c: _Constants) -> Any:
    t, p = clip(t, c.epsilon, 1.0), clip(p, c.epsilon, 1.0)
    return t * _log_of_ratio(t, p, t - p)


def _binary_crossentropy(t: Any, p: Any, c: _Constants) -> Any:
    t = c.smoothed(t)
    if c.options.get("from_logits"):
        positive = ops.where(p < 0.0, 0.0, p)
        return positive - p * t + ops.log1p(ops.exp(-ops.abs(p)))
    p = clip(p, c.epsilon, c.highest)
    return -(t * ops.log(p) + (1.0 - t) * ops.log(1.0 - p))


def _binary_focal_crossentropy(t: Any, p: Any, c: _Constants) -> Any:
    t, alpha = c.smoothed(t), c.options["alpha"]
    if c.options.get("from_logits"):
        p = 1.0 / (1.0 + ops.exp(-p))
    clipped = clip(p, c.epsilon, c.highest)
    loss = -(t * ops.log(clipped) + (1.0 - t) * ops.log1p(-clipped))
    focal = (t * (1.0 - p) + (1.0 - t) * p) ** float(c.options["gamma"]) * loss
    weight = t * alpha + (1.0 - t) * (1.0 - alpha)
    return weight * focal if c.options.get("balance_classes") else focal


# By kernel: the definition, and whether ranks that differ by one are aligned.
_FUNCTIONS: dict[str, tuple[Callable[[Any, Any, _Constants], Any], bool]] = {
    "squared_error": (lambda t, p, c: (t - p) * (t - p), True),
    "signed_error": (lambda t, p, c: p - t, True),
    "absolute_error": (lambda t, p, c: ops.abs(t - p), True),
    "absolute_percentage_error": (_percentage, True),
    "squared_logarithmic_error": (_squared_logarithmic, True),
    "huber_error": (_huber, True),
    "log_cosh": (_log_cosh, True),
    "poisson": (lambda t, p, c: p - t * ops.log(p + c.epsilon), False),
    "hinge": (_hinge, False),
    "squared_hinge": (lambda t, p, c: _hinge(t, p, c) ** 2.0, False),
    "kl_divergence": (_kl_divergence, False),
    "equal": (lambda t, p, c: _truth(ops.equal(t, p)), True),
    "binary_hit": (
        lambda t, p, c: _truth(ops.equal(t, _truth(p > c.threshold))),
        True,
    ),
    "binary_crossentropy": (_binary_crossentropy, False),
    "binary_focal_crossentropy": (_binary_focal_crossentropy, False),
}
