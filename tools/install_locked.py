"""Install what pyproject.toml asks for, each file checked against requirements.lock.

    python tools/install_locked.py                  # everything
    python tools/install_locked.py --into FOLDER run test    # two groups, elsewhere

With groups named, the packages that they need in turn are looked up in the metadata of
this Python's packages, so install everything here first.

pip takes nothing whose hash is not in the lock, with one exception. An index that you
have told pip about may offer torch in a build of its own, with a local version such as
2.13.0+cpu. PyPI cannot have such a version, so the lock cannot have its hash: torch
comes unchecked then, and a line says so. What only PyPI's torch needs (CUDA's
libraries) is left out unless that build asks for it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from requirements import requirements

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"
CONSTRAINTS = ROOT / "constraints.txt"


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> dict[str, str]:
    """The lock's entries, hashes included, by name."""
    text = re.sub(r"(?m)^#.*\n", "", text)
    found = re.findall(r"(?m)^([\w.-]+)==(.*(?:\n .*)*\n)", text)
    return {normal(name): f"{name}=={rest}" for name, rest in found}


def constrained(text: str) -> dict[str, str]:
    """The versions of constraints.txt, by name."""
    pins = re.findall(r"^([\w.-]+)==(\S+)", text, flags=re.M)
    return {normal(name): version for name, version in pins}


def closure(groups: list[str]) -> set[str]:
    """What the groups need here, directly or not."""
    from packaging.requirements import Requirement

    found: set[str] = set()
    pending = [Requirement(line) for line in requirements(groups)]
    while pending:
        wanted = pending.pop()
        name = normal(wanted.name)
        if name in found:
            continue
        found.add(name)
        for line in metadata.requires(name) or ():
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra})
                for extra in (wanted.extras or {""})
            ):
                pending.append(needed)
    return found


def main() -> None:
    """Install into this Python's environment, or into another."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", metavar="FOLDER", help="another virtual environment")
    parser.add_argument("groups", nargs="*", help="as of tools/requirements.py")
    arguments = parser.parse_args()
    python = f"{arguments.into}/bin/python" if arguments.into else sys.executable
    pip = [python, "-m", "pip", "--disable-pip-version-check"]

    entries = locked(LOCK.read_text())
    everywhere = constrained(CONSTRAINTS.read_text())
    wanted = closure(arguments.groups) if arguments.groups else set(entries)

    def install(names: set[str]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(entries[name] for name in sorted(names)))
            file.flush()
            command = [*pip, "install", "--progress-bar", "on", "--no-deps"]
            # Sources are built with what has been checked, too.
            command += ["--no-build-isolation", "--require-hashes", "-r", file.name]
            subprocess.run(command, check=True)

    torch = f"torch=={everywhere['torch']}"
    command = [*pip, "install", "--quiet", "--dry-run", "--ignore-installed"]
    command += ["--no-deps", "--report", "-", torch]
    report = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    (offered,) = json.loads(report)["install"]
    offered = offered["metadata"]["version"]
    own_build = "+" in offered
    if own_build:
        wanted &= set(everywhere) - {"torch"}

    install({"setuptools"})
    install(wanted)
    if own_build:
        print(f"== torch {offered} is not PyPI's build: its hash is not checked")
        command = [*pip, "install", "--progress-bar", "on", "-c", str(CONSTRAINTS)]
        subprocess.run([*command, f"torch=={offered}"], check=True)


if __name__ == "__main__":
    main()
