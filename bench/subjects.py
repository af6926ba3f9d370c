"""The metrics that are measured: how each library builds and feeds the same one.

Data come in two layouts. Keras's own metrics and ours get what ``fit`` passes on
(labels and predictions of shape ``(n, 1)`` or ``(n, classes)``, float32); torchmetrics
and torcheval get what they ask for (one-dimensional int64 labels), converted before the
clock starts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
import torchmetrics
import torchmetrics.classification as tmc

with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # torcheval uses torch.jit.script
    import torcheval.metrics as te
warnings.filterwarnings(
    "ignore", message="To copy construct from a tensor", module="torcheval"
)

CLASSES = 10


@dataclass(frozen=True)
class Data:
    """One data set in both layouts."""

    keras: tuple[torch.Tensor, torch.Tensor]
    peers: tuple[
        torch.Tensor, torch.Tensor
    ]  # predictions first, as torchmetrics and torcheval take them


def binary(n: int, width: int = 1) -> Data:
    """Labels 0 and 1 as float32, and scores that know something of them."""
    rng = np.random.default_rng(7)
    y = rng.random((n // width, width), dtype=np.float32) < 0.3
    p = 1 / (
        1 + np.exp(-(rng.standard_normal(y.shape, dtype=np.float32) + 1.5 * y - 1))
    )
    y, p = (
        torch.from_numpy(y.astype(np.float32)),
        torch.from_numpy(p.astype(np.float32)),
    )
    return Data((y, p), (p.reshape(-1), y.reshape(-1).long()))


def regression(n: int, width: int = 1) -> Data:
    """Values and predictions of them, float32."""
    rng = np.random.default_rng(8)
    y = rng.standard_normal((n // width, width), dtype=np.float32)
    y, p = (
        torch.from_numpy(y),
        torch.from_numpy(y + rng.standard_normal(y.shape, dtype=np.float32)),
    )
    return Data((y, p), (p.reshape(-1), y.reshape(-1)))


def sparse(n: int, classes: int = CLASSES) -> Data:
    """Class numbers (int64) and a row of probabilities for each."""
    rng = np.random.default_rng(9)
    y = rng.integers(0, classes, n)
    z = rng.standard_normal((n, classes), dtype=np.float32)
    z[np.arange(n), y] += 1.5
    p = torch.softmax(torch.from_numpy(z), -1)
    return Data((torch.from_numpy(y), p), (p, torch.from_numpy(y)))


def onehot(n: int, classes: int = CLASSES) -> Data:
    """As ``sparse``, with one-hot float32 labels for Keras and for us."""
    data = sparse(n, classes)
    y, p = data.keras
    return Data((torch.nn.functional.one_hot(y, classes).float(), p), data.peers)


def values(n: int, width: int = 1) -> Data:
    """Plain values, for aggregations (passed as the only argument)."""
    y, _ = regression(n, width).keras
    return Data((y, y), (y.reshape(-1), y.reshape(-1)))


def pair(y: torch.Tensor, p: torch.Tensor) -> Data:
    """Data of a metric that is measured against Keras alone."""
    return Data((y, p), (p, y))


def regression_rows(n: int, width: int) -> Data:
    """``n`` rows of values and predictions of them."""
    return regression(n * width, width)


def positive(n: int) -> Data:
    """Values above zero, and predictions of them."""
    y, p = regression(n).keras
    return pair(y.exp(), p.exp())


def signs(n: int) -> Data:
    """Labels -1 and 1, and scores between them."""
    y, p = binary(n).keras
    return pair(2 * y - 1, 2 * p - 1)


def distributions(n: int) -> Data:
    """Rows of probabilities on both sides."""
    p = sparse(n).keras[1]
    return pair(p.roll(1, 0), p)


def ids(n: int, classes: int = CLASSES) -> Data:
    """Class numbers on both sides (int64), most of them equal."""
    rng = np.random.default_rng(10)
    y = rng.integers(0, classes, n)
    p = np.where(rng.random(n) < 0.7, y, rng.integers(0, classes, n))
    return pair(torch.from_numpy(y), torch.from_numpy(p))


def float_ids(n: int) -> Data:
    """Class numbers as a model's float32 column."""
    y, p = ids(n).keras
    return pair(y.float()[:, None], p.float()[:, None])


