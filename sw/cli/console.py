"""What the command line writes where: results on standard output, progress and errors on standard error."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeflow.hw.diagnosis import printable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from edgeflow.hw.progress import Progress

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
        """A progress callback that draws what goes on now on a terminal's standard error; None elsewhere or when quiet."""
        if self.quiet or not sys.stderr.isatty():
            yield None
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


def table(console: RichConsole, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Draw a table; columns whose name starts with ``>`` are aligned to the right."""
    from rich import box
    from rich.table import Table

    grid = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        first = not grid.columns
        grid.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold", no_wrap=first)
    for row in rows:
        grid.add_row(*map(printable, row))
    console.print(grid)


def facts(console: RichConsole, rows: Sequence[tuple[str, str]]) -> None:
    """Draw names and values in two columns."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(printable(name), printable(value))
    console.print(grid)
