"""What is declared of a metric, and what is made of it."""

import inspect
import subprocess
import sys

import pytest

import keras_tally as kt
from keras_tally import functional
from keras_tally._declare import CLASSES
from keras_tally._specs import argument_names
from keras_tally.metrics import METRICS
from support import IS_TORCH, torch_only

if IS_TORCH:
    import torch

WITH_CLASS = [metric for metric in METRICS.values() if metric.class_name]

BEFORE_KERAS = """
import sys
from keras_tally import engine, functional
from keras_tally.metrics import confusion

assert "keras" not in sys.modules
declared = confusion.AUC
assert not isinstance(declared, type)
functional.auc([0, 1], [0.2, 0.7])
assert "keras" not in sys.modules

import keras
import keras_tally as kt

assert issubclass(confusion.AUC, keras.metrics.Metric)
assert confusion.AUC is kt.AUC is declared.real()
assert confusion.keras is keras
"""


def test_classes_are_made_once_keras_is_there():
    done = subprocess.run(
        [sys.executable, "-c", BEFORE_KERAS], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_classes_are_those_of_the_package():
    assert all(getattr(kt, name) is CLASSES[name].real() for name in CLASSES)
    assert {m.class_name for m in WITH_CLASS} <= set(CLASSES)


@pytest.mark.parametrize("metric", WITH_CLASS, ids=lambda m: m.name)
def test_arguments_of_the_spec_are_arguments_of_the_class(metric):
    constructor = inspect.signature(getattr(kt, metric.class_name)).parameters
    # `label_weights` and such are arguments of both, by the same names and defaults.
    for parameter in inspect.signature(metric.make).parameters.values():
        if parameter.name in argument_names(metric.make):
            assert constructor[parameter.name].default == parameter.default


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("recall", {"tresholds": 0.5}, r"recall\(\) got an unexpected .*'tresholds'"),
        ("iou", {"num_classes": 2}, r"iou\(\) missing .*'target_class_ids'"),
        ("iou", {"per_class_counts": False}, r"iou\(\) missing"),
        ("auc", {"columns": 3}, r"auc\(\) got an unexpected .*'columns'"),
        ("r2_score", {"average": None}, r"r2_score\(\) got an unexpected .*'average'"),
        ("confusion_matrix", {}, r"confusion_matrix\(\) missing .*'num_classes'"),
        ("mean", {"y_pred": [1.0]}, "y_pred"),
    ],
)
def test_functions_refuse_other_arguments(name, given, message):
    inputs = [[0, 1]] if name == "mean" else [[0, 1], [0.2, 0.7]]
    with pytest.raises(TypeError, match=message):
        getattr(functional, name)(*inputs, **given)


@torch_only
def test_arguments_are_what_tensors_hold_at_the_call():
    y_true, y_pred = (
        torch.tensor([0.0, 1.0, 1.0, 0.0]),
        torch.tensor([0.2, 0.6, 0.9, 0.4]),
    )
    threshold = torch.tensor(0.5)
    assert functional.binary_accuracy(y_true, y_pred, threshold=threshold) == 1.0
    threshold.fill_(0.95)
    assert functional.binary_accuracy(y_true, y_pred, threshold=threshold) == 0.5


def test_what_is_no_function():
    with pytest.raises(AttributeError, match="no attribute 'recal'"):
        functional.recal  # noqa: B018
    assert dir(functional) == sorted(METRICS)
