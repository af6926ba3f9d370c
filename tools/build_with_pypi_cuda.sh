#!/usr/bin/env bash
# Builds the wheel with CUDA's compiler from PyPI, which needs no CUDA installation and no GPU, and checks it:
#
#     tools/build_with_pypi_cuda.sh [FOLDER]
#
# FOLDER (build/pypi-cuda by default) is made afresh: a virtual environment in which the compiler is installed, with the
# wheel in its dist/. Environment variables:
#     KERAS_TALLY_CUDA_VERSION         which of tools/pypi_cuda/13*.txt to install (13.0)
#     KERAS_TALLY_CUDA_ARCHITECTURES   as CMAKE_CUDA_ARCHITECTURES, such as "75;90" (those of wheels)
#     PYTHON                           python3
set -euo pipefail

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
folder="${1:-$root/build/pypi-cuda}"
version="${KERAS_TALLY_CUDA_VERSION:-13.0}"
architectures="${KERAS_TALLY_CUDA_ARCHITECTURES:-}"
python="${PYTHON:-python3}"
pins="$root/tools/pypi_cuda/$version.txt"

fail() {
  echo "error: $*" >&2
  exit 1
}

if [[ "$version" == 12* ]]; then
  fail "PyPI has no nvcc of CUDA 12. Install that version of CUDA and build with CUDACXX=<folder>/bin/nvcc pip install .
(tools/check_cuda12.py compiles the device code with what PyPI has.)"
fi
if [[ ! -f "$pins" ]]; then
  fail "no tools/pypi_cuda/$version.txt; there are: $(cd "$root/tools/pypi_cuda" && ls 13*.txt | paste -sd ' ')"
fi
if [[ -e "$folder" && ! -f "$folder/pyvenv.cfg" ]]; then
  fail "$folder is there and is no virtual environment: it is not overwritten"
fi

echo "== making $folder with the compiler of CUDA $version"
rm -rf "$folder"
if ! "$python" -m venv "$folder" 2>/dev/null; then
  rm -rf "$folder"
  "$python" -m virtualenv "$folder" || fail "$python has neither venv nor virtualenv: pip install virtualenv"
fi
folder="$(cd "$folder" && pwd)"
bin="$folder/bin"
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$bin/python" -m pip install --no-deps --progress-bar on -r "$pins"

cuda="$("$bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/nvidia/cu${version%%.*}"
export CUDACXX="$cuda/bin/nvcc"
[[ -x "$CUDACXX" ]] || fail "the wheels brought no $CUDACXX"
# nvcc and CMake look into lib64/, and the wheels have lib/.
export LIBRARY_PATH="$cuda/lib${LIBRARY_PATH:+:$LIBRARY_PATH}"
# What would take another CUDA's headers or options.
unset CUDA_HOME CUDA_PATH CUDA_ROOT CUDAToolkit_ROOT CUDAARCHS NVCC_PREPEND_FLAGS NVCC_APPEND_FLAGS
"$CUDACXX" --version

echo "== building the wheel"
settings=(--config-settings=build-dir="$folder/build" --config-settings=cmake.define.KERAS_TALLY_CUDA=ON)
if [[ -n "$architectures" ]]; then
  settings+=("--config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=$architectures")
fi
start=$SECONDS
PIP_CONSTRAINT="$root/constraints.txt" "$bin/python" -m pip wheel --verbose --no-deps --wheel-dir "$folder/dist" \
  "${settings[@]}" "$root"
echo "== built in $((SECONDS - start)) s"

used="$(sed -n 's/^CMAKE_CUDA_COMPILER:[A-Z]*=//p' "$folder/build/CMakeCache.txt")"
[[ "$used" == "$CUDACXX" ]] || fail "the wheel was built with $used and not with $CUDACXX"
"$bin/python" -m pip install --no-deps "$folder"/dist/keras_tally-*.whl
# By its path: the package around it would need Keras.
cd "$folder"
"$bin/python" - <<'END'
import importlib.util
import sysconfig
from pathlib import Path

installed = Path(sysconfig.get_path("platlib"), "keras_tally")
names = sorted(path.name for path in installed.glob("_*.so"))
assert [name.partition(".")[0] for name in names] == ["_cuda", "_native"], names
for name in names:
    path = installed / name
    module = f"keras_tally.{name.partition('.')[0]}"
    spec = importlib.util.spec_from_file_location(module, path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    print(f"{module} imports; {path.stat().st_size / 1e6:.2f} MB")
END
ls -l dist
echo "== done: $folder/dist"
