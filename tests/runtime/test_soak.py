"""Random work on all metrics for a while: memory stays flat, and counts exact.

`make soak SOAK_SECONDS=900` is the long form, for each backend; here are a few seconds.
"""

import gc
import os
import pickle
import resource
import sys
import time
from fractions import Fraction

import keras
import numpy as np
import pytest

import keras_tally as kt
from cases import DEFAULT_CASES
from support import BACKEND, EMULATED, exact_state

SECONDS = float(os.environ.get("KERAS_TALLY_SOAK_SECONDS", "5"))
# What may be more at the end: caches of allocators and of compilers.
MOST_MEMORY = 24 * 2**20
MOST_BLOCKS = 20_000
# Frameworks without kernels add weighted sums in float32; see docs/backends.md.
TOLERANCE = 1e-12 if BACKEND in ("torch", "numpy") else 1e-6


def memory():
    """Bytes of this process in memory, and blocks that Python has allocated."""
    gc.collect()
    with open("/proc/self/statm") as file:
        pages = int(file.read().split()[1])
    return pages * resource.getpagesize(), sys.getallocatedblocks()


class Worked:
    """A metric, a few batches for it, and what its state must be by now."""

    def __init__(self, case):
        self.batches = [case.sample(seed, 5 + 8 * seed, seed > 0) for seed in range(2)]
        self.additions = []
        for batch in self.batches:
            fresh = case.ours()
            batch.feed(fresh)
            self.additions.append(numbers(fresh))
        self.metric = fresh
        self.expected = self.additions[-1]

    def update(self, i):
        self.batches[i].feed(self.metric)
        self.expected = self.expected + self.additions[i]

    def step(self, what, i):
        """Do one of the things that are done with a metric."""
        if what == "reset":
            self.metric.reset_state()
            self.expected = 0 * self.expected
        elif what == "pickle":
            self.metric = pickle.loads(pickle.dumps(self.metric))
        elif what == "bytes":
            self.metric = kt.from_bytes(self.metric.to_bytes())
        elif what == "merge":
            other = self.metric + self.metric
            self.expected = self.expected * 2
            self.metric = other
        elif what == "stateless":
            state = [v.value for v in self.metric.variables]
            self.metric.stateless_result(state)
        elif what == "refuse":
            with pytest.raises((ValueError, TypeError)):
                self.metric.update_state(*[np.ones((2, 3, 5, 7), "complex64")] * 2)
        elif what == "result":
            self.metric.result()
        else:
            self.update(i)

    def check(self):
        for found, expected in zip(numbers(self.metric), self.expected, strict=True):
            if expected.denominator == 1:
                assert found == expected, self.metric
            else:
                error = abs(float(found) - float(expected))
                assert error <= TOLERANCE * max(abs(float(expected)), 1), self.metric


def numbers(metric):
    """The state as exact numbers, in one vector."""
    flat = keras.tree.flatten(exact_state(metric))
    return np.array([Fraction(x) for x in flat], dtype=object)


KINDS = ("update",) * 20 + ("result",) * 6
KINDS += ("reset", "pickle", "bytes", "merge", "stateless", "refuse")


@pytest.mark.slow
@pytest.mark.skipif(EMULATED, reason="memory and counts are the same code there")
def test_memory_is_flat_and_counts_are_exact():
    cases = [case for case in DEFAULT_CASES if case.name != "MeanMetricWrapper"]
    worked = [Worked(case) for case in cases]
    for kind in dict.fromkeys(KINDS):
        for each in worked:
            each.step(kind, 0)
            each.step("update", 1)
    rng = np.random.default_rng(0)
    resident, blocks = [], []
    steps, end = 0, time.monotonic() + SECONDS
    while time.monotonic() < end or steps < 500:
        for _ in range(250):
            each = worked[rng.integers(len(worked))]
            kind = KINDS[rng.integers(len(KINDS))]
            if kind == "merge" and max(map(abs, each.expected)) > 2**44:
                kind = "reset"
            each.step(kind, int(rng.integers(2)))
        steps += 250
        if steps % 500 == 0 or time.monotonic() >= end:
            now = memory()
            resident.append(now[0])
            blocks.append(now[1])
    for each in worked:
        each.check()
    print(
        f"{BACKEND}: {steps} steps; MiB in memory first, last and at most: "
        f"{[x // 2**20 for x in (resident[0], resident[-1], max(resident))]}; "
        f"blocks of Python first and last: {[blocks[0], blocks[-1]]}"
    )
    assert resident[-1] - resident[0] < MOST_MEMORY
    assert blocks[-1] - blocks[0] < MOST_BLOCKS
