"""Kernels as foreign functions of XLA: eager, jitted, scanned, mapped, sharded."""

import os
import subprocess
import sys
import textwrap
from fractions import Fraction

import keras
import numpy as np
import pytest

import keras_tally as kt
from cases import CASES, COUNTING_NAMES, DEFAULT_CASES, few_if_compiled
from keras_tally import _native, _stored
from keras_tally._device import CudaStatus
from support import (
    BACKEND,
    EMULATED,
    assert_close,
    assert_states_close,
    attach_mask,
    exact_state,
    seed_all,
    state,
    state_bits,
    to_backend,
    to_numpy,
    updated,
)

if BACKEND != "jax":
    pytest.skip("runs under KERAS_BACKEND=jax", allow_module_level=True)

import jax
import jax.export
import jax.numpy as jnp

from keras_tally._backends import jax as backend

ON_CPU = jax.default_backend() == "cpu"
cpu_only = pytest.mark.skipif(not ON_CPU, reason="GPUs take the kernels")

# The user's own function is compiled by XLA's rules.
OWN_CASES = [case for case in CASES if case.name != "MeanMetricWrapper"]


def handlers():
    """How many updates XLA's handlers have made, and with which kernels."""
    counts = _native.road_counts()
    assert not EMULATED or counts["cuda"] >= counts["xla"]
    return counts["xla"]


def arguments(batch):
    args = [to_backend(a) for a in batch.args]
    return args, None if batch.weight is None else to_backend(batch.weight)


def bits(state):
    return [np.asarray(x).tobytes() for x in state]


def values(metric):
    return [v.value for v in metric.variables]


def jitted(metric):
    """A step of its own, traced anew: bound methods would share their traces."""
    return jax.jit(lambda *batch: metric.stateless_update_state(*batch))


def update_jitted(metric, *batch):
    """Update by a compiled step; return why it was portable, or `native`."""
    metric._put(jitted(metric)(values(metric), *batch))
    return metric._plan.taken["update"]


def fresh(case, batch):
    """A metric without a past, whose variables are there."""
    metric = updated(case.ours(), [batch])
    metric.reset_state()
    return metric


@pytest.mark.parametrize(
    "weighted", [pytest.param(False, marks=pytest.mark.slow), True]
)
@pytest.mark.parametrize("case", OWN_CASES, ids=lambda c: c.id)
def test_eager_jit_and_scan_are_one_kernel(case, weighted, monkeypatch):
    """The bits are the same; a silent way round the kernel would not count."""
    monkeypatch.setattr(_stored, "even_small", True)
    batches = [case.sample(seed, 12, weighted) for seed in range(3)]
    metric = fresh(case, batches[0])

    def step(state, batch):
        args, weight = batch
        return metric.stateless_update_state(state, *args, sample_weight=weight)

    def scanned(state, stacked):
        return jax.lax.scan(lambda s, b: (step(s, b), None), state, stacked)[0]

    # The batch that tells the shape is tried first.
    before = handlers() + case.built_late
    eager = updated(case.ours(), batches)
    assert handlers() == before + 3
    assert set(metric._plan.taken.values()) <= {"native"}
    jitted = values(metric)
    for batch in batches:
        jitted = jax.jit(step)(jitted, arguments(batch))
    jax.block_until_ready(jitted)
    assert handlers() == before + 6
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *map(arguments, batches))
    in_scan = jax.block_until_ready(jax.jit(scanned)(values(metric), stacked))
    assert handlers() == before + 9
    assert bits(values(eager)) == bits(jitted) == bits(in_scan)
    result = jax.jit(metric.stateless_result)(jitted)
    np.testing.assert_array_equal(to_numpy(result), to_numpy(eager.result()))


@pytest.mark.cuda
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_on_a_gpu_kernels_give_the_answers_of_the_cpu(case, weighted, roads):
    batches = [case.sample(seed, 1000, weighted) for seed in range(2)]
    metric = updated(case.ours(), batches)
    if case.name != "MeanMetricWrapper":
        assert roads()["cuda"] >= 2
    with keras.device("cpu:0"):
        twin = updated(case.ours(), batches)
    for variable, other in zip(metric.variables, twin.variables, strict=True):
        assert {device.platform for device in variable.value.devices()} == {"gpu"}
        assert {device.platform for device in other.value.devices()} == {"cpu"}
    if case.name in COUNTING_NAMES:
        assert exact_state(metric) == exact_state(twin)
    tolerance = 1e-6 if case.name == "MeanMetricWrapper" else 1e-12
    assert_states_close(state(metric), state(twin), tolerance, tolerance)
    assert_close(metric.result(), twin.result(), 1e-6, 1e-6)


