"""Every metric class with its interesting arguments and data that suits it."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import keras
import numpy as np
import pytest
from keras.src.losses.loss import squeeze_or_expand_to_same_rank

import keras_tally as kt
import references
from beyond_keras import BEYOND_KERAS, LOG, Beyond, mean_of
from makers import (
    CLASSES,
    SEGMENTS,
    channels_first,
    make_binary,
    make_columns,
    make_counts,
    make_distributions,
    make_equal_labels,
    make_hinge,
    make_logits,
    make_multi_label,
    make_onehot,
    make_probabilities,
    make_regression,
    make_segments,
    make_sorted_ids,
    make_sparse,
    make_sparse_from_onehot,
    make_values,
)
from references import MeanOfFunction
from support import IS_PORTABLE, attach_mask, to_backend


class Batch(NamedTuple):
    """One call of `update_state`: NumPy arrays, weights and the mask of y_pred."""

    args: tuple
    weight: object = None
    mask: object = None

    def feed(self, metric, lay=None):
        """Update the metric; `lay` makes of each tensor the one that is passed."""
        tensor = to_backend if lay is None else lambda array: lay(to_backend(array))
        *others, last = (tensor(a) for a in self.args)
        last = attach_mask(last, self.mask)
        if self.weight is None:
            metric.update_state(*others, last)
            return
        weight = self.weight
        if not np.isscalar(weight):
            weight = tensor(weight)
        metric.update_state(*others, last, sample_weight=weight)

    def split(self, sizes):
        """The same samples in consecutive batches of these sizes."""
        ends = np.cumsum(sizes)
        parts = []
        for start, end in zip(ends - sizes, ends, strict=True):
            cut = slice(start, end)
            parts.append(
                Batch(
                    tuple(a[cut] for a in self.args),
                    None if self.weight is None else self.weight[cut],
                    None if self.mask is None else self.mask[cut],
                )
            )
        return parts


@keras.saving.register_keras_serializable("keras_tally_tests")
def squared_difference(y_true, y_pred):
    """A user's own function for MeanMetricWrapper."""
    y_pred = keras.ops.convert_to_tensor(y_pred)
    y_true = keras.ops.cast(y_true, y_pred.dtype)
    return keras.ops.mean((y_true - y_pred) ** 2, axis=-1)


COUNTS = ("TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives")
RATIOS = ("Precision", "Recall")
# The argument that bounds the other rate.
CONSTRAINED = {
    "PrecisionAtRecall": "recall",
    "RecallAtPrecision": "precision",
    "SensitivityAtSpecificity": "specificity",
    "SpecificityAtSensitivity": "sensitivity",
}
F_NAMES = ("FBetaScore", "F1Score")
IOU_NAMES = ("IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU")


def _extra_parameters():
    for name in IOU_NAMES:
        if name != "BinaryIoU":
            yield name, {"per_class_counts": False}
    for name in ("SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy"):
        yield name, {"ignore_class": None}
    for name in COUNTS:
        yield name, {"class_id": None, "from_logits": False}
    for name in (*RATIOS, *CONSTRAINED, *F_NAMES):
        yield name, {"from_logits": False}
    yield "AUC", {"class_id": None}


# Keyword-only parameters that the package has beyond Keras's, with their defaults;
# `metrics/test_beyond_keras.py` tests what they do.
EXTRA_PARAMETERS = dict(_extra_parameters())


def result_along_the_last_axis(cls):
    """Keras's class, its `axis` no longer applied to the vector of IoUs as well.

    With the classes on axis 1 `result()` of Keras 3.15 raises.
    """

    class Repaired(cls):
        def result(self):
            axis, self.axis = self.axis, -1
            try:
                return super().result()
            finally:
                self.axis = axis

    Repaired.__name__ = cls.__name__
    return Repaired


