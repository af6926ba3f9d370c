"""What only the first batch tells is built apart, and then taken over at once.

Until then a metric is as it was, for whoever looks at it, and for other threads and
signal handlers that build the same thing: the first of them decides for all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_tally import _backends

# What Keras keeps of a metric's parts, in objects that change.
_TRACKED = {"variables": "_variables", "metrics": "_metrics"}


def apart(metric: Any) -> Any:
    """Return a copy of a metric that can be built unseen; what there is, both have."""
    copy = object.__new__(type(metric))
    keras.metrics.Metric.__init__(copy, name=metric.name, dtype=metric._dtype_policy)
    own = {"_tracker", *_TRACKED.values()}
    # Past Keras's tracking.
    vars(copy).update({k: v for k, v in dict(vars(metric)).items() if k not in own})
    for store, name in _TRACKED.items():
        for part in getattr(metric, name):
            copy._tracker.add_to_store(store, part)
    return copy


def take_over(pairs: Sequence[tuple[Any, Any]]) -> None:
    """Make of each metric what its copy has become, if nobody has been faster.

    Of several metrics the last one is that which tells whether all are built.
    """
    changes = []
    for metric, copy in pairs:
        before = dict(vars(metric))
        new = {k: v for k, v in vars(copy).items() if before.get(k, copy) is not v}
        changes.append((vars(metric), new))
    # Each step is one call that runs no Python code: no thread and no signal handler
    # comes in between. Whoever is late makes the same changes once more.
    *_, (fields, _) = changes
    for one, new in fields.setdefault("_built_by", changes):
        one.update(new)
    fields["_built_by"] = []
    for metric, _ in pairs:
        if getattr(metric, "_plan", None) is not None:
            _backends.active().register(metric)
