"""Metrics of users' own elementwise functions, against NumPy and Keras."""

import dataclasses
import json
import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

import keras_tally as kt
from keras_tally import _llvm, _native
from keras_tally._engine import IN_PLACE
from keras_tally._expression import Expression, arities, trace
from support import exact_state, to_backend

TOLERANCE = 1e-12 if IN_PLACE else 1e-5


def seeded(seed=0):
    return np.random.default_rng(seed)


def state_of(metric):
    return {name: float(x) for name, x in exact_state(metric).items()}


def huber(y_true, y_pred, delta=1.0):
    error = abs(y_true - y_pred)
    return ops.where(
        error <= delta, 0.5 * error * error, delta * error - 0.5 * delta * delta
    )


# The same in NumPy, with ops of one library for those of the other.
NUMPY_NAMES = {
    "absolute": np.abs,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "log_sigmoid": lambda x: -np.logaddexp(0, -x),
    "softplus": lambda x: np.logaddexp(0, x),
    "relu": lambda x: np.maximum(x, 0),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "erf": np.vectorize(math.erf),
    "copy": lambda x: x,
    "clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "where": lambda c, a, b: np.where(c != 0, a, b),
    "floor_divide": lambda a, b: np.floor(a / b),
}


def by_numpy(name, *x):
    with np.errstate(all="ignore"):
        found = NUMPY_NAMES.get(name) or getattr(np, name)
        return np.asarray(found(*x), "float64")


def one_operation(name):
    count = arities()[name]
    inputs = [0, 1, 0][:count] if count != 3 else [0, 1, 2]
    return Expression(
        ("y_true", "y_pred"), (0.75,), ((name, tuple(inputs)),), (("total", 3),)
    )


# Everything that float32 holds and that operations disagree about.
SPECIAL = np.array(
    [
        *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 3.0, 1e-7, -1e-7),
        *(1e6, -1e6, 88.0, -88.0, 1e30, -1e30, 1e-40, np.inf, -np.inf, np.nan),
    ],
    "float32",
)


@pytest.mark.parametrize("name", sorted(arities()))
@pytest.mark.skipif(not IN_PLACE, reason="the values are Keras's own there")
def test_every_operation_on_special_values(name):
    t, p = (x.ravel() for x in np.meshgrid(SPECIAL, SPECIAL))
    operation = one_operation(name)
    x = [t.astype("float64"), p.astype("float64"), np.full(t.size, 0.75)]
    expected = by_numpy(name, *x[: arities()[name]])
    metric = of_expression(operation, "sum")
    for dtype in ("float32", "float64"):
        for at in range(t.size):
            metric.reset_state()
            args = (np.array([t[at]], dtype), np.array([p[at]], dtype))
            metric.update_state(*map(to_backend, args))
            found = float(exact_state(metric)["total"])
            wanted = float(expected[at])
            assert found == wanted or np.isclose(
                found, wanted, rtol=4e-15, atol=5e-324, equal_nan=True
            ), (name, t[at], p[at], found, wanted)


def stored(expression, finalize=None):
    """What a config holds of these expressions."""
    return json.dumps(
        {
            "terms": expression.get_config(),
            "finalize": finalize and finalize.get_config(),
        }
    )


def of_expression(expression, reduction="mean", **more):
    return kt.ElementwiseMetric(
        name="m",
        reduction=reduction,
        expression=stored(expression),
        **more,
    )


# Random programs of operations that are defined everywhere.
CHEAP = [
    *("absolute", "negative", "sign", "square", "floor", "ceil", "round", "trunc"),
    *("relu", "isnan", "isinf", "isfinite", "logical_not", "reciprocal"),
    *("add", "subtract", "multiply", "divide", "floor_divide", "maximum", "minimum"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("logical_and", "logical_or", "logical_xor", "where", "clip"),
]


@st.composite
def expressions(draw, operations=tuple(CHEAP), most=14):
    constants = draw(st.lists(st.floats(-4, 4), max_size=3))
    count = 2 + len(constants)
    steps = []
    for _ in range(draw(st.integers(1, most))):
        name = draw(st.sampled_from(operations))
        # Mostly what came last, so that steps depend on each other.
        value = st.integers(max(0, count - 4), count - 1) | st.integers(0, count - 1)
        steps.append((name, tuple(draw(value) for _ in range(arities()[name]))))
        count += 1
    outputs = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=3))
    named = tuple((f"t{i}", value) for i, value in enumerate(outputs))
    return Expression(("y_true", "y_pred"), tuple(constants), tuple(steps), named)


