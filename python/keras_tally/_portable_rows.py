"""Metrics of rows of scores in Keras's own operations, where Keras has none."""

from __future__ import annotations

from typing import Any

from keras import ops


def sparse_true_rank(y_true: Any, y_pred: Any) -> Any:
    """Return the rank of each row's true class; NaN for a label that is no class."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    labels = ops.cast(y_true, "int32")
    if len(labels.shape) == len(y_pred.shape):
        labels = ops.squeeze(labels, -1)
    classes = y_pred.shape[-1]
    known = ops.logical_and(labels >= 0, labels < classes)
    index = ops.expand_dims(ops.where(known, labels, 0), -1)
    score = ops.take_along_axis(y_pred, index, axis=-1)
    # What is not below or equal is above: NaN, too.
    above = ops.cast(ops.logical_not(y_pred <= score), "float32")
    rank = ops.minimum(1.0 + ops.sum(above, axis=-1), float(classes))
    return ops.where(known, rank, float("nan"))


def true_rank(y_true: Any, y_pred: Any) -> Any:
    """Return the rank of the class of each one-hot label."""
    return sparse_true_rank(ops.argmax(ops.convert_to_tensor(y_true), axis=-1), y_pred)


def max_probability(y_true: Any, y_pred: Any, from_logits: bool, axis: int) -> Any:
    """Return each row's largest probability."""
    del y_true
    y_pred = ops.convert_to_tensor(y_pred)
    if from_logits:
        y_pred = ops.softmax(y_pred, axis=axis)
    return ops.max(y_pred, axis=axis)


def poison_unknown_labels(twin: Any, axis: int = -1) -> None:
    """Make Keras's mean NaN by labels that are no class, as kernels do."""
    update = twin.update_state

    def update_and_poison(y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        update(y_true, y_pred, sample_weight=sample_weight)
        labels = ops.cast(y_true, "int32")
        known = ops.logical_and(labels >= 0, labels < ops.shape(y_pred)[axis])
        # A sum of floats is what XLA has the fastest loops for.
        poison = ops.sum(ops.where(known, 0.0, float("nan")))
        for variable in (twin.total, twin.count):
            variable.assign(variable + ops.cast(poison, variable.dtype))

    twin.update_state = update_and_poison
