"""Metrics of one batch: tensors in, a number out, nothing kept.

One function for each metric of the package, under the name by which
`engine.Accumulator` knows it. Arguments come as in Keras and scikit-learn: `y_true`,
then `y_pred` (in torchmetrics and torcheval it is the other way round).

Inputs are torch tensors, NumPy arrays, anything with DLPack in host memory, lists or
numbers. A result is a scalar, or a vector of one value per threshold or column, of the
framework of `y_pred`: a torch tensor on its device, a number or an array of NumPy, an
array of JAX; for other frameworks and for lists it is NumPy's. It is float64 where
`y_pred` is, and float32 otherwise; it is computed in float64. No Keras is needed, and
there is no gradient.

Shapes, weights, NaN and labels are treated as by the class of the same metric, with
Keras's default settings (floatx float32, epsilon 1e-7) and, where Keras's backends
differ, as on torch. There are two exceptions. A vector of errors holds one sample for
each entry, with its own weight, where Keras takes the whole vector for one sample. And
where scores are a vector, labels other than 0 and 1 are class ids, which thresholds
cannot tell apart: an error, where Keras takes them for true (on a GPU, where nobody may
wait for the data, they are as well).

>>> import numpy as np
>>> from keras_tally import functional as F
>>> y_true, y_pred = np.array([0, 1, 1, 1]), np.array([0.9, 0.2, 0.8, 0.7])
>>> round(float(F.recall(y_true, y_pred)), 5)
0.66667
>>> round(float(F.f1_score(y_true, y_pred)), 5)
0.66667
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from keras_tally._compiler import follow_compiler
from keras_tally._plans import evaluate
from keras_tally._specs import MAKERS, plain_list
from keras_tally._tensors import as_column

F = TypeVar("F", bound=Callable[..., Any])

_PARAMETERS = {
    "y_true": "the ground truth.",
    "y_pred": "the predictions.",
    "values": "a tensor of any shape.",
    "sample_weight": "optional weights.",
    "threshold": "float above which a prediction counts as 1.",
    "thresholds": "a float or a list of floats in [0, 1].",
    "num_thresholds": "number of evenly spaced thresholds.",
    "top_k": "count only the `top_k` best scores of each row as predictions.",
    "class_id": "count only this column of `y_true` and `y_pred`.",
    "k": "number of best scores to look at.",
    "from_sorted_ids": "whether `y_pred` holds class ids, best first.",
    "specificity": "float in [0, 1], the least value of what is constrained.",
    "sensitivity": "float in [0, 1], the least value of what is constrained.",
    "recall": "float in [0, 1], the least value of what is constrained.",
    "precision": "float in [0, 1], the least value of what is constrained.",
    "curve": "`'ROC'`, `'PR'` or `'PRGAIN'`.",
    "summation_method": "`'interpolation'`, `'minoring'` or `'majoring'`.",
    "multi_label": "whether each column has an area, which are averaged.",
    "label_weights": "weights of the columns.",
    "from_logits": "whether `y_pred` holds logits instead of probabilities.",
    "average": "None (one score per column), `'micro'`, `'macro'` or `'weighted'`.",
    "beta": "how many times recall counts as much as precision, a float.",
    "num_classes": "number of classes.",
    "target_class_ids": "the classes to average over.",
    "ignore_class": "a class id, or a list of them, whose samples are left out.",
    "sparse_y_true": "whether `y_true` holds class ids, not rows of scores.",
    "sparse_y_pred": "whether `y_pred` holds class ids, not rows of scores.",
    "axis": "the axis of the classes or of the rows (or several).",
    "class_aggregation": "None, `'uniform_average'` or `'variance_weighted_average'`.",
    "num_regressors": "number of regressors, for the adjusted score.",
    "label_smoothing": "float in [0, 1]: how far labels are moved to the middle.",
}


def _document(
    summary: str, formula: str, example: str, value: str, **parameters: str
) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        name = function.__name__
        known = {**_PARAMETERS, **parameters}
        arguments = "\n".join(
            f"    {parameter}: {known[parameter]}"
            for parameter in inspect.signature(function).parameters
        )
        twin = MAKERS[name].keras_class
        shapes = (
            f"as `keras_tally.{twin}` takes them"
            if twin
            else "one label for each score or class id"
        )
        source = f"`keras_tally.{twin}`" if twin else parameters.pop("source")
        function.__doc__ = f"""{summary}

