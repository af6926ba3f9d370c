"""`sync` beside a bare all-reduce of the same bytes, and a Parquet file beside
scikit-learn, with the memory that the evaluation takes.

    KERAS_BACKEND=torch python bench/distributed.py

`--evaluate FILE` evaluates one file and prints what it took, as JSON.
"""

from __future__ import annotations

import datetime
import json
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from sklearn.metrics import (
    accuracy_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

import keras_tally as kt
from keras_tally import _backends
from keras_tally.bench.harness import say
from report import Report, start

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

from parquet_scores import COLUMNS, add_batches, new_metrics, read_batches

WORLD = 4
ROUNDS = 300
MIB = 2**20
# What an evaluation may take beyond what the process has anyway.
BOUND_MIB = 48
FILE_MIB = 10 * BOUND_MIB
ROWS_FOR_SKLEARN = 4_000_000


# --------------------------------------------------------------------------------------
# sync


def twenty_metrics() -> list[Any]:
    """Metrics of labels and scores of shape (n, 1)."""
    names = (
        "BinaryAccuracy Precision Recall AUC BinaryCrossentropy TruePositives "
        "FalsePositives TrueNegatives FalseNegatives MeanSquaredError "
        "RootMeanSquaredError MeanAbsoluteError LogCoshError Huber Hinge "
        "SquaredHinge Poisson KLDivergence R2Score BinaryIoU"
    )
    return [getattr(kt, name)() for name in names.split()]


def batch_of(rank: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(rank)
    n = 1000 + rank
    labels = rng.integers(0, 2, (n, 1)).astype("float32")
    return torch.from_numpy(labels), torch.from_numpy(rng.random((n, 1), "float32"))


def counted(function: Callable[[], Any]) -> int:
    """How many collective operations a call makes."""
    names = ("all_gather", "all_reduce", "broadcast", "barrier", "gather", "reduce")
    found = []
    originals = {name: getattr(dist, name) for name in names}
    for name, original in originals.items():
        setattr(
            dist,
            name,
            lambda *a, _f=original, _n=name, **k: (found.append(_n), _f(*a, **k))[1],
        )
    try:
        function()
    finally:
        for name, original in originals.items():
            setattr(dist, name, original)
    return len(found)


def sync_worker(rank: int, meeting: str, results: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{meeting}",
        rank=rank,
        world_size=WORLD,
        timeout=datetime.timedelta(seconds=120),
    )
    metrics = twenty_metrics()
    for metric in metrics:
        metric.update_state(*batch_of(rank))
    whole = twenty_metrics()
    for r in range(WORLD):
        for metric in whole:
            metric.update_state(*batch_of(r))
    for synced, metric in zip(kt.sync(metrics), whole, strict=True):
        exact = isinstance(metric, kt.AUC | kt.Precision | kt.BinaryIoU)
        for own, other in zip(synced.metric().variables, metric.variables, strict=True):
            np.testing.assert_allclose(
                own.numpy(), other.numpy(), rtol=0.0 if exact else 1e-14
            )
    calls = counted(lambda: kt.sync(metrics))
    shape = (_backends.active().buffer_size(None),)
    bare = torch.zeros(shape, dtype=torch.float64)
    rows = [torch.zeros(shape, dtype=torch.int64) for _ in range(WORLD)]
    own = torch.zeros(shape, dtype=torch.int64)
    contestants: dict[str, Callable[[], Any]] = {
        "all_reduce": lambda: dist.all_reduce(bare),
        "all_gather": lambda: dist.all_gather(rows, own),
        "sync": lambda: kt.sync(metrics),
        "results": lambda: [s.result() for s in kt.sync(metrics)],
    }
    times: dict[str, list[float]] = {name: [] for name in contestants}
    names = list(contestants)
    for r in range(ROUNDS):
        for name in names[r % len(names) :] + names[: r % len(names)]:
            dist.barrier()
            begin = time.perf_counter()
            contestants[name]()
            times[name].append(time.perf_counter() - begin)
    if rank == 0:
        size = 16 * shape[1]
        results.put((size, calls, {k: statistics.median(v) for k, v in times.items()}))
    dist.barrier()
    dist.destroy_process_group()


def measure_sync(folder: str) -> tuple[int, int, dict[str, float]]:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [
        context.Process(target=sync_worker, args=(rank, f"{folder}/meeting", results))
        for rank in range(WORLD)
    ]
    for process in processes:
        process.start()
    found: tuple[int, int, dict[str, float]] = results.get(timeout=300)
    for process in processes:
        process.join()
        if process.exitcode:
            raise SystemExit("a process has failed")
    return found


# --------------------------------------------------------------------------------------
# Parquet


def write_file(path: Path, rows: int) -> None:
    """A file of labels and scores, in row groups; a million rows, again and again."""
    rng = np.random.default_rng(0)
    size = min(rows, 2**20)
    label = rng.integers(0, 2, size, dtype="int8")
    noise = rng.normal(size=size)
    score = (1 / (1 + np.exp(1 - 2 * label - noise))).astype("float32")
    table = pa.table({"label": label, "score": score})
    with pq.ParquetWriter(path, table.schema, use_dictionary=False) as writer:
        for at in range(0, rows, size):
            writer.write_table(table.slice(0, rows - at), row_group_size=2**18)


def ours(path: Path) -> dict[str, float]:
    metrics = new_metrics()
    add_batches(metrics, read_batches(str(path)))
    return {name: float(value) for name, value in metrics.result().items()}


def with_sklearn(path: Path) -> dict[str, float]:
    table = pq.read_table(path, columns=COLUMNS)
    label, score = (table[name].to_numpy() for name in COLUMNS)
    predicted = score > 0.5
    return {
        "auc": roc_auc_score(label, score),
        "accuracy": accuracy_score(label, predicted),
        "precision": precision_score(label, predicted),
        "recall": recall_score(label, predicted),
    }


def memory(field: str) -> int:
    """A figure of this process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise SystemExit("this system does not say how much memory a process takes")


def evaluate(path: Path) -> None:
    """Evaluate a file in this process, which does nothing else."""
    kt.set_num_threads(1)
    before = memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the imports
    begin = time.perf_counter()
    results = ours(path)
    seconds = time.perf_counter() - begin
    print(
        json.dumps(
            {
                "results": results,
                "seconds": seconds,
                "growth": memory("VmHWM") - before,
                "file": path.stat().st_size,
                "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


def in_a_process(path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, __file__, "--evaluate", str(path)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_BACKEND": keras.config.backend()},
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    start("states over processes, and a Parquet file")
    report = Report("distributed", "Processes and Parquet files", {})
    with tempfile.TemporaryDirectory() as folder:
        report.table(
            f"The states of 20 metrics over {WORLD} processes (gloo, one machine)",
            {"what": "what", "us": "median, us", "ratio": "of the all-reduce"},
        )
        size, calls, times = measure_sync(folder)
        bare = times["all_reduce"]
        for name, what in (
            ("all_reduce", f"torch's all_reduce of {size} bytes"),
            ("all_gather", f"torch's all_gather of {size} bytes"),
            ("sync", "kt.sync of 20 metrics"),
            ("results", "kt.sync, and 20 results"),
        ):
            report.row(what=what, us=times[name] * 1e6, ratio=times[name] / bare)
        report.target("sync: collective operations", "1", calls, calls == 1)
        ratio = times["sync"] / bare
        what = "sync / a bare all-reduce of the same bytes"
        report.target(what, "at most 1.5x", ratio, ratio <= 1.5, "x")

        report.table(
            f"A Parquet file of {ROWS_FOR_SKLEARN:,} rows: AUC, accuracy, precision, "
            "recall",
            {"what": "what", "s": "median, s", "rows": "million rows/s"},
        )
        path = Path(folder, "rows.parquet")
        write_file(path, ROWS_FOR_SKLEARN)
        kt.set_num_threads(1)
        contestants = {"keras-tally": ours, "scikit-learn": with_sklearn}
        answers = {name: f(path) for name, f in contestants.items()}
        for name, value in answers["scikit-learn"].items():
            tolerance = 1e-3 if name == "auc" else 1e-6  # 200 thresholds
            np.testing.assert_allclose(
                answers["keras-tally"][name], value, atol=tolerance
            )
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(3):
            for name, f in contestants.items():
                begin = time.perf_counter()
                f(path)
                seconds[name].append(time.perf_counter() - begin)
        medians = {name: statistics.median(s) for name, s in seconds.items()}
        for name, s in medians.items():
            report.row(what=name, s=s, rows=ROWS_FOR_SKLEARN / s / 1e6)
        ratio = medians["scikit-learn"] / medians["keras-tally"]
        what = "the Parquet file, scikit-learn / ours"
        report.target(what, "at least 5x", ratio, ratio >= 5, "x")

        report.table(
            "The memory of an evaluation, in a process of its own",
            {"what": "file, MiB", "s": "s", "growth": "memory beyond the start, MiB"},
        )
        rows = FILE_MIB * MIB // 5 * 11 // 10
        for part in (rows // 8, rows):
            path = Path(folder, f"{part}.parquet")
            write_file(path, part)
            found = in_a_process(path)
            path.unlink()
            growth = found["growth"] / MIB
            file = found["file"] / MIB
            report.row(what=file, s=found["seconds"], growth=growth)
        what = f"memory for a file of {file:.0f} MiB"
        goal = f"at most {BOUND_MIB} MiB"
        report.target(what, goal, growth, growth <= BOUND_MIB, " MiB")
        say(f"  the file is {file / BOUND_MIB:.1f} times as large as the bound")
    report.notes = [
        "The processes' totals are compared with one process over all data first, "
        "counts exactly. Median of "
        f"{ROUNDS} rounds on rank 0, each after a barrier, contestants in turn; "
        f"{WORLD} processes share the machine's cores.",
        "The buffer that `sync` gathers has the same number of bytes as the one that "
        "is all-reduced.",
        "scikit-learn gets the whole file as NumPy arrays; its AUC is exact, ours has "
        "200 thresholds. Both read with pyarrow, with its threads; ours computes with "
        "one.",
        "Memory is the peak of the resident set while the file is evaluated, less "
        "what it was before (Linux). Rows are read in batches of 131,072.",
    ]
    report.write()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--evaluate"]:
        evaluate(Path(sys.argv[2]))
    else:
        main()
