"""One metric for several threads and signal handlers, on the slow path: lists, masks,
tables, whatever has to be converted before a kernel can read it."""

import itertools
import pickle
import subprocess
import sys
import textwrap
import threading
import time

import keras
import numpy as np
import pytest

import keras_tally as kt
from concurrency import add, alarm, in_threads
from keras_tally import engine
from support import (
    BACKEND,
    IS_PORTABLE,
    IS_TORCH,
    attach_mask,
    exact_state,
    to_backend,
    to_numpy,
)

in_place_only = pytest.mark.skipif(IS_PORTABLE, reason="states are replaced there")
# TensorFlow ends with a segmentation fault, JAX goes on with leaked tracers.
interruptible = pytest.mark.skipif(IS_PORTABLE, reason="the frameworks are not")


def array(values, dtype="float32"):
    return np.array(values, dtype)


def masked(values):
    return attach_mask(to_backend(array(values)), np.array([True, True]))


def table():
    import pandas

    return pandas.DataFrame({"true": [1, 0], "score": [0.9, 0.2]})


# Two samples, both of them hits: y_true, y_pred, sample_weight.
TRUTH, SCORES = [1, 0], [0.9, 0.2]
SLOW_PATHS = {
    "lists": lambda: (TRUTH, SCORES, None),
    "weights": lambda: (to_backend(array(TRUTH)), to_backend(array(SCORES)), [1, 1]),
    "mask": lambda: (to_backend(array(TRUTH)), masked(SCORES), None),
    "mask, weights": lambda: (to_backend(array(TRUTH)), masked(SCORES), [1, 1]),
    "table": lambda: (table()["true"], table()["score"], None),
}
if BACKEND not in ("torch", "jax"):  # which do not take them
    SLOW_PATHS["byte order"] = lambda: (array(TRUTH, ">f4"), array(SCORES, ">f4"), None)
every_slow_path = pytest.mark.parametrize("kind", SLOW_PATHS)


