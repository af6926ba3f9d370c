"""What the tests share: the active backend, conversions and comparisons."""

import contextlib
import ctypes
import ctypes.util
import math
import os
import platform
import random
import shutil
import sys
from fractions import Fraction

import keras
import ml_dtypes
import numpy as np
import pytest

import keras_tally as kt
import references
from keras_tally import _states
from keras_tally._kernel_metric import KernelMetric
from keras_tally._packed import PairView

BACKEND = keras.backend.backend()
IS_TORCH = BACKEND == "torch"
IS_NUMPY = BACKEND == "numpy"
# Where Keras's own operations do the work of the native code.
IS_PORTABLE = BACKEND in ("jax", "tensorflow")
if IS_TORCH:
    import torch

torch_only = pytest.mark.torch_only


def slow_if_compiled(test):
    """Leave the test to `make test-all` on JAX and TensorFlow.

    Every shape is compiled there and every `fit` traced.
    """
    return pytest.mark.slow(test) if IS_PORTABLE else test


def skip_or_fail(reason, variable):
    """Skip the test; fail where the environment says that nothing is missing here."""
    if os.environ.get(variable) == "1":
        pytest.fail(f"{reason}, although {variable}=1 says that there is one")
    pytest.skip(reason)


def find_nvcc():
    """CUDA's compiler; where there is none the test is skipped, or fails."""
    return os.environ.get("CUDACXX") or (
        shutil.which("nvcc")
        or skip_or_fail("no nvcc on this machine", "KERAS_TALLY_REQUIRE_NVCC")
    )


# Where the tests marked `cuda` have their tensors. KERAS_TALLY_TEST_DEVICE=cpu runs
# on the host what makes sense there, for whoever writes such tests without a GPU. With
# KERAS_TALLY_TEST_DEVICE=emulated all tests take host memory for that of a GPU, whose
# kernels run on the CPU: everything but the hardware and its compiler is tested.
EMULATED = os.environ.get("KERAS_TALLY_TEST_DEVICE") == "emulated"
ON_GPU = os.environ.get("KERAS_TALLY_TEST_DEVICE", "cuda") == "cuda"
DEVICE = "cuda" if ON_GPU else "cpu"
gpu_only = pytest.mark.skipif(not ON_GPU, reason="needs the GPU itself")


def seed_all(number):
    """Seed Python, from which Keras's layers draw theirs, NumPy and the frameworks.

    `keras.utils.set_random_seed` would import TensorFlow first, on every backend.
    """
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002, it is Keras that draws from it
    if IS_TORCH:
        torch.default_generator.manual_seed(number)
    if "tensorflow" in sys.modules:  # Keras shuffles with it on JAX, too
        sys.modules["tensorflow"].random.set_seed(number)


LABEL_DTYPES = (
    "bool",
    "uint8",
    "int32",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
)
SCORE_DTYPES = ("float16", "bfloat16", "float32", "float64")

# What one rounding to this dtype may change, relatively.
ROUNDING = {"float64": 1e-15, "float32": 1.2e-7, "float16": 1e-3, "bfloat16": 8e-3}


def dtype_of(name):
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def to_backend(array, dtype=None):
    """A tensor of the active backend with the values (and strides) of `array`."""
    array = np.asarray(array)
    if dtype is not None:
        array = array.astype(dtype_of(dtype))
    if IS_PORTABLE:
        return keras.ops.convert_to_tensor(array)
    if not IS_TORCH:
        return array
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    backwards = min(array.strides, default=0) < 0  # which torch does not have
    return torch.from_numpy(array.copy() if backwards else array)


def to_device(tensor):
    """The torch tensor in the memory of `DEVICE`."""
    return tensor.to(DEVICE)


def to_numpy(tensor):
    """The values as NumPy float64 (or the integer dtype they have)."""
    if IS_TORCH and isinstance(tensor, torch.Tensor):
        tensor = tensor.detach()
        if tensor.dtype == torch.bfloat16:
            tensor = tensor.to(torch.float32)
        return tensor.cpu().numpy()
    if isinstance(tensor, keras.Variable):
        return to_numpy(tensor.value)
    return np.asarray(tensor)


def attach_mask(tensor, mask):
    """The tensor, carrying the Keras mask, as a layer's output does."""
    if mask is not None:
        # Keras keeps the masks of NumPy arrays in a table by identity, and a view
        # is a fresh object: no other test's array can be meant.
        tensor = tensor.view() if IS_NUMPY else tensor
        mask = to_backend(mask)
        mask = mask.to(tensor.device) if IS_TORCH else mask
        keras.src.backend.set_keras_mask(tensor, mask)
    return tensor


def named_variables(metric):
    """The variables by Keras's names; ours are views on JAX and TensorFlow."""
    return _states.named_variables(metric)


def keras_variables(metric):
    """The variables Keras's own class has too, by name."""
    found = {v.name: v for v in named_variables(metric)}
    return {name: v for name, v in found.items() if name.removesuffix("_low") == name}


