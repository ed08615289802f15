"""Pragmas of emitted C++ as calls that a compiler keeps: where each stands, and what it names.

A compiler drops pragmas that it does not know. On the way into a temporary folder every line ``#pragma HLS ...`` is rewritten, in
place, so that lines keep their numbers: what says something about a loop or an object becomes a call that ``marks.h`` declares;
UNROLL becomes clang's own pragma in front of the loop; what a schedule does not depend on is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgeflow.hw.errors import InputError

PRAGMA = re.compile(r"^\s*#\s*pragma\s+HLS\s+(\w+)\b(.*?)(?://.*)?$")
OPTION = re.compile(r"(\w+)\s*=\s*(\S+)")
LOOP = re.compile(r"\b(for|while|do)\b\s*[({]")
LABEL = re.compile(r"^\s*(\w+)\s*:\s*(?:(?:for|while|do)\b.*)?$")
OBJECT_PRAGMAS = frozenset(("ARRAY_PARTITION", "ARRAY_RESHAPE", "BIND_STORAGE", "DEPENDENCE"))
KEEP_ROLLED = '_Pragma("clang loop unroll(disable)") '
UNROLL = '_Pragma("clang loop unroll(full)") '


@dataclass(frozen=True)
class Pragma:
    """One pragma: ``options`` are its ``name=value``, ``words`` its arguments without a value, all in lower case but
    ``variable``.

    ``scope``: the line on which the function begins that it stands in; ``loop``: the line of the loop in whose body it stands,
    or 0; ``label``: the label of that loop, or what stands in for one.
    """

    file: str
    line: int
    kind: str
    options: Mapping[str, str] = field(default_factory=dict)
    words: frozenset[str] = frozenset()
    scope: int = 0
    loop: int = 0
    label: str = ""

    @property
    def variable(self) -> str:
        """The object that it names, as it is written."""
        return self.options.get("variable", "")


def rewrite(text: str, file: str, pragmas: list[Pragma]) -> str:
    """Return ``text`` with calls in the place of its pragmas, which are appended to ``pragmas``: a call's number is its place
    there."""
    lines = text.split("\n")
    result = list(lines)
    scopes = _Scopes()
    for number, line in enumerate(lines, 1):
        match = PRAGMA.match(line)
        if match is None:
            scopes.read(line, number)
            continue
        kind, rest = match.group(1).upper(), match.group(2)
        options = {name.lower(): value for name, value in OPTION.findall(rest)}
        words = frozenset(word.lower() for word in OPTION.sub("", rest).split())
        loop = scopes.loop
        label = _label(lines, loop) if loop else ""
        pragma = Pragma(file, number, kind, options, words, scopes.function, loop, label)
        result[number - 1] = _call(pragma, len(pragmas))
        pragmas.append(pragma)
        if loop and kind in ("UNROLL", "PIPELINE") and "off" not in words:
            mark = UNROLL if kind == "UNROLL" else KEEP_ROLLED
            result[loop - 1] = LOOP.sub(mark + r"\g<0>", result[loop - 1], count=1)
    return "\n".join(result)


def _call(pragma: Pragma, number: int) -> str:
    if pragma.kind == "PIPELINE" and pragma.loop and "off" not in pragma.words:
        return f"edgeflow_loop({number}, {pragma.options.get('ii', '1')});"
    if pragma.kind in OBJECT_PRAGMAS and pragma.variable:
        value = pragma.options.get("distance") or pragma.options.get("factor") or "0"
        return f"edgeflow_bits::object({pragma.variable}, {number}, int({value}));"
    return ""


def _label(lines: list[str], loop: int) -> str:
    for line in (lines[loop - 1], lines[loop - 2] if loop > 1 else ""):
        match = LABEL.match(line)
        if match is not None and match.group(1) not in ("default", "public", "private"):
            return match.group(1)
    return f"line {loop}"


class _Scopes:
    """Which function and which loop a line stands in, by counting braces; strings and comments hold none that count."""

    def __init__(self) -> None:
        self.open: list[tuple[str, int]] = []  # what each open brace belongs to, and its line
        self.pending = ""
        self.pending_line = 0

    @property
    def function(self) -> int:
        return next((line for kind, line in self.open if kind == "function"), 0)

    @property
    def loop(self) -> int:
        kind, line = self.open[-1] if self.open else ("", 0)
        return line if kind == "loop" else 0

    def read(self, line: str, number: int) -> None:
        code = re.sub(r'"(?:\\.|[^"\\])*"', '""', line).split("//")[0]
        for token in re.finditer(r"[{};]|\b(?:for|while|do|namespace|struct|class|enum|union)\b|\w+\s*\(|\bextern\b", code):
            word = token.group(0)
            if word == "{":
                kind = self.pending or "block"
                self.open.append((kind, self.pending_line or number))
                self.pending, self.pending_line = "", 0
            elif word == "}":
                if self.open:
                    self.open.pop()
                self.pending, self.pending_line = "", 0
            elif word == ";":
                if self.pending != "loop":
                    self.pending, self.pending_line = "", 0
            elif word in ("namespace", "struct", "class", "enum", "union", "extern"):
                self.pending, self.pending_line = "scope", number
            elif word in ("for", "while", "do") or word.rstrip("( \t") in ("for", "while"):
                self.pending, self.pending_line = "loop", number
            elif (
                self.pending in ("", "scope")
                and not self.function
                and word.rstrip("( \t") not in ("if", "switch", "return", "sizeof")
            ):
                self.pending, self.pending_line = "function", number


def copy_sources(folder: Path, target: Path) -> list[Pragma]:
    """Copy the C++ of an HLS project into ``target``, pragmas rewritten, and return them. Files keep their places below the
    folder.

    Raises:
        InputError: a file cannot be read.
    """
    pragmas: list[Pragma] = []
    for file in sorted(_sources(folder)):
        place = file.relative_to(folder)
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{file} cannot be read: {error}") from error
        (target / place).write_text(rewrite(text, str(place), pragmas), encoding="utf-8")
    return pragmas


def _sources(folder: Path) -> Iterable[Path]:
    for file in folder.rglob("*"):
        if file.suffix in (".cpp", ".hpp", ".h") and file.is_file():
            yield file
