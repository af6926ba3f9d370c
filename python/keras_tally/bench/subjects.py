"""The metrics that are measured: how each library builds and feeds the same one.

Data come in two layouts. Keras's own metrics and ours get what ``fit`` passes on
(labels and predictions of shape ``(n, 1)`` or ``(n, classes)``, float32) as tensors of
the active Keras backend; torchmetrics and torcheval get what they ask for
(one-dimensional int64 labels, torch tensors), converted before the clock starts.

Other frameworks are imported when they are asked for, and not before.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import keras
import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CLASSES = 10
WIDTH = 10  # of the rows of R2Score
TOP = 3

# --------------------------------------------------------------------------------------
# libraries

# What is compared with Keras and with us, and the module that has its metrics.
OTHERS = {
    "torchmetrics": "torchmetrics",
    "torcheval": "torcheval.metrics",
    "sklearn": "sklearn.metrics",
}
PEERS = ("torchmetrics", "torcheval")  # those that take torch tensors


def is_installed(library: str) -> bool:
    """Tell whether one of ``OTHERS`` can be imported (and torch, if it needs that).

    >>> is_installed("no-such-library")
    False
    """
    needs = ["torch", library] if library in PEERS else [library]
    return all(importlib.util.find_spec(name) is not None for name in needs)


def metrics_of(library: str) -> Any:
    """The module of a library of ``OTHERS`` that has its metrics."""
    with warnings.catch_warnings():
        # torcheval uses torch.jit.script
        warnings.simplefilter("ignore", DeprecationWarning)
        module = importlib.import_module(OTHERS[library])
    if library == "torcheval":
        warnings.filterwarnings(
            "ignore", message="To copy construct from a tensor", module="torcheval"
        )
    return module


# --------------------------------------------------------------------------------------
# data


def dtype_of(name: str) -> np.dtype[Any]:
    """The NumPy dtype of this name, bfloat16 included.

    >>> dtype_of("bfloat16").itemsize
    2
    """
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def torch_tensor(array: Array, device: str = "cpu") -> Any:
    """A torch tensor of the same values, on the same memory if ``device`` is cpu."""
    torch = importlib.import_module("torch")
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).to(device)
    return torch.from_numpy(array).to(device)


def tensor(array: Array, device: str = "cpu") -> Any:
    """A tensor of the active Keras backend (torch puts it on ``device``)."""
    backend = keras.config.backend()
    if backend == "torch":
        return torch_tensor(array, device)
    if backend == "numpy":
        return array
    small = backend == "jax" and array.dtype == np.int64  # which JAX does not have
    return keras.ops.convert_to_tensor(array, "int32" if small else str(array.dtype))


@dataclass(frozen=True)
class Data:
    """One data set in both layouts: labels and predictions as NumPy arrays.

    >>> data = binary(4)
    >>> tuple(data.y.shape), data.rows(2).p.shape
    ((4, 1), (2, 1))
    """

    y: Array
    p: Array
    peer_y: Array  # labels as torchmetrics and torcheval take them
    flat: bool = False  # whether those take one dimension
    device: str = "cpu"

    @property
    def keras(self) -> tuple[Any, Any]:
        """Labels and predictions, tensors of the active backend."""
        return tensor(self.y, self.device), tensor(self.p, self.device)

    @property
    def peer_arrays(self) -> tuple[Array, Array]:
        """Predictions and labels in the other libraries' layout, NumPy arrays."""
        if self.flat:
            return self.p.reshape(-1), self.peer_y.reshape(-1)
        return self.p, self.peer_y

    @property
    def peers(self) -> tuple[Any, Any]:
        """Predictions and labels, in this order: torch tensors."""
        p, y = self.peer_arrays
        return torch_tensor(p, self.device), torch_tensor(y, self.device)

    @property
    def nbytes(self) -> int:
        """Bytes of labels and predictions as Keras gets them."""
        return self.y.nbytes + self.p.nbytes

    def rows(self, stop: int, start: int = 0) -> Data:
        """Some of the rows, on the same memory."""
        return replace(
            self,
            y=self.y[start:stop],
            p=self.p[start:stop],
            peer_y=self.peer_y[start:stop],
        )

    def of(self, dtype: str, device: str) -> Data:
        """The same data with all floats as ``dtype``, for a device."""
        kind = dtype_of(dtype)

        def cast(a: Array) -> Array:
            return a.astype(kind, copy=False) if a.dtype == np.float32 else a

        return replace(
            self,
            y=cast(self.y),
            p=cast(self.p),
            peer_y=cast(self.peer_y),
            device=device,
        )


