"""Metrics of one batch: see `functional.py`. Written by `make docs`."""

# ruff: noqa: E501  as long as the summaries are

from collections.abc import Sequence
from typing import Any

def accuracy(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return how often predictions equal labels."""

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
    label_weights: Sequence[float] | None = None,
    from_logits: bool = False,
    class_id: int | None = None,
) -> Any:
    """Return the area under the ROC, precision-recall or precision-recall-gain curve."""

def average_precision(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    num_thresholds: int = 200,
    thresholds: Sequence[float] | None = None,
    multi_label: bool = False,
    label_weights: Sequence[float] | None = None,
    from_logits: bool = False,
    class_id: int | None = None,
) -> Any:
    """Return the average precision of a binned precision-recall curve."""

def binary_accuracy(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, threshold: float = 0.5
) -> Any:
    """Return how often thresholded predictions match binary labels."""

def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
) -> Any:
    """Return the mean cross-entropy of two classes."""

def binary_iou(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    target_class_ids: Sequence[int] = (0, 1),
    threshold: float = 0.5,
) -> Any:
    """Return the mean intersection over union of two classes, told by a threshold."""

def categorical_accuracy(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return how often the largest score falls on the largest entry of a one-hot label."""

def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """Return the mean cross-entropy of one-hot labels."""

def categorical_hinge(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean hinge loss of one-hot labels."""

def concordance_correlation(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    axis: int | Sequence[int] = -1,
) -> Any:
    """Return the mean concordance correlation of true and predicted rows."""

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
    """Return how many samples of each class are taken for which."""

def cosine_similarity(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    axis: int | Sequence[int] = -1,
) -> Any:
    """Return the mean cosine of the angle between true and predicted vectors."""

def f1_score(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    average: str | None = None,
    threshold: float | None = None,
    from_logits: bool = False,
) -> Any:
    """Return the harmonic mean of precision and recall."""

def false_negatives(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: float | Sequence[float] | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    """Return the number of false negatives."""

def false_positive_rate(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: float | Sequence[float] | None = None,
    top_k: int | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    """Return the share of negative labels that are taken for positive: the false alarms."""

def false_positives(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: float | Sequence[float] | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    """Return the number of false positives."""

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
    """Return the weighted harmonic mean of precision and recall."""

def hinge(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean hinge loss."""

def huber(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, threshold: float = 1.0
) -> Any:
    """Return the mean Huber loss: quadratic for small errors, linear for large ones."""

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
    """Return the mean intersection over union of given classes."""

def kl_divergence(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean Kullback-Leibler divergence from predicted to true distributions."""

def log_cosh(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean logarithm of the hyperbolic cosine of the error."""

def mean(values: Any, sample_weight: Any = None) -> Any:
    """Return the (weighted) mean of values."""

def mean_absolute_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean of absolute errors."""

def mean_absolute_percentage_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Return the mean of absolute errors, in percent of the true values."""

def mean_bias_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean of signed errors: how much predictions are too large."""

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
    """Return the mean intersection over union of all classes."""

def mean_max_probability(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    from_logits: bool = False,
    axis: int = -1,
) -> Any:
    """Return how sure predictions are: the mean of each row's largest probability."""

def mean_rank(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean rank of a one-hot label's class among the scores."""

def mean_squared_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean of squared errors."""

def mean_squared_logarithmic_error(
    y_true: Any, y_pred: Any, sample_weight: Any = None
) -> Any:
    """Return the mean of squared differences of logarithms."""

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
    """Return the mean intersection over union of given classes, of one-hot labels."""

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
    """Return the mean intersection over union of all classes, of one-hot labels."""

def pearson_correlation(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    axis: int | Sequence[int] = -1,
) -> Any:
    """Return the mean Pearson correlation of true and predicted rows."""

def poisson(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean Poisson loss of predicted rates."""

def precision(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: float | Sequence[float] | None = None,
    top_k: int | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    """Return the share of positive predictions that are right."""

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
    """Return the best precision where recall is high enough."""

def r2_score(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    class_aggregation: str | None = "uniform_average",
    num_regressors: int = 0,
) -> Any:
    """Return the coefficient of determination: the share of variance that is explained."""

def recall(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: float | Sequence[float] | None = None,
    top_k: int | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    """Return the share of positive labels that are found."""

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
    """Return the best recall where precision is high enough."""

def relative_squared_error(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    class_aggregation: str | None = "uniform_average",
) -> Any:
    """Return the squared errors, relative to those of always predicting the mean."""

def root_mean_squared_error(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the square root of the mean of squared errors."""

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
    """Return the best sensitivity where specificity is high enough."""

def sparse_categorical_accuracy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    ignore_class: int | Sequence[int] | None = None,
) -> Any:
    """Return how often the largest score falls on an integer label."""

def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    from_logits: bool = False,
    ignore_class: int | Sequence[int] | None = None,
    axis: int = -1,
) -> Any:
    """Return the mean cross-entropy of integer labels."""

def sparse_mean_rank(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean rank of an integer label's class among the scores."""

def sparse_top_k_categorical_accuracy(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    k: int = 5,
    from_sorted_ids: bool = False,
    ignore_class: int | Sequence[int] | None = None,
) -> Any:
    """Return how often an integer label's class is among the `k` best scores."""

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
    """Return the best specificity where sensitivity is high enough."""

def squared_hinge(y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
    """Return the mean squared hinge loss."""

def sum(values: Any, sample_weight: Any = None) -> Any:
    """Return the (weighted) sum of values."""

def top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, sample_weight: Any = None, *, k: int = 5
) -> Any:
    """Return how often a one-hot label's class is among the `k` best scores."""

def true_negatives(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: float | Sequence[float] | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    """Return the number of true negatives."""

def true_positives(
    y_true: Any,
    y_pred: Any,
    sample_weight: Any = None,
    *,
    thresholds: float | Sequence[float] | None = None,
    class_id: int | None = None,
    from_logits: bool = False,
) -> Any:
    """Return the number of true positives."""
