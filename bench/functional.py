"""One call on a batch of 1024: ``keras_tally.functional`` beside
``torchmetrics.functional`` and ``torcheval.metrics.functional``.

KERAS_BACKEND=torch python bench/functional.py
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch

from keras_tally import functional
from keras_tally.bench import harness
from keras_tally.bench.harness import Case, check, interleaved, say
from report import Report, start

BATCH = 1024
ROUNDS = 31
SAMPLE_S = 0.002
GOAL = 10
# Of the name, what each library calls; torchmetrics and torcheval take scores first.
BINNED = {"thresholds": 200, "validate_args": False}
UNCHECKED = {"validate_args": False}
SUBJECTS: dict[str, tuple[Any, Any, Any]] = {
    "accuracy": (
        ("binary_accuracy", {}),
        ("classification.binary_accuracy", UNCHECKED),
        ("binary_accuracy", {}),
    ),
    "F1": (
        ("f1_score", {}),
        ("classification.binary_f1_score", UNCHECKED),
        ("binary_f1_score", {}),
    ),
    "AUROC, 200 thresholds": (
        ("auc", {}),
        ("classification.binary_auroc", BINNED),
        ("binary_binned_auroc", {"threshold": 200}),
    ),
    "AUROC, theirs exact": (
        ("auc", {}),
        ("classification.binary_auroc", UNCHECKED),
        ("binary_auroc", {}),
    ),
    "mean squared error": (
        ("mean_squared_error", {}),
        ("mean_squared_error", {}),
        ("mean_squared_error", {}),
    ),
}
# Binned curves and exact ones differ, and so do libraries' bins.
TOLERANCES = {"AUROC, 200 thresholds": 0.01, "AUROC, theirs exact": 0.01}
PEERS = {
    "torchmetrics": "torchmetrics.functional",
    "torcheval": "torcheval.metrics.functional",
}


def find(module: Any, path: str) -> Any:
    for part in path.split("."):
        module = getattr(module, part)
    return module


def case_of(name: str, function: Any, given: Any, options: dict[str, Any]) -> Case:
    return Case(name, lambda: function(*given, **options))


def main() -> None:
    start(f"functions of one batch of {BATCH}, torch CPU tensors, one thread")
    # torcheval scripts its functions with what torch has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    core = harness.pin()
    harness.set_threads(1)
    peers = {name: importlib.import_module(path) for name, path in PEERS.items()}
    torch.manual_seed(0)
    scores = torch.rand(BATCH)
    labels = (scores + 0.5 * torch.randn(BATCH) > 0.5).long()
    columns = {
        "metric": "metric",
        "ours": "keras-tally, us",
        "floor": "an empty tensor, us",
    }
    for name in PEERS:
        columns |= {name: f"{name}, us", f"{name}_ratio": "ratio"}
    report = Report(
        "functional", f"One call on a batch of {BATCH}, microseconds", columns
    )
    report.notes = [
        f"Pinned to core {core}, one thread, medians of {ROUNDS} interleaved samples "
        f"of about {SAMPLE_S * 1e3:.0f} ms. Answers were compared before anything was "
        "timed.",
        "`ratio` is the library's time over ours. Scores are float32, labels int64 "
        "(float32 for the mean squared error); torchmetrics does not validate them.",
        "An empty tensor is what `torch.empty(())` takes, called like the others: less "
        "is not possible for a function that returns a new tensor.",
        "Our area is that of the curve at 200 thresholds in both rows.",
    ]
    for i, (metric, (ours, *theirs)) in enumerate(SUBJECTS.items(), 1):
        say(f"[{i}/{len(SUBJECTS)}] {metric}")
        truth = labels.float() if metric == "mean squared error" else labels
        name, options = ours
        cases = {
            "ours": case_of("ours", getattr(functional, name), (truth, scores), options)
        }
        for library, (path, options) in zip(PEERS, theirs, strict=True):
            function = find(peers[library], path)
            cases[library] = case_of(library, function, (scores, truth), options)
        expected = harness.as_float(cases["torchmetrics"].call())
        for library, case in cases.items():
            tolerance = TOLERANCES.get(metric, 1e-6)
            check(f"{library}, {metric}", case.call(), expected, tolerance)
        floor = case_of("floor", torch.empty, ((),), {})
        interleaved([*cases.values(), floor], ROUNDS, SAMPLE_S)
        row = {
            "metric": metric,
            "ours": cases["ours"].median * 1e6,
            "floor": floor.median * 1e6,
        }
        for library in PEERS:
            ratio = harness.ratio(cases[library], cases["ours"])
            row |= {library: cases[library].median * 1e6, f"{library}_ratio": ratio}
            report.target(
                f"{metric}: {library} / ours",
                f"at least {GOAL}x",
                ratio,
                ratio >= GOAL,
                "x",
            )
        report.row(**row)
    report.write()


if __name__ == "__main__":
    main()
