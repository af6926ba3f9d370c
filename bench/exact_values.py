"""What each kernel should give for one element, row or pair, to 320 bits.

The accuracy table (``ulps.py``) and the test of its bounds are made of these. Inputs
are Python floats, which hold every value of the four input dtypes, and results are
mpmath's numbers. The rules are those of ``csrc/defs``; the arithmetic is mpmath's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from mpmath import mp, mpf  # arbitrary precision: nothing else has the logarithms

mp.prec = 320
NAN = mpf("nan")
EPSILON = 1e-7
Row = Sequence[float]
# A row of y_true, a row of y_pred, [epsilon, 1 - epsilon] in the scores' precision.
Value = Callable[[Row, Row, tuple[Any, Any]], Any]


def limits(dtype: str) -> tuple[Any, Any]:
    """Epsilon and 1 - epsilon as float32 has them, for float64 scores as float64."""
    kind = np.float64 if dtype == "float64" else np.float32
    return mpf(float(kind(EPSILON))), mpf(float(kind(1 - EPSILON)))


def log(x: Any) -> Any:
    """Natural logarithm; NaN below 0, where mpmath turns complex."""
    return NAN if mp.isnan(x) or x < 0 else mp.log(x)


def log1p(x: Any) -> Any:
    """log(1 + x) for x > -1, whatever the exponent of x."""
    return mp.log1p(x) if mp.isfinite(x) else x


def clamp(x: Any, low: Any, high: Any) -> Any:
    """``x`` between bounds; NaN stays."""
    return low if x < low else high if x > high else x


def at_least(x: Any, low: Any) -> Any:
    """The larger of the two; NaN stays."""
    return low if x < low else x


def total(values: Any) -> Any:
    """The sum, rounded once."""
    return mp.fsum(values)


# --------------------------------------------------------------------------------------
# elements


def elementwise(function: Callable[..., Any]) -> Value:
    """A function of two numbers as one of rows of one number."""
    return lambda t, p, lim: function(mpf(t[0]), mpf(p[0]), lim)


def huber(t: Any, p: Any, lim: Any) -> Any:
    """Half the square up to an error of 1, linear above."""
    e = abs(t - p)
    return e * e / 2 if e <= 1 else e - mpf(1) / 2


def log_cosh(t: Any, p: Any, lim: Any) -> Any:
    """log(cosh(p - t)); the power series where 320 bits would cancel."""
    e = abs(p - t)
    if e < 1e-20:
        return e**2 / 2 - e**4 / 12
    return e + log1p(mp.exp(-2 * e)) - mp.log(2)


def squared_logarithmic(t: Any, p: Any, lim: Any) -> Any:
    """Square of the difference of log(1 + x)."""
    return (log1p(at_least(p, lim[0])) - log1p(at_least(t, lim[0]))) ** 2


def divergence(t: Any, p: Any, lim: Any) -> Any:
    """t log(t / p), both in [epsilon, 1]."""
    t, p = clamp(t, lim[0], 1), clamp(p, lim[0], 1)
    return t * (log(t) - log(p))


def crossentropy(t: Any, p: Any, lim: Any) -> Any:
    """-(t log p + (1 - t) log(1 - p)), p clipped."""
    p = clamp(p, *lim)
    return -(t * log(p) + (1 - t) * log1p(-p))


def logit_crossentropy(t: Any, x: Any, lim: Any) -> Any:
    """The same of a logit."""
    return at_least(x, 0) - x * t + log1p(mp.exp(-abs(x)))


def focal(t: Any, p: Any, lim: Any) -> Any:
    """The cross-entropy, scaled by the square of what is missing to certainty."""
    return (t * (1 - p) + (1 - t) * p) ** 2 * crossentropy(t, p, lim)


def own(t: Any, p: Any, lim: Any) -> Any:
    """What ``ulps.own_function`` computes."""
    e = p - t
    return min(log1p(abs(e)), mpf(2)) if e > 0 else e * e / 2


# --------------------------------------------------------------------------------------
# rows


def first_largest(row: Row) -> int:
    """Index of the first largest entry; NaN is the largest."""
    for i, x in enumerate(row):
        if math.isnan(x):
            return i
    return max(range(len(row)), key=lambda i: (row[i], -i))


def dense(function: Callable[..., Any]) -> Value:
    """A function of a class and its scores as one of one-hot rows."""
    return lambda t, p, lim: function(first_largest(t), p, lim)


def sparse(function: Callable[..., Any]) -> Value:
    """The same of rows that hold the class's number."""
    return lambda t, p, lim: function(int(t[0]), p, lim)


