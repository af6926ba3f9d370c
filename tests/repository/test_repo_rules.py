"""Rules of the repository that no other test would notice being broken."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import keras_tally as kt
from keras_tally import _native

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import install_locked  # noqa: E402
from requirements import requirements  # noqa: E402

PYTHON = sorted((ROOT / "python").rglob("*.py"))
DEFINITIONS = sorted((ROOT / "csrc" / "defs").glob("*.h"))
# Results read a state, once: one of them may go through the entries that it needs.
OF_VALUES = [path for path in DEFINITIONS if not path.name.startswith("results")]
# KT_SHAPE(name, definition, ...): the definition is missing where the shape implies it.
ROW = re.compile(r"^KT_(?P<shape>\w+)\((?P<name>\w+)(?:,\s*(?P<definition>\w+))?", re.M)
ROWS = list(ROW.finditer((ROOT / "csrc" / "kernels.def").read_text()))
MADE = {".git", ".venv", ".bootstrap", "build", "dist", "results"}
TEXT = {".py", ".pyi", ".md", ".toml", ".txt", ".h", ".cpp", ".def", ".cu", ".cuh"}
TEXT |= {".cmake", ".sh", ".json"}
PLAIN = {"Makefile", "run", "CMakeLists.txt"}
FRAMEWORKS = ("torch", "jax", "tensorflow", "matplotlib", "sklearn")
FRAMEWORKS += ("pyarrow", "pandas", "dask", "distributed", "pyspark")


def relative(path):
    return str(path.relative_to(ROOT))


def text_files():
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [f for f in folders if f not in MADE and "cache" not in f]
        for name in names:
            path = Path(folder, name)
            if path.suffix in TEXT or name in PLAIN:
                yield path


def test_the_table_is_what_was_built():
    built = [(k["executor"], k["name"]) for k in _native.kernels()]
    written = [(row["shape"].lower(), row["name"]) for row in ROWS]
    assert written == built, "csrc/kernels.def changed after the extension was built"
    assert len({name for _, name in written}) == len(written), "a kernel appears twice"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_every_kernel_has_a_definition(row):
    source = "\n".join(path.read_text() for path in DEFINITIONS)
    if row["definition"]:
        assert re.search(rf"\bstruct {row['definition']}\b", source), (
            f"{row['name']}: no struct {row['definition']} in csrc/defs/"
        )
    else:
        assert (ROOT / "csrc" / "defs" / f"{row['name']}.h").exists(), (
            f"{row['name']}: no csrc/defs/{row['name']}.h"
        )


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])
def test_every_kernel_is_used_by_a_metric(row):
    package = ROOT / "python" / "keras_tally"
    source = "\n".join(path.read_text() for path in (package / "metrics").glob("*.py"))
    assert f'"{row["name"]}"' in source


@pytest.mark.parametrize("path", DEFINITIONS, ids=relative)
def test_definitions_start_with_their_numerics(path):
    assert path.read_text().startswith("//"), "the header comment is missing"
    assert "#pragma once" in path.read_text()


@pytest.mark.parametrize("path", OF_VALUES, ids=relative)
def test_definitions_hold_no_loop_thread_or_allocation(path):
    code = re.sub(r"//.*", "", path.read_text())
    forbidden = r"\b(for|while)\s*\(|\bnew\b|\bmalloc\b|\bstd::(vector|thread|mutex)\b"
    assert not re.search(forbidden, code), "loops and the like belong to csrc/exec/"


def modules_after(code):
    """What a process has imported that runs this code."""
    code = f"import sys; {code}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "KERAS_BACKEND": "numpy"},
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.split()


@pytest.mark.slow
@pytest.mark.parametrize("module", ["keras_tally", "keras_tally.bench.__main__"])
def test_import_brings_in_no_framework(module):
    modules = modules_after(f"import keras; before = set(sys.modules); import {module}")
    added = {name.split(".")[0] for name in modules}
    assert module in modules
    assert not added.intersection(FRAMEWORKS)
    if module == "keras_tally":
        assert not [name for name in modules if "keras_tally.bench" in name]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["engine", "functional"])
def test_what_needs_no_keras_imports_none(module):
    use = f"import keras_tally.{module}; from keras_tally import {module}"
    modules = modules_after(f"before = set(); {use}; import keras_tally.callbacks")
    assert f"keras_tally.{module}" in modules
    assert "keras" in modules  # the last import needs it
    modules = modules_after(f"before = set(); {use}")
    assert f"keras_tally.{module}" in modules
    assert not {"keras", *FRAMEWORKS}.intersection(modules)


@pytest.mark.slow
@pytest.mark.parametrize("first", ["keras_tally", "keras"])
def test_classes_are_registered_once_both_are_imported(first):
    second = {"keras": "keras_tally", "keras_tally": "keras"}[first]
    code = (
        f"import {first}, {second}, keras; "
        "assert keras.saving.get_registered_object('keras_tally>AUC'); before = set()"
    )
    assert "keras_tally.group" in modules_after(code)


# One of each kind; pickles name the private one.
FIRST = ("group", "callbacks", "_kernel_metric", "metrics.accuracy", "_backends")


@pytest.mark.slow
def test_any_part_may_be_imported_first():
    for name in FIRST:
        code = (
            f"import keras_tally.{name} as part; before = set(); import keras_tally; "
            f"assert part is sys.modules['keras_tally.{name}']; "
            f"assert part.__spec__.origin == part.__file__; keras_tally.AUC()"
        )
        assert "keras_tally.group" in modules_after(code)


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_frameworks_are_imported_by_their_backend_only(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.split(".")[0])
    adapters = path.parent.name in ("_backends", "_tensors")
    allowed = {path.stem.split("_")[0]} if adapters else set()
    assert not imported.intersection(FRAMEWORKS) - allowed


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_no_error_is_swallowed(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            where = f"{relative(path)}:{node.lineno}"
            assert node.type is not None, f"bare except at {where}"
            assert not all(isinstance(n, ast.Pass) for n in node.body), (
                f"an error is ignored at {where}"
            )


def test_no_path_of_a_machine():
    folders = ("root", "home", "work", "Users", "mnt", "opt", "tmp")
    path_of = re.compile(rf"(?<![\w.)}}/])/({'|'.join(folders)})/[\w.]")
    found = [
        f"{relative(path)}:{number}: {line.strip()}"
        for path in text_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if path_of.search(line)
    ]
    assert not found


def test_no_test_is_expected_to_fail():
    word = "xf" + "ail"
    found = [
        relative(path)
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if word in path.read_text()
    ]
    assert not found


def test_versions_agree():
    with open(ROOT / "pyproject.toml", "rb") as f:
        version = tomllib.load(f)["project"]["version"]
    assert version == kt.__version__
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_requirement_is_pinned():
    pins = install_locked.constrained((ROOT / "constraints.txt").read_text())
    names = {
        install_locked.normal(re.match(r"[\w.-]+", requirement)[0])
        for requirement in requirements(["all"])
    }
    assert "torch" in names
    assert names <= set(pins)


def test_the_lock_has_hashes_of_every_pinned_version():
    text = (ROOT / "requirements.lock").read_text()
    entries = install_locked.locked(text)
    pins = install_locked.constrained((ROOT / "constraints.txt").read_text())
    found = {
        name: re.match(r"[\w.-]+==([^ ;]+)", entry)[1]
        for name, entry in entries.items()
    }
    assert {name: found.get(name) for name in pins} == pins, "run `make lock`"
    hash_of = re.compile(r"--hash=sha256:[0-9a-f]{64}\s")
    assert all(hash_of.search(entry) for entry in entries.values())
    # Nothing is lost between the entries: no index, no file from elsewhere.
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert "".join(entries.values()).splitlines() == lines
    assert "://" not in text
