"""`python -m keras_tally`: what a report of a fault needs.

Versions, the processor's SIMD level, threads, how the metrics of each installed backend
are computed, and what there is of CUDA.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata

import keras_tally
from keras_tally import _native
from keras_tally._device import cuda_status
from keras_tally._threads import num_threads

PACKAGES = ("keras", "numpy", "torch", "jax", "jaxlib", "tensorflow", "llvmlite")
BACKENDS = {"torch": "torch", "numpy": "jax", "jax": "jax", "tensorflow": "tensorflow"}
# In a process of its own, since a process has one backend.
EXPLAIN = "import keras_tally as kt; print(kt.explain(kt.BinaryAccuracy()))"


def version_of(package: str) -> str:
    """Return a package's version, or that there is none."""
    for name in (package, f"{package}-cpu"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"


def code_paths(backend: str) -> str:
    """Return what `explain()` says of a metric on this backend."""
    done = subprocess.run(
        [sys.executable, "-c", EXPLAIN],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
    )
    if done.returncode == 0:
        return done.stdout.strip()
    return f"{backend}: {(done.stderr.strip().splitlines() or ['no output'])[-1]}"


def main() -> None:
    """Print everything, a line for each thing."""
    print(f"keras-tally {keras_tally.__version__}")
    print(f"Python {platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        print(f"{package} {version_of(package)}")
    levels = ", ".join(_native.levels())
    print(f"SIMD level {_native.active_level()} (usable: {levels})")
    print(f"threads {num_threads()}")
    print(f"CUDA: {cuda_status()}")
    for backend, package in BACKENDS.items():
        if "not installed" not in (version_of("keras"), version_of(package)):
            print(code_paths(backend))


if __name__ == "__main__":
    main()
