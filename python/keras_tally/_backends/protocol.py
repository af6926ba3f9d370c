"""What an adapter must offer: a fifth backend is one more module like the others.

mypy compares each module with the protocol it is for (at the end of this file).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from keras_tally._backends import Assignment, Road


class Backend(Protocol):
    """What every adapter has."""

    # Comparisons with a Python float happen in a 16-bit tensor's own precision.
    @property
    def THRESHOLD_IN_SCORES_DTYPE(self) -> bool: ...
    # Keras divides by a norm of at least epsilon.
    @property
    def NORM_HAS_FLOOR(self) -> bool: ...

    def state_dtype(self, dtype: str) -> str:
        """Return the dtype of a variable to which Keras gives `dtype`."""

    def whole_dtype(self, dtype: str) -> str:
        """Return the dtype of a variable of integers to which Keras gives `dtype`."""

    def prepare(self, x: Any, argument: str, like: Any = None) -> Any:
        """Return an input as a tensor that kernels can read."""

    def register(self, metric: Any) -> None:
        """Do what a new plan needs."""

    def settle(self, variable: Any) -> None:
        """Do what a new variable needs."""

    def read(self, variables: Sequence[Any]) -> list[Any]:
        """Return the tensors that are the variables' values."""

    def assignments(
        self, variables: Sequence[Any], values: Sequence[Any]
    ) -> list[Assignment]:
        """Return the calls that put values into the variables."""

    def read_variable(self, variable: Any) -> Any:
        """Return a variable's value as a NumPy array."""

    def is_on_host(self, variable: Any) -> bool:
        """Tell whether reading the variable's value waits for no device."""

    def plan_options(self, dtype: str) -> dict[str, Any]:
        """Return how a plan makes results of `dtype`."""

    def device_of(self, value: Any) -> str:
        """Return where a state is."""


class InPlaceBackend(Backend, Protocol):
    """Where kernels write into the variables."""

    def is_symbolic(self, x: Any) -> bool:
        """Tell whether a tensor has a shape but no data."""

    def symbolic_result(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Return what stands for a result while Keras builds a model."""

    def copy_for_update(self, x: Any) -> Any:
        """Return a copy of a state tensor that kernels can add to."""

    def on_device(self, *tensors: Any) -> Any:
        """Return the first that is on a GPU whose kernels can be used, or None."""

    def place_like(self, result: Any, state: Any) -> Any:
        """Return the result where the state is."""

    def roads(self, value: Any, grouped: bool) -> dict[str, Road]:
        """Return the roads of a metric or a group with this state."""


class StoredBackend(Backend, Protocol):
    """Where an update makes a new state from a state."""

    # The framework's tensors whose rows have lengths of their own.
    @property
    def RAGGED(self) -> tuple[type, ...]: ...

    def float64(self) -> AbstractContextManager[Any]:
        """Return a scope in which float64 is what it says."""

    def why_portable(self, *tensors: Any) -> str | None:
        """Return why no kernel can take these tensors; None if one can."""

    def check(self, program: str, given: int, inputs: Sequence[Any]) -> Any:
        """Raise what an update by these inputs would, as far as it is known."""

    def update(
        self,
        plan: Any,
        state: Sequence[Any],
        given: int,
        inputs: Sequence[Any],
        always: bool,
    ) -> Sequence[Any] | str:
        """Return the state that a batch makes of the given one.

        Or why Keras's operations must make it: no kernel can be called, or it does not
        pay, unless one is `always` asked for. The inputs have been checked then.
        """

    def roads(self, why: str | None) -> dict[str, Road]:
        """Return the roads of metrics, which are portable if there is a reason."""

    def results(self, program: Any, state: Sequence[Any]) -> Sequence[Any] | str:
        """Return the results of the program's metrics, or why no kernel makes them."""


if TYPE_CHECKING:
    from keras_tally._backends import jax, numpy, tensorflow, torch

    _in_place: tuple[InPlaceBackend, InPlaceBackend] = torch, numpy
    _stored: tuple[StoredBackend, StoredBackend] = jax, tensorflow
