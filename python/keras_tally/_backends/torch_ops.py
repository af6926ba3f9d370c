"""What `torch.compile` makes of an update: one operator, no break of the graph.

The tracer replaces the functions of the extension by calls of operators, which name a
plan by its number. Outside of compiled code nothing changes.
"""

from __future__ import annotations

import weakref
from typing import Any

import keras
import numpy as np
import torch
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_tally import _native
from keras_tally._tensors.torch_ops import define, kept


class _Metrics:
    """The metric or group of each plan, a weak reference, for as long as there is one.

    Attributes instead of a dictionary's items: the tracer reads one attribute, but
    would go through a whole dictionary, which changes when metrics come and go.
    """


_metrics = kept.setdefault("metrics", _Metrics())


def _key(plan: int) -> str:
    return f"plan_{plan}"


def register(metric: Any) -> None:
    """Let compiled code find the metric or the group by its plan."""
    key = _key(id(metric._plan))

    def forget(gone: weakref.ref[Any]) -> None:
        if getattr(_metrics, key, None) is gone:
            delattr(_metrics, key)

    setattr(_metrics, key, weakref.ref(metric, forget))


def _metric_of(plan: int) -> Any:
    reference = getattr(_metrics, _key(plan), None)
    metric = None if reference is None else reference()
    if metric is None:
        raise RuntimeError("the metric of this compiled graph is gone")
    return metric


def _fakes(states: list[torch.Tensor], plan: int) -> list[torch.Tensor]:
    return [
        states[0].new_empty(m._result_shape(), dtype=getattr(torch, m._result_dtype))
        for m in _metric_of(plan)._results_of().values()
    ]


def _update(
    states: list[torch.Tensor],
    plan: int,
    y_true: torch.Tensor | None,
    y_pred: torch.Tensor,
    sample_weight: torch.Tensor | None,
) -> None:
    if y_true is None:  # a metric of values alone
        y_true = y_pred
    _metric_of(plan)._update_states(list(states), y_true, y_pred, sample_weight)


def _results(states: list[torch.Tensor], plan: int) -> list[torch.Tensor]:
    values: list[torch.Tensor] = _metric_of(plan)._results_from(list(states))
    return values


define(
    "update(Tensor(a!)[] states, int plan, Tensor? y_true, Tensor y_pred, "
    "Tensor? sample_weight) -> ()",
    _update,
    lambda *_: None,
)
define("results(Tensor[] states, int plan) -> Tensor[]", _results, _fakes)


# What is traced in place of the extension's functions: these names are in the graph.


def _substitute(function: Any) -> Any:
    """Let the tracer take the decorated function in the place of one of the extension.

    An import before has done so already; its functions know the same metrics.
    """
    if function in kept.setdefault("substituted", []):
        return lambda traced: traced
    kept["substituted"].append(function)
    return torch.compiler.substitute_in_graph(function, skip_signature_check=True)


def _tensor(x: Any) -> Any:
    """Return numbers, lists and NumPy's as tensors, which are all that operators take.

    Their dtype is that of an eager update.
    """
    if x is None or isinstance(x, torch.Tensor):
        return x
    if isinstance(x, (np.ndarray, np.generic)):  # which the tracer lets no one ask
        return torch.as_tensor(x)
    return keras.ops.convert_to_tensor(x)


@_substitute(_native.update)  # type: ignore[untyped-decorator,unused-ignore]
def _traced_update(
    plan: Any, y_true: Any, y_pred: Any, sample_weight: Any, unmasked: bool = False
) -> bool:
    if in_stateless_scope():
        return False
    metric: Any = getattr(_metrics, _key(id(plan)))()
    if not unmasked and hasattr(y_pred, "_keras_mask"):
        return False
    states = [variable._value for variable in metric._plan_variables]
    batch = [_tensor(x) for x in (y_true, y_pred, sample_weight)]
    torch.ops.keras_tally.update(states, id(plan), *batch)
    return True


@_substitute(_native.result)  # type: ignore[untyped-decorator,unused-ignore]
def _traced_result(plan: Any) -> Any:
    if in_stateless_scope():
        return None
    metric: Any = getattr(_metrics, _key(id(plan)))()
    states = [variable._value for variable in metric._plan_variables]
    values = torch.ops.keras_tally.results(states, id(plan))
    names = metric._result_names
    return values[0] if names is None else dict(zip(names, values, strict=True))
