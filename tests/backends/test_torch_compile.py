"""Metrics inside of functions that torch compiles: one graph, the same numbers."""

import copy
import io
import pickle
import sys
import threading

import numpy as np
import pytest

import keras_tally as kt
from cases import DEFAULT_CASES, FEW_CASES, IOU_NAMES
from keras_tally import engine, functional
from keras_tally._plans import key_of, text_of
from support import (
    IS_TORCH,
    attach_mask,
    exact_state,
    state_bits,
    to_backend,
    torch_only,
    updated,
)

if IS_TORCH:
    import torch

pytestmark = [
    torch_only,
    # The compiler's own: what it deprecates, and where it breaks a graph.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Dynamo:UserWarning"),
]


# It compiles C++, and half a minute for the first time.
INDUCTOR = pytest.param("inductor", marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def fresh_compiler():
    if IS_TORCH:
        torch._dynamo.reset()


def compiled(metric, backend="eager", fullgraph=True):
    """A compiled step that updates the metric and returns its result."""

    def step(arguments, weight):
        *others, last = arguments
        metric.update_state(*others, last * 1, sample_weight=weight)
        return metric.result() + 0

    return torch.compile(step, backend=backend, fullgraph=fullgraph)


def tensors(batch):
    arguments = tuple(to_backend(a) for a in batch.args)
    return arguments, None if batch.weight is None else to_backend(batch.weight)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", FEW_CASES, ids=lambda c: c.id)
def test_update_and_result_in_one_graph(case, weighted):
    if case.name == "MeanMetricWrapper":
        pytest.skip("the user's function is traced by its own rules")
    batches = [case.sample(seed, 12, weighted) for seed in range(3)]
    metric, expected = case.ours(), updated(case.ours(), batches)
    if case.built_late:  # its variables are made outside of the graph
        updated(metric, batches[:1])
        metric.reset_state()
    # A warning breaks the graph: of weights that are cut off, of too few samples.
    warns = (case.name in IOU_NAMES and weighted) or "num_regressors" in case.kwargs
    step = compiled(metric, fullgraph=not warns)
    for batch in batches:
        result = step(*tensors(batch))
    assert state_bits(metric) == state_bits(expected)
    np.testing.assert_array_equal(result.numpy(), expected.result().numpy())


@pytest.mark.parametrize("backend", ["aot_eager", INDUCTOR])
def test_other_compilers(backend):
    case = next(case for case in DEFAULT_CASES if case.name == "AUC")
    batches = [case.sample(seed, 12, True) for seed in range(3)]
    metric = case.ours()
    step = compiled(metric, backend)
    for batch in batches:
        step(*tensors(batch))
    assert state_bits(metric) == state_bits(updated(case.ours(), batches))


def test_other_metrics_may_come_and_go():
    """The tracer never goes through the other metrics: they may change meanwhile."""
    metric, plain = kt.MeanSquaredError(), kt.MeanSquaredError()
    step = compiled(metric)
    x, y = torch.rand(8, 1), torch.rand(8, 1)
    kept = [kt.Mean() for _ in range(500)]
    stop = threading.Event()

    def come_and_go():
        while not stop.is_set():
            kept.append(kt.Mean())
            del kept[0]

    thread = threading.Thread(target=come_and_go)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    thread.start()
    try:
        for _ in range(3):
            torch._dynamo.reset()
            step((x, y), None)
            plain.update_state(x, y)
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        thread.join()
    assert exact_state(metric) == exact_state(plain)


def test_what_the_graph_holds_is_an_operator(roads):
    metric = kt.Precision()
    targets = []

    def backend(module, _):
        targets.extend(str(n.target) for n in module.graph.nodes if n.op != "output")
        return module.forward

    step = compiled(metric, backend)
    y, p = torch.tensor([1.0, 0.0]), torch.tensor([0.9, 0.8])
    step((y, p), None)
    assert [t for t in targets if "keras_tally" in t] == [
        "keras_tally.update",
        "keras_tally.results",
    ]
    assert roads() == {"exchange_api": roads()["exchange_api"], "pure": 1} or (
        roads().get("cuda") == 1
    )


def test_a_user_mistake_in_a_graph_leaves_the_state():
    metric = kt.MeanSquaredError()
    step = compiled(metric)
    before = state_bits(metric)
    with pytest.raises(ValueError, match="y_true"):
        step((torch.zeros(3, 2), torch.zeros(4, 2)), None)
    assert state_bits(metric) == before


def test_masks_are_seen():
    """A mask hangs on a tensor where no graph shows it: the graph is broken there."""
    metric = kt.MeanSquaredError()
    y, p = torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [3.0]])

    def step(y, p):
        metric.update_state(y, p)

    attach_mask(p, np.array([True, False]))
    torch.compile(step, backend="eager")(y, p)
    assert float(metric.result()) == 1.0


