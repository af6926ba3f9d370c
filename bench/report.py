"""What the scripts here share beyond ``keras_tally.bench``: targets, results files.

The method is described for readers in README.md of this folder. Scripts call ``start``
first, check answers and time with ``keras_tally.bench.harness``, judge with
``Report.target`` and finish with ``Report.write``.
"""

from __future__ import annotations

import datetime
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from keras_tally.bench.harness import clean, machine, say, shown, table, versions

RESULTS = Path(__file__).resolve().parent / "results"


def start(what: str, backends: Sequence[str] = ("torch",)) -> None:
    """Say what starts; stop at once if the environment would make the numbers
    meaningless.
    """
    if keras.config.backend() not in backends:
        raise SystemExit(
            f"this benchmark measures the backend {' or '.join(backends)}; this is "
            f"{keras.config.backend()!r}. Set KERAS_BACKEND."
        )
    say(f"== {what}")
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.8:
        say(
            f"  note: load average {os.getloadavg()[0]:.2f}; something else is "
            "running, so figures may be slow"
        )
    sys.stdout.flush()


class Report:
    """Rows, targets and notes of one benchmark, written as ``results/<name>.json``
    and ``results/<name>.md``.
    """

    def __init__(
        self,
        name: str,
        title: str,
        columns: dict[str, str],
        script: str | None = None,
    ) -> None:
        """``columns`` maps a row's keys to the headings of the table."""
        self.name, self.title, self.columns = name, title, columns
        self.script = script or f"{name}.py"
        self.machine = machine()
        self.rows: list[dict[str, Any]] = []
        # Further tables: title, columns and rows of each.
        self.tables: list[dict[str, Any]] = []
        self.targets: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.started = time.perf_counter()
        self.load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan

    def row(self, **values: Any) -> None:
        """Add a row and show it."""
        self.rows.append(values)
        say(
            "  "
            + "  ".join(
                f"{self.columns.get(k, k)}: {shown(v)}"
                for k, v in values.items()
                if v is not None
            )
        )

    def table(self, title: str, columns: dict[str, str]) -> None:
        """Let the rows that follow go into a table of their own."""
        self.columns, self.rows = columns, []
        self.tables.append({"title": title, "columns": columns, "rows": self.rows})

    def target(
        self, what: str, goal: str, measured: float, met: bool, unit: str = ""
    ) -> None:
        """Judge one target."""
        self.targets.append(
            {
                "what": what,
                "goal": goal,
                "measured": measured,
                "unit": unit,
                "met": bool(met),
            }
        )

    def store(self, folder: Path = RESULTS) -> None:
        """Write both files."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = {
            "name": self.name,
            "title": self.title,
            "command": (
                f"KERAS_BACKEND={keras.config.backend()} python bench/{self.script}"
            ),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "machine": self.machine,
            "load_average_at_start": round(self.load, 2),
            "versions": versions(),
            "seconds": round(time.perf_counter() - self.started),
            **(
                {"tables": self.tables}
                if self.tables
                else {"columns": self.columns, "rows": self.rows}
            ),
            "targets": self.targets,
            "notes": self.notes,
        }
        (folder / f"{self.name}.json").write_text(
            json.dumps(clean(stored), indent=1) + "\n"
        )
        (folder / f"{self.name}.md").write_text(markdown(stored))

    def write(self, folder: Path = RESULTS) -> None:
        """Write both files and show the targets."""
        self.store(folder)
        for t in self.targets:
            say(
                f"  {'met   ' if t['met'] else 'MISSED'}  {t['what']}: "
                f"{shown(t['measured'])}{t['unit']} ({t['goal']})"
            )
        where = "bench/results" if folder == RESULTS else folder.name
        say(f"  written: {where}/{self.name}.json and .md")


def target_table(targets: Sequence[dict[str, Any]]) -> str:
    """The targets as a Markdown table."""
    rows = [
        {
            "what": t["what"],
            "goal": t["goal"],
            "measured": shown(t["measured"]) + t["unit"],
            "met": "met" if t["met"] else "**missed**",
        }
        for t in targets
    ]
    return table(
        {"what": "what", "goal": "target", "measured": "measured", "met": ""}, rows
    )


def provenance(stored: dict[str, Any]) -> str:
    """Where a result comes from, in two lines."""
    m, v = stored["machine"], stored["versions"]
    memory = f", {m['memory_gib']} GiB" if "memory_gib" in m else ""
    gpu = (
        f"{m['gpu']} ({m['gpu_memory_gib']} GiB, driver {m['driver']}, CUDA "
        f"{m['cuda']}) beside "
        if "gpu" in m
        else ""
    )
    return (
        f"{gpu}{m['cpu']}, {m['cores']} cores{memory}, {m['system']}, SIMD level "
        f"{m['simd']}, Python {m['python']}; "
        + ", ".join(f"{k} {x}" for k, x in v.items())
        + f".\nMeasured on {stored['date']} "
        + f"(load average {stored['load_average_at_start']} at the start) "
        + f"by `{stored['command']}`.\n"
    )


def markdown(stored: dict[str, Any]) -> str:
    """The readable form of a stored result."""
    parts = [f"# {stored['title']}", provenance(stored)]
    if "columns" in stored:
        parts.append(table(stored["columns"], stored["rows"]))
    for one in stored.get("tables", []):
        if one["rows"]:
            parts += [f"## {one['title']}", table(one["columns"], one["rows"])]
    if stored["targets"]:
        parts += ["## Targets", target_table(stored["targets"])]
    if stored["notes"]:
        parts += ["## Notes", "\n".join(f"- {n}" for n in stored["notes"])]
    return "\n\n".join(parts) + "\n"
