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
        # Keras looks at the mask of the values only where there are weights.
        if weight is not None:
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
        self.add(values, merge_mask(weight, mask) if weight is not None else None)

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
    """Root of the mean of the elementwise squared errors; ignores masks."""

    def update(self, y_true, y_pred, weight=None, mask=None):
        y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
        self.add((y_true - y_pred) ** 2, weight)

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


def clip_probability(p):
    """Clip to [eps, 1 - eps], the bounds rounded to the dtype of the scores."""
    p = np.asarray(p)
    low, high = p.dtype.type(EPSILON), p.dtype.type(1 - EPSILON)
    return exact(np.clip(p, low, high))


def binary_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0):
    y_true = exact(y_true)
    y_true = y_true * (1 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        x = exact(y_pred)
        # -[y log s(x) + (1-y) log(1-s(x))], s the sigmoid, without overflow
        loss = np.maximum(x, 0) - x * y_true + np.log1p(np.exp(-np.abs(x)))
    else:
        p = clip_probability(y_pred)
        loss = -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p))
    return np.mean(loss, axis=-1)


def log_probabilities(y_pred, from_logits, axis):
    if from_logits:
        x = exact(y_pred)
        x = x - np.max(x, axis=axis, keepdims=True)
        return x - np.log(np.sum(np.exp(x), axis=axis, keepdims=True))
    dtype = np.asarray(y_pred).dtype
    p = exact(y_pred)
    p = p / np.sum(p, axis=axis, keepdims=True)
    return np.log(np.clip(p, dtype.type(EPSILON), dtype.type(1 - EPSILON)))


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
    ignored = np.zeros(labels.shape, bool)
    if ignore_class is not None:
        ignored = labels == ignore_class
    log_p = log_probabilities(y_pred, from_logits, axis)
    picked = np.expand_dims(np.where(ignored, 0, labels), axis)
    loss = -np.squeeze(np.take_along_axis(log_p, picked, axis), axis)
    return np.where(ignored, 0.0, loss)


class SparseCategoricalCrossentropyReference(MeanOfFunction):
    """As its function; ignored rows lose their weight where there are weights."""

    def update(self, y_true, y_pred, weight=None, mask=None):
        ignore_class = self.kwargs.get("ignore_class")
        weight = merge_mask(weight, mask)
        if ignore_class is not None and weight is not None:
            labels = np.asarray(y_true)
            if labels.ndim == np.ndim(y_pred):
                labels = np.squeeze(labels, self.kwargs.get("axis", -1))
            weight = merge_mask(weight, labels != ignore_class)
        super().update(y_true, y_pred, weight)


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
    ):
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
        if weight is not None:
            weight = exact(weight)[..., None]
            _, weight = match_ranks(labels, weight, expand_rank_1=False)
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

    def __init__(self, which, thresholds=None):
        thresholds = as_list(0.5 if thresholds is None else thresholds)
        super().__init__(thresholds, evenly_spaced(thresholds))
        self.which = which

    def state(self):
        return {"accumulator": getattr(self, self.which)}

    def result(self):
        return scalar_if_single(getattr(self, self.which))


class RatioReference(ConfusionReference):
    """tp / (tp + missed), `missed` being "fp" (precision) or "fn" (recall)."""

    def __init__(self, missed, thresholds=None, top_k=None, class_id=None):
        default = 0.5 if top_k is None else NEGATIVE_INFINITY
        thresholds = as_list(default if thresholds is None else thresholds)
        super().__init__(
            thresholds, evenly_spaced(thresholds), top_k=top_k, class_id=class_id
        )
        self.missed = missed

    def state(self):
        names = {"fp": "false_positives", "fn": "false_negatives"}
        return {
            "true_positives": self.tp,
            names[self.missed]: getattr(self, self.missed),
        }

    def result(self):
        ratio = divide(self.tp, self.tp + getattr(self, self.missed))
        return scalar_if_single(ratio)


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
        from_logits=False,
    ):
        thresholds, buckets = auc_thresholds(num_thresholds, thresholds)
        super().__init__(
            thresholds,
            buckets,
            multi_label=multi_label,
            label_weights=None if multi_label else label_weights,
        )
        self.curve = curve
        self.summation_method = summation_method
        self.average_weights = label_weights if multi_label else None
        self.from_logits = from_logits
        self.poisoned = False

    def update(self, y_true, y_pred, weight=None, mask=None):
        if self.from_logits:
            y_pred = 1 / (1 + np.exp(-exact(y_pred)))
        # The package: a NaN score has no rank, so there is no area (Keras: 0.5).
        self.poisoned |= bool(np.isnan(exact(y_pred)).any())
        super().update(y_true, y_pred, weight)

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


REFERENCES = {
    "Mean": MeanReference,
    "Sum": SumReference,
    "MeanMetricWrapper": lambda fn=None: MeanOfFunction(squared_error),
    "MeanSquaredError": lambda: MeanOfFunction(squared_error),
    "RootMeanSquaredError": RootMeanSquaredErrorReference,
    "MeanAbsoluteError": lambda: MeanOfFunction(absolute_error),
    "Huber": lambda **kwargs: MeanOfFunction(huber, **kwargs),
    "Accuracy": lambda: MeanOfFunction(equality),
    "BinaryAccuracy": lambda **kwargs: MeanOfFunction(binary_equality, **kwargs),
    "CategoricalAccuracy": lambda: MeanOfFunction(onehot_accuracy),
    "SparseCategoricalAccuracy": lambda: MeanOfFunction(sparse_accuracy),
    "TopKCategoricalAccuracy": lambda **kwargs: MeanOfFunction(
        top_k_accuracy, **kwargs
    ),
    "SparseTopKCategoricalAccuracy": lambda **kwargs: MeanOfFunction(
        sparse_top_k_accuracy, **kwargs
    ),
    "TruePositives": lambda **kwargs: CountReference("tp", **kwargs),
    "TrueNegatives": lambda **kwargs: CountReference("tn", **kwargs),
    "FalsePositives": lambda **kwargs: CountReference("fp", **kwargs),
    "FalseNegatives": lambda **kwargs: CountReference("fn", **kwargs),
    "Precision": lambda **kwargs: RatioReference("fp", **kwargs),
    "Recall": lambda **kwargs: RatioReference("fn", **kwargs),
    "AUC": AUCReference,
    "BinaryCrossentropy": lambda **kwargs: MeanOfFunction(
        binary_crossentropy, **kwargs
    ),
    "CategoricalCrossentropy": lambda **kwargs: MeanOfFunction(
        categorical_crossentropy, **kwargs
    ),
    "SparseCategoricalCrossentropy": lambda **kwargs: (
        SparseCategoricalCrossentropyReference(
            sparse_categorical_crossentropy, **kwargs
        )
    ),
}


def build(name, **kwargs):
    """The reference of the metric class `name` for its constructor arguments."""
    for cosmetic in ("name", "dtype"):
        kwargs.pop(cosmetic, None)
    return REFERENCES[name](**kwargs)


def exact_sum(values):
    """The exact sum of the values as a Fraction."""
    return sum((Fraction(float(v)) for v in np.ravel(values)), Fraction(0))
