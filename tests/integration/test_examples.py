"""The examples run, and say what they should."""

import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.slow
@pytest.mark.skipif(
    not EXAMPLES.exists(), reason="the tests run without the repository around them"
)
def test_own_metric():
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "own_metric.py")],
        env={**os.environ, "KERAS_BACKEND": keras.config.backend()},
        check=True,
        capture_output=True,
        text=True,
    )
    found = re.findall(r"^  (\w+) +([\d.]+) +[\d.]+ us a batch$", done.stdout, re.M)
    assert [name for name, _ in found] == [
        "textbook",
        "one_line",
        "ten_lines",
        "built_in",
    ]
    results = [float(x) for _, x in found]
    assert max(results) - min(results) < 1e-5