@pytest.mark.parametrize("case", few_if_compiled(DEFAULT_CASES))
def test_vmap_is_one_update_after_the_other(case, monkeypatch):
    monkeypatch.setattr(_stored, "even_small", True)
    batches = [case.sample(seed, 6, True) for seed in range(3)]
    metric = fresh(case, batches[0])
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *map(arguments, batches))

    def step(state, batch):
        args, weight = batch
        return metric.stateless_update_state(state, *args, sample_weight=weight)

    alone = [step(values(metric), arguments(batch)) for batch in batches]
    shared = jax.vmap(step, in_axes=(None, 0))(values(metric), stacked)
    states = [jnp.stack([x] * 3) for x in values(metric)]
    own = jax.jit(jax.vmap(step))(states, stacked)
    for i, expected in enumerate(alone):
        tolerance = 1e-6 if case.name == "MeanMetricWrapper" else 0
        for mapped in (shared, own):
            for x, y in zip(mapped, expected, strict=True):
                np.testing.assert_allclose(x[i], y, rtol=tolerance, atol=tolerance)
    results = jax.vmap(metric.stateless_result)(own)
    for i, expected in enumerate(alone):
        assert_close(results[i], metric.stateless_result(expected), 1e-6)


def test_gradients_pass_by():
    metric = kt.MeanSquaredError()

    def loss(w, state):
        p = w * jnp.array([[1.0], [2.0]])
        state = metric.stateless_update_state(state, jnp.zeros((2, 1)), p)
        return jnp.sum(p * p), state

    for differentiate in (jax.grad, lambda f, **kw: jax.jit(jax.grad(f, **kw))):
        slope, state = differentiate(loss, has_aux=True)(2.0, values(metric))
        assert float(slope) == 20.0
        assert float(metric.stateless_result(state)) == 10.0


@pytest.mark.parametrize("native", [False, True])
def test_what_is_counted_has_no_gradient(native, monkeypatch):
    monkeypatch.setattr(_stored, "only_portable", not native)
    metric = kt.MeanSquaredError()

    def error(w, state):
        labels, scores = jnp.zeros((2, 1)), w * jnp.array([[1.0], [2.0]])
        state = metric.stateless_update_state(state, labels, scores)
        return state[0].sum()

    slope = jax.jit(jax.grad(error))(2.0, values(metric))
    assert (metric._plan.taken["update"] == "native") is native
    assert float(slope) == 0.0


@pytest.mark.parametrize("native", [False, True])
def test_the_state_is_updated_in_place_where_it_is_donated(native, monkeypatch):
    monkeypatch.setattr(_stored, "even_small", native)
    metric = kt.MeanIoU(num_classes=300)
    ids = jnp.arange(100) % 300

    def step(state, y, p):
        return metric.stateless_update_state(state, y, p)

    jitted = jax.jit(step, donate_argnums=0)
    text = jitted.lower(values(metric), ids, ids).compile().as_text()
    assert "input_output_alias" in text.splitlines()[0]
    assert ("output_to_operand_aliasing" in text) is native
    sizes = ("300,300", "1,90000")
    copies = [
        line
        for line in text.splitlines()
        if " copy(" in line and any(size in line for size in sizes)
    ]
    assert not copies, copies


def test_what_is_not_donated_stays_as_it_was():
    metric = kt.MeanSquaredError()
    before = values(metric)
    metric.update_state(jnp.zeros((4, 1)), jnp.ones((4, 1)))
    jax.jit(metric.stateless_update_state)(before, jnp.zeros((4, 1)), jnp.ones((4, 1)))
    assert [float(np.sum(x)) for x in before] == [0]


