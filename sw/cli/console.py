"""What the command line writes where: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from edgeflow.hw.diagnosis import printable
from edgeflow.hw.progress import STEP

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from edgeflow.hw.progress import Progress

_CUT = "\N{HORIZONTAL ELLIPSIS}"
_NAME, _TEXT = 16, 12  # columns of a terminal that names of rows, and other texts of a table, have at least
FILE_WIDTH = 160  # columns of results that do not go to a terminal


@dataclass(frozen=True)
class Console:
    """The two global options. ``quiet``: no progress and no summaries. ``as_json``: standard output is one JSON document.
    ``command``: the whole command line."""

    quiet: bool = False
    as_json: bool = False
    command: str = "edgeflow"

    def show(self, document: Mapping[str, Any], render: Callable[[RichConsole], None], *, answer: bool = False) -> None:
        """Write a command's result: ``document`` as JSON, or what ``render`` draws.

        With ``quiet`` only an ``answer``, a result that the command was called for, is drawn.
        """
        if self.as_json:
            print(json.dumps(plain(document), indent=1, allow_nan=False))
        elif answer or not self.quiet:
            from rich.console import Console as RichConsole

            render(RichConsole(highlight=False, markup=False, width=None if sys.stdout.isatty() else FILE_WIDTH))

    @contextmanager
    def progress(self) -> Iterator[Progress | None]:
        """A progress callback that draws what goes on now on a terminal's standard error, and elsewhere writes a line there for
        every step of a compilation that has ended, with its seconds; None when quiet."""
        if self.quiet:
            yield None
            return
        if not sys.stderr.isatty():
            lines = StepLines()
            yield lines
            lines.end()
            return
        from rich.console import Console as RichConsole
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        with Bars(*columns, console=RichConsole(stderr=True), transient=True) as bars:
            bar = bars.add_task("", total=None, count="")

            def report(what: str, done: int, total: int) -> None:
                share = f"{done}/{total}" if total else ""
                bars.update(bar, description=printable(what), completed=done, total=total or None, count=share)

            yield report


class StepLines:
    """A progress callback that writes a line for every step of a compilation once it has ended, for logs."""

    def __init__(self) -> None:
        self._step, self._began = "", 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        if what.startswith(STEP):
            self.end()
            self._step, self._began = what, time.perf_counter()

    def end(self) -> None:
        """The step that is under way has ended; if none is, nothing happens."""
        if self._step:
            print(f"{printable(self._step)}, {time.perf_counter() - self._began:.1f} s", file=sys.stderr, flush=True)
        self._step = ""


def plain(value: Any) -> Any:
    """The value in JSON's own types; numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def table(
    console: RichConsole,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str | None = None,
    optional: Sequence[str] = (),
) -> None:
    """Draw a table; columns whose name starts with ``>`` hold numbers, which are aligned to the right and stand in one line.

    Where it is too wide, names in the first column are :func:`shortened`, texts go over several lines, and ``optional`` columns are
    left out in this order, which a line says.
    """
    from rich import box
    from rich.table import Table

    cells = [[printable(cell) for cell in row] for row in rows]
    heads = [name.removeprefix(">").replace(" ", "\n") if name.startswith(">") else name for name in columns]
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in zip(heads, *cells, strict=True)]
    narrow = [width if name.startswith(">") else min(width, _TEXT) for width, name in zip(widths, columns, strict=True)]
    narrow[0] = min(widths[0], _NAME)
    shown = list(range(len(columns)))
    left_out: list[str] = []
    for name in optional:
        if _gaps(len(shown)) + sum(narrow[at] for at in shown) <= console.width:
            break
        left_out.append(name.removeprefix(">"))
        shown.remove(columns.index(name))
    room = console.width - _gaps(len(shown)) - sum(narrow[at] for at in shown[1:])
    grid = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for at in shown:
        if columns[at].startswith(">"):
            grid.add_column(heads[at], justify="right", no_wrap=True)
        else:
            grid.add_column(heads[at], no_wrap=not at, min_width=narrow[at], overflow="fold")
    for name, row in zip(shortened([row[0] for row in cells], max(room, _NAME)), cells, strict=True):
        grid.add_row(name, *(row[at] for at in shown[1:]))
    console.print(grid)
    if left_out:
        console.print(f"not shown in {console.width} columns: {', '.join(left_out)}; a wider terminal or --json has them")


def _gaps(columns: int) -> int:
    """Columns of a terminal that the gaps between those of a table take."""
    return 2 * columns + 1


def shortened(names: Sequence[str], width: int) -> list[str]:
    """Names of at most ``width`` columns, at least 8: of long ones the end, which tells them from others; where that is equal for
    different names, the part from the first difference on stands before it, and where that is too long, the row's number."""
    short = {name: name if len(name) <= width else f"{_CUT}{name[1 - width :]}" for name in names}
    alike: dict[str, list[str]] = {}
    for name, text in short.items():
        alike.setdefault(text, []).append(name)
    for group in alike.values():
        if len(group) > 1:
            short |= _told_apart(group, width)
    if len(set(short.values())) == len(short):
        return [short[name] for name in names]
    heads = [f"{row} {_CUT}" for row in range(1, len(names) + 1)]
    return [head + name[len(head) - width :] for head, name in zip(heads, names, strict=True)]


def _told_apart(group: Sequence[str], width: int) -> dict[str, str]:
    """Different names with equal ends, each from the start of the part in which they differ, then its end."""
    common = "".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*group, strict=False)))
    start = len(re.sub(r"[0-9]+$|[A-Za-z]+$", "", common))
    least = next(n for n in range(1, width) if n == width - 1 or len({name[start : start + n] for name in group}) == len(group))
    tail = max(width - least - 2, 0)
    return {name: f"{_CUT}{name[start : start + least]}{_CUT if tail else ''}{name[len(name) - tail :]}" for name in group}


def facts(console: RichConsole, rows: Sequence[tuple[str, str]]) -> None:
    """Draw names and values in two columns."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(printable(name), printable(value))
    console.print(grid)
