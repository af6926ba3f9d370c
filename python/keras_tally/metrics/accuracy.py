"""How often predictions are right, as in Keras's accuracy metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_tally._declare import metric
from keras_tally._specs import (
    FEW,
    Rules,
    Spec,
    State,
    check_integer,
    check_threshold,
    ignored_classes,
    mean_spec,
)
from keras_tally.metrics.reduction import KernelMean


class _HitMean(KernelMean):
    """The share of predictions that a kernel calls hits."""

    _direction = "up"


@metric("accuracy")
class Accuracy(_HitMean):
    """How often predictions equal labels.

    Formula: `mean(y_true == y_pred)`, `y_true` first cast to the dtype of
    `y_pred`, weighted by `sample_weight`.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that broadcast, bool,
    integer or float; the result is a scalar of `dtype`.

    Differences from Keras: exact counts in a float64 state; 64-bit integers are
    compared exactly.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.Accuracy()
    >>> m.update_state([[1], [2], [3], [4]], [[0], [2], [3], [4]])
    >>> float(m.result())
    0.75

    Source: `keras.metrics.Accuracy`.
    """

    _warns_of_result = True

    def __init__(self, name: str = "accuracy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(cls, rules: Rules) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return mean_spec("equal", labels_in_scores_dtype=True)

    def _doubt(self, state: State) -> str | None:
        if state["total"] != 0:
            return ""
        if state["count"] < FEW:
            return None
        return (
            f"none of {float(state['count']):.0f} predictions equals its label. It "
            "compares the values themselves; for scores there are BinaryAccuracy, "
            "CategoricalAccuracy (one-hot labels) and SparseCategoricalAccuracy (class "
            "ids)."
        )


@metric("binary_accuracy")
class BinaryAccuracy(_HitMean):
    """How often thresholded predictions match binary labels.

    Formula: `mean(y_true == (y_pred > threshold))`, weighted by `sample_weight`.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that broadcast, bool,
    integer or float; the result is a scalar of `dtype`. A NaN score is above no
    threshold.

    Differences from Keras: exact counts in a float64 state.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.
        threshold: float above which a prediction counts as 1.

    Raises:
        ValueError: shapes that do not broadcast, weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.BinaryAccuracy()
    >>> m.update_state([[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]])
    >>> float(m.result())
    0.75

    Source: `keras.metrics.BinaryAccuracy`.
    """

    def __init__(
        self,
        name: str = "binary_accuracy",
        dtype: Any = None,
        threshold: float = 0.5,
    ) -> None:
        self.threshold = threshold
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(cls, rules: Rules, threshold: float = 0.5) -> Spec:
        """Return the kernel, the state and the result."""
        return mean_spec(
            "binary_hit",
            # Keras compares in float32 at most (and in a 16-bit y_pred's dtype).
            threshold=float(np.float32(check_threshold(threshold))),
            threshold_in_scores_dtype=rules.threshold_in_scores_dtype,
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "threshold": self.threshold}


@metric("categorical_accuracy")
class CategoricalAccuracy(_HitMean):
    """How often the largest score falls on the largest entry of a one-hot label.

    Formula: `mean(argmax(y_true, -1) == argmax(y_pred, -1))`, weighted by
    `sample_weight`. The first of equal scores wins; NaN is the largest score.

    Shapes and dtypes: `y_true` and `y_pred` of one shape `(..., num_classes)` with at
    least two axes, bool, integer or float; the result is a scalar of `dtype`.

    Differences from Keras: exact counts in a float64 state; class ids in place of
    one-hot labels are an error, where Keras takes the batch for one sample.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes or weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.CategoricalAccuracy()
    >>> m.update_state([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    >>> float(m.result())
    0.5

    Source: `keras.metrics.CategoricalAccuracy`.
    """

    kernel = "categorical_hit"

    def __init__(self, name: str = "categorical_accuracy", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@metric("sparse_categorical_accuracy")
class SparseCategoricalAccuracy(_HitMean):
    """How often the largest score falls on an integer label.

    Formula: `mean(y_true == argmax(y_pred, -1))`, weighted by `sample_weight`.
    The first of equal scores wins; NaN is the largest score; a label out of
    range is never hit.

    Shapes and dtypes: `y_pred` of shape `(..., num_classes)`, `y_true` of the
    same shape without the last axis or with size 1 there, bool, integer or
    float; the result is a scalar of `dtype`.

    Differences from Keras: exact counts in a float64 state; labels are not
    rounded to the dtype of `y_pred` (in float16, 2049 would equal 2048);
    `ignore_class` is not in Keras.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.
        ignore_class: a label, or a list of labels, whose samples are left out.
            Keyword only.

    Raises:
        ValueError: shapes or weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.SparseCategoricalAccuracy()
    >>> m.update_state([[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]])
    >>> float(m.result())
    0.5

    Source: `keras.metrics.SparseCategoricalAccuracy`.
    """

    def __init__(
        self,
        name: str = "sparse_categorical_accuracy",
        dtype: Any = None,
        *,
        ignore_class: int | Sequence[int] | None = None,
    ) -> None:
        self.ignore_class = ignore_class
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(
        cls, rules: Rules, ignore_class: int | Sequence[int] | None = None
    ) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        ignored = ignored_classes(ignore_class)
        return mean_spec("sparse_categorical_hit", ignore_class=ignored)

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), **self._extra_config("ignore_class")}


@metric("top_k_categorical_accuracy")
class TopKCategoricalAccuracy(_HitMean):
    """How often a one-hot label's class is among the `k` best scores.

    Formula: `mean(count(y_pred > y_pred[argmax(y_true)]) < k)`, weighted by
    `sample_weight`: scores equal to the true class's do not push it out.

    Shapes and dtypes: `y_true` and `y_pred` of one shape `(..., num_classes)`, bool,
    integer or float; the result is a scalar of `dtype`.

    Differences from Keras: exact counts in a float64 state; with `k` beyond the number
    of classes everything is a hit, which on torch is an error of Keras's.

    Args:
        k: number of best scores to look at, at least 1.
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes or weights that do not fit; a `k` that is no positive
            integer.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.TopKCategoricalAccuracy(k=1)
    >>> m.update_state([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    >>> float(m.result())
    0.5

    Source: `keras.metrics.TopKCategoricalAccuracy`.
    """

    def __init__(
        self,
        k: int = 5,
        name: str = "top_k_categorical_accuracy",
        dtype: Any = None,
    ) -> None:
        self.k = check_integer("k", k, 1)
        super().__init__(name=name, dtype=dtype)

    @classmethod
    def spec(cls, rules: Rules, k: int = 5) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return mean_spec("top_k_hit", k=check_integer("k", k, 1))

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {**super().get_config(), "k": self.k}


@metric("sparse_top_k_categorical_accuracy")
class SparseTopKCategoricalAccuracy(TopKCategoricalAccuracy):
    """How often an integer label's class is among the `k` best scores.

    Formula: `mean(count(y_pred > y_pred[y_true]) < k)`, weighted by
    `sample_weight`: scores equal to the true class's do not push it out. With
    `from_sorted_ids`: `mean(y_true in y_pred[:k])`.

    Shapes and dtypes: `y_pred` of shape `(..., num_classes)`, `y_true` of the
    same shape without the last axis or with size 1 there, bool, integer or
    float; the result is a scalar of `dtype`.

    Differences from Keras: exact counts in a float64 state; a label out of range
    is an error on all backends (with `from_sorted_ids` a miss); with `k` beyond the
    number of classes everything is a hit, which on torch is an error of Keras's;
    `ignore_class` is not in Keras.

    Args:
        k: number of best scores to look at, at least 1.
        name: string name of the metric instance.
        dtype: dtype of the result.
        from_sorted_ids: whether `y_pred` holds class ids, best first, instead of
            scores.
        ignore_class: a label, or a list of labels, whose samples are left out.
            Keyword only.

    Raises:
        ValueError: shapes or weights that do not fit; a label outside
            `[0, num_classes)` that is not ignored; a `k` that is no positive integer.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.SparseTopKCategoricalAccuracy(k=1)
    >>> m.update_state([2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    >>> float(m.result())
    0.5

    Source: `keras.metrics.SparseTopKCategoricalAccuracy`.
    """

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: Any = None,
        from_sorted_ids: bool = False,
        *,
        ignore_class: int | Sequence[int] | None = None,
    ) -> None:
        self.ignore_class = ignore_class
        self.from_sorted_ids = from_sorted_ids
        super().__init__(k=k, name=name, dtype=dtype)

    @classmethod
    def spec(
        cls,
        rules: Rules,
        k: int = 5,
        from_sorted_ids: bool = False,
        ignore_class: int | Sequence[int] | None = None,
    ) -> Spec:
        """Return the kernel, the state and the result."""
        del rules
        return mean_spec(
            "sorted_ids_hit" if from_sorted_ids else "sparse_top_k_hit",
            k=check_integer("k", k, 1),
            ignore_class=ignored_classes(ignore_class),
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric."""
        return {
            **super().get_config(),
            **self._extra_config("from_sorted_ids", "ignore_class"),
        }


class _RankMean(KernelMean):
    """The mean of what a kernel says of the true class's rank."""

    _direction = "down"


@metric("mean_rank")
class MeanRank(_RankMean):
    """The mean rank of a one-hot label's class among the scores.

    Formula: `mean(1 + count(y_pred > y_pred[argmax(y_true)]))`, weighted by
    `sample_weight`: 1 is the best. Scores equal to the true class's do not push it
    down, so that the rank is at most `k` where `TopKCategoricalAccuracy(k)` has a hit;
    NaN among the others counts as above, and a NaN of the true class ranks last.

    Shapes and dtypes: `y_true` and `y_pred` of shape `(..., num_classes)`, bool,
    integer or float; the result is a scalar of `dtype`.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes or weights that do not fit.
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.MeanRank()
    >>> m.update_state([[0, 0, 1], [0, 1, 0]], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    >>> float(m.result())
    1.5

    Source: Bordes et al., Translating Embeddings for Modeling Multi-relational Data,
    2013 (the mean of predicted ranks). Keras has no such metric.
    """

    kernel = "true_rank"

    def __init__(self, name: str = "mean_rank", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)


@metric("sparse_mean_rank")
class SparseMeanRank(_RankMean):
    """The mean rank of an integer label's class among the scores.

    Formula: `mean(1 + count(y_pred > y_pred[y_true]))`, weighted by `sample_weight`:
    1 is the best. Scores equal to the true class's do not push it down, so that the
    rank is at most `k` where `SparseTopKCategoricalAccuracy(k)` has a hit; NaN among
    the others counts as above, and a NaN of the true class ranks last.

    Shapes and dtypes: `y_pred` of shape `(..., num_classes)`, `y_true` of the
    same shape without the last axis or with size 1 there, bool, integer or
    float; the result is a scalar of `dtype`.

    Args:
        name: string name of the metric instance.
        dtype: dtype of the result.

    Raises:
        ValueError: shapes or weights that do not fit; a label outside
            `[0, num_classes)` (on JAX the result is NaN).
        TypeError: a dtype that is no bool, integer or float up to 64 bits.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.SparseMeanRank()
    >>> m.update_state([2, 1], [[0.1, 0.9, 0.8], [0.05, 0.95, 0]])
    >>> float(m.result())
    1.5

    Source: Bordes et al., Translating Embeddings for Modeling Multi-relational Data,
    2013 (the mean of predicted ranks). Keras has no such metric.
    """

    kernel = "sparse_true_rank"

    def __init__(self, name: str = "sparse_mean_rank", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
