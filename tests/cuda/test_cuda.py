"""On a GPU metrics give the CPU's answers, whatever the tensors look like.

torch only. Without a GPU these tests skip, and fail where KERAS_TALLY_REQUIRE_CUDA=1
says that there is one. KERAS_TALLY_TEST_DEVICE=cpu tests the tests, on the host.
"""

import copy

import keras
import numpy as np
import pytest

import keras_tally as kt
from cases import CASES, COUNTING_NAMES, DEFAULT_CASES, Batch, default_case
from makers import make_segments, make_sorted_ids, make_sparse, round_to
from support import (
    DEVICE,
    IS_TORCH,
    LABEL_DTYPES,
    ON_GPU,
    ROUNDING,
    SCORE_DTYPES,
    as_float,
    assert_close,
    assert_states_close,
    dtype_of,
    exact_state,
    gpu_only,
    reference_after,
    state,
    state_bits,
    to_backend,
    to_device,
    updated,
)

if IS_TORCH:
    import torch

pytestmark = pytest.mark.cuda

every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
every_class = pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)

SUMS = 1e-12  # how far sums on the GPU may be from the CPU's, relatively
WRAPPER = "MeanMetricWrapper"  # a function of Keras operations, in the scores' dtype


def on_gpu(case, batches, lay=to_device):
    return updated(case.ours(), batches, lay=lay)


def on_cpu(case, batches):
    with keras.device("cpu"):
        return updated(case.ours(), batches)


def assert_on_device(*tensors):
    assert {tensor.device.type for tensor in tensors} == {DEVICE}


def assert_equal_counts(metric, twin, what=""):
    """Like `exact_state() ==`, but fast for large tables; good below 2^53."""
    expected = state(twin)
    for name, value in state(metric).items():
        np.testing.assert_array_equal(value, expected[name], f"{name} {what}")


def assert_same(metric, twin, tolerance=SUMS):
    """The metric has what its twin on the CPU has: counts exactly, sums closely."""
    counting = type(metric).__name__ in COUNTING_NAMES
    assert_on_device(*(v.value for v in metric.variables))
    if counting:
        assert_equal_counts(metric, twin)
    else:
        assert_states_close(state(metric), state(twin), tolerance, tolerance)
    with keras.device("cpu"):
        expected = twin.result()
    result = metric.result()
    assert_on_device(result)
    assert result.dtype == expected.dtype
    rounding = max(2 * ROUNDING["float32"], tolerance)
    assert_close(result, expected, rounding, rounding)


def assert_as_on_cpu(case, batches, lay=to_device, **options):
    metric = on_gpu(case, batches, lay)
    assert_same(metric, on_cpu(case, batches), **options)
    return metric


def tolerance_of(case, score_dtype="float32"):
    # Keras casts the scores to the metric's dtype.
    rounding = max(ROUNDING["float32"], ROUNDING[score_dtype])
    return 2 * rounding if case.name == WRAPPER else SUMS


def assert_kernels_ran(case, taken, updates, converted=0):
    """All updates were kernels' work, on tensors that were borrowed."""
    if ON_GPU and case.name != WRAPPER:
        assert taken["cuda"] == updates
        assert taken.get("converted", 0) == converted


# --------------------------------------------------------------------------------------
# every metric, every dtype


@pytest.mark.parametrize("score_dtype", SCORE_DTYPES)
@every_case
def test_dtypes(case, score_dtype, roads):
    for label_dtype in LABEL_DTYPES:
        batch = case.batch(0, case.shape(37), label_dtype, score_dtype)
        tolerance = tolerance_of(case, score_dtype)
        assert_as_on_cpu(case, [batch], tolerance=tolerance)
    assert_kernels_ran(case, roads(), len(LABEL_DTYPES))


@every_case
def test_ranks(case):
    for rank in case.ranks:
        batch = case.batch(0, (13, 5, 3)[:rank])
        assert_as_on_cpu(case, [batch], tolerance=tolerance_of(case))


