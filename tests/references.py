"""Slow, obvious float64 references for every metric of the package.

Each reference is a small streaming object: `update(*arrays, weight=, mask=)`, then
`result()` and `state()`.  They take NumPy arrays, read every value exactly as its
dtype stores it, and compute in float64 with plain loops or plain NumPy.  They follow
the rules of `keras.metrics` (3.15): what is averaged over which axis, how weights and
masks broadcast, how thresholds are compared.  Where the package differs from Keras
on purpose, the reference does what the package promises, and a comment says so.
"""

import math
from fractions import Fraction

import numpy as np

EPSILON = 1e-7  # keras.config.epsilon()
NEGATIVE_INFINITY = -1e10  # what Keras's `top_k` puts in place of a filtered score


def exact(array):
    """The values of `array` as float64 (exact for every dtype the tests use)."""
    return np.asarray(array).astype(np.float64)


def match_ranks(first, second, expand_rank_1=True):
    """Squeeze or expand a trailing axis of 1 where the ranks differ by one."""
    if first.ndim == second.ndim + 1 and first.shape[-1] == 1:
        if second.ndim == 1 and expand_rank_1:
            second = second[..., None]
        else:
            first = first[..., 0]
    elif second.ndim == first.ndim + 1 and second.shape[-1] == 1:
        if first.ndim == 1 and expand_rank_1:
            first = first[..., None]
        else:
            second = second[..., 0]
    return first, second


def reduce_axes(array, axes, how):
    axes = tuple(axes)
    if not axes:
        return array
    return np.mean(array, axis=axes) if how == "mean" else np.sum(array, axis=axes)


def merge_mask(weight, mask):
    """The mask of `y_pred` (True: counts) as a factor of the weight."""
    if mask is None:
        return weight
    mask = exact(mask)
    if weight is None:
        return mask
    mask, weight = match_ranks(mask, exact(weight))
    # The package lines both up at the batch axis; Keras refuses where that matters.
    while 0 < weight.ndim < mask.ndim:
        weight = weight[..., None]
    while mask.ndim < weight.ndim:
        mask = mask[..., None]
    return weight * mask


def samplewise(values, weight, how):
    """Values (and weights) with every axis but the first one reduced."""
    values = exact(values)
    if weight is not None:
        values, weight = match_ranks(values, exact(weight))
        values = reduce_axes(values, range(weight.ndim, values.ndim), how)
        rank = weight.ndim
        weight = np.broadcast_to(weight, values.shape)
        values = values * weight
        weight = reduce_axes(weight, range(1, rank), how)
    return reduce_axes(values, range(1, values.ndim), how), weight


class SumReference:
    """Sum of the (weighted) values."""

    def __init__(self):
        self.total = 0.0

    def update(self, values, weight=None, mask=None):
        weight = merge_mask(weight, mask)
        self.total += math.fsum(samplewise(values, weight, "sum")[0].ravel())

    def state(self):
        return {"total": np.float64(self.total)}

    def result(self):
        return self.total


class MeanReference:
    """Weighted mean of the samples, a sample being the mean over axes 1 and up."""

    def __init__(self):
        self.total = 0.0
        self.count = 0.0

    def add(self, values, weight):
        if np.size(values) == 0:
            return  # the package: an empty batch adds nothing (Keras may add NaN)
        values, weight = samplewise(values, weight, "mean")
        self.total += math.fsum(values.ravel())
        if weight is not None:
            self.count += math.fsum(weight.ravel())
        else:
            self.count += len(values) if values.ndim else 1

    def update(self, values, weight=None, mask=None):
        self.add(values, merge_mask(weight, mask))

    def state(self):
        return {"total": np.float64(self.total), "count": np.float64(self.count)}

    def result(self):
        return self.total / self.count if self.count else 0.0


class MeanOfFunction(MeanReference):
    """Mean of `function(y_true, y_pred)`; masks of `y_pred` become weights."""

    def __init__(self, function, **kwargs):
        super().__init__()
        self.function = function
        self.kwargs = kwargs

    def update(self, y_true, y_pred, weight=None, mask=None):
        if np.size(y_pred) == 0:
            return
        values = self.function(y_true, y_pred, **self.kwargs)
        self.add(values, merge_mask(weight, mask))


class RootMeanSquaredErrorReference(MeanReference):
    """Root of the mean of the elementwise squared errors."""

    def update(self, y_true, y_pred, weight=None, mask=None):
        y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
        self.add((y_true - y_pred) ** 2, merge_mask(weight, mask))

    def result(self):
        return math.sqrt(super().result())


# Functions of one batch: values whose mean the metric is.


def squared_error(y_true, y_pred):
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    return np.mean((y_true - y_pred) ** 2, axis=-1)


def absolute_error(y_true, y_pred):
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    return np.mean(np.abs(y_true - y_pred), axis=-1)


