"""States that leave a metric, come back, and are added up."""

import copy
import functools
import json
import os
import pickle
import struct
import subprocess
import sys
import zlib

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import keras_tally as kt
from cases import CASES, default_case
from keras_tally import _bytes, _states
from support import (
    BACKEND,
    IS_PORTABLE,
    IS_TORCH,
    assert_states_close,
    exact_state,
    state,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)
from test_copying import Scaled, unregistered

if IS_TORCH:
    import torch

# One case of each class where updates are slow.
SOME = list({c.name: c for c in CASES}.values()) if IS_PORTABLE else CASES
every_case = pytest.mark.parametrize("case", SOME, ids=lambda c: c.id)
# What the float32 pairs of JAX and TensorFlow hold.
BITS = 1e-6 if IS_PORTABLE else 1e-12


def group_of_all_kinds():
    return kt.MetricGroup(
        {
            "f1": kt.F1Score(average="macro"),
            "hits": kt.CategoricalAccuracy(),
            "iou": kt.MeanIoU(3, sparse_y_true=False, sparse_y_pred=False),
            "auc": kt.AUC(num_thresholds=20),
            "own": kt.MeanMetricWrapper(unregistered),
        },
        prefix="p_",
    )


def rows(seed, n=20):
    rng = np.random.default_rng(seed)
    return np.eye(3, dtype="float32")[rng.integers(0, 3, n)], rng.random(
        (n, 3), "float32"
    )


@every_case
def test_merged_parts_are_the_whole(case):
    batches = [case.sample(i, 10 + i, weighted=i % 2 == 1) for i in range(4)]
    whole = updated(case.ours(), batches)
    parts = [updated(case.ours(), [batch]) for batch in batches]
    before = [state_bits(part) for part in parts]
    merged = case.ours().merge_state(parts)
    assert_states_close(state(merged), state(whole), BITS, BITS)
    summed = functools.reduce(lambda a, b: a + b, parts)
    assert_states_close(state(summed), state(whole), BITS, BITS)
    assert [state_bits(part) for part in parts] == before
    assert type(summed) is type(whole)


@every_case
def test_unweighted_counts_are_exact_in_any_order(case):
    """Also those of batches that a whole does not have."""
    if case.name not in ("AUC", "Precision", "TruePositives", "MeanIoU", "F1Score"):
        return
    batches = [case.sample(i, 10 + i) for i in range(4)]
    whole = exact_state(updated(case.ours(), batches))
    parts = [updated(case.ours(), [batch]) for batch in batches]
    a, b, c, d = parts
    assert exact_state(a + b + c + d) == whole
    assert exact_state((d + b) + (c + a)) == whole


# The largest count that every backend holds: pairs of float32 end here.
LARGEST = 2**48
# What a variable of integers can be set to: on JAX and TensorFlow one of float32.
LARGE = 2**22 if IS_PORTABLE else 2**50