@dataclass(frozen=True)
class Case:
    """A class of the package with arguments and a maker of suitable data."""

    name: str
    make: Callable
    kwargs: dict = field(default_factory=dict)
    ranks: tuple = (1, 2, 3)  # ranks of `shape` that are given to `make`
    # The lowest rank whose first axis counts samples: a mean over the last axis
    # makes one value, so one sample, of a whole 1-D batch.
    sample_rank: int = 1
    # Largest error, relative to the reference in float64, of the state's sums.
    tolerance: float = 1e-12

    @property
    def id(self):
        arguments = ",".join(
            f"{k}={getattr(v, '__name__', v)}" for k, v in self.kwargs.items()
        )
        return f"{self.name}({arguments[:60]})"

    @property
    def built_late(self):
        """Whether some variables only appear with the first batch."""
        if self.name == "AUC":
            return "multi_label" in self.kwargs and "num_labels" not in self.kwargs
        return self.name in (*F_NAMES, *DEVIATION_NAMES)

    @property
    def integer_state(self):
        # JAX has no integers of 64 bits, and counts with pairs of floats.
        ours = self.name in IOU_NAMES and "dtype" not in self.kwargs
        return ours and keras.backend.backend() != "jax"

    def shape(self, count):
        """The shape of `count` samples, of the lowest rank that has samples."""
        return (count, 4, 3)[: self.sample_rank]

    def ours(self, **extra):
        return getattr(kt, self.name)(**{**self.kwargs, **extra})

    def keras(self, **extra):
        kwargs = {**self.kwargs, **extra}
        if self.name in NOT_IN_KERAS:
            return NOT_IN_KERAS[self.name].keras(**kwargs)
        for name in EXTRA_PARAMETERS.get(self.name, {}):
            kwargs.pop(name, None)
        cls = getattr(keras.metrics, self.name)
        if self.name in IOU_NAMES and kwargs.get("axis", -1) == 1:
            cls = result_along_the_last_axis(cls)
        return cls(**kwargs)

    def keras_state(self, values):
        """The values of Keras's variables as the values that ours stand for.

        Without weights: Keras 3.15 counts the entries of R2Score as its samples.
        """
        if self.name in DEVIATION_NAMES and "sum" in values:
            entries, columns = values["num_samples"], np.size(values["sum"])
            return {**values, "num_samples": entries / columns}
        if not self.kwargs.get("per_class_counts"):
            return values
        matrix = values["total_confusion_matrix"]
        hits = np.diag(matrix)
        return {
            "true_positives": hits,
            "false_positives": matrix.sum(axis=0) - hits,
            "false_negatives": matrix.sum(axis=1) - hits,
        }

    def batch(self, seed, shape, label_dtype="float32", score_dtype="float32"):
        rng = np.random.default_rng(seed)
        return Batch(self.make(rng, shape, label_dtype, score_dtype))

    def sample(self, seed, count, weighted=False):
        """`count` samples of the lowest rank that has samples, float32."""
        batch = self.batch(seed, self.shape(count))
        if not weighted:
            return batch
        rng = np.random.default_rng(seed + 1)
        weight = rng.integers(0, 5, count).astype(np.float32) / 4
        return batch._replace(weight=weight)


def bounded_relative_error(y_true, y_pred, bound=2.0):
    """A user's own elementwise function: cheap steps, a function call, a choice."""
    error = y_pred - y_true
    size = keras.ops.log1p(abs(error))
    return keras.ops.where(error > 0, keras.ops.minimum(size, bound), 0.5 * error**2)


def keras_elementwise(y_true, y_pred, expression, direction):
    """The same as Keras users write it."""
    y_pred = keras.ops.convert_to_tensor(y_pred)
    y_true = keras.ops.cast(y_true, y_pred.dtype)
    y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
    return bounded_relative_error(y_true, y_pred)


class OwnExpression(str):
    """A stored expression with a short name in the lists of tests."""

    def __repr__(self):
        return "bounded_relative_error"

    def __format__(self, spec):
        return repr(self)


OWN_EXPRESSION = OwnExpression(
    kt.elementwise(bounded_relative_error).get_config()["expression"]
)

# The user's own function is a class that Keras lacks as well.
NOT_IN_KERAS = {
    **BEYOND_KERAS,
    "ElementwiseMetric": Beyond(
        reference=lambda **_: MeanOfFunction(references.bounded_relative_error),
        keras=mean_of(keras_elementwise, "elementwise_metric"),
        make=make_regression,
        # A subclass is called like its class.
        default_name=None,
        direction="down",
        arguments=({"direction": "down", "expression": OWN_EXPRESSION},),
    ),
}


def those_like(*names):
    """The classes that Keras lacks and that share the rules of one of these."""
    return [name for name, own in NOT_IN_KERAS.items() if own.like in names]


references.REFERENCES.update({k: v.reference for k, v in NOT_IN_KERAS.items()})

