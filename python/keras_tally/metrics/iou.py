"""Intersection over union of classes, as in Keras's IoU metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from keras_tally._declare import function, metric
from keras_tally._results import Options, Sums, in_keras_ops
from keras_tally._specs import (
    Rules,
    Shape,
    Spec,
    check_integer,
    check_threshold,
    ignored_classes,
    plain_list,
)
from keras_tally._with_keras import PairMetric, keras, keras_rules, ops, warn, wide


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


# float32 ids go no further.
MOST_CLASSES = 2**24
MOST_CELLS = 2**37  # of a confusion matrix: a TiB


def _check_classes(num_classes: int, per_class_counts: bool) -> int:
    num_classes = check_integer("num_classes", num_classes, 1)
    if num_classes > MOST_CLASSES:
        raise ValueError(
            f"`num_classes` may be {MOST_CLASSES} at most, as far as float32 ids go. "
            f"Received: num_classes={num_classes}"
        )
    if not per_class_counts and num_classes**2 > MOST_CELLS:
        raise ValueError(
            f"`num_classes` asks for a matrix of {num_classes**2 >> 27} GiB. With "
            "`per_class_counts=True` IoU metrics keep three counts for each class. "
            f"Received: num_classes={num_classes}"
        )
    return num_classes


def _iou_spec(
    rules: Rules,
    num_classes: int,
    target_class_ids: Sequence[int],
    ignore_class: Any = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
    axis: int = -1,
    per_class_counts: bool = False,
    *,
    threshold: float | None = None,
    whole: bool = False,
) -> Spec:
    num_classes = _check_classes(num_classes, per_class_counts)
    targets = plain_list(target_class_ids)
    if not isinstance(targets, list):
        raise ValueError(
            "`target_class_ids` must be a list of class ids. "
            f"Received: target_class_ids={targets!r}"
        )
    targets = [check_integer("target_class_ids", i, -num_classes) for i in targets]
    if not targets or not -num_classes <= min(targets) <= max(targets) < num_classes:
        raise ValueError(
            f"`target_class_ids` must be one or more of [0, {num_classes}). "
            f"Received: target_class_ids={targets}"
        )
    if per_class_counts:
        names = ("true_positives", "false_positives", "false_negatives")
        state: dict[str, Shape] = dict.fromkeys(names, (num_classes,))
    else:
        state = {"total_confusion_matrix": (num_classes, num_classes)}
    return Spec(
        "confusion_matrix",
        "iou",
        state,
        {
            "whole": whole,
            "num_classes": num_classes,
            "per_class_counts": per_class_counts,
            "ignore_class": ignored_classes(ignore_class),
            "dense_labels": not sparse_y_true,
            "dense_predicted": not sparse_y_pred,
            "axis": axis,
            "threshold": threshold,
            "target_class_ids": targets,
            "epsilon": rules.epsilon,
        },
    )


class _IoUBase(PairMetric):
    """A confusion matrix, or what IoU needs of it."""

    _direction = "up"
    target_class_ids: list[int]
    # The least score of class 1; None where y_pred holds classes.
    threshold: float | None = None
    # Counts for each class are all that a function needs: it makes no matrix.
    fixed_arguments: ClassVar[dict[str, Any]] = {"per_class_counts": True}
    total_confusion_matrix: Any

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
        self.num_classes = num_classes = check_integer("num_classes", num_classes, 1)
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.per_class_counts = per_class_counts
        self._whole = keras.backend.is_int_dtype(self.dtype)
        spec = _iou_spec(
            keras_rules(),
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
        for name, shape in spec.state.items():
            counts = self._add_state(name, shape, self.dtype, self._whole)
            setattr(self, name, counts)
        self._bind(spec, "float32")

    @property
    def total_cm(self) -> Any:
        """The variable `total_confusion_matrix`, as Keras calls it."""
        return self.total_confusion_matrix

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


@metric("iou")
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

    @classmethod
    def spec(
        cls,
        rules: Rules,
        num_classes: int,
        target_class_ids: Sequence[int],
        ignore_class: int | Sequence[int] | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
        per_class_counts: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        return _iou_spec(
            rules,
            num_classes,
            target_class_ids,
            ignore_class,
            sparse_y_true,
            sparse_y_pred,
            axis,
            per_class_counts,
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


@metric("binary_iou")
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
        self.threshold = check_threshold(threshold)
        super().__init__(
            num_classes=2,
            target_class_ids=target_class_ids,
            name=name,
            dtype=dtype,
        )

    @classmethod
    def spec(  # type: ignore[override]
        cls,
        rules: Rules,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        least = check_threshold(threshold)
        return _iou_spec(rules, 2, target_class_ids, threshold=least)

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return self._config_of("target_class_ids", "threshold")


@metric("mean_iou")
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
            target_class_ids=range(check_integer("num_classes", num_classes, 1)),
            name=name,
            dtype=dtype,
            ignore_class=ignore_class,
            sparse_y_true=sparse_y_true,
            sparse_y_pred=sparse_y_pred,
            axis=axis,
            per_class_counts=per_class_counts,
        )

    @classmethod
    def spec(  # type: ignore[override]
        cls,
        rules: Rules,
        num_classes: int,
        ignore_class: int | Sequence[int] | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
        per_class_counts: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        return _iou_spec(
            rules,
            num_classes,
            range(check_integer("num_classes", num_classes, 1)),
            ignore_class,
            sparse_y_true,
            sparse_y_pred,
            axis,
            per_class_counts,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return self._config_of(
            "num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis"
        )


@metric("one_hot_iou")
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

    @classmethod
    def spec(  # type: ignore[override]
        cls,
        rules: Rules,
        num_classes: int,
        target_class_ids: Sequence[int],
        ignore_class: int | Sequence[int] | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
        per_class_counts: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        return _iou_spec(
            rules,
            num_classes,
            target_class_ids,
            ignore_class,
            False,
            sparse_y_pred,
            axis,
            per_class_counts,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return self._config_of(
            "num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis"
        )


@metric("one_hot_mean_iou")
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

    @classmethod
    def spec(  # type: ignore[override]
        cls,
        rules: Rules,
        num_classes: int,
        ignore_class: int | Sequence[int] | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
        per_class_counts: bool = False,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        return _iou_spec(
            rules,
            num_classes,
            range(check_integer("num_classes", num_classes, 1)),
            ignore_class,
            False,
            sparse_y_pred,
            axis,
            per_class_counts,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return self._config_of("num_classes", "ignore_class", "sparse_y_pred", "axis")


@function(is_matrix=True)
def confusion_matrix(
    rules: Rules,
    num_classes: int,
    ignore_class: int | Sequence[int] | None = None,
    sparse_y_true: bool = True,
    sparse_y_pred: bool = True,
    axis: int = -1,
) -> Spec:
    """How many samples of each class are taken for which.

    Formula: `matrix[i, j] = sum(sample_weight * (y_true == i & y_pred == j))`, int64
    without weights and float64 with them; ids out of [0, num_classes) are left out.

    Shapes and dtypes: one label for each score or class id.

    Args:
        num_classes: number of classes.
        ignore_class: a class id, or a list of them, whose samples (by `y_true`) are
            left out.
        sparse_y_true: whether `y_true` holds class ids; otherwise its largest
            entry along `axis` is the class.
        sparse_y_pred: whether `y_pred` holds class ids; otherwise its largest
            entry along `axis` is the class.
        axis: the class axis of inputs that are not sparse.

    Example:

    >>> from keras_tally import functional as F
    >>> value = F.confusion_matrix([0, 0, 1, 1], [0, 1, 1, 1], num_classes=2)
    >>> value.tolist()
    [[1, 1], [0, 2]]

    Source: `sklearn.metrics.confusion_matrix`.
    """
    spec = _iou_spec(
        rules, num_classes, (0,), ignore_class, sparse_y_true, sparse_y_pred, axis
    )
    size = int(num_classes)
    return replace(spec, result="counts", matrix=(size, size))
