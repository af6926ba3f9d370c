"""TensorFlow: kernels are operations, eagerly and in graphs."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common.stateless_scope import in_stateless_scope
from tensorflow.python import pywrap_tfe
from tensorflow.python.eager import context
from tensorflow.python.ops import gen_resource_variable_ops as resource_ops
from tensorflow.python.ops.control_flow_util import GraphOrParentsInXlaContext

from keras_tally import _native
from keras_tally._backends import Assignment, Road
from keras_tally._backends.stored import *  # noqa: F403
from keras_tally._backends.stored import described, written_dtype

RAGGED = (tf.RaggedTensor,)


def read_variable(variable: Any) -> Any:
    """Return a variable's value as a NumPy array, also while a graph is traced."""
    with tf.init_scope():
        value = variable._value  # a tensor, where it is a view of another variable
        if value is None:  # made in a stateless scope that has not ended
            return np.zeros(variable.shape)
        if isinstance(value, tf.Variable) and not value.is_initialized():
            return np.zeros(variable.shape)  # made in a graph being traced
        found: np.ndarray[Any, Any] = value.numpy()
        return found


def is_on_host(variable: Any) -> bool:
    """Tell whether reading the variable's value waits for no device."""
    if not (tf.executing_eagerly() and _is_plain(variable)):
        return False
    return "GPU" not in variable._value.device


def float64() -> Any:
    """Return a scope in which float64 is what it says, as it is here everywhere."""
    return contextlib.nullcontext()


_XLA = "XLA compiles this graph, and takes no operations but TensorFlow's"


@cache
def _library() -> Any:
    """Load the operations; TensorFlow tells a library's only once."""
    spec = importlib.util.find_spec("keras_tally._tensorflow")
    if spec is None or spec.origin is None:
        raise ImportError("this build of keras-tally has none")
    # TensorFlow's library first, then the same file as a module.
    library = tf.load_op_library(spec.origin)
    module = importlib.import_module("keras_tally._tensorflow")
    if module.fault() or not hasattr(library, "keras_tally_update"):
        raise RuntimeError(module.fault() or f"{spec.origin} was imported before")
    module.set_programs(_native.program_api())
    for name in ("KerasTallyUpdate", "KerasTallyResult"):
        # It has been told before, where our modules are imported a second time.
        with contextlib.suppress(KeyError):
            tf.no_gradient(name)
    return library


@cache
def _operations() -> Any:
    """Return what makes the operations; a string says why there is nothing."""
    try:
        return _library()
    except Exception as error:
        why = f"tensorflow {tf.__version__} does not take them: {error}"
        warnings.warn(
            f"keras-tally's kernels cannot be used: {why}. Keras's own operations do "
            "the work.",
            stacklevel=2,
        )
        return why


@cache
def _why_no_operations() -> str | None:
    operations = _operations()
    if isinstance(operations, str):
        return operations
    if tf.config.list_logical_devices("GPU"):
        return "there are no kernels for TensorFlow on a GPU"
    return None


def why_portable(*tensors: Any) -> str | None:
    """Return why no kernel can take these tensors; None if one can."""
    why = _why_no_operations()
    if why is not None:
        return why
    if not tf.executing_eagerly() and GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    ):
        return _XLA
    for x in tensors:
        if isinstance(x, tf.RaggedTensor):
            return "a RaggedTensor is no plain array"
    return None


def is_compiling(tensors: Sequence[Any]) -> bool:
    """Tell whether a graph is being made."""
    del tensors
    return not tf.executing_eagerly()


