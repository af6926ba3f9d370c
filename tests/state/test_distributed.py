"""`sync` in processes that are real."""

import keras
import numpy as np
import pytest

import keras_tally as kt
import processes
from support import BACKEND, exact_state, torch_only

torch_and_slow = [pytest.mark.torch_only, pytest.mark.slow]
distributed = pytest.mark.skipif(BACKEND == "tensorflow", reason="no sync() there")


def expected_of(world, uneven, rounds):
    """One process that has seen everything."""
    metrics = processes.some_metrics()
    for i in range(rounds):
        for rank in range(world):
            processes.feed(metrics, processes.batches_of(rank + 10 * i, uneven))
    return metrics


# What sums of fractions may differ by, for another order of additions.
ROUNDING = 1e-13


def assert_same_numbers(got, expected):
    if isinstance(expected, dict):
        assert list(got) == list(expected)
        for key in expected:
            assert_same_numbers(got[key], expected[key])
    else:
        flat = [np.ravel(np.array(x, dtype=object)) for x in (got, expected)]
        for a, b in zip(*flat, strict=True):
            if b.denominator == 1 and isinstance(b, int):
                assert a == b
            else:
                assert abs(a - b) <= ROUNDING * abs(b)


@distributed
@pytest.mark.parametrize(
    ("world", "uneven"),
    [
        (2, True),
        pytest.param(2, False, marks=torch_and_slow),
        pytest.param(4, False, marks=torch_and_slow),
        pytest.param(4, True, marks=torch_and_slow),
    ],
)
def test_sync_is_one_process_over_everything(world, uneven, tmp_path):
    by_rank = processes.run(processes.sync_rounds, world, tmp_path, uneven)
    assert all(isinstance(seen, list) for seen in by_rank), by_rank
    for seen in by_rank[1:]:
        assert seen == by_rank[0], "ranks differ"
    for i in range(2):
        found, collectives = by_rank[0][i]
        expected = expected_of(world, uneven, i + 1)
        # With a part of the metrics unbuilt, too; the first buffer suffices here.
        assert collectives == 1
        for name, (state, _) in found.items():
            assert_same_numbers(state, exact_state(expected[name]))
    assert by_rank[0][2] == 2


@torch_only
def test_what_differs_is_named_on_all_ranks(tmp_path):
    by_rank = processes.run(processes.sync_different, 4, tmp_path)
    assert all(isinstance(seen, tuple) for seen in by_rank), by_rank
    named = [
        "Rank 3 has num_thresholds=100 instead of 200",
        "Rank 3 has the class keras_tally>Precision instead of keras_tally>Recall",
        "Rank 3 has the metrics [0=keras_tally>AUC] instead of "
        "[0=keras_tally>AUC, 1=keras_tally>Recall]",
        "Rank 3 has the metrics [a=keras_tally>AUC] instead of [b=keras_tally>AUC]",
        "Rank 3 has num_thresholds=9 of 'auc' instead of 8",
        "true_positives[3]",
        "failed on the ranks [3]",
    ]
    for rank, (messages, mean) in enumerate(by_rank):
        assert mean == 1.5  # the next sync works
        for message, text in zip(messages[:-1], named[:-1], strict=True):
            assert text in message
        own = "must be a metric" if rank == 3 else named[-1]
        assert own in messages[-1]
    assert by_rank[0][0] == by_rank[1][0] == by_rank[2][0]


@torch_only
@pytest.mark.slow
def test_groups_of_processes(tmp_path):
    found = processes.run(processes.sync_in_groups, 4, tmp_path)
    assert [f[:2] for f in found] == [(3, 15), (3, 15), (12, 15), (12, 15)]
    # States that are larger than any before are gathered twice, once.
    assert all(f[2] == [2, 1, 1] for f in found)


@torch_only
@pytest.mark.parametrize(
    "how", ["killed", pytest.param("late", marks=pytest.mark.slow)]
)
def test_a_missing_process_is_an_error_and_no_hang(how, tmp_path):
    missing = [1] if how == "killed" else []
    found = processes.run(
        processes.sync_without_one, 2, tmp_path, how, missing=missing, timeout_s=5
    )
    assert found[0].startswith("RuntimeError: "), found
    assert ("by peer" in found[0].lower()) == (how == "killed")
    assert ("timed out" in found[0].lower()) == (how == "late")


@torch_only
@pytest.mark.slow
def test_fit_leaves_the_numbers_of_each_process(tmp_path):
    found = processes.run(processes.keras_fit, 2, tmp_path)
    assert found == [(20.0, [[50, 50]] * 2), (30.0, [[50, 50]] * 2)]


@distributed
def test_alone_the_totals_are_the_own_numbers():
    metrics = processes.some_metrics()
    labels, scores = processes.rows(0, 10)
    metrics["late"].update_state(labels, scores)
    metrics["group"].update_state(labels, scores)
    synced = kt.sync(metrics)
    assert exact_state(synced["late"]) == exact_state(metrics["late"])
    assert float(synced["late"].result()) == float(metrics["late"].result())
    assert "F1Score" in repr(synced["late"])
    assert {k: float(v) for k, v in synced["group"].result().items()} == {
        k: float(v) for k, v in metrics["group"].result().items()
    }
    taken = synced["group"].metric()
    taken.update_state(labels, scores)
    assert exact_state(synced["group"]) == exact_state(metrics["group"])
    metrics["group"].update_state(labels, scores)
    assert exact_state(taken) == exact_state(metrics["group"])


@distributed
def test_what_nobody_has_seen_stays_nothing():
    """Also when the metrics go on and learn their shapes."""
    metrics = processes.some_metrics()
    synced = kt.sync(metrics)
    with pytest.raises(ValueError, match="no result before"):
        synced["late"].result()
    processes.feed(metrics, [processes.rows(0, 10)])
    assert exact_state(synced["late"]) == {}
    assert not synced["late_group"].result()["score"].any()
    assert exact_state(synced["hits"]) == {"total": 0, "count": 0}


@distributed
def test_what_is_no_metric_is_refused():
    with pytest.raises(TypeError, match="`metrics` must be"):
        kt.sync([kt.Mean(), keras.metrics.Mean()])
    with keras.StatelessScope(), pytest.raises(ValueError, match="stateless scope"):
        kt.sync(kt.Mean())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="there it works")
def test_other_backends_say_so():
    with pytest.raises(RuntimeError, match="torch, numpy and jax"):
        kt.sync(kt.Mean())
