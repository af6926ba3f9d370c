"""An accumulator as a torch module, whose state is a buffer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from keras_tally import _native, _plans
from keras_tally._plans import Plan, text_of
from keras_tally._tensors import as_column, in_memory
from keras_tally._tensors import torch as tensors
from keras_tally._tensors.torch_ops import accumulate, is_compiling


class MetricModule(torch.nn.Module):  # type: ignore[misc]
    """What `engine.module` returns; its docstring says what it does."""

    state: torch.Tensor

    def __init__(self, plan: Plan, dtype: str) -> None:
        super().__init__()
        self._plan = plan
        self._native = plan.native(dtype)
        self._text = text_of(plan.key)
        self._wide = dtype == "float64"
        self._dtype = dtype
        self.register_buffer("state", tensors.state_on("cpu", sum(plan.sizes)))

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> MetricModule:
        # The state follows to other devices, but not to other dtypes.
        before = self.state
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call,unused-ignore]
        if self.state.dtype != before.dtype:
            self.state = before.to(self.state.device)
        return self

    def update(
        self, y_true: Any, y_pred: Any = None, sample_weight: Any = None
    ) -> None:
        """Add a batch to the state."""
        if self._plan.takes_values:
            if y_pred is not None:
                raise TypeError("values come alone, and weights as `sample_weight=`.")
            y_pred = y_true
        if self._plan.spec.takes_matrices:
            y_true, y_pred = as_column(y_true), as_column(y_pred)
        if is_compiling():
            torch.ops.keras_tally.accumulate(
                self.state, self._text, y_true, y_pred, sample_weight
            )
        else:
            accumulate(self._native, self.state, y_true, y_pred, sample_weight)

    def compute(self) -> torch.Tensor:
        """Return the value over everything seen since the last reset."""
        value: torch.Tensor
        if is_compiling():
            value = torch.ops.keras_tally.compute(self.state, self._text, self._wide)
        else:
            value = _native.result_from(self._native, [self.state])
        matrix = self._plan.spec.matrix
        return value if matrix is None else value.reshape(matrix)

    def forward(
        self, y_true: Any, y_pred: Any = None, sample_weight: Any = None
    ) -> torch.Tensor:
        """Add a batch, and return the value over everything seen so far."""
        self.update(y_true, y_pred, sample_weight)
        return self.compute()

    def reset(self) -> None:
        """Forget everything seen so far."""
        if is_compiling():
            self.state.zero_()
        else:
            in_memory(self.state)[...] = 0.0

    def extra_repr(self) -> str:
        """Return the metric and its arguments."""
        name, arguments = self._plan.key
        return ", ".join([name, *(f"{k}={v!r}" for k, v in arguments)])

    def __getstate__(self) -> dict[str, Any]:
        # The extension's plan is made again.
        return {**super().__getstate__(), "_native": None, "_plan": self._plan.key}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call,unused-ignore]
        self._plan = _plans.plan_of(state["_plan"])
        self._native = self._plan.native(self._dtype)
