"""docs/differences.md: every section has a snippet, and every snippet holds."""

import ast
import re
from pathlib import Path

import pytest

from support import BACKEND, IS_PORTABLE

PAGE = Path(__file__).resolve().parents[2] / "docs" / "differences.md"
# A section ends where the next heading starts; comments of snippets start with one "#".
SECTION = re.compile(r"^### ([^\n]+)\n(.*?)(?=^##|\Z)", re.M | re.S)
# The backends on which Keras does what it says, and those that have no such numbers.
SNIPPET = re.compile(
    r"^Backends: ([^\n;]+)(?:; not on ([^\n]+))?\n\n```python\n(.*?)^```$", re.M | re.S
)
SECTIONS = SECTION.findall(PAGE.read_text())
BACKENDS = {"torch", "numpy", "jax", "tensorflow"}
PATHS = ("native", "fallback") if IS_PORTABLE else ("native",)


def snippets():
    """The snippets, and whether Keras is as they say on this backend."""
    for title, text in SECTIONS:
        for backends, without, code in SNIPPET.findall(text):
            if BACKEND not in without.split(", "):
                holds = BACKEND in backends.split(", ")
                yield pytest.param(code, holds, id=title)


class WithoutTheirs(ast.NodeTransformer):
    """Leaves out what is said of Keras's metric, and takes ours in its place."""

    def visit_Assert(self, node):
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        return None if any(name.startswith("theirs") for name in names) else node

    def visit_Attribute(self, node):
        if ast.unparse(node) == "keras.metrics":
            return ast.Name("kt", ast.Load())
        return self.generic_visit(node)


@pytest.mark.parametrize(("title", "text"), SECTIONS, ids=[t for t, _ in SECTIONS])
def test_section_has_a_snippet_that_shows_both_sides(title, text):
    found = SNIPPET.findall(text)
    assert len(found) == text.count("```python") == 1, "no snippet, or no backends"
    ((backends, without, code),) = found
    named = backends.split(", ") + [b for b in without.split(", ") if b]
    assert set(named) <= BACKENDS
    assert len(set(named)) == len(named)
    for both in (r"\bkeras\.metrics\b", r"^[^i\n].*\bkt\b", r"^assert |^ +assert "):
        assert re.search(both, code, re.M), f"nothing matches {both}"
    ours = ast.unparse(WithoutTheirs().visit(ast.parse(code)))
    assert "assert" in ours, "nothing is said of ours"


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("code", "holds"), list(snippets()))
def test_snippet_holds(code, holds, path, monkeypatch):
    if IS_PORTABLE:
        from keras_tally import _stored

        monkeypatch.setattr(_stored, "only_portable", path == "fallback")
    tree = ast.parse(code)
    if not holds:
        tree = ast.fix_missing_locations(WithoutTheirs().visit(tree))
    exec(compile(tree, str(PAGE), "exec"), {"__name__": "snippet"})
