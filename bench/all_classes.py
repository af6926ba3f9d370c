"""Every metric class of Keras beside ours: batch 32, 4 million elements, segmentation.

KERAS_BACKEND=torch python bench/all_classes.py           # measure and store
KERAS_BACKEND=torch python bench/all_classes.py --quick   # a smoke run; stores nothing
"""

from __future__ import annotations

import gc
import inspect
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from keras_tally.bench import harness
from keras_tally.bench.harness import Case, check, interleaved, say, table
from report import Report, start

BATCH = 32
COLUMNS = {
    "metric": "metric",
    "update": "update_state, us",
    "keras_update": "Keras, us",
    "update_ratio": "ratio",
    "result": "result, us",
    "keras_result": "Keras, us",
    "result_ratio": "ratio",
    "shape": "large update",
    "large": "ms",
    "keras_large": "Keras, ms",
    "large_ratio": "ratio",
    "share": "of the read loop, %",
    "missed": "missed",
}
GOALS = {  # by column: at least this much
    "update_ratio": (50, "x", f"update_state at batch {BATCH}, Keras / ours"),
    "result_ratio": (15, "x", "result, Keras / ours"),
    "large_ratio": (5, "x", "large update, Keras / ours"),
    "share": (40, "%", "large update, share of the read loop"),
}
LABELS = {
    "update_ratio": "update",
    "result_ratio": "result",
    "large_ratio": "large",
    "share": "read loop",
}
IMAGE_GOALS = {
    "large_ratio": (1000, "x", "segmentation of an image, Keras / ours"),
}


@dataclass(frozen=True)
class Effort:
    """How long it may take."""

    rounds: int = 31  # at batch 32, and of ours and the read loop
    keras_rounds: int = 3
    latency_s: float = 0.002  # per sample
    large_s: float = 0.01
    elements: int = 4_000_000
    pixels: int = 512  # a side
    keras_limit_s: float = 2.0  # a slower update is scaled up from fewer rows


QUICK = Effort(3, 1, 0.0002, 0.0005, 20_000, 32, 0.1)
FEWER = 100


def without_subject(subjects: Any) -> list[str]:
    """Metric classes that Keras exports and no subject measures."""
    import keras

    import keras_tally

    measured = {type(s.ours(keras_tally)).__name__ for s in subjects}
    return sorted(
        name
        for name, found in vars(keras.metrics).items()
        if inspect.isclass(found)
        and issubclass(found, keras.metrics.Metric)
        and found is not keras.metrics.Metric  # measures nothing itself
        and name not in measured
    )


def check_all(what: str, got: Any, expected: Any, tolerance: float) -> None:
    """``check`` for results with one number or one per class."""
    got, expected = got.reshape(-1).tolist(), expected.reshape(-1).tolist()
    for g, e in zip(got, expected, strict=True):
        check(what, g, e, tolerance)


def checked(name: str, make: Any, args: tuple[Any, ...], tolerance: float) -> Any:
    """Our metric and Keras's after one update each, with equal results."""
    import keras

    import keras_tally

    ours, theirs = make(keras_tally), make(keras.metrics)
    ours.update_state(*args)
    theirs.update_state(*args)
    check_all(f"ours, {name}", ours.result(), theirs.result(), tolerance)
    return ours, theirs


def small(name: str, make: Any, args: tuple[Any, ...], effort: Effort) -> Any:
    """``update_state`` and ``result`` of both libraries, all four in turn."""
    ours, theirs = checked(name, make, args, 1e-6)
    cases = [
        Case("update", ours.update_state, args),
        Case("keras_update", theirs.update_state, args),
        Case("result", ours.result),
        Case("keras_result", theirs.result),
    ]
    interleaved(cases, effort.rounds, effort.latency_s)
    update, keras_update, result, keras_result = cases
    return {c.name: c.median * 1e6 for c in cases} | {
        "update_ratio": harness.ratio(keras_update, update),
        "result_ratio": harness.ratio(keras_result, result),
    }


