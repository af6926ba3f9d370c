"""Ours and Keras's metrics side by side in compile, fit and evaluate."""

import functools
import warnings

import keras
import numpy as np
import pytest

import keras_tally as kt
from cases import CASES, DEFAULT_CASES, few_if_compiled
from support import (
    BACKEND,
    IS_NUMPY,
    IS_PORTABLE,
    IS_TORCH,
    assert_close,
    seed_all,
    slow_if_compiled,
    updated,
)

pytestmark = pytest.mark.skipif(IS_NUMPY, reason="Keras's NumPy backend has no fit")
layers = keras.layers

ROWS, FEATURES, CLASSES = 120, 6, 4
BATCH = 32


def binary_data(seed=0):
    rng = np.random.default_rng(seed)
    x = np.float32(rng.normal(size=(ROWS, FEATURES)))
    y = np.float32(x[:, :1] + 0.5 * rng.normal(size=(ROWS, 1)) > 0)
    return x, y


def class_data(seed=0):
    rng = np.random.default_rng(seed)
    x = np.float32(rng.normal(size=(ROWS, FEATURES)))
    y = np.argmax(x[:, :CLASSES] + 0.3 * rng.normal(size=(ROWS, CLASSES)), axis=1)
    return x, y.astype(np.int64)


def dense_model(units, activation, seed=1):
    seed_all(seed)
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(8, activation="relu"),
            layers.Dense(units, activation=activation),
        ]
    )


def pairs(*names, **kwargs):
    """Each metric twice: ours and Keras's, under names that tell them apart."""
    metrics = []
    for name in names:
        theirs = getattr(keras.metrics, name)(name=f"keras_{name}", **kwargs)
        metrics += [getattr(kt, name)(name=f"tally_{name}", **kwargs), theirs]
    return metrics


def assert_pairs_agree(logs, names, relative=2e-5):
    """`logs` holds numbers or lists of numbers by metric name."""
    seen = 0
    for key, value in logs.items():
        if "tally_" not in key:
            continue
        theirs = logs[key.replace("tally_", "keras_")]
        np.testing.assert_allclose(value, theirs, rtol=relative, atol=1e-6, err_msg=key)
        seen += 1
    assert seen == 2 * names or seen == names, logs.keys()


COUNTS = ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives")
BINARY = (
    "BinaryAccuracy",
    "Precision",
    "Recall",
    "AUC",
    "BinaryCrossentropy",
    "MeanSquaredError",
    "RootMeanSquaredError",
    "MeanAbsoluteError",
    "Accuracy",
)
SPARSE = ("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy")
ONEHOT = ("CategoricalAccuracy", "CategoricalCrossentropy", "Precision", "AUC")

COMPILE_OPTIONS = [
    {},
    pytest.param(
        {"run_eagerly": True}, marks=[pytest.mark.slow] if IS_PORTABLE else []
    ),
    pytest.param({"jit_compile": False}, marks=pytest.mark.slow),
]
if BACKEND == "tensorflow":  # where it is XLA, and no default; on JAX it is
    COMPILE_OPTIONS.append({"jit_compile": True})


@pytest.mark.parametrize("options", COMPILE_OPTIONS, ids=str)
def test_binary(options):
    x, y = binary_data()
    model = dense_model(1, "sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=pairs(*BINARY), **options)
    history = model.fit(
        x, y, batch_size=BATCH, epochs=3, validation_split=0.2, verbose=0
    ).history
    assert_pairs_agree(history, len(BINARY))
    assert len(history["tally_AUC"]) == len(history["val_tally_AUC"]) == 3
    logs = model.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)
    assert_pairs_agree(logs, len(BINARY))


def test_counts_in_evaluate():
    """Only in evaluate: Keras's counts in the logs of fit are views of the state."""
    x, y = binary_data()
    model = dense_model(1, "sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=pairs(*COUNTS))
    logs = model.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)
    assert_pairs_agree(logs, len(COUNTS))


