"""Metrics that users write on `Metric`, as Keras's documentation teaches it."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_tally as kt
from cases import DEFAULT_CASES
from support import IS_PORTABLE, exact_numbers, exact_state, to_backend, to_numpy

TOO_LARGE = 2.0**24  # where float32 stops counting


@keras.saving.register_keras_serializable("keras_tally_tests")
class StreamingHuber(kt.Metric):
    """The textbook's streaming Huber metric, and a count for each column."""

    def __init__(self, delta=1.0, columns=2, name="streaming_huber", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.delta, self.columns = delta, columns
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_variable((), "zeros", name="count")
        self.above = self.add_variable((columns,), "zeros", name="above")
        self.batches = self.add_variable((), "zeros", dtype="int32", name="batches")

    def update_state(self, y_true, y_pred, sample_weight=None):
        error = ops.abs(ops.cast(y_true, "float32") - ops.cast(y_pred, "float32"))
        large = error > self.delta
        values = ops.where(
            large, self.delta * error - 0.5 * self.delta**2, 0.5 * error * error
        )
        if sample_weight is None:
            sample_weight = ops.ones(ops.shape(values)[:1])
        weights = ops.expand_dims(ops.cast(sample_weight, "float32"), -1)
        self.total.assign_add(ops.sum(values * weights))
        self.count.assign_add(ops.sum(weights))
        self.above.assign_add(ops.sum(ops.cast(large, "float32"), axis=0))
        self.batches.assign_add(1)

    def result(self):
        return self.total / self.count

    def get_config(self):
        return {**super().get_config(), "delta": self.delta, "columns": self.columns}


def reference(y_true, y_pred, weight, delta=1.0):
    error = np.abs(y_true.astype("f8") - y_pred)
    values = np.where(error > delta, delta * error - 0.5 * delta**2, 0.5 * error**2)
    return np.sum(values * weight[:, None]), (error > delta).sum(axis=0)


def test_it_is_the_base_of_all_metrics():
    assert issubclass(kt.Metric, keras.metrics.Metric)
    for case in DEFAULT_CASES:
        assert isinstance(case.ours(), kt.Metric)
    assert isinstance(kt.MetricGroup([kt.Huber()]), kt.Metric)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.booleans())
def test_textbook_metric_against_numpy(sizes, weighted):
    rng = np.random.default_rng(sum(sizes))
    metric = StreamingHuber()
    total = count = 0
    above = np.zeros(2)
    for n in sizes:
        t, p = rng.normal(scale=2, size=(2, n, 2)).astype("float32")
        w = rng.integers(0, 3, n).astype("float32") if weighted else np.ones(n, "f4")
        metric.update_state(
            to_backend(t), to_backend(p), to_backend(w) if weighted else None
        )
        sums = reference(t, p, w)
        total, count, above = total + sums[0], count + w.sum(), above + sums[1]
    state = exact_state(metric)
    assert list(state) == ["total", "count", "above", "batches"]
    np.testing.assert_allclose(float(state["total"]), total, rtol=1e-5)
    assert (state["count"], state["above"]) == (count, above.tolist())
    assert state["batches"] == len(sizes)
    if count:
        np.testing.assert_allclose(float(metric.result()), total / count, rtol=1e-5)
    metric.reset_state()
    assert exact_state(metric) == {
        "total": 0,
        "count": 0,
        "above": [0, 0],
        "batches": 0,
    }


def test_counts_go_on_where_float32_stops():
    metric = StreamingHuber()
    metric.count.assign(TOO_LARGE)
    metric.above.assign([TOO_LARGE, 0.0])
    t, p = np.zeros((1, 2), "float32"), np.full((1, 2), 2.0, "float32")
    for _ in range(3):
        metric.update_state(to_backend(t), to_backend(p))
    state = exact_state(metric)
    assert state["count"] == 2**24 + 3
    assert state["above"] == [2**24 + 3, 3]


