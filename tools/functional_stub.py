"""Write python/keras_tally/functional.pyi: the functions, for editors and checkers.

    make docs

They are made when they are first used, of what is declared of each metric; a stub says
so to what only reads the source.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

from keras_tally import functional

STUB = Path(__file__).resolve().parent.parent / "python/keras_tally/functional.pyi"
HEADER = '''"""Metrics of one batch: see `functional.py`. Written by `make docs`."""

# ruff: noqa: E501  as long as the summaries are

from collections.abc import Sequence
from typing import Any

'''


def declaration(name: str) -> str:
    """The function's signature, and the first line of its docstring."""
    function = getattr(functional, name)
    # Annotations are strings, and shown with quotes.
    signature = re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(function)))
    (summary, *_) = inspect.getdoc(function).splitlines()
    return f'def {name}{signature}:\n    """{summary}"""\n'


def stub() -> str:
    """The whole file, as ruff formats it."""
    source = HEADER + "\n".join(map(declaration, functional.__all__))
    ruff = [sys.executable, "-m", "ruff", "format", "--stdin-filename", STUB.name, "-"]
    done = subprocess.run(
        ruff, input=source, capture_output=True, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    STUB.write_text(stub())
    print(f"written: {STUB}")
