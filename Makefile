# keras-tally: everything a developer runs. Needs python3 (3.11 or newer), pip, g++ and make; the rest (cmake and ninja
# included) is installed from PyPI into .venv, in the versions of constraints.txt. Start with `make help`.
#
# .venv and build/dev grow: what `make demo` installs and compiles is what a user gets, `make test` adds what tests need, and
# `make test-all` the rest. Nothing is installed or compiled twice.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL = -m pip install --disable-pip-version-check --progress-bar on -c $(CURDIR)/constraints.txt
# What each step installs: groups of pyproject.toml, and the tools that it leaves to the system (setuptools and wheel
# build pyspark).
BUILD_PACKAGES := build cmake ninja
DEMO_PACKAGES := run demo
TEST_PACKAGES := $(DEMO_PACKAGES) test bench trainers lint
TOOLS := $(BUILD_PACKAGES) setuptools wheel
WHEEL_VENV := build/wheel-venv
WHEEL_CWD := build/wheel-tests

# Keras writes its settings file here instead of into the home directory.
export KERAS_HOME := $(CURDIR)/build/keras
# What JAX has compiled for the tests is there the next time.
export JAX_COMPILATION_CACHE_DIR := $(CURDIR)/build/jax-cache
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS := 0
# pip leaves modules uncompiled, of which most are never imported: Python keeps the bytecode of those that are.
export PYTHONDONTWRITEBYTECODE :=

# Extra arguments: make test PYTEST_ARGS="-k auc -x", make bench BENCH_ARGS="latency fit".
PYTEST_ARGS ?=
BENCH_ARGS ?=
# How many processes the tests run in: make test TEST_JOBS=1 for a debugger.
TEST_JOBS ?= $(shell nproc 2>/dev/null || echo 1)
SOAK_SECONDS ?= 900
# make keras-tests KERAS_TESTS_BACKENDS=jax KERAS_TESTS_ARGS="trainers -- -k dict"
KERAS_TESTS_BACKENDS ?= torch jax tensorflow numpy
KERAS_TESTS_ARGS ?=
PYTEST = $(BIN)/pytest -n $(TEST_JOBS) --dist worksteal

# What runs on JAX and TensorFlow.
STORED_TESTS := $(addprefix tests/,backends/test_portable.py backends/test_jax.py backends/test_xla.py backends/test_tensorflow.py backends/test_dtypes.py \
                  backends/test_explain.py integration/test_fit.py metrics/test_table.py group \
                  integration/test_bench.py inputs/test_errors.py metrics/test_auc.py state/test_copying.py \
                  metrics/test_segmentation.py metrics/test_results.py state/test_merging.py \
                  state/test_distributed.py metrics/test_elementwise.py metrics/test_own_metric.py metrics/test_hard_numbers.py metrics/test_doubts.py repository/test_differences.py \
                  integration/test_examples.py runtime/test_threads.py runtime/test_soak.py)

# What runs once more with the CUDA kernels in the CPU's place, themselves run on the CPU.
EMULATED_TESTS := $(addprefix tests/,metrics/test_lifecycle.py inputs/test_errors.py metrics/test_exactness.py metrics/test_auc.py \
                  metrics/test_segmentation.py state/test_stateless.py state/test_copying.py \
                  metrics/test_functions.py group state/test_merging.py)

# Of these, what is quick. Sizes and levels are test_cuda_kernels.py's business there, which runs with the host's tests; on JAX
# and TensorFlow every shape is compiled and every fit is traced, and what does not depend on them is left to test-all.
QUICK_EMULATED_TESTS := $(filter-out tests/metrics/test_exactness.py,$(EMULATED_TESTS))
QUICK_STORED_TESTS := $(addprefix tests/,backends/test_portable.py backends/test_jax.py backends/test_xla.py \
                        backends/test_tensorflow.py backends/test_dtypes.py backends/test_explain.py integration/test_fit.py \
                        metrics/test_table.py inputs/test_errors.py state/test_copying.py runtime/test_threads.py \
                        $(addprefix group/test_group_,numbers.py stateless.py))
EMULATED_JAX_TESTS := tests/backends/test_jax.py -k "one_kernel or merging or label"
# What takes other code on NumPy than on torch: arguments, pure functions, Keras's own functions, the fallback.
NUMPY_TESTS := $(addprefix tests/,inputs state/test_stateless.py metrics/test_functions.py metrics/test_table.py \
                  backends/test_portable.py backends/test_explain.py runtime/test_threads.py repository/test_docs.py repository/test_differences.py)

