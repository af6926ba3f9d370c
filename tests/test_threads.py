"""Threads, processes and compiled steps around the native calls."""

import os
import threading
import warnings

import numpy as np
import pytest

import keras_tally as kt
from keras_tally import _native
from support import to_backend

LARGE = 2 * _native.parallel_threshold()


def large_batch(seed=0):
    rng = np.random.default_rng(seed)
    y_true = to_backend(rng.integers(0, 2, LARGE).astype("float32"))
    y_pred = to_backend(rng.random(LARGE, dtype="float32"))
    return y_true, y_pred


@pytest.fixture
def two_threads():
    before = kt.num_threads()
    kt.set_num_threads(2)
    yield
    kt.set_num_threads(before)


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

    # Exact arithmetic, but for what a double-double cannot hold of a fraction.
    expected = {name: scaled(value) for name, value in alone.exact_state().items()}
    for metric in metrics:
        for name, value in metric.exact_state().items():
            np.testing.assert_allclose(
                np.array(value, dtype=float),
                np.array(expected[name], dtype=float),
                rtol=0 if make is not kt.MeanSquaredError else 1e-15,
            )


def test_forked_child_updates_on_a_pool_of_its_own(two_threads):
    y_true, y_pred = large_batch()
    metric = kt.Precision()
    metric.update_state(y_true, y_pred)  # the parent's pool is running
    once = metric.exact_state()
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
        os._exit(0 if metric.exact_state() == twice and threaded else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert metric.exact_state() == once


def test_number_of_threads_is_checked():
    for bad in (0, -1, 257):
        with pytest.raises(ValueError, match="count"):
            kt.set_num_threads(bad)


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
    assert metric.exact_state() == plain.exact_state()