@dataclass(frozen=True)
class Subject:
    """One metric in every library that has it. ``ours`` takes a module:
    keras.metrics or keras_tally.
    """

    name: str
    data: Callable[..., Data]
    ours: Callable[[Any], Any]
    torchmetrics: Callable[[], Any] | None = None
    torcheval: Callable[[], Any] | None = None
    alone: bool = False  # update_state(values) rather than update_state(y_true, y_pred)
    peer_tolerance: float = 1e-5  # for binned curves: other libraries bin otherwise


def huber(module: Any) -> Any:
    """Our Huber; Keras has the loss only, so there it is the mean of that."""
    if module is keras.metrics:
        return keras.metrics.MeanMetricWrapper(
            keras.losses.huber, name="huber", delta=1.0
        )
    return module.Huber()


TOP = 3
SUBJECTS = [
    Subject(
        "BinaryAccuracy",
        binary,
        lambda m: m.BinaryAccuracy(),
        lambda: tmc.BinaryAccuracy(validate_args=False),
        te.BinaryAccuracy,
    ),
    Subject(
        "SparseCategoricalAccuracy",
        sparse,
        lambda m: m.SparseCategoricalAccuracy(),
        lambda: tmc.MulticlassAccuracy(CLASSES, average="micro", validate_args=False),
        te.MulticlassAccuracy,
    ),
    Subject(
        "Precision",
        binary,
        lambda m: m.Precision(),
        lambda: tmc.BinaryPrecision(validate_args=False),
        te.BinaryPrecision,
    ),
    Subject(
        "MeanSquaredError",
        regression,
        lambda m: m.MeanSquaredError(),
        torchmetrics.MeanSquaredError,
        te.MeanSquaredError,
    ),
    Subject(
        "AUC(200)",
        binary,
        lambda m: m.AUC(num_thresholds=200),
        lambda: tmc.BinaryAUROC(thresholds=200, validate_args=False),
        lambda: te.BinaryBinnedAUROC(threshold=200),
        peer_tolerance=0.05,
    ),
    Subject(
        "AUC(200, PR)",
        binary,
        lambda m: m.AUC(num_thresholds=200, curve="PR"),
        lambda: tmc.BinaryAveragePrecision(thresholds=200, validate_args=False),
        lambda: te.BinaryBinnedAUPRC(threshold=200),
        peer_tolerance=0.1,
    ),
    Subject(
        "Recall",
        binary,
        lambda m: m.Recall(),
        lambda: tmc.BinaryRecall(validate_args=False),
        te.BinaryRecall,
    ),
    Subject("TruePositives", binary, lambda m: m.TruePositives()),
    Subject("BinaryCrossentropy", binary, lambda m: m.BinaryCrossentropy()),
    Subject("CategoricalCrossentropy", onehot, lambda m: m.CategoricalCrossentropy()),
    Subject(
        "SparseCategoricalCrossentropy",
        sparse,
        lambda m: m.SparseCategoricalCrossentropy(),
    ),
    Subject(
        "CategoricalAccuracy",
        onehot,
        lambda m: m.CategoricalAccuracy(),
        lambda: tmc.MulticlassAccuracy(CLASSES, average="micro", validate_args=False),
        te.MulticlassAccuracy,
    ),
    Subject(
        "SparseTopKCategoricalAccuracy(3)",
        sparse,
        lambda m: m.SparseTopKCategoricalAccuracy(k=TOP),
        lambda: tmc.MulticlassAccuracy(
            CLASSES, average="micro", top_k=TOP, validate_args=False
        ),
        lambda: te.MulticlassAccuracy(k=TOP, num_classes=CLASSES),
    ),
    Subject(
        "TopKCategoricalAccuracy(3)", onehot, lambda m: m.TopKCategoricalAccuracy(k=TOP)
    ),
    Subject(
        "MeanAbsoluteError",
        regression,
        lambda m: m.MeanAbsoluteError(),
        torchmetrics.MeanAbsoluteError,
    ),
    Subject(
        "RootMeanSquaredError",
        regression,
        lambda m: m.RootMeanSquaredError(),
        lambda: torchmetrics.MeanSquaredError(squared=False),
    ),
    Subject("Huber", regression, huber),
    Subject(
        "Mean",
        values,
        lambda m: m.Mean(),
        lambda: torchmetrics.MeanMetric(nan_strategy="disable"),
        te.Mean,
        True,
    ),
    Subject(
        "Sum",
        values,
        lambda m: m.Sum(),
        lambda: torchmetrics.SumMetric(nan_strategy="disable"),
        te.Sum,
        True,
    ),
]
BY_NAME = {s.name: s for s in SUBJECTS}

