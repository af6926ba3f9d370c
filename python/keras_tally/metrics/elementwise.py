"""Metrics of functions that users write, at the speed of native ones."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from keras_tally._engine import IN_PLACE
from keras_tally._expression import Expression, accepted, trace
from keras_tally._kernel_metric import PairMetric
from keras_tally._llvm import addresses
from keras_tally._registration import register
from keras_tally._results import Options, Sums, in_keras_ops

_REDUCTIONS = ("mean", "sum")
# What a term must not be called.
_RESERVED = ("count", "name", "dtype", "variables")


@in_keras_ops("expression")
def _expression(options: Options, sums: Sums) -> Any:
    (value,) = options["finish"](*sums).values()
    return value


@register
class ElementwiseMetric(PairMetric):
    """A metric of your own elementwise function, which runs natively.

    Formula: with the default `reduction="mean"`, the mean of `fn(y_true, y_pred)` over
    all elements, each sample counting once, weighted by `sample_weight` and by the
    Keras mask of `y_pred`; with `"sum"` the weighted sum over all elements; with
    `finalize` whatever that makes of the sums of all terms and of the weights.

    A subclass defines `fn(y_true, y_pred, **params)`, and `finalize(...)` if it wants
    to. They are called once, when the metric is made, with symbolic tensors: use
    Python's operators (`+ - * / // % ** abs`, comparisons, `& | ~`) and elementwise
    functions of `keras.ops`. What they do is recorded as a list of steps, which native
    code runs over blocks of elements, in float64, without arrays in between; what
    appears twice is computed once. `keras_tally.elementwise` makes the same of a
    function, without a class.

    `fn` returns the value of each element, or a dict of several terms. Then `finalize`
    is called with (those that it takes of) the sums of the terms, by name, and
    `count`, the sum of the weights, or the number of elements; it returns the result.
    A single value is the term `total`.

    Shapes and dtypes: `y_true` and `y_pred` of shapes that broadcast (a missing or
    trailing axis of size 1 is squeezed or expanded), bool, integer or float; weights
    are scalar or match the leading axes; the result is a scalar of `dtype`.

    Inside of compiled JAX functions and TensorFlow graphs the steps are operations of
    Keras, in float32 (float64 if an input is), for the compiler to fuse. A batch is
    then summed in that precision; the sum over batches is exact everywhere.

    Args:
        name: string name of the metric; by default the class's name in snake case.
        dtype: dtype of the result.
        reduction: `"mean"` or `"sum"`; without a meaning where there is a `finalize`.
        direction: `"up"` or `"down"`, where a better model has the larger or smaller
            result, for callbacks with `mode="auto"`.
        expression: what `fn` does, as `get_config()` stores it; instead of `fn`.
        **params: arguments for `fn`; part of the config of a subclass.

    Raises:
        TypeError: `fn` or `finalize` cannot be called with symbolic tensors.
        ValueError: they use operations that are not elementwise.

    Example:

    >>> import keras
    >>> import keras_tally as kt
    >>> class Tolerance(kt.ElementwiseMetric):
    ...     def fn(y_true, y_pred, within):
    ...         return abs(y_true - y_pred) <= within
    >>> m = Tolerance(within=0.5)
    >>> m.update_state([1.0, 2.0, 3.0, 4.0], [1.2, 2.9, 3.0, 4.4])
    >>> float(m.result())
    0.75
    >>> class RelativeError(kt.ElementwiseMetric):
    ...     def fn(y_true, y_pred):
    ...         return {"error": abs(y_true - y_pred), "size": abs(y_true)}
    ...     def finalize(error, size):
    ...         return error / size
    >>> m = RelativeError()
    >>> m.update_state([1.0, 3.0], [2.0, 2.0])
    >>> float(m.result())
    0.5
    """

    # What subclasses define.
    fn: Callable[..., Any] | None = None
    finalize: Callable[..., Any] | None = None

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        reduction: str = "mean",
        direction: str | None = None,
        expression: Any = None,
        **params: Any,
    ) -> None:
        super().__init__(name=name or _snake_case(type(self).__name__), dtype=dtype)
        if direction not in (None, "up", "down"):
            raise ValueError(
                f"`direction` must be 'up', 'down' or None. Received: {direction!r}"
            )
        if direction is not None:
            self._direction = direction
        if reduction not in _REDUCTIONS:
            raise ValueError(
                f"`reduction` must be one of {', '.join(map(repr, _REDUCTIONS))}. "
                f"Received: {reduction!r}"
            )
        cls = type(self)
        self._reduction = reduction
        self._params = params
        self._given = expression is not None
        if not self._given:
            if cls.fn is None:
                raise TypeError(
                    f"{cls.__name__} must define `fn(y_true, y_pred)`. For a function "
                    "that exists already there is `keras_tally.elementwise(fn)`."
                )
            expression = _describe(cls.fn, cls.finalize, params)
        elif params:
            raise TypeError(
                "an `expression` takes no more arguments: they are part of it. "
                f"Received: {', '.join(params)}"
            )
        self._expression, self._finalize = _settle(expression)
        self._make_state()

    @property
    def expression(self) -> Expression:
        """What `fn` does, step by step."""
        return self._expression

    def _make_state(self) -> None:
        counted = self._finalize is not None or self._reduction == "mean"
        names = self._expression.names + (("count",) if counted else ())
        state = []
        for name in names:
            variable = self._add_state(name, dtype=self.dtype)
            setattr(self, name, variable)
            state.append(variable)
        result = "expression" if self._finalize is not None else self._reduction
        self._make_plan(
            "expression",
            result,
            state,
            self.dtype,
            expression=self._expression.native(),
            compiled=addresses(self._expression) if IN_PLACE else None,
            finalize=None if self._finalize is None else self._finalize.native(),
            # For where there are no kernels.
            **(
                {}
                if IN_PLACE
                else {"terms": self._expression, "finish": self._finalize}
            ),
        )

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the metric.

        A metric of `keras_tally.elementwise` stores the steps of its function, as
        names and numbers; a subclass stores its arguments.
        """
        config = {"name": self.name, "dtype": self.dtype, **self._params}
        # Subclasses need not take these to be made from their config.
        for key, value, usual in (
            ("reduction", self._reduction, "mean"),
            ("direction", getattr(self, "_direction", None), None),
        ):
            if self._given or value != usual:
                config[key] = value
        if self._given:
            config["expression"] = json.dumps(
                {
                    "terms": self._expression.get_config(),
                    "finalize": self._finalize and self._finalize.get_config(),
                }
            )
        return config


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _describe(
    fn: Callable[..., Any],
    finalize: Callable[..., Any] | None,
    params: dict[str, Any],
) -> tuple[Expression, Expression | None]:
    """Trace a function, and what makes a result of the sums of its terms."""
    terms = trace(fn, ("y_true", "y_pred"), "`fn`", "total", **params)
    if finalize is None:
        return terms, None
    names = (*terms.names, "count")
    taken = accepted(finalize, names, "`finalize`")

    def of_sums(*sums: Any) -> Any:
        by_name = dict(zip(names, sums, strict=True))
        return finalize(**{name: by_name[name] for name in taken})

    return terms, trace(of_sums, names, "`finalize`", "result")


