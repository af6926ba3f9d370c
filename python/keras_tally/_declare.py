"""Metric classes, declared before Keras is there.

`engine` and `functional` need no Keras, and the classes are Keras's. So that a metric
is written once, its family's file in `metrics` imports no Keras. What it takes from
modules that do is a reference (`_with_keras`), and a class statement whose bases are
declarations makes a declaration: the parts of the class, of which `spec` says the
kernel, the state, the result and the arguments. Once Keras is imported, `build` makes
the classes, and puts them, and what is referred to, in place of the declarations and
references.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any, TypeVar

from keras_tally._docs import with_types
from keras_tally._specs import Spec, argument_names

T = TypeVar("T")


class Reference:
    """Something of a module that needs Keras."""

    def __init__(self, module: str, *names: str) -> None:
        self._module, self._names = module, names

    def real(self) -> Any:
        """Import the module, and return what is meant."""
        found: Any = importlib.import_module(self._module)
        for name in self._names:
            found = getattr(found, name)
        return found

    def __getattr__(self, name: str) -> Reference:
        if name.startswith("__"):
            raise AttributeError(name)
        return Reference(self._module, *self._names, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.real()(*args, **kwargs)


class Declaration:
    """A class that will be: Python calls this for a class statement with such bases."""

    def __init__(
        self,
        name: str,
        bases: tuple[Declaration, ...],
        body: dict[str, Any],
        source: Reference | None = None,
    ) -> None:
        self.__name__, self._bases, self._body = name, bases, body
        self._source = source
        # A public class is registered with Keras.
        self.is_public = False
        self._class: Any = None

    def real(self) -> Any:
        """Return the class, which is made once."""
        if self._class is None:
            self._class = self._made() if self._source is None else self._source.real()
        return self._class

    def _made(self) -> Any:
        bases = tuple(base.real() for base in self._bases)
        body = {
            name: value.real() if isinstance(value, Reference) else value
            for name, value in self._body.items()
        }
        # What Python does at the end of a class statement.
        cls = type(bases[0])(self.__name__, bases, body)
        if self.is_public:
            cls.__doc__ = with_types(cls)
            return Reference("keras_tally._registration", "register")(cls)
        return cls

    def __getattr__(self, name: str) -> Any:
        if self._source is not None:
            return getattr(self._source, name)
        for declaration in self._line():
            if name in declaration._body:
                value = declaration._body[name]
                if isinstance(value, classmethod):
                    function: Any = value.__func__
                    return partial(function, self)
                return value.__func__ if isinstance(value, staticmethod) else value
        raise AttributeError(f"{self.__name__} declares no {name!r}")

    def _line(self) -> Iterator[Declaration]:
        yield self
        for base in self._bases:
            yield from base._line()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.real()(*args, **kwargs)


def elsewhere(module: str, name: str) -> Declaration:
    """Return a class of a module that needs Keras, to declare others from."""
    return Declaration(name, (), {}, Reference(module, name))


def never(arguments: Mapping[str, Any]) -> bool:
    """Say that the spec does not depend on the inputs' columns."""
    del arguments
    return False


def always(arguments: Mapping[str, Any]) -> bool:
    """Say that the spec depends on the inputs' columns."""
    del arguments
    return True


@dataclass(frozen=True)
class Metric:
    """A metric as `engine` and `functional` know it."""

    name: str
    # Makes the spec of its arguments. Keyword-only parameters are not the user's: they
    # are known from a batch, or the Keras class's own.
    make: Callable[..., Spec]
    # The class, whose docstring is the metric's; None where there is only a function.
    class_name: str | None
    doc: str
    # Whether the spec depends on the number of columns of the inputs.
    needs_columns: Callable[[Mapping[str, Any]], bool]
    # Arguments that the function in `functional` decides by itself.
    fixed: Mapping[str, Any] = field(default_factory=dict)
    # Whether the result is a square matrix.
    is_matrix: bool = False

    @property
    def depends_on_columns(self) -> bool:
        """Whether the spec ever depends on them."""
        return self.needs_columns is not never


METRICS: dict[str, Metric] = {}
# Every public class, by name.
CLASSES: dict[str, Declaration] = {}


def metric(name: str | None = None) -> Callable[[type[T]], type[T]]:
    """Declare a public class, and the function and the accumulator of this name."""

    def declare(cls: Any) -> Any:
        cls.is_public = True
        CLASSES[cls.__name__] = cls
        if name is not None:
            fixed: dict[str, Any] = getattr(cls, "fixed_arguments", {})
            known = argument_names(cls.spec) if fixed else ()
            METRICS[name] = Metric(
                name,
                cls.spec,
                cls.__name__,
                cls._body["__doc__"],
                getattr(cls, "needs_columns", never),
                {k: fixed[k] for k in known if k in fixed},
            )
        return cls

    return declare


def function(
    needs_columns: Callable[[Mapping[str, Any]], bool] = never, is_matrix: bool = False
) -> Callable[[Callable[..., Spec]], Callable[..., Spec]]:
    """Declare a metric that has a function and an accumulator, and no class."""

    def declare(make: Callable[..., Spec]) -> Callable[..., Spec]:
        name, doc = make.__name__, make.__doc__ or ""
        METRICS[name] = Metric(
            name, make, None, doc, needs_columns, is_matrix=is_matrix
        )
        return make

    return declare


def build(families: Iterable[ModuleType]) -> dict[str, Any]:
    """Make the classes of these modules, for Keras is there; return the public ones."""
    for module in families:
        for name, value in list(vars(module).items()):
            if isinstance(value, (Declaration, Reference)):
                setattr(module, name, value.real())
    return {name: declaration.real() for name, declaration in CLASSES.items()}