# The other classes of keras.metrics, for all_classes.py.
MORE = [
    Subject("Accuracy", float_ids, lambda m: m.Accuracy()),
    Subject("TrueNegatives", binary, lambda m: m.TrueNegatives()),
    Subject("FalsePositives", binary, lambda m: m.FalsePositives()),
    Subject("FalseNegatives", binary, lambda m: m.FalseNegatives()),
    Subject("PrecisionAtRecall", binary, lambda m: m.PrecisionAtRecall(0.5)),
    Subject("RecallAtPrecision", binary, lambda m: m.RecallAtPrecision(0.5)),
    Subject(
        "SensitivityAtSpecificity", binary, lambda m: m.SensitivityAtSpecificity(0.5)
    ),
    Subject(
        "SpecificityAtSensitivity", binary, lambda m: m.SpecificityAtSensitivity(0.5)
    ),
    Subject("F1Score", onehot, lambda m: m.F1Score()),
    Subject("FBetaScore", onehot, lambda m: m.FBetaScore(beta=2.0, threshold=0.3)),
    Subject("Hinge", signs, lambda m: m.Hinge()),
    Subject("SquaredHinge", signs, lambda m: m.SquaredHinge()),
    Subject("CategoricalHinge", onehot, lambda m: m.CategoricalHinge()),
    Subject("KLDivergence", distributions, lambda m: m.KLDivergence()),
    Subject("Poisson", positive, lambda m: m.Poisson()),
    Subject("LogCoshError", regression, lambda m: m.LogCoshError()),
    Subject(
        "MeanAbsolutePercentageError",
        positive,
        lambda m: m.MeanAbsolutePercentageError(),
    ),
    Subject(
        "MeanSquaredLogarithmicError",
        positive,
        lambda m: m.MeanSquaredLogarithmicError(),
    ),
    Subject(
        "MeanMetricWrapper",
        regression,
        lambda m: m.MeanMetricWrapper(m.mean_squared_error),
    ),
    Subject("R2Score", partial(regression_rows, width=10), lambda m: m.R2Score()),
    Subject(
        "CosineSimilarity",
        partial(regression_rows, width=100),
        lambda m: m.CosineSimilarity(),
    ),
    Subject(
        "PearsonCorrelation",
        partial(regression_rows, width=100),
        lambda m: m.PearsonCorrelation(),
    ),
    Subject(
        "ConcordanceCorrelation",
        partial(regression_rows, width=100),
        lambda m: m.ConcordanceCorrelation(),
    ),
    Subject("BinaryIoU", binary, lambda m: m.BinaryIoU()),
    Subject("IoU", ids, lambda m: m.IoU(CLASSES, [0, 3])),
    Subject("MeanIoU", ids, lambda m: m.MeanIoU(CLASSES)),
    Subject("OneHotIoU", onehot, lambda m: m.OneHotIoU(CLASSES, [0, 3])),
    Subject("OneHotMeanIoU", onehot, lambda m: m.OneHotMeanIoU(CLASSES)),
]
