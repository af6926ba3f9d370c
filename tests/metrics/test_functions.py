"""Keras's metric functions: our values against Keras's, and against float64."""

import inspect

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_tally as kt
from keras_tally import _engine
from makers import (
    make_binary,
    make_logits,
    make_onehot,
    make_probabilities,
    make_regression,
    make_sorted_ids,
    make_sparse,
)
from support import SCORE_DTYPES, assert_close, to_backend, to_numpy

NAMES = sorted(
    name
    for name, item in vars(keras.metrics).items()
    if inspect.isfunction(item) and name not in ("get", "serialize", "deserialize")
)


def make_signs(rng, shape, label_dtype, score_dtype):
    labels, scores = make_probabilities(rng, shape, label_dtype, score_dtype)
    return 2 * labels - 1, scores


def positive(rng, shape, label_dtype, score_dtype):
    return tuple(abs(a) for a in make_regression(rng, shape, label_dtype, score_dtype))


# Function, maker of data, arguments; the last axis of the data is reduced.
CALLS = [
    ("mean_squared_error", make_regression, {}),
    ("mean_absolute_error", make_regression, {}),
    ("mean_absolute_percentage_error", make_regression, {}),
    ("mean_squared_logarithmic_error", positive, {}),
    ("huber", make_regression, {}),
    ("huber", make_regression, {"delta": 0.5}),
    ("log_cosh", make_regression, {}),
    ("poisson", positive, {}),
    ("kl_divergence", make_probabilities, {}),
    ("hinge", make_probabilities, {}),
    ("hinge", make_signs, {}),
    ("squared_hinge", make_probabilities, {}),
    ("squared_hinge", make_signs, {}),
    ("categorical_hinge", make_onehot, {}),
    ("pearson_correlation", make_regression, {}),
    ("concordance_correlation", make_regression, {}),
    ("binary_accuracy", make_binary, {}),
    ("binary_accuracy", make_binary, {"threshold": 0.25}),
    ("categorical_accuracy", make_onehot, {}),
    ("sparse_categorical_accuracy", make_sparse, {}),
    ("top_k_categorical_accuracy", make_onehot, {"k": 2}),
    ("sparse_top_k_categorical_accuracy", make_sparse, {"k": 2}),
    ("sparse_top_k_categorical_accuracy", make_sorted_ids,
     {"k": 2, "from_sorted_ids": True}),
    ("binary_crossentropy", make_probabilities, {}),
    ("binary_crossentropy", make_logits, {"from_logits": True}),
    ("binary_crossentropy", make_probabilities, {"label_smoothing": 0.2}),
    ("binary_focal_crossentropy", make_probabilities, {}),
    ("binary_focal_crossentropy", make_probabilities,
     {"apply_class_balancing": True, "gamma": 1.5, "alpha": 0.4}),
    ("binary_focal_crossentropy", make_logits, {"from_logits": True, "gamma": 0.0}),
    ("categorical_crossentropy", make_onehot, {}),
    ("categorical_crossentropy", make_onehot,
     {"from_logits": True, "label_smoothing": 0.1}),
    ("categorical_focal_crossentropy", make_onehot, {}),
    ("categorical_focal_crossentropy", make_onehot,
     {"from_logits": True, "gamma": 3.0}),
    ("categorical_focal_crossentropy", make_onehot, {"alpha": [0.1] * 7}),
    ("sparse_categorical_crossentropy", make_sparse, {}),
    ("sparse_categorical_crossentropy", make_sparse, {"from_logits": True}),
    ("sparse_categorical_crossentropy", make_sparse, {"ignore_class": 2}),
]  # fmt: skip
every_call = pytest.mark.parametrize(
    ("name", "make", "kwargs"), CALLS, ids=lambda x: getattr(x, "__name__", str(x))
)


