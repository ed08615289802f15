"""Operations on a build that a quantized model has, too; for cycles and C++ it takes a board, for which an accelerator is
chosen."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from edgeflow.hw.accelerator_options import checked_clock
from edgeflow.hw.boards import load_board
from edgeflow.hw.errors import InputError
from edgeflow.hw.progress import Progress
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.sim.cycles import CycleReport, estimate
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.export import export_build, export_model
from edgeflow.sw.files.build import Build, open_build
from edgeflow.sw.flow.compilation import compile_model
from edgeflow.sw.flow.options import CompileOptions, validated
from edgeflow.sw.flow.own_program import own_program
from edgeflow.sw.search.accelerator import configure

Subject = Build | Quantized


def opened(subject: Build | Quantized | str | os.PathLike[str]) -> Subject:
    """A build, given itself or by its folder, or a quantized model; InputError for anything else."""
    if isinstance(subject, str | os.PathLike):
        return open_build(subject)
    if not isinstance(subject, Build | Quantized):
        raise InputError(f"a {type(subject).__name__} is no build: give a Build, its folder, or what edgeflow.quantize returned")
    if isinstance(subject, Build):
        subject.require_complete()
    return subject


def float_model(subject: Subject) -> ir.Model:
    """The canonical float model."""
    return subject.model if isinstance(subject, Quantized) else subject.float_model()


@contextmanager
def built(subject: Subject, board: str | os.PathLike[str] | None, what: str) -> Iterator[Build]:
    """The build, while the block runs; a quantized model is compiled for ``board``. InputError, which names the operation ``what``,
    for a quantized model without a board or a build with one."""
    if isinstance(subject, Build):
        _check_board(board)
        yield subject
        return
    options = validated("option", CompileOptions, {"board": _needed(board, what)})
    with tempfile.TemporaryDirectory(prefix="edgeflow-") as folder:
        yield compile_model(subject, Path(folder) / "build", options)


def predicted_cycles(
    subject: Subject, board: str | os.PathLike[str] | None, clock_mhz: float | None, progress: Progress | None = None
) -> CycleReport:
    """Predicted cycles: of a build on its board, of a quantized model on the accelerator that is best for it on ``board``."""
    if isinstance(subject, Build):
        _check_board(board)
        usual = subject.manifest["clock_mhz"]
        clock = usual if clock_mhz is None else checked_clock(clock_mhz, f"{usual:g}")
        return estimate(own_program(subject), subject.graph, subject.board, clock)
    chosen = load_board(os.fspath(_needed(board, "a prediction of cycles")))
    clock = chosen.clock_mhz if clock_mhz is None else checked_clock(clock_mhz, f"{chosen.clock_mhz:g}")
    network = Network(subject.graph)
    program = lower(network, configure(network, chosen, clock, progress=progress))
    return estimate(program, subject.graph, chosen, clock)


def export(subject: Subject, output: Path, format: str) -> Path:
    """Write the quantized model in a format of ``edgeflow.sw.export.FORMATS``."""
    return (
        export_build(subject, output, format)
        if isinstance(subject, Build)
        else export_model(subject.model, subject, output, format)
    )


def _needed(board: str | os.PathLike[str] | None, what: str) -> str | os.PathLike[str]:
    if board is None:
        raise InputError(
            f"{what} of a quantized model needs a board: add board=, such as 'kv260', or compile it and give the build"
        )
    return board


def _check_board(board: object) -> None:
    if board is not None:
        raise InputError("board= is for a quantized model, and a build has its own: leave it out")
