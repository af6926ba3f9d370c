"""Means of what each row of scores is worth (`csrc/defs/rows.h`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_tally._fallback.arrays import (
    Options,
    align_ranks,
    clip,
    expand_to,
    first_largest,
    iota,
    is_ignored,
    limits,
    mean,
    mean_sums,
    sizes,
    spread_over,
    wide,
)

NAN = float("nan")


def sums(
    kernel: str, options: Options, y_true: Any, y_pred: Any, sample_weight: Any
) -> tuple[Any, Any]:
    """Return what a batch adds to `total` and `count`."""
    found = values(kernel, options, y_true, y_pred)
    if options.get("ignore_class"):
        labels = _labels(y_true, y_pred, int(options.get("axis", -1)))
        weight = 1.0 if sample_weight is None else sample_weight
        weight = spread_over(weight, found)
        sample_weight = ops.where(is_ignored(labels, options), 0.0, weight)
    return mean_sums(found, sample_weight)


def values(kernel: str, options: Options, y_true: Any, y_pred: Any) -> Any:
    """Return the value of each row."""
    if kernel in _PAIRS:
        return _values_of_pairs(kernel, options, y_true, y_pred)
    axis = int(options.get("axis", -1))
    scores = ops.moveaxis(y_pred, axis, -1)
    if not kernel.endswith("categorical_hit"):  # which only compares
        scores = wide(scores)
    if kernel == "max_probability":
        return _max_probability(scores, options)
    if kernel in _OF_TARGETS:
        rank = len(y_pred.shape)
        targets = y_true
        if len(targets.shape) == rank:
            targets = ops.moveaxis(targets, axis, -1)
        return _OF_TARGETS[kernel](targets, scores, options, y_pred)
    labels = _labels(y_true, y_pred, axis)
    found = _OF_LABELS[kernel](labels, scores, options, y_pred)
    return ops.where(is_ignored(labels, options), 0.0, found)


def _labels(y_true: Any, y_pred: Any, axis: int) -> Any:
    """Return a label for each row of scores, without an axis of classes."""
    labels, rank = wide(y_true), len(y_pred.shape)
    if len(labels.shape) == rank and labels.shape[axis] == 1:
        labels = ops.squeeze(labels, axis)
    return labels


def _at(scores: Any, index: Any) -> Any:
    """Return each row's score at an index, and 0 where the row has none.

    XLA makes one loop of it, and a call of a gather.
    """
    here = ops.equal(iota(scores), ops.expand_dims(index, -1))
    return ops.sum(ops.where(here, scores, 0.0), axis=-1)


def _index(labels: Any, scores: Any) -> tuple[Any, Any]:
    """Return labels as integers, and whether there is such a class."""
    known = ops.logical_and(labels > -1.0, labels < sizes(scores)[-1])
    return wide(ops.cast(ops.where(known, labels, 0.0), "int32")), known


# Of labels.


def _sparse_hit(labels: Any, scores: Any, options: Options, y_pred: Any) -> Any:
    del options, y_pred
    return wide(ops.equal(labels, first_largest(scores)))


def _rank(labels: Any, scores: Any) -> tuple[Any, Any]:
    """Return how many scores are above the true class's, and whether that is NaN."""
    index, known = _index(labels, scores)
    score = _at(scores, index)
    # What is not below or equal is above: NaN, too.
    below = scores <= ops.expand_dims(score, -1)
    above = ops.sum(wide(ops.logical_not(below)), axis=-1)
    return ops.where(known, above, NAN), ops.isnan(score)


def _top_k(labels: Any, scores: Any, options: Options, y_pred: Any) -> Any:
    del y_pred
    rank, none = _rank(labels, scores)
    hit = ops.logical_and(rank < float(options["k"]), ops.logical_not(none))
    return ops.where(ops.isnan(rank), NAN, wide(hit))


def _true_rank(labels: Any, scores: Any, options: Options, y_pred: Any) -> Any:
    del options, y_pred
    rank, none = _rank(labels, scores)
    return ops.where(none, rank, rank + 1.0)


def _sorted_ids(labels: Any, scores: Any, options: Options, y_pred: Any) -> Any:
    del y_pred
    first = scores[..., : int(options["k"])]
    return wide(ops.any(ops.equal(first, ops.expand_dims(labels, -1)), axis=-1))


def _sparse_crossentropy(
    labels: Any, scores: Any, options: Options, y_pred: Any
) -> Any:
    index, known = _index(labels, scores)
    if options.get("from_logits"):
        loss = -_at(_log_probabilities(scores), index)
    else:
        share = _at(scores, index) / ops.sum(scores, axis=-1)
        loss = -ops.log(clip(share, *limits(options, y_pred)))
    return ops.where(known, loss, NAN)


_Function = Callable[[Any, Any, Options, Any], Any]
_OF_LABELS: dict[str, _Function] = {
    "sparse_categorical_hit": _sparse_hit,
    "sparse_top_k_hit": _top_k,
    "sorted_ids_hit": _sorted_ids,
    "sparse_true_rank": _true_rank,
    "sparse_categorical_crossentropy": _sparse_crossentropy,
}


# Of a row of targets for each row of scores.


def _log_probabilities(logits: Any) -> Any:
    """Return logits less log(sum(e^x)); NaN where the largest is infinite.

    The largest logit and the rest are subtracted one after the other: their sum would
    round away what is small beside the largest.
    """
    top = ops.max(logits, axis=-1, keepdims=True)
    # Where the backend's maximum passes over a NaN.
    top = ops.where(ops.any(ops.isnan(logits), axis=-1, keepdims=True), NAN, top)
    top = ops.where(ops.isfinite(top), top, NAN)
    is_top = ops.equal(logits, top)
    others = ops.where(is_top, 0.0, ops.exp(logits - top))
    equals = ops.sum(wide(is_top), axis=-1, keepdims=True) - 1.0
    rest = ops.log1p(ops.sum(others, axis=-1, keepdims=True) + equals)
    return (logits - top) - rest


