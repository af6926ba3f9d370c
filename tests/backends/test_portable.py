"""Keras's own operations under our classes, where no kernel can be called.

Written for JAX and TensorFlow, which are kept from calling kernels here; what must hold
on every road runs on torch and NumPy as well.
"""

from fractions import Fraction

import keras
import numpy as np
import pytest
from keras.src.backend.common.stateless_scope import StatelessScope

import keras_tally as kt
from cases import (
    ALL_CASES,
    CASES,
    DEFAULT_CASES,
    DEVIATION_NAMES,
    Batch,
    few_if_compiled,
)
from keras_tally import _engine, _kernel_metric, _native, _stored
from keras_tally.metrics import reduction
from support import (
    BACKEND,
    IS_PORTABLE,
    as_float,
    assert_close,
    attach_mask,
    exact_state,
    keras_variables,
    named_variables,
    result_dtype,
    state,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)

portable_only = pytest.mark.skipif(
    not IS_PORTABLE, reason="runs under KERAS_BACKEND=jax and tensorflow"
)
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
every_class = pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
few_classes = pytest.mark.parametrize("case", few_if_compiled(DEFAULT_CASES))
few_cases = pytest.mark.parametrize("case", few_if_compiled(CASES))
few_built_cases = pytest.mark.parametrize(
    "case", few_if_compiled([c for c in CASES if not c.built_late])
)


def eager(function):
    return function


COMPILERS = {"eager": eager}
if BACKEND == "jax":
    import jax

    COMPILERS["jit"] = jax.jit
elif BACKEND == "tensorflow":
    import tensorflow as tf

    COMPILERS["graph"] = tf.function
    COMPILERS["xla"] = lambda function: tf.function(function, jit_compile=True)
COMPILED = [name for name in COMPILERS if name != "eager"]


@pytest.fixture(autouse=True)
def without_kernels(monkeypatch):
    monkeypatch.setattr(_stored, "only_portable", True)


def arguments(batch):
    args = [to_backend(a) for a in batch.args]
    weight = None if batch.weight is None else to_backend(batch.weight)
    return args, weight


def values(metric):
    return [to_backend(to_numpy(v)) for v in metric.variables]


def pure_step(metric):
    """The update as a function of tensors: state, inputs and weight to state."""

    def step(state, args, weight):
        return metric.stateless_update_state(state, *args, sample_weight=weight)

    return step


def set_state(metric, tensors):
    for variable, tensor in zip(metric.variables, tensors, strict=True):
        variable.assign(tensor)


# The road


def test_functions_of_the_engine():
    assert _engine.IN_PLACE is not IS_PORTABLE
    module = _stored if IS_PORTABLE else _native
    assert _kernel_metric.update is reduction.update is module.update
    assert _kernel_metric.result is module.result


@portable_only
@every_class
def test_no_kernel_runs(case, roads):
    metric = updated(case.ours(), [case.sample(0, 8)])
    assert "asks for it" in metric._plan.taken["update"]
    assert metric._metrics == []
    assert not roads()


# Variables and values


@few_cases
def test_variables_are_keras_variables(case):
    ours = updated(case.ours(), [case.sample(0, 8)])
    theirs = updated(case.keras(), [case.sample(0, 8)])
    found = {v.name: tuple(v.shape) for v in named_variables(ours)}
    expected = {n: np.shape(x) for n, x in case.keras_state(state(theirs)).items()}
    if case.integer_state:
        assert found == expected
        return
    lows = [name for name in found if name.removesuffix("_low") != name]
    assert bool(lows) == (case.name in DEVIATION_NAMES)
    for name in lows:
        assert found.pop(name) == expected[name.removesuffix("_low")]
    assert list(found) == list(expected)
    assert found == expected
    dtypes = {v.dtype for v in named_variables(ours)}
    assert dtypes == ({"float32"} if IS_PORTABLE else {"float64"})


