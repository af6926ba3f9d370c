"""Makers of data that suits a metric: labels and scores of these dtypes.

`shape` is what the samples look like, the classes excluded for metrics that have them.
"""

import numpy as np

from support import dtype_of


def round_to(array, dtype):
    return np.asarray(array).astype(dtype_of(dtype))


def make_values(rng, shape, label_dtype, score_dtype):
    return (round_to(rng.normal(size=shape), score_dtype),)


def make_regression(rng, shape, label_dtype, score_dtype):
    labels = rng.integers(0, 2, shape) if label_dtype == "bool" else None
    if labels is None:
        labels = np.abs(rng.normal(scale=3.0, size=shape))
    scores = rng.normal(scale=3.0, size=shape)
    return round_to(labels, label_dtype), round_to(scores, score_dtype)


def make_equal_labels(rng, shape, label_dtype, score_dtype):
    high = 2 if label_dtype == "bool" else 4
    return (
        round_to(rng.integers(0, high, shape), label_dtype),
        round_to(rng.integers(0, high, shape), score_dtype),
    )


# Scores on which rules about borders disagree: both ends, the usual thresholds.
BORDER_SCORES = np.array([0.0, 0.25, 0.5, 0.75, 1.0, -0.5, 1.5])


def make_binary(rng, shape, label_dtype, score_dtype):
    labels = rng.integers(0, 2, shape)
    scores = rng.uniform(size=shape)
    scores = np.where(
        rng.uniform(size=shape) < 0.2, rng.choice(BORDER_SCORES, shape), scores
    )
    return round_to(labels, label_dtype), round_to(scores, score_dtype)


def make_probabilities(rng, shape, label_dtype, score_dtype):
    labels = rng.integers(0, 2, shape)
    scores = rng.uniform(0.02, 0.98, size=shape)
    return round_to(labels, label_dtype), round_to(scores, score_dtype)


def make_logits(rng, shape, label_dtype, score_dtype):
    labels = rng.integers(0, 2, shape)
    scores = rng.normal(scale=2.0, size=shape)
    return round_to(labels, label_dtype), round_to(scores, score_dtype)


CLASSES = 7


def class_scores(rng, shape, score_dtype):
    """Scores without ties, also after the rounding to 8 bits of bfloat16."""
    steps = np.argsort(rng.uniform(size=(*shape, CLASSES)), axis=-1)
    scale = rng.choice([1.0, 0.5, 0.25], (*shape, 1))
    return round_to((steps + 1) / 8 * scale, score_dtype)


def make_sparse(rng, shape, label_dtype, score_dtype):
    high = 2 if label_dtype == "bool" else CLASSES
    labels = rng.integers(0, high, shape)
    return round_to(labels, label_dtype), class_scores(rng, shape, score_dtype)


def make_onehot(rng, shape, label_dtype, score_dtype):
    labels = np.eye(CLASSES)[rng.integers(0, CLASSES, shape)]
    return round_to(labels, label_dtype), class_scores(rng, shape, score_dtype)


def make_sorted_ids(rng, shape, label_dtype, score_dtype):
    labels, scores = make_sparse(rng, shape, label_dtype, "float64")
    return labels, round_to(np.argsort(-scores, axis=-1), score_dtype)


def make_multi_label(rng, shape, label_dtype, score_dtype):
    return make_binary(rng, (*shape, 3), label_dtype, score_dtype)


def make_columns(rng, shape, label_dtype, score_dtype):
    return make_regression(rng, (*shape, 3), label_dtype, score_dtype)


def make_hinge(rng, shape, label_dtype, score_dtype):
    """Labels -1 and 1, where the dtype has them, else 0 and 1."""
    low = 0 if label_dtype in ("bool", "uint8") else -1
    labels = rng.choice([low, 1], shape)
    return round_to(labels, label_dtype), round_to(rng.normal(size=shape), score_dtype)


def make_distributions(rng, shape, label_dtype, score_dtype):
    labels = rng.uniform(size=shape)
    if "float" not in label_dtype:
        labels = np.round(labels)
    scores = rng.uniform(0.02, 0.98, size=shape)
    return round_to(labels, label_dtype), round_to(scores, score_dtype)


def make_counts(rng, shape, label_dtype, score_dtype):
    """Numbers of events, and the expected numbers of a model."""
    high = 2 if label_dtype == "bool" else 6
    labels = rng.integers(0, high, shape)
    scores = rng.uniform(0.1, 5.0, size=shape)
    return round_to(labels, label_dtype), round_to(scores, score_dtype)


SEGMENTS = 4


def make_segments(rng, shape, label_dtype, score_dtype):
    """Class ids for and from a segmentation, some of them out of range."""
    if label_dtype == "bool":
        labels = rng.integers(0, 2, shape)
    else:
        labels = rng.integers(-1, SEGMENTS + 1, shape)
    scores = rng.integers(-1, SEGMENTS + 1, shape)
    return round_to(labels, label_dtype), round_to(scores, score_dtype)


def make_sparse_from_onehot(rng, shape, label_dtype, score_dtype):
    """One-hot labels, with predictions that are class ids."""
    labels, scores = make_onehot(rng, shape, label_dtype, "float64")
    return labels, round_to(np.argmax(scores, axis=-1), score_dtype)


def channels_first(make):
    """The maker's data with the classes on axis 1."""

    def moved(rng, shape, label_dtype, score_dtype):
        arrays = make(rng, shape, label_dtype, score_dtype)
        return tuple(
            np.ascontiguousarray(np.moveaxis(a, -1, 1)) if a.ndim > len(shape) else a
            for a in arrays
        )

    moved.__name__ = f"{make.__name__}_first"
    return moved
