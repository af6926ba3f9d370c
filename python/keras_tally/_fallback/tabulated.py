"""Counts of pairs of class ids (`csrc/defs/confusion_matrix.h`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_tally._fallback.arrays import (
    Options,
    count,
    first_largest,
    is_ignored,
    spread_over,
    wide,
)


def counts(
    kernel: str, options: Options, y_true: Any, y_pred: Any, sample_weight: Any
) -> list[Any]:
    """Return what a batch adds to the matrix, or to three counts of each class."""
    del kernel
    classes, whole = int(options["num_classes"]), bool(options.get("whole"))
    labels = _ids(y_true, bool(options.get("dense_labels")), options)
    predicted = _ids(y_pred, bool(options.get("dense_predicted")), options)
    if options.get("threshold") is not None:
        threshold = float(np.float32(options["threshold"]))
        predicted = wide(ops.cast(predicted, "float32") >= threshold)
    # One of them may stand for all of the others.
    weight = None if sample_weight is None else _weights(sample_weight, labels)
    labels, predicted = ops.reshape(labels, (-1,)), ops.reshape(predicted, (-1,))
    both = ops.zeros_like(labels) + ops.zeros_like(predicted)
    labels, predicted = labels + both, predicted + both
    t, known_t = _classes(labels, classes, whole)
    p, known_p = _classes(predicted, classes, whole)
    counted = ops.logical_and(known_t, known_p)
    # Ids that are not truncated are compared as they came.
    ignored = is_ignored(wide(t) if whole else labels, options)
    counted = ops.logical_and(counted, ops.logical_not(ignored))
    if weight is None:
        weight = ops.ones_like(labels)
    elif whole:
        weight = ops.trunc(weight)
    weight = ops.where(counted, weight, 0.0)
    if not options.get("per_class_counts"):
        return [ops.segment_sum(weight, t * classes + p, num_segments=classes**2)]
    hit = ops.where(ops.equal(t, p), weight, 0.0)
    missed = ops.where(ops.equal(t, p), 0.0, weight)
    return [
        ops.segment_sum(x, ids, num_segments=classes)
        for x, ids in ((hit, t), (missed, p), (missed, t))
    ]


def _ids(y: Any, scores: bool, options: Options) -> Any:
    """Return class ids as they came."""
    if scores:
        y = first_largest(ops.moveaxis(y, int(options["axis"]), -1))
    return wide(y)


def _weights(sample_weight: Any, labels: Any) -> Any:
    """Return weights given one by one, or those of leading axes, for each label."""
    given = count(sample_weight)
    if not isinstance(given, float) or given not in (1.0, count(labels)):
        sample_weight = spread_over(sample_weight, labels)
    return ops.reshape(wide(sample_weight), (-1,))


def _classes(ids: Any, classes: int, whole: bool) -> tuple[Any, Any]:
    """Return ids as integers, and which of them are classes."""
    above = ids > -1.0 if whole else ids >= 0.0
    known = ops.logical_and(above, ids < float(classes))
    return ops.cast(ops.where(known, ids, 0.0), "int32"), known
