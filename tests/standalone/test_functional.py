"""The functions of one batch: the classes' numbers, and nothing of Keras."""

import inspect

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

import keras_tally as kt
from cases import CASES, IOU_NAMES
from keras_tally import engine, functional
from keras_tally._kernel_metric import KernelMetric, keras_rules
from keras_tally._specs import Rules
from keras_tally.metrics import METRICS
from support import (
    IS_TORCH,
    SCORE_DTYPES,
    to_backend,
    to_numpy,
    torch_only,
    updated,
)

if IS_TORCH:
    import torch

# The classes of which there is no function: what they average is the user's own.
NO_FUNCTION = {"MeanMetricWrapper", "ElementwiseMetric"}
BY_CLASS = {metric.class_name: name for name, metric in METRICS.items()}
OWN_CASES = [case for case in CASES if case.name not in NO_FUNCTION]


def classes():
    found = {name: getattr(kt, name) for name in kt.__all__ if name != "MetricGroup"}
    return {
        name: cls
        for name, cls in found.items()
        if isinstance(cls, type) and issubclass(cls, keras.metrics.Metric)
    }


def arguments_of(case):
    """The case's arguments, as functions and accumulators take them."""
    arguments = dict(case.kwargs)
    dtype = arguments.pop("dtype", None)
    arguments.pop("num_labels", None)  # the batch tells
    return arguments, dtype


def call(case, batch):
    arguments, _ = arguments_of(case)
    function = getattr(functional, BY_CLASS[case.name])
    if "per_class_counts" in arguments:
        del arguments["per_class_counts"]
    weight = None if batch.weight is None else to_backend(batch.weight)
    tensors = [to_backend(x) for x in batch.args]
    return function(*tensors, weight, **arguments)


def test_every_class_has_a_function_and_an_accumulator():
    own = set(classes()) - {"Metric"}
    assert own == {n for n in BY_CLASS if n} | NO_FUNCTION
    assert all(issubclass(classes()[n], KernelMetric) for n in BY_CLASS if n)
    assert sorted(METRICS) == engine.metrics() == functional.__all__
    for name in METRICS:
        assert inspect.isfunction(getattr(functional, name))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_functions_take_what_accumulators_take(name):
    """One table of arguments: only the order is not the same."""
    function = inspect.signature(getattr(functional, name)).parameters
    first = ["values"] if name in ("mean", "sum") else ["y_true", "y_pred"]
    assert list(function)[: len(first) + 1] == [*first, "sample_weight"]
    _, *made = inspect.signature(METRICS[name].make).parameters.values()
    users = {p.name: p.default for p in made if p.kind is not p.KEYWORD_ONLY}
    # Functions decide by themselves how they count.
    users.pop("per_class_counts", None)
    own = {p.name: p.default for p in list(function.values())[len(first) + 1 :]}
    assert own == users


@torch_only
def test_rules_without_keras_are_its_defaults_on_torch():
    # Keras 3.15 takes weights of one rank only.
    assert keras_rules() == Rules()


@torch_only
@pytest.mark.parametrize("case", OWN_CASES, ids=lambda c: c.id)
def test_classes_have_the_specs_of_the_table(case):
    """The kernel, the state and the options are written once."""
    arguments, dtype = arguments_of(case)
    batch = case.sample(0, 12, False)
    metric = updated(case.ours(), [batch])
    kernel, result, options = metric._plan_arguments
    columns = batch.args[-1].shape[-1] if batch.args[-1].ndim > 1 else None
    name = BY_CLASS[case.name]
    if METRICS[name].needs_columns(arguments):
        arguments["columns"] = columns
    if case.name in ("F1Score", "FBetaScore"):
        arguments["dtype"] = dtype or "float32"
    spec = METRICS[name].make(keras_rules(), **arguments)
    assert (spec.kernel, spec.result) == (kernel, result)
    expected = {**spec.options}
    if case.name in IOU_NAMES:
        expected["whole"] = options["whole"]
    assert {k: options.get(k) for k in expected} == expected
    names = [v.name for v in metric.variables]
    shapes = [tuple(v.shape) for v in metric.variables]
    assert dict(zip(names, shapes, strict=True)) == spec.state