# What the extension is made of; a change rebuilds it (only the objects that need it).
NATIVE_SOURCES := $(shell find csrc cmake -type f ! -name '*.json' 2>/dev/null) CMakeLists.txt pyproject.toml
TEST_SOURCES := $(shell find tests/native tests/fuzz -name '*.h' -o -name '*.cpp' 2>/dev/null)
CPP_SOURCES := $(shell find csrc tests/native tests/fuzz -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' 2>/dev/null)
# On a machine with a GPU and nvcc, the CUDA kernels are built for that GPU; make CUDA=OFF does without, and CUDA=ON builds
# them without a GPU, for the oldest one we support, with PTX that newer ones run. Wheels, and the test of the kernels,
# take all architectures.
CUDA ?= AUTO
# Treat the compiler's warnings as errors: a new compiler may have new ones, so it is for those who change the code.
WERROR ?= OFF
CUDA_ARCHITECTURES ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo native || echo 75)

# Before anything is installed: one sentence for what is missing.
define check_python
command -v $(PYTHON) > /dev/null || { echo "keras-tally needs Python 3.11 or newer, and there is no $(PYTHON): install it (apt-get install python3 python3-venv), or name another one: make PYTHON=python3.12 ..."; exit 1; }
$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit(f"keras-tally needs Python 3.11 or newer, and $(PYTHON) is {sys.version.split()[0]}. Try: make PYTHON=python3.12 ...")'
endef
define check_compiler
command -v $(firstword $(CXX)) c++ clang++ > /dev/null || { echo "keras-tally is compiled here, and there is no C++ compiler: install one (apt-get install g++), or name it: make CXX=/path/to/g++ ..."; exit 1; }
endef

# $(call make_venv,folder): the standard library's venv, or virtualenv (kept in .bootstrap) where the system has none.
define make_venv
rm -rf $(1)
if ! $(PYTHON) -m venv $(1) 2>/dev/null; then \
  echo "== python3 -m venv is not usable here: using virtualenv"; \
  $(PYTHON) -m pip --version > /dev/null 2>&1 || { echo "$(PYTHON) has neither venv nor pip: install them (apt-get install python3-venv python3-pip)."; exit 1; }; \
  rm -rf $(1) .bootstrap; \
  $(PYTHON) -m pip install --disable-pip-version-check --progress-bar on --target .bootstrap virtualenv; \
  PYTHONPATH=.bootstrap $(PYTHON) -m virtualenv $(1); \
fi
endef

.PHONY: help
help: ## Show this list
	@echo "Needed: python3 (3.11 or newer) with pip, a C++20 compiler, make. Targets install the rest into .venv by themselves."
	@echo
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "In brackets: minutes on two cores once everything is installed and built, and what else is needed. Before that come, once:"
	@echo "  [demo] 2 minutes, 1.5 GB: the build tools, Keras, torch, scikit-learn, matplotlib; the extension as users get it"
	@echo "  [test] 8 minutes, 3 GB more: JAX, TensorFlow, other libraries of metrics, linters; what the tests compile"
	@echo "  [all]  2 minutes, 1.5 GB more: Spark, Dask, nox"

.PHONY: venv
venv: $(VENV)/.built ## Make .venv with everything that tests need, and build the extension in it [0; test]

.PHONY: demo
demo: $(VENV)/.demo ## Train two small models, our metrics beside Keras's own [0.3; demo]
	@KERAS_BACKEND=torch $(BIN)/python examples/demo.py

# The fuzzers' corpora, unpacked from tests/fuzz/corpus/*.zip.
CORPUS := build/fuzz/kept
NATIVE_FUZZERS := batch expression
PYTHON_FUZZERS := byte_form arguments

# $(call run_tests,name,what they are,environment,files and options): `make test` notes what has passed, and
# $(call run_rest,...) leaves that out.
PASSED := build/passed
define run_tests
@echo "== tests, $(2)"
@$(3) KERAS_TALLY_TEST_PASSED_TO=$(PASSED)/$(1) $(PYTEST) $(4) $(PYTEST_ARGS)
endef
define run_rest
@echo "== the rest of the tests, $(2)"
@$(3) KERAS_TALLY_TEST_PASSED_IN=$(PASSED)/$(1) $(PYTEST) $(4) $(PYTEST_ARGS)
endef
ALL_OF_IT := --doctest-modules --pyargs ./tests keras_tally
ON_CPU := CUDA kernels run on the CPU
EMULATED := KERAS_TALLY_TEST_DEVICE=emulated
# What a time is compared with may not run beside it.
QUICK := -m "not slow and not timing"
NOT_TIMED := -m "not timing"
CLASSES := KERAS_TALLY_CASES=classes
ALL_CASES := KERAS_TALLY_CASES=all

