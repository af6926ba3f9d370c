"""One lifecycle for every class: init, config, update, result, reset, merge, save."""

import inspect

import keras
import numpy as np
import pytest

import keras_tally as kt
import references
from cases import (
    CASES,
    CLASS_NAMES,
    DEFAULT_CASES,
    DEVIATION_NAMES,
    EXTRA_PARAMETERS,
    NOT_IN_KERAS,
    Batch,
    default_case,
)
from support import (
    IS_TORCH,
    ROUNDING,
    as_float,
    assert_close,
    assert_states_close,
    exact_state,
    keras_variables,
    reference_after,
    result_dtype,
    state,
    state_bits,
    to_numpy,
    updated,
)

if IS_TORCH:
    import torch

# Where Keras's attribute has another name than its variable.
ATTRIBUTES = {"total_confusion_matrix": "total_cm", "residual": "total_mse"}

every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
every_class = pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
weighted_or_not = pytest.mark.parametrize("weighted", [False, True])


def comparable(config):
    """A config whose arrays (label_weights) can be compared with ==."""
    return {k: to_numpy(v).tolist() if hasattr(v, "shape") else v
            for k, v in config.items()}  # fmt: skip


def reloaded(metric):
    """The metric after a round trip through Keras's serialisation."""
    return keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(metric)
    )


def reset_is_zero(metric):
    return all(not to_numpy(v).any() for v in metric.variables)


@every_case
def test_is_a_keras_metric_with_keras_variables(case):
    for batches in ([], [case.sample(0, 4)]):
        ours, theirs = updated(case.ours(), batches), updated(case.keras(), batches)
        assert isinstance(ours, keras.metrics.Metric)
        expected = case.keras_state({v.name: to_numpy(v) for v in theirs.variables})
        mine = keras_variables(ours)
        assert {k: tuple(v.shape) for k, v in mine.items()} == {
            k: np.shape(v) for k, v in expected.items()
        }
        assert list(mine) == list(expected)
        for name, variable in mine.items():
            assert getattr(ours, ATTRIBUTES.get(name, name)) is variable
        for v in ours.variables:
            assert v.dtype == ("int64" if case.integer_state else "float64")
            assert not v.trainable
            assert v.aggregation == "sum"
            assert v.synchronization == "on_read"
        if not batches:
            assert reset_is_zero(ours)
        lows = [v.name for v in ours.variables[len(mine) :]]
        assert all(name.removesuffix("_low") in mine for name in lows)
        assert bool(lows) == (case.name in DEVIATION_NAMES and bool(batches))


@every_case
def test_config_is_keras_config(case):
    config = comparable(case.ours(name="n").get_config())
    theirs = comparable(case.keras(name="n").get_config())
    if case.name in NOT_IN_KERAS:
        parameters = inspect.signature(getattr(kt, case.name)).parameters
        theirs = {
            k: case.kwargs.get(k, p.default)
            for k, p in parameters.items()
            if p.kind is not p.VAR_KEYWORD
            and (p.kind is not p.KEYWORD_ONLY or k in case.kwargs)
        }
        theirs |= {"name": "n", "dtype": "float32"}
    if case.name == "CosineSimilarity":  # Keras forgets it
        theirs["axis"] = case.kwargs.get("axis", -1)
    # Ours alone are there only when they are used: Keras can read the rest.
    for name in EXTRA_PARAMETERS.get(case.name, {}).keys() & case.kwargs.keys():
        theirs[name] = case.kwargs[name]
    assert config == theirs


@every_case
def test_config_round_trip(case):
    metric = case.ours()
    again = type(metric).from_config(metric.get_config())
    assert type(again) is type(metric)
    assert comparable(again.get_config()) == comparable(metric.get_config())


@every_case
def test_serialisation_round_trip(case):
    metric = case.ours(name="mine")
    again = reloaded(metric)
    assert type(again) is type(metric)
    assert comparable(again.get_config()) == comparable(metric.get_config())
    batch = case.sample(0, 9)
    assert_close(updated(again, [batch]).result(), updated(metric, [batch]).result(), 0)


