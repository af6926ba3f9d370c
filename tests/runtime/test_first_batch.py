"""Metrics that learn their shape from the first batch: it comes from several threads at
once, from a signal handler in the middle of another one, or is refused."""

import contextlib
import functools
import gc
import sys

import numpy as np
import pytest

import keras_tally as kt
from concurrency import add, alarm, in_threads
from keras_tally import engine
from support import IS_PORTABLE, exact_state, to_backend

WORKERS = 4
TRUTH, SCORES = np.eye(3, dtype="float32")[[0, 1, 1]], np.eye(3, dtype="float32")
LISTS = TRUTH.tolist(), SCORES.tolist()


def group():
    return kt.MetricGroup(
        {
            "hits": kt.CategoricalAccuracy(),
            "f": kt.F1Score(),
            "r2": kt.R2Score(),
            "auc": kt.AUC(multi_label=True, num_thresholds=3),
        }
    )


MAKERS = {
    "F1Score": kt.F1Score,
    "R2Score": kt.R2Score,
    "AUC": lambda: kt.AUC(multi_label=True, num_thresholds=3),
    "group": group,
    "accumulator": lambda: engine.Accumulator("f1_score"),
}
every_maker = pytest.mark.parametrize("make", MAKERS)


def numbers(metric):
    """Everything that a metric holds."""
    if isinstance(metric, engine.Accumulator):
        return {name: np.asarray(x).tolist() for name, x in metric.state_dict().items()}
    return exact_state(metric)


def fed(make, batches):
    metric = MAKERS[make]()
    for batch in batches:
        add(metric, batch)
    return metric


def names(metric):
    return [v.name for v in getattr(metric, "variables", [])]


@every_maker
@pytest.mark.parametrize("batch", [LISTS, (TRUTH, SCORES)], ids=["lists", "arrays"])
def test_threads_with_the_first_batch(make, batch):
    expected = fed(make, [batch] * WORKERS)
    for _ in range(3 if IS_PORTABLE else 40):
        metric = MAKERS[make]()
        in_threads(*[functools.partial(add, metric, batch)] * WORKERS)
        assert numbers(metric) == numbers(expected)
        assert names(metric) == names(expected)


def refused_batches():
    """What each of them refuses, and finds out late."""
    matrix = to_backend(TRUTH)
    return {
        "dtype": (matrix, to_backend(SCORES.astype("complex64"))),
        "rows": (matrix, to_backend(SCORES[:2])),
        "weights": (matrix, to_backend(SCORES), to_backend(np.ones(7, "float32"))),
        "no tensor": ([["a"] * 3] * 3, LISTS[1]),
    }


@every_maker
@pytest.mark.parametrize("why", refused_batches())
def test_a_refused_batch_leaves_nothing_behind(make, why):
    metric, new = MAKERS[make](), MAKERS[make]()
    before = set(vars(metric))
    for _ in range(2):
        with pytest.raises((ValueError, TypeError)):
            add(metric, refused_batches()[why])
        assert getattr(metric, "_built", None) in (False, None)
        assert names(metric) == names(new)
        assert set(vars(metric)) == before
    # Another number of columns than the refused batch had.
    two = np.eye(2, dtype="float32")
    if make == "accumulator":
        assert metric.state_dict() == {}
    add(metric, (two, two))
    add(new, (two, two))
    assert numbers(metric) == numbers(new)
    assert names(metric) == names(new)


@every_maker
@pytest.mark.parametrize("stop", [1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 1025])
def test_a_handler_adds_the_first_batch_while_another_is_added(make, stop):
    """At one line after the other of what the first batch does."""
    metric, batch = MAKERS[make](), LISTS
    lines = 0

    def interrupt(frame, event, _):
        nonlocal lines
        if event == "line":
            lines += 1
            if lines == stop:
                sys.settrace(None)
                add(metric, batch)
        return interrupt

    gc.disable()
    sys.settrace(interrupt)
    try:
        add(metric, batch)
    finally:
        sys.settrace(None)
        gc.enable()
    expected = fed(make, [batch] * (2 if lines >= stop else 1))
    assert numbers(metric) == numbers(expected)
    assert names(metric) == names(expected)


@pytest.mark.skipif(IS_PORTABLE, reason="the frameworks themselves do not survive it")
@every_maker
def test_an_interrupt_of_the_first_batch(make):
    """It counts as a whole or not at all, and the next one finds all in order."""
    once, twice = (numbers(fed(make, [LISTS] * n)) for n in (1, 2))

    def interrupt(*_):
        raise KeyboardInterrupt

    with alarm(interrupt) as start:
        for delay in np.geomspace(1e-4, 2e-2, 20):
            metric = MAKERS[make]()
            with contextlib.suppress(KeyboardInterrupt):
                start(delay)
                add(metric, LISTS)
                start(0)
            counted = numbers(metric) == once
            add(metric, LISTS)
            assert numbers(metric) == (twice if counted else once)


@pytest.mark.skipif(IS_PORTABLE, reason="variables become views of one")
def test_a_variable_that_was_there_before_is_the_same():
    metric = kt.R2Score()
    (before,) = metric.variables
    metric.update_state(*LISTS)
    assert metric.variables[0] is metric.num_samples is before
    assert float(before.value) == len(TRUTH)
