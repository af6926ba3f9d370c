"""Install what pyproject.toml asks for, each file checked against requirements.lock.

    python tools/install_locked.py build run demo cmake     # three groups and a package
    python tools/install_locked.py --into FOLDER run test   # elsewhere

What is there in the right version already is left alone. The packages asked for come
first, then those that these need by their own metadata, and so on: no package comes
that nothing asked for.

pip takes nothing whose hash is not in the lock, with one exception. An index that you
have told pip about may offer torch in a build of its own, with a local version such as
2.13.0+cpu. PyPI cannot have such a version, so the lock cannot have its hash: torch
comes unchecked then, and a line says so.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from requirements import known_groups, requirements

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock"


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


def version_of(entry: str) -> str:
    """The version that an entry of the lock asks for."""
    return re.match(r"[^=]+==([^\s;]+)", entry)[1]  # type: ignore[index]


class Environment:
    """A Python environment that is filled from the lock."""

    def __init__(self, folder: str | None) -> None:
        self.python = f"{folder}/bin/python" if folder else sys.executable
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        command = [self.python, "-c", code]
        self.packages = subprocess.check_output(command, text=True).strip()
        self.locked = locked(LOCK.read_text())

    def pip(self, *arguments: str, **options: object) -> subprocess.CompletedProcess:
        """Run pip there."""
        command = [self.python, "-m", "pip", "--disable-pip-version-check", *arguments]
        return subprocess.run(command, check=True, **options)  # type: ignore

    def installed(self) -> dict[str, metadata.Distribution]:
        """What is there, by name."""
        found = metadata.distributions(path=[self.packages])
        return {normal(package.metadata["Name"]): package for package in found}

    def install(self, names: Iterable[str]) -> None:
        """Install packages, and nothing that they need."""
        # In whatever build: the lock has no local versions.
        there = {n: p.version.partition("+")[0] for n, p in self.installed().items()}
        entries = {name: self.locked[name] for name in names}
        entries = {n: e for n, e in entries.items() if there.get(n) != version_of(e)}
        # Python compiles what is imported; most modules never are.
        options = ("--progress-bar", "on", "--no-compile", "--no-deps")
        options += ("--no-build-isolation",)
        if "torch" in entries:
            version = self.torch_offered(f"torch=={version_of(entries['torch'])}")
            if "+" in version:
                print(f"== torch {version} is not PyPI's build: its hash is unchecked")
                del entries["torch"]
                self.pip("install", *options, f"torch=={version}")
        if not entries:
            return
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("".join(entries[name] for name in sorted(entries)))
            file.flush()
            # Sources are built with what has been checked, too.
            self.pip("install", *options, "--require-hashes", "-r", file.name)

    def torch_offered(self, torch: str) -> str:
        """Return the version, local part included, that pip would take."""
        report = self.pip(
            *("install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"),
            *("--report", "-", torch),
            stdout=subprocess.PIPE,
        ).stdout
        (offered,) = json.loads(report)["install"]
        version: str = offered["metadata"]["version"]
        return version

    def install_all(self, wanted: list[str]) -> None:
        """Install packages, then what they need, until nothing is missing."""
        self.install(["packaging"])  # reads the requirements below
        from packaging.requirements import Requirement

        done: set[tuple[str, frozenset[str]]] = set()
        layer = [Requirement(line) for line in wanted]
        while layer:
            self.install({normal(requirement.name) for requirement in layer})
            installed = self.installed()
            found = []
            for requirement in layer:
                name = normal(requirement.name)
                key = (name, frozenset(requirement.extras))
                if key in done:
                    continue
                done.add(key)
                needed = map(Requirement, installed[name].requires or ())
                extras = requirement.extras or {""}
                found += [
                    other
                    for other in needed
                    if other.marker is None
                    or any(other.marker.evaluate({"extra": e}) for e in extras)
                ]
            layer = found


def main() -> None:
    """Install into this Python's environment, or into another."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--into", metavar="FOLDER", help="another virtual environment")
    parser.add_argument(
        "wanted", nargs="+", help="groups, as of tools/requirements.py, and packages"
    )
    arguments = parser.parse_args()
    environment = Environment(arguments.into)
    groups = [name for name in arguments.wanted if name in ("all", *known_groups())]
    packages = [name for name in arguments.wanted if name not in groups]
    for name in packages:
        if normal(name) not in environment.locked:
            parser.error(f"{name!r} is neither a group nor in requirements.lock")
    environment.install_all([*packages, *requirements(groups)])


if __name__ == "__main__":
    main()