@every_class
def test_registered_under_the_package(case):
    metric = case.ours()
    registered = keras.saving.get_registered_name(type(metric))
    assert registered == f"keras_tally>{case.name}"
    assert keras.saving.get_registered_object(registered) is type(metric)


@every_class
def test_default_names_and_repr(case):
    keras.utils.clear_session(free_memory=False)
    ours = [case.ours() for _ in range(2)]
    keras.utils.clear_session(free_memory=False)
    theirs = [case.keras() for _ in range(2)]
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.name == other.name
        assert str(mine) == repr(mine) == f"<{case.name} name={mine.name}>"


def test_numbered_names_as_in_keras():
    keras.utils.clear_session(free_memory=False)
    assert [kt.AUC().name for _ in range(2)] == ["auc", "auc_1"]
    assert [kt.Mean().name for _ in range(2)] == ["mean", "mean"]


def test_slash_in_name_as_in_keras():
    ours, theirs = kt.Mean(name="a/b"), keras.metrics.Mean(name="a/b")
    paths = [v.path for v in keras_variables(ours).values()]
    assert paths == [v.path for v in theirs.variables]


@every_class
def test_direction_as_in_keras(case):
    if case.name in NOT_IN_KERAS:
        assert case.ours()._direction == NOT_IN_KERAS[case.name].direction
        return
    missing = object()
    theirs = getattr(case.keras(), "_direction", missing)
    assert getattr(case.ours(), "_direction", missing) == theirs


@every_case
def test_result_before_data_as_in_keras(case):
    ours, theirs = case.ours(), case.keras()
    if not case.built_late:  # else Keras has no variables to look at
        assert_close(ours.result(), theirs.result(), 0)


@every_case
@weighted_or_not
def test_updates_results_and_state_match_reference(case, weighted):
    batches = [case.sample(seed, 40 + seed, weighted) for seed in range(3)]
    metric = updated(case.ours(), batches)
    reference = reference_after(case.name, case.kwargs, batches)
    assert_states_close(state(metric), reference.state(), case.tolerance, 1e-12)
    error = case.tolerance + ROUNDING["float32"]
    assert_close(metric.result(), reference.result(), error, 1e-7)


@every_case
def test_result_has_shape_and_dtype_of_keras(case):
    batch = case.sample(0, 10)
    ours, theirs = updated(case.ours(), [batch]), updated(case.keras(), [batch])
    assert tuple(ours.result().shape) == tuple(theirs.result().shape)
    assert result_dtype(ours) == result_dtype(theirs)
    if IS_TORCH:
        assert type(ours.result()) is torch.Tensor


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@every_class
def test_dtype_argument_rules_result_not_state(case, dtype):
    batch = case.sample(0, 10)
    ours = updated(case.ours(dtype=dtype), [batch])
    assert {v.dtype for v in ours.variables} == {"float64"}
    assert ours.dtype == dtype
    if not IS_TORCH and dtype == "bfloat16":
        return  # Keras itself has gaps here
    theirs = updated(case.keras(dtype=dtype), [batch])
    if dtype == "float64" and (
        "total" in keras_variables(ours) or case.name in ("F1Score", "FBetaScore")
    ):
        # Keras divides in float32 whatever the metric's dtype promises.
        assert result_dtype(ours) == "float64"
    else:
        assert result_dtype(ours) == result_dtype(theirs)
    if case.name in DEVIATION_NAMES and dtype != "float64":
        return  # Keras takes differences of sums of this dtype
    assert_close(ours.result(), theirs.result(), 8 * ROUNDING[dtype] + 1e-6)


@every_case
@weighted_or_not
def test_repeated_result_is_the_same(case, weighted):
    metric = updated(case.ours(), [case.sample(0, 30, weighted)])
    before = state_bits(metric)
    first = to_numpy(metric.result()).copy()
    second = to_numpy(metric.result())
    assert first.tobytes() == second.tobytes()
    assert state_bits(metric) == before