@portable_only
@few_classes
def test_the_state_lies_in_one_variable(case):
    """Keras's trainers pay for each variable on every step."""
    metric = updated(case.ours(), [case.sample(0, 8)])
    (pack,) = metric.variables
    sizes = [to_numpy(v).size for v in named_variables(metric)]
    assert tuple(pack.shape) == (1 if case.integer_state else 2, sum(sizes))
    for variable in named_variables(metric):  # views, in both directions
        variable.assign(keras.ops.full_like(variable.value, 3))
    assert np.all(to_numpy(pack)[0] == 3)
    pack.assign(keras.ops.full_like(pack.value, 2))
    assert all(np.all(to_numpy(v) == 2) for v in named_variables(metric))


@portable_only
@pytest.mark.parametrize(
    "weighted", [True, pytest.param(False, marks=pytest.mark.slow)]
)
@few_cases
def test_equals_keras(case, weighted):
    ours, theirs = case.ours(), case.keras()
    # Keras counts entries, and samples that weigh nothing, for samples.
    adjusted = "num_regressors" in case.kwargs
    for seed, count in enumerate((20, 1, 33, 7)):
        batch = case.sample(seed, count, weighted)
        updated(ours, [batch])
        updated(theirs, [batch])
        if not adjusted:
            assert_close(ours.result(), theirs.result(), 1e-5, 1e-6)
    assert result_dtype(ours) == result_dtype(theirs)
    expected = case.keras_state(state(theirs))
    for name, value in state(ours).items():
        if name == "num_samples" and weighted:
            continue
        assert_close(value, expected[name], 1e-5, 1e-5, what=name)


@pytest.mark.slow
@portable_only
@few_classes
def test_equals_keras_at_every_rank(case):
    for rank in case.ranks:
        ours, theirs = case.ours(), case.keras()
        for seed in (0, 1):
            batch = case.batch(seed, (6, 4, 3)[:rank])
            updated(ours, [batch])
            updated(theirs, [batch])
        assert_close(ours.result(), theirs.result(), 1e-5, 1e-6, what=f"rank {rank}")


@portable_only
@few_classes
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtype_of_the_result(case, dtype):
    """The state has 32 bits at least, whatever the result has."""
    batches = [case.sample(seed, 30) for seed in range(3)]
    ours = updated(case.ours(dtype=dtype), batches)
    theirs = updated(case.keras(dtype=dtype), batches)
    assert result_dtype(ours) == result_dtype(theirs)
    assert {v.dtype for v in ours.variables} == {"float32"}
    exact = updated(case.ours(), batches).result()
    unit = {"float16": 2**-11, "bfloat16": 2**-8}[dtype]
    assert_close(keras.ops.cast(ours.result(), "float32"), exact, unit)


@portable_only
@pytest.mark.parametrize("name", ["MeanSquaredError", "MeanMetricWrapper", "Mean"])
@pytest.mark.parametrize("weighted", [False, True])
def test_masks_are_weights_of_keras(name, weighted):
    (case,) = [c for c in DEFAULT_CASES if c.name == name]
    ours, theirs = case.ours(), case.keras()
    for seed in (0, 1):
        batch = case.batch(seed, (6, 4, 3))
        rng = np.random.default_rng(seed)
        mask = rng.integers(0, 2, (6, 4)).astype(bool)
        weight = rng.integers(0, 3, (6, 4)).astype(np.float32) if weighted else None
        batch._replace(mask=mask, weight=weight).feed(ours)
        kept = mask.astype(np.float32) * (1 if weight is None else weight)
        batch._replace(weight=kept).feed(theirs)
    assert_close(ours.result(), theirs.result(), 1e-6)
    assert_close(ours.named_variables()[1], theirs.variables[1], 1e-6)


@few_classes
def test_lists_and_numbers(case):
    batch = case.sample(0, 6)
    metric = case.ours()
    if case.name == "MeanMetricWrapper":
        pytest.skip("the user's function gets what the user gives")
    metric.update_state(*[np.asarray(a).tolist() for a in batch.args])
    assert_close(metric.result(), updated(case.ours(), [batch]).result(), 1e-6)


@portable_only
def test_subclass_of_ours():
    """A user's subclass is computed as the class it extends, whatever its name."""

    class Precision(kt.Recall):
        def get_config(self):
            return {**super().get_config(), "of_mine": 1}

    batch = Batch((np.float32([0, 1, 1, 1, 0]), np.float32([1, 0, 0, 1, 0])))
    metric = updated(Precision(), [batch])
    assert as_float(metric) == pytest.approx(1 / 3)


