"""Write docs/metrics.md: every metric class, its kernels and its state.

    make docs

Everything on the page is asked of the classes themselves. It runs on Keras's NumPy
backend, so that the page is the same on every machine.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_tally as kt
from keras_tally import _native
from keras_tally._kernel_metric import KernelMetric
from keras_tally._registration import KERAS_CLASSES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

# What parameters without a default get.
REQUIRED = {
    "fn": keras.losses.mean_squared_error,
    "num_classes": 3,
    "precision": 0.5,
    "recall": 0.5,
    "sensitivity": 0.5,
    "specificity": 0.5,
    "target_class_ids": [0],
}
# Arguments with which a class asks for another kernel.
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "SparseTopKCategoricalAccuracy": [{"from_sorted_ids": True}],
}
INTRODUCTION = """\
# Metrics

<!-- written by `make docs`; edits here are lost -->

`help(kt.AUC)` gives each class's formula, arguments, errors, an example, and where it
differs from Keras on purpose. Here is what each is made of: the kernel that
`update_state` calls, a row of `csrc/kernels.def`; the loop that kernel runs in; and
the state: Keras's variables, and where sums cancel in the result what float64 cannot
hold of them (`..._low`). The shapes are those of the default arguments, and of three
classes where the class must know a number of them.
"""


def metric_classes() -> dict[str, type[KernelMetric]]:
    """The public metric classes by name."""
    public = {name: getattr(kt, name) for name in kt.__all__}
    return {
        name: item
        for name, item in public.items()
        if isinstance(item, type)
        and issubclass(item, KernelMetric)
        # These compute what their subclasses say.
        and item is not kt.ElementwiseMetric
    }


@contextmanager
def kernels_asked_for() -> Iterator[list[str]]:
    """The kernels that metrics bind to meanwhile."""
    asked: list[str] = []
    make_plan = KernelMetric._make_plan

    def remember(self: KernelMetric, kernel: str, *args: Any, **kwargs: Any) -> None:
        asked.append(kernel)
        make_plan(self, kernel, *args, **kwargs)

    KernelMetric._make_plan = remember  # type: ignore[method-assign]
    try:
        yield asked
    finally:
        KernelMetric._make_plan = make_plan  # type: ignore[method-assign]


def built(cls: type[KernelMetric], **arguments: Any) -> KernelMetric:
    """A metric with its variables, those included that wait for a batch."""
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.default is parameter.empty and name in REQUIRED:
            arguments[name] = REQUIRED[name]
    metric = cls(**arguments)
    if not getattr(metric, "_built", True):
        batch = np.zeros((1, REQUIRED["num_classes"]), "float32")
        metric.update_state(batch, batch)
    return metric


def describe(name: str, cls: type[KernelMetric]) -> dict[str, str]:
    """The cells of a class's row."""
    loops = {row["name"]: row["executor"] for row in _native.kernels()}
    kernels = []
    for arguments in ({}, *VARIANTS.get(name, [])):
        with kernels_asked_for() as asked:
            built(cls, **arguments)
        wish = "".join(f" with `{k}={v}`" for k, v in arguments.items())
        kernels += [(kernel, wish) for kernel in dict.fromkeys(asked)]
    state = [
        f"`{v.name}` {tuple(v.shape) or 'scalar'} {v.dtype}"
        for v in built(cls).variables
    ]
    return {
        "class": f"`{name}`",
        "what it is": (inspect.getdoc(cls) or "").splitlines()[0],
        "kernel": ", ".join(f"`{kernel}`{wish}" for kernel, wish in kernels),
        "loop": ", ".join(dict.fromkeys(loops[kernel] for kernel, _ in kernels)),
        "state": ", ".join(state),
        "in Keras": f"`keras.metrics.{name}`" if name in KERAS_CLASSES else "none",
    }


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION]
    families: dict[str, list[dict[str, str]]] = {}
    for name, cls in sorted(metric_classes().items()):
        family = cls.__module__.rpartition(".")[2]
        families.setdefault(family, []).append(describe(name, cls))
    for family, rows in sorted(families.items()):
        lines += [f"## {family.replace('_', ' ').capitalize()}", ""]
        lines += ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        lines += ["| " + " | ".join(row.values()) + " |" for row in rows]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    if keras.config.backend() != "numpy":
        sys.exit("set KERAS_BACKEND=numpy: the page must not depend on the machine")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
    print(f"written: {PAGE}")
