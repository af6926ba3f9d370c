"""What ``import keras_tally`` adds to ``import keras``, and ``import
keras_tally.engine`` to ``import torch``.

KERAS_BACKEND=torch python bench/import_time.py
"""

from __future__ import annotations

import compileall
import statistics
import subprocess
import sys
from pathlib import Path

import keras_tally
from keras_tally.bench import harness
from keras_tally.bench.harness import say
from report import Report, start

ROUNDS = 7
LIMIT_MS = 50
ENGINE_LIMIT_MS = 60
CODE = """
import time
start = time.perf_counter()
import {first}
middle = time.perf_counter()
{more}
end = time.perf_counter()
print(middle - start, end - middle)
"""


def fresh(more: str, first: str = "keras") -> tuple[float, float]:
    """Milliseconds of the first import and of what follows, in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(first=first, more=more)],
        check=True,
        capture_output=True,
        text=True,
    )
    once, then = done.stdout.split()[-2:]
    return float(once) * 1e3, float(then) * 1e3


def main() -> None:
    start("import: keras alone, and keras with keras_tally, in fresh processes")
    harness.pin()
    # As pip does where it installs a package, but for an editable one.
    compileall.compile_dir(Path(keras_tally.__file__).parent, quiet=1)
    fresh("import keras_tally")  # fill the file cache
    alone, both, added, engine = [], [], [], []
    for r in range(ROUNDS):
        runs = ["pass", "import keras_tally"]
        for more in runs if r % 2 else runs[::-1]:
            first, second = fresh(more)
            if more == "pass":
                alone.append(first)
            else:
                both.append(first + second)
                added.append(second)
        engine.append(fresh("import keras_tally.engine", "torch")[1])
        say(
            f"[{r + 1}/{ROUNDS}] keras {alone[-1]:.0f} ms; with keras_tally "
            f"{both[-1]:.0f} ms, of which {added[-1]:.1f} ms; the engine after torch "
            f"{engine[-1]:.1f} ms"
        )
    report = Report(
        "import_time",
        "Import time, fresh processes",
        {"what": "what", "ms": "median, ms", "least": "least, ms"},
    )
    report.notes = [
        f"{ROUNDS} processes of each kind in turn, pinned to one core. The last two "
        "rows are timed inside the process: "
        "the difference of the first two is lost in the noise of importing torch.",
        "The package is compiled to bytecode first, as pip leaves it.",
    ]
    for what, ms in (
        ("import keras", alone),
        ("import keras, keras_tally", both),
        ("import keras_tally after keras", added),
        ("import keras_tally.engine after torch", engine),
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
    median = statistics.median(engine)
    report.target(
        "import keras_tally.engine after import torch",
        f"at most {ENGINE_LIMIT_MS} ms",
        median,
        median <= ENGINE_LIMIT_MS,
        " ms",
    )
    report.write()


if __name__ == "__main__":
    main()
