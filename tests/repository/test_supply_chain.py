"""What a wheel says of its contents: licences, and the bill of materials.

An editable installation has the same files; `make wheel` runs this against the wheel.
"""

import json
import re
from importlib import metadata
from pathlib import Path

import keras_tally as kt
from keras_tally import _native

ROOT = Path(__file__).resolve().parents[2]
FOUND = metadata.distribution("keras-tally")


def files(folder):
    """The files below a folder of .dist-info, by their path there."""
    found = {}
    for file in FOUND.files:
        inside = re.fullmatch(rf"[^/]+\.dist-info/{folder}/(.+)", str(file))
        if inside:
            found[inside[1]] = file.locate().read_text()
    return found


def test_licences():
    licences = files("licenses")
    assert licences["LICENSE"] == (ROOT / "LICENSE").read_text()
    assert licences["NOTICE"] == (ROOT / "NOTICE").read_text()
    assert "Wenzel Jakob" in licences["licenses/pybind11.txt"]
    assert sorted(FOUND.metadata.get_all("License-File")) == sorted(licences)
    for name in re.findall(r"licenses/\w+\.txt", licences["NOTICE"]):
        assert name in licences


def test_bill_of_materials():
    (text,) = files("sboms").values()
    bom = json.loads(text)
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    own = bom["metadata"]["component"]
    assert (own["name"], own["version"]) == ("keras-tally", kt.__version__)
    components = {c["name"]: c for c in bom["components"]}
    expected = {"pybind11", "dlpack"}
    if any("/_cuda." in str(file) for file in built_modules()):
        expected.add("cuda-runtime")
    assert set(components) == expected
    for component in components.values():
        assert re.fullmatch(r"\d+(\.\d+)+", component["version"])
        assert component["licenses"][0]["license"]
    (depends,) = bom["dependencies"]
    assert depends["ref"] == own["bom-ref"]
    references = [c["bom-ref"] for c in components.values()]
    assert depends["dependsOn"] == references


def built_modules():
    """The compiled modules, which an editable installation has elsewhere."""
    return Path(_native.__file__).parent.glob("*.so")


def test_the_notice_lists_every_component():
    notice = (ROOT / "NOTICE").read_text()
    (text,) = files("sboms").values()
    for component in json.loads(text)["components"]:
        assert re.search(rf"^{component['name']} \(", notice, re.M), component["name"]