@pytest.mark.parametrize("value", [2**32 + 1, -(2**31) - 1, 2**63 - 1])
@pytest.mark.parametrize("argument", ["y_true", "y_pred", "sample_weight"])
def test_integers_that_jax_does_not_have_are_refused(argument, value):
    """JAX takes them modulo 2^32: 2^32 + 1 would be class 1."""
    batch = dict.fromkeys(("y_true", "y_pred", "sample_weight"), np.int64([1, 1]))
    metric = kt.Accuracy()
    metric.update_state(**batch)
    before = state_bits(metric)
    with pytest.raises(TypeError, match=rf"`{argument}`.*{value}.*jax_enable_x64"):
        metric.update_state(**{**batch, argument: np.int64([1, value])})
    assert state_bits(metric) == before
    # As far as 32 bits go, all is well.
    for most in (np.int64([2**31 - 1, -(2**31)]), np.uint64([2**32 - 1, 0])):
        metric.update_state(most, most[::-1])
    assert float(metric.result()) == pytest.approx(2 / 6)


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "SparseCategoricalCrossentropy",
        "SparseTopKCategoricalAccuracy",
        "SparseMeanRank",
    ],
)
def test_labels_that_are_no_class_give_nan_until_the_reset(name, jitted):
    metric = getattr(kt, name)()
    scores = jnp.full((3, 4), 0.25)

    def update(labels):
        if not jitted:
            return metric.update_state(labels, scores)
        state = jax.jit(metric.stateless_update_state)(values(metric), labels, scores)
        metric._put(state)

    update(jnp.array([0, 1, 9]))
    assert np.isnan(float(metric.result()))
    update(jnp.array([0, 1, 2]))
    assert np.isnan(float(metric.result()))
    metric.reset_state()
    update(jnp.array([0, 1, 2]))
    assert np.isfinite(float(metric.result()))


def test_a_bad_label_in_a_group_spoils_who_needs_labels_only():
    labels = jnp.array([0, 1, 2, 3, 9])
    scores = jnp.eye(5, 4) * 0.9 + 0.02
    alone = updated_once(kt.SparseCategoricalAccuracy(), labels, scores)
    group = kt.MetricGroup(
        [kt.SparseCategoricalAccuracy(), kt.SparseCategoricalCrossentropy()]
    )
    found = updated_once(group, labels, scores).result()
    assert float(alone.result()) == pytest.approx(0.8)
    assert float(found["sparse_categorical_accuracy"]) == float(alone.result())
    assert np.isnan(float(found["sparse_categorical_crossentropy"]))


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "cut"),
    [
        (kt.MeanSquaredError(), (4, 1), (4, 1), True),
        (kt.MeanSquaredError(), (4,), (4,), False),  # averaged over the only axis
        (kt.MeanSquaredError(), (4, 4), (4, 4, 4), False),  # broadcast at the end
        (kt.Accuracy(), (4,), (4, 4), False),
        (kt.Hinge(), (4, 1), (4, 1), False),
        (kt.CategoricalHinge(), (4,), (4, 1), False),
        (kt.CosineSimilarity(), (4, 3), (4, 3), True),
        (kt.CosineSimilarity(axis=0), (4, 3), (4, 3), False),
        (kt.SparseCategoricalAccuracy(), (4,), (4, 3), True),
        (kt.SparseCategoricalAccuracy(), (4, 1), (4, 3), True),
        (kt.AUC(), (4,), (4,), True),
        (kt.Precision(top_k=2), (4, 3), (4, 3), True),
        (kt.MeanIoU(4), (4,), (4,), True),
        (kt.OneHotMeanIoU(4), (4, 4), (4, 4), True),
        (kt.OneHotMeanIoU(4, axis=0), (4, 4), (4, 4), False),
    ],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_what_can_be_cut_along_the_batch(metric, y_true, y_pred, cut):
    shapes = [(y_true, "float32"), (y_pred, "float32")]
    key = metric._plan.program.key
    assert _native.program_splits(key, _stored.TRUTH, shapes) is cut


def test_shapes_are_refused_while_they_are_traced():
    metric = kt.BinaryAccuracy()
    state = values(metric)
    with pytest.raises(ValueError, match="`y_true` and `y_pred`"):
        jax.jit(metric.stateless_update_state)(
            state, jnp.ones((3, 2)), jnp.ones((4, 5))
        )
    with pytest.raises(TypeError, match="y_pred"):
        jax.jit(metric.stateless_update_state)(
            state, jnp.ones(3), jnp.ones(3, jnp.complex64)
        )


def test_counts_far_beyond_float32():
    metric = kt.TruePositives()
    ones = jnp.ones((8, 1))
    for start in (2**24 - 1, 2**30 + 3, 2**40 + 5):
        high = np.float32(start)
        pair = np.float32([[high], [start - int(high)]])
        metric.accumulator.assign_pairs(pair)
        for _ in range(5):
            metric.update_state(ones, ones)
        assert exact_state(metric) == {"accumulator": [start + 40]}


