"""What people reported of other metrics, tried on ours. The right values are those of
scikit-learn, or of arithmetic that anyone can follow."""

from fractions import Fraction

import keras
import ml_dtypes
import numpy as np
import pytest
from sklearn.metrics import log_loss, r2_score

import keras_tally as kt
from support import (
    IS_NUMPY,
    IS_PORTABLE,
    SCORE_DTYPES,
    as_float,
    assert_close,
    dtype_of,
    to_backend,
)


def value_of(metric, *arrays, **weights):
    """The result after one batch of arrays."""
    weights = {name: to_backend(array) for name, array in weights.items()}
    metric.update_state(*map(to_backend, arrays), **weights)
    return as_float(metric)


@pytest.mark.parametrize("dtype", SCORE_DTYPES)
def test_accuracy_of_half_precision_is_no_zero(dtype):
    """pytorch-lightning #4840, #5013: 0 for float16 scores with float32 labels."""
    scores = np.array([0.5015, 0.5068, 0.4597, 0.5176, 0.5063, 0.4873, 0.5073, 0.5049,
                       0.4871, 0.4939, 0.5132, 0.5151, 0.5269, 0.5229, 0.4797,
                       0.5435])  # fmt: skip
    labels = np.float32([1, 0, 1, 1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0])
    scores = scores.astype(dtype_of(dtype))
    # bfloat16 has no number between 0.5 and 0.50390625.
    hits = (scores.astype(np.float64) > 0.5) == labels
    assert value_of(kt.BinaryAccuracy(), labels, scores) == hits.mean()
    assert dtype == "bfloat16" or hits.mean() == 0.625


@pytest.mark.parametrize("dtype", SCORE_DTYPES)
def test_top_k_of_half_precision(dtype):
    """torchmetrics #2147, keras #11965: an error."""
    scores = np.array([[1, 0.25, 0], [0.25, 0.5, 1], [0, 1, 0.5]], dtype_of(dtype))
    for k, expected in ((1, 1 / 3), (2, 2 / 3), (3, 1.0)):
        metric = kt.SparseTopKCategoricalAccuracy(k=k)
        assert value_of(metric, np.int32([1, 0, 1]), scores) == np.float32(expected)
        metric = kt.TopKCategoricalAccuracy(k=k)
        labels = np.eye(3, dtype=np.float32)[[1, 0, 1]]
        assert value_of(metric, labels, scores) == np.float32(expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("MeanAbsoluteError", 4.0), ("MeanSquaredError", 16.0), ("Sum", 2.0 * 16384)],
)
def test_sums_of_half_precision_do_not_overflow(name, expected):
    """chainer #6702, graphium #406: NaN, as float16 ends at 65504."""
    a = np.full((64, 1, 16, 16), 2, np.float16)
    arrays = (a,) if name == "Sum" else (a, -a)
    assert value_of(getattr(kt, name)(), *arrays) == expected


def test_percentages_of_large_half_precision():
    """torchmetrics #3508: a difference of float16 overflows, the ratio does not."""
    y = np.float16([[60000.0], [-60000.0]])
    assert value_of(kt.MeanAbsolutePercentageError(), y, -y) == 200.0
    largest = np.full((2, 1), np.finfo(np.float32).max)
    metric = kt.MeanAbsolutePercentageError()
    assert value_of(metric, largest, -largest) == 200.0


def test_an_epoch_of_bfloat16():
    """pytorch-lightning #18620: means over an epoch that stop growing."""
    rng = np.random.default_rng(0)
    values = rng.uniform(0.5, 1.5, (600, 1)).astype(ml_dtypes.bfloat16)
    metric = kt.Mean()
    for value in values:
        metric.update_state(to_backend(value))
    expected = sum(Fraction(float(v)) for v in values.ravel()) / len(values)
    assert as_float(metric) == np.float32(float(expected))


