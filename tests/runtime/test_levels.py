"""No SIMD level may be much slower than the others: once a compiler took the vectors of
two levels apart, number by number, and they were many times slower."""

import math
import time

import pytest

import keras_tally as kt
from keras_tally import _native
from keras_tally.bench.subjects import LOGITS, MORE, SUBJECTS

ELEMENTS = 100_000
MOST = 12  # registers of the narrowest level hold a quarter of those of the widest


@pytest.mark.timing
@pytest.mark.torch_only  # the kernels know no backend
@pytest.mark.parametrize("subject", [*SUBJECTS, *MORE, *LOGITS], ids=lambda s: s.name)
def test_no_level_is_much_slower_than_another(subject):
    kt.set_num_threads(1)
    width = math.prod(subject.data(1).keras[-1].shape)
    args = subject.data(ELEMENTS // width).keras
    metric = subject.ours(kt)
    times = {level: [] for level in _native.levels()}
    for _ in range(5):
        for level, taken in times.items():
            _native.set_level(level)
            start = time.perf_counter()
            metric.update_state(*(args[:1] if subject.alone else args))
            taken.append(time.perf_counter() - start)
    fastest = {level: min(taken) for level, taken in times.items()}
    assert max(fastest.values()) < MOST * min(fastest.values()), fastest
