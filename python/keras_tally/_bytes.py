"""Metrics as bytes, see docs/merging.md: nothing in them is ever executed."""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np

from keras_tally import _states
from keras_tally._registration import REGISTERED
from keras_tally._states import Numbers, members_of

MAGIC = b"\x93KTALLY\n"
VERSION = 2
# Magic, version, bytes of the header, bytes of the numbers; the checksum is last.
_START = struct.Struct("<8sIQQ")
_CHECKSUM = struct.Struct("<I")
_DTYPE = np.dtype("<f8")
# A config's number of thresholds or classes may be this, whatever the state holds.
_SMALL = 2**20

# How many numbers a variable may hold while a metric is made from bytes.
_room: ContextVar[int | None] = ContextVar("room", default=None)


@contextmanager
def limited_room(numbers: int) -> Iterator[None]:
    """Let no variable be made that holds more numbers."""
    token = _room.set(numbers)
    try:
        yield
    finally:
        _room.reset(token)


def check_room(shape: Sequence[int]) -> None:
    """Refuse a variable that is larger than the bytes it is made from.

    Raises:
        ValueError: it is.
    """
    room = _room.get()
    if room is not None and math.prod(shape) > room:
        raise ValueError(f"a variable of shape {tuple(shape)}, for {room} numbers")


def _is_ours(cls: type) -> bool:
    return REGISTERED.get(cls.__name__) is cls and getattr(cls, "_plain_config", False)


def encode(metric: Any) -> bytes:
    """Return a metric or a group as bytes."""
    records: list[dict[str, Any]] = []
    blocks: list[bytes] = []
    for key, member in members_of(metric).items():
        if not _is_ours(type(member)):
            raise ValueError(
                f"{type(member).__name__} cannot be written as bytes: only classes of "
                "keras_tally without functions can. Use pickle, or state_dict()."
            )
        numbers = _states.read(member)
        config = {k: _states.plain(v) for k, v in member.get_config().items()}
        built = None if _states.is_unbuilt(member) else _states.build_arguments(member)
        records.append(
            {
                "key": key,
                "class": type(member).__name__,
                "config": config,
                "built": built,
                "variables": [[name, list(shape)] for name, shape in numbers.layout],
            }
        )
        blocks.append(numbers.values.astype(_DTYPE).tobytes())
    group = None
    if list(members_of(metric)) != [""]:
        if REGISTERED.get(type(metric).__name__) is not type(metric):
            raise ValueError(
                f"{type(metric).__name__} cannot be written as bytes: use pickle."
            )
        group = {"name": metric.name, "prefix": metric.prefix}
    try:
        text = json.dumps(
            {"group": group, "metrics": records},
            sort_keys=True,
            separators=(",", ":"),
            allow_nan=False,
        )
    except ValueError as error:
        raise ValueError(
            f"the config of {metric.name!r} cannot be written as bytes: {error}"
        ) from error
    header, payload = text.encode(), b"".join(blocks)
    body = _START.pack(MAGIC, VERSION, len(header), len(payload)) + header + payload
    return body + _CHECKSUM.pack(zlib.crc32(body))


def _refuse(what: str) -> ValueError:
    return ValueError(f"`data` holds no metric that can be read: {what}")


