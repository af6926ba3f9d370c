"""A group's numbers are those of its members on their own, bit for bit."""

import copy
import itertools
import pickle
import threading
import warnings

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.src.backend.common.stateless_scope import StatelessScope

import keras_tally as kt
from cases import (
    CASES,
    CLASSES,
    DEFAULT_CASES,
    SEGMENTS,
    Batch,
    Case,
    class_scores,
    make_binary,
    make_columns,
    make_counts,
    make_distributions,
    make_equal_labels,
    make_hinge,
    make_logits,
    make_multi_label,
    make_onehot,
    make_probabilities,
    make_regression,
    make_segments,
    make_sorted_ids,
    make_sparse,
    make_sparse_from_onehot,
    make_values,
    round_to,
    squared_difference,
)
from keras_tally import _native
from support import (
    BACKEND,
    IS_NUMPY,
    IS_PORTABLE,
    IS_TORCH,
    LABEL_DTYPES,
    SCORE_DTYPES,
    attach_mask,
    named_variables,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)

if BACKEND == "jax":
    import jax
elif BACKEND == "tensorflow":
    import tensorflow as tf

native_only = pytest.mark.skipif(IS_PORTABLE, reason="there is no native road here")
needs_fit = pytest.mark.skipif(IS_NUMPY, reason="Keras's NumPy backend has no fit")
# Where Keras's own operations compute, every example costs a second.
few_examples = settings(max_examples=2) if IS_PORTABLE else settings()
LEVELS = _native.levels()
DTYPES = (None, "float16", "bfloat16", "float64")


# What goes together: metrics that take the same labels and predictions.

ELEMENTWISE = (
    make_binary,
    make_counts,
    make_distributions,
    make_equal_labels,
    make_hinge,
    make_logits,
    make_probabilities,
    make_regression,
)


def cases_of(*makers, ranks=()):
    """The cases of these makers that take data of every rank, and of all `ranks`."""
    return [c for c in CASES if c.make in makers and set(ranks) <= set(c.ranks)]


ANY_SHAPE = cases_of(*ELEMENTWISE, ranks=(1, 2, 3))
KINDS = {
    # name: (makers of the data, shape behind the samples, cases)
    "elements": (ELEMENTWISE, (4,), ANY_SHAPE),
    "one column": (ELEMENTWISE, (1,), ANY_SHAPE),
    "deep": (
        ELEMENTWISE,
        (4, 3),
        [c for c in CASES if c.make in ELEMENTWISE and 3 in c.ranks],
    ),
    "columns": (
        (make_multi_label, make_columns),
        (),
        ANY_SHAPE + cases_of(make_multi_label, make_columns),
    ),
    "onehot": ((make_onehot,), (), ANY_SHAPE + cases_of(make_onehot)),
    "sparse": ((make_sparse,), (), cases_of(make_sparse)),
    "sequence": ((make_sparse,), (3,), cases_of(make_sparse)),
    "segments": ((make_segments,), (5,), cases_of(make_segments)),
    "ids": ((make_sorted_ids,), (), cases_of(make_sorted_ids)),
    "classes": ((make_sparse_from_onehot,), (), cases_of(make_sparse_from_onehot)),
}
# Not here: metrics of values, and classes on axis 1.
REACHED = {case.id for _, _, cases in KINDS.values() for case in cases}


def seeded(seed):
    return np.random.default_rng(seed)


def loosely(array):
    """The same values, with gaps between the samples."""
    spread = np.repeat(array, 2, axis=0)
    spread[1::2] = spread[::2][::-1]
    return spread[::2]


def draw_weight(draw, rng, shape, kind):
    whole = shape[:-1] if kind in ("onehot", "columns", "classes") else shape
    options = [(), shape[:1], (*shape[:1], 1), whole]
    if kind == "segments":
        options = [(), shape]
    form = draw(st.sampled_from(options))
    dtype = draw(st.sampled_from(["float32", "float64", "float16", "int32", "bool"]))
    weight = round_to(rng.integers(0, 5, form) / (1 if "int" in dtype else 4), dtype)
    return float(weight) if form == () else weight


@st.composite
def groups(draw, most=8):
    """Cases of one kind with a dtype each, and batches of data for all of them."""
    kind = draw(st.sampled_from(list(KINDS)))
    makers, behind, cases = KINDS[kind]
    members = draw(
        st.lists(
            st.tuples(st.sampled_from(cases), st.sampled_from(DTYPES)),
            min_size=1,
            max_size=3 if IS_PORTABLE else most,
        )
    )
    make = draw(st.sampled_from(makers))
    label_dtype = draw(st.sampled_from(LABEL_DTYPES))
    score_dtype = draw(st.sampled_from(SCORE_DTYPES))
    if IS_PORTABLE:
        # Keras's own gaps in other dtypes are not the group's.
        label_dtype, score_dtype = "float32", "float32"
        members = [(case, None) for case, _ in members]
    weighted, masked, loose = (draw(st.booleans()) for _ in range(3))
    rng = seeded(draw(st.integers(0, 2**32 - 1)))
    batches = []
    sizes = [5, 5] if IS_PORTABLE else draw(st.lists(st.integers(0, 70), max_size=4))
    for size in sizes:
        shape = (size, *behind)
        args = make(rng, shape, label_dtype, score_dtype)
        if loose and size:
            args = tuple(loosely(a) for a in args)
        weight = None
        if weighted:
            weight = draw_weight(draw, rng, args[1].shape, kind)
        mask = rng.uniform(size=size) < 0.7 if masked else None
        batches.append(Batch(args, weight, mask))
    return members, batches


def make_members(members):
    return {
        f"m{i}": case.ours(**({} if dtype is None else {"dtype": dtype}))
        for i, (case, dtype) in enumerate(members)
    }


def bits(tensor):
    array = to_numpy(tensor)
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return dtype, array.shape, array.tobytes()


def result_bits(metric):
    try:
        return bits(metric.result())
    except ValueError as error:
        # Built late, and not built; the name is numbered.
        return str(error).replace(metric.name, "")


def assert_members_are(group, alone):
    """Everything there is to see of each member is as that of one on its own."""
    assert list(group) == list(alone)
    for key, metric in alone.items():
        assert result_bits(group[key]) == result_bits(metric), key
        if isinstance(metric, keras.metrics.Metric) and hasattr(metric, "exact_state"):
            # As text: it may hold NaN.
            assert repr(group[key].exact_state()) == repr(metric.exact_state()), key
            assert state_bits(group[key]) == state_bits(metric), key


def assert_same(group, alone):
    assert_members_are(group, alone)
    results = group.result()
    assert list(results) == [group.prefix + key for key in alone]
    for key, metric in alone.items():
        assert bits(results[group.prefix + key]) == bits(metric.result()), key
    expected = {k: m.exact_state() for k, m in alone.items()
                if hasattr(m, "exact_state")}  # fmt: skip
    assert repr(group.exact_state()) == repr(expected)


def snapshot(group):
    return [state_bits(group), *(state_bits(m) for m in group.metrics)]


