"""Nothing outside of our own calls changes when the package is imported and used."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import side_effects
from support import BACKEND

TESTS = Path(__file__).resolve().parent.parent


def run_script(name, *args):
    """The JSON that a script of tests/ prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(TESTS / name), *args],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def seen():
    return run_script("side_effects.py")


@pytest.mark.parametrize("what", side_effects.LOOKS)
def test_nothing_changes(what, seen):
    before, imported, used = (look[what] for look in seen)
    assert imported == before
    if what == "modules but ours":
        # The framework's own, and TensorFlow's name for a library of operations.
        new = [name for name in used if name not in before]
        known = rf"{BACKEND}\..*|[0-9a-f]{{40}}"
        assert not [name for name in new if not re.fullmatch(known, name)]
    else:
        assert used == before


@pytest.mark.skipif(BACKEND == "numpy", reason="Keras has no fit on NumPy")
@pytest.mark.parametrize("which", ["few", pytest.param("all", marks=pytest.mark.slow)])
def test_logs_of_every_structure_are_keras_own(which):
    """Bit for bit without and with the package; our own entry to a float32's error."""
    fitted = set()
    for structure, fits in run_script("fit_structures.py", which).items():
        without, imported, used = fits
        assert imported == without, structure
        if isinstance(without, str):  # what Keras refuses, it refuses with ours
            assert used.partition(":")[0] == without.partition(":")[0], structure
            continue
        fitted.update(structure.split("/"))
        assert used.keys() == without.keys(), structure
        for entry, values in without.items():
            if entry.endswith("mae"):
                assert used[entry] == pytest.approx(values, rel=1e-6), structure
            else:
                assert used[entry] == values, (structure, entry)
    assert {"list", "tuple", "dict", "nested", "none", "loader", "tf.data"} <= fitted
