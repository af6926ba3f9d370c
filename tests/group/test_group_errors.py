"""What a group refuses, and that no member has counted any of it then."""

import warnings

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_tally as kt
from cases import DEFAULT_CASES, Batch, Case, squared_difference
from groups import (
    KINDS,
    Batches,
    assert_same,
    binary_batch,
    feed_both,
    late_batch,
    late_metrics,
    make_members,
    mixed_metrics,
    native_only,
    seeded,
    snapshot,
    updated_all,
    used_group,
    used_members,
)
from makers import CLASSES, SEGMENTS, class_scores, make_segments, make_sparse
from support import BACKEND, exact_state, to_backend, updated

if BACKEND == "tensorflow":
    import tensorflow as tf


def refused(group, batch, match=None, error=(ValueError, TypeError)):
    before, exact = snapshot(group), exact_state(group)
    with pytest.raises(error, match=match):
        batch.feed(group)
    assert snapshot(group) == before
    assert repr(exact_state(group)) == repr(exact)


SHAPELESS = ("Mean", "Sum")
GROUPABLE = [c for c in DEFAULT_CASES if c.name not in SHAPELESS]


@native_only
@pytest.mark.parametrize("case", GROUPABLE, ids=lambda c: c.name)
def test_any_member_that_refuses_a_batch(case):
    """First and last in the group; beside a foreign metric, which takes anything."""
    bad = case.sample(1, 12)
    bad = bad._replace(weight=np.ones((7, 3), np.float32))
    for order in (1, -1):
        members = {"counter": Batches(), "member": case.ours(), "other": case.ours()}
        group = kt.MetricGroup(dict(list(members.items())[::order]))
        case.sample(0, 12).feed(group)
        refused(group, bad, "sample_weight|weight")


@pytest.mark.host_only
@native_only
@pytest.mark.parametrize("label", [-1, CLASSES, 2**40])
def test_labels_that_one_member_refuses(label):
    """Others take a label out of range, and must not have taken the batch."""
    rng = seeded(0)
    scores = class_scores(rng, (9,), "float32")
    labels = rng.integers(0, CLASSES, 9)
    wrong = labels.copy()
    wrong[5] = label
    for picky in (kt.SparseTopKCategoricalAccuracy, kt.SparseCategoricalCrossentropy):
        for order in (1, -1):
            members = [kt.SparseCategoricalAccuracy(), picky(name="picky"), Batches()]
            group = kt.MetricGroup(members[::order])
            Batch((labels, scores)).feed(group)
            refused(group, Batch((wrong, scores)), "y_true", ValueError)
    group = kt.MetricGroup([kt.SparseCategoricalAccuracy(name="a")])
    alone = {"a": kt.SparseCategoricalAccuracy()}
    updated_all(alone, Batch((wrong, scores)))
    assert_same(updated(group, [Batch((wrong, scores))]), alone)


@native_only
@given(st.data())
def test_a_group_refuses_what_a_member_refuses(data):
    """Labels out of range that some classes, or `ignore_class`, let through."""
    members = data.draw(
        st.lists(
            st.sampled_from(
                [
                    *((case, None) for case in KINDS["sparse"][2]),
                    (
                        Case(
                            "SparseCategoricalCrossentropy",
                            make_sparse,
                            {"ignore_class": -1},
                        ),
                        None,
                    ),
                ]
            ),
            min_size=1,
            max_size=5,
        )
    )
    rng = seeded(data.draw(st.integers(0, 99)))
    labels = rng.integers(-1, CLASSES + data.draw(st.integers(-1, 1)), 12)
    labels = np.maximum(labels, data.draw(st.integers(-1, 0)))
    dtype = data.draw(st.sampled_from(["int64", "float32", "int8"]))
    batch = Batch((labels.astype(dtype), class_scores(rng, (12,), "float32")))
    group = kt.MetricGroup(make_members(members))
    assert_same(group, feed_both(group, make_members(members), batch))


@pytest.mark.host_only
@native_only
def test_bad_label_deep_in_a_large_batch():
    rng = seeded(0)
    y_true = rng.integers(0, 3, 200_000)
    y_pred = np.float32(rng.uniform(size=(200_000, 3)))
    group = kt.MetricGroup(
        [kt.SparseCategoricalAccuracy(), kt.SparseCategoricalCrossentropy()]
    )
    Batch((y_true, y_pred)).feed(group)
    y_true[-1] = 3
    for threads in (1, 2):
        kt.set_num_threads(threads)
        refused(group, Batch((y_true, y_pred)), "y_true", ValueError)


@native_only
@pytest.mark.parametrize(
    "bad", [None, "text", object(), {}, [[1.0], [2.0, 3.0]], print]
)
def test_things_that_are_no_tensors(bad):
    group = used_group()
    args = [to_backend(a) for a in binary_batch(0).args]
    before = snapshot(group)
    for position, name in enumerate(("y_true", "y_pred")):
        broken = list(args)
        broken[position] = bad
        with pytest.raises((ValueError, TypeError), match=name):
            group.update_state(*broken)
    if bad is not None:
        with pytest.raises((ValueError, TypeError), match="sample_weight"):
            group.update_state(*args, bad)
    assert snapshot(group) == before


def test_shapes_that_do_not_fit():
    group = updated(kt.MetricGroup(mixed_metrics()), [binary_batch(0)])
    before, exact = snapshot(group), exact_state(group)
    y_true, y_pred = (to_backend(a) for a in binary_batch(0).args)
    with pytest.raises((ValueError, TypeError, *FRAMEWORK_ERRORS)):
        group.update_state(y_true[:5], y_pred[:7])
    assert snapshot(group) == before
    assert exact_state(group) == exact