def huber(y_true, y_pred, threshold=1.0):
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    error = np.abs(y_true - y_pred)
    linear = threshold * error - 0.5 * threshold**2
    return np.mean(np.where(error <= threshold, 0.5 * error**2, linear), axis=-1)


def bounded_relative_error(y_true, y_pred):
    """The function of `cases.OWN_EXPRESSION`, element by element."""
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    error = y_pred - y_true
    size = np.minimum(np.log1p(np.abs(error)), 2.0)
    return np.where(error > 0, size, 0.5 * error**2)


def epsilon_of(y_pred):
    """Keras's epsilon in the precision that goes with `y_pred`."""
    wide = np.asarray(y_pred).dtype == np.float64
    return EPSILON if wide else float(np.float32(EPSILON))


def absolute_percentage_error(y_true, y_pred):
    epsilon = epsilon_of(y_pred)
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    share = np.abs(y_true - y_pred) / np.maximum(np.abs(y_true), epsilon)
    return 100 * np.mean(share, axis=-1)


def squared_logarithmic_error(y_true, y_pred):
    epsilon = epsilon_of(y_pred)
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    logs = [np.log1p(np.maximum(y, epsilon)) for y in (y_true, y_pred)]
    return np.mean((logs[0] - logs[1]) ** 2, axis=-1)


def log_cosh(y_true, y_pred):
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    error = np.abs(y_true - y_pred)
    # Each formula keeps all digits on its side: cosh rounds to 1 or overflows.
    near = 0.5 * np.log1p(np.sinh(np.minimum(error, 1.0)) ** 2)
    far = error + np.log1p(np.exp(-2 * error)) - math.log(2)
    return np.mean(np.where(error < 1.0, near, far), axis=-1)


def unit_vectors(vectors, axis):
    norm = np.sqrt(np.sum(vectors**2, axis=axis, keepdims=True))
    return divide(vectors, norm)


def cosine_similarity(y_true, y_pred, axis=-1):
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    return np.sum(unit_vectors(y_true, axis) * unit_vectors(y_pred, axis), axis=axis)


def moments(y_true, y_pred, axis):
    """Means, variances and the covariance along `axis`, which may be a tuple."""
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    mean_true, mean_pred = (
        np.mean(y, axis=axis, keepdims=True) for y in (y_true, y_pred)
    )
    y_true, y_pred = np.broadcast_arrays(y_true - mean_true, y_pred - mean_pred)
    variances = [np.mean(y**2, axis=axis) for y in (y_true, y_pred)]
    covariance = np.mean(y_true * y_pred, axis=axis)
    gap = np.mean(mean_true - mean_pred, axis=axis)  # of one value: drops the axes
    return *variances, covariance, gap


