"""Every benchmark in turn, then the summary and the README's tables: `make bench`.

    export KERAS_BACKEND=torch
    python bench/run_all.py               # all of them, about a quarter of an hour
    python bench/run_all.py latency fit   # only these
    python bench/run_all.py --readme      # measure nothing

The summary and the README's tables are made from all stored results, old or new.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from keras_tally.bench.harness import say, shown, table
from report import RESULTS, provenance, target_table

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
OWN_METRICS = HERE.parent / "docs" / "own_metrics.md"
TRUST = HERE.parent / "docs" / "trust.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
SCRIPTS = (
    "latency",
    "throughput",
    "all_classes",
    "levels",
    "group",
    "elementwise",
    "fit",
    "accuracy",
    "ulps",
    "import_time",
    "distributed",
    "functional",
)
# One script, measured on several backends: its results have their names.
FRAMEWORKS = ("jax", "tensorflow")
HOME = ["-m", "keras_tally.bench", "--out", "bench/results/home", "--seconds", "120"]
STEPS = {
    **{name: [f"bench/{name}.py"] for name in SCRIPTS},
    **{name: ["bench/frameworks.py"] for name in FRAMEWORKS},
    "home": HOME,  # what users run at home; it has no targets
}
SHOWN = (
    "BinaryAccuracy",
    "SparseCategoricalAccuracy",
    "Precision",
    "MeanSquaredError",
    "AUC(200)",
    "BinaryCrossentropy",
)
LARGE = {"SparseCategoricalAccuracy": "SparseCategoricalAccuracy, argmax of 1000"}


def stored() -> dict[str, dict[str, Any]]:
    """Every stored result, by name: of these scripts, and of GPUs (gpu.sh)."""
    results = {p.stem: json.loads(p.read_text()) for p in RESULTS.glob("*.json")}
    gpus = sorted(n for n, r in results.items() if "gpu" in r.get("machine", {}))
    return {s: results[s] for s in (*SCRIPTS, *FRAMEWORKS, *gpus) if s in results}


def gpu_tables(name: str, result: dict[str, Any]) -> list[str]:
    """What a GPU's users want to know first."""
    tables = {t["title"].split()[0]: t["rows"] for t in result["tables"]}
    host = [{**r, "metric": f"`{r['metric']}`"} for r in tables.get("Host", [])]
    large = [
        {**r, "metric": f"`{r['metric']}`"}
        for r in tables.get("Large", [])
        if r.get("goal") is not None and r["metric"] in (*SHOWN, "Mean")
    ]
    gpu = result["machine"]["gpu"]
    return [
        f"**On one {gpu}, torch backend: a thousand batches of 1024 and the result, "
        "milliseconds:**",
        table(
            {
                "metric": "",
                "wall": "keras-tally",
                "keras_wall": "Keras",
                "torchmetrics_wall": "torchmetrics",
            },
            host,
        ),
        f"**There, large updates, GB/s read** ([the others]"
        f"(bench/results/{name}.md), some of which are far from it)**:**",
        table(
            {
                "metric": "",
                "shape": "shape",
                "rate": "keras-tally",
                "read": "torch.sum",
                "copy": "a copy, read and written",
            },
            large,
        ),
    ]