def test_every_function_is_here():
    assert set(NAMES) == {name for name, _, _ in CALLS}
    assert set(NAMES) <= set(kt.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_signature_is_keras_signature(name):
    ours = inspect.signature(getattr(kt, name)).parameters.values()
    theirs = inspect.signature(getattr(keras.metrics, name)).parameters.values()
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


def both(name, args, kwargs):
    tensors = [to_backend(a) for a in args]
    return getattr(kt, name)(*tensors, **kwargs), getattr(keras.metrics, name)(
        *tensors, **kwargs
    )


@every_call
@given(data=st.data())
def test_values_are_keras_values(name, make, kwargs, data):
    score_dtype = (
        "float32"
        if make is make_sorted_ids
        else data.draw(st.sampled_from(("float32", "float64")))
    )
    shape = tuple(
        data.draw(st.integers(1, 5)) for _ in range(data.draw(st.integers(1, 3)))
    )
    label_dtype = data.draw(st.sampled_from(("int32", "float32")))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    args = make(rng, shape, label_dtype, score_dtype)
    if name == "pearson_correlation" and shape[-1] < 3:
        return  # two numbers correlate perfectly, up to Keras's rounding
    ours, theirs = both(name, args, kwargs)
    assert tuple(ours.shape) == tuple(theirs.shape)
    dtypes = [keras.backend.standardize_dtype(x.dtype) for x in (ours, theirs)]
    # Keras makes float32 of float64 here and there.
    assert dtypes[0] == dtypes[1] or dtypes[0] == score_dtype == "float64"
    assert_close(ours, theirs, 1e-4, 2e-5)


@pytest.mark.parametrize("dtype", SCORE_DTYPES)
def test_dtype_of_the_scores_is_kept(dtype):
    rng = np.random.default_rng(0)
    args = make_regression(rng, (5, 4), "float32", dtype)
    values = kt.mean_squared_error(*map(to_backend, args))
    assert keras.backend.standardize_dtype(values.dtype) == dtype
    exact = np.mean((np.float64(args[0]) - np.float64(args[1])) ** 2, axis=-1)
    assert_close(values, exact, {"float64": 1e-15, "float32": 1e-7}.get(dtype, 8e-3))


@pytest.mark.parametrize(
    ("rows", "width"), [(0, 3), (3, 0), (1, 5000), (70001, 3), (300, 1025)]
)
def test_sizes(rows, width):
    """Empty, longer than a block, many chunks; strided as well."""
    rng = np.random.default_rng(1)
    t, p = (np.float32(rng.normal(size=(rows, 2 * width)))[:, ::2] for _ in range(2))
    with np.errstate(invalid="ignore"):
        values = kt.mean_absolute_error(to_backend(t), to_backend(p))
    exact = np.abs(np.float64(t) - p).sum(-1) / np.float64(width or np.nan)
    assert_close(values, exact, 1e-6)


def test_axes():
    rng = np.random.default_rng(2)
    t, p = make_probabilities(rng, (4, 5, 6), "float32", "float32")
    for name, kwargs in (
        ("pearson_correlation", {"axis": (0, 2)}),
        ("concordance_correlation", {"axis": -2}),
        ("binary_crossentropy", {"axis": 1}),
        ("categorical_crossentropy", {"axis": 1}),
    ):
        ours = getattr(kt, name)(to_backend(t), to_backend(p), **kwargs)
        if name == "categorical_crossentropy":
            q = np.clip(p / p.sum(1, keepdims=True), 1e-7, 1 - 1e-7)
            assert_close(ours, -(t * np.log(q)).sum(1), 1e-5)
            continue
        assert_close(ours, both(name, (t, p), kwargs)[1], 1e-5, 1e-6)


def test_labels_with_an_axis_of_one():
    rng = np.random.default_rng(3)
    labels, scores = make_sparse(rng, (6,), "int64", "float32")
    for name in (
        "sparse_categorical_accuracy",
        "sparse_categorical_crossentropy",
        "sparse_top_k_categorical_accuracy",
    ):
        ours, theirs = both(name, (labels[:, None], scores), {})
        assert tuple(ours.shape) == tuple(theirs.shape)
        assert_close(ours, theirs, 1e-5)


def test_ignored_rows_are_masked():
    rng = np.random.default_rng(4)
    labels, scores = make_sparse(rng, (8,), "int64", "float32")
    values = kt.sparse_categorical_crossentropy(
        to_backend(labels), to_backend(scores), ignore_class=int(labels[0])
    )
    mask = keras.src.backend.get_keras_mask(values)
    assert np.array_equal(to_numpy(mask), labels != labels[0])
    assert np.all(to_numpy(values)[labels == labels[0]] == 0)


@pytest.mark.host_only
@pytest.mark.parametrize(
    ("name", "args", "argument"),
    [
        ("mean_squared_error", (np.ones((3, 2)), np.ones((4, 5))), "y_true"),
        ("binary_crossentropy", (np.ones((3, 2)), np.ones((3, 1))), "y_true"),
        (
            "sparse_categorical_crossentropy",
            (np.array([9]), np.ones((1, 3))),
            "label 9",
        ),
        ("pearson_correlation", (np.ones((3, 1)), np.ones((3, 4))), "axis"),
        ("mean_squared_error", ("words", np.ones(3)), "y_true"),
        ("mean_squared_error", (np.ones(3, complex), np.ones(3)), "y_true"),
    ],
)
def test_errors_name_the_argument(name, args, argument):
    args = [to_backend(a) if isinstance(a, np.ndarray) else a for a in args]
    with pytest.raises((ValueError, TypeError), match=argument):
        getattr(kt, name)(*args)


def test_lists_and_numbers():
    assert to_numpy(kt.mean_squared_error([1.0, 3.0], [1.0, 1.0])) == 2.0
    assert to_numpy(kt.binary_accuracy(1, 0.7)) == 1.0


@pytest.mark.torch_only
def test_meta_tensors_and_graphs():
    """What Keras builds models with, and predictions that require gradients."""
    import torch

    meta = torch.empty((4, 3), device="meta")
    assert kt.mean_squared_error(meta, meta).shape == (4,)
    scores = torch.rand(4, 3, requires_grad=True)
    values = kt.mean_squared_error(torch.rand(4, 3), scores)
    assert not values.requires_grad
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[kt.mean_absolute_error, "mae"])
    logs = model.fit(np.ones((8, 3)), np.ones((8, 2)), verbose=0).history
    assert logs["mean_absolute_error"] == pytest.approx(logs["mae"], rel=1e-6)


def test_no_array_of_the_inputs_size():
    """One value for a million elements: nothing is allocated in between."""
    import tracemalloc

    t, p = (np.ones((1, 1 << 20), np.float32) for _ in range(2))
    kt.mean_squared_error(to_backend(t), to_backend(p))
    t, p = to_backend(t), to_backend(p)
    tracemalloc.start()
    kt.mean_squared_error(t, p)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 16


def test_road():
    """Only where there is no native road do Keras's own functions compute."""
    assert _engine.IN_PLACE
