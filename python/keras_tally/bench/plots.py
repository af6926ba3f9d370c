"""The pictures of ``python -m keras_tally.bench``; matplotlib is imported when one is
drawn.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_tally.bench.compare import TITLES

COLUMNS = 4
LABELS = {**TITLES, "read": "read loop (one thread)"}
COLOURS = {
    "ours": "tab:red",
    "keras": "tab:blue",
    "torchmetrics": "tab:orange",
    "torcheval": "tab:green",
    "sklearn": "tab:purple",
    "read": "black",
}
WIDTHS = {"ours": 5, "keras": 3.5}  # so that lines on one another show
FLOOR = 1e-10  # where an error of 0 is drawn
FLOAT32 = 2**-24  # what rounding a result to float32 costs


def panels(rows: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The rows of each picture in a figure, by its title.

    >>> rows = [{"metric": "AUC", "dtype": "float32", "device": "cpu", "batch": 1}]
    >>> list(panels(rows))
    ['AUC, float32, cpu']
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        title = f"{row['metric']}, {row['dtype']}, {row['device']}"
        found.setdefault(title, []).append(row)
    return found


def draw(
    path: Path,
    title: str,
    rows: Sequence[dict[str, Any]],
    x: str,
    axes: tuple[str, str],
    level: float | None = None,
) -> None:
    """Write one PNG: a panel for each metric, dtype and device, a line for each
    library, both axes logarithmic; with a ``level``, all panels have one scale and a
    line at it.
    """
    importlib.import_module("matplotlib").use("Agg")
    plt = importlib.import_module("matplotlib.pyplot")
    by = panels(rows)
    width = min(COLUMNS, len(by))
    height = math.ceil(len(by) / width)
    figure, grid = plt.subplots(
        height,
        width,
        figsize=(3.6 * width, 3 * height + 1),
        squeeze=False,
        sharey=level is not None,
        layout="constrained",
    )
    drawn: dict[str, Any] = {}
    for ax in grid.flat[len(by) :]:
        ax.set_axis_off()
    for ax, (name, panel) in zip(grid.flat, by.items(), strict=False):
        ax.set(xscale="log", yscale="log", xlabel=axes[0], ylabel=axes[1])
        ax.set_title(name, fontsize=8)
        for library, label in LABELS.items():
            points = [(r[x], r[library]) for r in panel if library in r]
            if points:
                (drawn[label],) = ax.plot(
                    *zip(*((a, max(b, FLOOR)) for a, b in points), strict=True),
                    color=COLOURS[library],
                    linestyle=":" if library == "read" else "-",
                    linewidth=WIDTHS.get(library, 1.5),
                    alpha=0.8,
                    marker=None if library == "read" else ".",
                )
        if level is not None:
            drawn["one rounding to float32"] = ax.axhline(
                level, color="grey", linestyle="--", linewidth=1
            )
        ax.grid(alpha=0.3)
    figure.suptitle(title)
    figure.legend(
        drawn.values(), drawn.keys(), loc="outside lower center", ncols=2 * width
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def write(folder: Path, found: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Draw what was measured; the names of the files."""
    both = [r for r in found["latency"] if r["step"] == "update, result"]
    figures: dict[str, tuple[Any, ...]] = {
        "latency.png": (
            "Update and result, by batch size",
            both,
            "batch",
            ("rows in a batch", "microseconds"),
        ),
        "throughput.png": (
            "One update, by number of elements",
            found["throughput"],
            "elements",
            ("elements", "GB/s"),
        ),
        "errors.png": (
            f"Error of a stream, by number of elements (0 is drawn as {FLOOR:g})",
            found["errors"],
            "elements",
            ("elements so far", "error, relative"),
            FLOAT32,
        ),
    }
    written = []
    for name, (title, rows, *how) in figures.items():
        if rows:
            draw(folder / name, title, rows, *how)
            written.append(name)
    return written
