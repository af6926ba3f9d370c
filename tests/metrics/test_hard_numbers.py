"""Batches whose numbers Keras's own classes get wrong, on every path.

Each was once wrong where no kernel runs. The right values are float64 of NumPy, exact
fractions or scikit-learn's; they hold eagerly and compiled, with kernels and without.
"""

from fractions import Fraction

import keras
import numpy as np
import pytest
import sklearn.metrics

import keras_tally as kt
from keras_tally import _engine
from support import BACKEND, IS_PORTABLE, as_float, exact_state, to_backend, to_numpy

PATHS = ["native"]
if IS_PORTABLE:
    from keras_tally import _stored

    PATHS += ["fallback", "compiled fallback"]
if BACKEND == "jax":
    import jax
elif BACKEND == "tensorflow":
    import tensorflow as tf


@pytest.fixture(params=PATHS, autouse=True)
def path(request, monkeypatch):
    if IS_PORTABLE:
        monkeypatch.setattr(_stored, "only_portable", request.param != "native")
        monkeypatch.setattr(_stored, "even_small", True)
    return request.param


def compiled(function):
    if BACKEND == "jax":
        return jax.jit(function)
    return tf.function(function, jit_compile=True)


def updated(path, metric, *batches):
    """The metric after batches of (y_true, y_pred) or (y_true, y_pred, weight)."""
    for batch in batches:
        args = [to_backend(np.asarray(x)) for x in batch]
        if path != "compiled fallback":
            metric.update_state(*args)
            continue
        if getattr(metric, "_built", True) is False:
            metric._build(*metric._build_arguments(*(tuple(x.shape) for x in args[:2])))
        state = [to_backend(to_numpy(v)) for v in metric.variables]
        state = compiled(metric.stateless_update_state)(state, *args)
        for variable, value in zip(metric.variables, state, strict=True):
            variable.assign(value)
    return metric


def result(path, metric, *batches):
    return as_float(updated(path, metric, *batches))


def exact_r2(y_true, y_pred):
    t, p = ([Fraction(float(x)) for x in np.ravel(y)] for y in (y_true, y_pred))
    mean = sum(t) / len(t)
    residual = sum((a - b) ** 2 for a, b in zip(t, p, strict=True))
    return float(1 - residual / sum((a - mean) ** 2 for a in t))


@pytest.mark.parametrize(("mean", "deviation"), [(2000, 3), (5000, 1), (4097, 1)])
@pytest.mark.parametrize("size", [10, 32, 1000])
def test_r2_of_a_large_mean(path, mean, deviation, size):
    rng = np.random.default_rng(0)
    t = np.float32(rng.normal(mean, deviation, (1000, 1)))
    p = np.float32(t + rng.normal(0, deviation / 3, t.shape))
    parts = [slice(i, i + size) for i in range(0, len(t), size)]
    if path == "compiled fallback":
        parts = parts[:10]
    end = parts[-1].stop
    got = result(path, kt.R2Score(), *((t[part], p[part]) for part in parts))
    assert got == pytest.approx(exact_r2(t[:end], p[:end]), abs=2e-6)


def test_r2_of_four_neighbours(path):
    t = np.float32([[4097], [4098], [4099], [4100]])
    p = t + np.float32([[0.5], [-0.5], [0.5], [-0.5]])
    assert result(path, kt.R2Score(), (t, p)) == pytest.approx(0.8, abs=1e-6)


def test_unsigned_integers_do_not_wrap(path):
    batch = np.uint8([[250]]), np.uint8([[5]])
    assert result(path, kt.MeanSquaredError(), batch) == 245.0**2
    assert result(path, kt.MeanAbsoluteError(), batch) == 245.0


@pytest.mark.parametrize("error", [1e-4, 3e-6, 0.3, 1.0, 2.0, 90.0, -3e38])
def test_log_cosh(path, error):
    batch = np.float32([[0.0]]), np.float32([[error]])
    exact = float(np.float32(error))
    with np.errstate(over="ignore"):
        small = np.log1p(2 * np.sinh(exact / 2) ** 2)
    expected = small if abs(exact) < 20 else abs(exact) - np.log(2)
    got = result(path, kt.LogCoshError(), batch)
    assert got == pytest.approx(expected, rel=2e-7)


def test_labels_are_not_rounded_to_the_scores_dtype(path):
    scores = np.zeros((1, 4096), np.float16)
    scores[0, 2048] = 1
    metric = kt.SparseCategoricalAccuracy()
    assert result(path, metric, (np.int32([2049]), scores)) == 0.0


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_an_empty_batch_adds_nothing(path, shape):
    nothing, one = np.zeros(shape, np.float32), np.ones((1, 3), np.float32)
    for metric in (kt.MeanSquaredError(), kt.BinaryAccuracy(), kt.AUC()):
        before = [to_numpy(v) for v in updated(path, metric, (one, one)).variables]
        updated(path, metric, (nothing, nothing))
        after = [to_numpy(v) for v in metric.variables]
        assert all(map(np.array_equal, before, after)), metric.name