class Counts(kt.Metric):
    """A user's metric: floats and integers, scalars and vectors."""

    def __init__(self, name="counts", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.total = self.add_weight(name="total", initializer="zeros")
        self.each = self.add_variable((2,), "zeros", name="each")
        self.both = self.add_variable((2,), "zeros", name="both")
        self.batches = self.add_variable((), "zeros", dtype="int32", name="batches")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.total.assign_add(1)
        self.each.assign_add([1.0, 1.0])
        self.both.assign_add(keras.ops.ones((1,)))  # of another shape
        self.batches.assign_add(1)

    def result(self):
        return self.total


def group():
    members = {"a": kt.BinaryAccuracy(), "b": kt.BinaryAccuracy(threshold=0.4)}
    return kt.MetricGroup(members)


def group_of_others():
    """With a member that is updated on its own."""
    return kt.MetricGroup({"a": kt.BinaryAccuracy(), "own": Counts()})


MAKERS = {
    "metric": kt.BinaryAccuracy,
    "group": group,
    "group of others": group_of_others,
    "own metric": Counts,
    "accumulator": lambda: engine.Accumulator("binary_accuracy"),
}
if IS_TORCH:
    MAKERS["module"] = lambda: engine.module("binary_accuracy")
every_maker = pytest.mark.parametrize("make", MAKERS)


def batches_in(metric):
    """How many batches a metric has counted, by each of its numbers."""
    if isinstance(metric, kt.MetricGroup):
        return set().union(*map(batches_in, metric.metrics))
    if isinstance(metric, Counts):
        return set(np.hstack(list(exact_state(metric).values())))
    if isinstance(metric, kt.Metric):
        state = exact_state(metric)
    elif isinstance(metric, engine.Accumulator):
        state = metric.state_dict()
    else:
        state = dict(zip(("total", "count"), metric.state.tolist(), strict=True))
    return {float(state[name]) / 2 for name in ("total", "count")}


@every_slow_path
@every_maker
def test_threads_lose_nothing(make, kind):
    metric, batch = MAKERS[make](), SLOW_PATHS[kind]()
    updates = 15 if IS_PORTABLE else 60

    def work():
        for _ in range(updates):
            add(metric, batch)

    in_threads(*[work] * 4)
    assert batches_in(metric) == {4 * updates}


@every_slow_path
def test_a_reader_sees_whole_batches(kind):
    """Results, and every form in which a state leaves a metric."""
    metric, batch = kt.BinaryAccuracy(), SLOW_PATHS[kind]()
    add(metric, batch)
    stop, seen = threading.Event(), set()

    def write():
        try:
            for _ in range(20 if IS_PORTABLE else 150):
                add(metric, batch)
        finally:
            stop.set()

    def read():
        while not stop.is_set():
            variables = metric.state_dict()["variables"]
            total, count = (to_numpy(variables[name]) for name in ("total", "count"))
            copies = [exact_state(metric), {"total": total, "count": count}]
            copies.append(exact_state(pickle.loads(pickle.dumps(metric))))
            copies.append(exact_state(kt.from_bytes(metric.to_bytes())))
            seen.update(float(x["total"]) / float(x["count"]) for x in copies)
            seen.add(float(metric.result()))

    in_threads(write, read)
    assert seen == {1.0}


def test_a_reader_of_a_group_sees_one_moment():
    """Also where the members' states lie in variables of different dtypes."""
    metric = kt.MetricGroup(
        {"hits": kt.TruePositives(), "iou": kt.IoU(2, target_class_ids=[0])}
    )
    metric.update_state([1], [1])
    stop, seen = threading.Event(), set()

    def write():
        try:
            for i in range(20 if IS_PORTABLE else 300):
                metric.update_state([i % 2], [1])
                metric.reset_state()
        finally:
            stop.set()

    def read():
        while not stop.is_set():
            seen.add(tuple(float(x) for x in metric.result().values()))

    in_threads(write, read)
    # Nothing seen; one hit of class 1; one miss of class 0.
    assert seen <= {(0.0, 0.0), (1.0, 0.0)}


@every_slow_path
@pytest.mark.parametrize("make", [m for m in MAKERS if m != "own metric"])
@interruptible
def test_an_interrupt_leaves_whole_batches(make, kind):
    metric, batch = MAKERS[make](), SLOW_PATHS[kind]()
    begun = ended = 0
    due = 0  # with so many updates begun; NumPy swallows some interrupts

    def interrupt(*_):
        nonlocal due
        if begun >= due:
            due = begun + 3
            raise KeyboardInterrupt

    with alarm(interrupt) as start:
        for delay in np.random.default_rng(0).uniform(5e-5, 2e-3, 60):
            try:
                due = begun
                start(delay, 0.01)
                while True:
                    begun += 1
                    add(metric, batch)
                    ended += 1
            except (KeyboardInterrupt, TypeError):  # torch's word for one in a table
                (found,) = batches_in(metric)
                assert ended <= found <= begun
                begun = ended = int(found)


@pytest.mark.parametrize("kind", ["lists", "mask, weights"])
@pytest.mark.parametrize("make", ["metric", "group", "own metric", "accumulator"])
def test_a_signal_handler_updates_the_same_metric(make, kind):
    metric, batch = MAKERS[make](), SLOW_PATHS[kind]()
    for _ in range(3):  # what has to be compiled is
        add(metric, batch)
    running, handled, updates = False, 0, 3

    def handle(*_):
        nonlocal running, handled
        if running:  # it was called while it was at work itself
            return
        running = True
        add(metric, batch)
        handled += 1
        running = False
        start(next(delays))

    delays = itertools.cycle(np.linspace(2e-4, 5e-3, 60))
    with alarm(handle) as start:
        start(1e-4)
        end = time.monotonic() + (2 if IS_PORTABLE else 0.5)
        while time.monotonic() < end:
            add(metric, batch)
            updates += 1
    assert handled > 20
    assert batches_in(metric) == {updates + handled}


@pytest.mark.skipif(not IS_PORTABLE, reason="nothing is computed twice there")
@pytest.mark.parametrize("make", [kt.BinaryAccuracy, group, lambda: kt.IoU(2, [0])])
def test_a_handler_more_frequent_than_updates(make, monkeypatch):
    """It changes the state in the middle of every attempt to compute a new one."""
    metric, other = make(), make()
    batch = array([1, 0]), array([1, 0])
    backend = kt._backends.active()
    update, calls = backend.update, 0

    def interrupted(*arguments):
        nonlocal calls
        new = update(*arguments)
        calls += 1
        if calls % 2:  # not in the handler's own
            metric.update_state(*batch)
        return new

    monkeypatch.setattr(backend, "update", interrupted)
    metric.update_state(*batch)
    assert 2 <= calls <= 6
    monkeypatch.undo()
    for _ in range(calls // 2 + 1):
        other.update_state(*batch)
    assert exact_state(metric) == exact_state(other)


@in_place_only
@pytest.mark.slow
def test_a_list_costs_no_copy_of_the_state():
    """A table of 4,000 classes has 128 MB."""
    script = """
        import resource, sys
        import keras_tally as kt

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

        metric = kt.MeanIoU(4_000)
        metric.update_state([1, 2], [1, 3])
        before = peak()
        for _ in range(3):
            metric.update_state([1, 2], [1, 3], [1, 2])
        print(peak() - before)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(run.stdout) < 60
