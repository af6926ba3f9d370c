"""TensorFlow: kernels run eagerly, Keras's own operations in graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_tally import _native
from keras_tally._backends.stored import (
    K_WITHIN_CLASSES,
    NORM_HAS_FLOOR,
    THRESHOLD_IN_SCORES_DTYPE,
    plan_options,
    register,
    settle,
    state_dtype,
    whole_dtype,
    written_dtype,
)

__all__ = [
    "K_WITHIN_CLASSES",
    "NORM_HAS_FLOOR",
    "THRESHOLD_IN_SCORES_DTYPE",
    "plan_options",
    "register",
    "settle",
    "state_dtype",
    "whole_dtype",
]


def read_variable(variable: Any) -> Any:
    """Return a variable's value as a NumPy array, also while a graph is traced."""
    if variable._value is None:  # made in a stateless scope that has not ended
        return np.zeros(variable.shape)
    with tf.init_scope():
        if not variable._value.is_initialized():  # made in a graph being traced
            return np.zeros(variable.shape)
        value: np.ndarray[Any, Any] = variable._value.numpy()
        return value


def why_portable(*tensors: Any) -> str | None:
    """Return why no kernel can take these tensors; None if one can."""
    if not tf.executing_eagerly():
        return "in a graph, Keras's operations are faster than a call of Python"
    for x in tensors:
        if isinstance(x, keras.KerasTensor):
            return "a tensor is symbolic"
        if isinstance(x, (tf.RaggedTensor, tf.SparseTensor)):
            return f"a {type(x).__name__} is no plain array"
        if isinstance(x, tf.Tensor) and "GPU" in x.device:
            return f"there are no kernels for TensorFlow on {x.device}"
    return None


def prepare(x: Any) -> Any:
    """Return `x` as a tensor of TensorFlow."""
    return x if isinstance(x, tf.Tensor) else keras.ops.convert_to_tensor(x)


def _is_plain(variable: Any) -> bool:
    """Tell whether the variable is all that an assignment concerns."""
    return type(variable) is keras.Variable and not isinstance(
        variable._value, tf.distribute.DistributedValues
    )


def read(variables: Sequence[Any]) -> list[Any]:
    """Return the tensors that are the variables' values."""
    if in_stateless_scope() or not tf.executing_eagerly():
        return [tf.convert_to_tensor(v.value) for v in variables]
    return [
        v._value.value() if _is_plain(v) else tf.convert_to_tensor(v.value)
        for v in variables
    ]


def assign(variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Put the values of a new state into the variables."""
    in_scope = in_stateless_scope()
    for variable, value in zip(variables, values, strict=True):
        if in_scope or not _is_plain(variable):
            variable.assign(value)
            continue
        # Keras and TensorFlow look at shapes and dtypes first, at ten times the cost.
        tf.raw_ops.AssignVariableOp(
            resource=variable._value.handle, value=tf.constant(value)
        )


def update(
    program: Any, state: Sequence[Any], given: int, inputs: Sequence[Any]
) -> Sequence[Any]:
    """Return the state that a batch makes of the given one."""
    del given
    new: Sequence[Any] = _native.run_program(program.key, list(state), *inputs)
    return new


def results(program: Any, state: Sequence[Any]) -> Sequence[Any]:
    """Return the results of the program's metrics."""
    written = [written_dtype(dtype, wide=True) for dtype in program.result_dtypes]
    values = _native.run_results(program.key, list(state), written)
    return [
        tf.constant(value) if dtype == own else tf.cast(value, dtype)
        for value, dtype, own in zip(
            values, program.result_dtypes, written, strict=True
        )
    ]
