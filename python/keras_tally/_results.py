"""From the sums to the results, in `keras.ops`: a function for each row of
`csrc/results.def`, beside the classes in `keras_tally.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

NAN = float("nan")
Options = Mapping[str, Any]
Sums = Sequence[Any]
Result = Callable[[Options, Sums], Any]

RESULTS: dict[str, Result] = {}


def in_keras_ops(name: str) -> Callable[[Result], Result]:
    """Let the decorated function compute a row of `csrc/results.def`.

    It gets what configures the metric, and the sums, float64 in the shapes of the
    variables; and returns the same numbers as the row's definition.
    """

    def register(result: Result) -> Result:
        RESULTS[name] = result
        return result

    return register


def result(name: str, options: Options, sums: Sums) -> Any:
    """Return what is made of the sums, float64 in the shapes of the variables."""
    return RESULTS[name](options, sums)
