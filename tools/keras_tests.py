"""Run Keras's own tests of metrics and trainers, without and with our classes.

    KERAS_BACKEND=torch python tools/keras_tests.py             # all of it
    KERAS_BACKEND=torch python tools/keras_tests.py trainers    # one part
    KERAS_BACKEND=torch python tools/keras_tests.py -- -k fit   # more for pytest

The tests come from Keras's source archive (the version of requirements.lock, checked
against its hash), into build/keras-tests; nothing of it is kept. What passes
with Keras's own classes must pass after `keras_tally.install()`, but for the tests that
tests/keras_own/expected.txt lists, each with the reason; and those must fail.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from install_locked import LOCK, locked, version_of

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "keras-tests"
EXPECTED = ROOT / "tests" / "keras_own"
# Folders of Keras, and which of their tests.
PARTS = {
    "metrics": "*_test.py",
    "trainers": "[ct][or][am]*_test.py",  # compile_utils and trainer
}


def fetch() -> Path:
    """Return the folder of the tests, which are fetched if they are not there."""
    entry = locked(LOCK.read_text())["keras"]
    version = version_of(entry)
    target = FOLDER / version
    if target.exists():
        return target
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(entry)
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--no-binary=:all:", "--no-build-isolation", "--dest", folder]
        subprocess.run([*command, "--require-hashes", "-r", str(wanted)], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as unpacked:
            with tarfile.open(archive) as opened:
                opened.extractall(unpacked, filter="data")
            (source,) = Path(unpacked).iterdir()
            tests = Path(unpacked, "tests")
            for part, names in PARTS.items():
                (tests / part).mkdir(parents=True)
                for path in (source / "keras" / "src" / part).glob(names):
                    path.rename(tests / part / path.name)
            tests.rename(target)
    return target


def outcomes(folder: Path, files: list[Path], installed: bool, more: list[str]) -> dict:
    """Return the outcome of each test."""
    name = "with" if installed else "without"
    report = FOLDER / f"{os.environ['KERAS_BACKEND']}-{name}.json"
    report.unlink(missing_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": str(EXPECTED),
        "KERAS_TALLY_KERAS_TESTS": str(report),
        "KERAS_TALLY_KERAS_TESTS_INSTALL": "1" if installed else "",
    }
    # Two of Keras's tests count on an own process each.
    command = [sys.executable, "-P", "-m", "pytest", "-p", "keras_own_tests", "-q"]
    command += ["-c", os.devnull, "--rootdir", str(folder), "-p", "no:cacheprovider"]
    command += ["--tb=short", "--no-header", *map(str, files), *more]
    with open(report.with_suffix(".log"), "w") as log:
        done = subprocess.run(command, env=environment, stdout=log, stderr=log)
    if done.returncode not in (0, 1) or not report.exists():
        raise SystemExit(f"pytest ended with {done.returncode}: see {log.name}")
    return json.loads(report.read_text())


def expected() -> dict[str, str]:
    """Return the tests that fail with our classes, and why."""
    found = {}
    for line in (EXPECTED / "expected.txt").read_text().splitlines():
        entry = re.fullmatch(r"(\S+)(?: \[(.*)\])?: (.*)", line)
        if line[0] != "#" and entry:
            test, backends, reason = entry.groups()
            if os.environ["KERAS_BACKEND"] in (backends or os.environ["KERAS_BACKEND"]):
                found[test] = reason
    return found


def main() -> None:
    """Compare the outcomes; end with 1 where they are not as expected."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], default=[])
    own, _, more = " ".join(sys.argv[1:]).partition("--")
    parts = parser.parse_args(own.split()).parts or list(PARTS)
    os.environ.setdefault("KERAS_BACKEND", "torch")
    folder = fetch()
    files = []
    for part in parts:
        files += sorted((folder / part).iterdir())
    theirs = outcomes(folder, files, False, more.split())
    ours = outcomes(folder, files, True, more.split())
    passed = [test for test, outcome in theirs.items() if outcome == "passed"]
    failed = [test for test in passed if ours.get(test) != "passed"]
    known = {test: why for test, why in expected().items() if test in ours}
    for test in failed:
        print(
            f"{'expected' if test in known else 'FAILED'}: {test} {known.get(test, '')}"
        )
    unexpected = [test for test in failed if test not in known]
    mended = [test for test in known if test not in failed]
    for test in mended:
        print(f"PASSES, though {EXPECTED.name} lists it: {test}")
    print(
        f"Keras's own tests on {os.environ['KERAS_BACKEND']}: {len(passed)} pass with "
        f"Keras's classes, {len(passed) - len(failed)} of them with ours; "
        f"{len(failed) - len(unexpected)} fail for the reasons listed, "
        f"{len(unexpected)} for others"
    )
    if unexpected or mended or not passed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
