"""Counts of pairs of class ids (`csrc/defs/confusion_matrix.h`)."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keras_tally._fallback.arrays import Options, first_largest, wide


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
    both = ops.zeros_like(labels) + ops.zeros_like(predicted)
    labels, predicted = labels + both, predicted + both
    t, known_t = _classes(labels, classes, whole)
    p, known_p = _classes(predicted, classes, whole)
    counted = ops.logical_and(known_t, known_p)
    if options.get("ignore_class") is not None:
        # Ids that are not truncated are compared as they came.
        label = wide(t) if whole else labels
        ignored = ops.equal(label, float(options["ignore_class"]))
        counted = ops.logical_and(counted, ops.logical_not(ignored))
    weight = ops.ones_like(labels)
    if sample_weight is not None:
        given = ops.reshape(wide(sample_weight), (-1,))
        weight = weight * (ops.trunc(given) if whole else given)
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
    """Return class ids as they came, one after the other."""
    if scores:
        y = first_largest(ops.moveaxis(y, int(options["axis"]), -1))
    return ops.reshape(wide(y), (-1,))


def _classes(ids: Any, classes: int, whole: bool) -> tuple[Any, Any]:
    """Return ids as integers, and which of them are classes."""
    above = ids > -1.0 if whole else ids >= 0.0
    known = ops.logical_and(above, ids < float(classes))
    return ops.cast(ops.where(known, ids, 0.0), "int32"), known
