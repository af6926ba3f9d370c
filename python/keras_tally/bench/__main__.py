"""``python -m keras_tally.bench``: the command line."""

from __future__ import annotations

import argparse
import datetime
import gc
import importlib.util
import json
import logging
import math
import os
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras

from keras_tally.bench import compare, harness, plots
from keras_tally.bench.compare import TITLES, Comparison, check_answers
from keras_tally.bench.harness import clean, say, shown, table
from keras_tally.bench.subjects import BY_NAME, OTHERS, Subject, is_installed

# Neighbours share their data.
DEFAULT_METRICS = (
    "BinaryAccuracy",
    "Precision",
    "TruePositives",
    "AUC(200)",
    "BinaryCrossentropy",
    "MetricGroup(8)",
    "MeanSquaredError",
    "R2Score",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy(3)",
    "SparseCategoricalCrossentropy(from_logits)",
    "F1Score",
    "MeanIoU",
)
BACKENDS = {"torch": "torch", "numpy": "jax", "jax": "jax", "tensorflow": "tensorflow"}
DTYPES = ("float32", "float16", "bfloat16", "float64")
LONGEST = 2**28  # elements of a stream, where time allows
# Parts of the time: of a batch size, a number of elements, a stream.
WEIGHTS = {"latency": 1.0, "throughput": 1.0, "errors": 3.0}
DESCRIPTION = """\
Compares keras-tally with Keras's own metrics and with torchmetrics, torcheval and
scikit-learn where they are installed (pip install "keras-tally[bench]" brings them, and
matplotlib for the plots), on this machine. All answers are checked first: a wrong one
stops the run with status 1. Then, side by side in rotating order, medians:
microseconds by batch size; GB/s by number of elements, beside a loop that only reads
the data; errors by number of elements against float64. scikit-learn does not stream:
its functions are called once on the whole data.
"""


def whole_numbers(text: str) -> list[int]:
    """Positive whole numbers, separated by commas.

    >>> whole_numbers("32,1e6")
    [32, 1000000]
    """
    found = []
    for word in text.split(","):
        try:
            number = float(word)
        except ValueError:
            number = math.nan
        if not (1 <= number <= 1e10 and number.is_integer()):
            raise argparse.ArgumentTypeError(
                f"{word!r} is no whole number between 1 and 1e10; give numbers "
                "separated by commas, such as 32,1024 or 1e6"
            )
        found.append(int(number))
    return sorted(set(found))