def pearson_correlation(y_true, y_pred, axis=-1):
    """NaN where either side is constant."""
    var_true, var_pred, covariance, _ = moments(y_true, y_pred, axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return covariance / np.sqrt(var_true) / np.sqrt(var_pred)


def concordance_correlation(y_true, y_pred, axis=-1):
    var_true, var_pred, covariance, gap = moments(y_true, y_pred, axis)
    return 2 * covariance / (var_true + var_pred + gap**2 + EPSILON)


def hinge_labels(y_true):
    """Labels as -1 and 1, if there are only zeros and ones in the whole batch."""
    y_true = exact(y_true)
    return 2 * y_true - 1 if np.isin(y_true, (0, 1)).all() else y_true


# Neither the hinges nor the two below bring ranks together: (n,) and (n, 1)
# broadcast to (n, n).


def hinge(y_true, y_pred):
    margin = 1 - hinge_labels(y_true) * exact(y_pred)
    return np.mean(np.maximum(margin, 0), axis=-1)


def squared_hinge(y_true, y_pred):
    margin = 1 - hinge_labels(y_true) * exact(y_pred)
    return np.mean(np.maximum(margin, 0) ** 2, axis=-1)


def categorical_hinge(y_true, y_pred):
    y_true, y_pred = exact(y_true), exact(y_pred)
    right = np.sum(y_true * y_pred, axis=-1)
    wrong = np.max((1 - y_true) * y_pred, axis=-1)
    return np.maximum(wrong - right + 1, 0)


def kl_divergence(y_true, y_pred):
    epsilon = epsilon_of(y_pred)
    y_true, y_pred = (np.clip(exact(y), epsilon, 1) for y in (y_true, y_pred))
    return np.sum(y_true * np.log(y_true / y_pred), axis=-1)


def poisson(y_true, y_pred):
    epsilon = epsilon_of(y_pred)
    y_true, y_pred = exact(y_true), exact(y_pred)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.mean(y_pred - y_true * np.log(y_pred + epsilon), axis=-1)


def equality(y_true, y_pred):
    y_true = np.asarray(y_true).astype(np.asarray(y_pred).dtype)
    y_true, y_pred = match_ranks(y_true, np.asarray(y_pred))
    return exact(y_true == y_pred)


def binary_equality(y_true, y_pred, threshold=0.5):
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    return exact(y_true == (y_pred > np.float32(threshold)))


def first_largest(rows):
    """Index of the first largest score of each row; NaN counts as largest."""
    return np.argmax(exact(rows), axis=-1)


def onehot_accuracy(y_true, y_pred):
    return exact(first_largest(y_true) == first_largest(y_pred))


def drop_unit_axis(labels, scores):
    labels = np.asarray(labels)
    if labels.ndim == np.ndim(scores) and labels.shape[-1] == 1:
        return labels[..., 0]
    return labels


def sparse_accuracy(y_true, y_pred):
    matches = exact(drop_unit_axis(y_true, y_pred) == first_largest(y_pred))
    if matches.ndim > 1 and matches.shape[-1] == 1:
        matches = matches[..., 0]
    return matches


def within_top_k(row, label, k):
    """Whether the score of `label` is at least the k-th largest of its row."""
    # NaN takes the places of the largest scores and is itself never a hit.
    best_first = sorted(row, key=lambda s: math.inf if math.isnan(s) else s)[::-1]
    best_first.sort(key=math.isnan, reverse=True)
    return any(row[label] >= score for score in best_first[:k])


def sparse_top_k_accuracy(y_true, y_pred, k=5, from_sorted_ids=False):
    labels = np.asarray(y_true)
    rows = np.reshape(y_pred, (-1, np.shape(y_pred)[-1]))
    flat = labels.reshape(-1)
    if from_sorted_ids:
        hits = [flat[i] in rows[i][:k] for i in range(len(flat))]
    else:
        hits = [within_top_k(exact(rows[i]), int(flat[i]), k) for i in range(len(flat))]
    return np.array(hits, dtype=np.float64).reshape(labels.shape)


def top_k_accuracy(y_true, y_pred, k=5):
    return sparse_top_k_accuracy(first_largest(y_true), y_pred, k)


def sparse_rank(y_true, y_pred):
    labels = np.asarray(y_true)
    rows = exact(np.reshape(y_pred, (-1, np.shape(y_pred)[-1])))
    ranks = []
    for row, label in zip(rows, labels.reshape(-1).astype(int), strict=True):
        better = [s for s in row if math.isnan(s) or s > row[label]]
        ranks.append(len(row) if math.isnan(row[label]) else 1 + len(better))
    return np.array(ranks, dtype=np.float64).reshape(labels.shape)


def onehot_rank(y_true, y_pred):
    return sparse_rank(first_largest(y_true), y_pred)


def max_probability(y_true, y_pred, from_logits=False, axis=-1):
    scores = exact(y_pred)
    if from_logits:
        powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
        scores = powers / powers.sum(axis=axis, keepdims=True)
    return scores.max(axis=axis)


def clip_probability(p, scores):
    """Clip to [eps, 1 - eps] in the precision that goes with the scores."""
    kind = np.float64 if np.asarray(scores).dtype == np.float64 else np.float32
    return np.clip(p, exact(kind(EPSILON)), exact(kind(1 - EPSILON)))


def binary_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0):
    y_true = exact(y_true)
    y_true = y_true * (1 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        x = exact(y_pred)
        # -[y log s(x) + (1-y) log(1-s(x))], s the sigmoid, without overflow
        loss = np.maximum(x, 0) - x * y_true + np.log1p(np.exp(-np.abs(x)))
    else:
        p = clip_probability(exact(y_pred), y_pred)
        loss = -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p))
    return np.mean(loss, axis=-1)


def log_probabilities(y_pred, from_logits, axis):
    if from_logits:
        x = exact(y_pred)
        x = x - np.max(x, axis=axis, keepdims=True)
        return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))
    p = exact(y_pred)
    p = p / np.sum(p, axis=axis, keepdims=True)
    return np.log(clip_probability(p, y_pred))


def categorical_crossentropy(
    y_true, y_pred, from_logits=False, label_smoothing=0, axis=-1
):
    y_true = exact(y_true)
    if label_smoothing:
        classes = y_true.shape[-1]
        y_true = y_true * (1 - label_smoothing) + label_smoothing / classes
    return -np.sum(y_true * log_probabilities(y_pred, from_logits, axis), axis=axis)


def sparse_categorical_crossentropy(
    y_true, y_pred, from_logits=False, ignore_class=None, axis=-1
):
    labels = np.asarray(y_true)
    if labels.ndim == np.ndim(y_pred) and labels.shape[axis] == 1:
        labels = np.squeeze(labels, axis)
    labels = labels.astype(np.int64)
    ignored = is_ignored(labels, ignore_class)
    log_p = log_probabilities(y_pred, from_logits, axis)
    picked = np.expand_dims(np.where(ignored, 0, labels), axis)
    loss = -np.squeeze(np.take_along_axis(log_p, picked, axis), axis)
    return np.where(ignored, 0.0, loss)


def is_ignored(labels, ignore_class):
    """Where labels are to be ignored: one class, several, or none."""
    classes = () if ignore_class is None else np.atleast_1d(ignore_class)
    return np.isin(labels, classes)


