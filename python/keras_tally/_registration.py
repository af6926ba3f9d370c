"""Registration for saving and loading, under the package's name."""

from __future__ import annotations

from types import FunctionType
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


def _own_constructor(cls: Any) -> None:
    """Let errors of a constructor that is inherited name the class that was called."""
    init = cls.__init__
    if "__init__" not in vars(cls) and isinstance(init, FunctionType):
        own = FunctionType(
            init.__code__,
            init.__globals__,
            init.__name__,
            init.__defaults__,
            init.__closure__,
        )
        own.__kwdefaults__ = init.__kwdefaults__
        own.__annotations__ = init.__annotations__
        own.__doc__ = init.__doc__
        own.__module__ = cls.__module__
        own.__qualname__ = f"{cls.__name__}.__init__"
        cls.__init__ = own


def register(cls: type[T]) -> type[T]:
    """Make a class known to Keras's serialisation as `keras_tally>Name`."""
    _own_constructor(cls)
    registered: type[T] = keras.saving.register_keras_serializable(
        package="keras_tally"
    )(cls)
    REGISTERED[cls.__name__] = registered
    return registered
