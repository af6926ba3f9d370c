"""Which road a metric's updates and results take, and why."""

from __future__ import annotations

from typing import Any, NamedTuple

import keras

from keras_tally import _backends
from keras_tally._engine import IN_PLACE
from keras_tally._kernel_metric import KernelMetric
from keras_tally._llvm import why_not
from keras_tally._stored import why_portable
from keras_tally.group import MetricGroup
from keras_tally.metrics.elementwise import ElementwiseMetric


class Explanation(NamedTuple):
    """What `explain()` has found.

    `roads` has for each place where a metric is called (`"eager"`, `"jit"` ...) the
    road and the reason; `separate` the members of a group that do not take it.
    """

    name: str
    backend: str
    device: str
    roads: dict[str, _backends.Road]
    separate: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line for each road."""
        lines = [f"{self.name}: {self.backend}, {self.device}"]
        width = max(map(len, self.roads))
        for where, (road, why) in self.roads.items():
            lines.append(f"  {where:{width}}  {road}: {why}")
        if self.separate:
            names = ", ".join(self.separate)
            lines.append(f"  one by one, each by its own road: {names}")
        return "\n".join(lines)


def explain(metric: Any) -> Explanation:
    """Return which road the updates and results of a metric take, and why.

    The roads are:

    - `"native in place"`: a kernel adds straight into the variables;
    - `"native pure"`: a kernel makes a new state of the given one;
    - `"FFI"`: the same as a foreign function of XLA, for JAX;
    - `"op"`: the same as an operation of the framework's graph;
    - `"portable"`: no kernel, but Keras's own operations.

    Args:
        metric: a metric of this package, or a `MetricGroup`.

    Returns:
        A named tuple: `name`, `backend`, `device` (where the state is), `roads` (for
        each place where a metric may be called, a tuple `(road, why)`), and `separate`
        (the members of a group that are updated one by one). `print()` shows it.

    Raises:
        TypeError: the metric is of another package.

    Example:

    >>> import keras_tally as kt
    >>> found = kt.explain(kt.AUC())
    >>> found.roads["eager"].road in ("native in place", "FFI", "op", "portable")
    True
    """
    if not isinstance(metric, (KernelMetric, MetricGroup)):
        raise TypeError(
            "`metric` must be a metric of keras_tally or a MetricGroup. "
            f"Received: {type(metric).__name__}"
        )
    grouped = isinstance(metric, MetricGroup)
    variables = metric.variables
    value = variables[0]._value if variables else None
    if IN_PLACE:
        roads = _backends.in_place_backend().roads(value, grouped)
    else:
        roads = _backends.stored_backend().roads(why_portable())
    if isinstance(metric, ElementwiseMetric):
        why = why_not(metric.expression)
        roads["expression"] = _backends.Road(
            "interpreted" if why else "compiled",
            why or "machine code, through LLVM",
        )
    return Explanation(
        name=metric.name,
        backend=keras.config.backend(),
        device=_backends.active().device_of(value),
        roads=roads,
        separate=metric.separate if grouped else (),
    )
