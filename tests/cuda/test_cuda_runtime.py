"""Metrics on a GPU fit into their surroundings: streams, graphs, Keras, copies.

Nothing waits, nothing is allocated, one kernel is launched for an update. As in
test_cuda.py, these tests skip without a GPU.
"""

import contextlib
import copy
import pickle
import subprocess
import sys
import textwrap
import threading
import warnings

import keras
import numpy as np
import pytest
from keras.src.backend import compute_output_spec

import keras_tally as kt
from cases import COUNTING_NAMES, DEFAULT_CASES, Batch, default_case
from groups import KINDS, everything, make_members, that_take
from support import (
    DEVICE,
    IS_TORCH,
    ON_GPU,
    as_float,
    assert_close,
    assert_states_close,
    attach_mask,
    exact_state,
    gpu_only,
    seed_all,
    state,
    state_bits,
    to_backend,
    to_device,
    to_numpy,
    updated,
)
from test_cuda import (
    SUMS,
    WRAPPER,
    assert_equal_counts,
    assert_on_device,
    assert_same,
    on_cpu,
    on_gpu,
    tolerance_of,
)

if IS_TORCH:
    import torch

pytestmark = pytest.mark.cuda

every_class = pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
NATIVE = [c for c in DEFAULT_CASES if c.name != WRAPPER]
every_native_class = pytest.mark.parametrize("case", NATIVE, ids=lambda c: c.name)
# A few that cover the kinds of loops, where a test is dear.
some_classes = pytest.mark.parametrize(
    "case",
    [
        default_case(name)
        for name in (
            "MeanSquaredError",
            "Precision",
            "AUC",
            "SparseCategoricalCrossentropy",
            "MeanIoU",
            "R2Score",
        )
    ],
    ids=lambda c: c.name,
)


def tensors(case, seed, count, weighted=False):
    """The arguments of `update_state`, on the device."""
    batch = case.sample(seed, count, weighted)
    args = [to_device(to_backend(a)) for a in batch.args]
    if not weighted:
        return args, {}
    return args, {"sample_weight": to_device(to_backend(batch.weight))}