class MeanOfKnownLabels(MeanOfFunction):
    """The mean over the rows whose label is not to be ignored."""

    def __init__(self, function, ignore_class=None, **kwargs):
        super().__init__(function, **kwargs)
        self.ignore_class = ignore_class

    def update(self, y_true, y_pred, weight=None, mask=None):
        weight = merge_mask(weight, mask)
        labels = np.asarray(y_true)
        if labels.ndim == np.ndim(y_pred):
            labels = np.squeeze(labels, self.kwargs.get("axis", -1))
        ignored = is_ignored(labels, self.ignore_class)
        if self.ignore_class is not None:
            weight = merge_mask(weight, ~ignored)
        super().update(np.where(ignored, 0, labels), y_pred, weight)


# The confusion family.


def evenly_spaced(thresholds):
    """Whether Keras counts these thresholds through buckets."""
    count = len(thresholds)
    if count < 3:
        return False
    even = np.arange(count, dtype=np.float32) / (count - 1)
    return bool(np.allclose(thresholds, even, atol=EPSILON))


def keep_top_k(scores, k):
    """The k best scores of each row, the others far below any threshold.

    Ties go to the lowest index (Keras leaves them to the backend).
    """
    kept = np.full(scores.shape, np.float32(NEGATIVE_INFINITY))
    for index in np.ndindex(scores.shape[:-1]):
        row = scores[index]
        for column in np.argsort(-row, kind="stable")[:k]:
            kept[index][column] = row[column]
    return kept


def above(scores, thresholds, buckets):
    """Boolean (threshold, *scores.shape): which scores are above which thresholds."""
    scores = np.asarray(scores, np.float32)
    column = (-1,) + (1,) * scores.ndim
    if not buckets:
        return scores[None] > np.asarray(thresholds, np.float32).reshape(column)
    steps = np.float32(len(thresholds) - 1)
    index = np.ceil(np.clip(scores, np.float32(0), np.float32(1)) * steps) - 1
    if thresholds[0] < 0:
        index = np.maximum(index, np.float32(0))
    return index[None] >= np.arange(len(thresholds), dtype=np.float32).reshape(column)


def of_leading_axes(weight, rank):
    """Weights with axes of size 1 behind their own; one such too many is dropped."""
    weight = exact(weight)
    if weight.ndim == rank + 1 and weight.shape[-1] == 1:
        return weight[..., 0]
    return weight.reshape(weight.shape + (1,) * (rank - weight.ndim))


class ConfusionReference:
    """Weighted tp, fp, tn, fn, each of shape (thresholds,) or (thresholds, labels)."""

    def __init__(
        self,
        thresholds,
        buckets=False,
        top_k=None,
        class_id=None,
        multi_label=False,
        label_weights=None,
        from_logits=False,
    ):
        self.from_logits = from_logits
        self.thresholds = thresholds
        self.buckets = buckets
        self.top_k = top_k
        self.class_id = class_id
        self.multi_label = multi_label
        self.label_weights = label_weights
        # With several labels the first batch says how many there are.
        nothing = 0.0 if multi_label else np.zeros(len(thresholds))
        self.tp = self.fp = self.tn = self.fn = nothing

    def update(self, y_true, y_pred, weight=None, mask=None):
        scores, labels = match_ranks(
            np.asarray(y_pred).astype(np.float32), exact(y_true) != 0
        )
        weight = merge_mask(weight, mask)
        if weight is not None:
            weight = of_leading_axes(weight, scores.ndim)
            if self.class_id is not None and weight.shape[-1:] == scores.shape[-1:]:
                weight = weight[..., self.class_id, None]
        if self.from_logits:
            scores = np.float32(1 / (1 + np.exp(-exact(scores))))
        if self.top_k is not None:
            scores = keep_top_k(scores, self.top_k)
        if self.class_id is not None:
            labels = labels[..., self.class_id, None]
            scores = scores[..., self.class_id, None]
        weights = np.broadcast_to(1.0 if weight is None else weight, scores.shape)
        if self.label_weights is not None:
            per_label = exact(np.float32(self.label_weights))[None]
            weights = weights * np.broadcast_to(per_label, scores.shape)
        columns = scores.shape[-1] if self.multi_label else 1
        shape = (-1, columns) if self.multi_label else (-1,)
        scores, labels, weights = (a.reshape(shape) for a in (scores, labels, weights))
        positive = above(scores, self.thresholds, self.buckets)

        def count(condition):
            return np.sum(np.where(condition, weights, 0.0), axis=1)

        self.tp = self.tp + count(labels & positive)
        self.fp = self.fp + count(~labels & positive)
        self.tn = self.tn + count(~labels & ~positive)
        self.fn = self.fn + count(labels & ~positive)


def divide(numerator, denominator):
    """Elementwise quotient, 0 where the denominator is 0."""
    safe = np.where(denominator == 0, 1.0, denominator)
    return np.where(denominator == 0, 0.0, numerator / safe)


