"""What the results should be: each metric's definition in float64, on all the data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_tally.bench.subjects import CLASSES, TOP, Array

EPSILON = 1e-7
THRESHOLDS = 200


def counts(y: Array, p: Array) -> tuple[int, int, int, int]:
    """True positives, false positives, false negatives, true negatives.

    >>> counts(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.1, 0.2]))
    (1, 1, 1, 1)
    """
    positive, found = y > 0, p > 0.5
    return (
        int(np.sum(positive & found)),
        int(np.sum(~positive & found)),
        int(np.sum(positive & ~found)),
        int(np.sum(~positive & ~found)),
    )


def accuracy(y: Array, p: Array) -> Any:
    """Share of right decisions."""
    tp, fp, fn, tn = counts(y, p)
    return (tp + tn) / (tp + fp + fn + tn)


def precision(y: Array, p: Array) -> Any:
    """True positives among all that were found."""
    tp, fp, _, _ = counts(y, p)
    return tp / (tp + fp)


def recall(y: Array, p: Array) -> Any:
    """True positives among all that there are."""
    tp, _, fn, _ = counts(y, p)
    return tp / (tp + fn)


def f_beta(y: Array, p: Array, beta: float) -> Any:
    """Weighted harmonic mean of precision and recall."""
    a, b = precision(y, p), recall(y, p)
    return (1 + beta**2) * a * b / (beta**2 * a + b)


def auc(y: Array, p: Array) -> Any:
    """Area under the ROC curve through 200 even thresholds (trapezoids).

    >>> float(auc(np.array([1, 0]), np.array([0.9, 0.2])))
    1.0
    """
    inner = np.arange(1, THRESHOLDS - 1) / (THRESHOLDS - 1)
    at = np.concatenate([[-EPSILON], inner, [1 + EPSILON]])
    rates = []
    for side in (p[y > 0], p[~(y > 0)]):
        below = np.searchsorted(np.sort(side.ravel()), at, side="right")
        rates.append(1 - below / side.size)
    hit, false = rates
    return np.sum((hit[:-1] + hit[1:]) / 2 * (false[:-1] - false[1:]))


def binary_crossentropy(y: Array, p: Array) -> Any:
    """Mean of the negative log likelihood."""
    p = np.clip(p, EPSILON, 1 - EPSILON)
    return -np.mean(y * np.log(p) + (1 - y) * np.log1p(-p))


def picked(y: Array, p: Array) -> Array:
    """The entry of each row that its class number names."""
    entries: Array = np.take_along_axis(p, y.astype(np.int64)[:, None], 1)[:, 0]
    return entries


def sparse_crossentropy(y: Array, p: Array) -> Any:
    """Mean of the negative logarithm of the class's probability."""
    share = picked(y, p) / p.sum(1)
    return -np.mean(np.log(np.clip(share, EPSILON, 1 - EPSILON)))


def logits_crossentropy(y: Array, z: Array) -> Any:
    """The same from logits."""
    top = z.max(1)
    return np.mean(top + np.log(np.exp(z - top[:, None]).sum(1)) - picked(y, z))


def sparse_accuracy(y: Array, p: Array) -> Any:
    """Share of rows whose (first) largest entry is that of the class."""
    return np.mean(p.argmax(1) == y)


def sparse_top_k(y: Array, p: Array) -> Any:
    """Share of rows with fewer than k entries larger than that of the class."""
    return np.mean((p > picked(y, p)[:, None]).sum(1) < TOP)


def f1_by_class(y: Array, p: Array) -> Any:
    """F1 score of each class, the largest entry (or entries) being the decision."""
    found, true = p >= p.max(1, keepdims=True), y > 0
    return 2 * np.sum(found & true, 0) / (np.sum(found, 0) + np.sum(true, 0))


def confusion(y: Array, p: Array) -> Array:
    """How often each class was taken for each."""
    cells = y.astype(np.int64) * CLASSES + p.astype(np.int64)
    return np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def mean_iou(y: Array, p: Array) -> Any:
    """Mean over the classes of intersection over union."""
    table = confusion(y, p)
    same = table.diagonal()
    return np.mean(same / (table.sum(0) + table.sum(1) - same))


def r2(y: Array, p: Array) -> Any:
    """Coefficient of determination, the mean over the columns."""
    residual = np.sum((y - p) ** 2, 0)
    return np.mean(1 - residual / np.sum((y - y.mean(0)) ** 2, 0))


def group(y: Array, p: Array) -> Any:
    """The eight members of the group, in order."""
    tp, fp, _, _ = counts(y, p)
    return [
        accuracy(y, p),
        precision(y, p),
        recall(y, p),
        f_beta(y, p, 2.0),
        auc(y, p),
        tp,
        fp,
        binary_crossentropy(y, p),
    ]


EXACT: dict[str, Callable[[Array, Array], Any]] = {
    "BinaryAccuracy": accuracy,
    "Precision": precision,
    "Recall": recall,
    "TruePositives": lambda y, p: counts(y, p)[0],
    "FalsePositives": lambda y, p: counts(y, p)[1],
    "FalseNegatives": lambda y, p: counts(y, p)[2],
    "TrueNegatives": lambda y, p: counts(y, p)[3],
    "AUC(200)": auc,
    "BinaryCrossentropy": binary_crossentropy,
    "CategoricalCrossentropy": lambda y, p: sparse_crossentropy(y.argmax(1), p),
    "SparseCategoricalCrossentropy": sparse_crossentropy,
    "SparseCategoricalCrossentropy(from_logits)": logits_crossentropy,
    "CategoricalAccuracy": lambda y, p: sparse_accuracy(y.argmax(1), p),
    "SparseCategoricalAccuracy": sparse_accuracy,
    "TopKCategoricalAccuracy(3)": lambda y, p: sparse_top_k(y.argmax(1), p),
    "SparseTopKCategoricalAccuracy(3)": sparse_top_k,
    "Accuracy": lambda y, p: np.mean(y == p),
    "Mean": lambda y, p: np.mean(y),
    "Sum": lambda y, p: np.sum(y),
    "MeanSquaredError": lambda y, p: np.mean((y - p) ** 2),
    "RootMeanSquaredError": lambda y, p: np.sqrt(np.mean((y - p) ** 2)),
    "MeanAbsoluteError": lambda y, p: np.mean(np.abs(y - p)),
    "LogCoshError": lambda y, p: np.mean(np.log(np.cosh(y - p))),
    "Hinge": lambda y, p: np.mean(np.maximum(0, 1 - y * p)),
    "SquaredHinge": lambda y, p: np.mean(np.maximum(0, 1 - y * p) ** 2),
    "F1Score": f1_by_class,
    "R2Score": r2,
    "MeanIoU": mean_iou,
    "MetricGroup(8)": group,
}


def exact(name: str, y: Array, p: Array) -> Array | None:
    """The numbers that the metric of this name should give; None if there is no
    definition of it here.

    >>> exact("Mean", np.array([1.0, 2.0]), np.array([1.0, 2.0])).tolist()
    [1.5]
    """
    if name not in EXACT:
        return None
    whole = [a.astype(np.float64) if a.dtype.kind not in "iu" else a for a in (y, p)]
    return np.atleast_1d(np.asarray(EXACT[name](*whole), np.float64))
