"""DLPack tensors that nobody sane would make: refused, and nothing read."""

import ctypes

import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided

import keras_tally as kt
from support import exact_state, to_backend

new_capsule = ctypes.pythonapi.PyCapsule_New
new_capsule.restype = ctypes.py_object
new_capsule.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)

CPU, CUDA, FLOAT = 1, 2, 2


class ManagedTensor(ctypes.Structure):
    """DLPack's DLManagedTensor, whose memory is Python's."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class Tensor:
    """What has this `__dlpack__`: eight float32 values, but for what is changed."""

    def __init__(self, shape=(8,), strides=None, **changed):
        self.numbers = (ctypes.c_float * 8)(*[0.5] * 8)
        self.shape = (ctypes.c_int64 * len(shape))(*shape)
        self.strides = strides and (ctypes.c_int64 * len(strides))(*strides)
        fields = {
            "data": ctypes.addressof(self.numbers),
            "device_type": CPU,
            "ndim": len(shape),
            "code": FLOAT,
            "bits": 32,
            "lanes": 1,
            "shape": ctypes.addressof(self.shape),
            "strides": strides and ctypes.addressof(self.strides),
        }
        if "shape_at" in changed:
            fields["shape"] = changed.pop("shape_at")
        self.managed = ManagedTensor(**(fields | changed))

    def __dlpack__(self, **_):
        return new_capsule(ctypes.addressof(self.managed), b"dltensor", None)

    def __dlpack_device__(self):
        return CPU, 0


HOSTILE = {
    "negative axis": Tensor((-8,)),
    "two negative axes": Tensor((-2, -4)),
    "overflowing product": Tensor((2**32, 2**32), (0, 0)),
    "overflowing beside an empty axis": Tensor((2**62, 2**62, 0)),
    "more than any memory": Tensor((2**49,), (0,)),
    "strides that overflow": Tensor((3, 3), (2**62, 1)),
    "strides that reach too far": Tensor((2,), (-(2**50),)),
    "no shape": Tensor(shape=(1,) * 4, ndim=-1),
    "null shape": Tensor((2, 4), shape_at=None),
    "too many axes": Tensor((1,) * 17),
    "very many axes": Tensor((1,), ndim=2**31 - 1),
    "lanes": Tensor((2,), lanes=4),
    "no lanes": Tensor(lanes=0),
    "complex": Tensor((4,), code=5, bits=64),
    "unknown dtype": Tensor(code=255, bits=255),
    "half a byte": Tensor(bits=4),
    "no data": Tensor(data=None),
    "offset beside no data": Tensor(data=None, byte_offset=2**60),
    "a device that is none": Tensor(device_type=99),
    "a device below the first": Tensor(device_type=CUDA, device_id=-1),
    "a device far above the last": Tensor(device_type=CUDA, device_id=2**30),
}


@pytest.mark.parametrize("where", ["y_true", "y_pred", "sample_weight"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tensors_are_refused(name, where):
    good = to_backend(np.full(8, 0.5, "float32"))
    arguments = dict.fromkeys(("y_true", "y_pred"), good) | {where: HOSTILE[name]}
    metric = kt.MeanSquaredError()
    metric.update_state(good, good * 2)
    before = exact_state(metric)
    with pytest.raises((ValueError, TypeError)) as refused:
        metric.update_state(**arguments)
    assert where in str(refused.value)
    assert exact_state(metric) == before


def test_a_tensor_that_is_as_it_says_is_taken():
    """The ones above fail for what they are, not for how they are made."""
    metric = kt.MeanSquaredError()
    metric.update_state(np.zeros(8, "float32"), Tensor())
    metric.update_state(np.zeros(4, "float32"), Tensor((4,), (-2,), byte_offset=28))
    assert float(metric.result()) == 0.25


def test_shapes_that_broadcast_to_more_than_any_memory():
    metric = kt.MeanSquaredError()
    long = np.zeros(1, "float32")
    column = as_strided(long, (2**40, 1), (0, 0))
    row = as_strided(long, (1, 2**40), (0, 0))
    with pytest.raises(ValueError, match="y_true"):
        metric.update_state(column, row)
    with pytest.raises(ValueError, match="y_pred"):
        metric.update_state(long, as_strided(long, (2**30, 2**30), (0, 0)))