def scalar_if_single(array):
    return array[0] if len(array) == 1 else array


def as_list(thresholds):
    return list(thresholds) if isinstance(thresholds, list | tuple) else [thresholds]


class CountReference(ConfusionReference):
    """One of the four counts; `which` is "tp", "fp", "tn" or "fn"."""

    def __init__(self, which, thresholds=None, **kwargs):
        thresholds = as_list(0.5 if thresholds is None else thresholds)
        super().__init__(thresholds, evenly_spaced(thresholds), **kwargs)
        self.which = which

    def state(self):
        return {"accumulator": getattr(self, self.which)}

    def result(self):
        return scalar_if_single(getattr(self, self.which))


NAMES = {
    "tp": "true_positives",
    "fp": "false_positives",
    "tn": "true_negatives",
    "fn": "false_negatives",
}


class RatioReference(ConfusionReference):
    """counted / (counted + other); with "tp" and "fp" it is the precision."""

    def __init__(self, counted, other, thresholds=None, top_k=None, **kwargs):
        default = 0.5 if top_k is None else NEGATIVE_INFINITY
        thresholds = as_list(default if thresholds is None else thresholds)
        super().__init__(thresholds, evenly_spaced(thresholds), top_k=top_k, **kwargs)
        self.cells = (counted, other)

    def state(self):
        return {NAMES[cell]: getattr(self, cell) for cell in self.cells}

    def result(self):
        counted, other = (getattr(self, cell) for cell in self.cells)
        return scalar_if_single(divide(counted, counted + other))


def auc_thresholds(num_thresholds=200, thresholds=None):
    """The thresholds of `AUC` with both ends, and whether they are bucketed."""
    if thresholds is None:
        inner = [(i + 1) / (num_thresholds - 1) for i in range(num_thresholds - 2)]
        buckets = True
    else:
        inner = sorted(thresholds)
        buckets = evenly_spaced([0.0, *inner, 1.0])
    return [-EPSILON, *inner, 1 + EPSILON], buckets


def pr_area(tp, fp, fn):
    """Area under precision-recall by the interpolation of Davis and Goadrich."""
    area = 0.0
    for i in range(len(tp) - 1):
        gained = tp[i] - tp[i + 1]
        predicted, predicted_next = tp[i] + fp[i], tp[i + 1] + fp[i + 1]
        step = predicted - predicted_next
        slope = gained / step if step > 0 else 0.0
        intercept = tp[i + 1] - slope * predicted_next
        grows = predicted > 0 and predicted_next > 0
        ratio = predicted / predicted_next if grows else 1.0
        positives = tp[i + 1] + fn[i + 1]
        if positives > 0:
            area += slope * (gained + intercept * math.log(ratio)) / positives
    return area


def curve_points(curve, tp, fp, tn, fn):
    recall = divide(tp, tp + fn)
    if curve == "ROC":
        return divide(fp, fp + tn), recall
    if curve == "PR":
        return recall, divide(tp, tp + fp)
    odds = divide(tp + fn, tn + fp)
    none_found = tp == 0
    recall_gain = np.where(none_found, 0.0, 1.0 - odds * divide(fn, tp))
    precision_gain = np.where(none_found, 1.0, 1.0 - odds * divide(fp, tp))
    return np.maximum(recall_gain, 0.0), precision_gain


HEIGHTS = {
    "interpolation": lambda left, right: (left + right) / 2,
    "minoring": np.minimum,
    "majoring": np.maximum,
}


def area_under(curve, summation_method, tp, fp, tn, fn):
    """The area for counts of one label, each of shape (thresholds,)."""
    if curve == "PR" and summation_method == "interpolation":
        return pr_area(tp, fp, fn)
    x, y = curve_points(curve, tp, fp, tn, fn)
    heights = HEIGHTS[summation_method](y[:-1], y[1:])
    return math.fsum((x[:-1] - x[1:]) * heights)


class AUCReference(ConfusionReference):
    """Area under the curve through the points at the thresholds."""

    def __init__(
        self,
        num_thresholds=200,
        curve="ROC",
        summation_method="interpolation",
        thresholds=None,
        multi_label=False,
        num_labels=None,
        label_weights=None,
        **kwargs,
    ):
        thresholds, buckets = auc_thresholds(num_thresholds, thresholds)
        super().__init__(
            thresholds,
            buckets,
            multi_label=multi_label,
            label_weights=None if multi_label else label_weights,
            **kwargs,
        )
        self.curve = curve
        self.summation_method = summation_method
        self.average_weights = label_weights if multi_label else None
        self.poisoned = False

    def update(self, y_true, y_pred, weight=None, mask=None):
        # The package: a NaN score has no rank, so there is no area (Keras: 0.5).
        self.poisoned |= bool(np.isnan(exact(y_pred)).any())
        super().update(y_true, y_pred, weight, mask)

    def state(self):
        return {
            "true_positives": self.tp,
            "false_positives": self.fp,
            "true_negatives": self.tn,
            "false_negatives": self.fn,
        }

    def result(self):
        if self.poisoned:
            return math.nan
        counts = (self.tp, self.fp, self.tn, self.fn)
        if not self.multi_label:
            return area_under(self.curve, self.summation_method, *counts)
        areas = [
            area_under(self.curve, self.summation_method, *(c[:, i] for c in counts))
            for i in range(self.tp.shape[1])
        ]
        if self.average_weights is None:
            return float(np.mean(areas))
        weights = exact(np.float32(self.average_weights))
        return float(divide(np.sum(areas * weights), np.sum(weights)))


