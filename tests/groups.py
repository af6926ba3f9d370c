"""What tests of groups share: members that go together, batches, comparisons."""

import copy
import warnings

import keras
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

import keras_tally as kt
from cases import CASES, OPTION_CASES, Batch, squared_difference
from keras_tally import _native
from keras_tally._kernel_metric import KernelMetric
from makers import (
    make_binary,
    make_columns,
    make_counts,
    make_distributions,
    make_equal_labels,
    make_hinge,
    make_logits,
    make_multi_label,
    make_onehot,
    make_probabilities,
    make_regression,
    make_segments,
    make_sorted_ids,
    make_sparse,
    make_sparse_from_onehot,
    round_to,
)
from support import (
    IS_NUMPY,
    IS_PORTABLE,
    LABEL_DTYPES,
    SCORE_DTYPES,
    exact_state,
    state_bits,
    to_numpy,
    updated,
)

native_only = pytest.mark.skipif(IS_PORTABLE, reason="there is no native road here")
needs_fit = pytest.mark.skipif(IS_NUMPY, reason="Keras's NumPy backend has no fit")
# Where Keras's own operations compute, every example costs a second.
few_examples = settings(max_examples=2) if IS_PORTABLE else settings()
LEVELS = _native.levels()
DTYPES = (None, "float16", "bfloat16", "float64")
# What goes together: metrics that take the same labels and predictions.

# Some kinds have no class of their own.
POOL = max(CASES, OPTION_CASES, key=len)

ELEMENTWISE = (
    make_binary,
    make_counts,
    make_distributions,
    make_equal_labels,
    make_hinge,
    make_logits,
    make_probabilities,
    make_regression,
)


def cases_of(*makers, ranks=()):
    """The cases of these makers that take data of every rank, and of all `ranks`."""
    return [c for c in POOL if c.make in makers and set(ranks) <= set(c.ranks)]


ANY_SHAPE = cases_of(*ELEMENTWISE, ranks=(1, 2, 3))
KINDS = {
    # name: (makers of the data, shape behind the samples, cases)
    "elements": (ELEMENTWISE, (4,), ANY_SHAPE),
    "one column": (ELEMENTWISE, (1,), ANY_SHAPE),
    "deep": (
        ELEMENTWISE,
        (4, 3),
        [c for c in POOL if c.make in ELEMENTWISE and 3 in c.ranks],
    ),
    "columns": (
        (make_multi_label, make_columns),
        (),
        ANY_SHAPE + cases_of(make_multi_label, make_columns),
    ),
    "onehot": ((make_onehot,), (), ANY_SHAPE + cases_of(make_onehot)),
    "sparse": ((make_sparse,), (), cases_of(make_sparse)),
    "sequence": ((make_sparse,), (3,), cases_of(make_sparse)),
    "segments": ((make_segments,), (5,), cases_of(make_segments)),
    "ids": ((make_sorted_ids,), (), cases_of(make_sorted_ids)),
    "classes": ((make_sparse_from_onehot,), (), cases_of(make_sparse_from_onehot)),
}
# Not here: metrics of values, and classes on axis 1.
REACHED = {case.id for _, _, cases in KINDS.values() for case in cases}


def seeded(seed):
    return np.random.default_rng(seed)


def loosely(array):
    """The same values, with gaps between the samples."""
    spread = np.repeat(array, 2, axis=0)
    spread[1::2] = spread[::2][::-1]
    return spread[::2]


def draw_weight(draw, rng, shape, kind):
    whole = shape[:-1] if kind in ("onehot", "columns", "classes") else shape
    options = [(), shape[:1], (*shape[:1], 1), whole]
    if kind == "segments":
        options = [(), shape]
    form = draw(st.sampled_from(options))
    dtype = draw(st.sampled_from(["float32", "float64", "float16", "int32", "bool"]))
    weight = round_to(rng.integers(0, 5, form) / (1 if "int" in dtype else 4), dtype)
    return float(weight) if form == () else weight


