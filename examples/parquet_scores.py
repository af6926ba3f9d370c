"""What the three Parquet examples share: which metrics, and how rows get into them.

    python examples/parquet_scores.py FOLDER [ROWS]   # makes data to try them on

A row is a label (int8, 0 or 1) and a score (float32, a probability).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import keras_tally as kt

COLUMNS = ["label", "score"]
# Rows that are in memory at a time.
BATCH = 2**17


def new_metrics() -> kt.MetricGroup:
    """Return metrics that have seen nothing; the same everywhere."""
    return kt.MetricGroup(
        {
            "auc": kt.AUC(),
            "accuracy": kt.BinaryAccuracy(),
            "precision": kt.Precision(),
            "recall": kt.Recall(),
        }
    )


def add_batches(metrics: kt.MetricGroup, batches: Iterable[pa.RecordBatch]) -> int:
    """Add Arrow batches to the metrics and return how many rows there were.

    The metrics read Arrow's own memory: no column is copied. One with missing values
    is refused (by Arrow), because it has no such memory.
    """
    rows = 0
    for batch in batches:
        label, score = (batch.column(name) for name in COLUMNS)
        metrics.update_state(
            label.to_numpy(zero_copy_only=True)[:, None],
            score.to_numpy(zero_copy_only=True)[:, None],
        )
        rows += batch.num_rows
    return rows


def read_batches(file: str) -> Iterable[pa.RecordBatch]:
    """Yield a file's rows, a few at a time.

    Without `pre_buffer`, which would keep all of the file that has been read, memory
    stays bounded by a row group and a batch.
    """
    with pq.ParquetFile(file, pre_buffer=False) as opened:
        yield from opened.iter_batches(BATCH, columns=COLUMNS)


def parquet_files(folder: str) -> list[str]:
    """Return the files of a partitioned set, in order."""
    files = sorted(str(path) for path in Path(folder).rglob("*.parquet"))
    if not files:
        raise SystemExit(f"there is no *.parquet in {folder}")
    return files


def say_results(metrics: kt.MetricGroup, rows: int) -> None:
    """Print the results, and the counts behind them."""
    print(f"{rows:,} rows")
    for name, value in metrics.result().items():
        print(f"  {name:<10} {float(value):.6f}")


def make_data(folder: str, rows: int, files: int = 8) -> None:
    """Write a partitioned set of labels and scores, the files of different sizes."""
    rng = np.random.default_rng(0)
    ends = np.linspace(0, rows, files + 1).astype(int)
    ends[1:-1] += rng.integers(-rows // files // 3, rows // files // 3, files - 1)
    for part, size in enumerate(np.diff(ends)):
        where = Path(folder, f"part={part}")
        where.mkdir(parents=True, exist_ok=True)
        label = rng.integers(0, 2, size, dtype="int8")
        noise = rng.normal(size=size)
        score = (1 / (1 + np.exp(1 - 2 * label - noise))).astype("float32")
        table = pa.table({"label": label, "score": score})
        pq.write_table(table, where / "rows.parquet", row_group_size=2**18)


if __name__ == "__main__":
    make_data(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2_000_000)
