"""The fuzzers' corpora: an archive for each, unpacked on use.

    python archive.py unpack FOLDER       # each into FOLDER/<fuzzer>
    python archive.py pack FUZZER FOLDER  # the files of FOLDER as that fuzzer's

A file named found-* was a finding.
"""

import shutil
import sys
import zipfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def inputs(fuzzer):
    """The inputs of the fuzzer's corpus, by name."""
    with zipfile.ZipFile(CORPUS / f"{fuzzer}.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def unpack(folder):
    """Write every corpus into a folder of its own, in place of what is there."""
    for archive in sorted(CORPUS.glob("*.zip")):
        target = Path(folder, archive.stem)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name, data in inputs(archive.stem).items():
            (target / name).write_bytes(data)


def pack(fuzzer, folder):
    """Make the files of the folder the fuzzer's corpus: equal files, equal bytes."""
    CORPUS.mkdir(exist_ok=True)
    with zipfile.ZipFile(CORPUS / f"{fuzzer}.zip", "w") as archive:
        for path in sorted(Path(folder).iterdir()):
            # No time of day and no rights of this machine.
            entry = zipfile.ZipInfo(path.name)
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


if __name__ == "__main__":
    {"unpack": unpack, "pack": pack}[sys.argv[1]](*sys.argv[2:])
