"""``edgeflow lint --schedule``: the schedule of every pipelined loop, as a table and a line for each thing that fails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from edgeflow.sw.cli.console import Console, facts, table

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from edgeflow.hw.schedule import Schedule


def check_schedule(console: Console, folder: Path, board: str | None, clock_mhz: float | None) -> None:
    """Schedule the loops of a build or of an ``hls`` folder, show what came of it, and exit 1 where a loop has no schedule."""
    from edgeflow.hw.boards import load_board
    from edgeflow.hw.schedule.analysis import project_target, schedule_project
    from edgeflow.hw.schedule.report import REMEDIES
    from edgeflow.sw.files.build import open_build
    from edgeflow.sw.files.snapshot import MANIFEST

    project = open_build(folder).folder / "hls" if (folder / MANIFEST).is_file() else folder
    chosen = load_board(board) if board is not None else None
    if chosen is None or clock_mhz is None:
        family, target_mhz = project_target(project)
        family = chosen.family if chosen is not None else family
        clock_mhz = target_mhz if clock_mhz is None else clock_mhz
    else:
        family = chosen.family
    result = schedule_project(project, family, clock_mhz)
    document = {"folder": folder, **result.document(), "remedies": REMEDIES}
    console.show(document, lambda out: scheduled(out, result, quiet=console.quiet), answer=True)
    if not result.passed:
        raise typer.Exit(1)


def scheduled(out: RichConsole, result: Schedule, *, quiet: bool) -> None:
    """The loops of a schedule, then what fails and what to do about it."""
    from edgeflow.hw.schedule.report import REMEDIES

    if not quiet:
        rows = [
            (
                loop.name, f"{loop.interval}", f"{loop.depth}", f"{loop.recurrence_ns / loop.interval:.2f}", loop.recurrence,
                f"{len(loop.slow)}", f"{sum(one.level == 'error' for one in loop.findings)}",
            )
            for loop in result.loops
        ]  # fmt: skip
        table(out, ("loop", ">II", ">depth", ">ns a cycle", "of", ">too slow", ">errors"), rows)
        out.print(
            f"\n{result.family} at {result.clock_mhz:g} MHz: {result.budget_ns:.2f} ns a cycle for logic; the rest is the vendor's "
            "default uncertainty\n"
        )
    for finding in result.all_findings:
        out.print(str(finding), soft_wrap=True)
    if not quiet and result.all_findings:
        out.print(f"\n{len(result.all_findings)} findings, more in docs/lint.md. What to do:")
        facts(out, [(kind, REMEDIES[kind]) for kind in sorted({finding.kind for finding in result.all_findings})])
    elif not quiet:
        out.print(f"every one of {len(result.loops)} loops has a schedule")