def values_of(expression, y_true, y_pred):
    """Each output's values, step by step in float64."""
    values = [y_true.astype("float64"), y_pred.astype("float64")]
    values += [np.full(y_true.shape, c) for c in expression.constants]
    for name, operands in expression.steps:
        values.append(by_numpy(name, *(values[i] for i in operands)))
    return [np.broadcast_to(values[i], y_true.shape) for _, i in expression.outputs]


def sums_of(expression, y_true, y_pred, weight=None):
    """What the native code makes of a batch: the sums, then the count."""
    names = (*expression.names, "count")
    first = trace(lambda *x: x[0], names, "f", "result")
    metric = kt.ElementwiseMetric(expression=stored(expression, first))
    args = [to_backend(x) for x in (y_true, y_pred)]
    metric.update_state(*args, None if weight is None else to_backend(weight))
    return [float(getattr(metric, name)) for name in names]


@settings(deadline=None)
@given(expressions(), st.integers(0, 200), st.booleans(), st.booleans())
@pytest.mark.skipif(not IN_PLACE, reason="native code in place")
def test_random_expressions_interpreted_and_compiled(expression, n, weighted, wide):
    rng = seeded(n)
    dtype = "float64" if wide else "float32"
    t, p = (np.round(rng.normal(scale=2, size=n), 1).astype(dtype) for _ in range(2))
    weight = rng.integers(0, 3, n).astype("float64") if weighted else None
    expected = []
    with np.errstate(all="ignore"):
        for values in values_of(expression, t, p):
            expected.append(
                float(np.sum(values if weight is None else values * weight))
            )
    expected.append(float(n if weight is None else weight.sum()))
    assert _llvm.why_not(expression) is None
    compiled = sums_of(expression, t, p, weight)
    with interpreted():
        found = sums_of(other_steps(expression), t, p, weight)
    np.testing.assert_equal(compiled, found)  # the same bits
    scale = np.maximum(1, np.abs(expected))
    with np.errstate(invalid="ignore"):
        shares = np.array(found) / scale, np.array(expected) / scale
    np.testing.assert_allclose(*shares, atol=1e-9, equal_nan=True)


class interpreted:
    """Metrics that are made inside are never compiled."""

    def __enter__(self):
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr("keras_tally.metrics.elementwise.addresses", lambda _: None)

    def __exit__(self, *_):
        self._patch.undo()


def other_steps(expression):
    """The same with a step that nobody needs: it shares no compiled code."""
    return dataclasses.replace(expression, steps=(*expression.steps, ("copy", (0,))))


@pytest.mark.skipif(not IN_PLACE, reason="native code in place")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_bits_of_the_built_in_at_every_level_and_size(dtype, weighted):
    levels = _native.levels()
    active = _native.active_level()
    ours, builtin = kt.elementwise(huber), kt.Huber()
    with interpreted():
        slow = of_expression(other_steps(ours.expression))
    try:
        for level in levels:
            _native.set_level(level)
            for n in [*range(1, 70), 255, 256, 257, 1023, 1024, 1025, 5000, 300_000]:
                rng = seeded(n)
                t, p = (rng.normal(size=(n, 1)).astype(dtype) * 2 for _ in range(2))
                weight = to_backend(rng.uniform(size=n)) if weighted else None
                for metric in (ours, builtin, slow):
                    metric.reset_state()
                    metric.update_state(to_backend(t), to_backend(p), weight)
                assert exact_state(ours) == exact_state(builtin) == exact_state(slow)
    finally:
        _native.set_level(active)


