"""The largest of everything, and a clear error past it (docs/trust.md, "Limits")."""

import os
import resource
import sys

import numpy as np
import pytest

import keras_tally as kt
from cases import DEFAULT_CASES
from keras_tally.metrics import confusion
from keras_tally.metrics.confusion import MOST_THRESHOLDS
from keras_tally.metrics.iou import MOST_CELLS, MOST_CLASSES
from processes import run_code
from support import (
    IS_PORTABLE,
    IS_TORCH,
    as_float,
    exact_state,
    state_bits,
    to_backend,
    updated,
)

# Where 32-bit numbers of elements and of bytes have ended.
BEYOND = 2**31 + 17


def repeated(number, dtype, *shape):
    """One number that stands for all, with strides of 0."""
    if IS_TORCH:
        return to_backend(np.array([number], dtype)).expand(shape)
    return np.broadcast_to(np.array(number, dtype), shape)


def peak():
    """The most memory that this process has had, in MiB."""
    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@pytest.fixture
def no_copies():
    """Fails where a test takes memory in proportion to what it looks at."""
    before = peak()
    yield
    assert peak() < before + 500


# Sizes.


@pytest.mark.slow
def test_sum_of_more_than_31_bits(no_copies):
    metric = kt.Sum()
    metric.update_state(repeated(1, "uint8", BEYOND))
    assert exact_state(metric) == {"total": BEYOND}


def test_counts_of_more_than_31_bits(no_copies):
    metric = kt.TruePositives()
    ones = repeated(1, "uint8", BEYOND)
    metric.update_state(ones, ones)
    assert exact_state(metric) == {"accumulator": [BEYOND]}


def test_rows_with_more_than_31_bits_of_scores(no_copies):
    rows = BEYOND // 1024 + 1
    metric = kt.SparseCategoricalAccuracy()
    scores = np.zeros((1, 1024), np.float32)
    scores[0, 1023] = 1
    scores = to_backend(scores)
    spread = (
        scores.expand(rows, 1024) if IS_TORCH else np.broadcast_to(scores, (rows, 1024))
    )
    metric.update_state(repeated(1023, "int64", rows), spread)
    assert exact_state(metric) == {"total": rows, "count": rows}


def test_more_elements_than_any_memory_holds():
    """Where sums of sizes would come near to the end of 64 bits."""
    for metric in (kt.MeanSquaredError(), kt.Precision(), kt.MeanIoU(num_classes=2)):
        before = state_bits(metric)
        with pytest.raises(ValueError, match=r"`y_(true|pred)`.*2\^48 elements"):
            metric.update_state(*[repeated(1, "uint8", 2**30, 2**30)] * 2)
        assert state_bits(metric) == before


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
def test_strides_past_32_bits(case, no_copies):
    """Few numbers, far apart in memory that nobody touches in between."""
    count = 40
    batch = case.sample(0, count)
    whole = updated(case.ours(), [batch])

    def spread(array):
        step = 2**32 // count // array[0].nbytes + 1
        rows = np.zeros((count * step, *array.shape[1:]), array.dtype)[::step]
        assert (count - 1) * rows.strides[0] > 2**31
        rows[...] = array
        return rows

    far = updated(case.ours(), [batch._replace(args=tuple(map(spread, batch.args)))])
    if case.name != "MeanMetricWrapper":
        assert state_bits(far) == state_bits(whole)


@pytest.mark.skipif(
    os.environ.get("KERAS_TALLY_LARGE") != "1",
    reason="takes half a minute; KERAS_TALLY_LARGE=1 runs it",
)
def test_one_bin_of_more_than_32_bits(no_copies):
    """Many thresholds leave room for one table of 32-bit counts at a time."""
    count = 2**32 + 5
    metric = kt.AUC(num_thresholds=2**19)
    metric.update_state(repeated(1, "bool", count), repeated(0.5, "float32", count))
    cells = exact_state(metric)
    assert cells["true_positives"][0] == count
    assert cells["false_negatives"][-1] == count


# Thresholds.

CONSTRAINED = (
    kt.SensitivityAtSpecificity,
    kt.SpecificityAtSensitivity,
    kt.PrecisionAtRecall,
    kt.RecallAtPrecision,
)


