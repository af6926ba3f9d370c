"""Tests of CUDA skip without a GPU, and fail where a run was told that it has one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TEST = f"{Path(__file__).parent / 'test_cuda.py'}::test_zero_dimensional_tensors"


@pytest.mark.slow
@pytest.mark.torch_only
@pytest.mark.parametrize(
    ("variables", "status", "words"),
    [
        ({}, 0, "1 skipped"),
        ({"KERAS_TALLY_REQUIRE_CUDA": "1"}, 1, "KERAS_TALLY_REQUIRE_CUDA=1, but"),
        # Neither another backend nor another device is a way around it.
        (
            {"KERAS_TALLY_REQUIRE_CUDA": "1", "KERAS_BACKEND": "numpy"},
            1,
            "CUDA is tested under KERAS_BACKEND=torch and jax only",
        ),
        (
            {"KERAS_TALLY_REQUIRE_CUDA": "1", "KERAS_TALLY_TEST_DEVICE": "cpu"},
            1,
            "keeps the tests off the GPU",
        ),
    ],
    ids=str,
)
def test_without_a_gpu(variables, status, words):
    inherited = {k: v for k, v in os.environ.items() if "KERAS_TALLY" not in k}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", TEST],
        env={**inherited, "CUDA_VISIBLE_DEVICES": "", **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stdout
    assert words in done.stdout
    assert "1 passed" not in done.stdout
