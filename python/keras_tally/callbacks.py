"""Keras callbacks for metrics.

>>> import keras_tally as kt
>>> kt.callbacks.ResultEvery(steps=10).steps
10
"""

from __future__ import annotations

import os
from typing import Any

import keras

from keras_tally import _backends
from keras_tally._tensors import torch_tensorboard
from keras_tally.group import MetricGroup
from keras_tally.metrics.confusion import AUC

__all__ = ["ResultEvery", "TensorBoardMetrics"]


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


def _metrics_of(model: Any) -> list[Any]:
    compiled = getattr(model, "_compile_metrics", None)
    metrics = [*model.metrics, *([] if compiled is None else compiled.metrics)]
    # What `fuse` has put there are parts of groups.
    return [getattr(metric, "group", metric) for metric in metrics]


def _groups_of(model: Any) -> list[MetricGroup]:
    groups = _metrics_of(model)
    return list({id(g): g for g in groups if isinstance(g, MetricGroup)}.values())


class TensorBoardMetrics(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes a model's metrics for TensorBoard, without TensorFlow.

    After each epoch of `fit` the logs are written as scalars, under the names and in
    the folders that `keras.callbacks.TensorBoard` has for them: `epoch_<name>` in
    `train` and, for validation, in `validation`. On the torch backend each `AUC` of
    one label, alone or in a `MetricGroup`, is written as a precision-recall curve,
    too, under its name: from the counts that it keeps anyway, at up to 127 of its
    thresholds.

    The files are written by torch's `SummaryWriter`; the packages torch and tensorboard
    are needed (`pip install "keras-tally[trainers]"`).

    Args:
        log_dir: the folder.
        curves: whether to write precision-recall curves.

    Raises:
        ImportError: torch or tensorboard is not installed.

    Example:

    >>> import pathlib, tempfile
    >>> import keras
    >>> import numpy as np
    >>> import keras_tally as kt
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(loss="mse", metrics=[kt.MeanAbsoluteError()])
    >>> folder = tempfile.mkdtemp()
    >>> board = kt.callbacks.TensorBoardMetrics(folder)
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> if keras.config.backend() != "numpy":  # which cannot train
    ...     _ = model.fit(x, y, verbose=0, callbacks=[board])
    ... else:
    ...     board.set_model(model)
    ...     board.on_epoch_end(0, {"loss": 1.0})
    >>> len(list(pathlib.Path(folder, "train").glob("events.*")))
    1
    """

    def __init__(self, log_dir: str | os.PathLike[str], curves: bool = True) -> None:
        super().__init__()
        self.log_dir = os.fspath(log_dir)
        self.curves = curves
        self._writers: dict[str, Any] = {}
        # The counts of the epoch's training, before validation begins anew.
        self._trained: dict[str, Any] = {}
        self._training = False

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            folder = os.path.join(self.log_dir, part)
            self._writers[part] = torch_tensorboard.writer(folder)
        return self._writers[part]

    def on_train_begin(self, logs: Any = None) -> None:
        """Open the file of the training."""
        self._training = True
        self._writer("train")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Forget the last epoch's curves."""
        self._trained = {}

    def on_test_begin(self, logs: Any = None) -> None:
        """Keep what training has counted: validation uses the same metrics."""
        if self._training:
            self._trained = self._cells()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Write the epoch's logs and curves."""
        for name, value in (logs or {}).items():
            part, name = _part_of(name)
            self._writer(part).add_scalar(f"epoch_{name}", float(value), epoch)
        last = self._cells()
        validated = any(_part_of(name)[0] == "validation" for name in logs or {})
        parts = {"train": self._trained if validated else last}
        if validated:
            parts["validation"] = last
        for part, curves in parts.items():
            for name, cells in curves.items():
                torch_tensorboard.add_curve(self._writer(part), name, cells, epoch)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, logs: Any = None) -> None:
        """Close the files."""
        self._training = False
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _cells(self) -> dict[str, Any]:
        """Return the counts at each threshold, by the names of the metrics."""
        if not self.curves or keras.config.backend() != "torch":
            return {}
        read = _backends.active().read_variable
        return {
            name: {cell.name: read(cell) + 0.0 for cell in metric._own_state()}
            for name, metric in _curves_of(self.model).items()
        }


def _part_of(name: str) -> tuple[str, str]:
    if name.startswith("val_"):
        return "validation", name.removeprefix("val_")
    return "train", name


def _curves_of(model: Any) -> dict[str, AUC]:
    found: dict[str, AUC] = {}
    for metric in _metrics_of(model):
        group = isinstance(metric, MetricGroup)
        members = {metric.prefix + k: metric[k] for k in metric} if group else {}
        for name, member in (members or {metric.name: metric}).items():
            if isinstance(member, AUC) and not member.multi_label:
                found[name] = member
    return found
