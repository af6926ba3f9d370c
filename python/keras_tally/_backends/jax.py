"""JAX: kernels are foreign functions of XLA, inside and outside of compiled code."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import jaxlib
import keras
import numpy as np
from jax import lax
from jax._src.array import ArrayImpl as _Concrete
from jax.experimental import multihost_utils
from jax.experimental.sparse import JAXSparse
from keras.src.backend.common.stateless_scope import (
    get_stateless_scope,
    in_stateless_scope,
)

from keras_tally import _native
from keras_tally._backends import Assignment, Road, as_array
from keras_tally._backends.stored import *  # noqa: F403
from keras_tally._backends.stored import described, written_dtype
from keras_tally._device import cuda_status

try:
    from jax import enable_x64 as _enable_x64
except ImportError:  # before jax 0.8
    from jax.experimental import enable_x64 as _enable_x64


def read_variable(variable: Any) -> Any:
    """Return a variable's value as a NumPy array, also while a graph is traced."""
    if variable._value is None:  # made in a stateless scope that has not ended
        return np.zeros(variable.shape)
    return np.asarray(variable._value)


def is_on_host(variable: Any) -> bool:
    """Tell whether reading the variable's value waits for no device."""
    value = variable._value
    if type(value) is not _Concrete or value.is_deleted():
        return False
    return all(device.platform == "cpu" for device in value.devices())


# How large the buffers of all processes are.
_buffer_size = 0


def _check_group(group: Any) -> None:
    if group is not None:
        raise ValueError(
            "`group` must be None on JAX, where all processes take part. "
            f"Received: {group!r}"
        )


def buffer_size(group: Any) -> int:
    """Return the size that buffers were given last, or 0."""
    _check_group(group)
    return _buffer_size


def keep_buffer_size(group: Any, size: int) -> None:
    """Give the next buffers this size."""
    global _buffer_size
    _check_group(group)
    _buffer_size = size


def all_gather(buffer: np.ndarray[Any, Any], group: Any) -> np.ndarray[Any, Any]:
    """Return the buffers of all processes, in their order."""
    _check_group(group)
    if jax.process_count() == 1:
        return buffer[None]
    # Without x64 there are no wider integers.
    halves = multihost_utils.process_allgather(buffer.view("uint32"))
    return np.ascontiguousarray(halves).view(buffer.dtype)


def float64() -> Any:
    """Return a scope in which float64 is what it says, whatever jax_enable_x64 is.

    XLA computes in it everywhere; on TPUs with pairs of float32.
    """
    return _enable_x64(True)


def has_64_bits() -> bool:
    """Tell whether JAX has 64-bit numbers everywhere."""
    return bool(jax.config.jax_enable_x64)


def operation(name: str) -> Any:
    """Return an operation of `keras.ops`.

    Keras computes floor, ceil, and what is trigonometric or hyperbolic in float32, and
    returns float32: these are JAX's own.
    """
    return getattr(jnp if name in _IN_FLOATX else keras.ops, name)


_IN_FLOATX = {"floor", "ceil", "arctan2", "logaddexp"} | {
    f"{arc}{name}{h}"
    for arc in ("", "arc")
    for name in ("sin", "cos", "tan")
    for h in ("", "h")
}


def _register_handlers() -> str | None:
    """Register the handlers with XLA; return what is in the way."""
    handlers = _native.xla_handlers()
    platform = jax.default_backend()  # starts the backend, which must come first
    if platform not in ("cpu", "gpu"):
        return f"there are no XLA handlers for the platform {platform!r}"
    platforms = ["cpu"]
    if platform == "gpu":
        status = cuda_status()
        if not status.enabled:
            return str(status)
        platforms.append("CUDA")
    try:
        for each in platforms:
            for name, handler in handlers[each].items():
                jax.ffi.register_ffi_target(name, handler, platform=each)
    except Exception as error:
        return (
            f"jax {jax.__version__}, jaxlib {jaxlib.__version__} and the XLA FFI "
            f"{_native.xla_version()} that keras-tally speaks do not fit together: "
            f"{error}"
        )
    return None


@cache
def _why_no_handlers() -> str | None:
    """Return why XLA cannot call kernels; the first time it is a warning, too.

    That is the first update and not the import, which must not start JAX's backend.
    """
    why = _register_handlers()
    if why is not None:
        warnings.warn(
            f"keras-tally's kernels cannot be used on JAX: {why.rstrip('.')}. Keras's "
            "own operations do the work, and slower.",
            stacklevel=2,
        )
    return why


def why_portable(*tensors: Any) -> str | None:
    """Return why no kernel can take these tensors; None if one can."""
    why = _why_no_handlers()
    if why is not None or not is_compiling(tensors):
        return why
    for x in tensors:
        if not all(isinstance(n, int) for n in getattr(x, "shape", ())):
            return "a shape is symbolic"
    return None