def readme_tables(results: dict[str, dict[str, Any]]) -> str:
    """What goes between the README's markers."""
    parts = []
    libraries = {
        "keras": "Keras",
        "torchmetrics": "torchmetrics",
        "torcheval": "torcheval",
    }

    def elsewhere(name: str) -> str:
        """Where a table was measured, if not on the machine that is named below."""
        cpu: str = results[name]["machine"]["cpu"]
        named = results.get("latency", results[name])["machine"]["cpu"]
        return "" if cpu == named else f" (on {cpu})"

    if "latency" in results:
        by = {(r["metric"], r["step"]): r for r in results["latency"]["rows"]}
        rows = []
        for metric in SHOWN:
            for step in ("update_state", "result"):
                r = by[metric, step]
                rows.append(
                    {
                        "what": f"`{metric}` {step}",
                        **{k: r[k] for k in ("ours", *libraries)},
                    }
                )
        r = by["BinaryAccuracy", "metric(y, p)"]
        rows.append(
            {
                "what": "`BinaryAccuracy` metric(y, p)",
                **{k: r[k] for k in ("ours", *libraries)},
            }
        )
        parts += [
            "**Batch of 32, one thread, microseconds:**",
            table({"what": "", "ours": "keras-tally", **libraries}, rows),
        ]
    if "functional" in results:
        peers = {k: libraries[k] for k in ("torchmetrics", "torcheval")}
        columns = {"metric": "", "ours": "keras-tally", **peers}
        parts += [
            "**One call of a function on a batch of 1024, one thread, microseconds"
            f"{elsewhere('functional')}:**",
            table(columns, results["functional"]["rows"]),
        ]
    if "throughput" in results:
        by = {(r["metric"], r["threads"]): r for r in results["throughput"]["rows"]}
        rows = []
        for metric in SHOWN:
            r, two = (
                by[LARGE.get(metric, metric), 1],
                by.get((LARGE.get(metric, metric), 2), {}),
            )
            keys = ("share", "keras", "torchmetrics", "torcheval", "sklearn")
            row = {
                "what": f"`{metric}` {r['shape']}",
                "ours": r["ours"],
                "two": two.get("ours"),
            }
            rows.append(
                row | {k: r.get(k) for k in keys} | {"share": f"{r['share']:.0%}"}
            )
        columns = {
            "what": "",
            "ours": "keras-tally",
            "two": "with two threads",
            "share": "of a plain read loop's rate",
        }
        parts += [
            "**One update with 4 million elements, one thread (unless stated), "
            f"milliseconds{elsewhere('throughput')}:**",
            table(columns | libraries | {"sklearn": "scikit-learn"}, rows),
        ]
    if "fit" in results:
        rows = results["fit"]["rows"]
        columns = {
            "step": "",
            "none": "no metrics",
            "ours": "keras-tally",
            "keras": "Keras",
            "ours_share": "our share, %",
        }
        parts += [
            "**Training a small binary model (64-128-1, 60,000 rows, batch 128) "
            "with BinaryAccuracy, Precision, Recall and AUC, "
            "seconds, and the share of them spent on metrics"
            f"{elsewhere('fit')}:**",
            table(columns | {"keras_share": "Keras's share, %"}, rows),
        ]
    if "accuracy" in results:
        rows = results["accuracy"]["rows"]
        columns = {
            "case": "",
            "kind": "error",
            "ours": "keras-tally",
            **libraries,
            "sklearn": "scikit-learn",
        }
        title = f"**Error against the exact answer{elsewhere('accuracy')}:**"
        parts += [title, table(columns, rows)]
    for name, r in results.items():
        if "gpu" in r["machine"]:
            parts += gpu_tables(name, r)
    targets = [t for r in results.values() for t in r["targets"]]
    missed = [t for t in targets if not t["met"]]
    if targets:
        text = f"{len(targets) - len(missed)} of {len(targets)} targets are met"
        named = [
            f"{t['what']} {shown(t['measured'])}{t['unit']} ({t['goal']})"
            for t in missed[:8]
        ]
        if missed:
            text += f"; missed: {'; '.join(named)}"
        if len(missed) > len(named):
            text += f"; and {len(missed) - len(named)} more"
        parts.append(
            f"{text}. All of them: "
            "[bench/results/summary.md](bench/results/summary.md)."
        )
    if "latency" in results:
        r = results["latency"]
        parts.append(
            f"Measured on {r['machine']['cpu']}, {r['machine']['cores']} cores, SIMD "
            f"level {r['machine']['simd']}, with "
            + ", ".join(
                f"{k} {v}" for k, v in r["versions"].items() if k != "keras-tally"
            )
            + ". A dash: the library has no such metric, or none that can be compared."
        )
    return "\n\n".join(parts)


