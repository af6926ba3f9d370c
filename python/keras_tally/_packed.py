"""The states of several metrics in one variable, and the views that metrics keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_tally import _backends
from keras_tally._atomic import change
from keras_tally._engine import IN_PLACE

Shape = tuple[int, ...]
# The dtype of packed states, and whether they are pairs (2) or not (1).
Kind = tuple[str, int]


class View(keras.Variable):  # type: ignore[misc]
    """A variable whose value is a part of other variables.

    It reads and writes like the variable that it stands for, in stateless scopes too,
    and holds nothing itself.
    """

    def __init__(
        self,
        like: keras.Variable,
        read: Callable[[], Any],
        write: Callable[[Any], None],
    ) -> None:
        self._read, self._write = read, write
        super().__init__(
            keras.initializers.Zeros(),
            shape=tuple(like.shape),
            dtype=like._dtype,
            trainable=False,
            autocast=False,
            aggregation="sum",
            synchronization="on_read",
            name=like.name,
        )
        self._path = like.path

    def _initialize(self, value: Any) -> None:
        del value

    def _initialize_with_initializer(self, initializer: Any) -> None:
        del initializer

    def _deferred_initialize(self) -> None:
        pass

    @property
    def _value(self) -> Any:
        return self._read()

    @_value.setter
    def _value(self, value: Any) -> None:
        del value

    @property
    def value(self) -> Any:
        """The part of the packed variables that this one stands for."""
        return self._read()

    def assign(self, value: Any) -> Any:
        """Write into the packed variables."""
        value = keras.ops.convert_to_tensor(value, dtype=self._dtype)
        if tuple(value.shape) != tuple(self._shape):
            raise ValueError(
                f"the value of {self.path} must have shape {tuple(self._shape)}. "
                f"Received: value.shape={tuple(value.shape)}"
            )
        self._write(value)
        return value


@dataclass(frozen=True)
class Part:
    """Where one variable of a metric lies: entries of each row of `pack`."""

    pack: keras.Variable
    start: int
    shape: Shape
    dtype: str

    @property
    def stop(self) -> int:
        return self.start + math.prod(self.shape)

    @property
    def has_low(self) -> bool:
        """Whether the pack has a row of low halves."""
        return bool(self.pack.shape[0] == 2)

    def of(self, rows: Any, row: int) -> Any:
        """Return the entries of a row (0: high halves, 1: low ones) of the pack."""
        return keras.ops.reshape(rows[row, self.start : self.stop], self.shape)

    def read(self, row: int) -> Any:
        """Return the entries of a row that the pack has at present."""
        return self.of(self.pack.value, row)

    def write(self, row: int, value: Any) -> None:
        flat = keras.ops.reshape(keras.ops.cast(value, self.pack._dtype), (-1,))
        write_columns(self.pack, row, self.start, keras.ops.expand_dims(flat, 0))

    def read_whole(self) -> Any:
        """Return an integer variable that is packed as two floats."""
        high, low = (keras.ops.cast(self.read(row), self.dtype) for row in (0, 1))
        return high + low

    def write_whole(self, value: Any) -> None:
        high = keras.ops.cast(value, self.pack._dtype)
        self.write(0, high)
        self.write(1, value - keras.ops.cast(high, self.dtype))

    def view(self, like: keras.Variable) -> View:
        """Return what takes the place of the variable."""
        is_int = keras.backend.is_int_dtype
        if self.has_low and is_int(self.dtype) and not is_int(self.pack._dtype):
            return View(like, self.read_whole, self.write_whole)
        return View(like, lambda: self.read(0), lambda value: self.write(0, value))


def compensation_view(like: keras.Variable, parts: Sequence[Part]) -> View:
    """Return what takes the place of a metric's `compensation`."""
    row_shape = tuple(like.shape)[1:]
    row_size = math.prod(row_shape)
    ops = keras.ops

    def stretch(x: Any) -> Any:
        if not IN_PLACE:
            return ops.broadcast_to(x, row_shape)
        padding = ops.zeros((row_size - math.prod(x.shape),), dtype=like._dtype)
        return ops.reshape(ops.concatenate([ops.reshape(x, (-1,)), padding]), row_shape)

    def shrink(row: Any, shape: Shape) -> Any:
        if not IN_PLACE:
            return row[(0,) * (len(row_shape) - len(shape))]
        return ops.reshape(ops.reshape(row, (-1,))[: math.prod(shape)], shape)

    def read() -> Any:
        return ops.stack([stretch(part.read(1)) for part in parts])

    def write(value: Any) -> None:
        for i, part in enumerate(parts):
            part.write(1, shrink(value[i], part.shape))

    return View(like, read, write)


