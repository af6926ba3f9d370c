"""The base class of every metric: state, update, result, reset.

The usual update is one native call that borrows the inputs and adds straight
into the variables. `_update_general` takes whatever that call hands back:
stateless scopes, symbolic tensors, masks, lists and scalars, other devices.

Where nobody can write into variables (`_stored`), nothing is handed back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras.src.backend.common.masking import get_keras_mask
from keras.src.backend.common.stateless_scope import (
    StatelessScope,
    in_stateless_scope,
)

from keras_tally import (
    _atomic,
    _backends,
    _native,
    _states,
    _stored,
)
from keras_tally._backends import is_torch_compiling
from keras_tally._building import apart, take_over
from keras_tally._bytes import check_room
from keras_tally._engine import IN_PLACE, make_plan, reset, result, update
from keras_tally._inputs import describe, prepare_pair, shape_of
from keras_tally._masks import combine_mask
from keras_tally._merging import Mergeable
from keras_tally._metric import Metric
from keras_tally._packed import PackedState, Part, View, state_view
from keras_tally._specs import Rules, Shape, Spec, State, argument_names
from keras_tally._warnings import warn


def keras_rules() -> Rules:
    """Return what Keras's settings, version and backend decide just now."""
    backend = _backends.active()
    return Rules(
        floatx=keras.config.floatx(),
        epsilon=keras.config.epsilon(),
        threshold_in_scores_dtype=backend.THRESHOLD_IN_SCORES_DTYPE,
        norm_has_floor=backend.NORM_HAS_FLOOR,
    )


class Planned(Mergeable, Metric):
    """What one metric and a group have in common: a plan, and variables for it."""

    _plan: Any = None
    # Those that hold the state of the plan.
    _plan_variables: Sequence[Any] = ()
    # Of a group's results; one metric has none.
    _result_names: tuple[str, ...] | None = None
    _input_names = ("y_true", "y_pred")

    def _results_of(self) -> dict[str, KernelMetric]:
        """Return the metrics whose results the plan gives, by the results' names."""
        raise NotImplementedError

    def _update_general(self, y_true: Any, y_pred: Any, sample_weight: Any) -> None:
        """Add a batch that native code does not take as it comes."""
        sample_weight = combine_mask(get_keras_mask(y_pred), sample_weight)
        if traced(y_true, y_pred, sample_weight):
            return
        _native.count_converted()
        # Where the state is; as far as there are kernels.
        like = _backends.in_place_backend().on_device(self._plan_variables[0]._value)
        inputs = self._prepare(like, y_true, y_pred, sample_weight)
        _atomic.add(
            self._plan_variables,
            lambda: update(self._plan, *inputs, True),
            lambda values: self._updated(values, *inputs),
        )

    def _updated(self, values: Sequence[Any], *inputs: Any) -> list[Any]:
        """Return what a batch makes of these values of the plan's variables."""
        states = [
            _backends.in_place_backend().copy_for_update(value) for value in values
        ]
        self._update_states(states, *inputs)
        return states

    def _try_update(self, y_true: Any, y_pred: Any, sample_weight: Any) -> None:
        """Raise what an update by this batch would, and change nothing."""
        if not IN_PLACE:
            _stored.updated(self._plan, y_true, y_pred, sample_weight)
            return
        sample_weight = combine_mask(get_keras_mask(y_pred), sample_weight)
        if not traced(y_true, y_pred, sample_weight):
            values = [variable.value for variable in self._plan_variables]
            self._updated(values, y_true, y_pred, sample_weight)

    def _prepare(
        self, like: Any, y_true: Any, y_pred: Any, sample_weight: Any
    ) -> tuple[Any, Any, Any]:
        """Return inputs as tensors that native code can read, where `like` is."""
        names = self._input_names
        return prepare_pair(like, y_true, y_pred, sample_weight, names)

    def _update_states(
        self, states: list[Any], y_true: Any, y_pred: Any, sample_weight: Any
    ) -> None:
        """Add a batch to these tensors, which stand for the plan's variables."""
        inputs = self._prepare(states[0], y_true, y_pred, sample_weight)
        _native.update_into(self._plan, states, *inputs)

    def _results_general(self) -> list[Any]:
        """Return the results where native code does not take the variables."""
        backend = _backends.in_place_backend()
        state = _atomic.read_together(self._plan_variables)
        if any(backend.is_symbolic(value) for value in state):
            return [
                backend.symbolic_result(metric._result_shape(), metric._result_dtype)
                for metric in self._results_of().values()
            ]
        return self._results_from(state)

    def _results_from(self, states: Sequence[Any]) -> list[Any]:
        """Return the results for these values of the plan's variables."""
        backend = _backends.in_place_backend()
        readable = [backend.copy_for_update(x) for x in states]
        found = _native.result_from(self._plan, readable)
        values = list(found.values()) if isinstance(found, dict) else [found]
        return [backend.place_like(value, states[0]) for value in values]


