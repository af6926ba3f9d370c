"""A group's members are computed by one native call, equal parts of them once."""

import pytest

import keras_tally as kt
from groups import assert_same, binary_batch, binary_metrics, native_only, seeded
from makers import make_probabilities
from support import to_backend


def taken(roads):
    """The calls, without how the tensors came in."""
    names = ("in_place", "pure", "converted", "parallel")
    return {k: v for k, v in roads().items() if k in names}


@native_only
def test_one_native_call_for_all(roads):
    group = kt.MetricGroup(binary_metrics())
    assert len(group) == 8
    binary_batch(0).feed(group)
    assert taken(roads) == {"in_place": 1}
    binary_batch(0, weighted=True).feed(group)
    assert taken(roads) == {"in_place": 2}


@native_only
def test_lists_are_converted_once(roads):
    group, alone = kt.MetricGroup(binary_metrics()), binary_metrics()
    batch = binary_batch(0)
    lists = [a.tolist() for a in batch.args]
    group.update_state(*lists)
    assert taken(roads) == {"converted": 1, "in_place": 1}
    for metric in alone.values():
        metric.update_state(*lists)
    assert_same(group, alone)


@pytest.mark.timing
@native_only
def test_equal_statistics_are_computed_once(monkeypatch):
    """What is measured: a large group of equal members is no slower than a few."""
    import time

    batch = [to_backend(a) for a in make_probabilities(
        seeded(0), (20_000,), "float32", "float32")]  # fmt: skip

    def seconds(count):
        group = kt.MetricGroup({f"m{i}": kt.LogCoshError() for i in range(count)})
        group.update_state(*batch)
        times = []
        for _ in range(15):
            start = time.perf_counter()
            group.update_state(*batch)
            times.append(time.perf_counter() - start)
        return min(times)

    kt.set_num_threads(1)
    assert seconds(24) < 6 * seconds(1)
