"""IoU in Keras's own operations, where Keras itself has no metric that does it."""

from __future__ import annotations

from typing import Any

import keras

from keras_tally._registration import KERAS_CLASSES

KerasIoU: Any = KERAS_CLASSES["IoU"]


class ClassesOnAnyAxis(KerasIoU):  # type: ignore[misc]
    """Keras's IoU, whose `result()` takes the axis of the inputs for its own."""

    axis: int

    def result(self) -> Any:
        """Return the mean over target classes that occur."""
        axis = self.axis
        self.axis = -1
        try:
            return super().result()
        finally:
            self.axis = axis


class PerClassIoU(KerasIoU):  # type: ignore[misc]
    """Keras's IoU with three counts for each class instead of the matrix."""

    def add_variable(self, shape: Any, *args: Any, **kwargs: Any) -> Any:
        """Add no matrix: Keras's constructor asks for one."""
        if kwargs.get("name") == "total_confusion_matrix":
            return None
        return super().add_variable(shape, *args, **kwargs)

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.true_positives, self.false_positives, self.false_negatives = (
            self.add_variable((self.num_classes,), "zeros", self.dtype, name=name)
            for name in ("true_positives", "false_positives", "false_negatives")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch, by the rules of Keras's IoU."""
        ops = keras.ops
        labels = self._ids(y_true, self.sparse_y_true)
        predicted = self._ids(y_pred, self.sparse_y_pred)
        weight = 1 if sample_weight is None else sample_weight
        weight = ops.reshape(ops.convert_to_tensor(weight, dtype=self.dtype), [-1])
        weight = ops.broadcast_to(weight, ops.shape(labels))
        counts = (labels >= 0) & (labels < self.num_classes)
        counts &= (predicted >= 0) & (predicted < self.num_classes)
        if self.ignore_class is not None:
            counts &= labels != self.ignore_class
        weight = ops.where(counts, weight, 0)
        labels, predicted = (
            ops.cast(ops.where(counts, ids, 0), "int32") for ids in (labels, predicted)
        )
        hits = ops.where(labels == predicted, weight, 0)
        self._add(self.true_positives, labels, hits)
        self._add(self.false_negatives, labels, weight - hits)
        self._add(self.false_positives, predicted, weight - hits)

    def _ids(self, y: Any, sparse: bool) -> Any:
        ops = keras.ops
        if not sparse:
            y = ops.argmax(y, axis=self.axis)
        return ops.reshape(ops.convert_to_tensor(y, dtype=self.dtype), [-1])

    def _add(self, variable: Any, ids: Any, weight: Any) -> None:
        sums = keras.ops.segment_sum(weight, ids, num_segments=self.num_classes)
        variable.assign(variable + keras.ops.cast(sums, variable.dtype))

    def result(self) -> Any:
        """Return the mean over target classes that occur."""
        ops = keras.ops
        hits, wrong, missed = (
            ops.take(ops.cast(v, "float32"), self.target_class_ids)
            for v in (self.true_positives, self.false_positives, self.false_negatives)
        )
        union = hits + wrong + missed
        occurs = ops.cast(union > 1e-9, "float32")
        epsilon = keras.config.epsilon()
        iou = ops.where(union > 1e-9, hits / (union + epsilon), 0.0)
        return ops.sum(iou) / (ops.sum(occurs) + epsilon)