def positive_seconds(text: str) -> float:
    """A number of seconds above zero."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def thread_count(text: str) -> int:
    """A number of threads as ``keras_tally.set_num_threads`` takes it."""
    if not (text.isdigit() and 1 <= int(text) <= 256):
        raise argparse.ArgumentTypeError(f"{text!r} is no number between 1 and 256")
    return int(text)


def metric_names(text: str) -> list[str]:
    """Names of metrics, separated by commas; what is in brackets may be left out.

    >>> metric_names("auc,Precision")
    ['AUC(200)', 'Precision']
    """
    if text.lower() == "all":
        return list(BY_NAME)
    known = {name.lower().split("(")[0]: name for name in reversed(BY_NAME)}
    known |= {name.lower(): name for name in BY_NAME}
    # A comma inside brackets belongs to the name.
    words = text.replace("(200, PR)", "(200; PR)").split(",")
    found = []
    for word in (w.strip().replace("; ", ", ") for w in words):
        if word.lower() not in known:
            raise argparse.ArgumentTypeError(
                f"{word!r} is none of the metrics; --list shows them"
            )
        found.append(known[word.lower()])
    return list(dict.fromkeys(found))


def dtype_names(text: str) -> list[str]:
    """Names of dtypes, separated by commas."""
    found = text.split(",")
    for word in found:
        if word not in DTYPES:
            raise argparse.ArgumentTypeError(
                f"{word!r} is none of: {', '.join(DTYPES)}"
            )
    return list(dict.fromkeys(found))


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        prog="python -m keras_tally.bench",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add(
        "--list",
        action="store_true",
        help="show the metrics, and which installed library has each; measure nothing",
    )
    add(
        "--metrics",
        type=metric_names,
        default=list(DEFAULT_METRICS),
        metavar="NAMES",
        help="which metrics, separated by commas, or `all` (default: a dozen; see "
        "--list)",
    )
    add(
        "--batch-sizes",
        type=whole_numbers,
        default=[1, 32, 1024, 16384],
        metavar="ROWS",
        help="batches to time, in rows, separated by commas (default: 1,32,1024,16384)",
    )
    add(
        "--sizes",
        type=whole_numbers,
        default=[10_000, 100_000, 1_000_000, 4_000_000],
        metavar="ELEMENTS",
        help="updates to give GB/s for, in elements of y_pred, separated by commas "
        "(default: 1e4,1e5,1e6,4e6)",
    )
    add(
        "--dtypes",
        type=dtype_names,
        default=["float32"],
        metavar="NAMES",
        help=f"dtypes of the data, of {', '.join(DTYPES)} (default: float32)",
    )
    add(
        "--seconds",
        type=positive_seconds,
        default=60.0,
        help="how long all of it may take, about; libraries too slow for a size are "
        "left out of it then, and the table says so (default: 60)",
    )
    add(
        "--threads",
        type=thread_count,
        default=1,
        help="threads of keras-tally and of torch; 1 also keeps the whole process on "
        "one core, where the system can (default: 1)",
    )
    add(
        "--backend",
        choices=list(BACKENDS),
        help="the Keras backend (default: that of KERAS_BACKEND). On jax and "
        "tensorflow keras-tally works in Keras's own operations, eagerly",
    )
    add(
        "--out",
        type=Path,
        default=Path("keras-tally-bench"),
        metavar="DIR",
        help="where results.json and the plots go (default: ./keras-tally-bench)",
    )
    return made


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options, or an error that names the wrong one."""
    made = parser()
    options = made.parse_args(arguments)
    backend = options.backend or keras.config.backend()
    if importlib.util.find_spec(BACKENDS[backend]) is None:
        made.error(
            f"argument --backend: {backend!r} needs the package {BACKENDS[backend]!r}, "
            "which is not installed"
        )
    if backend == "jax" and "float64" in options.dtypes:
        made.error("argument --dtypes: JAX has no float64 unless it is switched on")
    if options.out.exists() and not options.out.is_dir():
        made.error(f"argument --out: {options.out} is no folder")
    return options


def start_again(backend: str, arguments: Sequence[str]) -> None:
    """Replace this process by one that runs on another backend: Keras chooses when it
    is imported, and ``python -m`` has imported it before this line.
    """
    command = [sys.executable, "-m", "keras_tally.bench", *arguments]
    sys.stdout.flush()
    os.execve(sys.executable, command, {**os.environ, "KERAS_BACKEND": backend})


# --------------------------------------------------------------------------------------
# one run


def show_list(libraries: Sequence[str]) -> None:
    """Print the metrics, and which installed library has each."""
    rows = []
    for name, subject in BY_NAME.items():
        found = {
            c.library for c in compare.contestants(subject, subject.data(8), libraries)
        }
        rows.append(
            {"metric": name, "default": "yes" if name in DEFAULT_METRICS else ""}
            | {n: "yes" if n in found else "" for n in libraries}
        )
    columns = {"metric": "metric", "default": "default"}
    say(table(columns | {n: TITLES[n] for n in libraries}, rows, aligned=True))


UNITS = {"latency": " us", "throughput": " GB/s", "errors": ", relative"}


@dataclass
class Step:
    """Something to measure: gives rows for one of the tables."""

    kind: str
    what: str
    device: str
    run: Callable[[float], list[dict[str, Any]]]


