"""What every benchmark here shares: pinning, interleaved timing, targets, machine and
versions, results files.

The method is described for readers in README.md of this folder. Scripts call ``start``
first, check answers with ``check``, time with ``interleaved``, judge with
``Report.target`` and finish with ``Report.write``.
"""

from __future__ import annotations

import datetime
import gc
import importlib.metadata
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("keras", "torch", "numpy", "torchmetrics", "torcheval", "scikit-learn")


def say(text: str) -> None:
    """Print progress at once, whatever stdout is connected to."""
    print(text, flush=True)


# --------------------------------------------------------------------------------------
# the machine


def pin() -> int | None:
    """Keep this thread, and threads it starts later, on one core. Returns the core,
    or None where that is impossible.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def set_threads(n: int) -> None:
    """Let torch and keras-tally use ``n`` threads."""
    import torch

    import keras_tally

    torch.set_num_threads(n)
    keras_tally.set_num_threads(n)


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What a reader has to know about the machine a result was measured on."""
    found: dict[str, Any] = {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gib"] = round(
            os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        )
    try:
        from keras_tally import _native

        found["simd"] = str(_native.active_level())
    except (ImportError, AttributeError):
        found["simd"] = "unknown"
    return found


def versions() -> dict[str, str]:
    """Versions of everything that takes part."""
    found = {}
    for package in ("keras-tally", *PACKAGES):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "-"
    return found


# --------------------------------------------------------------------------------------
# timing


@dataclass
class Case:
    """One thing to time: ``call(*args)``; ``before`` runs untimed ahead of every
    sample.
    """

    name: str
    call: Callable[..., object]
    args: tuple[Any, ...] = ()
    before: Callable[[], object] | None = None
    calls: int = 0  # per sample; settled by `interleaved`
    samples: list[float] = field(default_factory=list)  # seconds per call

    def sample(self, warm: bool) -> float:
        """Seconds that ``calls`` calls take, if wanted after one untimed call."""
        if self.before is not None:
            self.before()
        call, times = self.call, repeat(None, self.calls)
        if warm:
            call(*self.args)
        if len(self.args) == 2:
            a, b = self.args
            start = time.perf_counter()
            for _ in times:
                call(a, b)
            return time.perf_counter() - start
        if not self.args:
            start = time.perf_counter()
            for _ in times:
                call()
            return time.perf_counter() - start
        args = self.args
        start = time.perf_counter()
        for _ in times:
            call(*args)
        return time.perf_counter() - start

    @property
    def median(self) -> float:
        """Median of the samples, in seconds per call."""
        return statistics.median(self.samples)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        if len(self.samples) < 4:
            return math.nan
        low, _, high = statistics.quantiles(self.samples, n=4)
        return (high - low) / 2 / self.median


def interleaved(cases: Sequence[Case], rounds: int, sample_s: float) -> None:
    """Time all ``cases`` in turn, ``rounds`` times, so that a slow spell of the machine
    hits every one of them.

    Each sample is as many calls as fill ``sample_s`` seconds, after one untimed call
    that brings code and data back into the caches; with ``sample_s`` 0 it is one call
    and nothing else. The order rotates from round to round. What the caller has
    frozen (``gc.freeze``) stays so, which saves the search through it.
    """
    warm = sample_s > 0
    enabled = gc.isenabled()
    gc.collect()
    freezes = gc.get_freeze_count() == 0
    if freezes:
        gc.freeze()  # collections between the rounds pass over what exists now
    gc.disable()
    try:
        for case in cases:
            case.calls = 1
            seconds = case.sample(warm=False)  # first calls allocate, build and import
            while (
                sample_s
                and (seconds := case.sample(warm)) < sample_s / 2
                and case.calls < 1_000_000
            ):
                case.calls *= max(2, min(8, int(sample_s / max(seconds, 1e-9))))
            if sample_s:
                case.calls = max(
                    1, round(case.calls * sample_s / max(seconds, sample_s / 4))
                )
        for r in range(rounds):
            shift = r % len(cases)
            for case in [*cases[shift:], *cases[:shift]]:
                case.samples.append(case.sample(warm) / case.calls)
            gc.collect()
    finally:
        if freezes:
            gc.unfreeze()
        if enabled:
            gc.enable()


def ratio(a: Case, b: Case) -> float:
    """How many times longer ``a`` takes than ``b``: the median over the rounds, so that
    a spell in which everything is slow changes nothing."""
    pairs = zip(a.samples, b.samples, strict=True)
    return statistics.median(x / y for x, y in pairs)


# --------------------------------------------------------------------------------------
# answers