def feed(metric, batch):
    """Feed the batch; return the type of the error if it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            batch.feed(metric)
        except (ValueError, TypeError) as error:
            return type(error)
    return None


def feed_both(group, alone, batch):
    """Return what the members are after the batch, which all or none have taken."""
    after = {key: copy.deepcopy(metric) for key, metric in alone.items()}
    errors = {feed(metric, batch) for metric in after.values()} - {None}
    before = snapshot(group)
    error = feed(group, batch)
    if errors:
        assert error in errors
        late = any(not metric.variables for metric in alone.values())
        assert late or snapshot(group) == before
        return alone
    assert error is None
    return after


def test_kinds_reach_every_case():
    left = [c for c in CASES if c.id not in REACHED]
    assert {c.make for c in left if not c.make.__name__.endswith("first")} <= {
        make_values
    }


# The same bits.


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


def takes(metric, batch):
    """Whether the metric accepts the batch; it is used up then."""
    return feed(metric, batch) is None


def that_take(members, batch):
    """The members that accept batches of this kind."""
    made = make_members(members)
    return [m for m, metric in zip(members, made.values(), strict=True)
            if takes(metric, batch)]  # fmt: skip


def everything(kind):
    """All cases of a kind in one group."""
    return [(case, None) for case in KINDS[kind][2]]


@native_only
@pytest.mark.parametrize("weighted", [False, True])
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


def updated_all(alone, batch):
    for metric in alone.values():
        batch.feed(metric)


def spread_out(members, count):
    """Every so many of the members, all classes among them."""
    seen, chosen = set(), []
    for member in members:
        if member[0].name not in seen or len(chosen) < count:
            chosen.append(member)
        seen.add(member[0].name)
    return chosen


LARGE = int(_native.parallel_threshold() * 2.2) + 77


@pytest.mark.host_only
@native_only
@pytest.mark.parametrize("threads", [1, 2])
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
    for level in (LEVELS[0], LEVELS[-1]):
        _native.set_level(level)
        batch.feed(group)
    assert roads().get("parallel", 0) == (2 if threads == 2 else 0)
    for level in (LEVELS[0], LEVELS[-1]):
        _native.set_level(level)
        updated_all(alone, batch)
    assert_same(group, alone)


@native_only
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
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
    """Members that honour it and members that do not, side by side."""
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
            assert any(m._sees_mask for m in fit.values())
            again = make_members(members)
            group = kt.MetricGroup({key: again[key] for key in fit})
            batch.feed(group)
            assert_same(group, fit)


@native_only
def test_a_mask_that_no_member_honours():
    """It need not fit the weights then, for the group as for each member."""
    args = make_binary(seeded(0), (6, 2), "float32", "float32")
    for shape in ((6,), (3,), (6, 2, 5)):
        batch = Batch(args, np.float32(args[0]), np.ones(shape, bool))
        alone = {"auc": kt.AUC(), "precision": kt.Precision()}
        updated_all(alone, batch)
        group = kt.MetricGroup({"auc": kt.AUC(), "precision": kt.Precision()})
        batch.feed(group)
        assert_same(group, alone)


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


def binary_metrics():
    return {
        "accuracy": kt.BinaryAccuracy(),
        "precision": kt.Precision(),
        "recall": kt.Recall(thresholds=[0.25, 0.5]),
        "auc": kt.AUC(num_thresholds=21),
        "error": kt.MeanSquaredError(),
        "entropy": kt.BinaryCrossentropy(),
        "iou": kt.BinaryIoU(),
        "similarity": kt.CosineSimilarity(),
    }


def binary_batch(seed, count=24, weighted=False):
    batch = Batch(make_binary(seeded(seed), (count, 1), "float32", "float32"))
    if weighted:
        weight = np.float32(seeded(seed + 1).integers(0, 5, count)) / 4
        batch = batch._replace(weight=weight)
    return batch


def used_group(**kwargs):
    group = kt.MetricGroup(binary_metrics(), **kwargs)
    return updated(group, [binary_batch(0, weighted=True)])


def used_members():
    alone = binary_metrics()
    updated_all(alone, binary_batch(0, weighted=True))
    return alone


@pytest.mark.parametrize("weighted", [False, True])
def test_binary_group_on_every_backend(weighted):
    group, alone = kt.MetricGroup(binary_metrics()), binary_metrics()
    for seed in range(3):
        batch = binary_batch(seed, weighted=weighted)
        batch.feed(group)
        updated_all(alone, batch)
    assert_same(group, alone)
    assert group.separate == ()


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


# Roads.


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
    assert taken(roads) == {"converted": 1, "pure": 1}
    for metric in alone.values():
        metric.update_state(*lists)
    assert_same(group, alone)


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


# A metric of Keras.


@pytest.mark.parametrize("prefix", ["", "yes_"])
def test_config_round_trip(prefix):
    group = kt.MetricGroup(binary_metrics(), name="mine", prefix=prefix)
    restored = [
        kt.MetricGroup.from_config(group.get_config()),
        keras.saving.deserialize_keras_object(
            keras.saving.serialize_keras_object(group)
        ),
        kt.deserialize(kt.serialize(group)),
        keras.metrics.deserialize(keras.metrics.serialize(group)),
        kt.get(kt.serialize(group)),
    ]
    for again in restored:
        assert type(again) is kt.MetricGroup
        assert again.get_config() == group.get_config()
        assert [m.name for m in again.metrics] == [m.name for m in group.metrics]
        binary_batch(0).feed(again)
    binary_batch(0).feed(group)
    for again in restored:
        assert_same(again, group._members)
    assert group.name == "mine"


def test_config_is_json_and_holds_no_state():
    import json

    group = used_group()
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(group)))
    again = keras.saving.deserialize_keras_object(config)
    assert not any(to_numpy(v).any() for v in again.variables)
    assert_same(updated(again, [binary_batch(0, weighted=True)]), used_members())


def test_config_of_foreign_members():
    group = kt.MetricGroup(
        {"theirs": keras.metrics.MeanSquaredError(), "counter": Batches()}
    )
    again = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(group)
    )
    assert [type(m) for m in again.metrics] == [
        keras.metrics.MeanSquaredError,
        Batches,
    ]
    assert again.separate == ("theirs", "counter")


def test_names():
    keras.utils.clear_session(free_memory=False)
    assert [kt.MetricGroup(["mse"]).name for _ in range(2)] == [
        "metric_group",
        "metric_group_1",
    ]
    group = kt.MetricGroup([kt.AUC(name="area"), "mse"], name="g", prefix="a/")
    assert list(group) == ["area", "mean_squared_error"]
    assert list(group.result()) == ["a/area", "a/mean_squared_error"]
    assert len(group) == 2
    assert "area" in group
    assert "a/area" not in group
    assert group["area"].name == "area"
    assert [m.name for m in group.metrics] == list(group)
    with pytest.raises(KeyError, match=r"'nonsense'.*'area'"):
        group["nonsense"]


def test_lists_tuples_and_dicts_make_the_same_group():
    makers = (kt.BinaryAccuracy, kt.Precision, kt.MeanSquaredError)
    names = ("binary_accuracy", "precision", "mean_squared_error")

    def members():
        return [m(name=n) for m, n in zip(makers, names, strict=True)]

    alone = dict(zip(names, members(), strict=True))
    updated_all(alone, binary_batch(0))
    for metrics in (
        members(),
        tuple(members()),
        dict(zip(names, members(), strict=True)),
        [kt.serialize(m) for m in members()],
    ):
        assert_same(updated(kt.MetricGroup(metrics), [binary_batch(0)]), alone)


def test_keys_of_a_dict_are_the_names_of_results():
    group = kt.MetricGroup({"a": kt.AUC(name="x"), 3: kt.AUC(name="x")})
    assert list(group.result()) == ["a", "3"]


@pytest.mark.skipif(IS_PORTABLE, reason="one variable for each dtype there")
def test_one_variable():
    group = used_group()
    (variable,) = group.variables
    assert isinstance(variable, keras.Variable)
    assert (variable.name, variable.dtype) == ("state", "float64")
    assert not variable.trainable
    assert (variable.aggregation, variable.synchronization) == ("sum", "on_read")
    own = sum(
        int(np.prod(v.shape))
        for m in binary_metrics().values()
        for v in m.variables
        if v.name != "compensation"
    )
    assert tuple(variable.shape) == (2, own)


@pytest.mark.skipif(not IS_PORTABLE, reason="one variable there")
def test_a_variable_for_each_dtype():
    group = used_group()
    dtypes = [v.dtype for v in group.variables]
    assert len(set(dtypes)) == len(dtypes) == 2
    assert dtypes[0] == "float32"


def test_a_call_updates_and_returns_results():
    alone = binary_metrics()
    batch = binary_batch(0)
    updated_all(alone, batch)
    results = kt.MetricGroup(binary_metrics())(*(to_backend(a) for a in batch.args))
    for key, metric in alone.items():
        assert bits(results[key]) == bits(metric.result())


def test_lists_and_python_numbers():
    group, alone = kt.MetricGroup(binary_metrics()), binary_metrics()
    for args in (
        ([1, 0, 1], [0.5, 0.75, 0.25]),
        ([[True], [False]], [[0.5], [0.75]], [1, 2.5]),
        ([[1.0], [0.0]], [[0.5], [0.75]], 0.5),
    ):
        group.update_state(*args)
        for metric in alone.values():
            metric.update_state(*args)
    assert_same(group, alone)


def test_reset():
    group = used_group()
    group.reset_state()
    assert not any(to_numpy(v).any() for v in group.variables)
    alone = binary_metrics()
    assert_same(group, alone)
    updated_all(alone, binary_batch(3))
    assert_same(updated(group, [binary_batch(3)]), alone)


def test_states_merge_by_addition():
    parts = [binary_batch(seed, weighted=True) for seed in range(2)]
    merged, first, second = (kt.MetricGroup(binary_metrics()) for _ in range(3))
    updated(first, parts[:1])
    updated(second, parts[1:])
    for target, *sources in zip(
        merged.variables, first.variables, second.variables, strict=True
    ):
        target.assign(sum(to_numpy(s) for s in sources))
    whole = updated(kt.MetricGroup(binary_metrics()), parts)
    for key in whole:
        one, other = (to_numpy(g[key].result()) for g in (merged, whole))
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_results_are_no_views():
    group = used_group()
    results = group.result()
    kept = {key: bits(value) for key, value in results.items()}
    binary_batch(5).feed(group)
    group.reset_state()
    assert {key: bits(value) for key, value in results.items()} == kept
    before = snapshot(updated(group, [binary_batch(1)]))
    for value in group.result().values():
        if IS_TORCH:
            value += 1
        elif isinstance(value, np.ndarray) and value.flags.writeable:
            value[...] += 1
    assert snapshot(group) == before


@pytest.mark.torch_only
def test_predictions_that_require_a_gradient():
    batch = binary_batch(0)
    y_true, y_pred = (to_backend(a) for a in batch.args)
    group = kt.MetricGroup(binary_metrics())
    group.update_state(y_true, y_pred.clone().requires_grad_())
    alone = binary_metrics()
    updated_all(alone, batch)
    assert_same(group, alone)
    assert not any(value.requires_grad for value in group.result().values())


# Members.


def test_states_before_grouping_are_taken_along():
    alone, first = binary_metrics(), binary_metrics()
    for batch in (binary_batch(0), binary_batch(1, weighted=True)):
        updated_all(alone, batch)
        updated_all(first, batch)
    group = kt.MetricGroup(first)
    assert_same(group, alone)
    updated_all(alone, binary_batch(2))
    assert_same(updated(group, [binary_batch(2)]), alone)


@native_only
def test_low_halves_are_taken_along():
    metrics = {"error": kt.MeanSquaredError(), "iou": kt.MeanIoU(num_classes=2)}
    metrics["error"].total.assign(2.0**60)
    metrics["iou"].total_cm.assign(np.full((2, 2), 2**62 + 1))
    binary_batch(0, 5).feed(metrics["error"])
    expected = {key: metric.exact_state() for key, metric in metrics.items()}
    group = kt.MetricGroup(metrics)
    assert group.exact_state() == expected
    assert expected["iou"]["total_confusion_matrix"][0][0] == 2**62 + 1


def test_a_member_on_its_own():
    group, alone = used_group(), used_members()
    for step, key in enumerate(group):
        binary_batch(step).feed(group[key])
        binary_batch(step).feed(alone[key])
        assert_same(group, alone)
    for key in ("precision", "iou"):
        group[key].reset_state()
        alone[key].reset_state()
        assert_same(group, alone)
    updated_all(alone, binary_batch(9))
    assert_same(updated(group, [binary_batch(9)]), alone)


def test_variables_of_members():
    group, alone = used_group(), used_members()
    for key, metric in alone.items():
        pairs = zip(
            [*named_variables(group[key]), *group[key].variables],
            [*named_variables(metric), *metric.variables],
            strict=True,
        )
        for mine, other in pairs:
            assert mine.name == other.name
            assert mine.dtype == other.dtype
            assert tuple(mine.shape) == tuple(other.shape)
            assert to_numpy(mine).tobytes() == to_numpy(other).tobytes()
            value = np.reshape(np.arange(to_numpy(other).size), other.shape)
            value = value.astype(to_numpy(other).dtype)
            if not mine.name.startswith(("compensation", "state_")):
                mine.assign(value)
                other.assign(value)
            with pytest.raises(ValueError, match="shape"):
                mine.assign(np.zeros((3, 4, 5)))
    assert group["error"].total is named_variables(group["error"])[0]
    group["error"].count.assign_add(2)
    alone["error"].count.assign_add(2)
    assert_same(group, alone)


def test_pure_functions_of_a_member():
    """A member's state goes in and out as that of a metric on its own."""
    group, alone = used_group(), used_members()
    before = snapshot(group)
    batch = binary_batch(1)
    args = [to_backend(a) for a in batch.args]
    for key, metric in alone.items():
        member = group[key]
        state = [to_backend(to_numpy(v)) for v in binary_metrics()[key].variables]
        assert bits(member.stateless_result(state)) == bits(
            metric.stateless_result(state)
        )
        for given_state in (state, [to_backend(to_numpy(v)) for v in metric.variables]):
            new = member.stateless_update_state(given_state, *args)
            expected = metric.stateless_update_state(given_state, *args)
            assert [bits(x) for x in new] == [bits(x) for x in expected]
        fresh = member.stateless_reset_state()
        expected = metric.stateless_reset_state()
        assert [bits(x) for x in fresh] == [bits(x) for x in expected]
        with pytest.raises(ValueError, match="metric_variables"):
            member.stateless_update_state(state[1:], *args)
        with pytest.raises(ValueError, match="metric_variables"):
            member.stateless_result(state[1:])
    assert snapshot(group) == before


