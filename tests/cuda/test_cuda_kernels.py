"""The CUDA kernels, run on the CPU, against the CPU's own and slow references.

`_cuda_emulated` runs the source of the kernels, thread by thread, behind the same door
as a GPU (csrc/cuda/device.h); host memory takes the part of the GPU's. What only a GPU
can show is in test_cuda.py.
"""

import math

import keras
import ml_dtypes
import numpy as np
import pytest

import keras_tally as kt
from cases import CASES, DEFAULT_CASES, Batch
from keras_tally import _device, _native
from support import (
    EMULATED,
    IS_PORTABLE,
    IS_TORCH,
    as_float,
    assert_states_close,
    exact_state,
    state,
    state_bits,
    to_backend,
    updated,
)

# No wheel has it; `make test` fails without.
_cuda_emulated = pytest.importorskip("keras_tally._cuda_emulated")

pytestmark = pytest.mark.skipif(IS_PORTABLE, reason="no kernel runs there")

every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
every_class = pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)


class Emulated:
    """Host memory is a GPU's inside of `with`."""

    def __init__(self, **settings):
        self.settings = settings

    def __enter__(self):
        api = _cuda_emulated.api(**self.settings)
        _native.set_device_api(api, emulated=True)
        _cuda_emulated.launches()
        return self

    def __exit__(self, *error):
        api = _cuda_emulated.api() if EMULATED else None
        _native.set_device_api(api, emulated=EMULATED)

    @staticmethod
    def launches():
        return _cuda_emulated.launches()


@pytest.fixture
def device():
    with Emulated() as emulated:
        yield emulated


def on_host(make, batches):
    _native.set_device_api(None)
    try:
        return updated(make(), batches)
    finally:
        if EMULATED:
            _native.set_device_api(_cuda_emulated.api(), emulated=True)


def on_device(make, batches, **settings):
    with Emulated(**settings):
        metric = updated(make(), batches)
        metric.result()
        return metric


def assert_same(make, batches, relative=1e-12):
    before = _native.road_counts()["cuda"]
    got = on_device(make, batches)
    assert _native.road_counts()["cuda"] > before or not any(
        np.size(a) for b in batches for a in b.args
    )
    assert_states_close(state(got), state(on_host(make, batches)), relative, 1e-13)
    return got


@pytest.mark.parametrize("weighted", [False, True])
@every_case
def test_as_on_the_cpu(case, weighted):
    batches = [case.sample(s, n, weighted) for s, n in enumerate((1, 0, 37, 1500))]
    assert_same(case.ours, batches)


SIZES = [*range(10), 31, 32, 33, 255, 256, 257, 1023, 1024, 1025, 2047, 2049, 4100]