def from_bytes(data: bytes | bytearray | memoryview) -> Any:
    """Return the metric or the group that `to_bytes()` has written.

    It may come from another backend or machine: whole numbers arrive exactly
    wherever the backend can hold them, other sums rounded to what it holds (48 bits
    on JAX and TensorFlow). Nothing in the data is executed, and no more memory is
    taken than a small multiple of its length.

    Args:
        data: the bytes.

    Returns:
        A new metric with the class, the config and the state that were written.

    Raises:
        ValueError: bytes that were cut, changed or made up, or of a later version.
        TypeError: something that is no bytes.

    Example:

    >>> import keras_tally as kt
    >>> m = kt.AUC(num_thresholds=50)
    >>> m.update_state([0, 1], [0.2, 0.9])
    >>> float(kt.from_bytes(m.to_bytes()).result())
    1.0
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"`data` must be bytes. Received: {type(data).__name__}")
    header, payload = _open(memoryview(data).cast("B"))
    records = header["metrics"]
    at, found = 0, {}
    for record in records:
        layout = [(name, tuple(shape)) for name, shape in record["variables"]]
        size = _DTYPE.itemsize * _states.count(layout)
        if at + size > len(payload):
            raise _refuse("there are fewer numbers than variables")
        values = np.frombuffer(payload[at : at + size], _DTYPE).astype("float64")
        found[record["key"]] = record, Numbers(layout, values)
        at += size
    if at != len(payload) or len(found) != len(records):
        raise _refuse("there are more numbers than variables, or a key is there twice")
    metrics = {key: _make(*parts) for key, parts in found.items()}
    group = header["group"]
    if group is None:
        if list(metrics) != [""]:
            raise _refuse("several metrics, and no group")
        return metrics[""]
    try:
        return REGISTERED["MetricGroup"](metrics, **group)
    except (TypeError, ValueError) as error:
        raise _refuse(f"a group that cannot be made ({error})") from error


def _open(data: memoryview) -> tuple[dict[str, Any], memoryview]:
    """Return the checked header and the bytes of the numbers."""
    if len(data) < _START.size + _CHECKSUM.size:
        raise _refuse(f"{len(data)} bytes are too few")
    magic, version, header_size, payload_size = _START.unpack_from(data)
    if magic != MAGIC:
        raise _refuse("they do not begin as such bytes do")
    if version != VERSION:
        raise _refuse(f"format {version}, and this version reads format {VERSION}")
    if _START.size + header_size + payload_size + _CHECKSUM.size != len(data):
        raise _refuse("they are cut, or longer than they say")
    (checksum,) = _CHECKSUM.unpack_from(data, len(data) - _CHECKSUM.size)
    if zlib.crc32(data[: -_CHECKSUM.size]) != checksum:
        raise _refuse("the checksum does not fit")
    middle = _START.size + header_size
    try:
        text = bytes(data[_START.size : middle]).decode()
        header = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        _check_header(header)
    except RecursionError as error:
        raise _refuse("the header is nested too deep") from error
    except UnicodeDecodeError as error:
        raise _refuse(f"the header is no text ({error})") from error
    except json.JSONDecodeError as error:
        raise _refuse(f"the header is no JSON ({error})") from error
    return header, data[middle : -_CHECKSUM.size]


def _refuse_constant(name: str) -> None:
    raise _refuse(f"{name} in the header")


def _finite(number: str) -> float:
    """Return the number, which could never have been written if it is infinite."""
    value = float(number)
    if not math.isfinite(value):
        raise _refuse(f"{number[:32]} in the header")
    return value


def _check_header(header: Any) -> None:
    ok = (
        isinstance(header, dict)
        and set(header) == {"group", "metrics"}
        and isinstance(header["metrics"], list)
        and len(header["metrics"]) > 0
        and all(_is_record(record) for record in header["metrics"])
        and _is_group(header["group"])
    )
    if not ok:
        raise _refuse("the header has other entries")


def _is_group(group: Any) -> bool:
    return group is None or (
        isinstance(group, dict)
        and set(group) == {"name", "prefix"}
        and all(isinstance(text, str) for text in group.values())
    )


def _is_record(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and set(record) == {"key", "class", "config", "built", "variables"}
        and isinstance(record["key"], str)
        and isinstance(record["class"], str)
        and isinstance(record["config"], dict)
        and all(_is_value(value) for value in record["config"].values())
        and (
            record["built"] is None
            or (
                isinstance(record["built"], list)
                and all(a is None or _is_shape(a) for a in record["built"])
            )
        )
        and isinstance(record["variables"], list)
        and all(_is_variable(v) for v in record["variables"])
    )


def _is_value(value: Any) -> bool:
    """Tell whether a config may hold this: Keras would look up what a dict names."""
    if isinstance(value, list):
        return all(_is_value(v) for v in value)
    return value is None or isinstance(value, bool | int | float | str)


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and all(
        n is None or (isinstance(n, int) and not isinstance(n, bool) and n >= 0)
        for n in shape
    )


def _is_variable(variable: Any) -> bool:
    return (
        isinstance(variable, list)
        and len(variable) == 2
        and isinstance(variable[0], str)
        and _is_shape(variable[1])
        and None not in variable[1]
    )


def _make(record: dict[str, Any], numbers: Numbers) -> keras.metrics.Metric:
    """Return the metric of a record."""
    name, config = record["class"], record["config"]
    cls: Any = REGISTERED.get(name)
    if cls is None or not _is_ours(cls):
        raise _refuse(f"keras_tally has no class {name!r} that can be read from bytes")
    room = _states.count(numbers.layout)
    for key, value in config.items():
        size = isinstance(value, int | float) and key.startswith("num_")
        if size and value > max(room, _SMALL):
            raise _refuse(f"{key}={value} for {room} numbers")
    with limited_room(max(room, 1)):
        try:
            metric = cls.from_config(config)
            if record["built"] is not None and _states.is_unbuilt(metric):
                _states.build_like(metric, record["built"])
            if _states.is_unbuilt(metric) is not (not numbers.layout):
                raise ValueError("a state without variables, or the reverse")
            _states.check_fits(metric, numbers)
        except Exception as error:
            # Whatever a constructor makes of arguments that somebody has made up.
            raise _refuse(f"{name} refuses its config or state ({error})") from error
    if numbers.layout:
        _states.write(metric, numbers)
    return metric