def test_large_counts_are_exact():
    parts = []
    for i in range(5):
        part = kt.Sum()
        part.total.assign(LARGEST / 8)
        part.update_state([1.0] * (i + 1))
        parts.append(part)
    expected = {"total": 5 * LARGEST // 8 + 15}
    assert exact_state(functools.reduce(lambda a, b: a + b, parts)) == expected
    assert exact_state(parts[0].merge_state(parts[1:])) == expected


def test_large_integers_are_exact():
    parts = []
    for i in range(3):
        part = kt.MeanIoU(2)
        counts = np.array([[LARGE + 1, LARGE // 2 + i], [7, 0]])
        part.total_cm.assign(to_backend(counts))
        parts.append(part)
    expected = [[3 * LARGE + 3, 3 * LARGE // 2 + 3], [21, 0]]
    both = parts[0] + parts[1] + parts[2]
    again = kt.from_bytes(both.to_bytes())
    for metric in (both, again, parts[0].merge_state(parts[1:])):
        assert exact_state(metric) == {"total_confusion_matrix": expected}


def test_sums_that_cancel_keep_their_low_halves():
    """A mean a million times the deviation, in parts, bytes and pickles."""
    rng = np.random.default_rng(0)
    labels = (rng.normal(size=(999, 2)) + np.array([1e6, -3e6])).astype("float32")
    scores = labels + rng.normal(size=labels.shape).astype("float32")
    wide = labels.astype("float64")
    residual = np.square(wide - scores.astype("float64")).sum(0)
    expected = 1 - residual / np.square(wide - wide.mean(0)).sum(0)
    whole, *parts = (kt.R2Score(class_aggregation=None) for _ in range(4))
    whole.update_state(to_backend(labels), to_backend(scores))
    for part, rows in zip(parts, np.array_split(np.arange(999), 3), strict=True):
        part.update_state(to_backend(labels[rows]), to_backend(scores[rows]))
    both = parts[0] + parts[1] + parts[2]
    copies = [kt.from_bytes(both.to_bytes()), pickle.loads(pickle.dumps(both))]
    if BACKEND != "tensorflow":
        copies.append(kt.sync(both))
    for metric in (whole, both, *copies):
        np.testing.assert_allclose(to_numpy(metric.result()), expected, rtol=1e-6)


def test_infinity_stays_infinity():
    one, other = kt.Sum(), kt.Sum()
    one.update_state([np.inf])
    other.update_state([1.0])
    assert float((one + other).result()) == float((other + one).result()) == np.inf
    again = kt.from_bytes((one + other).to_bytes())
    assert float(again.result()) == np.inf


@every_case
def test_nothing_seen_adds_nothing(case):
    """Also where the metric does not know its shape yet."""
    seen, unseen = updated(case.ours(), [case.sample(0, 20)]), case.ours()
    expected = state(seen)
    assert_states_close(state(seen + unseen), expected, 0)
    assert_states_close(state(unseen + seen), expected, 0)
    assert_states_close(state(unseen.merge_state([case.ours(), seen])), expected, 0)


def test_two_that_have_seen_nothing():
    new = kt.F1Score() + kt.F1Score()
    with pytest.raises(ValueError, match="no result before"):
        new.result()
    assert exact_state(kt.from_bytes(new.to_bytes())) == {}


def test_groups_merge_member_by_member():
    a, b, whole = (group_of_all_kinds() for _ in range(3))
    for metric, seeds in ((a, [0]), (b, [1, 2]), (whole, [0, 1, 2])):
        for seed in seeds:
            metric.update_state(*rows(seed))
    before = exact_state(a), exact_state(b)
    both = a + b
    assert (exact_state(a), exact_state(b)) == before
    for name, value in whole.result().items():
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(both.result()[name]),
            keras.ops.convert_to_numpy(value),
            rtol=1e-6,
        )
    unseen = group_of_all_kinds()
    unseen.merge_state([a, b])
    assert exact_state(unseen) == exact_state(both)
    unseen.update_state(*rows(3))
    assert float(unseen["hits"].count.value) == 80.0
    assert exact_state(both + group_of_all_kinds()) == exact_state(both)


def test_members_of_other_packages_keep_their_sums():
    def made():
        return kt.MetricGroup({"ours": kt.AUC(), "theirs": keras.metrics.Precision()})

    a, b = made(), made()
    a.update_state([1, 0], [0.9, 0.8])
    b.update_state([1, 1], [0.9, 0.8])
    assert float((a + b).result()["theirs"]) == 0.75
    with pytest.raises(ValueError, match=r"Precision.*pickle"):
        a.to_bytes()


def test_variables_of_a_subclass_are_added_too():
    a, b = Scaled(2.0), Scaled(2.0)
    a.update_state([1.0])
    b.update_state([2.0, 3.0])
    both = a + b
    assert float(both.batches.value) == 2.0
    assert float(both.result()) == 4.0
    with pytest.raises(ValueError, match=r"scale=3.0 instead of 2.0"):
        a.merge_state(Scaled(3.0))


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (kt.AUC, kt.Precision, "class keras_tally>Precision instead of"),
        (kt.AUC, lambda: kt.AUC(num_thresholds=3), "num_thresholds=3 instead of 200"),
        (lambda: kt.Mean(dtype="float16"), kt.Mean, "dtype='float32' instead"),
        (
            lambda: kt.MetricGroup({"a": kt.AUC(), "b": kt.Recall()}),
            lambda: kt.MetricGroup({"a": kt.AUC(), "c": kt.Recall()}),
            r"members \['a', 'c'\] instead of \['a', 'b'\]",
        ),
        (
            lambda: kt.MetricGroup({"a": kt.AUC(), "b": kt.Recall()}),
            lambda: kt.MetricGroup({"a": kt.AUC(), "b": kt.Recall(top_k=2)}),
            "top_k=2 of 'b' instead of None",
        ),
    ],
)
def test_others_are_refused_by_what_differs(ours, theirs, message):
    metric = ours()
    metric.update_state([1.0, 0.0], [0.2, 0.3]) if not isinstance(
        metric, kt.Mean
    ) else metric.update_state([1.0])
    before = state_bits(metric)
    with pytest.raises(ValueError, match=message):
        metric.merge_state([ours(), theirs()])
    with pytest.raises(ValueError, match=message):
        metric + theirs()
    with pytest.raises(ValueError, match=message):
        metric.load_state_dict(theirs().state_dict())
    assert state_bits(metric) == before


def test_other_shapes_are_refused():
    two, three = kt.F1Score(), kt.F1Score()
    two.update_state(np.eye(2), np.eye(2, dtype="float32"))
    three.update_state(np.eye(3), np.eye(3, dtype="float32"))
    before = state_bits(two)
    for attempt in (
        lambda: two.merge_state(three),
        lambda: two + three,
        lambda: two.load_state_dict(three.state_dict()),
    ):
        with pytest.raises(ValueError, match=r"3"):
            attempt()
    assert state_bits(two) == before


@pytest.mark.parametrize("other", [None, 1, "auc", keras.metrics.AUC()])
def test_what_is_no_metric_of_ours_is_refused(other):
    with pytest.raises(TypeError, match="`others` must be"):
        kt.AUC().merge_state(other)
    with pytest.raises(TypeError):
        kt.AUC() + other


def test_not_inside_of_a_stateless_scope():
    metric = kt.Mean()
    with keras.StatelessScope(), pytest.raises(ValueError, match="stateless scope"):
        metric.merge_state(kt.Mean())


# State dicts.


@every_case
def test_state_dict_holds_every_bit(case):
    metric = updated(case.ours(), [case.sample(0, 30, weighted=True)])
    saved = metric.state_dict()
    bits = state_bits(metric)
    updated(metric, [case.sample(1, 20)])  # the dict is a copy
    again = case.ours()
    again.load_state_dict(saved)
    assert state_bits(again) == bits
    metric.load_state_dict(saved)
    assert state_bits(metric) == bits


def test_state_dict_of_a_group():
    group, again = group_of_all_kinds(), group_of_all_kinds()
    group.update_state(*rows(0))
    saved = group.state_dict()
    assert list(saved) == ["members"]
    again.load_state_dict(saved)
    assert exact_state(again) == exact_state(group)
    assert state_bits(again) == state_bits(group)
    unseen = group_of_all_kinds()
    again.load_state_dict(unseen.state_dict())
    assert not any(np.any(v) for v in exact_state(again)["hits"].values())


@pytest.mark.torch_only
def test_state_dict_goes_through_torch_save(tmp_path):
    group, auc = group_of_all_kinds(), kt.AUC()
    group.update_state(*rows(0))
    auc.update_state([0, 1, 1], [0.1, 0.2, 0.9])
    path = tmp_path / "checkpoint.pt"
    torch.save({"epoch": 3, "metrics": [group.state_dict(), auc.state_dict()]}, path)
    saved = torch.load(path, weights_only=True)
    for metric, fresh, entry in zip(
        (group, auc), (group_of_all_kinds(), kt.AUC()), saved["metrics"], strict=True
    ):
        fresh.load_state_dict(entry)
        assert state_bits(fresh) == state_bits(metric)


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_resuming_gives_the_numbers_of_not_stopping(stop):
    """In the middle of an epoch, by state dict, pickle and bytes."""
    batches = [rows(seed, 7 + seed) for seed in range(6)]
    straight = group_of_all_kinds()
    for batch in batches:
        straight.update_state(*batch)
    for way in ("dict", "pickle", "bytes"):
        first = group_of_all_kinds()
        if way == "bytes":  # knows no functions
            members = {k: first[k] for k in list(first) if k != "own"}
            for metric in members.values():
                vars(metric).pop("_keras_tally_group")
            first = kt.MetricGroup(members, prefix="p_")
        for batch in batches[:stop]:
            first.update_state(*batch)
        if way == "dict":
            resumed = group_of_all_kinds()
            resumed.load_state_dict(first.state_dict())
        elif way == "pickle":
            resumed = pickle.loads(pickle.dumps(first))
        else:
            resumed = kt.from_bytes(first.to_bytes())
        for batch in batches[stop:]:
            resumed.update_state(*batch)
        for key in resumed:
            assert exact_state(resumed[key]) == exact_state(straight[key]), way


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s["variables"].pop("count"), "must have the variables"),
        (lambda s: s["variables"].update(more=1), "must have the variables"),
        (lambda s: s.pop("config"), "as state_dict"),
        (lambda s: s["config"].update(dtype="float16"), "dtype='float16'"),
        (
            lambda s: s["variables"].update(total=keras.ops.zeros((3,))),
            "`total` must have the shape",
        ),
        (
            lambda s: s["variables"].update(total=keras.ops.zeros((), "int32")),
            "`total` must have the shape",
        ),
    ],
)
def test_a_changed_state_dict_is_refused(change, message):
    metric = kt.Mean()
    metric.update_state([1.0, 2.0])
    saved = copy.deepcopy(metric.state_dict())
    change(saved)
    before = state_bits(metric)
    with pytest.raises(ValueError, match=message):
        metric.load_state_dict(saved)
    assert state_bits(metric) == before
    with pytest.raises(TypeError, match="`state` must be a dict"):
        metric.load_state_dict([1])


