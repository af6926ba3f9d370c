"""Native plans of metrics by name and arguments, without Keras.

Their state is one array of float64. Results are float32, or float64.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np

from keras_tally import _native
from keras_tally._specs import Rules, Spec, argument_names
from keras_tally._tensors import adapter_of, prepare_with
from keras_tally.metrics import METRICS

# Hashable, and in alphabetical order.
Arguments = tuple[tuple[str, Any], ...]
# A metric's name and its arguments: what a plan is known by.
Key = tuple[str, Arguments]
RULES = Rules()


def _frozen(value: Any) -> Any:
    if hasattr(value, "tolist"):  # arrays, and numbers of NumPy
        value = value.tolist()
    return tuple(map(_frozen, value)) if isinstance(value, (list, tuple)) else value


def in_order(arguments: Mapping[str, Any]) -> Arguments:
    """Return the arguments of a key: what tensors and lists hold, not themselves."""
    return tuple([(name, _frozen(arguments[name])) for name in sorted(arguments)])


def columns_of(y_pred: Any) -> int | None:
    """Return the number of columns; None of a vector, or a number."""
    shape = y_pred.shape if hasattr(y_pred, "shape") else np.shape(y_pred)
    return int(shape[-1]) if len(shape) > 1 else None


def with_columns(key: Key, columns: int | None) -> Key:
    """Return the key of the same metric for inputs of so many columns.

    None stands for vectors.
    """
    name, arguments = key
    return name, in_order({**dict(arguments), "columns": columns})


def key_of(name: str, arguments: Mapping[str, Any]) -> Key:
    """Return what tells this metric with these arguments from others.

    Raises:
        ValueError: there is no such metric.
        TypeError: it has no such argument.
    """
    if name not in METRICS:
        raise ValueError(
            f"there is no metric {name!r}: they are {', '.join(sorted(METRICS))}."
        )
    known = argument_names(METRICS[name].make)
    for argument in arguments:
        if argument not in known:
            raise TypeError(
                f"`{argument}` is no argument of {name!r}, which takes "
                f"{', '.join(known) or 'none'}."
            )
    return name, in_order(arguments)


def text_of(key: Key) -> str:
    """Return a key as text, from which `plan_of_text` finds the plan in any process."""
    return repr(key)


@cache
def plan_of_text(text: str) -> Plan:
    """Return the plan that `text_of` has named."""
    return plan_of(ast.literal_eval(text))


class Plan:
    """A metric as the extension knows it, and what it was made from."""

    def __init__(self, key: Key) -> None:
        name, arguments = key
        self.key = key
        self.spec: Spec = METRICS[name].make(RULES, **dict(arguments))
        self.sizes = [math.prod(shape) for shape in self.spec.state.values()]
        self.takes_values = self.spec.kernel == "identity"
        self._by_dtype: dict[str, Any] = {}

    def native(self, dtype: str = "float32") -> Any:
        """Return the extension's plan, for results of this dtype."""
        if dtype not in self._by_dtype:
            self._by_dtype[dtype] = _native.make_plan(
                self.spec.kernel,
                self.spec.result,
                [],
                {
                    **self.spec.options,
                    # Keras takes a vector for one sample, and class ids for true.
                    "vectors_are_samples": True,
                    "binary_labels": True,
                    "sizes": self.sizes,
                    "result_dtype": dtype,
                    "numpy_results": True,
                    "wrap_result": lambda array: array.astype(dtype)[()],
                },
            )
        return self._by_dtype[dtype]

    def result_shape(self) -> tuple[int, ...]:
        """Return the shape of the result, () for a scalar."""
        if self.spec.matrix is not None:
            return self.spec.matrix
        (*_, last) = self.sizes
        counts = self.spec.result in ("counts", "ratio")
        several = last > 1 if counts else self._result_per_column()
        return (last,) if several else ()

    def _result_per_column(self) -> bool:
        return (
            self.spec.result in ("f_score", "r2") and not self.spec.options["average"]
        )


@cache
def plan_of(key: Key) -> Plan:
    """Return the plan of this key; the same one every time."""
    return Plan(key)


# Set once torch's compiler is there: tells whether it is at work, and what it calls.
compiler: Any = None
_natives: dict[Key, Any] = {}


def evaluate(
    name: str,
    arguments: Arguments,
    y_true: Any,
    y_pred: Any,
    sample_weight: Any,
) -> Any:
    """Return a metric's result for one batch."""
    if compiler is not None and compiler.is_compiling():
        return compiler.evaluate((name, arguments), y_true, y_pred, sample_weight)
    return evaluate_eagerly((name, arguments), y_true, y_pred, sample_weight)


def evaluate_eagerly(key: Key, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
    """Return a metric's result for one batch of tensors that hold data."""
    native = _natives.get(key)
    if native is None:
        native = _native_of(key)
    value = _native.evaluate(native, y_true, y_pred, sample_weight)
    if value is None:
        return _evaluate_general(plan_of(key), y_true, y_pred, sample_weight)
    return value


def _native_of(key: Key) -> Any:
    plan = plan_of(key)
    # Counts are exact in float64 only.
    native = plan.native("float32" if plan.spec.matrix is None else "float64")
    return _natives.setdefault(key, native)


def given_inputs(y_true: Any, y_pred: Any, sample_weight: Any) -> dict[str, Any]:
    """Return the inputs by name, without weights that are not there."""
    given = {"y_true": y_true, "y_pred": y_pred}
    return given if sample_weight is None else {**given, "sample_weight": sample_weight}


def _evaluate_general(plan: Plan, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
    """Return the result for inputs that native code cannot read as they are."""
    given = given_inputs(y_true, y_pred, sample_weight)
    if plan.takes_values:
        del given["y_true"]
    adapter = adapter_of(*given.values())
    state, like = adapter.state(sum(plan.sizes), *given.values())
    prepared = update_general(plan.native(), state, adapter, like, given)
    wide = plan.spec.matrix is not None or "float64" in str(prepared.dtype)
    native = plan.native("float64" if wide else "float32")
    return adapter.result_like(_native.result_from(native, [state]), y_pred)


def update_general(
    native: Any, state: Any, adapter: Any, like: Any, given: dict[str, Any]
) -> Any:
    """Add a batch that native code cannot read as it is; return `y_pred` prepared."""
    found = {
        argument: prepare_with(adapter, x, argument, like)
        for argument, x in given.items()
    }
    _native.count_converted()
    _native.update_into(
        native,
        [state],
        found.get("y_true"),
        found["y_pred"],
        found.get("sample_weight"),
    )
    return found["y_pred"]
