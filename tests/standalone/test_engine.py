"""Accumulators: the classes' state, bit for bit, and everything that states can do."""

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_tally as kt
from keras_tally import engine
from support import IS_TORCH, to_backend, to_numpy, torch_only, updated
from test_functional import BY_CLASS, OWN_CASES, arguments_of

if IS_TORCH:
    import torch

DEVICES = [None, "cpu"] if IS_TORCH else [None]


def accumulator(case, **options):
    arguments, dtype = arguments_of(case)
    if dtype == "float64":
        options["dtype"] = dtype
    return engine.Accumulator(BY_CLASS[case.name], **options, **arguments)


def feed(metric, batch, kind=to_backend):
    weight = None if batch.weight is None else kind(batch.weight)
    metric.update(*map(kind, batch.args), sample_weight=weight)


def bits(metric):
    return {
        name: x.tobytes() if hasattr(x, "tobytes") else to_numpy(x).tobytes()
        for name, x in metric.state_dict().items()
        if name != "columns"
    }


def bits_of_class(metric):
    """The class's variables in the form of an accumulator's."""
    return {
        variable.name: to_numpy(variable).astype("float64").tobytes()
        for variable in metric.variables
    }


def comparable(case):
    """Whether the class counts and compares as accumulators do."""
    dtype = case.kwargs.get("dtype")
    return dtype in (None, "float32") or (
        dtype == "float64" and case.name not in ("F1Score", "FBetaScore")
    )


@torch_only
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "case", [c for c in OWN_CASES if comparable(c)], ids=lambda c: c.id
)
def test_state_and_result_are_the_classes_bits(case, weighted, device):
    batches = [case.sample(seed, 12, weighted) for seed in range(3)]
    more = {"dtype": "float32"} if weighted and case.integer_state else {}
    expected = updated(case.ours(**more), batches)
    metric = accumulator(case, device=device)
    for batch in batches:
        feed(metric, batch)
    assert bits(metric) == bits_of_class(expected)
    value = metric.result()
    assert isinstance(value, torch.Tensor if device else (np.generic, np.ndarray))
    np.testing.assert_array_equal(to_numpy(value), to_numpy(expected.result()))


@pytest.mark.parametrize("case", OWN_CASES, ids=lambda c: c.id)
def test_life_of_an_accumulator(case):
    """Merge, copy, save, load and reset: the same numbers by every way."""
    batches = [case.sample(seed, 12, True) for seed in range(4)]
    whole, first, second, none = (accumulator(case) for _ in range(4))
    for batch in batches:
        feed(whole, batch)
    for batch in batches[:2]:
        feed(first, batch)
    for batch in batches[2:]:
        feed(second, batch)
    before = bits(second)
    copies = [copy.deepcopy(first), pickle.loads(pickle.dumps(first))]
    loaded = accumulator(case)
    loaded.load_state_dict(first.state_dict())
    for metric in (first, *copies, loaded):
        metric.merge(second, none)
        np.testing.assert_allclose(metric.result(), whole.result(), rtol=1e-6)
        assert bits(metric) == bits(first)
    assert bits(second) == before
    none.merge(first)
    assert bits(none) == bits(first)
    first.reset()
    for batch in batches:
        feed(first, batch)
    assert bits(first) == bits(whole)


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=6), st.integers(0, 3))
def test_merging_loses_nothing(counts, where):
    """Counts up to 2^53 are those of Python's integers."""
    parts = [engine.Accumulator("true_positives") for _ in counts]
    for part, count in zip(parts, counts, strict=True):
        part.load_state_dict({"accumulator": np.array([float(count)])})
    total = parts.pop(where % len(parts))
    total.merge(*parts)
    assert total.state_dict()["accumulator"].tolist() == [sum(counts)]


@given(st.lists(st.floats(width=32), min_size=1, max_size=5), st.data())
def test_merging_in_any_order(values, data):
    """As adding up the batches: infinities and NaN included."""
    order = data.draw(st.permutations(values))
    total, expected = engine.Accumulator("sum"), engine.Accumulator("sum")
    for value in order:
        part = engine.Accumulator("sum")
        part.update(np.array([value], "float32"))
        total.merge(part)
    expected.update(np.array(values, "float32"))
    np.testing.assert_allclose(total.result(), expected.result(), rtol=1e-6)