# Random inputs are few; test-all takes more of them.
.PHONY: test
test: export HYPOTHESIS_PROFILE ?= few
test: $(VENV)/.built ## Run the quick tests and doctests, on every backend [11; test]
	$(call run_tests,torch,torch backend,KERAS_BACKEND=torch,$(QUICK) $(ALL_OF_IT))
	$(call run_tests,torch-emulated,torch backend$(comma) $(ON_CPU),KERAS_BACKEND=torch $(EMULATED) $(CLASSES),$(QUICK) $(QUICK_EMULATED_TESTS))
	$(call run_tests,jax-emulated,JAX backend$(comma) $(ON_CPU),KERAS_BACKEND=jax $(EMULATED) $(CLASSES),$(QUICK) $(EMULATED_JAX_TESTS))
	$(call run_tests,numpy,NumPy backend,KERAS_BACKEND=numpy $(CLASSES),$(QUICK) $(NUMPY_TESTS))
	$(call run_tests,jax,JAX backend,KERAS_BACKEND=jax $(CLASSES),$(QUICK) $(QUICK_STORED_TESTS))
	$(call run_tests,tensorflow,TensorFlow backend,KERAS_BACKEND=tensorflow $(CLASSES),$(QUICK) $(QUICK_STORED_TESTS))

.PHONY: test-all
test-all: test-clang rest-in-place rest-compiled ## Run every test: make test, then all cases, slow tests, a short soak, every GPU, Clang [70; all, clang]

# Where kernels write into the variables, and where every shape is compiled. After `make test` always: what passed on another
# day, of other code, is not left out.
.PHONY: rest-in-place rest-compiled
rest-in-place: test $(VENV)/.all
	$(call run_rest,torch,torch backend,KERAS_BACKEND=torch $(ALL_CASES),$(NOT_TIMED) $(ALL_OF_IT))
	$(call run_rest,torch-emulated,torch backend$(comma) $(ON_CPU),KERAS_BACKEND=torch $(EMULATED) $(ALL_CASES),$(NOT_TIMED) $(EMULATED_TESTS))
	$(call run_rest,numpy,NumPy backend,KERAS_BACKEND=numpy $(ALL_CASES),$(NOT_TIMED) $(ALL_OF_IT))
	@echo "== tests that compare times, one after the other"
	@KERAS_BACKEND=torch $(BIN)/pytest -m timing tests

rest-compiled: test $(VENV)/.all
	$(call run_rest,jax-emulated,JAX backend$(comma) $(ON_CPU),KERAS_BACKEND=jax $(EMULATED) $(ALL_CASES),$(NOT_TIMED) $(EMULATED_JAX_TESTS))
	$(call run_rest,jax,JAX backend,KERAS_BACKEND=jax $(ALL_CASES),$(NOT_TIMED) $(STORED_TESTS))
	$(call run_rest,tensorflow,TensorFlow backend,KERAS_BACKEND=tensorflow $(ALL_CASES),$(NOT_TIMED) $(STORED_TESTS))

