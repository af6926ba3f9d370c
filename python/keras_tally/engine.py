"""Accumulators without Keras: for services that start fast, and for any loop.

Importing this module imports NumPy and the kernels, and nothing else. The numbers are
those of the Keras classes, bit for bit: both are made of the same kernels, states and
results, with Keras's default settings (floatx float32, epsilon 1e-7) and, where Keras's
backends differ, what it does on torch. There is one exception: a vector of errors holds
one sample for each entry, where Keras takes the whole vector for one sample.

>>> from keras_tally import engine
>>> auc = engine.Accumulator("auc", num_thresholds=3)
>>> auc.update([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
>>> float(auc.result())
0.75
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_tally import _native
from keras_tally._device import cuda_status
from keras_tally._numbers import add, places_of_lows, total_of
from keras_tally._plans import (
    Plan,
    columns_of,
    given_inputs,
    key_of,
    plan_of,
    update_general,
    with_columns,
)
from keras_tally._tensors import adapter_of, as_column, in_memory
from keras_tally._threads import num_threads, set_num_threads
from keras_tally.metrics import METRICS

__all__ = [
    "Accumulator",
    "cuda_status",
    "metrics",
    "module",
    "num_threads",
    "set_num_threads",
]

_COLUMNS = "columns"


def metrics() -> list[str]:
    """Return the names of all metrics, which `Accumulator` takes.

    Example:

    >>> from keras_tally import engine
    >>> "auc" in engine.metrics()
    True
    """
    return sorted(METRICS)


class _Built(NamedTuple):
    """What an accumulator knows as soon as it knows its columns."""

    plan: Plan
    columns: int | None
    native: Any
    # A list, as the extension takes it.
    state: list[Any]


class Accumulator:
    """The state of a metric over any number of batches.

    The state is that of the Keras classes: sums in float64, counts exact to 2^53. The
    states of two data sets can be merged.

    Args:
        metric: the name of a metric, see `metrics()`: that of the function in
            `keras_tally.functional`, whose docstring has the formula and the shapes.
        device: None for a state of NumPy arrays in host memory; or a torch device:
            then the state is a torch tensor there, and so are results. Inputs
            elsewhere are copied to it.
        dtype: dtype of the result, `"float32"` or `"float64"`.
        **arguments: the metric's own arguments, as the function takes them.

    Raises:
        ValueError: there is no such metric, dtype or value of an argument.
        TypeError: the metric has no such argument.

    Example:

    >>> from keras_tally import engine
    >>> first, second = (engine.Accumulator("precision") for _ in range(2))
    >>> first.update([0, 1, 1, 1], [1, 0, 1, 1])
    >>> second.update([1, 1], [0.9, 0.8], sample_weight=[0.5, 0.5])
    >>> first.merge(second)
    >>> float(first.result())
    0.75
    """

    # None before the first batch tells the columns.
    _built: _Built | None = None

    def __init__(
        self,
        metric: str,
        *,
        device: Any = None,
        dtype: str = "float32",
        **arguments: Any,
    ) -> None:
        check_dtype(dtype)
        self._key = key_of(metric, arguments)
        self._device = device
        self._dtype = dtype
        self._late = METRICS[metric].needs_columns(arguments)
        if not self._late:
            self._built = self._build(plan_of(self._key), None)
        else:  # refuses now what no number of columns makes right
            weights = dict(self._key[1]).get("label_weights")
            plan_of(with_columns(self._key, len(weights) if weights else 1))

    def _build(self, plan: Plan, columns: int | None) -> _Built:
        size = sum(plan.sizes)
        if self._device is None:
            state = np.zeros(size)
        else:
            state = _tensors_of_torch().state_on(self._device, size)
        return _Built(plan, columns, plan.native(self._dtype), [state])

    def _build_for(self, y_pred: Any) -> _Built:
        columns = columns_of(y_pred)
        return self._build(plan_of(with_columns(self._key, columns)), columns)

    def _take(self, built: _Built) -> _Built:
        """Make this the state, unless another thread has been faster; return it."""
        # One call that runs no Python code.
        winner: _Built = vars(self).setdefault("_built", built)
        return winner

    @property
    def name(self) -> str:
        """The name of the metric."""
        return self._key[0]

    def update(
        self, y_true: Any, y_pred: Any = None, sample_weight: Any = None
    ) -> None:
        """Add a batch to the state.

        Args:
            y_true: the ground truth; of `"mean"` and `"sum"` the values, alone.
            y_pred: the predictions. The first batch decides the number of columns of
                `"f1_score"`, `"fbeta_score"`, `"r2_score"` and of an `"auc"` with
                `multi_label`; without a second axis, there is one.
            sample_weight: optional weights, by the rules of the metric.

        Raises:
            ValueError: shapes, weights or labels that do not fit; the state is as it
                was.
            TypeError: an argument that is no tensor of an accepted dtype.
        """
        built = self._built
        if built is not None:
            self._add(built, y_true, y_pred, sample_weight)
            return
        # A batch that is refused leaves nothing behind.
        built = self._build_for(y_pred)
        self._add(built, y_true, y_pred, sample_weight)
        winner = self._take(built)
        if winner is not built:
            self._add(winner, y_true, y_pred, sample_weight)

    def _add(self, built: _Built, y_true: Any, y_pred: Any, sample_weight: Any) -> None:
        plan, _, native, state = built
        if plan.takes_values:
            if y_pred is not None:
                raise TypeError(
                    f"{self.name!r} takes values alone, and weights as "
                    "`sample_weight=`."
                )
            y_pred = y_true
        if plan.spec.takes_matrices:
            y_true, y_pred = as_column(y_true), as_column(y_pred)
        if not _native.accumulate(native, state, y_true, y_pred, sample_weight):
            given = given_inputs(y_true, y_pred, sample_weight)
            adapter = adapter_of(*state, *given.values())
            like = state[0] if self._device is not None else None
            update_general(native, state[0], adapter, like, given)

    def result(self) -> Any:
        """Return the value over everything seen since the last reset.

        Returns:
            A scalar, or a vector of one value per threshold or column: a number or
            array of NumPy, or a torch tensor where the state is one.

        Raises:
            ValueError: the metric waits for its first batch to know the columns.
        """
        built = self._built
        if built is None:
            raise ValueError(
                f"{self.name!r} has no result before its first update(), which tells "
                "the number of columns."
            )
        matrix = built.plan.spec.matrix
        value = _native.result_from(built.native, built.state)
        return value if matrix is None else value.reshape(matrix)

    def reset(self) -> None:
        """Forget everything seen so far."""
        if self._built is not None:
            in_memory(self._built.state[0])[...] = 0.0

    def merge(self, *others: Accumulator) -> None:
        """Add the states of others, which stay as they are.

        Args:
            *others: accumulators of the same metric with the same arguments.

        Raises:
            TypeError: something that is no accumulator.
            ValueError: one of another metric, or for another number of columns.
        """
        for other in others:
            self._check_same(other)
        for other in others:
            if other._built is None:
                continue
            added = _as_array(other._built.state[0])
            built = self._built
            if built is None:
                built = self._take(self._build(*other._built[:2]))
            (state,) = built.state
            layout = list(built.plan.spec.state.items())
            if isinstance(in_memory(state), np.ndarray):
                add(in_memory(state), added, places_of_lows(layout))
            else:
                total = total_of(layout, [_as_array(state), added])
                state[...] = state.new_tensor(total)

    def _check_same(self, other: Any) -> None:
        if not isinstance(other, Accumulator):
            raise TypeError(
                f"`merge` takes accumulators. Received: {type(other).__name__}"
            )
        if other._key != self._key:
            raise ValueError(
                "`merge` takes accumulators of one metric with the same arguments. "
                f"Received: {_shown(other._key)}, and this is {_shown(self._key)}"
            )
        own, theirs = self._built, other._built
        if own is not None and theirs is not None and own.columns != theirs.columns:
            raise ValueError(
                f"`merge` takes accumulators of one number of columns. Received: "
                f"{theirs.columns}, and this one has {own.columns}"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state.

        Returns:
            For each variable's name an array. Where the first batch decides the
            columns, also their number under `"columns"` (0 for vectors). Before it, an
            empty dictionary.
        """
        if self._built is None:
            return {}
        plan, columns, _, (own,) = self._built
        # Of one moment, where other threads add to it.
        state = _as_array(own)
        found: dict[str, Any] = {}
        start = 0
        for (name, shape), size in zip(
            plan.spec.state.items(), plan.sizes, strict=True
        ):
            part = state[start : start + size].reshape(shape)
            found[name] = part.copy() if self._device is None else own.new_tensor(part)
            start += size
        if self._late:
            found[_COLUMNS] = columns or 0
        return found

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over a state, in place of the own.

        Args:
            state_dict: what `state_dict()` of an accumulator of the same metric with
                the same arguments has returned; arrays or tensors.

        Raises:
            ValueError: names or shapes that are not those of this metric's state,
                which is as it was.
        """
        given = dict(state_dict)
        if not given:
            if not self._late:
                raise ValueError("`state_dict` must not be empty. Received: {}")
            vars(self).pop("_built", None)
            return
        plan, columns = None if self._built is None else self._built.plan, None
        if self._late:
            columns = int(given.pop(_COLUMNS, -1))
            if columns < 0:
                raise ValueError(f"`state_dict` must have an entry {_COLUMNS!r}.")
            plan = plan_of(with_columns(self._key, columns or None))
        assert plan is not None
        expected = dict(plan.spec.state)
        arrays = {name: _as_array(x) for name, x in given.items()}
        received = {name: x.shape for name, x in arrays.items()}
        if received != expected:
            raise ValueError(
                f"`state_dict` must have the shapes {expected}. Received: {received}"
            )
        flat = [arrays[name].ravel() for name in plan.spec.state]
        built = self._build(plan, columns or None)
        array, (state,) = np.concatenate(flat), built.state
        state[...] = array if self._device is None else state.new_tensor(array)
        self._built = built

    def __reduce__(self) -> tuple[Any, ...]:
        name, arguments = self._key
        options = {"device": self._device, "dtype": self._dtype, **dict(arguments)}
        return _restore, (name, options, self.state_dict())

    def __repr__(self) -> str:
        return f"Accumulator({_shown(self._key)})"


def module(
    metric: str, *, columns: int | None = None, dtype: str = "float32", **arguments: Any
) -> Any:
    """Return an accumulator as a `torch.nn.Module`, whose state is a buffer.

    The module's `update(y_true, y_pred, sample_weight)`, `compute()` and `reset()` do
    what an accumulator's methods do; calling it updates, then computes. The buffer
    `state`, float64 of shape (n,), moves with the module to other devices, is part
    of its `state_dict()`, and may be summed over processes. It works inside of
    `torch.compile` without a break of the graph, and in `torch.export`.

    Args:
        metric: the name of a metric, see `metrics()`.
        columns: the number of columns of the inputs, where the state depends on it
            (`"f1_score"`, `"fbeta_score"`, `"r2_score"`, `"auc"` with `multi_label`);
            None for vectors.
        dtype: dtype of the result, `"float32"` or `"float64"`.
        **arguments: the metric's own arguments, as the function takes them.

    Raises:
        ValueError: there is no such metric, dtype or value of an argument.
        TypeError: the metric has no such argument.

    Example:

    >>> import torch
    >>> from keras_tally import engine
    >>> accuracy = engine.module("binary_accuracy")
    >>> accuracy(torch.tensor([1, 0, 1, 1]), torch.tensor([0.9, 0.2, 0.4, 0.8]))
    tensor(0.7500)
    >>> list(accuracy.state_dict())
    ['state']
    """
    check_dtype(dtype)
    key = key_of(metric, arguments)
    if METRICS[metric].needs_columns(arguments):
        key = with_columns(key, columns)
    elif columns is not None:
        raise ValueError(f"{metric!r} has no use for `columns`. Received: {columns}")
    made = importlib.import_module("keras_tally._tensors.torch_module")
    return made.MetricModule(plan_of(key), dtype)


def check_dtype(dtype: str) -> None:
    """Refuse a dtype that no result has."""
    if dtype not in ("float32", "float64"):
        raise ValueError(
            f"`dtype` must be 'float32' or 'float64'. Received: dtype={dtype!r}"
        )


def _restore(
    name: str, options: dict[str, Any], state_dict: dict[str, Any]
) -> Accumulator:
    """Return an accumulator as it was; pickles call this by its name."""
    accumulator = Accumulator(name, **options)
    accumulator.load_state_dict(state_dict)
    return accumulator


def _shown(key: tuple[str, Any]) -> str:
    name, arguments = key
    return ", ".join([repr(name), *(f"{k}={v!r}" for k, v in arguments)])


def _tensors_of_torch() -> Any:
    return importlib.import_module("keras_tally._tensors.torch")


def _as_array(x: Any) -> np.ndarray[Any, Any]:
    x = x.detach().cpu() if hasattr(x, "detach") else x
    return np.array(x, dtype=np.float64)