Formula: {formula}

Shapes and dtypes: inputs {shapes}, bool, integer or float; the result is float64 where
the predictions are, and float32 otherwise.

Args:
{arguments}

Returns:
    The value, a tensor of the framework of the predictions.

Raises:
    ValueError: shapes, weights, labels or values of arguments that do not fit.
    TypeError: an input that is no tensor of an accepted dtype, or that is traced by
        `torch.func`.

Example:

>>> from keras_tally import functional as F
>>> value = F.{name}({example})
>>> {_shown(value)}
{value}

Source: {source}.
"""
        return function

    return decorate


def _shown(value: str) -> str:
    if value.startswith("[["):
        return "value.tolist()"
    if value.startswith("["):
        return "[round(float(x), 5) for x in value]"
    return "round(float(value), 5)"


def _tuple(values: Any) -> Any:
    """Return what tells lists and arrays apart, and others as they are."""
    values = plain_list(values)
    return tuple(values) if isinstance(values, list) else values


def _columns(x: Any) -> int | None:
    """Return the number of columns; None of a vector, or a number."""
    shape = np.shape(x) if not hasattr(x, "shape") else x.shape
    return int(shape[-1]) if len(shape) > 1 else None


# Values.


@_document(
    "Return the mean of values.",
    "`sum(sample_weight * values) / sum(sample_weight)`, where each entry along the\n"
    "first axis counts once.",
    "[1, 3, 5, 7], [1, 1, 0, 0]",
    "2.0",
)
def mean(values: Any, sample_weight: Any = None) -> Any:
    return evaluate("mean", (), None, values, sample_weight)


@_document(
    "Return the sum of values.",
    "`sum(sample_weight * values)`.",
    "[1, 3, 5, 7], [1, 1, 0, 0]",
    "4.0",
)
def sum(values: Any, sample_weight: Any = None) -> Any:
    return evaluate("sum", (), None, values, sample_weight)


# Accuracy.


@_document(
    "Return how often predictions equal labels.",
    "`mean(y_true == y_pred)`.",
    "[1, 2, 3, 4], [0, 2, 3, 4]",
    "0.75",
)
def accuracy(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("accuracy", (), y_true, y_pred, sample_weight)


@_document(
    "Return how often thresholded predictions match binary labels.",
    "`mean(y_true == (y_pred > threshold))`.",
    "[1, 1, 0, 0], [0.98, 1, 0, 0.6]",
    "0.75",
)
def binary_accuracy(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, threshold: float = 0.5
) -> Any:
    arguments = (("threshold", threshold),)
    return evaluate("binary_accuracy", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return how often the largest score falls on the largest entry of a one-hot label.",
    "`mean(argmax(y_true, -1) == argmax(y_pred, -1))`.",
    "[[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]",
    "0.5",
)
def categorical_accuracy(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("categorical_accuracy", (), y_true, y_pred, sample_weight)


@_document(
    "Return how often the largest score falls on an integer label.",
    "`mean(y_true == argmax(y_pred, -1))`.",
    "[2, 1], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]]",
    "0.5",
)
def sparse_categorical_accuracy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    ignore_class: int | Sequence[int] | None = None,
) -> Any:
    arguments = (("ignore_class", _tuple(ignore_class)),)
    return evaluate(
        "sparse_categorical_accuracy", arguments, y_true, y_pred, sample_weight
    )


@_document(
    "Return how often a one-hot label's class is among the `k` best scores.",
    "`mean(count(y_pred > y_pred[argmax(y_true)]) < k)`.",
    "[[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]], k=1",
    "0.5",
)
def top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, k: int = 5
) -> Any:
    arguments = (("k", k),)
    return evaluate(
        "top_k_categorical_accuracy", arguments, y_true, y_pred, sample_weight
    )


@_document(
    "Return how often an integer label's class is among the `k` best scores.",
    "`mean(count(y_pred > y_pred[y_true]) < k)`, or `mean(y_true in y_pred[:k])`.",
    "[2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]], k=1",
    "0.5",
)
def sparse_top_k_categorical_accuracy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    k: int = 5,
    from_sorted_ids: bool = False,
    ignore_class: int | Sequence[int] | None = None,
) -> Any:
    arguments = (
        ("from_sorted_ids", from_sorted_ids),
        ("ignore_class", _tuple(ignore_class)),
        ("k", k),
    )
    return evaluate(
        "sparse_top_k_categorical_accuracy", arguments, y_true, y_pred, sample_weight
    )


@_document(
    "Return the mean rank of a one-hot label's class among the scores.",
    "`mean(1 + count(y_pred > y_pred[argmax(y_true)]))`.",
    "[[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]",
    "1.5",
)
def mean_rank(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("mean_rank", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean rank of an integer label's class among the scores.",
    "`mean(1 + count(y_pred > y_pred[y_true]))`.",
    "[2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]",
    "1.5",
)
def sparse_mean_rank(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("sparse_mean_rank", (), y_true, y_pred, sample_weight)


# Counts over thresholds.


def _at_thresholds(
    name: str,
    y_true: Any,
    y_pred: Any,
    sample_weight: Any,
    thresholds: Any,
    class_id: int | None,
    from_logits: bool,
) -> Any:
    arguments = (
        ("class_id", class_id),
        ("from_logits", from_logits),
        ("thresholds", _tuple(thresholds)),
    )
    return evaluate(name, arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the number of true positives, for each threshold.",
    "`sum(sample_weight * (y_true & (y_pred > threshold)))`.",
    "[0, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0]",
    "2.0",
)
def true_positives(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: Any = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    return _at_thresholds(
        "true_positives",
        y_true,
        y_pred,
        sample_weight,
        thresholds,
        class_id,
        from_logits,
    )


@_document(
    "Return the number of true negatives, for each threshold.",
    "`sum(sample_weight * (~y_true & ~(y_pred > threshold)))`.",
    "[0, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0]",
    "2.0",
)
def true_negatives(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: Any = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    return _at_thresholds(
        "true_negatives",
        y_true,
        y_pred,
        sample_weight,
        thresholds,
        class_id,
        from_logits,
    )


@_document(
    "Return the number of false positives, for each threshold.",
    "`sum(sample_weight * (~y_true & (y_pred > threshold)))`.",
    "[0, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0]",
    "1.0",
)
def false_positives(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: Any = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    return _at_thresholds(
        "false_positives",
        y_true,
        y_pred,
        sample_weight,
        thresholds,
        class_id,
        from_logits,
    )


@_document(
    "Return the number of false negatives, for each threshold.",
    "`sum(sample_weight * (y_true & ~(y_pred > threshold)))`.",
    "[0, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0]",
    "1.0",
)
def false_negatives(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: Any = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    return _at_thresholds(
        "false_negatives",
        y_true,
        y_pred,
        sample_weight,
        thresholds,
        class_id,
        from_logits,
    )


@_document(
    "Return the share of positive predictions that are right, for each threshold.",
    "`true_positives / (true_positives + false_positives)`; `0 / 0` is 0.",
    "[0, 1, 1, 1], [1, 0, 1, 1]",
    "0.66667",
)
def precision(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: Any = None,
    top_k: int | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    arguments = (
        ("class_id", class_id),
        ("from_logits", from_logits),
        ("thresholds", _tuple(thresholds)),
        ("top_k", top_k),
    )
    return evaluate("precision", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the share of positive labels that are found, for each threshold.",
    "`true_positives / (true_positives + false_negatives)`; `0 / 0` is 0.",
    "[0, 1, 1, 1], [1, 0, 1, 1]",
    "0.66667",
)
def recall(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: Any = None,
    top_k: int | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    arguments = (
        ("class_id", class_id),
        ("from_logits", from_logits),
        ("thresholds", _tuple(thresholds)),
        ("top_k", top_k),
    )
    return evaluate("recall", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the best sensitivity where specificity is high enough.",
    "the largest `tp / (tp + fn)` where `tn / (tn + fp) >= specificity`.",
    "[0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8], specificity=0.5",
    "0.5",
)
def sensitivity_at_specificity(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    specificity: float,
    num_thresholds: int = 200,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    arguments = (
        ("class_id", class_id),
        ("from_logits", from_logits),
        ("num_thresholds", num_thresholds),
        ("specificity", specificity),
    )
    return evaluate(
        "sensitivity_at_specificity", arguments, y_true, y_pred, sample_weight
    )


@_document(
    "Return the best specificity where sensitivity is high enough.",
    "the largest `tn / (tn + fp)` where `tp / (tp + fn) >= sensitivity`.",
    "[0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8], sensitivity=0.5",
    "0.66667",
)
def specificity_at_sensitivity(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    sensitivity: float,
    num_thresholds: int = 200,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    arguments = (
        ("class_id", class_id),
        ("from_logits", from_logits),
        ("num_thresholds", num_thresholds),
        ("sensitivity", sensitivity),
    )
    return evaluate(
        "specificity_at_sensitivity", arguments, y_true, y_pred, sample_weight
    )


@_document(
    "Return the best precision where recall is high enough.",
    "the largest `tp / (tp + fp)` where `tp / (tp + fn) >= recall`.",
    "[0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8], recall=0.5",
    "0.5",
)
def precision_at_recall(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    recall: float,
    num_thresholds: int = 200,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    arguments = (
        ("class_id", class_id),
        ("from_logits", from_logits),
        ("num_thresholds", num_thresholds),
        ("recall", recall),
    )
    return evaluate("precision_at_recall", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the best recall where precision is high enough.",
    "the largest `tp / (tp + fn)` where `tp / (tp + fp) >= precision`.",
    "[0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8], precision=0.5",
    "1.0",
)
def recall_at_precision(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    precision: float,
    num_thresholds: int = 200,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    arguments = (
        ("class_id", class_id),
        ("from_logits", from_logits),
        ("num_thresholds", num_thresholds),
        ("precision", precision),
    )
    return evaluate("recall_at_precision", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the area under a curve of rates over thresholds: ROC by default.",
    "the curve's points at `num_thresholds` thresholds, joined by\n"
    "`summation_method`. It is the area of the binned curve: scores between two\n"
    "thresholds are not told apart.",
    "[0, 0, 1, 1], [0, 0.5, 0.3, 0.9], num_thresholds=3",
    "0.75",
)
def auc(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    num_thresholds: int = 200,
    curve: str = "ROC",
    summation_method: str = "interpolation",
    thresholds: Sequence[float] | None = None,
    multi_label: bool = False,
    label_weights: Any = None,
    from_logits: bool = False,
    class_id: int | None = None,
) -> Any:
    arguments: tuple[tuple[str, Any], ...] = (
        ("class_id", class_id),
        ("curve", curve),
        ("from_logits", from_logits),
        ("label_weights", _tuple(label_weights)),
        ("multi_label", multi_label),
        ("num_thresholds", num_thresholds),
        ("summation_method", summation_method),
        ("thresholds", _tuple(thresholds)),
    )
    if multi_label:
        arguments = tuple(sorted((*arguments, ("columns", _columns(y_pred)))))
    return evaluate("auc", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the average precision of a binned precision-recall curve.",
    "`sum((recall[i] - recall[i + 1]) * precision[i])` over ascending thresholds. It\n"
    "is scikit-learn's where no two scores lie between the same two thresholds.",
    "[0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]",
    "0.83333",
    source="`sklearn.metrics.average_precision_score`",
)
def average_precision(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    num_thresholds: int = 200,
    thresholds: Sequence[float] | None = None,
    multi_label: bool = False,
    label_weights: Any = None,
    from_logits: bool = False,
    class_id: int | None = None,
) -> Any:
    arguments: tuple[tuple[str, Any], ...] = (
        ("class_id", class_id),
        ("from_logits", from_logits),
        ("label_weights", _tuple(label_weights)),
        ("multi_label", multi_label),
        ("num_thresholds", num_thresholds),
        ("thresholds", _tuple(thresholds)),
    )
    if multi_label:
        arguments = tuple(sorted((*arguments, ("columns", _columns(y_pred)))))
    return evaluate("average_precision", arguments, y_true, y_pred, sample_weight)


# F-scores.


@_document(
    "Return the weighted harmonic mean of precision and recall.",
    "`(1 + beta**2) * precision * recall / (beta**2 * precision + recall)`: one score\n"
    "of vectors, one for each column of matrices, then averaged as `average` says.",
    "[0, 1, 1, 1], [1, 0, 1, 1], beta=2.0",
    "0.66667",
    threshold="scores above it count as predictions; None: 0.5 for vectors, and the\n"
    "        largest score of each row of matrices.",
)
def fbeta_score(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    beta: float = 1.0,
    average: str | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
) -> Any:
    arguments = (
        ("average", average),
        ("beta", beta),
        ("columns", _columns(y_pred)),
        ("from_logits", from_logits),
        ("threshold", threshold),
    )
    return evaluate("fbeta_score", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the harmonic mean of precision and recall.",
    "`2 * precision * recall / (precision + recall)`: one score of vectors, one for\n"
    "each column of matrices, then averaged as `average` says.",
    "[0, 1, 1, 1], [1, 0, 1, 1]",
    "0.66667",
    threshold="scores above it count as predictions; None: 0.5 for vectors, and the\n"
    "        largest score of each row of matrices.",
)
def f1_score(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    average: str | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
) -> Any:
    arguments = (
        ("average", average),
        ("columns", _columns(y_pred)),
        ("from_logits", from_logits),
        ("threshold", threshold),
    )
    return evaluate("f1_score", arguments, y_true, y_pred, sample_weight)


# Classes.


@_document(
    "Return how many samples of each class are taken for which.",
    "`matrix[i, j] = sum(sample_weight * (y_true == i & y_pred == j))`, int64 without\n"
    "weights and float64 with them; ids out of [0, num_classes) are left out.",
    "[0, 0, 1, 1], [0, 1, 1, 1], num_classes=2",
    "[[1, 1], [0, 2]]",
    source="`sklearn.metrics.confusion_matrix`",
)
def confusion_matrix(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    num_classes: int,
    ignore_class: int | Sequence[int] | None = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
    axis: int = -1,
) -> Any:
    arguments = (
        ("axis", axis),
        ("ignore_class", _tuple(ignore_class)),
        ("num_classes", num_classes),
        ("sparse_y_pred", sparse_y_pred),
        ("sparse_y_true", sparse_y_true),
    )
    counts = evaluate("confusion_matrix", arguments, y_true, y_pred, sample_weight)
    size = int(num_classes)
    counts = counts.reshape((size, size))
    if sample_weight is not None:
        return counts
    return counts.astype("int64") if hasattr(counts, "astype") else counts.long()


# Counts for each class are all that the IoU functions need: no matrix is made.
_PER_CLASS = ("per_class_counts", True)
_WEIGHTS = "Weights count as they are, whatever their dtype."


@_document(
    "Return the mean intersection over union of given classes.",
    "the mean of `tp / (tp + fp + fn)` over those of `target_class_ids` that occur.\n"
    + _WEIGHTS,
    "[0, 0, 1, 1], [0, 1, 0, 1], num_classes=2, target_class_ids=[0]",
    "0.33333",
)
def iou(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    num_classes: int,
    target_class_ids: Sequence[int],
    ignore_class: int | Sequence[int] | None = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
    axis: int = -1,
) -> Any:
    arguments = (
        ("axis", axis),
        ("ignore_class", _tuple(ignore_class)),
        ("num_classes", num_classes),
        _PER_CLASS,
        ("sparse_y_pred", sparse_y_pred),
        ("sparse_y_true", sparse_y_true),
        ("target_class_ids", _tuple(target_class_ids)),
    )
    return evaluate("iou", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the mean intersection over union of two classes, told by a threshold.",
    "with `y_pred >= threshold` as the class, the mean of `tp / (tp + fp + fn)` over\n"
    "those of `target_class_ids` that occur. " + _WEIGHTS,
    "[0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7], threshold=0.3",
    "0.33333",
    threshold="the least score of class 1.",
)
def binary_iou(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    target_class_ids: Sequence[int] = (0, 1),
    threshold: float = 0.5,
) -> Any:
    arguments = (
        ("target_class_ids", _tuple(target_class_ids)),
        ("threshold", threshold),
    )
    return evaluate("binary_iou", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the mean intersection over union of all classes.",
    "the mean of `tp / (tp + fp + fn)` over the classes that occur.\n" + _WEIGHTS,
    "[0, 0, 1, 1], [0, 1, 0, 1], num_classes=2",
    "0.33333",
)
def mean_iou(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    num_classes: int,
    ignore_class: int | Sequence[int] | None = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
    axis: int = -1,
) -> Any:
    arguments = (
        ("axis", axis),
        ("ignore_class", _tuple(ignore_class)),
        ("num_classes", num_classes),
        _PER_CLASS,
        ("sparse_y_pred", sparse_y_pred),
        ("sparse_y_true", sparse_y_true),
    )
    return evaluate("mean_iou", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the mean intersection over union of given classes, of one-hot labels.",
    "the mean of `tp / (tp + fp + fn)` over those of `target_class_ids` that occur.\n"
    + _WEIGHTS,
    "[[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]], num_classes=2, target_class_ids=[1]",
    "0.5",
)
def one_hot_iou(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    num_classes: int,
    target_class_ids: Sequence[int],
    ignore_class: int | Sequence[int] | None = None,
    sparse_y_pred: bool = False,
    axis: int = -1,
) -> Any:
    arguments = (
        ("axis", axis),
        ("ignore_class", _tuple(ignore_class)),
        ("num_classes", num_classes),
        _PER_CLASS,
        ("sparse_y_pred", sparse_y_pred),
        ("target_class_ids", _tuple(target_class_ids)),
    )
    return evaluate("one_hot_iou", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the mean intersection over union of all classes, of one-hot labels.",
    "the mean of `tp / (tp + fp + fn)` over the classes that occur.\n" + _WEIGHTS,
    "[[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]], num_classes=2",
    "0.25",
)
def one_hot_mean_iou(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    num_classes: int,
    ignore_class: int | Sequence[int] | None = None,
    sparse_y_pred: bool = False,
    axis: int = -1,
) -> Any:
    arguments = (
        ("axis", axis),
        ("ignore_class", _tuple(ignore_class)),
        ("num_classes", num_classes),
        _PER_CLASS,
        ("sparse_y_pred", sparse_y_pred),
    )
    return evaluate("one_hot_mean_iou", arguments, y_true, y_pred, sample_weight)


# Regression.


@_document(
    "Return the mean of squared errors.",
    "`mean((y_true - y_pred) ** 2)`.",
    "[[0, 1], [0, 0]], [[1, 1], [0, 0]]",
    "0.25",
)
def mean_squared_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("mean_squared_error", (), y_true, y_pred, sample_weight)


@_document(
    "Return the square root of the mean of squared errors.",
    "`sqrt(mean((y_true - y_pred) ** 2))`.",
    "[[0, 1], [0, 0]], [[1, 1], [0, 0]]",
    "0.5",
)
def root_mean_squared_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("root_mean_squared_error", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean of absolute errors.",
    "`mean(abs(y_true - y_pred))`.",
    "[[0, 1], [0, 0]], [[1, 1], [0, 0]]",
    "0.25",
)
def mean_absolute_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("mean_absolute_error", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean of absolute errors, in percent of the true values.",
    "`100 * mean(abs(y_true - y_pred) / max(abs(y_true), epsilon))`.",
    "[[2.0, 4.0], [5.0, 8.0]], [[1.0, 4.0], [5.0, 6.0]]",
    "18.75",
)
def mean_absolute_percentage_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    return evaluate("mean_absolute_percentage_error", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean of squared differences of logarithms.",
    "`mean((log(1 + p) - log(1 + t)) ** 2)`, `p` and `t` at least epsilon.",
    "[[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]",
    "0.12011",
)
def mean_squared_logarithmic_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    return evaluate("mean_squared_logarithmic_error", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean Huber loss.",
    "with `e = abs(y_true - y_pred)` and `d = threshold`, the mean of `e ** 2 / 2` up\n"
    "to `d` and of `d * e - d ** 2 / 2` above it.",
    "[[0.0, 0.0], [0.0, 0.0]], [[0.5, 3.0], [0.0, 1.0]]",
    "0.78125",
    threshold="positive float, the error at which the loss becomes linear.",
)
def huber(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, threshold: float = 1.0
) -> Any:
    arguments = (("threshold", threshold),)
    return evaluate("huber", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the mean logarithm of the hyperbolic cosine of the error.",
    "`mean(log(cosh(y_pred - y_true)))`.",
    "[[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]",
    "0.10845",
)
def log_cosh(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("log_cosh", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean cosine of the angle between true and predicted vectors.",
    "`mean(sum(y_true * y_pred, axis) / (norm(y_true) * norm(y_pred)))`.",
    "[[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]]",
    "0.5",
)
def cosine_similarity(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, axis: Any = -1
) -> Any:
    arguments = (("axis", _tuple(axis)),)
    return evaluate("cosine_similarity", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the mean Pearson correlation of true and predicted rows.",
    "`mean(cov(y_true, y_pred) / (std(y_true) * std(y_pred)))` along `axis`.",
    "[[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]]",
    "0.9967",
)
def pearson_correlation(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, axis: Any = -1
) -> Any:
    arguments = (("axis", _tuple(axis)),)
    return evaluate("pearson_correlation", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the mean concordance correlation of true and predicted rows.",
    "the mean of `2 * cov(y_true, y_pred) / (var(y_true) + var(y_pred) +\n"
    "(mean(y_true) - mean(y_pred)) ** 2 + epsilon)` along `axis`.",
    "[[0, 1, 0.5], [1, 1, 0.2]], [[0.1, 0.9, 0.5], [1, 0.9, 0.2]]",
    "0.98163",
)
def concordance_correlation(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, axis: Any = -1
) -> Any:
    arguments = (("axis", _tuple(axis)),)
    return evaluate("concordance_correlation", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the coefficient of determination.",
    "for each column `1 - sum((y_true - y_pred) ** 2) / sum((y_true - mean) ** 2)`\n"
    "with the mean of `y_true`, then averaged; vectors are one column.",
    "[1.0, 4.0, 3.0], [2.0, 4.0, 4.0]",
    "0.57143",
)
def r2_score(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    class_aggregation: str | None = "uniform_average",
    num_regressors: int = 0,
) -> Any:
    y_true, y_pred = as_column(y_true), as_column(y_pred)
    arguments = (
        ("class_aggregation", class_aggregation),
        ("columns", _columns(y_pred)),
        ("num_regressors", num_regressors),
    )
    return evaluate("r2_score", arguments, y_true, y_pred, sample_weight)


# Probabilities and margins.


@_document(
    "Return the mean cross-entropy of two classes.",
    "`mean(-(y_true * log(p) + (1 - y_true) * log(1 - p)))` with\n"
    "`p = clip(y_pred, epsilon, 1 - epsilon)`.",
    "[[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]",
    "0.81492",
)
def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> Any:
    arguments = (("from_logits", from_logits), ("label_smoothing", label_smoothing))
    return evaluate("binary_crossentropy", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the mean cross-entropy of one-hot labels.",
    "`mean(-sum(y_true * log(p), axis))` with\n"
    "`p = clip(y_pred / sum(y_pred, axis), epsilon, 1 - epsilon)`.",
    "[[0, 1, 0], [0, 0, 1]], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]",
    "1.17694",
)
def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    arguments = (
        ("axis", axis),
        ("from_logits", from_logits),
        ("label_smoothing", label_smoothing),
    )
    return evaluate(
        "categorical_crossentropy", arguments, y_true, y_pred, sample_weight
    )


@_document(
    "Return the mean cross-entropy of integer labels.",
    "`mean(-log(p[y_true]))` with\n"
    "`p = clip(y_pred / sum(y_pred, axis), epsilon, 1 - epsilon)`.",
    "[1, 2], [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]",
    "1.17694",
    ignore_class="a label whose samples count as zeros, and weigh nothing if weighted.",
)
def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    from_logits: bool = False,
    ignore_class: int | Sequence[int] | None = None,
    axis: int = -1,
) -> Any:
    arguments = (
        ("axis", axis),
        ("from_logits", from_logits),
        ("ignore_class", _tuple(ignore_class)),
    )
    return evaluate(
        "sparse_categorical_crossentropy", arguments, y_true, y_pred, sample_weight
    )


@_document(
    "Return the mean Kullback-Leibler divergence of predicted from true distributions.",
    "`mean(sum(y_true * log(y_true / y_pred), -1))`, both clipped to [epsilon, 1].",
    "[[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]",
    "0.45814",
)
def kl_divergence(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("kl_divergence", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean Poisson loss of predicted rates.",
    "`mean(y_pred - y_true * log(y_pred + epsilon))`.",
    "[[0.0, 1.0], [0.0, 0.0]], [[1.0, 1.0], [0.0, 0.0]]",
    "0.5",
)
def poisson(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("poisson", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean of each row's largest probability; `y_true` is not looked at.",
    "`mean(max(y_pred, axis))`.",
    "[2, 1], [[0.25, 0.5, 0.25], [0, 1, 0]]",
    "0.75",
)
def mean_max_probability(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    from_logits: bool = False,
    axis: int = -1,
) -> Any:
    arguments = (("axis", axis), ("from_logits", from_logits))
    return evaluate("mean_max_probability", arguments, y_true, y_pred, sample_weight)


@_document(
    "Return the mean hinge loss.",
    "`mean(max(1 - y_true * y_pred, 0))`; labels 0 and 1 mean -1 and 1 where there\n"
    "are no others.",
    "[[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]",
    "1.3",
)
def hinge(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("hinge", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean squared hinge loss.",
    "`mean(max(1 - y_true * y_pred, 0) ** 2)`; labels 0 and 1 mean -1 and 1 where\n"
    "there are no others.",
    "[[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]",
    "1.86",
)
def squared_hinge(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("squared_hinge", (), y_true, y_pred, sample_weight)


@_document(
    "Return the mean hinge loss of one-hot labels.",
    "`mean(max(neg - pos + 1, 0))` with `pos = sum(y_true * y_pred, -1)` and\n"
    "`neg = max((1 - y_true) * y_pred, -1)`.",
    "[[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]]",
    "1.4",
)
def categorical_hinge(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    return evaluate("categorical_hinge", (), y_true, y_pred, sample_weight)


__all__ = sorted(MAKERS)
follow_compiler()
