"""Subnormal numbers count, whatever the calling thread's floating-point mode is, and no
call of ours changes that mode.

TensorFlow's and XLA's threads take subnormal numbers for zero, and so do all that
`torch.set_flush_denormal(True)` was called on.
"""

import contextlib
import os
import subprocess
import sys
from fractions import Fraction

import keras
import numpy as np
import pytest

import keras_tally as kt
import references
from cases import DEFAULT_CASES, Batch
from keras_tally import _native
from support import (
    BACKEND,
    EMULATED,
    IS_PORTABLE,
    SCORE_DTYPES,
    as_float,
    assert_states_close,
    dtype_of,
    float_mode,
    flushing,
    reference_after,
    state,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)

LEVELS = _native.levels()
# The smallest numbers of all.
TINY = {
    "float16": 2.0**-24,
    "bfloat16": 2.0**-133,
    "float32": 2.0**-149,
    "float64": 2.0**-1074,
}
# JAX and TensorFlow keep sums as pairs of float32, whose subnormals have few digits.
SMALLEST_SUM = 2.0**-149 if IS_PORTABLE else 0.0


def every_16_bit_number(dtype):
    """All that are finite."""
    bits = np.arange(2**16, dtype=np.uint16)
    infinity = np.array(np.inf, dtype_of(dtype)).view(np.uint16)
    return bits[bits & 0x7FFF < infinity].view(dtype_of(dtype))


def exact_total(numbers):
    return references.exact_sum(np.asarray(numbers).astype(np.float64).ravel())


@pytest.fixture(params=LEVELS)
def level(request):
    _native.set_level(request.param)
    return request.param


@pytest.fixture(params=["usual", "flushing"])
def mode(request):
    """The mode of the thread that the test calls us from, a context."""
    return flushing if request.param == "flushing" else contextlib.nullcontext


def test_the_mode_flushes():
    """Or the tests below could not fail."""
    with flushing():
        assert np.multiply(np.float32(2.0**-126), np.float32(0.5)) == 0.0
        assert np.add(np.float64(TINY["float64"]), 0.0) == 0.0
    assert np.multiply(np.float32(2.0**-126), np.float32(0.5)) == np.float32(2.0**-127)


def total_of(values, mode):
    """What `Sum` has for a tensor, as a fraction."""
    with mode():
        metric = kt.Sum(dtype="float32" if IS_PORTABLE else "float64")
        metric.update_state(values)
        result = metric.result()
    return Fraction(float(to_numpy(result)))


# What was once reported: float16 subnormals were zero on JAX and TensorFlow.


def test_sum_of_float16_subnormals(level, mode):
    values = np.float16([1e-5, 2e-5, 3e-5, 5.9e-5, 6.2e-5, 1e-4])
    assert total_of(to_backend(values), mode) == exact_total(values)


def test_crossentropy_of_float16_subnormals(level, mode):
    scores = np.float16([[3e-5], [2e-5], [5e-5], [4e-5]])
    batch = Batch((np.ones((4, 1), np.float32), scores))
    expected = -np.log(scores.astype(np.float64)).mean()
    metric = kt.BinaryCrossentropy()
    with mode():
        batch.feed(metric)
        assert as_float(metric) == pytest.approx(expected, rel=1e-6)
    assert expected == pytest.approx(10.316, abs=1e-3)


@pytest.mark.parametrize(
    "step", [1, pytest.param(2, marks=pytest.mark.slow)]
)  # neighbours, which registers take, or not
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_16_bit_number_is_read(dtype, step, level, mode):
    """In sums that have nothing to round."""
    numbers = every_16_bit_number(dtype)
    exponents = np.frexp(np.abs(numbers.astype(np.float64)))[1]
    exponents //= 4 if dtype == "bfloat16" else 1  # which has few digits
    for exponent in np.unique(exponents):
        for positive in (False, True):
            part = numbers[(exponents == exponent) & (np.signbit(numbers) != positive)]
            expected = exact_total(part)
            if IS_PORTABLE and abs(expected) > np.finfo(np.float32).max:
                continue  # no sum of float32
            room = np.full((len(part), step), 99, part.dtype)
            room[:, 0] = part
            assert total_of(to_backend(room)[:, 0], mode) == expected, exponent


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_every_16_bit_number_is_written(dtype):
    """As a result of that dtype: all subnormals of float16, of others some."""
    bits = every_16_bit_number(dtype).view(np.uint16)
    many = (dtype == "float16") & (bits & 0x7FFF < 0x400) & (not IS_PORTABLE)
    for number in bits[many | (bits % 257 == 0)].view(dtype_of(dtype)):
        expected = float(number)
        metric = kt.Sum(dtype=dtype)
        metric.total.assign(expected)
        with flushing():
            result = metric.result()
        assert keras.backend.standardize_dtype(result.dtype) == dtype
        assert float(result) == expected


# Every class.


def with_subnormals(array, rng):
    """Half of the numbers, at random, are subnormal instead, of the same sign."""
    array = np.asarray(array)
    if array.dtype.name not in TINY:
        return array
    with np.errstate(under="ignore"):
        tiny = rng.integers(1, 100, array.shape) * TINY[array.dtype.name]
        tiny = np.copysign(tiny, array.astype(np.float64)).astype(array.dtype)
    return np.where(rng.uniform(size=array.shape) < 0.5, tiny, array)


