"""What we declare of XLA's interface, against XLA's header and as XLA would call it."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
from ctypes import POINTER, c_char_p, c_int32, c_int64, c_size_t, c_void_p
from pathlib import Path

import numpy as np
import pytest

import keras_tally as kt
from keras_tally import _native
from support import BACKEND, EMULATED

SOURCE = Path(__file__).parents[1] / "native" / "xla_layout.cpp"


def test_layout_is_that_of_the_installed_jaxlib():
    jaxlib = importlib.util.find_spec("jaxlib")
    headers = Path(jaxlib.origin).parent / "include"
    assert (headers / "xla/ffi/api/c_api.h").is_file()
    compiler = os.environ.get("CXX") or shutil.which("c++") or "g++"
    command = [compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    done = subprocess.run(
        [*command, "-isystem", str(headers), str(SOURCE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


# A call, as XLA makes it: csrc/xla/ffi.h once more.


class Version(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p)]
    _fields_ += [("major", c_int32), ("minor", c_int32)]


class CreateError(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p)]
    _fields_ += [("message", c_char_p), ("code", c_int32)]


Create = ctypes.CFUNCTYPE(c_void_p, POINTER(CreateError))


class Api(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p), ("version", Version)]
    _fields_ += [("internal", c_void_p), ("create_error", Create)]
    _fields_ += [("others", c_void_p * 3), ("get_stream", c_void_p)]


class Buffer(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p), ("dtype", c_int32)]
    _fields_ += [("data", c_void_p), ("rank", c_int64), ("dims", POINTER(c_int64))]


class Buffers(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p), ("count", c_int64)]
    _fields_ += [("types", POINTER(c_int32)), ("items", POINTER(c_void_p))]


class Text(ctypes.Structure):
    _fields_ = [("data", c_char_p), ("size", c_size_t)]


class Scalar(ctypes.Structure):
    _fields_ = [("dtype", c_int32), ("value", POINTER(c_int64))]


class Attributes(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p), ("count", c_int64)]
    _fields_ += [("types", POINTER(c_int32)), ("names", POINTER(POINTER(Text)))]
    _fields_ += [("items", POINTER(c_void_p))]


class Frame(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p), ("api", POINTER(Api))]
    _fields_ += [("context", c_void_p), ("stage", c_int64), ("arguments", Buffers)]
    _fields_ += [("results", Buffers), ("attributes", Attributes)]
    _fields_ += [("future", c_void_p)]


class GetStream(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p)]
    _fields_ += [("context", c_void_p), ("stream", c_void_p)]


class Metadata(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("version", Version), ("traits", c_int32)]
    _fields_ += [("state_type", c_int64)]  # since 0.2: not ours to write


class Extension(ctypes.Structure):
    _fields_ = [("size", c_size_t), ("type", c_int32), ("next", c_void_p)]
    _fields_ += [("metadata", POINTER(Metadata))]


WHOLE = Frame.future.offset
EXECUTE = 3
errors = []


@Create
def create_error(args):
    errors.append((args[0].code, args[0].message.decode()))
    return 1


def handler(name="keras_tally_result", platform="cpu"):
    """The function in a capsule that JAX is given."""
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = c_void_p, [ctypes.py_object, c_char_p]
    capsule = _native.xla_handlers()[platform][name]
    address = pointer_of(capsule, b"xla._CUSTOM_CALL_TARGET")
    return ctypes.CFUNCTYPE(c_void_p, POINTER(Frame))(address)


def api_of(major, minor):
    api = Api(ctypes.sizeof(Api), None, Version(24, None, major, minor))
    api.create_error = create_error
    return api


@pytest.mark.parametrize("platform", ["cpu", "CUDA"])
@pytest.mark.parametrize("name", ["update", "merge", "result"])
@pytest.mark.parametrize(
    ("version", "answer"),
    [
        (None, (0, 1)),  # XLA does not say
        ((0, 0), (0, 1)),
        ((0, 1), (0, 1)),
        ((0, 2), (0, 2)),
        ((0, 3), (0, 3)),
        ((0, 9), (0, 5)),  # the newest that we know: XLA supports older ones for a time
        ((1, 0), (0, 1)),  # which such an XLA refuses
    ],
)
def test_handlers_speak_the_newest_version_that_both_know(
    version, answer, name, platform
):
    metadata = Metadata(40, Version(24), -1, 77)
    ours = Extension(32, 1, None, ctypes.pointer(metadata))
    other = Extension(24, 99, ctypes.addressof(ours))  # of a kind that nobody knows yet
    frame = Frame(WHOLE, ctypes.addressof(other), None, None, EXECUTE)
    if version is not None:
        frame.api = ctypes.pointer(api_of(*version))
    assert handler(f"keras_tally_{name}", platform)(frame) is None
    assert (metadata.version.major, metadata.version.minor) == answer
    assert (metadata.traits, metadata.state_type) == (0, 77)


@pytest.mark.parametrize(
    ("size", "stage", "code", "message"),
    [
        (WHOLE - 8, EXECUTE, 3, "XLA's calls are of an older version"),
        (WHOLE, 0, 13, "a handler called in another stage"),
        (WHOLE, EXECUTE, 13, "a handler without the attribute program"),
    ],
)
def test_calls_that_are_not_ours_are_errors(size, stage, code, message):
    errors.clear()
    api = api_of(0, 3)
    assert handler()(Frame(size, None, ctypes.pointer(api), None, stage)) == 1
    assert errors == [(code, message)]


def buffers(arrays):
    """Arrays of float32 as XLA hands them over; what it keeps comes with it."""
    all_ = [
        Buffer(48, None, 11, x.ctypes.data, x.ndim, (c_int64 * x.ndim)(*x.shape))
        for x in arrays
    ]
    types = (c_int32 * len(all_))(*[1] * len(all_))
    items = (c_void_p * len(all_))(*map(ctypes.addressof, all_))
    return Buffers(40, None, len(all_), types, items), all_


@pytest.mark.skipif(BACKEND != "jax", reason="others have no programs")
@pytest.mark.parametrize("stream", [None, 4711])
def test_the_handler_for_cuda_runs_on_the_stream_that_xla_gives(stream):
    """On a device that is played by the CPU, where streams are only numbers."""
    cuda_emulated = pytest.importorskip("keras_tally._cuda_emulated")
    metric = kt.MeanSquaredError()
    y_true, y_pred = np.random.default_rng(0).random((2, 6, 4)).astype("float32")
    before = [np.array(v.value) for v in metric.variables]
    metric.update_state(y_true, y_pred)
    after = [np.empty_like(x) for x in before]

    @ctypes.CFUNCTYPE(c_void_p, POINTER(GetStream))
    def get_stream(args):
        args[0].stream = stream
        return None if stream else 1

    program = metric._plan.program.key.encode()
    given = Scalar(5, ctypes.pointer(c_int64(1)))  # y_true, beside y_pred
    text = Text(program, len(program))
    names = [Text(name, len(name)) for name in (b"given", b"program")]
    attributes = Attributes(
        48,
        None,
        2,
        (c_int32 * 2)(3, 4),
        (POINTER(Text) * 2)(*map(ctypes.pointer, names)),
        (c_void_p * 2)(ctypes.addressof(given), ctypes.addressof(text)),
    )
    arguments, _keep = buffers([*before, y_true, y_pred])
    results, _keep_results = buffers(after)
    api = api_of(0, 3)
    api.get_stream = ctypes.cast(get_stream, c_void_p)
    frame = Frame(WHOLE, None, ctypes.pointer(api), None, EXECUTE)
    frame.arguments, frame.results, frame.attributes = arguments, results, attributes
    errors.clear()
    _native.set_device_api(cuda_emulated.api(), emulated=True)
    launches = _native.road_counts()["cuda_launches"]
    try:
        failed = handler("keras_tally_update", "CUDA")(frame)
        launches = _native.road_counts()["cuda_launches"] - launches
    finally:
        _native.set_device_api(cuda_emulated.api() if EMULATED else None, EMULATED)
    if stream is None:
        assert failed
        assert errors == [(13, "XLA gives no stream")]
        return
    assert not failed, errors
    assert launches > 0
    for ours, variable in zip(after, metric.variables, strict=True):
        np.testing.assert_array_equal(ours, np.array(variable.value))
