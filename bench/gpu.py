"""Metrics on an NVIDIA GPU: answers, then bytes a second beside a copy of the same run,
host time of the calls, and training.

KERAS_BACKEND=torch python bench/gpu.py --out bench/results   # writes <gpu>.json, .md
KERAS_BACKEND=torch python bench/gpu.py --short               # answers only, small ones
KERAS_BACKEND=torch python bench/gpu.py --device cpu --quick  # tries out the script

bench/gpu.sh does all that there is to do on a machine with a GPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import re
import shutil
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch

import keras_tally as kt
from keras_tally import _native
from keras_tally.bench import harness
from keras_tally.bench.compare import numbers
from keras_tally.bench.harness import Case, check, interleaved, say
from keras_tally.bench.subjects import BY_NAME, eight_binary, metrics_of
from report import RESULTS, Report, start

TOLERANCE = 1e-6  # of float32 results, relative
L2_BYTES = 60 * 2**20  # of the largest GPUs; small inputs rotate through four times it
ROUNDS, SAMPLE_S = 11, 0.004
BATCH = 1024
QUEUED = 400  # launches that wait in the device's queue without holding up the host
HOST_US = 8.0  # goal of update_state's host time
PEER_GAIN = 20  # goal of wall time beside Keras and torchmetrics

Tensors = tuple[Any, ...]
Update = Callable[..., Any]


class Clock:
    """Device and sizes of a run, and how to time and to wait there."""

    def __init__(self, device: str, quick: bool, seconds: float) -> None:
        self.device, self.quick = device, quick
        self.on_gpu = device == "cuda"
        self.elements = 2**14 if quick else 2**28
        self.rounds = 1 if quick else ROUNDS
        self.sample_s = 0.0005 if quick else SAMPLE_S
        self.end = time.perf_counter() + seconds

    def wait(self) -> None:
        """Return when the device has nothing left to do."""
        if self.on_gpu:
            torch.cuda.synchronize()

    @property
    def late(self) -> bool:
        """Whether no further step should start."""
        return time.perf_counter() > self.end


class DeviceCase(Case):
    """A case timed by the GPU's own clock.

    The device sleeps until some calls wait in its queue, so that what the host needs
    for a call is no part of it.
    """

    def sample(self, warm: bool) -> float:
        """Seconds of the device for ``calls`` calls."""
        if warm:
            self.call(*self.args)
        calls = min(self.calls, QUEUED)
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in "ab")
        torch.cuda._sleep(100_000 + 20_000 * calls)  # clock cycles
        began.record()
        for _ in range(calls):
            self.call(*self.args)
        ended.record()
        ended.synchronize()
        return float(began.elapsed_time(ended)) / 1e3 * self.calls / calls


def device_case(clock: Clock, name: str, call: Update, *args: Any) -> Case:
    """A case of the GPU's time; on the host, of the host's."""
    return (DeviceCase if clock.on_gpu else Case)(name, call, args)


def nbytes(tensors: Tensors) -> int:
    """Bytes of these tensors."""
    return sum(t.numel() * t.element_size() for t in tensors)


# --------------------------------------------------------------------------------------
# data, made on the device


@dataclass
class Inputs:
    """Tensors for one shape of data, made once and used by several metrics."""

    args: Tensors
    host: Tensors

    @classmethod
    def of(cls, *args: Any) -> Inputs:
        """These tensors, and copies in host memory."""
        return cls(args, tuple(t.cpu() for t in args))


def binary(clock: Clock, n: int, dtype: Any = torch.float32) -> Tensors:
    """Labels 0 and 1, and scores between 0 and 1 that know something of them."""
    scores = torch.rand(n, 1, device=clock.device)
    labels = (torch.rand(n, 1, device=clock.device) < scores).float()
    return labels.to(dtype), scores.clamp_(1e-6, 1 - 1e-6).to(dtype)


def classes(clock: Clock, n: int, width: int, onehot: bool, dtype: Any) -> Tensors:
    """Class numbers (or one-hot rows) and a row of probabilities for each."""
    scores = torch.rand(n, width, device=clock.device)
    labels = torch.randint(width, (n,), device=clock.device)
    scores[torch.arange(0, n, 2, device=clock.device), labels[::2]] += 1.0
    scores /= scores.sum(-1, keepdim=True)
    if onehot:
        hot = torch.zeros(n, width, device=clock.device)
        hot.scatter_(1, labels[:, None], 1.0)
        return hot.to(dtype), scores.to(dtype)
    return labels, scores.to(dtype)


# --------------------------------------------------------------------------------------
# answers


def on_cpu(make: Callable[[], Any], args: Tensors, **kwargs: Any) -> Any:
    """The result of the same metric on the CPU."""
    with keras.device("cpu"):
        metric = make()
        metric.update_state(*args, **kwargs)
        return numbers(metric.result())


def check_answer(what: str, got: Any, expected: Any) -> None:
    """Stop the run if an answer is wrong."""
    for value, right in zip(numbers(got), expected, strict=True):
        if np.isnan(right) and np.isnan(value):
            continue
        check(what, value, float(right), TOLERANCE)


def short(clock: Clock) -> None:
    """A small update of every class, each answer compared with the CPU's: what
    compute-sanitizer looks at.
    """
    done = 0
    for subject in BY_NAME.values():
        for rows, dtype in ((1, "float32"), (37, "float16"), (1003, "float32")):
            data = subject.data(rows)
            host = data.of(dtype, "cpu").keras
            device = data.of(dtype, clock.device).keras
            if subject.alone:
                host, device = host[:1], device[:1]

            def make(subject: Any = subject) -> Any:
                return subject.ours(kt)

            what = f"{subject.name}, {rows} rows of {dtype}"
            metric = make()
            metric.update_state(*device)
            check_answer(what, metric.result(), on_cpu(make, host))
            if subject.name.startswith("MetricGroup") or rows == 1:
                continue
            weight = torch.arange(rows) % 3 / 2
            metric.reset_state()
            metric.update_state(*device, sample_weight=weight.to(clock.device))
            expected = on_cpu(make, host, sample_weight=weight)
            check_answer(f"{what}, weighted", metric.result(), expected)
            done += 1
        say(f"  {subject.name}: right")
    for what, make, args in odd_ones(clock):
        metric = make()
        metric.update_state(*args)
        if what.startswith(BAD_LABELS):
            expected = np.full(numbers(metric.result()).shape, np.nan)
        else:
            expected = on_cpu(make, tuple(t.cpu() for t in args))
        check_answer(what, metric.result(), expected)
        say(f"  {what}: right")
    clock.wait()
    say(f"  {done} answers are right")


def top_five() -> Any:
    return kt.SparseTopKCategoricalAccuracy(k=5)


def sparse_loss() -> Any:
    return kt.SparseCategoricalCrossentropy()


BAD_LABELS = "labels that are no class: "  # raise on the CPU, and give NaN on a GPU


def odd_ones(clock: Clock) -> Iterator[tuple[str, Callable[[], Any], Tensors]]:
    """Sizes and values that need other ways through the kernels."""
    device = clock.device
    scores = torch.rand(300, 50, device=device)
    bad = torch.randint(50, (300,), device=device)
    bad[::7] = torch.tensor(2**40)
    bad[1::7] = -1
    if clock.on_gpu:
        for make in (top_five, sparse_loss):
            yield f"{BAD_LABELS}{make.__name__}", make, (bad, scores)
    yield "accuracy, labels out of range", kt.SparseCategoricalAccuracy, (bad, scores)
    yield "table, labels out of range", lambda: kt.MeanIoU(50), (bad, bad.flip(0))
    found = torch.randint(300, (2000,), device=device)
    yield "table of 90,000 cells", lambda: kt.MeanIoU(300), (found, found.flip(0))
    labels, values = binary(clock, 5000)
    yield "AUC(65536)", lambda: kt.AUC(65_536), (labels, values)
    broken = values.clone()
    broken[::11] = torch.nan
    yield "AUC of NaN", kt.AUC, (labels, broken)
    yield "Precision of NaN", kt.Precision, (labels, broken)
    uneven = [float(x) for x in np.linspace(0.01, 0.99, 301) ** 2]
    yield "uneven thresholds", lambda: kt.AUC(thresholds=uneven), (labels, values)
    yield "from one element on", kt.MeanSquaredError, (labels[1:], values[1:])
    yield "every third", kt.MeanSquaredError, (labels[::3], values[::3])
    for width in (1000, 50_000):
        for onehot in (False, True):
            args = classes(clock, 9, width, onehot, torch.float32)
            sparse = "" if onehot else "Sparse"
            for name in ("CategoricalAccuracy", "CategoricalCrossentropy"):
                yield f"{sparse}{name} of {width}", getattr(kt, sparse + name), args
        yield (
            f"top 5 of {width}",
            top_five,
            classes(clock, 9, width, False, torch.float32),
        )


# --------------------------------------------------------------------------------------
# bytes a second


@dataclass(frozen=True)
class Job:
    """One metric, and the share of the copy's rate that it should reach."""

    label: str
    make: Callable[[], Any]
    goal: float | None = None
    alone: bool = False