@torch_only
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", OWN_CASES, ids=lambda c: c.id)
def test_functions_give_the_classes_numbers(case, weighted):
    _, dtype = arguments_of(case)
    if dtype in ("float64", "int32", "int64", "float16", "bfloat16"):
        pytest.skip("functions have the dtype of their inputs")
    # Functions take weights as they are; the classes cut them off by default.
    more = {"dtype": "float32"} if weighted and case.name in IOU_NAMES else {}
    for seed in range(3):
        batch = case.sample(seed, 12, weighted)
        expected = to_numpy(updated(case.ours(**more), [batch]).result())
        value = call(case, batch)
        assert value.shape == expected.shape
        np.testing.assert_array_equal(value.numpy(), expected)


# What needs nothing but scores and labels, to be called with any kind of them.
PAIRS = ("binary_accuracy", "auc", "f1_score", "mean_squared_error", "precision")


def scores_and_labels(count, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, count), rng.uniform(size=count).astype(dtype)


@pytest.mark.parametrize("name", PAIRS)
def test_kinds_of_inputs(name):
    """The numbers do not depend on the framework, and the result is of it."""
    import jax.numpy as jnp
    import torch

    function = getattr(functional, name)
    labels, scores = scores_and_labels(100)
    expected = function(labels, scores)
    assert type(expected) is np.float32
    value = function(torch.from_numpy(labels), torch.from_numpy(scores))
    assert type(value) is torch.Tensor
    assert (value.shape, value.dtype) == ((), torch.float32)
    assert float(value) == expected
    value = function(jnp.asarray(labels, "int32"), jnp.asarray(scores))
    assert isinstance(value, jnp.ndarray)
    assert float(value) == expected
    value = function(labels.tolist(), scores.tolist())
    assert type(value) is np.float64
    assert np.float32(value) == pytest.approx(expected, rel=2e-7)
    mixed = function(torch.from_numpy(labels), scores)
    assert type(mixed) is np.float32
    assert mixed == expected


@pytest.mark.parametrize("dtype", SCORE_DTYPES)
def test_the_result_is_float64_for_float64_alone(dtype):
    labels, scores = scores_and_labels(50, dtype="float64")
    value = functional.mean_absolute_error(
        to_backend(labels), to_backend(scores, dtype)
    )
    wide = dtype == "float64"
    assert str(value.dtype).endswith("float64" if wide else "float32")
    assert float(value) == pytest.approx(
        np.abs(labels - scores).mean(), rel=1e-14 if wide else 3e-3
    )


@torch_only
def test_awkward_tensors(roads):
    labels, scores = map(torch.from_numpy, scores_and_labels(64))
    expected = functional.auc(labels, scores)
    assert functional.auc(labels, scores.clone().requires_grad_()) == expected
    assert functional.auc(labels, torch.nn.Parameter(scores)) == expected
    both = torch.stack([scores, scores + 1], dim=1)
    assert functional.auc(labels, both[:, 0]) == expected
    assert "converted" not in roads()
    negated = torch.complex(scores, -scores).conj().imag  # lazily negated
    assert negated.is_neg()
    assert functional.auc(labels, negated) == expected
    assert roads()["converted"] == 1
    with torch.inference_mode():
        assert functional.auc(labels, scores) == expected
    with torch.autocast("cpu", torch.bfloat16):
        assert functional.auc(labels, scores) == expected
    assert roads()["evaluated"] == 6


@torch_only
def test_what_no_function_takes():
    labels, scores = map(torch.from_numpy, scores_and_labels(64))
    with pytest.raises(TypeError, match=r"`y_true` .*vmap"):
        torch.func.vmap(functional.auc)(labels[None], scores[None])
    with pytest.raises(TypeError, match=r"`y_pred` .*grad"):
        torch.func.grad(lambda p: functional.auc(labels, p))(scores)
    with pytest.raises(TypeError, match="layout"):
        functional.auc(labels, scores.to_sparse())
    with pytest.raises(TypeError, match=r"hold data"):
        functional.auc(labels, scores.to("meta"))
    with pytest.raises(TypeError, match="complex"):
        functional.auc(labels, scores + 1j)