@pytest.mark.parametrize(
    ("make", "shapes", "argument"),
    [
        (kt.Precision, [(2, 3), (3, 2)], "y_pred"),
        (kt.CosineSimilarity, [(3, 1), (3, 4)], "y_pred"),
        (kt.PearsonCorrelation, [(3, 1), (3, 4)], "y_pred"),
        (lambda: kt.Precision(class_id=99), [(3, 2), (3, 2)], "class_id"),
        (lambda: kt.AUC(multi_label=True, num_labels=2), [(3, 2), (3, 3)], "y_pred"),
        (kt.MeanSquaredError, [(3, 2), (3, 2), (2,)], "sample_weight"),
        (kt.Precision, [(4,), (4,), (4, 1, 1)], "sample_weight"),
        (lambda: kt.MeanIoU(2), [(4,), (3,)], "y_pred"),
        (kt.R2Score, [(3, 2), (3,)], "y_pred"),
        (kt.TopKCategoricalAccuracy, [(3,), (4, 5)], "y_true"),
    ],
    ids=lambda x: getattr(x, "__name__", str(x)),
)
def test_shapes_are_refused(path, make, shapes, argument):
    metric, batch = make(), [np.zeros(shape, "float32") for shape in shapes]
    with pytest.raises(ValueError, match=f"`{argument}`|{argument}.shape"):
        updated(path, metric, batch)
    assert not any(to_numpy(v).any() for v in metric.variables)


def test_a_vector_is_as_near_to_itself_as_can_be(path):
    rng = np.random.default_rng(1)
    for size in (3, 7, 100):
        y = np.float32(rng.normal(size=(50, size)))
        assert result(path, kt.CosineSimilarity(), (y, y)) <= 1.0


def test_auc_of_a_score_that_is_nan(path):
    batch = np.float32([0, 1, 0, 1]), np.float32([0.1, 0.9, 0.2, np.nan])
    for metric in (kt.AUC(), kt.AUC(curve="PR"), kt.PrecisionAtRecall(0.5)):
        assert np.isnan(result(path, metric, batch)), metric.name


def test_pearson_of_a_large_mean(path):
    rng = np.random.default_rng(2)
    t = np.float32(1e8 + 64 * rng.integers(-20, 20, (1, 40)))
    p = np.float32(t + 64 * rng.integers(-20, 20, t.shape))
    expected = np.corrcoef(np.float64(t)[0], np.float64(p)[0])[0, 1]
    got = result(path, kt.PearsonCorrelation(), (t, p))
    assert got == pytest.approx(expected, abs=1e-6)


def test_saturated_scores_in_float16(path):
    """1 - epsilon is 1 in float16, whose logarithm of 0 Keras takes."""
    t, p = np.float16([[1], [0], [1]]), np.float16([[1.0], [0.9], [1.0]])
    expected = sklearn.metrics.log_loss([1, 0, 1], np.float64(p)[:, 0])
    got = result(path, kt.BinaryCrossentropy(), (t, p))
    assert got == pytest.approx(expected, abs=1e-6)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert result(path, kt.BinaryCrossentropy(), (t, p)) == pytest.approx(
            expected, abs=1e-3
        )
    finally:
        keras.config.set_dtype_policy("float32")


def test_sums_do_not_cancel(path):
    """Within a batch as well: the largest numbers are exactly what is taken away."""
    rng = np.random.default_rng(3)
    x = np.float32(rng.normal(size=1000))
    large = np.float32(rng.normal(size=500) * 1e6)
    batch = np.concatenate([x, large, -large])[rng.permutation(2000)]
    expected = float(sum(Fraction(float(v)) for v in batch))
    got = result(path, kt.Sum(), (batch,))
    assert got == pytest.approx(expected, rel=1e-6)


def test_more_samples_than_float32_counts(path):
    if path == "compiled fallback":
        pytest.skip("the same operations")
    ones = np.ones(2**24 + 3, np.uint8)
    metric = updated(path, kt.TruePositives(), (ones, ones))
    assert exact_state(metric) == {"accumulator": [2**24 + 3]}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("per_class_counts", [False, True])
@pytest.mark.parametrize("dtype", [None, "int32", "int16", "float32"])
def test_counts_of_classes_go_on_past_2_to_31(path, weighted, per_class_counts, dtype):
    metric = kt.MeanIoU(2, per_class_counts=per_class_counts, dtype=dtype)
    count = metric.true_positives if per_class_counts else metric.total_cm
    start = 2**31 - 128  # a float32
    first = np.zeros(count.shape)
    first.reshape(-1)[0] = start
    count.assign(first.astype("float32" if "float" in str(count.dtype) else "int64"))
    labels = np.zeros(200, np.int32)
    weight = [np.full(200, 3, np.int32)] if weighted else []
    updated(path, metric, (labels, labels, *weight))
    (counted, *_) = exact_state(metric).values()
    while isinstance(counted, list):
        counted = counted[0]
    assert counted == start + 200 * (3 if weighted else 1)
    assert as_float(metric) == pytest.approx(1.0, abs=1e-6)


def test_the_path_is_what_it_says(path):
    metric = updated(path, kt.MeanSquaredError(), ([[1.0]], [[2.0]]))
    if not _engine.IN_PLACE:
        taken = metric._plan.taken["update"]
        assert (taken == "native") is (path == "native"), taken
