"""Print requirements that pyproject.toml declares, one per line, for `pip install -r`.

    python tools/requirements.py build           # what building the extension needs
    python tools/requirements.py run dev bench   # to run, and two extras
    python tools/requirements.py all             # everything

It exists so that the Makefile never repeats a list of packages.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

OWN = re.compile(r"keras[-_.]tally\[(?P<extras>[^]]*)\]", re.IGNORECASE)


def known_groups() -> dict[str, list[str]]:
    """The requirements by group: to build, to run, and the extras."""
    with open(Path(__file__).resolve().parent.parent / "pyproject.toml", "rb") as f:
        declared = tomllib.load(f)
    project = declared["project"]
    return {
        "build": declared["build-system"]["requires"],
        "run": project.get("dependencies", []),
        **project.get("optional-dependencies", {}),
    }


def requirements(groups: list[str]) -> list[str]:
    """What ``groups`` ask for; extras that name other extras are expanded."""
    known = known_groups()
    found: list[str] = []
    pending = list(known) if "all" in groups else list(groups)
    while pending:
        group = pending.pop(0)
        if group not in known:
            raise SystemExit(f"{group!r} is none of: all, {', '.join(known)}")
        for requirement in known[group]:
            if own := OWN.match(requirement):
                pending += [extra.strip() for extra in own["extras"].split(",")]
            elif requirement not in found:
                found.append(requirement)
    return found


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:] or ["all"])))
