"""Metrics of one batch: tensors in, a number out, nothing kept.

One function for each metric of the package, under the name by which
`engine.Accumulator` knows it. Arguments come as in Keras and scikit-learn: `y_true`,
then `y_pred` (in torchmetrics and torcheval it is the other way round).

Inputs are torch tensors, NumPy arrays, anything with DLPack in host memory, lists or
numbers. A result is a scalar, or a vector of one value per threshold or column, of the
framework of `y_pred`: a torch tensor on its device, a number or an array of NumPy, an
array of JAX; for other frameworks and for lists it is NumPy's. It is float64 where
`y_pred` is, and float32 otherwise; it is computed in float64. No Keras is needed, and
there is no gradient.

Shapes, weights, NaN and labels are treated as by the class of the same metric, with
Keras's default settings (floatx float32, epsilon 1e-7) and, where Keras's backends
differ, as on torch. There are two exceptions. A vector of errors holds one sample for
each entry, with its own weight, where Keras takes the whole vector for one sample. And
where scores are a vector, labels other than 0 and 1 are class ids, which thresholds
cannot tell apart: an error, where Keras takes them for true (on a GPU, where nobody may
wait for the data, they are as well).

>>> import numpy as np
>>> from keras_tally import functional as F
>>> y_true, y_pred = np.array([0, 1, 1, 1]), np.array([0.9, 0.2, 0.8, 0.7])
>>> round(float(F.recall(y_true, y_pred)), 5)
0.66667
>>> round(float(F.f1_score(y_true, y_pred)), 5)
0.66667
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras_tally._compiler import follow_compiler
from keras_tally._functions import function_of
from keras_tally.metrics import METRICS

__all__ = sorted(METRICS)


def __getattr__(name: str) -> Callable[..., Any]:
    """Make a function when it is first asked for."""
    if name not in METRICS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function: Callable[..., Any] = globals().setdefault(
        name, function_of(METRICS[name])
    )
    return function


def __dir__() -> list[str]:
    return list(__all__)


follow_compiler()