AXIS_NAMES = ("CosineSimilarity", "PearsonCorrelation", "ConcordanceCorrelation")
THRESHOLDS = (
    {},
    {"thresholds": 0.25},
    {"thresholds": [0.3, 0.75]},
    {"thresholds": [0.0, 0.5, 1.0]},
    {"thresholds": [0.9, 0.1, 0.5, 0.2]},
)
AUC_ARGUMENTS = (
    {},
    {"num_thresholds": 3},
    {"num_thresholds": 2},
    {"num_thresholds": 33, "curve": "PR"},
    {"num_thresholds": 33, "curve": "PRGAIN"},
    {"num_thresholds": 11, "summation_method": "minoring"},
    {"num_thresholds": 11, "curve": "PR", "summation_method": "majoring"},
    {"thresholds": [0.5, 0.25]},
    {"thresholds": [0.1, 0.45, 0.9], "curve": "PR"},
    {"thresholds": [0.2, 0.4, 0.4, 0.8], "summation_method": "minoring"},
)
MULTI_LABEL_ARGUMENTS = (
    {"multi_label": True, "num_labels": 3, "num_thresholds": 21},
    {"multi_label": True, "num_thresholds": 21, "label_weights": [0.5, 1.0, 2.0]},
    {"multi_label": True, "thresholds": [0.1, 0.45, 0.9], "curve": "PR"},
    {"label_weights": [0.5, 1.0, 2.0], "num_thresholds": 21},
    {"label_weights": [0.5, 1.0, 2.0], "thresholds": [0.1, 0.45, 0.9]},
)


def _cases():
    for name in ("Mean", "Sum"):
        yield Case(name, make_values)
    yield Case("RootMeanSquaredError", make_regression)
    for name, kwargs in (
        ("MeanSquaredError", {}),
        ("MeanAbsoluteError", {}),
    ):
        yield Case(name, make_regression, kwargs, sample_rank=2)
    # The user's function computes in the dtype of the scores.
    yield Case(
        "MeanMetricWrapper",
        make_regression,
        {"fn": squared_difference},
        sample_rank=2,
        tolerance=LOG,
    )
    yield Case("Accuracy", make_equal_labels)
    yield Case("BinaryAccuracy", make_binary)
    yield Case("BinaryAccuracy", make_binary, {"threshold": 0.25})
    yield Case("CategoricalAccuracy", make_onehot, ranks=(1, 2))
    yield Case("SparseCategoricalAccuracy", make_sparse, ranks=(1, 2))
    for k in (5, 1):
        yield Case("TopKCategoricalAccuracy", make_onehot, {"k": k}, ranks=(1, 2))
        yield Case("SparseTopKCategoricalAccuracy", make_sparse, {"k": k}, ranks=(1, 2))
    yield Case(
        "SparseTopKCategoricalAccuracy",
        make_sorted_ids,
        {"k": 2, "from_sorted_ids": True},
        ranks=(1, 2),
    )
    for name in COUNTS + RATIOS:
        for kwargs in THRESHOLDS:
            yield Case(name, make_binary, kwargs)
    for name in RATIOS:
        for kwargs in (
            {"top_k": 2},
            {"class_id": 1},
            {"top_k": 3, "class_id": 2},
            {"top_k": 3, "thresholds": [0.25, 0.5]},
        ):
            yield Case(name, make_onehot, kwargs, ranks=(1,))
    for kwargs in AUC_ARGUMENTS:
        yield Case("AUC", make_binary, kwargs)
    for kwargs in MULTI_LABEL_ARGUMENTS:
        yield Case("AUC", make_multi_label, kwargs, ranks=(1,))
    yield Case("AUC", make_logits, {"from_logits": True, "num_thresholds": 17})
    for smoothing in (0, 0.2):
        yield Case(
            "BinaryCrossentropy",
            make_probabilities,
            {"label_smoothing": smoothing},
            sample_rank=2,
            tolerance=LOG,
        )
        yield Case(
            "CategoricalCrossentropy",
            make_onehot,
            {"label_smoothing": smoothing},
            ranks=(1, 2),
            tolerance=LOG,
        )
    yield Case(
        "BinaryCrossentropy",
        make_logits,
        {"from_logits": True},
        sample_rank=2,
        tolerance=LOG,
    )
    yield Case(
        "CategoricalCrossentropy",
        make_onehot,
        {"from_logits": True},
        ranks=(1, 2),
        tolerance=LOG,
    )
    for kwargs in ({}, {"from_logits": True}, {"ignore_class": 1}):
        yield Case(
            "SparseCategoricalCrossentropy",
            make_sparse,
            kwargs,
            ranks=(1, 2),
            tolerance=LOG,
        )

    yield from _regression_cases()
    yield from _scoring_cases()
    yield from _iou_cases()
    for name, own in NOT_IN_KERAS.items():
        for kwargs in own.arguments:
            yield Case(name, own.make, kwargs, **own.options)


