"""Elementwise functions as data: traced once, checked, stored, never run as Python.

An expression is a list of steps over numbered values: the inputs, then the constants,
then what each step computes. Native code runs it over blocks of elements
(`csrc/exec/expression.h`); calling it runs the same steps as operations of Keras.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numpy as np

from keras_tally import _backends, _native

# What an operation is called here, where it is not its class's name.
_NAMES = {"true_divide": "divide", "stop_gradient": "copy"}
# Those whose results are true or false.
_TRUTHS = {
    *("isnan", "isinf", "isfinite"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("logical_not", "logical_and", "logical_or", "logical_xor"),
}
_MOST_STEPS = 4096
_CONSTANTS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


@cache
def arities() -> dict[str, int]:
    """Return the operations that expressions can be made of, and their operands."""
    found: dict[str, int] = _native.operations()
    return found


@dataclass(frozen=True)
class Expression:
    """Steps that make named outputs of named inputs.

    Values are numbered through: the inputs, the constants, what each step computes.
    """

    inputs: tuple[str, ...]
    constants: tuple[float, ...]
    steps: tuple[tuple[str, tuple[int, ...]], ...]
    outputs: tuple[tuple[str, int], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return tuple(name for name, _ in self.outputs)

    def native(self) -> tuple[Any, ...]:
        """Return it as the extension takes it."""
        steps = [(name, list(values)) for name, values in self.steps]
        outputs = [value for _, value in self.outputs]
        return len(self.inputs), list(self.constants), steps, outputs

    def get_config(self) -> dict[str, Any]:
        """Return it as plain lists and numbers."""
        return {
            "inputs": list(self.inputs),
            "constants": [x if math.isfinite(x) else str(x) for x in self.constants],
            "steps": [[name, list(values)] for name, values in self.steps],
            "outputs": [[name, value] for name, value in self.outputs],
        }

    @classmethod
    def from_config(cls, config: Any) -> Expression:
        """Make an expression of what `get_config()` has returned, somewhere.

        Raises:
            ValueError: it is no expression.
        """
        if not isinstance(config, Mapping) or set(config) != {
            "inputs",
            "constants",
            "steps",
            "outputs",
        }:
            raise _malformed("a dict of inputs, constants, steps and outputs", config)
        expression = cls(
            tuple(_name(x) for x in _list(config["inputs"])),
            tuple(_number(x) for x in _list(config["constants"])),
            tuple(_step(x) for x in _list(config["steps"])),
            tuple(_output(x) for x in _list(config["outputs"])),
        )
        for names in (expression.inputs, expression.names):
            if len(set(names)) != len(names):
                raise _malformed("names that differ", list(names))
        _native.check_expression(expression.native())
        return expression

    def __call__(self, *inputs: Any) -> dict[str, Any]:
        """Compute the outputs with operations of Keras, whatever tensors these are."""
        dtypes = {keras.backend.standardize_dtype(x.dtype) for x in inputs}
        dtype = "float64" if "float64" in dtypes else "float32"
        values = [keras.ops.cast(x, dtype) for x in inputs]
        values += self.constants
        for name, operands in self.steps:
            values.append(_compute(name, [values[i] for i in operands], dtype))
        return {
            name: keras.ops.convert_to_tensor(values[i], dtype)
            for name, i in self.outputs
        }


def _compute(name: str, x: list[Any], dtype: str) -> Any:
    ops = keras.ops
    if name == "copy":
        return x[0]
    if name == "where":
        return ops.where(ops.not_equal(x[0], 0), x[1], x[2])
    if name == "clip":
        return ops.minimum(ops.maximum(x[0], x[1]), x[2])
    if name == "logical_not":
        return ops.cast(ops.equal(x[0], 0), dtype)
    if name.startswith("logical_"):
        x = [ops.not_equal(value, 0) for value in x]
    # Operations of constants alone have no tensor to take the dtype from.
    if not any(hasattr(value, "shape") for value in x):
        x = [ops.convert_to_tensor(value, dtype) for value in x]
    value = _backends.operation(name)(*x)
    return ops.cast(value, dtype) if name in _TRUTHS else value


def _malformed(wanted: str, received: Any) -> ValueError:
    return ValueError(
        f"a stored expression must be made of {wanted}. Received: {received!r:.200}"
    )


def _list(x: Any) -> Sequence[Any]:
    if not isinstance(x, (list, tuple)) or len(x) > _MOST_STEPS:
        raise _malformed(f"lists of at most {_MOST_STEPS} entries", x)
    return x


def _name(x: Any) -> str:
    if not isinstance(x, str) or not x.isidentifier() or len(x) > 64:
        raise _malformed("names that are identifiers", x)
    return x


def _number(x: Any) -> float:
    if isinstance(x, str) and x in _CONSTANTS:
        return _CONSTANTS[x]
    if isinstance(x, bool) or not isinstance(x, (int, float)):
        raise _malformed("constants that are numbers", x)
    try:
        return float(x)
    except OverflowError:
        raise _malformed("constants that float64 can hold", "a larger one") from None


def _index(x: Any) -> int:
    if isinstance(x, bool) or not isinstance(x, int) or not 0 <= x < 4 * _MOST_STEPS:
        raise _malformed("numbers of values", x)
    return x


def _step(x: Any) -> tuple[str, tuple[int, ...]]:
    if len(_list(x)) != 2 or not isinstance(x[0], str):
        raise _malformed("steps [operation, values]", x)
    return x[0], tuple(_index(i) for i in _list(x[1]))


def _output(x: Any) -> tuple[str, int]:
    if len(_list(x)) != 2:
        raise _malformed("outputs [name, value]", x)
    return _name(x[0]), _index(x[1])


class _Tracer:
    """Collects the steps that lead to symbolic tensors of Keras."""

    def __init__(self, inputs: Mapping[str, Any], what: str) -> None:
        self._what = what
        self._inputs = inputs
        self._constants: list[float] = []
        self._steps: list[tuple[str, tuple[Any, ...]]] = []
        # Values are named first, and numbered when all constants are known.
        self._known: dict[int, Any] = {id(x): n for n, x in inputs.items()}

    def expression(self, outputs: Mapping[str, Any]) -> Expression:
        found = {name: self._value(x) for name, x in outputs.items()}
        numbers: dict[Any, int] = {}
        for name in self._inputs:
            numbers[name] = len(numbers)
        for i in range(len(self._constants)):
            numbers["constant", i] = len(numbers)
        for i in range(len(self._steps)):
            numbers["step", i] = len(numbers)
        return Expression(
            tuple(self._inputs),
            tuple(self._constants),
            tuple(
                (name, tuple(numbers[v] for v in values))
                for name, values in self._steps
            ),
            tuple((name, numbers[value]) for name, value in found.items()),
        )

    def _value(self, x: Any) -> Any:
        if not isinstance(x, keras.KerasTensor):
            return self._constant(x)
        # Without recursion: functions may have long chains of operations.
        waiting = [x]
        while waiting:
            tensor = waiting[-1]
            if id(tensor) in self._known:
                waiting.pop()
                continue
            operation, operands = self._operation(tensor)
            missing = [
                y
                for y in operands
                if isinstance(y, keras.KerasTensor) and id(y) not in self._known
            ]
            if missing:
                waiting += missing
                continue
            self._known[id(tensor)] = self._translate(operation, tensor, operands)
            waiting.pop()
        return self._known[id(x)]

    def _operation(self, tensor: Any) -> tuple[Any, list[Any]]:
        history = getattr(tensor, "_keras_history", None)
        if history is None:
            raise ValueError(
                f"{self._what} uses a symbolic tensor that is none of its inputs "
                f"{', '.join(self._inputs)}."
            )
        operation = history.operation
        node = operation._inbound_nodes[history.node_index]
        operands = [*node.arguments.args, *node.arguments.kwargs.values()]
        if type(operation).__name__ == "Clip":
            operands = [operands[0], operation.x_min, operation.x_max]
        return operation, operands

    def _translate(self, operation: Any, tensor: Any, operands: list[Any]) -> Any:
        name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(operation).__name__).lower()
        name = _NAMES.get(name, name)
        known = type(operation).__module__.startswith("keras.src.ops.")
        if known and name == "cast":
            return self._cast(tensor.dtype, self._operand(operands[0]))
        if known and name == "round":
            return self._round(operation.decimals, self._operand(operands[0]))
        if known and name == "power" and not isinstance(operands[1], keras.KerasTensor):
            cheaper = {2.0: "square", 1.0: "copy", 0.5: "sqrt", -1.0: "reciprocal"}
            found = cheaper.get(self._constants[self._constant(operands[1])[1]])
            if found is not None:
                return self._step(found, self._operand(operands[0]))
        if known and name == "divide_no_nan":
            a, b = map(self._operand, operands)
            none = self._step("equal", b, self._constant(0.0))
            return self._step(
                "where", none, self._constant(0.0), self._step("divide", a, b)
            )
        arity = arities().get(name) if known else None
        if arity is None:
            raise ValueError(
                f"{self._what} may only use operations that are elementwise. "
                f"`{type(operation).__name__}` is not one that is known. These are: "
                f"{', '.join(sorted(arities()))}, cast, divide_no_nan of `keras.ops`, "
                "and Python's operators. Sums and means over samples are what the "
                "metric itself does; for functions that work on whole rows, there is "
                "`keras_tally.MeanMetricWrapper`."
            )
        if len(operands) != arity:
            raise ValueError(
                f"{self._what} calls `{name}` with {len(operands)} arguments: "
                f"`{name}` takes {arity} values here."
            )
        # Truths are added and multiplied as such.
        if all(_is_truth(x) for x in operands):
            name = {"add": "logical_or", "multiply": "logical_and"}.get(name, name)
        return self._step(name, *map(self._operand, operands))

    def _cast(self, dtype: str, x: Any) -> Any:
        if dtype == "bool":
            return self._step("not_equal", x, self._constant(0.0))
        # All floats are float64 here, whatever their name.
        return self._step("trunc", x) if keras.backend.is_int_dtype(dtype) else x

    def _round(self, decimals: int, x: Any) -> Any:
        if decimals == 0:
            return self._step("round", x)
        scale = self._constant(10.0**decimals)
        scaled = self._step("round", self._step("multiply", x, scale))
        return self._step("divide", scaled, scale)

    def _operand(self, x: Any) -> Any:
        return (
            self._known[id(x)]
            if isinstance(x, keras.KerasTensor)
            else self._constant(x)
        )

    def _constant(self, x: Any) -> Any:
        array = np.asarray(
            keras.ops.convert_to_numpy(x) if hasattr(x, "shape") else x, dtype=object
        )
        if array.size != 1 or not isinstance(array.item(), (int, float, np.number)):
            raise ValueError(
                f"{self._what} may use numbers, and what is computed of its inputs. "
                f"Received: {x!r:.200}"
            )
        self._constants.append(float(array.item()))
        return "constant", len(self._constants) - 1

    def _step(self, name: str, *values: Any) -> Any:
        self._steps.append((name, values))
        return "step", len(self._steps) - 1


def _is_truth(x: Any) -> bool:
    if isinstance(x, keras.KerasTensor):
        return bool(x.dtype == "bool")
    return isinstance(x, bool)


def trace(
    fn: Callable[..., Any],
    inputs: Sequence[str],
    what: str,
    single_output: str,
    **params: Any,
) -> Expression:
    """Return what a function does with numbers, as an expression.

    The function is called once, with symbolic tensors of Keras.

    Args:
        fn: the function.
        inputs: the names of its inputs, which it gets in this order.
        what: how errors call it.
        single_output: what its value is called, if it returns one and no dict.
        **params: more arguments of it.

    Raises:
        TypeError: it cannot be called with symbolic tensors.
        ValueError: it uses operations that are not elementwise.
    """
    tensors = {name: keras.KerasTensor((None,), dtype="float32") for name in inputs}
    try:
        made = fn(*tensors.values(), **params)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise TypeError(
            f"{what} must be written with Python's operators and functions of "
            "`keras.ops`, which work on symbolic tensors; conditions are "
            f"`keras.ops.where`, not `if`. Calling it raised: {error}"
        ) from error
    outputs = made if isinstance(made, Mapping) else {single_output: made}
    if not any(isinstance(x, keras.KerasTensor) for x in outputs.values()):
        raise ValueError(
            f"{what} must return what it computes from {', '.join(inputs)}, or a dict "
            f"of several such terms. Received: {made!r:.200}"
        )
    for name in outputs:
        if not isinstance(name, str) or not name.isidentifier():
            raise ValueError(
                f"{what} must return terms whose names are identifiers. "
                f"Received: {name!r}"
            )
    expression = _Tracer(tensors, what).expression(outputs)
    _native.check_expression(expression.native())
    return expression


def accepted(fn: Callable[..., Any], names: Sequence[str], what: str) -> list[str]:
    """Return those of the names that the function takes as arguments.

    Raises:
        TypeError: it takes others.
    """
    parameters = inspect.signature(fn).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return list(names)
    taken = [p.name for p in parameters]
    unknown = [
        p.name for p in parameters if p.default is p.empty and p.name not in names
    ]
    if unknown:
        raise TypeError(
            f"{what} can take {', '.join(names)}. Received: a function of "
            f"{', '.join(taken)}"
        )
    return [name for name in names if name in taken]
