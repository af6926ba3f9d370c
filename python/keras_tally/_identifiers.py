"""`keras.metrics.get` and its siblings, which give our classes here."""

from __future__ import annotations

from typing import Any

import keras

from keras_tally._registration import KERAS_CLASSES, REGISTERED


def ours_for(metric: Any) -> Any:
    """Return our metric for one of Keras's, and anything else as it is."""
    name = type(metric).__name__
    keras_class: Any = KERAS_CLASSES.get(name)
    if not isinstance(metric, keras.metrics.Metric) or type(metric) is not keras_class:
        return metric
    config: dict[str, Any] = metric.get_config()
    return REGISTERED[name].from_config(config)


def get(identifier: Any) -> Any:
    """Return the metric that an identifier of Keras's names.

    Args:
        identifier: a name (`"mse"`, `"AUC"`), a config, a metric, a function or
            None, which is returned as it is.

    Returns:
        A metric: ours where Keras has one of this name.

    Raises:
        ValueError: nothing has this name.

    Example:

    >>> import keras_tally as kt
    >>> type(kt.get("mse")) is kt.MeanSquaredError
    True

    Source: `keras.metrics.get`.
    """
    if identifier is None or not isinstance(identifier, (str, dict)):
        return keras.metrics.get(identifier)
    return ours_for(keras.metrics.get(identifier))


def serialize(metric: Any) -> Any:
    """Return the config of a metric, from which `deserialize` makes it again.

    Args:
        metric: a metric, or a metric function.

    Returns:
        A dictionary that JSON can hold.

    Example:

    >>> import keras_tally as kt
    >>> kt.serialize(kt.AUC())["registered_name"]
    'keras_tally>AUC'

    Source: `keras.metrics.serialize`.
    """
    return keras.metrics.serialize(metric)


def deserialize(config: Any, custom_objects: dict[str, Any] | None = None) -> Any:
    """Return the metric that a config describes.

    Args:
        config: what `serialize`, ours or Keras's, has returned.
        custom_objects: classes and functions of your own by name.

    Returns:
        A metric: ours also where the config describes Keras's.

    Raises:
        ValueError: the config names nothing that is known.

    Example:

    >>> import keras
    >>> import keras_tally as kt
    >>> metric = kt.deserialize(keras.metrics.serialize(keras.metrics.AUC()))
    >>> type(metric) is kt.AUC
    True

    Source: `keras.metrics.deserialize`.
    """
    return ours_for(keras.metrics.deserialize(config, custom_objects=custom_objects))