def _regression_cases():
    for name, make, tolerance in (
        ("MeanAbsolutePercentageError", make_regression, 1e-12),
        ("MeanSquaredLogarithmicError", make_regression, LOG),
        ("LogCoshError", make_regression, LOG),
        ("CosineSimilarity", make_regression, 1e-12),
        ("PearsonCorrelation", make_regression, 1e-12),
        ("ConcordanceCorrelation", make_regression, 1e-12),
        ("Hinge", make_hinge, 1e-12),
        ("SquaredHinge", make_hinge, 1e-12),
        ("KLDivergence", make_distributions, LOG),
        ("Poisson", make_counts, LOG),
    ):
        yield Case(name, make, sample_rank=2, tolerance=tolerance)
    for name in ("Hinge", "SquaredHinge"):
        yield Case(name, make_binary, sample_rank=2)
    yield Case("CategoricalHinge", make_onehot, ranks=(1, 2))
    for name in AXIS_NAMES:
        for axis in (1, -2):
            yield Case(name, make_regression, {"axis": axis}, (3,), 3)
    for name in ("PearsonCorrelation", "ConcordanceCorrelation"):
        for axis in ((1, 2), (-1, -2), (2,)):
            yield Case(name, make_regression, {"axis": axis}, (3,), 3)
    for kwargs in (
        {},
        {"class_aggregation": None},
        {"class_aggregation": "variance_weighted_average"},
        {"num_regressors": 1},
        {"class_aggregation": None, "num_regressors": 3},
    ):
        yield Case("R2Score", make_columns, kwargs, (1,))


def _scoring_cases():
    for name, bound in CONSTRAINED.items():
        for value, kwargs in (
            (0.5, {}),
            (0.75, {"num_thresholds": 1}),
            (0.25, {"num_thresholds": 2}),
            (0.7, {"num_thresholds": 3}),
            (0.0, {"num_thresholds": 11}),
            (1.0, {"num_thresholds": 11}),
        ):
            yield Case(name, make_binary, {bound: value, **kwargs})
        kwargs = {bound: 0.5, "class_id": 1, "num_thresholds": 21}
        yield Case(name, make_multi_label, kwargs, ranks=(1,))
    for name in F_NAMES:
        for kwargs in ({}, *({"average": a} for a in ("micro", "macro", "weighted"))):
            yield Case(name, make_onehot, kwargs, ranks=(1,))
            kwargs = {**kwargs, "threshold": 0.5}
            yield Case(name, make_multi_label, kwargs, ranks=(1,))
    yield Case("FBetaScore", make_onehot, {"beta": 2.0}, ranks=(1,))
    kwargs = {"beta": 0.5, "average": "weighted", "threshold": 0.25}
    yield Case("FBetaScore", make_multi_label, kwargs, ranks=(1,))