@contextlib.contextmanager
def no_waiting():
    """torch raises where it would wait for the GPU."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def sleep(milliseconds=50):
    """Keep the current stream busy, for about this long."""
    torch.cuda._sleep(int(milliseconds * 1.5e6))


# --------------------------------------------------------------------------------------
# no waiting, no allocation, one launch


@gpu_only
@every_class
def test_nothing_waits_for_the_gpu(case):
    plain, weighted = (tensors(case, 0, 37, w) for w in (False, True))
    masked = attach_mask(plain[0][-1].clone(), np.arange(37) % 3 > 0)
    metric = case.ours()

    def use():
        metric.reset_state()
        metric.update_state(*plain[0])
        metric.update_state(*weighted[0], **weighted[1])
        metric.update_state(*plain[0][:-1], masked)
        return metric.result()

    use()  # variables are made and kernels loaded, which may wait
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    with no_waiting():
        sleep()
        result = use()
        done.record()
        assert not done.query(), "a call has waited for the sleeping stream"
    batch = case.sample(0, 37)
    batches = [
        batch,
        case.sample(0, 37, weighted=True),
        batch._replace(mask=np.arange(37) % 3 > 0),
    ]
    twin = on_cpu(case, batches)
    assert_same(metric, twin, tolerance_of(case))
    assert_close(result, twin.result(), 1e-6, 1e-6)


@gpu_only
@every_native_class
def test_an_update_is_one_launch_and_allocates_nothing(case, roads):
    args, weight = tensors(case, 0, 37, weighted=True)
    metric = case.ours()
    for kwargs in ({}, weight):
        metric.update_state(*args, **kwargs)
        metric.result()
    before, allocated = roads(), torch.cuda.memory_stats()["allocation.all.allocated"]
    for kwargs in ({}, weight):
        metric.update_state(*args, **kwargs)
    taken = {k: v - before.get(k, 0) for k, v in roads().items()}
    assert torch.cuda.memory_stats()["allocation.all.allocated"] == allocated
    assert taken["cuda"] == taken["cuda_launches"] == 2
    assert taken.get("cuda_allocations", 0) == 0
    before = roads()
    metric.result()
    assert roads().get("cuda_allocations", 0) == before.get("cuda_allocations", 0)
    assert roads().get("converted", 0) == 0


@gpu_only
def test_allocations_do_not_grow_with_updates_metrics_or_sizes(roads):
    case = default_case("AUC")
    small, large = (tensors(case, 0, n)[0] for n in (10, 2**20))
    kt.AUC().update_state(*large)
    before = roads().get("cuda_allocations", 0)
    metrics = [kt.AUC() for _ in range(20)]
    for metric in metrics:
        for args in (small, large, small):
            metric.update_state(*args)
        metric.result()
    # Each metric may keep something of its own, from its first call on.
    grown = roads().get("cuda_allocations", 0) - before
    assert grown <= len(metrics)
    for metric in metrics:
        metric.update_state(*large)
    assert roads().get("cuda_allocations", 0) - before == grown


# --------------------------------------------------------------------------------------
# streams


@gpu_only
@every_native_class
def test_the_current_stream(case):
    """A kernel on another stream would not wait, and so read zeros."""
    batch = case.sample(0, 37)
    sources, _ = tensors(case, 0, 37)
    targets = [torch.zeros_like(t) for t in sources]
    metric = updated(case.ours(), [case.sample(1, 37)], lay=to_device)
    metric.reset_state()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        sleep()
        for target, source in zip(targets, sources, strict=True):
            target.copy_(source)
        metric.update_state(*targets)
        result = metric.result()
    stream.synchronize()
    twin = on_cpu(case, [batch])
    assert_close(result, twin.result(), 1e-6, 1e-6)
    assert_same(metric, twin)


@gpu_only
@some_classes
def test_several_streams_at_once(case):
    """Whatever metrics share on the device, updates side by side keep apart."""
    count, rounds = 60_000, 5
    batches = [case.sample(seed, count, weighted=True) for seed in range(6)]
    inputs = [tensors(case, seed, count, weighted=True) for seed in range(6)]
    metrics = [case.ours() for _ in batches]
    for metric, (args, weight) in zip(metrics, inputs, strict=True):
        metric.update_state(*args, **weight)
        metric.reset_state()
    streams = [torch.cuda.Stream() for _ in batches]
    torch.cuda.synchronize()
    for _ in range(rounds):
        for metric, (args, weight), stream in zip(
            metrics, inputs, streams, strict=True
        ):
            with torch.cuda.stream(stream):
                metric.update_state(*args, **weight)
    torch.cuda.synchronize()
    for metric, batch in zip(metrics, batches, strict=True):
        assert_same(metric, on_cpu(case, rounds * [batch]))


@gpu_only
@some_classes
def test_one_metric_on_several_streams_in_turn(case):
    args, _ = tensors(case, 0, 60_000)
    metric = case.ours()
    metric.update_state(*args)
    for _ in range(10):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            metric.update_state(*args)
        torch.cuda.current_stream().wait_stream(stream)
    assert_same(metric, on_cpu(case, 11 * [case.sample(0, 60_000)]))


@some_classes
def test_python_threads(case):
    args, _ = tensors(case, 0, 5000)
    metrics = [case.ours() for _ in range(4)]
    errors = []

    def work(metric):
        try:
            stream = torch.cuda.Stream() if ON_GPU else None
            with torch.cuda.stream(stream) if ON_GPU else contextlib.nullcontext():
                for _ in range(20):
                    metric.update_state(*args)
            if ON_GPU:
                stream.synchronize()
        except Exception as error:
            errors.append(error)

    if ON_GPU:
        torch.cuda.synchronize()
    threads = [threading.Thread(target=work, args=(m,)) for m in metrics]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    twin = on_cpu(case, 20 * [case.sample(0, 5000)])
    for metric in metrics:
        assert_same(metric, twin)


# --------------------------------------------------------------------------------------
# several GPUs


@pytest.fixture
def two_gpus():
    if not ON_GPU or torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")


@some_classes
def test_a_gpu_that_is_not_the_current_one(case, two_gpus):
    batch = case.sample(0, 37, weighted=True)
    with keras.device("cuda:1"):
        metric = case.ours()
        updated(metric, [batch], lay=lambda t: t.to("cuda:1"))
        result = metric.result()
    assert torch.cuda.current_device() == 0
    assert result.device == torch.device("cuda:1")
    assert_same(metric, on_cpu(case, [batch]))


@some_classes
def test_tensors_of_two_gpus_are_refused(case, two_gpus):
    metric = on_gpu(case, [case.sample(0, 37)])
    before = state_bits(metric)
    (y_true, y_pred), weight = tensors(case, 0, 37, weighted=True)
    far = [t.to("cuda:1") for t in (y_true, y_pred, weight["sample_weight"])]
    for name, args in (
        ("y_true", (far[0], y_pred)),
        ("y_true", (y_true, far[1])),
        ("y_pred", (far[0], far[1])),
        ("sample_weight", (y_true, y_pred, far[2])),
    ):
        with pytest.raises(ValueError, match=name) as raised:
            metric.update_state(*args)
        assert "cuda:0" in str(raised.value)
        assert "cuda:1" in str(raised.value)
    assert state_bits(metric) == before
    updated(metric, [case.sample(1, 37)], lay=to_device)
    assert_same(metric, on_cpu(case, [case.sample(seed, 37) for seed in (0, 1)]))


# --------------------------------------------------------------------------------------
# CUDA graphs


def captured(metric, inputs, weight):
    """A graph of an update and the result, and the tensor of the latter."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        metric.update_state(*inputs, **weight)
        result = metric.result()
    return graph, result


