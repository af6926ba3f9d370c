"""What a metric is made of: a kernel, a state and a result.

Each family's file in `metrics` makes the specs of its metrics with what is here.
Nothing in this file needs Keras or a framework.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

Shape = tuple[int, ...]
# What a metric has counted, by the variables' names.
State = dict[str, np.ndarray[Any, Any]]
# So few samples may all be wrong, or at one end.
FEW = 10


@dataclass(frozen=True)
class Rules:
    """What Keras's configuration, version and backend decide for its classes.

    Without Keras it is as here: Keras's defaults, and what it does on torch.
    """

    floatx: str = "float32"
    epsilon: float = 1e-7
    # Comparisons with a threshold happen in the precision of 16-bit scores.
    threshold_in_scores_dtype: bool = True
    # Norms count as at least epsilon.
    norm_has_floor: bool = True


@dataclass(frozen=True)
class Spec:
    """A kernel, a result, the state between them and what configures all three."""

    kernel: str
    result: str
    # Names and shapes of the variables, in the order of the kernel.
    state: dict[str, Shape]
    options: dict[str, Any]
    # Whether the kernel takes matrices only, so that vectors are given as columns.
    takes_matrices: bool = False
    # Of a result that is a matrix; the kernel gives its entries row by row.
    matrix: Shape | None = None


def mean_spec(kernel: str, result: str = "mean", **options: Any) -> Spec:
    """Return the spec of a mean of what a kernel computes."""
    return Spec(kernel, result, {"total": (), "count": ()}, options)


@cache
def argument_names(make: Callable[..., Spec]) -> list[str]:
    """Return the names of the user's arguments to what makes a spec.

    The first one is of `Rules`. Keyword-only parameters are not the user's: they are
    known from a batch, or the Keras class's own.
    """
    return [parameter.name for parameter in arguments_of(make)]


def arguments_of(make: Callable[..., Spec]) -> list[inspect.Parameter]:
    """Return the user's arguments themselves."""
    _, *parameters = inspect.signature(make).parameters.values()
    return [p for p in parameters if p.kind is not p.KEYWORD_ONLY]


def check_integer(name: str, value: Any, least: int) -> int:
    """Return it as an int, of at least this size; 2.0 is one as well."""
    whole = isinstance(value, (int, float, np.integer, np.floating))
    whole = whole and not isinstance(value, bool) and float(value).is_integer()
    if not whole or value < least:
        raise ValueError(
            f"`{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}"
        )
    return int(value)


# As many as a kernel compares a label with (csrc/defs/common.h).
MOST_IGNORED = 8


def ignored_classes(ignore_class: Any) -> list[int]:
    """Return the class ids that are left out, given one, several or None."""
    if ignore_class is None:
        return []
    ignore_class = plain_list(ignore_class)
    ids = ignore_class if isinstance(ignore_class, list) else [ignore_class]
    if len(ids) > MOST_IGNORED:
        raise ValueError(
            f"`ignore_class` may name {MOST_IGNORED} classes at most; give samples of "
            f"more weights of 0. Received: {len(ids)} classes"
        )
    return [check_integer("ignore_class", i, -(2**53)) for i in ids]


def check_positive(name: str, value: float) -> float:
    """Return the number; anything but a positive one is an error."""
    if not value > 0:
        raise ValueError(f"`{name}` must be a positive number. Received: {value}")
    return float(value)


def check_threshold(threshold: Any) -> float:
    """Return it as a float; None and NaN, which nothing is above, are an error."""
    if threshold is None or not (value := float(threshold)) == value:
        raise ValueError(f"`threshold` must be a number. Received: {threshold}")
    return value


def plain_list(thresholds: Any) -> Any:
    """Return None, a number or a list, for tuples, arrays and tensors as well.

    Others are returned as they are.
    """
    if hasattr(thresholds, "tolist"):
        thresholds = thresholds.tolist()
    elif hasattr(thresholds, "__array__"):
        thresholds = np.asarray(thresholds).tolist()
    return list(thresholds) if isinstance(thresholds, (tuple, range)) else thresholds


def one_of(argument: str, given: Any, known: Sequence[str | None]) -> Any:
    """Return it; anything but one of those that are known is an error."""
    if given not in known:
        raise ValueError(
            f"`{argument}` must be one of {tuple(known)}. "
            f"Received: {argument}={given!r}"
        )
    return given
