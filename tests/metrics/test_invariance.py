"""What must not matter does not, for every row of the table of cases.

Drawn at random: how a batch is split, the order in which states are merged, the SIMD
level, the number of threads, and how arrays lie in memory. Promised, and tested: the
same bits at any level, with any number of threads and in any layout; unweighted counts
identical under any split and order; other sums within the tolerance of their case.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import keras_tally as kt
from cases import CASES, COUNTING_NAMES, DEFAULT_CASES
from keras_tally import _native
from support import assert_states_close, exact_state, state, state_bits, updated

LEVELS = _native.levels()


def offset(array, places):
    """At an address that suits no vector register."""
    room = np.full(array.size + places + 3, 99, array.dtype)
    room[places : places + array.size] = array.ravel()
    return room[places : places + array.size].reshape(array.shape)


def stepped(array, step):
    """Every `step`-th number along the last axis of a larger array."""
    room = np.full((*array.shape[:-1], array.shape[-1] * step), 99, array.dtype)
    room[..., ::step] = array
    return room[..., ::step]


def row_stepped(array, step):
    """Rows apart from one another."""
    room = np.full((array.shape[0] * step, *array.shape[1:]), 99, array.dtype)
    room[::step] = array
    return room[::step]


def transposed(array, step):
    """Columns one behind the other; a little larger than needed."""
    room = np.full((*array.shape[::-1][:-1], array.shape[0] + step), 99, array.dtype)
    room[..., : array.shape[0]] = array.T
    return room[..., : array.shape[0]].T


def backwards(array, step):
    """From the last to the first (torch, which cannot, gets a copy)."""
    return np.ascontiguousarray(array[::-1])[::-1]


LAYOUTS = (offset, stepped, row_stepped, transposed, backwards)


def laid_out(batch, data):
    """The same batch, each array in a layout of its own."""

    def drawn(array):
        layout = data.draw(st.sampled_from(LAYOUTS))
        out = layout(array, data.draw(st.integers(1, 5)))
        np.testing.assert_array_equal(out, array)
        return out

    weight = None if batch.weight is None else drawn(batch.weight)
    return batch._replace(args=tuple(map(drawn, batch.args)), weight=weight)


def parts_of(batch, count, data):
    cuts = data.draw(st.lists(st.integers(0, count), max_size=5).map(sorted))
    return batch.split(np.diff([0, *cuts, count]))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
@settings(max_examples=8)
@given(data=st.data())
def test_nothing_but_the_data_matters(case, data):
    count = data.draw(st.integers(1, 300))
    weighted = data.draw(st.booleans())
    batch = case.sample(data.draw(st.integers(0, 1000)), count, weighted)
    _native.set_level(LEVELS[0])
    whole = updated(case.ours(), [batch])

    _native.set_level(data.draw(st.sampled_from(LEVELS)))
    moved = updated(case.ours(), [laid_out(batch, data)])
    if case.name != "MeanMetricWrapper":  # which leaves the arithmetic to Keras
        assert state_bits(moved) == state_bits(whole)

    parts = parts_of(batch, count, data)
    in_turn = updated(case.ours(), parts)
    alone = [updated(case.ours(), [p]) for p in parts if p.args[-1].size]
    first, *others = data.draw(st.permutations(alone))
    first.merge_state(others)
    for metric in (in_turn, first):
        if case.name in COUNTING_NAMES and not weighted:
            assert exact_state(metric) == exact_state(whole)
        tolerance = max(case.tolerance, 1e-12)
        assert_states_close(state(metric), state(whole), tolerance, tolerance)


@pytest.mark.host_only
@pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)
@settings(max_examples=1)
@given(data=st.data())
def test_threads_do_not_matter(case, data):
    """Enough for several chunks, in a layout that has to be gathered."""
    if case.name == "MeanMetricWrapper":
        pytest.skip("what is left to add is one value for each sample")
    small = case.sample(data.draw(st.integers(0, 1000)), 4099, data.draw(st.booleans()))
    repeat = int(1.5 * _native.parallel_threshold()) // small.args[-1].size + 1

    def tiled(array):
        return stepped(np.concatenate([array] * repeat), 2)

    weight = None if small.weight is None else tiled(small.weight)
    batch = small._replace(args=tuple(map(tiled, small.args)), weight=weight)
    bits = []
    for threads in (1, data.draw(st.integers(2, 8))):
        kt.set_num_threads(threads)
        bits.append(state_bits(updated(case.ours(), [batch])))
    assert bits[0] == bits[1]
