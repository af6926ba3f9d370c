"""Metrics inside of functions that torch compiles: one graph, the same numbers."""

import sys
import threading

import numpy as np
import pytest

import keras_tally as kt
from cases import CASES, DEFAULT_CASES, IOU_NAMES
from support import IS_TORCH, attach_mask, state_bits, to_backend, torch_only, updated

if IS_TORCH:
    import torch

pytestmark = [
    torch_only,
    # The compiler's own: what it deprecates, and where it breaks a graph.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Dynamo:UserWarning"),
]


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
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
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


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
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
    assert metric.exact_state() == plain.exact_state()


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
        "keras_tally.result",
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


def test_groups_in_compiled_code():
    def make():
        return kt.MetricGroup({"accuracy": kt.BinaryAccuracy(), "auc": kt.AUC()})

    group = make()
    y, p = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([0.9, 0.8, 0.1])

    @torch.compile(backend="eager")
    def step(y, p):
        q = p * 1
        group.update_state(y, q)
        return q + 1

    step(y, p)
    expected = make()
    expected.update_state(y, p)
    assert group.result() == expected.result()
