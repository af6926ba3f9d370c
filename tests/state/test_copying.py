"""Pickles and copies of a metric hold its state, and nothing in common with it."""

import copy
import multiprocessing
import pickle

import keras
import numpy as np
import pytest

import keras_tally as kt
from cases import ALL_CASES, CASES, default_case, few_if_compiled
from support import assert_close, exact_state, state_bits, updated

few_cases = pytest.mark.parametrize("case", few_if_compiled(CASES))

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": lambda metric, protocol=protocol: pickle.loads(
            pickle.dumps(metric, protocol)
        )
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)
    },
}


class Scaled(kt.Mean):
    """A user's subclass with an argument and a variable of its own."""

    def __init__(self, scale, name="scaled", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.scale = scale
        self.batches = self.add_variable((), "zeros", name="batches")

    def update_state(self, values, sample_weight=None):
        super().update_state(values, sample_weight)
        self.batches.assign_add(1)

    def result(self):
        return self.scale * super().result()

    def get_config(self):
        return {**super().get_config(), "scale": self.scale}


class Forgetful(kt.Precision):
    """Says nothing of its argument in its config."""

    def __init__(self, levels=1, name=None, dtype=None):
        super().__init__(thresholds=list(np.linspace(0, 1, levels)), name=name)

    def get_config(self):
        return {"name": self.name}


def unregistered(y_true, y_pred, scale=1.0):
    return scale * keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


@few_cases
def test_copy_equals_the_original(case):
    metric = updated(case.ours(name="mine"), [case.sample(0, 30, weighted=True)])
    for way, copied in WAYS.items():
        again = copied(metric)
        assert type(again) is type(metric), way
        assert again.name == "mine"
        assert again.dtype == metric.dtype
        assert state_bits(again) == state_bits(metric), way
        assert exact_state(again) == exact_state(metric)
        assert_close(again.result(), metric.result(), 0, what=way)


@pytest.mark.parametrize("way", ["copy", "deepcopy", "pickle 5"])
@few_cases
def test_copy_and_original_are_independent(case, way):
    first, second = case.sample(0, 30), case.sample(1, 20)
    metric = updated(case.ours(), [first])
    before = state_bits(metric)
    again = updated(WAYS[way](metric), [second])
    assert state_bits(metric) == before
    assert state_bits(again) == state_bits(updated(metric, [second]))
    after = state_bits(metric)
    again.reset_state()
    assert state_bits(metric) == after


@few_cases
def test_copy_before_the_first_batch(case):
    """Also of a metric that has no variables yet."""
    metric, batch = case.ours(), case.sample(0, 20)
    again = updated(copy.deepcopy(metric), [batch])
    assert state_bits(again) == state_bits(updated(metric, [batch]))


def test_copy_of_a_copy_of_a_metric_that_was_built_late():
    case = next(c for c in ALL_CASES if c.name == "AUC" and c.built_late)
    metric = updated(case.ours(), [case.sample(0, 30)])
    again = copy.copy(pickle.loads(pickle.dumps(copy.deepcopy(metric))))
    assert state_bits(again) == state_bits(metric)


@pytest.mark.parametrize("way", WAYS)
def test_what_float32_cannot_hold_is_kept(way):
    metric = kt.Sum()
    metric.total.assign(2.0**40)
    metric.update_state([1.0])
    assert exact_state(WAYS[way](metric)) == {"total": 2**40 + 1}


@pytest.mark.parametrize("way", WAYS)
def test_subclass_of_a_user(way):
    metric = Scaled(scale=3.0)
    for values in ([1.0], [2.0, 3.0]):
        metric.update_state(values)
    again = WAYS[way](metric)
    assert type(again) is Scaled
    assert again.scale == 3.0
    assert float(again.result()) == 6.0
    assert float(again.batches.value) == 2.0
    metric.update_state([100.0])
    assert float(again.result()) == 6.0
    assert float(again.batches.value) == 2.0


def test_subclass_whose_config_says_too_little():
    assert copy.copy(Forgetful()).name == "forgetful"
    with pytest.raises(ValueError, match=r"Forgetful.*get_config"):
        copy.copy(Forgetful(levels=3))


@pytest.mark.parametrize("way", WAYS)
def test_function_of_a_user_goes_by_reference(way):
    metric = kt.MeanMetricWrapper(unregistered, name="error", scale=2.0)
    labels, scores = keras.ops.zeros((4, 2)), keras.ops.ones((4, 2))
    metric.update_state(labels, scores)
    again = WAYS[way](metric)
    assert float(again.result()) == 2.0
    again.update_state(labels, labels)
    assert float(again.result()) == 1.0
    assert float(metric.result()) == 2.0


def test_name_numbers_are_not_used_up():
    metric = kt.AUC()
    copy.deepcopy(metric)
    assert [metric.name, kt.AUC().name] == ["auc", "auc_1"]


def add_batch(metric):
    """What a worker process does: it gets a metric and sends it back."""
    metric.update_state([0, 1, 1, 0], [0.25, 0.75, 0.5, 0.5])
    return metric


@pytest.mark.slow
@pytest.mark.parametrize("name", ["AUC", "BinaryAccuracy"])
def test_metrics_travel_between_processes(name):
    metric = add_batch(default_case(name).ours())
    expected = add_batch(copy.deepcopy(metric))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        again = pool.apply(add_batch, (metric,))
    assert state_bits(again) == state_bits(expected)
    assert_close(again.result(), expected.result(), 0)
