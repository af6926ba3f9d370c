"""Keras metrics with a C++ core: exact, and as fast as memory allows.

>>> import keras_tally as kt
>>> m = kt.BinaryAccuracy()
>>> m.update_state([1, 0, 1, 1], [0.9, 0.2, 0.4, 0.8])
>>> float(m.result())
0.75

The modules `engine` and `functional` need no Keras, and importing them does not import
it. The other names do, when the first of them is used. As soon as both packages are
imported, in any order, the classes are registered for loading saved models.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from keras_tally._versions import check_version, is_supported
from keras_tally._when_imported import import_before, when_imported

if TYPE_CHECKING:
    from keras_tally import engine as engine
    from keras_tally import functional as functional
    from keras_tally._public import *  # noqa: F403
    from keras_tally.metrics.accuracy import *  # noqa: F403
    from keras_tally.metrics.confusion import *  # noqa: F403
    from keras_tally.metrics.correlation import *  # noqa: F403
    from keras_tally.metrics.f_score import *  # noqa: F403
    from keras_tally.metrics.hinge import *  # noqa: F403
    from keras_tally.metrics.iou import *  # noqa: F403
    from keras_tally.metrics.probabilistic import *  # noqa: F403
    from keras_tally.metrics.reduction import *  # noqa: F403
    from keras_tally.metrics.regression import *  # noqa: F403

__version__ = "0.1.0"

_WITHOUT_KERAS = ("engine", "functional")
# Of `metrics`, which the classes are declared in.
_WITH_KERAS = ("metrics.elementwise", "metrics.functions")
# Modules that need no Keras, or see to it themselves.
_FREE = (
    "__main__",
    "_compiler",
    "_cuda",
    "_cuda_emulated",
    "_declare",
    "_device",
    "_docs",
    "_functions",
    "_native",
    "_numbers",
    "_plans",
    "_results",
    "_specs",
    "_tensorflow",
    "_tensors",
    "_threads",
    "_versions",
    "_when_imported",
    "_with_keras",
    "bench",
    "metrics",
    *_WITHOUT_KERAS,
)


def _needs_keras(module: str) -> bool:
    package, _, rest = module.partition(".")
    is_free = rest.split(".")[0] in _FREE and rest not in _WITH_KERAS
    return package == __name__ and not is_free


def _load() -> None:
    """Take all names that need Keras, which is imported, if it is new enough."""
    if not is_supported(importlib.import_module("keras")):
        return  # whoever uses a name is told, not whoever imports Keras
    declare = importlib.import_module("keras_tally._declare")
    found = declare.build(importlib.import_module("keras_tally.metrics").FAMILIES)
    public = importlib.import_module("keras_tally._public")
    found |= {name: getattr(public, name) for name in public.__all__}
    names = sorted([*found, *_WITHOUT_KERAS, "__version__"])
    globals().update(found, __all__=names)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import what a name needs when it is first used."""
        if name in _WITHOUT_KERAS:
            return importlib.import_module(f"keras_tally.{name}")
        missing = f"module {__name__!r} has no attribute {name!r}"
        # Private names are modules not imported yet, or what Python looks for.
        if "__all__" not in globals() and (name == "__all__" or name[0] != "_"):
            try:
                keras = importlib.import_module("keras")
            except ModuleNotFoundError as error:
                if error.name in ("torch", "jax", "tensorflow"):
                    raise ModuleNotFoundError(
                        f"Keras's backend here is {error.name}, which is not "
                        f"installed. Try: pip install {error.name}, or set "
                        "KERAS_BACKEND to another backend",
                        name=error.name,
                    ) from error
                if error.name != "keras":
                    raise
                if name == "__all__":
                    return _names_without_keras()
                # No ImportError: `hasattr` and completion ask for names, too.
                raise AttributeError(
                    f"{missing} without Keras, which is not installed. Try: pip "
                    "install keras"
                ) from error
            check_version(keras)
            if name in globals():
                return globals()[name]
        raise AttributeError(missing)

    def _names_without_keras() -> list[str]:
        return [*_WITHOUT_KERAS, "__version__"]

    def __dir__() -> list[str]:
        if "__all__" in globals():
            return list(globals()["__all__"])
        try:
            return list(__getattr__("__all__"))
        except ImportError:  # Keras is too old, or broken
            return _names_without_keras()


# What lies between them is imported in one order only, whatever is asked for first.
import_before("keras", _needs_keras, check_version)
when_imported("keras", _load)
