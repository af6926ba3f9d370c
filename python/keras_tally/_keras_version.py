"""Where supported Keras versions differ, the installed one is followed."""

from __future__ import annotations

import keras

from keras_tally._versions import version_of


def at_least(major: int, minor: int) -> bool:
    """Tell whether the installed Keras is this version or a later one.

    Pre-releases count as the version they lead to.
    """
    return version_of(keras) >= (major, minor)
