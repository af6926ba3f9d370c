"""The tests against other versions of what we run on: `make versions`, or one of them:

    nox -s oldest
    nox -s newest -- jax

This is the one place where the tested versions stand. Each session builds the wheel for
its Python, which must be in PATH as python3.x, and installs it with these versions from
the index in use (torch from PyPI is its CUDA build, of several GB).
"""

import os
import sys
from pathlib import Path

import nox

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "tools"))
from requirements import requirements  # noqa: E402

PACKAGES = ("keras", "numpy", "torch", "jax", "tensorflow-cpu")
# Python, and the versions of PACKAGES.
MATRIX = {
    "oldest": ("3.11", ("3.15.0", "1.26.0", "2.10.0", "0.5.0", "2.18.0")),
    "between": ("3.12", ("3.15.1", "2.4.6", "2.13.0", "0.10.2", "2.20.0")),
    "newest": ("3.13", ("3.15.1", "2.5.5", "2.15.0", "0.12.0.1", "2.21.0")),
}
BACKENDS = ("torch", "numpy", "jax", "tensorflow")
# What shows best whether a version fits: every row of the table, fit, saving, errors.
TESTS = (
    "metrics/test_table.py",
    "integration/test_fit.py",
    "inputs/test_errors.py",
    "group",
    "state/test_copying.py",
    "backends/test_portable.py",
    "repository/test_versions.py",
)
# pyproject.toml has no versions for these: any recent one.
TOOLS = (
    "pytest",
    "pytest-xdist",
    "hypothesis",
    "scikit-learn",
    "ml_dtypes",
    "llvmlite",
    "tensorboard",
)

# PyPI's torch brings Triton, which aborts in a process that has TensorFlow: both have
# an LLVM of their own. (torch's SummaryWriter imports TensorFlow where it is there.)
WITHOUT_TRITON = """
import importlib.util, shutil
found = importlib.util.find_spec("triton")
if found is not None:
    shutil.rmtree(found.submodule_search_locations[0])
"""

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.stop_on_first_error = False
nox.options.error_on_missing_interpreters = True


def check(session: nox.Session) -> None:
    """Build, install, and run the tests on every backend, or on those asked for."""
    _, versions = MATRIX[session.name]
    wheels = ROOT / "build" / "versions" / session.name
    session.install(*requirements(["build"]), "build", "cmake", "ninja")
    # CUDA's kernels do not depend on any of these versions.
    session.run(
        *("python", "-m", "build", "--wheel", "--no-isolation"),
        *(f"-Cbuild-dir={wheels}/build", "-Ccmake.define.KERAS_TALLY_CUDA=OFF"),
        *(f"--outdir={wheels}", str(ROOT)),
    )
    pins = [f"{p}=={v}" for p, v in zip(PACKAGES, versions, strict=True)]
    session.install(*pins, *TOOLS)
    session.install("--no-deps", *map(str, wheels.glob("*.whl")))
    session.run("python", "-c", WITHOUT_TRITON)
    session.chdir(wheels)
    for backend in session.posargs or BACKENDS:
        session.run(
            *("python", "-P", "-m", "pytest", "-n", str(os.cpu_count())),
            *("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT)),
            *(str(ROOT / "tests" / name) for name in TESTS),
            env={"KERAS_BACKEND": backend},
        )


for name, (python, _) in MATRIX.items():
    nox.session(check, name=name, python=python)