def exact_numbers(variable):
    """A variable's numbers as float64: of pairs, their sums."""
    value = to_numpy(_states.exact_value(variable)).astype("float64")
    return value.sum(0) if isinstance(variable, PairView) else value


def state(metric):
    """The state as float64 arrays by name, the low halves added."""
    found = {v.name: exact_numbers(v) for v in named_variables(metric)}
    return {
        name: found[name] + found.get(f"{name}_low", 0.0)
        for name in keras_variables(metric)
    }


def exact_state(metric):
    """The state in Python's own numbers: whole ones as integers, others as fractions.

    Of a group the states of those members that have kernels.
    """
    if isinstance(metric, kt.MetricGroup):
        members = {key: metric[key] for key in metric}
        return {
            key: exact_state(m)
            for key, m in members.items()
            if isinstance(m, KernelMetric)
        }
    if hasattr(metric, "metric"):  # what `sync` returns
        return exact_state(metric._once())
    numbers, at, found = _states.read(metric), 0, {}
    for name, shape in numbers.layout:
        size = math.prod(shape)
        found[name] = numbers.values[at : at + size].reshape(shape)
        at += size
    nothing = {name: np.zeros_like(x) for name, x in found.items()}
    return {
        name: _sum_exactly(x.tolist(), found.get(f"{name}_low", nothing[name]).tolist())
        for name, x in found.items()
        if name.removesuffix("_low") == name
    }


def _sum_exactly(high, low):
    if isinstance(high, list):
        return [_sum_exactly(h, r) for h, r in zip(high, low, strict=True)]
    if high - high != 0:
        return high
    exact = Fraction(high) + Fraction(low)
    return int(exact) if exact.denominator == 1 else exact


def state_bits(metric):
    """The exact bytes of every variable, for "nothing changed" and "the same"."""
    return [
        (v.name, tuple(v.shape), to_numpy(_states.exact_value(v)).tobytes())
        for v in named_variables(metric)
    ]


def updated(metric, batches, **options):
    """The metric after all batches, each a `cases.Batch` of NumPy arrays.

    Meanwhile subnormal numbers are zero for this thread, on which nothing of ours may
    depend; what Keras computes does.
    """
    ours = type(metric).__module__.startswith("keras_tally.")
    with flushing() if ours else contextlib.nullcontext():
        for batch in batches:
            batch.feed(metric, **options)
    return metric


def reference_after(name, kwargs, batches):
    reference = references.build(name, **kwargs)
    for batch in batches:
        reference.update(*batch.args, weight=batch.weight, mask=batch.mask)
    return reference


def assert_close(got, expected, relative, absolute=0.0, what=""):
    np.testing.assert_allclose(
        np.asarray(to_numpy(got), np.float64),
        np.asarray(to_numpy(expected), np.float64),
        rtol=relative,
        atol=absolute,
        err_msg=what,
    )


def assert_states_close(got, expected, relative, absolute=0.0):
    assert list(got) == list(expected)
    for name, value in expected.items():
        assert np.shape(got[name]) == np.shape(value), name
        assert_close(got[name], value, relative, absolute, what=name)


def result_dtype(metric):
    return keras.backend.standardize_dtype(metric.result().dtype)


def as_float(metric):
    """A scalar result as a Python float."""
    return float(to_numpy(metric.result()))


class _FloatModes:
    """The floating-point modes of the calling thread, read and written through libm."""

    def __init__(self):
        # Where in `fenv_t` the register stands, which of its bits are modes, and those
        # that flush subnormal results and operands to zero.
        self.at, self.modes, self.flushing = {
            "x86_64": (28, 0xFFC0, 0x8040),
            "aarch64": (0, 0x07C89F00, 1 << 24),
            "arm64": (8, 0x07C89F00, 1 << 24),  # macOS
        }[platform.machine()]
        self.libm = ctypes.CDLL(ctypes.util.find_library("m"))

    def read(self):
        environment = (ctypes.c_uint32 * 16)()
        assert self.libm.fegetenv(environment) == 0
        return environment[self.at // 4] & self.modes

    def write(self, modes):
        environment = (ctypes.c_uint32 * 16)()
        assert self.libm.fegetenv(environment) == 0
        environment[self.at // 4] &= ~self.modes
        environment[self.at // 4] |= modes
        assert self.libm.fesetenv(environment) == 0


_float_modes = _FloatModes()
float_mode = _float_modes.read


@contextlib.contextmanager
def float_mode_of(modes):
    """Put the calling thread into these modes, and back."""
    before = float_mode()
    _float_modes.write(modes)
    try:
        yield
        after = float_mode()
    finally:
        _float_modes.write(before)
    assert after == modes, "a call has changed the floating-point modes"


def flushing():
    """Subnormal numbers are zero here, as on TensorFlow's and XLA's threads."""
    return float_mode_of(float_mode() | _float_modes.flushing)