def _iou_cases():
    segments = {"num_classes": SEGMENTS}
    some = {**segments, "target_class_ids": (0, 2)}
    for kwargs in (
        {},
        {"ignore_class": 1},
        {"ignore_class": -1, "axis": 0},
        {"dtype": "float32"},
        {"per_class_counts": True},
        {"per_class_counts": True, "dtype": "float32", "ignore_class": 1},
    ):
        yield Case("MeanIoU", make_segments, {**segments, **kwargs})
        yield Case("IoU", make_segments, {**some, **kwargs})
    yield Case("IoU", make_segments, {**segments, "target_class_ids": [3]})
    for kwargs in (
        {},
        {"target_class_ids": (1,)},
        {"target_class_ids": [0], "threshold": 0.25},
        {"dtype": "float32", "threshold": 0.75},
    ):
        yield Case("BinaryIoU", make_binary, kwargs)
    classes = {"num_classes": CLASSES}
    some = {**classes, "target_class_ids": (0, 2, 5)}
    yield Case("OneHotIoU", make_onehot, some)
    for first in (False, True):
        axis = {"axis": 1} if first else {}
        arrange = channels_first if first else lambda make: make
        yield Case(
            "MeanIoU", arrange(make_sparse), {**classes, "sparse_y_pred": False, **axis}
        )
        yield Case(
            "IoU",
            arrange(make_sparse_from_onehot),
            {**some, "sparse_y_true": False, "dtype": "float32", **axis},
        )
        yield Case("OneHotMeanIoU", arrange(make_onehot), {**classes, **axis})
        yield Case(
            "OneHotIoU",
            arrange(make_onehot),
            {**some, "ignore_class": 2, "dtype": "float32", **axis},
        )
    yield Case("OneHotIoU", make_onehot, {**some, "per_class_counts": True})
    yield Case("OneHotMeanIoU", make_onehot, {**classes, "per_class_counts": True})
    # A class too few: the last one of the scores is out of range.
    yield Case("OneHotMeanIoU", make_onehot, {"num_classes": CLASSES - 1})
    yield Case(
        "OneHotMeanIoU", make_sparse_from_onehot, {**classes, "sparse_y_pred": True}
    )


# Classes that share a kernel: what an argument does to one of them, it does to all.
FAMILIES = (
    COUNTS,
    RATIOS,
    tuple(CONSTRAINED),
    F_NAMES,
    AXIS_NAMES,
    IOU_NAMES,
    ("Hinge", "SquaredHinge"),
    ("TopKCategoricalAccuracy", "SparseTopKCategoricalAccuracy"),
)


def _options(case):
    """What a kernel tells apart: flags and words, and kinds of other arguments."""
    family = next((f for f in FAMILIES if case.name in f), case.name)
    for argument, value in case.kwargs.items():
        if isinstance(value, (tuple, list)):
            value = list
        elif not isinstance(value, (bool, str, type(None))):
            value = type(value)
        # The rate that a class is named after is no option.
        if argument != CONSTRAINED.get(case.name):
            yield family, argument, value


def _one_for_each_option(cases):
    """The first case of each class, and the first with each option of a family."""
    classes, seen, chosen = set(), set(), []
    for case in cases:
        options = set(_options(case))
        if case.name not in classes or options - seen:
            chosen.append(case)
        classes.add(case.name)
        seen |= options
    return tuple(chosen)


ALL_CASES = tuple(_cases())
# One per class, with the default arguments as far as the class has them.
DEFAULT_CASES = tuple({case.name: case for case in reversed(ALL_CASES)}.values())[::-1]
OPTION_CASES = _one_for_each_option(ALL_CASES)
# What the tests walk; see README.md.
CASES = {
    "classes": DEFAULT_CASES,
    "options": OPTION_CASES,
    "all": ALL_CASES,
}[os.environ.get("KERAS_TALLY_CASES", "options")]
# The same for tests that take long for each case.
FEW_CASES = ALL_CASES if CASES is ALL_CASES else DEFAULT_CASES
CLASS_NAMES = tuple(case.name for case in DEFAULT_CASES)
CONFUSION_NAMES = (*COUNTS, *RATIOS, *CONSTRAINED, "AUC", *those_like(*RATIOS))
DEVIATION_NAMES = ("R2Score", *those_like("R2Score"))
# The classes whose variables are whole numbers as long as there are no weights.
COUNTING_NAMES = (
    *CONFUSION_NAMES,
    *F_NAMES,
    *IOU_NAMES,
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
)


# One of each kind of loop and of update.
KINDS_OF_UPDATE = (
    "Mean",
    "BinaryAccuracy",
    "CategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "F1Score",
    "R2Score",
    "AUC",
    "Precision",
    "MeanIoU",
    "ElementwiseMetric",
)


def few_if_compiled(cases):
    """The cases as parameters; on JAX and TensorFlow most of them are slow."""
    return [
        pytest.param(
            case,
            id=case.id,
            marks=[pytest.mark.slow]
            if IS_PORTABLE and case.name not in KINDS_OF_UPDATE
            else [],
        )
        for case in cases
    ]


def default_case(name):
    (case,) = [c for c in DEFAULT_CASES if c.name == name]
    return case