def late_metrics():
    return {
        "f1": kt.F1Score(),
        "r2": kt.R2Score(),
        "auc": kt.AUC(multi_label=True, num_thresholds=11),
        "accuracy": kt.BinaryAccuracy(),
        "error": kt.MeanSquaredError(),
    }


def late_batch(seed, columns=3):
    args = make_binary(seeded(seed), (20, columns), "float32", "float32")
    return Batch(args, np.float32(seeded(seed).integers(0, 3, 20)))


def test_members_that_are_built_late():
    group, alone = kt.MetricGroup(late_metrics()), late_metrics()
    assert group.variables == []
    group.reset_state()
    with pytest.raises(ValueError, match="update_state"):
        group.result()
    for seed in range(2):
        late_batch(seed).feed(group)
        updated_all(alone, late_batch(seed))
        assert_same(group, alone)
    if not IS_PORTABLE:
        assert len(group.variables) == 1
    group.reset_state()
    for metric in alone.values():
        metric.reset_state()
    assert_same(group, alone)


def test_exact_state_before_the_first_batch():
    group = kt.MetricGroup(late_metrics())
    assert group.exact_state() == {
        key: metric.exact_state() for key, metric in late_metrics().items()
    }
    assert group.exact_state()["f1"] == {}


def test_late_members_beside_members_with_state():
    first, alone = late_metrics(), late_metrics()
    for metrics in (first, alone):
        for key in ("f1", "accuracy"):
            late_batch(7).feed(metrics[key])
    group = kt.MetricGroup(first)
    late_batch(0).feed(group)
    updated_all(alone, late_batch(0))
    assert_same(group, alone)