@given(st.integers(0, 40), st.integers(1, 4), st.sampled_from([None, 0, 1, 2]))
@settings(deadline=None, max_examples=40)
def test_mean_sum_and_terms_against_numpy(n, columns, weight_rank):
    rng = seeded(n)
    t, p = rng.normal(size=(2, n, columns)).astype("float32")
    shape = {None: None, 0: (), 1: (n,), 2: (n, columns)}[weight_rank]
    weight = None if shape is None else rng.uniform(0.5, 2, shape).astype("float32")
    fed = [None if x is None else to_backend(np.asarray(x)) for x in (t, p, weight)]
    values = np.abs(t.astype("f8") - p)
    spread = np.ones(values.shape)
    if weight is not None:
        w = weight.astype("f8")
        spread = np.broadcast_to(w.reshape(w.shape + (1,) * (2 - w.ndim)), values.shape)
    mean = kt.elementwise(lambda a, b: abs(a - b), name="mean")
    total = kt.elementwise(lambda a, b: abs(a - b), name="sum", reduction="sum")
    ratio = kt.elementwise(
        lambda a, b: {"error": abs(a - b), "size": abs(a)},
        name="ratio",
        finalize=lambda error, size, count: error / size + count,
    )
    for metric in (mean, total, ratio):
        metric.update_state(*fed)
    if n == 0 and not IN_PLACE:
        return  # Keras's mean of nothing is NaN
    with np.errstate(invalid="ignore"):
        close(mean.result(), np.sum(values * spread) / np.sum(spread) if n else 0.0)
        close(total.result(), np.sum(values * spread))
        size = np.sum(np.abs(t.astype("f8")) * spread)
        close(ratio.result(), np.sum(values * spread) / size + np.sum(spread))


def close(found, wanted):
    np.testing.assert_allclose(float(found), wanted, rtol=3e-6, atol=1e-6)


def test_rmse_and_r2_as_terms():
    rng = seeded(3)
    t, p = rng.normal(size=(2, 500)).astype("float32")
    rmse = kt.elementwise(
        lambda a, b: (a - b) ** 2,
        name="rmse",
        finalize=lambda total, count: ops.sqrt(total / count),
    )
    r2 = kt.elementwise(
        lambda a, b: {"squares": a * a, "values": a, "residual": (a - b) ** 2},
        name="r2",
        finalize=lambda squares, values, residual, count: (
            1 - residual / (squares - values**2 / count)
        ),
    )
    theirs = kt.RootMeanSquaredError(), kt.R2Score()
    for start in range(0, 500, 90):
        batch = [to_backend(x[start : start + 90, None]) for x in (t, p)]
        for metric in (rmse, r2, *theirs):
            metric.update_state(*batch)
    for ours, other in zip((rmse, r2), theirs, strict=True):
        np.testing.assert_allclose(float(ours.result()), float(other.result()), 1e-5)


def test_common_steps_are_computed_once():
    once = trace(lambda a, b: abs(a - b), ("y_true", "y_pred"), "f", "total")
    twice = trace(
        lambda a, b: abs(a - b) + abs(a - b), ("y_true", "y_pred"), "f", "total"
    )
    assert len(once.steps) == 2
    # Written five times over, such steps would not fit into the code of an expression.
    chain = twice
    for _ in range(7):
        offset = len(chain.steps)
        again = tuple(
            (name, tuple(v if v < 2 else v + offset for v in operands))
            for name, operands in chain.steps
        )
        last = chain.outputs[0][1], chain.outputs[0][1] + offset
        count = 2 + 2 * offset
        chain = Expression(
            chain.inputs, (), (*chain.steps, *again, ("add", last)), (("total", count),)
        )
    assert len(chain.steps) > 160
    _native.check_expression(chain.native())


@pytest.mark.parametrize(
    ("fn", "says"),
    [
        (lambda a, b: ops.mean(a - b), "`Mean`"),
        (lambda a, b: ops.sum(a * b, axis=-1), "`Sum`"),
        (lambda a, b: ops.sort(a), "`Sort`"),
        (lambda a, b: (a - b)[0], "`GetItem`"),
        (lambda a, b: a @ b, "`Matmul`"),
        (lambda a, b: ops.softmax(a), "`Softmax`"),
        (lambda a, b: a + np.ones(3), "numbers"),
        (lambda a, b: 1.0, "must return what it computes"),
        (lambda a, b: {"count": a}, "names that a metric does not use"),
        (lambda a, b: {"not a name": a}, "identifiers"),
        (lambda a, b: {"x": a, "y": b}, "finalize"),
    ],
)
def test_functions_that_are_not_elementwise(fn, says):
    with pytest.raises(ValueError, match=says):
        kt.elementwise(fn)


