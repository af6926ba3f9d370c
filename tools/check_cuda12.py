"""Compile device code with CUDA 12.9, as far as PyPI has it, for every architecture.

    python tools/check_cuda12.py                   # tests/native/definitions.cu
    python tools/check_cuda12.py FILE.cu ...       # others

PyPI has no nvcc of CUDA 12. It has NVRTC, which is the same compiler without the host's
half: so code for the host must be hidden from it (`#ifndef __CUDACC_RTC__`), and the
standard library is replaced by libcu++. Beside that, csrc/bind/cuda_module.cpp is
checked against the headers of 12.9's runtime. It installs the wheels listed in
tools/pypi_cuda/12.9.txt into build/cuda-12.9.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import cuda_report

ROOT = cuda_report.ROOT
PINS = ROOT / "tools" / "pypi_cuda" / "12.9.txt"
FOLDER = ROOT / "build" / "cuda-12.9"
STANDARD = ("cmath", "cstddef", "cstdint", "limits", "type_traits", "utility")
# Of nvcc alone; NVRTC needs no leave to use constexpr functions.
NOT_OF_NVRTC = {"--expt-relaxed-constexpr"}


def install() -> None:
    """The wheels, and the headers of our module, into a folder of their own."""
    done = FOLDER / "installed.txt"
    if done.exists() and done.read_text() == PINS.read_text():
        return
    pip = [sys.executable, "-m", "pip", "install", "--upgrade", "--no-deps"]
    pip += ["--target", str(FOLDER), "-c", str(ROOT / "constraints.txt")]
    subprocess.run([*pip, "-r", str(PINS), "pybind11", "apache-tvm-ffi"], check=True)
    done.write_text(PINS.read_text())


class Nvrtc:
    """The run-time compiler."""

    def __init__(self, headers: Path) -> None:
        cuda = FOLDER / "nvidia"
        self.library = ctypes.CDLL(str(cuda / "cuda_nvrtc/lib/libnvrtc.so.12"))
        flags = cuda_report.read_list(cuda_report.CUDA / "nvcc_flags.txt")
        self.options = ["-std=c++20", *(f for f in flags if f not in NOT_OF_NVRTC)]
        # Functions that say nothing are for the device, too; one function has another
        # name than in nvcc.
        self.options += ["-default-device", "-D__builtin_memcpy=memcpy"]
        self.options += ["--ptxas-options=-v", f"-I{headers}"]
        self.options += [
            f"-I{cuda / part / 'include'}" for part in ("cuda_cccl", "cuda_runtime")
        ]
        for name in STANDARD:
            (headers / name).write_text(
                f"#pragma once\n#include <cuda/std/{name}>\n"
                "namespace std { using namespace ::cuda::std; }\n"
            )
        with (headers / "cmath").open("a") as cmath:
            cmath.write("namespace std { using ::fma; }\n")

    def compile(self, source: Path, architecture: str) -> tuple[bool, str]:
        """Whether it compiles, and the log."""
        options = [*self.options, f"-arch=sm_{architecture}", f"-I{source.parent}"]
        array = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
        program = ctypes.c_void_p()
        created = self.library.nvrtcCreateProgram(
            ctypes.byref(program),
            source.read_bytes(),
            str(source).encode(),
            0,
            None,
            None,
        )
        if created:
            raise SystemExit(f"nvrtcCreateProgram failed: {created}")
        result = self.library.nvrtcCompileProgram(program, len(options), array)
        size = ctypes.c_size_t()
        self.library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self.library.nvrtcGetProgramLog(program, log)
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        return result == 0, log.value.decode()


def check_host_code() -> bool:
    """Whether the module's source fits the headers of this CUDA's runtime."""
    cuda = FOLDER / "nvidia"
    folders = [
        FOLDER / "pybind11/include",
        FOLDER / "tvm_ffi/include",  # dlpack.h
        Path(sysconfig.get_path("include")),
        *(cuda / part / "include" for part in ("cuda_runtime", "cuda_nvcc")),
    ]
    source = ROOT / "csrc" / "bind" / "cuda_module.cpp"
    command = ["g++", "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    for folder in folders:
        command += ["-isystem", str(folder)]
    done = subprocess.run([*command, str(source)], check=False)
    print(f"{source.relative_to(ROOT)}: {'fails' if done.returncode else 'fits'}")
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = ROOT / "tests" / "native" / "definitions.cu"
    parser.add_argument("sources", nargs="*", type=Path, default=[default])
    sources = parser.parse_args().sources
    install()
    good = check_host_code()
    with tempfile.TemporaryDirectory() as headers:
        nvrtc = Nvrtc(Path(headers))
        for source in sources:
            for architecture in cuda_report.read_list(
                cuda_report.CUDA / "architectures.txt"
            ):
                compiled, log = nvrtc.compile(source.resolve(), architecture)
                usages = cuda_report.parse(log)
                spilling = [n for n, u in usages.items() if u.spill_stores]
                warned = cuda_report.warnings_in(log)
                kernels = len([u for u in usages.values() if u.registers])
                print(
                    f"{source.name}, sm_{architecture}: "
                    + (f"{kernels} kernels" if compiled else f"fails:\n{log}"),
                    *(f"\n  {name} spills" for name in spilling),
                    *(f"\n  {line}" for line in warned),
                    flush=True,
                )
                good &= compiled and not spilling and not warned
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
