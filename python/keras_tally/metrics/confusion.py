"""Counts over thresholds, and what is made of them: rates, curves, areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_tally._declare import function, metric
from keras_tally._results import NAN, Options, Sums, in_keras_ops
from keras_tally._specs import (
    FEW,
    Rules,
    Shape,
    Spec,
    State,
    check_integer,
    one_of,
    plain_list,
)
from keras_tally._with_keras import (
    AUCCurve,
    AUCSummationMethod,
    LateMetric,
    PairMetric,
    divide_no_nan,
    keras,
    keras_rules,
    ops,
)

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


def counts_spec(
    rules: Rules,
    result: str,
    cells: dict[str, str],
    thresholds: Sequence[float],
    even: bool,
    shape: Shape | None = None,
    **options: Any,
) -> Spec:
    """Return the spec of counts of these cells, at each threshold."""
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


def spread_thresholds(num_thresholds: int) -> list[float]:
    """Return so many evenly spaced thresholds over [0, 1]; one alone is 0.5."""
    num_thresholds = check_integer("num_thresholds", num_thresholds, 1)
    _check_number("num_thresholds", num_thresholds)
    if num_thresholds == 1:
        return [0.5]
    return [*(i * 1.0 / (num_thresholds - 1) for i in range(num_thresholds - 1)), 1.0]


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


def _area_spec(
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
    return counts_spec(
        rules,
        "auc",
        CELLS,
        points.tolist(),
        even,
        (len(points), labels) if multi_label else (len(points),),
        curve=one_of("curve", curve, ("ROC", "PR", "PRGAIN")),
        summation_method=summation_method,
        labels=labels,
        multi_label=multi_label,
        label_weights=None if weights is None else weights.tolist(),
        from_logits=from_logits,
        class_id=class_id,
        poison_on_nan=True,
    )


# From so many thresholds on they tell what kind of scores there are.
_MANY_THRESHOLDS = 10


def _doubt_scores(metric: Any, state: State) -> str | None:
    """Return what counts at all thresholds tell of scores that are no probabilities."""
    thresholds = metric.thresholds
    if metric.from_logits or len(thresholds) < _MANY_THRESHOLDS:
        return ""
    above = state["true_positives"] + state["false_positives"]
    below = state["true_negatives"] + state["false_negatives"]
    if not metric._thresholds_distributed_evenly:
        # Scores above the last threshold, which is that of no probability.
        if not (above[-1] > 0).any():
            return "" if (above[0] + below[0] >= FEW).all() else None
        return (
            "some scores are larger than 1. It takes probabilities; pass "
            "`from_logits=True` if `y_pred` holds logits."
        )
    # Evenly spaced, Keras clips scores to [0, 1]: logits are found at the ends.
    between = above[1] - above[-2]
    wrong = state["false_negatives"][1] + state["false_positives"][-2]
    doubtful = (between == 0) & (wrong > 0) & (above[1] + below[1] >= FEW)
    if not doubtful.any():
        return "" if (between > 0).all() else None
    return (
        f"no score lies between {thresholds[1]:.3g} and {thresholds[-2]:.3g}. It ranks "
        "probabilities; pass `from_logits=True` if `y_pred` holds logits, and scores "
        "instead of the classes that they decide. Where probabilities are all so near "
        "to 0 or 1, ask for more `num_thresholds`."
    )


@in_keras_ops("ratio")
def _ratio(options: Options, sums: Sums) -> Any:
    del options
    return divide_no_nan(sums[0], sums[0] + sums[1])


def _rate(name: str, sums: Sums) -> Any:
    tp, fp, tn, fn = sums
    hits, others = {"precision": (tp, fp), "recall": (tp, fn), "specificity": (tn, fp)}[
        name
    ]
    return divide_no_nan(hits, hits + others)


@in_keras_ops("constrained")
def _constrained(options: Options, sums: Sums) -> Any:
    """Return the best of one rate where the other is large enough."""
    allowed = _rate(options["constrained"], sums) >= float(options["required"])
    best = ops.max(ops.where(allowed, _rate(options["dependent"], sums), 0.0))
    unranked = ops.any(ops.isnan(sums[0] + sums[1] + sums[2] + sums[3]))
    return ops.where(unranked, NAN, best)


@in_keras_ops("auc")
def _auc(options: Options, sums: Sums) -> Any:
    """Return the area under the curve, of which each column has one."""
    labels = int(options["labels"])
    tp, fp, tn, fn = (ops.reshape(x, (-1, labels)) for x in sums)
    unranked = ops.isnan((tp + fp + tn + fn)[0])
    if options["curve"] == "PR" and options["summation_method"] == "interpolation":
        slices = _interpolated_pr(tp, fp, fn)
    else:
        x, y = _coordinates(options["curve"], tp, fp, tn, fn)
        low, high = y[:-1], y[1:]
        heights = {
            "interpolation": (low + high) / 2.0,
            "minoring": ops.minimum(low, high),
            "majoring": ops.maximum(low, high),
            "step": low,
        }
        height = heights[options["summation_method"]]
        slices = (x[:-1] - x[1:]) * height
    areas = ops.where(unranked, NAN, ops.sum(slices, axis=0))
    weights = np.ones(labels)
    if options.get("label_weights") is not None and options.get("multi_label"):
        weights = np.asarray(options["label_weights"], "float64")
    total = float(weights.sum())
    return ops.sum(areas * weights) / total if total else ops.zeros_like(areas[0])


def _interpolated_pr(tp: Any, fp: Any, fn: Any) -> Any:
    """Return slices of the area between thresholds: precision is not linear there."""
    p = tp + fp
    tp_b, p_a, p_b = tp[1:], p[:-1], p[1:]
    dtp, dp = tp[:-1] - tp_b, p_a - p_b
    slope = divide_no_nan(dtp, ops.where(dp > 0.0, dp, 0.0))
    intercept = tp_b - slope * p_b
    both = ops.logical_and(p_a > 0.0, p_b > 0.0)
    ratio = ops.where(both, p_a / ops.where(both, p_b, 1.0), 1.0)
    positives = tp_b + fn[1:]
    return divide_no_nan(
        slope * (dtp + intercept * ops.log(ratio)),
        ops.where(positives > 0.0, positives, 0.0),
    )


def _coordinates(curve: str, tp: Any, fp: Any, tn: Any, fn: Any) -> tuple[Any, Any]:
    recall = divide_no_nan(tp, tp + fn)
    if curve == "ROC":
        return divide_no_nan(fp, fp + tn), recall
    if curve == "PR":
        return recall, divide_no_nan(tp, tp + fp)
    scaling, none = divide_no_nan(tp + fn, tn + fp), ops.equal(tp, 0.0)
    recall_gain = ops.where(none, 0.0, 1.0 - scaling * divide_no_nan(fn, tp))
    precision_gain = ops.where(none, 1.0, 1.0 - scaling * divide_no_nan(fp, tp))
    return ops.maximum(recall_gain, 0.0), precision_gain


class _ThresholdCounts(PairMetric):
    """Counts at each threshold, one state variable per kind of count."""

    thresholds: list[float]
    class_id: int | None = None
    from_logits = False

    def _set_thresholds(self, thresholds: Any, default: float) -> None:
        self.init_thresholds = plain_list(thresholds)
        self.thresholds = (
            [default] if thresholds is None else check_thresholds(thresholds)
        )
        self._thresholds_distributed_evenly = are_even(
            self.thresholds, keras.config.epsilon()
        )


class _Count(_ThresholdCounts):
    """One kind of count."""

    # Which one, see `CELLS`.
    cell: str

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        name: str | None = None,
        dtype: Any = None,
        *,
        class_id: int | None = None,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._set_thresholds(thresholds, 0.5)
        self.class_id = class_id
        self.from_logits = from_logits
        spec = self.spec(keras_rules(), thresholds, class_id, from_logits)
        self._bind(spec, keras.config.floatx())

    @classmethod
    def spec(
        cls,
        rules: Rules,
        thresholds: float | Sequence[float] | None = None,
        class_id: int | None = None,
        from_logits: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        checked = check_thresholds(0.5 if thresholds is None else thresholds)
        return counts_spec(
            rules,
            "counts",
            {"accumulator": CELLS[cls.cell]},
            checked,
            are_even(checked, rules.epsilon),
            class_id=class_id,
            from_logits=from_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {
            **super().get_config(),
            "thresholds": self.init_thresholds,
            **self._extra_config("class_id", "from_logits"),
        }


_COUNT_DOC = """The number of {what}.

    Formula: `sum(sample_weight * {formula})`, for each threshold; without
    weights, an exact count.

    Shapes and dtypes: `y_true` and `y_pred` of one shape (a missing or trailing
    axis of size 1 is squeezed or expanded), bool, integer or float; scores are
    compared in `keras.config.floatx()`; the result is a scalar, or has one entry
    per threshold, of that dtype. A NaN score is above no threshold.

    Differences from Keras: the state (`accumulator`) is float64, exact to 2^53; the
    result is a copy, never a view of the state; `y_true` and `y_pred` of different
    shapes are an error even where their sizes agree.

    Args:
        thresholds: a float or a list of floats in [0, 1]; 0.5 by default.
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns). Keyword only; not in Keras.
        from_logits: whether `y_pred` holds logits instead of probabilities. Keyword
            only; not in Keras.

    Raises:
        ValueError: thresholds outside [0, 1], shapes or weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.{cls}()
    >>> m.update_state([0, 1, 1, 1, 0, 0], [1, 0, 1, 1, 0, 0])
    >>> float(m.result())
    {value}

    Source: `keras.metrics.{cls}`.
    """


@metric("true_positives")
class TruePositives(_Count):
    __doc__ = _COUNT_DOC.format(
        what="true positives",
        formula="(y_true & (y_pred > threshold))",
        value=2.0,
        cls="TruePositives",
    )
    cell = "true_positives"


@metric("true_negatives")
class TrueNegatives(_Count):
    __doc__ = _COUNT_DOC.format(
        what="true negatives",
        formula="(~y_true & ~(y_pred > threshold))",
        value=2.0,
        cls="TrueNegatives",
    )
    cell = "true_negatives"


@metric("false_positives")
class FalsePositives(_Count):
    __doc__ = _COUNT_DOC.format(
        what="false positives",
        formula="(~y_true & (y_pred > threshold))",
        value=1.0,
        cls="FalsePositives",
    )
    cell = "false_positives"


@metric("false_negatives")
class FalseNegatives(_Count):
    __doc__ = _COUNT_DOC.format(
        what="false negatives",
        formula="(y_true & ~(y_pred > threshold))",
        value=1.0,
        cls="FalseNegatives",
    )
    cell = "false_negatives"


class _Share(_ThresholdCounts):
    """One kind of count as a share of itself and another."""

    _direction = "up"
    # Which two, see `CELLS`.
    cells: tuple[str, str]

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        *,
        from_logits: bool = False,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self._set_thresholds(thresholds, 0.5 if top_k is None else BELOW_ALL_SCORES)
        self.top_k = top_k
        self.class_id = class_id
        self.from_logits = from_logits
        spec = self.spec(keras_rules(), thresholds, top_k, class_id, from_logits)
        self._bind(spec, keras.config.floatx())

    @classmethod
    def spec(
        cls,
        rules: Rules,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        from_logits: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        if top_k is not None:
            top_k = check_integer("top_k", top_k, 1)
        if thresholds is None and top_k is not None:
            checked = [BELOW_ALL_SCORES]
            from_logits = False  # whose order is that of their probabilities
        else:
            checked = check_thresholds(0.5 if thresholds is None else thresholds)
        return counts_spec(
            rules,
            "ratio",
            {name: CELLS[name] for name in cls.cells},
            checked,
            are_even(checked, rules.epsilon),
            top_k=top_k,
            class_id=class_id,
            from_logits=from_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {
            **super().get_config(),
            "thresholds": self.init_thresholds,
            "top_k": self.top_k,
            "class_id": self.class_id,
            **self._extra_config("from_logits"),
        }


@metric("precision")
class Precision(_Share):
    """The share of positive predictions that are right.

    Formula: `true_positives / (true_positives + false_positives)`, for each
    threshold; `0 / 0` is 0.

    Shapes and dtypes: `y_true` and `y_pred` of one shape (a missing or trailing
    axis of size 1 is squeezed or expanded), bool, integer or float; scores are
    compared in `keras.config.floatx()`; the result is a scalar, or has one entry
    per threshold, of that dtype. A NaN score is above no threshold.

    Differences from Keras: the state (`true_positives`, `false_positives`) is
    float64, exact to 2^53; `y_true` and `y_pred` of different shapes
    are an error even where their sizes agree; of equal scores at the border of
    the best `top_k`, those with the lowest index are taken.

    Args:
        thresholds: a float or a list of floats in [0, 1]; by default 0.5, or
            none with `top_k`.
        top_k: count only the `top_k` best scores of each row as predictions; with
            fewer columns, all of them.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns).
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.
        from_logits: whether `y_pred` holds logits instead of probabilities. Keyword
            only; not in Keras.

    Raises:
        ValueError: thresholds outside [0, 1], shapes or weights that do not fit,
            `class_id` that is no column, `top_k` below 1.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.Precision()
    >>> m.update_state([0, 1, 1, 1], [1, 0, 1, 1])
    >>> round(float(m.result()), 5)
    0.66667

    Source: `keras.metrics.Precision`.
    """

    cells = ("true_positives", "false_positives")


@metric("recall")
class Recall(_Share):
    """The share of positive labels that are found.

    Formula: `true_positives / (true_positives + false_negatives)`, for each
    threshold; `0 / 0` is 0.

    Shapes and dtypes: as `Precision`.

    Differences from Keras: as `Precision`; the state is `true_positives`,
    `false_negatives`.

    Args:
        thresholds: a float or a list of floats in [0, 1]; by default 0.5, or
            none with `top_k`.
        top_k: count only the `top_k` best scores of each row as predictions; with
            fewer columns, all of them.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns).
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.
        from_logits: whether `y_pred` holds logits instead of probabilities. Keyword
            only; not in Keras.

    Raises:
        ValueError: thresholds outside [0, 1], shapes or weights that do not fit,
            `class_id` that is no column, `top_k` below 1.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.Recall()
    >>> m.update_state([0, 1, 1, 1], [1, 0, 1, 1])
    >>> round(float(m.result()), 5)
    0.66667

    Source: `keras.metrics.Recall`.
    """

    cells = ("true_positives", "false_negatives")


@metric("false_positive_rate")
class FalsePositiveRate(_Share):
    """The share of negative labels that are taken for positive: the false alarms.

    Formula: `false_positives / (false_positives + true_negatives)`, for each
    threshold; `0 / 0` is 0.

    Shapes and dtypes: as `Precision`.

    Args:
        thresholds: a float or a list of floats in [0, 1]; by default 0.5, or
            none with `top_k`.
        top_k: count only the `top_k` best scores of each row as predictions; with
            fewer columns, all of them.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns).
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.
        from_logits: whether `y_pred` holds logits instead of probabilities.

    Raises:
        ValueError: thresholds outside [0, 1], shapes or weights that do not fit,
            `class_id` that is no column, `top_k` below 1.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.FalsePositiveRate()
    >>> m.update_state([0, 0, 0, 1], [0.9, 0.2, 0.1, 0.8])
    >>> round(float(m.result()), 5)
    0.33333
    >>> m.update_state([0, 0], [0.7, 0.4], sample_weight=[3.0, 1.0])
    >>> round(float(m.result()), 5)
    0.57143

    Source: T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters
    27 (2006).
    """

    _direction = "down"
    cells = ("false_positives", "true_negatives")


def _under_constraint(
    rules: Rules,
    argument: str,
    required: float,
    rates: tuple[str, str],
    num_thresholds: int,
    class_id: int | None,
    from_logits: bool,
) -> Spec:
    """Return the spec of the best second rate where the first is large enough."""
    if not 0 <= required <= 1:
        raise ValueError(
            f"`{argument}` must be in [0, 1]. Received: {argument}={required}"
        )
    return counts_spec(
        rules,
        "constrained",
        CELLS,
        spread_thresholds(num_thresholds),
        num_thresholds > 1,
        class_id=class_id,
        from_logits=from_logits,
        constrained=rates[0],
        dependent=rates[1],
        required=float(required),
        poison_on_nan=True,
    )


class _RateUnderConstraint(_ThresholdCounts):
    """The best of one rate where another is high enough."""

    _direction = "up"
    _warns_of_result = True
    _doubt = _doubt_scores

    def __init__(
        self,
        value: float,
        num_thresholds: int,
        class_id: int | None,
        name: str | None,
        dtype: Any,
        from_logits: bool,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        spec = self.spec(keras_rules(), value, num_thresholds, class_id, from_logits)
        self.value = value
        self.thresholds = spread_thresholds(num_thresholds)
        self.num_thresholds = num_thresholds = len(self.thresholds)
        self.class_id = class_id
        self.from_logits = from_logits
        self._thresholds_distributed_evenly = num_thresholds > 1
        self._bind(spec, keras.config.floatx())

    def _result_shape(self) -> tuple[int, ...]:
        return ()

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "class_id": self.class_id,
            **self._extra_config("from_logits"),
        }


@metric("sensitivity_at_specificity")
class SensitivityAtSpecificity(_RateUnderConstraint):
    """The best sensitivity where specificity is high enough.

    Formula: the largest `tp / (tp + fn)` over those of `num_thresholds` evenly
    spaced thresholds where `tn / (tn + fp) >= specificity`; 0 where there is none, and
    where a division is `0 / 0`.

    Shapes and dtypes: as `Precision`; the result is a scalar of
    `keras.config.floatx()`. NaN scores (of a weight other than 0) make the result
    NaN until the next reset.

    Differences from Keras: the state is float64, exact to 2^53; NaN scores give NaN;
    `y_true` and `y_pred` of different shapes are an error even where their sizes agree.

    Args:
        specificity: float in [0, 1], the least value of what is constrained.
        num_thresholds: number of evenly spaced thresholds; one alone is 0.5.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns).
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.
        from_logits: whether `y_pred` holds logits instead of probabilities. Keyword
            only; not in Keras.

    Raises:
        ValueError: `specificity` outside [0, 1], `num_thresholds` below 1 or
            above 2**24, shapes or weights that do not fit, `class_id` that is no
            column.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.SensitivityAtSpecificity(specificity=0.5)
    >>> m.update_state([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
    >>> round(float(m.result()), 5)
    0.5

    Source: `keras.metrics.SensitivityAtSpecificity`.
    """

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        *,
        from_logits: bool = False,
    ) -> None:
        self.specificity = specificity
        super().__init__(
            specificity, num_thresholds, class_id, name, dtype, from_logits
        )

    @classmethod
    def spec(
        cls,
        rules: Rules,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        from_logits: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        rates = ("specificity", "recall")
        return _under_constraint(
            rules,
            "specificity",
            specificity,
            rates,
            num_thresholds,
            class_id,
            from_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "specificity": self.specificity}


@metric("specificity_at_sensitivity")
class SpecificityAtSensitivity(_RateUnderConstraint):
    """The best specificity where sensitivity is high enough.

    Formula: the largest `tn / (tn + fp)` over those of `num_thresholds` evenly
    spaced thresholds where `tp / (tp + fn) >= sensitivity`; 0 where there is none, and
    where a division is `0 / 0`.

    Shapes and dtypes: as `Precision`; the result is a scalar of
    `keras.config.floatx()`. NaN scores (of a weight other than 0) make the result
    NaN until the next reset.

    Differences from Keras: the state is float64, exact to 2^53; NaN scores give NaN;
    `y_true` and `y_pred` of different shapes are an error even where their sizes agree.

    Args:
        sensitivity: float in [0, 1], the least value of what is constrained.
        num_thresholds: number of evenly spaced thresholds; one alone is 0.5.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns).
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.
        from_logits: whether `y_pred` holds logits instead of probabilities. Keyword
            only; not in Keras.

    Raises:
        ValueError: `sensitivity` outside [0, 1], `num_thresholds` below 1 or
            above 2**24, shapes or weights that do not fit, `class_id` that is no
            column.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.SpecificityAtSensitivity(sensitivity=0.5)
    >>> m.update_state([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
    >>> round(float(m.result()), 5)
    0.66667

    Source: `keras.metrics.SpecificityAtSensitivity`.
    """

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        *,
        from_logits: bool = False,
    ) -> None:
        self.sensitivity = sensitivity
        super().__init__(
            sensitivity, num_thresholds, class_id, name, dtype, from_logits
        )

    @classmethod
    def spec(
        cls,
        rules: Rules,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        from_logits: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        rates = ("recall", "specificity")
        return _under_constraint(
            rules,
            "sensitivity",
            sensitivity,
            rates,
            num_thresholds,
            class_id,
            from_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "sensitivity": self.sensitivity}


@metric("precision_at_recall")
class PrecisionAtRecall(_RateUnderConstraint):
    """The best precision where recall is high enough.

    Formula: the largest `tp / (tp + fp)` over those of `num_thresholds` evenly
    spaced thresholds where `tp / (tp + fn) >= recall`; 0 where there is none, and
    where a division is `0 / 0`.

    Shapes and dtypes: as `Precision`; the result is a scalar of
    `keras.config.floatx()`. NaN scores (of a weight other than 0) make the result
    NaN until the next reset.

    Differences from Keras: the state is float64, exact to 2^53; NaN scores give NaN;
    `y_true` and `y_pred` of different shapes are an error even where their sizes agree.

    Args:
        recall: float in [0, 1], the least value of what is constrained.
        num_thresholds: number of evenly spaced thresholds; one alone is 0.5.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns).
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.
        from_logits: whether `y_pred` holds logits instead of probabilities. Keyword
            only; not in Keras.

    Raises:
        ValueError: `recall` outside [0, 1], `num_thresholds` below 1 or
            above 2**24, shapes or weights that do not fit, `class_id` that is no
            column.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.PrecisionAtRecall(recall=0.5)
    >>> m.update_state([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
    >>> round(float(m.result()), 5)
    0.5

    Source: `keras.metrics.PrecisionAtRecall`.
    """

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        *,
        from_logits: bool = False,
    ) -> None:
        self.recall = recall
        super().__init__(recall, num_thresholds, class_id, name, dtype, from_logits)

    @classmethod
    def spec(
        cls,
        rules: Rules,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        from_logits: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        rates = ("recall", "precision")
        return _under_constraint(
            rules,
            "recall",
            recall,
            rates,
            num_thresholds,
            class_id,
            from_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "recall": self.recall}


@metric("recall_at_precision")
class RecallAtPrecision(_RateUnderConstraint):
    """The best recall where precision is high enough.

    Formula: the largest `tp / (tp + fn)` over those of `num_thresholds` evenly
    spaced thresholds where `tp / (tp + fp) >= precision`; 0 where there is none, and
    where a division is `0 / 0`.

    Shapes and dtypes: as `Precision`; the result is a scalar of
    `keras.config.floatx()`. NaN scores (of a weight other than 0) make the result
    NaN until the next reset.

    Differences from Keras: the state is float64, exact to 2^53; NaN scores give NaN;
    `y_true` and `y_pred` of different shapes are an error even where their sizes agree.

    Args:
        precision: float in [0, 1], the least value of what is constrained.
        num_thresholds: number of evenly spaced thresholds; one alone is 0.5.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns).
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.
        from_logits: whether `y_pred` holds logits instead of probabilities. Keyword
            only; not in Keras.

    Raises:
        ValueError: `precision` outside [0, 1], `num_thresholds` below 1 or
            above 2**24, shapes or weights that do not fit, `class_id` that is no
            column.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.RecallAtPrecision(precision=0.8)
    >>> m.update_state([0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8])
    >>> round(float(m.result()), 5)
    0.0

    Source: `keras.metrics.RecallAtPrecision`.
    """

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        *,
        from_logits: bool = False,
    ) -> None:
        self.precision = precision
        super().__init__(precision, num_thresholds, class_id, name, dtype, from_logits)

    @classmethod
    def spec(
        cls,
        rules: Rules,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        from_logits: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        rates = ("precision", "recall")
        return _under_constraint(
            rules,
            "precision",
            precision,
            rates,
            num_thresholds,
            class_id,
            from_logits,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "precision": self.precision}


def _per_label(arguments: Mapping[str, Any]) -> bool:
    return bool(arguments.get("multi_label"))


@metric("auc")
class AUC(LateMetric):
    """The area under the ROC, precision-recall or precision-recall-gain curve.

    Formula: the curve's points at `num_thresholds` thresholds, joined by
    `summation_method`. With `tpr = tp / (tp + fn)`, `fpr = fp / (fp + tn)` and
    `precision = tp / (tp + fp)`: ROC is `tpr` over `fpr`, PR is `precision` over
    `tpr` (interpolated as Davis & Goadrich show), PRGAIN is both rescaled to
    gains. `'minoring'` and `'majoring'` bound the curve's own area from below
    and above. `0 / 0` is 0.

    Shapes and dtypes: `y_true` and `y_pred` of one shape (a missing or trailing
    axis of size 1 is squeezed or expanded), bool, integer or float, scores in
    [0, 1] (or logits); compared in `keras.config.floatx()`; the result is a
    scalar of that dtype. NaN scores (of a weight other than 0) make the result
    NaN until the next reset.

    Differences from Keras: the state is float64, exact to 2^53; NaN scores give NaN,
    where Keras gives 0.5; `label_weights` come out of `get_config()` as a list, which
    can be loaded; `y_true` and `y_pred` of different shapes are an error even where
    their sizes agree.

    Args:
        num_thresholds: number of evenly spaced thresholds, at least 2.
        curve: `'ROC'`, `'PR'` or `'PRGAIN'`.
        summation_method: `'interpolation'`, `'minoring'` or `'majoring'`.
        name: string name of the metric instance.
        dtype: accepted for compatibility; the result has Keras's floatx.
        thresholds: a list of thresholds in [0, 1] instead of evenly spaced ones;
            both ends are added.
        multi_label: whether each column of `(batch, num_labels)` inputs has an
            area of its own, which are then averaged.
        num_labels: number of columns, if known, with `multi_label`.
        label_weights: weights of the columns: in the average with
            `multi_label`, of the single predictions without.
        from_logits: whether `y_pred` holds logits instead of probabilities.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns). Keyword only; not in Keras.

    Raises:
        ValueError: an unknown curve or method, fewer than 2 thresholds or more than
            2**24, shapes, weights or labels that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.AUC(num_thresholds=3)
    >>> m.update_state([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
    >>> float(m.result())
    0.75

    Source: `keras.metrics.AUC`; J. Davis and M. Goadrich, "The relationship
    between precision-recall and ROC curves", ICML 2006; P. Flach and M. Kull,
    "Precision-recall-gain curves", NIPS 2015.
    """

    _direction = "up"
    _warns_of_result = True
    _doubt = _doubt_scores
    needs_columns = staticmethod(_per_label)

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: Any = "ROC",
        summation_method: Any = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
        *,
        class_id: int | None = None,
    ) -> None:
        self._init_from_thresholds = thresholds is not None
        self._thresholds, self._thresholds_distributed_evenly = curve_thresholds(
            num_thresholds, thresholds, keras.config.epsilon()
        )
        self.num_thresholds = len(self._thresholds)
        self.curve = curve if isinstance(curve, AUCCurve) else AUCCurve.from_str(curve)
        self.summation_method = (
            summation_method
            if isinstance(summation_method, AUCSummationMethod)
            else AUCSummationMethod.from_str(summation_method)
        )
        # The native code would say so too, but with several labels only when the first
        # batch has told how many.
        for flag, value in (("multi_label", multi_label), ("from_logits", from_logits)):
            if value is not None and not hasattr(value, "__bool__"):
                raise TypeError(f"`{flag}` must be True or False. Received: {value!r}")
        super().__init__(name=name, dtype=dtype)
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = (
            None
            if label_weights is None
            else keras.ops.array(label_weights, dtype=self.dtype)
        )
        self.from_logits = self._from_logits = from_logits  # Keras's name
        self.class_id = class_id
        if multi_label:
            if num_labels:
                if int(num_labels) != num_labels or num_labels < 0:
                    raise ValueError(
                        "`num_labels` must be a positive integer. "
                        f"Received: num_labels={num_labels}"
                    )
                self._build([None, num_labels])
        elif num_labels:
            raise ValueError(
                "`num_labels` is needed only when `multi_label` is True. "
                f"Received: num_labels={num_labels}"
            )
        else:
            self._build(None)

    @property
    def thresholds(self) -> list[float]:
        """The thresholds, both ends included."""
        return list(self._thresholds)

    def _build(self, shape: Sequence[int | None] | None) -> None:
        if self.multi_label:
            if shape is None or len(shape) != 2:
                raise ValueError(
                    "`y_pred` must have rank 2 when `multi_label=True`. "
                    f"Received: y_pred.shape={shape}"
                )
            self._num_labels = int(shape[1] or 0)
        label_weights = None
        if self.label_weights is not None:
            label_weights = keras.ops.convert_to_numpy(self.label_weights)
        spec = self.spec(
            keras_rules(),
            self.num_thresholds,
            self.curve.value,
            self.summation_method.value,
            self.thresholds[1:-1] if self._init_from_thresholds else None,
            self.multi_label,
            label_weights,
            self.from_logits,
            self.class_id,
            columns=self._num_labels if self.multi_label else None,
        )
        self._build_input_shape = shape
        self._keras_build_args = (shape,)
        self._bind(spec, keras.config.floatx())
        self._built = True

    @classmethod
    def spec(
        cls,
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
        """Return the kernel, the state and the result."""
        methods = ("interpolation", "minoring", "majoring")
        return _area_spec(
            rules,
            num_thresholds,
            curve,
            one_of("summation_method", summation_method, methods),
            thresholds,
            multi_label,
            label_weights,
            from_logits,
            class_id,
            columns,
        )

    def _build_arguments(
        self, y_true_shape: Shape, y_pred_shape: Shape
    ) -> tuple[Any, ...]:
        del y_true_shape
        return (y_pred_shape,)

    def _result_shape(self) -> tuple[int, ...]:
        return ()

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        config = {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve.value,
            "summation_method": self.summation_method.value,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": (
                None
                if self.label_weights is None
                else keras.ops.convert_to_numpy(self.label_weights).tolist()
            ),
            "from_logits": self.from_logits,
            **self._extra_config("class_id"),
        }
        if self._init_from_thresholds:
            config["thresholds"] = self._thresholds[1:-1].tolist()
        return config


@function(_per_label)
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
    """The average precision of a binned precision-recall curve.

    Formula: `sum((recall[i] - recall[i + 1]) * precision[i])` over ascending
    thresholds. It is scikit-learn's where no two scores lie between the same two
    thresholds.

    Shapes and dtypes: one label for each score.

    Args:
        num_thresholds: number of evenly spaced thresholds, at least 2.
        thresholds: a list of thresholds in [0, 1] instead of evenly spaced ones;
            both ends are added.
        multi_label: whether each column of `(batch, num_labels)` inputs has an
            area of its own, which are then averaged.
        label_weights: weights of the columns in the average.
        from_logits: whether `y_pred` holds logits instead of probabilities.
        class_id: count only this column of `y_true` and `y_pred` (and of weights
            that have the columns).

    Example:

    >>> from keras_tally import functional as F
    >>> value = F.average_precision([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> round(float(value), 5)
    0.83333

    Source: `sklearn.metrics.average_precision_score`.
    """
    return _area_spec(
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