@dataclass
class Results:
    """All tables, and what is to be said about them."""

    tables: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {kind: [] for kind in WEIGHTS}
    )
    notes: list[str] = field(default_factory=list)


def steps_of(comparison: Comparison, options: argparse.Namespace) -> list[Step]:
    """What is to be measured of one metric."""
    c = comparison
    name = f"{c.subject.name}, {c.dtype}, {c.device}"
    most = max(options.sizes)
    return [
        *(
            Step(
                "latency", f"{name}, batches of {n:,}", c.device, partial(c.latency, n)
            )
            for n in options.batch_sizes
        ),
        *(
            Step(
                "throughput",
                f"{name}, {n:,} elements",
                c.device,
                partial(c.throughput, n, most),
            )
            for n in options.sizes
        ),
        Step("errors", f"{name}, errors", c.device, partial(c.errors, LONGEST)),
    ]


def run_steps(steps: Sequence[Step], end: float, results: Results) -> None:
    """Run all steps; each gets its part of the time that is left."""
    began = time.perf_counter()
    for i, step in enumerate(steps):
        now = time.perf_counter()
        left = sum(WEIGHTS[s.kind] for s in steps[i:])
        if now >= end:
            results.notes.append(
                f"No time was left for {len(steps) - i} of {len(steps)} steps, from "
                f"{step.what} on; give more --seconds."
            )
            return
        with keras.device(step.device):
            rows = step.run((end - now) * WEIGHTS[step.kind] / left)
        results.tables[step.kind] += rows
        say(
            f"[{i + 1}/{len(steps)}, {time.perf_counter() - began:.0f} s] "
            f"{step.what}: {summary(rows)}{UNITS[step.kind]}"
        )


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """The last of a step's rows with the most libraries, in a line.

    >>> summary([{"ours": 1.0, "keras": 2.0}])
    'keras-tally 1.00, Keras 2.00'
    """
    if not rows:
        return "nothing to compare"
    row = max(reversed(rows), key=len)
    return ", ".join(
        f"{label} {shown(row[n])}" for n, label in plots.LABELS.items() if n in row
    )


