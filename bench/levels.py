"""Large updates at every SIMD level that this machine can run, beside Keras: what
machines without the newest instructions have of the kernels.

KERAS_BACKEND=torch python bench/levels.py
"""

from __future__ import annotations

import gc

from keras_tally.bench import harness
from keras_tally.bench.harness import Case, as_float, check, interleaved, say
from report import Report, start

N = 1_000_000
ROUNDS = 15
KERAS_ROUNDS = 3
SAMPLE_S = 0.003
# By level: how many times slower than the fastest level it may be. AVX-512 registers
# are twice as wide as AVX2's, and four times as wide as those of the baseline.
SLOWER = {"x86-64-v3": 2.5, "baseline": 6}


def main() -> None:
    start("large updates at every SIMD level, beside Keras")
    import keras

    import keras_tally
    from keras_tally import _native
    from keras_tally.bench.subjects import LOGITS, MORE, SUBJECTS

    core = harness.pin()
    harness.set_threads(1)
    levels = _native.levels()[::-1]
    columns = {"metric": "metric", "shape": "y_pred", "keras": "Keras, ms"}
    for level in levels:
        columns |= {level: f"{level}, ms", f"{level} ratio": "Keras / ours"}
    report = Report("levels", "Every class at every SIMD level, torch", columns)
    report.notes = [
        f"Pinned to core {core}, one thread. Medians of {ROUNDS} samples, of Keras "
        f"{KERAS_ROUNDS}; the levels of a row are sampled in turn.",
        "Results were compared with Keras's, at every level, before anything was "
        "timed; they have the same bits at all levels.",
    ]
    subjects = [*SUBJECTS, *MORE, *LOGITS]
    gc.collect()
    gc.freeze()
    for i, s in enumerate(subjects, 1):
        say(f"[{i}/{len(subjects)}] {s.name}")
        few = s.data(32).keras
        args = s.data(N * 32 // few[-1].numel()).keras
        args = args[:1] if s.alone else args
        theirs = s.ours(keras.metrics)
        theirs.update_state(*args)
        cases = []
        for level in levels:
            _native.set_level(level)
            ours = s.ours(keras_tally)
            ours.update_state(*args)
            # Keras adds up a million float32 numbers in float32.
            check(
                f"{s.name}, {level}",
                as_float(ours.result()),
                as_float(theirs.result()),
                2e-4,
            )
            cases.append(
                Case(
                    level,
                    ours.update_state,
                    args,
                    before=lambda level=level: _native.set_level(level),
                )
            )
        interleaved(cases, ROUNDS, SAMPLE_S)
        keras_case = Case("keras", theirs.update_state, args)
        interleaved([keras_case], KERAS_ROUNDS, 0)
        report.row(
            metric=s.name,
            shape=f"{tuple(args[-1].shape)}",
            keras=keras_case.median * 1e3,
            **{c.name: c.median * 1e3 for c in cases},
            **{f"{c.name} ratio": keras_case.median / c.median for c in cases},
        )
    _native.set_level(levels[0])

    def worst(what: str, values: list[float], most: float) -> None:
        slowest = max(values)
        name = report.rows[values.index(slowest)]["metric"]
        report.target(
            f"{what}; the largest is {name}",
            f"at most {most}x",
            slowest,
            slowest <= most,
            "x",
        )

    for level in levels:
        rows = report.rows
        if level in SLOWER:
            times = [r[level] / min(r[other] for other in levels) for r in rows]
            worst(f"{level} / fastest level", times, SLOWER[level])
        worst(f"{level}, ours / Keras", [r[level] / r["keras"] for r in rows], 1)
    report.write()


if __name__ == "__main__":
    main()