def simple(*names: str, goal: float | None) -> list[Job]:
    """Jobs of metrics with their default arguments."""
    return [Job(name, getattr(kt, name), goal) for name in names]


ELEMENTS = [
    *simple(
        "MeanSquaredError",
        "MeanAbsoluteError",
        "RootMeanSquaredError",
        "BinaryAccuracy",
        "BinaryCrossentropy",
        "LogCoshError",
        "Huber",
        "Hinge",
        "Poisson",
        "MeanSquaredLogarithmicError",
        "TruePositives",
        "Precision",
        "Recall",
        goal=0.9,
    ),
    Job("Mean", kt.Mean, 0.9, alone=True),
    Job("AUC(200)", kt.AUC, 0.6),
    Job("AUC(65536)", lambda: kt.AUC(65_536), 0.6),
    Job("MetricGroup of eight", lambda: kt.MetricGroup(eight_binary(kt))),
]
HALF = [
    *simple("MeanSquaredError", "BinaryAccuracy", "Precision", goal=None),
    Job("AUC(200)", kt.AUC),
]
SPARSE = [
    *simple("SparseCategoricalAccuracy", goal=0.85),
    Job("SparseTopKCategoricalAccuracy(5)", top_five, 0.85),
    *simple("SparseCategoricalCrossentropy", goal=0.85),
    Job(
        "SparseCategoricalCrossentropy of logits",
        lambda: kt.SparseCategoricalCrossentropy(from_logits=True),
    ),
]
ONEHOT = simple("CategoricalAccuracy", "CategoricalCrossentropy", goal=0.85)
RATE_COLUMNS = {
    "metric": "metric",
    "shape": "shape",
    "dtype": "dtype",
    "ms": "ms",
    "rate": "GB/s read",
    "copy": "copy, GB/s",
    "read": "torch.sum, GB/s",
    "share": "share of the copy, %",
    "goal": "target, %",
}