@cpu_only
@pytest.mark.host_only
def test_a_long_scan_loses_nothing():
    """As many additions as a float32 would stop at several times over."""
    count, error = kt.TruePositives(), kt.MeanSquaredError()
    rng = np.random.default_rng(0)
    p = rng.random((1000, 64, 1), dtype=np.float32)
    y = np.ones_like(p)
    rounds = 1600

    def step(states, batch):
        y, p = batch
        return (
            count.stateless_update_state(states[0], y, jnp.ones_like(p)),
            error.stateless_update_state(states[1], y, p),
        ), None

    @jax.jit
    def run(states, batches):
        def again(_, states):
            return jax.lax.scan(step, states, batches)[0]

        return jax.lax.fori_loop(0, rounds, again, states)

    done = run((values(count), values(error)), (jnp.asarray(y), jnp.asarray(p)))
    for metric, new in zip((count, error), done, strict=True):
        metric._put(new)
    samples = rounds * p.size
    assert samples > 10**8
    assert exact_state(count) == {"accumulator": [samples]}
    exact = exact_state(error)
    assert exact["count"] == samples
    # Each value as float64 has it; a batch's sum is exact to 1e-16.
    square = np.square(y.astype("float64") - p.astype("float64")).sum() * rounds
    assert abs(Fraction(exact["total"]) / Fraction(square) - 1) < 1e-7


@pytest.mark.parametrize("n", [1, 5, 5000])
def test_compiled_updates_are_calls_of_kernels(n):
    """Of few elements, of sums and of narrow rows as well."""
    scores = jnp.ones((n, 3)) / 3
    labels = jnp.zeros(n, "int32")
    for metric, batch in (
        (kt.MeanSquaredError(), (scores, scores)),
        (kt.Precision(), (labels, scores[:, 0])),
        (kt.Mean(), (scores,)),
        (kt.SparseCategoricalAccuracy(), (labels, scores)),
        (kt.SparseCategoricalCrossentropy(from_logits=True), (labels, scores)),
        (kt.MeanIoU(3), (labels, labels)),
    ):
        before = handlers()
        assert update_jitted(metric, *batch) == "native"
        assert handlers() == before + 1


@pytest.mark.skipif(not hasattr(jax, "shard_map"), reason="there is none before 0.6")
def test_shard_maps_take_the_kernel():
    metric = kt.MeanIoU(100)
    ids = jnp.ones(4, "int32")
    mesh = jax.make_mesh((1,), ("batch",))
    spec = jax.sharding.PartitionSpec()
    jax.shard_map(
        lambda *batch: metric.stateless_update_state(values(metric), *batch),
        mesh=mesh,
        in_specs=spec,
        out_specs=spec,
        check_vma=False,
    )(ids, ids)
    assert metric._plan.taken["update"] == "native"
    jitted(metric)(values(metric), ids, ids)
    assert metric._plan.taken["update"] != "native"


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("ignored", [None, -1])
def test_labels_that_are_no_class_poison_on_every_road(ignored, portable, monkeypatch):
    """Keras would take them for rows without loss."""
    monkeypatch.setattr(_stored, "only_portable", portable)
    for label in (-1, 5):
        metric = kt.SparseCategoricalCrossentropy(
            from_logits=True, ignore_class=ignored
        )
        labels = jnp.zeros(10, "int32").at[3].set(label)
        logits = jnp.zeros((10, 5))
        taken = update_jitted(metric, labels, logits)
        assert (taken == "native") is not portable
        expected = np.log(5) if label == ignored else float("nan")
        np.testing.assert_allclose(metric.result(), expected, rtol=1e-6)
        if ignored is None:
            top = kt.SparseTopKCategoricalAccuracy(1)
            update_jitted(top, labels, logits)
            assert np.isnan(top.result())


def test_few_ids_of_many_classes_do_not_touch_the_whole_matrix():
    metric, reference = kt.MeanIoU(100), kt.MeanIoU(100)
    for n, native in ((5000, False), (5001, True)):
        ids = jnp.arange(n) % 100
        assert (update_jitted(metric, ids, ids[::-1]) == "native") is native
        reference.update_state(ids, ids[::-1])
        assert bits(values(metric)) == bits(values(reference))


