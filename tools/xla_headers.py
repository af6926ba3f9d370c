"""Fetch XLA's headers for foreign functions, of the oldest jaxlib that we support.

    python tools/xla_headers.py build/xla

They come in jaxlib's wheel, any one of it; jaxlib itself is not installed. Handlers
built against old headers run under all later versions, and not the other way round.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OLDEST = "jaxlib==0.4.36"
# Of that one wheel; requirements.lock has those of what is installed.
HASH = "sha256:be295abc209c980817db0488f21f1fbc0644f87326522895e2b9b64729106357"
INSIDE = "jaxlib/include/"
FOLDER = INSIDE + "xla/ffi/api/"


def fetch(target: Path) -> None:
    """Put the headers below `target`."""
    with tempfile.TemporaryDirectory() as folder:
        # The headers are the same in all wheels: not every Python has one.
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--dest",
            folder,
        ]
        command += ["--disable-pip-version-check", "--progress-bar", "on"]
        command += ["--only-binary=:all:", "--python-version", "3.12"]
        command += ["--platform", "manylinux2014_x86_64"]
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{OLDEST} --hash={HASH}\n")
        subprocess.run([*command, "--require-hashes", "-r", str(wanted)], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(FOLDER)]
            for name in names:
                path = target / name.removeprefix(INSIDE)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
    print(f"{len(names)} headers of {OLDEST} are in {target}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    fetch(Path(sys.argv[1]))
