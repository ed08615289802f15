"""Which types of hw/cpp_widths.py the C++ of an operator holds values in: those of its unit's function and of all that it calls."""

from __future__ import annotations

import re
from pathlib import Path

from edgeflow.hw.cpp_widths import WIDTHS
from edgeflow.hw.ops import Operator
from edgeflow.hw.ops.base import INCLUDE

# Processes that the array's operators run in, which are functions of the same names.
PROCESSES = {
    "linear": ("load", "feed_steps", "multiply", "residual_lines", "epilogue"),
    "attention": ("load", "feed_steps", "values", "multiply", "track", "weigh", "transpose_keys", "divide", "epilogue", "outputs"),
    "layernorm": ("norm_lines", "norm_sums", "norm_statistics", "norm_write"),
}


def definitions() -> dict[str, str]:
    """The text of every structure and function of the headers, without comments, by name; those of one name together."""
    texts: dict[str, str] = {}
    for header in sorted([*(INCLUDE / "edgeflow").glob("*.hpp"), *(INCLUDE / "edgeflow" / "network").glob("*.hpp")]):
        text = re.sub(r"//.*", "", header.read_text())
        # Nothing but a definition starts in the first column and ends with a brace there.
        for match in re.finditer(
            r"^(?:template <[^>]*>\n)?(?:struct (\w+)|[A-Za-z][\w<> :]*?(\w+)\()(?:.|\n)*?^\}", text, re.MULTILINE
        ):
            name = match[1] or match[2]
            texts[name] = texts.get(name, "") + match[0]
    return texts


def types_held(cls: type[Operator]) -> set[str]:
    """Names of the types that an operator's C++ names, itself or in what it calls."""
    texts = definitions()
    reached, waiting = set[str](), [*PROCESSES.get(cls.name, (Path(cls.header).stem,))]
    types = set[str]()
    while waiting:
        name = waiting.pop()
        if name in reached:
            continue
        reached.add(name)
        types |= set(re.findall(r"\w+", texts[name]))
        calls = re.findall(r"(?<![.\w])(\w+)(?=[(<])", texts[name])
        structures = re.findall(r"\b[A-Z]\w+", texts[name])
        waiting += {*calls, *structures} & texts.keys()
    return types & {width.name for width in WIDTHS}
