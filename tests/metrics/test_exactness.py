"""Counts that stay exact, sums in float64, the same bits on every road."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_tally as kt
import references
from cases import (
    CASES,
    CONSTRAINED,
    COUNTING_NAMES,
    DEFAULT_CASES,
    F_NAMES,
    IOU_NAMES,
    Batch,
    default_case,
)
from keras_tally import _native
from support import (
    as_float,
    assert_close,
    assert_states_close,
    exact_state,
    reference_after,
    state,
    state_bits,
    to_numpy,
    updated,
)

LEVELS = _native.levels()
# Executors walk the data in blocks of this size; see the table's executors.
BLOCK = 1024
COUNTING_CASES = [c for c in CASES if c.name in COUNTING_NAMES]


# Up to here counts are exact in float64.
LARGEST = 2**53


def flat_counts(metric):
    """Every count of `exact_state()` in one flat list."""

    def flatten(value):
        if not isinstance(value, list):
            return [value]
        return [number for part in value for number in flatten(part)]

    return flatten(list(exact_state(metric).values()))


@pytest.mark.parametrize("start", [2**24, 2**40 + 1, LARGEST - 8])
@pytest.mark.parametrize("name", ["Mean", "MeanSquaredError", "BinaryAccuracy"])
def test_count_goes_on_past(name, start):
    """float32 stops at 2**24."""
    case = default_case(name)
    metric = case.ours()
    metric.count.assign(float(start))
    for step in range(1, 4):
        updated(metric, [case.sample(step, 1)])
        assert exact_state(metric)["count"] == start + step
    updated(metric, [case.sample(9, 3)])
    assert exact_state(metric)["count"] == start + 6


@pytest.mark.parametrize("start", [2**24, LARGEST // 2])
@pytest.mark.parametrize("case", COUNTING_CASES, ids=lambda c: c.id)
def test_every_count_goes_on_past(case, start):
    batch = case.sample(0, 3)
    added = flat_counts(updated(case.ours(), [batch]))
    metric = case.ours()
    if case.built_late:
        updated(metric, [batch])
    for variable in metric.variables:
        variable.assign(np.full(variable.shape, start, variable.dtype))
    updated(metric, [batch])
    assert flat_counts(metric) == [start + count for count in added]
    if "label_weights" not in case.kwargs:
        assert {type(count) for count in flat_counts(metric)} == {int}


def test_single_increments_past_the_limit_of_float32():
    """A million batches of one sample, from a state beyond 2**24."""
    metric = kt.BinaryAccuracy()
    metric.count.assign(2.0**24)
    batch = default_case("BinaryAccuracy").sample(0, 1)
    updated(metric, [batch] * 1000)
    assert float(metric.count.value) == 2.0**24 + 1000


def test_states_past_the_limit_add_up():
    """Ranks sum the variables one by one; the sum is the state of all data."""
    parts = []
    for start, more in ((2**51, 3), (2**52, 5)):
        metric = kt.Mean()
        metric.count.assign(float(start))
        for _ in range(more):
            metric.update_state(np.float32([1.0]))
        parts.append(metric)
    merged = kt.Mean()
    for target, *sources in zip(
        merged.variables, *(p.variables for p in parts), strict=True
    ):
        target.assign(sum(to_numpy(s) for s in sources))
    assert exact_state(merged) == {"total": 8, "count": 2**51 + 2**52 + 8}
    merged.update_state(np.float32([1.0]))
    assert exact_state(merged)["count"] == 2**51 + 2**52 + 9


def test_result_of_counts_past_the_limit():
    metric = kt.Mean(dtype="float64")
    metric.total.assign(2.0**40)
    metric.count.assign(2.0**41)
    assert as_float(metric) == 0.5
    metric.update_state(np.float32([1.0] * 3))
    assert as_float(metric) == float(Fraction(2**40 + 3, 2**41 + 3))


# Sums.


@pytest.mark.parametrize("name", ["Sum", "Mean"])
@given(
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), max_size=50),
    cut=st.integers(0, 50),
)
def test_sum_is_right_to_the_last_bits_of_float64(name, values, cut):
    values = np.float32(values)
    parts = [Batch((values[:cut],)), Batch((values[cut:],))]
    metric = updated(getattr(kt, name)(), parts)
    exact = references.exact_sum(values)
    size = references.exact_sum(np.abs(values))
    error = abs(Fraction(float(state(metric)["total"])) - exact)
    assert error <= size * Fraction(60, 2**53)


@pytest.mark.parametrize("name", ["Sum", "Mean"])
def test_many_small_values_are_not_lost(name):
    """0.1 as float32, ten million times: float32 accumulation is off by 1%."""
    values = np.full(10**6, 0.1, np.float32)
    metric = getattr(kt, name)()
    for _ in range(10):
        metric.update_state(values)
    exact = 10**7 * Fraction(float(values[0]))
    total = exact_state(metric)["total"]
    assert abs(Fraction(total) - exact) <= exact / 2**46


def test_small_batches_are_not_lost_in_a_large_sum():
    """What float32 would drop from 2**30 on."""
    metric = kt.Sum()
    metric.update_state(np.float64([2.0**40]))
    for _ in range(10):
        metric.update_state(np.float64([0.25]))
    metric.update_state(np.float64([-(2.0**40)]))
    assert exact_state(metric)["total"] == Fraction(5, 2)
    assert as_float(metric) == 2.5


@pytest.mark.parametrize("name", ["MeanSquaredError", "MeanAbsoluteError", "Huber"])
def test_float64_inputs_keep_float64(name):
    rng = np.random.default_rng(0)
    args = tuple(rng.normal(size=(100, 3)) for _ in "ab")
    metric = updated(getattr(kt, name)(dtype="float64"), [Batch(args)])
    reference = reference_after(name, {}, [Batch(args)])
    assert_close(metric.result(), reference.result(), 1e-14)


@pytest.mark.parametrize("weighted", [False, True])
def test_weighted_counts_are_float64_sums(weighted):
    """0.1 is no binary fraction: Keras's float32 totals drift."""
    case = default_case("TruePositives")
    batch = case.sample(0, 3000)
    weight = np.full(3000, 0.1, np.float32) if weighted else None
    batch = batch._replace(weight=weight)
    metric = updated(case.ours(), [batch] * 3)
    reference = reference_after(case.name, {}, [batch] * 3)
    assert_states_close(state(metric), reference.state(), 1e-13)