def tiny_batch(case, dtype, weighted):
    rng = np.random.default_rng(len(case.id))
    labels, scores = dtype, dtype
    if case.name.startswith("Sparse") or case.name in ("IoU", "MeanIoU"):
        labels = "int32"
    batch = case.batch(0, case.shape(65), labels, scores)
    args = tuple(with_subnormals(array, rng) for array in batch.args)
    weight = with_subnormals(rng.uniform(size=65).astype(dtype_of(dtype)), rng)
    return Batch(args, weight if weighted else None)


every_class = pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)


@every_class
def test_same_bits_in_every_mode(case):
    for dtype in SCORE_DTYPES:
        for weighted in (False, True):
            batch = tiny_batch(case, dtype, weighted)
            usual = case.ours()
            batch.feed(usual)
            result = to_numpy(usual.result()).tobytes()
            for level in LEVELS:
                _native.set_level(level)
                metric = updated(case.ours(), [batch])
                with flushing():
                    assert to_numpy(metric.result()).tobytes() == result
                assert state_bits(metric) == state_bits(usual)


@every_class
def test_subnormals_give_the_right_value(case):
    for dtype in ("float16", "bfloat16", "float32"):
        if case.name == "MeanMetricWrapper":
            continue  # the user's function computes in the dtype of the scores
        if case.name == "CosineSimilarity" and dtype != "float16":
            continue  # rows shorter than epsilon are not normalised, as in Keras
        for weighted in (False, True):
            batch = tiny_batch(case, dtype, weighted)
            reference = reference_after(case.name, case.kwargs, [batch])
            metric = updated(case.ours(), [batch])
            tolerance = max(case.tolerance, 1e-6 if IS_PORTABLE else 1e-11)
            assert_states_close(
                state(metric), reference.state(), tolerance, SMALLEST_SUM
            )


# Threads.


@pytest.mark.skipif(EMULATED, reason="the pool is the CPU's")
def test_the_threads_of_the_pool_keep_subnormals(roads):
    """Also when a thread that flushes has started them."""
    count = int(_native.parallel_threshold() * 1.5)
    values = np.full(count, TINY["float32"] * 3, np.float32)
    kt.set_num_threads(3)  # the pool starts anew with the next large batch
    expected = count * 3 * Fraction(TINY["float32"])
    assert total_of(to_backend(values), flushing) == expected
    if not IS_PORTABLE:
        assert roads()["parallel"] == 1


# What our calls leave behind.


def everything(case):
    """Every kind of call that reaches native code."""
    batch = case.sample(0, 9, weighted=True)
    metric = updated(case.ours(), [batch, batch._replace(weight=None)])
    metric.result()
    other = updated(case.ours(), [batch])
    metric.merge_state([other])
    if case.name != "MeanMetricWrapper":  # whose function has no bytes
        kt.from_bytes(metric.to_bytes()).result()
    metric(*map(to_backend, batch.args))
    metric.stateless_result([v.value for v in metric.variables])
    try:
        metric.update_state(*(to_backend(np.ones((2, 3, 5, 7))) for _ in batch.args),
                            sample_weight=to_backend(np.ones((11, 13))))  # fmt: skip
    except (ValueError, TypeError):
        pass
    else:
        raise AssertionError("weights of another shape were accepted")
    metric.reset_state()


@every_class
def test_no_call_changes_the_mode(case):
    before = float_mode()
    everything(case)
    assert float_mode() == before
    with flushing():  # which looks at the end
        everything(case)


def test_a_group_does_not_change_the_mode():
    def use():
        group = kt.MetricGroup([kt.AUC(), kt.BinaryAccuracy(), kt.MeanSquaredError()])
        labels = to_backend(np.ones((9, 1), np.float32))
        scores = to_backend(np.full((9, 1), 0.5, np.float16))
        group.update_state(labels, scores)
        group.update_state(labels, scores, sample_weight=labels)
        group.result()
        group.reset_state()

    before = float_mode()
    use()
    assert float_mode() == before
    with flushing():
        use()


IMPORT = """
import sys
sys.path.insert(0, {tests!r})
import keras, {framework}, numpy as np
from support import float_mode, flushing
def use():
    import keras_tally as kt, keras_tally.engine, keras_tally.functional
    for threads in (1, 2):
        kt.set_num_threads(threads)
        kt.Sum().update_state(np.ones(600_000, "float16"))
    kt.install()
    kt.uninstall()
def modes_of_two_threads():
    import threading
    found = []
    other = threading.Thread(target=lambda: found.append(float_mode()))
    other.start()
    other.join()
    return [float_mode(), *found]
before = modes_of_two_threads()
{how}
assert modes_of_two_threads() == before
"""


@pytest.mark.parametrize(
    "how", ["with flushing(): use()", pytest.param("use()", marks=pytest.mark.slow)]
)
def test_import_changes_no_mode(how):
    tests = os.path.dirname(os.path.dirname(__file__))
    code = IMPORT.format(tests=tests, framework=BACKEND, how=how)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.torch_only
def test_what_torch_is_told_to_flush_still_counts():
    """As users switch it on; and it stays switched on."""
    import torch

    values = torch.full((10,), 2.0**-140)
    assert torch.set_flush_denormal(True)
    try:
        metric = kt.Sum(dtype="float64")
        metric.update_state(values)
        assert float(metric.result()) == 10 * 2.0**-140
        assert float(values.mul(1.0).sum()) == 0.0
    finally:
        torch.set_flush_denormal(False)
