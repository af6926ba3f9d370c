"""Groups in fit, evaluate and saved models: the logs of their members on their own."""

import keras
import numpy as np
import pytest

import keras_tally as kt
from cases import squared_difference
from groups import needs_fit, seeded
from support import BACKEND, IS_PORTABLE, seed_all, to_numpy

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
    seed_all(1)
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
        seed_all(0)
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
        seed_all(0)
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
