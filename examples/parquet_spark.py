"""Evaluate a Parquet set with Spark: Arrow batches in, states out, summed up as a tree.

    python examples/parquet_spark.py FOLDER        # needs Java 17 or newer

Each partition becomes one row, the metrics' state as bytes. The counts, and with them
the results, are exactly those of examples/parquet_single.py. Spark shows its progress.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from parquet_scores import COLUMNS, add_batches, new_metrics, say_results
from pyspark.sql import SparkSession

import keras_tally as kt

SCHEMA = pa.schema([("rows", pa.int64()), ("state", pa.binary())])


def evaluate(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """What a worker does with a partition."""
    metrics = new_metrics()
    rows = add_batches(metrics, batches)
    yield pa.RecordBatch.from_pylist(
        [{"rows": rows, "state": metrics.to_bytes()}], schema=SCHEMA
    )


def add(a: tuple[int, bytes], b: tuple[int, bytes]) -> tuple[int, bytes]:
    """Sum up two states, on whatever worker they meet."""
    return a[0] + b[0], (kt.from_bytes(a[1]) + kt.from_bytes(b[1])).to_bytes()


def main(folder: str) -> None:
    # Spark starts its workers with this Python.
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master("local[2]")
        .appName("keras-tally")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "true")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    try:
        spark.sparkContext.addPyFile(str(Path(__file__).with_name("parquet_scores.py")))
        scores = spark.read.parquet(folder).select(*COLUMNS)
        states = scores.mapInArrow(evaluate, "rows long, state binary").rdd
        rows, state = states.map(lambda r: (r.rows, bytes(r.state))).treeReduce(add)
    finally:
        spark.stop()
    say_results(kt.from_bytes(state), rows)


if __name__ == "__main__":
    main(sys.argv[1])
