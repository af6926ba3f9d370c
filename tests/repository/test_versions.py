"""What runs where, and that the rest is refused with a sentence."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import pytest

from keras_tally import _backends, _native
from keras_tally._versions import OLDEST

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(Path(_native.__file__).parent.glob("*.so"))
# Those of the package itself, not those that only tests have.
MODULES = [m for m in MODULES if "emulated" not in m.name and "fuzz" not in m.name]

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


@pytest.mark.slow
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


@pytest.mark.parametrize("name", sorted(OLDEST))
def test_floors_are_those_of_pip(name):
    with open(ROOT / "pyproject.toml", "rb") as f:
        project = tomllib.load(f)["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    package = {"tensorflow": "tensorflow-cpu"}.get(name, name)
    floor = ".".join(map(str, OLDEST[name]))
    found = {
        requirement
        for group in groups
        for requirement in group
        if re.match(r"[\w-]+", requirement)[0] == package
    }
    assert found == {f"{package}>={floor}"}


WITH_AN_OLD_KERAS = """
import sys
import keras_tally.functional
import keras.src.version
keras.src.version.__version__ = keras.__version__ = sys.argv[1]
for name in [name for name in sys.modules if name.startswith("keras_tally")]:
    del sys.modules[name]
import keras_tally.functional  # which needs no Keras
import keras
import keras_tally as kt
assert dir(kt) == ["__version__", "engine", "functional"]
def star():
    exec("from keras_tally import *", {})
def name():
    from keras_tally import AUC
def module():
    import keras_tally.group
for use in (lambda: kt.AUC, lambda: hasattr(kt, "Mean"), star, name, module):
    try: use()
    except ImportError as error: print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.14.1", "2.15.0", "3.9", "3.14.0.dev2025"])
def test_an_old_keras_is_refused_by_what_needs_it(version):
    """And by nothing else: the user's own import of Keras goes well."""
    done = subprocess.run(
        [sys.executable, "-c", WITH_AN_OLD_KERAS, version],
        capture_output=True,
        text=True,
        check=True,
    )
    said = (
        f"keras-tally needs keras 3.15 or newer. Received: keras {version}. "
        "Try: pip install --upgrade keras"
    )
    assert done.stdout.splitlines() == [said] * 5


WITHOUT = """
import sys
class Missing:
    def find_spec(self, name, path, target=None):
        if name == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
sys.meta_path.insert(0, Missing())
"""
WITHOUT_A_BACKEND = """
import keras_tally as kt
try: kt.AUC
except ModuleNotFoundError as error: print(error.name, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
def test_a_missing_backend_is_one_sentence(backend):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + WITHOUT_A_BACKEND, backend],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        f"{backend} Keras's backend here is {backend}, which is not installed. Try: "
        f"pip install {backend}, or set KERAS_BACKEND to another backend"
    ]


WITHOUT_KERAS = """
import keras_tally as kt
import keras_tally.functional as F
from keras_tally import *
assert dir(kt) == ["__version__", "engine", "functional"]
assert functional is F and F.mean_squared_error([1.0], [0.5]) == 0.25
assert not hasattr(kt, "AUC") and hasattr(kt, "engine")
import rlcompleter
found = rlcompleter.Completer({"kt": kt})
assert found.complete("kt.eng", 0) == "kt.engine"
try: kt.AUC
except AttributeError as error: assert "pip install keras" in str(error)
try: from keras_tally import AUC
except ModuleNotFoundError as error: assert error.name == "keras"
try: import keras_tally.group
except ModuleNotFoundError as error: print(error.name)
"""


def test_without_keras_nothing_is_asked_in_vain():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT + WITHOUT_KERAS, "keras"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "keras\n"


@pytest.mark.slow
def test_what_a_report_needs():
    done = subprocess.run(
        [sys.executable, "-m", "keras_tally"],
        capture_output=True,
        text=True,
        env={**os.environ, "KERAS_TALLY_NUM_THREADS": "3"},
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert f"keras {keras.__version__}" in said
    assert "threads 3" in said
    for what in ("keras-tally 0", "Python 3", "numpy ", "SIMD level ", "CUDA: "):
        assert [line for line in said if line.startswith(what)], what
    for backend in ("torch", "numpy", "jax", "tensorflow"):
        assert [line for line in said if line.startswith(f"binary_accuracy: {backend}")]


AGAIN = """
import sys, warnings
warnings.simplefilter("error")
import numpy as np
for _ in range(2):
    import keras_tally as kt
    metric = kt.BinaryAccuracy()
    metric.update_state(np.array([1.0, 0.0]), np.array([0.9, 0.8]))
    assert float(metric.result()) == 0.5
    import keras
    if keras.backend.backend() == "torch":
        import torch
        def step(y, p):
            metric.update_state(y, p)
            return metric.result() + 0
        step = torch.compile(step, backend="eager", fullgraph=True)
        assert float(step(torch.ones(2), torch.ones(2))) == 0.75
    for name in [name for name in sys.modules if name.startswith("keras_tally")]:
        del sys.modules[name]
"""


@pytest.mark.slow
def test_imported_a_second_time():
    """As reloaders of notebooks and of web servers do."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AGAIN], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("version", "fits"),
    [("0.1", False), ("0.0.9rc1", False), ("99.0", True), ("99.1.dev1+cpu", True)],
)
def test_an_old_framework_is_refused_with_a_sentence(version, fits, monkeypatch):
    name = keras.config.backend()
    if name == "numpy":
        name = "torch"
        monkeypatch.setattr(keras.config, "backend", lambda: name)
    framework = pytest.importorskip(name)
    monkeypatch.setattr(framework, "__version__", version)
    active = _backends._adapter.__wrapped__
    if fits:
        assert active().__name__ == f"keras_tally._backends.{name}"
        return
    with pytest.raises(ImportError, match=rf"keras-tally needs {name} .* or newer\. "):
        active()


def test_other_backends_are_refused_with_a_sentence(monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "openvino")
    with pytest.raises(RuntimeError, match="runs on the Keras backends torch, numpy"):
        _backends._adapter.__wrapped__()


def table_of(matrix, packages):
    """The matrix as Markdown, a column for each session."""
    rows = [("", *matrix), ("Python", *(python for python, _ in matrix.values()))]
    versions = [versions for _, versions in matrix.values()]
    rows += [
        (name, *of_each) for name, *of_each in zip(packages, *versions, strict=True)
    ]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return "\n".join(lines)


def assigned(name):
    """A constant of noxfile.py, without importing nox."""
    tree = ast.parse((ROOT / "noxfile.py").read_text())
    (value,) = (
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
    return ast.literal_eval(value)


def test_the_documented_versions_are_those_of_the_matrix():
    text = (ROOT / "docs" / "trust.md").read_text()
    begin, end = "<!-- versions:begin -->\n", "\n<!-- versions:end -->"
    stated = text[text.index(begin) + len(begin) : text.index(end)]
    assert stated == table_of(assigned("MATRIX"), assigned("PACKAGES"))


def test_the_oldest_of_the_matrix_are_the_floors():
    python, versions = assigned("MATRIX")["oldest"]
    found = dict(zip(assigned("PACKAGES"), versions, strict=True))
    with open(ROOT / "pyproject.toml", "rb") as f:
        project = tomllib.load(f)["project"]
    assert project["requires-python"] == f">={python}"
    for name, floor in OLDEST.items():
        version = found[{"tensorflow": "tensorflow-cpu"}.get(name, name)]
        assert tuple(map(int, version.split(".")[:2])) == floor
    assert (
        f"numpy>={'.'.join(found['numpy'].split('.')[:2])}" in project["dependencies"]
    )