def as_float(value: Any) -> float:
    """A metric's result, whatever library it came from, as a Python float (the first
    entry of several).
    """
    while isinstance(value, (tuple, list)):
        value = value[0]
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return float(getattr(value, "flat", [value])[0])


def check(what: str, got: Any, expected: float, tolerance: float) -> None:
    """Stop the benchmark if an answer is wrong: the time of a wrong answer is of no
    interest.
    """
    value = as_float(got)
    if not abs(value - expected) <= tolerance * max(1.0, abs(expected)):
        raise SystemExit(
            f"wrong answer, so nothing was measured: {what} gives {value!r}, "
            f"expected {expected!r}"
        )


# --------------------------------------------------------------------------------------
# reports


class Report:
    """Rows, targets and notes of one benchmark, written as ``results/<name>.json``
    and ``results/<name>.md``.
    """

    def __init__(self, name: str, title: str, columns: dict[str, str]) -> None:
        """``columns`` maps a row's keys to the headings of the table."""
        self.name, self.title, self.columns = name, title, columns
        self.rows: list[dict[str, Any]] = []
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

    def write(self) -> None:
        """Write both files and show the targets."""
        RESULTS.mkdir(exist_ok=True)
        stored = {
            "name": self.name,
            "title": self.title,
            "command": f"KERAS_BACKEND=torch python bench/{self.name}.py",
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "machine": machine(),
            "load_average_at_start": round(self.load, 2),
            "versions": versions(),
            "seconds": round(time.perf_counter() - self.started),
            "columns": self.columns,
            "rows": self.rows,
            "targets": self.targets,
            "notes": self.notes,
        }
        (RESULTS / f"{self.name}.json").write_text(
            json.dumps(clean(stored), indent=1) + "\n"
        )
        (RESULTS / f"{self.name}.md").write_text(markdown(stored))
        for t in self.targets:
            say(
                f"  {'met   ' if t['met'] else 'MISSED'}  {t['what']}: "
                f"{shown(t['measured'])}{t['unit']} ({t['goal']})"
            )
        say(f"  written: bench/results/{self.name}.json and .md")


def clean(value: Any) -> Any:
    """``value`` with floats rounded to six digits, and with nothing JSON has no word
    for.
    """
    if isinstance(value, dict):
        return {k: clean(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value


def shown(value: Any) -> str:
    """``value`` for a table: three significant digits, a dash for what does not
    exist.
    """
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or value == 0 or not math.isfinite(value):
        return str(int(value)) if value == 0 else str(value)
    if abs(value) >= 10000 or abs(value) < 0.001:
        return f"{value:.1e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def table(columns: dict[str, str], rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table; text columns to the left, numbers to the right."""
    numeric = {
        k: all(isinstance(r.get(k), (int, float, type(None))) for r in rows)
        for k in columns
    }
    lines = [
        "| " + " | ".join(columns.values()) + " |",
        "|" + "|".join("---:" if numeric[k] else "---" for k in columns) + "|",
    ]
    lines += ["| " + " | ".join(shown(r.get(k)) for k in columns) + " |" for r in rows]
    return "\n".join(lines)


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
    return (
        f"{m['cpu']}, {m['cores']} cores{memory}, {m['system']}, SIMD level "
        f"{m['simd']}, Python {m['python']}; "
        + ", ".join(f"{k} {x}" for k, x in v.items())
        + f".\nMeasured on {stored['date']} "
        + f"(load average {stored['load_average_at_start']} at the start) "
        + f"by `{stored['command']}`.\n"
    )


def markdown(stored: dict[str, Any]) -> str:
    """The readable form of a stored result."""
    parts = [
        f"# {stored['title']}",
        provenance(stored),
        table(stored["columns"], stored["rows"]),
    ]
    if stored["targets"]:
        parts += ["## Targets", target_table(stored["targets"])]
    if stored["notes"]:
        parts += ["## Notes", "\n".join(f"- {n}" for n in stored["notes"])]
    return "\n\n".join(parts) + "\n"


def start(what: str) -> None:
    """Say what starts; stop at once if the environment would make the numbers
    meaningless.
    """
    backend = os.environ.setdefault("KERAS_BACKEND", "torch")
    if backend != "torch":
        raise SystemExit(
            f"the benchmarks measure the torch backend; KERAS_BACKEND is {backend!r}"
        )
    say(f"== {what}")
    if hasattr(os, "getloadavg") and os.getloadavg()[0] > 0.8:
        say(
            f"  note: load average {os.getloadavg()[0]:.2f}; something else is "
            "running, so figures may be slow"
        )
    sys.stdout.flush()
