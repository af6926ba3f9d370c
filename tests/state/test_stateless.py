"""The pure road: state in, state out, nothing touched in place; symbolic builds."""

import keras
import numpy as np
import pytest
from keras.src.backend.common.stateless_scope import StatelessScope

import keras_tally as kt
from cases import CASES, DEFAULT_CASES
from support import (
    IS_TORCH,
    assert_close,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)

if IS_TORCH:
    import torch

built_cases = pytest.mark.parametrize(
    "case", [c for c in CASES if not c.built_late], ids=lambda c: c.id
)
every_class = pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)


def arguments(batch):
    args = [to_backend(a) for a in batch.args]
    kwargs = {}
    if batch.weight is not None:
        kwargs["sample_weight"] = to_backend(batch.weight)
    return args, kwargs


def values(metric):
    return [v.value for v in metric.variables]


@built_cases
@pytest.mark.parametrize("weighted", [False, True])
def test_stateless_update_equals_the_update_in_place(case, weighted, roads):
    first, second = (case.sample(seed, 20, weighted) for seed in (0, 1))
    metric = updated(case.ours(), [first])
    before = state_bits(metric)
    args, kwargs = arguments(second)
    taken_before = roads()
    new = metric.stateless_update_state(values(metric), *args, **kwargs)
    assert roads().get("pure", 0) > taken_before.get("pure", 0)
    assert roads().get("in_place", 0) == taken_before.get("in_place", 0)
    assert state_bits(metric) == before
    expected = updated(case.ours(), [first, second])
    assert len(new) == len(expected.variables)
    for value, variable in zip(new, expected.variables, strict=True):
        assert to_numpy(value).tobytes() == to_numpy(variable).tobytes()
        assert keras.backend.standardize_dtype(value.dtype) == variable.dtype


@built_cases
def test_stateless_update_leaves_its_input_alone(case):
    metric = case.ours()
    given = [to_backend(np.ones(v.shape, v.dtype)) for v in metric.variables]
    kept = [to_numpy(v).copy() for v in given]
    args, _ = arguments(case.sample(0, 8))
    new = metric.stateless_update_state(given, *args)
    for value, copy, after in zip(given, kept, new, strict=True):
        assert to_numpy(value).tobytes() == copy.tobytes()
        assert after is not value or not to_numpy(after).size
    assert not any(to_numpy(v).any() for v in metric.variables)


@built_cases
def test_stateless_result(case):
    metric = updated(case.ours(), [case.sample(0, 20)])
    expected = to_numpy(metric.result()).copy()
    state = [to_backend(to_numpy(v).copy()) for v in metric.variables]
    metric.reset_state()
    result = metric.stateless_result(state)
    assert to_numpy(result).tobytes() == expected.tobytes()
    assert to_numpy(result).dtype == expected.dtype
    assert not any(to_numpy(v).any() for v in metric.variables)


@built_cases
def test_stateless_reset(case):
    metric = updated(case.ours(), [case.sample(0, 20)])
    before = state_bits(metric)
    fresh = metric.stateless_reset_state()
    assert state_bits(metric) == before
    assert not any(to_numpy(v).any() for v in fresh)


@every_class
def test_inside_a_scope_updates_add_up(case):
    """Two updates and a reset in one scope, as a training step may do."""
    metric = updated(case.ours(), [case.sample(0, 7)])
    before = state_bits(metric)
    with StatelessScope() as scope:
        metric.reset_state()
        for seed in (1, 2):
            args, kwargs = arguments(case.sample(seed, 9, weighted=True))
            metric.update_state(*args, **kwargs)
        inside = to_numpy(metric.result()).copy()
    assert state_bits(metric) == before
    expected = updated(
        case.ours(), [case.sample(seed, 9, weighted=True) for seed in (1, 2)]
    )
    assert inside.tobytes() == to_numpy(expected.result()).tobytes()
    for variable, wanted in zip(metric.variables, expected.variables, strict=True):
        value = scope.get_current_value(variable)
        assert to_numpy(value).tobytes() == to_numpy(wanted).tobytes()


@every_class
def test_error_inside_a_scope_changes_nothing(case):
    if case.name in ("Mean", "Sum", "MeanMaxProbability"):
        pytest.skip("any shape is good")
    metric = case.ours()
    args, _ = arguments(case.sample(0, 6))
    state = values(metric)
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        metric.stateless_update_state(state, args[0][:4], args[1])
    assert not any(to_numpy(v).any() for v in metric.variables)


@every_class
def test_scope_ends(case):
    """After a scope the metric adds in place again."""
    batch = case.sample(0, 6)
    metric = case.ours()
    args, _ = arguments(batch)
    with StatelessScope():
        metric.update_state(*args)
    updated(metric, [batch])
    assert state_bits(metric) == state_bits(updated(case.ours(), [batch]))


@pytest.mark.torch_only
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
@pytest.mark.parametrize("weighted", [False, True])
def test_symbolic_build_on_meta_tensors(case, weighted):
    """fit first runs the metrics on tensors without data."""
    args, kwargs = arguments(case.sample(0, 6, weighted))
    metric = case.ours()

    def step(*args, **kwargs):
        metric.update_state(*args, **kwargs)
        return metric.result()

    from keras.src import backend

    def spec_of(x):
        return keras.KerasTensor(x.shape, backend.standardize_dtype(x.dtype))

    spec = [spec_of(x) for x in args]
    extra = {name: spec_of(x) for name, x in kwargs.items()}
    output = backend.compute_output_spec(step, *spec, **extra)
    expected = updated(case.ours(), [case.sample(0, 6, weighted)]).result()
    assert tuple(output.shape) == tuple(expected.shape)
    assert output.dtype == backend.standardize_dtype(expected.dtype)
    assert not any(to_numpy(v).any() for v in metric.variables)


@pytest.mark.torch_only
def test_update_on_meta_device_outside_of_a_build():
    metric = kt.Mean()
    with torch.device("meta"):
        values = torch.ones(3)
    with pytest.raises((ValueError, TypeError)):
        metric.update_state(values)
    with StatelessScope():
        metric.update_state(values)  # a trace: shapes only
    assert not any(to_numpy(v).any() for v in metric.variables)


def test_training_loop_in_pure_functions():
    """The way a stateless trainer drives a metric over several steps."""
    metric = kt.MeanSquaredError()
    state = metric.stateless_reset_state()
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(5):
        y_true, y_pred = (np.float32(rng.normal(size=(8, 1))) for _ in "ab")
        errors.append((y_true - y_pred) ** 2)
        state = metric.stateless_update_state(
            state, to_backend(y_true), to_backend(y_pred)
        )
    assert_close(metric.stateless_result(state), np.mean(errors), 1e-6)
    assert_close(metric.result(), 0.0, 0)
