"""A group's numbers are those of its members on their own, bit for bit."""

import itertools
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_tally as kt
from cases import CASES, Batch
from groups import (
    KINDS,
    LARGE,
    LEVELS,
    REACHED,
    assert_members_are,
    assert_same,
    binary_batch,
    binary_metrics,
    everything,
    feed,
    feed_both,
    few_examples,
    groups,
    make_members,
    native_only,
    result_bits,
    seeded,
    snapshot,
    spread_out,
    that_take,
    updated_all,
)
from keras_tally import _native
from keras_tally._states import is_unbuilt
from makers import make_binary, make_values, round_to
from support import (
    IS_PORTABLE,
    SCORE_DTYPES,
    exact_state,
    slow_if_compiled,
    state_bits,
    to_backend,
)


def test_kinds_reach_every_case():
    left = [c for c in CASES if c.id not in REACHED]
    assert {c.make for c in left if not c.make.__name__.endswith("first")} <= {
        make_values
    }


@given(groups())
@few_examples
def test_random_groups(drawn):
    members, batches = drawn
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        alone = make_members(members)
        group = kt.MetricGroup(make_members(members))
        for batch in batches:
            if IS_PORTABLE:
                batch.feed(group)
                for metric in alone.values():
                    batch.feed(metric)
            else:
                alone = feed_both(group, alone, batch)
                # A refused first batch has told late members their shapes.
                if all(m.variables for m in alone.values()):
                    assert_members_are(group, alone)
        if all(m.variables for m in alone.values()):
            assert_same(group, alone)
            group.reset_state()
            for metric in alone.values():
                metric.reset_state()
            assert_same(group, alone)


@native_only
@given(groups(most=6), st.randoms(use_true_random=False), st.sampled_from(LEVELS))
def test_neither_order_nor_company_changes_a_member(drawn, random, level):
    members, batches = drawn
    _native.set_level(level)
    first = kt.MetricGroup(make_members(members))
    order = list(range(len(members)))
    random.shuffle(order)
    shuffled = make_members(members)
    second = kt.MetricGroup({f"m{i}": shuffled[f"m{i}"] for i in order})
    both = make_members(members + members)
    third = kt.MetricGroup(both)
    for batch in batches:
        refused = {feed(group, batch) is not None for group in (first, second, third)}
        assert len(refused) == 1
    for key in first:
        expected = result_bits(first[key]), state_bits(first[key])
        twin = f"m{int(key[1:]) + len(members)}"
        for found in (second[key], third[key], third[twin]):
            assert (result_bits(found), state_bits(found)) == expected


@native_only
@pytest.mark.parametrize(
    "weighted", [pytest.param(False, marks=pytest.mark.slow), True]
)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_all_of_a_kind_at_every_simd_level(kind, weighted):
    makers, behind, _ = KINDS[kind]
    members = everything(kind)
    for score_dtype, level in zip(SCORE_DTYPES, itertools.cycle(LEVELS), strict=False):
        _native.set_level(level)
        batches = []
        for seed, make in enumerate(makers[:2]):
            args = make(seeded(seed), (1037, *behind), "float32", score_dtype)
            weight = None
            if weighted:
                form = (1037, *behind[:-1]) if kind != "segments" else args[0].shape
                weight = np.float32(seeded(9).integers(0, 5, form)) / 4
            batches.append(Batch(args, weight))
        fit = that_take(members, batches[0])
        assert 2 * len(fit) > len(members)
        group, alone = kt.MetricGroup(make_members(fit)), make_members(fit)
        for batch in batches:
            batch.feed(group)
            updated_all(alone, batch)
        assert_same(group, alone)


