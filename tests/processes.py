"""Real processes that work together: what the tests run in them, and how."""

import datetime
import multiprocessing
import os
import signal
import socket
import time
import traceback

import keras
import numpy as np

import keras_tally as kt
from support import exact_state

# One process imports what takes long, and the others are forked from it. It does not
# look for modules here, so this one cannot be in the list.
CONTEXT = multiprocessing.get_context("forkserver")
FRAMEWORK = "jax" if keras.config.backend() == "jax" else "torch.distributed"
CONTEXT.set_forkserver_preload(["keras", "keras_tally._public", FRAMEWORK])


def run(scenario, world, folder, *arguments, missing=(), timeout_s=60):
    """What `scenario(rank, world, *arguments)` returns on each rank, in order.

    An exception is returned as its text. `missing` ranks are expected to say nothing.
    """
    results = CONTEXT.Queue()
    meeting = f"{folder}/{scenario.__name__}-{world}"
    if keras.config.backend() == "jax":
        with socket.create_server(("127.0.0.1", 0)) as free:
            meeting = f"127.0.0.1:{free.getsockname()[1]}"
    processes = [
        CONTEXT.Process(
            target=_work,
            args=(results, meeting, timeout_s, scenario, rank, world, *arguments),
        )
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    found = dict(results.get(timeout=120) for _ in range(world - len(missing)))
    for process in processes:
        process.join(60)
    return [found.get(rank) for rank in range(world)]


def run_code(code, folder, timeout_s=300):
    """Run a program in the folder, as a process that has imported Keras already.

    Return its exit code and what it has written.
    """
    output = f"{folder}/output"
    process = CONTEXT.Process(target=_run_code, args=(code, folder, output))
    process.start()
    process.join(timeout_s)
    if process.exitcode is None:
        process.kill()
        process.join()
    with open(output) as file:
        return process.exitcode, file.read()


def _run_code(code, folder, output):
    os.chdir(folder)
    with open(output, "w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    if FRAMEWORK != "jax":
        import torch

        torch.set_num_threads(1)
    exec(compile(code, "<code>", "exec"), {"__name__": "__main__"})


def _work(results, meeting, timeout_s, scenario, rank, world, *arguments):
    try:
        if keras.config.backend() != "jax":
            import torch.distributed as dist

            dist.init_process_group(
                "gloo",
                init_method=f"file://{meeting}",
                rank=rank,
                world_size=world,
                timeout=datetime.timedelta(seconds=timeout_s),
            )
        else:
            import jax

            jax.config.update("jax_cpu_collectives_implementation", "gloo")
            jax.distributed.initialize(meeting, world, rank)
        results.put((rank, scenario(rank, world, *arguments)))
    except BaseException:
        results.put((rank, traceback.format_exc()))


class Counted:
    """Counts the collective operations of torch.distributed."""

    NAMES = (
        "all_gather",
        "all_reduce",
        "broadcast",
        "barrier",
        "gather",
        "all_gather_into_tensor",
        "reduce",
        "send",
    )

    def __init__(self):
        import torch.distributed as dist

        self.count = 0
        for name in self.NAMES:
            setattr(dist, name, self._counting(getattr(dist, name)))

    def _counting(self, function):
        def counting(*args, **kwargs):
            self.count += 1
            return function(*args, **kwargs)

        return counting


def some_metrics():
    """Metrics of labels and scores of shape (n, 3), in several structures."""
    return {
        "auc": kt.AUC(),
        "hits": kt.CategoricalAccuracy(),
        "matrix": kt.MeanIoU(3, sparse_y_true=False, sparse_y_pred=False),
        "late": kt.F1Score(average="macro"),
        "deviations": kt.R2Score(),
        "error": kt.MeanSquaredError(),
        "group": kt.MetricGroup(
            {"loss": kt.CategoricalCrossentropy(), "recall": kt.Recall()}
        ),
        "late_group": kt.MetricGroup(
            {"score": kt.FBetaScore(beta=2.0), "matrix": kt.MeanIoU(2)}
        ),
        "one": kt.CosineSimilarity(),
    }


def rows(seed, n):
    rng = np.random.default_rng(seed)
    labels = np.eye(3, dtype="float32")[rng.integers(0, 3, n)]
    return labels, rng.random((n, 3), "float32")


def batches_of(rank, uneven):
    """Batches of different numbers and sizes; rank 1 has none if `uneven`."""
    if uneven and rank == 1:
        return []
    return [rows(100 * rank + i, 5 + 3 * rank + i) for i in range(2 + rank)]


def feed(metrics, batches):
    for labels, scores in batches:
        for metric in metrics.values():
            metric.update_state(labels, scores)
    return metrics


def states_and_results(metrics):
    return {
        name: (
            exact_state(metric),
            str(keras.tree.map_structure(_as_numpy, metric.result())),
        )
        for name, metric in metrics.items()
    }


def _as_numpy(x):
    return keras.ops.convert_to_numpy(x).tobytes().hex()


def sync_rounds(rank, world, uneven):
    """Train, sync, train on, sync again: what each process sees."""
    counted = Counted() if keras.config.backend() != "jax" else None
    metrics = some_metrics()
    seen = []
    for part in (batches_of(rank, uneven), batches_of(rank + 10, uneven)):
        feed(metrics, part)
        before = {k: exact_state(m) for k, m in metrics.items()}
        start = counted.count if counted else 0
        synced = kt.sync(metrics)
        collectives = counted.count - start if counted else 1
        assert {k: exact_state(m) for k, m in metrics.items()} == before
        seen.append((states_and_results(synced), collectives))
    start = counted.count if counted else 0
    again = kt.sync(list(metrics.values()))
    assert [s.name for s in again] == [m.name for m in metrics.values()]
    assert isinstance(kt.sync(metrics["auc"]).metric(), kt.AUC)
    seen.append(counted.count - start if counted else 2)
    return seen


def sync_different(rank, world):
    """Every way to disagree ends with one error on all processes, and no hang."""
    odd = rank == world - 1
    attempts = [
        lambda: kt.AUC(num_thresholds=100 if odd else 200),
        lambda: kt.Precision() if odd else kt.Recall(),
        lambda: [kt.AUC()] if odd else [kt.AUC(), kt.Recall()],
        lambda: {"a": kt.AUC()} if odd else {"b": kt.AUC()},
        lambda: kt.MetricGroup({"auc": kt.AUC(num_thresholds=9 if odd else 8)}),
        lambda: _late(3 if odd else 2),
        lambda: keras.metrics.AUC() if odd else kt.AUC(),
    ]
    messages = []
    for attempt in attempts:
        try:
            kt.sync(attempt())
        except (TypeError, ValueError) as error:
            messages.append(str(error))
        else:
            messages.append("no error")
    mean = kt.Mean()
    mean.update_state([float(rank)])
    return messages, float(kt.sync(mean).result())


def _late(columns):
    metric = kt.F1Score()
    labels = np.eye(columns, dtype="float32")
    metric.update_state(labels, labels)
    return metric


def sync_in_groups(rank, world):
    """Two process groups at once, each with its own sum."""
    import torch.distributed as dist

    halves = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    total = kt.Sum()
    total.update_state([float(2**rank)])
    mine = kt.sync(total, group=halves[rank // 2])
    counted = Counted()
    wide = kt.MeanIoU(100)
    wide.update_state([rank], [2])
    collectives = []
    for _ in range(3):
        start = counted.count
        assert len(exact_state(kt.sync(wide).metric())) == 1
        collectives.append(counted.count - start)
    return float(mine.result()), float(kt.sync(total).result()), collectives


def sync_without_one(rank, world, how):
    """The last process is killed, or stays away."""
    mean = kt.Mean()
    mean.update_state([float(rank)])
    assert float(kt.sync(mean).result()) == (world - 1) / 2
    if rank == world - 1:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(8)
        return "stayed away"
    before = exact_state(mean)
    try:
        kt.sync(mean)
    except RuntimeError as error:
        assert exact_state(mean) == before
        return f"RuntimeError: {error}"
    return "no error"


class SyncedLogs(keras.callbacks.Callback):
    """The counts of all processes, at the end of each epoch."""

    def __init__(self, metrics):
        super().__init__()
        self.metrics = metrics
        self.counts = []

    def on_epoch_end(self, epoch, logs=None):
        synced = kt.sync(self.metrics)
        self.counts.append([exact_state(s)["count"] for s in synced])


def keras_fit(rank, world):
    """Keras's `fit` in two processes: each keeps its own numbers; sync adds them up."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(3)])
    hits, error = kt.CategoricalAccuracy(), kt.MeanSquaredError(name="error")
    model.compile("sgd", "mse", metrics=[hits, error])
    labels, scores = rows(rank, 20 + 10 * rank)
    logs = SyncedLogs([hits, error])
    model.fit(scores, labels, batch_size=8, epochs=2, verbose=0, callbacks=[logs])
    return float(hits.count.value), logs.counts