class KernelMetric(Planned):
    """A Keras metric whose arithmetic is native.

    The state is Keras's own variables, as float64 (integers: int64). The state of two
    data sets together is the sum of their states, variable by variable.

    On JAX and TensorFlow the state is in Keras's own dtype, see `_stored`, and lies in
    one variable, since trainers pay for each on every step; a number of float32 is a
    pair there, whose sum it is. `total`, `count` and the others are views of it
    (`_packed`), which read and write like Keras's.

    Pickles and copies take the state along; they are made from `get_config()`, so
    other attributes, set after the constructor, stay behind.
    """

    # What it is made of, see `_specs`; a class method of the public classes.
    spec: ClassVar[Callable[..., Spec]]

    _state: tuple[Any, ...] = ()
    # Where the state is packed, the places of Keras's variables.
    _parts: tuple[Part, ...] = ()
    # Whether the config is all there is to the metric: no functions.
    _plain_config = True
    # Whether `_warn_of_result` may have something to say.
    _warns_of_result = False
    _result_count = 0
    # The arguments of Keras's `_build`, for a metric that knows its shape only from
    # a batch; set before `_make_plan`.
    _keras_build_args: tuple[Any, ...] = ()

    def _add_state(
        self,
        name: str,
        shape: Sequence[int] = (),
        dtype: str | None = None,
        whole: bool = False,
    ) -> Any:
        """Add a variable to which Keras gives `dtype` (None: Keras's floatx).

        With `whole` it stays one of integers, where those have 64 bits.
        """
        check_room(shape)
        backend = _backends.active()
        dtype = dtype or keras.config.floatx()
        choose = backend.whole_dtype if whole else backend.state_dtype
        try:
            variable = self._add_plain_variable(
                shape=tuple(shape),
                initializer=keras.initializers.Zeros(),
                dtype=choose(dtype),
                name=name,
            )
        except (
            MemoryError,
            RuntimeError,
            ValueError,
        ) as error:  # whatever backends say
            if math.prod(shape) < 2**20:
                raise
            raise MemoryError(
                f"no room for the variable `{name}` of {type(self).__name__}: "
                f"{math.prod(shape)} numbers, shape {tuple(shape)}."
            ) from error
        backend.settle(variable)
        return variable

    def _own_spec(self, **known: Any) -> Spec:
        """Return the spec of the metric's arguments, which are its attributes."""
        own = {name: getattr(self, name) for name in argument_names(type(self).spec)}
        return self.spec(keras_rules(), **own, **known)

    def _bind(
        self, spec: Spec, result_dtype: str, dtype: str | None = None, **options: Any
    ) -> None:
        """Make the variables of the spec, attributes of their names, and the plan."""
        for name, shape in spec.state.items():
            if name not in vars(self):
                setattr(self, name, self._add_state(name, shape, dtype))
        state = [getattr(self, name) for name in spec.state]
        self._make_plan(
            spec.kernel, spec.result, state, result_dtype, **spec.options, **options
        )

    def _make_plan(
        self,
        kernel: str,
        result: str,
        state: Sequence[Any],
        result_dtype: str,
        **options: Any,
    ) -> None:
        """Bind a kernel and a result to the state variables, in order."""
        backend = _backends.active()
        self._state = tuple(state)
        self._result_dtype = result_dtype
        self._plan_arguments = (
            kernel,
            result,
            {
                "result_dtype": result_dtype,
                **backend.plan_options(result_dtype),
                **options,
            },
        )
        if IN_PLACE:
            self._plan_variables = self._state
            self._bind_plan(self._state)
        else:
            PackedState(self._add_plain_variable, [self], [self])

    def _bind_plan(self, places: Sequence[Any], **more: Any) -> None:
        """Bind it to variables, or to parts of them where the state is packed."""
        kernel, result, options = self._plan_arguments
        self._plan = make_plan(kernel, result, places, {**options, **more})
        _backends.active().register(self)

    def _extra_config(self, *names: str) -> dict[str, Any]:
        """Return those arguments, which Keras's class lacks, that are given.

        Without them, Keras can read the config.
        """
        found = {name: getattr(self, name) for name in names}
        return {k: v for k, v in found.items() if v is not None and v is not False}

    def _own_state(self) -> tuple[Any, ...]:
        """Return the variables that a kernel adds to."""
        return self._state

    def _own_rows(self, index: int) -> list[np.ndarray[Any, Any]]:
        """Return the numbers of a variable as a pack has them: one row, or two."""
        read = _backends.active().read_variable
        if IN_PLACE:
            return [np.ravel(read(self._state[index]))]
        part = self._parts[index]
        return [row[part.start : part.stop] for row in read(part.pack)]

    def _move_state(self, parts: Sequence[Part]) -> None:
        """Keep the state where these parts are, instead of in own variables."""
        views = [part.view(v) for part, v in zip(parts, self._state, strict=True)]
        by_id = {id(v): view for v, view in zip(self._state, views, strict=True)}
        for name, value in list(vars(self).items()):
            if id(value) in by_id:
                object.__setattr__(self, name, by_id[id(value)])
        left = {*by_id, *(id(part.pack) for part in self._parts)}
        for variable in list(self._variables):
            if id(variable) in left:
                self._tracker.untrack(variable)
        if all(parts[0].pack is not variable for variable in self._variables):
            mine = views if IN_PLACE else [state_view(self._parts[0].pack, parts)]
            for view in mine:
                self._tracker.add_to_store("variables", view)
        # Past Keras's tracking: the variables are those of somebody else.
        object.__setattr__(self, "_state", tuple(views))
        object.__setattr__(self, "_parts", tuple(parts))
        object.__setattr__(self, "_plan_variables", (parts[0].pack,))
        if not IN_PLACE:
            self._bind_plan(parts)
            return
        sizes = [math.prod(part.shape) for part in parts]
        self._bind_plan(self._plan_variables, sizes=sizes, offset=parts[0].start)

    def result(self) -> Any:
        """Return the metric's value over everything seen since the last reset."""
        value = result(self._plan)
        if self._warns_of_result:
            self._warn_of_result()
        if value is None:
            (value,) = self._results_general()
        return value

    def reset_state(self) -> None:
        """Forget everything seen so far."""
        left = _states.plain_variables(self)
        if not reset(self._plan):
            left = [*self._state, *left]
        for variable in left:
            variable.assign(keras.ops.zeros(variable.shape, dtype=variable.dtype))

    def _is_grouped(self) -> bool:
        return any(isinstance(variable, View) for variable in self._variables)

    def named_variables(self) -> list[Any]:
        """Return the variables by which Keras knows the state, and others.

        On torch and NumPy they are `variables`. On JAX and TensorFlow `variables` has
        the one in which the state lies, and these are views of it.

        Example:

        >>> import keras_tally as kt
        >>> [variable.name for variable in kt.Mean().named_variables()]
        ['total', 'count']
        """
        known = {id(v) for v in (*self._state, *(part.pack for part in self._parts))}
        more = [
            v for v in self.variables if id(v) not in known and not isinstance(v, View)
        ]
        return [*self._state, *(self._views.get(id(v), v) for v in more)]

    def _put(self, values: Sequence[Any]) -> None:
        if len(values) != len(self.variables):
            raise ValueError(
                "`metric_variables` must hold one tensor for each of the "
                f"{len(self.variables)} variables of {self}. Received: {len(values)}"
            )
        for variable, value in zip(self.variables, values, strict=True):
            variable.assign(value)

    # Keras's own would set the variables past the group's, where the state is.

    def stateless_update_state(
        self, metric_variables: Sequence[Any], *args: Any, **kwargs: Any
    ) -> list[Any]:
        """Return the state that a batch makes of the given one."""
        if not self._is_grouped():
            new: list[Any] = super().stateless_update_state(
                metric_variables, *args, **kwargs
            )
            return new
        with StatelessScope():
            self._put(metric_variables)
            self.update_state(*args, **kwargs)
            return [v.value for v in self.variables]

    def stateless_result(self, metric_variables: Sequence[Any]) -> Any:
        """Return the result for the given state."""
        if not self._is_grouped():
            return super().stateless_result(metric_variables)
        with StatelessScope():
            self._put(metric_variables)
            return self.result()

    def stateless_reset_state(self) -> list[Any]:
        """Return the state of a metric that has seen nothing."""
        if not self._is_grouped():
            new: list[Any] = super().stateless_reset_state()
            return new
        with StatelessScope():
            self.reset_state()
            return [v.value for v in self.variables]

    def _copied_config(self) -> dict[str, Any]:
        """Return the config that a copy or a pickle takes along."""
        # Serialised: the lists in a config are Keras's own kind, which no pickle takes.
        config: dict[str, Any] = keras.saving.serialize_keras_object(self)["config"]
        return config

    def __reduce__(self) -> tuple[Any, ...]:
        # Keras's own way to pickle and copy keeps the config and drops the state.
        shapes = [shape and tuple(shape) for shape in self._keras_build_args]
        variables = self.named_variables()
        values = _states.read_values(self)
        if values is None:
            to_numpy, exact = keras.ops.convert_to_numpy, _states.exact_value
            values = _atomic.unchanged(
                lambda: [np.array(to_numpy(exact(v))) for v in variables]
            )
        state = [(v.name, x) for v, x in zip(variables, values, strict=True)]
        return _restore, (type(self), self._copied_config(), shapes, state)

    def _results_of(self) -> dict[str, KernelMetric]:
        return {"": self}

    def _warn_of_result(self) -> None:
        """Say once what the state tells of inputs that cannot be meant."""
        # `fit` asks for the result of every batch: look at the 1st, 2nd, 4th, 8th ...
        count = self._result_count
        if count & (count + 1) == 0:
            state = self._state_on_host()
            if state is None:
                return
            doubt = self._doubt(state)
            if doubt is not None:
                self._warns_of_result = False  # decided: later results cost nothing
            if doubt:
                warn(f"{type(self).__name__} {self.name!r}: {doubt}")
        object.__setattr__(self, "_result_count", count + 1)  # past Keras's tracking

    def _doubt(self, state: State) -> str | None:
        """Return why the inputs that made this state cannot be meant.

        Empty: they may well be; None: the state does not tell yet.
        """
        del state
        return ""

    def _state_on_host(self) -> State | None:
        """Return Keras's variables by name; None where a device is to be waited for."""
        if is_torch_compiling() or in_stateless_scope():
            return None
        on_host = _backends.active().is_on_host
        if not all(map(on_host, self._plan_variables)):
            return None
        return {
            variable.name: self._own_rows(i)[0].reshape(tuple(variable.shape))
            for i, variable in enumerate(self._state)
        }

    def _warn_of_weights(self, sample_weight: Any) -> None:
        """Say what is wrong with weights that are accepted."""

    def _result_shape(self) -> tuple[int, ...]:
        shape = tuple(self._state[0].shape)
        return () if shape == (1,) else shape


