"""The byte form, see docs/merging.md: whatever the bytes, a metric or a ValueError."""

import json
import random
import struct
import zlib

import numpy as np

import keras_tally as kt
from keras_tally import _bytes
from keras_tally._registration import REGISTERED

# What the entries of a header may become.
VALUES = (
    *(None, True, False, 0, 1, 2, -1, 3, 2**31, 2**63, 1e308, 0.5, -0.0),
    *("", "a", "micro", "macro", "weighted", "float32", "int8", "PR", "majoring"),
    *([], [[]], [1], [0, 2], [None, 2], [0.1, 0.9], [["total", []]], {}, {"class": 1}),
)


def sealed(text, payload):
    """Bytes with fitting lengths and checksum, whatever they say."""
    start = struct.pack("<8sIQQ", _bytes.MAGIC, _bytes.VERSION, len(text), len(payload))
    body = start + text + payload
    return body + struct.pack("<I", zlib.crc32(body))


def opened(data):
    """The reverse: what `run` makes such bytes of."""
    start = struct.calcsize("<8sIQQ")
    (length,) = struct.unpack_from("<Q", data, 12)
    return data[start : start + length] + b"\0" + data[start + length : -4]


def run(data):
    """Read a header, a zero byte and the numbers; without one, all as it is."""
    text, zero, payload = data.partition(b"\0")
    try:
        metric = kt.from_bytes(sealed(text, payload) if zero else data)
    except ValueError:
        return
    again = metric.to_bytes()
    if kt.from_bytes(again).to_bytes() != again:
        raise AssertionError("what was read is not what is written")
    with np.errstate(all="ignore"):
        try:
            metric.result()
        except ValueError as error:
            if "has no result before" not in str(error):
                raise


def places(node):
    """Each container in parsed JSON with each of its keys."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    for key in keys:
        yield node, key
        if isinstance(node[key], dict | list):
            yield from places(node[key])


def mutate(data, max_size, seed):
    """Change one entry of the header, most of the time; else the bytes."""
    choose = random.Random(seed)
    text, zero, payload = data.partition(b"\0")
    try:
        header = json.loads(text)
        found = list(places(header)) if isinstance(header, dict | list) else []
    except (ValueError, RecursionError):
        found = []
    if not found or choose.random() < 0.2:
        at = choose.randrange(len(data) + 1)
        new = choose.randbytes(choose.randrange(3))
        return (data[:at] + new + data[at + choose.randrange(3) :])[:max_size]
    node, key = choose.choice(found)
    other, another = choose.choice(found)
    kind = choose.randrange(5)
    if kind == 0:
        node[key] = choose.choice(VALUES)
    elif kind == 1:
        node[key] = choose.choice(sorted(REGISTERED))
    elif kind == 2:
        node[key] = json.loads(json.dumps(other[another]))
    elif kind == 3 and isinstance(node[key], int | float):
        node[key] += choose.choice((-1, 1, 0.5, 2**16))
    else:
        del node[key]
    payload += payload[:16] if choose.random() < 0.3 else b""
    changed = json.dumps(header, separators=(",", ":")).encode() + zero + payload
    return changed if len(changed) <= max_size else data[:max_size]


def seeds():
    """Small states of some classes, of a group, and of one without a state."""
    y_true, y_pred = np.array([[0.0, 1.0]]), np.array([[0.2, 0.7]])
    metrics = [
        kt.Mean(),
        kt.AUC(num_thresholds=3),
        kt.AUC(num_thresholds=3, multi_label=True, num_labels=2),
        kt.Precision(thresholds=[0.2, 0.5]),
        kt.MeanIoU(num_classes=2),
        kt.F1Score(average="macro"),
        kt.R2Score(),
        kt.MetricGroup({"a": kt.BinaryAccuracy(), "b": kt.MeanSquaredError()}),
    ]
    for metric in metrics:
        yield opened(metric.to_bytes())
        if isinstance(metric, kt.Mean):
            metric.update_state([1.0])
        else:
            metric.update_state(y_true, y_pred)
        yield opened(metric.to_bytes())
        yield metric.to_bytes()
