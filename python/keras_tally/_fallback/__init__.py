"""What the kernels compute, in Keras's own operations, for where none can be called.

One module for each kind of kernel, and `results` for what is made of a state. They
work wherever Keras does: eagerly, in stateless scopes, in `jax.jit`, in `tf.function`,
under XLA, with sizes that are not known. All of it is in float64, as in the kernels
(`wide` in `_backends` says how JAX comes to have it), and follows the definitions in
`csrc/defs`. Shapes are checked before, by the code that checks them for the kernels;
where sizes are not known, what does not fit fails in the backend's operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_tally import _native
from keras_tally._fallback import (
    binned,
    columnwise,
    elementwise,
    expression,
    rowwise,
    tabulated,
)
from keras_tally._fallback.arrays import Options

_STATISTICS: dict[str, Callable[..., Sequence[Any]]] = {
    "elementwise": elementwise.sums,
    "rowwise": rowwise.sums,
    "columnwise": columnwise.sums,
    "binned": binned.counts,
    "tabulated": tabulated.counts,
    "expression": expression.sums,
}
_EXECUTORS: dict[str, str] = {
    entry["name"]: entry["executor"] for entry in _native.kernels()
}


def low_of(kernel: str, options: Options) -> list[int]:
    """Return the variables whose low halves the state has, too: they are its last."""
    if _EXECUTORS[kernel] != "columnwise":
        return []
    return columnwise.low_of(kernel, options)


def statistics(
    kernel: str,
    options: Options,
    y_true: Any,
    y_pred: Any,
    sample_weight: Any,
    sizes: Sequence[int],
) -> list[Any]:
    """Return what a batch adds to each variable of the state, flat, in float64.

    Args:
        kernel: the kernel's name.
        options: what configures it.
        y_true: the labels; None for a kernel of values.
        y_pred: the predictions, or the values.
        sample_weight: the weights, of which a mask is a part; None: there are none.
        sizes: how many numbers each variable has.
    """
    given = [x for x in (y_true, y_pred) if x is not None]
    if any(0 in tuple(x.shape) for x in given):  # nothing is added, whatever it is
        return [ops.zeros((size,), dtype="float64") for size in sizes]
    compute = _STATISTICS[_EXECUTORS[kernel]]
    found = compute(kernel, options, y_true, y_pred, sample_weight)
    # Of a kernel with more statistics than the metric has variables, the first.
    return [
        ops.reshape(keras.ops.cast(x, "float64"), (size,))
        for x, size in zip(found, sizes, strict=False)
    ]
