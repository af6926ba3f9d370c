"""What ``import keras_tally`` adds to ``import keras``.

KERAS_BACKEND=torch python bench/import_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from keras_tally.bench import harness
from keras_tally.bench.harness import say
from report import Report, start

ROUNDS = 7
LIMIT_MS = 50
CODE = """
import time
start = time.perf_counter()
import keras
middle = time.perf_counter()
{more}
end = time.perf_counter()
print(middle - start, end - middle)
"""


def fresh(more: str) -> tuple[float, float]:
    """Milliseconds of ``import keras`` and of what follows, in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(more=more)],
        check=True,
        capture_output=True,
        text=True,
    )
    first, second = done.stdout.split()[-2:]
    return float(first) * 1e3, float(second) * 1e3


def main() -> None:
    start("import: keras alone, and keras with keras_tally, in fresh processes")
    harness.pin()
    fresh("import keras_tally")  # fill the file cache
    alone, both, added = [], [], []
    for r in range(ROUNDS):
        runs = ["pass", "import keras_tally"]
        for more in runs if r % 2 else runs[::-1]:
            first, second = fresh(more)
            if more == "pass":
                alone.append(first)
            else:
                both.append(first + second)
                added.append(second)
        say(
            f"[{r + 1}/{ROUNDS}] keras {alone[-1]:.0f} ms; with keras_tally "
            f"{both[-1]:.0f} ms, of which {added[-1]:.1f} ms"
        )
    report = Report(
        "import_time",
        "Import time, fresh processes",
        {"what": "what", "ms": "median, ms", "least": "least, ms"},
    )
    report.notes = [
        f"{ROUNDS} processes of each kind in turn, pinned to one core. The last row "
        "is timed inside the process: "
        "the difference of the first two is lost in the noise of importing torch.",
    ]
    for what, ms in (
        ("import keras", alone),
        ("import keras, keras_tally", both),
        ("import keras_tally after keras", added),
    ):
        report.row(what=what, ms=statistics.median(ms), least=min(ms))
    median = statistics.median(added)
    report.target(
        "import keras_tally after import keras",
        f"at most {LIMIT_MS} ms",
        median,
        median <= LIMIT_MS,
        " ms",
    )
    report.write()


if __name__ == "__main__":
    main()
