"""Several metrics in one: `MetricGroup`."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_tally import _backends
from keras_tally._building import apart, take_over
from keras_tally._engine import IN_PLACE, make_group, reset, result, update
from keras_tally._identifiers import get
from keras_tally._kernel_metric import KernelMetric, LateMetric, Planned
from keras_tally._packed import PackedState
from keras_tally._registration import register
from keras_tally.metrics.reduction import ValueReduction


@register
class MetricGroup(Planned):
    """Several metrics of the same labels and predictions, computed together.

    Formula: that of each member; a batch is read once for all of them, what several
    members need of it is computed once, and the numbers are bit for bit those of the
    members on their own.

    Shapes and dtypes: what each member takes; `result()` is a dict of the members'
    results under their names. The states of the members lie in one variable `state`
    of shape `(1, n)`, float64 (on JAX and TensorFlow: one variable for each dtype of
    the members' states, of shape `(2, n)` where numbers are pairs of float32). The sum
    of two states is the state of both data sets.

    What is computed together, on torch and NumPy: all metrics of this package, except
    `MeanMetricWrapper`. That one, subclasses with an `update_state` of their own and
    metrics of other packages are members as well; they are updated one by one, and
    `separate` names them. An error of any of them leaves all as they were.

    Members stay ordinary metrics: `group["auc"].result()`, or an update of one member
    alone. Keras logs the entries of a dict under their own names, without the output's
    and without `weighted_`: in a model with several outputs, and with groups in both
    `metrics` and `weighted_metrics`, give each group a `prefix`. Callbacks that monitor
    a member (`EarlyStopping`) need their `mode`. `fuse` keeps Keras's names and modes.

    Args:
        metrics: a list of metrics (or of the names by which `keras_tally.get` finds
            them), or a dict of them by the names that the results will have.
        name: string name of the group.
        prefix: what the names of the results begin with.

    Raises:
        ValueError: no metrics, two of one name, a member of another group; a batch
            that any member refuses.
        TypeError: something that is no metric, or one that takes values instead of
            labels and predictions (`Mean`, `Sum`).

    Example:

    >>> import keras_tally as kt
    >>> group = kt.MetricGroup({"precision": kt.Precision(), "recall": kt.Recall()})
    >>> group.update_state([1, 0, 1, 1], [0.9, 0.2, 0.4, 0.8])
    >>> {name: round(float(value), 2) for name, value in group.result().items()}
    {'precision': 1.0, 'recall': 0.67}
    >>> float(group["precision"].result())
    1.0
    """

    def __init__(
        self,
        metrics: Sequence[Any] | Mapping[str, Any],
        name: str | None = None,
        prefix: str = "",
    ) -> None:
        super().__init__(name=name)
        self.prefix = prefix
        members = _named(metrics)
        for key, metric in members.items():
            _check_member(key, metric)
        if len({id(metric) for metric in members.values()}) < len(members):
            raise ValueError(
                "the same metric is there twice, and would count each batch twice. "
                f"Received: {members}"
            )
        # Past Keras's tracking: the members' variables are parts of the group's.
        object.__setattr__(self, "_members", members)
        object.__setattr__(self, "_state", None)
        self._packed = False
        self._separate = tuple(k for k, m in members.items() if not is_fusable(m))
        self._warning_of_weights: tuple[str, ...] = ()
        self._warning_of_results: tuple[str, ...] = ()
        # Set by `callbacks.ResultEvery`: whether the next result may be the last one.
        self._hold: bool | None = None
        self._last: dict[str, Any] | None = None
        # Held by updates of members that are not computed together.
        object.__setattr__(self, "_lock", threading.RLock())
        # Results that were computed together and are asked for one by one.
        object.__setattr__(self, "_pending", {})
        for metric in members.values():
            metric._keras_tally_group = self.name
        if all(m._built for m in members.values() if isinstance(m, LateMetric)):
            self._pack()

    def _pack(self, new: Sequence[Any] = ()) -> None:
        """Move the members' states, of which `new` ones are empty, into the group's."""
        packed = [m for m in self._members.values() if _is_packable(m)]
        fused = {key: m for key, m in self._members.items() if is_fusable(m)}
        self._loose_keys = tuple(k for k, m in self._members.items() if m not in packed)
        self._separate = tuple(key for key in self._members if key not in fused)
        self._warning_of_weights = tuple(
            key for key, m in fused.items() if _overrides(m, "_warn_of_weights")
        )
        self._warning_of_results = tuple(
            key for key, m in fused.items() if m._warns_of_result
        )
        # In this order, the fused ones' states follow one another.
        packed.sort(key=lambda m: m not in fused.values())
        state = PackedState(self._add_packed, packed, new) if packed else None
        object.__setattr__(self, "_state", state)
        if fused and state is not None:
            self._plan = make_group(
                [m._plan for m in fused.values()],
                [self.prefix + key for key in fused],
                state.variables,
            )
            object.__setattr__(self, "_plan_variables", state.variables)
            self._result_names = tuple(self._results_of())
            _backends.active().register(self)
        self._packed = True

    def _add_packed(self, **arguments: Any) -> Any:
        return self._add_plain_variable(aggregation="sum", **arguments)

    @property
    def _loose(self) -> list[Any]:
        """The members that keep their own variables."""
        return [self._members[key] for key in self._loose_keys]

    @property
    def metrics(self) -> list[Any]:
        """The members, in order."""
        return list(self._members.values())

    @property
    def separate(self) -> tuple[str, ...]:
        """The names of the members that are not computed together with others."""
        return self._separate

    @property
    def variables(self) -> list[Any]:
        """The packed state, and the variables of members that cannot be packed."""
        if not self._packed:
            return []
        state = [] if self._state is None else list(self._state.variables)
        return state + [v for metric in self._loose for v in metric.variables]

    def __getitem__(self, key: str) -> Any:
        if key not in self._members:
            raise KeyError(
                f"no member of {self.name!r} is named {key!r}: they are "
                f"{list(self._members)}"
            )
        return self._members[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, key: object) -> bool:
        return key in self._members

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Update the states with a batch and return the results."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch to the states of all members, or to none.

        Args:
            y_true: the ground truth.
            y_pred: the predictions.
            sample_weight: optional weights, for each member by its own rules. What
                the Keras mask of `y_pred` leaves out weighs 0.

        Raises:
            ValueError: shapes, weights or labels that do not fit any member; the
                states are as they were.
            TypeError: an argument that is no tensor of an accepted dtype.
        """
        if self._separate or self._plan is None:
            self._update_with_separate(y_true, y_pred, sample_weight)
        elif not update(self._plan, y_true, y_pred, sample_weight):
            self._update_general(y_true, y_pred, sample_weight)
        self._pending.clear()
        if sample_weight is not None and self._warning_of_weights:
            for key in self._warning_of_weights:
                self._members[key]._warn_of_weights(sample_weight)

    def _update_with_separate(self, y_true: Any, y_pred: Any, weight: Any) -> None:
        if not self._packed:
            self._build(y_true, y_pred, weight)
            return self.update_state(y_true, y_pred, weight)
        if in_stateless_scope():
            return self._update_one_by_one(y_true, y_pred, weight)
        # What another thread adds meanwhile would be gone if this batch is refused.
        with self._lock:
            before = _copies(self.variables)
            try:
                self._update_one_by_one(y_true, y_pred, weight)
            except BaseException:
                self._put_back(before)
                raise

    def _update_one_by_one(self, y_true: Any, y_pred: Any, weight: Any) -> None:
        for key in self._separate:
            self._members[key].update_state(y_true, y_pred, weight)
        if self._plan is not None and not update(self._plan, y_true, y_pred, weight):
            self._update_general(y_true, y_pred, weight)

    def _put_back(self, before: Sequence[tuple[Any, Any]]) -> None:
        for variable, value in before:
            variable.assign(value)
        known = {id(variable) for variable, _ in before}
        for metric in self._loose:
            if not known.issuperset(id(v) for v in metric.variables):
                metric.reset_state()  # the refused batch has built it

    def _build(self, y_true: Any, y_pred: Any, sample_weight: Any) -> None:
        """Make the variables for a batch, if it can be added to them."""
        built = apart(self)
        members = {
            key: apart(metric) if isinstance(metric, KernelMetric) else metric
            for key, metric in self._members.items()
        }
        object.__setattr__(built, "_members", members)
        late = [
            m for m in members.values() if isinstance(m, LateMetric) and not m._built
        ]
        for metric in late:
            metric._build_by_shapes(y_true, y_pred, sample_weight)
        built._pack(late)
        if built._plan is not None:
            built._try_update(y_true, y_pred, sample_weight)
        object.__setattr__(built, "_members", self._members)
        copies = [(m, members[key]) for key, m in self._members.items()]
        take_over([*copies, (self, built)])

    def _states_written(self) -> None:
        self._last = None
        self._pending.clear()
        late = (m for m in self._members.values() if isinstance(m, LateMetric))
        if not self._packed and all(m._built for m in late):
            self._pack()

    def _results_of(self) -> dict[str, Any]:
        return {
            self.prefix + key: metric
            for key, metric in self._members.items()
            if key not in self._separate
        }

    def result(self) -> dict[str, Any]:
        """Return the members' results over everything since the last reset, by name."""
        if self._hold is None or not IN_PLACE or in_stateless_scope():
            return self._fresh_results()
        if not self._hold or self._last is None:
            self._last = self._fresh_results()
        self._hold = False
        return self._last

    def _fresh_results(self) -> dict[str, Any]:
        results: dict[str, Any] = {}
        if self._plan is not None:
            found = result(self._plan)
            results = self._results_by_name() if found is None else found
        if self._separate or self._plan is None:
            results = self._results_one_by_one(results)
        if self._warning_of_results:
            for key in self._warning_of_results:
                if self._members[key]._warns_of_result:
                    self._members[key]._warn_of_result()
        return results

    def _handed_out(self, key: str) -> Any:
        """Return one member's result; those of the others wait for the next calls."""
        if in_stateless_scope():
            return self._members[key].result()
        name = self.prefix + key
        try:
            return self._pending.pop(name)
        except KeyError:
            results = dict(self.result())
            own = results.pop(name)
            self._pending.update(results)
            return own

    def _results_by_name(self) -> dict[str, Any]:
        names = self._result_names or ()
        return dict(zip(names, self._results_general(), strict=True))

    def _results_one_by_one(self, known: dict[str, Any]) -> dict[str, Any]:
        results = {}
        for key, metric in self._members.items():
            name = self.prefix + key
            results[name] = known[name] if name in known else metric.result()
        return results

    def reset_state(self) -> None:
        """Forget everything seen so far."""
        self._last = None
        self._pending.clear()
        if not self._packed:
            for metric in self._members.values():
                metric.reset_state()
            return
        if self._plan is not None and not reset(self._plan):
            for variable in self._state.variables:
                variable.assign(keras.ops.zeros(variable.shape, dtype=variable.dtype))
        for key in self._separate:
            self._members[key].reset_state()

    def get_config(self) -> dict[str, Any]:
        """Return what recreates the group and its members."""
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "prefix": self.prefix,
            "names": list(self._members),
            "metrics": [serialize(metric) for metric in self._members.values()],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MetricGroup:
        """Recreate a group from its config."""
        config = dict(config)
        metrics = [
            keras.saving.deserialize_keras_object(m) if isinstance(m, dict) else m
            for m in config.pop("metrics")
        ]
        names = config.pop("names")
        return cls(dict(zip(names, metrics, strict=True)), **config)

    def __copy__(self) -> MetricGroup:
        # The members' states lie here: a copy cannot share them.
        return copy.deepcopy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        # Each member takes its state along if it would on its own, as ours do.
        return _restore, (type(self), dict(self._members), self.name, self.prefix)


def _restore(
    cls: type[MetricGroup], members: dict[str, Any], name: str, prefix: str
) -> MetricGroup:
    for metric in members.values():
        vars(metric).pop("_keras_tally_group", None)
    return cls(members, name=name, prefix=prefix)


def _named(metrics: Any) -> dict[str, Any]:
    given = list(metrics.values()) if isinstance(metrics, Mapping) else metrics
    if isinstance(given, Sequence) and any(
        isinstance(m, str) and m.lower() in ("accuracy", "acc") for m in given
    ):
        raise ValueError(
            "which accuracy is meant, `compile` tells from the model's shapes, and a "
            "group cannot. Name the class: BinaryAccuracy, CategoricalAccuracy or "
            "SparseCategoricalAccuracy."
        )
    if isinstance(metrics, Mapping):
        found = [(str(key), get(metric)) for key, metric in metrics.items()]
    elif isinstance(metrics, Sequence) and not isinstance(metrics, str):
        found = [(str(getattr(m, "name", m)), m) for m in map(get, metrics)]
    else:
        raise TypeError(
            "`metrics` must be a list of metrics, or a dict of them by name. "
            f"Received: {type(metrics).__name__}"
        )
    if not found:
        raise ValueError("`metrics` must not be empty.")
    named: dict[str, Any] = {}
    for key, metric in found:
        if key in named:
            raise ValueError(
                f"two metrics are named {key!r}. Give them names "
                "(`name=...`), or a dict of metrics by name."
            )
        named[key] = metric
    return named


# `update_state` of metrics whose first argument is values.
_TAKE_VALUES = (
    ValueReduction.update_state,
    keras.metrics.Mean.update_state,
    keras.metrics.Sum.update_state,
)


def _check_member(key: str, metric: Any) -> None:
    if not isinstance(metric, keras.metrics.Metric):
        raise TypeError(
            f"`metrics` must hold metrics. Received: {key}={metric!r} "
            f"({type(metric).__name__})"
        )
    if isinstance(metric, MetricGroup):
        raise TypeError(
            f"a group cannot be a member of a group: give the members of {key!r}."
        )
    if type(metric).update_state in _TAKE_VALUES:
        raise TypeError(
            f"{type(metric).__name__} takes values, and the members of a group take "
            f"labels and predictions. Received: {key}={metric!r}"
        )
    owner = getattr(metric, "_keras_tally_group", None)
    if owner is not None:
        raise ValueError(
            f"{key!r} is a member of the group {owner!r} already, which holds its "
            "state."
        )


def _is_packable(metric: Any) -> bool:
    """Tell whether all the state there is, is that of the metric's plan."""
    # One that is built late has none at first.
    return isinstance(metric, KernelMetric) and len(metric.named_variables()) == len(
        metric._state
    )


def is_fusable(metric: Any) -> bool:
    """Tell whether the plan is all that an update and a result are made of."""
    if not isinstance(metric, KernelMetric) or metric._input_names[0] != "y_true":
        return False
    ours = all(
        getattr(type(metric), name).__module__.startswith("keras_tally.")
        for name in ("update_state", "result", "reset_state")
    )
    unbuilt = isinstance(metric, LateMetric) and not metric._built
    return ours and (unbuilt or _is_packable(metric))


def _overrides(metric: Any, name: str) -> bool:
    return getattr(type(metric), name) is not getattr(KernelMetric, name)


def _copies(variables: Sequence[Any]) -> list[tuple[Any, Any]]:
    return [(v, keras.ops.copy(v.value)) for v in variables]
