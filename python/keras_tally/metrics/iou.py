"""Intersection over union of classes, as in Keras's IoU metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_tally import _specs
from keras_tally._fallback.arrays import Options, wide
from keras_tally._fallback.results import Sums, in_keras_ops
from keras_tally._kernel_metric import PairMetric, rules
from keras_tally._registration import register
from keras_tally._warnings import warn


@in_keras_ops("iou")
def _iou(options: Options, sums: Sums) -> Any:
    """Return the mean over target classes that occur, of TP / (TP + FP + FN)."""
    targets, epsilon = list(options["target_class_ids"]), float(options["epsilon"])
    if options.get("per_class_counts"):
        hits, every = sums[0], sums[0] + sums[1] + sums[2]
    else:
        (matrix,) = sums
        hits = ops.diagonal(matrix)
        every = ops.sum(matrix, axis=0) + ops.sum(matrix, axis=1) - hits
    classes = int(options["num_classes"])
    places = np.array([t % classes for t in targets], "int32")
    hits, every = (ops.take(x, places, axis=0) for x in (hits, every))
    occurs = wide(every > 1e-9)
    shares = ops.where(every > 1e-9, hits / (every + epsilon), 0.0)
    return ops.sum(shares) / (ops.sum(occurs) + epsilon)


class _IoUBase(PairMetric):
    """A confusion matrix, or what IoU needs of it."""

    _direction = "up"
    target_class_ids: list[int]
    # The least score of class 1; None where y_pred holds classes.
    threshold: float | None = None

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | Sequence[int] | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
        *,
        target_class_ids: Sequence[int],
        per_class_counts: bool = False,
    ) -> None:
        super().__init__(name=name, dtype=dtype or "int")
        self.num_classes = num_classes = _specs.check_integer(
            "num_classes", num_classes, 1
        )
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.per_class_counts = per_class_counts
        self._whole = keras.backend.is_int_dtype(self.dtype)
        spec = _specs.iou(
            rules(),
            num_classes,
            target_class_ids,
            ignore_class,
            sparse_y_true,
            sparse_y_pred,
            axis,
            per_class_counts,
            threshold=self.threshold,
            whole=self._whole,
        )
        self.target_class_ids = list(spec.options["target_class_ids"])
        self._make_plan(
            spec.kernel, spec.result, self._add_counts(), "float32", **spec.options
        )

    def _add_counts(self) -> list[Any]:
        names = ["total_confusion_matrix"]
        shape: tuple[int, ...] = (self.num_classes, self.num_classes)
        if self.per_class_counts:
            names = ["true_positives", "false_positives", "false_negatives"]
            shape = (self.num_classes,)
        counts = [self._add_state(n, shape, self.dtype, self._whole) for n in names]
        if self.per_class_counts:
            self.true_positives, self.false_positives, self.false_negatives = counts
        else:
            (self.total_cm,) = counts
        return counts

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch to the counts.

        Args:
            y_true: the true classes.
            y_pred: the predicted ones, one for each of `y_true`.
            sample_weight: optional weights: one for all, one for each sample, or
                one for each entry of the leading axes (such as the images). What the
                Keras mask of `y_pred` leaves out weighs 0.

        Raises:
            ValueError: inputs of different numbers of samples, no such axis,
                weights that do not fit; the state is as it was.
            TypeError: an argument that is no tensor of an accepted dtype.
        """
        if sample_weight is not None:
            self._warn_of_weights(sample_weight)
        super().update_state(y_true, y_pred, sample_weight)

    def _warn_of_weights(self, sample_weight: Any) -> None:
        if self._whole and "float" in str(getattr(sample_weight, "dtype", "")):
            warn(
                "You are passing weight as `float`, but dtype is `int`. This may "
                "result in an incorrect weight due to type casting. Consider using "
                "integer weights, or dtype='float32'."
            )

    def _result_shape(self) -> tuple[int, ...]:
        return ()

    def _config_of(self, *names: str) -> dict[str, Any]:
        # `per_class_counts` is ours alone: without it, Keras can read the config.
        extra = ("per_class_counts",) if self.per_class_counts else ()
        return {
            "name": self.name,
            "dtype": self.dtype,
            **{name: getattr(self, name) for name in (*names, *extra)},
        }


