"""Keras metrics with a C++ core: exact, and as fast as memory allows.

>>> import keras_tally as kt
>>> m = kt.BinaryAccuracy()
>>> m.update_state([1, 0, 1, 1], [0.9, 0.2, 0.4, 0.8])
>>> float(m.result())
0.75
"""

from keras_tally import callbacks
from keras_tally._bytes import from_bytes
from keras_tally._device import cuda_status
from keras_tally._distributed import sync
from keras_tally._explain import explain
from keras_tally._fuse import fuse
from keras_tally._identifiers import deserialize, get, serialize
from keras_tally._install import install, uninstall
from keras_tally._metric import Metric
from keras_tally._threads import num_threads, set_num_threads
from keras_tally.group import MetricGroup
from keras_tally.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    MeanRank,
    SparseCategoricalAccuracy,
    SparseMeanRank,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from keras_tally.metrics.confusion import (
    AUC,
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from keras_tally.metrics.correlation import (
    ConcordanceCorrelation,
    PearsonCorrelation,
)
from keras_tally.metrics.elementwise import ElementwiseMetric, elementwise
from keras_tally.metrics.f_score import (
    F1Score,
    FBetaScore,
)
from keras_tally.metrics.functions import (
    binary_accuracy,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_accuracy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    concordance_correlation,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    pearson_correlation,
    poisson,
    sparse_categorical_accuracy,
    sparse_categorical_crossentropy,
    sparse_top_k_categorical_accuracy,
    squared_hinge,
    top_k_categorical_accuracy,
)
from keras_tally.metrics.hinge import (
    CategoricalHinge,
    Hinge,
    SquaredHinge,
)
from keras_tally.metrics.iou import (
    BinaryIoU,
    IoU,
    MeanIoU,
    OneHotIoU,
    OneHotMeanIoU,
)
from keras_tally.metrics.native import NativeMetric, get_cmake_dir
from keras_tally.metrics.probabilistic import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    KLDivergence,
    MeanMaxProbability,
    Poisson,
    SparseCategoricalCrossentropy,
)
from keras_tally.metrics.reduction import (
    Mean,
    MeanMetricWrapper,
    Sum,
)
from keras_tally.metrics.regression import (
    CosineSimilarity,
    Huber,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    R2Score,
    RootMeanSquaredError,
)

__version__ = "0.1.0"

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "CosineSimilarity",
    "ElementwiseMetric",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "Huber",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMaxProbability",
    "MeanMetricWrapper",
    "MeanRank",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "MetricGroup",
    "NativeMetric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseMeanRank",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "__version__",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "callbacks",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "cuda_status",
    "deserialize",
    "elementwise",
    "explain",
    "from_bytes",
    "fuse",
    "get",
    "get_cmake_dir",
    "hinge",
    "huber",
    "install",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "num_threads",
    "pearson_correlation",
    "poisson",
    "serialize",
    "set_num_threads",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "sync",
    "top_k_categorical_accuracy",
    "uninstall",
]