# Each rate as (its count, the count that completes it to the denominator).
RATES = {
    "precision": ("tp", "fp"),
    "recall": ("tp", "fn"),
    "sensitivity": ("tp", "fn"),
    "specificity": ("tn", "fp"),
}


class ConstrainedReference(ConfusionReference):
    """The largest `wanted` rate among the thresholds where `bound` is kept."""

    def __init__(self, wanted, bound, value, num_thresholds=200, **kwargs):
        steps = num_thresholds - 1
        thresholds = [i / steps for i in range(num_thresholds)] if steps else [0.5]
        super().__init__(thresholds, buckets=steps > 0, **kwargs)
        self.wanted = wanted
        self.bound = bound
        self.value = value

    def rate(self, name):
        part, rest = (getattr(self, count) for count in RATES[name])
        return divide(part, part + rest)

    def state(self):
        return {
            "true_positives": self.tp,
            "false_positives": self.fp,
            "true_negatives": self.tn,
            "false_negatives": self.fn,
        }

    def result(self):
        # Rates and bound meet as float32 numbers, so that 0.7 fulfils 0.7.
        kept = np.float32(self.rate(self.bound)) >= np.float32(self.value)
        return float(np.max(np.where(kept, self.rate(self.wanted), 0.0), initial=0.0))


class FBetaReference:
    """F-beta of each class, or averaged; labels may be any numbers."""

    def __init__(self, average=None, beta=1.0, threshold=None, from_logits=False):
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self.from_logits = from_logits
        # The first batch says how many classes there are.
        self.tp = self.fp = self.fn = self.support = 0.0

    def update(self, y_true, y_pred, weight=None, mask=None):
        y_true, scores = exact(y_true), np.asarray(y_pred).astype(np.float32)
        if self.from_logits:
            scores = 1 / (1 + np.exp(-exact(scores)))
        if self.threshold is None:
            # All that tie for the best score win, unless it is 0.
            best = np.max(scores, axis=-1, keepdims=True)
            chosen = (scores >= best) & (np.abs(scores) > np.float32(1e-9))
        else:
            chosen = scores > np.float32(self.threshold)
        chosen = exact(chosen)
        weight = merge_mask(weight, mask)
        weight = 1.0 if weight is None else of_leading_axes(weight, 2)
        axis = None if self.average == "micro" else 0

        def total(values):
            return np.sum(values * np.broadcast_to(weight, values.shape), axis=axis)

        self.tp = self.tp + total(chosen * y_true)
        self.fp = self.fp + total(chosen * (1 - y_true))
        self.fn = self.fn + total((1 - chosen) * y_true)
        self.support = self.support + total(y_true)

    def state(self):
        return {
            "true_positives": self.tp,
            "false_positives": self.fp,
            "false_negatives": self.fn,
            "intermediate_weights": self.support,
        }

    def result(self):
        precision = self.tp / (self.tp + self.fp + EPSILON)
        recall = self.tp / (self.tp + self.fn + EPSILON)
        squared = self.beta**2
        score = precision * recall / (squared * precision + recall + EPSILON)
        score = score * (1 + squared)
        if self.average == "weighted":
            return np.sum(score * self.support / (np.sum(self.support) + EPSILON))
        return score if self.average is None else np.mean(score)


