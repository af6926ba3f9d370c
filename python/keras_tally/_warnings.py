"""Warnings that point at the user's line."""

from __future__ import annotations

import sys
import warnings

# What lies between a user's call and ours.
_PACKAGES = ("keras_tally", "keras")


def warn(message: str) -> None:
    """Warn of something in the caller's code, whoever calls us on the way there."""
    level, frame = 2, sys._getframe(1)
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES
    ):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)
