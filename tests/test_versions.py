"""What runs where, and that the rest is refused with a sentence."""

import subprocess
import sys
from pathlib import Path

import pytest

from keras_tally import _native

MODULES = sorted(Path(_native.__file__).parent.glob("*.so"))
# Those of the package itself, not those that only tests have.
MODULES = [m for m in MODULES if "emulated" not in m.name]

IN_A_SUB_INTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
_, path, isolated, before = sys.argv
from importlib.util import spec_from_file_location, module_from_spec
code = f'''
from importlib.util import spec_from_file_location, module_from_spec
try:
    spec = spec_from_file_location({path!r}.split("/")[-1].split(".")[0], {path!r})
    spec.loader.exec_module(module_from_spec(spec))
    print("imported", flush=True)
except ImportError as error:
    print(f"ImportError: {{error}}", flush=True)
'''
if before == "True":
    exec(code.replace("imported", ""))
if sys.version_info < (3, 13):
    new = interpreters.create(isolated=isolated == "True")
else:
    new = interpreters.create("isolated" if isolated == "True" else "legacy")
interpreters.run_string(new, code)
interpreters.destroy(new)
"""


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("isolated", [False, True])
@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name.split(".")[0])
def test_sub_interpreters_are_refused(module, isolated, before):
    command = [sys.executable, "-c", IN_A_SUB_INTERPRETER]
    done = subprocess.run(
        [*command, str(module), str(isolated), str(before)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # Python's own sentence, where it looks before us.
    ours = "ImportError: keras-tally runs in the main interpreter of a process only"
    theirs = "does not support loading in subinterpreters"
    said = done.stdout.strip()
    assert ours in said or theirs in said
    assert "imported" not in said
