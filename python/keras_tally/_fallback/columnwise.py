"""Sums over each column of two matrices (`csrc/defs/columns.h`)."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_tally._fallback.arrays import (
    Options,
    align_ranks,
    product,
    sizes,
    spread_over,
    two_sum_error,
    wide,
)


def sums(
    kernel: str, options: Options, y_true: Any, y_pred: Any, sample_weight: Any
) -> list[Any]:
    """Return what a batch adds to each variable."""
    if options.get("aligns_ranks"):
        y_true, y_pred = align_ranks(y_true, y_pred)
    t = wide(y_true)
    weight = None
    if sample_weight is not None:
        weight = spread_over(sample_weight, t)
    if kernel == "squared_deviations":
        found, rests = _squared_deviations(t, wide(y_pred), weight)
    else:
        terms = _predicted_cells(t, _predicted(y_pred, options), weight)
        found, rests = [ops.sum(x, axis=0) for x in terms], []
    if options.get("folded"):
        found = [ops.sum(x) for x in found]
    if options.get("counts_samples"):
        found.insert(0, _samples(t, weight))
    return [*found, *rests]


def low_of(kernel: str, options: Options) -> list[int]:
    """Return the variables of which `sums` gives low halves, after all others."""
    if kernel != "squared_deviations":
        return []
    first = 1 if options.get("counts_samples") else 0
    return [first, first + 1, first + 3]


def _squared_deviations(t: Any, p: Any, weight: Any) -> tuple[list[Any], list[Any]]:
    """Return sums of w t^2, w t, w (t - p)^2, w; and low halves of all but the third.

    A large mean cancels in what is made of them. So they are computed about a number m
    near the mean, with t = m + d: w t = w m + w d, w t^2 = w m^2 + 2 w d m + w d^2.
    """
    w = ops.ones_like(t) if weight is None else weight
    count = ops.sum(w, axis=0)
    near = ops.sum(w * t, axis=0) / ops.where(ops.equal(count, 0.0), 1.0, count)
    # Of few bits: its square is exact, and so is the difference for float32 labels.
    m = ops.where(ops.isfinite(near), wide(ops.cast(near, "float32")), 0.0)
    m = ops.where(ops.isfinite(m), m, 0.0)
    d = t - m
    of_d, of_squares = ops.sum(w * d, axis=0), ops.sum(w * d * d, axis=0)
    total = _sum_of(product(count, m), (of_d, 0.0))
    squares = _sum_of(product(count, m * m), product(of_d, 2.0 * m), (of_squares, 0.0))
    residual = ops.sum(w * (t - p) * (t - p), axis=0)
    sums = [squares[0], total[0], residual, count]
    return sums, [squares[1], total[1], ops.zeros_like(count)]


def _sum_of(*pairs: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return the sum of numbers that have low halves, as such a number."""
    (high, low), *others = pairs
    for x, rest in others:
        total = high + x
        low = low + rest + two_sum_error(high, x, total)
        high = total
    return high, ops.where(ops.isfinite(high), low, 0.0)


def _samples(t: Any, weight: Any) -> Any:
    """Return how many rows there are that weigh something."""
    if weight is None:
        return ops.convert_to_tensor(sizes(t)[0], "float64")
    return ops.sum(wide(ops.any(ops.not_equal(weight, 0.0), axis=-1)))


def _predicted(y_pred: Any, options: Options) -> Any:
    """Return 1 where a score is above the threshold, or the row's largest.

    All that tie are, except zeros; NaN is above nothing, and in its row nothing is the
    largest. Scores are compared in the dtype that Keras casts them to.
    """
    scores = ops.cast(y_pred, options.get("precision") or y_pred.dtype)
    if options.get("threshold") is not None:
        return wide(scores > float(options["threshold"]))
    scores = wide(scores)
    largest = ops.max(scores, axis=-1, keepdims=True)
    hit = scores >= largest
    if not options.get("from_logits"):  # which have no number that is nothing
        hit = ops.logical_and(hit, ops.abs(scores) > 1e-9)
    nan = ops.any(ops.isnan(scores), axis=-1, keepdims=True)
    return ops.where(nan, 0.0, wide(hit))


def _predicted_cells(t: Any, hit: Any, weight: Any) -> list[Any]:
    if weight is None:
        weight = ops.ones_like(t)
    return [
        hit * t * weight,
        hit * (1.0 - t) * weight,
        (1.0 - hit) * t * weight,
        t * weight,
    ]