def make_group():
    members = {"accuracy": kt.BinaryAccuracy(), "auc": kt.AUC(), "huber": kt.Huber()}
    return kt.MetricGroup(members, prefix="train_")


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("backend", ["eager", "aot_eager", INDUCTOR])
def test_a_group_is_in_one_graph(backend, weighted):
    group, expected = make_group(), make_group()

    @torch.compile(backend=backend, fullgraph=True)
    def step(y, p, weight):
        group.update_state(y, p * 1, sample_weight=weight)
        return {name: value + 0 for name, value in group.result().items()}

    for seed in range(3):
        rng = np.random.default_rng(seed)
        y, p, weight = (torch.from_numpy(rng.uniform(size=(8, 1))) for _ in range(3))
        y = (y > 0.5).float()
        weight = weight[:, 0] if weighted else None
        results = step(y, p, weight)
        expected.update_state(y, p, sample_weight=weight)
    assert results == expected.result()
    assert state_bits(group) == state_bits(expected)


def test_a_groups_mistake_in_a_graph_leaves_the_state():
    group = make_group()
    before = state_bits(group)

    @torch.compile(backend="eager", fullgraph=True)
    def step(y, p):
        group.update_state(y, p)

    with pytest.raises(ValueError, match="y_true"):
        step(torch.zeros(3, 2), torch.zeros(4, 2))
    assert state_bits(group) == before


def operators():
    """Every operator of the package, with arguments."""
    y, p = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.9, 0.8, 0.1])
    metric, group = kt.Precision(), make_group()
    states = [v._value for v in metric._plan_variables]
    pack = [v._value for v in group._plan_variables]
    text = text_of(key_of("auc", {}))
    state = torch.zeros(800, dtype=torch.float64)
    yield metric, "update", (states, id(metric._plan), y, p, None)
    yield metric, "update", (states, id(metric._plan), y, p, p)
    yield metric, "results", (states, id(metric._plan))
    yield group, "update", (pack, id(group._plan), y, p, None)
    yield group, "results", (pack, id(group._plan))
    yield None, "evaluate", (text, y, p, None)
    yield None, "evaluate", (text, y, p.double().requires_grad_(), p)
    yield None, "accumulate", (state, text, y, p, None)
    yield None, "compute", (state, text, False)
    yield None, "compute", (state, text, True)


def test_opcheck_passes():
    names = set()
    for _keep, name, arguments in operators():
        operator = getattr(torch.ops.keras_tally, name).default
        torch.library.opcheck(operator, arguments)
        names.add(name)
    made = torch._C._dispatch_get_all_op_names()
    assert names == {n.split("::")[1] for n in made if n.startswith("keras_tally::")}


def test_vmap_is_refused_in_graphs_too():
    y, p = torch.ones(2, 3), torch.rand(2, 3)
    batched = torch.func.vmap(lambda y, p: functional.mean_squared_error(y, p))
    with pytest.raises(Exception, match="vmap"):
        torch.compile(batched, backend="eager", fullgraph=True)(y, p)
    refused = set()
    for _keep, name, arguments in operators():
        is_batch = [isinstance(a, torch.Tensor) and a.ndim == 1 for a in arguments]
        if not any(is_batch):
            continue
        operator = getattr(torch.ops.keras_tally, name)

        def apply(x, operator=operator, arguments=arguments, is_batch=is_batch):
            pairs = zip(arguments, is_batch, strict=True)
            return operator(*[x if batch else a for a, batch in pairs])

        with pytest.raises(TypeError, match="vmap"):
            torch.func.vmap(apply)(torch.rand(2, 3))
        refused.add(name)
    assert refused == {"update", "evaluate", "accumulate", "compute"}