def test_a_late_member_that_is_used_before_the_group():
    group, alone = kt.MetricGroup(late_metrics()), late_metrics()
    for key in ("r2", "error"):
        late_batch(3).feed(group[key])
        late_batch(3).feed(alone[key])
    late_batch(0).feed(group)
    updated_all(alone, late_batch(0))
    assert_same(group, alone)


def test_late_group_of_one_kind_only():
    group = kt.MetricGroup([kt.F1Score(name="f1")])
    late_batch(0).feed(group)
    alone = {"f1": kt.F1Score()}
    updated_all(alone, late_batch(0))
    assert_same(group, alone)


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Batches(keras.metrics.Metric):
    """A foreign metric that starts and restarts at a number that is not 0."""

    def __init__(self, name="batches", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.left = self.add_variable((), "ones", name="left")
        self.resets = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.left.assign_add(1)

    def result(self):
        return keras.ops.convert_to_tensor(self.left.value)

    def reset_state(self):
        self.left.assign(1)
        self.resets += 1


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Doubled(kt.MeanSquaredError):
    def result(self):
        return 2 * super().result()


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Halved(kt.BinaryAccuracy):
    """Forwards half of each batch."""

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_true[::2], y_pred[::2])


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Counting(kt.Precision):
    """With a variable beyond those of the kernel."""

    def __init__(self, name="counting", dtype=None, **kwargs):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.batches = self.add_variable((), "zeros", name="batches")

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_true, y_pred, sample_weight)
        self.batches.assign_add(1)


@keras.saving.register_keras_serializable("keras_tally_tests_group")
class Renamed(kt.Recall):
    """Changes nothing that an update or a result is made of."""

    def __init__(self, name="renamed", dtype=None, **kwargs):
        super().__init__(name=name, dtype=dtype, **kwargs)


def mixed_metrics():
    return {
        "accuracy": kt.BinaryAccuracy(),
        "batches": Batches(),
        "theirs": keras.metrics.AUC(num_thresholds=21),
        "auc": kt.AUC(num_thresholds=21),
        "wrapped": kt.MeanMetricWrapper(squared_difference, name="wrapped"),
        "doubled": Doubled(),
        "halved": Halved(),
        "counting": Counting(),
        "renamed": Renamed(),
        "iou": kt.BinaryIoU(),
    }


SEPARATE = ("batches", "theirs", "wrapped", "doubled", "halved", "counting")


def test_members_that_are_updated_one_by_one():
    group, alone = kt.MetricGroup(mixed_metrics()), mixed_metrics()
    assert group.separate == SEPARATE
    for seed in range(3):
        batch = binary_batch(seed, weighted=True)
        batch.feed(group)
        updated_all(alone, batch)
        assert_same(group, alone)
    group.reset_state()
    for metric in alone.values():
        metric.reset_state()
    assert_same(group, alone)
    assert group["batches"].resets == 1
    updated_all(alone, binary_batch(5))
    assert_same(updated(group, [binary_batch(5)]), alone)


def test_separate_members_beside_late_ones():
    group = kt.MetricGroup([kt.F1Score(), Batches()])
    assert group.separate == ("batches",)
    late_batch(0).feed(group)
    assert group.separate == ("batches",)
    assert float(group.result()["batches"]) == 2.0
    group.reset_state()
    assert float(group.result()["batches"]) == 1.0


def test_a_group_of_foreign_metrics_only():
    def members():
        return {"a": keras.metrics.AUC(), "b": keras.metrics.F1Score()}

    group, alone = kt.MetricGroup(members()), members()
    assert group.separate == ("a", "b")
    for seed in range(2):
        late_batch(seed).feed(group)
        updated_all(alone, late_batch(seed))
        assert_same(group, alone)


def test_user_subclass_that_takes_pairs():
    """Also of a class that takes values."""

    class Share(kt.Mean):
        def update_state(self, y_true, y_pred, sample_weight=None):
            super().update_state(keras.ops.cast(y_pred > 0.5, "float32"))

    group = kt.MetricGroup([Share(name="share"), kt.MeanSquaredError()])
    batch = binary_batch(0)
    batch.feed(group)
    assert group.separate == ("share",)
    assert float(group.result()["share"]) == pytest.approx((batch.args[1] > 0.5).mean())


# Copies.

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda group: pickle.loads(pickle.dumps(group)),
}


@pytest.mark.parametrize("way", WAYS)
def test_copies(way):
    group = used_group(name="mine", prefix="p_")
    again = WAYS[way](group)
    assert type(again) is kt.MetricGroup
    assert (again.name, again.prefix) == ("mine", "p_")
    alone = used_members()
    assert_same(again, alone)
    updated(again, [binary_batch(4)])
    assert_same(group, alone)
    updated_all(alone, binary_batch(4))
    assert_same(again, alone)
    assert_same(updated(group, [binary_batch(4)]), alone)
    again.reset_state()
    assert_same(group, alone)


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_late_groups(way):
    group = kt.MetricGroup(late_metrics())
    fresh = WAYS[way](group)
    late_batch(0).feed(group)
    late_batch(0).feed(fresh)
    alone = late_metrics()
    updated_all(alone, late_batch(0))
    assert_same(fresh, alone)
    assert_same(WAYS[way](group), alone)
    assert_same(group, alone)


@pytest.mark.parametrize("way", WAYS)
def test_copies_of_separate_members(way):
    group = updated(kt.MetricGroup(mixed_metrics()), [binary_batch(0)])
    kept = {key: bits(value) for key, value in group.result().items()}
    again = WAYS[way](group)
    assert again.separate == SEPARATE
    found = {key: bits(value) for key, value in again.result().items()}
    for key in kept:
        # Keras's own copies drop the state.
        if key not in ("batches", "theirs"):
            assert found[key] == kept[key], key
    updated(again, [binary_batch(1)])
    assert {key: bits(value) for key, value in group.result().items()} == kept


def test_a_copy_of_a_member_is_free():
    group, alone = used_group(), used_members()
    free = copy.deepcopy(group["auc"])
    assert_same(kt.MetricGroup({"auc": free}), {"auc": alone["auc"]})
    binary_batch(1).feed(free)
    assert_same(group, alone)