# Splits.


@pytest.mark.parametrize("case", COUNTING_CASES, ids=lambda c: c.id)
@given(data=st.data())
def test_counts_are_identical_under_any_split(case, data):
    count = data.draw(st.integers(1, 200))
    cuts = data.draw(st.lists(st.integers(0, count), max_size=5).map(sorted))
    sizes = np.diff([0, *cuts, count])
    whole = case.sample(data.draw(st.integers(0, 1000)), count)
    once = updated(case.ours(), [whole])
    parts = updated(case.ours(), whole.split(sizes))
    assert exact_state(once) == exact_state(parts)
    assert state_bits(once) == state_bits(parts)


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
def test_scaled_weights_give_the_same_result(case):
    """Powers of two scale exactly, so nothing may be rounded to integers."""
    if case.name in ("Sum", "TruePositives", "TrueNegatives") or "False" in case.name:
        pytest.skip("the result itself scales")
    if case.name in (*F_NAMES, *IOU_NAMES):
        pytest.skip("epsilon in the denominators does not scale")
    batch = case.sample(0, 300, weighted=True)
    scaled = batch._replace(weight=batch.weight * np.float32(2**-10))
    first, second = updated(case.ours(), [batch]), updated(case.ours(), [scaled])
    assert as_float(first) == as_float(second)


# Sizes, offsets and SIMD levels.


def sizes_around_blocks():
    edges = (0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 255, 257)
    for base in (512, BLOCK, 2 * BLOCK):
        edges += tuple(base + d for d in (-17, -1, 0, 1, 5, 16))
    return sorted(set(edges))


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
def test_every_small_size_and_offset(case):
    for i, size in enumerate(sizes_around_blocks()):
        whole = case.sample(size, size + 3, weighted=i % 2 == 1)
        for offset in (0, 1, 3):
            (_, batch, _) = whole.split(np.array([offset, size, 3 - offset]))
            metric = updated(case.ours(), [batch])
            reference = reference_after(case.name, case.kwargs, [batch])
            tolerance = max(case.tolerance, 1e-11)
            assert_states_close(state(metric), reference.state(), tolerance, tolerance)


@pytest.mark.parametrize(
    "name",
    [
        "MeanSquaredError",
        pytest.param("AUC", marks=pytest.mark.slow),
        "BinaryAccuracy",
    ],
)
def test_every_size_up_to_two_blocks(name):
    """Sentinels of 1e30 right and left must never be read."""
    case = default_case(name)
    batch = case.sample(0, 2 * BLOCK + 5)
    guarded = [
        np.pad(a, [(1, 1)] + [(0, 0)] * (a.ndim - 1), constant_values=1e30)
        for a in batch.args
    ]
    expected = case.ours()
    for size in range(2 * BLOCK + 5):
        cut = Batch(tuple(a[1 : 1 + size] for a in guarded))
        metric = updated(case.ours(), [cut])
        one = Batch(tuple(a[size : size + 1] for a in batch.args))
        assert_states_close(state(metric), state(expected), 1e-12)
        updated(expected, [one])


