"""Docstrings of metrics: one for each, in its class, from which others are made.

Its parts are a summary, "Formula", "Shapes and dtypes", "Differences from Keras",
"Args", "Raises", "Example" and "Source", with an empty line between them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_tally._declare import Metric

_TITLES = (
    "Formula",
    "Shapes and dtypes",
    "Differences from Keras",
    "Args",
    "Raises",
    "Example",
    "Source",
)
_ARGUMENT = re.compile(r"^    (\w+): ", re.MULTILINE)


def parts_of(doc: str) -> dict[str, str]:
    """Return the parts of a docstring by their titles; the summary is at ""."""
    parts, title = {"": ""}, ""
    for paragraph in inspect.cleandoc(doc).split("\n\n"):
        starts = re.match(rf"({'|'.join(_TITLES)})(?=[:,])", paragraph)
        if starts:
            title = starts[1]
            parts[title] = paragraph
        else:
            parts[title] = f"{parts[title]}\n\n{paragraph}".strip("\n")
    return parts


def arguments_of(part: str) -> dict[str, str]:
    """Return the entries of the part "Args" by their names."""
    found = _ARGUMENT.split(part)[1:]
    return dict(zip(found[::2], (text.rstrip() for text in found[1::2]), strict=True))


def argument_lines(
    parameters: Iterable[inspect.Parameter], texts: dict[str, str]
) -> str:
    """Return the part "Args" for these parameters, with their types."""
    return "\n".join(f"    {p.name}{_type_of(p)}: {texts[p.name]}" for p in parameters)


def _type_of(parameter: inspect.Parameter) -> str:
    shown = parameter.annotation
    if shown in (parameter.empty, "Any"):
        return ""
    return f" ({shown})"


_INPUTS = {
    "y_true": "the ground truth.",
    "y_pred": "the predictions.",
    "values": "a tensor of any shape.",
    "sample_weight": "optional weights.",
}


def function_doc(
    metric: Metric,
    inputs: Sequence[inspect.Parameter],
    options: Sequence[inspect.Parameter],
) -> str:
    """Return the docstring of a metric's function, made of the class's."""
    parts = parts_of(metric.doc)
    summary = parts[""]
    twin = f"`keras_tally.{metric.class_name}`"
    shapes = f"inputs as {twin} takes them"
    if metric.class_name is None:
        shapes = parts["Shapes and dtypes"].partition(": ")[2].rstrip(".")
    elif metric.depends_on_columns:
        shapes += " (a vector is one column)"
    dtypes = "bool, integer or float; the result is float64 where the predictions are"
    known = {**_INPUTS, **arguments_of(parts.get("Args", ""))}
    unlisted = {p.name: p.replace(annotation=p.empty) for p in inputs}
    source = f"Source: {twin}." if metric.class_name else parts["Source"]
    return f"""Return {summary[0].lower()}{summary[1:]}

{parts["Formula"]}

Shapes and dtypes: {shapes},
{dtypes}, and float32 otherwise.

Args:
{argument_lines([*unlisted.values(), *options], known)}

Returns:
    The value, a tensor of the framework of the predictions.

Raises:
    ValueError: shapes, weights, labels or values of arguments that do not fit.
    TypeError: an input that is no tensor of an accepted dtype, or that is traced by
        `torch.func`; an argument that there is not.

{_function_example(metric.name, parts["Example"])}

{source}
"""


def _function_example(name: str, part: str) -> str:
    """Return the first example of a class as one of its function."""
    made = re.search(r"^>>> m = kt\.\w+\((.*)\)$", part, re.MULTILINE)
    given = re.search(r"^>>> m\.update_state\((.*)\)$", part, re.MULTILINE)
    read = re.search(r"^>>> .*m\.result\(\).*\n.*$", part, re.MULTILINE)
    if not (made and given and read):
        return part
    before = part[: made.start()].replace(
        "import keras_tally as kt", "from keras_tally import functional as F"
    )
    between = part[made.end() + 1 : given.start()]
    arguments = ", ".join(filter(None, (given[1], made[1])))
    return f"{before}{between}>>> value = F.{name}({arguments})\n" + read[0].replace(
        "m.result()", "value"
    )


def with_types(cls: Any) -> str:
    """Return the docstring of a class, with the types of its arguments."""
    known = inspect.signature(cls.__init__).parameters

    def with_type(found: re.Match[str]) -> str:
        name = found[1]
        return f"    {name}{_type_of(known[name])}: " if name in known else found[0]

    doc = inspect.cleandoc(cls.__doc__ or "")
    start, end = doc.find("\nArgs:\n"), doc.find("\n\nRaises:")
    if start < 0:
        return doc
    return doc[:start] + _ARGUMENT.sub(with_type, doc[start:end]) + doc[end:]