def _parse(stored: Any) -> tuple[Expression, Expression | None]:
    """Return the expressions that a config holds."""
    try:
        found = json.loads(stored)
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or set(found) != {"terms", "finalize"}:
        raise ValueError(
            "`expression` must be what `get_config()` of an elementwise metric holds. "
            f"Received: {stored!r:.200}"
        )
    finalize = found["finalize"]
    return (
        Expression.from_config(found["terms"]),
        None if finalize is None else Expression.from_config(finalize),
    )


def _settle(expression: Any) -> tuple[Expression, Expression | None]:
    """Return the terms and the finalization, checked, of a tuple or a config."""
    terms, finalize = (
        expression if isinstance(expression, tuple) else _parse(expression)
    )
    reserved = [n for n in terms.names if n in _RESERVED or n.startswith("_")]
    if reserved or any(hasattr(ElementwiseMetric, n) for n in terms.names):
        raise ValueError(
            "`fn` must give its terms names that a metric does not use itself. "
            f"Received: {', '.join(terms.names)}"
        )
    if len(terms.inputs) != 2:
        raise ValueError(
            "an elementwise function has the inputs y_true and y_pred. "
            f"Received: {', '.join(terms.inputs)}"
        )
    if finalize is None and len(terms.outputs) != 1:
        raise ValueError(
            "`fn` returns several terms, so a `finalize` must make a result of their "
            f"sums. Received: {', '.join(terms.names)}"
        )
    if finalize is not None:
        if len(finalize.outputs) != 1:
            raise ValueError(
                "`finalize` must return one number. "
                f"Received: {', '.join(finalize.names)}"
            )
        if finalize.inputs != (*terms.names, "count"):
            raise ValueError(
                "`finalize` must take the terms and their count. "
                f"Received: {', '.join(finalize.inputs)}"
            )
    return terms, finalize