def hostile(case):
    """Batches at which Keras's classes and the kernels part."""
    batch = case.sample(3, 8)
    yield batch
    yield batch._replace(weight=np.float32([0, 1, 0, 2, 1, 1, 0, 3]))
    yield batch._replace(weight=np.float32(0.5))
    yield batch._replace(weight=np.ones(5, np.float32))
    yield batch._replace(weight=np.ones((8, 1, 1, 1), np.float32))
    yield Batch(tuple(np.asarray(x)[:0] for x in batch.args))
    *labels, scores = map(np.asarray, batch.args)
    yield Batch((*labels, scores.astype("uint8")))
    if not labels:
        return
    (labels,) = labels
    yield Batch((labels[:4], scores))
    yield Batch((labels.astype("float32") + np.float32(0.25), scores))
    yield Batch((labels, scores.astype("float16")))
    if scores.dtype.kind == "f":
        yield Batch((labels, scores + np.float32(3000)))
        yield Batch((labels, np.round(scores)))
        scores = scores.copy()
        scores.reshape(-1)[3] = np.nan
        yield Batch((labels, scores))
        yield Batch((labels, scores), weight=np.float32([1, 0, 1, 0, 1, 1, 1, 1]))


@portable_only
@every_class
def test_equals_the_kernel(case, monkeypatch):
    """In results and in errors, which one piece of code raises."""
    if case.name == "MeanMetricWrapper":
        pytest.skip("the user's function gets what the user gives")

    def outcome(batch, portable):
        monkeypatch.setattr(_stored, "only_portable", portable)
        try:
            return np.float64(to_numpy(updated(case.ours(), [batch]).result()))
        except (ValueError, TypeError) as error:
            return f"{type(error).__name__}: {error}"

    for batch in hostile(case):
        native, portable = outcome(batch, False), outcome(batch, True)
        if "must hold class labels" in str(native):  # seen by what reads the data
            native = np.nan
        if isinstance(native, str):
            assert portable == native
        else:
            assert_close(portable, native, 3e-7, 1e-30, what=case.name)


# Pure functions, compiled


@few_built_cases
@pytest.mark.parametrize("compiler", COMPILERS)
def test_compiled(case, compiler):
    metric = case.ours()
    step = COMPILERS[compiler](pure_step(metric))
    result = COMPILERS[compiler](lambda state: metric.stateless_result(state))
    batches = [case.sample(seed, 12, weighted=True) for seed in range(3)]
    carried = metric.stateless_reset_state()
    for batch in batches:
        carried = step(carried, *arguments(batch))
    expected = updated(case.ours(), batches)
    assert_close(result(carried), expected.result(), 1e-5, 1e-6)
    assert not any(to_numpy(v).any() for v in metric.variables)
    set_state(metric, carried)
    for name, value in state(metric).items():
        assert_close(value, state(expected)[name], 1e-6, what=name)


@pytest.mark.slow  # each class is compiled; so does test_compiled
@portable_only
@pytest.mark.parametrize("compiler", COMPILED)
def test_update_in_place_in_a_compiled_function(compiler):
    if BACKEND == "jax":
        pytest.skip("jit is for pure functions")
    batch = DEFAULT_CASES[0].sample(0, 8)
    for case in DEFAULT_CASES:
        metric, batch = case.ours(), case.sample(0, 8)

        @COMPILERS[compiler]
        def step(*args, metric=metric):
            metric.update_state(*args)
            return metric.result()

        for _ in range(2):
            got = step(*arguments(batch)[0])
        expected = updated(case.ours(), [batch, batch])
        assert_close(got, expected.result(), 1e-6, what=case.name)
        assert_close(metric.result(), expected.result(), 1e-6, what=case.name)


@portable_only
def test_late_built_in_a_scope():
    """As in a trainer's symbolic build: variables first, values at its end."""
    case = next(c for c in ALL_CASES if c.name == "AUC" and c.built_late)
    batch = case.sample(0, 9)
    metric = case.ours()
    assert not metric.variables
    with StatelessScope():
        metric.update_state(*arguments(batch)[0])
    assert not any(to_numpy(v).any() for v in metric.variables)
    updated(metric, [batch])
    assert_close(metric.result(), updated(case.keras(), [batch]).result(), 1e-6)