def test_a_batch_that_does_not_fit_is_refused_without_kernels(monkeypatch):
    for metric, shapes in (
        (kt.MeanSquaredError(), [(4, 2), (4, 3)]),
        (kt.TruePositives(), [(4,), (5,)]),
        (kt.CategoricalCrossentropy(from_logits=True), [(10_000, 3), (10_000, 4)]),
    ):
        monkeypatch.setattr(_stored, "only_portable", True)
        with pytest.raises(ValueError, match="y_pred") as refused:
            jitted(metric)(values(metric), *map(jnp.ones, shapes))
        monkeypatch.setattr(_stored, "only_portable", False)
        with pytest.raises(ValueError, match="y_pred") as eagerly:
            metric.update_state(*map(jnp.ones, shapes))
        assert str(refused.value) == str(eagerly.value)


def test_symbolic_shapes_go_the_portable_road():
    metric = kt.MeanSquaredError()
    (rows,) = jax.export.symbolic_shape("rows")
    state = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in metric.variables]
    batch = jax.ShapeDtypeStruct((rows, 1), "float32")
    step = jax.export.export(jax.jit(metric.stateless_update_state))
    exported = step(state, batch, batch)
    assert metric._plan.taken["update"] == "a shape is symbolic"
    for n in (1, 5):
        new = exported.call(values(metric), jnp.zeros((n, 1)), jnp.ones((n, 1)) * 2)
        assert np.asarray(new[0])[0].tolist() == [4 * n, n]


def test_masks_and_lists():
    metric = kt.MeanSquaredError()
    p = attach_mask(jnp.array([[1.0], [2.0], [3.0]]), jnp.array([True, False, True]))
    metric.update_state([[0.0], [0.0], [0.0]], p)
    assert metric._plan.taken["update"] == "native"
    assert float(metric.result()) == 5.0


@pytest.mark.parametrize("case", few_if_compiled(DEFAULT_CASES))
def test_portable_and_native_continue_each_other(case, monkeypatch):
    batches = [case.sample(seed, 12) for seed in range(3)]
    native = updated(case.ours(), batches)
    mixed = case.ours()
    for i, batch in enumerate(batches):
        monkeypatch.setattr(_stored, "only_portable", i == 1)
        updated(mixed, [batch])
        expected = "KERAS_TALLY_ROAD=portable asks for it" if i == 1 else "native"
        assert mixed._plan.taken["update"] == expected
    assert_close(mixed.result(), native.result(), 1e-5)


def test_programs_are_told_apart_by_their_whole_configuration():
    def key(metric):
        return metric._plan.program.key

    assert key(kt.AUC()) == key(kt.AUC(name="other"))
    different = [
        kt.AUC(),
        kt.AUC(curve="PR"),
        kt.AUC(num_thresholds=100),
        kt.AUC(thresholds=[0.2, 0.7]),
        kt.Precision(thresholds=0.4),
        kt.Precision(thresholds=0.6),
        kt.Precision(class_id=1),
        kt.BinaryCrossentropy(),
        kt.BinaryCrossentropy(label_smoothing=0.1),
        kt.BinaryCrossentropy(from_logits=True),
        kt.MeanIoU(3),
        kt.MeanIoU(4),
    ]
    assert len({key(m) for m in different}) == len(different)


@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
def test_merging_adds_the_states_of_devices(case):
    """What `DataParallel` gathers: each device's additions, one behind the other."""
    if case.name == "MeanMetricWrapper":
        pytest.skip("the user's own function is compiled by XLA's rules")
    batches = [case.sample(seed, 9, True) for seed in range(3)]
    parts = [updated(case.ours(), [batch]) for batch in batches]
    total = updated(case.ours(), batches[:1])
    state = values(total)
    added = [jnp.stack(x) for x in zip(*map(values, parts[1:]), strict=True)]
    program = total._plan.program.key
    merged = backend._new_state(
        "keras_tally_merge", state, added, program=program, others=np.int64(2)
    )
    total.merge_state(parts[1:])
    # The pairs of float32 are rounded once here, and once for each state there.
    tolerance = Fraction(1, 2**40)
    for found, expected in zip(merged, values(total), strict=True):
        if keras.backend.is_int_dtype(found.dtype):
            np.testing.assert_array_equal(found, expected)
            continue
        pairs = [np.asarray(x, "float64").sum(axis=0) for x in (found, expected)]
        np.testing.assert_allclose(*pairs, rtol=float(tolerance))


