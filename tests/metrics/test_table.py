"""The table of kernels, the classes, the references and the docs fit together."""

import doctest
import inspect
import re

import keras
import numpy as np
import pytest

import keras_tally as kt
import references
from cases import (
    ALL_CASES,
    CLASS_NAMES,
    DEFAULT_CASES,
    EXTRA_PARAMETERS,
    NOT_IN_KERAS,
)
from keras_tally import _kernel_metric, _native
from keras_tally._engine import IN_PLACE
from support import slow_if_compiled

EXECUTORS = {
    "elementwise",
    "rowwise",
    "columnwise",
    "binned",
    "tabulated",
    "expression",
}


@pytest.fixture
def kernels_asked_for(monkeypatch):
    """The names of the kernels that metrics ask for while the test runs."""
    asked = set()
    make_plan = _kernel_metric.make_plan

    def remember(kernel, *args, **kwargs):
        asked.add(kernel)
        return make_plan(kernel, *args, **kwargs)

    monkeypatch.setattr(_kernel_metric, "make_plan", remember)
    return asked


def test_rows_of_the_table():
    rows = _native.kernels()
    names = [row["name"] for row in rows]
    assert names
    assert len(set(names)) == len(names)
    assert {row["executor"] for row in rows} == EXECUTORS


# Keras has these as functions only.
FUNCTIONS_ONLY = {"binary_focal_crossentropy", "categorical_focal_crossentropy"}


@slow_if_compiled
def test_every_kernel_is_used_by_a_class(kernels_asked_for):
    for case in ALL_CASES:
        metric = case.ours()
        metric.update_state(*case.sample(0, 4).args)
    kernels = {row["name"] for row in _native.kernels()}
    assert kernels_asked_for == kernels - FUNCTIONS_ONLY
    assert {name for name in FUNCTIONS_ONLY if hasattr(kt, name)} == FUNCTIONS_ONLY


def test_every_class_has_a_reference():
    assert set(references.REFERENCES) == set(CLASS_NAMES)


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_signature_is_keras_signature(name):
    if name in NOT_IN_KERAS:
        parameters = inspect.signature(getattr(kt, name)).parameters
        assert parameters["name"].default == NOT_IN_KERAS[name].default_name
        assert parameters["dtype"].default is None
        return
    ours = inspect.signature(getattr(kt, name)).parameters
    theirs = inspect.signature(getattr(keras.metrics, name)).parameters
    extra = [
        (parameter, default, inspect.Parameter.KEYWORD_ONLY)
        for parameter, default in EXTRA_PARAMETERS.get(name, {}).items()
    ]
    assert [(p.name, p.default, p.kind) for p in ours.values()] == [
        *((p.name, p.default, p.kind) for p in theirs.values()),
        *extra,
    ]


@pytest.mark.parametrize("name", CLASS_NAMES)
def test_update_state_is_keras_update_state(name):
    reference = getattr(keras.metrics, name, keras.metrics.MeanMetricWrapper)
    ours = inspect.signature(getattr(kt, name).update_state).parameters
    theirs = inspect.signature(reference.update_state).parameters
    assert [(p.name, p.default) for p in ours.values()] == [
        (p.name, p.default) for p in theirs.values()
    ]


# What it computes is the user's.
@pytest.mark.parametrize("name", sorted({*NOT_IN_KERAS} - {"ElementwiseMetric"}))
def test_class_that_keras_lacks_cites_its_source(name):
    assert re.search(r"Source: .*\b(19|20)\d\d\b", getattr(kt, name).__doc__, re.DOTALL)


class NumbersMayRound(doctest.OutputChecker):
    """Compares numbers as numbers, within what float32 can tell apart."""

    NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|\binf\b|\bnan\b)")
    # What NumPy, torch and Keras write around a number.
    DRESS = re.compile(r"np\.float(?:32|64)|tensor|array|dtype=\S+|[()\s]")

    def check_output(self, want, got, optionflags):
        if super().check_output(want, got, optionflags):
            return True
        want, got = (self.DRESS.sub("", text) for text in (want, got))
        if self.NUMBER.sub("#", want) != self.NUMBER.sub("#", got):
            return False
        numbers = [[float(x) for x in self.NUMBER.findall(t)] for t in (want, got)]
        # Five digits, of which Keras's own float32 may miss the last.
        tolerance = 2e-5 if not IN_PLACE else 1e-7
        return np.allclose(*numbers, rtol=1e-6, atol=tolerance, equal_nan=True)


def public_docstrings():
    finder = doctest.DocTestFinder()
    tests = []
    for name in kt.__all__:
        if name == "sync" and keras.config.backend() in ("tensorflow", "numpy"):
            continue  # there it says that it has no way
        item = getattr(kt, name)
        if hasattr(item, "__doc__") and not isinstance(item, str):
            tests += finder.find(item, name=name, module=False, globs={})
    tests += finder.find(kt, name="keras_tally", module=kt, globs={})
    return [test for test in tests if test.examples]


@slow_if_compiled
@pytest.mark.parametrize("test", public_docstrings(), ids=lambda t: t.name)
def test_examples_of_docstrings(test):
    output = []
    runner = doctest.DocTestRunner(
        NumbersMayRound(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )
    test.globs = {"kt": kt, "keras": keras, "keras_tally": kt, "np": np}
    failures, _ = runner.run(test, out=output.append)
    assert failures == 0, "".join(output)


def test_default_case_of_every_class_uses_defaults():
    for case in DEFAULT_CASES:
        if case.name in ("MeanMetricWrapper", "ElementwiseMetric"):
            continue
        defaults = {
            k: p.default
            for k, p in inspect.signature(getattr(kt, case.name)).parameters.items()
        }
        for key, value in case.kwargs.items():
            if defaults[key] is not inspect.Parameter.empty:
                assert value == defaults[key]