@every_case
def test_weights_and_masks(case, roads):
    mask = np.arange(37) % 3 > 0
    plain, weighted = case.sample(0, 37), case.sample(1, 37, weighted=True)
    batches = [weighted, weighted._replace(mask=mask)]
    assert_as_on_cpu(case, batches, tolerance=tolerance_of(case))
    # A mask is made weights first, here and on the CPU.
    assert_kernels_ran(case, roads(), len(batches), converted=2)
    batches += [plain._replace(mask=mask), plain]
    assert_as_on_cpu(case, batches, tolerance=tolerance_of(case))


@every_class
def test_dtypes_of_weights(case):
    for dtype in ("bool", "uint8", "int32", "int64", *SCORE_DTYPES):
        weight = np.array([1, 0, 1, 1, 0, 1, 0, 0, 1], dtype_of(dtype))
        batch = case.sample(0, 9)._replace(weight=weight)
        assert_as_on_cpu(case, [batch], tolerance=tolerance_of(case))


@every_class
def test_definitions(case):
    """Against the definitions, which know nothing of our own code for the CPU."""
    batches = [case.sample(seed, 37, weighted=seed == 1) for seed in range(2)]
    reference = reference_after(case.name, case.kwargs, batches)
    metric = on_gpu(case, batches)
    assert_states_close(state(metric), reference.state(), case.tolerance, 1e-12)


# --------------------------------------------------------------------------------------
# layouts


def spread_out(tensor):
    """The same values with gaps: every third element along each axis."""
    wide = tensor.new_zeros([3 * n for n in tensor.shape])
    view = wide[tuple(slice(1, None, 3) for _ in tensor.shape)]
    return view.copy_(tensor)


def shifted(tensor):
    """The same values at an address that no vector load likes."""
    flat = tensor.new_zeros(tensor.numel() + 1)
    return flat[1:].view(tensor.shape).copy_(tensor)


def column_major(tensor):
    backwards = tuple(reversed(range(tensor.ndim)))
    return tensor.permute(backwards).contiguous().permute(backwards)


def negated(tensor):
    """A view that says that its memory has the other sign."""
    floating = tensor.is_floating_point()
    return torch._neg_view(-tensor) if floating else tensor


@pytest.mark.parametrize("layout", [spread_out, shifted, column_major, negated])
@every_case
def test_layouts(case, layout):
    batch = case.sample(0, 37, weighted=True)
    assert_as_on_cpu(
        case,
        [batch],
        lay=lambda tensor: layout(to_device(tensor)),
        tolerance=tolerance_of(case),
    )


@every_class
def test_expanded_tensors(case):
    """stride 0: one row that stands for all."""
    one = case.sample(0, 1)
    plain = Batch(tuple(np.repeat(a, 600, axis=0) for a in one.args))
    metric = updated(
        case.ours(),
        [one],
        lay=lambda t: to_device(t).expand(600, *t.shape[1:]),
    )
    assert_same(metric, on_cpu(case, [plain]), tolerance_of(case))


@every_class
def test_tensors_in_a_graph_of_gradients(case):
    batch = case.sample(0, 9)

    def with_gradient(tensor):
        tensor = to_device(tensor)
        return tensor.requires_grad_() if tensor.is_floating_point() else tensor

    for lay in (with_gradient, lambda t: with_gradient(t) * 1):
        metric = assert_as_on_cpu(case, [batch], lay, tolerance=tolerance_of(case))
        assert not metric.result().requires_grad


@every_class
def test_inference_mode(case):
    batch = case.sample(0, 9)
    metric = on_gpu(case, [batch])
    with torch.inference_mode():
        updated(metric, [batch], lay=to_device)
        metric.result()
    updated(metric, [batch], lay=to_device)
    assert_same(metric, on_cpu(case, 3 * [batch]), tolerance_of(case))


@every_class
def test_autocast_changes_nothing(case):
    if case.name == WRAPPER:
        pytest.skip("the user's function is Keras's and torch's business")
    batch = case.sample(0, 37, weighted=True)
    with torch.autocast(DEVICE, dtype=torch.bfloat16):
        metric = on_gpu(case, [batch])
        result = metric.result()
    plain = on_gpu(case, [batch])
    assert state_bits(metric) == state_bits(plain)
    assert torch.equal(result, plain.result())
    assert result.dtype == plain.result().dtype


