"""Kernels as TensorFlow operations: eagerly, in graphs, in `fit`; never under XLA."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_tally as kt
from cases import CASES, DEFAULT_CASES
from keras_tally import _stored
from support import (
    BACKEND,
    assert_close,
    attach_mask,
    exact_state,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)

if BACKEND != "tensorflow":
    pytest.skip("runs under KERAS_BACKEND=tensorflow", allow_module_level=True)

import tensorflow as tf

from keras_tally._backends import tensorflow as backend

XLA = "XLA compiles this graph"


def arguments(batch):
    args = [to_backend(a) for a in batch.args]
    return args, None if batch.weight is None else to_backend(batch.weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_eager_and_graph_are_one_operation(case, weighted, monkeypatch):
    """The bits are the same; a silent way round the operation would not count."""
    # Users' own functions are operations there, unless kernels are asked for.
    monkeypatch.setattr(_stored, "even_small", True)
    if case.name == "MeanMetricWrapper":
        pytest.skip("TensorFlow rewrites the user's function in a graph")
    batches = [case.sample(seed, 12, weighted) for seed in range(2)]
    eager, compiled = case.ours(), case.ours()
    if case.built_late:  # its variables are made outside of the graph
        updated(compiled, batches[:1])
        compiled.reset_state()

    @tf.function
    def step(args, weight):
        compiled.update_state(*args, sample_weight=weight)
        return compiled.result()

    # The batch that tells the shape is tried first.
    before = backend.updates() + case.built_late
    updated(eager, batches)
    assert backend.updates() == before + 2
    for batch in batches:
        result = step(*arguments(batch))
    assert backend.updates() == before + 4
    assert state_bits(compiled) == state_bits(eager)
    np.testing.assert_array_equal(to_numpy(result), to_numpy(eager.result()))
    for metric in (eager, compiled):
        assert set(metric._plan.taken.values()) == {"native"}


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
def test_portable_and_native_continue_each_other(case, monkeypatch):
    batches = [case.sample(seed, 12) for seed in range(3)]
    native = updated(case.ours(), batches)
    mixed = case.ours()
    for i, batch in enumerate(batches):
        monkeypatch.setattr(_stored, "only_portable", i == 1)
        updated(mixed, [batch])
    assert_close(mixed.result(), native.result(), 1e-5)


def test_xla_takes_keras_operations():
    metric, plain = kt.AUC(), kt.AUC()
    y, p = tf.constant([[0.0], [1.0]] * 8), tf.random.uniform((16, 1), seed=1)

    @tf.function(jit_compile=True)
    def step(y, p):
        metric.update_state(y, p)
        return metric.result()

    before = backend.updates()
    result = step(y, p)
    assert backend.updates() == before
    assert metric._plan.taken["update"].startswith(XLA)
    plain.update_state(y, p)
    assert exact_state(metric) == exact_state(plain)
    assert_close(result, plain.result(), 1e-6)


def test_a_function_inside_of_an_xla_function():
    metric = kt.MeanSquaredError()
    inner = tf.function(metric.update_state)

    @tf.function(jit_compile=True)
    def outer(y, p):
        inner(y, p)

    outer(tf.ones((4, 1)), tf.zeros((4, 1)))
    assert metric._plan.taken["update"].startswith(XLA)
    assert exact_state(metric) == {"total": 4, "count": 4}


def test_unknown_batch_sizes():
    metric = kt.BinaryAccuracy()
    signature = [tf.TensorSpec((None, 1))] * 2
    step = tf.function(metric.update_state, input_signature=signature)
    for rows in (1, 7, 0, 3):
        step(tf.ones((rows, 1)), tf.ones((rows, 1)))
    assert exact_state(metric) == {"total": 11, "count": 11}


def test_mistakes_are_value_errors_and_leave_the_state():
    metric = kt.SparseCategoricalCrossentropy()
    scores = tf.nn.softmax(tf.random.uniform((3, 4), seed=0))
    metric.update_state(tf.constant([0, 1, 2]), scores)
    before = state_bits(metric)
    with pytest.raises(ValueError, match="`y_true` must hold class labels in"):
        metric.update_state(tf.constant([0, 1, 9]), scores)
    with pytest.raises(ValueError, match="y_true"):
        metric.update_state(tf.constant([0, 1]), scores)
    with pytest.raises(ValueError, match="y_true"):  # while it is traced
        tf.function(metric.update_state)(tf.constant([0, 1]), scores)
    unknown = [tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, 4))]
    compiled = tf.function(metric.update_state, input_signature=unknown)
    for labels in ([0, 1], [0, 1, 9]):  # while it runs
        with pytest.raises(tf.errors.InvalidArgumentError, match="`y_true`"):
            compiled(tf.constant(labels), scores)
    with pytest.raises((TypeError, ValueError), match="dtype"):
        kt.MeanSquaredError().update_state(tf.ones(2, tf.complex64), tf.ones(2))
    assert state_bits(metric) == before


def test_gradients_pass_by():
    metric = kt.MeanSquaredError()
    w = tf.Variable(2.0)
    with tf.GradientTape() as tape:
        p = w * tf.constant([[1.0], [2.0]])
        metric.update_state(tf.zeros((2, 1)), p)
        loss = tf.reduce_sum(p * p)
    assert float(tape.gradient(loss, w)) == 20.0
    assert float(metric.result()) == 10.0


def test_masks():
    metric = kt.MeanSquaredError()
    p = tf.constant([[1.0], [2.0], [3.0]])
    attach_mask(p, tf.constant([True, False, True]))
    metric.update_state(tf.zeros((3, 1)), p)
    assert metric._plan.taken["update"] == "native"
    assert float(metric.result()) == 5.0


@pytest.mark.parametrize("weight", [None, [1.0, 2.0]])
@pytest.mark.parametrize("name", ["MeanSquaredError", "BinaryAccuracy", "Mean", "Sum"])
def test_ragged_inputs_are_keras_business(name, weight):
    y = tf.ragged.constant([[1.0, 2.0], [3.0]])
    p = tf.ragged.constant([[1.5, 2.0], [3.0]])
    ours, keras_own = getattr(kt, name)(), getattr(keras.metrics, name)()
    batch = (p,) if name in ("Mean", "Sum") else (y, p)
    for metric in (ours, keras_own):
        metric.update_state(*batch, sample_weight=weight)
    assert "RaggedTensor" in ours._plan.taken["update"]
    assert_close(ours.result(), keras_own.result(), 1e-6)


def test_counts_beyond_float32():
    metric = kt.TruePositives()
    ones = tf.ones((8, 1))
    metric.accumulator.assign([2.0**24])
    for _ in range(3):
        metric.update_state(ones, ones)
    assert exact_state(metric) == {"accumulator": [2**24 + 24]}


def model_and_data(extra=(), **compile_arguments):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 8)).astype("float32")
    y = (x.sum(1, keepdims=True) > 0).astype("float32")
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(1, activation="sigmoid")]
    )
    names = ("BinaryAccuracy", "Precision", "AUC", "MeanSquaredError")
    ours = [getattr(kt, n)(name=f"ours_{n}") for n in names]
    theirs = [getattr(keras.metrics, n)(name=f"keras_{n}") for n in names]
    model.compile(
        "sgd",
        "binary_crossentropy",
        metrics=[*ours, *theirs, *extra],
        **compile_arguments,
    )
    return model, ours, x, y


def assert_logs_agree(logs):
    for name, value in logs.items():
        if name.startswith("ours_"):
            twin = logs[name.replace("ours_", "keras_")]
            np.testing.assert_allclose(value, twin, rtol=1e-5)


@pytest.mark.parametrize(
    "jit_compile", [pytest.param(False, marks=pytest.mark.slow), True]
)
@pytest.mark.parametrize("steps", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_fit_on_a_dataset(jit_compile, steps):
    group = kt.MetricGroup([kt.Recall(), kt.AUC(name="group_auc")])
    model, ours, x, y = model_and_data(
        [group], jit_compile=jit_compile, steps_per_execution=steps
    )
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(50)
    before = backend.updates()
    logs = model.fit(data, epochs=2, shuffle=False, verbose=0).history
    taken = ours[0]._plan.taken["update"]
    assert taken.startswith(XLA) if jit_compile else taken == "native"
    assert (backend.updates() > before) is not jit_compile
    assert_logs_agree(logs)
    np.testing.assert_allclose(logs["group_auc"], logs["keras_AUC"], rtol=1e-5)
    assert_logs_agree(model.evaluate(data, verbose=0, return_dict=True))


def test_operations_in_a_dataset():
    """Of the metric's own making: statistics of each batch, in the input pipeline."""
    metric = kt.MeanSquaredError()
    zeros = [tf.zeros(v.shape, v.dtype) for v in metric.variables]

    def error(y, p):
        return metric.stateless_result(metric.stateless_update_state(zeros, y, p))

    data = tf.data.Dataset.from_tensor_slices((tf.zeros((4, 1)), tf.ones((4, 1)) * 3))
    assert [float(e) for e in data.batch(2).map(error)] == [9.0, 9.0]