@gpu_only
@pytest.mark.parametrize("weighted", [False, True])
@every_native_class
def test_a_graph_replays_updates(case, weighted):
    inputs, weight = tensors(case, 0, 300, weighted)
    metric = case.ours()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        metric.update_state(*inputs, **weight)
        metric.result()
    torch.cuda.current_stream().wait_stream(side)
    metric.reset_state()
    before = state_bits(metric)
    graph, result = captured(metric, inputs, weight)
    assert state_bits(metric) == before, "a capture runs nothing"
    seeds = range(1, 5)
    for seed in seeds:
        new, new_weight = tensors(case, seed, 300, weighted)
        for target, source in zip(
            [*inputs, *weight.values()], [*new, *new_weight.values()], strict=True
        ):
            target.copy_(source)
        graph.replay()
    twin = on_cpu(case, [case.sample(seed, 300, weighted) for seed in seeds])
    assert_close(result, twin.result(), 1e-6, 1e-6)
    # Beside the graph the metric goes on as ever.
    updated(metric, [case.sample(9, 50)], lay=to_device)
    with keras.device("cpu"):
        updated(twin, [case.sample(9, 50)])
    assert_same(metric, twin)


CAPTURE = """
    import torch
    import keras_tally as kt

    # The very first update of the process is captured.
    labels = torch.tensor([[1.0], [0.0], [1.0]], device="cuda")
    scores = torch.tensor([[0.9], [0.2], [0.3]], device="cuda")
    ids = torch.tensor([1, 0, 1], device="cuda")
    rows = torch.tensor([[0.1, 0.9], [0.7, 0.3], [0.8, 0.2]], device="cuda")
    weight = torch.ones(3, device="cuda")
    metrics = {
        kt.BinaryAccuracy(): (labels, scores),
        kt.AUC(): (labels, scores, weight),
        kt.MeanSquaredError(): (labels, scores),
        kt.SparseCategoricalAccuracy(): (ids, rows),
        kt.SparseCategoricalCrossentropy(): (ids, rows),
        kt.MeanIoU(2): (ids, ids),
        kt.MeanIoU(300): (ids, ids),
    }
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for metric, args in metrics.items():
            metric.update_state(*args)
    for _ in range(3):
        graph.replay()
    for metric, args in metrics.items():
        alone = type(metric).from_config(metric.get_config())
        for _ in range(3):
            alone.update_state(*args)
        assert exact_state(alone) == exact_state(metric), metric
    print("replayed")
"""


@gpu_only
def test_a_graph_without_warming_up():
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CAPTURE)], capture_output=True, text=True
    )
    assert done.stdout == "replayed\n", done.stderr


# --------------------------------------------------------------------------------------
# Keras and torch around it


def small_model(units, activation, seed=1):
    seed_all(seed)
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(units, activation=activation, dtype="float32"),
        ]
    )


def rows_of_data():
    rng = np.random.default_rng(0)
    x = np.float32(rng.normal(size=(160, 6)))
    return x, np.float32(x[:, :1] + 0.5 * rng.normal(size=(160, 1)) > 0)


def binary_metrics():
    names = (
        "BinaryAccuracy",
        "Precision",
        "Recall",
        "AUC",
        "BinaryCrossentropy",
        "MeanSquaredError",
    )
    return [getattr(kt, name)(name=name.lower()) for name in names]