def test_results_are_those_of_the_whole_data():
    """The logs of evaluate are the metric of the predictions of predict."""
    x, y = binary_data()
    model = dense_model(1, "sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=[kt.AUC(name="auc")])
    logs = model.evaluate(x, y, batch_size=BATCH, verbose=0, return_dict=True)
    metric = kt.AUC()
    metric.update_state(y, model.predict(x, verbose=0))
    assert logs["auc"] == pytest.approx(float(metric.result()), rel=1e-6)


def test_sparse_classes():
    x, y = class_data()
    model = dense_model(CLASSES, "softmax")
    metrics = pairs(*SPARSE) + pairs("SparseTopKCategoricalAccuracy", k=2)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=metrics)
    history = model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0).history
    assert_pairs_agree(history, len(SPARSE) + 1)


@slow_if_compiled
def test_onehot_classes():
    x, y = class_data()
    y = np.eye(CLASSES, dtype=np.float32)[y]
    model = dense_model(CLASSES, "softmax")
    metrics = pairs(*ONEHOT) + pairs("TopKCategoricalAccuracy", k=2)
    # Without top_k: Keras leaves the order of ties, which softmax makes, to torch.
    metrics += pairs("Recall", class_id=1)
    model.compile("adam", "categorical_crossentropy", metrics=metrics)
    history = model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0).history
    assert_pairs_agree(history, len(ONEHOT) + 2)


def test_sample_weights_and_class_weights():
    x, y = binary_data()
    weight = np.random.default_rng(1).uniform(0, 2, ROWS).astype(np.float32)
    names = ("BinaryAccuracy", "AUC", "MeanSquaredError", "Precision")
    for options in ({"sample_weight": weight}, {"class_weight": {0: 0.5, 1: 3.0}}):
        model = dense_model(1, "sigmoid")
        model.compile("adam", "binary_crossentropy", weighted_metrics=pairs(*names))
        history = model.fit(
            x, y, batch_size=BATCH, epochs=2, verbose=0, **options
        ).history
        assert_pairs_agree(history, len(names))


def test_weighted_and_unweighted_metrics_side_by_side():
    x, y = binary_data()
    weight = np.float32(np.arange(ROWS) % 3)
    model = dense_model(1, "sigmoid")
    model.compile(
        "adam",
        "binary_crossentropy",
        metrics=[kt.BinaryAccuracy(name="plain")],
        weighted_metrics=[kt.BinaryAccuracy(name="weighted")],
    )
    logs = model.evaluate(
        x, y, sample_weight=weight, batch_size=BATCH, verbose=0, return_dict=True
    )
    hits = (model.predict(x, verbose=0) > 0.5) == (y > 0)
    assert logs["plain"] == pytest.approx(hits.mean(), rel=1e-6)
    expected = np.average(hits[:, 0], weights=weight)
    assert logs["weighted"] == pytest.approx(expected, rel=1e-6)


