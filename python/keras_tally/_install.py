"""Putting our classes in the place of Keras's own, and taking them out again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import keras
from keras.src import api_export
from keras.src import metrics as keras_src_metrics

import keras_tally
from keras_tally._registration import KERAS_CLASSES

# (table, key, what was there, what we put there); filled while installed.
_swaps: list[tuple[dict[Any, Any], Any, Any, Any]] = []
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
    of the modules `keras.metrics`, `keras._tf_keras.keras.metrics` (which is
    `tf.keras.metrics`) and `keras.src.metrics`; the entry of `keras.metrics.Name` in
    the registry of exported names, `keras.src.api_export.REGISTERED_NAMES_TO_OBJS`.
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
        for table, key, before, ours in _swaps:
            if table.get(key) is not ours:
                continue
            if before is _ABSENT:
                del table[key]
            else:
                table[key] = before
        _swaps.clear()


def _swap_all() -> None:
    ours_by_theirs = dict(_pairs())
    for table in _tables():
        for key, value in list(table.items()):
            if isinstance(value, type) and value in ours_by_theirs:
                _swap(table, key, ours_by_theirs[value])
    names = api_export.REGISTERED_OBJS_TO_NAMES
    for ours in ours_by_theirs.values():
        _swap(names, ours, f"keras.metrics.{ours.__name__}")


def _swap(table: dict[Any, Any], key: Any, ours: Any) -> None:
    _swaps.append((table, key, table.get(key, _ABSENT), ours))
    table[key] = ours


def _pairs() -> Iterator[tuple[type, type]]:
    """Yield Keras's class and ours, for each class that both have."""
    for name in keras_tally.__all__:
        ours = getattr(keras_tally, name)
        if isinstance(ours, type) and name in KERAS_CLASSES:
            yield KERAS_CLASSES[name], ours


def _tables() -> Iterator[dict[str, Any]]:
    """Yield the tables in which Keras and its users look classes up by name."""
    yield keras_src_metrics.ALL_OBJECTS_DICT
    yield api_export.REGISTERED_NAMES_TO_OBJS
    yield vars(keras_src_metrics)
    yield vars(keras.metrics)
    if legacy := sys.modules.get("keras._tf_keras.keras.metrics"):
        yield vars(legacy)
