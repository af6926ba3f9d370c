"""The functions of `functional`, made of what is declared of each metric."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

from keras_tally._declare import Metric
from keras_tally._docs import function_doc
from keras_tally._plans import RULES, Arguments, columns_of, evaluate, in_order
from keras_tally._specs import arguments_of
from keras_tally._tensors import as_column

Function = Callable[..., Any]


def function_of(metric: Metric) -> Function:
    """Return the function that computes a metric of one batch."""
    options = _own_arguments(metric)
    has_defaults = all(p.default is not p.empty for p in options)
    spec = metric.make(RULES) if has_defaults else None
    if spec is not None and spec.kernel == "identity":
        function = _of_values(metric)
    elif spec is not None and spec.takes_matrices:
        function = _of_columns(_of_pairs(metric))
    elif metric.is_matrix:
        function = _as_matrix(_of_pairs(metric))
    else:
        function = _of_pairs(metric)
    signature = inspect.signature(function)
    inputs = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    function.__name__ = function.__qualname__ = metric.name
    function.__module__ = "keras_tally.functional"
    function.__doc__ = function_doc(metric, inputs, options)
    vars(function)["__signature__"] = signature.replace(parameters=[*inputs, *options])
    return function


def _own_arguments(metric: Metric) -> list[inspect.Parameter]:
    """Return what the function takes besides the inputs, by name only."""
    own = [p for p in arguments_of(metric.make) if p.name not in metric.fixed]
    return [p.replace(kind=p.KEYWORD_ONLY) for p in own]


def _of_values(metric: Metric) -> Function:
    name = metric.name

    def function(values: Any, sample_weight: Any = None) -> Any:
        return evaluate(name, (), None, values, sample_weight)

    return function


def _of_pairs(metric: Metric) -> Function:
    name, needs_columns, fixed = metric.name, metric.needs_columns, dict(metric.fixed)
    names = tuple(p.name for p in _own_arguments(metric))
    # Without arguments there is nothing to put in order.
    is_plain = not metric.depends_on_columns and not fixed

    def function(
        y_true: Any, y_pred: Any, sample_weight: Any = None, **given: Any
    ) -> Any:
        arguments: Arguments = ()
        if given or not is_plain:
            for argument in given:
                if argument not in names:
                    _check(metric, given)
            known = {**given, **fixed}
            if needs_columns(given):
                known["columns"] = columns_of(y_pred)
            arguments = in_order(known)
        try:
            return evaluate(name, arguments, y_true, y_pred, sample_weight)
        except TypeError:
            _check(metric, given)
            raise

    return function


def _of_columns(function: Function) -> Function:
    """Let vectors be matrices of one column."""

    def of_columns(
        y_true: Any, y_pred: Any, sample_weight: Any = None, **given: Any
    ) -> Any:
        return function(as_column(y_true), as_column(y_pred), sample_weight, **given)

    return of_columns


def _as_matrix(function: Function) -> Function:
    """Let the result be a square matrix, of integers where there are no weights."""

    def as_matrix(
        y_true: Any, y_pred: Any, sample_weight: Any = None, **given: Any
    ) -> Any:
        counts = function(y_true, y_pred, sample_weight, **given)
        size = math.isqrt(counts.shape[0])
        counts = counts.reshape((size, size))
        if sample_weight is not None:
            return counts
        return counts.astype("int64") if hasattr(counts, "astype") else counts.long()

    return as_matrix


def _check(metric: Metric, given: dict[str, Any]) -> None:
    """Refuse arguments that the function does not have, or lacks."""
    try:
        inspect.Signature(_own_arguments(metric)).bind(**given)
    except TypeError as error:
        raise TypeError(f"{metric.name}() {error}") from None