@every_class
def test_host_inputs(case):
    """Lists, NumPy arrays and CPU tensors move to the metric, as in Keras."""
    if case.name == WRAPPER:
        pytest.skip("the user's function sees what the user passes")
    batch = case.sample(0, 37, weighted=True)
    expected = on_cpu(case, [batch])
    kinds = {
        "lists": lambda a: a.tolist(),
        "arrays": lambda a: a,
        "host": to_backend,
        "device": lambda a: to_device(to_backend(a)),
    }
    for all_but_last in kinds.values():
        for last in kinds.values():
            metric = case.ours()
            *others, scores = batch.args
            metric.update_state(
                *(all_but_last(a) for a in others),
                last(scores),
                sample_weight=all_but_last(batch.weight),
            )
            assert_same(metric, expected, 1e-6)  # a list of scores is float32


def test_a_metric_on_the_host_takes_tensors_of_the_gpu():
    case = default_case("AUC")
    batch = case.sample(0, 37)
    with keras.device("cpu"):
        metric = updated(case.ours(), [batch], lay=to_device)
    assert exact_state(metric) == exact_state(on_cpu(case, [batch]))


def test_zero_dimensional_tensors():
    metric = kt.Mean()
    metric.update_state(torch.tensor(3.0, device=DEVICE))
    weight = torch.tensor(3.0, device=DEVICE)
    metric.update_state(torch.tensor(5.0, device=DEVICE), sample_weight=weight)
    metric.update_state(torch.tensor(4.5, device=DEVICE), sample_weight=2.0)
    assert exact_state(metric) == {"total": 27, "count": 6}
    assert as_float(metric) == 4.5
    metric = kt.RootMeanSquaredError()
    metric.update_state(*torch.tensor([3.0, 5.0], device=DEVICE))
    assert as_float(metric) == 2.0


def test_batches_of_different_kinds():
    """A metric that has seen one kind of tensor takes another kind next."""
    rng = np.random.default_rng(0)
    batches = [
        Batch(tuple(rng.normal(size=shape).astype(dtype_of(dtype)) for _ in "ab"))
        for dtype in ("float32", "float64", "float16", "bfloat16", "float32")
        for shape in ((5, 3), (2, 7), (4,), (2, 3, 4), (1000, 300), (1, 1))
    ]
    for name in ("MeanSquaredError", "RootMeanSquaredError", "MeanAbsoluteError"):
        assert_as_on_cpu(default_case(name), batches)


# --------------------------------------------------------------------------------------
# sizes


@pytest.mark.parametrize("weighted", [False, True])
@every_case
def test_empty_batches_add_nothing(case, weighted):
    metric = on_gpu(case, [case.sample(0, 5)])
    before = state_bits(metric)
    updated(metric, [case.sample(1, 0, weighted)], lay=to_device)
    assert state_bits(metric) == before


MOST = 2100
SIZES = sorted(
    {
        *range(1, 131),
        *(n + d for n in range(256, MOST, 128) for d in (-1, 0, 1)),
        *range(137, MOST, 61),
        MOST,
    }
)
# One at least of each kind of loop.
SIZED = (
    "Mean",
    "MeanSquaredError",
    "RootMeanSquaredError",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "Precision",
    "AUC",
    "SensitivityAtSpecificity",
    "CategoricalAccuracy",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "CosineSimilarity",
    "PearsonCorrelation",
    "R2Score",
    "F1Score",
    "MeanIoU",
    "OneHotMeanIoU",
)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", SIZED)
def test_sizes(name, weighted):
    """All sizes in one metric, from changing addresses."""
    case = default_case(name)
    batch = case.sample(0, MOST + 4, weighted)
    host = [to_backend(a) for a in batch.args]
    weight = to_backend(batch.weight) if weighted else None
    metric, twin = case.ours(), on_cpu(case, [])

    def update(metric, cut, tensors, weight):
        metric.update_state(
            *(t[cut] for t in tensors),
            **({} if weight is None else {"sample_weight": weight[cut]}),
        )

    device = [to_device(t) for t in host]
    device_weight = None if weight is None else to_device(weight)
    for size in SIZES:
        cut = slice(size % 5, size % 5 + size)
        update(metric, cut, device, device_weight)
        with keras.device("cpu"):
            update(twin, cut, host, weight)
        if name in COUNTING_NAMES:
            assert_equal_counts(metric, twin, size)
    assert_same(metric, twin)


