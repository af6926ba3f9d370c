"""A metric of your own, written three ways: the textbook's, one line, and ten lines.

KERAS_BACKEND=torch python examples/own_metric.py
"""

from __future__ import annotations

import time

import keras
import numpy as np
from keras import ops

import keras_tally as kt


class StreamingHuber(kt.Metric):
    """As Keras's documentation teaches it; only the base class is ours."""

    def __init__(self, delta: float = 1.0, name: str = "textbook") -> None:
        super().__init__(name=name)
        self.delta = delta
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch to the state."""
        error = ops.abs(ops.cast(y_true, "float32") - ops.cast(y_pred, "float32"))
        values = ops.where(
            error <= self.delta,
            0.5 * error * error,
            self.delta * error - 0.5 * self.delta**2,
        )
        values = ops.mean(values, axis=-1)
        weights = ops.ones_like(values) if sample_weight is None else sample_weight
        self.total.assign_add(ops.sum(values * weights))
        self.count.assign_add(ops.sum(weights))

    def result(self):
        """Return the mean so far."""
        return self.total / self.count


def huber(y_true, y_pred, delta):
    """Return the loss of each element: nothing but what is to be computed."""
    error = abs(y_true - y_pred)
    return ops.where(
        error <= delta, 0.5 * error * error, delta * error - 0.5 * delta**2
    )


class MyHuber(kt.ElementwiseMetric):
    """The same as a class, with its argument in the config."""

    fn = huber


def main() -> None:
    """Feed the same batches to all of them."""
    metrics = [
        StreamingHuber(),
        kt.elementwise(huber, name="one_line", delta=1.0),
        MyHuber(name="ten_lines", delta=1.0),
        kt.Huber(name="built_in"),
    ]
    rng = np.random.default_rng(0)
    batches = [
        [ops.convert_to_tensor(rng.normal(size=(32, 1)), "float32") for _ in range(2)]
        for _ in range(500)
    ]
    print(f"Huber on the backend {keras.config.backend()}, 500 batches of 32:")
    for metric in metrics:
        metric.update_state(*batches[0])
        metric.reset_state()
        start = time.perf_counter()
        for batch in batches:
            metric.update_state(*batch)
        microseconds = (time.perf_counter() - start) / len(batches) * 1e6
        result = float(metric.result())
        print(f"  {metric.name:10}  {result:.7f}  {microseconds:8.1f} us a batch")


if __name__ == "__main__":
    main()
