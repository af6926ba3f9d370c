"""Evaluate a Parquet set in one process, in bounded memory.

python examples/parquet_single.py FOLDER
"""

from __future__ import annotations

import sys

from parquet_scores import (
    add_batches,
    new_metrics,
    parquet_files,
    read_batches,
    say_results,
)


def main(folder: str) -> None:
    metrics = new_metrics()
    files = parquet_files(folder)
    rows = 0
    for done, file in enumerate(files, 1):
        rows += add_batches(metrics, read_batches(file))
        print(f"[{done}/{len(files)}] {rows:,} rows", file=sys.stderr)
    say_results(metrics, rows)


if __name__ == "__main__":
    main(sys.argv[1])