def test_mistakes_are_named():
    labels, scores = map(to_backend, scores_and_labels(8))
    with pytest.raises(ValueError, match=r"y_pred"):
        functional.auc(labels[:7], scores)
    with pytest.raises(ValueError, match="sample_weight"):
        functional.auc(labels, scores, scores[:5])
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        functional.precision(labels, scores, thresholds=[0.5, 2.0])
    with pytest.raises(ValueError, match="curve"):
        functional.auc(labels, scores, curve="ROK")
    with pytest.raises(ValueError, match="average"):
        functional.f1_score(labels, scores, average="mean")
    with pytest.raises(ValueError, match="`threshold` must be a positive number"):
        functional.huber(labels, scores, threshold=0.0)
    with pytest.raises(ValueError, match="target_class_ids"):
        functional.iou(labels, labels, num_classes=2, target_class_ids=[2])
    with pytest.raises(ValueError, match="rank 2"):
        functional.auc(labels, scores, multi_label=True)
    with pytest.raises(TypeError, match="`y_pred` must be a tensor"):
        functional.auc(labels, None)
    with pytest.raises(TypeError, match=r"`y_pred` must .* dtype"):
        functional.auc(labels, ["a"] * 8)
    with pytest.raises(ValueError, match="label"):
        functional.sparse_mean_rank(to_backend([3]), to_backend([[0.1, 0.2]]))


@torch_only
def test_a_call_is_one_native_call(roads):
    labels, scores = map(torch.from_numpy, scores_and_labels(1024))
    weights = torch.rand(1024)
    functional.auc(labels, scores)
    functional.f1_score(labels, scores, weights)
    functional.mean_squared_error(labels, scores, weights)
    assert roads() == {"evaluated": 3, "exchange_api": 8}


LENGTHS = st.integers(1, 40)


@given(LENGTHS, st.integers(0, 999), st.booleans())
def test_binary_metrics_are_those_of_sklearn(count, seed, weighted):
    labels, scores = scores_and_labels(count, seed, "float64")
    weight = np.random.default_rng(seed).uniform(0.1, 1, count) if weighted else None
    ours = [to_backend(x) if x is not None else None for x in (labels, scores, weight)]
    hits = scores > 0.5
    for name, expected in {
        "binary_accuracy": sk.accuracy_score,
        "precision": sk.precision_score,
        "recall": sk.recall_score,
        "f1_score": sk.f1_score,
    }.items():
        options = {} if name == "binary_accuracy" else {"zero_division": 0}
        expected = expected(labels, hits, sample_weight=weight, **options)
        # As in Keras, F-scores have an epsilon in their denominators.
        absolute = 1e-5 if name == "f1_score" else 1e-7
        value = float(getattr(functional, name)(*ours))
        assert value == pytest.approx(expected, rel=1e-6, abs=absolute), name


@given(st.integers(2, 40), st.integers(0, 999), st.booleans())
def test_average_precision_is_sklearns_between_thresholds(count, seed, weighted):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    labels[rng.integers(0, count)] = 1
    # In the middle between thresholds, where bins lose nothing.
    scores = (rng.integers(0, 64, count) + 0.5) / 64
    weight = rng.uniform(0.1, 1, count) if weighted else None
    expected = sk.average_precision_score(labels, scores, sample_weight=weight)
    ours = [to_backend(x) if x is not None else None for x in (labels, scores, weight)]
    value = functional.average_precision(*ours, num_thresholds=65)
    assert float(value) == pytest.approx(expected, rel=1e-12)
    roc = functional.auc(*ours, num_thresholds=65)
    if labels.min() == 0:
        expected = sk.roc_auc_score(labels, scores, sample_weight=weight)
        assert float(roc) == pytest.approx(expected, rel=1e-12)


@given(LENGTHS, st.integers(2, 9), st.integers(0, 999), st.booleans())
def test_confusion_matrix_is_sklearns(count, classes, seed, weighted):
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(0, classes, (2, count))
    weight = rng.uniform(0.1, 1, count) if weighted else None
    expected = sk.confusion_matrix(
        true, predicted, labels=range(classes), sample_weight=weight
    )
    ours = [to_backend(x) if x is not None else None for x in (true, predicted, weight)]
    matrix = to_numpy(functional.confusion_matrix(*ours, num_classes=classes))
    assert matrix.dtype == ("float64" if weighted else "int64")
    np.testing.assert_allclose(matrix, expected, rtol=1e-14)


@given(st.integers(2, 30), st.integers(1, 4), st.integers(0, 999))
def test_r2_is_sklearns(count, columns, seed):
    rng = np.random.default_rng(seed)
    true, predicted = rng.normal(size=(2, count, columns))
    value = functional.r2_score(to_backend(true), to_backend(predicted))
    assert float(value) == pytest.approx(sk.r2_score(true, predicted), rel=1e-10)
    flat = functional.r2_score(to_backend(true[:, 0]), to_backend(predicted[:, 0]))
    expected = sk.r2_score(true[:, 0], predicted[:, 0])
    assert float(flat) == pytest.approx(expected, rel=1e-10)
