"""What calls of this package become inside of functions that torch compiles.

Outside of compiled code nothing changes: the operators are made when torch's compiler
is imported, which its first use does.
"""

from __future__ import annotations

import importlib

from keras_tally import _plans
from keras_tally._when_imported import when_imported


def follow_compiler() -> None:
    """Let `_plans` know of torch's compiler as soon as it is there."""
    when_imported("torch._dynamo", _enable)


def _enable() -> None:
    _plans.compiler = importlib.import_module("keras_tally._tensors.torch_ops")
