"""Metrics that Keras lacks: the reference, the data, and what Keras's users write.

An entry here is all that a new metric needs to be tested like the others.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
import numpy as np
from keras.src.losses.loss import squeeze_or_expand_to_same_rank

import references
from makers import make_binary, make_columns, make_onehot, make_regression, make_sparse
from references import MeanOfFunction, R2Reference, RatioReference, exact, match_ranks

# Cross-entropies and the like go through a logarithm; the rest is exact up to rounding.
LOG = 1e-6


@dataclass(frozen=True)
class Beyond:
    """A class of ours that Keras has not."""

    # Of constructor arguments.
    reference: Callable
    # Keras's metric of the same arguments.
    keras: Callable
    make: Callable
    default_name: str | None
    direction: str
    # Of each case.
    arguments: tuple = ({},)
    options: dict = field(default_factory=dict)
    # A class of Keras whose rules for shapes, weights and states it shares.
    like: str = ""


def mean_of(fn, default_name, **renamed):
    """Keras's mean of a function that has these names of our arguments."""

    def make(name=default_name, **kwargs):
        kwargs = {renamed.get(k, k): v for k, v in kwargs.items()}
        return keras.metrics.MeanMetricWrapper(fn, name=name, **kwargs)

    return make


def rank_of(labels, scores):
    own = keras.ops.take_along_axis(scores, labels[..., None], axis=-1)
    return 1.0 + keras.ops.sum(keras.ops.cast(scores > own, "float32"), axis=-1)


def keras_sparse_rank(y_true, y_pred):
    if len(y_true.shape) == len(y_pred.shape):
        y_true = keras.ops.squeeze(y_true, -1)
    return rank_of(keras.ops.cast(y_true, "int32"), y_pred)


def keras_rank(y_true, y_pred):
    return rank_of(keras.ops.argmax(y_true, axis=-1), y_pred)


def keras_max_probability(y_true, y_pred, from_logits=False, axis=-1):
    if from_logits:
        y_pred = keras.ops.softmax(y_pred, axis=axis)
    return keras.ops.max(y_pred, axis=axis)


def signed_error(y_true, y_pred):
    y_true, y_pred = match_ranks(exact(y_true), exact(y_pred))
    return np.mean(y_pred - y_true, axis=-1)


def keras_signed_error(y_true, y_pred):
    y_pred = keras.ops.convert_to_tensor(y_pred)
    y_true = keras.ops.cast(y_true, y_pred.dtype)
    y_true, y_pred = squeeze_or_expand_to_same_rank(y_true, y_pred)
    return keras.ops.mean(y_pred - y_true, axis=-1)


class FalsePositiveRate(keras.metrics.Recall):
    """The recall of the negatives, by the names of what it counts."""

    def add_variable(self, *args, name, **kwargs):
        names = {
            "true_positives": "false_positives",
            "false_negatives": "true_negatives",
        }
        return super().add_variable(*args, name=names[name], **kwargs)

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = keras.ops.logical_not(keras.ops.cast(y_true, "bool"))
        super().update_state(y_true, y_pred, sample_weight)


class RelativeSquaredError(keras.metrics.R2Score):
    """The other share of the variation."""

    def __init__(self, name="relative_squared_error", **kwargs):
        super().__init__(name=name, **kwargs)
        self._direction = "down"

    def result(self):
        return 1 - super().result()


class RelativeSquaredErrorReference(R2Reference):
    def result(self):
        return 1 - super().result()


BEYOND_KERAS = {
    "RelativeSquaredError": Beyond(
        reference=RelativeSquaredErrorReference,
        keras=RelativeSquaredError,
        make=make_columns,
        default_name="relative_squared_error",
        direction="down",
        arguments=(
            {},
            {"class_aggregation": None},
            {"class_aggregation": "variance_weighted_average"},
        ),
        options={"ranks": (1,)},
        like="R2Score",
    ),
    "FalsePositiveRate": Beyond(
        reference=lambda **kwargs: RatioReference("fp", "tn", **kwargs),
        keras=FalsePositiveRate,
        make=make_binary,
        default_name=None,
        direction="down",
        arguments=({}, {"thresholds": [0.3, 0.75]}, {"thresholds": 0.25}),
        like="Recall",
    ),
    "Huber": Beyond(
        reference=lambda **kwargs: MeanOfFunction(references.huber, **kwargs),
        keras=mean_of(keras.losses.huber, "huber", threshold="delta"),
        make=make_regression,
        default_name="huber",
        direction="down",
        arguments=({}, {"threshold": 0.75}),
        options={"sample_rank": 2},
    ),
    "MeanBiasError": Beyond(
        reference=lambda: MeanOfFunction(signed_error),
        keras=mean_of(keras_signed_error, "mean_bias_error"),
        make=make_regression,
        default_name="mean_bias_error",
        direction="down",
        options={"sample_rank": 2},
    ),
    "MeanRank": Beyond(
        reference=lambda: MeanOfFunction(references.onehot_rank),
        keras=mean_of(keras_rank, "mean_rank"),
        make=make_onehot,
        default_name="mean_rank",
        direction="down",
        options={"ranks": (1, 2)},
    ),
    "SparseMeanRank": Beyond(
        reference=lambda: MeanOfFunction(references.sparse_rank),
        keras=mean_of(keras_sparse_rank, "sparse_mean_rank"),
        make=make_sparse,
        default_name="sparse_mean_rank",
        direction="down",
        options={"ranks": (1, 2)},
    ),
    "MeanMaxProbability": Beyond(
        reference=lambda **kwargs: MeanOfFunction(references.max_probability, **kwargs),
        keras=mean_of(keras_max_probability, "mean_max_probability"),
        make=make_sparse,
        default_name="mean_max_probability",
        direction="up",
        arguments=({}, {"from_logits": True}),
        options={"ranks": (1, 2), "tolerance": LOG},
    ),
}
