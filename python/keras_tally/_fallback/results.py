"""From the sums to the results (`csrc/defs/results.h`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras import ops

from keras_tally._fallback.arrays import (
    Options,
    divide_no_nan,
    mean,
    product,
    wide,
)

NAN = float("nan")
Sums = Sequence[Any]


def result(name: str, options: Options, sums: Sums) -> Any:
    """Return what is made of the sums, float64 in the shapes of the variables."""
    return _RESULTS[name](options, sums)


def _mean(options: Options, sums: Sums) -> Any:
    del options
    return divide_no_nan(sums[0], sums[1])


def _root_mean(options: Options, sums: Sums) -> Any:
    return ops.sqrt(_mean(options, sums))


def _first(options: Options, sums: Sums) -> Any:
    del options
    return sums[0]


def _ratio(options: Options, sums: Sums) -> Any:
    del options
    return divide_no_nan(sums[0], sums[0] + sums[1])


def _rate(name: str, sums: Sums) -> Any:
    tp, fp, tn, fn = sums
    hits, others = {"precision": (tp, fp), "recall": (tp, fn), "specificity": (tn, fp)}[
        name
    ]
    return divide_no_nan(hits, hits + others)


def _constrained(options: Options, sums: Sums) -> Any:
    """Return the best of one rate where the other is large enough."""
    allowed = _rate(options["constrained"], sums) >= float(options["required"])
    best = ops.max(ops.where(allowed, _rate(options["dependent"], sums), 0.0))
    unranked = ops.any(ops.isnan(sums[0] + sums[1] + sums[2] + sums[3]))
    return ops.where(unranked, NAN, best)


def _auc(options: Options, sums: Sums) -> Any:
    """Return the area under the curve, of which each column has one."""
    labels = int(options["labels"])
    tp, fp, tn, fn = (ops.reshape(x, (-1, labels)) for x in sums)
    unranked = ops.isnan((tp + fp + tn + fn)[0])
    if options["curve"] == "PR" and options["summation_method"] == "interpolation":
        slices = _interpolated_pr(tp, fp, fn)
    else:
        x, y = _coordinates(options["curve"], tp, fp, tn, fn)
        low, high = y[:-1], y[1:]
        heights = {
            "interpolation": (low + high) / 2.0,
            "minoring": ops.minimum(low, high),
            "majoring": ops.maximum(low, high),
            "step": low,
        }
        height = heights[options["summation_method"]]
        slices = (x[:-1] - x[1:]) * height
    areas = ops.where(unranked, NAN, ops.sum(slices, axis=0))
    weights = np.ones(labels)
    if options.get("label_weights") is not None and options.get("multi_label"):
        weights = np.asarray(options["label_weights"], "float64")
    total = float(weights.sum())
    return ops.sum(areas * weights) / total if total else ops.zeros_like(areas[0])


def _interpolated_pr(tp: Any, fp: Any, fn: Any) -> Any:
    """Return slices of the area between thresholds: precision is not linear there."""
    p = tp + fp
    tp_b, p_a, p_b = tp[1:], p[:-1], p[1:]
    dtp, dp = tp[:-1] - tp_b, p_a - p_b
    slope = divide_no_nan(dtp, ops.where(dp > 0.0, dp, 0.0))
    intercept = tp_b - slope * p_b
    both = ops.logical_and(p_a > 0.0, p_b > 0.0)
    ratio = ops.where(both, p_a / ops.where(both, p_b, 1.0), 1.0)
    positives = tp_b + fn[1:]
    return divide_no_nan(
        slope * (dtp + intercept * ops.log(ratio)),
        ops.where(positives > 0.0, positives, 0.0),
    )


def _coordinates(curve: str, tp: Any, fp: Any, tn: Any, fn: Any) -> tuple[Any, Any]:
    recall = divide_no_nan(tp, tp + fn)
    if curve == "ROC":
        return divide_no_nan(fp, fp + tn), recall
    if curve == "PR":
        return recall, divide_no_nan(tp, tp + fp)
    scaling, none = divide_no_nan(tp + fn, tn + fp), ops.equal(tp, 0.0)
    recall_gain = ops.where(none, 0.0, 1.0 - scaling * divide_no_nan(fn, tp))
    precision_gain = ops.where(none, 1.0, 1.0 - scaling * divide_no_nan(fp, tp))
    return ops.maximum(recall_gain, 0.0), precision_gain


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


def _r2(options: Options, sums: Sums) -> Any:
    samples, squares, total, residual, count, *lows = sums
    highs = squares, total, count
    variation = _variation(*zip(highs, lows, strict=True))
    # Of a constant column it is 1 where all is right and 0 where not.
    perfect = ops.logical_and(ops.equal(variation, 0.0), ops.equal(residual, 0.0))
    score = ops.where(perfect, 1.0, 1.0 - residual / variation)
    score = ops.where(ops.isinf(score), 0.0, score)
    if options["average"] is not None:
        plain = mean(score)
        if options["average"] == "weighted":
            # Constant columns have no variance to weigh them by.
            of_all = ops.sum(variation)
            varies = ops.not_equal(of_all, 0.0)
            weighted = ops.sum(score * variation) / ops.where(varies, of_all, 1.0)
            plain = ops.where(varies, weighted, plain)
        score = plain
    # Corrected for the number of regressors; unchanged where that has no meaning.
    p = float(options["regressors"])
    left = samples - p - 1.0
    corrected = 1.0 - (1.0 - score) * (samples - 1.0) / ops.where(left > 0, left, 1.0)
    return ops.where(ops.logical_and(left > 0.0, p > 0.0), corrected, score)


def _iou(options: Options, sums: Sums) -> Any:
    """Return the mean over target classes that occur, of TP / (TP + FP + FN)."""
    targets, epsilon = list(options["target_class_ids"]), float(options["epsilon"])
    if options.get("per_class_counts"):
        hits, every = sums[0], sums[0] + sums[1] + sums[2]
    else:
        (matrix,) = sums
        hits = ops.diagonal(matrix)
        every = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - hits
    classes = int(options["num_classes"])
    places = np.array([t % classes for t in targets], "int32")
    hits, every = (ops.take(x, places, axis=0) for x in (hits, every))
    occurs = wide(every > 1e-9)
    shares = ops.where(every > 1e-9, hits / (every + epsilon), 0.0)
    return ops.sum(shares) / (ops.sum(occurs) + epsilon)


def _expression(options: Options, sums: Sums) -> Any:
    (value,) = options["finish"](*sums).values()
    return value


_RESULTS: dict[str, Callable[[Options, Sums], Any]] = {
    "mean": _mean,
    "root_mean": _root_mean,
    "sum": _first,
    "counts": _first,
    "ratio": _ratio,
    "constrained": _constrained,
    "auc": _auc,
    "f_score": _f_score,
    "r2": _r2,
    "iou": _iou,
    "expression": _expression,
}