def ends(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each stream the last row with the most libraries, and the last row.

    >>> [r["elements"] for r in ends([
    ...     {"metric": "AUC", "dtype": "d", "device": "c", "elements": 1, "keras": 0},
    ...     {"metric": "AUC", "dtype": "d", "device": "c", "elements": 2, "keras": 0},
    ...     {"metric": "AUC", "dtype": "d", "device": "c", "elements": 4},
    ... ])]
    [2, 4]
    """
    found = []
    for stream in plots.panels(rows).values():
        widest = max(reversed(stream), key=len)
        found += [widest] if widest is stream[-1] else [widest, stream[-1]]
    return found


def show_tables(results: Results) -> None:
    """Print all tables; of the errors, the ends of the streams."""
    titles = {
        "latency": "Microseconds, by batch size",
        "throughput": "GB/s of one update, by number of elements",
        "errors": "Relative error of a stream, by number of elements (results are "
        "float32, which is good for 6e-08)",
    }
    for kind, rows in results.tables.items():
        if not rows:
            continue
        if kind == "errors":
            rows = ends(rows)
        say(f"\n{titles[kind]}\n")
        heads = [k for k in rows[0] if k not in plots.LABELS and k != "left_out"]
        columns = {
            k: k for k in heads if k == "metric" or len({r[k] for r in rows}) > 1
        }
        columns |= {n: t for n, t in plots.LABELS.items() if any(n in r for r in rows)}
        if any(r.get("left_out") for r in rows):
            columns["left_out"] = "left out"
        say(table(columns, rows, aligned=True))
    for note in results.notes:
        say(f"note: {note}")


def command_of(arguments: Sequence[str]) -> str:
    """The command as it is stored: without the folder, which is not the reader's.

    >>> command_of(["--seconds", "5", "--out", "here"])
    'python -m keras_tally.bench --seconds 5'
    """
    kept = []
    words = iter(arguments)
    for word in words:
        if word == "--out":
            next(words)
        elif not word.startswith("--out="):
            kept.append(word)
    return shlex.join(["python", "-m", "keras_tally.bench", *kept])


def write(
    options: argparse.Namespace,
    arguments: Sequence[str],
    results: Results,
    libraries: Sequence[str],
    load: float,
    began: float,
) -> None:
    """Write the JSON file and, if matplotlib is installed, the plots."""
    backend = keras.config.backend()
    packages = (*harness.PACKAGES, "jax", "tensorflow", "tensorflow-cpu")
    versions = harness.versions(packages)
    stored = {
        "command": f"KERAS_BACKEND={backend} {command_of(arguments)}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": harness.machine(),
        "load_average_at_start": load,
        "versions": {k: v for k, v in versions.items() if v != "-"},
        "not_installed": [TITLES[n] for n in OTHERS if n not in libraries],
        "backend": backend,
        "devices": compare.devices(),
        "threads": options.threads,
        "seconds": time.perf_counter() - began,
        "units": {
            "latency": "microseconds",
            "throughput": "GB/s (10^9 bytes of labels and predictions)",
            "errors": "relative to the exact result",
        },
        "notes": results.notes,
        **results.tables,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.json"
    path.write_text(json.dumps(clean(stored), indent=1) + "\n")
    written = [path.name]
    if importlib.util.find_spec("matplotlib") is None:
        say("matplotlib is not installed, so there are no plots")
    else:
        written += plots.write(options.out, results.tables)
    say(f"written to {options.out}: {', '.join(written)}")


@contextmanager
def quiet() -> Iterator[None]:
    """Without what libraries say about single batches (a class is missing, ...), which
    costs time.
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def measure(
    options: argparse.Namespace, libraries: Sequence[str], began: float
) -> Results:
    """Check all answers, then run all steps."""
    results, steps = Results(), []
    subjects: list[Subject] = [BY_NAME[name] for name in options.metrics]
    for device in compare.devices():
        for dtype in options.dtypes:
            for subject in subjects:
                with keras.device(device):
                    usable, notes = check_answers(subject, dtype, device, libraries)
                results.notes += notes
                if "ours" in usable:
                    comparison = Comparison(subject, dtype, device, usable)
                    steps += steps_of(comparison, options)
    say(
        f"all answers are right ({len(subjects)} metrics, "
        f"{time.perf_counter() - began:.0f} s)"
    )

    if options.threads == 1:
        harness.pin()
    harness.set_threads(options.threads)
    gc.collect()
    gc.freeze()  # collections between the samples pass over all that was imported
    # Imports and answers count, but leave at least half of the time to measure.
    last = 0.9 * options.seconds  # the plots take the rest
    end = max(began + last, time.perf_counter() + last / 2)
    run_steps(steps, end, results)
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    began = time.perf_counter()
    options = parse(arguments)
    backend = keras.config.backend()
    if options.backend and options.backend != backend:
        return start_again(options.backend, arguments)

    libraries = ["ours", "keras"]
    missing: list[str] = []
    for library in OTHERS:
        (libraries if is_installed(library) else missing).append(library)
    say(
        f"keras-tally beside {', '.join(TITLES[n] for n in libraries[1:])}; Keras on "
        f"{backend}; devices: {', '.join(compare.devices())}; SIMD level "
        f"{harness.machine()['simd']}"
    )
    if missing:
        say(
            f"not installed: {', '.join(TITLES[n] for n in missing)} "
            '(pip install "keras-tally[bench]" brings all of them)'
        )
    if options.list:
        return show_list(libraries)

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
    if load > 0.8:
        say(f"note: load average {load:.2f}: something else is running here")
    with quiet():
        results = measure(options, libraries, began)
    show_tables(results)
    with quiet():
        write(options, arguments, results, libraries, load, began)


if __name__ == "__main__":
    main()