def hit(label: int, p: Row, lim: Any) -> Any:
    """Whether the first largest score is the label's."""
    return mpf(first_largest(p) == label)


def rank(label: int, p: Row, lim: Any) -> Any:
    """One more than the number of scores above the label's; NaN is above."""
    score = p[label]
    if math.isnan(score):
        return mpf(len(p))
    return mpf(1 + sum(not x <= score for x in p))


def in_top(label: int, p: Row, lim: Any) -> Any:
    """Whether fewer than 3 scores are above the label's."""
    return mpf(not math.isnan(p[label]) and rank(label, p, lim) <= 3)


def in_first(label: int, p: Row, lim: Any) -> Any:
    """Whether the label is among the first 3 numbers of the row."""
    return mpf(label in p[:3])


def logarithm_of_sum(p: Row) -> Any:
    """log(sum(exp(p)))."""
    if any(map(math.isnan, p)):
        return NAN
    top = mpf(max(p))
    return top + log(total(mp.exp(mpf(x) - top) for x in p))


def share_loss(label: int, p: Row, lim: Any) -> Any:
    """-log of the label's share of the scores, clipped."""
    return -log(clamp(mpf(p[label]) / total(map(mpf, p)), *lim))


def logit_loss(label: int, p: Row, lim: Any) -> Any:
    """-log of the label's softmax."""
    return logarithm_of_sum(p) - mpf(p[label])


def dense_loss(t: Row, p: Row, lim: Any) -> Any:
    """-sum(t log(share of p))."""
    size = total(map(mpf, p))
    shares = (clamp(mpf(x) / size, *lim) for x in p)
    return -total(a * log(q) for a, q in zip(map(mpf, t), shares, strict=True))


def dense_focal(t: Row, p: Row, lim: Any) -> Any:
    """The same with each term scaled by (1 - share)^2 / 4."""
    size = total(map(mpf, p))
    shares = [clamp(mpf(x) / size, *lim) for x in p]
    return -total(
        a * log(q) * (1 - q) ** 2 / 4 for a, q in zip(map(mpf, t), shares, strict=True)
    )


def largest(t: Row, p: Row, lim: Any) -> Any:
    """The largest score; NaN where one is."""
    return NAN if any(map(math.isnan, p)) else mpf(max(p))


def largest_softmax(t: Row, p: Row, lim: Any) -> Any:
    """The largest entry of the softmax."""
    return mp.exp(mpf(largest(t, p, lim)) - logarithm_of_sum(p))


def margin(t: Row, p: Row, lim: Any) -> Any:
    """max(max((1 - t) p) - sum(t p) + 1, 0)"""
    pairs = list(zip(map(mpf, t), map(mpf, p), strict=True))
    inside = total(a * b for a, b in pairs)
    others = [(1 - a) * b for a, b in pairs]  # NaN: 0 times infinity
    outside = max(x for x in others if not mp.isnan(x))
    return at_least(outside - inside + 1, 0)


def cosine(t: Row, p: Row, lim: Any) -> Any:
    """Cosine of the angle; norms count as at least epsilon."""
    pairs = list(zip(map(mpf, t), map(mpf, p), strict=True))
    product = total(a * b for a, b in pairs)
    for row in (t, p):
        product /= at_least(mp.sqrt(total(mpf(x) ** 2 for x in row)), mpf(EPSILON))
    return product


