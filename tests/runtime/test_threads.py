"""Threads, processes, signals and compiled steps around the native calls."""

import os
import signal
import sys
import threading
import warnings

import numpy as np
import pytest

import keras_tally as kt
from keras_tally import _native, _stored
from support import BACKEND, EMULATED, exact_state, to_backend

in_place = pytest.mark.skipif(
    BACKEND not in ("torch", "numpy"), reason="forks and threads of the framework"
)

LARGE = 2 * _native.parallel_threshold()


def large_batch(seed=0):
    rng = np.random.default_rng(seed)
    y_true = to_backend(rng.integers(0, 2, LARGE).astype("float32"))
    y_pred = to_backend(rng.random(LARGE, dtype="float32"))
    return y_true, y_pred


@pytest.mark.parametrize("shared", [True, False], ids=["one metric", "one each"])
@pytest.mark.parametrize("make", [kt.Precision, kt.AUC, kt.MeanSquaredError])
def test_python_threads_lose_nothing(make, shared, two_threads):
    """Large updates release the interpreter's lock; each is added under it."""
    y_true, y_pred = large_batch()
    alone = make()
    alone.update_state(y_true, y_pred)
    workers, updates = 4, 5
    one = make()
    metrics = [one if shared else make() for _ in range(workers)]
    errors = []

    def work(metric):
        try:
            for _ in range(updates):
                metric.update_state(y_true, y_pred)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(m,)) for m in metrics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    times = updates * (workers if shared else 1)

    def scaled(exact):
        return [scaled(e) for e in exact] if isinstance(exact, list) else exact * times

    # Exact arithmetic, but for what a pair of halves cannot hold of a fraction.
    rounding = 1e-15 if BACKEND in ("torch", "numpy") else 1e-13
    expected = {name: scaled(value) for name, value in exact_state(alone).items()}
    for metric in metrics:
        for name, value in exact_state(metric).items():
            np.testing.assert_allclose(
                np.array(value, dtype=float),
                np.array(expected[name], dtype=float),
                rtol=0 if make is not kt.MeanSquaredError else rounding,
            )


@pytest.mark.parametrize("road", ["native", "portable"])
def test_many_small_updates_by_threads(road, monkeypatch):
    """Also where a new state is made of the old one, which others may not change."""
    if road == "portable":
        monkeypatch.setattr(_stored, "only_portable", True)
    before = sys.getswitchinterval()
    metrics = [kt.Mean(), kt.BinaryAccuracy(), kt.MetricGroup([kt.Recall(), kt.AUC()])]
    y_true, y_pred = (
        to_backend(np.ones(3, "float32")),
        to_backend(np.ones(3, "float32")),
    )
    workers, updates = 4, 40

    def feed():
        metrics[0].update_state(y_pred)
        metrics[1].update_state(y_true, y_pred)
        metrics[2].update_state(y_true, y_pred)

    feed()
    for metric in metrics:
        metric.reset_state()
    errors = []

    def work():
        try:
            for _ in range(updates):
                feed()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert errors == []
    samples = 3 * workers * updates
    for metric in metrics[:2]:
        assert exact_state(metric) == {"total": samples, "count": samples}
    state = exact_state(metrics[2])
    assert state["recall"]["true_positives"] == [samples]


@in_place
def test_an_interrupt_leaves_whole_batches_only(two_threads):
    """Control-C during an update: it ends, and counts, or it has not begun."""
    y_true, y_pred = large_batch()
    metric = kt.BinaryAccuracy()
    metric.update_state(y_true, y_pred)
    once = exact_state(metric)["count"]

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    interrupted = 0
    try:
        for delay in np.linspace(1e-5, 5e-3, 30):
            try:
                signal.setitimer(signal.ITIMER_REAL, delay)
                while True:
                    metric.update_state(y_true, y_pred)
            except KeyboardInterrupt:
                interrupted += 1
            count = exact_state(metric)["count"]
            assert count % once == 0
            assert exact_state(metric)["total"] * once % count == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted == 30
    metric.reset_state()
    metric.update_state(y_true, y_pred)
    assert exact_state(metric)["count"] == once


class Counting:
    """A data set whose items are what a metric has counted in the worker's process."""

    def __init__(self, metric, batch):
        self.metric, self.batch = metric, batch

    def __len__(self):
        return 6

    def __getitem__(self, i):
        self.metric.update_state(*self.batch)
        return int(exact_state(self.metric)["count"])


@pytest.mark.torch_only
@pytest.mark.parametrize("how", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers_of_a_data_loader(how, two_threads):
    """They take a metric that is in use along, and count for themselves."""
    import torch

    if EMULATED:
        pytest.skip("a spawned process has no emulated device")
    batch = large_batch()
    metric = kt.BinaryAccuracy()
    metric.update_state(*batch)
    loader = torch.utils.data.DataLoader(
        Counting(metric, batch),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=how,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        counts = [n // LARGE for n in loader]
    assert counts == [2, 2, 3, 3, 4, 4]
    assert exact_state(metric)["count"] == LARGE


@in_place
def test_forked_child_updates_on_a_pool_of_its_own(two_threads):
    y_true, y_pred = large_batch()
    metric = kt.Precision()
    metric.update_state(y_true, y_pred)  # the parent's pool is running
    once = exact_state(metric)
    parallel = _native.road_counts()["parallel"]
    with warnings.catch_warnings():
        # Newer Pythons warn of any fork in a process with threads, and so does JAX,
        # where another test has imported it.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        child = os.fork()
    if child == 0:
        metric.update_state(y_true, y_pred)
        twice = {name: [2 * v[0]] for name, v in once.items()}
        threaded = _native.road_counts()["parallel"] == parallel + 1
        os._exit(0 if exact_state(metric) == twice and threaded else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert exact_state(metric) == once


@pytest.mark.torch_only
def test_inside_a_compiled_step():
    """In a step between other operations, some of which may break the graph."""
    import torch

    metric = kt.MeanSquaredError()

    def step(x, y):
        z = torch.sin(x) * 2
        metric.update_state(y, z)
        return z + 1

    compiled = torch.compile(step, backend="eager")
    plain = kt.MeanSquaredError()
    for seed in range(3):
        x = torch.rand(16, 1, generator=torch.Generator().manual_seed(seed))
        with warnings.catch_warnings():
            # dynamo says that it does not look into native functions.
            warnings.simplefilter("ignore", UserWarning)
            out = compiled(x, 1 - x)
        torch.testing.assert_close(out, torch.sin(x) * 2 + 1)
        plain.update_state(1 - x, torch.sin(x) * 2)
    assert exact_state(metric) == exact_state(plain)