@st.composite
def groups(draw, most=8):
    """Cases of one kind with a dtype each, and batches of data for all of them."""
    kind = draw(st.sampled_from(list(KINDS)))
    makers, behind, cases = KINDS[kind]
    members = draw(
        st.lists(
            st.tuples(st.sampled_from(cases), st.sampled_from(DTYPES)),
            min_size=1,
            max_size=3 if IS_PORTABLE else most,
        )
    )
    make = draw(st.sampled_from(makers))
    label_dtype = draw(st.sampled_from(LABEL_DTYPES))
    score_dtype = draw(st.sampled_from(SCORE_DTYPES))
    if IS_PORTABLE:
        # Keras's own gaps in other dtypes are not the group's.
        label_dtype, score_dtype = "float32", "float32"
        members = [(case, None) for case, _ in members]
    weighted, masked, loose = (draw(st.booleans()) for _ in range(3))
    rng = seeded(draw(st.integers(0, 2**32 - 1)))
    batches = []
    sizes = [5, 5] if IS_PORTABLE else draw(st.lists(st.integers(0, 70), max_size=4))
    for size in sizes:
        shape = (size, *behind)
        args = make(rng, shape, label_dtype, score_dtype)
        if loose and size:
            args = tuple(loosely(a) for a in args)
        weight = None
        if weighted:
            weight = draw_weight(draw, rng, args[1].shape, kind)
        mask = rng.uniform(size=size) < 0.7 if masked else None
        batches.append(Batch(args, weight, mask))
    return members, batches


def make_members(members):
    return {
        f"m{i}": case.ours(**({} if dtype is None else {"dtype": dtype}))
        for i, (case, dtype) in enumerate(members)
    }


def bits(tensor):
    array = to_numpy(tensor)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return dtype, array.shape, array.tobytes()


def result_bits(metric):
    try:
        return bits(metric.result())
    except ValueError as error:
        # Built late, and not built; the name is numbered.
        return str(error).replace(metric.name, "")


def assert_members_are(group, alone):
    """Everything there is to see of each member is as that of one on its own."""
    assert list(group) == list(alone)
    for key, metric in alone.items():
        assert result_bits(group[key]) == result_bits(metric), key
        if isinstance(metric, KernelMetric):
            # As text: it may hold NaN.
            assert repr(exact_state(group[key])) == repr(exact_state(metric)), key
            assert state_bits(group[key]) == state_bits(metric), key


def assert_same(group, alone):
    assert_members_are(group, alone)
    results = group.result()
    assert list(results) == [group.prefix + key for key in alone]
    for key, metric in alone.items():
        assert bits(results[group.prefix + key]) == bits(metric.result()), key
    ours = {key: m for key, m in alone.items() if isinstance(m, KernelMetric)}
    expected = {key: exact_state(m) for key, m in ours.items()}
    assert repr(exact_state(group)) == repr(expected)


def snapshot(group):
    return [state_bits(group), *(state_bits(m) for m in group.metrics)]