def _max_probability(scores: Any, options: Options) -> Any:
    if options.get("from_logits"):
        scores = ops.exp(_log_probabilities(scores))
    nan = ops.any(ops.isnan(scores), axis=-1)
    return ops.where(nan, NAN, ops.max(scores, axis=-1))


def _dense_crossentropy(
    targets: Any, scores: Any, options: Options, y_pred: Any, focal: bool = False
) -> Any:
    smoothing = options.get("label_smoothing", 0.0)
    t = wide(targets) * (1.0 - smoothing) + smoothing / sizes(scores)[-1]
    logits = bool(options.get("from_logits"))
    if logits and not focal:
        return -ops.sum(t * _log_probabilities(scores), axis=-1)
    p = (
        ops.exp(_log_probabilities(scores))
        if logits
        else scores / ops.sum(scores, axis=-1, keepdims=True)
    )
    p = clip(p, *limits(options, y_pred))
    terms = t * ops.log(p)
    if focal:
        terms = terms * (options["alpha"] * (1.0 - p) ** float(options["gamma"]))
    return -ops.sum(terms, axis=-1)


def _focal_crossentropy(t: Any, p: Any, options: Options, y_pred: Any) -> Any:
    return _dense_crossentropy(t, p, options, y_pred, focal=True)


def _of_largest(function: _Function) -> _Function:
    """Return a function of targets, whose largest is the label."""

    def of_targets(targets: Any, scores: Any, options: Options, y_pred: Any) -> Any:
        return function(first_largest(targets), scores, options, y_pred)

    return of_targets


_OF_TARGETS: dict[str, _Function] = {
    "categorical_hit": _of_largest(_sparse_hit),
    "top_k_hit": _of_largest(_top_k),
    "true_rank": _of_largest(_true_rank),
    "categorical_crossentropy": _dense_crossentropy,
    "categorical_focal_crossentropy": _focal_crossentropy,
}


# Of two rows that are compared.


def _values_of_pairs(kernel: str, options: Options, y_true: Any, y_pred: Any) -> Any:
    function = _PAIRS[kernel]
    t, p = wide(y_true), wide(y_pred)
    axes = [-1]
    if kernel != "categorical_hinge":
        t, p = align_ranks(t, p)
        axes = [int(axis) for axis in options["axes"]]
    t, p = expand_to(t, 1), expand_to(p, 1)
    # Counted from the end an axis means the same in both.
    rank = len(p.shape)
    axes = [axis if axis < 0 else axis - rank for axis in axes]
    return function(t, p, axes, options)


def _hinge(t: Any, p: Any, axes: list[int], options: Options) -> Any:
    del axes, options
    inside, outside = ops.sum(t * p, axis=-1), (1.0 - t) * p
    largest = ops.where(
        ops.any(ops.isnan(outside), axis=-1), NAN, ops.max(outside, axis=-1)
    )
    loss = largest - inside + 1.0
    return ops.where(loss < 0.0, 0.0, loss)


def _cosine(t: Any, p: Any, axes: list[int], options: Options) -> Any:
    smallest = float(options.get("smallest_norm", 0.0))

    def norm(x: Any) -> Any:
        length = ops.sqrt(ops.sum(x * x, axis=axes))
        return ops.where(length < smallest, smallest, length)

    of_t, of_p = norm(t), norm(p)
    none = ops.logical_or(ops.equal(of_t, 0.0), ops.equal(of_p, 0.0))
    product = ops.sum(t * p, axis=axes)
    one = ops.ones_like(of_t)
    product = product / ops.where(none, one, of_t) / ops.where(none, 1.0, of_p)
    return ops.where(none, 0.0, product)


def _moments(t: Any, p: Any, axes: list[int]) -> tuple[Any, Any, Any, Any]:
    """Return the difference of the means, both variances and the covariance.

    Of the distances from the first entry: rows of equal values have no variance, and a
    large mean costs no digits.
    """

    def centred(x: Any) -> tuple[Any, Any, Any]:
        first = x
        for axis in axes:
            first = ops.take(first, [0], axis=axis)
        from_first = x - first
        middle = mean(from_first, axis=axes, keepdims=True)
        return first, middle, from_first - middle

    (t0, t_mean, u), (p0, p_mean, v) = centred(t), centred(p)
    apart = mean((t0 - p0) + (t_mean - p_mean), axis=axes)
    of_t, of_p, both = (mean(x, axis=axes) for x in (u * u, v * v, u * v))
    return apart, of_t, of_p, both


def _pearson(t: Any, p: Any, axes: list[int], options: Options) -> Any:
    del options
    _, of_t, of_p, both = _moments(t, p, axes)
    return both / ops.sqrt(of_t) / ops.sqrt(of_p)


def _concordance(t: Any, p: Any, axes: list[int], options: Options) -> Any:
    apart, of_t, of_p, both = _moments(t, p, axes)
    epsilon = limits(options, t)[0]
    return 2.0 * both / (of_t + of_p + apart * apart + epsilon)


_PAIRS: dict[str, Callable[[Any, Any, list[int], Options], Any]] = {
    "categorical_hinge": _hinge,
    "cosine_similarity": _cosine,
    "pearson_correlation": _pearson,
    "concordance_correlation": _concordance,
}