# Exact sums

START = 2**24


@pytest.mark.parametrize("compiler", COMPILED or COMPILERS)
@pytest.mark.parametrize(
    "name",
    [
        "Mean",
        "AUC",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("Sum", "BinaryAccuracy", "TruePositives", "Precision")
        ),
    ],
)
def test_counts_past_2_to_24(name, compiler):
    """Where float32 stops counting: single rows, a thousand times."""
    metric = getattr(kt, name)()
    batch = [np.float32([1.0])] * (1 if name in ("Mean", "Sum") else 2)
    fresh = exact_state(updated(getattr(kt, name)(), [Batch(tuple(batch))]))
    for variable in keras_variables(metric).values():
        variable.assign(keras.ops.full_like(variable.value, START))
    carried = values(metric)
    step = COMPILERS[compiler](pure_step(metric))
    args = [to_backend(a) for a in batch]
    for _ in range(1000):
        carried = step(carried, args, None)
    set_state(metric, carried)
    for variable, value in exact_state(metric).items():
        expected = START + 1000 * np.asarray(fresh[variable])
        assert np.array_equal(value, expected), variable


@portable_only
@pytest.mark.parametrize("compiler", COMPILED)
def test_counts_past_2_to_24_in_one_compiled_loop(compiler):
    """As `steps_per_execution` runs them: the compiler sees all additions."""
    metric = kt.BinaryAccuracy()
    step = pure_step(metric)
    ones = to_backend(np.float32([[1.0]]))

    def many(state):
        if BACKEND == "jax":
            return jax.lax.fori_loop(
                0, 1000, lambda _, state: step(state, [ones, ones], None), state
            )
        return tf.while_loop(
            lambda i, *state: i < 1000,
            lambda i, *state: (i + 1, *step(list(state), [ones, ones], None)),
            (0, *state),
        )[1:]

    start = [to_backend(np.float32([[START, START], [0, 0]]))]
    set_state(metric, COMPILERS[compiler](many)(start))
    assert exact_state(metric) == {"total": START + 1000, "count": START + 1000}


@pytest.mark.parametrize("compiler", COMPILERS)
def test_sums_lose_nothing(compiler):
    """Sums of numbers of many sizes and both signs, some cancelling."""
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=600) * 10.0 ** rng.integers(-6, 7, 600)
    numbers = np.float32([*numbers, *-rng.permutation(numbers)[:500]])
    metric = kt.Sum()
    carried = values(metric)
    step = COMPILERS[compiler](pure_step(metric))
    for number in numbers:
        carried = step(carried, [to_backend(number[None])], None)
    set_state(metric, carried)
    exact = sum(Fraction(float(x)) for x in numbers)
    largest = float(np.abs(np.cumsum(np.float64(numbers))).max())
    # Each addition may lose 2^-48 of what it makes, not 2^-24.
    assert abs(exact_state(metric)["total"] - exact) < len(numbers) * largest * 2**-47


@portable_only
def test_integers_count_on():
    metric = kt.Sum(dtype="int32")
    metric.total.assign(START + 2)
    updated(metric, [Batch((np.int32([1, 2]),))])
    assert exact_state(metric) == {"total": START + 5}
    assert int(metric.result()) == START + 5
    updated(metric, [Batch((np.int32([2**30]),))] * 4)
    assert exact_state(metric) == {"total": START + 5 + 2**32}


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_infinite_and_nan(value):
    metric = kt.Sum()
    for number in (1.0, value, 2.0):
        updated(metric, [Batch((np.float32([number]),))])
    assert as_float(metric) == pytest.approx(value, nan_ok=True)
    assert exact_state(metric)["total"] == pytest.approx(value, nan_ok=True)
    metric.reset_state()
    updated(metric, [Batch((np.float32([3.0]),))])
    assert as_float(metric) == 3.0
    assert exact_state(metric) == {"total": 3}


# The lifecycle


@few_classes
def test_reset(case):
    batch = case.sample(0, 10)
    metric = updated(case.ours(), [batch, case.sample(1, 4)])
    metric.reset_state()
    assert not any(to_numpy(v).any() for v in metric.variables)
    updated(metric, [batch])
    assert state_bits(metric) == state_bits(updated(case.ours(), [batch]))


