"""Large updates: 4 million elements, one thread against a plain read loop over the same
bytes, then two threads.

KERAS_BACKEND=torch python bench/throughput.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from keras_tally.bench import harness
from keras_tally.bench.harness import Case, as_float, check, interleaved, say
from report import Report, start

N = 4_000_000
WIDE = 1000
ROUNDS = 101
PEER_ROUNDS = 3
SAMPLE_S = 0.01


@dataclass(frozen=True)
class Job:
    """One measured update; ``goal`` is the share of the read loop's rate that it has
    to reach.
    """

    label: str
    subject: str
    shape: str
    goal: float | None
    peers: bool = True


JOBS = [
    Job("MeanSquaredError", "MeanSquaredError", "(4M, 1)", 0.8),
    Job(
        "MeanSquaredError, rows of 1000", "MeanSquaredError", "(4000, 1000)", 0.8, False
    ),
    Job("MeanAbsoluteError", "MeanAbsoluteError", "(4M, 1)", 0.8),
    Job("BinaryAccuracy", "BinaryAccuracy", "(4M, 1)", 0.8),
    Job("BinaryAccuracy, rows of 1000", "BinaryAccuracy", "(4000, 1000)", 0.8, False),
    Job("Precision", "Precision", "(4M, 1)", 0.8),
    Job("AUC(200)", "AUC(200)", "(4M, 1)", 0.5),
    Job(
        "SparseCategoricalAccuracy, argmax of 1000",
        "SparseCategoricalAccuracy",
        "(4000, 1000)",
        0.5,
    ),
    Job("BinaryCrossentropy", "BinaryCrossentropy", "(4M, 1)", None),
    Job(
        "CategoricalAccuracy, argmax of 1000",
        "CategoricalAccuracy",
        "(4000, 1000)",
        None,
        False,
    ),
    Job(
        "SparseCategoricalCrossentropy, 1000 classes",
        "SparseCategoricalCrossentropy",
        "(4000, 1000)",
        None,
        False,
    ),
    Job("Huber", "Huber", "(4M, 1)", None, False),
    Job("Sum", "Sum", "(4M, 1)", None, False),
]


def one_update(metric: Any, args: tuple[Any, ...], update: str, result: str) -> Any:
    """The result after exactly one update of a fresh metric."""
    getattr(metric, update)(*args)
    return getattr(metric, result)()


def measure(threads: int) -> list[dict[str, Any]]:
    """Rows for ``threads`` threads; runs in a process of its own, because threads
    inherit the core they start on.
    """
    import keras
    import torchmetrics.classification as tmc

    import keras_tally
    from keras_tally import _native
    from keras_tally.bench.subjects import BY_NAME, PEERS, sklearn_function

    if threads == 1:
        harness.pin()
    harness.set_threads(threads)
    rows = []
    for i, job in enumerate(JOBS, 1):
        say(f"[{i}/{len(JOBS)}] {job.label}, {threads} thread{'s'[: threads - 1]}")
        s = BY_NAME[job.subject]
        if s.data.__name__ in ("sparse", "onehot"):
            data = s.data(N // WIDE, WIDE)
        else:
            data = s.data(N, WIDE if "1000)" in job.shape else 1)
        args: tuple[Any, ...] = data.keras[:1] if s.alone else data.keras
        peers: tuple[Any, ...] = data.peers[:1] if s.alone else data.peers
        arrays = [t.numpy() for t in args]
        nbytes = sum(a.nbytes for a in arrays)

        expected = as_float(
            one_update(s.ours(keras.metrics), args, "update_state", "result")
        )
        got = one_update(s.ours(keras_tally), args, "update_state", "result")
        check(
            f"ours, {job.label}", got, expected, 2e-4
        )  # Keras adds 4M float32 values in float32

        metric = s.ours(keras_tally)
        read = Case("read loop", _native.read_bandwidth, (arrays,))
        ours = {
            n: Case(f"ours, {n}", metric.update_state, args)
            for n in sorted({1, threads})
        }
        for n, case in ours.items():
            case.before = lambda n=n: keras_tally.set_num_threads(n)
        interleaved([read, *ours.values()], ROUNDS, SAMPLE_S)
        keras_tally.set_num_threads(threads)
        row: dict[str, Any] = {
            "metric": job.label,
            "shape": job.shape,
            "threads": threads,
            "ours": ours[threads].median * 1e3,
            "rate": nbytes / ours[threads].median / 1e9,
            "read": nbytes / read.median / 1e9,
            "share": harness.ratio(read, ours[threads]),
            "one": ours[1].median * 1e3,
            "gain": harness.ratio(ours[1], ours[threads]),
            "goal": job.goal,
        }

        slow = [Case("keras", s.ours(keras.metrics).update_state, args)]
        if job.peers:
            makers = {library: s.peer(library) for library in PEERS}
            if job.subject == "SparseCategoricalAccuracy":
                makers["torchmetrics"] = partial(
                    tmc.MulticlassAccuracy, WIDE, average="micro", validate_args=False
                )
            for library, make in makers.items():
                if make is not None and library not in s.stores:
                    m = make()
                    check(
                        f"{library}, {job.label}",
                        one_update(m, peers, "update", "compute"),
                        expected,
                        s.peer_tolerance * 20,
                    )
                    slow.append(Case(library, m.update, peers, before=m.reset))
            function = sklearn_function(job.subject)
            if function is not None and threads == 1:
                p, y = data.peer_arrays
                check(
                    f"scikit-learn, {job.label}",
                    function(y, p),
                    expected,
                    max(2e-4, s.peer_tolerance),
                )
                slow.append(Case("sklearn", function, (y, p)))
        interleaved(slow, PEER_ROUNDS, 0)
        row |= {case.name: case.median * 1e3 for case in slow}
        say(
            f"    {row['ours']:.2f} ms, {row['rate']:.1f} GB/s, read loop "
            f"{row['read']:.1f} GB/s"
            f" ({row['share']:.0%}); Keras {row['keras']:.1f} ms"
        )
        rows.append(row)
    return rows


def main() -> None:
    start(f"throughput: updates with {N:,} elements")
    columns = {
        "metric": "metric",
        "shape": "shape",
        "threads": "threads",
        "ours": "keras-tally, ms",
    }
    columns |= {
        "rate": "GB/s",
        "read": "read loop, GB/s",
        "share": "share of it",
        "keras": "Keras, ms",
    }
    columns |= {
        "torchmetrics": "torchmetrics, ms",
        "torcheval": "torcheval, ms",
        "sklearn": "scikit-learn, ms",
    }
    report = Report(
        "throughput", "Updates with 4 million elements, torch CPU tensors", columns
    )
    report.notes = [
        f"Medians of {ROUNDS} samples (read loop and ours interleaved) and of "
        f"{PEER_ROUNDS} (the others). One thread: pinned "
        "to one core, torch with one thread as well. Two threads: not pinned, torch "
        "with two.",
        "The read loop is native code in keras-tally's extension that reads every "
        "byte of the same arrays once, with the "
        "widest registers of the machine, on one thread. `share of it` compares "
        "with it in both tables.",
        "4 million float32 labels and predictions are 32 MB; where they fit into "
        "the last cache, rates are those of "
        "that cache.",
        "torcheval's binned AUC only stores its inputs in `update`, so it has no "
        "time here. scikit-learn's AUC is the exact one, "
        "and its functions are called once on the whole data.",
    ]
    counts = [1, 2] if (os.cpu_count() or 1) >= 2 else [1]
    for threads in counts:
        # one process per thread count; its rows come back through a pipe, its progress
        # through ours
        command = [
            sys.executable,
            str(Path(__file__).resolve()),
            "--threads",
            str(threads),
        ]
        read_end, write_end = os.pipe()
        with subprocess.Popen(
            [*command, "--rows-to", str(write_end)], pass_fds=(write_end,)
        ) as process:
            os.close(write_end)
            with os.fdopen(read_end) as pipe:
                text = pipe.read()
        if process.returncode:
            raise SystemExit(process.returncode)
        report.rows += json.loads(text)
    for row in report.rows:
        if row["threads"] == 1 and row["goal"]:
            share, goal = row["share"] * 100, row["goal"] * 100
            report.target(
                f"{row['metric']}: share of the read loop",
                f"at least {goal:.0f}%",
                share,
                share >= goal,
                "%",
            )
    for row in report.rows:
        if row["threads"] == 2:
            gain = row["gain"]
            report.target(
                f"{row['metric']}: one thread / two threads",
                "above 1x",
                gain,
                gain > 1,
                "x",
            )
    report.write()


if __name__ == "__main__":
    if "--threads" in sys.argv:
        given = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
        found = measure(int(given["--threads"]))
        with os.fdopen(int(given["--rows-to"]), "w") as out:
            json.dump(found, out)
    else:
        main()