ROWWISE = {
    "MeanSquaredError": "columns",
    "MeanAbsoluteError": "columns",
    "BinaryAccuracy": "columns",
    "BinaryCrossentropy": "columns",
    "Hinge": "columns",
    "KLDivergence": "columns",
    "CosineSimilarity": "columns",
    "PearsonCorrelation": "columns",
    "R2Score": "columns",
    "Precision": "columns",
    "CategoricalAccuracy": "onehot",
    "CategoricalCrossentropy": "onehot",
    "TopKCategoricalAccuracy": "onehot",
    "MeanRank": "onehot",
    "F1Score": "onehot",
    "CategoricalHinge": "onehot",
    "SparseCategoricalAccuracy": "sparse",
    "SparseCategoricalCrossentropy": "sparse",
    "SparseTopKCategoricalAccuracy": "sparse",
    "SparseMeanRank": "sparse",
    "MeanMaxProbability": "sparse",
}
LENGTHS = (*range(5, 70), *(n + d for n in range(128, 2100, 128) for d in (-1, 0, 1)))
LONG = (4096, 10_007, 50_000, 131_073)


def rows(kind, count, length, dtype="float32"):
    """Labels and scores; many scores are equal, so that the rules of ties decide."""
    rng = np.random.default_rng(length)
    scores = round_to(rng.integers(1, 64, (count, length)) / 64, dtype)
    labels = rng.integers(0, length, count)
    if kind == "columns":
        return Batch((np.float32(rng.integers(0, 2, (count, length))), scores))
    if kind == "onehot":
        labels = np.float32(labels[:, None] == np.arange(length))
    return Batch((labels, scores))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", ROWWISE)
def test_lengths_of_rows(name, dtype):
    case = default_case(name)
    for length in (*LENGTHS, *LONG):
        batch = rows(ROWWISE[name], 3, length, dtype)
        if name in ("R2Score", "F1Score"):  # a state for each column
            if length % 16 == 1:
                assert_as_on_cpu(case, [batch])
            continue
        assert_as_on_cpu(case, [batch])


@pytest.mark.parametrize("k", [1, 2, 5, 10, 33, 100, 999, 1000])
@pytest.mark.parametrize("name", ["TopK", "SparseTopK", "Precision"])
def test_top_k(name, k):
    kind = "sparse" if name == "SparseTopK" else "onehot"
    batch = rows(kind, 40, 1000)

    def make():
        if name == "Precision":
            return kt.Precision(top_k=k)
        return getattr(kt, f"{name}CategoricalAccuracy")(k=k)

    with keras.device("cpu"):
        twin = updated(make(), [batch])
    assert_same(updated(make(), [batch], lay=to_device), twin)


@pytest.mark.parametrize("count", [2, 3, 257, 1000, 4097, 65_536])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("even", [False, True])
def test_many_thresholds(count, weighted, even):
    inner = np.linspace(0, 1, count) ** (1 if even else 2)
    kwargs = {"thresholds": list(inner[1:-1])} if count > 2 else {"num_thresholds": 2}
    if even:
        kwargs = {"num_thresholds": count}
    batch = default_case("AUC").sample(0, 30_000, weighted)
    with keras.device("cpu"):
        twin = updated(kt.AUC(**kwargs), [batch])
    assert_same(updated(kt.AUC(**kwargs), [batch], lay=to_device), twin)