def moments(t: Row, p: Row) -> tuple[Any, Any, Any, Any]:
    """Both variances, the covariance and the difference of the means."""
    n = len(t)
    a, b = list(map(mpf, t)), list(map(mpf, p))
    mean_a, mean_b = total(a) / n, total(b) / n
    a, b = [x - mean_a for x in a], [x - mean_b for x in b]
    products = (
        total(x * y for x, y in zip(u, v, strict=True)) / n
        for u, v in ((a, a), (b, b), (a, b))
    )
    return (*products, mean_a - mean_b)


def pearson(t: Row, p: Row, lim: Any) -> Any:
    """Correlation; NaN for a row of equal values."""
    if len(set(t)) == 1 or len(set(p)) == 1:
        return NAN
    var_t, var_p, covariance, _ = moments(t, p)
    return covariance / mp.sqrt(var_t) / mp.sqrt(var_p)


def concordance(t: Row, p: Row, lim: Any) -> Any:
    """Concordance correlation, with epsilon in the denominator."""
    var_t, var_p, covariance, apart = moments(t, p)
    return 2 * covariance / (var_t + var_p + apart**2 + lim[0])


# What one element or row adds to a mean, by kernel; with a suffix where the kernel
# takes logits.
VALUES: dict[str, Value] = {
    "identity": elementwise(lambda t, p, lim: p),
    "squared_error": elementwise(lambda t, p, lim: (t - p) ** 2),
    "signed_error": elementwise(lambda t, p, lim: p - t),
    "absolute_error": elementwise(lambda t, p, lim: abs(t - p)),
    "absolute_percentage_error": elementwise(
        lambda t, p, lim: 100 * abs(t - p) / at_least(abs(t), lim[0])
    ),
    "squared_logarithmic_error": elementwise(squared_logarithmic),
    "huber_error": elementwise(huber),
    "log_cosh": elementwise(log_cosh),
    "poisson": elementwise(lambda t, p, lim: p - t * log(p + lim[0])),
    "hinge": elementwise(lambda t, p, lim: at_least(1 - t * p, 0)),
    "squared_hinge": elementwise(lambda t, p, lim: at_least(1 - t * p, 0) ** 2),
    "kl_divergence": elementwise(divergence),
    "equal": elementwise(lambda t, p, lim: mpf(t == p)),
    "binary_hit": elementwise(lambda t, p, lim: mpf(t == mpf(p > 0.5))),
    "binary_crossentropy": elementwise(crossentropy),
    "binary_crossentropy/logits": elementwise(logit_crossentropy),
    "binary_focal_crossentropy": elementwise(focal),
    "categorical_hit": dense(hit),
    "sparse_categorical_hit": sparse(hit),
    "top_k_hit": dense(in_top),
    "sparse_top_k_hit": sparse(in_top),
    "sorted_ids_hit": sparse(in_first),
    "true_rank": dense(rank),
    "sparse_true_rank": sparse(rank),
    "max_probability": largest,
    "max_probability/logits": largest_softmax,
    "categorical_crossentropy": dense_loss,
    "categorical_crossentropy/logits": dense(logit_loss),
    "categorical_focal_crossentropy": dense_focal,
    "sparse_categorical_crossentropy": sparse(share_loss),
    "sparse_categorical_crossentropy/logits": sparse(logit_loss),
    "categorical_hinge": margin,
    "cosine_similarity": cosine,
    "pearson_correlation": pearson,
    "concordance_correlation": concordance,
    "expression": elementwise(own),
}

# --------------------------------------------------------------------------------------
# results of all elements or rows, of which the i-th counts weight[i] times