@pytest.mark.parametrize("count", [MOST_THRESHOLDS + 1, 2**31, 2**63, 10**30])
def test_too_many_thresholds_are_refused(count):
    for make in (kt.AUC, *(lambda cls=cls, **k: cls(0.5, **k) for cls in CONSTRAINED)):
        with pytest.raises(ValueError, match=rf"`num_thresholds`.*{count}"):
            make(num_thresholds=count)


@pytest.mark.parametrize("cls", [kt.AUC, kt.Precision, kt.TruePositives])
def test_too_long_lists_of_thresholds_are_refused(cls, monkeypatch):
    monkeypatch.setattr(confusion, "MOST_THRESHOLDS", 10)  # Keras tracks each of a list
    cls(thresholds=[0.5] * 10)
    with pytest.raises(ValueError, match=r"`thresholds`.* 11 .* 10 "):
        cls(thresholds=[0.5] * 11)


def test_many_thresholds():
    count = 2**16
    metric = kt.AUC(num_thresholds=count)
    rng = np.random.default_rng(0)
    scores = rng.random(1000, dtype=np.float32)
    labels = scores + rng.random(1000) > 1
    metric.update_state(to_backend(labels), to_backend(scores))
    order = np.argsort(scores)
    ranks = np.flatnonzero(labels[order]) - np.arange(labels.sum())
    area = ranks.sum() / labels.sum() / (~labels).sum()
    assert as_float(metric) == pytest.approx(area, abs=1e-4)


# Classes.

MATRICES = {
    "MeanIoU": lambda **k: kt.MeanIoU(**k),
    "IoU": lambda **k: kt.IoU(target_class_ids=[0], **k),
    "OneHotMeanIoU": lambda **k: kt.OneHotMeanIoU(**k),
    "OneHotIoU": lambda **k: kt.OneHotIoU(target_class_ids=[0], **k),
}


@pytest.mark.parametrize("make", MATRICES.values(), ids=MATRICES)
@pytest.mark.parametrize("count", [MOST_CLASSES + 1, 2**32, 2**63, 10**30])
def test_too_many_classes_are_refused(make, count):
    for counts in (False, True):
        with pytest.raises(ValueError, match=rf"`num_classes`.*{count}"):
            make(num_classes=count, per_class_counts=counts)


@pytest.mark.parametrize("make", MATRICES.values(), ids=MATRICES)
def test_too_large_matrices_are_refused(make):
    count = int(MOST_CELLS**0.5) + 1
    with pytest.raises(ValueError, match="`per_class_counts=True`"):
        make(num_classes=count)


@pytest.mark.parametrize(
    "error", [MemoryError("no"), RuntimeError("no"), ValueError("no")]
)
def test_matrices_that_memory_does_not_hold(error, monkeypatch):
    """What allocators say, torch's as a RuntimeError, names no argument."""

    def fails(*args, **kwargs):
        raise error

    monkeypatch.setattr(kt.MeanIoU, "_add_plain_variable", fails)
    message = r"no room.*`total_confusion_matrix` of MeanIoU.*\(300000, 300000\)"
    with pytest.raises(MemoryError, match=message):
        kt.MeanIoU(num_classes=300_000)


def test_most_classes(no_copies):
    """Ids at both ends of what float32 tells apart."""
    metric = kt.IoU(
        num_classes=2**20, target_class_ids=[0, 2**20 - 1], per_class_counts=True
    )
    y_true = np.float32([0, 2**20 - 1, 2**20 - 1, 2**20])
    y_pred = np.float32([0, 2**20 - 1, 2**20 - 2, 0])
    metric.update_state(to_backend(y_true), to_backend(y_pred))
    assert as_float(metric) == pytest.approx((1 + 1 / 2) / 2)


@pytest.mark.parametrize("k", [2**31, 2**32 + 1, 2**62])
def test_k_beyond_any_number_of_classes(k):
    metric = kt.SparseTopKCategoricalAccuracy(k=k)
    args = to_backend(np.int64([0])), to_backend(np.float32([[0.1, 0.9]]))
    metric.update_state(*args)
    assert as_float(metric) == 1.0