@register
class IoU(_IoUBase):
    """The mean intersection over union of given classes.

    Formula: for each class `true_positives / (true_positives + false_positives +
    false_negatives)`; the mean over those of `target_class_ids` that occur.

    Shapes and dtypes: `y_true` and `y_pred` hold as many class ids as each other,
    in any shape (or rows of scores, for what is not sparse), bool, integer or
    float; ids out of [0, num_classes) are left out; the result is a float32 scalar.

    Differences from Keras: the counts are int64 (Keras: int32, which overflows; on
    JAX, which has no int64, they are pairs of float32 and exact to 2^48), or
    float64 for float dtypes; `axis` is the class axis of the
    inputs only; the state and its dtype do not depend on the backend.

    Args:
        num_classes: number of classes.
        target_class_ids: the classes to average over.
        name: string name of the metric instance.
        dtype: dtype of the state: integers count exactly and truncate weights,
            floats take weights as they are. The result is float32 in any case.
        ignore_class: a class id, or a list of them, whose samples (by `y_true`) are
            left out.
        sparse_y_true: whether `y_true` holds class ids; otherwise its largest
            entry along `axis` is the class.
        sparse_y_pred: whether `y_pred` holds class ids; otherwise its largest
            entry along `axis` is the class.
        axis: the class axis of inputs that are not sparse.
        per_class_counts: whether to keep only the counts of each class
            (`true_positives`, `false_positives`, `false_negatives`, each of shape
            (num_classes,)) instead of the whole matrix: memory grows with the
            number of classes, not with its square. Keyword only; not in Keras.

    Raises:
        ValueError: a target class out of range, more than 2**24 classes or a matrix
            of more than 2**37 numbers, inputs of different numbers of samples, no such
            axis, weights that do not fit.
        MemoryError: no room for the matrix; see `per_class_counts`.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.IoU(num_classes=2, target_class_ids=[0])
    >>> m.update_state([0, 0, 1, 1], [0, 1, 0, 1])
    >>> round(float(m.result()), 5)
    0.33333

    Source: `keras.metrics.IoU`.
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | Sequence[int] | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
        *,
        per_class_counts: bool = False,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            target_class_ids=target_class_ids,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            sparse_y_true=sparse_y_true,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
            per_class_counts=per_class_counts,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return self._config_of(
            "num_classes",
            "target_class_ids",
            "ignore_class",
            "sparse_y_true",
            "sparse_y_pred",
            "axis",
        )


@register
class BinaryIoU(IoU):
    """The mean intersection over union of two classes, told by a threshold.

    Formula: with `y_pred >= threshold` as the predicted class, for each class
    `true_positives / (true_positives + false_positives + false_negatives)`; the
    mean over those of `target_class_ids` that occur.

    Shapes and dtypes: `y_true` and `y_pred` hold as many numbers as each other, in
    any shape, bool, integer or float; scores are compared in float32; labels other
    than 0 and 1 are left out; the result is a float32 scalar.

    Differences from Keras: the counts are int64 (Keras: int32, which overflows; on
    JAX, which has no int64, they are pairs of float32 and exact to 2^48), or
    float64 for float dtypes; the state and its dtype do not
    depend on the backend.

    Args:
        target_class_ids: the classes to average over: 0, 1 or both.
        threshold: the least score of class 1.
        name: string name of the metric instance.
        dtype: dtype of the state: integers count exactly and truncate weights,
            floats take weights as they are. The result is float32 in any case.

    Raises:
        ValueError: a target class out of range, inputs of different numbers of
            samples, no such axis, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.BinaryIoU(target_class_ids=[0, 1], threshold=0.3)
    >>> m.update_state([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7])
    >>> round(float(m.result()), 5)
    0.33333

    Source: `keras.metrics.BinaryIoU`.
    """

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.threshold = _specs.check_threshold(threshold)
        super().__init__(
            num_classes=2,
            target_class_ids=target_class_ids,
            name=name,
            dtype=dtype,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return self._config_of("target_class_ids", "threshold")


@register
class MeanIoU(IoU):
    """The mean intersection over union of all classes.

    Formula: for each class `true_positives / (true_positives + false_positives +
    false_negatives)`; the mean over the classes that occur.

    Shapes and dtypes: `y_true` and `y_pred` hold as many class ids as each other,
    in any shape (or rows of scores, for what is not sparse), bool, integer or
    float; ids out of [0, num_classes) are left out; the result is a float32 scalar.

    Differences from Keras: the counts are int64 (Keras: int32, which overflows; on
    JAX, which has no int64, they are pairs of float32 and exact to 2^48), or
    float64 for float dtypes; `axis` is the class axis of the
    inputs only; the state and its dtype do not depend on the backend.

    Args:
        num_classes: number of classes.
        name: string name of the metric instance.
        dtype: dtype of the state: integers count exactly and truncate weights,
            floats take weights as they are. The result is float32 in any case.
        ignore_class: a class id, or a list of them, whose samples (by `y_true`) are
            left out.
        sparse_y_true: whether `y_true` holds class ids; otherwise its largest
            entry along `axis` is the class.
        sparse_y_pred: whether `y_pred` holds class ids; otherwise its largest
            entry along `axis` is the class.
        axis: the class axis of inputs that are not sparse.
        per_class_counts: whether to keep only the counts of each class
            (`true_positives`, `false_positives`, `false_negatives`, each of shape
            (num_classes,)) instead of the whole matrix: memory grows with the
            number of classes, not with its square. Keyword only; not in Keras.

    Raises:
        ValueError: more than 2**24 classes or a matrix of more than 2**37 numbers,
            inputs of different numbers of samples, no such axis, weights that do not
            fit.
        MemoryError: no room for the matrix; see `per_class_counts`.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.MeanIoU(num_classes=2)
    >>> m.update_state([0, 0, 1, 1], [0, 1, 0, 1])
    >>> round(float(m.result()), 5)
    0.33333

    Source: `keras.metrics.MeanIoU`.
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | Sequence[int] | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
        *,
        per_class_counts: bool = False,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            target_class_ids=range(_specs.check_integer("num_classes", num_classes, 1)),
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            sparse_y_true=sparse_y_true,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
            per_class_counts=per_class_counts,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return self._config_of(
            "num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis"
        )


