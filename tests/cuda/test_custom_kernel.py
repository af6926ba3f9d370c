"""Kernels of another package: how they are registered, and that they are like ours.

`_custom_emulated` is such a package: it has the kernel of examples/custom_kernel and,
compiled once more by the same CMake function, every kernel of our own table of two
operands. `make custom-kernel` tests the example itself, built against the wheel.
"""

import ctypes
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_tally as kt
from keras_tally import _native
from keras_tally._engine import IN_PLACE
from support import (
    BACKEND,
    EMULATED,
    IS_PORTABLE,
    as_float,
    assert_close,
    state,
    state_bits,
    to_backend,
    to_numpy,
)

# No wheel has it; `make test` fails without.
_custom_emulated = pytest.importorskip("keras_tally._custom_emulated")
_cuda_emulated = pytest.importorskip("keras_tally._cuda_emulated")

ROOT = Path(__file__).resolve().parents[2]
OURS = [k["name"] for k in _native.kernels() if _native.elementwise_shapes(k["name"])]
ARGUMENTS = {"quantile_error": [0.3]}


def own(kernel, arguments=(), last_axis="mean", **options):
    """A metric of any elementwise kernel, configured like ours by `options`."""

    class Own(kt.NativeMetric):
        def kernel_arguments(self):
            return arguments

        def portable(self, y_true, y_pred):
            error = y_true - y_pred
            return keras.ops.where(error >= 0, 0.3 * error, -0.7 * error)

        def _kernel_options(self):
            return {**super()._kernel_options(), **options}

    Own.kernel, Own.last_axis = kernel, last_axis
    return Own(name="own")


def batch(shape, seed=0):
    """Labels and scores in (0, 1), which every kernel takes."""
    rng = np.random.default_rng(seed)
    return (
        to_backend(rng.integers(0, 2, shape).astype("float32")),
        to_backend(rng.uniform(0.01, 0.99, shape).astype("float32")),
    )


def quantile_errors(y_true, y_pred, q=0.3):
    error = np.asarray(y_true, "float64") - np.asarray(y_pred, "float64")
    return np.where(error >= 0, q * error, (q - 1) * error)


def test_names_are_attributes():
    names = {k: v for k, v in vars(_custom_emulated).items() if not k.startswith("_")}
    assert names == {
        k: f"keras_tally._custom_emulated.{k}" for k in ("quantile_error", *OURS)
    }
    assert _native.elementwise_shapes(names["quantile_error"]) == "Broadcast"
    assert _native.elementwise_shapes("identity") is None  # of one operand
    assert _native.elementwise_shapes("confusion") is None
    assert _native.elementwise_shapes("nothing") is None


@pytest.mark.skipif(IS_PORTABLE, reason="one test of the executors is enough")
@pytest.mark.parametrize("kernel", OURS)
def test_every_kernel_of_the_table_as_another_package_has_it(kernel):
    """The same definition, compiled by the CMake function: the same bits."""
    options = {"threshold": 0.4, "label_smoothing": 0.1, "gamma": 1.5}
    weight = to_backend(np.random.default_rng(1).random(1500).astype("float32"))
    for level in _native.levels():
        _native.set_level(level)
        ours = own(kernel, **options)
        theirs = own(getattr(_custom_emulated, kernel), **options)
        for metric in (ours, theirs):
            metric.update_state(*batch((37, 3)))
            metric.update_state(*batch((1500, 2), 1), weight)
        assert state_bits(theirs) == state_bits(ours)


@pytest.mark.parametrize("last_axis", ["mean", "sum", None])
def test_last_axis(last_axis):
    metric = own(_custom_emulated.quantile_error, [0.3], last_axis)
    y_true, y_pred = batch((20, 4))
    metric.update_state(y_true, y_pred)
    each = quantile_errors(to_numpy(y_true), to_numpy(y_pred))
    expected = {"mean": each.mean(), "sum": each.sum(axis=1).mean(), None: each.mean()}
    assert_close(as_float(metric), expected[last_axis], 1e-6)