class PairMetric(KernelMetric):
    """A metric of labels and predictions."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Update the state with a batch and return the result."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch to the state.

        Args:
            y_true: the ground truth.
            y_pred: the predictions.
            sample_weight: optional weights, by Keras's rules for this metric. What
                the Keras mask of `y_pred` leaves out weighs 0; mask and weights are
                aligned at their leading axes, so that weights of shape (batch,) and
                a mask of shape (batch, steps) fit.

        Raises:
            ValueError: shapes, weights or labels that do not fit; the state
                is as it was.
            TypeError: an argument that is no tensor of an accepted dtype.
        """
        if not update(self._plan, y_true, y_pred, sample_weight):
            self._update_general(y_true, y_pred, sample_weight)


class LateMetric(PairMetric):
    """A metric whose variables depend on the shape of the first batch."""

    _built = False

    def _build_arguments(
        self, y_true_shape: Shape, y_pred_shape: Shape
    ) -> tuple[Any, ...]:
        """Return what `_build` is called with for the first batch."""
        return y_true_shape, y_pred_shape

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch to the state; the first one decides the number of columns.

        Args:
            y_true: the ground truth.
            y_pred: the predictions.
            sample_weight: optional weights, by Keras's rules for this metric.

        Raises:
            ValueError: shapes, weights or labels that do not fit; the state
                is as it was.
            TypeError: an argument that is no tensor of an accepted dtype.
        """
        if not self._built:
            self._build_for(y_true, y_pred, sample_weight)
        super().update_state(y_true, y_pred, sample_weight)

    def _build_for(self, y_true: Any, y_pred: Any, sample_weight: Any) -> None:
        """Make the variables for a batch, if it can be added to them."""
        built = apart(self)
        built._build_by_shapes(y_true, y_pred, sample_weight)
        built._try_update(y_true, y_pred, sample_weight)
        take_over([(self, built)])

    def _build_by_shapes(self, y_true: Any, y_pred: Any, sample_weight: Any) -> None:
        if IN_PLACE:
            traced(y_true, y_pred, sample_weight)
        shapes = shape_of(y_true, "y_true"), shape_of(y_pred, "y_pred")
        self._build(*self._build_arguments(*shapes))

    def result(self) -> Any:
        """Return the metric's value over everything seen since the last reset."""
        if not self._built:
            raise ValueError(
                f"{type(self).__name__} {self.name!r} has no result before its first "
                "update_state(), which tells the number of columns."
            )
        return super().result()

    def reset_state(self) -> None:
        """Forget everything seen so far."""
        if self._built:
            super().reset_state()


