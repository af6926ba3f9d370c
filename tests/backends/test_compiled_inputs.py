"""Numbers, lists and NumPy's arrays inside of compiled functions, for every class.

Keras's torch trainer updates the tracker of the loss with the size of the batch, a
Python integer, as its weight; users give constants.
"""

import numpy as np
import pytest

from cases import DEFAULT_CASES
from support import BACKEND, IS_NUMPY, IS_TORCH, assert_close, state, to_backend

pytestmark = [
    pytest.mark.skipif(IS_NUMPY, reason="NumPy has no compiler"),
    # The compiler's own: what it deprecates, and where it breaks a graph.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Dynamo:UserWarning"),
]


def compiled(updates):
    """Update metrics with constants, all of them in one compiled function."""
    if BACKEND == "jax":
        import jax

        def pure(states):
            return [
                metric.stateless_update_state(values, *batch, sample_weight=weight)
                for (metric, batch, weight), values in zip(updates, states, strict=True)
            ]

        states = jax.jit(pure)([[v.value for v in m.variables] for m, *_ in updates])
        for (metric, *_), values in zip(updates, states, strict=True):
            for variable, value in zip(metric.variables, values, strict=True):
                variable.assign(value)
        return

    def step():
        for metric, batch, weight in updates:
            metric.update_state(*batch, sample_weight=weight)

    if IS_TORCH:
        import torch

        torch._dynamo.reset()
        # IoU warns of weights that it cuts off, and a warning breaks the graph.
        whole = "IoU" not in type(updates[0][0]).__name__
        torch.compile(step, backend="eager", fullgraph=whole)()
    else:
        import tensorflow as tf

        tf.function(step)()


def inputs_of(case):
    """A batch and a weight for each way to give them, by its name."""
    arrays = case.sample(0, 3).args
    tensors = [to_backend(a) for a in arrays]
    lists = [a.tolist() for a in arrays]
    per_sample = np.arange(3)
    found = {
        "bools": (tensors, True),
        "NumPy's numbers": (tensors, np.float32(1.5)),
        "NumPy's weights": (tensors, per_sample),
        "integers": (tensors, 2),
        "lists of weights": (tensors, per_sample.tolist()),
    }
    if case.name != "MeanMetricWrapper":  # whose function is the user's
        found["lists"] = lists, per_sample.tolist()
        found["lists of labels"] = [*lists[:-1], tensors[-1]], 2
        found["NumPy"] = arrays, per_sample
    return found


# One of each way to take inputs; torch takes seconds for each class.
QUICK = ("Mean", "AUC", "ElementwiseMetric")


def with_marks(case):
    slow = IS_TORCH and case.name not in QUICK
    return pytest.param(case, id=case.name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize("case", [with_marks(c) for c in DEFAULT_CASES])
def test_the_same_state_as_without_a_compiler(case):
    updates, expected = [], {}
    for way, (batch, weight) in inputs_of(case).items():
        eager = case.ours()
        eager.update_state(*batch, sample_weight=weight)
        metric = case.ours()
        if case.built_late:
            metric.update_state(*batch)
            metric.reset_state()
        updates.append((metric, batch, weight))
        expected[way] = state(eager)
    assert len(updates) >= 3
    compiled(updates)
    for (metric, *_), (way, values) in zip(updates, expected.items(), strict=True):
        for name, value in values.items():
            assert_close(state(metric)[name], value, 1e-6, what=f"{way}: {name}")