# Bytes.

in_bytes = [c for c in SOME if c.name != "MeanMetricWrapper"]


@pytest.mark.parametrize("case", in_bytes, ids=lambda c: c.id)
def test_bytes_hold_the_metric(case):
    metric = updated(case.ours(name="mine"), [case.sample(0, 30, weighted=True)])
    data = metric.to_bytes()
    for again in (kt.from_bytes(data), kt.from_bytes(memoryview(bytearray(data)))):
        assert type(again) is type(metric)
        assert again.name == "mine"
        assert exact_state(again) == exact_state(metric)
        assert again.to_bytes() == data
        assert exact_state(again + metric) == exact_state(metric + metric)
    if IS_TORCH:
        assert state_bits(again) == state_bits(metric)


def test_bytes_of_a_group():
    group = kt.MetricGroup(
        {"auc": kt.AUC(), "iou": kt.BinaryIoU(), "r2": kt.R2Score()}, prefix="x_"
    )
    unseen = kt.from_bytes(group.to_bytes())
    for metric in (group, unseen):
        metric.update_state([[0.0], [1.0]], [[0.25], [0.5]])
    again = kt.from_bytes(group.to_bytes())
    assert list(again.result()) == ["x_auc", "x_iou", "x_r2"]
    assert exact_state(again) == exact_state(unseen) == exact_state(group)


