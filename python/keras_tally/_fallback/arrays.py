"""Shapes and sums, as the kernels have them (`csrc/tensor/shapes.h`, `defs/mean.h`).

On JAX some of Keras's operations compute float64 in float32, without a word: mean,
floor, ceil and the trigonometric and hyperbolic ones. None of them is used here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

Options = Mapping[str, Any]


def wide(x: Any) -> Any:
    """Return a tensor as float64."""
    return ops.cast(x, "float64")


def sizes(x: Any) -> list[Any]:
    """Return the size of each axis: a float, or a float64 where it is not known."""
    return [_size(n) for n in ops.shape(x)]


def _size(n: Any) -> Any:
    return float(n) if isinstance(n, int) else wide(ops.convert_to_tensor(n))


def count(x: Any) -> Any:
    """Return how many entries a tensor has."""
    if all(isinstance(n, int) for n in x.shape):
        return float(math.prod(x.shape))
    return ops.sum(ops.ones_like(x, dtype="float64"))


def align_ranks(a: Any, b: Any) -> tuple[Any, Any]:
    """Squeeze or expand the last axis where the ranks differ by exactly one."""
    if len(a.shape) > len(b.shape):
        return align_ranks(b, a)[::-1]
    if len(a.shape) + 1 == len(b.shape) and b.shape[-1] == 1:
        if len(a.shape) == 1:
            return ops.expand_dims(a, -1), b
        return a, ops.squeeze(b, -1)
    return a, b


def expand_to(x: Any, rank: int) -> Any:
    """Return a tensor with axes of size 1 behind its own."""
    while len(x.shape) < rank:
        x = ops.expand_dims(x, -1)
    return x


def clip(x: Any, low: Any, high: Any) -> Any:
    """Return numbers between two others; NaN stays NaN on every backend."""
    return ops.where(x < low, low, ops.where(x > high, high, x))


def limits(options: Options, y_pred: Any) -> tuple[float, float]:
    """Return epsilon and 1 - epsilon as the scores' dtype has them.

    In float32, 1 - 1e-7 is 1 - 1.19e-7, which decides the loss of a saturated score.
    """
    epsilon = float(options.get("epsilon", 1e-7))
    ends = np.array([epsilon, 1.0 - epsilon])
    if str(y_pred.dtype) != "float64":
        ends = ends.astype("float32")
    return float(ends[0]), float(ends[1])


def spread_weight(weight: Any, rank: int) -> Any:
    """Return weights of values of a rank, which they match from the first axis on."""
    weight = wide(weight)
    if len(weight.shape) == rank + 1 and weight.shape[-1] == 1:
        weight = ops.squeeze(weight, -1)
    return expand_to(weight, rank) if len(weight.shape) > 0 else weight


def spread_over(weight: Any, x: Any) -> Any:
    """Return a weight for each entry of a tensor, whose leading axes they match."""
    return spread_weight(weight, len(x.shape)) + ops.zeros_like(x, dtype="float64")


def is_ignored(labels: Any, options: Options) -> Any:
    """Tell of each label whether it is one of `ignore_class`."""
    found = ops.zeros_like(labels, dtype="bool")
    for class_id in options.get("ignore_class") or ():
        found = ops.logical_or(found, ops.equal(labels, float(class_id)))
    return found


def total_of(x: Any) -> Any:
    """Return the sum of all entries.

    XLA adds up a long vector twenty times as fast as a matrix of one column.
    """
    if all(isinstance(n, int) for n in x.shape):
        x = ops.reshape(x, (-1,))
    return ops.sum(x)


def mean_sums(values: Any, weight: Any, is_sum: bool = False) -> tuple[Any, Any]:
    """Return what values add to the `total` and the `count` of Keras's Mean.

    Every sample counts once, however many values it has; a scalar weight, or one value
    of rank 0, makes the batch one sample. With `is_sum` every value counts.
    """
    if hasattr(values, "ragged_rank") and not is_sum:  # rows have their own lengths
        while len(values.shape) > 1:
            values = mean(values, axis=-1)
    rank, entries = len(values.shape), count(values)
    nothing = None if isinstance(entries, float) else ops.equal(entries, 0.0)
    samples = 1.0 if rank == 0 else _size(ops.shape(values)[0])
    per_sample = 1.0 if is_sum else entries / samples
    if weight is None:
        total, counted = total_of(values), entries if is_sum else samples
    else:
        weight = spread_weight(weight, rank)
        if len(weight.shape) == 0:
            per_sample = 1.0 if is_sum else entries
            total, counted = total_of(values) * weight, entries * weight
        else:
            weight = weight + ops.zeros_like(values)
            total, counted = total_of(values * weight), total_of(weight)
        counted = counted / per_sample
    total, counted = total / per_sample, ops.convert_to_tensor(counted, "float64")
    if nothing is not None:
        total, counted = (ops.where(nothing, 0.0, x) for x in (total, counted))
    return total, counted


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean along axes."""
    total = ops.sum(x, axis=axis, keepdims=keepdims)
    return total / ops.sum(ops.ones_like(x), axis=axis, keepdims=keepdims)


def iota(x: Any) -> Any:
    """Return the places 0, 1, 2 ... along the last axis of a tensor."""
    return ops.arange(ops.shape(x)[-1], dtype="float64")


def first_largest(x: Any) -> Any:
    """Return where along the last axis the largest is first; NaN is the largest."""
    if "float" not in str(x.dtype):
        x = wide(x)
    largest = ops.equal(x, ops.max(x, axis=-1, keepdims=True))
    # Not every backend's maximum of a row with NaN is NaN.
    nan = ops.isnan(x)
    largest = ops.where(ops.any(nan, axis=-1, keepdims=True), nan, largest)
    places = ops.arange(ops.shape(x)[-1], dtype="int32")
    first = ops.min(ops.where(largest, places, 2**31 - 1), axis=-1)
    return wide(first)


def divide_no_nan(a: Any, b: Any) -> Any:
    """Return a / b, and 0 where b is 0."""
    none = ops.equal(b, 0.0)
    return ops.where(none, 0.0, a / ops.where(none, 1.0, b))


def two_sum_error(a: Any, b: Any, total: Any) -> Any:
    """Return what the rounding of a + b took away (Knuth)."""
    second = total - a
    return (a - (total - second)) + (b - second)


def product(a: Any, b: Any) -> tuple[Any, Any]:
    """Return a product and what its rounding took away (Dekker)."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _split(a), _split(b)
    rest = (
        (a_high * b_high - product) + a_high * b_low + a_low * b_high
    ) + a_low * b_low
    return product, ops.where(ops.isfinite(product), rest, 0.0)


def _split(x: Any) -> tuple[Any, Any]:
    scaled = x * 134217729.0  # 2^27 + 1
    high = scaled - (scaled - x)
    return high, x - high