def auc(t: Any, p: Any, weight: Sequence[Any]) -> Any:
    """Area under the ROC curve by trapezoids through 200 even thresholds.

    NaN where a score is; no score may lie on a threshold i / 199.
    """
    cells = [[mpf(0), mpf(0)] for _ in range(201)]  # by thresholds passed, and label
    for a, b, w in zip(t, p, weight, strict=True):
        if math.isnan(b[0]) and w:
            return NAN
        if w:
            inner = (
                min(198, max(0, math.ceil(mpf(b[0]) * 199) - 1)) if b[0] < 2 else 198
            )
            passed = (b[0] > -EPSILON) + inner + (b[0] > 1 + EPSILON)
            cells[passed][a[0] != 0] += w
    negatives, positives = (total(column) for column in zip(*cells, strict=True))
    points, fp, tp = [(mpf(0), mpf(0))], mpf(0), mpf(0)
    for negative, positive in reversed(cells):
        fp, tp = fp + negative, tp + positive
        points.append(
            (fp / negatives if negatives else fp, tp / positives if positives else tp)
        )
    # The last point is that of scores that pass no threshold: there is none.
    pairs = list(pairwise(points[1:-1]))
    return total(
        (right[0] - left[0]) * (left[1] + right[1]) / 2 for left, right in pairs
    )


def true_positives(t: Any, p: Any, weight: Sequence[Any]) -> Any:
    """Weight of the positive rows that score above 0.5."""
    rows = zip(t, p, weight, strict=True)
    return total(w for a, b, w in rows if a[0] != 0 and b[0] > 0.5)


def f_scores(t: Any, p: Any, weight: Sequence[Any]) -> list[Any]:
    """F1 of each column at the threshold 0.5, Keras's epsilons included."""
    e, out = mpf(EPSILON), []
    for column in range(len(t[0])):
        rows = [
            (mpf(a[column]), b[column] > 0.5, w)
            for a, b, w in zip(t, p, weight, strict=True)
        ]
        tp = total(w * a for a, b, w in rows if b)
        fp = total(w * (1 - a) for a, b, w in rows if b)
        fn = total(w * a for a, b, w in rows if not b)
        precision, recall = tp / (tp + fp + e), tp / (tp + fn + e)
        out.append(2 * precision * recall / (precision + recall + e))
    return out


def r2(t: Any, p: Any, weight: Sequence[Any]) -> Any:
    """Mean over the columns of 1 - residual / variation.

    A constant column scores 1 where all is right, and else 0.
    """
    scores = []
    for column in range(len(t[0])):
        rows = [
            (mpf(a[column]), mpf(b[column]), w)
            for a, b, w in zip(t, p, weight, strict=True)
            if w
        ]
        count = total(w for _, _, w in rows)
        if not count or any(mp.isnan(a) or mp.isnan(b) for a, b, _ in rows):
            return NAN
        mean = total(w * a for a, _, w in rows) / count
        residual = total(w * (a - b) ** 2 for a, b, w in rows)
        constant = len({a for a, _, _ in rows}) == 1
        variation = (
            mpf(0) if constant else total(w * (a - mean) ** 2 for a, _, w in rows)
        )
        if not variation and not residual:
            scores.append(mpf(1))
            continue
        lost = mp.isinf(residual) or not variation
        scores.append(mpf(0) if lost else 1 - residual / variation)
    return total(scores) / len(scores)


def mean_iou(t: Any, p: Any, weight: Sequence[Any]) -> Any:
    """Mean over the classes that occur of intersection / union, with epsilons."""
    e, shares = mpf(EPSILON), []
    for label in range(10):
        inside = either = mpf(0)
        for a, b, w in zip(t, p, weight, strict=True):
            inside += w * (a[0] == b[0] == label)
            either += w * (label in (a[0], b[0]))
        if either > 1e-9:
            shares.append(inside / (either + e))
    return total(shares) / (len(shares) + e)


RESULTS: dict[str, Callable[[Any, Any, Sequence[Any]], Any]] = {
    "confusion": auc,
    "confusion/counts": true_positives,
    "predicted_cells": f_scores,
    "squared_deviations": r2,
    "confusion_matrix": mean_iou,
}
