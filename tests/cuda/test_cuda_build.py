"""The CUDA kernels compile for every architecture, within their budget of registers."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

import support

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location(
    "cuda_report", ROOT / "tools" / "cuda_report.py"
)
report = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = report  # where dataclasses look
SPEC.loader.exec_module(report)

# Of CUDA 13.0, and of CUDA 12.0, which counts no barriers that are not used.
PTXAS = """\
ptxas info    : 8 bytes gmem, 24 bytes cmem[4]
ptxas info    : Compiling entry function '_ZN2kt4cuda5plainIfEEvPT_' for 'sm_90'
ptxas info    : Function properties for _ZN2kt4cuda5plainIfEEvPT_
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 24 registers, used 0 barriers, 376 bytes cmem[0]
ptxas info    : Compile time = 19.915 ms
ptxas info    : Compiling entry function '_ZN2kt4cuda6spillsEPd' for 'sm_90'
ptxas info    : Function properties for _ZN2kt4cuda6spillsEPd
    48 bytes stack frame, 52 bytes spill stores, 56 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 48 bytes cumulative stack size, \
4096 bytes smem, 360 bytes cmem[0], 16 bytes cmem[2]
ptxas info    : Function properties for _ZN2kt4cuda6helperEi
    16 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function '_ZN2kt4cuda5callsEPd' for 'sm_90'
