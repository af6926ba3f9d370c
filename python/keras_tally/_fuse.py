"""`fuse`: the metrics that a model has already, as groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras.src import tree
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.trainers.compile_utils import CompileMetrics, MetricsList
from keras.src.utils.tracking import DotNotTrackScope

from keras_tally._identifiers import ours_for
from keras_tally._kernel_metric import LateMetric
from keras_tally._registration import KERAS_CLASSES
from keras_tally.group import MetricGroup, is_fusable

# What `compile` understands without looking in the table of metrics.
_SHAPE_DEPENDENT = ("accuracy", "acc")


class Fusion(NamedTuple):
    """What `fuse` did.

    `metrics` is the list of metrics that takes the place of the old one (of a model:
    all that it has now, once it knows its shapes), `fused` the names of those that are
    computed together, `kept` the reason for each of the others.

    >>> import keras_tally as kt
    >>> kt.fuse(["mse", "mae"]).fused
    ['mse', 'mae']
    """

    metrics: list[Any]
    fused: list[str]
    kept: dict[str, str]


def fuse(model_or_metrics: Any) -> Fusion:
    """Replace metrics by groups that compute them together, under the same names.

    Of a compiled model: before or after its first `fit` or `evaluate`, for each output
    and apart for `metrics` and `weighted_metrics`. Logs keep their names and order,
    and metrics what they hold. Metrics of Keras's own classes become this package's,
    as after `install()`. What is saved with the model is what `compile` was given.

    What cannot be computed together stays where it is and is named in `kept`: metrics
    of other packages, functions, subclasses with an `update_state` of their own.

    Args:
        model_or_metrics: a compiled `keras.Model`, or a list of metrics.

    Returns:
        A named tuple `(metrics, fused, kept)`. Of a list, `metrics` is the new list: a
        `MetricGroup`, then what was kept.

    Raises:
        ValueError: the model is not compiled.
        TypeError: neither a model nor a list of metrics.

    Example:

    >>> import keras
    >>> import numpy as np
    >>> import keras_tally as kt
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile(loss="mse", metrics=["mae", keras.metrics.RootMeanSquaredError()])
    >>> kt.fuse(model).fused
    ['mae', 'root_mean_squared_error']
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> list(model.evaluate(x, y, verbose=0, return_dict=True))
    ['loss', 'mae', 'root_mean_squared_error']
    """
    if isinstance(model_or_metrics, keras.Model):
        return _fuse_model(model_or_metrics)
    if not isinstance(model_or_metrics, Sequence) or isinstance(model_or_metrics, str):
        raise TypeError(
            "`model_or_metrics` must be a compiled model or a list of metrics. "
            f"Received: {type(model_or_metrics).__name__}"
        )
    pairs = [(m, _as_ours(m)) for m in map(_resolved, model_or_metrics)]
    members = [ours for _, ours in pairs if ours is not None]
    group = [MetricGroup(_by_unique_name(members))] if members else []
    return Fusion(group + [old for old, ours in pairs if ours is None], *_report(pairs))


def _fuse_model(model: Any) -> Fusion:
    compiled = model._compile_metrics
    if not getattr(model, "compiled", False):
        raise ValueError(
            "the model has no metrics before `compile()`. Call "
            "`model.compile(..., metrics=[...])` first."
        )
    if compiled is None:
        return Fusion([], [], {})
    fused = _FusedMetrics(
        compiled._user_metrics,
        compiled._user_weighted_metrics,
        output_names=compiled.output_names,
    )
    if compiled.built:
        fused._resolved_output_names = compiled._resolved_output_names
        fused._flat_metrics = [_fused_list(x) for x in compiled._flat_metrics]
        fused._flat_weighted_metrics = [
            _fused_list(x) for x in compiled._flat_weighted_metrics
        ]
        fused.built = True
        before = compiled.metrics
    else:
        given = (compiled._user_metrics, compiled._user_weighted_metrics)
        before = [_resolved(m) for m in tree.flatten(given) if m is not None]
    with DotNotTrackScope():  # as in `compile`: else the model asks them twice
        model._compile_metrics = fused
    # Steps that are compiled already update the old ones.
    model.train_function = model.test_function = None
    pairs = [(m, m if is_fusable(m) else _as_ours(m)) for m in before]
    return Fusion(fused.metrics, *_report(pairs))


class _FusedMetrics(CompileMetrics):  # type: ignore[misc]
    """A model's metrics, which are fused as soon as they are known."""

    def _build_metrics_set(self, *args: Any, **kwargs: Any) -> list[Any]:
        return [_fused_list(x) for x in super()._build_metrics_set(*args, **kwargs)]