@pytest.mark.parametrize("off", ["gpu", "tpu"])
def test_platforms_without_handlers_are_portable(off, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: off)
    monkeypatch.setattr(
        backend, "cuda_status", lambda: CudaStatus(False, "no driver.", ())
    )
    backend._why_no_handlers.cache_clear()
    said = {"gpu": "CUDA is off: no driver", "tpu": "'tpu'"}[off]
    try:
        with pytest.warns(UserWarning, match=said):
            assert said in backend.why_portable()
        assert said in backend.why_portable()  # and warns no more
    finally:
        backend._why_no_handlers.cache_clear()


def test_on_a_gpu_the_handlers_for_cuda_are_registered(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(backend, "cuda_status", lambda: CudaStatus(True, "", ("X",)))
    backend._why_no_handlers.cache_clear()
    seen = []
    monkeypatch.setattr(
        jax.ffi,
        "register_ffi_target",
        lambda name, handler, platform: seen.append((platform, name)),
    )
    try:
        assert backend._why_no_handlers() is None
    finally:
        backend._why_no_handlers.cache_clear()
    names = [f"keras_tally_{name}" for name in ("update", "merge", "result")]
    assert seen == [(platform, n) for platform in ("cpu", "CUDA") for n in names]


def test_an_unknown_program_is_refused():
    """As after a restart, when compiled code comes from a cache on disk."""
    call = jax.ffi.ffi_call("keras_tally_result", jax.ShapeDtypeStruct((), "float32"))
    kt.Mean().result()  # registers the handlers
    with pytest.raises(Exception, match="Make a metric of the same configuration"):
        jax.block_until_ready(call(jnp.zeros(()), program="0" * 64))


def test_without_the_handlers(monkeypatch):
    """Keras's operations do the work, one warning says why, and so does explain()."""

    def refuse(*args, **kwargs):
        raise RuntimeError("another interface")

    monkeypatch.setattr(jax.ffi, "register_ffi_target", refuse)
    backend._why_no_handlers.cache_clear()
    try:
        metric, y, p = kt.AUC(), jnp.array([0.0, 1.0, 1.0]), jnp.array([0.2, 0.1, 0.9])
        before = handlers()
        versions = f"jax {jax.__version__}, jaxlib .* XLA FFI"
        with pytest.warns(UserWarning, match=versions):
            metric.update_state(y, p)
        metric.update_state(y, p)  # and warns no more
        road, reason = kt.explain(metric).roads["jit"]
        assert road == "portable"
        assert "another interface" in reason
        assert float(metric.result()) == pytest.approx(0.5, abs=1e-3)
        assert handlers() == before
    finally:
        monkeypatch.undo()
        backend._why_no_handlers.cache_clear()
    assert float(updated_once(kt.AUC(), y, p).result()) == pytest.approx(0.5, abs=1e-3)
    assert handlers() == before + 1


def updated_once(metric, *args):
    metric.update_state(*args)
    return metric


def run(script, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.mark.slow
def test_float64():
    """JAX must be told before it starts."""
    run(
        """
        import keras_tally as kt, numpy as np
        rng = np.random.default_rng(0)
        y, p = rng.random((2, 1000, 1))
        metric = kt.MeanSquaredError(dtype="float64")
        metric.update_state(y, p)
        assert str(metric.result().dtype) == "float64"
        expected = np.mean((y - p) ** 2)
        assert abs(float(metric.result()) / expected - 1) < 1e-14
        """,
        JAX_ENABLE_X64="1",
    )


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 4])
def test_data_parallel(devices):
    """Devices of the host, in a process of its own: they must be asked for first."""
    run(
        """
        import re
        import jax, keras, keras_tally as kt, numpy as np

        n = len(jax.devices())
        rng = np.random.default_rng(0)
        y = (rng.random((4096, 1)) > 0.5).astype("float32")
        p = rng.random((4096, 1)).astype("float32")
        names = ("AUC", "BinaryAccuracy", "Precision", "MeanSquaredError", "Hinge")
        alone = [getattr(kt, name)(name=name) for name in names]
        for metric in alone:
            metric.update_state(y, p)
        odd = kt.MeanSquaredError()
        odd.update_state(y[:, 0], p[:, 0])
        whole = kt.MeanSquaredError()
        whole.update_state(y, p, sample_weight=2.0)

        devices = [f"cpu:{i}" for i in range(n)]
        distribution = keras.distribution.DataParallel(devices=devices)
        keras.distribution.set_distribution(distribution)
        mesh = distribution.device_mesh.backend_mesh
        spec = jax.sharding.PartitionSpec(distribution.batch_dim_name)
        cut = jax.sharding.NamedSharding(mesh, spec)
        ys, ps = jax.device_put(y, cut), jax.device_put(p, cut)

        def gathered(metric):
            state = [v.value for v in metric.variables]
            lowered = jax.jit(metric.stateless_update_state).lower(state, ys, ps)
            text = lowered.compile().as_text()
            pattern = r"(\\w+\\[[0-9,]*\\])[^=]*\\b(all-gather|all-to-all|collective)"
            shapes = [m[0] for m in re.findall(pattern, text)]
            sizes = [re.findall(r"[0-9]+", s.split("[")[1]) for s in shapes]
            return [int(np.prod([int(x) for x in size] or [1])) for size in sizes]

        for old in alone:
            new = getattr(kt, old.name)()
            state = sum(int(np.prod(v.shape)) for v in new.variables)
            sizes = gathered(new)
            if old.name == "Hinge":  # needs the whole batch
                assert max(sizes) >= y.size, sizes
            else:
                assert sizes and max(sizes) <= n * state, (old.name, sizes)
            new.update_state(ys, ps)
            assert new._plan.taken["update"] == "native"
            assert abs(float(new.result()) - float(old.result())) < 1e-6, old.name
            if old.name in ("AUC", "BinaryAccuracy", "Precision"):
                assert exact_state(new) == exact_state(old)
        for old, more, batch in (
            (odd, {}, (y[:, 0], p[:, 0])), (whole, {"sample_weight": 2.0}, (y, p))
        ):
            new = kt.MeanSquaredError()
            new.update_state(*batch, **more)
            assert exact_state(new)["count"] == exact_state(old)["count"]
            assert abs(float(new.result()) - float(old.result())) < 1e-6
        # In the user's own shard_map a batch is the part of one device already.
        metric = kt.MeanSquaredError()

        def of_a_part(y, p):
            state = [v.value for v in metric.variables]
            return tuple(x[None] for x in metric.stateless_update_state(state, y, p))

        parts = jax.jit(jax.shard_map(
            of_a_part, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
        ))(ys, ps)
        assert np.asarray(parts[0])[:, 0, 1].tolist() == [4096 // n] * n

        uneven = kt.AUC()
        uneven.update_state(y[:1001], p[:1001])
        reference = keras.metrics.AUC()
        reference.update_state(y[:1001], p[:1001])
        assert abs(float(uneven.result()) - float(reference.result())) < 1e-5

        x = rng.standard_normal((256, 8)).astype("float32")
        t = (x.sum(1, keepdims=True) > 0).astype("float32")
        model = keras.Sequential(
            [keras.Input((8,)), keras.layers.Dense(1, activation="sigmoid")]
        )
        names = names[:-1]
        model.compile("sgd", "mse", metrics=[
            *(getattr(kt, name)(name=name) for name in names),
            *(getattr(keras.metrics, name)(name="k" + name) for name in names),
            kt.MetricGroup([getattr(kt, name)(name="g" + name) for name in names]),
        ])
        logs = model.fit(x, t, batch_size=64, epochs=2, verbose=0).history
        for name in names:
            np.testing.assert_allclose(logs[name], logs["k" + name], rtol=1e-5)
            np.testing.assert_allclose(logs["g" + name], logs[name], rtol=1e-6)
        """,
        JAX_PLATFORMS="cpu",
        XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}",
    )


def test_fit_takes_the_handlers():
    seed_all(0)
    x = np.random.default_rng(0).random((512, 4), dtype=np.float32)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    group = kt.MetricGroup([kt.MeanAbsoluteError(), kt.RootMeanSquaredError()])
    model.compile("sgd", "mse", metrics=[kt.MeanSquaredError(), group])
    before = handlers()
    model.fit(x, x.sum(1), batch_size=128, verbose=0)
    assert handlers() == before + 2 * 4  # four steps, one call for the group
    assert group._plan.taken == {"update": "native", "result": "native"}
    assert state_bits(group)
