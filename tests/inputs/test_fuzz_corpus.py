"""What fuzzers have found, and the corpora they go on from, in an ordinary build.

`make fuzz` looks for more, `make sanitize` runs these under AddressSanitizer
(docs/trust.md). A file named found-* was a finding.
"""

import warnings
from pathlib import Path

import pytest

from fuzz import arguments, byte_form

FUZZ = Path(__file__).parents[1] / "fuzz"
_fuzz_targets = pytest.importorskip("keras_tally._fuzz_targets")

TARGETS = {
    "batch": _fuzz_targets.batch,
    "expression": _fuzz_targets.expression,
    "byte_form": byte_form.run,
    "arguments": arguments.run,
}


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_passes(name):
    files = sorted((FUZZ / "corpus" / name).iterdir())
    assert len(files) > 20
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in files:
            try:
                TARGETS[name](file.read_bytes())
            except Exception as error:
                error.add_note(f"of the input {file.relative_to(FUZZ)}")
                raise
