"""`explain` says which road is taken, and that road is taken."""

import keras
import pytest

import keras_tally as kt
from keras_tally import _backends, _native, _stored
from support import BACKEND, IS_PORTABLE, to_backend

ROADS = {
    "torch": {
        "eager": "native in place",
        "stateless scope": "native pure",
        "torch.compile": "op",
    },
    "numpy": {"eager": "native in place", "stateless scope": "native pure"},
    "jax": {"eager": "FFI", "jit": "FFI"},
    "tensorflow": {"eager": "op", "graph": "op", "XLA": "portable"},
}[BACKEND]


def updates_by_road():
    counts = _native.road_counts()
    found = {
        "native in place": counts["in_place"],
        "native pure": counts["pure"],
        "FFI": counts["xla"],
    }
    if BACKEND == "tensorflow":
        found["op"] = _backends.active().updates()
    return found


def update(metric):
    metric.update_state(to_backend([0.0, 1.0, 1.0]), to_backend([0.2, 0.6, 0.4]))
    return metric


def test_the_road_is_the_one_that_is_taken():
    metric = kt.AUC()
    explained = kt.explain(metric)
    assert {where: road for where, (road, _) in explained.roads.items()} == ROADS
    before = updates_by_road()
    float(update(metric).result())
    after = updates_by_road()
    risen = [road for road, n in after.items() if n > before[road]]
    assert risen == [ROADS["eager"]]


def test_stateless_scope():
    if "stateless scope" not in ROADS:
        pytest.skip("the same road as outside")
    metric = kt.AUC()
    before = updates_by_road()
    with keras.StatelessScope():
        update(metric)
    after = updates_by_road()
    assert [r for r in after if after[r] > before[r]] == [ROADS["stateless scope"]]


def test_text():
    text = str(kt.explain(kt.Mean(name="loss")))
    assert text.startswith(f"loss: {BACKEND}, ")
    for where, road in ROADS.items():
        assert any(where in line and road in line for line in text.splitlines())


def test_groups_name_the_members_that_go_alone():
    wrapper = kt.MeanMetricWrapper(keras.losses.mean_squared_error, name="wrapped")
    explained = kt.explain(kt.MetricGroup([kt.AUC(), wrapper]))
    assert explained.separate == ("wrapped",)
    assert "wrapped" in str(explained)
    assert kt.explain(kt.MetricGroup([kt.AUC()])).separate == ()


def test_a_metric_that_is_not_built_yet():
    assert kt.explain(kt.F1Score()).roads["eager"].road == ROADS["eager"]


def test_other_metrics_are_refused():
    with pytest.raises(TypeError, match="`metric` must be a metric of keras_tally"):
        kt.explain(keras.metrics.Mean())


@pytest.mark.skipif(not IS_PORTABLE, reason="kernels write in place")
def test_a_portable_road_says_so(monkeypatch):
    monkeypatch.setattr(_stored, "only_portable", True)
    metric = update(kt.AUC())
    before = updates_by_road()
    roads = kt.explain(metric).roads
    assert {road for road, _ in roads.values()} == {"portable"}
    assert all("KERAS_TALLY_ROAD=portable" in why for _, why in roads.values())
    assert updates_by_road() == before
