"""What every CUDA kernel needs: registers, stack, spills, shared memory.

    python tools/cuda_report.py                     # compile, and print the table
    python tools/cuda_report.py --check             # fail where the budget is exceeded
    python tools/cuda_report.py --write             # make today's numbers the budget
    python tools/cuda_report.py --architectures 75 90

It compiles csrc/cuda/kernels.cu with the nvcc of CUDACXX or PATH, for the architectures
of csrc/cuda/architectures.txt, and reads what ptxas says. No GPU is needed. The budget,
csrc/cuda/budget.json, holds registers and stack of each kernel: `--check` fails if a
kernel has more, spills registers, or is not in it, and if the compiler warns. Registers
differ from one CUDA version to another, so they are compared under the budget's own
version only; the rest is checked under any.

What has been compiled once is kept in build/cuda_report, and not compiled again until
the source, a header of ours, an option or the compiler changes.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CUDA = ROOT / "csrc" / "cuda"
CACHE = ROOT / "build" / "cuda_report"


class Failure(Exception):
    """Why there is no report."""


@dataclasses.dataclass
class Usage:
    """What one kernel, or a function that kernels call, needs on one architecture."""

    registers: int = 0  # 0: a function; its registers are its callers'
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0
    shared: int = 0


Usages = dict[str, Usage]
# By kernel and architecture: registers and stack.
Budget = dict[str, dict[str, list[int]]]


# --- ptxas's report ---

ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_\w+'")
PROPERTIES = re.compile(r"Function properties for (\S+)")
FRAME = re.compile(
    r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)
USED = re.compile(r"\bUsed (\d+) registers")
CUMULATIVE = re.compile(r"(\d+) bytes cumulative stack size")
SHARED = re.compile(r"(\d+) bytes smem")
WARNING = re.compile(r"\bwarning\b", re.IGNORECASE)


def parse(report: str) -> Usages:
    """Of each mangled name, what `ptxas -v` says."""
    found: Usages = {}
    kernel = function = ""
    for line in report.splitlines():
        if match := ENTRY.search(line):
            kernel = function = match[1]
            found.setdefault(kernel, Usage())
        elif match := PROPERTIES.search(line):
            function = match[1]
        elif match := FRAME.search(line):
            # A function appears once for each kernel that calls it.
            usage = found.setdefault(function, Usage())
            usage.stack = max(usage.stack, int(match[1]))
            usage.spill_stores = max(usage.spill_stores, int(match[2]))
            usage.spill_loads = max(usage.spill_loads, int(match[3]))
        elif match := USED.search(line):
            usage = found[kernel]
            usage.registers = int(match[1])
            if match := CUMULATIVE.search(line):
                usage.stack = max(usage.stack, int(match[1]))
            if match := SHARED.search(line):
                usage.shared = int(match[1])
    return found


def warnings_in(report: str) -> list[str]:
    """The lines with warnings of any of the compiler's passes."""
    return [line.strip() for line in report.splitlines() if WARNING.search(line)]


def short_name(name: str) -> str:
    """A demangled name without result and parameters: `void f<int>(int*)` is f<int>."""
    if name.endswith(")"):
        depth = 0
        for i in range(len(name) - 1, -1, -1):
            depth += {")": 1, "(": -1}.get(name[i], 0)
            if depth == 0:
                name = name[:i]
                break
    return name.removeprefix("void ")


def demangle(reports: dict[str, Usages]) -> dict[str, Usages]:
    """The reports by readable names, which are full where short ones are not unique."""
    mangled = sorted({name for usages in reports.values() for name in usages})
    tool = shutil.which("c++filt")
    if tool is None:
        raise Failure("c++filt, which comes with g++ in binutils, is not in PATH")
    done = subprocess.run(
        [tool], input="\n".join(mangled), capture_output=True, text=True, check=True
    )
    full = dict(zip(mangled, done.stdout.splitlines(), strict=True))
    short = {name: short_name(text) for name, text in full.items()}
    taken = list(short.values())
    names = {n: s if taken.count(s) == 1 else full[n] for n, s in short.items()}
    return {
        architecture: {names[name]: usage for name, usage in usages.items()}
        for architecture, usages in reports.items()
    }


# --- compiling ---


def read_list(path: Path) -> list[str]:
    """The lines of a file that are not comments."""
    lines = path.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


