"""Copies and pickles of groups, and of their members."""

import copy
import pickle

import pytest

import keras_tally as kt
from groups import (
    SEPARATE,
    assert_same,
    binary_batch,
    bits,
    late_batch,
    late_metrics,
    mixed_metrics,
    updated_all,
    used_group,
    used_members,
)
from support import updated

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda group: pickle.loads(pickle.dumps(group)),
}


@pytest.mark.parametrize("way", WAYS)
def test_copies(way):
    group = used_group(name="mine", prefix="p_")
    again = WAYS[way](group)
    assert type(again) is kt.MetricGroup
    assert (again.name, again.prefix) == ("mine", "p_")
    alone = used_members()
    assert_same(again, alone)
    updated(again, [binary_batch(4)])
    assert_same(group, alone)
    updated_all(alone, binary_batch(4))
    assert_same(again, alone)
    assert_same(updated(group, [binary_batch(4)]), alone)
    again.reset_state()
    assert_same(group, alone)


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_late_groups(way):
    group = kt.MetricGroup(late_metrics())
    fresh = WAYS[way](group)
    late_batch(0).feed(group)
    late_batch(0).feed(fresh)
    alone = late_metrics()
    updated_all(alone, late_batch(0))
    assert_same(fresh, alone)
    assert_same(WAYS[way](group), alone)
    assert_same(group, alone)


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_separate_members(way):
    group = updated(kt.MetricGroup(mixed_metrics()), [binary_batch(0)])
    kept = {key: bits(value) for key, value in group.result().items()}
    again = WAYS[way](group)
    assert again.separate == SEPARATE
    found = {key: bits(value) for key, value in again.result().items()}
    for key in kept:
        # Keras's own copies drop the state.
        if key not in ("batches", "theirs"):
            assert found[key] == kept[key], key
    updated(again, [binary_batch(1)])
    assert {key: bits(value) for key, value in group.result().items()} == kept


def test_a_copy_of_a_member_is_free():
    group, alone = used_group(), used_members()
    free = copy.deepcopy(group["auc"])
    assert_same(kt.MetricGroup({"auc": free}), {"auc": alone["auc"]})
    binary_batch(1).feed(free)
    assert_same(group, alone)