@pytest.mark.parametrize("last_axis", ["mean", "sum", None])
@pytest.mark.parametrize("rank", [1, 2])
def test_portable_form_means_the_same(last_axis, rank):
    metric = own(_custom_emulated.quantile_error, [0.3], last_axis)
    shapes = ((20,), (20, 1)) if rank == 1 else ((20, 4), (20, 4))
    y_true, y_pred = batch(shapes[0])[0], batch(shapes[1])[1]
    twin = metric._keras_twin()
    for each in (twin, metric):
        each.update_state(y_true, y_pred)
    assert_close(as_float(twin), as_float(metric), 1e-5)


def test_a_batch_of_a_group_is_read_once_for_all(roads):
    q, a = _custom_emulated.quantile_error, _custom_emulated.absolute_error
    members = {"q": own(q, [0.3]), "a": own(a), "b": kt.MeanAbsoluteError()}
    alone = {"q": own(q, [0.3]), "a": own(a), "b": kt.MeanAbsoluteError()}
    group = kt.MetricGroup(members)
    assert not group.separate
    group.update_state(*batch((300, 3)))
    if BACKEND == "jax":
        assert roads()["xla"] == 1
    for name, metric in alone.items():
        metric.update_state(*batch((300, 3)))
        assert group.exact_state()[name] == metric.exact_state()


# On a device: the emulated one.


class OnDevice:
    """Host memory is a GPU's inside of `with`."""

    def __enter__(self):
        _native.set_device_api(_cuda_emulated.api(), emulated=True)
        self.before = _native.road_counts()

    def launches(self):
        return _native.road_counts()["cuda_launches"] - self.before["cuda_launches"]

    def __exit__(self, *error):
        api = _cuda_emulated.api() if EMULATED else None
        _native.set_device_api(api, emulated=EMULATED)


emulation = pytest.mark.skipif(IS_PORTABLE, reason="no kernel of a GPU runs there")


@emulation
@pytest.mark.parametrize("kernel", ["quantile_error", *OURS])
def test_device_code_of_every_kernel(kernel):
    name = getattr(_custom_emulated, kernel)
    make = lambda: own(name, ARGUMENTS.get(kernel, ()))  # noqa: E731
    weight = to_backend(np.random.default_rng(1).random(1100).astype("float32"))
    states = []
    for device in (True, False):
        _native.set_device_api(None)
        metric = make()
        if device:
            with OnDevice():
                metric.update_state(*batch((5, 3)))
                metric.update_state(*batch((1100, 1), 1), weight)
        else:
            metric.update_state(*batch((5, 3)))
            metric.update_state(*batch((1100, 1), 1), weight)
        states.append(state(metric))
    for variable, value in states[0].items():
        assert_close(value, states[1][variable], 1e-12, what=variable)


@emulation
def test_values_on_a_device():
    metric = own(_custom_emulated.quantile_error, [0.3])
    y_true, y_pred = batch((70, 3))
    with OnDevice():
        got = _native.values(metric._plan, y_true, y_pred)
    expected = quantile_errors(to_numpy(y_true), to_numpy(y_pred)).mean(axis=1)
    assert_close(got, expected, 1e-6)


@emulation
def test_launches_of_a_group():
    """Kernels of one module share a launch; those of two modules cannot."""
    q, a = _custom_emulated.quantile_error, _custom_emulated.absolute_error
    group = kt.MetricGroup(
        {
            "q": own(q, [0.3]),
            "mine": kt.MeanAbsoluteError(),
            "a": own(a),
            "again": kt.MeanSquaredError(),
        }
    )
    device = OnDevice()
    with device:
        group.update_state(*batch((300, 3)))
        assert device.launches() == 2
    results = group.result()
    assert_close(results["a"], results["mine"], 1e-12)


# What does not fit is refused.