@every_class
def test_exact_state(case):
    metric = updated(case.ours(), [case.sample(0, 10)])
    exact = exact_state(metric)
    assert list(exact) == list(keras_variables(metric))
    for name, value in exact.items():
        found = np.vectorize(float)(np.asarray(value, object))
        assert_close(found, state(metric)[name], 2**-24, what=name)


@portable_only
@few_classes
def test_pure_functions_leave_the_metric_alone(case):
    metric = updated(case.ours(), [case.sample(0, 10)])
    before = state_bits(metric)
    args, _ = arguments(case.sample(1, 10))
    new = metric.stateless_update_state(values(metric), *args)
    expected = updated(case.ours(), [case.sample(0, 10), case.sample(1, 10)])
    assert_close(metric.stateless_result(new), expected.result(), 1e-6)
    assert not any(to_numpy(v).any() for v in metric.stateless_reset_state())
    assert state_bits(metric) == before


@portable_only
@every_class
def test_error_changes_nothing(case):
    if case.name in ("Mean", "Sum", "MeanMaxProbability"):
        pytest.skip("any shape is good")
    metric = updated(case.ours(), [case.sample(0, 6)])
    before = state_bits(metric)
    args, _ = arguments(case.sample(0, 6))
    # Keras leaves shapes to the backends, and each has its own exceptions.
    with pytest.raises(Exception):  # noqa: B017, PT011
        metric.update_state(args[0][:4], args[1])
    assert state_bits(metric) == before


@few_classes
def test_config(case):
    metric = case.ours()
    again = type(metric).from_config(metric.get_config())
    batch = case.sample(0, 10)
    expected = updated(metric, [batch]).result()
    assert_close(updated(again, [batch]).result(), expected, 1e-7)


@portable_only
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_inside_a_layer_of_mixed_precision(policy):
    """Where Keras hands out the variables in 16 bits."""

    class Watched(keras.layers.Layer):
        def __init__(self):
            super().__init__(dtype=policy)
            self.seen = kt.Mean()

        def call(self, inputs):
            self.seen.update_state(inputs)
            return inputs

    layer = Watched()
    layer.seen.count.assign(START)
    for _ in range(3):
        layer(to_backend(np.float32([[1.0]])))
    assert exact_state(layer.seen) == {"total": 3, "count": START + 3}


@portable_only
@pytest.mark.parametrize(
    "jit_compile", [pytest.param("auto", marks=pytest.mark.slow), True]
)
def test_fit_with_late_built_and_reloaded_metrics(jit_compile, tmp_path):
    if BACKEND == "jax" and jit_compile is True:
        pytest.skip("the same as auto")
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(50, 4)))
    y = np.float32(x[:, :3] > 0)
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, activation="sigmoid")]
    )
    metrics = [
        kt.AUC(multi_label=True, num_thresholds=20, name="ours"),
        keras.metrics.AUC(multi_label=True, num_thresholds=20, name="theirs"),
        kt.MeanMetricWrapper(keras.losses.mean_absolute_error, name="error"),
        keras.metrics.MeanAbsoluteError(name="error_too"),
    ]
    model.compile(
        "sgd", "binary_crossentropy", metrics=metrics, jit_compile=jit_compile
    )
    history = model.fit(x, y, batch_size=16, epochs=2, verbose=0).history
    assert_close(history["ours"], history["theirs"], 1e-5)
    assert_close(history["error"], history["error_too"], 1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    logs = again.evaluate(x, y, verbose=0, return_dict=True)
    expected = model.evaluate(x, y, verbose=0, return_dict=True)
    assert logs == pytest.approx(expected, rel=1e-5)
    (compiled,) = [m for m in again.metrics if m.name == "compile_metrics"]
    assert type(compiled.metrics[0]) is kt.AUC


@portable_only
def test_mask_of_a_tensor_is_seen():
    """The mask hangs on the object that the user passes."""
    y_pred = attach_mask(
        to_backend(np.float32([[1.0], [5.0]])), np.array([True, False])
    )
    metric = kt.MeanSquaredError()
    metric.update_state(to_backend(np.float32([[0.0], [0.0]])), y_pred)
    assert as_float(metric) == 1.0