@pytest.mark.parametrize(
    "fn",
    [
        lambda a, b: a if a > b else b,
        lambda a, b: math.exp(a),
        lambda a, b: np.exp(a - b),
        lambda a: a,
    ],
)
def test_functions_that_cannot_be_traced(fn):
    with pytest.raises(TypeError, match=r"`keras\.ops`"):
        kt.elementwise(fn)


def test_arguments_that_are_wrong():
    with pytest.raises(ValueError, match="`reduction` must be one of 'mean', 'sum'"):
        kt.elementwise(huber, reduction="median")
    with pytest.raises(ValueError, match="`direction` must be 'up', 'down' or None"):
        kt.elementwise(huber, direction="left")
    with pytest.raises(TypeError, match="`finalize` can take total, count"):
        kt.elementwise(huber, finalize=lambda mean: mean)
    with pytest.raises(TypeError, match="must define `fn"):
        kt.ElementwiseMetric()
    with pytest.raises(TypeError, match="takes no more arguments"):
        kt.ElementwiseMetric(
            expression=kt.elementwise(huber).get_config()["expression"], delta=1.0
        )


def test_too_much_at_once():
    def wide(y_true, y_pred):
        values = [y_true + i * y_pred + 0.5 for i in range(2, 30)]
        return sum(v * (sum(values) + i) for i, v in enumerate(values))

    with pytest.raises(ValueError, match="intermediate values at once"):
        kt.elementwise(wide)

    def long(y_true, y_pred):
        for i in range(400):
            y_true = ops.maximum(y_true, y_pred - i % 7 - y_true)
        return y_true

    with pytest.raises(ValueError, match="at most 160 steps"):
        kt.elementwise(long)


def test_state_is_unharmed_by_batches_that_do_not_fit():
    metric = kt.elementwise(huber)
    metric.update_state(to_backend(np.ones(4)), to_backend(np.zeros(4)))
    before = exact_state(metric)
    error = ValueError if IN_PLACE else Exception
    with pytest.raises(error):
        metric.update_state(to_backend(np.ones((4, 2))), to_backend(np.zeros((3, 2))))
    assert exact_state(metric) == before


class Tolerance(kt.ElementwiseMetric):
    """A user's class."""

    def fn(y_true, y_pred, within):
        return abs(y_true - y_pred) <= within


def test_a_class_with_arguments():
    metric = Tolerance(within=0.5)
    assert metric.name == "tolerance"
    metric.update_state(to_backend(np.zeros(4)), to_backend(np.array([0.1, 0.5, 1, 2])))
    assert float(metric.result()) == 0.5
    config = metric.get_config()
    assert config == {"name": "tolerance", "dtype": "float32", "within": 0.5}
    assert float(Tolerance.from_config(config).result()) == 0.0
    with keras.saving.custom_object_scope({"Tolerance": Tolerance}):
        stored = json.loads(json.dumps(keras.saving.serialize_keras_object(metric)))
        again = keras.saving.deserialize_keras_object(stored)
    assert type(again) is Tolerance


@pytest.mark.skipif(
    keras.config.backend() == "numpy", reason="Keras's NumPy backend cannot train"
)
def test_a_saved_model_holds_steps_and_no_code(tmp_path):
    calls = []

    def own(y_true, y_pred):
        calls.append(1)
        return ops.log1p(abs(y_true - y_pred))

    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[kt.elementwise(own), Tolerance(within=1.0)])
    rng = seeded(1)
    x, y = rng.normal(size=(40, 3)).astype("float32"), rng.normal(size=(40, 1))
    model.fit(x, y, epochs=1, verbose=0, batch_size=8)
    assert len(calls) == 1  # not in any step
    path = tmp_path / "model.keras"
    model.save(path)
    with keras.saving.custom_object_scope({"Tolerance": Tolerance}):
        again = keras.models.load_model(path)
    found = again.evaluate(x, y, verbose=0, return_dict=True)
    assert len(calls) == 1
    predicted = model.predict(x, verbose=0)
    np.testing.assert_allclose(
        found["own"], np.mean(np.log1p(np.abs(y - predicted))), rtol=1e-5
    )
    np.testing.assert_allclose(
        found["tolerance"], np.mean(np.abs(y - predicted) <= 1.0), rtol=1e-5
    )


