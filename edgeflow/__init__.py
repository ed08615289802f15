"""EdgeFlow: from a trained model to an FPGA accelerator program, proved bit-exact.

>>> import edgeflow
>>> build = edgeflow.compile("model.onnx", board="kv260", calibration="calibration.npz", output="build")  # doctest: +SKIP
>>> edgeflow.verify(build).passed  # doctest: +SKIP
True

Arrays go in and out by the model's own tensor names, samples on the first axis. Every error that EdgeFlow raises on purpose is an
:class:`EdgeFlowError` with one clear message.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if not (Path(__file__).parent / "hw").is_dir():
    raise ImportError(
        f"{Path(__file__).parent} was unpacked without its links (hw, sw, quant, sim and models are no folders there): clone the"
        " repository with git, with core.symlinks on, or unpack it with a tool that knows links, such as unzip or tar"
    )

from edgeflow.hw.errors import (
    BoardError,
    CalibrationError,
    ClusterError,
    EdgeFlowError,
    InputError,
    ModelError,
    OutputError,
    ToolchainError,
    UnsupportedError,
    VerificationError,
)
from edgeflow.hw.progress import Progress

if TYPE_CHECKING:
    import onnx_ir
    from numpy.typing import NDArray

    from edgeflow.hw.architecture import Architecture
    from edgeflow.hw.boards import Board
    from edgeflow.hw.lint import Finding
    from edgeflow.quant.formats.config import QuantizationConfig
    from edgeflow.quant.ptq import Quantized
    from edgeflow.quant.techniques.qat.options import FineTuning
    from edgeflow.quant.techniques.qat.tune import Tuned
    from edgeflow.sim.cycles import CycleReport
    from edgeflow.sw.files.build import Build
    from edgeflow.sw.flow.verification import Verification
    from edgeflow.sw.measure.samples import Given
    from edgeflow.sw.search.explore import Exploration

    Arrays = Mapping[str, NDArray[Any]]
    PathLike = str | os.PathLike[str]


Options = TypeVar("Options")

__all__ = [
    "BoardError",
    "CalibrationError",
    "ClusterError",
    "EdgeFlowError",
    "InputError",
    "ModelError",
    "OutputError",
    "Progress",
    "ToolchainError",
    "UnsupportedError",
    "VerificationError",
    "boards",
    "compile",
    "cycles",
    "explore",
    "export",
    "fine_tuning",
    "finetune",
    "lint",
    "load",
    "load_board",
    "open_build",
    "quantization",
    "quantize",
    "save",
    "simulate",
    "verify",
]


def load(model: PathLike, *, dims: Mapping[str, int] | None = None) -> onnx_ir.Model:
    """Import an ONNX file (opset 7 to 25) as a canonical float graph.

    ``dims`` gives sizes to symbolic axes other than the batch, such as ``{"sequence": 128}``. Raises ModelError, or
    UnsupportedError listing every node that has no canonical form.
    """
    from edgeflow.sw.importer import import_model

    return import_model(Path(model), dims=dims or {})


def save(model: onnx_ir.Model, path: PathLike) -> None:
    """Write a canonical model as an ONNX file, with the formats that it brings along if it does; whole or not at all.

    :func:`load` and :func:`compile` take the file as it is, and onnxruntime runs it in floating point. OutputError where the file
    cannot be written.
    """
    from edgeflow.sw.files.arrays import write_bytes
    from edgeflow.sw.importer.canonical_files import model_bytes

    write_bytes(path, model_bytes(model))


def quantization(**options: Any) -> QuantizationConfig:
    """Options of post-training quantization (see QuantizationConfig); InputError names a wrong one.

    Unless ``selection_work`` is given, techniques are chosen by the error of the output, with SELECTION_WORK.
    """
    from edgeflow.quant.formats.config import SELECTION_WORK, QuantizationConfig

    return _options("quantization", QuantizationConfig, {"selection_work": SELECTION_WORK, **options})


def fine_tuning(**options: Any) -> FineTuning:
    """Options of quantization-aware training (see FineTuning); InputError names a wrong one."""
    from edgeflow.quant.techniques.qat.options import FineTuning

    return _options("fine-tuning", FineTuning, options)


def quantize(
    model: onnx_ir.Model,
    calibration: Arrays | PathLike,
    *,
    config: QuantizationConfig | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Calibrate and quantize a canonical float graph; the result's ``graph`` is the integer network.

    ``calibration``: arrays ``(samples, ...)`` by input name, or an ``.npz`` file of them; all of them set numbers, and the result's
    ``warnings`` say what is odd about them. Raises CalibrationError.
    """
    from edgeflow.quant import ptq
    from edgeflow.sw.files.arrays import described
    from edgeflow.sw.measure.screening import with_warnings

    arrays = _arrays(calibration)
    what = described(arrays, "calibration data")
    checked = ptq.checked_data(model, arrays, what)
    return with_warnings(model, checked, what, ptq.quantize(model, checked, config or quantization(), progress))


