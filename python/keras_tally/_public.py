"""What `keras_tally` has once Keras is imported, next to the classes of `metrics`."""

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
from keras_tally.metrics.elementwise import ElementwiseMetric, elementwise
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

__all__ = [
    "ElementwiseMetric",
    "Metric",
    "MetricGroup",
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