def _fused_list(metrics: Any) -> Any:
    """Return one output's metrics with parts of a group among them."""
    if metrics is None:
        return None
    pairs = [(m, ours) for m in metrics.metrics if (ours := _as_ours(m)) is not None]
    if not pairs:
        return metrics
    named = _by_unique_name([ours for _, ours in pairs])
    group = MetricGroup(named)
    parts = {
        id(old): GroupPart(group, key, old.name, leads=i == 0)
        for i, ((old, _), key) in enumerate(zip(pairs, named, strict=True))
    }
    return MetricsList(
        [parts.get(id(m), m) for m in metrics.metrics],
        output_name=metrics.output_name,
    )


class GroupPart(keras.metrics.Metric):  # type: ignore[misc]
    """One member of a group, in a list where Keras expects single metrics.

    The first part of a group stands for its state and its updates.
    """

    def __init__(self, group: MetricGroup, key: str, name: str, leads: bool) -> None:
        super().__init__(name=name)
        # Past Keras's tracking: the first part answers for the group.
        object.__setattr__(self, "group", group)
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "leads", leads)
        member = group[key]
        if hasattr(member, "_direction"):  # callbacks that monitor a metric ask for it
            self._direction = member._direction

    @property
    def variables(self) -> list[Any]:
        """The variables of the group, which the first part has."""
        return list(self.group.variables) if self.leads else []

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Update the whole group, if this is its first part."""
        if self.leads:
            self.group.update_state(y_true, y_pred, sample_weight)

    def result(self) -> Any:
        """Return this member's result; the first call finishes all of them."""
        return self.group._handed_out(self.key)

    def reset_state(self) -> None:
        """Reset the whole group, if this is its first part."""
        if self.leads:
            self.group.reset_state()

    def get_config(self) -> dict[str, Any]:
        """Return the member's config."""
        config: dict[str, Any] = self.group[self.key].get_config()
        return config


def _resolved(metric: Any) -> Any:
    """Return what `compile` would make of an identifier."""
    if isinstance(metric, str) and metric.lower() in _SHAPE_DEPENDENT:
        return KERAS_CLASSES["BinaryAccuracy"](name=metric)
    found = keras.metrics.get(metric)
    if isinstance(metric, str) and isinstance(found, keras.metrics.Metric):
        found.name = metric
    return found


def _as_ours(metric: Any) -> Any:
    """Return a metric that can be fused, with what the given one holds, or None."""
    if type(metric) is KERAS_CLASSES["MeanMetricWrapper"]:
        return None
    ours = ours_for(metric)
    if not is_fusable(ours):
        return None
    if ours is not metric and not in_stateless_scope():
        _take_along(metric, ours)
    return ours


def _take_along(theirs: Any, ours: Any) -> None:
    held = {v.name: v for v in theirs.variables if v._value is not None}
    if held and isinstance(ours, LateMetric) and not ours._built:
        # What Keras's metric was built with; the number of columns is what matters.
        columns = tuple(theirs.variables[-1].shape) or (1,)
        shape: Any = getattr(theirs, "_build_input_shape", None) or (None, columns[-1])
        ours._build(*ours._build_arguments(shape, shape))
    for variable in ours.named_variables():
        if variable.name in held:
            value = held[variable.name].value
            variable.assign(keras.ops.cast(value, variable.dtype))


def _report(pairs: Sequence[tuple[Any, Any]]) -> tuple[list[str], dict[str, str]]:
    """Return the names of what is fused, and why the others are not."""
    fused = [_name(old) for old, ours in pairs if ours is not None]
    return fused, {_name(old): _reason(old) for old, ours in pairs if ours is None}


def _reason(metric: Any) -> str:
    if isinstance(metric, (MetricGroup, GroupPart)):
        return "it is a group already"
    if not isinstance(metric, keras.metrics.Metric):
        return "a function computes its values"
    if isinstance(metric, KERAS_CLASSES["MeanMetricWrapper"]):
        return f"a function computes the values of {type(metric).__name__}"
    if type(metric).__module__.startswith("keras_tally."):
        return f"{type(metric).__name__} has no kernel of its own"
    return f"{type(metric).__name__} has an `update_state` of its own"


def _name(metric: Any) -> str:
    name = getattr(metric, "name", None) or getattr(metric, "__name__", None)
    return str(name or metric)


def _by_unique_name(metrics: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for metric in metrics:
        key, count = metric.name, 0
        while key in named:
            count += 1
            key = f"{metric.name}_{count}"
        named[key] = metric
    return named
