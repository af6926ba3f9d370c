"""Registration for saving and loading, under the package's name."""

from __future__ import annotations

from typing import Any, TypeVar

import keras

T = TypeVar("T")

# Keras's own classes: after `install()`, `keras.metrics` holds ours instead.
KERAS_CLASSES: dict[str, type] = {
    name: cls
    for name, cls in vars(keras.metrics).items()
    if isinstance(cls, type)
    and issubclass(cls, keras.metrics.Metric)
    and cls is not keras.metrics.Metric
}

# Every class of ours, by name.
REGISTERED: dict[str, Any] = {}


def register(cls: type[T]) -> type[T]:
    """Make a class known to Keras's serialisation as `keras_tally>Name`."""
    registered: type[T] = keras.saving.register_keras_serializable(
        package="keras_tally"
    )(cls)
    REGISTERED[cls.__name__] = registered
    return registered
