"""Putting our classes in the place of Keras's own, and taking them out again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import cache, partial
from typing import Any

from keras.src import api_export
from keras.src import metrics as keras_src_metrics

from keras_tally._registration import KERAS_CLASSES, REGISTERED
from keras_tally._when_imported import when_imported

# Where users find Keras's classes. `from tensorflow.keras.metrics import AUC` executes
# Keras's file a second time, under this name, when it is first imported.
_FACADES = (
    "keras.metrics",
    "keras._tf_keras.keras.metrics",
    "tensorflow.keras.metrics",
)

# (table, key, what was there, what we put there); filled while installed.
_swaps: list[tuple[dict[Any, Any], Any, Any, Any]] = []
# What ends waiting for the modules that were not imported at `install()`.
_waiting: list[Callable[[], None]] = []
_lock = threading.Lock()
_ABSENT = object()


def install() -> AbstractContextManager[object]:
    """Make Keras use this package's metrics wherever it looks for its own.

    Until `uninstall()`, or the end of a `with` block:

    - strings in `compile` and `keras.metrics.get` (`"accuracy"`, `"auc"`, `"mse"`,
      `"AUC"`) give this package's classes, and so do functions, which are wrapped in
      `MeanMetricWrapper`, and the tracker of the loss;
    - `keras.metrics.AUC` and its siblings are this package's classes;
    - models saved with Keras's own metrics load with this package's;
    - this package's metrics are saved as Keras's own, so that the file loads where
      keras-tally is missing.

    What is swapped, for each class of this package that Keras has under the same
    name: its entries in the dict `keras.src.metrics.ALL_OBJECTS_DICT`; the attribute
    of the modules `keras.metrics`, `keras.src.metrics`,
    `keras._tf_keras.keras.metrics` (which is `tf.keras.metrics`) and
    `tensorflow.keras.metrics`, the latter two also when they are imported later; the
    entry of `keras.metrics.Name` in the registry of exported names,
    `keras.src.api_export.REGISTERED_NAMES_TO_OBJS`.
    To the registry's other direction, `REGISTERED_OBJS_TO_NAMES`, our class is added.

    What stays as it is: classes that were imported by name before (`from
    keras.metrics import AUC`), metrics and compiled models that exist already, the
    base class `keras.metrics.Metric`, losses, and functions such as
    `keras.metrics.mean_squared_error`: among metrics the string of that name means
    the class, and as a loss Keras must be able to differentiate it. Classes that
    Keras lacks (`Huber`) are saved under this package's name in any case.
    `isinstance(m, keras.metrics.AUC)` asks for our class while it is there.

    A second call changes nothing. The swap is that of the process, not of a thread:
    a `with` block ends it for all, unless it was installed before the block.

    Returns:
        A context manager that uninstalls at its end, if this call installed. It
        may be ignored.

    Example:

    >>> import keras
    >>> import keras_tally as kt
    >>> with kt.install():
    ...     type(keras.metrics.get("mse")) is kt.MeanSquaredError
    True
    >>> type(keras.metrics.get("mse")) is kt.MeanSquaredError
    False
    """
    scope = ExitStack()
    with _lock:
        if not _swaps:
            _swap_all()
            scope.callback(uninstall)
    return scope


def uninstall() -> None:
    """Undo `install()`: Keras finds its own metrics again.

    Entries that somebody else has replaced in the meantime are left alone. Without
    an `install()` before it, the call changes nothing. Metrics that exist keep their
    class.

    Example:

    >>> import keras
    >>> import keras_tally as kt
    >>> _ = kt.install()
    >>> kt.uninstall()
    >>> keras.metrics.AUC is kt.AUC
    False
    """
    with _lock:
        while _waiting:
            _waiting.pop()()
        for table, key, before, ours in _swaps:
            if table.get(key) is not ours:
                continue
            if before is _ABSENT:
                del table[key]
            else:
                table[key] = before
        _swaps.clear()


def _swap_all() -> None:
    for table in (
        keras_src_metrics.ALL_OBJECTS_DICT,
        api_export.REGISTERED_NAMES_TO_OBJS,
        vars(keras_src_metrics),
    ):
        _swap_in(table)
    for name in _FACADES:
        stop_waiting = when_imported(name, partial(_swap_in_module, name))
        if stop_waiting is not None:
            _waiting.append(stop_waiting)
    names = api_export.REGISTERED_OBJS_TO_NAMES
    for ours in _ours_by_theirs().values():
        _swap(names, ours, f"keras.metrics.{ours.__name__}")


def _swap_in_module(name: str) -> None:
    _swap_in(vars(sys.modules[name]))


def _swap_in(table: dict[Any, Any]) -> None:
    """Put our classes in the place of Keras's in a table of classes by name."""
    ours_by_theirs = _ours_by_theirs()
    for key, value in list(table.items()):
        if isinstance(value, type) and value in ours_by_theirs:
            _swap(table, key, ours_by_theirs[value])


def _swap(table: dict[Any, Any], key: Any, ours: Any) -> None:
    _swaps.append((table, key, table.get(key, _ABSENT), ours))
    table[key] = ours


@cache
def _ours_by_theirs() -> dict[type, type]:
    """Return our class for each class that both have."""
    return {
        KERAS_CLASSES[name]: ours
        for name, ours in REGISTERED.items()
        if name in KERAS_CLASSES
    }