def large(name: str, make: Any, args: tuple[Any, ...], effort: Effort) -> Any:
    """One large update of both libraries, ours beside the read loop."""
    from keras_tally import _native

    part = tuple(a[: max(1, len(a) // FEWER)] for a in args)
    scale = len(args[0]) / len(part[0])
    probe = Case("keras", checked(name, make, part, 2e-4)[1].update_state, part)
    probe.calls = 1
    if probe.sample(warm=True) * scale > effort.keras_limit_s:
        given, note = part, " *"
    else:
        given, note, scale = args, "", 1

    ours, theirs = checked(name, make, given, 2e-4)  # Keras adds in float32
    update = Case("ours", ours.update_state, args)
    read = Case("read loop", _native.read_bandwidth, ([a.numpy() for a in args],))
    interleaved([read, update], effort.rounds, effort.large_s)
    slow = Case("keras", theirs.update_state, given)
    interleaved([slow], effort.keras_rounds, 0)
    return {
        "shape": f"{tuple(args[-1].shape)}{note}",
        "large": update.median * 1e3,
        "keras_large": slow.median * scale * 1e3,
        "large_ratio": slow.median * scale / update.median,
        "share": harness.ratio(read, update) * 100,
    }


def images(side: int) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """Name, metric and data of the segmentation rows."""
    from keras_tally.bench.subjects import ids, sparse

    classes = 21
    y, scores = sparse(side * side, classes).keras
    y, scores = y.reshape(side, side), scores.reshape(side, side, classes)
    a, b = (t.reshape(side, side) for t in ids(side * side, classes).keras)

    def of_scores(module: Any) -> Any:
        return module.MeanIoU(classes, sparse_y_pred=False)

    return {
        "MeanIoU of scores, int64 labels": (of_scores, (y, scores)),
        "MeanIoU of scores, int32 labels": (of_scores, (y.int(), scores)),
        "IoU of ids, int64": (lambda m: m.IoU(classes, list(range(classes))), (a, b)),
    }


def main(effort: Effort) -> None:
    start("all classes: batch 32 and large updates, beside Keras")
    from keras_tally.bench.subjects import LOGITS, MORE, SUBJECTS

    subjects = [*SUBJECTS, *MORE, *LOGITS]
    if missing := without_subject(subjects):
        raise SystemExit(
            f"keras_tally/bench/subjects.py has no subject for {', '.join(missing)}"
        )
    gc.collect()
    gc.freeze()  # all that the imports made
    core = harness.pin()
    harness.set_threads(1)
    report = Report("all_classes", "Every metric class, torch CPU tensors", COLUMNS)
    report.notes = [
        f"Pinned to core {core}, one thread. Medians of {effort.rounds} samples; at "
        f"batch {BATCH} the four calls of a row are sampled in turn, in the large "
        "update ours and the read loop; Keras's large update is the median of "
        f"{effort.keras_rounds}, of images one.",
        "Results were compared with Keras's before anything was timed.",
        f"`large update` gives the shape of `y_pred`, {effort.elements:,} elements. "
        f"With an asterisk, Keras would take more than {effort.keras_limit_s:.0f} s: "
        f"it was compared and timed on {FEWER} times fewer rows, and that time "
        "multiplied.",
        "The read loop reads every byte of the labels and predictions once.",
        "`MeanMetricWrapper` is given `mean_squared_error`, each library's own, which "
        "it calls as it would any Python function.",
        "Keras has no Huber metric: there it is `MeanMetricWrapper` around Keras's "
        "Huber loss.",
    ]

    def add(name: str, goals: dict[str, Any], values: dict[str, Any]) -> None:
        missed = [k for k, (goal, *_) in goals.items() if values[k] < goal]
        values |= {"metric": name, "missed": ", ".join(LABELS[k] for k in missed)}
        report.row(**{k: values.get(k) for k in COLUMNS})

    @lru_cache(maxsize=4)  # several metrics in a row share their data
    def data(make: Callable[[int], Any], rows: int) -> tuple[Any, ...]:
        return make(rows).keras

    for i, s in enumerate(subjects, 1):
        say(f"[{i}/{len(subjects)}] {s.name}")
        few = data(s.data, BATCH)
        many = data(s.data, effort.elements * BATCH // few[-1].numel())
        count = 1 if s.alone else 2
        values = small(s.name, s.ours, few[:count], effort)
        add(s.name, GOALS, values | large(s.name, s.ours, many[:count], effort))
    data.cache_clear()
    once = replace(effort, keras_rounds=1, keras_limit_s=math.inf)
    for name, (make, args) in images(effort.pixels).items():
        say(name)
        add(name, IMAGE_GOALS, large(name, make, args, once))

    image_rows = report.rows[len(subjects) :]
    for goals, rows in (
        (GOALS, report.rows[: len(subjects)]),
        (IMAGE_GOALS, image_rows),
    ):
        for key, (goal, unit, what) in goals.items():
            worst = min(rows, key=lambda row: row[key])
            met = sum(row[key] >= goal for row in rows)
            report.target(
                f"{what}: {met} of {len(rows)}; the lowest is {worst['metric']}",
                f"at least {goal}{unit}",
                worst[key],
                met == len(rows),
                unit,
            )
    if effort is QUICK:
        say(table(COLUMNS, report.rows))
    else:
        report.write()


if __name__ == "__main__":
    main(QUICK if "--quick" in sys.argv else Effort())