# Whole numbers of 53 bits, of very different sizes: float32 pairs hold 48 of them.
@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-(2**22), 2**22), min_size=1, max_size=30), st.booleans())
def test_sums_are_exact(numbers, subtract):
    variable = kt.Metric(name="m").add_weight(name="x", initializer="zeros")
    variable.assign(2.0**40)
    for x in numbers:
        value = to_backend(np.float32(x)) if x % 2 else x
        (variable.assign_sub if subtract else variable.assign_add)(value)
    sign = -1 if subtract else 1
    assert exact_numbers(variable) == 2**40 + sign * sum(numbers)
    variable.assign(7.0)
    assert exact_numbers(variable) == 7.0


def test_a_million_small_numbers():
    variable = kt.Metric(name="m").add_weight(name="x", initializer="zeros")
    step = to_backend(np.full((), 0.1, "float32"))
    for _ in range(20_000):
        variable.assign_add(step)
    exact = 20_000 * float(np.float32(0.1))
    assert abs(float(variable.value) - exact) <= 1e-7 * exact


def test_additions_of_other_shapes_are_those_of_keras():
    variable = kt.Metric(name="m").add_variable((2, 3), "zeros", name="x")
    variable.assign_add(to_backend(np.arange(3, dtype="float32")))  # broadcast
    variable.assign_add(1)
    variable.assign_add(to_backend(np.ones((3, 2), "float32").T))
    expected = np.tile(np.arange(3) + 2.0, (2, 1))
    np.testing.assert_array_equal(ops.convert_to_numpy(variable.value), expected)
    with pytest.raises(Exception, match=r"(?i)shape|size|broadcast"):
        variable.assign_add(to_backend(np.ones((3, 2), "float32")))
    np.testing.assert_array_equal(ops.convert_to_numpy(variable.value), expected)


def test_stateless_updates_are_pure_and_exact():
    metric = StreamingHuber()
    state = [v.value for v in metric.variables]
    assert [v.name for v in metric.variables][:2] == ["total", "count"]
    large = ops.cast(TOO_LARGE, state[1].dtype)
    state[1] = ops.stack([[large], [0 * large]]) if IS_PORTABLE else large
    t, p = np.zeros((1, 2), "float32"), np.full((1, 2), 2.0, "float32")
    step = metric.stateless_update_state
    if keras.config.backend() == "jax":
        import jax

        step = jax.jit(step)
    for _ in range(3):
        state = step(state, to_backend(t), to_backend(p))
    assert exact_state(metric)["count"] == 0
    assert to_numpy(state[1]).astype("float64").sum() == TOO_LARGE + 3
    result = float(metric.stateless_result(state))
    np.testing.assert_allclose(result, 9.0 / (TOO_LARGE + 3), rtol=1e-6)


@pytest.mark.skipif(
    keras.config.backend() == "numpy", reason="Keras's NumPy backend cannot train"
)
def test_in_fit_and_in_a_reloaded_model(tmp_path):
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[StreamingHuber(delta=0.5)])
    rng = np.random.default_rng(4)
    x = rng.normal(size=(50, 3)).astype("float32")
    y = rng.normal(size=(50, 2)).astype("float32")
    model.fit(x, y, epochs=2, batch_size=16, verbose=0)
    path = tmp_path / "model.keras"
    model.save(path)
    again = keras.models.load_model(path)
    total, _ = reference(y, model.predict(x, verbose=0), np.ones(50), delta=0.5)
    for m in (model, again):
        found = m.evaluate(x, y, verbose=0, batch_size=16, return_dict=True)
        np.testing.assert_allclose(found["streaming_huber"], total / 50, rtol=1e-5)


def test_as_a_member_of_a_group():
    group = kt.MetricGroup([StreamingHuber(), kt.Huber()])
    assert group.separate == ("streaming_huber",)
    t, p = np.zeros((4, 2), "float32"), np.full((4, 2), 2.0, "float32")
    group.update_state(to_backend(t), to_backend(p))
    assert float(group.result()["streaming_huber"]) == 3.0
