"""Profiles of hypothesis, markers, and what every test starts from."""

import functools
import os
from pathlib import Path

import hypothesis
import keras
import pytest

import keras_tally as kt
from keras_tally import _native
from support import BACKEND, EMULATED, IS_TORCH, ON_GPU, find_nvcc, seed_all

# Needs atheris, and is no test: `--doctest-modules` would import it.
collect_ignore = ["fuzz/python_fuzzer.py"]

if IS_TORCH:
    # Small tensors everywhere: threads of torch would only wait for each other.
    import torch

    torch.set_num_threads(1)

# A fixed budget and fixed seeds where the suite decides; more examples, and new ones
# on every run, where a developer looks for bugs (HYPOTHESIS_PROFILE=dev).
# "fuzz" is one round of `make fuzz-differential`, which tests random batches until it
# is stopped.
# "quick" does not shrink failures: for a first look at many of them.
COMMON = {
    "deadline": None,
    "suppress_health_check": list(hypothesis.HealthCheck),
}
hypothesis.settings.register_profile(
    "ci", max_examples=25, derandomize=True, database=None, **COMMON
)
# `make test`.
hypothesis.settings.register_profile(
    "few", hypothesis.settings.get_profile("ci"), max_examples=6
)
hypothesis.settings.register_profile("dev", max_examples=250, **COMMON)
hypothesis.settings.register_profile(
    "fuzz", max_examples=200, print_blob=True, **COMMON
)
hypothesis.settings.register_profile(
    "quick",
    hypothesis.settings.get_profile("ci"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


if EMULATED:
    from keras_tally import _cuda_emulated

    _native.set_device_api(_cuda_emulated.api(), emulated=True)

# One SIMD level for all tests that do not choose their own.
if level := os.environ.get("KERAS_TALLY_TEST_LEVEL"):
    _native.set_level(level)


def pytest_configure(config):
    config.addinivalue_line("markers", "torch_only: needs KERAS_BACKEND=torch")
    # Keras 3.15's own conversions of torch parameters, under NumPy 2.
    for message in (
        "__array__ implementation doesn't accept a copy keyword",
        "__array_wrap__ must accept context and return_scalar",
    ):
        config.addinivalue_line(
            "filterwarnings", f"ignore:{message}:DeprecationWarning"
        )
    # What the random batches of test_differential.py give Keras reason to say.
    for message in (
        "You are passing weight as `float`, but dtype is `int`",
        "More independent predictors than datapoints",
        "Division by zero in Adjusted R2 score",
        # Keras's confusion matrix, under JAX.
        "Explicitly requested dtype int64",
        # Random numbers are no scores that anybody means; test_doubts.py has others.
        r"Accuracy '\w+'. none of",
        r"\w+ '\w+'. no score lies between",
    ):
        config.addinivalue_line("filterwarnings", f"ignore:{message}:UserWarning")
    # Keras's NumPy backend divides by zero first and looks afterwards.
    config.addinivalue_line("filterwarnings", r"ignore::RuntimeWarning:keras\.src")


# `make test-all` begins with `make test`, which writes what has passed to a file, and
# leaves that out.
PASSED_TO = os.environ.get("KERAS_TALLY_TEST_PASSED_TO")
PASSED_IN = os.environ.get("KERAS_TALLY_TEST_PASSED_IN")
PASSED = []


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        PASSED.append(report.nodeid)


def pytest_sessionfinish():
    if PASSED_TO and "PYTEST_XDIST_WORKER" not in os.environ:
        path = Path(PASSED_TO)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(PASSED))


def leave_out_passed(items, config):
    known = set(Path(PASSED_IN).read_text().splitlines())
    # Of random inputs there are more now.
    left, again = [], []
    for item in items:
        is_random = hasattr(getattr(item, "obj", None), "hypothesis")
        (again if is_random or item.nodeid not in known else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = again


def pytest_collection_modifyitems(items, config):
    if PASSED_IN:
        leave_out_passed(items, config)
    for item in items if EMULATED else ():
        if "host_only" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="what a GPU does otherwise"))
    if IS_TORCH:
        return
    skip = pytest.mark.skip(reason="runs under KERAS_BACKEND=torch only")
    for item in items:
        if "torch_only" in item.keywords:
            item.add_marker(skip)


CUDA_REQUIRED = os.environ.get("KERAS_TALLY_REQUIRE_CUDA") == "1"


@functools.cache
def missing_for_cuda():
    """Why the tests marked `cuda` cannot run here, or None."""
    if BACKEND == "jax":
        import jax

        if jax.default_backend() != "gpu":
            return "JAX sees no CUDA device"
        return kt.cuda_status().reason or None
    if not IS_TORCH:
        return "CUDA is tested under KERAS_BACKEND=torch and jax only"
    if not ON_GPU:
        variable = "KERAS_TALLY_TEST_DEVICE"
        return f"{variable} keeps the tests off the GPU" if CUDA_REQUIRED else None
    if not torch.cuda.is_available():
        return "torch sees no CUDA device"
    return kt.cuda_status().reason or None


def pytest_runtest_setup(item):
    """Skip tests of CUDA without a GPU, or fail where the run was told it has one."""
    if item.get_closest_marker("cuda") is None or missing_for_cuda() is None:
        return
    if CUDA_REQUIRED:
        pytest.fail(
            f"KERAS_TALLY_REQUIRE_CUDA=1, but {missing_for_cuda()}", pytrace=False
        )
    pytest.skip(missing_for_cuda())


@pytest.fixture(autouse=True)
def fresh_settings():
    """Leave no thread count, SIMD level, seed or name counter to the next test."""
    level = _native.active_level()
    seed_all(0)
    yield
    kt.set_num_threads(None)
    _native.set_level(level)
    keras.utils.clear_session(free_memory=False)


@pytest.fixture
def roads():
    """A function that gives how much each road counter rose since the start."""
    start = _native.road_counts()

    def risen():
        now = _native.road_counts()
        return {k: now[k] - start.get(k, 0) for k in now if now[k] != start.get(k, 0)}

    return risen


@pytest.fixture
def two_threads():
    kt.set_num_threads(2)


@pytest.fixture
def nvcc():
    """CUDA's compiler, for the tests that need it (KERAS_TALLY_REQUIRE_NVCC=1: all)."""
    return find_nvcc()
