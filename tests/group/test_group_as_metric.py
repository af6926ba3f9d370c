"""A group is a metric of Keras: config, names, variables, reset, merging."""

import keras
import numpy as np
import pytest

import keras_tally as kt
from groups import (
    Batches,
    assert_same,
    binary_batch,
    binary_metrics,
    bits,
    snapshot,
    updated_all,
    used_group,
    used_members,
)
from support import BACKEND, IS_PORTABLE, IS_TORCH, to_backend, to_numpy, updated


@pytest.mark.parametrize("prefix", ["", "yes_"])
def test_config_round_trip(prefix):
    group = kt.MetricGroup(binary_metrics(), name="mine", prefix=prefix)
    restored = [
        kt.MetricGroup.from_config(group.get_config()),
        keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(group)
        ),
        kt.deserialize(kt.serialize(group)),
        keras.metrics.deserialize(keras.metrics.serialize(group)),
        kt.get(kt.serialize(group)),
    ]
    for again in restored:
        assert type(again) is kt.MetricGroup
        assert again.get_config() == group.get_config()
        assert [m.name for m in again.metrics] == [m.name for m in group.metrics]
        binary_batch(0).feed(again)
    binary_batch(0).feed(group)
    for again in restored:
        assert_same(again, group._members)
    assert group.name == "mine"


def test_config_is_json_and_holds_no_state():
    import json

    group = used_group()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(group)))
    again = keras.saving.deserialize_keras_object(config)
    assert not any(to_numpy(v).any() for v in again.variables)
    assert_same(updated(again, [binary_batch(0, weighted=True)]), used_members())


def test_config_of_foreign_members():
    group = kt.MetricGroup(
        {"theirs": keras.metrics.MeanSquaredError(), "counter": Batches()}
    )
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(group)
    )
    assert [type(m) for m in again.metrics] == [
        keras.metrics.MeanSquaredError,
        Batches,
    ]
    assert again.separate == ("theirs", "counter")


def test_names():
    keras.utils.clear_session(free_memory=False)
    assert [kt.MetricGroup(["mse"]).name for _ in range(2)] == [
        "metric_group",
        "metric_group_1",
    ]
    group = kt.MetricGroup([kt.AUC(name="area"), "mse"], name="g", prefix="a/")
    assert list(group) == ["area", "mean_squared_error"]
    assert list(group.result()) == ["a/area", "a/mean_squared_error"]
    assert len(group) == 2
    assert "area" in group
    assert "a/area" not in group
    assert group["area"].name == "area"
    assert [m.name for m in group.metrics] == list(group)
    with pytest.raises(KeyError, match=r"'nonsense'.*'area'"):
        group["nonsense"]


def test_lists_tuples_and_dicts_make_the_same_group():
    makers = (kt.BinaryAccuracy, kt.Precision, kt.MeanSquaredError)
    names = ("binary_accuracy", "precision", "mean_squared_error")

    def members():
        return [m(name=n) for m, n in zip(makers, names, strict=True)]

    alone = dict(zip(names, members(), strict=True))
    updated_all(alone, binary_batch(0))
    for metrics in (
        members(),
        tuple(members()),
        dict(zip(names, members(), strict=True)),
        [kt.serialize(m) for m in members()],
    ):
        assert_same(updated(kt.MetricGroup(metrics), [binary_batch(0)]), alone)


def test_keys_of_a_dict_are_the_names_of_results():
    group = kt.MetricGroup({"a": kt.AUC(name="x"), 3: kt.AUC(name="x")})
    assert list(group.result()) == ["a", "3"]


@pytest.mark.skipif(IS_PORTABLE, reason="one variable for each dtype there")
def test_one_variable():
    group = used_group()
    (variable,) = group.variables
    assert isinstance(variable, keras.Variable)
    assert (variable.name, variable.dtype) == ("state", "float64")
    assert not variable.trainable
    assert (variable.aggregation, variable.synchronization) == ("sum", "on_read")
    own = sum(
        int(np.prod(v.shape)) for m in binary_metrics().values() for v in m.variables
    )
    assert tuple(variable.shape) == (1, own)


@pytest.mark.skipif(not IS_PORTABLE, reason="one variable there")
def test_a_variable_for_each_dtype():
    group = used_group()
    dtypes = [v.dtype for v in group.variables]
    # Whose integers of 32 bits would not count far.
    expected = 1 if BACKEND == "jax" else 2
    assert len(set(dtypes)) == len(dtypes) == expected
    assert dtypes[0] == "float32"


def test_a_call_updates_and_returns_results():
    alone = binary_metrics()
    batch = binary_batch(0)
    updated_all(alone, batch)
    results = kt.MetricGroup(binary_metrics())(*(to_backend(a) for a in batch.args))
    for key, metric in alone.items():
        assert bits(results[key]) == bits(metric.result())


def test_lists_and_python_numbers():
    group, alone = kt.MetricGroup(binary_metrics()), binary_metrics()
    for args in (
        ([1, 0, 1], [0.5, 0.75, 0.25]),
        ([[True], [False]], [[0.5], [0.75]], [1, 2.5]),
        ([[1.0], [0.0]], [[0.5], [0.75]], 0.5),
    ):
        group.update_state(*args)
        for metric in alone.values():
            metric.update_state(*args)
    assert_same(group, alone)


def test_reset():
    group = used_group()
    group.reset_state()
    assert not any(to_numpy(v).any() for v in group.variables)
    alone = binary_metrics()
    assert_same(group, alone)
    updated_all(alone, binary_batch(3))
    assert_same(updated(group, [binary_batch(3)]), alone)


def test_states_merge_by_addition():
    parts = [binary_batch(seed, weighted=True) for seed in range(2)]
    merged, first, second = (kt.MetricGroup(binary_metrics()) for _ in range(3))
    updated(first, parts[:1])
    updated(second, parts[1:])
    for target, *sources in zip(
        merged.variables, first.variables, second.variables, strict=True
    ):
        target.assign(sum(to_numpy(s) for s in sources))
    whole = updated(kt.MetricGroup(binary_metrics()), parts)
    for key in whole:
        one, other = (to_numpy(g[key].result()) for g in (merged, whole))
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_results_are_no_views():
    group = used_group()
    results = group.result()
    kept = {key: bits(value) for key, value in results.items()}
    binary_batch(5).feed(group)
    group.reset_state()
    assert {key: bits(value) for key, value in results.items()} == kept
    before = snapshot(updated(group, [binary_batch(1)]))
    for value in group.result().values():
        if IS_TORCH:
            value += 1
        elif isinstance(value, np.ndarray) and value.flags.writeable:
            value[...] += 1
    assert snapshot(group) == before


@pytest.mark.torch_only
def test_predictions_that_require_a_gradient():
    batch = binary_batch(0)
    y_true, y_pred = (to_backend(a) for a in batch.args)
    group = kt.MetricGroup(binary_metrics())
    group.update_state(y_true, y_pred.clone().requires_grad_())
    alone = binary_metrics()
    updated_all(alone, batch)
    assert_same(group, alone)
    assert not any(value.requires_grad for value in group.result().values())