STORED = json.loads(kt.elementwise(huber).get_config()["expression"])["terms"]
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*STORED, "class_name"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_stored_expressions_that_are_damaged(data):
    damaged = json.loads(json.dumps(STORED))
    for _ in range(data.draw(st.integers(1, 3))):
        place = damaged
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and data.draw(st.booleans()):
                place = place[key]
                continue
            place[key] = data.draw(JUNK | st.integers(-3, 20))
            break
    try:
        metric = kt.ElementwiseMetric(
            expression=json.dumps({"terms": damaged, "finalize": None})
        )
    except ValueError:
        return
    # What is accepted is an expression, and runs.
    metric.update_state(to_backend(np.ones(5)), to_backend(np.zeros(5)))
    float(metric.result())


@settings(deadline=None)
@given(JUNK)
def test_stored_expressions_that_are_junk(junk):
    for text in (junk, json.dumps(junk), "[" * 100_000):
        with pytest.raises(ValueError, match=r"`expression` must be what|a stored"):
            kt.ElementwiseMetric(expression=text if text is not None else "")
    with pytest.raises(ValueError, match="a stored expression must be made of"):
        Expression.from_config(junk)


@settings(deadline=None)
@given(expressions(operations=tuple(sorted(arities())), most=30))
def test_stored_form_round_trip(expression):
    config = json.loads(json.dumps(expression.get_config()))
    try:
        _native.check_expression(expression.native())
    except ValueError:  # what is held at once has its limits
        with pytest.raises(ValueError, match="at most"):
            Expression.from_config(config)
        return
    assert Expression.from_config(config) == expression


def test_in_a_group_beside_others():
    rng = seeded(5)
    t, p = rng.normal(size=(2, 700, 1)).astype("float32")
    members = [kt.elementwise(huber), kt.Huber(name="builtin"), Tolerance(within=1.0)]
    alone = [kt.elementwise(huber), kt.Huber(name="builtin"), Tolerance(within=1.0)]
    group = kt.MetricGroup(members)
    assert not group.separate
    for metric in (group, *alone):
        metric.update_state(to_backend(t), to_backend(p))
    for metric in alone:
        assert float(group.result()[metric.name]) == float(metric.result())


def test_masks_and_labels_of_other_dtypes():
    metric = kt.elementwise(lambda a, b: abs(a - b))
    t = np.array([[1], [0], [1]], "uint8")
    p = to_backend(np.array([[0.5], [0.25], [3.0]], "float32"))
    keras.src.backend.set_keras_mask(p, to_backend(np.array([True, True, False])))
    metric.update_state(to_backend(t), p)
    assert float(metric.result()) == 0.375


def test_the_road_of_an_expression():
    found = kt.explain(kt.elementwise(huber)).roads["expression"]
    assert found.road == "compiled"
    found = kt.explain(kt.elementwise(lambda a, b: ops.exp(a - b))).roads["expression"]
    assert found == ("interpreted", "it calls exp")


def test_without_llvmlite(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    expression = trace(lambda a, b: a * b + 7, ("y_true", "y_pred"), "f", "total")
    assert _llvm.addresses(expression) is None
    assert _llvm.why_not(expression) == "the package llvmlite is not installed"


@pytest.mark.skipif(
    keras.config.backend() not in ("jax", "tensorflow"), reason="compiled graphs"
)
def test_compiled_graphs_get_plain_operations():
    metric = kt.elementwise(huber)
    t, p = (to_backend(x) for x in seeded(2).normal(size=(2, 40)).astype("float32"))
    metric.update_state(t, p)
    assert metric._plan.taken["update"] == "native"
    state = [v.value for v in metric.variables]
    expected = 2 * float(exact_state(metric)["total"])

    def step(state, t, p):
        return metric.stateless_update_state(state, t, p)

    if keras.config.backend() == "jax":
        import jax

        assert "custom_call" not in jax.jit(step).lower(state, t, p).as_text()
        new = jax.jit(step)(state, t, p)
    else:
        import tensorflow as tf

        new = tf.function(step)(state, t, p)
    assert "operations" in metric._plan.taken["update"]
    for variable, value in zip(metric.variables, new, strict=True):
        variable.assign(value)
    np.testing.assert_allclose(float(exact_state(metric)["total"]), expected, 1e-6)