def copies(clock: Clock) -> tuple[list[Case], int]:
    """A copy on the device and a sum, and how many bytes the source has."""
    source = torch.rand(2 * clock.elements, device=clock.device)
    target = torch.empty_like(source)
    cases = [
        device_case(clock, "copy", target.copy_, source),
        device_case(clock, "read", source.sum),
    ]
    return cases, nbytes((source,))


def rates(clock: Clock, report: Report, jobs: list[Job], data: Inputs) -> None:
    """Time one update of each metric with these data, side by side with a copy."""
    (copy, read), source_bytes = copies(clock)
    timed = []
    for job in jobs:
        args, host = data.args, data.host
        if job.alone:
            args, host = args[-1:], host[-1:]
        metric = job.make()
        metric.update_state(*args)
        check_answer(job.label, metric.result(), on_cpu(job.make, host))
        case = device_case(clock, job.label, metric.update_state, *args)
        timed.append((job, case, nbytes(args)))
    interleaved([copy, read, *(c for _, c, _ in timed)], clock.rounds, clock.sample_s)
    scores = data.args[-1]
    shape = f"({', '.join(f'{n:,}' for n in scores.shape)})"
    for job, case, size in timed:
        share = harness.ratio(copy, case) * size / (2 * source_bytes) * 100
        report.row(
            metric=job.label,
            shape=shape,
            dtype=str(scores.dtype).removeprefix("torch."),
            ms=case.median * 1e3,
            rate=size / case.median / 1e9,
            copy=2 * source_bytes / copy.median / 1e9,
            read=source_bytes / read.median / 1e9,
            share=share,
            goal=None if job.goal is None else job.goal * 100,
        )
        if job.goal is not None:
            report.target(
                f"{job.label}, {shape}: share of the copy's rate",
                f"at least {job.goal:.0%}",
                share,
                share >= job.goal * 100,
                "%",
            )


def untargeted(jobs: list[Job]) -> list[Job]:
    """The same jobs, of data for which no share was set."""
    return [Job(job.label, job.make) for job in jobs]


