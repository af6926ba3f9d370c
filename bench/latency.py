"""Time of ``update_state``, ``result`` and ``metric(y, p)`` at batch 32, beside Keras,
torchmetrics and torcheval.

KERAS_BACKEND=torch python bench/latency.py
"""

from __future__ import annotations

from typing import Any

from keras_tally.bench import harness
from keras_tally.bench.harness import Case, check, interleaved, say
from report import Report, start

BATCH = 32
ROUNDS = 31
SAMPLE_S = 0.002
FAST_UPDATE = {  # how many times faster than Keras's own update_state
    "BinaryAccuracy": 100,
    "SparseCategoricalAccuracy": 100,
    "Precision": 100,
    "MeanSquaredError": 100,
    "AUC(200)": 200,
}
PEER_UPDATE = 20
FAST_RESULT = 15
CALL_US = 3.0


def peer(
    library: str, make: Any, args: tuple[Any, ...], expected: float, tolerance: float
) -> dict[str, Case]:
    """The cases of a torchmetrics or torcheval metric, after checking its answer."""
    options = {"compute_with_cache": False} if library == "torchmetrics" else {}
    metric, other = make(), make()
    for m in (metric, other):
        for name, value in options.items():
            setattr(m, name, value)
        m.update(*args)
    check(f"{library} {type(metric).__name__}", metric.compute(), expected, tolerance)

    def both(*args: Any) -> Any:
        metric.update(*args)
        return metric.compute()

    return {
        # reset: some of torcheval's metrics store their inputs, which must not pile up
        # while they are timed
        "update": Case(library, metric.update, args, before=metric.reset),
        "result": Case(library, other.compute),
        "call": Case(library, both, args, before=metric.reset),
    }


def own(
    library: str, metric: Any, other: Any, args: tuple[Any, ...]
) -> dict[str, Case]:
    """The cases of a Keras-style metric."""
    metric.update_state(*args)
    other.update_state(*args)
    return {
        "update": Case(library, metric.update_state, args),
        "result": Case(library, other.result),
        "call": Case(library, metric, args),
    }


def main() -> None:
    start(f"latency: update_state, result and metric(y, p) at batch {BATCH}")
    import keras

    import keras_tally
    from keras_tally.bench.subjects import PEERS, SUBJECTS

    core = harness.pin()
    harness.set_threads(1)
    columns = {
        "metric": "metric",
        "step": "step",
        "ours": "keras-tally, us",
        "keras": "Keras, us",
        "ratio": "ratio",
    }
    columns |= {"torchmetrics": "torchmetrics, us", "torcheval": "torcheval, us"}
    report = Report(
        "latency", f"Latency at batch {BATCH}, torch CPU tensors, microseconds", columns
    )
    report.notes = [
        f"Pinned to core {core}, one thread, medians of {ROUNDS} interleaved samples "
        f"of about {SAMPLE_S * 1e3:.0f} ms.",
        "`ratio` is Keras's time over ours. Answers were compared before anything "
        "was timed.",
        "torchmetrics without argument validation and without its result cache; for "
        "torchmetrics and torcheval "
        "`metric(y, p)` is update, then compute.",
        "torcheval's binned AUC metrics only store their inputs in `update` (memory "
        "grows with the data) and do all "
        "the work in `compute`; compare `metric(y, p)` for these.",
        "Keras has no Huber metric: there it is `MeanMetricWrapper` around Keras's "
        "Huber loss.",
    ]
    worst_result: list[tuple[float, str]] = []
    for i, s in enumerate(SUBJECTS, 1):
        say(f"[{i}/{len(SUBJECTS)}] {s.name}")
        data = s.data(BATCH)
        args: tuple[Any, ...] = data.keras[:1] if s.alone else data.keras
        peers: tuple[Any, ...] = data.peers[:1] if s.alone else data.peers
        modules = {"ours": keras_tally, "keras": keras.metrics}
        cases = {
            name: own(name, s.ours(m), s.ours(m), args) for name, m in modules.items()
        }
        expected = harness.as_float(cases["keras"]["result"].call())
        check(f"ours, {s.name}", cases["ours"]["result"].call(), expected, 1e-6)
        for library in PEERS:
            if (make := s.peer(library)) is not None:
                cases[library] = peer(library, make, peers, expected, s.peer_tolerance)
        interleaved(
            [c for steps in cases.values() for c in steps.values()], ROUNDS, SAMPLE_S
        )
        for step, label in (
            ("update", "update_state"),
            ("result", "result"),
            ("call", "metric(y, p)"),
        ):
            us = {library: steps[step].median * 1e6 for library, steps in cases.items()}
            ratio = harness.ratio(cases["keras"][step], cases["ours"][step])
            report.row(
                metric=s.name,
                step=label,
                ours=us["ours"],
                keras=us["keras"],
                ratio=ratio,
                torchmetrics=us.get("torchmetrics"),
                torcheval=us.get("torcheval"),
            )
            if step == "update" and s.name in FAST_UPDATE:
                goal = FAST_UPDATE[s.name]
                report.target(
                    f"{s.name}: update_state, Keras / ours",
                    f"at least {goal}x",
                    ratio,
                    ratio >= goal,
                    "x",
                )
                for library in PEERS:
                    if library in us:
                        r = harness.ratio(cases[library][step], cases["ours"][step])
                        goal_text = f"at least {PEER_UPDATE}x"
                        report.target(
                            f"{s.name}: update, {library} / ours",
                            goal_text,
                            r,
                            r >= PEER_UPDATE,
                            "x",
                        )
            if step == "result":
                worst_result.append((ratio, s.name))
            if step == "call" and s.name == "BinaryAccuracy":
                report.target(
                    "BinaryAccuracy: metric(y, p)",
                    f"at most {CALL_US} us",
                    us["ours"],
                    us["ours"] <= CALL_US,
                    " us",
                )
    for ratio, name in sorted(worst_result):
        report.target(
            f"{name}: result, Keras / ours",
            f"at least {FAST_RESULT}x",
            ratio,
            ratio >= FAST_RESULT,
            "x",
        )
    report.write()


if __name__ == "__main__":
    main()
