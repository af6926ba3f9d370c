"""What metrics cost in training: epochs and evaluations without metrics, with ours, and
with Keras's own.

KERAS_BACKEND=torch python bench/fit.py
"""

from __future__ import annotations

import statistics
from typing import Any

import harness
from harness import Report, say

ROWS, WIDTH, HIDDEN, BATCH = 60_000, 64, 128, 128
ROUNDS = 9
SHARE = 5.0


def main() -> None:
    harness.start(f"fit: MLP {WIDTH}-{HIDDEN}-1, {ROWS:,} rows, batch {BATCH}")
    import time

    import keras
    import numpy as np

    import keras_tally

    core = harness.pin()
    harness.set_threads(1)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    y = (
        x @ rng.standard_normal(WIDTH, dtype=np.float32)
        + rng.standard_normal(ROWS, dtype=np.float32) * 4
        > 0
    )
    y = y.astype(np.float32)[:, None]

    def model(module: Any) -> Any:
        keras.utils.set_random_seed(1)
        made = keras.Sequential(
            [
                keras.layers.Input((WIDTH,)),
                keras.layers.Dense(HIDDEN, activation="relu"),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        metrics = (
            []
            if module is None
            else [
                module.BinaryAccuracy(),
                module.Precision(),
                module.Recall(),
                module.AUC(),
            ]
        )
        made.compile(optimizer="adam", loss="binary_crossentropy", metrics=metrics)
        return made

    models = {
        "none": model(None),
        "ours": model(keras_tally),
        "keras": model(keras.metrics),
    }
    steps = {
        "fit": lambda m: m.fit(x, y, batch_size=BATCH, epochs=1, verbose=0),
        "evaluate": lambda m: m.evaluate(
            x, y, batch_size=BATCH, verbose=0, return_dict=True
        ),
    }
    say("  warming up")
    logs = {}
    for name, m in models.items():
        keras.utils.set_random_seed(2)  # the same order of rows for all three
        steps["fit"](m)
        logs[name] = steps["evaluate"](m)
    for ours, theirs in zip(logs["ours"].items(), logs["keras"].items(), strict=True):
        harness.check(f"ours, {ours[0]} after one epoch", ours[1], theirs[1], 1e-5)

    seconds: dict[str, dict[str, list[float]]] = {
        step: {name: [] for name in models} for step in steps
    }
    names = list(models)
    for r in range(ROUNDS):
        for step, run in steps.items():
            for name in [*names[r % 3 :], *names[: r % 3]]:
                start = time.perf_counter()
                run(models[name])
                seconds[step][name].append(time.perf_counter() - start)
        last = {
            step: {n: round(t[-1], 2) for n, t in by.items()}
            for step, by in seconds.items()
        }
        say(f"[{r + 1}/{ROUNDS}] seconds: {last}")

    columns = {
        "step": "step",
        "none": "no metrics, s",
        "ours": "keras-tally, s",
        "keras": "Keras, s",
    }
    columns |= {
        "ours_share": "keras-tally's share, %",
        "keras_share": "Keras's share, %",
    }
    columns |= {"ours_share_least": "keras-tally's share by the fastest runs, %"}
    report = Report(
        "fit",
        f"BinaryAccuracy, Precision, Recall and AUC in `fit`, MLP {WIDTH}-{HIDDEN}-1",
        columns,
    )
    report.notes = [
        f"{ROWS:,} rows, batch {BATCH}, Adam, torch CPU, pinned to core {core}, one "
        "thread. One epoch (or one evaluation) of each "
        f"of three models in turn, {ROUNDS} times; medians. All three start from the "
        "same weights.",
        "A share is the median over the rounds of (time with metrics - time "
        "without) / time with metrics, taken within a "
        "round; the last column is the same from each model's fastest run, which "
        "feels a busy machine least.",
        "Every step of `fit` updates the metrics and asks for their results (Keras "
        "puts them into the logs of each batch).",
    ]
    for step, by in seconds.items():
        share = {
            name: statistics.median(
                (t - n) / t * 100 for t, n in zip(by[name], by["none"], strict=True)
            )
            for name in ("ours", "keras")
        }
        median = {name: statistics.median(t) for name, t in by.items()}
        least = (min(by["ours"]) - min(by["none"])) / min(by["ours"]) * 100
        report.row(
            step=step,
            **median,
            ours_share=share["ours"],
            keras_share=share["keras"],
            ours_share_least=least,
        )
        report.target(
            f"share of {step} spent on metrics",
            f"at most {SHARE:.0f}%",
            share["ours"],
            share["ours"] <= SHARE,
            "%",
        )
    report.write()


if __name__ == "__main__":
    main()