def all_rates(clock: Clock, report: Report) -> Iterator[str]:
    """The large updates, one kind of data after the other."""
    report.table("Large updates", RATE_COLUMNS)
    n = clock.elements
    rates(clock, report, ELEMENTS, Inputs.of(*binary(clock, n)))
    yield "elements"
    for width in (10, 1000, 50_000) if not clock.quick else (10, 100, 1000):
        for onehot, jobs in ((False, SPARSE), (True, ONEHOT)):
            args = classes(clock, n // width, width, onehot, torch.float32)
            rates(
                clock,
                report,
                jobs if width > 10 else untargeted(jobs),
                Inputs.of(*args),
            )
            yield f"{width} classes"
    args = binary(clock, n, torch.bfloat16)
    rates(clock, report, HALF, Inputs.of(*args))
    yield "bfloat16"
    args = classes(clock, n // 1000, 1000, False, torch.bfloat16)
    rates(clock, report, untargeted(SPARSE), Inputs.of(*args))
    yield "classes of bfloat16"


def sizes(clock: Clock, report: Report) -> Iterator[str]:
    """The time of one update as the batch grows."""
    report.table(
        "By size, float32 labels and predictions",
        {
            "metric": "metric",
            "elements": "elements",
            "us": "us",
            "rate": "GB/s read",
            "sets": "sets in rotation",
        },
    )
    names = ("MeanSquaredError", "Precision", "AUC(200)")
    jobs = [job for job in ELEMENTS if job.label in names]
    for power in (10, 12) if clock.quick else (10, 14, 17, 20, 23, 26):
        size = 8 * 2**power
        count = 2 if clock.quick else max(1, min(256, 4 * L2_BYTES // size))
        sets = [binary(clock, 2**power) for _ in range(count)]
        cases = []
        for job in jobs:
            metric, turn = job.make(), itertools.cycle(sets)

            def update(metric: Any = metric, turn: Any = turn) -> None:
                metric.update_state(*next(turn))

            cases.append(device_case(clock, job.label, update))
        interleaved(cases, clock.rounds, clock.sample_s / 2)
        for case in cases:
            report.row(
                metric=case.name,
                elements=2**power,
                us=case.median * 1e6,
                rate=size / case.median / 1e9,
                sets=count,
            )
        yield f"{2**power:,} elements"


# --------------------------------------------------------------------------------------
# the host's time

HOST = ("BinaryAccuracy", "Precision", "MeanSquaredError", "AUC(200)")
HOST += ("SparseCategoricalAccuracy", "MetricGroup(8)")


def host_us(clock: Clock, call: Update, args: Tensors) -> float:
    """Microseconds until a call returns, the device being waited for between the
    samples only.
    """
    samples: list[float] = []
    calls, most = (10, 3) if clock.quick else (100, 41)
    end = time.perf_counter() + 1.5
    while len(samples) < 3 or (len(samples) < most and time.perf_counter() < end):
        clock.wait()
        began = time.perf_counter()
        for _ in range(calls):
            call(*args)
        samples.append((time.perf_counter() - began) / calls * 1e6)
    clock.wait()
    return statistics.median(samples)


def wall_s(clock: Clock, update: Update, result: Update, args: Tensors) -> float:
    """Seconds of a thousand batches and the result, all done."""
    batches = 20 if clock.quick else 1000

    def run(count: int) -> float:
        clock.wait()
        began = time.perf_counter()
        for _ in range(count):
            update(*args)
        result()
        clock.wait()
        return time.perf_counter() - began

    run(10)
    probe = run(20) / 20 * 1000
    # What takes longer than three seconds is measured with a fifth of the batches.
    count = batches if probe < 3 else batches // 5
    runs = [run(count) * 1000 / count for _ in range(1 if probe > 0.5 else 3)]
    return statistics.median(runs)


def launches(update: Update, args: Tensors) -> int | None:
    """Kernels of ours that one update launches."""
    before = _native.road_counts().get("cuda_launches")
    update(*args)
    after = _native.road_counts().get("cuda_launches")
    return None if before is None or after is None else after - before


def host_times(clock: Clock, report: Report) -> Iterator[str]:
    """Calls at a small batch, beside Keras and torchmetrics."""
    report.table(
        f"Host time at batch {BATCH}",
        {
            "metric": "metric",
            "update": "update_state, us",
            "result": "result, us",
            "launches": "launches",
            "keras": "Keras's update_state, us",
            "torchmetrics": "torchmetrics' update, us",
            "wall": "1000 batches, ms",
            "keras_wall": "Keras, ms",
            "torchmetrics_wall": "torchmetrics, ms",
        },
    )
    peer = importlib.util.find_spec("torchmetrics") is not None
    for name in HOST:
        subject = BY_NAME[name]
        data = subject.data(BATCH).of("float32", clock.device)
        ours, theirs = subject.ours(kt), subject.ours(keras.metrics)
        args = data.keras
        for metric in (ours, theirs):
            metric.update_state(*args)
        host = subject.data(BATCH).of("float32", "cpu").keras
        expected = on_cpu(lambda subject=subject: subject.ours(kt), host)
        check_answer(f"ours, {name}", ours.result(), expected)
        for value, right in zip(numbers(theirs.result()), expected, strict=True):
            check(f"Keras, {name}", value, float(right), 1e-4)
        row: dict[str, Any] = {
            "metric": name,
            "update": host_us(clock, ours.update_state, args),
            "result": host_us(clock, ours.result, ()),
            "launches": launches(ours.update_state, args),
            "keras": host_us(clock, theirs.update_state, args),
            "wall": wall_s(clock, ours.update_state, ours.result, args) * 1e3,
            "keras_wall": wall_s(clock, theirs.update_state, theirs.result, args) * 1e3,
        }
        if peer and subject.torchmetrics is not None:
            other = subject.torchmetrics(metrics_of("torchmetrics")).to(clock.device)
            other.compute_with_cache = False
            other.update(*data.peers)
            check(
                f"torchmetrics, {name}",
                other.compute(),
                float(expected[0]),
                max(1e-4, subject.peer_tolerance),
            )
            row["torchmetrics"] = host_us(clock, other.update, data.peers)
            wall = wall_s(clock, other.update, other.compute, data.peers)
            row["torchmetrics_wall"] = wall * 1e3
        report.row(**row)
        report.target(
            f"{name}: update_state, host time",
            f"at most {HOST_US} us",
            row["update"],
            row["update"] <= HOST_US,
            " us",
        )
        if row["launches"] is not None:
            report.target(
                f"{name}: launches of an update",
                "1",
                row["launches"],
                row["launches"] == 1,
            )
        for library in ("keras", "torchmetrics"):
            if f"{library}_wall" in row:
                gain = row[f"{library}_wall"] / row["wall"]
                report.target(
                    f"{name}: 1000 batches, {library} / ours",
                    f"at least {PEER_GAIN}x",
                    gain,
                    gain >= PEER_GAIN,
                    "x",
                )
        yield name


# --------------------------------------------------------------------------------------
# training


def training(clock: Clock, report: Report) -> Iterator[str]:
    """An epoch and an evaluation without metrics, with ours, with Keras's."""
    rows, batch = (256, 64) if clock.quick else (60_000, 256)
    report.table(
        f"Training an MLP 64-128-1, {rows:,} rows, batch {batch}",
        {
            "step": "step",
            "none": "no metrics, s",
            "ours": "keras-tally, s",
            "keras": "Keras, s",
            "ours_share": "keras-tally's share, %",
            "keras_share": "Keras's share, %",
        },
    )
    rng = np.random.default_rng(3)
    x = rng.standard_normal((rows, 64), dtype=np.float32)
    y = np.float32(x @ rng.standard_normal(64, dtype=np.float32) > 0)[:, None]

    def model(module: Any) -> Any:
        keras.utils.set_random_seed(1)
        names = ("BinaryAccuracy", "Precision", "Recall", "AUC")
        metrics = [getattr(module, n)(name=n) for n in names] if module else []
        made = keras.Sequential(
            [
                keras.layers.Input((64,)),
                keras.layers.Dense(128, activation="relu"),
                keras.layers.Dense(1, activation="sigmoid"),
            ]
        )
        made.compile(optimizer="adam", loss="binary_crossentropy", metrics=metrics)
        return made

    models = {"none": model(None), "ours": model(kt), "keras": model(keras.metrics)}
    options = {"batch_size": batch, "verbose": 0}
    steps = {
        "fit": lambda m: m.fit(x, y, **options),
        "evaluate": lambda m: m.evaluate(x, y, return_dict=True, **options),
    }
    logs = {}
    for name, one in models.items():
        keras.utils.set_random_seed(2)
        steps["fit"](one)
        logs[name] = steps["evaluate"](one)
    for key, value in logs["ours"].items():
        # Two trainings on a GPU are not the same to the last bit.
        check(f"evaluate, {key}", value, logs["keras"][key], 1e-2)
    seconds: dict[tuple[str, str], list[float]] = {}
    names = list(models)
    for turn in range(1 if clock.quick else 3):
        for step, run in steps.items():
            for name in [*names[turn % 3 :], *names[: turn % 3]]:
                clock.wait()
                began = time.perf_counter()
                run(models[name])
                clock.wait()
                taken = time.perf_counter() - began
                seconds.setdefault((step, name), []).append(taken)
        if clock.late:
            break
    for step in steps:
        median = {name: statistics.median(seconds[step, name]) for name in names}
        report.row(
            step=step,
            **median,
            ours_share=(1 - median["none"] / median["ours"]) * 100,
            keras_share=(1 - median["none"] / median["keras"]) * 100,
        )
    yield "done"


# --------------------------------------------------------------------------------------


def describe(clock: Clock, report: Report) -> None:
    """Add the GPU to what is said of the machine."""
    if not clock.on_gpu:
        return
    properties = torch.cuda.get_device_properties(0)
    driver = "unknown"
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        driver = (done.stdout.split() or [driver])[0]
    report.machine |= {
        "gpu": properties.name,
        "gpu_memory_gib": round(properties.total_memory / 2**30),
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "driver": driver,
    }


def short_name(gpu: str) -> str:
    """The name of a GPU as part of a file's name.

    >>> short_name("NVIDIA GeForce RTX 4090"), short_name("NVIDIA H200")
    ('rtx-4090', 'h200')
    """
    words = re.findall(r"[a-z0-9]+", gpu.lower())
    return "-".join(w for w in words if w not in ("nvidia", "geforce", "tesla"))


SECTIONS = {
    "rates": all_rates,
    "host": host_times,
    "sizes": sizes,
    "training": training,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("sections", nargs="*", metavar=f"{{{','.join(SECTIONS)}}}")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--quick", action="store_true", help="small: for a smoke run")
    parser.add_argument("--short", action="store_true", help="check answers only")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for results")
    parser.add_argument(
        "--seconds", type=float, default=240, help="start nothing after"
    )
    given = parser.parse_args()
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"no section {sorted(unknown)[0]!r}")
    if given.device == "cuda":
        if not torch.cuda.is_available():
            raise SystemExit("torch sees no CUDA device; --device cpu tries the script")
        if not kt.cuda_status().enabled:
            raise SystemExit(kt.cuda_status().reason)
    with keras.device(given.device):
        run(given)


def run(given: argparse.Namespace) -> None:
    """Measure, and write what was measured on a GPU."""
    clock = Clock(given.device, given.quick, given.seconds)
    start("metrics on a GPU" if clock.on_gpu else "the GPU benchmark, tried on the CPU")
    torch.manual_seed(0)
    if not clock.on_gpu:
        harness.set_threads(1)  # small tensors, for which threads only wait
    if given.short:
        with warnings.catch_warnings():
            # Fractions as weights of metrics that count in integers.
            warnings.simplefilter("ignore", UserWarning)
            short(clock)
        return
    gpu = torch.cuda.get_device_name(0) if clock.on_gpu else "no GPU"
    report = Report(short_name(gpu), f"Metrics on {gpu}", {}, script="gpu.py")
    describe(clock, report)
    report.notes = [
        f"Every answer was compared with the CPU's first. Medians of {clock.rounds} "
        "samples, metrics and copy in turn in one process.",
        "Large updates and sizes: time of the GPU between two events, behind calls "
        "that already wait in its queue. GB/s = 10^9 bytes of labels and predictions "
        "a second; the copy counts bytes read and written.",
        "Host time: until the call returns, samples of 100 calls, the GPU waited for "
        "between samples. `1000 batches` ends when the GPU is done and includes "
        "`result`; what takes longer than three seconds is measured with 200.",
        "torchmetrics without argument validation and without its result cache.",
    ]
    for name in given.sections or SECTIONS:
        for done in SECTIONS[name](clock, report):
            say(f"[{name}] {done}")
            if clock.on_gpu:
                torch.cuda.empty_cache()
            if clock.late:
                report.notes.append(f"The time was up in section `{name}`.")
                break
        if clock.on_gpu and not clock.quick:
            report.store(given.out)  # should the next section be stopped
        if clock.late:
            break
    if clock.on_gpu and not clock.quick:
        report.write(given.out)
    else:
        say("a smoke run: nothing is stored, and no number is a GPU's or of use")


if __name__ == "__main__":
    main()
