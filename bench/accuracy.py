"""Errors in stated cases, beside Keras, torchmetrics, torcheval and scikit-learn.

KERAS_BACKEND=torch python bench/accuracy.py

Every case has an exact answer, or one computed in float64 with compensated sums
(``math.fsum``). Cases that every library gets right are in the table too, and so is one
that every binned AUC, ours included, gets wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from keras_tally.bench import harness
from keras_tally.bench.harness import as_float, say
from report import Report, start

LIBRARIES = ("ours", "keras", "torchmetrics", "torcheval", "sklearn")
TWO_24 = 2**24


def main() -> None:
    start("accuracy: error against the exact answer")
    import keras
    import numpy as np
    import sklearn.metrics as sk
    import torch
    import torchmetrics
    import torchmetrics.classification as tmc

    import keras_tally
    from keras_tally.bench.subjects import metrics_of, true_positives

    harness.set_threads(1)
    te = metrics_of("torcheval")
    modules = {"ours": keras_tally, "keras": keras.metrics}
    columns = {
        "case": "case",
        "exact": "exact answer",
        "kind": "error",
        "ours": "keras-tally",
        "keras": "Keras",
    }
    columns |= {
        "torchmetrics": "torchmetrics",
        "torcheval": "torcheval",
        "sklearn": "scikit-learn",
    }
    report = Report("accuracy", "Error in particular cases, torch CPU tensors", columns)
    report.notes = [
        "The absolute error for counts, the relative error otherwise; a dash where "
        "a library has no such metric or where "
        "streaming makes no sense (scikit-learn takes the whole data at once).",
        "Keras-style metrics return float32 by default, so a relative error below "
        "6e-8 is as good as that type gets.",
        "On random data in large batches float32 sums do well; the differences are "
        "in long runs, single increments "
        "and one-sided data.",
        "Binned AUC is as good as its bins: 200 even thresholds cannot tell rare "
        "positives apart when all scores are small. "
        "keras-tally's AUC is a drop-in and gives Keras's number here.",
    ]

    def add(
        case: str, exact: float, kind: str, results: dict[str, Callable[[], Any]]
    ) -> None:
        say(f"[{len(report.rows) + 1}/12] {case}")
        errors = {}
        for library in LIBRARIES:
            if library in results:
                error = abs(as_float(results[library]()) - exact)
                errors[library] = error if kind == "count" else error / abs(exact)
            else:
                errors[library] = None
        report.row(case=case, exact=f"{exact:.10g}", kind=kind, **errors)

    def streamed(metric: Any, batches: Any) -> Callable[[], Any]:
        """Run all batches through a metric of any library; its result."""

        def run() -> Any:
            update = getattr(metric, "update_state", None) or metric.update
            for args in batches():
                update(*args)
            return (metric.result if hasattr(metric, "result") else metric.compute)()

        return run

    # 1, 2: counts beyond 2**24
    extra = 1000
    million = torch.ones(2**20, 1)
    one = torch.ones(1, 1)
    flat, flat_one = (
        torch.ones(2**20, dtype=torch.long),
        torch.ones(1, dtype=torch.long),
    )

    def counted() -> Any:
        yield from ((million, million) for _ in range(16))
        yield from ((one, one) for _ in range(extra))

    def counted_flat() -> Any:
        yield from ((flat.float(), flat) for _ in range(16))
        yield from ((flat_one.float(), flat_one) for _ in range(extra))

    add(
        "TruePositives: 2^24, then 1000 batches of one",
        TWO_24 + extra,
        "count",
        {name: streamed(m.TruePositives(), counted) for name, m in modules.items()}
        | {"torchmetrics": streamed(true_positives(torchmetrics), counted_flat)},
    )
    add(
        "Sum: 2^24 ones, then 1000 batches of one",
        TWO_24 + extra,
        "count",
        {
            name: streamed(m.Sum(), lambda: (a[:1] for a in counted()))
            for name, m in modules.items()
        }
        | {
            "torchmetrics": streamed(
                torchmetrics.SumMetric(), lambda: (a[:1] for a in counted_flat())
            ),
            "torcheval": streamed(te.Sum(), lambda: (a[:1] for a in counted_flat())),
        },
    )

    # 3: accuracy that falls while the counts stand still
    hits, misses = TWO_24, 2000

    def falling() -> Any:
        yield from ((million, million) for _ in range(16))
        yield from ((one, one * 0) for _ in range(misses))

    def falling_flat() -> Any:
        yield from ((flat.float(), flat) for _ in range(16))
        yield from ((flat_one.float() * 0, flat_one) for _ in range(misses))

    add(
        "BinaryAccuracy: 2^24 hits, then 2000 misses, one at a time",
        hits / (hits + misses),
        "relative",
        {name: streamed(m.BinaryAccuracy(), falling) for name, m in modules.items()}
        | {
            "torchmetrics": streamed(
                tmc.BinaryAccuracy(validate_args=False), falling_flat
            ),
            "torcheval": streamed(te.BinaryAccuracy(), falling_flat),
        },
    )

    # 4: a constant stream
    tenth = torch.full((32, 1), 0.1)
    constant = float(np.float32(0.1))

    def stream() -> Any:
        return ((tenth,) for _ in range(100_000))

    add(
        "Mean: 100,000 batches of 32 times 0.1",
        constant,
        "relative",
        {name: streamed(m.Mean(), stream) for name, m in modules.items()}
        | {
            "torchmetrics": streamed(torchmetrics.MeanMetric(), stream),
            "torcheval": streamed(te.Mean(), stream),
        },
    )

    # 5: mean squared error of a long evaluation, small batches
    batch = torch.full((32, 1), 1.1)
    nothing = torch.zeros(32, 1)
    squared = float(np.float64(np.float32(1.1)) ** 2)
    add(
        "MeanSquaredError: 50,000 batches of 32, each error 1.1",
        squared,
        "relative",
        {
            name: streamed(
                m.MeanSquaredError(), lambda: ((nothing, batch) for _ in range(50_000))
            )
            for name, m in modules.items()
        }
        | {
            "torchmetrics": streamed(
                torchmetrics.MeanSquaredError(),
                lambda: ((batch[:, 0], nothing[:, 0]) for _ in range(50_000)),
            ),
            "torcheval": streamed(
                te.MeanSquaredError(),
                lambda: ((batch[:, 0], nothing[:, 0]) for _ in range(50_000)),
            ),
        },
    )

    # 6: values far from zero
    rng = np.random.default_rng(5)
    far = torch.from_numpy(
        (1e6 + rng.standard_normal((10_000, 100))).astype(np.float32)
    )
    exact = math.fsum(far.numpy().astype(np.float64).ravel()) / far.numel()
    add(
        "Mean of a million values near 1,000,000, batches of 100",
        exact,
        "relative",
        {
            name: streamed(m.Mean(), lambda: ((row[:, None],) for row in far))
            for name, m in modules.items()
        }
        | {
            "torchmetrics": streamed(
                torchmetrics.MeanMetric(), lambda: ((row,) for row in far)
            ),
            "torcheval": streamed(te.Mean(), lambda: ((row,) for row in far)),
        },
    )

    # 7 to 9: a million random values, batches of 10,000
    n, size = 1_000_000, 10_000
    y = (rng.random(n) < 0.3).astype(np.float32)
    p = (1 / (1 + np.exp(-(rng.standard_normal(n) + 1.5 * y - 1)))).astype(np.float32)
    ty, tp = torch.from_numpy(y), torch.from_numpy(p)
    p64, y64 = p.astype(np.float64), y.astype(np.float64)

    def keras_batches() -> Any:
        return zip(ty[:, None].split(size), tp[:, None].split(size), strict=True)

    def float_batches() -> Any:
        return zip(tp.split(size), ty.split(size), strict=True)

    def label_batches() -> Any:
        return zip(tp.split(size), ty.long().split(size), strict=True)

    add(
        "MeanSquaredError: a million random pairs, batches of 10,000",
        math.fsum((y64 - p64) ** 2) / n,
        "relative",
        {
            name: streamed(m.MeanSquaredError(), keras_batches)
            for name, m in modules.items()
        }
        | {
            "torchmetrics": streamed(torchmetrics.MeanSquaredError(), float_batches),
            "torcheval": streamed(te.MeanSquaredError(), float_batches),
            "sklearn": lambda: sk.mean_squared_error(y, p),
        },
    )
    clipped = np.clip(p64, 1e-7, 1 - 1e-7)
    add(
        "BinaryCrossentropy: the same pairs",
        -math.fsum(y64 * np.log(clipped) + (1 - y64) * np.log1p(-clipped)) / n,
        "relative",
        {
            name: streamed(m.BinaryCrossentropy(), keras_batches)
            for name, m in modules.items()
        }
        | {"sklearn": lambda: sk.log_loss(y, p64)},
    )

    def auc_case(case: str, labels: Any, scores: Any) -> None:
        ty, tp = torch.from_numpy(labels.astype(np.float32)), torch.from_numpy(scores)
        add(
            case,
            float(sk.roc_auc_score(labels, scores.astype(np.float64))),
            "relative",
            {
                name: streamed(m.AUC(), lambda: [(ty[:, None], tp[:, None])])
                for name, m in modules.items()
            }
            | {
                "torchmetrics": streamed(
                    tmc.BinaryAUROC(thresholds=200, validate_args=False),
                    lambda: [(tp, ty.long())],
                ),
                "torcheval": streamed(
                    te.BinaryBinnedAUROC(threshold=200), lambda: [(tp, ty.long())]
                ),
                "sklearn": lambda: sk.roc_auc_score(labels, scores),
            },
        )

    auc_case("AUC, 200 thresholds: the same pairs", y, p)
    rare = rng.random(n) < 0.0009
    small = (1 / (1 + np.exp(-(rng.standard_normal(n) + 2 * rare - 8)))).astype(
        np.float32
    )
    auc_case("AUC, 200 thresholds: 0.09% positives, small scores", rare, small)

    # 11, 12: what float32 loses before anything is added up
    size, noise = 100, rng.standard_normal((2, 100_000))
    y = (10_000 + noise[0]).astype(np.float32)
    p = (y + 0.5 * noise[1]).astype(np.float32)
    ty, tp = torch.from_numpy(y), torch.from_numpy(p)
    y64, p64 = y.astype(np.float64), p.astype(np.float64)
    mean = math.fsum(y64) / len(y)
    add(
        "R2Score: targets near 10,000, batches of 100",
        1 - math.fsum((y64 - p64) ** 2) / math.fsum((y64 - mean) ** 2),
        "relative",
        {name: streamed(m.R2Score(), keras_batches) for name, m in modules.items()}
        | {
            "torchmetrics": streamed(torchmetrics.R2Score(), float_batches),
            "torcheval": streamed(te.R2Score(), float_batches),
            "sklearn": lambda: sk.r2_score(y, p),
        },
    )
    y = np.zeros(100_000, np.float32)
    p = (1e-3 * noise[1]).astype(np.float32)
    ty, tp = torch.from_numpy(y), torch.from_numpy(p)
    halves = p.astype(np.float64) / 2
    add(
        "LogCoshError: errors of about 0.001, batches of 100",
        math.fsum(np.log1p(2 * np.sinh(halves) ** 2)) / len(p),
        "relative",
        {name: streamed(m.LogCoshError(), keras_batches) for name, m in modules.items()}
        | {"torchmetrics": streamed(torchmetrics.LogCoshError(), float_batches)},
    )

    for row in report.rows:
        if row["kind"] == "count":
            report.target(f"{row['case']}: error", "0", row["ours"], row["ours"] == 0)
    report.write()


if __name__ == "__main__":
    main()