@pytest.mark.slow
def test_export_and_saved_model(tmp_path):
    model, _, x, y = model_and_data([kt.MetricGroup([kt.Recall()])])
    model.fit(x, y, verbose=0)
    model.export(tmp_path / "exported", verbose=False)
    exported = tf.saved_model.load(tmp_path / "exported")
    served = exported.serve(x[:4])
    np.testing.assert_allclose(served, model.predict(x[:4], verbose=0), rtol=1e-5)
    tf.saved_model.save(model, str(tmp_path / "saved"))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert_logs_agree(loaded.evaluate(x, y, verbose=0, return_dict=True))


def run(script):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.mark.slow
def test_mirrored_strategy():
    """Two logical CPUs, in a process of their own: they must be made first."""
    run(
        """
        import keras, keras_tally as kt, numpy as np, tensorflow as tf
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
        rng = np.random.default_rng(0)
        x = rng.standard_normal((256, 8)).astype("float32")
        y = (x.sum(1, keepdims=True) > 0).astype("float32")
        keras.utils.set_random_seed(0)
        names = ("BinaryAccuracy", "Precision", "AUC", "MeanSquaredError")
        with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
            model = keras.Sequential(
                [keras.Input((8,)), keras.layers.Dense(1, activation="sigmoid")]
            )
            ours = [getattr(kt, n)(name=n) for n in names]
            theirs = [getattr(keras.metrics, n)(name="k" + n) for n in names]
            group = kt.MetricGroup([getattr(kt, n)(name="g" + n) for n in names])
            model.compile("sgd", "mse", metrics=[*ours, *theirs, group])
        logs = model.fit(x, y, batch_size=50, epochs=2, verbose=0).history
        last = model.evaluate(x, y, batch_size=50, verbose=0, return_dict=True)
        assert ours[2]._plan.taken["update"] == "native", ours[2]._plan.taken
        for name in names:
            for found in (logs, last):
                np.testing.assert_allclose(found[name], found["k" + name], rtol=1e-5)
                np.testing.assert_allclose(found["g" + name], found[name], rtol=1e-6)
        """
    )


def test_without_the_operations(monkeypatch):
    """Keras's own do the work, one warning says why, and so does explain()."""
    backend._operations.cache_clear()
    backend._why_no_operations.cache_clear()

    def refuse():
        raise RuntimeError("another interface")

    monkeypatch.setattr(backend, "_library", refuse)
    try:
        metric = kt.AUC()
        y, p = tf.constant([0.0, 1.0, 1.0]), tf.constant([0.2, 0.1, 0.9])
        with pytest.warns(UserWarning, match=f"tensorflow {tf.__version__} does not"):
            metric.update_state(y, p)
        metric.update_state(y, p)  # and warns no more
        road, why = kt.explain(metric).roads["eager"]
        assert road == "portable"
        assert "another interface" in why
        assert float(metric.result()) == pytest.approx(0.5, abs=1e-3)
    finally:
        monkeypatch.undo()
        backend._operations.cache_clear()
        backend._why_no_operations.cache_clear()
    fresh = kt.AUC()
    fresh.update_state(y, p)
    assert fresh._plan.taken["update"] == "native"
