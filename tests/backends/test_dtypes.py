"""Every dtype is read as what it is, by kernels and by the fallback."""

import ml_dtypes
import numpy as np
import pytest

import keras_tally as kt
from cases import Batch
from support import IS_PORTABLE, as_float, updated

DTYPES = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32"]
DTYPES += ["float16", "bfloat16", "float32"]
PATHS = ("native", "fallback") if IS_PORTABLE else ("native",)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_every_dtype(dtype, path, monkeypatch):
    if IS_PORTABLE:
        from keras_tally import _stored

        monkeypatch.setattr(_stored, "only_portable", path == "fallback")
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    if dtype == "bool":
        ends = [False, True]
    else:
        limits = np.iinfo(kind) if kind.kind in "iu" else ml_dtypes.finfo(kind)
        ends = [limits.min, limits.max]
    labels = np.array([*ends, 1], kind)
    metric = updated(kt.MeanAbsoluteError(), [Batch((labels, np.zeros_like(labels)))])
    expected = np.mean(np.abs(labels.astype("float64")))
    assert as_float(metric) == pytest.approx(expected, rel=1e-6)
    if IS_PORTABLE:
        taken = metric._plan.taken["update"]
        assert (taken == "native") is (path == "native"), taken
