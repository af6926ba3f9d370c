"""Evaluate a Parquet set with Dask: a task for each file, the states summed up here.

    python examples/parquet_dask.py FOLDER [WORKERS]

A task returns the metrics' state as bytes, a few kilobytes whatever the file's size.
The counts, and with them the results, are exactly those of examples/parquet_single.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dask.distributed import Client, LocalCluster, as_completed
from parquet_scores import (
    add_batches,
    new_metrics,
    parquet_files,
    read_batches,
    say_results,
)

import keras_tally as kt


def evaluate_file(file: str) -> tuple[int, bytes]:
    """What a worker does: return the rows of a file, and what they add."""
    metrics = new_metrics()
    rows = add_batches(metrics, read_batches(file))
    return rows, metrics.to_bytes()


def main(folder: str, workers: int = 2) -> None:
    files = parquet_files(folder)
    total, rows = new_metrics(), 0
    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        Client(cluster) as client,
    ):
        client.upload_file(str(Path(__file__).with_name("parquet_scores.py")))
        tasks = client.map(evaluate_file, files)
        finished = as_completed(tasks, with_results=True)
        for done, (_, (more, state)) in enumerate(finished, 1):
            total.merge_state(kt.from_bytes(state))
            rows += more
            print(f"[{done}/{len(files)}] {rows:,} rows", file=sys.stderr)
    say_results(total, rows)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
