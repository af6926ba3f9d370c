#!/usr/bin/env bash
# Everything that is to be done on a machine with a GPU, in one command of at most nine
# minutes: build for that GPU, run the tests that need it, measure, run
# compute-sanitizer.
#
#     bench/gpu.sh OUT_DIR [WHEELS_DIR]
#
# The machine needs nvcc, a C++ compiler, cmake, ninja, and a python3 with torch (and JAX,
# or the step `jax` is left out); it needs no network. What its Python lacks is installed
# from the wheels in WHEELS_DIR (bench/README.md says how to collect them), into a
# temporary folder; nothing else on the machine is changed. A wheel of keras-tally among
# them takes the place of the build. PYTHON names another interpreter; GPU_SECONDS is the
# time that all of it may take, 520 by default; GPU_STEPS names the steps to do after the
# build, all by default.
#
# OUT_DIR receives log.txt, tests.xml, jax.xml, sanitizer.txt, <gpu>.json and <gpu>.md. A
# step that fails does not stop the others, but the command then ends with status 1.
set -uo pipefail

if (($# < 1 || $# > 2)); then
  echo "usage: bench/gpu.sh OUT_DIR [WHEELS_DIR]" >&2
  exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
wheels=
if (($# == 2)); then
  wheels=$(cd "$2" && pwd) || exit 2
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python=${PYTHON:-python3}
end=$((SECONDS + ${GPU_SECONDS:-520}))
failed=()
export PYTHONPATH="$work/site${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1 KERAS_BACKEND=torch
export KERAS_HOME="$work/keras"
mkdir -p "$work/site"
: >"$out/log.txt"

say() { echo "$*" | tee -a "$out/log.txt"; }

skip() { # skip NAME REASON
  say "== $1: NOT DONE, $2"
}

# step NAME SECONDS RESERVE COMMAND...: run it for at most SECONDS, and so that RESERVE
# seconds are left for what follows.
step() {
  local name=$1 limit=$2 left=$((end - SECONDS - $3)) status
  [[ " $steps " == *" $name "* ]] || return 0
  shift 3
  ((left < limit)) && limit=$left
  if ((limit < 5)); then
    skip "$name" "the time is up"
    failed+=("$name")
    return 1
  fi
  say "== $name (at most $limit s)"
  export STEP_SECONDS=$limit
  local began=$SECONDS
  timeout -k 5 "$limit" "$@" 2>&1 | tee -a "$out/log.txt"
  status=${PIPESTATUS[0]}
  if ((status)); then
    failed+=("$name")
    ((status == 124 || status == 137)) && say "== $name: out of time"
    say "== $name: FAILED with status $status after $((SECONDS - began)) s"
    return 1
  fi
  say "== $name: done in $((SECONDS - began)) s"
}

install_wheels() {
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
    --target "$work/site" "$wheels"/*.whl
}

build() {
  local arch=native
  if command -v nvidia-smi >/dev/null; then
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')
  fi
  "$python" -m pip install --verbose --no-index --no-build-isolation --no-deps \
    --no-compile --no-cache-dir --target "$work/site" \
    --config-settings=build-dir="$work/build" \
    --config-settings=cmake.define.KERAS_TALLY_CUDA=ON \
    --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES="${arch:-native}" \
    . && check_build
}

check_build() { # says which keras-tally it is, and whether it can use the GPU
  cd "$work" && "$python" - <<'END'
import keras_tally as kt

print(kt.__file__)
print(kt.cuda_status())
raise SystemExit(not kt.cuda_status().enabled)
END
}

run_pytest() { # run_pytest NAME ARGUMENTS...
  local jobs=() cores
  cores=$(nproc)
  "$python" -c "import xdist" 2>/dev/null && jobs=(-p xdist -n "$((cores < 12 ? cores : 12))")
  # Whatever else is installed there, only what the tests need takes part; and warnings
  # are no errors, as versions differ from those that the project pins.
  PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 KERAS_TALLY_REQUIRE_CUDA=1 \
    "$python" -m pytest -q --tb=short -r fE -W default --disable-warnings \
    -p no:cacheprovider --maxfail=100 --junitxml="$out/$1.xml" "${jobs[@]}" "${@:2}"
}

run_tests() {
  local files
  # The other files import what need not be here.
  mapfile -t files < <(grep -lE 'mark\.cuda' tests/*/test_*.py)
  run_pytest tests -m cuda "${files[@]}"
}

run_jax() {
  # Several processes share the GPU.
  export XLA_PYTHON_CLIENT_PREALLOCATE=false KERAS_BACKEND=jax
  run_pytest jax tests/backends/test_jax.py
}

measure() { # nothing starts in the last part of the time; training takes the longest
  "$python" bench/gpu.py --out "$out" --seconds "$((STEP_SECONDS > 40 ? STEP_SECONDS - 30 : 10))"
}

sanitize() { # sanitize TOOL
  # Without torch's pool each tensor ends where its memory ends.
  PYTORCH_NO_CUDA_MEMORY_CACHING=1 "$sanitizer" --tool "$1" --error-exitcode 9 \
    --print-limit 20 "$python" bench/gpu.py --short >"$work/$1.txt" 2>&1
  local status=$?
  { echo "== $1, status $status"; grep '^=========' "$work/$1.txt" | head -n 300; tail -n 3 "$work/$1.txt"; } |
    tee -a "$out/sanitizer.txt" | tail -n 30
  return "$status"
}

export -f install_wheels build check_build run_pytest run_tests run_jax measure sanitize
export python wheels work out root
later=${GPU_STEPS:-tests jax measure memcheck racecheck initcheck}
steps="wheels build $later"

say "keras-tally on $(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 || true)"
[[ -n $wheels ]] && step wheels 60 0 bash -c install_wheels
build=build
compgen -G "${wheels:-/nowhere}/keras_tally-*.whl" >/dev/null && build=check_build
if step build 270 40 bash -c "$build"; then
  step tests 200 110 bash -c run_tests
  if "$python" -c "import jax" 2>/dev/null; then
    step jax 120 110 bash -c run_jax
  else
    skip jax "there is no JAX on this machine"
  fi
  step measure 160 40 bash -c measure
  sanitizer=$(command -v compute-sanitizer || ls -d /usr/local/cuda*/bin/compute-sanitizer 2>/dev/null | head -n 1)
  export sanitizer
  rm -f "$out/sanitizer.txt"
  for tool in memcheck racecheck initcheck; do
    if [[ -n $sanitizer ]]; then
      step "$tool" 100 0 bash -c "sanitize $tool"
    else
      skip "$tool" "there is no compute-sanitizer on this machine"
    fi
  done
else
  for name in $later; do
    skip "$name" "the build failed"
  done
fi

say "== $SECONDS s in all"
if ((${#failed[@]})); then
  say "== not well: ${failed[*]}"
  exit 1
fi
say "== all is well"