class Module(ctypes.Structure):
    """`KernelModule` of csrc/extension/abi.h."""

    _fields_ = (
        ("abi", ctypes.c_int),
        ("layout", ctypes.c_int),
        ("version", ctypes.c_char_p),
        ("kernel_count", ctypes.c_int),
        ("kernels", ctypes.c_void_p),
        ("level_count", ctypes.c_int),
        ("levels", ctypes.c_void_p),
        ("device", ctypes.c_void_p),
    )


class Row(ctypes.Structure):
    """`KernelRow` of csrc/exec/kernel_row.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        *((name, ctypes.c_int) for name in ("executor", "id", "operands", "shapes")),
        ("labels", ctypes.c_int),
    )


CAPSULE = b"keras_tally.kernel_module"
new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
pointer_of.restype = ctypes.c_void_p
pointer_of.argtypes = (ctypes.py_object, ctypes.c_char_p)
KEPT = []  # registered modules stay: nothing unregisters them


def import_as(package):
    """The extension module, imported by another name."""
    spec = importlib.util.spec_from_file_location(
        f"{package}._custom_emulated", _custom_emulated.__file__
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def built(monkeypatch):
    """A copy of what the module hands over when it is imported."""
    capsules = []

    def catch(capsule, name):
        capsules.append(capsule)
        return {}

    with monkeypatch.context() as patch:
        patch.setattr(_native, "register_kernels", catch)
        import_as("caught")
    copy = Module.from_buffer_copy(
        Module.from_address(pointer_of(capsules[0], CAPSULE))
    )
    KEPT.append(copy)
    return copy


def register(module, name):
    return _native.register_kernels(
        new_capsule(ctypes.addressof(module), CAPSULE, None), name
    )


def test_import_again():
    assert vars(import_as("keras_tally"))["hinge"] == _custom_emulated.hinge
    other = import_as("another")
    assert other.hinge == "another._custom_emulated.hinge"
    metric = own(other.quantile_error, [0.3])
    metric.update_state(*batch((4, 2)))
    assert as_float(metric) > 0


@pytest.mark.parametrize("field", ["abi", "layout"])
def test_other_abi_is_refused(built, field):
    built.version = b"9.8.7"
    setattr(built, field, getattr(built, field) + 1)
    # Nothing behind these fields may be looked at.
    built.kernels = built.levels = built.device = 8
    with pytest.raises(ImportError, match=r"stale.*9\.8\.7.*Build the package again"):
        register(built, f"stale_{field}")
    assert _native.elementwise_shapes(f"stale_{field}.quantile_error") is None


def test_other_abi_fails_the_import(built, monkeypatch):
    built.abi += 1
    real = _native.register_kernels
    monkeypatch.setattr(
        _native,
        "register_kernels",
        lambda _, name: real(new_capsule(ctypes.addressof(built), CAPSULE, None), name),
    )
    with pytest.raises(ImportError, match=r"the kernels of stale\._custom_emulated"):
        import_as("stale")


@pytest.mark.parametrize(
    ("field", "value"),
    [("executor", 1), ("id", 5), ("operands", 0), ("shapes", 2)],
)
def test_other_rows_are_refused(built, field, value):
    row = Row.from_buffer_copy(Row.from_address(built.kernels))
    setattr(row, field, value)
    built.kernels, built.kernel_count = ctypes.addressof(row), 1
    with pytest.raises(ImportError, match="`quantile_error` is no elementwise kernel"):
        register(built, f"odd_{field}")
    assert _native.elementwise_shapes(f"odd_{field}.quantile_error") is None


def test_nothing_is_refused(built):
    built.kernel_count = 0
    with pytest.raises(ImportError, match="there are none"):
        register(built, "empty")
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        _native.register_kernels(object(), "no capsule")


def test_name_of_another_module_is_refused(built):
    register(built, "taken")
    register(built, "taken")  # the same module may come again
    other = Module.from_buffer_copy(built)
    KEPT.append(other)
    with pytest.raises(ImportError, match="another module has registered"):
        register(other, "taken")


@pytest.mark.skipif(IS_PORTABLE, reason="one test of the levels is enough")
def test_levels_that_a_module_lacks(built):
    built.level_count = 1  # the worst
    name = register(built, "worst")["quantile_error"]
    expected = own(_custom_emulated.quantile_error, [0.3])
    expected.update_state(*batch((1100, 3)))
    for level in _native.levels():
        _native.set_level(level)
        metric = own(name, [0.3])
        metric.update_state(*batch((1100, 3)))
        assert state_bits(metric) == state_bits(expected)


@emulation
def test_kernel_without_cuda_is_refused_on_a_device(built):
    built.device = None
    name = register(built, "host_only")["quantile_error"]
    metric = own(name, [0.3])
    group = kt.MetricGroup({"one": own(name, [0.3]), "two": kt.MeanSquaredError()})
    before = state_bits(metric), state_bits(group)
    with OnDevice():
        for each in (metric, group):
            with pytest.raises(ValueError, match=r"`y_pred` must be in host memory"):
                each.update_state(*batch((4, 2)))
        assert (state_bits(metric), state_bits(group)) == before
    _native.set_device_api(None)
    metric.update_state(*batch((4, 2)))
    assert as_float(metric) > 0


def test_there_is_room_for_so_many_only():
    code = """
