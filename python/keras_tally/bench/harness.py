"""What every benchmark shares: pinning, interleaved timing, comparing answers, machine
and versions, tables.

``python -m keras_tally.bench`` and the scripts in the repository's folder bench/ check
answers with ``check`` and time with ``interleaved``; bench/README.md describes the
method.
"""

from __future__ import annotations

import gc
import importlib.metadata
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

import keras_tally
from keras_tally import _native

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
    """Let keras-tally, and torch where it is imported, use ``n`` threads."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(n)
    keras_tally.set_num_threads(n)


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")  # Linux
    for line in info.read_text().splitlines() if info.exists() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """What a reader has to know about the machine a result was measured on."""
    found: dict[str, Any] = {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "simd": _native.active_level(),
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found["memory_gib"] = round(
            os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        )
    return found


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of everything that takes part; a dash for what is not installed.

    >>> versions(["no-such-package"])["no-such-package"]
    '-'
    """
    found = {}
    for package in ("keras-tally", *packages):
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
    sample, ``wait`` returns when all calls of a sample have really ended (where calls
    return before that, as on JAX and on a GPU). ``clock`` may be that of the process,
    where one core does all the work.
    """

    name: str
    call: Callable[..., object]
    args: tuple[Any, ...] = ()
    before: Callable[[], object] | None = None
    wait: Callable[[], object] | None = None
    clock: Callable[[], float] = time.perf_counter
    calls: int = 0  # per sample; settled by `interleaved`
    samples: list[float] = field(default_factory=list)  # seconds per call

    def sample(self, warm: bool) -> float:
        """Seconds that ``calls`` calls take, if wanted after one untimed call."""
        if self.before is not None:
            self.before()
        call, wait, clock = self.call, self.wait, self.clock
        times = repeat(None, self.calls)
        if warm:
            call(*self.args)
            if wait is not None:
                wait()
        if len(self.args) == 2:
            a, b = self.args
            start = clock()
            for _ in times:
                call(a, b)
        elif not self.args:
            start = clock()
            for _ in times:
                call()
        else:
            args = self.args
            start = clock()
            for _ in times:
                call(*args)
        if wait is not None:
            wait()
        return clock() - start

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


def interleaved(
    cases: Sequence[Case],
    rounds: int,
    sample_s: float,
    seconds: float = math.inf,
) -> None:
    """Time all ``cases`` in turn, ``rounds`` times, so that a slow spell of the machine
    hits every one of them.

    Each sample is as many calls as fill ``sample_s`` seconds, after one untimed call
    that brings code and data back into the caches; with ``sample_s`` 0 it is one call
    and nothing else. The order rotates from round to round. After ``seconds`` no
    further round starts. What the caller has frozen (``gc.freeze``) stays so, which
    saves the search through it.

    >>> cases = [Case("sum", sum, ([1, 2],)), Case("sort", sorted, ([2, 1],))]
    >>> interleaved(cases, rounds=3, sample_s=0)
    >>> [len(case.samples) for case in cases]
    [3, 3]
    """
    end = time.perf_counter() + seconds
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
            if time.perf_counter() > end:
                break
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
# tables


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


def table(
    columns: dict[str, str], rows: Sequence[dict[str, Any]], aligned: bool = False
) -> str:
    """A Markdown table; text columns to the left, numbers to the right. ``aligned``
    pads the cells, for a terminal.

    >>> print(table({"n": "n", "us": "time, us"}, [{"n": "a", "us": 12.345}], True))
    | n | time, us |
    |---|---------:|
    | a |     12.3 |
    """
    numeric = {
        k: all(isinstance(r.get(k), (int, float, type(None))) for r in rows)
        for k in columns
    }
    cells = [list(columns.values())]
    cells += [[shown(r.get(k)) for k in columns] for r in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if not aligned:
        widths = [0] * len(widths)
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric.values(), strict=True)
        )
        + " |"
        for line in cells
    ]
    rule = [
        "-" * max(3, width + 1) + ":" if right else "-" * max(3, width + 2)
        for width, right in zip(widths, numeric.values(), strict=True)
    ]
    return "\n".join([lines[0], "|" + "|".join(rule) + "|", *lines[1:]])
