"""Errors of every kernel in units in the last place, beside other libraries.

KERAS_BACKEND=torch python bench/ulps.py          # all of it, about five minutes
KERAS_BACKEND=torch python bench/ulps.py identity # some kernels; nothing is stored

Every kernel, dtype of the inputs, size and condition. The data are drawn from a pool of
256 elements or rows, of which a batch takes each any number of times: so the exact
answer (``exact_values.py``, 320 bits) costs the same for 1 and for 100 million.
``tests/metrics/test_accuracy.py`` holds small sizes to the bounds that this stores.
"""

from __future__ import annotations

import math
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import keras
import numpy as np
from mpmath import mp, mpf

import exact_values
import keras_tally as kt
from keras_tally.bench import harness, subjects
from keras_tally.bench.harness import say
from keras_tally.bench.subjects import BY_NAME, Array, dtype_of, tensor
from report import Report, start

DTYPES = ("float16", "bfloat16", "float32", "float64")
POOL = 256
CLASSES = 10
WIDTH = 10  # of the rows of similarities
COLUMNS = 3
SMALL = (0, 1, 17)
MEDIUM, BATCH = 10_000, 997  # so many elements, in batches of so many
LARGE = 1_000_000  # elements
HUGE = 100  # times LARGE

# The conditions, and what each does to ordinary data.
CONDITIONS = {
    "plain": "ordinary random data",
    "cancellation": "predictions a few roundings from their targets, or from one "
    "another; values that all but cancel; logits far from 0",
    "huge range": "magnitudes over many decades: 1e-4 to 1e4 in float16, 1e-150 to "
    "1e150 in float64, else 1e-18 to 1e18; probabilities down to 1e-7",
    "denormals": "only subnormal numbers of the dtype",
    "ties": "all predictions equal",
    "one class": "all labels equal, or all targets 0",
    "weights": "ordinary data, weights over 12 decades",
    "NaN": "a NaN among the predictions",
    "infinity": "an infinity among the predictions",
}
SPECIAL = ("NaN", "infinity")  # where only what comes out is checked
# 0 / 0, for which each library has a convention of its own.
UNDEFINED = (("confusion", "one class"), ("squared_deviations", "one class"))
# Digits, and the exponent of the smallest normal number.
FORMATS = {
    "float16": (11, -14),
    "bfloat16": (8, -126),
    "float32": (24, -126),
    "float64": (53, -1022),
}


def error_in_ulps(got: float, exact: Any, dtype: str) -> float:
    """How many units of the last place of ``exact``, as this dtype has it, lie between.

    What is beyond the dtype's largest number should come out infinite; NaN and
    infinities, as such.

    >>> error_in_ulps(1.0, mpf(1) + mpf(2) ** -53, "float64")
    0.5
    """
    exact = mpf(exact)
    digits, lowest = FORMATS[dtype]
    if mp.isnan(exact) or math.isnan(got):
        return 0.0 if mp.isnan(exact) and math.isnan(got) else math.inf
    largest = (2 - mpf(2) ** -digits) * mpf(2) ** (1 - lowest)
    if math.isinf(got) or mp.isinf(exact):
        right = abs(exact) >= largest and (exact > 0) == (got > 0) and math.isinf(got)
        return 0.0 if right else math.inf
    exponent = mp.frexp(exact)[1] - 1 if exact else lowest
    unit = mpf(2) ** (max(int(exponent), lowest) - digits + 1)
    return float(abs(mpf(got) - exact) / unit)


# --------------------------------------------------------------------------------------
# data


def largest_magnitude(dtype: str) -> float:
    """The exponent of 10 up to which squares are no larger than float64 holds."""
    return {"float16": 4.0, "float64": 150.0}.get(dtype, 18.0)


def smallest(dtype: str, k: Array) -> Array:
    """Multiples of the dtype's smallest number, below its smallest normal one."""
    digits, lowest = FORMATS[dtype]
    return np.ldexp(k.astype(np.float64), lowest - digits + 1)