import ctypes, importlib.util
from keras_tally import _native, _custom_emulated
found = 0
try:
    for i in range(1000):
        spec = importlib.util.spec_from_file_location(
            f"p{i}._custom_emulated", _custom_emulated.__file__)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += len([name for name in vars(module) if not name.startswith("_")])
except ImportError as error:
    print(found, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    count, message = done.stdout.strip().split(" ", 1)
    assert 100 < int(count) <= 128
    assert "only 128 kernels of other packages may be registered" in message


# The class.


@pytest.mark.parametrize(
    ("fields", "error", "match"),
    [
        ({}, TypeError, "kernel` must be the name of a kernel"),
        ({"kernel": 3}, TypeError, "Received: 3"),
        ({"kernel": "nothing"}, ValueError, "must name an elementwise kernel"),
        ({"kernel": "identity"}, ValueError, "must name an elementwise kernel"),
        ({"kernel": "hinge", "last_axis": "max"}, ValueError, "last_axis"),
        (
            {"kernel": "hinge", "kernel_arguments": lambda self: range(5)},
            ValueError,
            "at most 4 finite numbers",
        ),
        (
            {"kernel": "hinge", "kernel_arguments": lambda self: [np.nan]},
            ValueError,
            "at most 4 finite numbers",
        ),
    ],
)
def test_bad_classes(fields, error, match):
    with pytest.raises(error, match=match):
        type("Bad", (kt.NativeMetric,), fields)()


def test_portable_form_is_needed_where_kernels_cannot_be_called():
    cls = type("Short", (kt.NativeMetric,), {"kernel": "hinge"})
    if IN_PLACE:
        assert as_float(cls()) == 0.0
        return
    with pytest.raises(NotImplementedError, match=r"Short has no `portable"):
        cls()


def test_cmake_dir(capsys):
    done = subprocess.run(
        [sys.executable, "-m", "keras_tally", "--cmake-dir"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == kt.get_cmake_dir()


@pytest.mark.parametrize("file", ["src/quantile_error.h", "CMakeLists.txt"])
def test_page_shows_the_example(file):
    page = (ROOT / "docs" / "cpp.md").read_text()
    example = (ROOT / "examples" / "custom_kernel" / file).read_text()
    code = re.sub(r"^ *(//|#(?! *include|pragma)).*\n", "", example, flags=re.M)
    code = code.replace("#pragma once\n", "")
    lines = [line for line in code.splitlines() if line.strip()]
    shown = [line for line in page.splitlines() if line in lines]
    assert [line for line in lines if line not in shown] == []
