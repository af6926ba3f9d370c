"""The definitions compile as CUDA device code, warnings being errors."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "native" / "definitions.cu"
NVCC = os.environ.get("CUDACXX") or shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("architecture", ["sm_75", "sm_90", "sm_120"])
def test_definitions_compile_for(architecture, tmp_path):
    command = [
        NVCC,
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
