"""`kt.fuse`: a model's metrics as groups, with the same logs."""

import keras
import numpy as np
import pytest

import keras_tally as kt
from support import seed_all, to_backend

has_fit = pytest.mark.skipif(
    keras.config.backend() == "numpy", reason="Keras trains no models on NumPy"
)
ROWS = 96


@keras.saving.register_keras_serializable(package="test_fuse")
def distance(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


class OwnUpdate(keras.metrics.Mean):
    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(y_pred - y_true, sample_weight)


class OurSubclass(kt.Precision):
    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(1 - y_true, 1 - y_pred, sample_weight)


def data():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(ROWS, 4)).astype("float32")
    y = (x.sum(axis=1, keepdims=True) > 0).astype("float32")
    return x, {"a": y, "b": 1 - y}, rng.uniform(size=ROWS).astype("float32")


def two_outputs():
    seed_all(1)
    inputs = keras.Input((4,))
    outputs = {
        name: keras.layers.Dense(1, activation="sigmoid", name=name)(inputs)
        for name in ("a", "b")
    }
    return keras.Model(inputs, outputs)


def metrics_of_all_kinds():
    return {
        "metrics": {
            "a": [
                "accuracy",
                "mse",
                keras.metrics.AUC(name="auc"),
                kt.Precision(name="precision"),
                distance,
                keras.metrics.F1Score(threshold=0.5, name="f1"),
                keras.metrics.AUC(name="auc", curve="PR"),
                OwnUpdate(name="bias"),
            ],
            "b": ["accuracy", kt.Recall(name="recall"), OurSubclass(name="other")],
        },
        "weighted_metrics": {
            "a": [keras.metrics.AUC(name="auc"), kt.BinaryAccuracy(name="hits")]
        },
    }


def trained(when):
    x, y, weight = data()
    weights = {"a": weight, "b": weight}
    model = two_outputs()
    model.compile("adam", "binary_crossentropy", **metrics_of_all_kinds())
    fusion = kt.fuse(model) if when == "before" else None
    options = {"batch_size": 32, "verbose": 0}
    history = model.fit(
        x,
        y,
        sample_weight=weights,
        validation_data=(x, y, weights),
        epochs=2,
        shuffle=False,
        **options,
    ).history
    if when == "after":
        fusion = kt.fuse(model)
    listed = model.evaluate(x, y, sample_weight=weights, **options)
    named = model.evaluate(x, y, sample_weight=weights, return_dict=True, **options)
    return fusion, history, listed, named


@has_fit
@pytest.mark.parametrize("when", ["before", "after"])
def test_logs_of_a_model_stay_the_same(when):
    _, history, listed, named = trained("never")
    fusion, fused_history, fused_listed, fused_named = trained(when)
    assert list(fused_history) == list(history)
    assert list(fused_named) == list(named)
    for key, values in history.items():
        np.testing.assert_allclose(
            np.ravel(fused_history[key]), np.ravel(values), rtol=1e-4, err_msg=key
        )
    assert len(fused_listed) == len(listed)
    for ours, theirs in zip(fused_listed, listed, strict=True):
        np.testing.assert_allclose(np.ravel(ours), np.ravel(theirs), rtol=1e-4)
    assert fusion.fused == [
        *("accuracy", "mse", "auc", "precision", "f1", "auc"),
        *("accuracy", "recall"),
        *("auc", "hits"),
    ]
    assert set(fusion.kept) == {"distance", "bias", "other"}
    assert "function" in fusion.kept["distance"]
    assert "OwnUpdate" in fusion.kept["bias"]
    assert "OurSubclass" in fusion.kept["other"]


@has_fit
def test_one_update_for_each_group(monkeypatch):
    calls = []
    update = kt.MetricGroup.update_state
    monkeypatch.setattr(
        kt.MetricGroup,
        "update_state",
        lambda self, *args: (calls.append(self), update(self, *args))[1],
    )
    x, y, _ = data()
    model = two_outputs()
    model.compile("adam", "binary_crossentropy", **metrics_of_all_kinds())
    before = len(model.metrics)
    kt.fuse(model)
    assert len(model.metrics) == before
    model.evaluate(x, y, batch_size=ROWS, verbose=0)
    assert len({id(group) for group in calls}) == 3
    variables = [id(v) for v in model.metrics_variables]
    assert len(set(variables)) == len(variables)


@has_fit
def test_state_is_taken_along():
    x, y, _ = data()
    model = two_outputs()
    model.compile("adam", "binary_crossentropy", **metrics_of_all_kinds())
    model.evaluate(x, y, batch_size=32, verbose=0)
    before = {m.name: np.ravel(m.result()) for m in model._compile_metrics.metrics}
    kt.fuse(model)
    after = {m.name: np.ravel(m.result()) for m in model._compile_metrics.metrics}
    assert list(after) == list(before)
    for name, value in before.items():
        np.testing.assert_allclose(after[name], value, rtol=1e-5, err_msg=name)