@register
class OneHotIoU(IoU):
    """The mean intersection over union of given classes, of one-hot labels.

    Formula: with the largest entry along `axis` as the class, for each class
    `true_positives / (true_positives + false_positives + false_negatives)`; the
    mean over those of `target_class_ids` that occur.

    Shapes and dtypes: `y_true` holds rows of class scores along `axis`, `y_pred` as
    many rows (or class ids, if it is sparse), bool, integer or float; rows and ids
    of other classes than [0, num_classes) are left out; the result is a float32
    scalar.

    Differences from Keras: the counts are int64 (Keras: int32, which overflows; on
    JAX, which has no int64, they are pairs of float32 and exact to 2^48), or
    float64 for float dtypes; `axis` is the class axis of the
    inputs only; the state and its dtype do not depend on the backend.

    Args:
        num_classes: number of classes.
        target_class_ids: the classes to average over.
        name: string name of the metric instance.
        dtype: dtype of the state: integers count exactly and truncate weights,
            floats take weights as they are. The result is float32 in any case.
        ignore_class: a class id, or a list of them, whose samples (by `y_true`) are
            left out.
        sparse_y_pred: whether `y_pred` holds class ids; otherwise its largest
            entry along `axis` is the class.
        axis: the class axis of inputs that are not sparse.
        per_class_counts: whether to keep only the counts of each class
            (`true_positives`, `false_positives`, `false_negatives`, each of shape
            (num_classes,)) instead of the whole matrix: memory grows with the
            number of classes, not with its square. Keyword only; not in Keras.

    Raises:
        ValueError: a target class out of range, more than 2**24 classes or a matrix
            of more than 2**37 numbers, inputs of different numbers of samples, no such
            axis, weights that do not fit.
        MemoryError: no room for the matrix; see `per_class_counts`.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.OneHotIoU(num_classes=3, target_class_ids=[0, 2])
    >>> y_true = [[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]]
    >>> y_pred = [[0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.5, 0.3, 0.1], [0.1, 0.4, 0.5]]
    >>> m.update_state(y_true, y_pred)
    >>> round(float(m.result()), 5)
    0.16667

    Source: `keras.metrics.OneHotIoU`.
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | Sequence[int] | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
        *,
        per_class_counts: bool = False,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            target_class_ids=target_class_ids,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            sparse_y_true=False,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
            per_class_counts=per_class_counts,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return self._config_of(
            "num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis"
        )


@register
class OneHotMeanIoU(MeanIoU):
    """The mean intersection over union of all classes, of one-hot labels.

    Formula: with the largest entry along `axis` as the class, for each class
    `true_positives / (true_positives + false_positives + false_negatives)`; the
    mean over the classes that occur.

    Shapes and dtypes: `y_true` holds rows of class scores along `axis`, `y_pred` as
    many rows (or class ids, if it is sparse), bool, integer or float; rows and ids
    of other classes than [0, num_classes) are left out; the result is a float32
    scalar.

    Differences from Keras: the counts are int64 (Keras: int32, which overflows; on
    JAX, which has no int64, they are pairs of float32 and exact to 2^48), or
    float64 for float dtypes; `axis` is the class axis of the
    inputs only; the state and its dtype do not depend on the backend.

    Args:
        num_classes: number of classes.
        name: string name of the metric instance.
        dtype: dtype of the state: integers count exactly and truncate weights,
            floats take weights as they are. The result is float32 in any case.
        ignore_class: a class id, or a list of them, whose samples (by `y_true`) are
            left out.
        sparse_y_pred: whether `y_pred` holds class ids; otherwise its largest
            entry along `axis` is the class.
        axis: the class axis of inputs that are not sparse.
        per_class_counts: whether to keep only the counts of each class
            (`true_positives`, `false_positives`, `false_negatives`, each of shape
            (num_classes,)) instead of the whole matrix: memory grows with the
            number of classes, not with its square. Keyword only; not in Keras.

    Raises:
        ValueError: more than 2**24 classes or a matrix of more than 2**37 numbers,
            inputs of different numbers of samples, no such axis, weights that do not
            fit.
        MemoryError: no room for the matrix; see `per_class_counts`.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.OneHotMeanIoU(num_classes=3)
    >>> y_true = [[0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 0, 0]]
    >>> y_pred = [[0.2, 0.3, 0.5], [0.1, 0.2, 0.7], [0.5, 0.3, 0.1], [0.1, 0.4, 0.5]]
    >>> m.update_state(y_true, y_pred)
    >>> round(float(m.result()), 5)
    0.11111

    Source: `keras.metrics.OneHotMeanIoU`.
    """

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | Sequence[int] | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
        *,
        per_class_counts: bool = False,
    ) -> None:
        super().__init__(
            num_classes=num_classes,
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            sparse_y_true=False,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
            per_class_counts=per_class_counts,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return self._config_of("num_classes", "ignore_class", "sparse_y_pred", "axis")