# Pure functions.


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("make", [binary_metrics, mixed_metrics])
def test_stateless(make, weighted):
    group, alone = kt.MetricGroup(make()), make()
    updated(group, [binary_batch(0)])
    updated_all(alone, binary_batch(0))
    before = snapshot(group)
    batch = binary_batch(1, weighted=weighted)
    args = [to_backend(a) for a in batch.args]
    weight = None if batch.weight is None else to_backend(batch.weight)
    given_state = [to_backend(to_numpy(v)) for v in group.variables]
    kept = [bits(x) for x in given_state]
    new = group.stateless_update_state(given_state, *args, sample_weight=weight)
    results = group.stateless_result(new)
    fresh = group.stateless_reset_state()
    assert snapshot(group) == before
    assert [bits(x) for x in given_state] == kept
    updated_all(alone, batch)
    for key, metric in alone.items():
        assert bits(results[key]) == bits(metric.result()), key
    if make is binary_metrics:
        assert not any(to_numpy(x).any() for x in fresh)
    for variable, value in zip(group.variables, new, strict=True):
        variable.assign(value)
    assert_same(group, alone)


def test_updates_in_a_scope_add_up():
    group, alone = used_group(), used_members()
    before = snapshot(group)
    with StatelessScope() as scope:
        for seed in (1, 2):
            binary_batch(seed).feed(group)
        inside = group.result()
    assert snapshot(group) == before
    values = [scope.get_current_value(v) for v in group.variables]
    for variable, value in zip(group.variables, values, strict=True):
        variable.assign(value)
    for seed in (1, 2):
        updated_all(alone, binary_batch(seed))
    assert_same(group, alone)
    for key, metric in alone.items():
        assert bits(inside[key]) == bits(metric.result())


def test_late_members_in_a_scope():
    group = kt.MetricGroup(late_metrics())
    with StatelessScope():
        late_batch(0).feed(group)
    late_batch(1).feed(group)
    alone = late_metrics()
    updated_all(alone, late_batch(1))
    assert_same(group, alone)


@pytest.mark.skipif(BACKEND != "jax", reason="jax.jit")
@pytest.mark.parametrize("make", [binary_metrics, mixed_metrics])
def test_in_jit(make):
    group, alone = kt.MetricGroup(make()), make()

    @jax.jit
    def step(state, args, weight):
        state = group.stateless_update_state(state, *args, sample_weight=weight)
        return state, group.stateless_result(state)

    state = [v.value for v in group.variables]
    for seed in range(3):
        batch = binary_batch(seed, weighted=True)
        args = [to_backend(a) for a in batch.args]
        state, results = step(state, args, to_backend(batch.weight))
        updated_all(alone, batch)
    for key, metric in alone.items():
        assert to_numpy(results[key]) == pytest.approx(
            to_numpy(metric.result()), rel=1e-6
        )
    assert_same(group, make())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.function")
@pytest.mark.parametrize("xla", [False, True])
@pytest.mark.parametrize("make", [binary_metrics, mixed_metrics, late_metrics])
def test_in_a_function(make, xla):
    group, alone = kt.MetricGroup(make()), make()
    draw = late_batch if make is late_metrics else binary_batch
    if make is late_metrics and xla:
        draw(0).feed(group)  # no variable is made inside XLA
        group.reset_state()

    @tf.function(jit_compile=xla)
    def step(y_true, y_pred, weight):
        group.update_state(y_true, y_pred, weight)
        return group.result()

    for seed in range(3):
        batch = draw(seed)
        weight = np.float32(np.arange(len(batch.args[0])) % 3)
        results = step(*(to_backend(a) for a in batch.args), to_backend(weight))
        updated_all(alone, batch._replace(weight=weight))
    for key, metric in alone.items():
        expected = pytest.approx(to_numpy(metric.result()), rel=1e-5)
        assert to_numpy(results[key]) == expected, key
        assert to_numpy(group[key].result()) == expected, key


@pytest.mark.torch_only
def test_symbolic_build_on_meta_tensors():
    from keras.src import backend

    for make, batch in (
        (binary_metrics, binary_batch(0)),
        (mixed_metrics, binary_batch(0)),
        (late_metrics, late_batch(0)),
    ):
        group = kt.MetricGroup(make())

        def step(y_true, y_pred, group=group):
            group.update_state(y_true, y_pred)
            return group.result()

        spec = [keras.KerasTensor(a.shape, "float32") for a in batch.args]
        output = backend.compute_output_spec(step, *spec)
        alone = make()
        updated_all(alone, Batch(batch.args))
        for key, metric in alone.items():
            assert tuple(output[key].shape) == tuple(metric.result().shape)
        assert_same(updated(group, [Batch(batch.args)]), alone)


# Errors.


def refused(group, batch, match=None, error=(ValueError, TypeError)):
    before, exact = snapshot(group), group.exact_state()
    with pytest.raises(error, match=match):
        batch.feed(group)
    assert snapshot(group) == before
    assert repr(group.exact_state()) == repr(exact)


SHAPELESS = ("Mean", "Sum")
GROUPABLE = [c for c in DEFAULT_CASES if c.name not in SHAPELESS]


@native_only
@pytest.mark.parametrize("case", GROUPABLE, ids=lambda c: c.name)
def test_any_member_that_refuses_a_batch(case):
    """First and last in the group; beside a foreign metric, which takes anything."""
    bad = case.sample(1, 12)
    bad = bad._replace(weight=np.ones((7, 3), np.float32))
    for order in (1, -1):
        members = {"counter": Batches(), "member": case.ours(), "other": case.ours()}
        group = kt.MetricGroup(dict(list(members.items())[::order]))
        case.sample(0, 12).feed(group)
        refused(group, bad, "sample_weight|weight")


@pytest.mark.host_only
@native_only
@pytest.mark.parametrize("label", [-1, CLASSES, 2**40])
def test_labels_that_one_member_refuses(label):
    """Others take a label out of range, and must not have taken the batch."""
    rng = seeded(0)
    scores = class_scores(rng, (9,), "float32")
    labels = rng.integers(0, CLASSES, 9)
    wrong = labels.copy()
    wrong[5] = label
    for picky in (kt.SparseTopKCategoricalAccuracy, kt.SparseCategoricalCrossentropy):
        for order in (1, -1):
            members = [kt.SparseCategoricalAccuracy(), picky(name="picky"), Batches()]
            group = kt.MetricGroup(members[::order])
            Batch((labels, scores)).feed(group)
            refused(group, Batch((wrong, scores)), "y_true", ValueError)
    group = kt.MetricGroup([kt.SparseCategoricalAccuracy(name="a")])
    alone = {"a": kt.SparseCategoricalAccuracy()}
    updated_all(alone, Batch((wrong, scores)))
    assert_same(updated(group, [Batch((wrong, scores))]), alone)