def test_functions_and_other_classes_have_no_bytes():
    for metric in (kt.MeanMetricWrapper(unregistered), Scaled(2.0)):
        with pytest.raises(ValueError, match="pickle"):
            metric.to_bytes()


OTHER = """
import sys, keras_tally as kt
from keras_tally import _states
for name in sys.argv[1:]:
    metric = kt.from_bytes(open(name, "rb").read())
    print(_states.read(metric).values.tolist())
    open(name, "wb").write(metric.to_bytes())
"""


@pytest.mark.slow
@pytest.mark.parametrize("other", [b for b in ("torch", "jax") if b != BACKEND])
def test_bytes_travel_between_backends(other, tmp_path):
    """There and back, exact counts stay exact."""
    metrics = [kt.TruePositives(), kt.AUC(), kt.MeanIoU(4), kt.F1Score(), kt.Sum()]
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 1000), rng.random(1000, "float32")
    ones = np.ones(2**22, "uint8")
    for _ in range(5):
        metrics[0].update_state(ones, ones)
    metrics[1].update_state(labels, scores)
    metrics[2].update_state(rng.integers(0, 4, 99), rng.integers(0, 4, 99))
    metrics[3].update_state(*rows(0))
    metrics[4].update_state([2.0**30, 3.0])
    names = []
    for i, metric in enumerate(metrics):
        names.append(tmp_path / f"{i}.bin")
        names[-1].write_bytes(metric.to_bytes())
    done = subprocess.run(
        [sys.executable, "-c", OTHER, *map(str, names)],
        env={**os.environ, "KERAS_BACKEND": other},
        check=True,
        capture_output=True,
        text=True,
    )
    values = [str(_states.read(metric).values.tolist()) for metric in metrics]
    assert done.stdout.splitlines() == values
    for name, metric in zip(names, metrics, strict=True):
        assert exact_state(kt.from_bytes(name.read_bytes())) == exact_state(metric)


