"""A Huber metric written four ways: as Keras's textbook has it, as a Python function,
and as the built-in class; the interpreter and compiled code apart.

KERAS_BACKEND=torch python bench/elementwise.py
"""

from __future__ import annotations

import json
from typing import Any

from keras_tally.bench import harness
from keras_tally.bench.harness import Case, check, interleaved, say
from report import Report, start

ROUNDS = 31
LARGE = 4_000_000


def textbook(module: Any, keras: Any) -> Any:
    """Return the streaming Huber metric as Keras users write it, on a base class."""
    ops = keras.ops

    class StreamingHuber(module.Metric):  # type: ignore[misc, name-defined]
        def __init__(self, name: str = "huber", delta: float = 1.0) -> None:
            super().__init__(name=name)
            self.delta = delta
            self.total = self.add_weight(name="total", initializer="zeros")
            self.count = self.add_weight(name="count", initializer="zeros")

        def update_state(
            self, y_true: Any, y_pred: Any, sample_weight: Any = None
        ) -> None:
            y_true = ops.cast(y_true, "float32")
            error = ops.abs(y_true - ops.cast(y_pred, "float32"))
            values = ops.where(
                error <= self.delta,
                0.5 * error * error,
                self.delta * error - 0.5 * self.delta**2,
            )
            values = ops.mean(values, axis=-1)
            if sample_weight is not None:
                values = values * ops.cast(sample_weight, "float32")
            self.total.assign_add(ops.sum(values))
            self.count.assign_add(ops.cast(ops.size(values), "float32"))

        def result(self) -> Any:
            return self.total / self.count

    return StreamingHuber()


def main() -> None:
    """Check, measure, and store the results."""
    start("elementwise: Huber, written four ways")
    import keras
    import torch

    import keras_tally as kt
    from keras_tally import _llvm
    from keras_tally.metrics import elementwise

    def huber(y_true: Any, y_pred: Any, delta: float) -> Any:
        error = abs(y_true - y_pred)
        return keras.ops.where(
            error <= delta, 0.5 * error * error, delta * error - 0.5 * delta**2
        )

    compiled = kt.elementwise(huber, delta=1.0)
    why = _llvm.why_not(compiled.expression)
    if why is not None:
        raise SystemExit(f"nothing is compiled: {why}")
    elementwise.addresses = lambda expression: None
    # Equal expressions share their compiled code: this one has a step more.
    config = compiled.get_config()
    expression = json.loads(config["expression"])
    expression["terms"]["steps"].append(["copy", [0]])
    config["expression"] = json.dumps(expression)
    interpreted = kt.ElementwiseMetric.from_config(config)
    ways = {
        "builtin": kt.Huber(),
        "compiled": compiled,
        "interpreted": interpreted,
        "exact": textbook(kt, keras),
        "textbook": textbook(keras.metrics, keras),
    }
    core = harness.pin()
    torch.manual_seed(5)
    report = Report(
        "elementwise",
        "A Huber metric of your own, torch CPU",
        {
            "elements": "elements",
            "builtin": "`kt.Huber`, us",
            "compiled": "Python function, us",
            "interpreted": "without llvmlite, us",
            "exact": "textbook on `kt.Metric`, us",
            "textbook": "textbook, us",
            "share": "function / built-in, GB/s",
            "slow_share": "without llvmlite / built-in, GB/s",
            "gain": "textbook / function",
        },
    )
    report.notes = [
        f"Pinned to core {core}, one thread, medians of {ROUNDS} interleaved samples.",
        "All ways gave the same result before anything was timed.",
        "Every column updates with the same float32 tensors of shape (elements, 1).",
    ]
    harness.set_threads(1)
    found = {}
    for n, sample_s in ((32, 2e-3), (1024, 2e-3), (LARGE, 0.0)):
        say(f"  {n:,} elements")
        y_true, y_pred = torch.rand(n, 1), 3 * torch.rand(n, 1) - 1
        expected = None
        for name, metric in ways.items():
            metric.reset_state()
            metric.update_state(y_true, y_pred)
            value = float(metric.result())
            expected = value if expected is None else expected
            check(f"{name}, {n}", value, expected, 1e-5)
        cases = {
            name: Case(name, metric.update_state, (y_true, y_pred))
            for name, metric in ways.items()
        }
        interleaved(list(cases.values()), ROUNDS, sample_s)
        row = {name: case.median * 1e6 for name, case in cases.items()}
        row["share"] = harness.ratio(cases["builtin"], cases["compiled"])
        row["slow_share"] = harness.ratio(cases["builtin"], cases["interpreted"])
        row["gain"] = harness.ratio(cases["textbook"], cases["compiled"])
        report.row(elements=n, **row)
        found[n] = row
    for what, goal, measured, least in (
        ("at batch 32, over the built-in", 1.5, 1 / found[32]["share"], False),
        (
            "GB/s at 4M elements, share of the built-in's",
            0.7,
            found[LARGE]["share"],
            True,
        ),
        (
            "the same without llvmlite",
            0.7,
            found[LARGE]["slow_share"],
            True,
        ),
        ("at batch 32, textbook / function", 50.0, found[32]["gain"], True),
        ("at 4M elements, textbook / function", 5.0, found[LARGE]["gain"], True),
    ):
        report.target(
            what,
            f"{'at least' if least else 'at most'} {goal:g}x",
            measured,
            measured >= goal if least else measured <= goal,
            "x",
        )
    report.write()


if __name__ == "__main__":
    main()
