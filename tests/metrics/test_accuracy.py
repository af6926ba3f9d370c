"""Errors stay within the bounds of the committed table (docs/trust.md, `make bench`).

Every kernel, condition and dtype at sizes 0, 1 and 17 against 320 bits; the benchmark
`bench/ulps.py`, whose parts these are, goes on to 100 million.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from mpmath import mpf

import keras_tally as kt
from keras_tally import _native
from keras_tally.bench.subjects import dtype_of
from support import as_float, to_backend, torch_only

BENCH = Path(__file__).resolve().parents[2] / "bench"
sys.path.append(str(BENCH))

import ulps  # noqa: E402

ROWS = json.loads((BENCH / "results" / "ulps.json").read_text())["rows"]
BOUNDS = {(row["kernel"], row["condition"]): row for row in ROWS}


def bound(kernel, condition, column):
    """Infinity is stored as text."""
    return float(BOUNDS[kernel.name, condition][column])


def test_every_kernel_has_bounds():
    assert {k.kernel for k in ulps.KERNELS} == {k["name"] for k in _native.kernels()}
    assert set(BOUNDS) == {(k.name, c) for k in ulps.KERNELS for c in k.conditions}


@torch_only
@pytest.mark.parametrize(
    "dtype",
    [
        pytest.param(d, marks=[pytest.mark.slow] if d != "float32" else [])
        for d in ulps.DTYPES
    ],
)
@pytest.mark.parametrize("kernel", ulps.KERNELS, ids=lambda k: k.name)
def test_small_sizes_are_within_the_bounds(kernel, dtype):
    for condition in kernel.conditions:
        errors = ulps.measure(kernel, condition, dtype, only_small=True)
        assert errors["ours"] <= bound(kernel, condition, dtype), condition
        if not kernel.function:
            assert errors["ours32"] <= bound(kernel, condition, "ours32"), condition


@pytest.mark.parametrize("dtype", ulps.DTYPES)
def test_units_are_those_of_the_dtype(dtype):
    kind = dtype_of(dtype).type
    for number in (kind(1.0), kind(-3.0), kind(0.0), ulps.smallest(dtype, np.array(5))):
        number = kind(number)
        following = np.nextafter(number, kind(math.inf))
        assert ulps.error_in_ulps(float(following), mpf(float(number)), dtype) == 1.0
        assert ulps.error_in_ulps(float(number), mpf(float(number)), dtype) == 0.0


def test_what_no_number_is_near_to():
    assert ulps.error_in_ulps(math.nan, mpf("nan"), "float32") == 0.0
    assert ulps.error_in_ulps(0.0, mpf("nan"), "float32") == math.inf
    assert ulps.error_in_ulps(math.inf, mpf(10) ** 39, "float32") == 0.0
    assert ulps.error_in_ulps(-math.inf, mpf(10) ** 39, "float32") == math.inf
    assert ulps.error_in_ulps(math.inf, mpf(10) ** 38, "float32") == math.inf


# What the table has brought to light.


def test_logarithmic_error_of_a_large_target_is_finite():
    """(p - t) / (1 + t) rounds to -1, whose logarithm was infinite."""
    metric = kt.MeanSquaredLogarithmicError(dtype="float64")
    metric.update_state(*(to_backend(np.float64([[x]])) for x in (1e17, 1.0)))
    assert as_float(metric) == pytest.approx(math.log(5e16) ** 2, rel=1e-15)


@pytest.mark.parametrize("step", [2.0**-50, -(2.0**-50)])
def test_divergence_of_near_distributions(step):
    """The quotient of near numbers has lost what its logarithm is made of."""
    t, p = 0.75, 0.75 + step
    metric = kt.KLDivergence(dtype="float64")
    metric.update_state(*(to_backend(np.float64([[x]])) for x in (t, p)))
    expected = -t * math.log1p(step / t)
    assert as_float(metric) == pytest.approx(expected, rel=1e-15, abs=0)


@pytest.mark.parametrize("top", [30.0, 300.0])
@pytest.mark.parametrize("classes", [3, 50])
def test_loss_of_sure_logits(top, classes):
    """Beside a large logit what the others add was rounded away."""
    logits = np.full((1, classes), top - 25.0)
    logits[0, 1] = top
    sparse = kt.SparseCategoricalCrossentropy(from_logits=True, dtype="float64")
    dense = kt.CategoricalCrossentropy(from_logits=True, dtype="float64")
    sparse.update_state(to_backend(np.int64([1])), to_backend(logits))
    dense.update_state(to_backend(np.eye(classes)[[1]]), to_backend(logits))
    expected = math.log1p((classes - 1) * math.exp(-25.0))
    for metric in (sparse, dense):
        assert as_float(metric) == pytest.approx(expected, rel=1e-14, abs=0)


def test_focal_loss_of_sure_probabilities():
    """1 - (1 - p) is not p."""
    p = 1.234567e-7
    value = kt.binary_focal_crossentropy(
        *(to_backend(np.float64([[x]])) for x in (0.0, p))
    )
    expected = p**2 * -math.log1p(-p)
    assert float(value[0]) == pytest.approx(expected, rel=1e-8, abs=0)