def _why_no_call(plan: Any, state: Sequence[Any], inputs: Sequence[Any]) -> str | None:
    """Return why the call of a kernel does not pay; None if it does."""
    if plan.is_made_of_operations and is_compiling((*state, *inputs)):
        return "the function is made of operations, which the compiler merges"
    return None


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as a tensor of TensorFlow."""
    del like
    if not isinstance(x, (tf.Tensor, tf.RaggedTensor)):
        x = keras.ops.convert_to_tensor(x)
    if not isinstance(x, (tf.Tensor, tf.RaggedTensor)):  # but tensors all the same
        raise TypeError(
            f"`{argument}` must be a dense tensor. Received: {type(x).__name__}. Use "
            "`tf.sparse.to_dense()` or `tf.convert_to_tensor()`."
        )
    return x


def _is_plain(variable: Any) -> bool:
    """Tell whether the variable is all that an assignment concerns."""
    # Views of other variables have none of their own.
    own = vars(variable).get("_value")
    return isinstance(own, tf.Variable) and not isinstance(
        own, tf.distribute.DistributedValues
    )


def read(variables: Sequence[Any]) -> list[Any]:
    """Return the tensors that are the variables' values."""
    if in_stateless_scope() or not tf.executing_eagerly():
        return [tf.convert_to_tensor(v.value) for v in variables]
    return [
        resource_ops.read_variable_op(v._value.handle, v._value.dtype)
        if _is_plain(v)
        else tf.convert_to_tensor(v.value)
        for v in variables
    ]


def assignments(variables: Sequence[Any], values: Sequence[Any]) -> list[Assignment]:
    """Return the calls that put values into the variables."""
    if not tf.executing_eagerly():
        return [(v.assign, value) for v, value in zip(variables, values, strict=True)]
    # The rest of an assignment is Python code that looks at shapes and dtypes, at ten
    # times the cost.
    execute = pywrap_tfe.TFE_Py_FastPathExecute
    operation = context.context(), "AssignVariableOp", None
    return [
        (execute, *operation, v._value.handle, value, "validate_shape", False)
        if _is_plain(v)
        else (v.assign, value)
        for v, value in zip(variables, values, strict=True)
    ]


def check(program: str, given: int, inputs: Sequence[Any]) -> None:
    """Raise what an update by these inputs would, where their shapes are known."""
    abstract = described(inputs)
    if abstract is not None:
        _native.check_program(program, given, abstract)


def update(
    plan: Any, state: Sequence[Any], given: int, inputs: Sequence[Any], always: bool
) -> Sequence[Any] | str:
    """Return the state that a batch makes of the given one, or why no kernel does."""
    program = plan.program
    why = why_portable(*state, *inputs)
    if why is None and not always:
        why = _why_no_call(plan, state, inputs)
    if why is not None:
        check(program.key, given, inputs)
        return why
    if not tf.executing_eagerly():
        check(program.key, given, inputs)
    try:
        new: Sequence[Any] = _operations().keras_tally_update(
            state=state, arguments=inputs, program=program.key, given=given
        )
    except tf.errors.InvalidArgumentError as error:
        check(program.key, given, inputs)
        message = error.message.split("{{function_node", 1)[-1].split("}} ", 1)[-1]
        raise ValueError(message.rsplit(" [Op:", 1)[0]) from None
    if not tf.executing_eagerly():
        for before, after in zip(state, new, strict=True):
            after.set_shape(before.shape)
    return new


def results(program: Any, state: Sequence[Any]) -> Sequence[Any] | str:
    """Return the results of the program's metrics, or why no kernel makes them."""
    why = why_portable(*state)
    if why is not None:
        return why
    written = [written_dtype(dtype, wide=True) for dtype in program.result_dtypes]
    values = _operations().keras_tally_result(
        state=state, dtypes=written, program=program.key
    )
    if not tf.executing_eagerly():
        for value, shape in zip(values, program.result_shapes, strict=True):
            value.set_shape(shape)
    return [
        value if dtype == own else tf.cast(value, dtype)
        for value, dtype, own in zip(
            values, program.result_dtypes, written, strict=True
        )
    ]


def updates() -> int:
    """Return how many updates the operation has made."""
    _library()
    count: int = importlib.import_module("keras_tally._tensorflow").updates()
    return count


def device_of(value: Any) -> str:
    """Return where a state is."""
    return "unknown" if value is None else str(value.device)


def roads(why: str | None) -> dict[str, Road]:
    """Return the roads of metrics, which are portable if there is a reason for it."""
    portable = Road("portable", why or _XLA)
    if why is not None:
        return {where: portable for where in ("eager", "graph", "XLA")}
    return {
        "eager": Road("op", "the operation calls the kernel"),
        "graph": Road("op", "the operation is a part of the graph"),
        "XLA": portable,
    }
