"""Groups as pure functions: stateless scopes, jit, graphs, symbolic builds."""

import keras
import numpy as np
import pytest
from keras.src.backend.common.stateless_scope import StatelessScope

import keras_tally as kt
from cases import Batch
from groups import (
    assert_same,
    binary_batch,
    binary_metrics,
    bits,
    late_batch,
    late_metrics,
    mixed_metrics,
    snapshot,
    updated_all,
    used_group,
    used_members,
)
from support import BACKEND, to_backend, to_numpy, updated

if BACKEND == "jax":
    import jax
elif BACKEND == "tensorflow":
    import tensorflow as tf


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("make", [binary_metrics, mixed_metrics])
def test_stateless(make, weighted):
    group, alone = kt.MetricGroup(make()), make()
    updated(group, [binary_batch(0)])
    updated_all(alone, binary_batch(0))
    before = snapshot(group)
    batch = binary_batch(1, weighted=weighted)
    args = [to_backend(a) for a in batch.args]
    weight = None if batch.weight is None else to_backend(batch.weight)
    given_state = [to_backend(to_numpy(v)) for v in group.variables]
    kept = [bits(x) for x in given_state]
    new = group.stateless_update_state(given_state, *args, sample_weight=weight)
    results = group.stateless_result(new)
    fresh = group.stateless_reset_state()
    assert snapshot(group) == before
    assert [bits(x) for x in given_state] == kept
    updated_all(alone, batch)
    for key, metric in alone.items():
        assert bits(results[key]) == bits(metric.result()), key
    if make is binary_metrics:
        assert not any(to_numpy(x).any() for x in fresh)
    for variable, value in zip(group.variables, new, strict=True):
        variable.assign(value)
    assert_same(group, alone)


def test_updates_in_a_scope_add_up():
    group, alone = used_group(), used_members()
    before = snapshot(group)
    with StatelessScope() as scope:
        for seed in (1, 2):
            binary_batch(seed).feed(group)
        inside = group.result()
    assert snapshot(group) == before
    values = [scope.get_current_value(v) for v in group.variables]
    for variable, value in zip(group.variables, values, strict=True):
        variable.assign(value)
    for seed in (1, 2):
        updated_all(alone, binary_batch(seed))
    assert_same(group, alone)
    for key, metric in alone.items():
        assert bits(inside[key]) == bits(metric.result())


def test_late_members_in_a_scope():
    group = kt.MetricGroup(late_metrics())
    with StatelessScope():
        late_batch(0).feed(group)
    late_batch(1).feed(group)
    alone = late_metrics()
    updated_all(alone, late_batch(1))
    assert_same(group, alone)


@pytest.mark.skipif(BACKEND != "jax", reason="jax.jit")
@pytest.mark.parametrize("make", [binary_metrics, mixed_metrics])
def test_in_jit(make):
    group, alone = kt.MetricGroup(make()), make()

    @jax.jit
    def step(state, args, weight):
        state = group.stateless_update_state(state, *args, sample_weight=weight)
        return state, group.stateless_result(state)

    state = [v.value for v in group.variables]
    for seed in range(3):
        batch = binary_batch(seed, weighted=True)
        args = [to_backend(a) for a in batch.args]
        state, results = step(state, args, to_backend(batch.weight))
        updated_all(alone, batch)
    for key, metric in alone.items():
        assert to_numpy(results[key]) == pytest.approx(
            to_numpy(metric.result()), rel=1e-6
        )
    assert_same(group, make())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.function")
@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(binary_metrics, marks=pytest.mark.slow),
        mixed_metrics,
        pytest.param(late_metrics, marks=pytest.mark.slow),
    ],
)
def test_in_a_function(make, xla):
    group, alone = kt.MetricGroup(make()), make()
    draw = late_batch if make is late_metrics else binary_batch
    if make is late_metrics and xla:
        draw(0).feed(group)  # no variable is made inside XLA
        group.reset_state()

    @tf.function(jit_compile=xla)
    def step(y_true, y_pred, weight):
        group.update_state(y_true, y_pred, weight)
        return group.result()

    for seed in range(3):
        batch = draw(seed)
        weight = np.float32(np.arange(len(batch.args[0])) % 3)
        results = step(*(to_backend(a) for a in batch.args), to_backend(weight))
        updated_all(alone, batch._replace(weight=weight))
    for key, metric in alone.items():
        expected = pytest.approx(to_numpy(metric.result()), rel=1e-5)
        assert to_numpy(results[key]) == expected, key
        assert to_numpy(group[key].result()) == expected, key


@pytest.mark.torch_only
def test_symbolic_build_on_meta_tensors():
    from keras.src import backend

    for make, batch in (
        (binary_metrics, binary_batch(0)),
        (mixed_metrics, binary_batch(0)),
        (late_metrics, late_batch(0)),
    ):
        group = kt.MetricGroup(make())

        def step(y_true, y_pred, group=group):
            group.update_state(y_true, y_pred)
            return group.result()

        spec = [keras.KerasTensor(a.shape, "float32") for a in batch.args]
        output = backend.compute_output_spec(step, *spec)
        alone = make()
        updated_all(alone, Batch(batch.args))
        for key, metric in alone.items():
            assert tuple(output[key].shape) == tuple(metric.result().shape)
        assert_same(updated(group, [Batch(batch.args)]), alone)
