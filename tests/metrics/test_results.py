"""Every row of csrc/results.def: native, in keras.ops and as the reference has it.

The states are those that random batches make of the references; the metrics are given
them, and see no data.
"""

import contextlib

import keras
import numpy as np
import pytest

from cases import CASES
from keras_tally import _backends, _native
from keras_tally import _results as results
from support import (
    IS_NUMPY,
    IS_PORTABLE,
    named_variables,
    reference_after,
    to_numpy,
    updated,
)

ROWS = [row["name"] for row in _native.results()]


def built(case):
    metric = case.ours()
    return updated(metric, [case.sample(0, 8)]) if case.built_late else metric


def row_of(case):
    _, row, _ = built(case)._plan_arguments
    return row


BY_ROW = {row: [] for row in (*ROWS, "expression")}
for case in CASES:
    BY_ROW[row_of(case)].append(case)


def random_reference(case, seed):
    """A reference in some state."""
    rng = np.random.default_rng(seed)
    batches = []
    for i in range(rng.integers(1, 4)):
        count, weighted = int(rng.integers(2, 40)), i % 2 == seed % 2
        batch = case.sample(100 * seed + i, count, weighted)
        if weighted:  # some samples weigh nothing
            nothing = rng.random(np.shape(batch.weight)) < 0.3
            batch = batch._replace(
                weight=np.where(nothing, np.float32(0), batch.weight)
            )
        batches.append(batch)
    return reference_after(case.name, case.kwargs, batches)


def given_state(case, values):
    metric = built(case)
    for variable in named_variables(metric):
        value = np.asarray(values.get(variable.name, 0.0), "float64")
        variable.assign(np.broadcast_to(value, variable.shape).astype(variable.dtype))
    return metric


def in_keras_ops(metric):
    _, row, options = metric._plan_arguments
    backend = _backends.active()
    float64 = backend.float64() if IS_PORTABLE else contextlib.nullcontext()
    with float64:
        sums = [
            keras.ops.convert_to_tensor(to_numpy(v).astype("float64"))
            for v in metric._state
        ]
        return to_numpy(results.result(row, options, sums))


@pytest.mark.skipif(IS_NUMPY, reason="keras.ops rounds to float32 there")
@pytest.mark.parametrize("row", ROWS)
def test_three_ways_to_each_result(row):
    assert BY_ROW[row], f"no case has the result {row}"
    for case in BY_ROW[row]:
        for seed in range(3):
            reference = random_reference(case, seed)
            metric = given_state(case, reference.state())
            expected = np.asarray(reference.result(), "float64")
            # Whole numbers and weights of float32: the state is exact everywhere.
            np.testing.assert_allclose(
                in_keras_ops(metric).reshape(expected.shape), expected, 1e-5, 1e-7
            )
            np.testing.assert_allclose(
                to_numpy(metric.result()).astype("float64"), expected, 1e-5, 1e-7
            )


def test_every_row_has_a_function_in_keras_ops():
    assert set(results.RESULTS) == {*ROWS, "expression"}
