"""Sums over each column of two matrices (`csrc/defs/columns.h`)."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_tally._fallback.arrays import Options, align_ranks, sizes, spread_over, wide


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
        terms = _squared_deviations(t, wide(y_pred), weight)
    else:
        terms = _predicted_cells(t, _predicted(y_pred, options), weight)
    found = [ops.sum(x, axis=0) for x in terms]
    if options.get("folded"):
        found = [ops.sum(x) for x in found]
    if options.get("counts_samples"):
        found.insert(0, _samples(t, weight))
    return found


def _squared_deviations(t: Any, p: Any, weight: Any) -> list[Any]:
    if weight is None:
        return [t * t, t, (t - p) * (t - p), ops.ones_like(t)]
    return [t * t * weight, t * weight, (t - p) * (t - p) * weight, weight]


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