POLICIES = ["float32", "mixed_float16", "mixed_bfloat16"]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("policy", POLICIES)
def test_fit_and_evaluate(policy, weighted, roads):
    x, y = rows_of_data()
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small_model(1, "sigmoid")
        metrics = binary_metrics()
        kind = "weighted_metrics" if weighted else "metrics"
        model.compile("adam", "binary_crossentropy", **{kind: metrics})
        before = roads()
        history = model.fit(
            x, y, batch_size=32, epochs=2, validation_split=0.2, verbose=0
        ).history
        if ON_GPU:
            taken = {k: v - before.get(k, 0) for k, v in roads().items()}
            steps = 2 * (4 + 1)
            assert taken["cuda"] >= steps * len(metrics)
            assert taken.get("converted", 0) == 0
        assert all(np.isfinite(values).all() for values in history.values())
        weight = np.float32(np.arange(160) % 3) if weighted else None
        logs = model.evaluate(
            x, y, sample_weight=weight, batch_size=40, verbose=0, return_dict=True
        )
        assert_on_device(*(v.value for m in metrics for v in m.variables))
        predictions = model.predict(x, batch_size=40, verbose=0)
    finally:
        keras.config.set_dtype_policy(previous)
    with keras.device("cpu"):
        twins = binary_metrics()
        for twin in twins:
            twin.update_state(y, predictions, weight)
    # With 16 bits, predictions may differ by their rounding between two passes.
    tolerance = 2e-6 if policy == "float32" else 2e-2
    for twin in twins:
        assert logs[twin.name] == pytest.approx(as_float(twin), rel=tolerance)


def test_saved_models(tmp_path):
    x, y = rows_of_data()
    model = small_model(1, "sigmoid")
    model.compile("adam", "binary_crossentropy", metrics=binary_metrics())
    model.fit(x, y, verbose=0)
    logs = model.evaluate(x, y, verbose=0, return_dict=True)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(x, y, verbose=0, return_dict=True) == pytest.approx(logs)


def test_symbolic_builds_touch_no_device(roads):
    """Keras calls metrics with tensors of shapes only, before the first step."""
    metric = kt.AUC()
    before = state_bits(metric)
    labels, scores = keras.KerasTensor((8, 1)), keras.KerasTensor((8, 1))

    def step(labels, scores):
        metric.update_state(labels, scores)
        return metric.result()

    assert compute_output_spec(step, labels, scores).shape == ()
    assert state_bits(metric) == before
    assert roads().get("cuda", 0) == 0


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@some_classes
def test_inside_a_compiled_step(case, backend):
    metric = case.ours()
    batches = [case.sample(seed, 40) for seed in range(3)]
    updated(metric, batches[:1], lay=to_device)

    def step(y_true, y_pred):
        y_pred = y_pred * 2
        metric.update_state(y_true, y_pred / 2)
        return y_pred + 1

    compiled = torch.compile(step, backend=backend)
    for batch in batches[1:]:
        y_true, y_pred = (to_device(to_backend(a)) for a in batch.args)
        with warnings.catch_warnings():
            # dynamo says that it does not look into native functions.
            warnings.simplefilter("ignore", UserWarning)
            torch.testing.assert_close(compiled(y_true, y_pred), y_pred * 2 + 1)
    assert_same(metric, on_cpu(case, batches))


@every_native_class
def test_stateless(case):
    metric = on_gpu(case, [case.sample(0, 37)])
    before = state_bits(metric)
    args, weight = tensors(case, 1, 37, weighted=True)
    given = [v.value for v in metric.variables]
    new = metric.stateless_update_state(given, *args, **weight)
    assert state_bits(metric) == before
    assert_on_device(*new)
    result = metric.stateless_result(new)
    assert_on_device(result)
    batches = [case.sample(0, 37), case.sample(1, 37, weighted=True)]
    twin = on_cpu(case, batches)
    assert_close(result, twin.result(), 1e-6, 1e-6)
    for variable, value in zip(metric.variables, new, strict=True):
        variable.assign(value)
    assert_same(metric, twin)
    assert not any(to_numpy(value).any() for value in metric.stateless_reset_state())


@every_class
def test_reset_copies_and_pickles(case):
    batches = [case.sample(seed, 37) for seed in range(2)]
    metric = on_gpu(case, batches[:1])
    copies = [copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))]
    with keras.device("cpu"):
        host = pickle.loads(pickle.dumps(metric))
    assert {v.value.device.type for v in host.variables} == {"cpu"}
    assert state_bits(host) == state_bits(metric)
    before = state_bits(metric)
    for other in copies:
        assert state_bits(other) == before
        updated(other, batches[1:], lay=to_device)
        assert_same(other, on_cpu(case, batches), tolerance_of(case))
    assert state_bits(metric) == before
    metric.reset_state()
    assert not any(to_numpy(v).any() for v in metric.variables)
    updated(metric, batches[1:], lay=to_device)
    assert_same(metric, on_cpu(case, batches[1:]), tolerance_of(case))