def write_summary(results: dict[str, dict[str, Any]]) -> None:
    """All targets in one file."""
    parts = [
        "# Targets, met and missed",
        "Written by `make bench` from the results beside this file.",
    ]
    for name, r in results.items():
        if r["targets"]:
            parts += [
                f"## [{r['title']}]({name}.md)",
                target_table(r["targets"]),
                provenance(r),
            ]
    (RESULTS / "summary.md").write_text("\n\n".join(parts) + "\n")


def own_metrics_table(results: dict[str, dict[str, Any]]) -> str:
    """What the page about metrics of one's own shows."""
    stored = results["elementwise"]
    columns = {
        "elements": "elements",
        "textbook": "textbook, us",
        "exact": "textbook on `kt.Metric`, us",
        "compiled": "Python function, us",
        "interpreted": "the same without llvmlite, us",
        "builtin": "C++ (`kt.Huber`), us",
    }
    return f"{table(columns, stored['rows'])}\n\n{provenance(stored)}"


def ulps_table(results: dict[str, dict[str, Any]]) -> str:
    """The worst errors of each kernel over all conditions, for the page on trust."""
    stored = results["ulps"]
    inputs = ("float16", "bfloat16", "float32", "float64")
    others = {
        "keras_float32": "Keras",
        "torchmetrics": "torchmetrics",
        "torcheval": "torcheval",
    }
    columns = {
        "kernel": "kernel",
        **{d: f"{d} in" for d in inputs},
        "ours32": "float32 out",
        **others,
    }
    worst: dict[str, dict[str, Any]] = {}
    for row in stored["rows"]:
        entry = worst.setdefault(row["kernel"], {"kernel": f"`{row['kernel']}`"})
        for key in (*inputs, "ours32", *others):
            if row[key] is not None:  # infinity is stored as text
                entry[key] = max(entry.get(key, 0.0), float(row[key]))
    return f"{table(columns, list(worst.values()))}\n\n{provenance(stored)}"


def write_between_markers(page: Path, text: str) -> None:
    """Replace what lies between the markers."""
    old = page.read_text()
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise SystemExit(f"{page.name} should contain {BEGIN} and {END} once each")
    head, rest = old.split(BEGIN)
    _, tail = rest.split(END)
    page.write_text(
        f"{head}{BEGIN}\n<!-- written by `make bench`; edits here are lost "
        f"-->\n\n{text}\n\n{END}{tail}"
    )


def main(arguments: list[str]) -> None:
    chosen = [a for a in arguments if a != "--readme"]
    unknown = [a for a in chosen if a not in STEPS]
    if unknown:
        raise SystemExit(f"{unknown[0]!r} is none of: {', '.join(STEPS)}")
    if not chosen and "--readme" not in arguments:
        chosen = list(STEPS)
    RESULTS.mkdir(exist_ok=True)
    start = time.perf_counter()
    for i, name in enumerate(chosen, 1):
        say(f"\n#### {i} of {len(chosen)}, {time.perf_counter() - start:.0f} s so far")
        subprocess.run(
            [sys.executable, *STEPS[name]],
            check=True,
            cwd=HERE.parent,
            env={
                **os.environ,
                "KERAS_BACKEND": name if name in FRAMEWORKS else "torch",
            },
        )
    results = stored()
    write_summary(results)
    write_between_markers(README, readme_tables(results))
    if "elementwise" in results:
        write_between_markers(OWN_METRICS, own_metrics_table(results))
    if "ulps" in results:
        write_between_markers(TRUST, ulps_table(results))
    targets = [t for r in results.values() for t in r["targets"]]
    say(
        f"\n{sum(t['met'] for t in targets)} of {len(targets)} targets met; see "
        "bench/results/summary.md"
    )
    for t in targets:
        if not t["met"]:
            say(
                f"  missed: {t['what']}: {shown(t['measured'])}{t['unit']} "
                f"({t['goal']})"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
