"""What the metrics run on: native code in place, or from state to state.

Decided once, at import, so that an update in place stays one call of the extension.
"""

from __future__ import annotations

from keras_tally import _backends

# Whether kernels add straight into Keras's variables (torch, NumPy). Elsewhere, where
# tensors cannot be written to, an update makes a new state, see `_stored`.
IN_PLACE = _backends.writes_in_place

if IN_PLACE:
    from keras_tally._native import make_group, make_plan, reset, result, update
else:
    from keras_tally._stored import make_group, make_plan, reset, result, update

__all__ = [
    "IN_PLACE",
    "make_group",
    "make_plan",
    "reset",
    "result",
    "update",
]