def test_results_are_no_views():
    metric = kt.Sum()
    metric.update_state(torch.ones(3, device=DEVICE))
    first = metric.result()
    metric.update_state(torch.ones(3, device=DEVICE))
    assert float(first) == 3


def test_states_merge_by_addition():
    for case in DEFAULT_CASES:
        batches = [case.sample(seed, 50) for seed in range(2)]
        one, other = (on_gpu(case, [batch]) for batch in batches)
        for variable, more in zip(one.variables, other.variables, strict=True):
            variable.assign(variable.value + more.value)
        assert_same(one, on_cpu(case, batches), tolerance_of(case))


# --------------------------------------------------------------------------------------
# groups


def group_batch(kind, seed, weighted, count=1037):
    makers, behind, _ = KINDS[kind]
    rng = np.random.default_rng(seed)
    args = makers[seed % min(2, len(makers))](
        rng, (count, *behind), "float32", "float32"
    )
    if not weighted:
        return [*args, None]
    form = args[0].shape if kind == "segments" else (count, *behind[:-1])
    return [*args, np.float32(rng.integers(0, 5, form)) / 4]


def feed(metric, arrays, lay=to_device):
    metric.update_state(*(a if a is None else lay(to_backend(a)) for a in arrays))


def on_host(tensor):
    return tensor


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_groups(kind, weighted):
    """All cases of a kind in one group, beside the same metrics on the CPU."""
    batches = [group_batch(kind, seed, weighted) for seed in range(2)]
    with keras.device("cpu"):
        first = Batch(tuple(batches[0][:2]), batches[0][2])
        fit = that_take(everything(kind), first)
        alone = make_members(fit)
        for metric in alone.values():
            for arrays in batches:
                feed(metric, arrays, on_host)
    group = kt.MetricGroup(make_members(fit))
    for arrays in batches:
        feed(group, arrays)
    assert_on_device(*(v.value for v in group.variables))
    results = group.result()
    for key, twin in alone.items():
        if type(twin).__name__ in COUNTING_NAMES:
            assert_equal_counts(group[key], twin, key)
        elif type(twin).__name__ != WRAPPER:
            assert_states_close(state(group[key]), state(twin), SUMS, SUMS)
        with keras.device("cpu"):
            expected = twin.result()
        assert_close(results[key], expected, 1e-6, 1e-6, key)
        assert_close(group[key].result(), expected, 1e-6, 1e-6, key)
    again = kt.MetricGroup(make_members(fit))
    for arrays in batches:
        feed(again, arrays)
    assert state_bits(again) == state_bits(group)


@gpu_only
def test_groups_do_not_wait(roads):
    group = kt.MetricGroup(binary_metrics())
    arrays = [torch.rand(1000, 1, device=DEVICE).round() for _ in "ab"]
    group.update_state(*arrays)
    group.result()
    group.reset_state()
    allocations = roads().get("cuda_allocations", 0)
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    with no_waiting():
        sleep()
        group.reset_state()
        group.update_state(*arrays)
        group.result()
        done.record()
        assert not done.query()
    assert roads().get("cuda_allocations", 0) == allocations


@gpu_only
def test_a_group_in_a_graph():
    group = kt.MetricGroup(binary_metrics())
    inputs = [torch.rand(1000, 1, device=DEVICE).round() for _ in "ab"]
    group.update_state(*inputs)
    group.reset_state()
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        group.update_state(*inputs)
    alone = kt.MetricGroup(binary_metrics())
    for _ in range(3):
        for tensor in inputs:
            tensor.copy_(torch.rand_like(tensor).round())
        graph.replay()
        alone.update_state(*inputs)
    assert exact_state(group) == exact_state(alone)


def test_fused_metrics():
    arrays = group_batch("one column", 0, True)
    (group,), _, kept = kt.fuse(binary_metrics())
    assert not kept
    feed(group, arrays)
    with keras.device("cpu"):
        expected = binary_metrics()
        for metric in expected:
            feed(metric, arrays, on_host)
    results = group.result()
    assert list(results) == [metric.name for metric in expected]
    for metric in expected:
        assert_close(results[metric.name], metric.result(), 1e-6, 1e-6)


def test_fused_model():
    x, y = rows_of_data()
    logs = []
    for fused in (False, True):
        model = small_model(1, "sigmoid")
        model.compile("sgd", "binary_crossentropy", metrics=binary_metrics())
        if fused:
            kt.fuse(model)
        model.fit(x, y, shuffle=False, verbose=0)
        logs.append(model.evaluate(x, y, verbose=0, return_dict=True))
    assert list(logs[0]) == list(logs[1])
    assert logs[1] == pytest.approx(logs[0], rel=1e-5)
