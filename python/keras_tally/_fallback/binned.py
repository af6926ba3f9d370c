"""Counts of scores above thresholds, by label (`csrc/defs/confusion.h`)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from keras import ops

from keras_tally._fallback.arrays import Options, align_ranks, spread_over, wide

# Up to so many thresholds each score is compared with all of them, in one loop.
FEW = 8
# A score that is not among the best `top_k`.
BELOW_ALL = -1e10


def counts(
    kernel: str, options: Options, y_true: Any, y_pred: Any, sample_weight: Any
) -> list[Any]:
    """Return what a batch adds to each count."""
    del kernel
    scores, labels = align_ranks(y_pred, y_true)
    if all(isinstance(n, int) for n in scores.shape):
        labels = ops.reshape(labels, scores.shape)
    elif len(labels.shape) != len(scores.shape):
        labels = ops.reshape(labels, ops.shape(scores))
    if options.get("from_logits"):
        scores = 1.0 / (1.0 + ops.exp(-wide(scores)))
    precision = "float64" if options.get("double_precision") else "float32"
    scores = ops.cast(scores, precision)
    if options.get("top_k"):
        scores = _best(scores, int(options["top_k"]))
    if options.get("class_id") is not None:
        first = int(options["class_id"])
        column = slice(first, first + 1 or None)
        if sample_weight is not None and sample_weight.shape == scores.shape:
            sample_weight = sample_weight[..., column]
        scores, labels = scores[..., column], labels[..., column]
    positive = ops.not_equal(ops.cast(labels, precision), 0)
    weight = spread_over(1.0 if sample_weight is None else sample_weight, scores)
    if options.get("label_weights") is not None and not options.get("multi_label"):
        weight = weight * np.asarray(options["label_weights"], "float64")
    columns_of_state = int(options.get("labels") or 1)
    shape = (-1, columns_of_state)
    scores, positive, weight = (
        ops.reshape(x, shape) for x in (scores, positive, weight)
    )
    cells = _cells(options, precision, scores, positive, weight)
    if options.get("poison_on_nan"):
        unranked = ops.logical_and(ops.isnan(scores), ops.not_equal(weight, 0.0))
        poison = ops.where(ops.any(unranked), float("nan"), 0.0)
        cells = {name: x + wide(poison) for name, x in cells.items()}
    return [cells[name] for name in options["cells"]]


def _best(scores: Any, k: int) -> Any:
    """Return scores, and far below all of them what is not among a row's best k.

    Of equal scores the first are the best; NaN is better than every number, and is
    not passed on.
    """
    classes = scores.shape[-1]
    if classes is not None and k >= classes:
        return scores
    ranked = ops.where(ops.isnan(scores), math.inf, scores)
    best, places = ops.top_k(ranked, k)
    last, place = best[..., -1:], ops.cast(places[..., -1:], "int32")
    own = ops.arange(ops.shape(scores)[-1], dtype="int32")
    among = ops.logical_and(ops.equal(scores, last), own <= place)
    kept = ops.logical_or(scores > last, among)
    return ops.where(kept, scores, ops.cast(BELOW_ALL, scores.dtype))


def _cells(
    options: Options, precision: str, scores: Any, positive: Any, weight: Any
) -> dict[str, Any]:
    """Return the four cells, of shape (thresholds, labels)."""
    given = np.asarray(options["thresholds"], "float64").astype(precision)
    if len(given) <= FEW and not (options.get("even") and len(given) > 1):
        limits = ops.convert_to_tensor(given.reshape(-1, 1, 1))
        return _sums(ops.expand_dims(scores, 0) > limits, positive, weight)
    order = np.argsort(given, kind="stable")
    if options.get("even"):
        bins = _even_bins(scores, len(given), bool(options["first_always_passed"]))
    else:
        limits = ops.convert_to_tensor(given[order])
        bins = ops.searchsorted(limits, ops.reshape(scores, (-1,)), side="left")
        bins = ops.reshape(bins, ops.shape(scores))
        bins = ops.where(ops.isnan(scores), 0, ops.cast(bins, "int32"))
    found = _histogram(bins, positive, weight, len(given) + 1)
    below = {name: ops.cumsum(x, axis=0)[:-1] for name, x in found.items()}
    above = {
        name: ops.flip(ops.cumsum(ops.flip(x, axis=0), axis=0), axis=0)[1:]
        for name, x in found.items()
    }
    cells = {
        "tp": above["positive"],
        "fp": above["negative"],
        "fn": below["positive"],
        "tn": below["negative"],
    }
    if not np.array_equal(order, np.arange(len(order))):
        places = np.argsort(order)
        cells = {name: ops.take(x, places, axis=0) for name, x in cells.items()}
    return cells


def _sums(above: Any, positive: Any, weight: Any) -> dict[str, Any]:
    no = ops.logical_not
    chosen = {
        "tp": ops.logical_and(above, positive),
        "fp": ops.logical_and(above, no(positive)),
        "fn": ops.logical_and(no(above), positive),
        "tn": ops.logical_and(no(above), no(positive)),
    }
    return {
        name: ops.sum(ops.where(x, weight, 0.0), axis=1) for name, x in chosen.items()
    }


def _even_bins(scores: Any, count: int, first_always_passed: bool) -> Any:
    """Return how many evenly spaced thresholds lie below each score.

    In the scores' own precision, as Keras computes it.
    """
    inside = ops.where(scores > 0, ops.where(scores < 1, scores, 1), 0)
    scaled = inside * (count - 1)
    bins = ops.cast(scaled, "int32")
    bins = bins + ops.cast(scaled > ops.cast(bins, scaled.dtype), "int32")
    return ops.maximum(bins, 1) if first_always_passed else bins


def _histogram(bins: Any, positive: Any, weight: Any, count: int) -> dict[str, Any]:
    """Return the weights in each bin, of each label and column."""
    columns = weight.shape[-1]
    cell = bins * 2 + ops.cast(positive, "int32")
    cell = cell * columns + ops.arange(columns, dtype="int32")
    sums = ops.segment_sum(
        ops.reshape(weight, (-1,)),
        ops.reshape(cell, (-1,)),
        num_segments=2 * count * columns,
    )
    table = ops.reshape(sums, (count, 2, columns))
    return {"negative": table[:, 0], "positive": table[:, 1]}