@slow_if_compiled
@pytest.mark.parametrize("weighted", [False, True])
def test_mask_of_an_embedding(weighted):
    """Per-timestep predictions; padded steps carry no weight."""
    rng = np.random.default_rng(0)
    steps = 7
    x = rng.integers(1, 11, (ROWS, steps))
    lengths = rng.integers(1, steps + 1, ROWS)
    x[np.arange(steps)[None] >= lengths[:, None]] = 0
    y = rng.integers(0, CLASSES, (ROWS, steps))
    seed_all(0)
    model = keras.Sequential(
        [
            keras.Input((steps,), dtype="int32"),
            layers.Embedding(11, 5, mask_zero=True),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    names = ("SparseCategoricalAccuracy", "SparseCategoricalCrossentropy")
    role = "weighted_metrics" if weighted else "metrics"
    model.compile("adam", "sparse_categorical_crossentropy", **{role: pairs(*names)})
    # Weights of one number for each step, which Keras multiplies by the mask.
    weight = rng.integers(0, 3, (ROWS, steps)).astype(np.float32) if weighted else None
    history = model.fit(
        x, y, sample_weight=weight, batch_size=BATCH, epochs=2, verbose=0
    ).history
    assert_pairs_agree(history, len(names))


@slow_if_compiled
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtype_policies(policy):
    if policy == "float64" and BACKEND == "jax":
        pytest.skip("JAX has no float64 unless it is told to")
    x, y = binary_data()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = dense_model(1, "sigmoid")
        names = ("BinaryAccuracy", "Precision", "Recall", "MeanAbsoluteError")
        model.compile("sgd", "binary_crossentropy", metrics=pairs(*names))
        history = model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0).history
        # Keras computes the error in the dtype of the predictions.
        assert_pairs_agree(history, len(names), relative=2e-2)
        for name in ("BinaryAccuracy", "Precision", "Recall"):
            ours, theirs = history[f"tally_{name}"], history[f"keras_{name}"]
            np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    finally:
        keras.config.set_dtype_policy(before)


@slow_if_compiled
def test_several_outputs():
    x, y = binary_data()
    _, labels = class_data()
    seed_all(0)
    inputs = keras.Input((FEATURES,))
    hidden = layers.Dense(8, activation="relu")(inputs)
    outputs = {
        "yes": layers.Dense(1, activation="sigmoid", name="yes")(hidden),
        "kind": layers.Dense(CLASSES, activation="softmax", name="kind")(hidden),
    }
    model = keras.Model(inputs, outputs)
    model.compile(
        "adam",
        {"yes": "binary_crossentropy", "kind": "sparse_categorical_crossentropy"},
        metrics={"yes": pairs("AUC", "Precision"), "kind": pairs(*SPARSE)},
    )
    history = model.fit(
        x, {"yes": y, "kind": labels}, batch_size=BATCH, epochs=2, verbose=0
    ).history
    assert_pairs_agree(history, 4)
    assert "yes_tally_AUC" in history


@pytest.mark.skipif(
    BACKEND == "jax", reason="Keras's JAX trainer loses such metrics, its own as well"
)
def test_metrics_added_inside_a_layer():
    """add_metric's successor: a metric as an attribute of a custom model."""

    class Trained(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1, activation="sigmoid")
            self.activity = kt.Mean(name="activity")

        def call(self, inputs):
            outputs = self.dense(inputs)
            self.activity.update_state(outputs)
            return outputs

    x, y = binary_data()
    model = Trained()
    model.compile("adam", "binary_crossentropy")
    history = model.fit(x, y, batch_size=BATCH, epochs=2, verbose=0).history
    assert all(0 < value < 1 for value in history["activity"])


@pytest.mark.parametrize("extension", ["keras"])
def test_saved_model_has_the_same_metrics(tmp_path, extension):
    x, y = binary_data()
    model = dense_model(1, "sigmoid")
    metrics = [
        kt.AUC(num_thresholds=50, curve="PR", name="area"),
        kt.Precision(thresholds=[0.3, 0.6], name="precise"),
        kt.BinaryAccuracy(threshold=0.4, name="right"),
        kt.Huber(threshold=0.5, name="robust"),
    ]
    model.compile("adam", "binary_crossentropy", metrics=metrics)
    model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
    path = tmp_path / f"model.{extension}"
    model.save(path)
    again = keras.saving.load_model(path)
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    logs_again = again.evaluate(x, y, verbose=0, return_dict=True)
    assert logs.keys() == logs_again.keys()
    for key, value in logs.items():
        np.testing.assert_allclose(logs_again[key], value, rtol=1e-6)
    (compiled,) = [m for m in again.metrics if m.name == "compile_metrics"]
    kinds = {m.name: type(m) for m in compiled.metrics}
    assert kinds["area"] is kt.AUC
    assert kinds["precise"] is kt.Precision
    assert kinds["robust"] is kt.Huber


@pytest.mark.torch_only
def test_custom_training_loop():
    """A plain torch loop around a Keras model."""
    import torch

    x, y = binary_data()
    model = dense_model(1, "sigmoid")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    ours, theirs = kt.BinaryAccuracy(), keras.metrics.BinaryAccuracy()
    for start in range(0, ROWS, BATCH):
        inputs = torch.from_numpy(x[start : start + BATCH])
        labels = torch.from_numpy(y[start : start + BATCH])
        outputs = model(inputs)
        loss = torch.nn.functional.binary_cross_entropy(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for metric in (ours, theirs):
            metric.update_state(labels, outputs)
    assert float(ours.result()) == pytest.approx(float(theirs.result()))


@slow_if_compiled
def test_metrics_are_reset_between_epochs():
    x, y = binary_data()
    model = dense_model(1, "sigmoid")
    metric = kt.Mean(name="unused")
    counter = kt.TruePositives(thresholds=0.0, name="all_positives")
    model.compile("adam", "binary_crossentropy", metrics=[counter])
    history = model.fit(x, y, batch_size=BATCH, epochs=3, verbose=0).history
    assert history["all_positives"] == [y.sum()] * 3
    assert float(metric.result()) == 0.0


def no_loss(y_true, y_pred):
    return keras.ops.zeros(keras.ops.shape(y_pred)[:1])


# Elsewhere every case is compiled.
@pytest.mark.parametrize(
    "case",
    few_if_compiled(
        c
        for c in (CASES if IS_TORCH else DEFAULT_CASES)
        if len(c.sample(0, 1).args) == 2
    ),
)
@pytest.mark.parametrize(
    "role", ["metrics", "weighted_metrics"] if IS_TORCH else ["weighted_metrics"]
)
def test_every_class_in_evaluate(case, role):
    """A model that predicts its input: every metric gets the data that suits it."""
    batch = case.sample(0, ROWS, weighted=role == "weighted_metrics")
    flat = batch.args[1].ndim == 1
    labels, scores = (a[:, None] if flat and a.ndim == 1 else a for a in batch.args)
    model = keras.Sequential([keras.Input(scores.shape[1:]), layers.Identity()])
    metrics = [case.ours(name="tally"), case.keras(name="keras")]
    model.compile(loss=no_loss, **{role: metrics})
    logs = model.evaluate(
        scores,
        labels,
        sample_weight=batch.weight,
        batch_size=BATCH,
        verbose=0,
        return_dict=True,
    )
    assert type(logs["tally"]) is type(logs["keras"])
    expected = logs["keras"]
    if case.name in (
        "R2Score",
        "SparseCategoricalCrossentropy",
    ) and case.kwargs.keys() & {
        "num_regressors",
        "ignore_class",
    }:  # docs/differences.md
        expected = updated(case.ours(), [batch]).result()
    assert_close(logs["tally"], expected, 2e-5, 1e-6)


@slow_if_compiled
def test_single_batches():
    """train_on_batch and test_on_batch: each call gives its own batch's results."""
    x, y = binary_data()
    weight = np.float32(np.arange(ROWS) % 3)
    model = dense_model(1, "sigmoid")
    names = ("BinaryAccuracy", "Precision", "AUC", "MeanSquaredError")
    model.compile("adam", "binary_crossentropy", weighted_metrics=pairs(*names))
    for step in (model.train_on_batch, model.test_on_batch):
        for start in range(0, ROWS, BATCH):
            part = slice(start, start + BATCH)
            before = model.predict_on_batch(x[part])
            logs = step(x[part], y[part], sample_weight=weight[part], return_dict=True)
            assert_pairs_agree(logs, len(names))
            hits = ((before > 0.5) == (y[part] > 0))[:, 0]
            accuracy = np.average(hits, weights=weight[part])
            assert logs["tally_BinaryAccuracy"] == pytest.approx(accuracy)
        values = step(x[:BATCH], y[:BATCH])
        assert len(values) == 1 + 2 * len(names)


@pytest.mark.torch_only
@pytest.mark.slow
def test_step_compiled_by_torch(monkeypatch):
    """jit_compile=True; without inductor, which would compile C++ for a minute."""
    import torch

    monkeypatch.setattr(
        torch, "compile", functools.partial(torch.compile, backend="eager")
    )
    x, y = (array[: 2 * BATCH] for array in binary_data())
    histories = []
    for kind, compiled in ((kt, True), (keras.metrics, False)):
        seed_all(1)
        model = keras.Sequential([keras.Input((FEATURES,)), layers.Dense(1)])
        metrics = [kind.BinaryAccuracy(), kind.MeanAbsoluteError()]
        model.compile("sgd", "mse", metrics=metrics, jit_compile=compiled)
        with warnings.catch_warnings():
            # dynamo says that it does not look into native functions.
            warnings.simplefilter("ignore", UserWarning)
            warnings.filterwarnings("ignore", "Guards may run slower on Python 3.13.0")
            history = model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0)
        histories.append(history.history)
        assert hasattr(model.train_function, "_torchdynamo_orig_callable") == compiled
    for key, values in histories[1].items():
        np.testing.assert_allclose(histories[0][key], values, rtol=2e-5, err_msg=key)


class Recorder(keras.callbacks.Callback):
    """Keeps the logs of every batch, as progress bars and loggers may."""

    def __init__(self):
        super().__init__()
        self.logs = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append((logs, dict(logs)))

    on_test_batch_end = on_train_batch_end


@slow_if_compiled
def test_logs_of_every_batch_stay_what_they_were():
    x, y = binary_data()
    model = dense_model(1, "sigmoid")
    names = ("BinaryAccuracy", "Precision", "AUC", "BinaryCrossentropy")
    counts = [kt.TruePositives(name="hits"), kt.Sum(name="sum")]
    model.compile("adam", "binary_crossentropy", metrics=pairs(*names) + counts[:1])
    recorder = Recorder()
    options = {"batch_size": BATCH, "verbose": 0, "callbacks": [recorder]}
    model.fit(x, y, epochs=2, **options)
    model.evaluate(x, y, **options)
    steps = -(-ROWS // BATCH)
    assert len(recorder.logs) == 3 * steps
    for logs, copied in recorder.logs:
        assert all(isinstance(value, (int, float)) for value in copied.values()), copied
        assert logs == copied
        assert_pairs_agree(copied, len(names))
    hits = [copied["hits"] for _, copied in recorder.logs[-steps:]]
    assert hits == sorted(hits)
    assert hits[-1] == np.sum((model.predict(x, verbose=0) > 0.5) & (y > 0))
    assert len(set(hits)) > 1


@slow_if_compiled
def test_training_goes_on_after_loading(tmp_path):
    x, y = binary_data()
    model = dense_model(1, "sigmoid")
    names = ("BinaryAccuracy", "AUC", "Recall", "MeanAbsoluteError")
    metrics = [*pairs(*names), kt.Huber(name="robust")]
    model.compile("adam", "binary_crossentropy", metrics=metrics)
    path = tmp_path / "middle.keras"

    class SaveInTheMiddle(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.save(path)

    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    model.fit(x[: 2 * BATCH], y[: 2 * BATCH], callbacks=[SaveInTheMiddle()], **options)
    again = keras.saving.load_model(path)
    expected = model.fit(x, y, epochs=2, **options).history
    history = again.fit(x, y, epochs=2, **options).history
    assert history.keys() == expected.keys()
    for key, values in expected.items():
        np.testing.assert_allclose(history[key], values, rtol=1e-5, err_msg=key)
    del history["robust"]
    assert_pairs_agree(history, len(names))


@slow_if_compiled
@pytest.mark.parametrize("name", ["BinaryAccuracy", "AUC", "MeanSquaredError"])
def test_callbacks_know_which_way_is_better(name, tmp_path):
    """mode="auto": the same epochs are the best ones as with Keras's metric."""
    x, y = binary_data()
    model = dense_model(1, "sigmoid")
    # A rate so high that training does not get better on every epoch.
    model.compile(keras.optimizers.SGD(20.0), "mse", metrics=pairs(name))
    checkpoints, stoppers = {}, {}
    for kind in ("tally", "keras"):
        monitor = f"val_{kind}_{name}"
        checkpoints[kind] = keras.callbacks.ModelCheckpoint(
            tmp_path / f"{kind}.keras", monitor=monitor, save_best_only=True
        )
        stoppers[kind] = keras.callbacks.EarlyStopping(monitor, patience=3)
    history = model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=8,
        validation_split=0.25,
        verbose=0,
        callbacks=[*checkpoints.values(), *stoppers.values()],
    ).history
    values = history[f"val_tally_{name}"]
    best = min(values) if name == "MeanSquaredError" else max(values)
    assert min(values) < max(values)
    assert checkpoints["tally"].best == best
    assert stoppers["tally"].best == best
    assert stoppers["tally"].best_epoch == stoppers["keras"].best_epoch
    assert stoppers["tally"].stopped_epoch == stoppers["keras"].stopped_epoch
    logs = keras.saving.load_model(tmp_path / "tally.keras").evaluate(
        x[-ROWS // 4 :], y[-ROWS // 4 :], verbose=0, return_dict=True
    )
    assert logs[f"tally_{name}"] == pytest.approx(best, rel=1e-5)
