"""The oldest versions that are supported, and the sentence that refuses older ones."""

from __future__ import annotations

import re
from types import ModuleType

# pyproject.toml asks pip for the same; noxfile.py runs the tests with them.
OLDEST = {
    "keras": (3, 15),
    "torch": (2, 10),
    "jax": (0, 5),  # has jax.ffi
    "tensorflow": (2, 18),  # the oldest that is tested
}


def version_of(module: ModuleType) -> tuple[int, ...]:
    """Return major and minor version; a pre-release counts as what it leads to."""
    return tuple(int(n) for n in re.findall(r"\d+", module.__version__)[:2])


def is_supported(module: ModuleType) -> bool:
    """Tell whether a framework is new enough."""
    return version_of(module) >= OLDEST[module.__name__]


def check_version(module: ModuleType) -> None:
    """Refuse a framework that is too old.

    Raises:
        ImportError: it is.
    """
    name = module.__name__
    if not is_supported(module):
        oldest = ".".join(map(str, OLDEST[name]))
        raise ImportError(
            f"keras-tally needs {name} {oldest} or newer. Received: {name} "
            f"{module.__version__}. Try: pip install --upgrade {name}"
        )