def test_vectors_are_samples():
    """One sample for each entry, whatever the sizes of the batches are."""
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(size=(2, 30))
    weight = rng.uniform(size=30)
    metric = engine.Accumulator("mean_squared_error", dtype="float64")
    for part in (slice(0, 5), slice(5, 30)):
        metric.update(*map(to_backend, (true[part], predicted[part], weight[part])))
    expected = np.average((true - predicted) ** 2, weights=weight)
    assert metric.result() == pytest.approx(expected, rel=1e-14)
    metric.reset()
    for part in (slice(0, 5), slice(5, 30)):
        metric.update(to_backend(true[part]), to_backend(predicted[part]))
    expected = np.mean((true - predicted) ** 2)
    assert metric.result() == pytest.approx(expected, rel=1e-14)


def test_kinds_of_inputs():
    import jax.numpy as jnp
    import torch

    labels, scores = [0, 1, 1, 1], [0.5, 0.25, 0.75, 1.0]
    metric = engine.Accumulator("true_positives")
    for kind in (np.array, torch.tensor, jnp.array, list):
        metric.update(kind(labels), kind(scores))
    assert type(metric.result()) is np.float32
    assert metric.result() == 8.0


@torch_only
def test_updates_are_one_native_call(roads):
    labels, scores = torch.tensor([0, 1, 1]), torch.rand(3)
    for device, states in ((None, {"numpy": 2}), ("cpu", {})):
        metric = engine.Accumulator("auc", device=device)
        start = roads()
        metric.update(labels, scores)
        metric.update(labels, scores, torch.rand(3))
        risen = {k: v - start.get(k, 0) for k, v in roads().items()}
        assert risen.get("in_place") == 2
        assert risen.get("numpy", 0) == states.get("numpy", 0)
        assert "converted" not in risen


def test_mistakes_leave_the_state():
    metric = engine.Accumulator("auc")
    labels, scores = to_backend([0, 1, 1, 0]), to_backend(np.linspace(0, 1, 4))
    metric.update(labels, scores)
    before = bits(metric)
    with pytest.raises(ValueError, match="y_true"):
        metric.update(labels[:3], scores)
    with pytest.raises(ValueError, match="sample_weight"):
        metric.update(labels, scores, scores[:3])
    with pytest.raises(TypeError, match="`y_pred` must be"):
        metric.update(labels, None)
    with pytest.raises(ValueError, match="same arguments"):
        metric.merge(engine.Accumulator("auc", num_thresholds=7))
    with pytest.raises(TypeError, match="takes accumulators"):
        metric.merge(kt.AUC())
    with pytest.raises(ValueError, match="shapes"):
        metric.load_state_dict({"true_positives": np.zeros((2, 200))})
    with pytest.raises(ValueError, match="must not be empty"):
        metric.load_state_dict({})
    assert bits(metric) == before


def test_the_first_batch_decides_the_columns():
    metric = engine.Accumulator("f1_score")
    assert metric.state_dict() == {}
    with pytest.raises(ValueError, match="before its first update"):
        metric.result()
    rows = np.eye(3)
    with pytest.raises(ValueError, match="y_true"):
        metric.update(to_backend(rows[:2]), to_backend(rows))
    assert metric.state_dict() == {}
    metric.update(to_backend(rows), to_backend(rows))
    assert metric.result().shape == (3,)
    with pytest.raises(ValueError, match="as in the first batch"):
        metric.update(to_backend(rows[:, :2]), to_backend(rows[:, :2]))
    other = engine.Accumulator("f1_score")
    other.update(to_backend(rows[:, :2]), to_backend(rows[:, :2]))
    with pytest.raises(ValueError, match="columns"):
        metric.merge(other)
    state = metric.state_dict()
    other.load_state_dict(state)
    assert bits(other) == bits(metric)
    del state["columns"]
    with pytest.raises(ValueError, match="columns"):
        other.load_state_dict(state)


def test_mistakes_of_construction():
    with pytest.raises(ValueError, match="there is no metric 'acc'"):
        engine.Accumulator("acc")
    with pytest.raises(TypeError, match="`treshold` is no argument"):
        engine.Accumulator("binary_accuracy", treshold=0.5)
    with pytest.raises(TypeError, match="`columns` is no argument"):
        engine.Accumulator("f1_score", columns=3)
    with pytest.raises(ValueError, match="`dtype` must be"):
        engine.Accumulator("auc", dtype="float16")
    with pytest.raises(ValueError, match="average"):
        engine.Accumulator("f1_score", average="mean")
    with pytest.raises(TypeError, match="values alone"):
        engine.Accumulator("mean").update([1.0], [2.0])


def test_many_threads_lose_no_update():
    metric = engine.Accumulator("true_positives")
    labels, scores = to_backend(np.ones(100)), to_backend(np.ones(100, "float32"))

    def work():
        for _ in range(200):
            metric.update(labels, scores)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metric.state_dict()["accumulator"].sum() == 4 * 200 * 100