@native_only
@given(st.data())
def test_a_group_refuses_what_a_member_refuses(data):
    """Labels out of range that some classes, or `ignore_class`, let through."""
    members = data.draw(
        st.lists(
            st.sampled_from(
                [
                    *((case, None) for case in KINDS["sparse"][2]),
                    (
                        Case(
                            "SparseCategoricalCrossentropy",
                            make_sparse,
                            {"ignore_class": -1},
                        ),
                        None,
                    ),
                ]
            ),
            min_size=1,
            max_size=5,
        )
    )
    rng = seeded(data.draw(st.integers(0, 99)))
    labels = rng.integers(-1, CLASSES + data.draw(st.integers(-1, 1)), 12)
    labels = np.maximum(labels, data.draw(st.integers(-1, 0)))
    dtype = data.draw(st.sampled_from(["int64", "float32", "int8"]))
    batch = Batch((labels.astype(dtype), class_scores(rng, (12,), "float32")))
    group = kt.MetricGroup(make_members(members))
    assert_same(group, feed_both(group, make_members(members), batch))


@pytest.mark.host_only
@native_only
def test_bad_label_deep_in_a_large_batch():
    rng = seeded(0)
    y_true = rng.integers(0, 3, 200_000)
    y_pred = np.float32(rng.uniform(size=(200_000, 3)))
    group = kt.MetricGroup(
        [kt.SparseCategoricalAccuracy(), kt.SparseCategoricalCrossentropy()]
    )
    Batch((y_true, y_pred)).feed(group)
    y_true[-1] = 3
    for threads in (1, 2):
        kt.set_num_threads(threads)
        refused(group, Batch((y_true, y_pred)), "y_true", ValueError)


@native_only
@pytest.mark.parametrize(
    "bad", [None, "text", object(), {}, [[1.0], [2.0, 3.0]], print]
)
def test_things_that_are_no_tensors(bad):
    group = used_group()
    args = [to_backend(a) for a in binary_batch(0).args]
    before = snapshot(group)
    for position, name in enumerate(("y_true", "y_pred")):
        broken = list(args)
        broken[position] = bad
        with pytest.raises((ValueError, TypeError), match=name):
            group.update_state(*broken)
    if bad is not None:
        with pytest.raises((ValueError, TypeError), match="sample_weight"):
            group.update_state(*args, bad)
    assert snapshot(group) == before


def test_shapes_that_do_not_fit():
    group = updated(kt.MetricGroup(mixed_metrics()), [binary_batch(0)])
    before, exact = snapshot(group), group.exact_state()
    y_true, y_pred = (to_backend(a) for a in binary_batch(0).args)
    with pytest.raises((ValueError, TypeError, *FRAMEWORK_ERRORS)):
        group.update_state(y_true[:5], y_pred[:7])
    assert snapshot(group) == before
    assert group.exact_state() == exact


# What Keras's own operations raise.
FRAMEWORK_ERRORS = (RuntimeError,)
if BACKEND == "tensorflow":
    FRAMEWORK_ERRORS = (tf.errors.InvalidArgumentError,)


class Fails(keras.metrics.Metric):
    """Takes the batch, then fails."""

    def __init__(self, error=OSError, name="fails"):
        super().__init__(name=name)
        self.seen = self.add_variable((), "zeros", name="seen")
        self.error = error
        self.armed = False

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.seen.assign_add(1)
        if self.armed:
            raise self.error("armed")

    def result(self):
        return keras.ops.convert_to_tensor(self.seen.value)


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_foreign_metrics_are_restored_when_one_fails(error):
    for last in (False, True):
        fails = Fails(error)
        members = {**mixed_metrics(), "fails": fails}
        if not last:
            members = dict(list(members.items())[::-1])
        group = updated(kt.MetricGroup(members), [binary_batch(0)])
        fails.armed = True
        before = snapshot(group)
        with pytest.raises(error, match="armed"):
            binary_batch(1).feed(group)
        assert snapshot(group) == before


def test_foreign_metrics_that_the_refused_batch_has_built():
    """Its variables are new, and still hold nothing of the batch."""
    members = {"theirs": keras.metrics.F1Score(), "fails": Fails()}
    members["fails"].armed = True
    group = kt.MetricGroup(members)
    with pytest.raises(OSError, match="armed"):
        late_batch(0).feed(group)
    members["fails"].armed = False
    late_batch(1).feed(group)
    alone = {"theirs": keras.metrics.F1Score(), "fails": Fails()}
    updated_all(alone, late_batch(1))
    assert_same(group, alone)


@native_only
def test_first_batch_of_a_late_group_that_is_refused():
    group, alone = kt.MetricGroup(late_metrics()), late_metrics()
    bad = late_batch(0)._replace(weight=np.ones((5, 9), np.float32))
    with pytest.raises(ValueError, match="sample_weight"):
        bad.feed(group)
    late_batch(1).feed(group)
    updated_all(alone, late_batch(1))
    assert_same(group, alone)


def takes_no_metrics():
    return [
        (None, TypeError, "list of metrics"),
        ("mse", TypeError, "list of metrics"),
        (kt.AUC(), TypeError, "list of metrics"),
        (iter([kt.AUC()]), TypeError, "list of metrics"),
        ([], ValueError, "empty"),
        ({}, ValueError, "empty"),
        ([None], TypeError, "must hold metrics"),
        ([squared_difference], TypeError, "must hold metrics"),
        ({"a": squared_difference}, TypeError, "must hold metrics"),
        (["no such metric"], ValueError, "no such metric"),
        ([kt.AUC(name="a"), kt.Recall(name="a")], ValueError, "two metrics.*'a'"),
        ({1: kt.AUC(), "1": kt.Recall()}, ValueError, "two metrics.*'1'"),
        ([kt.Mean()], TypeError, "Mean takes values"),
        ([kt.Sum()], TypeError, "Sum takes values"),
        ([keras.metrics.Mean()], TypeError, "Mean takes values"),
        ([keras.metrics.Sum()], TypeError, "Sum takes values"),
        (["mean"], TypeError, "Mean takes values"),
        ([kt.MetricGroup(["mse"])], TypeError, "member of a group"),
    ]


@pytest.mark.parametrize("index", range(len(takes_no_metrics())))
def test_what_is_no_list_of_metrics(index):
    metrics, error, match = takes_no_metrics()[index]
    with pytest.raises(error, match=match):
        kt.MetricGroup(metrics)


def test_one_metric_under_two_names():
    """It would be given every batch twice."""
    metric = kt.BinaryAccuracy()
    with pytest.raises(ValueError, match="twice"):
        kt.MetricGroup({"a": metric, "b": metric})
    with pytest.raises(ValueError, match="two metrics"):
        kt.MetricGroup([metric, metric])
    assert list(kt.MetricGroup({"a": metric})) == ["a"]


def test_member_of_another_group():
    group = used_group(name="first")
    with pytest.raises(ValueError, match=r"'auc'.*'first'"):
        kt.MetricGroup([group["auc"]])
    free = kt.Recall()
    with pytest.raises(ValueError, match="'first'"):
        kt.MetricGroup({"free": free, "taken": group["auc"]})
    kt.MetricGroup([free])  # the failed attempt has not taken it
    assert_same(group, used_members())


@native_only
def test_warnings_of_members():
    """What a metric says of weights and results, its group says too, once."""
    batch = Batch(
        make_segments(seeded(0), (9,), "int32", "int32"),
        np.float32(np.arange(9) / 4),
    )
    metric = kt.MeanIoU(num_classes=SEGMENTS)
    group = kt.MetricGroup(
        {"iou": kt.MeanIoU(num_classes=SEGMENTS), "same": kt.Accuracy()}
    )
    said = []
    for target in (metric, group):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            batch.feed(target)
            target.result()
        said.append([(w.category, str(w.message)) for w in caught])
    assert said[0] == said[1]
    assert said[0]


