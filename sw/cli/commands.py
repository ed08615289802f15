"""The commands of ``edgeflow``. Each one reads its options, calls the public API and shows the result."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeflow.sw.cli.comparing import compare
from edgeflow.sw.cli.console import Console
from edgeflow.sw.cli.making import check, compile_model, explore, finetune
from edgeflow.sw.cli.running import export, simulate, verify
from edgeflow.sw.cli.showing import boards, cache_command, cycles, doctor, lint, report

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Take a trained transformer (ONNX) to an FPGA accelerator: quantize, compile, prove it bit-exact, predict its speed.",
    epilog="--quiet and --json may stand before or after any command. Exit status: 0 done, 1 a check failed, 2 the input is wrong.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        print(f"edgeflow {metadata.version('edgeflow')}")
        raise typer.Exit


@app.callback()
def common(
    context: typer.Context,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars and no summaries.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write the result, or the error, as one JSON document.")] = False,
    version: Annotated[  # noqa: ARG001 (its callback does the work)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""
    context.obj = Console(quiet, as_json, command=context.obj or "edgeflow")


app.command(name="compile", short_help="Compile a model for a board.")(compile_model)
app.command(short_help="Say whether a model can be compiled.")(check)
app.command(short_help="Fine-tune a model at the bits it is to have.")(finetune)
app.command(short_help="Sweep accelerators for a model and draw the Pareto front.")(explore)
app.command(short_help="Prove that NumPy and C++ agree, word by word.")(verify)
app.command(short_help="Run a build on inputs of your own.")(simulate)
app.command(short_help="Write the quantized model as ONNX for other tools.")(export)
app.command(short_help="Predict the cycles of every layer.")(cycles)
app.command(short_help="Check that the HLS C++ can be synthesized.")(lint)
app.command(short_help="Show a build's report.")(report)
app.command(short_help="Compare builds with one another.")(compare)
app.command(short_help="List the boards EdgeFlow knows.")(boards)
app.command(name="cache", short_help="Show, limit or clear what is kept between runs.")(cache_command)
app.command(short_help="Check what this machine has.")(doctor)
