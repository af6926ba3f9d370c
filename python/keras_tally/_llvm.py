"""Expressions as machine code, through LLVM, where the package llvmlite is installed.

What is compiled adds up the same numbers in the same order as the interpreter
(`csrc/exec/expression_block.h`): the results are the same bits. It pays where memory is
what the interpreter could keep up with: cheap operations over large batches. Steps that
call functions (exp, sin ...) stay with the interpreter.
"""

from __future__ import annotations

import importlib.util
import struct
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from keras_tally._expression import Expression

# As in csrc/exec: a vector is 8 doubles, and sums have 32 lanes in 4 of them.
_LANES, _VECTORS = 8, 4
_VECTOR = f"<{_LANES} x double>"
# As in csrc/defs/math.h.
_ROUND_MAGIC = 6755399441055744.0
_WHOLE = 2251799813685248.0

Emit = Callable[..., str]


def why_not(expression: Expression) -> str | None:
    """Return why an expression is interpreted; None where it is compiled."""
    if importlib.util.find_spec("llvmlite") is None:
        return "the package llvmlite is not installed"
    missing = sorted({name for name, _ in expression.steps if name not in _EMITTERS})
    if missing:
        return f"it calls {', '.join(missing)}"
    return None


@cache
def addresses(expression: Expression) -> list[int] | None:
    """Return the compiled functions: of float32 and float64, without and with weights.

    They stay until the process ends.
    """
    if why_not(expression) is not None:
        return None
    names = [f"sums_{dtype}_{kind}" for dtype in ("float", "double") for kind in "uw"]
    functions = [_function(expression, name) for name in names]
    engine = _engine("\n".join(functions))
    found = [int(engine.get_function_address(name)) for name in names]
    _engines.append(engine)
    return found


_engines: list[Any] = []


def _engine(code: str) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
        jit=True,
    )
    module = llvm.parse_assembly(_DECLARATIONS + code)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    return engine


_DECLARATIONS = f"""
declare {_VECTOR} @llvm.fabs.v8f64({_VECTOR})
declare {_VECTOR} @llvm.sqrt.v8f64({_VECTOR})
"""


