"""``edgeflow compare``: builds beside one another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeflow.sw.cli.console import Console, facts, table
from edgeflow.sw.files.presence import check_build
from edgeflow.sw.files.writing import check_writable, write_bytes

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from edgeflow.sw.report.comparison import Comparison
    from edgeflow.sw.report.comparison_text import Strip

BLOCKS, PLAIN = " ▁▂▃▄▅▆▇█", " .:-=+*%#"  # blank, then rising; the latter where the terminal has no such characters
HEAT = ("grey50", "blue", "cyan", "green", "yellow", "dark_orange", "red", "red")  # of a column, from low to high
COLUMNS = 76  # of a strip, at most
WIDE = 80  # columns that a table may take


def compare(
    context: typer.Context,
    builds: Annotated[
        list[Path], typer.Argument(metavar="BUILD...", help="Build folders that compile wrote, two or more.", show_default=False)
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Write the comparison as a page, too.", show_default=False)
    ] = None,
) -> None:
    """Compare builds: figures, resources, bits, cycles and error by layer, changed options, and which is better in everything."""
    for build in builds:
        check_build(build)
    if html is not None:
        check_writable(html)
    import edgeflow

    console: Console = context.obj
    comparison = edgeflow.compare(*builds)
    document = comparison.document()
    if html is not None:
        write_bytes(html, comparison.html().encode())
        document["html"] = html
    console.show(document, lambda out: draw(out, comparison, html), answer=True)


def draw(out: RichConsole, comparison: Comparison, html: Path | None = None) -> None:
    """The comparison for a terminal, within 80 columns."""
    from edgeflow.sw.report.comparison_text import against_first, setting, strips, verdicts

    facts(out, [(b.label, f"{b.folder}: {b.report.model} on {b.report.board}") for b in comparison.builds])
    _figures(out, comparison)
    for strip in strips(comparison):
        _strip(out, comparison.labels, strip)
    if comparison.options:
        lines = [(o.name, *map(setting, o.values)) for o in comparison.options]
        _wide_table(out, ("changed option", *comparison.labels), lines)
    rows = [("difference", text) for text in against_first(comparison)]
    rows += [("front", text) for text in verdicts(comparison)]
    rows += [("note", text) for text in comparison.notes]
    rows += [("written to", str(html))] if html is not None else []
    facts(out, rows)


def _figures(out: RichConsole, comparison: Comparison) -> None:
    """Builds in columns; the best figure of a row is marked."""
    from edgeflow.sw.report.comparison_text import figures

    lines = figures(comparison)
    rows = [(f.name, *(f"{text}{' *' if i in f.best else '  '}" for i, text in enumerate(f.texts))) for f in lines]
    _wide_table(out, ("predicted; * is the best", *(f">{label}  " for label in comparison.labels)), rows)


def _wide_table(out: RichConsole, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of builds in columns; those that do not fit stand in a further one below."""
    widths = [max(len(column.removeprefix(">")), *(len(row[i]) for row in rows)) + 2 for i, column in enumerate(columns)]
    room = max(WIDE - widths[0], 0)
    parts: list[list[int]] = [[]]
    for i in range(1, len(columns)):
        if parts[-1] and sum(widths[j] for j in (*parts[-1], i)) > room:
            parts.append([])
        parts[-1].append(i)
    for part in parts:
        table(out, [columns[j] for j in (0, *part)], [[row[j] for j in (0, *part)] for row in rows])


def _strip(out: RichConsole, labels: Sequence[str], strip: Strip) -> None:
    """A line for every build, a character for every layer, or for neighbours where there are more layers than columns."""
    from rich.text import Text

    count = len(strip.values[0])
    width = min(count, COLUMNS)
    bins = [range(i * count // width, (i + 1) * count // width) for i in range(width)]
    lines = [[_joined(strip, [values[j] for j in places]) for places in bins] for values in strip.values]
    known = [value for line in lines for value in line if value is not None]
    low, high = (0.0 if strip.kind == "cycles" else min(known)), max(known)
    marks = BLOCKS if out.encoding.lower().startswith("utf") else PLAIN
    several = "a column each" if width == count else f"{count / width:.1f} to a column"
    out.print(f"{strip.kind} by layer ({count} layers, {several}; {_scale(strip, low, high, marks)})", soft_wrap=True)
    for label, line in zip(labels, lines, strict=True):
        text = Text(f"{label}  ")
        for value in line:
            if value is None:
                text.append(" ")
            elif strip.unit == "bits":
                text.append(f"{value:.0f}" if value < 10 else "+", style=HEAT[min(int(value) // 2, 7)])
            else:
                share = (value - low) / (high - low) if high > low else 1.0
                level = 1 + round((len(HEAT) - 1) * (1 - share if strip.kind == "error" else share))
                text.append(marks[level], style=HEAT[level - 1])
        out.print(text, soft_wrap=True)
    out.print()


def _joined(strip: Strip, values: Sequence[float | None]) -> float | None:
    """One value for neighbouring layers: cycles together, else the fewest bits, the largest error."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return sum(known) if strip.kind == "cycles" else min(known)


def _scale(strip: Strip, low: float, high: float, marks: str) -> str:
    if strip.unit == "bits":
        return "+ is 10 or more" if high >= 10 else "blank: none"
    if strip.kind == "cycles":
        return f"{marks[-1]} is {high:,.0f}"
    return f"{marks[-1]} is {low:.0f} dB, {marks[1]} is {high:.0f} dB"