def elementwise(
    fn: Callable[..., Any],
    name: str | None = None,
    dtype: Any = None,
    reduction: str = "mean",
    direction: str | None = None,
    finalize: Callable[..., Any] | None = None,
    **params: Any,
) -> ElementwiseMetric:
    """Return a native metric of an elementwise Python function.

    The function is called once, here, with symbolic tensors, and what it does with
    them is recorded as a list of steps: see `ElementwiseMetric`. The metric's config
    holds these steps and no Python code, so a saved model loads wherever this package
    is imported, runs nothing of yours, and computes what it computed before, also if
    the function has changed since.

    Args:
        fn: a function of `y_true` and `y_pred` (and of `params`) that returns the
            value of each element, or a dict of several terms. It is written with
            Python's operators and elementwise functions of `keras.ops`.
        name: string name of the metric; by default that of the function.
        dtype: dtype of the result.
        reduction: `"mean"` or `"sum"`; without a meaning where there is a `finalize`.
        direction: `"up"` or `"down"`, where a better model has the larger or smaller
            result, for callbacks with `mode="auto"`.
        finalize: a function that makes the result of the sums of the terms (by name)
            and of `count`, the sum of the weights or the number of elements.
        **params: more arguments for `fn`; their values become part of the steps.

    Raises:
        TypeError: `fn` or `finalize` cannot be called with symbolic tensors.
        ValueError: they use operations that are not elementwise.

    Example:

    >>> import keras
    >>> import keras_tally as kt
    >>> def asymmetric(y_true, y_pred, above):
    ...     error = y_pred - y_true
    ...     return keras.ops.where(error > 0, above * error, -error)
    >>> m = kt.elementwise(asymmetric, above=3.0)
    >>> m.update_state([1.0, 1.0], [2.0, 0.0])
    >>> m.name, float(m.result())
    ('asymmetric', 2.0)
    >>> rmse = kt.elementwise(
    ...     lambda y_true, y_pred: (y_true - y_pred) ** 2,
    ...     name="rmse",
    ...     finalize=lambda total, count: (total / count) ** 0.5,
    ... )
    >>> rmse.update_state([0.0, 0.0], [3.0, 4.0])
    >>> round(float(rmse.result()), 4)
    3.5355
    """
    own_name = getattr(fn, "__name__", "<lambda>")
    return ElementwiseMetric(
        name=name or (own_name if own_name.isidentifier() else "elementwise"),
        dtype=dtype,
        reduction=reduction,
        direction=direction,
        expression=_describe(fn, finalize, params),
    )
