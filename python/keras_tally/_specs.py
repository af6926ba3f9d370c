"""What each metric is made of: a kernel, a state and a result.

The Keras classes, the accumulators of `engine` and the functions of `functional` have
it from here. Nothing in this file needs Keras or a framework.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Rules:
    """What Keras's configuration, version and backend decide for its classes.

    Without Keras it is as here: Keras's defaults, and what it does on torch.
    """

    floatx: str = "float32"
    epsilon: float = 1e-7
    # Comparisons with a threshold happen in the precision of 16-bit scores.
    threshold_in_scores_dtype: bool = True
    # Norms count as at least epsilon.
    norm_has_floor: bool = True


@dataclass(frozen=True)
class Spec:
    """A kernel, a result, the state between them and what configures all three."""

    kernel: str
    result: str
    # Names and shapes of the variables, in the order of the kernel.
    state: dict[str, Shape]
    options: dict[str, Any]
    # Whether the kernel takes matrices only, so that vectors are given as columns.
    takes_matrices: bool = False
    # Of a result that is a matrix; the kernel gives its entries row by row.
    matrix: Shape | None = None


@dataclass(frozen=True)
class Maker:
    """What makes the spec of a metric from its arguments.

    Keyword-only parameters are not the user's: they are known from a batch, or the
    Keras class's own.
    """

    name: str
    # The class of that name; None where there is none.
    keras_class: str | None
    make: Callable[..., Spec]
    # Whether the spec depends on the number of columns of the inputs.
    needs_columns: Callable[[dict[str, Any]], bool]


MAKERS: dict[str, Maker] = {}


def _makes(
    keras_class: str | None,
    needs_columns: Callable[[dict[str, Any]], bool] = lambda arguments: False,
) -> Callable[[Callable[..., Spec]], Callable[..., Spec]]:
    def register(make: Callable[..., Spec]) -> Callable[..., Spec]:
        name = make.__name__.rstrip("_")
        MAKERS[name] = Maker(name, keras_class, make, needs_columns)
        return make

    return register


def _always(arguments: dict[str, Any]) -> bool:
    del arguments
    return True


def check_integer(name: str, value: Any, least: int) -> int:
    """Return it as an int, of at least this size; 2.0 is one as well."""
    whole = isinstance(value, (int, float, np.integer, np.floating))
    whole = whole and not isinstance(value, bool) and float(value).is_integer()
    if not whole or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


# As many as a kernel compares a label with (csrc/defs/common.h).
MOST_IGNORED = 8


def ignored_classes(ignore_class: Any) -> list[int]:
    """Return the class ids that are left out, given one, several or None."""
    if ignore_class is None:
        return []
    ignore_class = plain_list(ignore_class)
    ids = ignore_class if isinstance(ignore_class, list) else [ignore_class]
    if len(ids) > MOST_IGNORED:
        raise ValueError(
            f"`ignore_class` may name {MOST_IGNORED} classes at most; give samples of "
            f"more weights of 0. Received: {len(ids)} classes"
        )
    return [check_integer("ignore_class", i, -(2**53)) for i in ids]


def check_positive(name: str, value: float) -> float:
    """Return the number; anything but a positive one is an error."""
    if not value > 0:
        raise ValueError(f"`{name}` must be a positive number. Received: {value}")
    return float(value)


def check_threshold(threshold: Any) -> float:
    """Return it as a float; None and NaN, which nothing is above, are an error."""
    if threshold is None or not (value := float(threshold)) == value:
        raise ValueError(f"`threshold` must be a number. Received: {threshold}")
    return value


# Means of values.


def _mean(kernel: str, result: str = "mean", **options: Any) -> Spec:
    return Spec(kernel, result, {"total": (), "count": ()}, options)


@_makes("Mean")
def mean(rules: Rules) -> Spec:
    del rules
    return _mean("identity")


@_makes("Sum")
def sum_(rules: Rules) -> Spec:
    del rules
    return Spec("identity", "sum", {"total": ()}, {})


# Accuracy.


@_makes("Accuracy")
def accuracy(rules: Rules) -> Spec:
    del rules
    return _mean("equal", labels_in_scores_dtype=True)


@_makes("BinaryAccuracy")
def binary_accuracy(rules: Rules, threshold: float = 0.5) -> Spec:
    return _mean(
        "binary_hit",
        # Keras compares in float32 at most (and in a 16-bit y_pred's dtype).
        threshold=float(np.float32(check_threshold(threshold))),
        threshold_in_scores_dtype=rules.threshold_in_scores_dtype,
    )


@_makes("CategoricalAccuracy")
def categorical_accuracy(rules: Rules) -> Spec:
    del rules
    return _mean("categorical_hit")


@_makes("SparseCategoricalAccuracy")
def sparse_categorical_accuracy(rules: Rules, ignore_class: Any = None) -> Spec:
    del rules
    ignored = ignored_classes(ignore_class)
    return _mean("sparse_categorical_hit", ignore_class=ignored)


@_makes("TopKCategoricalAccuracy")
def top_k_categorical_accuracy(rules: Rules, k: int = 5) -> Spec:
    del rules
    return _mean("top_k_hit", k=check_integer("k", k, 1))


@_makes("SparseTopKCategoricalAccuracy")
def sparse_top_k_categorical_accuracy(
    rules: Rules, k: int = 5, from_sorted_ids: bool = False, ignore_class: Any = None
) -> Spec:
    del rules
    return _mean(
        "sorted_ids_hit" if from_sorted_ids else "sparse_top_k_hit",
        k=check_integer("k", k, 1),
        ignore_class=ignored_classes(ignore_class),
    )


@_makes("MeanRank")
def mean_rank(rules: Rules) -> Spec:
    del rules
    return _mean("true_rank")


@_makes("SparseMeanRank")
def sparse_mean_rank(rules: Rules) -> Spec:
    del rules
    return _mean("sparse_true_rank")


# Counts over thresholds.

CELLS = {
    "true_positives": "tp",
    "false_positives": "fp",
    "true_negatives": "tn",
    "false_negatives": "fn",
}
# Keras's threshold of the `top_k` best scores: all of these are above it.
BELOW_ALL_SCORES = -1e10


# float32 tells no more even thresholds apart; a state is then 256 MiB for each count.
MOST_THRESHOLDS = 2**24


def _check_number(argument: str, count: int) -> None:
    if count > MOST_THRESHOLDS:
        raise ValueError(
            f"`{argument}` asks for {count} thresholds, and {MOST_THRESHOLDS} are the "
            "most that float32 scores can be told apart by."
        )


def plain_list(thresholds: Any) -> Any:
    """Return None, a number or a list, for tuples, arrays and tensors as well.

    Others are returned as they are.
    """
    if hasattr(thresholds, "tolist"):
        thresholds = thresholds.tolist()
    elif hasattr(thresholds, "__array__"):
        thresholds = np.asarray(thresholds).tolist()
    return list(thresholds) if isinstance(thresholds, (tuple, range)) else thresholds


def check_thresholds(thresholds: Any) -> list[float]:
    """Return one threshold or several as a list; outside of [0, 1] is an error."""
    thresholds = plain_list(thresholds)
    listed = thresholds if isinstance(thresholds, Sequence) else [thresholds]
    _check_number("thresholds", len(listed))
    if not listed or any(
        not isinstance(t, (int, float, np.number)) or not 0 <= t <= 1 for t in listed
    ):
        raise ValueError(
            "`thresholds` must be a number in [0, 1], or a list of one or more. "
            f"Threshold values must be in [0, 1]. Received: {thresholds}"
        )
    return [float(t) for t in listed]


def are_even(thresholds: Sequence[float], epsilon: float) -> bool:
    """Tell whether thresholds are evenly spaced over [0, 1], as Keras tells it."""
    count = len(thresholds)
    if count < 3:
        return False
    even = np.arange(count, dtype=np.float32) / (count - 1)
    return bool(np.allclose(thresholds, even, atol=epsilon))


def _counts(
    rules: Rules,
    result: str,
    cells: dict[str, str],
    thresholds: Sequence[float],
    even: bool,
    shape: Shape | None = None,
    **options: Any,
) -> Spec:
    shape = (len(thresholds),) if shape is None else shape
    return Spec(
        "confusion",
        result,
        dict.fromkeys(cells, shape),
        {
            "cells": list(cells.values()),
            "thresholds": [float(t) for t in thresholds],
            "even": bool(even),
            # End points beyond [0, 1] catch scores of exactly 0 and 1.
            "first_always_passed": bool(thresholds[0] < 0.0 or thresholds[-1] > 1.0),
            # Scores are compared in floatx, as Keras casts them.
            "double_precision": rules.floatx == "float64",
            **options,
        },
    )


def _count(
    rules: Rules, cell: str, thresholds: Any, class_id: int | None, from_logits: bool
) -> Spec:
    checked = check_thresholds(0.5 if thresholds is None else thresholds)
    return _counts(
        rules,
        "counts",
        {"accumulator": cell},
        checked,
        are_even(checked, rules.epsilon),
        class_id=class_id,
        from_logits=from_logits,
    )


@_makes("TruePositives")
def true_positives(
    rules: Rules,
    thresholds: Any = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _count(rules, "tp", thresholds, class_id, from_logits)


@_makes("TrueNegatives")
def true_negatives(
    rules: Rules,
    thresholds: Any = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _count(rules, "tn", thresholds, class_id, from_logits)


@_makes("FalsePositives")
def false_positives(
    rules: Rules,
    thresholds: Any = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _count(rules, "fp", thresholds, class_id, from_logits)


@_makes("FalseNegatives")
def false_negatives(
    rules: Rules,
    thresholds: Any = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _count(rules, "fn", thresholds, class_id, from_logits)


def _share(
    rules: Rules,
    other: str,
    thresholds: Any,
    top_k: int | None,
    class_id: int | None,
    from_logits: bool,
) -> Spec:
    if top_k is not None:
        top_k = check_integer("top_k", top_k, 1)
    if thresholds is None and top_k is not None:
        checked = [BELOW_ALL_SCORES]
        from_logits = False  # whose order is that of their probabilities
    else:
        checked = check_thresholds(0.5 if thresholds is None else thresholds)
    return _counts(
        rules,
        "ratio",
        {"true_positives": "tp", other: CELLS[other]},
        checked,
        are_even(checked, rules.epsilon),
        top_k=top_k,
        class_id=class_id,
        from_logits=from_logits,
    )


@_makes("Precision")
def precision(
    rules: Rules,
    thresholds: Any = None,
    top_k: int | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _share(rules, "false_positives", thresholds, top_k, class_id, from_logits)


@_makes("Recall")
def recall(
    rules: Rules,
    thresholds: Any = None,
    top_k: int | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _share(rules, "false_negatives", thresholds, top_k, class_id, from_logits)


def spread_thresholds(num_thresholds: int) -> list[float]:
    """Return so many evenly spaced thresholds over [0, 1]; one alone is 0.5."""
    num_thresholds = check_integer("num_thresholds", num_thresholds, 1)
    _check_number("num_thresholds", num_thresholds)
    if num_thresholds == 1:
        return [0.5]
    return [*(i * 1.0 / (num_thresholds - 1) for i in range(num_thresholds - 1)), 1.0]


def _under_constraint(
    rules: Rules,
    argument: str,
    required: float,
    constrained: str,
    dependent: str,
    num_thresholds: int,
    class_id: int | None,
    from_logits: bool,
) -> Spec:
    if not 0 <= required <= 1:
        raise ValueError(
            f"`{argument}` must be in [0, 1]. Received: {argument}={required}"
        )
    return _counts(
        rules,
        "constrained",
        CELLS,
        spread_thresholds(num_thresholds),
        num_thresholds > 1,
        class_id=class_id,
        from_logits=from_logits,
        constrained=constrained,
        dependent=dependent,
        required=float(required),
        poison_on_nan=True,
    )


@_makes("SensitivityAtSpecificity")
def sensitivity_at_specificity(
    rules: Rules,
    specificity: float,
    num_thresholds: int = 200,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _under_constraint(
        rules,
        "specificity",
        specificity,
        "specificity",
        "recall",
        num_thresholds,
        class_id,
        from_logits,
    )


@_makes("SpecificityAtSensitivity")
def specificity_at_sensitivity(
    rules: Rules,
    sensitivity: float,
    num_thresholds: int = 200,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _under_constraint(
        rules,
        "sensitivity",
        sensitivity,
        "recall",
        "specificity",
        num_thresholds,
        class_id,
        from_logits,
    )


@_makes("PrecisionAtRecall")
def precision_at_recall(
    rules: Rules,
    recall: float,
    num_thresholds: int = 200,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _under_constraint(
        rules,
        "recall",
        recall,
        "recall",
        "precision",
        num_thresholds,
        class_id,
        from_logits,
    )


@_makes("RecallAtPrecision")
def recall_at_precision(
    rules: Rules,
    precision: float,
    num_thresholds: int = 200,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Spec:
    return _under_constraint(
        rules,
        "precision",
        precision,
        "precision",
        "recall",
        num_thresholds,
        class_id,
        from_logits,
    )


def curve_thresholds(
    num_thresholds: int, thresholds: Any, epsilon: float
) -> tuple[np.ndarray[Any, Any], bool]:
    """Return the thresholds of a curve, both ends included, and whether evenly so."""
    even = True
    if thresholds is not None:
        thresholds = plain_list(thresholds)
        # As in Keras, none at all leave the two ends.
        inner = sorted(check_thresholds(thresholds)) if thresholds != [] else []
        even = are_even([0.0, *inner, 1.0], epsilon)
    else:
        num_thresholds = check_integer("num_thresholds", num_thresholds, 2)
        _check_number("num_thresholds", num_thresholds)
        inner = [
            (i + 1) * 1.0 / (num_thresholds - 1) for i in range(num_thresholds - 2)
        ]
    return np.array([0.0 - epsilon, *inner, 1.0 + epsilon]), even


def _one_of(argument: str, given: Any, known: Sequence[str | None]) -> Any:
    if given not in known:
        raise ValueError(
            f"`{argument}` must be one of {tuple(known)}. "
            f"Received: {argument}={given!r}"
        )
    return given


def _area(
    rules: Rules,
    num_thresholds: int,
    curve: str,
    summation_method: str,
    thresholds: Sequence[float] | None,
    multi_label: bool,
    label_weights: Sequence[float] | None,
    from_logits: bool,
    class_id: int | None,
    columns: int | None,
) -> Spec:
    points, even = curve_thresholds(num_thresholds, thresholds, rules.epsilon)
    labels = 1
    if multi_label and class_id is not None:
        raise ValueError(
            "`class_id` takes one column, and `multi_label=True` all of them: give one "
            f"of the two. Received: class_id={class_id}"
        )
    if multi_label:
        if columns is None:
            raise ValueError("`y_pred` must have rank 2 when `multi_label=True`.")
        if columns < 1:
            raise ValueError(
                "`y_pred` must have at least one column when `multi_label=True`."
            )
        labels = columns
    weights = None
    if label_weights is not None:
        weights = np.asarray(label_weights, dtype=float)
        if weights.ndim != 1 or (multi_label and len(weights) != labels):
            raise ValueError(
                "`label_weights` must hold one weight per label. Received: "
                f"label_weights.shape={weights.shape}"
                + (f", {labels} labels" if multi_label else "")
            )
        if not np.isfinite(weights).all():
            raise ValueError(
                "`label_weights` must be finite numbers. "
                f"Received: label_weights={label_weights}"
            )
    return _counts(
        rules,
        "auc",
        CELLS,
        points.tolist(),
        even,
        (len(points), labels) if multi_label else (len(points),),
        curve=_one_of("curve", curve, ("ROC", "PR", "PRGAIN")),
        summation_method=summation_method,
        labels=labels,
        multi_label=multi_label,
        label_weights=None if weights is None else weights.tolist(),
        from_logits=from_logits,
        class_id=class_id,
        poison_on_nan=True,
    )


def _per_label(arguments: dict[str, Any]) -> bool:
    return bool(arguments.get("multi_label"))


@_makes("AUC", _per_label)
def auc(
    rules: Rules,
    num_thresholds: int = 200,
    curve: str = "ROC",
    summation_method: str = "interpolation",
    thresholds: Sequence[float] | None = None,
    multi_label: bool = False,
    label_weights: Sequence[float] | None = None,
    from_logits: bool = False,
    class_id: int | None = None,
    *,
    columns: int | None = None,
) -> Spec:
    methods = ("interpolation", "minoring", "majoring")
    return _area(
        rules,
        num_thresholds,
        curve,
        _one_of("summation_method", summation_method, methods),
        thresholds,
        multi_label,
        label_weights,
        from_logits,
        class_id,
        columns,
    )


@_makes(None, _per_label)
def average_precision(
    rules: Rules,
    num_thresholds: int = 200,
    thresholds: Sequence[float] | None = None,
    multi_label: bool = False,
    label_weights: Sequence[float] | None = None,
    from_logits: bool = False,
    class_id: int | None = None,
    *,
    columns: int | None = None,
) -> Spec:
    return _area(
        rules,
        num_thresholds,
        "PR",
        "step",
        thresholds,
        multi_label,
        label_weights,
        from_logits,
        class_id,
        columns,
    )


# F-scores.

AVERAGES = (None, "micro", "macro", "weighted")


def check_f_score(average: str | None, beta: Any, threshold: Any) -> None:
    """Refuse arguments that no F-score has."""
    _one_of("average", average, AVERAGES)
    for name, value in (("beta", beta), ("threshold", threshold)):
        if not isinstance(value, float) and not (name == "threshold" and value is None):
            raise ValueError(
                f"`{name}` must be a Python float. "
                f"Received: {name}={value!r} of type {type(value).__name__}"
            )
    if not beta > 0.0:
        raise ValueError(f"`beta` must be above 0. Received: beta={beta}")
    if threshold is not None and not 0.0 < threshold <= 1.0:
        raise ValueError(
            "`threshold` must be above 0 and at most 1. "
            f"Received: threshold={threshold}"
        )


def _f_score(
    rules: Rules,
    average: str | None,
    beta: float,
    threshold: float | None,
    from_logits: bool,
    columns: int | None,
    dtype: str | None,
) -> Spec:
    check_f_score(average, beta, threshold)
    if columns is None:
        # One column, flat: the counts at a threshold are all it takes.
        checked = [0.5 if threshold is None else threshold]
        return _counts(
            rules,
            "f_score",
            {
                "true_positives": "tp",
                "false_positives": "fp",
                "false_negatives": "fn",
                "true_negatives": "tn",
            },
            checked,
            False,
            average="micro",
            beta=beta,
            epsilon=rules.epsilon,
            from_logits=from_logits,
        )
    dtype = dtype or rules.floatx
    if threshold is not None and from_logits:
        # Above it is where the probability is above the threshold.
        threshold = (
            math.inf if threshold == 1 else math.log(threshold / (1 - threshold))
        )
    if threshold is not None and dtype != "float64":
        threshold = float(np.float32(threshold))
    shape = () if average == "micro" else (columns,)
    names = (
        "true_positives",
        "false_positives",
        "false_negatives",
        "intermediate_weights",
    )
    return Spec(
        "predicted_cells",
        "f_score",
        dict.fromkeys(names, shape),
        {
            "columns": columns,
            "folded": average == "micro",
            "precision": dtype,
            "threshold": threshold,
            "from_logits": from_logits,
            "average": average,
            "beta": beta,
            "epsilon": rules.epsilon,
        },
    )


@_makes("FBetaScore", _always)
def fbeta_score(
    rules: Rules,
    beta: float = 1.0,
    average: str | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
    *,
    columns: int | None = None,
    dtype: str | None = None,
) -> Spec:
    return _f_score(rules, average, beta, threshold, from_logits, columns, dtype)


@_makes("F1Score", _always)
def f1_score(
    rules: Rules,
    average: str | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
    *,
    columns: int | None = None,
    dtype: str | None = None,
) -> Spec:
    return _f_score(rules, average, 1.0, threshold, from_logits, columns, dtype)


# Segmentation.


@_makes(None)
def confusion_matrix(
    rules: Rules,
    num_classes: int,
    ignore_class: Any = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
    axis: int = -1,
) -> Spec:
    spec = iou(
        rules, num_classes, (0,), ignore_class, sparse_y_true, sparse_y_pred, axis
    )
    size = int(num_classes)
    return replace(spec, result="counts", matrix=(size, size))


# float32 ids go no further.
MOST_CLASSES = 2**24
MOST_CELLS = 2**37  # of a confusion matrix: a TiB


def _check_classes(num_classes: int, per_class_counts: bool) -> int:
    num_classes = check_integer("num_classes", num_classes, 1)
    if num_classes > MOST_CLASSES:
        raise ValueError(
            f"`num_classes` may be {MOST_CLASSES} at most, as far as float32 ids go. "
            f"Received: num_classes={num_classes}"
        )
    if not per_class_counts and num_classes**2 > MOST_CELLS:
        raise ValueError(
            f"`num_classes` asks for a matrix of {num_classes**2 >> 27} GiB. With "
            "`per_class_counts=True` IoU metrics keep three counts for each class. "
            f"Received: num_classes={num_classes}"
        )
    return num_classes


@_makes("IoU")
def iou(
    rules: Rules,
    num_classes: int,
    target_class_ids: Sequence[int],
    ignore_class: Any = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
    axis: int = -1,
    per_class_counts: bool = False,
    *,
    threshold: float | None = None,
    whole: bool = False,
) -> Spec:
    num_classes = _check_classes(num_classes, per_class_counts)
    targets = plain_list(target_class_ids)
    if not isinstance(targets, list):
        raise ValueError(
            "`target_class_ids` must be a list of class ids. "
            f"Received: target_class_ids={targets!r}"
        )
    targets = [check_integer("target_class_ids", i, -num_classes) for i in targets]
    if not targets or not -num_classes <= min(targets) <= max(targets) < num_classes:
        raise ValueError(
            f"`target_class_ids` must be one or more of [0, {num_classes}). "
            f"Received: target_class_ids={targets}"
        )
    if per_class_counts:
        names = ("true_positives", "false_positives", "false_negatives")
        state: dict[str, Shape] = dict.fromkeys(names, (num_classes,))
    else:
        state = {"total_confusion_matrix": (num_classes, num_classes)}
    return Spec(
        "confusion_matrix",
        "iou",
        state,
        {
            "whole": whole,
            "num_classes": num_classes,
            "per_class_counts": per_class_counts,
            "ignore_class": ignored_classes(ignore_class),
            "dense_labels": not sparse_y_true,
            "dense_predicted": not sparse_y_pred,
            "axis": axis,
            "threshold": threshold,
            "target_class_ids": targets,
            "epsilon": rules.epsilon,
        },
    )


@_makes("BinaryIoU")
def binary_iou(
    rules: Rules, target_class_ids: Sequence[int] = (0, 1), threshold: float = 0.5
) -> Spec:
    return iou(rules, 2, target_class_ids, threshold=check_threshold(threshold))


@_makes("MeanIoU")
def mean_iou(
    rules: Rules,
    num_classes: int,
    ignore_class: Any = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
    axis: int = -1,
    per_class_counts: bool = False,
) -> Spec:
    return iou(
        rules,
        num_classes,
        range(check_integer("num_classes", num_classes, 1)),
        ignore_class,
        sparse_y_true,
        sparse_y_pred,
        axis,
        per_class_counts,
    )


@_makes("OneHotIoU")
def one_hot_iou(
    rules: Rules,
    num_classes: int,
    target_class_ids: Sequence[int],
    ignore_class: Any = None,
    sparse_y_pred: bool = False,
    axis: int = -1,
    per_class_counts: bool = False,
) -> Spec:
    return iou(
        rules,
        num_classes,
        target_class_ids,
        ignore_class,
        False,
        sparse_y_pred,
        axis,
        per_class_counts,
    )


@_makes("OneHotMeanIoU")
def one_hot_mean_iou(
    rules: Rules,
    num_classes: int,
    ignore_class: Any = None,
    sparse_y_pred: bool = False,
    axis: int = -1,
    per_class_counts: bool = False,
) -> Spec:
    return mean_iou(
        rules,
        num_classes,
        ignore_class,
        False,
        sparse_y_pred,
        axis,
        per_class_counts,
    )


# Regression.


def error_options(rules: Rules) -> dict[str, Any]:
    """Return how errors are averaged over the last axis."""
    return {"last_axis": "mean", "epsilon": rules.epsilon}


def _error(rules: Rules, kernel: str, **options: Any) -> Spec:
    return _mean(kernel, **error_options(rules), **options)


@_makes("MeanSquaredError")
def mean_squared_error(rules: Rules) -> Spec:
    return _error(rules, "squared_error")


@_makes("RootMeanSquaredError")
def root_mean_squared_error(rules: Rules) -> Spec:
    del rules
    return _mean("squared_error", "root_mean")


@_makes("MeanAbsoluteError")
def mean_absolute_error(rules: Rules) -> Spec:
    return _error(rules, "absolute_error")


@_makes("MeanAbsolutePercentageError")
def mean_absolute_percentage_error(rules: Rules) -> Spec:
    return _error(rules, "absolute_percentage_error")


@_makes("MeanSquaredLogarithmicError")
def mean_squared_logarithmic_error(rules: Rules) -> Spec:
    return _error(rules, "squared_logarithmic_error")


@_makes("Huber")
def huber(rules: Rules, threshold: float = 1.0) -> Spec:
    return _error(
        rules, "huber_error", threshold=check_positive("threshold", threshold)
    )


@_makes("LogCoshError")
def log_cosh(rules: Rules) -> Spec:
    return _error(rules, "log_cosh")


def row_axes(axis: Any) -> list[int]:
    """Return the axes that make a row, of one axis or several."""
    return [int(a) for a in axis] if isinstance(axis, Sequence) else [int(axis)]


def row_options(rules: Rules, axis: Any) -> dict[str, Any]:
    """Return what makes a row of which a statistic is taken."""
    return {"axes": row_axes(axis), "epsilon": rules.epsilon}


def _rows(rules: Rules, kernel: str, axis: Any, **options: Any) -> Spec:
    return _mean(kernel, **row_options(rules, axis), **options)


@_makes("CosineSimilarity")
def cosine_similarity(rules: Rules, axis: Any = -1) -> Spec:
    floor = rules.epsilon if rules.norm_has_floor else 0.0
    return _rows(rules, "cosine_similarity", axis, smallest_norm=floor)


@_makes("PearsonCorrelation")
def pearson_correlation(rules: Rules, axis: Any = -1) -> Spec:
    return _rows(rules, "pearson_correlation", axis)


@_makes("ConcordanceCorrelation")
def concordance_correlation(rules: Rules, axis: Any = -1) -> Spec:
    return _rows(rules, "concordance_correlation", axis)


R2_AVERAGES = {
    None: None,
    "uniform_average": "macro",
    "variance_weighted_average": "weighted",
}


@_makes("R2Score", _always)
def r2_score(
    rules: Rules,
    class_aggregation: str | None = "uniform_average",
    num_regressors: int = 0,
    *,
    columns: int | None = None,
) -> Spec:
    del rules
    _one_of("class_aggregation", class_aggregation, tuple(R2_AVERAGES))
    if num_regressors < 0:
        raise ValueError(
            "`num_regressors` must be at least 0. "
            f"Received: num_regressors={num_regressors}"
        )
    columns = 1 if columns is None else columns
    shape = (columns,)
    return Spec(
        "squared_deviations",
        "r2",
        {
            "num_samples": (),
            "squared_sum": shape,
            "sum": shape,
            "residual": shape,
            "count": shape,
            "squared_sum_low": shape,
            "sum_low": shape,
            "count_low": shape,
        },
        {
            "columns": columns,
            "counts_samples": True,
            "aligns_ranks": True,
            "average": R2_AVERAGES[class_aggregation],
            "regressors": num_regressors,
        },
        takes_matrices=True,
    )


# Probabilities and margins.


@_makes("BinaryCrossentropy")
def binary_crossentropy(
    rules: Rules, from_logits: bool = False, label_smoothing: float = 0.0
) -> Spec:
    return _mean(
        "binary_crossentropy",
        from_logits=from_logits,
        epsilon=rules.epsilon,
        last_axis="mean",
        label_smoothing=label_smoothing,
    )


@_makes("CategoricalCrossentropy")
def categorical_crossentropy(
    rules: Rules,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Spec:
    return _mean(
        "categorical_crossentropy",
        from_logits=from_logits,
        epsilon=rules.epsilon,
        label_smoothing=label_smoothing,
        axis=axis,
    )


@_makes("SparseCategoricalCrossentropy")
def sparse_categorical_crossentropy(
    rules: Rules,
    from_logits: bool = False,
    ignore_class: Any = None,
    axis: int = -1,
) -> Spec:
    return _mean(
        "sparse_categorical_crossentropy",
        from_logits=from_logits,
        epsilon=rules.epsilon,
        ignore_class=ignored_classes(ignore_class),
        axis=axis,
    )


@_makes("KLDivergence")
def kl_divergence(rules: Rules) -> Spec:
    return _mean("kl_divergence", last_axis="sum", epsilon=rules.epsilon)


@_makes("Poisson")
def poisson(rules: Rules) -> Spec:
    return _error(rules, "poisson")


@_makes("MeanMaxProbability")
def mean_max_probability(
    rules: Rules, from_logits: bool = False, axis: int = -1
) -> Spec:
    del rules
    return _mean("max_probability", from_logits=from_logits, axis=axis)


def _hinge(kernel: str) -> Spec:
    return _mean(kernel, last_axis="mean", find_zero_one_labels=True)


@_makes("Hinge")
def hinge(rules: Rules) -> Spec:
    del rules
    return _hinge("hinge")


@_makes("SquaredHinge")
def squared_hinge(rules: Rules) -> Spec:
    del rules
    return _hinge("squared_hinge")


@_makes("CategoricalHinge")
def categorical_hinge(rules: Rules) -> Spec:
    del rules
    return _mean("categorical_hinge")