def sealed(header, payload=b""):
    """Bytes with a fitting checksum, whatever they say."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    body = struct.pack("<8sIQQ", _bytes.MAGIC, _bytes.VERSION, len(text), len(payload))
    body += text + payload
    return body + struct.pack("<I", zlib.crc32(body))


def record(**changes):
    base = {
        "key": "",
        "class": "Mean",
        "config": {"name": "mean", "dtype": "float32"},
        "built": [],
        "variables": [["total", []], ["count", []]],
    }
    return {"group": None, "metrics": [base | changes]}


def test_the_format_is_as_documented():
    payload = struct.pack("<2d", 6.0, 4.0)
    metric = kt.from_bytes(sealed(record(), payload))
    assert exact_state(metric) == {"total": 6, "count": 4}


PLAIN = kt.AUC(num_thresholds=10)
PLAIN.update_state([0, 1, 1], [0.1, 0.2, 0.9])
DATA = PLAIN.to_bytes()


@pytest.mark.parametrize("end", [*range(1, 40), len(DATA) - 5, len(DATA) - 1])
def test_cut_bytes_are_refused(end):
    with pytest.raises(ValueError, match="`data` holds no metric"):
        kt.from_bytes(DATA[:end])
    with pytest.raises(ValueError, match="`data` holds no metric"):
        kt.from_bytes(DATA[end:])


@given(st.integers(0, 8 * len(DATA) - 1))
def test_a_flipped_bit_is_refused(bit):
    changed = bytearray(DATA)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ValueError, match="`data` holds no metric"):
        kt.from_bytes(changed)


def test_numbers_that_overflow_are_refused():
    header, payload = _bytes._open(memoryview(kt.FBetaScore(beta=7.5).to_bytes()))
    text = json.dumps(header).replace("7.5", "1e999").encode()
    with pytest.raises(ValueError, match="1e999 in the header"):
        kt.from_bytes(sealed(text, bytes(payload)))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(ValueError, match="`data` holds no metric"):
        kt.from_bytes(data)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_values)
def test_any_header_is_refused(header):
    with pytest.raises(ValueError, match="`data` holds no metric"):
        kt.from_bytes(sealed(header))


ARGUMENTS = {c.name: list(c.ours().get_config()) for c in in_bytes}


@given(st.data())
def test_any_config_is_refused_or_makes_a_metric(data):
    """Hostile values for real arguments, with real variables and without."""
    name = data.draw(st.sampled_from(sorted(ARGUMENTS)))
    config = default_case(name).ours().get_config()
    config = json.loads(json.dumps(config, default=list))
    for argument in data.draw(st.lists(st.sampled_from(sorted(config)), max_size=3)):
        config[argument] = data.draw(json_values)
    shape = data.draw(st.lists(st.integers(0, 2**40), max_size=3))
    header = record(**{"class": name}, config=config, variables=[["total", shape]])
    header["metrics"][0]["built"] = data.draw(st.sampled_from([None, [], [shape]]))
    payload = data.draw(st.binary(max_size=64))
    try:
        metric = kt.from_bytes(sealed(header, payload))
    except ValueError as refused:
        found = str(refused)
    else:
        found = type(metric).__name__
    assert found == name or "`data` holds no metric" in found


@pytest.mark.parametrize(
    "header",
    [
        record(**{"class": "MeanIoU"}, config={"num_classes": 10**9}),
        record(**{"class": "MeanIoU"}, config={"num_classes": 10**6}),
        record(
            **{"class": "MeanIoU"},
            config={"num_classes": 10**5, "per_class_counts": False},
            variables=[["total_confusion_matrix", [10**5, 10**5]]],
        ),
        record(**{"class": "AUC"}, config={"num_thresholds": 10**12}, built=None),
        record(
            **{"class": "AUC"},
            config={"num_thresholds": 100, "multi_label": True},
            built=[[None, 10**12]],
        ),
        record(**{"class": "F1Score"}, config={}, built=[[None, 2**50]] * 2),
        record(variables=[["total", [2**62, 2**62]], ["count", []]]),
        record(**{"class": "MeanMetricWrapper"}, config={"fn": "mse", "name": "x"}),
        record(**{"class": "MetricGroup"}, config={"metrics": []}),
        record(**{"class": "object"}),
        record(config={"dtype": {"class_name": "X", "module": "os", "config": {}}}),
        record(config={"name": "mean", "unknown": 1}),
        b'{"group":null,"metrics":' + b"[" * 100_000,
        b"\xff\xfe",
        b'{"group":null,"metrics":[NaN]}',
        {"group": {"name": "g", "prefix": ""}, "metrics": record()["metrics"]},
        {"group": None, "metrics": record()["metrics"] * 2},
    ],
    ids=str,
)
def test_hostile_bytes_cost_nothing(header):
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="`data` holds no metric"):
            kt.from_bytes(sealed(header, struct.pack("<2d", 1, 1)))
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()


def test_what_is_no_bytes_and_what_has_another_format():
    with pytest.raises(TypeError, match="`data` must be bytes"):
        kt.from_bytes("text")
    newer = bytearray(DATA)
    for version in (1, 3):  # 1: before 0.1.0
        newer[8] = version
        with pytest.raises(ValueError, match=f"format {version}"):
            kt.from_bytes(newer)