def level_bits(case, batch):
    bits = {}
    for level in LEVELS:
        _native.set_level(level)
        assert _native.active_level() == level
        bits[level] = state_bits(updated(case.ours(), [batch]))
    return bits


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_same_bits_at_every_simd_level(case, weighted):
    for size in (1, 5, 100, BLOCK + 13):
        bits = level_bits(case, case.sample(size, size, weighted))
        assert all(b == bits[LEVELS[0]] for b in bits.values())


@pytest.mark.parametrize("label_dtype", ["uint8", "int64", "float16", "float64"])
@pytest.mark.parametrize("score_dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
def test_same_bits_at_every_simd_level_for_dtypes(case, label_dtype, score_dtype):
    batch = case.batch(0, case.shape(517), label_dtype, score_dtype)
    bits = level_bits(case, batch)
    assert all(b == bits[LEVELS[0]] for b in bits.values())


@pytest.mark.parametrize("scale", [1e-30, 1e-4, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("from_logits", [False, True])
def test_same_bits_of_logarithms_at_every_simd_level(from_logits, scale):
    case = default_case("BinaryCrossentropy")
    rng = np.random.default_rng(0)
    y_pred = np.float32(rng.normal(size=(300, 4)) * scale)
    if not from_logits:
        y_pred = np.abs(y_pred) / (1 + np.abs(y_pred))
    batch = Batch((np.float32(rng.integers(0, 2, (300, 4))), y_pred))
    case = type(case)(case.name, case.make, {"from_logits": from_logits})
    bits = level_bits(case, batch)
    assert all(b == bits[LEVELS[0]] for b in bits.values())
    reference = reference_after(case.name, case.kwargs, [batch])
    assert_states_close(
        state(updated(case.ours(), [batch])), reference.state(), 1e-6, 1e-12
    )


def test_unknown_level_is_refused():
    with pytest.raises(ValueError, match="avx1024"):
        _native.set_level("avx1024")
    assert _native.active_level() in LEVELS
    assert LEVELS[0] == "baseline"


# Threads.


def large_batch(case, weighted):
    """A batch with a few more elements than threads are used from."""
    elements = int(_native.parallel_threshold() * 2.2) + 77
    per_sample = case.sample(0, 1).args[-1].size
    if "class_id" in case.kwargs:
        per_sample = 1  # the other columns are not read
    count = elements // per_sample + 1
    small = case.sample(0, 4099, weighted)
    repeat = count // 4099 + 1

    def tile(array):
        return np.tile(array, (repeat,) + (1,) * (array.ndim - 1))[:count]

    args = tuple(tile(a) for a in small.args)
    return Batch(args, None if small.weight is None else tile(small.weight))


@pytest.mark.host_only
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_same_bits_with_one_and_two_threads(case, weighted, roads):
    if case.name == "MeanMetricWrapper":
        pytest.skip("what is left to add is one value for each sample")
    batch = large_batch(case, weighted)
    kt.set_num_threads(1)
    one = state_bits(updated(case.ours(), [batch]))
    assert "parallel" not in roads()
    kt.set_num_threads(2)
    assert kt.num_threads() == 2
    two = state_bits(updated(case.ours(), [batch]))
    # The batch that tells the shape is tried first.
    assert roads()["parallel"] == 1 + case.built_late
    assert one == two


def test_same_bits_with_many_threads():
    case = default_case("MeanSquaredError")
    batch = large_batch(case, weighted=True)
    bits = set()
    for threads in (1, 2, 3, 5, 8):
        kt.set_num_threads(threads)
        bits.add(str(state_bits(updated(case.ours(), [batch]))))
    assert len(bits) == 1


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
def test_large_batch_equals_reference(case, two_threads):
    if case.name in ("TopKCategoricalAccuracy", "SparseTopKCategoricalAccuracy"):
        pytest.skip("the reference takes a minute for these rows")
    if case.name in ("AUC", *CONSTRAINED):  # the reference compares one by one
        case = type(case)(case.name, case.make, {**case.kwargs, "num_thresholds": 5})
    if case.name == "MeanMetricWrapper":
        pytest.skip("the user's function computes in float32")
    batch = large_batch(case, weighted=False)
    metric = updated(case.ours(), [batch])
    reference = reference_after(case.name, case.kwargs, [batch])
    assert_states_close(state(metric), reference.state(), 1e-6)


def test_small_batches_use_no_threads(two_threads, roads):
    case = default_case("MeanSquaredError")
    updated(case.ours(), [case.sample(0, 100)])
    assert "parallel" not in roads()


@pytest.mark.parametrize("count", [0, -1])
def test_number_of_threads_is_checked(count):
    before = kt.num_threads()
    with pytest.raises(ValueError, match=r"thread|count"):
        kt.set_num_threads(count)
    assert kt.num_threads() == before
