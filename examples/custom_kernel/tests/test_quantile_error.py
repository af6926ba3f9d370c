"""What the package promises, on every backend, against NumPy in float64."""

import copy
import pickle

import keras
import ml_dtypes
import numpy as np
import pytest
from custom_kernel import QuantileError, _kernels

import keras_tally as kt
from keras_tally import _native

BACKEND = keras.config.backend()
IN_PLACE = BACKEND in ("torch", "numpy")
in_place_only = pytest.mark.skipif(not IN_PLACE, reason="JAX and TensorFlow: see docs")
# float32 arithmetic where Keras's operations compute, float64 where the kernel does.
RELATIVE = 1e-12 if IN_PLACE else 1e-5


def values(y_true, y_pred, q):
    error = np.asarray(y_true, np.float64) - np.asarray(y_pred, np.float64)
    return np.where(error >= 0, q * error, (q - 1) * error)


def mean_of(y_true, y_pred, q, weight=None):
    """Keras's mean: over the last axis, then over samples."""
    each = values(y_true, y_pred, q).mean(axis=-1)
    weight = np.ones(each.shape) if weight is None else np.asarray(weight, np.float64)
    return (each * weight).sum() / weight.sum()


def tensor(array):
    if BACKEND == "torch" and array.dtype == ml_dtypes.bfloat16:
        import torch

        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    return array if BACKEND == "numpy" else keras.ops.convert_to_tensor(array)


def batch(shape, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return tuple(rng.normal(size=shape).astype(dtype) for _ in range(2))


def metric_of(q=0.3, **arguments):
    return QuantileError(q, dtype="float64" if IN_PLACE else None, **arguments)


@pytest.fixture(autouse=True)
def settings():
    level, threads = _native.active_level(), kt.num_threads()
    yield
    _native.set_level(level)
    kt.set_num_threads(threads)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (64, 31), (1025, 2), (3, 4, 5)])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_mean(dtype, shape):
    metric = metric_of()
    batches = [batch(shape, dtype, seed) for seed in range(3)]
    for y_true, y_pred in batches:
        metric.update_state(tensor(y_true), tensor(y_pred))
    y_true, y_pred = (
        np.concatenate([b[i].astype(np.float64) for b in batches]) for i in range(2)
    )
    half = 2e-2 if not IN_PLACE and dtype in ("float16", "bfloat16") else RELATIVE
    np.testing.assert_allclose(
        float(metric.result()), mean_of(y_true, y_pred, 0.3), rtol=half
    )


def test_integer_labels():
    rng = np.random.default_rng(0)
    y_true = rng.integers(-9, 9, (50, 3))
    y_pred = rng.normal(size=(50, 3)).astype(np.float32)
    metric = metric_of(0.9)
    metric.update_state(tensor(y_true), tensor(y_pred))
    np.testing.assert_allclose(
        float(metric.result()), mean_of(y_true, y_pred, 0.9), rtol=RELATIVE
    )


def test_weights_and_zero_weights():
    y_true, y_pred = batch((40, 5))
    weight = np.random.default_rng(1).integers(0, 4, 40).astype(np.float32) / 4
    metric = metric_of()
    metric.update_state(tensor(y_true), tensor(y_pred), tensor(weight))
    expected = mean_of(y_true, y_pred, 0.3, weight)
    np.testing.assert_allclose(float(metric.result()), expected, rtol=RELATIVE)


@pytest.mark.skipif(BACKEND != "torch", reason="a mask that hangs on a tensor")
def test_mask_becomes_weights():
    y_true, y_pred = batch((40, 5))
    mask = np.random.default_rng(1).random(40) < 0.5
    scores = tensor(y_pred)
    scores._keras_mask = tensor(mask)
    metric = metric_of()
    metric.update_state(tensor(y_true), scores)
    expected = mean_of(y_true[mask], y_pred[mask], 0.3)
    np.testing.assert_allclose(float(metric.result()), expected, rtol=RELATIVE)


def test_trailing_axis_and_broadcasting():
    y_true, y_pred = batch((40, 1))
    metric = metric_of()
    metric.update_state(tensor(y_true[:, 0]), tensor(y_pred))
    np.testing.assert_allclose(
        float(metric.result()), mean_of(y_true, y_pred, 0.3), rtol=RELATIVE
    )


@in_place_only
def test_strides():
    y_true, y_pred = batch((60, 64))
    metric = metric_of()
    metric.update_state(tensor(y_true).T[::2], tensor(y_pred).T[::2])
    np.testing.assert_allclose(
        float(metric.result()),
        mean_of(y_true.T[::2], y_pred.T[::2], 0.3),
        rtol=RELATIVE,
    )