# A kernel reads and writes all of a matrix, of which XLA changes a few cells where it
# lies. From so many cells on that is faster, as `bench/frameworks.py` measures (Roads).
MANY_CELLS = 2**12


def _why_no_call(plan: Any, state: Sequence[Any], inputs: Sequence[Any]) -> str | None:
    """Return why the call of a kernel does not pay in this trace; None if it does."""
    if not is_compiling((*state, *inputs)):
        return None
    if plan.is_made_of_operations:
        return "the function is made of operations, which the compiler merges"
    # One call does the work of all of a group.
    if len(plan.members) > 1:
        return None
    # In the user's own `shard_map` the parts of a state vary by different axes.
    if hasattr(jax, "shard_map") and jax.sharding.get_abstract_mesh().manual_axes:
        return None
    ((kernel, _, options),) = (member.description for member in plan.members)
    if kernel != "confusion_matrix" or options["dense_predicted"]:
        return None
    elements = sum(math.prod(x.shape) for x in inputs)
    cells = state[0].shape[-1]
    if cells >= MANY_CELLS and elements <= cells:
        return f"XLA changes the cells of {elements} numbers where they lie"
    return None


def prepare(x: Any, argument: str, like: Any = None) -> Any:
    """Return `x` as a tensor of JAX."""
    del like
    if type(x) is _Concrete and x.is_deleted():
        raise ValueError(
            f"`{argument}` must hold data. Received: an array that has been deleted, "
            "or donated to a compiled function."
        )
    if isinstance(x, jax.Array):
        return x
    if isinstance(x, JAXSparse):
        raise TypeError(
            f"`{argument}` must be a dense array. Received: {type(x).__name__}. Use "
            "`.todense()`."
        )
    x = as_array(x)
    if isinstance(x, np.ndarray) and x.dtype.kind in "iu" and x.dtype.itemsize == 8:
        _require_32_bits(x)
    return keras.ops.convert_to_tensor(x)


def _require_32_bits(x: np.ndarray[Any, Any]) -> None:
    """Refuse integers that JAX would take modulo 2^32, without a word."""
    if jax.config.jax_enable_x64 or not x.size:
        return
    held = np.iinfo(f"{x.dtype.name[:-2]}32")
    for value in (x.min(), x.max()):
        if not held.min <= value <= held.max:
            raise OverflowError(
                f"JAX has no integer {value} unless jax_enable_x64 is on: use that, "
                "smaller numbers, or floats"
            )


def _value_in(scope: Any, variable: Any) -> Any:
    """Return a variable's value in a train step.

    Raises:
        RuntimeError: the step does not know it. Keras keeps the variables of a model's
            metrics out of what its layers may change.
    """
    gone = vars(variable).get("_value", variable) is None
    made_here = gone and variable._initializer is not None
    if gone and not made_here and scope.get_current_value(variable) is None:
        raise RuntimeError(
            f"{variable.path} is the state of a metric that a layer updates in its "
            "call(), which a train step of Keras on JAX cannot change. Return the "
            "numbers as an output of the model and give the metric to `compile()`, or "
            "keep them in a variable of the layer (`add_weight()` with "
            "`trainable=False`)."
        )
    return variable.value


def read(variables: Sequence[Any]) -> list[Any]:
    """Return the arrays that are the variables' values."""
    if in_stateless_scope():
        scope = get_stateless_scope()
        return [_value_in(scope, v) for v in variables]
    return [v._value if _is_plain(v) else v.value for v in variables]


def assignments(variables: Sequence[Any], values: Sequence[Any]) -> list[Assignment]:
    """Return the calls that put values into the variables."""
    return [
        (vars(variable).__setitem__, "_value", value)
        if _is_plain(variable)
        else (variable.assign, value)
        for variable, value in zip(variables, values, strict=True)
    ]


def _is_plain(variable: Any) -> bool:
    """Tell whether the variable's value is all that an assignment concerns."""
    # Views of other variables, and variables of Flax, have none of their own.
    return vars(variable).get("_value") is not None and variable._layout is None


def is_compiling(tensors: Sequence[Any]) -> bool:
    """Tell whether JAX traces them."""
    for x in tensors:
        # An array that is no tracer has one type, which is seen faster.
        if type(x) is not _Concrete and isinstance(x, jax.core.Tracer):
            return True
    return False


def _call(name: str, out: Any, **options: Any) -> Any:
    # Every other way to vectorise an alias gives wrong numbers, without a word.
    return jax.ffi.ffi_call(name, out, vmap_method="sequential", **options)


def _new_state(
    name: str, state: Sequence[Any], more: Sequence[Any], **what: Any
) -> Any:
    out = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in state)
    aliases = {i: i for i in range(len(state))}
    return _call(name, out, input_output_aliases=aliases)(*state, *more, **what)


def _update(
    program: str, given: int, state: Sequence[Any], inputs: Sequence[Any]
) -> Any:
    return _new_state(
        "keras_tally_update", state, inputs, program=program, given=np.int64(given)
    )