# Threads of Python.


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
        for key, exact in once.exact_state().items()
    }
    assert group.exact_state() == expected


# fit and evaluate.

ROWS, FEATURES, BATCH = 100, 6, 32
# Compiled steps round in another order than eager ones.
TOLERANCE = 1e-5 if IS_PORTABLE else 0


def data():
    rng = seeded(0)
    x = np.float32(rng.normal(size=(ROWS, FEATURES)))
    y = np.float32(x[:, :1] + 0.5 * rng.normal(size=(ROWS, 1)) > 0)
    weight = np.float32(rng.integers(0, 5, ROWS)) / 4
    return x, y, weight


def make_model():
    keras.utils.set_random_seed(1)
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(4, activation="relu"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )


def fit_metrics():
    """With what is built late, integers, and members that are no part of the pass."""
    metrics = [
        kt.BinaryAccuracy(name="accuracy"),
        kt.MeanSquaredError(name="error"),
        kt.BinaryIoU(name="iou", dtype="float32"),
        kt.R2Score(name="r2"),
        kt.MeanMetricWrapper(squared_difference, name="wrapped"),
        keras.metrics.Precision(name="theirs"),
    ]
    if not IS_PORTABLE:  # where they are compiled for many seconds
        metrics += [
            kt.AUC(name="auc", num_thresholds=21),
            kt.AUC(name="labels", num_thresholds=11, multi_label=True),
            kt.F1Score(name="f1", average="micro", threshold=0.5),
        ]
    return metrics


def trained(role, metrics, callbacks=(), epochs=2, evaluate_callbacks=(), **options):
    model = make_model()
    model.compile("sgd", "binary_crossentropy", **{role: metrics}, **options)
    x, y, weight = data()
    recorder = Recorder()
    history = model.fit(
        x,
        y,
        sample_weight=weight if role == "weighted_metrics" else None,
        validation_data=(x[:50], y[:50], weight[:50]),
        batch_size=BATCH,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, recorder],
    ).history
    logs = model.evaluate(
        x,
        y,
        sample_weight=weight,
        batch_size=BATCH,
        verbose=0,
        return_dict=True,
        callbacks=list(evaluate_callbacks),
    )
    return history, logs, recorder.logs


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append(dict(logs))


def assert_logs_equal(found, expected):
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert type(found[key]) is type(value)
        np.testing.assert_allclose(
            found[key], value, rtol=TOLERANCE, atol=TOLERANCE, err_msg=key
        )


OPTIONS = [{}] if BACKEND == "jax" else [{}, {"run_eagerly": True}]
ROLES = ["weighted_metrics"] if IS_PORTABLE else ["metrics", "weighted_metrics"]
if BACKEND == "tensorflow":
    OPTIONS.append({"jit_compile": True})


@needs_fit
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_fit_logs_are_those_without_a_group(options, role):
    metrics = fit_metrics()
    if options.get("jit_compile"):
        metrics = metrics[:3]
    # Keras's own metrics in the logs of a batch may be views of their state.
    configs = [keras.saving.serialize_keras_object(m) for m in metrics]
    again = [keras.saving.deserialize_keras_object(c) for c in configs]
    found = trained(role, [kt.MetricGroup(metrics)], **options)
    expected = trained(role, again, **options)
    for one, other in zip(found[:2], expected[:2], strict=True):
        assert_logs_equal(one, other)
    for one, other in zip(found[2], expected[2], strict=True):
        assert_logs_equal(one, other)


@needs_fit
def test_groups_of_several_outputs():
    x, y, _ = data()
    labels = np.argmax(x[:, :4], axis=1)

    def run(metrics):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((FEATURES,))
        outputs = {
            "yes": keras.layers.Dense(1, activation="sigmoid", name="yes")(inputs),
            "kind": keras.layers.Dense(4, activation="softmax", name="kind")(inputs),
        }
        model = keras.Model(inputs, outputs)
        losses = {
            "yes": "binary_crossentropy",
            "kind": "sparse_categorical_crossentropy",
        }
        model.compile("sgd", losses, metrics=metrics)
        return model.fit(
            x,
            {"yes": y, "kind": labels},
            batch_size=BATCH,
            epochs=2,
            shuffle=False,
            verbose=0,
        ).history

    def members():
        return {
            "yes": [kt.BinaryAccuracy(name="right"), kt.MeanSquaredError(name="error")],
            "kind": [
                kt.SparseCategoricalAccuracy(name="accuracy"),
                kt.SparseCategoricalCrossentropy(name="entropy"),
            ],
        }

    grouped = {
        name: [kt.MetricGroup(metrics, prefix=f"{name}_")]
        for name, metrics in members().items()
    }
    assert_logs_equal(run(grouped), run(members()))


@needs_fit
@pytest.mark.parametrize("weighted", [True] if IS_PORTABLE else [False, True])
def test_mask_of_an_embedding(weighted):
    rng = seeded(0)
    x = rng.integers(1, 11, (ROWS, 5))
    x[np.arange(5)[None] >= rng.integers(1, 6, ROWS)[:, None]] = 0
    y = rng.integers(0, 4, (ROWS, 5))

    def run(metrics):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((5,), dtype="int32"),
                keras.layers.Embedding(11, 5, mask_zero=True),
                keras.layers.Dense(4, activation="softmax"),
            ]
        )
        role = "weighted_metrics" if weighted else "metrics"
        model.compile("sgd", "sparse_categorical_crossentropy", **{role: metrics})
        return model.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)

    def members():
        return [
            kt.SparseCategoricalAccuracy(name="accuracy"),
            kt.SparseCategoricalCrossentropy(name="entropy"),
            kt.SparseTopKCategoricalAccuracy(k=2, name="top"),
        ]

    logs = run([kt.MetricGroup(members())])
    assert_logs_equal(logs, run(members()))
    # The mask does count.
    metric = kt.SparseCategoricalAccuracy()
    assert metric._sees_mask


@needs_fit
def test_saved_model_has_the_group(tmp_path):
    x, y, _ = data()
    model = make_model()
    metrics = fit_metrics()
    group = kt.MetricGroup(metrics, name="mine")
    model.compile("sgd", "binary_crossentropy", metrics=[group])
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    logs, found = (
        m.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)
        for m in (model, again)
    )
    assert_logs_equal(found, logs)
    (compiled,) = [m for m in again.metrics if m.name == "compile_metrics"]
    (loaded,) = compiled.metrics
    assert type(loaded) is kt.MetricGroup
    assert [type(m) for m in loaded.metrics] == [type(m) for m in metrics]
    assert loaded.get_config() == group.get_config()


@needs_fit
def test_group_as_an_attribute_of_a_model(tmp_path):
    """Its variables go with the model's, once."""

    class Trained(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1, activation="sigmoid")
            self.group = kt.MetricGroup([kt.AUC(name="auc"), kt.Recall(name="recall")])

        def call(self, inputs):
            return self.dense(inputs)

        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            self.group.update_state(y, y_pred, sample_weight)
            return self.get_metrics_result()

    x, y, _ = data()
    model = Trained()
    model.compile("sgd", "binary_crossentropy")
    history = model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0).history
    assert {"auc", "recall"} <= history.keys()
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    alone = kt.AUC()
    alone.update_state(y, model.predict(x, verbose=0))
    assert logs["auc"] == pytest.approx(float(to_numpy(alone.result())), rel=1e-6)
    mine = [v for v in model.metrics_variables if v.path.startswith("metric_group")]
    assert [id(v) for v in mine] == [id(v) for v in model.group.variables]
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    model.load_weights(path)
    after = model.evaluate(x, y, verbose=0, return_dict=True)
    assert after == pytest.approx(logs)


