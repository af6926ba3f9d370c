"""TensorBoard's event files, by torch's own writer."""

from __future__ import annotations

from typing import Any

import numpy as np

# More thresholds than these the format does not know.
MOST_THRESHOLDS = 127


def writer(log_dir: str) -> Any:
    """Return torch's writer of event files in a folder.

    Raises:
        ImportError: torch or TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoardMetrics needs the packages torch and tensorboard "
            f"(pip install torch tensorboard): {error}"
        ) from error
    return SummaryWriter(log_dir)


def add_curve(writer: Any, tag: str, cells: dict[str, Any], step: int) -> None:
    """Write a precision-recall curve, given the counts at each threshold."""
    count = len(cells["true_positives"])
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_THRESHOLDS)).round())
    tp, fp, tn, fn = (
        cells[f"{kind}s"][chosen.astype(int)]
        for kind in (
            "true_positive",
            "false_positive",
            "true_negative",
            "false_negative",
        )
    )
    precision = np.divide(tp, tp + fp, out=np.ones_like(tp), where=tp + fp > 0)
    recall = np.divide(tp, tp + fn, out=np.zeros_like(tp), where=tp + fn > 0)
    writer.add_pr_curve_raw(
        tag, tp, fp, tn, fn, precision, recall, step, num_thresholds=len(chosen)
    )
