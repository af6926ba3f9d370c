"""Sums of what users wrote with operations (`keras_tally._expression`)."""

from __future__ import annotations

from typing import Any

from keras import ops

from keras_tally._fallback.arrays import Options, align_ranks, mean_sums, wide


def sums(
    kernel: str, options: Options, y_true: Any, y_pred: Any, sample_weight: Any
) -> list[Any]:
    """Return what a batch adds to each term, and to their count."""
    del kernel
    t, p = align_ranks(wide(y_true), wide(y_pred))
    terms = options["terms"](t, p)
    # Terms that use one input, or none, have another shape.
    shape = ops.zeros_like(t) + ops.zeros_like(p)
    is_sum = options["result"] in ("sum", "expression")
    found = [mean_sums(x + shape, sample_weight, is_sum) for x in terms.values()]
    return [*(total for total, _ in found), found[0][1]]
