"""What fuzzers have found, and the corpora they go on from, in an ordinary build.

`make fuzz` looks for more, `make sanitize` runs these under AddressSanitizer
(docs/trust.md). A file named found-* was a finding.
"""

import warnings

import pytest

from fuzz import archive, arguments, byte_form

_fuzz_targets = pytest.importorskip("keras_tally._fuzz_targets")

TARGETS = {
    "batch": _fuzz_targets.batch,
    "expression": _fuzz_targets.expression,
    "byte_form": byte_form.run,
    "arguments": arguments.run,
}


@pytest.mark.parametrize("fuzzer", TARGETS)
def test_the_corpus_passes(fuzzer):
    inputs = archive.inputs(fuzzer)
    assert len(inputs) > 20
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, data in inputs.items():
            try:
                TARGETS[fuzzer](data)
            except Exception as error:
                error.add_note(f"of the input {name} of {fuzzer}.zip")
                raise