def pair(y: Array, p: Array, flat: bool = False) -> Data:
    """Data with the same labels for every library."""
    return Data(y, p, y, flat)


def softmax(z: Array) -> Array:
    """Rows of probabilities."""
    e = np.exp(z - z.max(-1, keepdims=True))
    rows: Array = e / e.sum(-1, keepdims=True)
    return rows


def binary(n: int, width: int = 1) -> Data:
    """Labels 0 and 1 as float32, and scores that know something of them."""
    rng = np.random.default_rng(7)
    y = rng.random((n // width, width), dtype=np.float32) < 0.3
    p = 1 / (
        1 + np.exp(-(rng.standard_normal(y.shape, dtype=np.float32) + 1.5 * y - 1))
    )
    return Data(y.astype(np.float32), p.astype(np.float32), y.astype(np.int64), True)


def hits(n: int) -> Data:
    """Positive rows only, every one of them found."""
    scores = np.random.default_rng(11).uniform(0.6, 1, (n, 1)).astype(np.float32)
    y = np.ones((n, 1), np.float32)
    return Data(y, scores, y.astype(np.int64), True)


def regression(n: int, width: int = 1) -> Data:
    """Values and predictions of them, float32."""
    rng = np.random.default_rng(8)
    y = rng.standard_normal((n // width, width), dtype=np.float32)
    p = y + rng.standard_normal(y.shape, dtype=np.float32)
    return pair(y, p, True)


def scores(n: int, classes: int = CLASSES) -> tuple[Array, Array]:
    """Class numbers (int64) and a row of logits for each."""
    rng = np.random.default_rng(9)
    y = rng.integers(0, classes, n)
    z = rng.standard_normal((n, classes), dtype=np.float32)
    z[np.arange(n), y] += 1.5
    return y, z


def logits(n: int, classes: int = CLASSES) -> Data:
    """Class numbers (int64) and a row of logits for each."""
    return pair(*scores(n, classes))


def sparse(n: int, classes: int = CLASSES) -> Data:
    """Class numbers (int64) and a row of probabilities for each."""
    y, z = scores(n, classes)
    return pair(y, softmax(z))


def with_onehot(data: Data, classes: int) -> Data:
    """The same with one-hot float32 labels for Keras and for us."""
    return replace(data, y=np.eye(classes, dtype=np.float32)[data.y])


def onehot(n: int, classes: int = CLASSES) -> Data:
    """As ``sparse``, with one-hot labels."""
    return with_onehot(sparse(n, classes), classes)


def onehot_logits(n: int, classes: int = CLASSES) -> Data:
    """As ``logits``, with one-hot labels."""
    return with_onehot(logits(n, classes), classes)


def values(n: int, width: int = 1) -> Data:
    """Plain values, for aggregations (passed as the only argument)."""
    y = regression(n, width).y
    return pair(y, y, True)


def regression_rows(n: int, width: int) -> Data:
    """``n`` rows of values and predictions of them."""
    return replace(regression(n * width, width), flat=False)


def positive(n: int) -> Data:
    """Values above zero, and predictions of them."""
    data = regression(n)
    return pair(np.exp(data.y), np.exp(data.p), True)


def signs(n: int) -> Data:
    """Labels -1 and 1, and scores between them."""
    data = binary(n)
    return pair(2 * data.y - 1, 2 * data.p - 1, True)


def distributions(n: int) -> Data:
    """Rows of probabilities on both sides."""
    p = sparse(n).p
    return pair(np.roll(p, 1, 0), p)


def ids(n: int, classes: int = CLASSES) -> Data:
    """Class numbers on both sides (int64), most of them equal."""
    rng = np.random.default_rng(10)
    y = rng.integers(0, classes, n)
    p = np.where(rng.random(n) < 0.7, y, rng.integers(0, classes, n))
    return pair(y, p)


def float_ids(n: int) -> Data:
    """Class numbers as a model's float32 column."""
    data = ids(n)
    return pair(
        data.y.astype(np.float32)[:, None], data.p.astype(np.float32)[:, None], True
    )


# --------------------------------------------------------------------------------------
# metrics


@dataclass(frozen=True)
class Subject:
    """One metric in every library that has it.

    ``ours`` takes a module: keras.metrics or keras_tally; ``torchmetrics`` and
    ``torcheval`` take what ``metrics_of`` gives.

    >>> import keras_tally
    >>> float(BY_NAME["Sum"].ours(keras_tally)([1.0, 2.0]))
    3.0
    """

    name: str
    data: Callable[..., Data]
    ours: Callable[[Any], Any]
    torchmetrics: Callable[[Any], Any] | None = None
    torcheval: Callable[[Any], Any] | None = None
    alone: bool = False  # update_state(values) rather than update_state(y_true, y_pred)
    peer_tolerance: float = 1e-5  # for binned curves: other libraries bin otherwise
    stores: tuple[str, ...] = ()  # libraries whose update only stores its inputs
    # Whether the result is a count or sum that grows with the data; one entry for each
    # number of the result.
    grows: bool | tuple[bool, ...] = False
    long: Callable[..., Data] | None = None  # data of long streams, if not `data`

    def peer(self, library: str) -> Callable[[], Any] | None:
        """What makes this metric in torchmetrics or torcheval, None if it has none."""
        make = {"torchmetrics": self.torchmetrics, "torcheval": self.torcheval}[library]
        return None if make is None else partial(make, metrics_of(library))


def huber(module: Any) -> Any:
    """Our Huber; Keras has the loss only, so there it is the mean of that."""
    if module is keras.metrics:
        return keras.metrics.MeanMetricWrapper(
            keras.losses.huber, name="huber", delta=1.0
        )
    return module.Huber()


def true_positives(torchmetrics: Any) -> Any:
    """torchmetrics counts all four kinds at once; this result is the first of them."""

    class TruePositives(torchmetrics.classification.BinaryStatScores):  # type: ignore[misc]
        def compute(self) -> Any:
            return super().compute()[0]

    return TruePositives(validate_args=False)


class OneByOne:
    """Several Keras metrics of the same data, each updated in turn, as ``fit`` does."""

    def __init__(self, metrics: list[Any]) -> None:
        self.metrics = metrics

    @property
    def variables(self) -> list[Any]:
        """The states of all."""
        return [v for metric in self.metrics for v in metric.variables]

    def update_state(self, y_true: Any, y_pred: Any) -> None:
        """Update each."""
        for metric in self.metrics:
            metric.update_state(y_true, y_pred)

    def result(self) -> dict[str, Any]:
        """The results by name, as a group gives them."""
        return {metric.name: metric.result() for metric in self.metrics}


def eight_binary(module: Any) -> list[Any]:
    """Eight metrics of a binary classifier."""
    return [
        module.BinaryAccuracy(),
        module.Precision(),
        module.Recall(),
        module.FBetaScore(average="micro", threshold=0.5, beta=2.0),
        module.AUC(),
        module.TruePositives(),
        module.FalsePositives(),
        module.BinaryCrossentropy(),
    ]


def group(module: Any) -> Any:
    """Eight binary metrics: our group, or Keras's own metrics one by one."""
    metrics = eight_binary(module)
    if module is keras.metrics:
        return OneByOne(metrics)
    return module.MetricGroup(metrics)


SUBJECTS = [
    Subject(
        "BinaryAccuracy",
        binary,
        lambda m: m.BinaryAccuracy(),
        lambda tm: tm.classification.BinaryAccuracy(validate_args=False),
        lambda te: te.BinaryAccuracy(),
    ),
    Subject(
        "SparseCategoricalAccuracy",
        sparse,
        lambda m: m.SparseCategoricalAccuracy(),
        lambda tm: tm.classification.MulticlassAccuracy(
            CLASSES, average="micro", validate_args=False
        ),
        lambda te: te.MulticlassAccuracy(),
    ),
    Subject(
        "Precision",
        binary,
        lambda m: m.Precision(),
        lambda tm: tm.classification.BinaryPrecision(validate_args=False),
        lambda te: te.BinaryPrecision(),
    ),
    Subject(
        "MeanSquaredError",
        regression,
        lambda m: m.MeanSquaredError(),
        lambda tm: tm.MeanSquaredError(),
        lambda te: te.MeanSquaredError(),
    ),
    Subject(
        "AUC(200)",
        binary,
        lambda m: m.AUC(num_thresholds=200),
        lambda tm: tm.classification.BinaryAUROC(thresholds=200, validate_args=False),
        lambda te: te.BinaryBinnedAUROC(threshold=200),
        peer_tolerance=0.05,
        stores=("torcheval",),
    ),
    Subject(
        "AUC(200, PR)",
        binary,
        lambda m: m.AUC(num_thresholds=200, curve="PR"),
        lambda tm: tm.classification.BinaryAveragePrecision(
            thresholds=200, validate_args=False
        ),
        lambda te: te.BinaryBinnedAUPRC(threshold=200),
        peer_tolerance=0.1,
        stores=("torcheval",),
    ),
    Subject(
        "Recall",
        binary,
        lambda m: m.Recall(),
        lambda tm: tm.classification.BinaryRecall(validate_args=False),
        lambda te: te.BinaryRecall(),
    ),
    Subject(
        "TruePositives",
        binary,
        lambda m: m.TruePositives(),
        true_positives,
        grows=True,
        long=hits,
    ),
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
        lambda tm: tm.classification.MulticlassAccuracy(
            CLASSES, average="micro", validate_args=False
        ),
        lambda te: te.MulticlassAccuracy(),
    ),
    Subject(
        "SparseTopKCategoricalAccuracy(3)",
        sparse,
        lambda m: m.SparseTopKCategoricalAccuracy(k=TOP),
        lambda tm: tm.classification.MulticlassAccuracy(
            CLASSES, average="micro", top_k=TOP, validate_args=False
        ),
        lambda te: te.MulticlassAccuracy(k=TOP, num_classes=CLASSES),
    ),
    Subject(
        "TopKCategoricalAccuracy(3)", onehot, lambda m: m.TopKCategoricalAccuracy(k=TOP)
    ),
    Subject(
        "MeanAbsoluteError",
        regression,
        lambda m: m.MeanAbsoluteError(),
        lambda tm: tm.MeanAbsoluteError(),
    ),
    Subject(
        "RootMeanSquaredError",
        regression,
        lambda m: m.RootMeanSquaredError(),
        lambda tm: tm.MeanSquaredError(squared=False),
    ),
    Subject("Huber", regression, huber),
    Subject(
        "Mean",
        values,
        lambda m: m.Mean(),
        lambda tm: tm.MeanMetric(nan_strategy="disable"),
        lambda te: te.Mean(),
        True,
    ),
    Subject(
        "Sum",
        values,
        lambda m: m.Sum(),
        lambda tm: tm.SumMetric(nan_strategy="disable"),
        lambda te: te.Sum(),
        True,
        grows=True,
    ),
]

# The other classes of keras.metrics.
MORE = [
    Subject("Accuracy", float_ids, lambda m: m.Accuracy()),
    Subject("TrueNegatives", binary, lambda m: m.TrueNegatives(), grows=True),
    Subject("FalsePositives", binary, lambda m: m.FalsePositives(), grows=True),
    Subject("FalseNegatives", binary, lambda m: m.FalseNegatives(), grows=True),
    Subject("PrecisionAtRecall", binary, lambda m: m.PrecisionAtRecall(0.5)),
    Subject("RecallAtPrecision", binary, lambda m: m.RecallAtPrecision(0.5)),
    Subject(
        "SensitivityAtSpecificity", binary, lambda m: m.SensitivityAtSpecificity(0.5)
    ),
    Subject(
        "SpecificityAtSensitivity", binary, lambda m: m.SpecificityAtSensitivity(0.5)
    ),
    Subject(
        "F1Score",
        onehot,
        lambda m: m.F1Score(),
        lambda tm: tm.classification.MulticlassF1Score(
            CLASSES, average=None, validate_args=False
        ),
        lambda te: te.MulticlassF1Score(num_classes=CLASSES, average=None),
    ),
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
    Subject(
        "R2Score",
        partial(regression_rows, width=WIDTH),
        lambda m: m.R2Score(),
        lambda tm: tm.R2Score(),
        lambda te: te.R2Score(),
    ),
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
    Subject(
        "MeanIoU",
        ids,
        lambda m: m.MeanIoU(CLASSES),
        lambda tm: tm.classification.MulticlassJaccardIndex(
            CLASSES, validate_args=False
        ),
    ),
    Subject("OneHotIoU", onehot, lambda m: m.OneHotIoU(CLASSES, [0, 3])),
    Subject("OneHotMeanIoU", onehot, lambda m: m.OneHotMeanIoU(CLASSES)),
]

# Losses as models without a last activation use them.
LOGITS = [
    Subject(
        "BinaryCrossentropy(from_logits)",
        binary,
        lambda m: m.BinaryCrossentropy(from_logits=True),
    ),
    Subject(
        "CategoricalCrossentropy(from_logits)",
        onehot_logits,
        lambda m: m.CategoricalCrossentropy(from_logits=True),
    ),
    Subject(
        "SparseCategoricalCrossentropy(from_logits)",
        logits,
        lambda m: m.SparseCategoricalCrossentropy(from_logits=True),
    ),
    Subject(
        "SparseCategoricalCrossentropy(from_logits), 1000 classes",
        partial(logits, classes=1000),
        lambda m: m.SparseCategoricalCrossentropy(from_logits=True),
    ),
]

# What is not a class of keras.metrics with its defaults.
EXTRA = [
    Subject(
        "MetricGroup(8)",
        binary,
        group,
        grows=(False,) * 5 + (True, True, False),
    ),
]
BY_NAME = {s.name: s for s in [*SUBJECTS, *MORE, *LOGITS, *EXTRA]}


def sklearn_function(name: str) -> Callable[[Array, Array], Any] | None:
    """scikit-learn's function for a metric, on NumPy arrays (labels, scores) in the
    layout of the other libraries; None if it has none.
    """
    sk = metrics_of("sklearn")

    def argmax(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        return lambda y, p: function(y, p.argmax(1), **options)

    def above(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda y, p: function(y, p > 0.5)

    found: dict[str, Callable[[Array, Array], Any]] = {
        "MeanSquaredError": sk.mean_squared_error,
        "MeanAbsoluteError": sk.mean_absolute_error,
        "RootMeanSquaredError": sk.root_mean_squared_error,
        "R2Score": sk.r2_score,
        "BinaryAccuracy": above(sk.accuracy_score),
        "Precision": above(sk.precision_score),
        "Recall": above(sk.recall_score),
        "AUC(200)": sk.roc_auc_score,
        "BinaryCrossentropy": sk.log_loss,
        "SparseCategoricalAccuracy": argmax(sk.accuracy_score),
        "CategoricalAccuracy": argmax(sk.accuracy_score),
        "SparseTopKCategoricalAccuracy(3)": lambda y, p: sk.top_k_accuracy_score(
            y, p, k=TOP, labels=range(CLASSES)
        ),
        "F1Score": argmax(sk.f1_score, average=None, labels=range(CLASSES)),
        "MeanIoU": lambda y, p: sk.jaccard_score(y, p, average="macro"),
    }
    return found.get(name)
