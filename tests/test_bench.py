"""The benchmark of all classes runs, and has every class that Keras exports."""

import subprocess
import sys
from pathlib import Path

import keras
import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "bench" / "all_classes.py"


@pytest.mark.torch_only
def test_all_classes():
    for package in ("torchmetrics", "torcheval"):
        pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick"],
        check=True,
        capture_output=True,
        text=True,
    )
    rows = [r.split(" | ")[0] for r in done.stdout.splitlines() if r.startswith("| ")]
    names = {row.strip("| ").split("(")[0].split(" ")[0] for row in rows}
    classes = {n for n, c in vars(keras.metrics).items() if isinstance(c, type)}
    assert classes - {"Metric"} <= names