def test_nothing_and_not_a_number():
    metric = metric_of()
    metric.update_state(*(tensor(x) for x in batch((0, 3))))
    if IN_PLACE:  # elsewhere Keras's own operations may say NaN for an empty mean
        assert float(metric.result()) == 0.0
    metric.reset_state()
    metric.update_state(tensor(np.float32([[np.nan, 1.0]])), tensor(np.ones((1, 2))))
    assert np.isnan(float(metric.result()))


def bits_after(y_true, y_pred, weight=None):
    metric = metric_of()
    metric.update_state(y_true, y_pred, weight)
    return metric.exact_state()


@in_place_only
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_same_bits_at_every_level_and_thread_count(dtype):
    y_true, y_pred = (tensor(x) for x in batch((2**19 + 77, 1), dtype))
    weight = tensor(np.random.default_rng(1).random(2**19 + 77, np.float32))
    expected = None
    assert "baseline" in _native.levels()
    for level in _native.levels():
        _native.set_level(level)
        assert _native.active_level() == level
        for threads in (1, 2, 3):
            kt.set_num_threads(threads)
            got = bits_after(y_true, y_pred), bits_after(y_true, y_pred, weight)
            expected = got if expected is None else expected
            assert got == expected


@in_place_only
def test_counts_are_exact_where_float32_stops():
    metric = metric_of(0.5)
    ones, zeros = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    metric.count.assign(2.0**53)
    for _ in range(3):
        metric.update_state(tensor(ones), tensor(zeros))
    assert metric.exact_state()["count"] == 2**53 + 3


def test_same_bits_in_a_group():
    y_true, y_pred = (tensor(x) for x in batch((3000, 4)))
    low, high = metric_of(0.1, name="low"), metric_of(0.9, name="high")
    group = kt.MetricGroup(
        [metric_of(0.1, name="low"), kt.MeanSquaredError(), metric_of(0.9, name="high")]
    )
    assert not group.separate
    for metric in (low, high, group):
        metric.update_state(y_true, y_pred)
    assert group.exact_state()["low"] == low.exact_state()
    assert group.exact_state()["high"] == high.exact_state()


def test_config_copies_and_pickles():
    metric = metric_of(0.8, name="q80")
    metric.update_state(*(tensor(x) for x in batch((30, 2))))
    config = keras.metrics.serialize(metric)
    assert config["registered_name"] == "custom_kernel>QuantileError"
    again = keras.metrics.deserialize(config)
    assert (again.quantile, again.name, type(again)) == (0.8, "q80", QuantileError)
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert other.exact_state() == metric.exact_state()


@pytest.mark.skipif(BACKEND == "numpy", reason="Keras does not train there")
def test_fit_save_and_load(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[QuantileError(0.75)])
    x, y = np.random.default_rng(0).normal(size=(2, 96, 3)).astype(np.float32)
    y = y[:, :1]
    model.fit(x, y, batch_size=32, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.saving.load_model(path)
    logs = loaded.evaluate(x, y, verbose=0, return_dict=True)
    predictions = model.predict(x, verbose=0)
    np.testing.assert_allclose(
        logs["quantile_error"], mean_of(y, predictions, 0.75), rtol=1e-5
    )


def test_portable_is_the_kernel():
    y_true, y_pred = batch((50, 4))
    metric = metric_of()
    got = metric.portable(*map(keras.ops.convert_to_tensor, (y_true, y_pred)))
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(got), values(y_true, y_pred, 0.3), rtol=1e-5
    )


def test_bad_input_leaves_the_state_alone():
    metric = metric_of()
    metric.update_state(*(tensor(x) for x in batch((8, 3))))
    before = metric.exact_state()
    with pytest.raises((ValueError, TypeError)):
        metric.update_state(tensor(batch((8, 3))[0]), tensor(batch((8, 4))[1]))
    with pytest.raises((ValueError, TypeError)):
        metric.update_state(None, tensor(batch((8, 3))[0]))
    assert metric.exact_state() == before
    for quantile in (0, 1, -1, float("nan")):
        with pytest.raises(ValueError, match="`quantile` must be between 0 and 1"):
            QuantileError(quantile)


def test_kernel_is_called():
    """Not the portable form, which would give the same numbers."""
    road = kt.explain(metric_of()).roads["eager"].road
    assert road == {"jax": "FFI", "tensorflow": "op"}.get(BACKEND, "native in place")


def test_kernel_is_named_after_its_module():
    assert QuantileError.kernel == _kernels.quantile_error
    assert _kernels.quantile_error == "custom_kernel._kernels.quantile_error"