@needs_fit
def test_train_on_batch():
    x, y, weight = data()
    logs = []
    for grouped in (True, False):
        metrics = fit_metrics()
        metrics = [kt.MetricGroup(metrics)] if grouped else metrics
        model = make_model()
        model.compile("sgd", "binary_crossentropy", weighted_metrics=metrics)
        for step in (model.train_on_batch, model.test_on_batch):
            for start in (0, BATCH):
                part = slice(start, start + BATCH)
                logs.append(
                    step(x[part], y[part], sample_weight=weight[part], return_dict=True)
                )
    for found, expected in zip(logs[:4], logs[4:], strict=True):
        assert_logs_equal(found, expected)


# ResultEvery


def small_metrics():
    return [
        kt.BinaryAccuracy(name="accuracy"),
        kt.MeanSquaredError(name="error"),
        kt.R2Score(name="r2"),
    ]


@needs_fit
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("steps", [None, 1, 2, 3, 100])
def test_epochs_with_results_of_some_batches_only(steps, options):
    if options.get("jit_compile"):
        pytest.skip("the step is compiled in another test")
    if IS_PORTABLE and steps != 2:
        pytest.skip("the compiled step is the same")
    every = kt.callbacks.ResultEvery(steps)
    found = trained(
        "weighted_metrics",
        [kt.MetricGroup(small_metrics())],
        callbacks=[every],
        evaluate_callbacks=[kt.callbacks.ResultEvery(steps)],
        **options,
    )
    expected = trained("weighted_metrics", small_metrics(), **options)
    assert_logs_equal(found[0], expected[0])
    assert_logs_equal(found[1], expected[1])
    batches = -(-ROWS // BATCH)
    for index, logs in enumerate(found[2]):
        epoch, batch = divmod(index, batches)
        if not IS_TORCH:
            shown = batch
        else:
            shown = 0 if steps is None else batch // steps * steps
        for name in ("accuracy", "error", "r2"):
            wanted = expected[2][epoch * batches + shown][name]
            assert logs[name] == pytest.approx(wanted, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.torch_only
@pytest.mark.parametrize(("steps", "computed"), [(None, 1), (1, 4), (2, 2), (3, 2)])
def test_results_are_not_computed_in_between(steps, computed, monkeypatch):
    from keras_tally import group as module

    calls = []
    native = module.result_group

    def counted(plan):
        calls.append(plan)
        return native(plan)

    monkeypatch.setattr(module, "result_group", counted)
    x, y, _ = data()
    model = make_model()
    group = kt.MetricGroup([kt.AUC(), kt.MeanSquaredError()])
    model.compile("sgd", "mse", metrics=[group])
    model.evaluate(x[:BATCH], y[:BATCH], verbose=0)
    del calls[:]
    options = {"batch_size": BATCH, "verbose": 0}
    callbacks = [kt.callbacks.ResultEvery(steps)]
    model.evaluate(x, y, callbacks=callbacks, **options)
    assert len(calls) == computed + 1  # and once at the end
    del calls[:]
    model.fit(x, y, epochs=3, callbacks=callbacks, **options)
    # One more in the symbolic build, where nothing is computed.
    assert len([c for c in calls if c is group._plan]) in (
        3 * (computed + 1),
        3 * (computed + 1) + 1,
    )
    del calls[:]
    model.evaluate(x, y, **options)
    assert len(calls) == 5  # without the callback: every batch, and the end


@needs_fit
def test_results_outside_of_batches_are_exact():
    """Whatever the callbacks of others ask for, and when."""
    if BACKEND == "jax":
        pytest.skip("Keras writes the state back at the end of an epoch")
    x, y, _ = data()
    model = make_model()
    group = kt.MetricGroup([kt.TruePositives(name="hits", thresholds=0.0)])

    class Asks(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.counts = []

        def look(self, batch, logs=None):
            self.counts.append(float(to_numpy(group.result()["hits"])))

        on_train_batch_end = on_test_batch_end = look

    asks = Asks()
    model.compile("sgd", "mse", metrics=[group], run_eagerly=not IS_PORTABLE)
    every = kt.callbacks.ResultEvery(100)
    options = {"batch_size": BATCH, "verbose": 0, "shuffle": False}
    positives = np.cumsum(
        [y[start : start + BATCH].sum() for start in range(0, ROWS, BATCH)]
    )
    for callbacks in ([every, asks], [asks, every]):
        del asks.counts[:]
        model.fit(x, y, callbacks=callbacks, **options)
        assert asks.counts == positives.tolist()
        assert float(to_numpy(group.result()["hits"])) == positives[-1]
        group.update_state(np.ones((3, 1)), np.ones((3, 1)))
        assert float(to_numpy(group.result()["hits"])) == positives[-1] + 3


@needs_fit
def test_groups_in_both_roles_and_metrics_beside():
    x, y, weight = data()

    def run(callbacks):
        model = make_model()
        model.compile(
            "sgd",
            "mse",
            metrics=[
                kt.MetricGroup([kt.BinaryAccuracy(name="a")]),
                kt.BinaryAccuracy(name="plain"),
            ],
            weighted_metrics=[kt.MetricGroup([kt.BinaryAccuracy(name="b")])],
        )
        return model.evaluate(
            x,
            y,
            sample_weight=weight,
            batch_size=BATCH,
            verbose=0,
            return_dict=True,
            callbacks=callbacks,
        )

    logs = run([kt.callbacks.ResultEvery()])
    assert logs == run([])
    assert logs["a"] == logs["plain"] != logs["b"]


@pytest.mark.parametrize("steps", [0, -1, -100])
def test_steps_below_one(steps):
    with pytest.raises(ValueError, match=f"steps={steps}"):
        kt.callbacks.ResultEvery(steps)


@pytest.mark.parametrize("steps", [1.5, float("nan"), "3", [2], 2.0])
def test_steps_that_are_no_whole_number(steps):
    with pytest.raises(TypeError, match="steps"):
        kt.callbacks.ResultEvery(steps)


def test_steps_of_numpy():
    assert kt.callbacks.ResultEvery(np.int64(3)).steps == 3


@pytest.mark.parametrize("name", ["accuracy", "acc", "Accuracy"])
def test_name_that_depends_on_shapes(name):
    with pytest.raises(ValueError, match="BinaryAccuracy"):
        kt.MetricGroup([name, kt.Precision()])


@native_only
def test_mask_that_nobody_honours_keeps_the_fast_road():
    batch = binary_batch(0)
    y_true, y_pred = (to_backend(a) for a in batch.args[:2])
    y_pred = attach_mask(y_pred, np.zeros(len(batch.args[0]), bool))
    group = kt.MetricGroup([kt.AUC(name="auc"), kt.Precision(name="precision")])
    before = _native.road_counts()
    group.update_state(y_true, y_pred)
    after = _native.road_counts()
    assert after["in_place"] == before["in_place"] + 1
    assert after["converted"] == before["converted"]
    group = kt.MetricGroup([kt.AUC(name="auc"), kt.MeanSquaredError(name="mse")])
    group.update_state(y_true, y_pred)
    assert _native.road_counts()["converted"] == after["converted"] + 1
    assert float(group.result()["mse"]) == 0.0