@pytest.mark.host_only
@native_only
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["elements", "onehot", "sparse", "columns"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_large_batches(kind, weighted, threads, roads):
    kt.set_num_threads(threads)
    makers, behind, _ = KINDS[kind]
    one = makers[0](seeded(0), (1, *behind), "float32", "float32")[1].size
    count = max(LARGE, 300_000) // one + 1
    args = makers[0](seeded(0), (4099, *behind), "int32", "float32")
    args = tuple(np.resize(a, (count, *a.shape[1:])) for a in args)
    weight = np.float32(np.arange(count) % 7 / 4) if weighted else None
    batch = Batch(args, weight)
    cut = Batch(tuple(a[:50] for a in args), None if weight is None else weight[:50])
    members = spread_out(that_take(everything(kind), cut), 8)
    group, alone = kt.MetricGroup(make_members(members)), make_members(members)
    # The batch that tells a member's shape is tried first.
    updates = 2 + any(is_unbuilt(m) for m in group.metrics)
    for level in (LEVELS[0], LEVELS[-1]):
        _native.set_level(level)
        batch.feed(group)
    assert roads().get("parallel", 0) == (updates if threads == 2 else 0)
    for level in (LEVELS[0], LEVELS[-1]):
        _native.set_level(level)
        updated_all(alone, batch)
    assert_same(group, alone)


@native_only
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize(
    "dtype", [pytest.param("float32", marks=pytest.mark.slow), "bfloat16"]
)
def test_a_thousand_classes(sparse, dtype, threads):
    kt.set_num_threads(threads)
    rng = seeded(0)
    rows, classes = 700, 1000
    scores = round_to(rng.uniform(size=(rows, classes)), dtype)
    labels = rng.integers(0, classes, rows)
    prefix = "Sparse" if sparse else ""
    names = ("CategoricalAccuracy", "CategoricalCrossentropy")

    def members():
        made = {name: getattr(kt, prefix + name)() for name in names}
        for k in (1, 3, 5):
            top = getattr(kt, f"{prefix}TopKCategoricalAccuracy")
            made[f"top {k}"] = top(k=k)
            if not sparse:
                made[f"precision {k}"] = kt.Precision(top_k=k)
        made["logits"] = getattr(kt, prefix + names[1])(from_logits=True)
        if not sparse:
            made["f1"] = kt.F1Score()
            made["auc"] = kt.AUC(num_thresholds=21)
        return made

    group, alone = kt.MetricGroup(members()), members()
    y_true = labels if sparse else np.eye(classes, dtype=np.float32)[labels]
    for weight in (None, np.float32(rng.integers(0, 3, rows))):
        batch = Batch((y_true, scores), weight)
        batch.feed(group)
        updated_all(alone, batch)
    assert_same(group, alone)


@native_only
@pytest.mark.parametrize("kind", ["elements", "onehot", "sparse", "sequence"])
def test_a_mask_of_every_step(kind):
    """For a group as for its members, whatever their kernels."""
    makers, behind, _ = KINDS[kind]
    members = [m for m in everything(kind) if not m[0].built_late]
    rng = seeded(0)
    args = makers[0](rng, (40, *behind), "float32", "float32")
    masks = [rng.uniform(size=40) < 0.5]
    if behind:
        masks.append(rng.uniform(size=args[1].shape[:2]) < 0.5)
    for mask in masks:
        for weight in (None, np.float32(rng.integers(0, 3, 40))):
            batch = Batch(args, weight, mask)
            alone = make_members(members)
            fit = {k: m for k, m in alone.items() if feed(m, batch) is None}
            assert fit
            again = make_members(members)
            group = kt.MetricGroup({key: again[key] for key in fit})
            batch.feed(group)
            assert_same(group, fit)


@native_only
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -0.0])
def test_values_that_are_no_ordinary_numbers(value):
    members = everything("elements")
    args = list(make_binary(seeded(0), (50, 4), "float32", "float32"))
    args[1][7, 2] = value
    for weight in (None, np.float32(seeded(1).normal(size=50))):
        group, alone = kt.MetricGroup(make_members(members)), make_members(members)
        fit = [feed(m, Batch(tuple(args), weight)) is None for m in alone.values()]
        if all(fit):
            Batch(tuple(args), weight).feed(group)
            assert_same(group, alone)
        else:
            before = snapshot(group)
            assert feed(group, Batch(tuple(args), weight)) is not None
            assert snapshot(group) == before


@native_only
def test_arguments_that_equal_nothing_not_even_themselves():
    """NaN: members with it share nothing, and are computed all the same."""

    def members():
        made = [
            kt.CategoricalCrossentropy(label_smoothing=s) for s in (np.nan, np.nan, 0.5)
        ]
        return {f"m{i}": m for i, m in enumerate([*made, kt.CategoricalAccuracy()])}

    y_true = np.eye(3, dtype="float32")[seeded(0).integers(0, 3, 40)]
    y_pred = np.float32(seeded(1).random((40, 3)))
    group, alone = kt.MetricGroup(members()), members()
    group.update_state(to_backend(y_true), to_backend(y_pred))
    for metric in alone.values():
        metric.update_state(to_backend(y_true), to_backend(y_pred))
    assert np.isnan(float(alone["m0"].result()))
    assert_same(group, alone)


@slow_if_compiled
def test_one_tensor_as_labels_predictions_and_weights():
    members = [m for m in everything("elements") if m[0].name != "MeanMetricWrapper"]
    one = to_backend(np.float32(seeded(0).integers(0, 2, (30, 4))))
    group, alone = kt.MetricGroup(make_members(members)), make_members(members)
    fit = {}
    for key, metric in alone.items():
        try:
            metric.update_state(one, one, one)
        except ValueError:
            continue
        fit[key] = metric
    group = kt.MetricGroup({k: make_members(members)[k] for k in fit})
    group.update_state(one, one, one)
    assert len(fit) > 20
    assert_same(group, fit)


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_group_on_every_backend(weighted):
    group, alone = kt.MetricGroup(binary_metrics()), binary_metrics()
    for seed in range(3):
        batch = binary_batch(seed, weighted=weighted)
        batch.feed(group)
        updated_all(alone, batch)
    assert_same(group, alone)
    assert group.separate == ()


# On a GPU, members of other launches may take another kernel, whose sums of logarithms
# differ in the last place.
@pytest.mark.host_only
@native_only
def test_a_hundred_members():
    members = (everything("elements") * 3)[:130]
    members = [m for m in members if m[0].name != "MeanMetricWrapper"]
    group, alone = kt.MetricGroup(make_members(members)), make_members(members)
    batch = Batch(make_binary(seeded(0), (90, 4), "float32", "float32"))
    for _ in range(2):
        batch.feed(group)
        updated_all(alone, batch)
    assert_same(group, alone)


@native_only
def test_python_threads_lose_nothing(two_threads):
    rng = seeded(0)
    args = [
        to_backend(np.float32(rng.integers(0, 2, LARGE))),
        to_backend(rng.random(LARGE, dtype="float32")),
    ]

    def members():
        return {"a": kt.Precision(), "b": kt.AUC(num_thresholds=21), "c": kt.Recall()}

    group, once = kt.MetricGroup(members()), kt.MetricGroup(members())
    once.update_state(*args)
    threads = [
        threading.Thread(target=lambda: [group.update_state(*args) for _ in range(5)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def times(value, factor):
        if isinstance(value, list):
            return [times(v, factor) for v in value]
        return factor * value

    expected = {
        key: {name: times(value, 20) for name, value in exact.items()}
        for key, exact in exact_state(once).items()
    }
    assert exact_state(group) == expected
