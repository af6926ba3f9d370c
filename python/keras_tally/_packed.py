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
from keras_tally._backends import writes_in_place as IN_PLACE
from keras_tally._portable import added

Shape = tuple[int, ...]
# The dtype of packed states, and how many numbers hold one of a state.
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
    def has_pairs(self) -> bool:
        """Whether each number is the sum of two: a second row has the rests."""
        return bool(self.pack.shape[0] == 2)

    def of(self, rows: Any, row: int = 0) -> Any:
        """Return the entries of a row of the pack."""
        return keras.ops.reshape(rows[row, self.start : self.stop], self.shape)

    def of_all(self, rows: Any) -> Any:
        """Return the entries of all rows, one below the other."""
        shape = (self.pack.shape[0], *self.shape)
        return keras.ops.reshape(rows[:, self.start : self.stop], shape)

    def write(self, rows: Any) -> None:
        """Write the entries of all rows."""
        flat = keras.ops.reshape(rows, (self.pack.shape[0], -1))
        flat = keras.ops.cast(flat, self.pack._dtype)
        write_columns(self.pack, self.start, flat)

    def view(self, like: keras.Variable) -> View:
        """Return what takes the place of the variable."""
        return (PairView if self.has_pairs else PartView)(like, self)


class PartView(View):
    """A variable that is a part of a pack."""

    def __init__(self, like: keras.Variable, part: Part) -> None:
        self.part = part
        # Integers may lie among floats.
        super().__init__(
            like,
            lambda: keras.ops.cast(part.of(part.pack.value), part.dtype),
            lambda value: part.write(keras.ops.expand_dims(value, 0)),
        )


class PairView(View):
    """A variable whose numbers are pairs: their sum is what it has counted.

    As a variable it has the sums, rounded to its dtype; to add to it loses nothing.
    """

    def __init__(self, like: keras.Variable, part: Part) -> None:
        self.part = part
        super().__init__(like, self._rounded, self._assign_rounded)

    def _rounded(self) -> Any:
        rows = self.part.pack.value
        if keras.backend.is_int_dtype(self.part.dtype):
            first, rest = (
                keras.ops.cast(self.part.of(rows, row), self.part.dtype)
                for row in (0, 1)
            )
            return first + rest
        return self.part.of(rows)

    def _assign_rounded(self, value: Any) -> None:
        dtype = self.part.pack._dtype
        first = keras.ops.cast(value, dtype)
        rest = keras.ops.zeros_like(first)
        if keras.backend.is_int_dtype(self.part.dtype):
            left = value - keras.ops.cast(first, self.part.dtype)
            rest = keras.ops.cast(left, dtype)
        self.part.write(keras.ops.stack([first, rest]))

    @property
    def pairs(self) -> Any:
        """The numbers, of shape (2, ...): rounded ones, and what that took away."""
        return self.part.of_all(self.part.pack.value)

    def assign_pairs(self, value: Any) -> None:
        """Set both halves of each number."""
        self.part.write(value)

    def assign_add(self, value: Any) -> Any:
        """Add a number, or one to each entry."""
        part = self.part
        with _backends.stored_backend().float64():
            value = keras.ops.cast(value, "float64")
            check_fits(self, keras.ops.add(keras.ops.zeros_like(self.value), value))
            value = keras.ops.broadcast_to(value, part.shape)
            flat = keras.ops.reshape(value, (-1,))
        entry = (part.start, part.stop, flat)
        change([part.pack], lambda rows: [added(rows[0], [entry])])
        return self.value

    def assign_sub(self, value: Any) -> Any:
        """Subtract a number, or one from each entry."""
        return self.assign_add(-keras.ops.convert_to_tensor(value))


def check_fits(variable: keras.Variable, total: Any) -> Any:
    """Refuse a sum that is larger than the variable it is for; return it."""
    shape = tuple(total.shape)
    if None not in shape and shape != tuple(variable.shape):
        raise ValueError(
            f"what is added to {variable.path} must fit its shape "
            f"{tuple(variable.shape)}. "
            f"Received: numbers that make a sum of shape {shape}"
        )
    return total


def state_view(like: keras.Variable, parts: Sequence[Part]) -> View:
    """Return what takes the place of the variable in which a metric's state was."""
    pack, start, stop = parts[0].pack, parts[0].start, parts[-1].stop

    def read() -> Any:
        return pack.value[:, start:stop]

    return View(like, read, lambda value: write_columns(pack, start, value))


def write_columns(pack: Any, start: int, value: Any) -> None:
    """Write into a pack's columns, from this one on."""
    stop = start + value.shape[1]
    if IN_PLACE and pack._value is not None and not in_stateless_scope():
        # The other columns may be written to at the same time.
        pack._value[:, start:stop] = value
        return

    def make(values: Sequence[Any]) -> list[Any]:
        (rows,) = values
        pieces = [rows[:, :start], value, rows[:, stop:]]
        return [keras.ops.concatenate(pieces, axis=1)]

    change([pack], make)


class PackedState:
    """One variable for the states of several metrics, or of one.

    On JAX and TensorFlow, where states have Keras's own dtypes, it is one variable for
    each dtype that occurs. Of float32 it has two rows: a number is the sum of a pair.

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
                kind = dtype, rows_of(dtype)
                places[-1].append((kind, starts.get(kind, 0)))
                starts[kind] = starts.get(kind, 0) + math.prod(variable.shape)
                values = rows.setdefault(kind, [[] for _ in range(kind[1])])
                found = [np.zeros(math.prod(variable.shape))] * len(values)
                if not any(metric is m for m in empty):
                    found = metric._own_rows(i)
                for row, value in zip(values, found, strict=True):
                    row.append(value)
        packs = {}
        for kind, values in rows.items():
            initial = np.stack([np.concatenate(row) for row in values])
            packs[kind] = add_variable(
                shape=initial.shape,
                initializer=Constant(initial),
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


def rows_of(dtype: str) -> int:
    """Return how many numbers of this dtype hold one of a state."""
    return 2 if dtype == "float32" and not IN_PLACE else 1


class Constant(keras.initializers.Initializer):  # type: ignore[misc]
    """Gives a variable its first value, now or when a stateless scope has ended."""

    def __init__(self, value: np.ndarray[Any, Any]) -> None:
        self._values = value

    def __call__(self, shape: Any, dtype: Any = None) -> Any:
        del shape
        return keras.ops.convert_to_tensor(self._values, dtype=dtype)