def result_dtype_of(dtype: str) -> str:
    """Return the dtype of a ratio in a metric of this dtype: floats, as Keras's."""
    return "float32" if keras.backend.is_int_dtype(dtype) else dtype


def check_matrices(name: str, y_true_shape: Shape, y_pred_shape: Shape) -> None:
    """Refuse shapes that are not (batch_size, columns)."""
    alike = y_pred_shape == y_true_shape
    if len(y_pred_shape) == len(y_true_shape) == 2 and alike and y_pred_shape[1]:
        return
    raise ValueError(
        f"{name} needs `y_true` and `y_pred` of one shape (batch_size, output_dim), "
        "with at least one column. "
        f"Received: y_true.shape={y_true_shape}, y_pred.shape={y_pred_shape}"
    )


def _restore(
    cls: type[KernelMetric],
    config: dict[str, Any],
    shapes: Sequence[Any],
    state: Sequence[tuple[str, np.ndarray[Any, Any]]],
) -> Any:
    """Return a metric with this config and state; pickles call this by its name."""
    metric: Any = cls.from_config(config)
    if shapes and not metric._built:
        metric._build(*shapes)
    variables = metric.named_variables()
    expected = [(v.name, tuple(_states.exact_value(v).shape)) for v in variables]
    received = [(name, value.shape) for name, value in state]
    if expected != received:
        raise ValueError(
            f"the pickled or copied state does not fit {cls.__name__}: its config "
            f"makes the variables {expected}. Received: {received}. A subclass that "
            "takes arguments must return them in `get_config()`."
        )
    for variable, (_, value) in zip(variables, state, strict=True):
        _states.assign_exact(variable, value)
    return metric


def traced(y_true: Any, y_pred: Any, sample_weight: Any) -> bool:
    """Tell whether the inputs only have shapes, as while Keras builds a model.

    Raises:
        ValueError: they do where nobody traces.
    """
    if not _backends.any_symbolic(y_true, y_pred, sample_weight):
        return False
    if not in_stateless_scope():
        raise ValueError(
            "the inputs must hold data: a meta or fake tensor can only be "
            "traced in a stateless scope, where nothing is accumulated. "
            f"Received: y_true={describe(y_true)}, "
            f"y_pred={describe(y_pred)}"
        )
    return True
