"""The commands that show what is there: cycles, lint, report, boards, cache, doctor."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeflow.sw.cli.console import Console, table
from edgeflow.sw.cli.parameters import BuildFolder
from edgeflow.sw.cli.summaries import board_figures, board_rows, layers, linted, summary
from edgeflow.sw.files.presence import check_build
from edgeflow.sw.files.snapshot import check_folder
from edgeflow.sw.files.writing import check_writable, write_bytes

if TYPE_CHECKING:
    from rich.console import Console as RichConsole


def cycles(
    context: typer.Context,
    build: BuildFolder,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="T.json", help="Write a trace for Perfetto or chrome://tracing; .gz compresses.", show_default=False),
    ] = None,
    clock: Annotated[
        float | None, typer.Option(metavar="MHZ", min=0.001, help="Clock in MHz; the build's own by default.", show_default=False)
    ] = None,
) -> None:
    """Predict the cycles of every layer and how far off the limits they are; with --trace also as a timeline."""
    check_build(build)
    if trace is not None:
        check_writable(trace)
    import edgeflow
    from edgeflow.sim.cycles import trace_file
    from edgeflow.sw.cli.cycle_tables import predicted, prediction

    console: Console = context.obj
    report = edgeflow.cycles(edgeflow.open_build(build), clock_mhz=clock)
    document = prediction(report)
    if trace is not None:
        write_bytes(trace, trace_file(report, compressed=trace.suffix == ".gz"))
        document["trace"] = trace
    console.show(document, lambda out: predicted(out, report, trace), answer=True)


def lint(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="BUILD|FOLDER", help="Build folder, or a folder of HLS C++.", show_default=False)
    ],
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Schedule every pipelined loop instead; exit 1 where one cannot be (docs/lint.md).")
    ] = False,
    board: Annotated[
        str | None,
        typer.Option("--board", help="With --schedule: the board, instead of the part in run_hls.tcl.", show_default=False),
    ] = None,
    clock: Annotated[
        float | None,
        typer.Option("--clock", min=1.0, help="With --schedule: MHz, instead of those in run_hls.tcl.", show_default=False),
    ] = None,
) -> None:
    """Check that the HLS C++ of a build can be synthesized as it is meant; exit 1 if anything breaks a rule (docs/lint.md)."""
    check_folder(folder)
    import edgeflow

    console: Console = context.obj
    if schedule:
        from edgeflow.sw.cli.schedules import check_schedule

        check_schedule(console, folder, board, clock)
        return
    findings = edgeflow.lint(folder)
    from edgeflow.hw.lint.linter import RULES

    document = {
        "folder": folder,
        "rules": sorted(RULES),
        "findings": [{**asdict(finding), "remedy": RULES[finding.rule].remedy} for finding in findings],
    }
    console.show(document, lambda out: linted(out, findings, RULES, quiet=console.quiet), answer=True)
    if findings:
        raise typer.Exit(1)


def report(
    context: typer.Context,
    build: BuildFolder,
    per_layer: Annotated[bool, typer.Option("--layers", help="Add one line for each layer.")] = False,
) -> None:
    """Show a build's report; with --json the whole of report.json."""
    check_build(build)
    import edgeflow
    from edgeflow.sw.report import parse_report

    console: Console = context.obj
    opened = edgeflow.open_build(build)
    document = opened.report
    parse_report((opened.files / "report.json").read_bytes(), opened.folder / "report.json")

    def render(out: RichConsole) -> None:
        summary(out, opened.folder, document)
        if per_layer:
            layers(out, document)

    console.show(document, render, answer=True)


def boards(
    context: typer.Context,
    board: Annotated[str | None, typer.Argument(metavar="[BOARD]", help="One board, with its sources.", show_default=False)] = None,
) -> None:
    """List the boards that EdgeFlow knows, or show one with the source of each figure."""
    import edgeflow

    console: Console = context.obj
    names = edgeflow.boards() if board is None else (board,)
    known = [edgeflow.load_board(name) for name in names]
    documents = [one.model_dump(mode="json") for one in known]

    def render(out: RichConsole) -> None:
        if board is None:
            table(out, *board_rows(known))
        else:
            table(out, *board_figures(known[0]))

    console.show({"boards": documents} if board is None else documents[0], render, answer=True)


def cache_command(
    context: typer.Context,
    limit: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Most that it may take from now on, such as 500MB.", show_default=False)
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything that it holds.")] = False,
) -> None:
    """Show what is kept between runs (EDGEFLOW_CACHE, or ~/.cache/edgeflow), set its limit, or clear it."""
    from edgeflow.sw.cli.cache_view import draw, manage

    console: Console = context.obj
    document = manage(limit, clear)
    console.show(document, lambda out: draw(out, document), answer=True)


def doctor(context: typer.Context) -> None:
    """Check what this machine has: packages, compilers, headers and tools, and what each is for."""
    from edgeflow.sw.cli.doctor import draw, examine

    console: Console = context.obj
    findings = examine()
    healthy = all(f.present or not f.required for f in findings)
    document = {"healthy": healthy, "findings": [f.document() for f in findings]}
    console.show(document, lambda out: draw(out, findings), answer=True)
    if not healthy:
        raise typer.Exit(1)