class R2Reference:
    """1 - residual / variation, the variation around the mean in a second pass."""

    def __init__(self, class_aggregation="uniform_average", num_regressors=0):
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self.batches = []

    def update(self, y_true, y_pred, weight=None, mask=None):
        y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
        weight = merge_mask(weight, mask)
        weight = of_leading_axes(1.0 if weight is None else weight, 2)
        y_pred, weight = (np.broadcast_to(a, y_true.shape) for a in (y_pred, weight))
        self.batches.append(np.stack([y_true, y_pred, weight]))

    def sums(self, per_row):
        """The exact sum of each column of `per_row(y_true, y_pred, weight)`."""
        rows = per_row(*np.concatenate(self.batches, axis=1))
        return np.array([math.fsum(column) for column in rows.T])

    def count(self):
        return self.sums(lambda y, p, w: w)

    def residual(self):
        return self.sums(lambda y, p, w: w * (y - p) ** 2)

    def squared_sum(self):
        return self.sums(lambda y, p, w: w * y**2)

    def sum(self):
        return self.sums(lambda y, p, w: w * y)

    def variation(self):
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.sum() / self.count()
        variation = self.sums(lambda y, p, w: w * (y - mean) ** 2)
        y_true, _, weight = np.concatenate(self.batches, axis=1)
        for column in range(len(variation)):
            values = y_true[weight[:, column] != 0, column]
            if len(set(values)) == 1:  # whatever its mean was rounded to
                variation[column] = 0.0
        return variation

    def num_samples(self):
        # As Keras 3.16 counts: rows with a weight other than 0.
        return float(
            sum(np.any(weight != 0, axis=1).sum() for *_, weight in self.batches)
        )

    def state(self):
        return {
            "num_samples": np.float64(self.num_samples()),
            "squared_sum": self.squared_sum(),
            "sum": self.sum(),
            "residual": self.residual(),
            "count": self.count(),
        }

    def result(self):
        variation = self.variation()
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = 1 - self.residual() / variation
            # A constant column is right or wrong, as in scikit-learn.
            constant = variation == 0
            scores = np.where(constant, np.float64(self.residual() == 0), scores)
            if self.class_aggregation == "uniform_average":
                scores = np.mean(scores)
            elif self.class_aggregation == "variance_weighted_average":
                weight = np.ones_like(scores) if constant.all() else variation
                scores = np.sum(weight * scores) / np.sum(weight)
        # With too few samples the plain score stands (and Keras warns).
        freedom = self.num_samples() - self.num_regressors - 1
        if self.num_regressors and freedom > 0:
            scores = 1 - (1 - scores) * (self.num_samples() - 1) / freedom
        return scores


class IoUReference:
    """Mean over the target classes of intersection / union, absent ones left out."""

    def __init__(
        self,
        num_classes,
        target_class_ids=None,
        ignore_class=None,
        sparse_y_true=True,
        sparse_y_pred=True,
        axis=-1,
        per_class_counts=False,
        dtype=None,
    ):
        self.num_classes = num_classes
        if target_class_ids is None:
            target_class_ids = range(num_classes)
        self.target_class_ids = list(target_class_ids)
        self.ignore_class = ignore_class
        self.sparse = (sparse_y_true, sparse_y_pred)
        self.axis = axis
        self.per_class_counts = per_class_counts
        self.whole_numbers = "float" not in (dtype or "int")
        # Rows are the true classes, columns the predicted ones.
        self.matrix = np.zeros((num_classes, num_classes))

    def class_ids(self, y, sparse):
        if not sparse:
            return np.argmax(exact(y), axis=self.axis).ravel()
        ids = exact(y).ravel()
        # Under a float dtype -0.5 is below 0, under an integer dtype it is class 0.
        return np.trunc(ids) if self.whole_numbers else ids

    def update(self, y_true, y_pred, weight=None, mask=None):
        shape = list(np.shape(y_true))
        if not self.sparse[0]:
            del shape[self.axis]
        y_true, y_pred = (
            self.class_ids(y, sparse)
            for y, sparse in zip((y_true, y_pred), self.sparse, strict=True)
        )
        weight = merge_mask(weight, mask)
        weight = exact(1.0 if weight is None else weight)
        if weight.size not in (1, y_true.size):
            weight = of_leading_axes(weight, len(shape)) + np.zeros(shape)
        weight = weight.ravel()
        if self.whole_numbers:
            weight = np.trunc(weight)
        y_true, y_pred = np.broadcast_arrays(y_true, y_pred)
        weight = np.broadcast_to(weight, y_true.shape)
        known = ~is_ignored(y_true, self.ignore_class)
        for ids in (y_true, y_pred):
            known &= (ids >= 0) & (ids < self.num_classes)
        cells = tuple(ids[known].astype(np.int64) for ids in (y_true, y_pred))
        np.add.at(self.matrix, cells, weight[known])

    def counts(self):
        hits = np.diag(self.matrix)
        return {
            "true_positives": hits,
            "false_positives": self.matrix.sum(axis=0) - hits,
            "false_negatives": self.matrix.sum(axis=1) - hits,
        }

    def state(self):
        if self.per_class_counts:
            return self.counts()
        return {"total_confusion_matrix": self.matrix}

    def result(self):
        intersection = self.counts()["true_positives"][self.target_class_ids]
        union = sum(self.counts().values())[self.target_class_ids]
        present = union > 1e-9
        iou = np.where(present, intersection / (union + EPSILON), 0.0)
        return float(np.sum(iou) / (np.sum(present) + EPSILON))


class BinaryIoUReference(IoUReference):
    """Two classes; the predicted one is whether the score reaches the threshold."""

    def __init__(self, target_class_ids=(0, 1), threshold=0.5, dtype=None):
        super().__init__(2, target_class_ids, dtype=dtype)
        self.threshold = threshold

    def update(self, y_true, y_pred, weight=None, mask=None):
        scores = np.asarray(y_pred).astype(np.float32)
        super().update(y_true, scores >= np.float32(self.threshold), weight, mask)