ptxas info    : Function properties for _ZN2kt4cuda5callsEPd
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, 32 bytes cumulative stack size, 360 bytes cmem[0]
"""
USAGES = {
    "_ZN2kt4cuda5plainIfEEvPT_": report.Usage(registers=24),
    "_ZN2kt4cuda6spillsEPd": report.Usage(255, 48, 52, 56, 4096),
    "_ZN2kt4cuda6helperEi": report.Usage(stack=16),
    "_ZN2kt4cuda5callsEPd": report.Usage(registers=40, stack=32),
}
NAMES = [
    "kt::cuda::plain<float>",
    "kt::cuda::spills",
    "kt::cuda::helper",
    "kt::cuda::calls",
]


@pytest.fixture
def source(nvcc, tmp_path):
    """A file with a kernel in it."""
    path = tmp_path / "small.cu"
    path.write_text("__global__ void small(float* x) { x[threadIdx.x] *= 2.0f; }\n")
    return path


@pytest.fixture(autouse=True)
def no_cache(request, monkeypatch, tmp_path):
    if "source" in request.fixturenames:
        monkeypatch.setattr(report, "CACHE", tmp_path / "cache")


def run(*arguments):
    return report.main([str(argument) for argument in arguments])


def test_report_of_ptxas_is_understood():
    assert report.parse(PTXAS) == USAGES
    assert report.parse("") == {}


def test_names_are_readable():
    assert report.demangle({"90": USAGES}) == {
        "90": dict(zip(NAMES, USAGES.values(), strict=True))
    }
    # Overloads keep their parameters.
    overloads = {
        "_Z1fi": report.Usage(),
        "_Z1ff": report.Usage(),
        "main": report.Usage(),
    }
    assert set(report.demangle({"90": overloads})["90"]) == {
        "f(int)",
        "f(float)",
        "main",
    }


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("f", "f"),
        ("f(int, float*)", "f"),
        ("void f<g<(K)2>, float>(A<void (int)>)", "f<g<(K)2>, float>"),
        ("kt::(anonymous namespace)::f(int)", "kt::(anonymous namespace)::f"),
    ],
)
def test_short_name(name, short):
    assert report.short_name(name) == short


def test_warnings_are_found():
    lines = [
        'csrc/cuda/kernels.cu(7): warning #177-D: variable "x" was declared',
        "ptxas warning : Stack size for entry function '_Z1fv' cannot be determined",
        "nvcc warning : Support for offline compilation ends",
    ]
    assert report.warnings_in(PTXAS + "\n".join(lines)) == lines
    assert not report.warnings_in(PTXAS)


def test_check_names_everything_that_is_wrong():
    reports = report.demangle({"90": report.parse(PTXAS)})
    plain, spills, helper, calls = NAMES
    budget = {plain: {"90": [24, 0]}, helper: {"90": [0, 16]}, calls: {"90": [40, 32]}}
    budget[spills] = {"90": [255, 48]}
    (spilled,) = report.problems(reports, budget)
    assert "spills on sm_90 spills registers (52 bytes stored, 56 loaded)" in spilled

    budget[plain] = {"90": [23, 0]}
    budget[calls] = {"90": [40, 24], "75": [1, 0]}
    budget[helper] = {"75": [0, 16]}
    budget["gone"] = {"75": [8, 0], "90": [8, 0]}
    found = "\n".join(report.problems(reports, budget))
    assert "plain<float> on sm_90 has 24 registers, the budget 23" in found
    assert "calls on sm_90 has 32 bytes of stack, the budget 24" in found
    assert "helper is not in the budget (sm_90)" in found
    assert "gone is in the budget and not there (sm_90)" in found
    assert found.count("\n") == 4
    # Under another version of CUDA, numbers are not compared.
    found = "\n".join(report.problems(reports, budget, compare_numbers=False))
    assert "spills registers" in found
    assert "the budget 2" not in found


def test_budget_of_other_architectures_is_kept(tmp_path):
    reports = {"90": {"f": report.Usage(registers=8)}}
    old = {"f": {"75": [9, 0], "90": [10, 4]}, "gone": {"90": [8, 0]}}
    budget = report.new_budget(reports, old)
    assert budget == {"f": {"75": [9, 0], "90": [8, 0]}}
    report.write_budget(tmp_path / "budget.json", "13.0", budget)
    assert report.read_budget(tmp_path / "budget.json") == ("13.0", budget)


@pytest.mark.slow
def test_check_fails_where_the_budget_is_exceeded(source, tmp_path, capsys):
    budget = tmp_path / "budget.json"
    options = ("--source", source, "--architectures", "75", "90", "--budget", budget)
    assert run(*options, "--check") == 1
    assert "there is no budget" in capsys.readouterr().err
    assert run(*options, "--write") == 0
    assert run(*options, "--check") == 0
    content = json.loads(budget.read_text())
    assert set(content["kernels"]["small"]) == {"75", "90"}
    content["kernels"]["small"]["90"][0] -= 1
    budget.write_text(json.dumps(content))
    capsys.readouterr()
    assert run(*options, "--check") == 1
    error = capsys.readouterr().err
    assert "small on sm_90 has" in error
    assert "sm_75" not in error
    assert "cuda_report.py --write" in error


@pytest.mark.slow
def test_check_fails_where_the_compiler_warns(source, tmp_path, capsys):
    options = ("--source", source, "--architectures", "75", "--budget", tmp_path / "b")
    source.write_text("__global__ void small() { int unused; }\n")
    assert run(*options, "--write") == 0
    assert run(*options, "--check") == 1
    assert "warning" in capsys.readouterr().err
    source.write_text("__global__ void small() { this is no C++ }\n")
    assert run(*options, "--check") == 2
    assert "failed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_report_is_made_once(source, tmp_path, capsys):
    def compiled():
        assert run("--source", source, "--architectures", "75") == 0
        return "known" not in capsys.readouterr().out

    header = tmp_path / "header.h"
    header.write_text("")
    source.write_text(f'#include "{header}"\n{source.read_text()}')
    assert compiled()
    assert not compiled()
    source.write_text(f"{source.read_text()}\n")
    assert compiled()


def test_without_nvcc_it_says_so(monkeypatch, capsys):
    monkeypatch.delenv("CUDACXX", raising=False)
    monkeypatch.setenv("PATH", "")
    assert run("--check") == 2
    assert "set CUDACXX" in capsys.readouterr().err


@pytest.mark.slow
def test_kernels_are_within_budget_on_every_architecture(nvcc, capfd):
    assert run("--check") == 0, "".join(capfd.readouterr())


def test_module_has_the_runtime_in_it():
    """It is imported where no driver and no CUDA is installed."""
    spec = importlib.util.find_spec("keras_tally._cuda")
    if spec is None:
        support.skip_or_fail("_cuda was not built", "KERAS_TALLY_REQUIRE_NVCC")
    done = subprocess.run(
        ["readelf", "--dynamic", spec.origin],
        check=True,
        capture_output=True,
        text=True,
    )
    needed = [line for line in done.stdout.splitlines() if "(NEEDED)" in line]
    assert needed
    assert not [line for line in needed if "cuda" in line]
    importlib.import_module("keras_tally._cuda")


def test_a_missing_compiler_fails_where_it_is_required(monkeypatch):
    monkeypatch.delenv("CUDACXX", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("KERAS_TALLY_REQUIRE_NVCC", "1")
    with pytest.raises(pytest.fail.Exception, match="KERAS_TALLY_REQUIRE_NVCC"):
        support.find_nvcc()
    monkeypatch.delenv("KERAS_TALLY_REQUIRE_NVCC")
    with pytest.raises(pytest.skip.Exception):
        support.find_nvcc()
