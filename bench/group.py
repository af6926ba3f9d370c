"""What a MetricGroup costs beside its dearest member and beside Keras's metrics.

KERAS_BACKEND=torch python bench/group.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_tally.bench import harness
from keras_tally.bench.harness import Case, check, interleaved, say
from keras_tally.bench.subjects import eight_binary
from report import Report, start

ROUNDS = 31
LARGE = 4_000_000
CLASSES, ROWS = 1000, 4096


def binary(module: Any) -> dict[str, Any]:
    """Return eight metrics of a binary classifier by the names of their classes."""
    return {type(metric).__name__: metric for metric in eight_binary(module)}


def many_classes(module: Any) -> dict[str, Any]:
    """Return what is asked of a classifier of a thousand classes.

    Keras has three of the five.
    """
    metrics = {
        "accuracy": module.SparseCategoricalAccuracy(),
        "top_5": module.SparseTopKCategoricalAccuracy(k=5),
        "crossentropy": module.SparseCategoricalCrossentropy(from_logits=True),
    }
    if hasattr(module, "MeanMaxProbability"):
        metrics["max_probability"] = module.MeanMaxProbability(from_logits=True)
        metrics["rank"] = module.SparseMeanRank()
    return metrics


def one_by_one(metrics: dict[str, Any], y_true: Any, y_pred: Any) -> Callable[[], None]:
    """Return the update of all of them, as `fit` does it without a group."""

    def update() -> None:
        for metric in metrics.values():
            metric.update_state(y_true, y_pred)

    return update


def main() -> None:
    """Check, measure, and store the results."""
    start("group: eight binary metrics, five of a thousand classes")
    import keras
    import torch

    import keras_tally as kt

    core = harness.pin()
    harness.set_threads(1)
    torch.manual_seed(5)
    report = Report(
        "group",
        "A MetricGroup beside its dearest member and beside Keras, torch CPU",
        {
            "what": "metrics, batch",
            "step": "step",
            "group": "group, us",
            "members": "members one by one, us",
            "dearest": "dearest member, us",
            "which": "which",
            "keras": "Keras one by one, us",
            "over_dearest": "group / dearest",
            "keras_over_group": "Keras / group",
        },
    )
    report.notes = [
        f"Pinned to core {core}, one thread, medians of {ROUNDS} interleaved samples.",
        "Every result of the group was compared with the member's on its own (equal "
        "bits) and with Keras's before anything was timed.",
        "Of the five metrics of a thousand classes Keras has three; its time is "
        "theirs.",
    ]

    def measure(
        label: str,
        make: Callable[[Any], dict[str, Any]],
        y_true: Any,
        y_pred: Any,
        sample_s: float,
        beside: str | None = None,
    ) -> dict[str, float]:
        say(f"  {label}")
        group, alone = kt.MetricGroup(make(kt)), make(kt)
        theirs = make(keras.metrics)
        group.update_state(y_true, y_pred)
        for metrics in (alone, theirs):
            one_by_one(metrics, y_true, y_pred)()
        results = group.result()
        for name, metric in alone.items():
            check(f"{label}: {name}", results[name], float(metric.result()), 0.0)
        for name, metric in theirs.items():
            check(
                f"{label}: Keras's {name}", results[name], float(metric.result()), 1e-4
            )
        steps = {
            "update_state": (
                Case("group", group.update_state, (y_true, y_pred)),
                Case("members", one_by_one(alone, y_true, y_pred)),
                {
                    k: Case(k, m.update_state, (y_true, y_pred))
                    for k, m in alone.items()
                },
                Case("keras", one_by_one(theirs, y_true, y_pred)),
            ),
            "result": (
                Case("group", group.result),
                Case("members", lambda: [m.result() for m in alone.values()]),
                {k: Case(k, m.result) for k, m in alone.items()},
                Case("keras", lambda: [m.result() for m in theirs.values()]),
            ),
        }
        found = {}
        for step, (grouped, members, each, keras_case) in steps.items():
            interleaved(
                [grouped, members, keras_case, *each.values()], ROUNDS, sample_s
            )
            which = beside or max(each, key=lambda name: each[name].median)
            dearest = each[which]
            over = harness.ratio(grouped, dearest)
            faster = harness.ratio(keras_case, grouped)
            report.row(
                what=label,
                step=step,
                group=grouped.median * 1e6,
                members=members.median * 1e6,
                dearest=dearest.median * 1e6,
                which=which,
                keras=keras_case.median * 1e6,
                over_dearest=over,
                keras_over_group=faster,
            )
            found[step] = over
            found[f"{step} against Keras"] = faster
        return found

    def labels_and_scores(n: int) -> tuple[Any, Any]:
        return (torch.rand(n, 1) < 0.3).float(), torch.rand(n, 1)

    small = measure("8 binary, 32", binary, *labels_and_scores(32), 2e-3)
    report.target(
        "8 binary metrics at batch 32, over the dearest member",
        "at most 2x",
        small["update_state"],
        small["update_state"] <= 2.0,
        "x",
    )
    report.target(
        "8 binary metrics at batch 32, against Keras's eight",
        "at least 200x",
        small["update_state against Keras"],
        small["update_state against Keras"] >= 200.0,
        "x",
    )
    large = measure(f"8 binary, {LARGE:,}", binary, *labels_and_scores(LARGE), 1e-3)
    report.target(
        f"8 binary metrics at {LARGE:,} elements, over the dearest member",
        "at most 1.3x",
        large["update_state"],
        large["update_state"] <= 1.3,
        "x",
    )
    for rows in (32, ROWS):
        logits, labels = torch.randn(rows, CLASSES), torch.randint(0, CLASSES, (rows,))
        wide = measure(
            f"5 of {CLASSES} classes, {rows}",
            many_classes,
            labels,
            logits,
            2e-3,
            "crossentropy",
        )
        report.target(
            f"5 metrics of {CLASSES} classes, {rows} rows, over cross-entropy",
            "at most 1.3x",
            wide["update_state"],
            wide["update_state"] <= 1.3,
            "x",
        )
    report.write()


if __name__ == "__main__":
    main()