# What Keras's own operations raise.
FRAMEWORK_ERRORS = (RuntimeError,)


if BACKEND == "tensorflow":
    FRAMEWORK_ERRORS = (tf.errors.InvalidArgumentError,)


class Fails(keras.metrics.Metric):
    """Takes the batch, then fails."""

    def __init__(self, error=OSError, name="fails"):
        super().__init__(name=name)
        self.seen = self.add_variable((), "zeros", name="seen")
        self.error = error
        self.armed = False

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.seen.assign_add(1)
        if self.armed:
            raise self.error("armed")

    def result(self):
        return keras.ops.convert_to_tensor(self.seen.value)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_foreign_metrics_are_restored_when_one_fails(error):
    for last in (False, True):
        fails = Fails(error)
        members = {**mixed_metrics(), "fails": fails}
        if not last:
            members = dict(list(members.items())[::-1])
        group = updated(kt.MetricGroup(members), [binary_batch(0)])
        fails.armed = True
        before = snapshot(group)
        with pytest.raises(error, match="armed"):
            binary_batch(1).feed(group)
        assert snapshot(group) == before


def test_foreign_metrics_that_the_refused_batch_has_built():
    """Its variables are new, and still hold nothing of the batch."""
    members = {"theirs": keras.metrics.F1Score(), "fails": Fails()}
    members["fails"].armed = True
    group = kt.MetricGroup(members)
    with pytest.raises(OSError, match="armed"):
        late_batch(0).feed(group)
    members["fails"].armed = False
    late_batch(1).feed(group)
    alone = {"theirs": keras.metrics.F1Score(), "fails": Fails()}
    updated_all(alone, late_batch(1))
    assert_same(group, alone)


@native_only
def test_first_batch_of_a_late_group_that_is_refused():
    group, alone = kt.MetricGroup(late_metrics()), late_metrics()
    bad = late_batch(0)._replace(weight=np.ones((5, 9), np.float32))
    with pytest.raises(ValueError, match="sample_weight"):
        bad.feed(group)
    late_batch(1).feed(group)
    updated_all(alone, late_batch(1))
    assert_same(group, alone)


def takes_no_metrics():
    return [
        (None, TypeError, "list of metrics"),
        ("mse", TypeError, "list of metrics"),
        (kt.AUC(), TypeError, "list of metrics"),
        (iter([kt.AUC()]), TypeError, "list of metrics"),
        ([], ValueError, "empty"),
        ({}, ValueError, "empty"),
        ([None], TypeError, "must hold metrics"),
        ([squared_difference], TypeError, "must hold metrics"),
        ({"a": squared_difference}, TypeError, "must hold metrics"),
        (["no such metric"], ValueError, "no such metric"),
        ([kt.AUC(name="a"), kt.Recall(name="a")], ValueError, "two metrics.*'a'"),
        ({1: kt.AUC(), "1": kt.Recall()}, ValueError, "two metrics.*'1'"),
        ([kt.Mean()], TypeError, "Mean takes values"),
        ([kt.Sum()], TypeError, "Sum takes values"),
        ([keras.metrics.Mean()], TypeError, "Mean takes values"),
        ([keras.metrics.Sum()], TypeError, "Sum takes values"),
        (["mean"], TypeError, "Mean takes values"),
        ([kt.MetricGroup(["mse"])], TypeError, "member of a group"),
    ]


@pytest.mark.parametrize("index", range(len(takes_no_metrics())))
def test_what_is_no_list_of_metrics(index):
    metrics, error, match = takes_no_metrics()[index]
    with pytest.raises(error, match=match):
        kt.MetricGroup(metrics)


def test_one_metric_under_two_names():
    """It would be given every batch twice."""
    metric = kt.BinaryAccuracy()
    with pytest.raises(ValueError, match="twice"):
        kt.MetricGroup({"a": metric, "b": metric})
    with pytest.raises(ValueError, match="two metrics"):
        kt.MetricGroup([metric, metric])
    assert list(kt.MetricGroup({"a": metric})) == ["a"]


def test_member_of_another_group():
    group = used_group(name="first")
    with pytest.raises(ValueError, match=r"'auc'.*'first'"):
        kt.MetricGroup([group["auc"]])
    free = kt.Recall()
    with pytest.raises(ValueError, match="'first'"):
        kt.MetricGroup({"free": free, "taken": group["auc"]})
    kt.MetricGroup([free])  # the failed attempt has not taken it
    assert_same(group, used_members())


@native_only
def test_warnings_of_members():
    """What a metric says of weights and results, its group says too, once."""
    batch = Batch(
        make_segments(seeded(0), (9,), "int32", "int32"),
        np.float32(np.arange(9) / 4),
    )
    metric = kt.MeanIoU(num_classes=SEGMENTS)
    group = kt.MetricGroup(
        {"iou": kt.MeanIoU(num_classes=SEGMENTS), "same": kt.Accuracy()}
    )
    said = []
    for target in (metric, group):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            batch.feed(target)
            target.result()
        said.append([(w.category, str(w.message)) for w in caught])
    assert said[0] == said[1]
    assert said[0]


@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy"])
def test_name_that_depends_on_shapes(name):
    with pytest.raises(ValueError, match="BinaryAccuracy"):
        kt.MetricGroup([name, kt.Precision()])