def state_view(like: keras.Variable, parts: Sequence[Part]) -> View:
    """Return what takes the place of the variable in which a metric's state was."""
    pack, start, stop = parts[0].pack, parts[0].start, parts[-1].stop

    def read() -> Any:
        return pack.value[:, start:stop]

    return View(like, read, lambda value: write_columns(pack, 0, start, value))


def write_columns(pack: Any, row: int, start: int, value: Any) -> None:
    """Write a matrix into a pack's, from this row and this column on."""
    height, width = value.shape
    if IN_PLACE and pack._value is not None and not in_stateless_scope():
        # The other columns may be written to at the same time.
        pack._value[row : row + height, start : start + width] = value
        return

    def make(values: Sequence[Any]) -> list[Any]:
        (rows,) = values
        wide = [rows[row : row + height, :start], value]
        wide.append(rows[row : row + height, start + width :])
        tall = [rows[:row], keras.ops.concatenate(wide, axis=1), rows[row + height :]]
        return [keras.ops.concatenate(tall, axis=0)]

    change([pack], make)


class PackedState:
    """One variable for the states of several metrics, or of one.

    On JAX and TensorFlow, where states have Keras's own dtypes, it is one variable for
    each dtype that occurs. A variable has two rows, of high halves and of low ones
    (`compensation`), and one row where the states need none.

    The metrics' variables become views. What the metrics hold is taken along, except
    of those that are `empty`: in a graph that is being traced, nobody could look.
    """

    def __init__(
        self,
        add_variable: Callable[..., keras.Variable],
        metrics: Sequence[Any],
        empty: Sequence[Any] = (),
    ) -> None:
        backend = _backends.active()
        starts: dict[Kind, int] = {}
        rows: dict[Kind, list[list[Any]]] = {}
        places: list[list[tuple[Kind, int]]] = []
        for metric in metrics:
            own = metric._own_state()
            places.append([])
            for i, variable in enumerate(own):
                dtype = "float64" if IN_PLACE else str(variable._dtype)
                kind = dtype, 2 if IN_PLACE or metric.compensation is not None else 1
                places[-1].append((kind, starts.get(kind, 0)))
                starts[kind] = starts.get(kind, 0) + math.prod(variable.shape)
                values = rows.setdefault(kind, [[] for _ in range(kind[1])])
                halves = [np.zeros(math.prod(variable.shape))] * len(values)
                if not any(metric is m for m in empty):
                    halves = metric._own_halves(i)
                for row, value in zip(values, halves, strict=True):
                    row.append(value)
        packs = {}
        for kind, values in rows.items():
            initial = np.stack([np.concatenate(row) for row in values])
            packs[kind] = add_variable(
                shape=initial.shape,
                initializer=_Constant(initial),
                dtype=kind[0],
                name="state" if IN_PLACE else f"state_{kind[0]}",
            )
            backend.settle(packs[kind])
            if packs[kind]._value is not None and initial.any():
                packs[kind].assign(initial)
        self.variables = list(packs.values())
        for metric, place in zip(metrics, places, strict=True):
            parts = [
                Part(packs[kind], start, tuple(v.shape), str(v._dtype))
                for (kind, start), v in zip(place, metric._own_state(), strict=True)
            ]
            metric._move_state(parts)


class _Constant(keras.initializers.Initializer):  # type: ignore[misc]
    """Gives a variable its first value, now or when a stateless scope has ended."""

    def __init__(self, value: np.ndarray[Any, Any]) -> None:
        self._values = value

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        del shape
        return keras.ops.convert_to_tensor(self._values, dtype=dtype)