@every_case
def test_reset_equals_fresh(case):
    batch = case.sample(0, 30)
    metric = updated(case.ours(), [case.sample(1, 20)])
    metric.reset_state()
    assert reset_is_zero(metric)
    fresh = updated(case.ours(), [batch])
    assert state_bits(updated(metric, [batch])) == state_bits(fresh)


@every_case
@weighted_or_not
def test_batches_equal_whole(case, weighted):
    whole = case.sample(0, 60, weighted)
    parts = whole.split(np.array([1, 0, 17, 2, 40]))
    once, split = updated(case.ours(), [whole]), updated(case.ours(), parts)
    # float64 sums in another order differ by no more than their last bits.
    assert_states_close(state(split), state(once), 1e-14, 1e-14)


@every_case
@weighted_or_not
def test_states_merge_by_addition(case, weighted):
    whole = case.sample(0, 60, weighted)
    parts = [updated(case.ours(), [part]) for part in whole.split(np.array([23, 37]))]
    merged = updated(case.ours(), [whole])
    once = state(merged)
    for target, *sources in zip(
        merged.variables, *(p.variables for p in parts), strict=True
    ):
        target.assign(sum(to_numpy(s) for s in sources))
    assert_states_close(state(merged), once, 1e-14, 1e-14)


@every_case
def test_result_is_no_view_of_the_state(case):
    metric = updated(case.ours(), [case.sample(0, 30)])
    result = metric.result()
    kept = to_numpy(result).copy()
    updated(metric, [case.sample(1, 50)])
    metric.reset_state()
    assert to_numpy(result).tobytes() == kept.tobytes()
    before = state_bits(updated(metric, [case.sample(2, 30)]))
    result = metric.result()
    if IS_TORCH:
        result += 1
    elif isinstance(result, np.ndarray) and result.flags.writeable:
        result[...] += 1
    assert state_bits(metric) == before


@every_case
def test_call_updates_and_returns_result(case):
    batch = case.sample(0, 12)
    expected = updated(case.ours(), [batch]).result()
    metric = case.ours()
    batch_call = Batch(batch.args)

    class Caller:
        """Feeds the batch through `metric(...)` in place of `update_state`."""

        def update_state(self, *args, **kwargs):
            self.result = metric(*args, **kwargs)

    caller = Caller()
    batch_call.feed(caller)
    assert_close(caller.result, expected, 0)


@every_case
def test_exact_state_is_the_state(case):
    metric = updated(case.ours(), [case.sample(0, 30, weighted=True)])
    exact = exact_state(metric)
    assert list(exact) == list(keras_variables(metric))
    for name, value in state(metric).items():
        as_floats = np.vectorize(float, otypes=[float])(np.array(exact[name], object))
        assert_close(as_floats, value, 1e-15, what=name)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_update_state_returns_none(name):
    case = default_case(name)
    metric = case.ours()
    args = case.sample(0, 4).args
    assert metric.update_state(*args) is None


def test_user_subclass_of_a_class_with_its_own_state():
    """Keras's variable names are the interface that subclasses build on."""

    class Doubled(kt.Mean):
        def result(self):
            return 2 * super().result()

    metric = Doubled(name="doubled")
    metric.update_state(np.float32([1.0, 3.0]))
    assert as_float(metric) == 4.0
    assert float(metric.total.value) == 4.0
    assert float(metric.count.value) == 2.0


def test_every_class_has_a_case_and_a_reference():
    classes = {
        name
        for name in kt.__all__
        if isinstance(getattr(kt, name), type)
        and issubclass(getattr(kt, name), keras.metrics.Metric)
        # Keras's own and ours, for subclasses; and what has members with kernels
        and name not in ("Metric", "MetricGroup")
    }
    assert classes == set(CLASS_NAMES) == set(references.REFERENCES)
