"""What metrics cost in training: epochs and evaluations without metrics, with ours,
with Keras's own, and with a group of eight beside Keras's eight.

KERAS_BACKEND=torch python bench/fit.py
"""

from __future__ import annotations

import statistics
from typing import Any

from keras_tally.bench import harness
from keras_tally.bench.harness import say
from keras_tally.bench.subjects import eight_binary
from report import Report, start

ROWS, WIDTH, HIDDEN, BATCH = 60_000, 64, 128, 128
ROUNDS = 9
SHARE = 5.0
GROUP_SHARE = 3.0


def main() -> None:
    start(f"fit: MLP {WIDTH}-{HIDDEN}-1, {ROWS:,} rows, batch {BATCH}")
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

    def four(module: Any) -> list[Any]:
        return [
            module.BinaryAccuracy(),
            module.Precision(),
            module.Recall(),
            module.AUC(),
        ]

    def model(metrics: list[Any]) -> Any:
        keras.utils.set_random_seed(1)
        made = keras.Sequential(
            [
                keras.layers.Input((WIDTH,)),
                keras.layers.Dense(HIDDEN, activation="relu"),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        made.compile(optimizer="adam", loss="binary_crossentropy", metrics=metrics)
        return made

    models = {
        "none": model([]),
        "ours": model(four(keras_tally)),
        "keras": model(four(keras.metrics)),
        "group": model([keras_tally.MetricGroup(eight_binary(keras_tally))]),
        "keras_eight": model(eight_binary(keras.metrics)),
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
        keras.utils.set_random_seed(2)  # the same order of rows for all
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
            shift = r % len(names)
            for name in [*names[shift:], *names[:shift]]:
                began = time.perf_counter()
                run(models[name])
                seconds[step][name].append(time.perf_counter() - began)
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
        "group": "group of eight, s",
        "keras_eight": "Keras's eight, s",
    }
    columns |= {
        "ours_share": "keras-tally's share, %",
        "keras_share": "Keras's share, %",
    }
    columns |= {
        "group_share": "the group's share, %",
        "keras_eight_share": "Keras's eight, share, %",
        "ours_share_least": "keras-tally's share by the fastest runs, %",
        "group_share_least": "the group's share by the fastest runs, %",
    }
    report = Report(
        "fit",
        f"BinaryAccuracy, Precision, Recall and AUC in `fit`, MLP {WIDTH}-{HIDDEN}-1",
        columns,
    )
    report.notes = [
        f"{ROWS:,} rows, batch {BATCH}, Adam, torch CPU, pinned to core {core}, one "
        "thread. One epoch (or one evaluation) of each "
        f"of five models in turn, {ROUNDS} times; medians. All start from the "
        "same weights.",
        "A share is the median over the rounds of (time with metrics - time "
        "without) / time with metrics, taken within a "
        "round; the last column is the same from each model's fastest run, which "
        "feels a busy machine least.",
        "Every step of `fit` updates the metrics and asks for their results (Keras "
        "puts them into the logs of each batch).",
    ]
    for step, by in seconds.items():
        measured = [name for name in by if name != "none"]
        share = {
            f"{name}_share": statistics.median(
                (t - n) / t * 100 for t, n in zip(by[name], by["none"], strict=True)
            )
            for name in measured
        }
        least = {
            f"{name}_share_least": (min(by[name]) - min(by["none"]))
            / min(by[name])
            * 100
            for name in ("ours", "group")
        }
        median = {name: statistics.median(t) for name, t in by.items()}
        report.row(step=step, **median, **share, **least)
        report.target(
            f"share of {step} spent on metrics",
            f"at most {SHARE:.0f}%",
            share["ours_share"],
            share["ours_share"] <= SHARE,
            "%",
        )
    extra = statistics.median(
        (t - n) / n * 100
        for t, n in zip(seconds["fit"]["group"], seconds["fit"]["none"], strict=True)
    )
    report.target(
        "wall time that a group of eight adds to fit",
        f"at most {GROUP_SHARE:.0f}%",
        extra,
        extra <= GROUP_SHARE,
        "%",
    )
    report.write()


if __name__ == "__main__":
    main()
