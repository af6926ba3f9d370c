"""Arguments of every class: what is refused is a ValueError or a TypeError that leaves
the state as it was, and what is accepted is computed.
"""

import math
import struct

import numpy as np
from numpy.lib.stride_tricks import as_strided

import keras_tally as kt

# Classes that are made of numbers and strings.
CLASSES = [
    cls
    for cls in [getattr(kt, name) for name in sorted(kt.__all__)]
    if isinstance(cls, type) and getattr(cls, "_plain_config", False)
]
# What constructors take; each draws what it knows.
KEYWORDS = (
    "axis",
    "average",
    "beta",
    "class_id",
    "curve",
    "dtype",
    "from_logits",
    "ignore_class",
    "k",
    "label_smoothing",
    "multi_label",
    "num_classes",
    "num_labels",
    "num_thresholds",
    "sparse_y_pred",
    "summation_method",
    "target_class_ids",
    "threshold",
    "thresholds",
    "top_k",
)
STRINGS = ("micro", "macro", "weighted", "ROC", "PR", "minoring", "float32", "", "\0")
DTYPES = ("bool", "uint8", "int32", "int64", "float16", "float32", "float64")
ODD_DTYPES = (
    "complex64",
    "U3",
    "S2",
    "O",
    "M8[s]",
    ">f4",
    "V4",
    "uint64",
    "longdouble",
)


class Bytes:
    """What a fuzzer gives, read as numbers; where it ends, all numbers are 0."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def below(self, n):
        self.at += 1
        return self.data[self.at - 1] % n if self.at <= len(self.data) else 0

    def raw(self, format):
        size = struct.calcsize(format)
        part = self.data[self.at : self.at + size]
        self.at += size
        return struct.unpack(format, part.ljust(size, b"\0"))[0]


def draw_value(given, depth=0):
    """Anything that a user may write."""
    kind = given.below(12)
    if kind < 4:
        return given.below(8) - 2
    if kind < 6:
        return given.below(17) / 16
    if kind < 8:
        return STRINGS[given.below(len(STRINGS))]
    if kind == 8 and depth < 2:
        return [draw_value(given, depth + 1) for _ in range(given.below(4))]
    return (None, True, False, given.raw("<d"), given.raw("<q"))[given.below(5)]


def draw_array(given, shape=None):
    """An array with any dtype, strides and numbers; or something that is none."""
    odd = given.below(256)
    if odd > 250:
        return draw_value(given)
    dtype = np.dtype(DTYPES[given.below(len(DTYPES))])
    if odd > 240:
        dtype = np.dtype(ODD_DTYPES[given.below(len(ODD_DTYPES))])
    if shape is None or given.below(8) == 0:
        shape = tuple(given.below(5) for _ in range(given.below(4)))
    kind = given.below(4)
    random = np.random.default_rng(given.below(256))
    if kind == 0:
        numbers = random.integers(0, 4, shape)
    elif kind == 1:
        numbers = random.random(shape)
    else:
        numbers = random.choice([0.0, 1.0, -2.5, 1e300, np.nan, np.inf], shape)
    with np.errstate(all="ignore"):
        array = numbers.astype(dtype)
    if odd > 230:
        return array[tuple(slice(None, None, -1) for _ in shape)]
    if odd > 220:
        # Few, or more than the package takes; at most as many as NumPy does, for which
        # axes without elements do not count.
        size = given.raw("<Q") >> given.below(64)
        most = (2**63 - 1) // math.prod(max(1, n) for n in (*shape, array.itemsize))
        size = min(size, most) if size > 2**48 else size % 2**16
        return as_strided(array, (size, *shape), (0, *array.strides))
    if odd > 215:
        return array.tolist()
    return array


def state_of(metric):
    return {v.path: np.array(v.value) for v in metric.variables}


def run(data):
    """Make a metric, update it several times, and look at it."""
    given = Bytes(data)
    cls = CLASSES[given.below(len(CLASSES))]
    keywords = {}
    for _ in range(given.below(4)):
        keywords[KEYWORDS[given.below(len(KEYWORDS))]] = draw_value(given)
    # Not what memory is for: refused sizes are another target's matter.
    if any(isinstance(v, int | float) and abs(v) > 1000 for v in keywords.values()):
        return
    try:
        metric = cls(**keywords)
    except (ValueError, TypeError):
        return
    for _ in range(1 + given.below(3)):
        shape = tuple(1 + given.below(4) for _ in range(given.below(4)))
        arguments = [draw_array(given, shape) for _ in range(1 + given.below(2))]
        weight = draw_array(given, shape[:1]) if given.below(3) == 0 else None
        before = state_of(metric)
        with np.errstate(all="ignore"):
            try:
                metric.update_state(*arguments, sample_weight=weight)
            except (ValueError, TypeError):
                after = state_of(metric)
                for path, value in before.items():
                    np.testing.assert_array_equal(after[path], value)
    with np.errstate(all="ignore"):
        try:
            metric.result()
        except ValueError as error:
            if "has no result before" not in str(error):
                raise


def seeds():
    """For each class, arguments that do not hurt."""
    for i in range(len(CLASSES)):
        yield bytes(
            [i, 0, 1, 2, 3, 1, 1, 0, 5, 1, 1, 1, 0, 5, 1, 1, 2, 0, 1, 5, 1, 1, 3]
        )