class Compiler:
    """nvcc, and what it was asked to compile."""

    def __init__(self, source: Path) -> None:
        found = os.environ.get("CUDACXX") or shutil.which("nvcc")
        if not found:
            raise Failure("no nvcc: set CUDACXX, or put it into PATH")
        self.nvcc = found
        self.source = source
        self.flags = ["-std=c++20", *read_list(CUDA / "nvcc_flags.txt")]
        self.about = self.run("--version")
        release = re.search(r"release (\d+\.\d+)", self.about)
        if not release:
            raise Failure(f"{self.nvcc} is not nvcc: {self.about}")
        self.version = release[1]
        self.known = re.findall(r"\bsm_(\d+)\b", self.run("--list-gpu-code"))

    def run(self, *arguments: str) -> str:
        try:
            done = subprocess.run(
                [self.nvcc, *arguments], capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise Failure(f"{self.nvcc} cannot be run: {error}") from None
        if done.returncode:
            raise Failure(f"{self.nvcc} failed:\n{done.stderr}{done.stdout}")
        return done.stderr + done.stdout

    def key(self, architecture: str) -> str:
        """Names everything that the report of this architecture depends on."""
        rule = self.run(*self.flags, "-M", str(self.source))
        files = shlex.split(rule.partition(" : ")[2].replace("\\\n", " "))
        ours = sorted({Path(f).resolve() for f in files})
        ours = [f for f in ours if f.is_relative_to(ROOT) or f == self.source.resolve()]
        if self.source.resolve() not in ours:
            raise Failure(f"{self.nvcc} -M says something unexpected:\n{rule}")
        digest = hashlib.sha256()
        facts = [__doc__ or "", self.nvcc, self.about, *self.flags, architecture]
        for part in [*(f.encode() for f in facts), *(f.read_bytes() for f in ours)]:
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()[:32]

    def report(self, architecture: str) -> tuple[str, float]:
        """What ptxas says, and the seconds it took (0 if it was known)."""
        known = CACHE / f"{self.key(architecture)}.txt"
        if known.exists():
            return known.read_text(), 0.0
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            text = self.run(
                *self.flags,
                f"-gencode=arch=compute_{architecture},code=sm_{architecture}",
                "--resource-usage",
                "-cubin",
                "-o",
                str(Path(folder) / "kernels.cubin"),
                str(self.source),
            )
        CACHE.mkdir(parents=True, exist_ok=True)
        part = known.with_suffix(f".{os.getpid()}.part")
        part.write_text(text)
        part.replace(known)
        return text, time.perf_counter() - start


def compile_all(
    compiler: Compiler, architectures: Sequence[str], jobs: int
) -> dict[str, str]:
    """What the compiler says of each architecture."""
    reports: dict[str, str] = {}
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = {pool.submit(compiler.report, a): a for a in architectures}
        try:
            for done in concurrent.futures.as_completed(pending):
                architecture = pending[done]
                text, seconds = done.result()
                reports[architecture] = text
                print(
                    f"[{len(reports)}/{len(architectures)}] sm_{architecture}: "
                    f"{len(ENTRY.findall(text))} kernels, "
                    + (f"{seconds:.1f} s" if seconds else "known"),
                    flush=True,
                )
        except Failure:
            pool.shutdown(cancel_futures=True)
            raise
    return {a: reports[a] for a in architectures}


# --- the budget ---


def read_budget(path: Path) -> tuple[str, Budget]:
    """The CUDA version it was written under, and the budget."""
    if not path.exists():
        return "", {}
    content = json.loads(path.read_text())
    return content["cuda"], content["kernels"]


def write_budget(path: Path, version: str, budget: Budget) -> None:
    """One line for each kernel."""
    lines = [
        f"    {json.dumps(kernel)}: {json.dumps(budget[kernel])}"
        for kernel in sorted(budget)
    ]
    about = json.dumps("of each architecture: registers, bytes of stack")
    path.write_text(
        f'{{\n  "about": {about},\n  "cuda": {json.dumps(version)},\n'
        '  "kernels": {\n' + ",\n".join(lines) + "\n  }\n}\n"
    )


def new_budget(reports: dict[str, Usages], old: Budget) -> Budget:
    """What was measured, and of architectures that were not, what was known."""
    measured = {kernel for usages in reports.values() for kernel in usages}
    budget: Budget = {}
    for kernel in sorted(measured.union(old)):
        numbers = {a: n for a, n in old.get(kernel, {}).items() if a not in reports}
        for architecture, usages in reports.items():
            if usage := usages.get(kernel):
                numbers[architecture] = [usage.registers, usage.stack]
        if numbers:
            budget[kernel] = {a: numbers[a] for a in sorted(numbers, key=int)}
    return budget


def problems(
    reports: dict[str, Usages], budget: Budget, compare_numbers: bool = True
) -> list[str]:
    """What `--check` complains about."""
    found = []
    measured = {kernel for usages in reports.values() for kernel in usages}
    for kernel in sorted(measured.union(budget)):
        allowed = budget.get(kernel, {})
        usages = {
            a: report[kernel] for a, report in reports.items() if kernel in report
        }
        if missing := ", ".join(f"sm_{a}" for a in usages if a not in allowed):
            found.append(f"{kernel} is not in the budget ({missing})")
        gone = [f"sm_{a}" for a in reports if a in allowed and a not in usages]
        if gone:
            found.append(f"{kernel} is in the budget and not there ({', '.join(gone)})")
        for architecture, usage in usages.items():
            what = f"{kernel} on sm_{architecture}"
            if usage.spill_stores or usage.spill_loads:
                found.append(
                    f"{what} spills registers ({usage.spill_stores} bytes stored, "
                    f"{usage.spill_loads} loaded)"
                )
            if architecture not in allowed or not compare_numbers:
                continue
            registers, stack = allowed[architecture]
            if usage.registers > registers:
                found.append(
                    f"{what} has {usage.registers} registers, the budget {registers}"
                )
            if usage.stack > stack:
                found.append(
                    f"{what} has {usage.stack} bytes of stack, the budget {stack}"
                )
    return found


def table(reports: dict[str, Usages]) -> str:
    """A line for each kernel, a column for each architecture."""
    lines = ["registers, +bytes of stack, !bytes spilled; static shared memory; kernel"]
    lines.append("".join(f"{'sm_' + a:>12}" for a in reports) + f"{'shared':>9}")
    for kernel in sorted({name for usages in reports.values() for name in usages}):
        cells = []
        shared = 0
        for usages in reports.values():
            usage = usages.get(kernel)
            cell = "-"
            if usage:
                shared = max(shared, usage.shared)
                spilled = usage.spill_stores + usage.spill_loads
                cell = str(usage.registers)
                cell += f"+{usage.stack}" if usage.stack else ""
                cell += f"!{spilled}" if spilled else ""
            cells.append(f"{cell:>12}")
        lines.append("".join(cells) + f"{shared:>9}  {kernel}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0],
        epilog="The top of tools/cuda_report.py says more.",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--check", action="store_true", help="fail where it is exceeded"
    )
    action.add_argument("--write", action="store_true", help="write the budget")
    parser.add_argument(
        "--architectures", nargs="+", metavar="XX", help="these only, such as 75 90"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time"
    )
    parser.add_argument("--budget", type=Path, default=CUDA / "budget.json")
    parser.add_argument("--source", type=Path, default=CUDA / "kernels.cu")
    options = parser.parse_args(arguments)

    try:
        compiler = Compiler(options.source)
        wanted = options.architectures or read_list(CUDA / "architectures.txt")
        unknown = [a for a in wanted if a not in compiler.known]
        if unknown:
            text = f"CUDA {compiler.version} does not know {', '.join(unknown)}"
            if options.architectures:
                raise Failure(text)
            print(f"{text}: left out")
        wanted = [a for a in wanted if a not in unknown]
        print(
            f"compiling {options.source.name} for {len(wanted)} architectures with "
            f"{compiler.nvcc} (CUDA {compiler.version})",
            flush=True,
        )
        texts = compile_all(compiler, wanted, max(1, options.jobs))
        reports = demangle({a: parse(text) for a, text in texts.items()})
        found = [f"sm_{a}: {w}" for a, text in texts.items() for w in warnings_in(text)]
        print(table(reports))
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        return 2

    version, budget = read_budget(options.budget)
    if options.write:
        write_budget(options.budget, compiler.version, new_budget(reports, budget))
        print(f"wrote {options.budget}")
        found += problems(reports, read_budget(options.budget)[1])
    elif options.check:
        same = version == compiler.version
        if not budget:
            found.append(f"there is no budget: {options.budget}")
        elif not same:
            print(
                f"registers and stack are not compared: the budget is of CUDA {version}"
            )
        found += problems(reports, budget, compare_numbers=same)
    for line in found:
        print(f"error: {line}" if options.check else f"note: {line}", file=sys.stderr)
    if found and options.check:
        print(
            "error: if more is what we want: python tools/cuda_report.py --write",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
