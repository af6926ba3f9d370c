"""Every snippet of the documentation runs, and every command in it exists."""

import re
from pathlib import Path

import pytest

import processes

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def blocks(*languages):
    for page in PAGES:
        if page.name == "differences.md":
            continue  # test_differences.py runs its snippets, where each belongs
        text = page.read_text()
        for found in FENCE.finditer(text):
            if found[1] in languages:
                line = text.count("\n", 0, found.start()) + 1
                yield pytest.param(found[2], id=f"{page.name}:{line}")


@pytest.mark.torch_only
@pytest.mark.parametrize("code", list(blocks("python")))
def test_snippet_runs(code, tmp_path):
    status, output = processes.run_code(code, tmp_path)
    assert status == 0, output


def test_every_block_says_its_language():
    for page in PAGES:
        for found in FENCE.finditer(page.read_text()):
            assert found[1] in ("python", "sh", "text", "diff"), (
                f"{page.name}: {found[0][:60]}"
            )


@pytest.mark.parametrize("text", list(blocks("sh")))
def test_commands_exist(text):
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", text, re.M):
        assert re.search(rf"^{target}:", makefile, re.M), f"no target {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
