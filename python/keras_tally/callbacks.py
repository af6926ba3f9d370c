"""Keras callbacks for `MetricGroup`.

>>> import keras_tally as kt
>>> kt.callbacks.ResultEvery(steps=10).steps
10
"""

from __future__ import annotations

from typing import Any

import keras

from keras_tally.group import MetricGroup

__all__ = ["ResultEvery"]


class ResultEvery(keras.callbacks.Callback):  # type: ignore[misc]
    """Computes the results of a model's metric groups every `steps` batches only.

    `fit` and `evaluate` ask every metric for its result after every batch. With this
    callback, a group answers with its last results in between: the logs of a batch
    then hold numbers of up to `steps - 1` batches ago. The logs of an epoch and the
    return value of `evaluate` are always exact, and so is every `result()` outside of
    a batch (after a `fit` that was interrupted inside of one, from the second on).

    On JAX and TensorFlow results are part of the compiled step, and the callback
    changes nothing.

    Args:
        steps: after how many batches results are computed; None: at the first batch
            of an epoch and at its end.

    Raises:
        ValueError: `steps` is less than 1.
        TypeError: `steps` is no whole number.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_tally as kt
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> group = kt.MetricGroup([kt.MeanSquaredError(), kt.MeanAbsoluteError()])
    >>> model.compile(loss="mse", metrics=[group])
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> logs = model.evaluate(
    ...     x, y, verbose=0, return_dict=True, callbacks=[kt.callbacks.ResultEvery(10)]
    ... )
    >>> sorted(logs)
    ['loss', 'mean_absolute_error', 'mean_squared_error']
    """

    def __init__(self, steps: int | None = None) -> None:
        super().__init__()
        if steps is not None and not hasattr(steps, "__index__"):
            raise TypeError(f"`steps` must be an int or None. Received: steps={steps}")
        if steps is not None and steps < 1:
            raise ValueError(f"`steps` must be 1 or more. Received: steps={steps}")
        self.steps = steps
        self._groups: list[MetricGroup] = []

    def set_model(self, model: Any) -> None:
        """Look for the groups anew: the model may have been compiled again."""
        super().set_model(model)
        self._groups = []

    def _set(self, hold: bool | None) -> None:
        if not self._groups:  # before the first batch compiled metrics are not there
            self._groups = _groups_of(self.model)
        for group in self._groups:
            group._hold = hold

    def _begin_batch(self, batch: int) -> None:
        self._set(batch != 0 if self.steps is None else batch % self.steps != 0)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Let groups answer with their last results, unless it is time."""
        self._begin_batch(batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Outside of a batch results are exact."""
        self._set(False)

    def on_test_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Let groups answer with their last results, unless it is time."""
        self._begin_batch(batch)

    def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
        """Outside of a batch results are exact."""
        self._set(False)

    def on_train_end(self, logs: Any = None) -> None:
        """Leave the groups as they were."""
        self._set(None)

    def on_test_end(self, logs: Any = None) -> None:
        """Leave the groups as they were."""
        self._set(None)


def _groups_of(model: Any) -> list[MetricGroup]:
    compiled = getattr(model, "_compile_metrics", None)
    metrics = [*model.metrics, *([] if compiled is None else compiled.metrics)]
    # What `fuse` has put there are parts of groups.
    groups = (getattr(metric, "group", metric) for metric in metrics)
    return list({id(g): g for g in groups if isinstance(g, MetricGroup)}.values())
