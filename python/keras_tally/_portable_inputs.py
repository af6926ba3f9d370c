"""Batches as Keras's own metrics take them, where ours take more.

Each function makes a change, which `before_update` lets a metric of Keras apply to a
batch before it sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from keras import ops

from keras_tally._backends import with_shape
from keras_tally._masks import combine_mask
from keras_tally._specs import ignored_classes

Batch = tuple[Any, Any, Any]
Change = Callable[[Any, Any, Any], Batch]


def before_update(twin: Any, *changes: Change) -> None:
    """Let a metric of Keras make these changes to y_true, y_pred and weights."""
    update = twin.update_state

    def changed(y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        batch = with_shape(y_true), with_shape(y_pred), with_shape(sample_weight)
        for change in changes:
            batch = change(*batch)
        update(*batch[:2], sample_weight=batch[2])

    twin.update_state = changed


def probabilities(y_true: Any, y_pred: Any, sample_weight: Any) -> Batch:
    """Take the scores for logits."""
    return y_true, ops.sigmoid(ops.cast(y_pred, "float32")), sample_weight


def one_column(class_id: int) -> Change:
    """Take one column of labels and scores."""

    def change(y_true: Any, y_pred: Any, sample_weight: Any) -> Batch:
        return _column(y_true, class_id), _column(y_pred, class_id), sample_weight

    return change


def _column(x: Any, index: int) -> Any:
    at = index if index >= 0 else x.shape[-1] + index
    return x[..., at : at + 1]


def weights_of_scores(class_id: int | None) -> Change:
    """Align weights at the leading axes of the scores, of which one column may count.

    Keras adds one axis to them.
    """

    def change(y_true: Any, y_pred: Any, sample_weight: Any) -> Batch:
        if sample_weight is None:
            return y_true, y_pred, sample_weight
        rank, own = len(y_pred.shape), len(sample_weight.shape)
        columns = own == rank and sample_weight.shape[-1] == y_pred.shape[-1]
        if class_id is not None and columns:
            sample_weight = _column(sample_weight, class_id)
        elif own == rank + 1 and sample_weight.shape[-1] == 1:
            sample_weight = ops.squeeze(sample_weight, -1)
        elif 0 < own < rank - 1:
            sample_weight = _with_axes(sample_weight, rank - 1 - own)
        return y_true, y_pred, sample_weight

    return change


def weights_of_ids(sparse: bool, axis: int) -> Change:
    """Spread weights of the leading axes over class ids, which Keras flattens."""

    def change(y_true: Any, y_pred: Any, sample_weight: Any) -> Batch:
        if sample_weight is None:
            return y_true, y_pred, sample_weight
        shape = list(ops.shape(y_true))
        if not sparse:
            del shape[axis]
        rank = len(sample_weight.shape)
        leading = zip(sample_weight.shape, shape, strict=False)
        if 0 < rank < len(shape) and all(a in (1, b) for a, b in leading):
            sample_weight = _with_axes(sample_weight, len(shape) - rank)
            sample_weight = ops.broadcast_to(sample_weight, shape)
        return y_true, y_pred, sample_weight

    return change


def _with_axes(x: Any, count: int) -> Any:
    return ops.reshape(x, (*ops.shape(x), *(1,) * count))


def without(classes: Sequence[int], axis: int | None, sparse: bool = True) -> Change:
    """Let samples of these classes weigh nothing.

    Args:
        classes: the ids.
        axis: the class axis of the scores, on which labels may have one entry; None
            where labels and predictions are class ids alike.
        sparse: whether `y_true` holds class ids, and not rows of scores.
    """

    def change(y_true: Any, y_pred: Any, sample_weight: Any) -> Batch:
        ids = y_true if sparse else ops.argmax(y_true, axis=axis)
        # In a dtype that holds any id; what is no integer is none of them.
        ids = ops.cast(ids, "int32") if _is_unsigned(ids) else ids
        ignored = ops.zeros_like(ids, dtype="bool")
        for label in classes:
            ignored = ops.logical_or(ignored, ops.equal(ids, label))
        if sparse:
            y_true = ops.where(ignored, ops.zeros_like(ids), ids)
        if sparse and axis is not None and len(ids.shape) == len(y_pred.shape):
            ignored = ops.squeeze(ignored, axis)
        kept = ops.logical_not(ignored)
        return y_true, y_pred, combine_mask(kept, sample_weight)

    return change


def ignore_classes(twin: Any, ignore_class: Any, axis: int = -1) -> None:
    """Let a metric of Keras that takes labels and scores leave out classes."""
    classes = ignored_classes(ignore_class)
    if classes:
        before_update(twin, without(classes, axis))


def _is_unsigned(x: Any) -> bool:
    return "uint" in str(x.dtype) or "bool" in str(x.dtype)
