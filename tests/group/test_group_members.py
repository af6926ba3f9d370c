"""What a group's members are: handed over with their state, built late, separate."""

import keras
import numpy as np
import pytest

import keras_tally as kt
from groups import (
    SEPARATE,
    Batches,
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
from support import (
    IS_PORTABLE,
    exact_state,
    named_variables,
    to_backend,
    to_numpy,
    updated,
)


def test_states_before_grouping_are_taken_along():
    alone, first = binary_metrics(), binary_metrics()
    for batch in (binary_batch(0), binary_batch(1, weighted=True)):
        updated_all(alone, batch)
        updated_all(first, batch)
    group = kt.MetricGroup(first)
    assert_same(group, alone)
    updated_all(alone, binary_batch(2))
    assert_same(updated(group, [binary_batch(2)]), alone)


def test_large_states_are_taken_along():
    metrics = {"error": kt.MeanSquaredError(), "iou": kt.MeanIoU(num_classes=2)}
    metrics["error"].total.assign(2.0**40)
    metrics["iou"].total_cm.assign(np.full((2, 2), 2**22 + 1))
    binary_batch(0, 5).feed(metrics["error"])
    expected = {key: exact_state(metric) for key, metric in metrics.items()}
    group = kt.MetricGroup(metrics)
    assert exact_state(group) == expected
    assert expected["iou"]["total_confusion_matrix"][0][0] == 2**22 + 1


def test_a_member_on_its_own():
    group, alone = used_group(), used_members()
    for step, key in enumerate(group):
        binary_batch(step).feed(group[key])
        binary_batch(step).feed(alone[key])
        assert_same(group, alone)
    for key in ("precision", "iou"):
        group[key].reset_state()
        alone[key].reset_state()
        assert_same(group, alone)
    updated_all(alone, binary_batch(9))
    assert_same(updated(group, [binary_batch(9)]), alone)


def test_variables_of_members():
    group, alone = used_group(), used_members()
    for key, metric in alone.items():
        pairs = zip(
            [*named_variables(group[key]), *group[key].variables],
            [*named_variables(metric), *metric.variables],
            strict=True,
        )
        for mine, other in pairs:
            assert mine.name == other.name
            assert mine.dtype == other.dtype
            assert tuple(mine.shape) == tuple(other.shape)
            assert to_numpy(mine).tobytes() == to_numpy(other).tobytes()
            value = np.reshape(np.arange(to_numpy(other).size), other.shape)
            value = value.astype(to_numpy(other).dtype)
            if not mine.name.startswith("state_"):
                mine.assign(value)
                other.assign(value)
            with pytest.raises(ValueError, match="shape"):
                mine.assign(np.zeros((3, 4, 5)))
    assert group["error"].total is named_variables(group["error"])[0]
    group["error"].count.assign_add(2)
    alone["error"].count.assign_add(2)
    assert_same(group, alone)


def test_pure_functions_of_a_member():
    """A member's state goes in and out as that of a metric on its own."""
    group, alone = used_group(), used_members()
    before = snapshot(group)
    batch = binary_batch(1)
    args = [to_backend(a) for a in batch.args]
    for key, metric in alone.items():
        member = group[key]
        state = [to_backend(to_numpy(v)) for v in binary_metrics()[key].variables]
        assert bits(member.stateless_result(state)) == bits(
            metric.stateless_result(state)
        )
        for given_state in (state, [to_backend(to_numpy(v)) for v in metric.variables]):
            new = member.stateless_update_state(given_state, *args)
            expected = metric.stateless_update_state(given_state, *args)
            assert [bits(x) for x in new] == [bits(x) for x in expected]
        fresh = member.stateless_reset_state()
        expected = metric.stateless_reset_state()
        assert [bits(x) for x in fresh] == [bits(x) for x in expected]
        with pytest.raises(ValueError, match="metric_variables"):
            member.stateless_update_state(state[1:], *args)
        with pytest.raises(ValueError, match="metric_variables"):
            member.stateless_result(state[1:])
    assert snapshot(group) == before


def test_members_that_are_built_late():
    group, alone = kt.MetricGroup(late_metrics()), late_metrics()
    assert group.variables == []
    group.reset_state()
    with pytest.raises(ValueError, match="update_state"):
        group.result()
    for seed in range(2):
        late_batch(seed).feed(group)
        updated_all(alone, late_batch(seed))
        assert_same(group, alone)
    if not IS_PORTABLE:
        assert len(group.variables) == 1
    group.reset_state()
    for metric in alone.values():
        metric.reset_state()
    assert_same(group, alone)


def test_exact_state_before_the_first_batch():
    group = kt.MetricGroup(late_metrics())
    assert exact_state(group) == {
        key: exact_state(metric) for key, metric in late_metrics().items()
    }
    assert exact_state(group)["f1"] == {}


def test_late_members_beside_members_with_state():
    first, alone = late_metrics(), late_metrics()
    for metrics in (first, alone):
        for key in ("f1", "accuracy"):
            late_batch(7).feed(metrics[key])
    group = kt.MetricGroup(first)
    late_batch(0).feed(group)
    updated_all(alone, late_batch(0))
    assert_same(group, alone)


def test_a_late_member_that_is_used_before_the_group():
    group, alone = kt.MetricGroup(late_metrics()), late_metrics()
    for key in ("r2", "error"):
        late_batch(3).feed(group[key])
        late_batch(3).feed(alone[key])
    late_batch(0).feed(group)
    updated_all(alone, late_batch(0))
    assert_same(group, alone)


def test_late_group_of_one_kind_only():
    group = kt.MetricGroup([kt.F1Score(name="f1")])
    late_batch(0).feed(group)
    alone = {"f1": kt.F1Score()}
    updated_all(alone, late_batch(0))
    assert_same(group, alone)


def test_members_that_are_updated_one_by_one():
    group, alone = kt.MetricGroup(mixed_metrics()), mixed_metrics()
    assert group.separate == SEPARATE
    for seed in range(3):
        batch = binary_batch(seed, weighted=True)
        batch.feed(group)
        updated_all(alone, batch)
        assert_same(group, alone)
    group.reset_state()
    for metric in alone.values():
        metric.reset_state()
    assert_same(group, alone)
    assert group["batches"].resets == 1
    updated_all(alone, binary_batch(5))
    assert_same(updated(group, [binary_batch(5)]), alone)


def test_separate_members_beside_late_ones():
    group = kt.MetricGroup([kt.F1Score(), Batches()])
    assert group.separate == ("batches",)
    late_batch(0).feed(group)
    assert group.separate == ("batches",)
    assert float(group.result()["batches"]) == 2.0
    group.reset_state()
    assert float(group.result()["batches"]) == 1.0


def test_a_group_of_foreign_metrics_only():
    def members():
        return {"a": keras.metrics.AUC(), "b": keras.metrics.F1Score()}

    group, alone = kt.MetricGroup(members()), members()
    assert group.separate == ("a", "b")
    for seed in range(2):
        late_batch(seed).feed(group)
        updated_all(alone, late_batch(seed))
        assert_same(group, alone)


def test_user_subclass_that_takes_pairs():
    """Also of a class that takes values."""

    class Share(kt.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(keras.ops.cast(y_pred > 0.5, "float32"))

    group = kt.MetricGroup([Share(name="share"), kt.MeanSquaredError()])
    batch = binary_batch(0)
    batch.feed(group)
    assert group.separate == ("share",)
    assert float(group.result()["share"]) == pytest.approx((batch.args[1] > 0.5).mean())
