"""Reading and writing variables as one step, where nobody can add to them in place.

Native code that adds to a variable in place does so in one call, with the interpreter's
lock held, and needs nothing of this. Elsewhere a new value is computed from the old one
and put in its place. Meanwhile other threads wait. A signal handler does not: it runs
in the middle of whatever the main thread does. What it has changed is noticed, and the
step is made again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_tally import _backends, _native

T = TypeVar("T")
Make = Callable[[Sequence[Any]], Sequence[Any] | None]

_lock = threading.RLock()
# Holds another object after each change.
_version: list[object] = [object()]


def change(variables: Sequence[Any], make: Make) -> None:
    """Give variables the values that `make` makes of theirs, all of them or none.

    `make` is called again where the values have changed in the meantime. With None it
    says that nothing is left to do.
    """
    backend = _backends.active()
    if in_stateless_scope():
        values = make(backend.read(variables)) or ()
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return
    with _lock:
        while True:
            seen = _version[0]
            new = make(backend.read(variables))
            if new is None or _native.commit(
                _version, seen, backend.assignments(variables, new)
            ):
                return


def read_together(variables: Sequence[Any]) -> Sequence[Any]:
    """Return the values of variables, all of one moment."""
    backend = _backends.active()
    if len(variables) == 1:  # nobody has to wait
        values: Sequence[Any] = backend.read(variables)
        return values
    return unchanged(lambda: backend.read(variables))


def unchanged(read: Callable[[], T]) -> T:
    """Return what `read` reads of variables while nobody changes them."""
    with _lock:
        while True:
            seen = _version[0]
            found = read()
            if _version[0] is seen:
                return found


def add(
    variables: Sequence[Any],
    in_place: Callable[[], bool],
    pure: Callable[[Sequence[Any]], Sequence[Any]],
) -> None:
    """Add to variables in place or, where that is impossible, to copies.

    `in_place` returns whether it has done so: if not, `pure` returns new values.
    """
    if in_stateless_scope():
        change(variables, pure)
    elif not in_place():
        # Whoever was faster may have put values there that can be added to.
        change(variables, lambda values: None if in_place() else pure(values))