def feed(metric, batch):
    """Feed the batch; return the type of the error if it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            batch.feed(metric)
        except (ValueError, TypeError) as error:
            return type(error)
    return None


def feed_both(group, alone, batch):
    """Return what the members are after the batch, which all or none have taken."""
    after = {key: copy.deepcopy(metric) for key, metric in alone.items()}
    errors = {feed(metric, batch) for metric in after.values()} - {None}
    before = snapshot(group)
    error = feed(group, batch)
    if errors:
        assert error in errors
        late = any(not metric.variables for metric in alone.values())
        assert late or snapshot(group) == before
        return alone
    assert error is None
    return after


def takes(metric, batch):
    """Whether the metric accepts the batch; it is used up then."""
    return feed(metric, batch) is None


def that_take(members, batch):
    """The members that accept batches of this kind."""
    made = make_members(members)
    return [m for m, metric in zip(members, made.values(), strict=True)
            if takes(metric, batch)]  # fmt: skip


def everything(kind):
    """All cases of a kind in one group."""
    return [(case, None) for case in KINDS[kind][2]]


def updated_all(alone, batch):
    for metric in alone.values():
        batch.feed(metric)


def spread_out(members, count):
    """Every so many of the members, all classes among them."""
    seen, chosen = set(), []
    for member in members:
        if member[0].name not in seen or len(chosen) < count:
            chosen.append(member)
        seen.add(member[0].name)
    return chosen


LARGE = int(_native.parallel_threshold() * 2.2) + 77


def binary_metrics():
    return {
        "accuracy": kt.BinaryAccuracy(),
        "precision": kt.Precision(),
        "recall": kt.Recall(thresholds=[0.25, 0.5]),
        "auc": kt.AUC(num_thresholds=21),
        "error": kt.MeanSquaredError(),
        "entropy": kt.BinaryCrossentropy(),
        "iou": kt.BinaryIoU(),
        "similarity": kt.CosineSimilarity(),
    }


def binary_batch(seed, count=24, weighted=False):
    batch = Batch(make_binary(seeded(seed), (count, 1), "float32", "float32"))
    if weighted:
        weight = np.float32(seeded(seed + 1).integers(0, 5, count)) / 4
        batch = batch._replace(weight=weight)
    return batch


def used_group(**kwargs):
    group = kt.MetricGroup(binary_metrics(), **kwargs)
    return updated(group, [binary_batch(0, weighted=True)])


def used_members():
    alone = binary_metrics()
    updated_all(alone, binary_batch(0, weighted=True))
    return alone


def late_metrics():
    return {
        "f1": kt.F1Score(),
        "r2": kt.R2Score(),
        "auc": kt.AUC(multi_label=True, num_thresholds=11),
        "accuracy": kt.BinaryAccuracy(),
        "error": kt.MeanSquaredError(),
    }


def late_batch(seed, columns=3):
    args = make_binary(seeded(seed), (20, columns), "float32", "float32")
    return Batch(args, np.float32(seeded(seed).integers(0, 3, 20)))


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Batches(keras.metrics.Metric):
    """A foreign metric that starts and restarts at a number that is not 0."""

    def __init__(self, name="batches", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.left = self.add_variable((), "ones", name="left")
        self.resets = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.left.assign_add(1)

    def result(self):
        return keras.ops.convert_to_tensor(self.left.value)

    def reset_state(self):
        self.left.assign(1)
        self.resets += 1


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Doubled(kt.MeanSquaredError):
    def result(self):
        return 2 * super().result()


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Halved(kt.BinaryAccuracy):
    """Forwards half of each batch."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_true[::2], y_pred[::2])


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Counting(kt.Precision):
    """With a variable beyond those of the kernel."""

    def __init__(self, name="counting", dtype=None, **kwargs):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.batches = self.add_variable((), "zeros", name="batches")

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_true, y_pred, sample_weight)
        self.batches.assign_add(1)


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Renamed(kt.Recall):
    """Changes nothing that an update or a result is made of."""

    def __init__(self, name="renamed", dtype=None, **kwargs):
        super().__init__(name=name, dtype=dtype, **kwargs)


def mixed_metrics():
    return {
        "accuracy": kt.BinaryAccuracy(),
        "batches": Batches(),
        "theirs": keras.metrics.AUC(num_thresholds=21),
        "auc": kt.AUC(num_thresholds=21),
        "wrapped": kt.MeanMetricWrapper(squared_difference, name="wrapped"),
        "doubled": Doubled(),
        "halved": Halved(),
        "counting": Counting(),
        "renamed": Renamed(),
        "iou": kt.BinaryIoU(),
    }


SEPARATE = ("batches", "theirs", "wrapped", "doubled", "halved", "counting")
