"""What the metrics run on: native code, or Keras's own operations.

Decided once, at import, so that an update on the native road stays one call of the
extension. `ROAD` says which road was taken.
"""

from __future__ import annotations

import keras

from keras_tally import _backends

ROAD = "portable" if keras.config.backend() in _backends.PORTABLE else "native"

if ROAD == "portable":
    from keras_tally._portable import (
        make_group,
        make_plan,
        reset,
        reset_group,
        result,
        result_group,
        update,
        update_group,
    )
else:
    from keras_tally._native import (
        make_group,
        make_plan,
        reset,
        reset_group,
        result,
        result_group,
        update,
        update_group,
    )

__all__ = [
    "ROAD",
    "make_group",
    "make_plan",
    "reset",
    "reset_group",
    "result",
    "result_group",
    "update",
    "update_group",
]