class _Body:
    """Instructions, each with a name of its own."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def put(self, instruction: str) -> str:
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return name

    def call(self, function: str, x: str) -> str:
        return self.put(f"call {_VECTOR} @llvm.{function}.v8f64({_VECTOR} {x})")

    def binary(self, operation: str, a: str, b: str) -> str:
        return self.put(f"{operation} {_VECTOR} {a}, {b}")

    def compare(self, predicate: str, a: str, b: str) -> str:
        return self.put(f"fcmp {predicate} {_VECTOR} {a}, {b}")

    def select(self, mask: str, a: str, b: str) -> str:
        condition = f"<{_LANES} x i1> {mask}"
        return self.put(f"select {condition}, {_VECTOR} {a}, {_VECTOR} {b}")

    def truth(self, mask: str) -> str:
        return self.select(mask, _constant(1.0), _constant(0.0))

    def choose(self, predicate: str, a: str, b: str, yes: str, no: str) -> str:
        return self.select(self.compare(predicate, a, b), yes, no)


def _constant(x: float) -> str:
    (bits,) = struct.unpack("<Q", struct.pack("<d", x))
    return f"<{', '.join([f'double 0x{bits:016X}'] * _LANES)}>"


def _binary(operation: str) -> Emit:
    return lambda body, a, b: body.binary(operation, a, b)


def _comparison(predicate: str) -> Emit:
    return lambda body, a, b: body.truth(body.compare(predicate, a, b))


def _of_truths(operation: str) -> Emit:
    def emit(body: _Body, a: str, b: str) -> str:
        masks = [body.compare("une", x, _constant(0.0)) for x in (a, b)]
        mask = body.put(f"{operation} <{_LANES} x i1> {masks[0]}, {masks[1]}")
        return body.truth(mask)

    return emit


def _extreme(predicate: str) -> Emit:
    # NaN comes out, whichever of them it is.
    def emit(body: _Body, a: str, b: str) -> str:
        number = body.choose("ord", a, a, b, a)
        return body.choose(predicate, a, b, a, number)

    return emit


def _absolute(body: _Body, x: str) -> str:
    return body.call("fabs", x)


def _round(body: _Body, x: str) -> str:
    shifted = body.binary("fadd", x, _constant(_ROUND_MAGIC))
    rounded = body.binary("fsub", shifted, _constant(_ROUND_MAGIC))
    return body.choose("olt", _absolute(body, x), _constant(_WHOLE), rounded, x)


def _floor(body: _Body, x: str) -> str:
    rounded = _round(body, x)
    below = body.binary("fsub", rounded, _constant(1.0))
    return body.choose("ogt", rounded, x, below, rounded)


def _ceil(body: _Body, x: str) -> str:
    rounded = _round(body, x)
    above = body.binary("fadd", rounded, _constant(1.0))
    return body.choose("olt", rounded, x, above, rounded)


def _trunc(body: _Body, x: str) -> str:
    return body.choose("olt", x, _constant(0.0), _ceil(body, x), _floor(body, x))


def _sign(body: _Body, x: str) -> str:
    below = body.choose("olt", x, _constant(0.0), _constant(-1.0), x)
    return body.choose("ogt", x, _constant(0.0), _constant(1.0), below)


def _clip(body: _Body, x: str, low: str, high: str) -> str:
    return _extreme("olt")(body, _extreme("ogt")(body, x, low), high)


def _reciprocal(body: _Body, x: str) -> str:
    return body.binary("fdiv", _constant(1.0), x)


_EMITTERS: dict[str, Emit] = {
    "copy": lambda body, x: x,
    "absolute": _absolute,
    "negative": lambda body, x: body.put(f"fneg {_VECTOR} {x}"),
    "sign": _sign,
    "reciprocal": _reciprocal,
    "square": lambda body, x: body.binary("fmul", x, x),
    "sqrt": lambda body, x: body.call("sqrt", x),
    "rsqrt": lambda body, x: _reciprocal(body, body.call("sqrt", x)),
    "floor": _floor,
    "ceil": _ceil,
    "round": _round,
    "trunc": _trunc,
    "relu": lambda body, x: body.choose("olt", x, _constant(0.0), _constant(0.0), x),
    "isnan": lambda body, x: body.truth(body.compare("uno", x, x)),
    "isinf": lambda body, x: body.truth(
        body.compare("oeq", _absolute(body, x), _constant(float("inf")))
    ),
    "isfinite": lambda body, x: body.truth(
        body.compare("olt", _absolute(body, x), _constant(float("inf")))
    ),
    "logical_not": lambda body, x: body.truth(body.compare("oeq", x, _constant(0.0))),
    "add": _binary("fadd"),
    "subtract": _binary("fsub"),
    "multiply": _binary("fmul"),
    "divide": _binary("fdiv"),
    "floor_divide": lambda body, a, b: _floor(body, body.binary("fdiv", a, b)),
    "maximum": _extreme("ogt"),
    "minimum": _extreme("olt"),
    "equal": _comparison("oeq"),
    "not_equal": _comparison("une"),
    "less": _comparison("olt"),
    "less_equal": _comparison("ole"),
    "greater": _comparison("ogt"),
    "greater_equal": _comparison("oge"),
    "logical_and": _of_truths("and"),
    "logical_or": _of_truths("or"),
    "logical_xor": _of_truths("xor"),
    "where": lambda body, c, a, b: body.choose("une", c, _constant(0.0), a, b),
    "clip": _clip,
}


def _load(body: _Body, pointer: str, index: str, dtype: str) -> str:
    at = body.put(f"getelementptr {dtype}, ptr {pointer}, i64 {index}")
    size = 4 if dtype == "float" else 8
    x = body.put(f"load <{_LANES} x {dtype}>, ptr {at}, align {size}")
    return (
        body.put(f"fpext <{_LANES} x float> {x} to {_VECTOR}")
        if dtype == "float"
        else x
    )


def _outputs(body: _Body, expression: Expression, inputs: Sequence[str]) -> list[str]:
    values = [*inputs, *map(_constant, expression.constants)]
    for name, operands in expression.steps:
        values.append(_EMITTERS[name](body, *(values[i] for i in operands)))
    return [values[i] for _, i in expression.outputs]


def _function(expression: Expression, name: str) -> str:
    """Return a function that goes on with sums, as LLVM's assembly."""
    _, dtype, kind = name.split("_")
    weighted = kind == "w"
    # The lanes of each output, then those of its weights.
    rows = [
        64 * k + 32 * row + _LANES * a
        for k in range(len(expression.outputs))
        for row in range(2 if weighted else 1)
        for a in range(_VECTORS)
    ]
    body = _Body()
    sums: list[str] = []
    for a in range(_VECTORS):
        index = body.put(f"add i64 %i, {_LANES * a}")
        inputs = [_load(body, pointer, index, dtype) for pointer in ("%t", "%p")]
        weight = _load(body, "%w", index, "double") if weighted else ""
        for k, value in enumerate(_outputs(body, expression, inputs)):
            if weighted:
                value = body.binary("fmul", weight, value)
                row = rows.index(64 * k + 32 + _LANES * a)
                sums.append(f"{row} {body.binary('fadd', f'%acc{row}', weight)}")
            row = rows.index(64 * k + _LANES * a)
            sums.append(f"{row} {body.binary('fadd', f'%acc{row}', value)}")
    new = dict(x.split(" ", 1) for x in sums)
    lines = [
        f"define void @{name}(ptr %t, ptr %p, ptr %w, i64 %n, ptr %lanes) {{",
        "entry:",
        "  %some = icmp sgt i64 %n, 0",
    ]
    for row, lane in enumerate(rows):
        lines.append(f"  %at{row} = getelementptr double, ptr %lanes, i64 {lane}")
        lines.append(f"  %start{row} = load {_VECTOR}, ptr %at{row}, align 8")
    lines += ["  br i1 %some, label %loop, label %none", "loop:"]
    lines.append("  %i = phi i64 [0, %entry], [%next, %loop]")
    for row in range(len(rows)):
        again = new[str(row)]
        lines.append(
            f"  %acc{row} = phi {_VECTOR} [%start{row}, %entry], [{again}, %loop]"
        )
    lines += body.lines
    lines.append(f"  %next = add i64 %i, {_LANES * _VECTORS}")
    lines.append("  %more = icmp slt i64 %next, %n")
    lines += ["  br i1 %more, label %loop, label %end", "end:"]
    for row in range(len(rows)):
        lines.append(f"  store {_VECTOR} {new[str(row)]}, ptr %at{row}, align 8")
    lines += ["  br label %none", "none:", "  ret void", "}"]
    return "\n".join(lines)