@has_fit
def test_training_goes_on_after_fuse():
    """A compiled step of before would update metrics that nobody asks any more."""
    x, y, _ = data()
    model = two_outputs()
    model.compile("adam", "binary_crossentropy", metrics={"a": ["mse", "mae"]})
    model.fit(x, y, batch_size=32, verbose=0)
    kt.fuse(model)
    model.fit(x, y, batch_size=32, verbose=0)
    predicted = np.asarray(model.predict(x, verbose=0)["a"])
    logs = model.evaluate(x, y, batch_size=32, verbose=0, return_dict=True)
    assert logs["a_mse"] == pytest.approx(np.mean((predicted - y["a"]) ** 2), rel=1e-4)
    assert logs["a_mae"] == pytest.approx(np.mean(abs(predicted - y["a"])), rel=1e-4)


@has_fit
def test_fused_model_is_saved_as_it_was_compiled(tmp_path):
    x, y, _ = data()
    model = two_outputs()
    model.compile("adam", "binary_crossentropy", metrics={"a": ["mse", kt.AUC()]})
    kt.fuse(model)
    model.fit(x, y, verbose=0)
    before = model.evaluate(x, y, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    after = loaded.evaluate(x, y, verbose=0, return_dict=True)
    assert after == pytest.approx(before, rel=1e-4)
    assert kt.fuse(loaded).fused == ["mse", "auc"]


def test_list_of_metrics():
    wrapper = keras.metrics.MeanMetricWrapper(distance, name="distance")
    given = ["mse", keras.metrics.MeanAbsoluteError(name="mae"), wrapper, kt.Recall()]
    metrics, fused, kept = kt.fuse(given)
    assert fused == ["mse", "mae", "recall"]
    group, left = metrics
    assert isinstance(group, kt.MetricGroup)
    assert left is wrapper
    assert list(kept) == ["distance"]
    assert type(group["mse"]) is kt.MeanSquaredError
    rng = np.random.default_rng(0)
    y_true, y_pred = rng.uniform(size=(2, 20, 1)).astype("float32")
    y_true, y_pred = to_backend(y_true), to_backend(y_pred)
    group.update_state(y_true, y_pred)
    theirs = keras.metrics.MeanAbsoluteError()
    theirs.update_state(y_true, y_pred)
    assert float(group.result()["mae"]) == pytest.approx(float(theirs.result()))


def test_keras_metrics_keep_what_they_hold():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (30, 3)).astype("float32")
    scores = rng.uniform(size=(30, 3)).astype("float32")
    theirs = [
        keras.metrics.F1Score(threshold=0.5),
        keras.metrics.AUC(multi_label=True),
        keras.metrics.BinaryAccuracy(),
        keras.metrics.R2Score(),
    ]
    for metric in theirs:
        metric.update_state(to_backend(labels), to_backend(scores))
    wanted = {m.name: np.ravel(m.result()) for m in theirs}
    (group,), fused, kept = kt.fuse(theirs)
    assert fused == list(wanted)
    assert kept == {}
    for name, value in group.result().items():
        np.testing.assert_allclose(np.ravel(value), wanted[name], rtol=1e-5)


@has_fit
def test_callbacks_know_which_way_is_up():
    x, y, _ = data()
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(1, activation="sigmoid")]
    )
    model.compile("adam", "binary_crossentropy", metrics=[kt.AUC(name="auc"), "mse"])
    kt.fuse(model)
    stops = [keras.callbacks.EarlyStopping(monitor=m) for m in ("auc", "mse")]
    model.fit(x, y["a"], verbose=0, callbacks=stops)
    assert [stop.monitor_op is keras.ops.greater for stop in stops] == [True, False]


@has_fit
def test_result_every_holds_fused_metrics(monkeypatch):
    if keras.config.backend() != "torch":
        pytest.skip("results are part of the compiled step")
    x, y, _ = data()
    model = two_outputs()
    model.compile("adam", "binary_crossentropy", metrics={"a": ["mse", "mae"]})
    kt.fuse(model)
    exact = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    calls = []
    fresh = kt.MetricGroup._fresh_results
    monkeypatch.setattr(
        kt.MetricGroup,
        "_fresh_results",
        lambda self: (calls.append(self), fresh(self))[1],
    )
    held = model.evaluate(
        x,
        y,
        batch_size=8,
        verbose=0,
        return_dict=True,
        callbacks=[kt.callbacks.ResultEvery(4)],
    )
    assert held == exact
    # Of twelve batches three, and the end.
    assert len(calls) == 4


def test_two_metrics_of_one_name():
    (group,), fused, _ = kt.fuse([kt.AUC(name="auc"), kt.AUC(name="auc", curve="PR")])
    assert fused == ["auc", "auc"]
    assert list(group) == ["auc", "auc_1"]


def test_nothing_to_fuse():
    metrics, fused, kept = kt.fuse([OwnUpdate(name="bias")])
    assert [m.name for m in metrics] == ["bias"]
    assert fused == []
    assert list(kept) == ["bias"]


def test_groups_stay_groups():
    group = kt.MetricGroup([kt.Recall()])
    metrics, fused, kept = kt.fuse([group, kt.Precision()])
    assert metrics[1] is group
    assert fused == ["precision"]
    assert "group already" in kept[group.name]


def test_model_that_is_not_compiled():
    with pytest.raises(ValueError, match="compile"):
        kt.fuse(keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]))


def test_model_without_metrics():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    assert kt.fuse(model) == ([], [], {})


@pytest.mark.parametrize("bad", ["mse", 3, None, {"a": 1}])
def test_neither_model_nor_list(bad):
    with pytest.raises(TypeError, match="model_or_metrics"):
        kt.fuse(bad)
