"""The definitions compile as CUDA device code, warnings being errors."""

import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "native" / "definitions.cu"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["sm_75", "sm_90", "sm_120"])
def test_definitions_compile_for(architecture, nvcc, tmp_path):
    command = [
        nvcc,
        "-std=c++20",
        f"-arch={architecture}",
        "--Werror=all-warnings",
        "-c",
        str(SOURCE),
        "-o",
        str(tmp_path / "definitions.o"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
