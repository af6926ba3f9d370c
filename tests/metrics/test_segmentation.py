"""IoU at real sizes: images, many classes, large tables and small batches."""

import resource

import numpy as np
import pytest

import keras_tally as kt
from support import BACKEND, as_float, state, to_backend, to_numpy


def class_counts(labels, predicted, classes):
    """True positives, false positives and false negatives of each class."""
    hits = np.bincount(labels[labels == predicted], minlength=classes)
    return (
        hits,
        np.bincount(predicted, minlength=classes) - hits,
        np.bincount(labels, minlength=classes) - hits,
    )


def mean_iou(hits, wrong, missed):
    union = hits + wrong + missed
    iou = np.where(union > 0, hits / np.maximum(union, 1), 0)
    return iou.sum() / np.count_nonzero(union)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
def test_image(dtype):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 21, (512, 512))
    scores = rng.normal(size=(512, 512, 21)).astype(np.float32)
    np.put_along_axis(scores, labels[..., None], 1.0, axis=-1)
    metric = kt.MeanIoU(num_classes=21, sparse_y_pred=False)
    metric.update_state(to_backend(labels.astype(dtype)), to_backend(scores))
    predicted = scores.argmax(-1)
    matrix = np.zeros((21, 21), np.int64)
    np.add.at(matrix, (labels.ravel(), predicted.ravel()), 1)
    assert np.array_equal(to_numpy(metric.total_cm), matrix)
    counts = class_counts(labels.ravel(), predicted.ravel(), 21)
    assert as_float(metric) == pytest.approx(mean_iou(*counts), rel=1e-6)


def test_fifty_thousand_classes_take_little_memory():
    """The whole matrix would be 20 GB."""
    classes, samples = 50_000, 200_000
    rng = np.random.default_rng(1)
    labels = rng.integers(0, classes, samples)
    predicted = np.where(
        rng.uniform(size=samples) < 0.5, labels, rng.integers(0, classes, samples)
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    metric = kt.MeanIoU(num_classes=classes, per_class_counts=True)
    for part in (slice(0, 5), slice(5, None)):  # few samples are listed, many counted
        metric.update_state(to_backend(labels[part]), to_backend(predicted[part]))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    kept = sum(int(np.prod(v.shape)) for v in metric.variables)
    halves = 2 if BACKEND == "jax" else 1  # pairs of floats
    assert kept == 3 * classes * halves
    assert grown * 1024 < 256 * 2**20
    counts = class_counts(labels, predicted, classes)
    for found, expected in zip(state(metric).values(), counts, strict=True):
        assert np.array_equal(found, expected)
    assert as_float(metric) == pytest.approx(mean_iou(*counts), rel=1e-6)


@pytest.mark.parametrize("dtype", [None, "float32"])
@pytest.mark.parametrize("per_class_counts", [False, True])
def test_small_batches_in_large_tables(per_class_counts, dtype):
    """Their cells are listed; the sum is that of one large batch."""
    rng = np.random.default_rng(2)
    labels, predicted = rng.integers(-1, 301, (2, 96_000))
    weight = rng.integers(0, 4, 96_000)
    many, one = (
        kt.MeanIoU(300, dtype=dtype, per_class_counts=per_class_counts)
        for _ in range(2)
    )
    for start in (*range(0, 600, 3), 600):
        part = slice(start, start + 3 if start < 600 else None)
        many.update_state(labels[part], predicted[part], weight[part])
    one.update_state(labels, predicted, weight)
    for name, value in state(one).items():
        assert np.array_equal(state(many)[name], value)
    assert as_float(many) == as_float(one)