@pytest.mark.parametrize(
    ("make", "data"),
    [
        (kt.MeanSquaredError, "elements"),
        (kt.BinaryAccuracy, "elements"),
        (kt.Precision, "elements"),
        (kt.AUC, "elements"),
        (lambda: kt.R2Score(), "column"),
        (lambda: kt.MeanIoU(num_classes=2), "labels"),
        (kt.SparseCategoricalAccuracy, "rows"),
    ],
)
def test_every_small_size(make, data):
    rng = np.random.default_rng(0)
    for n in SIZES if data != "column" else SIZES[1:]:
        y, p = rng.integers(0, 2, n).astype("float32"), rng.random(n, dtype="float32")
        if data == "column":
            y, p = y[:, None], p[:, None]
        if data == "labels":
            p = (p > 0.5).astype("float32")
        if data == "rows":
            p = rng.random((n, 5), dtype="float32")
        assert_same(make, [Batch((y, p))])


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 5, 31, 33, 127, 129, 1000, 2500])
@pytest.mark.parametrize("rows", [1, 3, 70])
@pytest.mark.parametrize(
    "make",
    [
        kt.SparseCategoricalAccuracy,
        lambda: kt.SparseTopKCategoricalAccuracy(k=1),
        lambda: kt.SparseCategoricalCrossentropy(from_logits=True),
        kt.SparseCategoricalCrossentropy,
        kt.MeanMaxProbability,
    ],
)
def test_rows_of_every_length(make, rows, classes):
    """One thread to all of a block on a row; rows from 2048 on take a block."""
    rng = np.random.default_rng(classes)
    scores = rng.random((rows, classes), dtype="float32")
    # Ties, so that the first one counts.
    scores[:, :: max(1, classes // 3)] = 0.75
    labels = rng.integers(0, classes, rows)
    assert_same(make, [Batch((labels, scores))])
    assert_same(make, [Batch((labels, scores.astype("float64")))])


@pytest.mark.parametrize("make", [kt.CategoricalAccuracy, kt.CategoricalCrossentropy])
@pytest.mark.parametrize("classes", [3, 300, 2500])
def test_rows_of_targets(make, classes):
    rng = np.random.default_rng(classes)
    scores = rng.random((5, classes), dtype="float32")
    targets = np.eye(classes, dtype="float32")[rng.integers(0, classes, 5)]
    assert_same(make, [Batch((targets, scores))])
    for axes in (targets.T.copy().T, targets[::-1]):
        assert_same(make, [Batch((axes, scores))])


@pytest.mark.parametrize("classes", [3, 33, 2500])
@pytest.mark.parametrize(
    ("make", "targets"),
    [
        (lambda _: kt.SparseCategoricalAccuracy(), "labels"),
        (lambda _: kt.CategoricalAccuracy(), "rows"),
        (lambda _: kt.SparseMeanRank(), "labels"),
        (lambda _: kt.MeanMaxProbability(), "labels"),
        (lambda _: kt.SparseCategoricalCrossentropy(), "labels"),
        (lambda _: kt.SparseCategoricalCrossentropy(from_logits=True), "labels"),
        (lambda _: kt.CategoricalCrossentropy(from_logits=True), "rows"),
        (lambda c: kt.OneHotMeanIoU(num_classes=c, per_class_counts=True), "rows"),
    ],
)
def test_rows_with_nan_and_infinities(make, targets, classes):
    """Rows of one warp, some of which go other ways than the rest."""
    rng = np.random.default_rng(classes)
    for special in (math.nan, math.inf, -math.inf):
        scores = rng.normal(size=(40, classes)).astype("float32")
        scores[rng.random(scores.shape) < 0.1] = special
        labels = rng.integers(0, classes, 40)
        if targets == "rows":
            labels = np.eye(classes, dtype="float32")[labels]
        rows = [Batch((labels[i : i + 1], scores[i : i + 1])) for i in range(40)]
        for batch in (*rows[: 12 if classes < 100 else 2], Batch((labels, scores))):
            assert_same(lambda: make(classes), [batch])


def wide(array):
    out = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    out[..., ::2] = array
    return out[..., ::2]


def shifted(array):
    flat = np.zeros(array.size + 1, array.dtype)
    flat[1:] = array.ravel()
    return flat[1:].reshape(array.shape)


@pytest.mark.parametrize("layout", [wide, shifted], ids=lambda f: f.__name__)
@every_class
def test_strided_and_misaligned(case, layout):
    batch = case.sample(0, 70, True)
    args = tuple(layout(a) if a.ndim else a for a in batch.args)
    assert_same(case.ours, [Batch(args, layout(batch.weight), batch.mask)])


def test_broadcast_operands():
    y = np.arange(6.0, dtype="float32").reshape(6, 1)
    p = np.arange(42.0, dtype="float32").reshape(6, 7)
    assert_same(kt.MeanSquaredError, [Batch((y, p))])
    weight = np.linspace(0, 1, 6, dtype="float32")
    assert_same(kt.MeanSquaredError, [Batch((np.ones(7), p), weight)])


@every_class
def test_the_order_in_which_blocks_end_changes_no_bit(case):
    batch = case.sample(0, 6000, True)
    forwards = on_device(case.ours, [batch], processors=3)
    backwards = on_device(case.ours, [batch], processors=3, backwards=True)
    assert state_bits(forwards) == state_bits(backwards)


@pytest.mark.parametrize("processors", [1, 3, 132])
@every_class
def test_sizes_of_the_device_change_no_count(case, processors):
    batch = case.sample(0, 3000)
    got = on_device(case.ours, [batch], processors=processors)
    expected = on_host(case.ours, [batch])
    assert_states_close(state(got), state(expected), 1e-12, 1e-13)
    exact, wanted = exact_state(got), exact_state(expected)
    for name, value in wanted.items():
        if isinstance(value, int):
            assert exact[name] == value


def row_of(metric):
    """The row of results.def that makes the metric's result."""
    _, row, _ = metric._plan_arguments
    return row


@every_case
def test_one_launch_an_update_and_no_allocation_after_the_first(case, device):
    metric = case.ours()
    batches = [case.sample(seed, 50) for seed in range(4)]
    batches[0].feed(metric)
    metric.result()
    allocated = _native.road_counts()["cuda_allocations"]
    device.launches()
    for batch in batches[1:]:
        batch.feed(metric)
        # The function of a MeanMetricWrapper computes first, in the framework.
        assert len(device.launches()) == 1
        metric.result()
        (kernel,) = [kernel for kernel, *_ in device.launches()]
        assert kernel == f"finish_{row_of(metric)}"
    assert _native.road_counts()["cuda_allocations"] == allocated


def test_results_of_every_dtype(device):
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        for value in (0.0, 1 / 3, -2.5e-6, 70000.0, math.inf, math.nan):
            metric = kt.Mean(dtype=dtype)
            metric.update_state(to_backend(np.array([value], "float64")))
            got = metric.result()
            assert keras.backend.standardize_dtype(got.dtype) == dtype
            expected = keras.ops.convert_to_numpy(
                keras.ops.cast(to_backend(np.array(value)), dtype)
            )
            np.testing.assert_equal(
                np.float64(keras.ops.convert_to_numpy(got)), np.float64(expected)
            )


# What only the data shows: no exception, and no plausible number either.

BAD_LABELS = [-1, 7, 1000, -(2**31), 2**40]


@pytest.mark.parametrize("label", [*BAD_LABELS, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda: kt.SparseTopKCategoricalAccuracy(k=2),
        kt.SparseMeanRank,
        kt.SparseCategoricalCrossentropy,
        lambda: kt.SparseCategoricalCrossentropy(from_logits=True),
    ],
)
def test_a_label_that_is_no_class_makes_the_result_nan(make, label, device):
    labels = np.array([1, label, 2], "float64")
    scores = np.random.default_rng(0).random((3, 7), dtype="float32")
    metric = updated(make(), [Batch((labels, scores))])
    assert math.isnan(as_float(metric))
    metric.reset_state()
    updated(metric, [Batch((labels[::2], scores[::2]))])
    assert math.isfinite(as_float(metric))


@pytest.mark.parametrize("label", BAD_LABELS)
def test_metrics_that_take_any_label_do_as_on_the_cpu(label):
    rng = np.random.default_rng(1)
    labels = np.array([1, label, 2, 0])
    scores = rng.random((4, 3), dtype="float32")
    assert_same(kt.SparseCategoricalAccuracy, [Batch((labels, scores))])
    ids = np.array([1, 1, label, 0])
    for per_class in (False, True):
        make = lambda: kt.MeanIoU(num_classes=3, per_class_counts=per_class)  # noqa: E731, B023
        assert_same(make, [Batch((labels, ids))])
        assert_same(make, [Batch((labels.astype("float64"), ids), rng.random(4))])


@pytest.mark.parametrize(
    "make", [kt.AUC, lambda: kt.RecallAtPrecision(0.5), lambda: kt.AUC(curve="PR")]
)
def test_nan_scores_poison_what_ranks(make, device):
    y, p = np.array([0.0, 1, 1, 0]), np.array([0.1, math.nan, 0.7, 0.2])
    metric = updated(make(), [Batch((y, p))])
    assert math.isnan(as_float(metric))
    metric.reset_state()
    updated(metric, [Batch((y, p), np.array([1.0, 0, 1, 1]))])
    assert math.isfinite(as_float(metric))


def test_hinge_decides_over_the_whole_batch_what_its_labels_mean():
    rng = np.random.default_rng(0)
    p = rng.normal(size=5000).astype("float32")
    zero_one = rng.integers(0, 2, 5000).astype("float32")
    other = zero_one.copy()
    other[-1] = -1
    for y in (zero_one, other, 2 * zero_one - 1):
        assert_same(kt.Hinge, [Batch((y, p))])
        with Emulated():
            got = kt.hinge(to_backend(y[None]), to_backend(p[None]))
        expected = keras.losses.hinge(to_backend(y[None]), to_backend(p[None]))
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(got),
            keras.ops.convert_to_numpy(expected),
            rtol=1e-5,
        )


# Histograms: exact in any order, whatever the weights are.

WEIGHTS = {
    "12 decades": lambda rng, n: 10.0 ** rng.uniform(-6, 6, n),
    "600 decades": lambda rng, n: 10.0 ** rng.uniform(-300, 300, n),
    "cancelling": lambda rng, n: rng.normal(size=n) * 2.0 ** rng.integers(-60, 60, n),
    "subnormal": lambda rng, n: rng.integers(0, 2**40, n) * 5e-324,
    "float32": lambda rng, n: rng.random(n, dtype="float32"),
    "tiny float32": lambda rng, n: np.float32(rng.random(n) * 1e-44),
    "negative": lambda rng, n: -rng.random(n),
    "integers": lambda rng, n: rng.integers(-(2**31), 2**31, n),
    "zero": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("thresholds", [7, 400, 5000])
def test_weighted_histograms_are_exactly_rounded_sums(kind, thresholds, device):
    rng = np.random.default_rng(thresholds)
    n = 1500
    p, y = rng.random(n, dtype="float32"), rng.integers(0, 2, n)
    w = WEIGHTS[kind](rng, n)
    cuts = np.linspace(0.1, 0.9, thresholds).astype("float32")
    metric = updated(kt.TruePositives(thresholds=cuts.tolist()), [Batch((y, p), w)])
    got = state(metric)["accumulator"]
    for t in (0, 1, thresholds // 2, thresholds - 1):
        chosen = w[(y == 1) & (p > cuts[t])].astype("float64")
        expected = math.fsum(chosen)
        # A few roundings: bins are rounded once each, and added up over them.
        scale = math.fsum(np.abs(chosen))
        np.testing.assert_allclose(got[t], expected, rtol=0, atol=scale * 1e-13)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers(bad):
    y, p = np.ones(3), np.array([0.2, 0.6, 0.9])
    w = np.array([1.0, bad, 1.0])
    make = lambda: kt.TruePositives(thresholds=[0.1, 0.7])  # noqa: E731
    assert_same(make, [Batch((y, p), w)])
    assert_same(make, [Batch((y, p), w.astype("float32"))])


@pytest.mark.parametrize("classes", [3, 40, 300])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_tables_of_every_size(classes, dtype):
    """In shared memory, in global memory, and committed by a launch of their own."""
    rng = np.random.default_rng(classes)
    ids = rng.integers(0, classes, (2, 3000))
    weight = None if dtype is None else rng.random(3000).astype(dtype)
    batch = Batch((ids[0], ids[1]), weight)
    make = lambda: kt.MeanIoU(num_classes=classes)  # noqa: E731
    metric = assert_same(make, [batch, batch], 1e-12)
    launches = [name for name, *_ in _cuda_emulated.launches()]
    assert launches.count("commit") == (2 if classes**2 > 65536 else 0)
    if weight is None:
        total = sum(sum(row) for row in exact_state(metric)["total_confusion_matrix"])
        assert total == 6000


def test_tables_that_are_too_large_are_refused(device):
    metric = kt.MeanIoU(num_classes=3000)
    ids = to_backend(np.array([1, 2]))
    before = state_bits(metric)
    with pytest.raises(ValueError, match="Use float32 weights"):
        metric.update_state(ids, ids, to_backend(np.array([0.5, 1.0], "float64")))
    assert state_bits(metric) == before


def test_many_thresholds():
    rng = np.random.default_rng(0)
    p, y = rng.random(5000, dtype="float32"), rng.integers(0, 2, 5000)
    make = lambda: kt.AUC(num_thresholds=65536)  # noqa: E731
    assert_same(make, [Batch((y, p))])


# Groups: as few launches as there are kinds of input.


def group_of(*names):
    members = {f"{name}_{i}": getattr(kt, name)() for i, name in enumerate(names)}
    return kt.MetricGroup(members)


@pytest.mark.parametrize(
    ("names", "launches"),
    [
        (["MeanSquaredError", "MeanAbsoluteError", "LogCoshError"], 1),
        (["BinaryAccuracy", "BinaryCrossentropy"], 1),
        (["BinaryAccuracy", "Precision", "AUC"], 3),
        (["Precision", "Recall", "TruePositives", "FalseNegatives"], 1),
        (["TruePositives"] * 10, 2),  # a launch has nine variables at most
    ],
)
def test_groups_share_launches(names, launches, device):
    rng = np.random.default_rng(0)
    y, p = rng.integers(0, 2, 3000).astype("float32"), rng.random(3000, dtype="float32")
    group = group_of(*names)
    group.update_state(to_backend(y), to_backend(p))
    assert len(device.launches()) == launches
    for name, got in group.result().items():
        single = updated(group[name].__class__(), [Batch((y, p))])
        assert float(got) == as_float(single)


def test_lists_longer_than_a_launch(device):
    rng = np.random.default_rng(0)
    y, p = rng.normal(size=(2, 999))
    deltas = [0.1 * i for i in range(1, 12)]
    members = {f"h{i}": kt.Huber(threshold=d) for i, d in enumerate(deltas)}
    group = kt.MetricGroup(members)
    group.update_state(to_backend(y), to_backend(p))
    assert [name for name, *_ in device.launches()] == ["elementwise_float64"] * 2
    for i, d in enumerate(deltas):
        single = updated(kt.Huber(threshold=d), [Batch((y, p))])
        assert float(group.result()[f"h{i}"]) == as_float(single)


# Plain batches have kernels of their own, and nothing else has.

BFLOAT16 = ml_dtypes.bfloat16
LABELS = np.arange(2000)[:, None] % 2
SCORES = np.linspace(0, 1, 2000)[:, None]
IDS, ROWS = np.arange(90) % 12, np.random.default_rng(0).random((90, 12))
ONE_HOT = np.eye(12)[IDS]
BINARY = {"y": LABELS, "p": SCORES}
CLASSES = {"y": IDS, "p": ROWS}
TARGETS = {"y": ONE_HOT, "p": ROWS}
SMOOTH = {"label_smoothing": 0.1}
SORTED = {"from_sorted_ids": True}


@pytest.mark.parametrize(
    ("kernel", "name", "options", "batch"),
    [
        ("plain_sums", "MeanSquaredError", {}, BINARY),
        ("plain_sums", "MeanSquaredError", {}, BINARY | {"p_dtype": BFLOAT16}),
        ("plain_sums", "MeanSquaredError", {}, BINARY | {"y_dtype": "bool"}),
        ("plain_sums", "BinaryAccuracy", {}, BINARY),
        ("plain_sums", "BinaryCrossentropy", {}, BINARY),
        ("plain_cells", "Precision", {}, BINARY | {"y_dtype": "int32"}),
        ("plain_cells", "Precision", {}, BINARY | {"p_dtype": "float16"}),
        ("plain_bins", "AUC", {}, BINARY),
        ("plain_bins", "AUC", {"thresholds": [0.7, 0.1]}, BINARY),
        ("plain_scores", "SparseCategoricalAccuracy", {}, CLASSES),
        ("plain_scores", "SparseTopKCategoricalAccuracy", {"k": 2}, CLASSES),
        ("plain_scores", "SparseCategoricalCrossentropy", {}, CLASSES),
        ("plain_scores", "CategoricalAccuracy", {}, TARGETS),
        ("plain_pairs", "CategoricalCrossentropy", {}, TARGETS),
        ("plain_pairs", "CategoricalCrossentropy", SMOOTH, TARGETS),
        ("plain_pairs", "CosineSimilarity", {}, TARGETS),
        (
            "logit_scores",
            "SparseCategoricalCrossentropy",
            {"from_logits": True},
            CLASSES,
        ),
        ("logit_pairs", "CategoricalCrossentropy", {"from_logits": True}, TARGETS),
        ("elementwise_float32", "LogCoshError", {}, BINARY),
        ("elementwise_float32", "BinaryCrossentropy", SMOOTH, BINARY),
        ("elementwise_float32", "BinaryCrossentropy", {"from_logits": True}, BINARY),
        ("elementwise_float32", "MeanSquaredError", {}, BINARY | {"n": 1999}),
        ("elementwise_float32", "MeanSquaredError", {}, BINARY | {"weighted": True}),
        ("elementwise_float64", "BinaryAccuracy", {}, BINARY | {"p_dtype": BFLOAT16}),
        (
            "elementwise_float64",
            "MeanSquaredError",
            {},
            BINARY | {"p_dtype": "float64"},
        ),
        ("elementwise_float64", "MeanSquaredError", {}, BINARY | {"y_dtype": "int32"}),
        ("cells_float32", "Precision", {}, BINARY | {"y_dtype": "int64"}),
        ("cells_float32", "Precision", {}, BINARY | {"weighted": True}),
        ("cells_float32", "Precision", {}, BINARY | {"p_dtype": "float64"}),
        ("binned_float32", "AUC", {"from_logits": True}, BINARY),
        ("binned_float32", "AUC", {"num_thresholds": 65536}, BINARY),
        ("plain_scores", "SparseMeanRank", {}, CLASSES),
        ("scores_float32", "SparseTopKCategoricalAccuracy", SORTED, CLASSES),
        (
            "scores_float64",
            "SparseCategoricalAccuracy",
            {},
            CLASSES | {"p_dtype": "float64"},
        ),
        ("pairs_float32", "PearsonCorrelation", {}, TARGETS),
        (
            "pairs_float32",
            "CategoricalCrossentropy",
            {},
            TARGETS | {"y_dtype": "uint8"},
        ),
    ],
)
def test_plain_batches(kernel, name, options, batch):
    n = batch.get("n", len(batch["p"]))
    y, p = (batch[x][:n].astype(batch.get(f"{x}_dtype", "float32")) for x in "yp")
    if np.ndim(y) < np.ndim(p):
        y = y.astype("int64")
    weight = np.arange(n) % 3 / 2 if "weighted" in batch else None
    case = [Batch((y, p), weight)]
    make = lambda: getattr(kt, name)(**options)  # noqa: E731
    with Emulated(processors=2) as emulated:
        updated(make(), case)
        ((used, *_),) = emulated.launches()
    assert used == kernel
    assert_same(make, case)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("scale", [1e-9, 1e-3, 0.5])
def test_crossentropies_of_a_tile_are_one_logarithm(soft, scale):
    """Sure and unsure scores, right and wrong ones, 0, 1 and NaN."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 4096).astype("float32")
    wrong = scale * rng.random(4096)
    p = np.where(rng.random(4096) < 0.9, np.abs(y - wrong), rng.random(4096))
    p[:8] = [0, 1, 0, 1, 1e-30, 1 - 2**-24, 0.5, 1]
    y[100:200] = 0.25 if soft else y[100:200]
    assert_same(kt.BinaryCrossentropy, [Batch((y, p.astype("float32")))])
    p[17] = np.nan
    metric = on_device(kt.BinaryCrossentropy, [Batch((y, p.astype("float32")))])
    assert np.isnan(as_float(metric))


@pytest.mark.parametrize("epsilon", [1e-30, 1e-16, 1e-8])
def test_probabilities_that_would_vanish_in_a_product(epsilon):
    """With 1e-8 the largest float32 below 1 is 1 itself: a loss is infinite."""
    usual = keras.config.epsilon()
    keras.config.set_epsilon(epsilon)
    try:
        y, p = np.ones(64, "float32"), np.zeros(64, "float32")
        metric = assert_same(kt.BinaryCrossentropy, [Batch((y, p))])
        np.testing.assert_allclose(as_float(metric), -np.log(epsilon), 1e-6)
        p[:] = [1, *[0.5] * 63]
        metric = assert_same(kt.BinaryCrossentropy, [Batch((1 - y, p))])
        assert as_float(metric) == math.inf
    finally:
        keras.config.set_epsilon(usual)


def test_labels_in_the_memory_of_the_scores():
    scores = np.random.default_rng(0).random(2048, dtype="float32")
    labels = scores.view("uint8")[:2048]
    for make in (kt.Precision, kt.MeanSquaredError):
        assert_same(make, [Batch((labels, scores))])


# How launches are cut.


def launch_of(make, *args, processors=132):
    with Emulated(processors=processors) as emulated:
        make().update_state(*map(to_backend, args))
        (launch,) = emulated.launches()
    return launch


@pytest.mark.parametrize("n", [1, 1024, 1025, 10**4, 10**5])
def test_grids_grow_with_the_batch_up_to_the_device(n):
    x = np.ones(n, "float32")
    kernel, blocks, shared = launch_of(kt.MeanSquaredError, x, x, processors=8)
    assert kernel == ("elementwise_float32" if n % 4 else "plain_sums")
    assert blocks == min(-(-n // 1024), 8 * 2)  # two blocks fit on a processor
    assert shared == 3 * 256 * 8


@pytest.mark.parametrize(
    ("classes", "rows", "blocks"),
    [
        *((4, 256, 1), (4, 257, 2), (128, 32, 1), (128, 33, 2), (2048, 3, 3)),
        (128, 10**3, 2),
    ],
)
def test_teams_grow_with_the_rows(classes, rows, blocks):
    scores = np.ones((rows, classes), "float32")
    processors = 1 if rows == 10**3 else 132
    labels = np.zeros(rows, "int64")
    launch = launch_of(
        kt.SparseCategoricalAccuracy, labels, scores, processors=processors
    )
    assert launch[:2] == ("plain_scores", blocks)


@every_case
def test_shared_memory_is_what_every_gpu_has(case):
    with Emulated(processors=132) as emulated:
        updated(case.ours(), [case.sample(0, 500, True)])
        for _, blocks, shared in emulated.launches():
            assert 1 <= blocks <= 2 * 132
            assert shared <= 48 * 1024


def test_columns_beyond_a_block():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (40, 700)).astype("float32")
    p = rng.random((40, 700), dtype="float32")
    for make in (kt.F1Score, kt.R2Score, lambda: kt.F1Score(threshold=0.5)):
        assert_same(make, [Batch((y, p)), Batch((y[:3], p[:3]))])


# Why CUDA is off.


def test_status_without_the_module(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(_device.importlib, "import_module", missing)
    status = _device.cuda_status.__wrapped__()
    assert not status.enabled
    assert "no CUDA kernels" in status.reason
    assert str(status).startswith("CUDA is off: this build")


def test_status_of_a_module_that_does_not_load(monkeypatch):
    def broken(name):
        raise ImportError("libsomething.so is missing")

    monkeypatch.setattr(_device.importlib, "import_module", broken)
    status = _device.cuda_status.__wrapped__()
    assert "libsomething.so is missing" in status.reason


def test_status_with_a_device(monkeypatch):
    monkeypatch.setattr(_device.importlib, "import_module", lambda _: _cuda_emulated)
    with Emulated():
        status = _device.cuda_status.__wrapped__()
    assert status == (True, "", ("emulated",))
    assert str(status) == "CUDA is on: emulated"


@pytest.mark.skipif(not IS_TORCH, reason="meta tensors are torch's")
def test_symbolic_builds_launch_nothing(device):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(loss="mse", metrics=[kt.MeanSquaredError(), kt.AUC()])
    rng = np.random.default_rng(0)
    x, y = rng.random((64, 3), dtype="float32"), rng.random((64, 1), dtype="float32")
    model.fit(x, y, batch_size=16, verbose=0)
    kernels = [name for name, *_ in device.launches()]
    # The loss is Keras's own tracker; four steps, each an update and a result.
    assert kernels.count("plain_sums") == 4
    assert kernels.count("plain_bins") == 4
