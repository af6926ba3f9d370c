"""Where supported Keras versions differ, the installed one is followed."""

from __future__ import annotations

import keras


def at_least(major: int, minor: int) -> bool:
    """Tell whether the installed Keras is this version or a later one.

    Pre-releases count as the version they lead to.
    """
    parts = keras.__version__.split(".")
    return (int(parts[0]), int(parts[1])) >= (major, minor)
