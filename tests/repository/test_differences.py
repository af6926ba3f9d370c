"""docs/differences.md: every section has a snippet, and every snippet holds."""

import re
from pathlib import Path

import pytest

from support import BACKEND

PAGE = Path(__file__).resolve().parents[2] / "docs" / "differences.md"
# A section ends where the next heading starts; comments of snippets start with one "#".
SECTION = re.compile(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", re.M | re.S)
SNIPPET = re.compile(r"^Backends: ([^\n]+)\n\n```python\n(.*?)^```$", re.M | re.S)
SECTIONS = SECTION.findall(PAGE.read_text())


def snippets():
    """The snippets of this backend; one that fails to be found fails below."""
    for title, text in SECTIONS:
        for backends, code in SNIPPET.findall(text):
            if BACKEND in backends.split(", "):
                yield pytest.param(code, id=title)


@pytest.mark.parametrize(("title", "text"), SECTIONS, ids=[t for t, _ in SECTIONS])
def test_section_has_a_snippet_that_shows_both_sides(title, text):
    found = SNIPPET.findall(text)
    assert len(found) == text.count("```python") == 1, "no snippet, or no backends"
    ((backends, code),) = found
    assert set(backends.split(", ")) <= {"torch", "numpy"}
    for both in (r"\bkeras\.metrics\b", r"^[^i\n].*\bkt\b", r"^assert |^ +assert "):
        assert re.search(both, code, re.M), f"nothing matches {both}"


@pytest.mark.parametrize("code", list(snippets()))
def test_snippet_holds(code):
    exec(compile(code, str(PAGE), "exec"), {"__name__": "snippet"})
