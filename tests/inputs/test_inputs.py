"""Every kind of tensor a user may pass: layouts, dtypes, roads, no copies."""

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest

import keras_tally as kt
import references
from cases import (
    CASES,
    DEFAULT_CASES,
    F_NAMES,
    Batch,
    default_case,
)
from support import (
    IS_TORCH,
    LABEL_DTYPES,
    SCORE_DTYPES,
    as_float,
    assert_states_close,
    attach_mask,
    dtype_of,
    reference_after,
    state,
    state_bits,
    to_backend,
    updated,
)

if IS_TORCH:
    import torch

every_class = pytest.mark.parametrize("case", DEFAULT_CASES, ids=lambda c: c.name)


def spread_out(array):
    """The same values with gaps: every third element along each axis."""
    wide = np.zeros([3 * n for n in array.shape], array.dtype)
    view = wide[tuple(slice(1, None, 3) for _ in array.shape)]
    view[...] = array
    return view


def shifted(array):
    """The same values at an address that no vector instruction likes."""
    flat = np.zeros(array.size + 3, array.dtype)
    flat[3:] = array.ravel()
    return flat[3:].reshape(array.shape)


def unaligned(array):
    """The same values at an address that is no multiple of the item size."""
    raw = np.zeros(array.nbytes + 1, np.uint8)
    view = raw[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def column_major(array):
    return np.asfortranarray(array)


def flipped(array):
    """The same values through negative strides."""
    everywhere = tuple(slice(None, None, -1) for _ in array.shape)
    return np.ascontiguousarray(array[everywhere])[everywhere]


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def swapped_bytes(array):
    return array.astype(array.dtype.newbyteorder())


LAYOUTS = (spread_out, shifted, column_major, flipped, read_only)
# torch takes no foreign byte order, so Keras on torch does not either.
NUMPY_LAYOUTS = (*LAYOUTS, unaligned, *(() if IS_TORCH else (swapped_bytes,)))


def as_tensor(array):
    """A tensor that shares the array's memory, as far as torch can."""
    if not IS_TORCH:
        return array
    if min(array.strides, default=1) < 0 or not array.flags.writeable:
        return torch.from_numpy(array.copy())
    return torch.from_numpy(array)


def assert_same_as_plain(case, args, weight=None, plain=None):
    """These inputs leave the very state that plain contiguous arrays leave."""
    metric = case.ours()
    kwargs = {} if weight is None else {"sample_weight": weight}
    metric.update_state(*args, **kwargs)
    assert state_bits(metric) == state_bits(updated(case.ours(), [plain]))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_layouts(case, layout):
    batch = case.sample(0, 37, weighted=True)
    args = [as_tensor(layout(a)) for a in batch.args]
    assert_same_as_plain(case, args, as_tensor(layout(batch.weight)), batch)


@pytest.mark.parametrize("layout", NUMPY_LAYOUTS, ids=lambda f: f.__name__)
@every_class
def test_numpy_arrays_of_any_layout_on_every_backend(case, layout):
    batch = case.sample(0, 23, weighted=True)
    args = [layout(a) for a in batch.args]
    assert_same_as_plain(case, args, layout(batch.weight), batch)


@pytest.mark.parametrize("label_dtype", LABEL_DTYPES)
@pytest.mark.parametrize("score_dtype", SCORE_DTYPES)
@every_class
def test_dtypes(case, label_dtype, score_dtype):
    batch = case.batch(0, case.shape(9), label_dtype, score_dtype)
    reference = reference_after(case.name, case.kwargs, [batch])
    tolerance = case.tolerance
    if case.name == "MeanMetricWrapper" and dtype_of(score_dtype).itemsize == 2:
        tolerance = 0.1  # the user's function computes in the dtype of the scores
    metric = updated(case.ours(), [batch])
    assert_states_close(state(metric), reference.state(), tolerance, tolerance)


@pytest.mark.parametrize(
    "weight_dtype", ["bool", "uint8", "int32", "int64", *SCORE_DTYPES]
)
@every_class
def test_dtypes_of_weights(case, weight_dtype):
    batch = case.sample(0, 9)
    weight = np.array([1, 0, 1, 1, 0, 1, 0, 0, 1], dtype_of(weight_dtype))
    plain = batch._replace(weight=weight.astype(np.float32))
    assert state_bits(updated(case.ours(), [batch._replace(weight=weight)])) == (
        state_bits(updated(case.ours(), [plain]))
    )


@every_class
def test_lists(case, roads):
    batch = case.sample(0, 5, weighted=True)
    if case.name == "MeanMetricWrapper":
        pytest.skip("the user's function sees what the user passes")
    metric = case.ours()
    metric.update_state(
        *(a.tolist() for a in batch.args), sample_weight=batch.weight.tolist()
    )
    assert_states_close(state(metric), state(updated(case.ours(), [batch])), 1e-6)
    assert roads()["converted"] == 1


def test_python_scalars():
    metric = kt.Mean()
    metric.update_state(3.0)
    metric.update_state(1, sample_weight=3)
    assert as_float(metric) == 1.5
    metric = kt.Sum()
    metric.update_state(True)
    metric.update_state(2.5, sample_weight=2.0)
    assert as_float(metric) == 6.0


@pytest.mark.parametrize("weight", [2, 2.0, np.float32(2), np.float64(2)])
@every_class
def test_scalar_weights(case, weight):
    batch = case.sample(0, 7)._replace(weight=weight)
    ours = updated(case.ours(), [batch])
    if case.name in F_NAMES:  # Keras 3.15 takes one weight for each row only
        with pytest.raises(Exception, match=r"axis|[Dd]imension"):
            updated(case.keras(), [batch])
        rows = batch._replace(weight=np.full(7, weight, np.float32))
        assert_states_close(state(ours), state(updated(case.ours(), [rows])), 0)
    else:
        theirs = case.keras_state(state(updated(case.keras(), [batch])))
        assert_states_close(state(ours), theirs, 1e-5)
    array = batch._replace(weight=np.float32(weight))
    assert state_bits(updated(case.ours(), [array])) == state_bits(ours)


def test_zero_dimensional_tensors():
    metric = kt.Mean()
    metric.update_state(to_backend(np.float32(3.0)))
    metric.update_state(
        to_backend(np.float32(5.0)), sample_weight=to_backend(np.float32(3.0))
    )
    assert as_float(metric) == 4.5
    metric = kt.RootMeanSquaredError()
    metric.update_state(to_backend(np.float32(3.0)), to_backend(np.float32(5.0)))
    assert as_float(metric) == 2.0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_empty_batches_add_nothing(case, weighted):
    metric = updated(case.ours(), [case.sample(0, 5)])
    before = state_bits(metric)
    updated(metric, [case.sample(1, 0, weighted)])
    assert state_bits(metric) == before


@pytest.mark.parametrize("name", ["MeanSquaredError", "BinaryCrossentropy", "Mean"])
def test_empty_vectors_add_nothing(name):
    """Keras takes the mean of nothing here and is NaN from then on."""
    case = default_case(name)
    metric = case.ours()
    updated(metric, [case.batch(0, (0,))])
    assert as_float(metric) == 0.0
    assert not any(value.any() for value in state(metric).values())


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_inputs_are_not_changed(case):
    batch = case.sample(0, 17, weighted=True)
    mask = np.arange(17) % 3 > 0
    copies = [a.copy() for a in batch.args]
    args = [as_tensor(a) for a in batch.args]
    args[-1] = attach_mask(args[-1], mask)
    weight = batch.weight.copy()
    case.ours().update_state(*args, sample_weight=as_tensor(weight))
    for array, copy in zip(batch.args, copies, strict=True):
        assert array.tobytes() == copy.tobytes()
    # Keras multiplies the caller's weights by the mask in place.
    assert weight.tobytes() == batch.weight.tobytes()


# torch only: what a torch tensor can be besides a block of memory.


@pytest.mark.torch_only
@every_class
def test_requires_grad_and_parameters(case):
    batch = case.sample(0, 9)
    *others, last = [torch.from_numpy(a) for a in batch.args]
    for tensor in (
        last.clone().requires_grad_(),
        torch.nn.Parameter(last.clone()),
        last.clone().requires_grad_() * 1,
    ):
        metric = case.ours()
        metric.update_state(*others, tensor)
        assert state_bits(metric) == state_bits(updated(case.ours(), [batch]))
        assert not metric.result().requires_grad


@pytest.mark.torch_only
@every_class
def test_expanded_tensors(case):
    """stride 0: one row that stands for all."""
    batch = case.sample(0, 1)
    wide = [torch.from_numpy(a).expand(6, *a.shape[1:]) for a in batch.args]
    plain = Batch(tuple(np.repeat(a, 6, axis=0) for a in batch.args))
    assert_same_as_plain(case, wide, plain=plain)


@pytest.mark.torch_only
@pytest.mark.parametrize(
    "make",
    [
        lambda t: torch._neg_view(-t),
        lambda t: torch.complex(t, -t).conj().imag,
        lambda t: torch.complex(t, t).real,
    ],
    ids=["neg_view", "conj_imag", "real"],
)
@every_class
def test_lazily_negated_views_keep_their_sign(case, make):
    """DLPack hands out such a view's memory without its sign."""
    batch = case.sample(0, 9)
    *others, last = [torch.from_numpy(a) for a in batch.args]
    assert torch.equal(make(last), last)
    metric = case.ours()
    metric.update_state(*others, make(last))
    assert state_bits(metric) == state_bits(updated(case.ours(), [batch]))
    if others and others[0].dtype == torch.float32:
        metric = case.ours()
        metric.update_state(make(others[0]), last)
        assert state_bits(metric) == state_bits(updated(case.ours(), [batch]))
    weighted = case.sample(0, 9, weighted=True)
    metric = case.ours()
    metric.update_state(*others, last, sample_weight=make(to_backend(weighted.weight)))
    assert state_bits(metric) == state_bits(updated(case.ours(), [weighted]))


@pytest.mark.torch_only
@every_class
def test_tensors_without_data_are_refused(case):
    from torch._subclasses.fake_tensor import FakeTensorMode

    if case.name == "MeanMetricWrapper":
        pytest.skip("the user's function meets these tensors first")
    batch = case.sample(0, 9)
    tensors = [torch.from_numpy(a) for a in batch.args]
    mode = FakeTensorMode()
    fakes = [mode.from_tensor(t) for t in tensors]
    for empty in (fakes, [t.to("meta") for t in tensors]):
        metric = case.ours()
        before = state_bits(metric)
        with pytest.raises((ValueError, TypeError)):
            metric.update_state(*empty)
        assert state_bits(metric) == before


@pytest.mark.torch_only
def test_one_argument_without_data_is_refused():
    real = torch.ones(4, 1)
    metric = kt.MeanSquaredError()
    for args in ((real, real.to("meta")), (real.to("meta"), real)):
        with pytest.raises((ValueError, TypeError)):
            metric.update_state(*args)
    with pytest.raises((ValueError, TypeError)):
        metric.update_state(real, real, sample_weight=torch.ones(4, device="meta"))
    assert as_float(metric) == 0.0


@pytest.mark.torch_only
def test_other_kinds_of_torch_tensors():
    dense = torch.tensor([[1.0, 0.0], [0.0, 3.0]])
    metric = kt.MeanSquaredError()
    with pytest.raises((TypeError, ValueError)):
        metric.update_state(dense, dense.to_sparse())
    with pytest.raises((TypeError, ValueError)):
        torch.func.vmap(lambda x: kt.Mean().update_state(x))(dense)

    class Tagged(torch.Tensor):
        """A subclass, as many libraries have."""

    metric.update_state(dense, dense.as_subclass(Tagged) + 1)
    assert as_float(metric) == 1.0


@pytest.mark.torch_only
def test_mixed_kinds_of_arrays():
    """NumPy labels with torch predictions, as a training loop may have them."""
    metric = kt.MeanSquaredError()
    metric.update_state(np.float32([[1.0]]), torch.tensor([[3.0]]))
    metric.update_state(torch.tensor([[1.0]]), np.float32([[3.0]]))
    metric.update_state([[1.0]], torch.tensor([[3.0]]), sample_weight=np.ones(1))
    assert as_float(metric) == 4.0
    assert state(metric)["count"] == 3.0


def test_keras_variables_as_inputs():
    y_pred = keras.Variable(np.float32([[3.0], [1.0]]))
    metric = kt.MeanSquaredError()
    metric.update_state(to_backend(np.float32([[1.0], [1.0]])), y_pred)
    assert as_float(metric) == 2.0


def test_objects_with_dlpack(roads):
    """Arrays of other libraries come in through `__dlpack__`."""

    class Foreign:
        def __init__(self, array):
            self.array = array
            self.shape = array.shape
            self.dtype = array.dtype

        def __dlpack__(self, **kwargs):
            return self.array.__dlpack__(**kwargs)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

        def __array__(self, dtype=None, copy=None):
            return np.array(self.array, dtype=dtype, copy=copy)

    metric = kt.MeanSquaredError()
    metric.update_state(
        Foreign(np.float32([[1.0], [2.0]])), Foreign(np.float32([[3.0], [2.0]]))
    )
    assert as_float(metric) == 2.0
    assert roads().get("dlpack", 0) == 2


# Roads: which way the data came in.


@every_class
def test_the_usual_road(case, roads):
    """A float32 batch is borrowed, and the kernel adds into the variables."""
    batch = case.sample(0, 9)
    if case.name == "MeanMetricWrapper":
        pytest.skip("the user's function makes its own tensors")
    metric = case.ours()
    updated(metric, [batch])
    road = "exchange_api" if IS_TORCH else "numpy"
    taken = roads()
    assert taken["in_place"] == 1
    assert taken[road] >= len(batch.args)
    assert "converted" not in taken
    # A batch that tells the shape is tried first, apart from the state.
    assert taken.get("pure", 0) == case.built_late


@pytest.mark.torch_only
@every_class
def test_every_dtype_takes_the_fast_road(case, roads):
    if case.name == "MeanMetricWrapper":
        pytest.skip("the user's function makes its own tensors")
    for score_dtype in SCORE_DTYPES:
        for label_dtype in LABEL_DTYPES:
            batch = case.batch(0, case.shape(9), label_dtype, score_dtype)
            updated(case.ours(), [batch])
    taken = roads()
    updates = len(SCORE_DTYPES) * len(LABEL_DTYPES)
    assert taken["in_place"] == updates
    assert taken.get("pure", 0) == (updates if case.built_late else 0)
    assert not {"converted", "dlpack", "numpy"} & set(taken)


def test_numpy_arrays_are_borrowed(roads):
    metric = kt.MeanSquaredError()
    metric.update_state(np.float32([[1.0]]), np.float32([[2.0]]))
    taken = roads()
    assert taken["numpy"] >= 2  # on NumPy the variables are arrays too
    assert "converted" not in taken


def test_several_batches_of_different_kinds():
    """A plan bound to one kind of input takes another kind next."""
    rng = np.random.default_rng(0)
    metric = kt.MeanSquaredError()
    reference = references.build("MeanSquaredError")
    for dtype in ("float32", "float64", "float16", "bfloat16", "float32"):
        for shape in ((5, 3), (2, 7), (4,), (2, 3, 4)):
            args = tuple(rng.normal(size=shape).astype(dtype_of(dtype)) for _ in "ab")
            updated(metric, [Batch(args)])
            reference.update(*args)
    assert_states_close(state(metric), reference.state(), 1e-6)


# Peak memory, in a process of its own.

MEASURE = """
    import sys
    import numpy as np
    import keras
    import keras_tally as kt

    def peak_and_now():
        with open("/proc/self/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        return [int(lines[key].split()[0]) * 1024 for key in ("VmHWM", "VmRSS")]

    def reset_peak():
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")

    kt.set_num_threads(int(sys.argv[1]))
    scores = np.full(2**24, 0.4, np.float32)
    targets = np.ones(2**24, np.float32)
    classes = np.zeros(2**20, np.int64)
    weights = np.ones(2**24, np.float32)
    if keras.backend.backend() == "torch":
        import torch
        scores, targets, classes, weights = map(
            torch.from_numpy, (scores, targets, classes, weights)
        )
    for spec in sys.argv[2:]:
        name, *shape = spec.split(",")
        shape = [int(n) for n in shape]
        y_pred, y_true = scores.reshape(shape), targets.reshape(shape)
        if name.startswith("Sparse"):
            y_true = classes
        args = (y_pred,) if name in ("Mean", "Sum") else (y_true, y_pred)
        metric = getattr(kt, name)()
        for weight in (None, weights[: shape[0]]):
            # The first call loads code and starts threads.
            small = None if weight is None else weight[:4]
            metric.update_state(*(a[:4] for a in args), sample_weight=small)
            reset_peak()
            before = peak_and_now()[1]
            metric.update_state(*args, sample_weight=weight)
            print(name, "weighted" if small is not None else "plain",
                  peak_and_now()[0] - before)
"""
MEASURED = {
    "Mean": (2**24,),
    "MeanSquaredError": (2**20, 16),
    "BinaryAccuracy": (2**24, 1),
    "Precision": (2**20, 16),
    "AUC": (2**24,),
    "BinaryCrossentropy": (2**20, 16),
    "SparseCategoricalAccuracy": (2**20, 16),
    "SparseTopKCategoricalAccuracy": (2**20, 16),
    "CategoricalCrossentropy": (2**20, 16),
}


@pytest.mark.slow
@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads Linux's /proc/self/status"
)
@pytest.mark.parametrize("threads", [1, 2])
def test_contiguous_input_is_never_copied(threads):
    """64 MB of float32 scores; the peak may rise by 4 MB, not by a copy."""
    specs = [",".join(map(str, (name, *shape))) for name, shape in MEASURED.items()]
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(threads), *specs],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    rises = [line.rsplit(" ", 1) for line in run.stdout.splitlines()]
    assert len(rises) == 2 * len(MEASURED)
    too_high = {what: int(rise) for what, rise in rises if int(rise) > 4 * 2**20}
    assert not too_high