def test_r2_of_energies():
    """torchmetrics #3077: R2 above 1 for float32 targets far from zero."""
    rng = np.random.default_rng(0)
    y_true = np.float32(-311030 + rng.normal(scale=6, size=(900, 1)))
    y_pred = np.float32(y_true + rng.normal(scale=3, size=(900, 1)))
    expected = r2_score(y_true.astype(np.float64), y_pred.astype(np.float64))
    assert 0.7 < expected < 0.8
    metric = kt.R2Score()
    for part in range(0, 900, 100):
        batch = slice(part, part + 100)
        metric.update_state(to_backend(y_true[batch]), to_backend(y_pred[batch]))
    # JAX and TensorFlow keep 48 bits of sums, 31 of which cancel here.
    assert_close(metric.result(), expected, 1e-5 if IS_PORTABLE else 1e-6)


@pytest.mark.parametrize("dtype", SCORE_DTYPES)
def test_log_loss_of_certain_scores(dtype):
    """scikit-learn #24315: NaN for a float32 score of 1, whose 1 - 1e-15 is 1."""
    labels = np.float32([[1], [0], [1], [0]])
    scores = np.array([[1], [0], [0.75], [1]], dtype_of(dtype))
    # What Keras clips to, in the precision that the scores are computed in.
    kind = np.float64 if dtype == "float64" and not narrows_float64() else np.float32
    clipped = np.clip(scores.astype(kind), kind(1e-7), kind(1 - 1e-7))
    expected = log_loss(labels.ravel(), clipped.astype(np.float64).ravel())
    assert np.isfinite(expected)
    got = value_of(kt.BinaryCrossentropy(), labels, scores)
    assert got == pytest.approx(expected, rel=1e-6)


def narrows_float64():
    """Whether the backend makes float32 of float64."""
    return str(to_backend(np.float64([1.0])).dtype).endswith("float32")


def test_weights_whose_sum_is_negative():
    """keras #19162: 0, and not their mean."""
    values, weights = np.float32([1.0, 3.0]), np.float32([-2.0, 1.0])
    assert value_of(kt.Mean(), values, sample_weight=weights) == -1.0
    y_true = np.float32([[0.0], [0.0]])
    metric = kt.MeanAbsoluteError()
    assert value_of(metric, y_true, values[:, None], sample_weight=weights) == -1.0


def test_class_ids_that_are_none():
    """keras #22835: a crash of the backend, or counts in other cells."""
    y_true, y_pred = np.int32([5, 1, -1, 0, 1]), np.int32([1, 1, 1, 7, 0])
    metric = kt.MeanIoU(num_classes=2)
    # What is left: (1, 1) and (1, 0).
    assert value_of(metric, y_true, y_pred) == pytest.approx((0 + 1 / 2) / 2, abs=1e-6)
    # A class that is nowhere is not part of the mean.
    metric = kt.IoU(num_classes=2, target_class_ids=[0, 1])
    got = value_of(metric, np.int32([0]), np.int32([0]))
    assert got == pytest.approx(1.0, abs=1e-6)


@pytest.mark.skipif(IS_NUMPY, reason="Keras's NumPy backend has no fit")
def test_validation_with_sample_weights():
    """keras #21770: AUC of validation data with weights could not be built on torch."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 10)).astype(np.float32)
    y = (x.sum(axis=1, keepdims=True) > 0).astype(np.float32)
    weights = rng.uniform(size=64).astype(np.float32)
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(1, "sigmoid")])
    model.compile(
        loss="binary_crossentropy",
        weighted_metrics=[kt.AUC(name="auc"), kt.BinaryAccuracy(name="accuracy")],
    )
    validation = (x, y, weights)
    logs = model.fit(
        x, y, sample_weight=weights, validation_data=validation, verbose=0
    ).history
    scores = model.predict(x, verbose=0)
    hits = ((scores > 0.5) == y).ravel()
    expected = np.average(hits, weights=weights.astype(np.float64))
    assert logs["val_accuracy"][0] == pytest.approx(expected, abs=1e-6)
    alone = kt.AUC()
    alone.update_state(to_backend(y), to_backend(scores), to_backend(weights))
    assert logs["val_auc"][0] == pytest.approx(as_float(alone), abs=1e-6)