@pytest.mark.parametrize("classes", [2, 19, 150, 255, 256, 257, 300, 1000])
@pytest.mark.parametrize("weighted", [False, True])
def test_tables(classes, weighted, roads):
    """From tables that fit into shared memory to those of a million cells."""
    rng = np.random.default_rng(classes)
    labels, found = (rng.integers(-1, classes + 1, 20_000) for _ in range(2))
    weight = np.float32(rng.integers(0, 5, 20_000) / 4) if weighted else None
    batch = Batch((labels, found), weight)
    with keras.device("cpu"):
        twin = updated(kt.MeanIoU(classes, dtype="float32"), [batch])
    metric = kt.MeanIoU(classes, dtype="float32")
    before = roads()
    updated(metric, [batch], lay=to_device)
    launches = roads().get("cuda_launches", 0) - before.get("cuda_launches", 0)
    assert launches <= (1 if classes**2 <= 65_536 else 2)
    assert_same(metric, twin)


# --------------------------------------------------------------------------------------
# large batches

LARGE = 2**28 if ON_GPU else 2**18


@pytest.mark.parametrize(
    "name",
    ["BinaryAccuracy", "MeanSquaredError", "Precision", "AUC", "BinaryCrossentropy"],
)
@pytest.mark.parametrize("size", [LARGE // 64 + 3, LARGE])
def test_large_batches(name, size):
    torch.manual_seed(0)
    scores = torch.rand(size, 1, device=DEVICE)
    labels = torch.rand(size, 1, device=DEVICE) < scores
    case = default_case(name)
    metric = case.ours()
    metric.update_state(labels, scores)
    kt.set_num_threads(8)
    with keras.device("cpu"):
        twin = case.ours()
        twin.update_state(labels.cpu(), scores.cpu())
    assert_same(metric, twin)


HUGE = 2**31 + 12_345


def free_bytes():
    return torch.cuda.mem_get_info()[0]


@gpu_only
def test_more_elements_than_32_bits_count():
    if free_bytes() < 12 * 2**30:
        pytest.skip("less than 12 GiB are free")
    scores = torch.zeros(HUGE, dtype=torch.float16, device=DEVICE)
    labels = torch.zeros(HUGE, dtype=torch.bool, device=DEVICE)
    scores[::2] = 1
    labels[::3] = True
    both, high, true = (len(range(0, HUGE, step)) for step in (6, 2, 3))
    for name, expected in (
        ("TruePositives", both),
        ("FalsePositives", high - both),
        ("FalseNegatives", true - both),
        ("TrueNegatives", HUGE - high - true + both),
    ):
        metric = getattr(kt, name)()
        metric.update_state(labels, scores)
        assert exact_state(metric) == {"accumulator": [expected]}
    metric = kt.AUC(num_thresholds=5)
    metric.update_state(labels, scores)
    assert exact_state(metric)["true_positives"] == [true, both, both, both, 0]
    metric = kt.BinaryAccuracy()
    metric.update_state(labels[:, None], scores[:, None])
    right = HUGE - high - true + 2 * both
    assert exact_state(metric) == {"total": right, "count": HUGE}
    metric = kt.MeanIoU(2)
    metric.update_state(labels, scores)
    table = [[HUGE - high - true + both, high - both], [true - both, both]]
    assert exact_state(metric) == {"total_confusion_matrix": table}


@gpu_only
def test_rows_beyond_32_bits():
    classes = 50_000
    count = HUGE // classes + 2
    if free_bytes() < 12 * 2**30:
        pytest.skip("less than 12 GiB are free")
    labels = torch.arange(count, device=DEVICE) % classes
    scores = torch.zeros(count, classes, dtype=torch.float16, device=DEVICE)
    scores.scatter_(1, ((labels + (labels % 4 == 0)) % classes)[:, None], 1.0)
    right = int((labels % 4 != 0).sum())
    metric = kt.SparseCategoricalAccuracy()
    metric.update_state(labels, scores)
    assert exact_state(metric) == {"total": right, "count": count}
    metric = kt.SparseTopKCategoricalAccuracy(k=1)
    metric.update_state(labels, scores)
    assert exact_state(metric) == {"total": right, "count": count}


# --------------------------------------------------------------------------------------
# exactness


@pytest.mark.parametrize("weighted", [False, True])
@every_class
def test_the_same_run_gives_the_same_bits(case, weighted):
    batch = case.sample(0, 20_011)
    if weighted:
        weight = np.random.default_rng(1).uniform(size=20_011)
        batch = batch._replace(weight=np.float32(weight))
    first, *others = (on_gpu(case, [batch, batch]) for _ in range(4))
    for other in others:
        assert state_bits(other) == state_bits(first)
        assert torch.equal(other.result(), first.result())


@pytest.mark.parametrize("name", ["AUC", "MeanSquaredError", "MeanIoU", "R2Score"])
def test_the_same_bits_with_many_blocks(name):
    """Where thousands of thread blocks race, the order of addition is still fixed."""
    size = 2**22 if ON_GPU else 2**14
    case = default_case(name)
    torch.manual_seed(0)
    weight = torch.rand(size, device=DEVICE)
    batch = [to_device(to_backend(a)) for a in case.sample(0, 1024).args]
    args = [a.repeat(size // 1024, *(1 for _ in a.shape[1:])) for a in batch]
    metrics = [case.ours() for _ in range(4)]
    for metric in metrics:
        metric.update_state(*args, sample_weight=weight)
        assert state_bits(metric) == state_bits(metrics[0])


def test_counts_beyond_24_bits():
    ones = torch.ones(2**24, dtype=torch.uint8, device=DEVICE)
    metric = kt.TruePositives()
    metric.update_state(ones, ones.half())
    for _ in range(3):
        metric.update_state(ones[:1], ones[:1].half())
    assert exact_state(metric) == {"accumulator": [2**24 + 3]}


@pytest.mark.parametrize("start", [2**24, 2**52])
@every_class
def test_counts_from_a_state_given(case, start):
    batch = case.sample(0, 37)
    states = []
    for device, lay in (("cpu", None), (DEVICE, to_device)):
        with keras.device(device):
            metric = updated(case.ours(), [batch], lay=lay)
            for variable in metric.variables:
                variable.assign(keras.ops.full_like(variable.value, float(start)))
            for _ in range(3):
                updated(metric, [batch], lay=lay)
        states.append(metric)
    twin, metric = states
    if case.name in COUNTING_NAMES:
        assert exact_state(metric) == exact_state(twin)
    else:
        assert_states_close(state(metric), state(twin), tolerance_of(case))


# --------------------------------------------------------------------------------------
# values that only the data shows


def outcome(make, batch, lay=None):
    """The metric and its result; no metric where the update raises."""
    metric = make()
    try:
        updated(metric, [batch], lay=lay)
    except ValueError:
        return None, np.nan
    return metric, metric.result()


def assert_same_outcome(case, batch):
    """What raises on the CPU is NaN here; all else is the same."""
    with keras.device("cpu"):
        twin, expected = outcome(case.ours, batch)
    metric, result = outcome(case.ours, batch, to_device)
    assert metric is not None
    if twin is None and ON_GPU:
        assert torch.isnan(result).all()
    else:
        assert_close(result, expected, 1e-6, 1e-6)
        if case.name in COUNTING_NAMES:
            assert_equal_counts(metric, twin)
    # NaN stays until the reset, and nothing afterwards is the worse for it.
    good = case.sample(1, 37)
    updated(metric, [good], lay=to_device)
    if twin is None:
        assert torch.isnan(metric.result()).all()
    metric.reset_state()
    updated(metric, [good], lay=to_device)
    assert_same(metric, on_cpu(case, [good]))


INDEXED = [c for c in CASES if c.make in (make_sparse, make_sorted_ids, make_segments)]
indexed = pytest.mark.parametrize("case", INDEXED, ids=lambda c: c.id)


BAD_LABELS = {
    "int64": (-1, 7, 1000, -(2**31), 2**31 - 1, 2**40, -(2**63)),
    "int32": (-1, 7, 2**31 - 1),
    "uint8": (7, 255),
    "float32": (-1, 7, 1e30, -1e30, np.nan, np.inf, -np.inf),
    "float64": (2.0**63, np.nan),
    "float16": (7, np.nan, np.inf),
}


def spoilt(array, value):
    """The array with this value in two places."""
    array = array.copy()
    array.reshape(-1)[[0, array.size // 2]] = value
    return array


@pytest.mark.parametrize("dtype", BAD_LABELS)
@indexed
def test_labels_out_of_range(case, dtype):
    if not ON_GPU:
        pytest.skip("raises on the CPU, which test_errors.py has")
    labels, scores = case.sample(0, 700).args
    labels = np.abs(labels).astype(dtype)
    for label in BAD_LABELS[dtype]:
        assert_same_outcome(case, Batch((spoilt(labels, label), scores)))


# The user's own function is Keras's and torch's business.
no_wrapper = pytest.mark.parametrize(
    "case", [c for c in CASES if c.name != WRAPPER], ids=lambda c: c.id
)


@no_wrapper
def test_scores_that_are_no_ordinary_numbers(case):
    *labels, scores = case.sample(0, 37).args
    for value in (np.nan, np.inf, -np.inf, 1e30, -1e30):
        assert_same_outcome(case, Batch((*labels, spoilt(scores, value))))


@no_wrapper
def test_labels_that_are_no_numbers(case):
    if case.name in ("Mean", "Sum") or (case in INDEXED and not ON_GPU):
        pytest.skip("no labels, or no reading of them without raising on the CPU")
    labels, scores = case.sample(0, 37).args
    for value in (np.nan, np.inf, -np.inf):
        batch = Batch((spoilt(np.float32(labels), value), scores))
        assert_same_outcome(case, batch)


@no_wrapper
def test_weights_that_are_no_numbers(case):
    batch = case.sample(0, 37, weighted=True)
    for value in (np.nan, np.inf):
        weight = spoilt(batch.weight, value)
        assert_same_outcome(case, batch._replace(weight=weight))


@gpu_only
def test_bad_labels_leave_the_context_alive():
    """An assertion or a stray write on the device would end the process's CUDA."""
    scores = torch.rand(1000, 10, device=DEVICE)
    labels = torch.full((1000,), 2**40, device=DEVICE)
    metric = kt.SparseTopKCategoricalAccuracy()
    for _ in range(100):
        metric.update_state(labels, scores)
    torch.cuda.synchronize()
    assert np.isnan(as_float(metric))
    assert float(torch.ones(10, device=DEVICE).sum()) == 10


# --------------------------------------------------------------------------------------
# errors that shapes show


@every_class
def test_refused_batches_leave_the_state(case):
    metric = on_gpu(case, [case.sample(0, 6)])
    before = state_bits(metric)
    args = [to_device(to_backend(a)) for a in case.sample(0, 6).args]
    with pytest.raises((ValueError, TypeError), match="sample_weight"):
        metric.update_state(*args, sample_weight=torch.ones(5, device=DEVICE))
    for bad in (torch.complex64, torch.float8_e4m3fn):
        if case.name != WRAPPER:
            with pytest.raises(TypeError, match=r"y_pred|values"):
                metric.update_state(*args[:-1], args[-1].float().to(bad))
    if len(args) == 2 and case.name not in (WRAPPER, "MeanMaxProbability"):
        with pytest.raises((ValueError, TypeError), match=r"y_true|y_pred"):
            metric.update_state(args[0][:4], args[1])
    assert state_bits(metric) == before


def test_copies_have_states_of_their_own():
    case = default_case("AUC")
    metric = on_gpu(case, [case.sample(0, 37)])
    before = state_bits(metric)
    other = copy.deepcopy(metric)
    updated(other, [case.sample(1, 37)], lay=to_device)
    assert state_bits(metric) == before
    updated(metric, [case.sample(1, 37)], lay=to_device)
    assert state_bits(metric) == state_bits(other)