@pytest.mark.parametrize("label", [2**31, 2**32 + 1, 2**62, -(2**62)])
def test_labels_do_not_wrap(label):
    """2**32 + 1 is not class 1."""
    scores = to_backend(np.float32([[0.1, 0.9]]))
    metric = kt.SparseCategoricalAccuracy()
    metric.update_state(to_backend(np.int64([label])), scores)
    assert exact_state(metric) == {"total": 0, "count": 1}
    for metric in (kt.SparseCategoricalCrossentropy(), kt.SparseMeanRank()):
        with pytest.raises(ValueError, match="y_true"):
            metric.update_state(to_backend(np.int64([label])), scores)
        assert as_float(metric) == 0.0
    matrix = kt.MeanIoU(num_classes=2)
    matrix.update_state(to_backend(np.int64([label])), to_backend(np.int64([1])))
    assert exact_state(matrix) == {"total_confusion_matrix": [[0, 0], [0, 0]]}


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_integers_of_more_than_64_bits_are_refused(number):
    for argument, make in (
        ("k", lambda n: kt.SparseTopKCategoricalAccuracy(k=n)),
        ("top_k", lambda n: kt.Precision(top_k=n)),
        ("class_id", lambda n: kt.Recall(class_id=n)),
        ("axis", lambda n: kt.MeanIoU(num_classes=3, axis=n)),
    ):
        with pytest.raises(ValueError, match=f"`{argument}`.*{number}"):
            make(number)


# Members of groups.


def test_many_members():
    """More than any loop takes at once."""
    count = 300
    members = [kt.Precision(thresholds=i / count, name=str(i)) for i in range(count)]
    members += [
        kt.BinaryAccuracy(threshold=i / count, name=f"a{i}") for i in range(count)
    ]
    group = kt.MetricGroup(members)
    rng = np.random.default_rng(0)
    scores = rng.random((500, 1), dtype=np.float32)
    labels = (rng.random((500, 1)) < scores).astype(np.float32)
    group.update_state(to_backend(labels), to_backend(scores))
    for i in (0, 1, 150, 299):
        alone = kt.Precision(thresholds=i / count)
        alone.update_state(to_backend(labels), to_backend(scores))
        assert float(group[str(i)].result()) == as_float(alone)
        alone = kt.BinaryAccuracy(threshold=i / count)
        alone.update_state(to_backend(labels), to_backend(scores))
        assert float(group[f"a{i}"].result()) == as_float(alone)


LARGE_STATE = """
import keras
import numpy as np
import keras_tally as kt

def memory(which):
    lines = open("/proc/self/status").read().splitlines()
    (line,) = [line for line in lines if line.startswith(which)]
    return int(line.split()[1]) >> 10

def growth(action):
    \"\"\"By how many MiB memory has grown at most.\"\"\"
    open("/proc/self/clear_refs", "w").write("5")
    before = memory("VmRSS")
    action()
    return memory("VmHWM") - before

ids = [0, 1, 9_999, 9_999]
masked = keras.ops.convert_to_tensor(np.array(ids)) + 0
try:
    masked._keras_mask = keras.ops.convert_to_tensor([True, False, True, True])
except AttributeError:  # an array of NumPy takes no mask
    pass
single = kt.MeanIoU(10_000)
group = kt.MetricGroup({"iou": kt.MeanIoU(10_000), "accuracy": kt.Accuracy()})
for metric in (single, group):
    metric.update_state(np.array(ids), np.array(ids))  # imports and the like
    for arguments in (
        (ids, ids),
        (ids, ids, [1, 0, 1, 1]),
        (ids, masked),
        (ids, np.array(ids, "uint16")),
        (np.array(ids)[::-1], np.array(ids)[::-1]),
    ):
        used = growth(lambda: metric.update_state(*arguments))
        assert used < 100, f"{used} MiB more, with {arguments}"
assert int(np.asarray(single.total_cm.value)[9_999, 9_999]) == 12

def purely():
    with keras.StatelessScope():
        single.update_state(ids, ids)

# The matrix has 763 MiB, and a pure function makes another one.
assert growth(purely) > 700
"""


@pytest.mark.skipif(IS_PORTABLE, reason="there every state is made anew")
@pytest.mark.host_only
@pytest.mark.slow
def test_lists_and_masks_make_no_copy_of_a_large_state(tmp_path):
    code, output = run_code(LARGE_STATE, tmp_path)
    assert code == 0, output