# Where clang is missing it is said; KERAS_TALLY_REQUIRE_CLANG=1 makes it an error.
.PHONY: test-clang
test-clang: $(VENV)/.built $(CORPUS)/.unpacked
	@if command -v $(CLANGXX) > /dev/null; then \
	  echo "== the core, compiled by Clang: the fuzzers' corpora and the pool of threads"; \
	  $(call configure,build/clang,-DCMAKE_CXX_COMPILER=$(CLANGXX) -DKERAS_TALLY_WERROR=ON); \
	  $(BIN)/cmake --build build/clang --target fuzz_replay thread_updates; \
	  for name in $(NATIVE_FUZZERS); do build/clang/fuzz_replay $$name $(CORPUS)/$$name/*; done; \
	  build/clang/thread_updates 1; \
	else \
	  echo "== skipped: the core compiled by Clang; $(CLANGXX) is not installed (apt-get install clang)"; \
	  test "$${KERAS_TALLY_REQUIRE_CLANG:-}" != 1; \
	fi

# Memory safety (docs/trust.md). The sanitized extension is installed into a venv of its own, and what else it needs comes
# from .venv; programs without Python are built beside it.
SANITIZE := build/sanitize
SANITIZED_TESTS ?= $(addprefix tests/,inputs/test_errors.py inputs/test_inputs.py metrics/test_exactness.py metrics/test_auc.py \
                  metrics/test_segmentation.py group state/test_merging.py metrics/test_elementwise.py \
                  metrics/test_own_metric.py metrics/test_functions.py runtime/test_threads.py \
                  inputs/test_fuzz_corpus.py)
SANITIZED_TORCH_TESTS ?= $(addprefix tests/,inputs/test_errors.py inputs/test_inputs.py runtime/test_threads.py group)
# CUDA's kernels, run on the CPU, and what JAX and TensorFlow call.
SANITIZED_EMULATED_TESTS ?= $(addprefix tests/,metrics/test_lifecycle.py inputs/test_errors.py metrics/test_auc.py metrics/test_segmentation.py \
                  state/test_merging.py)
SANITIZED_JAX_TESTS ?= tests/backends/test_jax.py
SANITIZED_TENSORFLOW_TESTS ?= tests/backends/test_tensorflow.py
# GCC's sanitizers are in shared libraries, which come before all others; libstdc++ is there for exceptions. Leaks are looked
# for where Python is not, by the fuzzers and by valgrind: the interpreter frees little of its own when it ends.
PRELOAD = $(shell $(CXX) -print-file-name=libasan.so) $(shell $(CXX) -print-file-name=libstdc++.so.6)
SANITIZER_OPTIONS = ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1:die_after_fork=0
# $(call configure,folder,options of CMake): for programs without Python.
configure = $(BIN)/cmake -S . -B $(1) -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja \
  -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -Dpybind11_DIR=$$($(BIN)/python -m pybind11 --cmakedir) \
  -DKERAS_TALLY_TESTS=ON -DKERAS_TALLY_CUDA=OFF -DSKBUILD_PROJECT_VERSION=0 $(2) > /dev/null

.PHONY: sanitize
sanitize: sanitize-address sanitize-thread valgrind ## AddressSanitizer, UBSan and ThreadSanitizer on the native code, valgrind [70; test, valgrind]

$(SANITIZE)/venv:
	@$(call make_venv,$@)

.PHONY: sanitize-address
sanitize-address: $(VENV)/.built $(CORPUS)/.unpacked | $(SANITIZE)/venv
	@echo "== building the extension with AddressSanitizer and UndefinedBehaviorSanitizer"
	@site='import sysconfig; print(sysconfig.get_path("purelib"))'; \
	  $(BIN)/python -c "$$site" > "$$($(SANITIZE)/venv/bin/python -c "$$site")/development.pth"
	@$(SANITIZE)/venv/bin/python $(PIP_INSTALL) --no-build-isolation --no-deps --ignore-installed \
	  --config-settings=build-dir=$(SANITIZE)/cmake $(addprefix --config-settings=cmake.define., \
	    KERAS_TALLY_SANITIZE=address,undefined KERAS_TALLY_TESTS=ON KERAS_TALLY_CUDA=OFF KERAS_TALLY_EMULATED_CUDA=ON) .
	@echo "== the fuzzers' corpora and the pool of threads, without Python"
	@$(BIN)/cmake --build $(SANITIZE)/cmake --target fuzz_replay thread_updates
	@for name in $(NATIVE_FUZZERS); do $(SANITIZE)/cmake/fuzz_replay $$name $(CORPUS)/$$name/*; done
	@$(SANITIZE)/cmake/thread_updates 2
	@for part in "numpy cuda $(SANITIZED_TESTS)" "torch cuda $(SANITIZED_TORCH_TESTS)" \
	             "torch emulated $(SANITIZED_EMULATED_TESTS)" "jax cuda $(SANITIZED_JAX_TESTS)" \
	             "tensorflow cuda $(SANITIZED_TENSORFLOW_TESTS)"; do \
	  read -r backend device tests <<< "$$part"; \
	  echo "== tests under AddressSanitizer and UndefinedBehaviorSanitizer, $$backend backend, kernels of CUDA: $${device/cuda/on a GPU}"; \
	  (cd $(SANITIZE) && KERAS_BACKEND=$$backend KERAS_TALLY_TEST_DEVICE=$$device $(SANITIZER_OPTIONS) LD_PRELOAD="$(PRELOAD)" \
	    venv/bin/python -P -m pytest -n $(TEST_JOBS) -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) \
	    -p no:cacheprovider $$(printf '$(CURDIR)/%s ' $$tests) $(PYTEST_ARGS)); \
	done

.PHONY: sanitize-thread
sanitize-thread: $(VENV)/.deps
	@echo "== the pool of threads under ThreadSanitizer"
	@$(call configure,$(SANITIZE)/thread,-DKERAS_TALLY_SANITIZE=thread -DKERAS_TALLY_X86_LEVELS=OFF)
	@$(BIN)/cmake --build $(SANITIZE)/thread --target thread_updates
	@$(SANITIZER_OPTIONS) $(SANITIZE)/thread/thread_updates 10

# What valgrind does not know (AVX-512), the processor it plays does not have.
VALGRIND = valgrind -q --error-exitcode=1 --fair-sched=yes
LEAKS = --leak-check=full --errors-for-leak-kinds=definite

.PHONY: valgrind
valgrind: $(VENV)/.built $(CORPUS)/.unpacked
	@echo "== the fuzzers' corpora and the pool of threads under valgrind"
	@command -v valgrind > /dev/null || { echo "valgrind is not installed (apt-get install valgrind)"; exit 1; }
	@$(BIN)/cmake --build build/dev --target fuzz_replay thread_updates
	@for name in $(NATIVE_FUZZERS); do $(VALGRIND) $(LEAKS) build/dev/fuzz_replay $$name $(CORPUS)/$$name/*; done
	@# Its child ends without giving anything back: leaks mean nothing there.
	@$(VALGRIND) build/dev/thread_updates 1

$(CORPUS)/.unpacked: $(wildcard tests/fuzz/corpus/*.zip) tests/fuzz/archive.py
	@$(PYTHON) tests/fuzz/archive.py unpack $(CORPUS)
	@touch $@

# Fuzzing. clang++ (apt-get install clang) for the targets in C++, and atheris from PyPI for those in Python: each for
# FUZZ_SECONDS, from the kept corpus on; what is new is in build/fuzz/corpus, and `make fuzz-minimize` keeps what it needs.
FUZZ_SECONDS ?= 60
CLANGXX ?= clang++
PYTHON_FUZZER = KERAS_BACKEND=numpy PYTHONPATH=build/fuzz/atheris $(BIN)/python tests/fuzz/python_fuzzer.py

.PHONY: fuzz
fuzz: build/fuzz/.built $(CORPUS)/.unpacked ## Each fuzzer for FUZZ_SECONDS (60): intake, kernels, expressions, byte form, arguments [6; test, clang]
	@mkdir -p $(addprefix build/fuzz/corpus/,$(NATIVE_FUZZERS) $(PYTHON_FUZZERS)) build/fuzz/found
	@for name in $(NATIVE_FUZZERS); do echo "== fuzzing $$name"; \
	  build/fuzz/fuzz_$$name build/fuzz/corpus/$$name $(CORPUS)/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=20 \
	    -artifact_prefix=build/fuzz/found/$$name- -max_len=512 -print_final_stats=1 $(FUZZ_ARGS); \
	done
	@for name in $(PYTHON_FUZZERS); do echo "== fuzzing $$name"; \
	  $(PYTHON_FUZZER) $$name build/fuzz/corpus/$$name $(CORPUS)/$$name -max_total_time=$(FUZZ_SECONDS) -timeout=20 \
	    -artifact_prefix=build/fuzz/found/$$name- -print_final_stats=1 $(FUZZ_ARGS); \
	done

.PHONY: fuzz-minimize
fuzz-minimize: build/fuzz/.built $(CORPUS)/.unpacked
	@for name in $(NATIVE_FUZZERS) $(PYTHON_FUZZERS); do \
	  fuzzer="build/fuzz/fuzz_$$name"; \
	  case " $(PYTHON_FUZZERS) " in *" $$name "*) fuzzer="env $(PYTHON_FUZZER) $$name";; esac; \
	  rm -rf build/fuzz/minimal && mkdir -p build/fuzz/minimal build/fuzz/corpus/$$name; \
	  $$fuzzer -set_cover_merge=1 build/fuzz/minimal $(CORPUS)/$$name build/fuzz/corpus/$$name; \
	  find $(CORPUS)/$$name -name 'found-*' -exec cp {} build/fuzz/minimal \;; \
	  $(BIN)/python tests/fuzz/archive.py pack $$name build/fuzz/minimal; \
	done

build/fuzz/.built: $(VENV)/.built
	@command -v $(CLANGXX) > /dev/null || { echo "$(CLANGXX) is not installed (apt-get install clang)"; exit 1; }
	@echo "== building the fuzzers"
	@$(call configure,build/fuzz,-DCMAKE_CXX_COMPILER=$(CLANGXX) -DKERAS_TALLY_X86_LEVELS=OFF \
	  -DKERAS_TALLY_SANITIZE=fuzzer-no-link$(comma)address$(comma)undefined)
	@$(BIN)/cmake --build build/fuzz --target $(addprefix fuzz_,$(NATIVE_FUZZERS))
	@$(BIN)/python $(PIP_INSTALL) --no-deps --target build/fuzz/atheris atheris
	@touch $@

comma := ,

.PHONY: fuzz-differential
fuzz-differential: $(VENV)/.built ## Random batches through ours and Keras's metrics, until they differ or you stop it [test]
	@for ((round = 1; ; round++)); do for backend in torch numpy; do \
	  echo "== round $$round, $$backend backend"; \
	  KERAS_BACKEND=$$backend HYPOTHESIS_PROFILE=fuzz $(BIN)/pytest -qx tests/metrics/test_differential.py $(PYTEST_ARGS); \
	done; done

.PHONY: keras-tests
keras-tests: $(VENV)/.built ## Keras's own tests of metrics and trainers, with our classes installed [30; test]
	@for backend in $(KERAS_TESTS_BACKENDS); do \
	  KERAS_BACKEND=$$backend $(BIN)/python tools/keras_tests.py $(KERAS_TESTS_ARGS); \
	done

.PHONY: soak
soak: $(VENV)/.built ## Random work on all metrics, SOAK_SECONDS (900) on each backend: flat memory, exact counts [60; test]
	@for backend in torch numpy jax tensorflow; do \
	  KERAS_BACKEND=$$backend KERAS_TALLY_SOAK_SECONDS=$(SOAK_SECONDS) $(BIN)/pytest -qs tests/runtime/test_soak.py $(PYTEST_ARGS); \
	done

.PHONY: bench
bench: $(VENV)/.built ## Measure speed and error; writes bench/results/ and the tables in README.md [hours; test]
	@KERAS_BACKEND=torch $(BIN)/python bench/run_all.py $(BENCH_ARGS)

.PHONY: docs
docs: $(VENV)/.built ## Write what is made of the metrics' declarations: docs/metrics.md, functional.pyi [0.1; test]
	@KERAS_BACKEND=numpy $(BIN)/python tools/metrics_page.py
	@$(BIN)/python tools/functional_stub.py

.PHONY: wheel
wheel: $(VENV)/.all ## Build the wheel, install it into a clean venv, run the tests against it [30; all, nvcc]
	@echo "== building the source archive, and the wheel from it"
	@mkdir -p dist && rm -f dist/keras_tally-*
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m build --no-isolation --outdir dist .
	@echo "== installing it into $(WHEEL_VENV)"
	@$(call make_venv,$(WHEEL_VENV))
	@$(BIN)/python tools/install_locked.py --into $(WHEEL_VENV) setuptools wheel
	@$(BIN)/python tools/install_locked.py --into $(WHEEL_VENV) run demo bench engines test trainers
	@$(WHEEL_VENV)/bin/python $(PIP_INSTALL) --no-deps dist/keras_tally-*.whl
	@rm -rf $(WHEEL_CWD) && mkdir -p $(WHEEL_CWD)
	@cd $(WHEEL_CWD) && for backend in torch numpy; do \
	  echo "== tests of the wheel, $$backend backend"; \
	  export KERAS_BACKEND=$$backend; \
	  $(CURDIR)/$(WHEEL_VENV)/bin/python -P -c 'import keras_tally, sys; p = keras_tally.__file__; p.startswith(sys.prefix) or sys.exit(f"these tests would run against {p}, not against the wheel")'; \
	  $(CURDIR)/$(WHEEL_VENV)/bin/pytest -n $(TEST_JOBS) -c $(CURDIR)/pyproject.toml --rootdir $(CURDIR) --doctest-modules --pyargs $(CURDIR)/tests keras_tally $(PYTEST_ARGS); \
	done
	@ls -l dist

.PHONY: lint
lint: $(VENV)/.built ## ruff, clang-format, mypy --strict, and the stub of the extension against the extension [1; test]
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(CPP_SOURCES)
	$(BIN)/mypy --strict python/keras_tally
	KERAS_BACKEND=numpy MYPYPATH=python $(BIN)/python -m mypy.stubtest keras_tally._native

.PHONY: format
format: $(VENV)/.deps ## Apply ruff's and clang-format's layout [0.1; test]
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(CPP_SOURCES)

.PHONY: versions
versions: $(VENV)/.all ## Run tests with the oldest and the newest supported versions (noxfile.py; several GB) [150; all]
	@$(BIN)/nox

.PHONY: lock
lock: ## Write requirements.lock: the files of the versions in constraints.txt, on PyPI, by their hashes
	@test -x $(BIN)/uv || { $(MAKE) $(VENV)/.created && $(BIN)/python $(PIP_INSTALL) uv; }
	@mkdir -p build
	@{ $(BIN)/python tools/requirements.py all; printf '%s\n' $(TOOLS) atheris; } > build/requirements.txt
	@$(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --custom-compile-command "make lock" -c constraints.txt -o requirements.lock build/requirements.txt

.PHONY: clean
clean: ## Remove what was built (not .venv)
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis $(addprefix $(VENV)/,.demo .built .extension .tested-extension)

.PHONY: distclean
distclean: clean ## Remove .venv as well
	rm -rf $(VENV) .bootstrap

$(VENV)/.created:
	@$(check_python)
	@$(check_compiler)
	@echo "== making $(VENV)"
	@$(call make_venv,$(VENV))
	@touch $@

$(VENV)/.tools: requirements.lock tools/install_locked.py $(VENV)/.created
	@echo "== installing what compiles the extension"
	@$(BIN)/python tools/install_locked.py $(BUILD_PACKAGES)
	@touch $@

$(VENV)/.demo-deps: $(VENV)/.tools
	@echo "== installing what the demo needs, in the versions of constraints.txt (torch is the large one)"
	@$(BIN)/python tools/install_locked.py $(DEMO_PACKAGES)
	@touch $@

$(VENV)/.deps: $(VENV)/.demo-deps
	@echo "== installing what the tests need (TensorFlow is the large one)"
	@$(BIN)/python tools/install_locked.py $(TEST_PACKAGES)
	@touch $@

$(VENV)/.all: $(VENV)/.deps
	@echo "== installing everything else (Spark is the large one)"
	@$(BIN)/python tools/install_locked.py $(TOOLS)
	@$(BIN)/python tools/install_locked.py all
	@touch $@

# $(call build,options of CMake): in the same folder, whatever was built there before. Ninja has its own number of jobs.
build = MAKEFLAGS= $(BIN)/python $(PIP_INSTALL) --no-build-isolation --no-deps --verbose --config-settings=build-dir=build/dev \
  $(addprefix --config-settings=cmake.define.,KERAS_TALLY_WERROR=$(WERROR) KERAS_TALLY_CUDA=$(CUDA) \
    CMAKE_CUDA_ARCHITECTURES=$(CUDA_ARCHITECTURES) $(1)) --editable .

$(VENV)/.extension: $(VENV)/.tools $(NATIVE_SOURCES)
	@echo "== building the extension"
	@$(call build)
	@touch $@

$(VENV)/.tested-extension: $(VENV)/.tools $(NATIVE_SOURCES) $(TEST_SOURCES)
	@echo "== building the extension, and what its tests need"
	@$(call build,KERAS_TALLY_EMULATED_CUDA=ON KERAS_TALLY_TESTS=ON)
	@touch $(VENV)/.extension $@

# To install keeps one core busy, and to compile needs little of what is installed: both at once.
AT_ONCE = @$(MAKE) --no-print-directory --jobs=2

$(VENV)/.demo: $(VENV)/.tools $(NATIVE_SOURCES)
	$(AT_ONCE) $(VENV)/.demo-deps $(VENV)/.extension
	@touch $@

$(VENV)/.built: $(VENV)/.tools $(NATIVE_SOURCES) $(TEST_SOURCES)
	$(AT_ONCE) $(VENV)/.deps $(VENV)/.tested-extension
	@touch $(VENV)/.demo $@
