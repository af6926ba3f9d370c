"""The generated page is complete and up to date, and so is every docstring."""

import importlib.util
import inspect
import operator
import re
from pathlib import Path

import keras
import pytest

import keras_tally as kt
from keras_tally import _native

ROOT = Path(__file__).resolve().parents[2]
# `Metric` computes nothing by itself.
PUBLIC = [
    name for name in kt.__all__ if callable(getattr(kt, name)) and name != "Metric"
] + [
    f"{module}.{name}"
    for module in ("callbacks", "engine", "functional")
    for name in getattr(kt, module).__all__
]
CLASSES = [
    name
    for name in PUBLIC
    if isinstance(getattr(kt, name, None), type)
    and name not in ("MetricGroup", "ElementwiseMetric")
]


def tool(name):
    """A file of tools/ as a module."""
    path = ROOT / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def metrics_page():
    return tool("metrics_page")


@pytest.mark.parametrize("name", CLASSES)
def test_row_of_every_class_is_complete(name, metrics_page):
    row = metrics_page.describe(name, getattr(kt, name))
    assert all(row.values()), row
    executors = {kernel["executor"] for kernel in _native.kernels()}
    assert set(row["loop"].split(", ")) <= executors
    assert (row["in Keras"] == "none") == (not hasattr(keras.metrics, name))
    assert re.search(r"`\w+` (\(|scalar)", row["state"])


@pytest.mark.skipif(
    keras.config.backend() != "numpy", reason="the page is that of the NumPy backend"
)
def test_page_is_up_to_date(metrics_page):
    assert metrics_page.PAGE.read_text() == metrics_page.page(), "run `make docs`"


def test_stub_is_up_to_date():
    stub = tool("functional_stub")
    assert stub.STUB.read_text() == stub.stub(), "run `make docs`"


@pytest.mark.parametrize("name", PUBLIC)
def test_docstring_is_complete(name):
    item = operator.attrgetter(name)(kt)
    assert item.__doc__, "no docstring of its own"
    text = inspect.getdoc(item)
    summary, _, rest = text.partition("\n")
    assert summary.endswith("."), f"no summary in one line: {summary}"
    assert rest.startswith("\n")
    assert re.search(r"^>>> ", text, re.M), "no example"
    sections = ["Formula", "Shapes and dtypes", "Raises", "Source"]
    has_formula = name in CLASSES or name.startswith("functional.")
    for section in sections if has_formula else []:
        assert re.search(rf"^{section}[:,]", text, re.M), f"no section {section}"
    arguments = re.search(r"^Args:\n((?:    .*\n?|\n)*)", text, re.M)
    for parameter in inspect.signature(item).parameters.values():
        stars = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}
        entry = re.escape(stars.get(parameter.kind, "") + parameter.name)
        assert arguments, "no section Args"
        found = re.search(rf"^    {entry}( \(.+\))?: ", arguments[1], re.M)
        assert found, f"{parameter.name} is not documented"
        # Classes and functions of metrics say the types, which they have from the code.
        if has_formula and "*" not in entry and parameter.annotation != "Any":
            assert found[1] == f" ({parameter.annotation})"