ONE_HOT = {"sparse_y_true": False, "sparse_y_pred": False}

# `cases` adds those that Keras lacks.
REFERENCES = {
    "Mean": MeanReference,
    "Sum": SumReference,
    "MeanMetricWrapper": lambda fn=None: MeanOfFunction(squared_error),
    "MeanSquaredError": lambda: MeanOfFunction(squared_error),
    "RootMeanSquaredError": RootMeanSquaredErrorReference,
    "MeanAbsoluteError": lambda: MeanOfFunction(absolute_error),
    "Accuracy": lambda: MeanOfFunction(equality),
    "BinaryAccuracy": lambda **kwargs: MeanOfFunction(binary_equality, **kwargs),
    "CategoricalAccuracy": lambda: MeanOfFunction(onehot_accuracy),
    "SparseCategoricalAccuracy": lambda **kwargs: MeanOfKnownLabels(
        sparse_accuracy, **kwargs
    ),
    "TopKCategoricalAccuracy": lambda **kwargs: MeanOfFunction(
        top_k_accuracy, **kwargs
    ),
    "SparseTopKCategoricalAccuracy": lambda **kwargs: MeanOfKnownLabels(
        sparse_top_k_accuracy, **kwargs
    ),
    "TruePositives": lambda **kwargs: CountReference("tp", **kwargs),
    "TrueNegatives": lambda **kwargs: CountReference("tn", **kwargs),
    "FalsePositives": lambda **kwargs: CountReference("fp", **kwargs),
    "FalseNegatives": lambda **kwargs: CountReference("fn", **kwargs),
    "Precision": lambda **kwargs: RatioReference("tp", "fp", **kwargs),
    "Recall": lambda **kwargs: RatioReference("tp", "fn", **kwargs),
    "AUC": AUCReference,
    "BinaryCrossentropy": lambda **kwargs: MeanOfFunction(
        binary_crossentropy, **kwargs
    ),
    "CategoricalCrossentropy": lambda **kwargs: MeanOfFunction(
        categorical_crossentropy, **kwargs
    ),
    "SparseCategoricalCrossentropy": lambda **kwargs: MeanOfKnownLabels(
        sparse_categorical_crossentropy, **kwargs
    ),
    "MeanAbsolutePercentageError": lambda: MeanOfFunction(absolute_percentage_error),
    "MeanSquaredLogarithmicError": lambda: MeanOfFunction(squared_logarithmic_error),
    "LogCoshError": lambda: MeanOfFunction(log_cosh),
    "CosineSimilarity": lambda **kwargs: MeanOfFunction(cosine_similarity, **kwargs),
    "PearsonCorrelation": lambda **kwargs: MeanOfFunction(
        pearson_correlation, **kwargs
    ),
    "ConcordanceCorrelation": lambda **kwargs: MeanOfFunction(
        concordance_correlation, **kwargs
    ),
    "Hinge": lambda: MeanOfFunction(hinge),
    "SquaredHinge": lambda: MeanOfFunction(squared_hinge),
    "CategoricalHinge": lambda: MeanOfFunction(categorical_hinge),
    "KLDivergence": lambda: MeanOfFunction(kl_divergence),
    "Poisson": lambda: MeanOfFunction(poisson),
    "PrecisionAtRecall": lambda recall, **kwargs: ConstrainedReference(
        "precision", "recall", recall, **kwargs
    ),
    "RecallAtPrecision": lambda precision, **kwargs: ConstrainedReference(
        "recall", "precision", precision, **kwargs
    ),
    "SensitivityAtSpecificity": lambda specificity, **kwargs: ConstrainedReference(
        "sensitivity", "specificity", specificity, **kwargs
    ),
    "SpecificityAtSensitivity": lambda sensitivity, **kwargs: ConstrainedReference(
        "specificity", "sensitivity", sensitivity, **kwargs
    ),
    "FBetaScore": FBetaReference,
    "F1Score": FBetaReference,
    "R2Score": R2Reference,
    "IoU": IoUReference,
    "MeanIoU": IoUReference,
    "OneHotIoU": lambda *args, **kwargs: IoUReference(*args, **{**ONE_HOT, **kwargs}),
    "OneHotMeanIoU": lambda *args, **kwargs: IoUReference(
        *args, **{**ONE_HOT, **kwargs}
    ),
    "BinaryIoU": BinaryIoUReference,
}
# The classes whose dtype is more than the dtype of the result.
DTYPE_MATTERS = ("IoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "BinaryIoU")


def build(name, **kwargs):
    """The reference of the metric class `name` for its constructor arguments."""
    cosmetic = ("name",) if name in DTYPE_MATTERS else ("name", "dtype")
    kwargs = {k: v for k, v in kwargs.items() if k not in cosmetic}
    return REFERENCES[name](**kwargs)


def exact_sum(values):
    """The exact sum of the values as a Fraction."""
    return sum((Fraction(float(v)) for v in np.ravel(values)), Fraction(0))
