"""The measurements of ``python -m keras_tally.bench``: answers, times, errors."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import keras
import numpy as np

import keras_tally
from keras_tally import _native
from keras_tally._engine import IN_PLACE
from keras_tally.bench.exact import exact
from keras_tally.bench.harness import Case, check, interleaved
from keras_tally.bench.subjects import (
    PEERS,
    Array,
    Data,
    Subject,
    sklearn_function,
)

TITLES = {
    "ours": "keras-tally",
    "keras": "Keras",
    "torchmetrics": "torchmetrics",
    "torcheval": "torcheval",
    "sklearn": "scikit-learn",
}
CHECKED_ROWS = 1003
ONE_SHOT_ROWS = 32  # scikit-learn's functions refuse or warn of batches with one class
ROUNDS = 15
SAMPLE_S = 0.002
SLOW_ROUNDS = 3  # of updates that take longer than that
# Of a result, relative: float32 sums of about a thousand rows. With 16-bit predictions,
# Keras and others compute in that precision, and our native code does not.
TOLERANCE = 1e-5
TOLERANCE_16 = {"float16": 1e-2, "bfloat16": 5e-2}
# Elements of one update of a long stream, and how many different ones take turns.
CHUNK, CHUNKS = 50_000, 16
LONG_CHUNK = 250_000  # of counts, which float32 holds up to 2^24
SINGLES = 50  # updates of one row that a long count goes on with


def numbers(value: Any) -> Array:
    """All numbers of a metric's result, whatever library it came from, as float64. Of
    a tuple (torcheval gives a curve's thresholds as well) the first entry counts.

    >>> numbers({"a": 1, "b": [2.0, 3.0]}).tolist()
    [1.0, 2.0, 3.0]
    """
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple):
        value = value[0]
    if isinstance(value, list):
        return np.concatenate([numbers(v) for v in value])
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    return np.asarray(value).astype(np.float64).reshape(-1)


# --------------------------------------------------------------------------------------
# devices


def devices() -> list[str]:
    """The devices to measure on: the CPU and, on torch, a GPU; elsewhere the one that
    the framework chooses.
    """
    if keras.config.backend() in ("jax", "tensorflow"):
        return [str(keras.distribution.list_devices()[0]).split(":")[0]]
    torch = sys.modules.get("torch")
    if keras.config.backend() == "torch" and torch and torch.cuda.is_available():
        return ["cpu", "cuda"]
    return ["cpu"]


def waiter(metric: Any, device: str) -> Callable[[], object] | None:
    """What returns when a metric's pending updates have ended; None if none pend."""
    if device == "cuda":
        synchronize: Callable[[], object] = sys.modules["torch"].cuda.synchronize
        return synchronize
    if _is_jax() and hasattr(metric, "variables"):
        jax = sys.modules["jax"]
        return lambda: jax.block_until_ready([v.value for v in metric.variables])
    return None


# --------------------------------------------------------------------------------------
# contestants


@dataclass
class Contestant:
    """One library's metric with data to feed it."""

    library: str
    update: Callable[..., Any] | None  # None: one call does everything
    both: Callable[..., Any]  # update, then result
    result: Callable[[], Any] | None
    args: tuple[Any, ...]
    reset: Callable[[], Any] | None = None
    wait: Callable[[], object] | None = None

    def case(self, call: Callable[..., Any]) -> Case:
        """One of its calls, to be timed."""
        return Case(self.library, call, self.args, before=self.reset, wait=self.wait)


def keras_style(library: str, subject: Subject, data: Data) -> Contestant:
    """Ours or Keras's."""
    module = {"ours": keras_tally, "keras": keras.metrics}[library]
    metric = subject.ours(module)
    block = sys.modules["jax"].block_until_ready if _is_jax() else _same

    def both(*args: Any) -> Any:
        metric.update_state(*args)
        return block(metric.result())

    return Contestant(
        library,
        metric.update_state,
        both,
        metric.result,
        data.keras[:1] if subject.alone else data.keras,
        wait=waiter(metric, data.device),
    )


def _same(value: Any) -> Any:
    return value


def _is_jax() -> bool:
    return bool(keras.config.backend() == "jax")


def peer(library: str, make: Callable[[], Any], subject: Subject, data: Data) -> Any:
    """torchmetrics' or torcheval's: without result cache, reset before each sample."""
    metric = make().to(data.device)
    if library == "torchmetrics":
        metric.compute_with_cache = False

    def both(*args: Any) -> Any:
        metric.update(*args)
        return metric.compute()

    return Contestant(
        library,
        metric.update,
        both,
        metric.compute,
        data.peers[:1] if subject.alone else data.peers,
        reset=metric.reset,
        wait=waiter(metric, data.device),
    )


def one_shot(function: Callable[..., Any], data: Data) -> Contestant:
    """scikit-learn's function on the whole data (which knows no bfloat16)."""
    p, y = data.peer_arrays
    half = p.dtype.itemsize == 2
    args = tuple(
        a.astype(np.float32) if half and a.itemsize == 2 else a for a in (y, p)
    )
    return Contestant("sklearn", None, function, None, args)


def contestants(
    subject: Subject, data: Data, libraries: Sequence[str]
) -> Iterator[Contestant]:
    """Fresh metrics of all ``libraries`` that have this one, ours first."""
    for library in libraries:
        if library in ("ours", "keras"):
            yield keras_style(library, subject, data)
        elif library in PEERS:
            if (make := subject.peer(library)) is not None:
                yield peer(library, make, subject, data)
        elif len(data.p) >= ONE_SHOT_ROWS and (
            function := sklearn_function(subject.name)
        ):
            yield one_shot(function, data)


def attempt(c: Contestant) -> tuple[Any, str]:
    """The result after an update, or what the library says against this batch."""
    try:
        return c.both(*c.args), ""
    except Exception as error:  # TensorFlow has a base class of its own
        first = str(error).split("\n")[0]
        return None, f"{TITLES[c.library]}: {first}"


# --------------------------------------------------------------------------------------
# answers


def check_answers(
    subject: Subject, dtype: str, device: str, libraries: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Compare every library's result with the exact one, or with Keras's where there
    is no exact one here.

    Returns:
        The libraries that have this metric and take this dtype, and what is to be said
        about the others.

    Raises:
        SystemExit: a result is wrong, or we refuse what Keras takes.
    """
    data = subject.data(CHECKED_ROWS).of(dtype, device)
    where = f"{subject.name}, {dtype} on {device}"
    results, notes = {}, {}
    for library in libraries:
        for c in contestants(subject, data, [library]):
            result, refusal = attempt(c)
            if refusal:
                notes[library] = f"{refusal} ({where})"
            else:
                results[library] = numbers(result)
    if "ours" in notes and "keras" not in notes:
        raise SystemExit(f"no answer, so nothing was measured: {notes['ours']}")
    expected = exact(subject.name, data.y, data.p)
    defined = expected is not None
    if expected is None:
        expected = results.get("keras")
    if expected is None:
        return [], list(notes.values())
    for library, got in results.items():
        tolerance = _tolerance(subject, library, dtype, defined)
        what = f"{TITLES[library]}, {where}"
        if got.shape != expected.shape:
            raise SystemExit(
                f"wrong answer, so nothing was measured: {what} gives "
                f"{got.size} numbers, expected {expected.size}"
            )
        for g, e in zip(got.tolist(), expected.tolist(), strict=True):
            check(what, g, e, tolerance)
    return list(results), list(notes.values())


def _tolerance(subject: Subject, library: str, dtype: str, defined: bool) -> float:
    tolerance = TOLERANCE
    # Our native code computes in float64; its reference is Keras where nothing else
    # defines the metric.
    if not (library == "ours" and IN_PLACE and defined):
        tolerance = max(tolerance, TOLERANCE_16.get(dtype, 0))
    if library not in ("ours", "keras"):
        tolerance = max(tolerance, subject.peer_tolerance)
    return tolerance


# --------------------------------------------------------------------------------------
# steps


@lru_cache(maxsize=1)  # metrics with the same data follow one another
def made(make: Callable[[int], Data], rows: int, dtype: str) -> Data:
    """The data of several steps in a row."""
    return make(rows).of(dtype, "cpu")


def columns_of(subject: Subject) -> int:
    """Elements of ``y_pred`` in a row."""
    return int(subject.data(1).p.size)


@dataclass
class Comparison:
    """One metric with one dtype on one device, and the libraries that take part."""

    subject: Subject
    dtype: str
    device: str
    libraries: list[str]
    # By library, seconds for one element in the largest update that was timed.
    pace: dict[str, float] = field(default_factory=dict)

    @property
    def head(self) -> dict[str, Any]:
        """What every row of a table begins with."""
        return {
            "metric": self.subject.name,
            "dtype": self.dtype,
            "device": self.device,
        }

    def latency(self, rows: int, seconds: float) -> list[dict[str, Any]]:
        """Microseconds of an update, and of an update and the result."""
        data = self.subject.data(rows).of(self.dtype, self.device)
        found: dict[str, dict[str, Case]] = {"update": {}, "update, result": {}}
        refusals = []
        for c in contestants(self.subject, data, self.libraries):
            _, refusal = attempt(c)
            if refusal:
                refusals.append(refusal)
                continue
            found["update, result"][c.library] = c.case(c.both)
            if c.update is not None:
                found["update"][c.library] = c.case(c.update)
        _time([case for by in found.values() for case in by.values()], seconds)
        left = {"left_out": "; ".join(refusals)} if refusals else {}
        return [
            self.head
            | {"batch": rows, "step": step}
            | {library: case.median * 1e6 for library, case in by.items()}
            | left
            for step, by in found.items()
        ]

    def throughput(
        self, elements: int, most: int, seconds: float
    ) -> list[dict[str, Any]]:
        """GB/s of one update with so many elements, beside a loop that only reads."""
        columns = columns_of(self.subject)
        rows = max(1, elements // columns)
        whole = made(self.subject.data, max(rows, most // columns), self.dtype)
        data = whole.rows(rows).of(self.dtype, self.device)
        # A library that would take too long at this size is left out of it.
        fair = seconds / len(self.libraries)
        call = {n: pace * elements for n, pace in self.pace.items()}  # expected, s
        left_out = [n for n, s in call.items() if s > fair]
        libraries = [n for n in self.libraries if n not in left_out]
        cases = {
            c.library: c.case(c.update or c.both)
            for c in contestants(self.subject, data, libraries)
            if c.library not in self.subject.stores
        }
        if self.device == "cpu":
            arrays = [a.view(np.uint8) for a in (data.y, data.p)]
            cases["read"] = Case("read", _native.read_bandwidth, (arrays,))
        slow = [c for n, c in cases.items() if call.get(n, 0) > SAMPLE_S]
        _time([c for c in cases.values() if c not in slow], seconds / 2)
        if slow:
            interleaved(slow, SLOW_ROUNDS, 0, seconds / 2)
        self.pace |= {n: c.median / elements for n, c in cases.items() if n != "read"}
        rates = {n: data.nbytes / c.median / 1e9 for n, c in cases.items()}
        slowest = ", ".join(TITLES[n] for n in left_out)
        left = {"left_out": f"too slow: {slowest}"} if left_out else {}
        return [self.head | {"elements": rows * columns} | rates | left]

    def errors(self, most: int, seconds: float) -> list[dict[str, Any]]:
        """Relative errors of streams of ever more elements, as far as the time
        reaches: the same batches over and over, so that the exact result is known.
        """
        subject = self.subject
        make = subject.long or subject.data
        chunk = LONG_CHUNK if subject.long else CHUNK
        rows = chunk // columns_of(subject)
        whole = made(make, rows * CHUNKS, self.dtype)
        chunks = [
            whole.rows(rows * (i + 1), rows * i).of(self.dtype, self.device)
            for i in range(CHUNKS)
        ]
        once = exact(subject.name, whole.y, whole.p)
        one = (
            exact(subject.name, whole.y[:1], whole.p[:1])
            if subject.grows is True
            else None
        )
        comparable = [
            n
            for n in self.libraries
            if n != "sklearn"
            and n not in subject.stores
            and (n in ("ours", "keras") or subject.peer_tolerance <= TOLERANCE)
        ]
        if once is None or not comparable:
            return []
        found: dict[int, dict[str, float]] = {}
        for library in reversed(comparable):
            if library == "ours" and found:
                most, end = max(found), math.inf  # as far as the others came
            else:
                end = time.perf_counter() + seconds / len(comparable)
            for elements, error in self._stream(library, chunks, once, one, most, end):
                found.setdefault(elements, {})[library] = error
        return [self.head | {"elements": n} | by for n, by in sorted(found.items())]

    def _stream(
        self,
        library: str,
        chunks: Sequence[Data],
        once: Array,
        one: Array | None,
        most: int,
        end: float,
    ) -> Iterator[tuple[int, float]]:
        """Number of elements and error of one library: after one round of the chunks,
        two, four, ... Counts go on with single rows each time.
        """
        entrants = [
            next(contestants(self.subject, data, [library]))
            for data in [*chunks, chunks[0].rows(1)]
        ]
        fed, single = [c.args for c in entrants[:-1]], entrants[-1].args
        update, result = entrants[0].update, entrants[0].result
        assert update is not None  # scikit-learn does not stream
        assert result is not None
        elements, rounds, singles = sum(d.p.size for d in chunks), 0, 0
        while True:
            began = time.perf_counter()
            more = max(1, rounds)
            for args in fed * more:
                update(*args)
            rounds += more
            if one is not None:
                for _ in range(SINGLES):
                    update(*single)
                singles += SINGLES
            expected = once * np.where(self.subject.grows, rounds, 1)
            if one is not None:
                expected = expected + singles * one
            error = np.abs(numbers(result()) - expected) / np.abs(expected)
            yield elements * rounds, float(error.max())
            now = time.perf_counter()
            if elements * rounds * 2 > most or now + 2 * (now - began) > end:
                return


def _time(cases: list[Case], seconds: float) -> None:
    """Time cases side by side, in about so many seconds."""
    if cases:
        sample = min(SAMPLE_S, seconds / (len(cases) * 8))
        interleaved(cases, ROUNDS, sample, seconds * 0.6)
