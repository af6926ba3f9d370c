"""What a graph of torch holds in place of native calls that need no Keras."""

from __future__ import annotations

from typing import Any

import torch

from keras_tally import _native, _plans
from keras_tally._plans import Key, Plan, plan_of_text, text_of
from keras_tally._tensors import torch as tensors

is_compiling = torch.compiler.is_compiling
_constant_text = torch.compiler.assume_constant_result(text_of)

# What is left of an import before, where our modules are imported a second time: torch
# keeps what it has been told.
kept: dict[str, Any] = vars(torch.ops.keras_tally).setdefault("_keras_tally", {})
if "library" in kept:
    kept["library"]._destroy()
kept["library"] = library = torch.library.Library("keras_tally", "FRAGMENT")


def define(
    schema: str,
    run: Any,
    fake: Any,
) -> None:
    """Make an operator that has no gradient and that `torch.vmap` refuses."""
    name = schema.split("(", 1)[0]
    library.define(schema, tags=(torch.Tag.pt2_compliant_tag,))
    library.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"keras_tally::{name}", fake, lib=library)
    operator = getattr(torch.ops.keras_tally, name).default

    def below_autograd(*arguments: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return operator(*arguments)

    def refuse(*arguments: Any) -> Any:
        raise TypeError(
            "metrics accumulate and cannot be transformed by torch.func.vmap. Call "
            "the metric outside of the transformed function."
        )

    library.impl(name, below_autograd, "Autograd")
    library.impl(name, refuse, "FuncTorchBatched")


def _flat_shape(plan: Plan) -> tuple[int, ...]:
    # Where the result is a matrix, operators give its entries.
    return plan.result_shape() if plan.spec.matrix is None else (sum(plan.sizes),)


def _run(
    metric: str,
    y_true: torch.Tensor | None,
    y_pred: torch.Tensor,
    sample_weight: torch.Tensor | None,
) -> torch.Tensor:
    name, arguments = plan_of_text(metric).key
    value: torch.Tensor = _plans.evaluate_eagerly(
        (name, arguments), y_true, y_pred, sample_weight
    )
    return value


def _fake(
    metric: str,
    y_true: torch.Tensor | None,
    y_pred: torch.Tensor,
    sample_weight: torch.Tensor | None,
) -> torch.Tensor:
    del y_true, sample_weight
    plan = plan_of_text(metric)
    wide = plan.spec.matrix is not None or y_pred.dtype == torch.float64
    dtype = torch.float64 if wide else torch.float32
    return y_pred.new_empty(_flat_shape(plan), dtype=dtype)


define(
    "evaluate(str metric, Tensor? y_true, Tensor y_pred, Tensor? sample_weight) "
    "-> Tensor",
    _run,
    _fake,
)


def accumulate(
    native: Any, state: torch.Tensor, y_true: Any, y_pred: Any, sample_weight: Any
) -> None:
    """Add a batch to a state that is a tensor."""
    if y_true is None:  # a metric of values alone
        y_true = y_pred
    if not _native.accumulate(native, [state], y_true, y_pred, sample_weight):
        given = _plans.given_inputs(y_true, y_pred, sample_weight)
        _plans.update_general(native, state, tensors, state, given)


def _accumulate(
    state: torch.Tensor,
    metric: str,
    y_true: torch.Tensor | None,
    y_pred: torch.Tensor,
    sample_weight: torch.Tensor | None,
) -> None:
    accumulate(plan_of_text(metric).native(), state, y_true, y_pred, sample_weight)


def _compute(state: torch.Tensor, metric: str, wide: bool) -> torch.Tensor:
    native = plan_of_text(metric).native("float64" if wide else "float32")
    value: torch.Tensor = _native.result_from(native, [state])
    return value


def _fake_compute(state: torch.Tensor, metric: str, wide: bool) -> torch.Tensor:
    dtype = torch.float64 if wide else torch.float32
    return state.new_empty(_flat_shape(plan_of_text(metric)), dtype=dtype)


define(
    "accumulate(Tensor(a!) state, str metric, Tensor? y_true, Tensor y_pred, "
    "Tensor? sample_weight) -> ()",
    _accumulate,
    lambda *_: None,
)
define(
    "compute(Tensor state, str metric, bool wide) -> Tensor", _compute, _fake_compute
)


def evaluate(key: Key, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
    """Return what stands for the result in a graph."""
    return torch.ops.keras_tally.evaluate(
        _constant_text(key),
        None if y_true is None else torch.as_tensor(y_true),
        torch.as_tensor(y_pred),
        None if sample_weight is None else torch.as_tensor(sample_weight),
    )


__all__ = ["accumulate", "define", "evaluate", "is_compiling"]