def _batch_mesh(inputs: Sequence[Any]) -> tuple[Any, str] | None:
    """Return Keras's mesh and its axis that batches are cut along."""
    distribution = keras.distribution.distribution()
    axis = getattr(distribution, "batch_dim_name", None)
    if axis is None or not hasattr(jax, "shard_map"):  # before jax 0.6: gathered
        return None
    mesh = distribution.device_mesh.backend_mesh
    # In the user's own `shard_map` a batch is the part of one device.
    if axis in jax.sharding.get_abstract_mesh().manual_axes:
        return None
    shards = mesh.shape[axis]
    if shards == 1 or any(x.shape[0] % shards for x in inputs):
        return None
    return mesh, axis


def _sharded_update(
    program: str, given: int, mesh: Any, axis: str, state: Any, inputs: Any
) -> Any:
    """Each device adds up its part of the batch; only these sums travel."""

    def of_a_shard(state: Any, *inputs: Any) -> Any:
        sums = _update(program, given, tuple(map(jnp.zeros_like, state)), inputs)
        all_sums = [lax.all_gather(x, axis) for x in sums]
        return _new_state(
            "keras_tally_merge",
            state,
            all_sums,
            program=program,
            others=np.int64(mesh.shape[axis]),
        )

    whole, cut = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(axis)
    return jax.shard_map(
        of_a_shard,
        mesh=mesh,
        in_specs=(whole, *(cut for _ in inputs)),
        out_specs=whole,
        check_vma=False,  # that the merged states are the same everywhere
    )(state, *inputs)


def check(program: str, given: int, inputs: Sequence[Any]) -> Any:
    """Raise what an update by these inputs would, whatever they hold; describe them."""
    abstract = described(inputs)
    if abstract is not None:
        _native.check_program(program, given, abstract)
    return abstract


def _checked_update(
    program: str, given: int, state: Sequence[Any], inputs: Sequence[Any]
) -> Any:
    # Statistics have no gradient.
    state, inputs = map(lax.stop_gradient, (tuple(state), tuple(inputs)))
    abstract = check(program, given, inputs)
    if _native.program_splits(program, given, abstract):
        found = _batch_mesh(inputs)
        if found is not None:
            mesh, axis = found
            return _sharded_update(program, given, mesh, axis, state, inputs)
    return _update(program, given, state, inputs)


@cache
def _jitted_update(program: str, given: int) -> Any:
    return jax.jit(partial(_checked_update, program, given))


def update(
    plan: Any, state: Sequence[Any], given: int, inputs: Sequence[Any], always: bool
) -> Sequence[Any] | str:
    """Return the state that a batch makes of the given one, or why no kernel does."""
    inputs, program = tuple(inputs), plan.program
    why = why_portable(*state, *inputs)
    if why is None and not always:
        why = _why_no_call(plan, state, inputs)
    if why is not None:
        check(program.key, given, inputs)
        return why
    if is_compiling((*state, *inputs)):
        new: Sequence[Any] = _checked_update(program.key, given, state, inputs)
        return new
    new = _jitted_update(program.key, given)(tuple(state), inputs)
    return new


def _results(program: Any, state: Sequence[Any]) -> tuple[Any, ...]:
    wide = jax.config.jax_enable_x64
    out = tuple(
        jax.ShapeDtypeStruct(shape, written_dtype(dtype, wide))
        for shape, dtype in zip(
            program.result_shapes, program.result_dtypes, strict=True
        )
    )
    values = _call("keras_tally_result", out)(
        *map(lax.stop_gradient, state), program=program.key
    )
    return tuple(
        value.astype(jnp.dtype(dtype)) if str(value.dtype) != dtype else value
        for value, dtype in zip(values, program.result_dtypes, strict=True)
    )


@cache
def _jitted_results(program: Any) -> Any:
    return jax.jit(partial(_results, program))


def results(program: Any, state: Sequence[Any]) -> Sequence[Any] | str:
    """Return the results of the program's metrics, or why no kernel makes them."""
    why = why_portable(*state)
    if why is not None:
        return why
    if is_compiling(state):
        return _results(program, state)
    values: Sequence[Any] = _jitted_results(program)(tuple(state))
    return values


def device_of(value: Any) -> str:
    """Return where a state is."""
    if value is None:
        platform: str = jax.default_backend()
        return platform
    return ", ".join(sorted({str(device) for device in value.devices()}))


def roads(why: str | None) -> dict[str, Road]:
    """Return the roads of metrics, which are portable if there is a reason for it."""
    if why is not None:
        return {where: Road("portable", why) for where in ("eager", "jit")}
    return {
        "eager": Road("FFI", "a jitted call of the kernel, compiled once"),
        "jit": Road(
            "FFI",
            "XLA calls the kernel; portable are symbolic shapes, and fewer ids than a "
            f"matrix of {MANY_CELLS} cells or more has cells",
        ),
    }
