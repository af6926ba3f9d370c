"""The numbers of states, as float64: sums of states, and pairs of float32.

A variable `x` whose sums cancel in the result has a variable `x_low` beside it, with
what float64 could not hold of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# A variable's name and shape.
Layout = list[tuple[str, tuple[int, ...]]]
# Where the numbers of a variable are that has low halves, and where these are.
Places = list[tuple[slice, slice]]


def total_of(layout: Layout, rows: Sequence[Array]) -> Array:
    """Return the sum of the numbers of several states with these variables.

    They are added one after the other, as updates add to a state.
    """
    total = rows[0].copy()
    for row in rows[1:]:
        add(total, row, places_of_lows(layout))
    return total


def add(total: Array, row: Array, places: Places) -> None:
    """Add a state to a state: what is rounded goes to the low halves, if there are."""
    with np.errstate(invalid="ignore"):
        errors = [_sum_error(total[at], row[at]) for at, _ in places]
        total += row
        for (_, low), error in zip(places, errors, strict=True):
            total[low] += np.where(np.isfinite(error), error, 0.0)


def carry(values: Array, places: Places) -> None:
    """Leave to the low halves what pairs of float32 cannot hold."""
    for at, low in places:
        first, rest = halves(values[at], np.dtype("float32"))
        with np.errstate(invalid="ignore"):
            left = values[at] - first - rest
        left = np.where(np.isfinite(left), left, 0.0)
        values[at] -= left
        values[low] += left


def places_of_lows(layout: Layout) -> Places:
    """Return where the numbers are that have low halves, and where these are."""
    at, found = 0, {}
    for name, shape in layout:
        found[name] = slice(at, at + math.prod(shape))
        at = found[name].stop
    names = [name for name in found if f"{name}_low" in found]
    return [(found[name], found[f"{name}_low"]) for name in names]


def _sum_error(a: Array, b: Array) -> Array:
    """Return what the rounding of a + b takes away."""
    total = a + b
    second = total - a
    error: Array = (a - (total - second)) + (b - second)
    return error


def halves(values: Array, dtype: Any) -> tuple[Array, Array]:
    """Return numbers as pairs of this dtype."""
    with np.errstate(over="ignore", invalid="ignore"):
        first = values.astype(dtype)
        rest = (values - first).astype(dtype)
    # What an infinite or overflown sum leaves is no number.
    return first, np.where(np.isfinite(first), rest, dtype.type(0))