def real(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
    """Targets and predictions, of any size and sign."""
    t = 3 * rng.standard_normal(shape)
    p = 3 * rng.standard_normal(shape)
    if condition == "cancellation":
        t = rounded(1000 + 10 * rng.standard_normal(shape), dtype)
        t[1::2] = -t[::2]
        p = t * (1 + 2.0 ** (1 - FORMATS[dtype][0]) * rng.integers(-3, 4, shape))
    elif condition == "huge range":
        most = largest_magnitude(dtype)
        t, p = (10.0 ** rng.uniform(-most, most, shape) * rng.choice([-1, 1], shape)
                for _ in "tp")  # fmt: skip
    elif condition == "denormals":
        most = 2 ** (FORMATS[dtype][0] - 1)
        t, p = (smallest(dtype, rng.integers(1 - most, most, shape)) for _ in "tp")
    elif condition == "ties":
        p = np.full(shape, 0.3)
    elif condition == "one class":
        t = np.zeros(shape)
    return t, p


def positive(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
    """The same, none of them negative."""
    t, p = real(rng, condition, shape, dtype)
    return abs(t), abs(p)


def values(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
    """The same; where they are to cancel, each beside nearly its opposite."""
    t, p = real(rng, condition, shape, dtype)
    return t, np.ones(shape) if condition == "one class" else p


def signs(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
    """Labels -1 and 1, and predictions; those that cancel lie at the margin."""
    t, p = real(rng, condition, shape, dtype)
    t = rng.choice([-1.0, 1.0], shape)
    if condition == "cancellation":
        p = t * (1 - 2.0 ** (1 - FORMATS[dtype][0]) * rng.integers(-3, 4, shape))
    return np.ones(shape) if condition == "one class" else t, p


def probabilities(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
    """Labels 0 and 1, a few of them soft, and probabilities."""
    t = rng.integers(0, 2, shape).astype(np.float64)
    t[::8] = rng.random(t[::8].shape)
    p = rng.uniform(0.02, 0.98, shape)
    if condition == "cancellation":
        ulp = 2.0 ** -FORMATS[dtype][0]
        t = rng.uniform(0.02, 0.98, shape)
        p = rounded(t, dtype) * (1 + 2 * ulp * rng.integers(-3, 4, shape))
    elif condition == "huge range":
        p = 10.0 ** rng.uniform(-7, 0, shape)
        p[1::2] = 1 - p[1::2]
    elif condition == "denormals":
        p = abs(real(rng, condition, shape, dtype)[1])
    elif condition == "ties":
        p = np.full(shape, 0.3)
    elif condition == "one class":
        t = np.ones(shape)
    return t, p


def binary(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
    """Labels 0 and 1, and scores that touch no threshold of 200.

    Thresholds are compared in float32, as in Keras.
    """
    t, p = probabilities(rng, condition, shape, dtype)
    t = np.round(t)
    if condition == "cancellation":  # at the border of 1/2
        digits = min(FORMATS[dtype][0], FORMATS["float32"][0])
        p = 0.5 + 2.0**-digits * rng.integers(-3, 4, shape)
    p = rounded(p, dtype)
    at = p * 199
    near = (abs(at - np.round(at)) < 1e-3) & (p > 1e-3)
    return t, np.where(near, 0.3125, p)


def binary_logits(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
    """Labels 0 and 1, a few of them soft, and logits."""
    t, _ = probabilities(rng, "plain", shape, dtype)
    _, x = real(rng, condition, shape, dtype)
    if condition == "cancellation":  # sure, and right
        x = np.where(t > 0.5, 1, -1) * rng.uniform(15, 40, shape)
    return np.ones(shape) if condition == "one class" else t, x


def class_scores(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Array:
    """Rows of shares, as of a softmax."""
    _, p = positive(rng, condition, shape, dtype)
    if condition == "cancellation":  # one is sure
        p = 1e-3 * p / 1000
        p[np.arange(len(p)), rng.integers(0, CLASSES, len(p))] = 1.0
    return p if condition == "denormals" else p / p.sum(1, keepdims=True)


def with_numbers(make: Callable[..., Array], hot: bool) -> Callable[..., Any]:
    """Class numbers (or one-hot rows) beside what makes rows of scores."""

    def made(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
        t = rng.integers(0, CLASSES, shape[0])
        if condition == "one class":
            t[:] = 2
        rows = np.eye(CLASSES)[t] if hot else t[:, None]
        p = make(rng, condition, shape, dtype)
        if condition == "cancellation" and make is class_logits:
            p[np.arange(len(p)), t] += 20
        return rows, p

    return made


def class_logits(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Array:
    """Rows of logits; far from 0 where digits are to cancel."""
    p: Array = real(rng, condition, shape, dtype)[1]
    if condition == "cancellation":
        p = 300 + 2 * rng.standard_normal(shape)
    return p


def ids(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
    """Class numbers on both sides, half of them equal."""
    t, p = (rng.integers(0, CLASSES, shape).astype(np.float64) for _ in "tp")
    p = np.where(rng.random(shape) < 0.5, t, p)
    if condition == "ties":
        p[:] = 3
    return np.full(shape, 2.0) if condition == "one class" else t, p


def id_rows(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Array:
    """Rows of class numbers in any order."""
    p: Array = np.argsort(rng.random(shape), 1).astype(np.float64)
    return p


def many_labels(rng: Any, condition: str, shape: tuple[int, int], dtype: str) -> Any:
    """Several labels a row, and their scores."""
    t, p = binary(rng, condition, shape, dtype)
    return t, p


def rounded(array: Array, dtype: str) -> Array:
    """What the dtype can hold of the numbers, as float64."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(array).astype(dtype_of(dtype)).astype(np.float64)


# --------------------------------------------------------------------------------------
# kernels


def own_function(y_true: Any, y_pred: Any) -> Any:
    """An elementwise function as users write it."""
    ops = keras.ops
    e = y_pred - y_true
    return ops.where(e > 0, ops.minimum(ops.log1p(abs(e)), 2.0), 0.5 * e * e)


def keras_own(m: Any, **options: Any) -> Any:
    """A metric of it: ours, or Keras's wrapper."""
    if m is keras.metrics:
        return m.MeanMetricWrapper(own_function, name="own", **options)
    return kt.elementwise(own_function, **options)


@dataclass(frozen=True)
class Kernel:
    """A kernel, the metric it is measured through, and its data."""

    name: str  # in exact_values; the kernel's name, and what follows a slash
    metric: Callable[..., Any]  # of keras.metrics or keras_tally, and a dtype
    make: Callable[..., Any]
    width: int = 1
    alone: bool = False  # takes values only
    in_keras: bool = True
    subject: str = ""  # that of keras_tally.bench which has the other libraries
    peers: tuple[tuple[str, Callable[[Any], Any]], ...] = ()  # or what makes them
    function: bool = False  # gives a value for each row, in the dtype of y_pred
    slow_in_keras: bool = False
    float32: bool = False  # results are float32 always
    huge: bool = False

    @property
    def kernel(self) -> str:
        """Its name in csrc/kernels.def."""
        return self.name.split("/")[0]

    @property
    def conditions(self) -> list[str]:
        """Those that mean something to it."""
        if self.make is ids:  # whole numbers
            return ["plain", "ties", "one class", "weights"]
        if self.function:  # without weights
            return [c for c in CONDITIONS if c != "weights"]
        return list(CONDITIONS)

    def peer(self, library: str) -> Any:
        """This metric of torchmetrics or torcheval, or None."""
        made = dict(self.peers).get(library)
        if made is not None:
            return made(subjects.metrics_of(library))
        make = BY_NAME[self.subject].peer(library) if self.subject else None
        return make and make()


def of(name: str, **arguments: Any) -> Callable[..., Any]:
    """The class of this name, in either module."""
    return lambda m, **options: getattr(m, name)(**arguments, **options)


def huber(m: Any, **options: Any) -> Any:
    """Our Huber; Keras has the loss only."""
    if m is kt:
        return kt.Huber(**options)
    return m.MeanMetricWrapper(keras.losses.huber, name="huber", delta=1.0, **options)


def function(name: str) -> Callable[..., Any]:
    """The function of this name: ours, or Keras's loss."""
    return lambda m, **options: getattr(kt if m is kt else keras.losses, name)


TM, TE = "torchmetrics", "torcheval"
onehot_scores, sparse_scores = (
    with_numbers(class_scores, hot) for hot in (True, False)
)
onehot_logits, sparse_logits = (
    with_numbers(class_logits, hot) for hot in (True, False)
)
KERNELS = (
    Kernel("identity", of("Mean"), values, alone=True, subject="Mean", huge=True),
    Kernel(
        "squared_error",
        of("MeanSquaredError"),
        real,
        subject="MeanSquaredError",
        huge=True,
    ),
    Kernel("signed_error", of("MeanBiasError"), real, in_keras=False),
    Kernel(
        "absolute_error",
        of("MeanAbsoluteError"),
        real,
        subject="MeanAbsoluteError",
        huge=True,
    ),
    Kernel("absolute_percentage_error", of("MeanAbsolutePercentageError"), real),
    Kernel(
        "squared_logarithmic_error",
        of("MeanSquaredLogarithmicError"),
        positive,
        peers=((TM, lambda m: m.MeanSquaredLogError()),),
    ),
    Kernel("huber_error", huber, real),
    Kernel(
        "log_cosh",
        of("LogCoshError"),
        real,
        peers=((TM, lambda m: m.LogCoshError()),),
    ),
    Kernel("poisson", of("Poisson"), positive),
    Kernel("hinge", of("Hinge"), signs),
    Kernel("squared_hinge", of("SquaredHinge"), signs),
    Kernel("kl_divergence", of("KLDivergence"), probabilities),
    Kernel("equal", of("Accuracy"), ids),
    Kernel(
        "binary_hit", of("BinaryAccuracy"), binary, subject="BinaryAccuracy", huge=True
    ),
    Kernel("binary_crossentropy", of("BinaryCrossentropy"), probabilities),
    Kernel(
        "binary_crossentropy/logits",
        of("BinaryCrossentropy", from_logits=True),
        binary_logits,
    ),
    Kernel(
        "binary_focal_crossentropy",
        function("binary_focal_crossentropy"),
        probabilities,
        function=True,
    ),
    Kernel("categorical_hit", of("CategoricalAccuracy"), onehot_scores, CLASSES),
    Kernel(
        "sparse_categorical_hit",
        of("SparseCategoricalAccuracy"),
        sparse_scores,
        CLASSES,
        subject="SparseCategoricalAccuracy",
    ),
    Kernel("top_k_hit", of("TopKCategoricalAccuracy", k=3), onehot_scores, CLASSES),
    Kernel(
        "sparse_top_k_hit",
        of("SparseTopKCategoricalAccuracy", k=3),
        sparse_scores,
        CLASSES,
    ),
    Kernel(
        "sorted_ids_hit",
        of("SparseTopKCategoricalAccuracy", k=3, from_sorted_ids=True),
        with_numbers(id_rows, False),
        CLASSES,
    ),
    Kernel("true_rank", of("MeanRank"), onehot_scores, CLASSES, in_keras=False),
    Kernel(
        "sparse_true_rank", of("SparseMeanRank"), sparse_scores, CLASSES, in_keras=False
    ),
    Kernel(
        "max_probability",
        of("MeanMaxProbability"),
        onehot_scores,
        CLASSES,
        in_keras=False,
    ),
    Kernel(
        "max_probability/logits",
        of("MeanMaxProbability", from_logits=True),
        onehot_logits,
        CLASSES,
        in_keras=False,
    ),
    Kernel(
        "categorical_crossentropy",
        of("CategoricalCrossentropy"),
        onehot_scores,
        CLASSES,
    ),
    Kernel(
        "categorical_crossentropy/logits",
        of("CategoricalCrossentropy", from_logits=True),
        onehot_logits,
        CLASSES,
    ),
    Kernel(
        "categorical_focal_crossentropy",
        function("categorical_focal_crossentropy"),
        onehot_scores,
        CLASSES,
        function=True,
    ),
    Kernel(
        "sparse_categorical_crossentropy",
        of("SparseCategoricalCrossentropy"),
        sparse_scores,
        CLASSES,
    ),
    Kernel(
        "sparse_categorical_crossentropy/logits",
        of("SparseCategoricalCrossentropy", from_logits=True),
        sparse_logits,
        CLASSES,
    ),
    Kernel("categorical_hinge", of("CategoricalHinge"), onehot_logits, CLASSES),
    Kernel("cosine_similarity", of("CosineSimilarity"), real, WIDTH),
    Kernel("pearson_correlation", of("PearsonCorrelation"), real, WIDTH),
    Kernel("concordance_correlation", of("ConcordanceCorrelation"), real, WIDTH),
    Kernel("squared_deviations", of("R2Score"), real, COLUMNS, subject="R2Score"),
    Kernel("predicted_cells", of("F1Score", threshold=0.5), many_labels, COLUMNS),
    Kernel("confusion", of("AUC"), binary, subject="AUC(200)"),
    Kernel(
        "confusion/counts",
        of("TruePositives"),
        binary,
        subject="TruePositives",
        huge=True,
    ),
    Kernel(
        "confusion_matrix",
        of("MeanIoU", num_classes=CLASSES),
        ids,
        subject="MeanIoU",
        slow_in_keras=True,
        float32=True,
    ),
    Kernel("expression", keras_own, real),
)

# --------------------------------------------------------------------------------------
# measuring


class Pool:
    """The data of a kernel under a condition in a dtype, and their exact answers."""

    def __init__(self, kernel: Kernel, condition: str, dtype: str) -> None:
        self.kernel, self.condition, self.dtype = kernel, condition, dtype
        seed = zlib.crc32(f"{kernel.name} {condition} {dtype}".encode())
        self.rng = np.random.default_rng(seed)
        ordinary = "plain" if condition in ("weights", *SPECIAL) else condition
        shape = POOL, kernel.width
        t, p = kernel.make(self.rng, ordinary, shape, dtype)
        if condition in SPECIAL:
            p[3, 0] = math.nan if condition == "NaN" else math.inf
        numbers = kernel.width > 1 and t.shape[1] == 1  # of classes
        self.p = p.astype(dtype_of(dtype))
        self.t = t.astype(np.int64 if numbers else dtype_of(dtype))
        decades = self.rng.uniform(-6, 6, POOL)
        self.weight = (10.0**decades).astype(np.float32)
        self.weighted = condition == "weights"

    @cached_property
    def rows(self) -> tuple[list[list[float]], list[list[float]]]:
        """Targets and predictions as Python floats."""
        t, p = (a.astype(np.float64).tolist() for a in (self.t, self.p))
        return t, p

    @cache  # noqa: B019  (a pool lives as long as its answers)
    def value(self, index: int) -> Any:
        """What one element or row contributes."""
        t, p = self.rows
        value = exact_values.VALUES[self.kernel.name]
        return value(t[index], p[index], exact_values.limits(self.dtype))

    def exact(self, taken: Array) -> list[Any]:
        """The exact results where each element is taken so many times."""
        weight = [
            int(n) * (mpf(float(w)) if self.weighted else mpf(1))
            for n, w in zip(taken, self.weight, strict=True)
        ]
        if self.kernel.name in exact_values.RESULTS:
            result = exact_values.RESULTS[self.kernel.name](*self.rows, weight)
            return result if isinstance(result, list) else [result]
        used = [i for i, w in enumerate(weight) if w]
        if not used:
            return [mpf(0)]
        size = exact_values.total(weight[i] for i in used)
        return [exact_values.total(weight[i] * self.value(i) for i in used) / size]

    def draw(self, size: int) -> Array:
        """Which elements make a batch; small ones begin with the special."""
        if size <= POOL:
            return (np.arange(size) + 3) % POOL
        return self.rng.integers(0, POOL, size)

    def batches(self, order: Array, step: int) -> Iterator[tuple[Array, ...]]:
        """Targets, predictions and weights, so many rows at a time."""
        for first in range(0, max(1, len(order)), step):
            index = order[first : first + step]
            yield self.t[index], self.p[index], self.weight[index]


def numbers(result: Any) -> list[float]:
    """A result of any library as a list of Python floats."""
    if isinstance(result, (list, tuple)):  # torcheval's AUC, and its thresholds
        return numbers(result[0])
    if hasattr(result, "detach"):
        result = result.detach().to(keras.src.backend.to_torch_dtype("float64")).numpy()
    return [float(x) for x in np.asarray(result, np.float64).ravel()]


def fed(metric: Any, pool: Pool, order: Array, step: int, repeat: int) -> list[float]:
    """The result of a metric in Keras's manner after all batches."""
    kernel = pool.kernel
    for t, p, weight in pool.batches(order, step):
        args = [tensor(a) for a in ((p,) if kernel.alone else (t, p))]
        if kernel.function:
            return numbers(metric(*args))
        options = {"sample_weight": tensor(weight)} if pool.weighted else {}
        for _ in range(repeat):
            metric.update_state(*args, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # random numbers are no scores that one means
        return numbers(metric.result())


def fed_peer(
    metric: Any, pool: Pool, order: Array, step: int, repeat: int
) -> list[float]:
    """The result of a metric of torchmetrics or torcheval."""
    flat = pool.p.shape[1] == 1
    labels = pool.kernel.make in (binary, ids)
    for t, p, _ in pool.batches(order, step):
        t = t[:, 0] if t.shape != p.shape else t.astype(np.int64) if labels else t
        if pool.kernel.make is ids:
            p = p.astype(np.int64)
        data = subjects.Data(t, p, t, flat)
        args = data.peers[:1] if pool.kernel.alone else data.peers
        for _ in range(repeat):
            metric.update(*args)
    return numbers(metric.compute())


def steps(kernel: Kernel, condition: str, dtype: str) -> list[tuple[int, int, int]]:
    """Elements or rows, how many of them make a batch, and how often."""
    found = [(n, max(1, n), 1) for n in SMALL]
    found.append((MEDIUM, MEDIUM if kernel.function else BATCH, 1))
    if not kernel.function:
        most = LARGE // kernel.width
        found.append((most, most, 1))
        if kernel.huge and condition in ("plain", "weights") and dtype == "float32":
            found.append((most, most, HUGE))
    return found


@contextmanager
def floatx(dtype: str) -> Iterator[None]:
    """Keras's default dtype for a while."""
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(before)


def worst(got: list[float], exact: list[Any], dtype: str) -> float:
    """The largest error of several results."""
    if len(got) != len(exact):
        raise SystemExit(f"{len(got)} results where {len(exact)} were expected")
    pairs = zip(got, exact, strict=True)
    return max((error_in_ulps(a, b, dtype) for a, b in pairs), default=0.0)


def measure(
    kernel: Kernel, condition: str, dtype: str, only_small: bool = False
) -> dict[str, float]:
    """The largest errors over the sizes.

    ``ours`` in units of float64 with float64 results (functions: of the dtype of the
    values; IoU: of float32), the others in units of float32 with float32 results:
    ``ours32``, and, unless ``only_small``, ``keras``, ``torchmetrics`` and
    ``torcheval``.
    """
    pool = Pool(kernel, condition, dtype)
    errors: dict[str, float] = {}

    def note(key: str, error: float) -> None:
        errors[key] = max(errors.get(key, 0.0), error)

    for size, step, repeat in steps(kernel, condition, dtype):
        if only_small and size not in SMALL:
            break
        order = pool.draw(size)
        if kernel.function:
            exact = [pool.value(i) for i in order]
            got = fed(kernel.metric(kt), pool, order, step, repeat)
            note("ours", worst(got, exact, dtype))
        else:
            exact = pool.exact(repeat * np.bincount(order, minlength=POOL))
            for key, result in (("ours", "float64"), ("ours32", "float32")):
                with floatx(result):  # which some ask for the dtype of results
                    metric = kernel.metric(kt, dtype=result)
                    got = fed(metric, pool, order, step, repeat)
                unit = "float32" if kernel.float32 else result
                note(key, worst(got, exact, unit))
        if only_small or size <= 1 or condition in SPECIAL:
            continue
        if kernel.in_keras and not (kernel.slow_in_keras and size > MEDIUM):
            options = {} if kernel.function else {"dtype": "float32"}
            got = fed(
                kernel.metric(keras.metrics, **options), pool, order, step, repeat
            )
            note("keras", worst(got, exact, dtype if kernel.function else "float32"))
        if dtype != "float32" or pool.weighted or (kernel.name, condition) in UNDEFINED:
            continue
        for library in subjects.PEERS:
            metric = kernel.peer(library)
            if metric is not None:
                got = fed_peer(metric, pool, order, step, repeat)
                note(library, worst(got, exact, "float32"))
    return errors


def bound(error: float) -> float:
    """The error rounded up to 1, 2 or 5 times a power of ten; at least 1/2.

    >>> bound(0.3), bound(7.2), bound(10.0)
    (0.5, 10.0, 10.0)
    """
    if error <= 0.5 or math.isinf(error):
        return max(error, 0.5)
    power = 10.0 ** math.floor(math.log10(error))
    return next(k * power for k in (1, 2, 5, 10) if error <= k * power)


def main(chosen: list[str]) -> None:
    """Measure, and store what was measured of all kernels."""
    start("ulps: errors in units in the last place")
    warnings.simplefilter("ignore")  # Keras and torchmetrics, of what is degenerate
    harness.set_threads(1)
    columns = {
        "kernel": "kernel",
        "condition": "condition",
        **dict.fromkeys(DTYPES),
        "ours32": "float32 result",
        **{f"keras_{d}": f"Keras, {d}" for d in DTYPES},
        **{library: library for library in subjects.PEERS},
    }
    columns |= {d: d for d in DTYPES}
    report = Report("ulps", "Errors in units in the last place", columns)
    report.notes = [f"{name}: {what}." for name, what in CONDITIONS.items()]
    began = time.perf_counter()
    kernels = [k for k in KERNELS if not chosen or k.kernel in chosen]
    for i, kernel in enumerate(kernels, 1):
        say(f"[{i}/{len(kernels)}] {kernel.name}, {time.perf_counter() - began:.0f} s")
        for condition in kernel.conditions:
            found = {d: measure(kernel, condition, d) for d in DTYPES}
            ours32 = [e["ours32"] for e in found.values() if "ours32" in e]
            report.row(
                kernel=kernel.name,
                condition=condition,
                **{d: bound(e["ours"]) for d, e in found.items()},
                ours32=bound(max(ours32)) if ours32 else None,
                **{f"keras_{d}": e.get("keras") for d, e in found.items()},
                **{lib: found["float32"].get(lib) for lib in subjects.PEERS},
            )
    if not chosen:
        report.write()


if __name__ == "__main__":
    main(sys.argv[1:])