def binary_step(y, p, weight):
    return (
        functional.auc(y, p, weight),
        functional.f1_score(y, p) + functional.mean_absolute_error(y, p, weight),
        functional.precision(y, p, weight, thresholds=[0.25, 0.5]) * 2,
        functional.confusion_matrix(y.long(), (p > 0.5).long(), num_classes=2),
    )


class Evaluation(torch.nn.Module if IS_TORCH else object):
    """A model's step with a functional metric, and others whose state is in buffers."""

    def __init__(self):
        super().__init__()
        self.auc = engine.module("auc")
        self.f1 = engine.module("f1_score", columns=2, average="macro")

    def forward(self, y, p, weight):
        self.auc.update(y, p, weight)
        pairs = torch.stack([1 - p, p], dim=1)
        truth = torch.stack([1 - y, y], dim=1)
        loss = functional.binary_crossentropy(y, p.clamp(0.1, 0.9))
        return self.auc.compute(), self.f1(truth, pairs), loss


def steps():
    rng = np.random.default_rng(0)
    for _ in range(3):
        y, p, weight = torch.from_numpy(rng.uniform(size=(3, 16)).astype("float32"))
        yield (y > 0.5).float(), p, weight


@pytest.mark.parametrize("backend", ["eager", "aot_eager", INDUCTOR])
def test_functions_in_one_graph(backend):
    step = torch.compile(binary_step, backend=backend, fullgraph=True)
    for arguments in steps():
        for value, expected in zip(
            step(*arguments), binary_step(*arguments), strict=True
        ):
            torch.testing.assert_close(value, expected, rtol=0, atol=0)


@pytest.mark.parametrize("strict", [False, True])
def test_export(strict):
    expected, module = Evaluation(), Evaluation()
    exported = torch.export.export(module, next(steps()), strict=strict)
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    programs = [
        exported.module(),
        torch.export.load(file).module(),
        torch.compile(Evaluation(), backend="aot_eager", fullgraph=True),
    ]
    for arguments in steps():
        values = expected(*arguments)
        for program in programs:
            torch.testing.assert_close(program(*arguments), values, rtol=0, atol=0)


def test_modules_follow_and_copy():
    module, accumulator = engine.module("auc"), engine.Accumulator("auc")
    for y, p, weight in steps():
        module.update(y, p.requires_grad_(), weight)
        accumulator.update(y, p, weight)
    expected = accumulator.result()
    copied, pickled = copy.deepcopy(module), pickle.loads(pickle.dumps(module))
    loaded = engine.module("auc")
    loaded.load_state_dict(module.state_dict())
    for found in (module, copied, pickled, loaded, module.to(torch.bfloat16)):
        assert found.state.dtype == torch.float64
        assert found.compute() == expected
    module.reset()
    assert module.compute() == 0.0
    assert copied.compute() == expected
    with pytest.raises(ValueError, match="y_true"):
        copied.update(torch.zeros(3), torch.zeros(4))
    assert copied.compute() == expected
    with pytest.raises(TypeError, match="vmap"):
        torch.func.vmap(module.update)(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="columns"):
        engine.module("auc", columns=3)
    mean = engine.module("mean")
    assert mean(torch.tensor([1.0, 3.0])) == 2.0
    with pytest.raises(TypeError, match="values come alone"):
        mean.update(torch.zeros(3), torch.zeros(3))
    assert "binary_accuracy, threshold=0.25" in repr(
        engine.module("binary_accuracy", threshold=0.25)
    )


@pytest.mark.parametrize("make", [kt.AUC, make_group, lambda: engine.module("auc")])
def test_autocast_and_inference_stay_on_the_fast_road(make, roads):
    metric, expected = make(), make()
    update = getattr(metric, "update_state", None) or metric.update
    y, p = torch.tensor([[1.0], [0.0], [1.0]]), torch.tensor([[0.501], [0.5], [0.1]])
    with torch.inference_mode():
        update(y, p)
    with torch.autocast("cpu", torch.bfloat16):
        update(y, p)
    with torch.inference_mode():
        update(y.clone(), p.clone())
    if make is make_group or make is kt.AUC:
        for _ in range(3):
            expected.update_state(y, p)
        assert state_bits(metric) == state_bits(expected)
    assert roads()["in_place"] == (3 if not hasattr(metric, "update_state") else 6)
    assert "pure" not in roads()
    assert "converted" not in roads()