def finetune(
    model: onnx_ir.Model,
    data: Arrays | PathLike,
    labels: NDArray[Any] | None = None,
    *,
    config: QuantizationConfig | None = None,
    options: FineTuning | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Fine-tune a canonical float graph with its quantizers in place (quantization-aware training, with Brevitas).

    ``data``: arrays ``(samples, ...)`` by input name, or an ``.npz`` file of them; ``labels (samples,)`` their classes, without
    which the float model's own outputs are the target. ``config`` has the bits. The result's ``model`` is a canonical graph that
    brings its formats along: :func:`quantize` keeps its words and scales, :func:`save` writes it for :func:`compile`. Raises
    CalibrationError for data or labels that do not fit, ToolchainError where Brevitas is not installed (the extra ``qat``).
    """
    from edgeflow.quant.techniques.qat import tune

    return tune.finetune(model, _arrays(data), labels, config or quantization(), options or fine_tuning(), progress)


def compile(
    model: PathLike,
    *,
    board: str = "kv260",
    calibration: Arrays | PathLike | None = None,
    output: PathLike,
    config: QuantizationConfig | None = None,
    bits: Literal["hawq", "fit"] | None = None,
    budget: str | Sequence[str] = (),
    labels: NDArray[Any] | None = None,
    test: Arrays | PathLike | None = None,
    test_labels: NDArray[Any] | None = None,
    dims: Mapping[str, int] | None = None,
    overlay: PathLike | Architecture | None = None,
    clock_mhz: float | None = None,
    sizes: Mapping[str, int] | None = None,
    share: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Build:
    """Compile an ONNX file for a board into the folder ``output``, which is written whole or not at all.

    Accuracy is measured on samples that no number of the network depends on: ``test`` data, arrays by input name or an ``.npz``
    file; without it, on a quarter of ``calibration``, which is held out if that has 64 or more different samples; else not at all.
    Without ``calibration``, seeded random data sets the numbers. ``labels`` are the calibration samples' classes and
    ``test_labels`` those of the test data, if known: with them the report has top-1 accuracy, and ``bits`` uses the former.
    ``bits`` chooses the bits of every layer under ``budget`` (such as ``"latency=0.6x"`` of the cost at 8 bits; see
    docs/quantization.md) by the trace of the loss's Hessian (``"hawq"``) or of its Fisher information (``"fit"``). ``overlay``
    targets an existing accelerator (an ``overlay.json`` or an Architecture) instead of choosing one for the board. ``sizes`` fixes
    some of ``pi``, ``po``, ``epilogue``, ``vector`` and ``weight_ports`` of the accelerator that is chosen; ``share`` (0.8) is the
    part of every resource of the board that it may take.
    """
    from edgeflow.hw.boards import load_board as find_board
    from edgeflow.sw.compiler.overlay import read_overlay
    from edgeflow.sw.flow import steps
    from edgeflow.sw.search.bit_allocation import bit_request

    found = find_board(board)
    if labels is not None and calibration is None:
        raise InputError("labels are the classes of calibration data: give it, too")
    if test_labels is not None and test is None:
        raise InputError("test_labels are the classes of test data: give it, too")
    request = steps.Request(
        model=Path(model),
        board=found,
        output=Path(output),
        calibration=None if calibration is None else _given(calibration, "calibration data", labels),
        config=config or quantization(),
        dims=dims or {},
        architecture=None if overlay is None else read_overlay(overlay),
        clock_mhz=_clock(clock_mhz, found.clock_mhz),
        seed=seed,
        test=None if test is None else _given(test, "test data", test_labels),
        sizes=sizes or {},
        share=_share(share),
        bits=bit_request(bits, budget),
    )
    return steps.run(request, progress or _silent)


def open_build(folder: PathLike) -> Build:
    """A build folder that :func:`compile` wrote."""
    from edgeflow.sw.files import build

    return build.open_build(folder)


def simulate(
    build: Build | PathLike,
    inputs: Arrays | PathLike,
    *,
    engine: Literal["numpy", "csim", "float"] = "numpy",
    exact: bool = False,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """Run a build on inputs; returns its outputs as real values ``(samples, ...)``.

    ``engine``: the NumPy executor; the emitted C++ compiled with g++ (``exact``: with the Xilinx ``ap_int`` headers); or, for
    comparison, the float model in onnxruntime. UserWarning for samples whose key mask leaves no key: softmax has no meaning there,
    and the engines' outputs are not the float model's.
    """
    from edgeflow.sw.flow import verification

    return verification.simulate(_build(build), _arrays(inputs), engine, exact, progress)


def verify(
    build: Build | PathLike,
    inputs: Arrays | PathLike | None = None,
    *,
    samples: int = 8,
    exact: bool = False,
    progress: Progress | None = None,
) -> Verification:
    """Run float, NumPy and C++ on the inputs (by default those kept in the build) and compare every intermediate word."""
    from edgeflow.sw.flow import verification

    arrays = None if inputs is None else _arrays(inputs)
    return verification.verify(_build(build), arrays, samples, exact, progress)


def export(build: Build | PathLike, output: PathLike, *, format: Literal["qdq", "qonnx"] = "qdq") -> Path:
    """Write the quantized model of a build as an ONNX file for other tools, and return its path.

    ``qdq``: QuantizeLinear and DequantizeLinear, which onnxruntime runs; ``qonnx``: QONNX's Quant nodes. Weights are the integer
    network's words; activations pass quantizers with its formats; attention, normalization and activation functions between them
    are float. The file is written whole or not at all.
    """
    from edgeflow.sw.export import export_build

    return export_build(_build(build), Path(output), format)


def cycles(build: Build | PathLike, *, clock_mhz: float | None = None) -> CycleReport:
    """Predicted cycles of a build, instruction by instruction."""
    from edgeflow.sim.cycles import estimate

    opened = _build(build)
    return estimate(opened.program, opened.graph, opened.board, _clock(clock_mhz, opened.manifest["clock_mhz"]))


def lint(folder: PathLike) -> list[Finding]:
    """What in the HLS C++ of a build, or of an ``hls`` folder, breaks one of the linter's rules (docs/lint.md).

    InputError where there is no such code, ToolchainError without libclang (the extra ``lint``), or where the code is no valid C++.
    """
    from edgeflow.hw.lint import lint_project
    from edgeflow.sw.files.build import MANIFEST, open_build

    path = Path(folder)
    return lint_project(open_build(path).folder / "hls" if (path / MANIFEST).is_file() else path)


def explore(
    model: PathLike,
    *,
    board: str = "kv260",
    calibration: Arrays | PathLike | None = None,
    output: PathLike,
    config: QuantizationConfig | None = None,
    dims: Mapping[str, int] | None = None,
    sizes: Mapping[str, Sequence[int]] | None = None,
    clocks_mhz: Sequence[float] | None = None,
    share: float | None = None,
    seed: int = 0,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Predict latency and resources of a grid of accelerators for a model on a board, and draw the Pareto front.

    ``sizes`` gives, for each of ``pi``, ``po``, ``epilogue``, ``vector`` and ``weight_ports``, the sizes to try (those that matter,
    if left out); ``clocks_mhz`` the clocks (the board's own). ``jobs`` processes of this machine work on it, or the Dask cluster
    whose ``scheduler`` has this address. The folder ``output`` keeps every point as soon as it is done: called again, this goes on
    where it stopped. BoardError if nothing fits, ClusterError if workers fail.
    """
    from edgeflow.hw.boards import load_board as find_board
    from edgeflow.sw.search import explore as exploration

    found = find_board(board)
    chosen = config or quantization()
    clocks = tuple(_clock(clock, found.clock_mhz) for clock in clocks_mhz or (found.clock_mhz,))
    request = exploration.Request(
        model=Path(model),
        board=found,
        output=Path(output),
        calibration=None if calibration is None else _arrays(calibration),
        configs={chosen.weight_bits: chosen},
        dims=dims or {},
        grid=exploration.Grid(clocks, sizes or {}, _share(share)),
        seed=seed,
        processes=jobs,
        scheduler=scheduler,
    )
    return exploration.explore(request, progress or _silent)


def boards() -> tuple[str, ...]:
    """Names of the boards that EdgeFlow knows."""
    from edgeflow.hw.boards import boards as names

    return names()


def load_board(board: PathLike) -> Board:
    """A board by name, or from a TOML file of one's own; BoardError if there is none."""
    from edgeflow.hw.boards import load_board as find_board

    return find_board(str(board))


def _options(what: str, kind: type[Options], options: Mapping[str, Any]) -> Options:
    from pydantic import ValidationError

    try:
        return kind(**options)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{what} option {'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _build(build: Build | PathLike) -> Build:
    return open_build(build) if isinstance(build, str | os.PathLike) else build


def _arrays(data: Arrays | PathLike) -> Arrays:
    if isinstance(data, str | os.PathLike):
        from edgeflow.sw.files.arrays import read_npz

        return read_npz(Path(data))
    import numpy

    from edgeflow.sw.files.arrays import Archive

    if isinstance(data, Archive):
        return data
    return {name: numpy.asarray(array) for name, array in data.items()}


def _given(data: Arrays | PathLike, what: str, labels: NDArray[Any] | None) -> Given:
    from edgeflow.sw.files.arrays import described
    from edgeflow.sw.measure.samples import Given

    arrays = _arrays(data)
    return Given(arrays, labels, described(arrays, what))


def _clock(asked: float | None, usual: float) -> float:
    if asked is None:
        return usual
    if not 0 < asked < float("inf"):
        raise InputError(f"clock {asked:g} MHz is not possible: give a positive number of MHz, such as {usual:g}")
    return asked


def _share(asked: float | None) -> float:
    if asked is None:
        from edgeflow.hw.fit import SHARE

        return SHARE
    if not 0 < asked <= 1:
        raise InputError(f"share {asked:g} of the board's resources is not possible: give more than 0 and at most 1, such as 0.8")
    return asked


def _silent(what: str, done: int, total: int) -> None:
    """Report no progress."""
