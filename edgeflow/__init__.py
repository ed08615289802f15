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
from typing import TYPE_CHECKING, Any, Literal

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
from edgeflow.hw.renamed import accepts_old_names

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
"""onnxruntime looks up a host of its maker's, and writes into the user's cache, unless this is set before it is imported."""

if TYPE_CHECKING:
    from typing import Unpack

    import onnx_ir
    from numpy.typing import ArrayLike, NDArray

    from edgeflow.hw.architecture import Architecture
    from edgeflow.hw.boards import Board
    from edgeflow.hw.diagnosis import Diagnosis
    from edgeflow.hw.lint import Finding
    from edgeflow.quant.convert.conversion import Quantized
    from edgeflow.quant.formats.config import LayerBits, QuantizationConfig, QuantizationOptions
    from edgeflow.quant.techniques.qat.options import FineTuning, FineTuningOptions
    from edgeflow.quant.techniques.qat.tune import Tuned
    from edgeflow.sim.cycles import CycleReport
    from edgeflow.sw.files.batches import Data
    from edgeflow.sw.files.build import Build
    from edgeflow.sw.flow.options import CompileOptions, EngineName, ExploreOptions
    from edgeflow.sw.flow.verification import Verification
    from edgeflow.sw.importer.model_sources import ModelSource
    from edgeflow.sw.report.comparison import Comparison
    from edgeflow.sw.search.explore import Exploration

    PathLike = str | os.PathLike[str]
    __version__: str

_TYPES = {
    "Architecture": "hw.architecture",
    "Board": "hw.boards",
    "Build": "sw.files.build",
    "Comparison": "sw.report.comparison",
    "CompileOptions": "sw.flow.options",
    "CycleReport": "sim.cycles",
    "Diagnosis": "hw.diagnosis",
    "Exploration": "sw.search.explore",
    "ExploreOptions": "sw.flow.options",
    "Finding": "hw.lint",
    "FineTuning": "quant.techniques.qat.options",
    "LayerBits": "quant.formats.config",
    "QuantizationConfig": "quant.formats.config",
    "Quantized": "quant.convert.conversion",
    "Tuned": "quant.techniques.qat.tune",
    "Verification": "sw.flow.verification",
}
"""The public types, and where they are defined: imported when they are asked for."""

__all__ = [
    "Architecture",
    "Board",
    "BoardError",
    "Build",
    "CalibrationError",
    "ClusterError",
    "Comparison",
    "CompileOptions",
    "CycleReport",
    "Diagnosis",
    "EdgeFlowError",
    "Exploration",
    "ExploreOptions",
    "Finding",
    "FineTuning",
    "InputError",
    "LayerBits",
    "ModelError",
    "OutputError",
    "Progress",
    "QuantizationConfig",
    "Quantized",
    "ToolchainError",
    "Tuned",
    "UnsupportedError",
    "Verification",
    "VerificationError",
    "__version__",
    "boards",
    "check",
    "compare",
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


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("edgeflow")
    if name in _TYPES:
        from importlib import import_module

        return getattr(import_module(f"edgeflow.{_TYPES[name]}"), name)
    raise AttributeError(f"module 'edgeflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


@accepts_old_names
def load(model: PathLike, *, dims: Mapping[str, int] | None = None) -> onnx_ir.Model:
    """Import an ONNX file (opset 7 to 25) as a canonical float graph.

    ``dims`` gives sizes to symbolic axes other than the batch, such as ``{"sequence": 128}``. Raises ModelError, or
    UnsupportedError listing every node that has no canonical form.
    """
    from edgeflow.sw.importer import import_model

    return import_model(Path(model), dims=dims or {})


@accepts_old_names
def check(model: ModelSource, *, dims: Mapping[str, int] | None = None, example_inputs: object = None) -> Diagnosis:
    """Whether a model can be compiled, and what stands in its way: causes first, with what follows from each.

    ``model``, ``dims`` and ``example_inputs`` are those of :func:`compile`; no data is needed. ModelError where the model cannot be
    read, or where the size of a dimension is not known. Import and conversion to integers are tried, the latter on random data;
    whether an accelerator for it fits a board is not looked at.
    """
    from edgeflow.sw.flow.check import check_model

    return check_model(model, dims, example_inputs)


def save(model: onnx_ir.Model, path: PathLike) -> None:
    """Write a canonical model as an ONNX file, with the formats that it brings along if it does; whole or not at all.

    :func:`load` and :func:`compile` take the file as it is, and onnxruntime runs it in floating point. OutputError where the file
    cannot be written.
    """
    from edgeflow.sw.files.writing import write_bytes
    from edgeflow.sw.importer.canonical_files import model_bytes

    write_bytes(path, model_bytes(model))


@accepts_old_names
def quantization(**options: Unpack[QuantizationOptions]) -> QuantizationConfig:
    """Options of post-training quantization (see QuantizationConfig); InputError names a wrong one.

    Unless ``selection_work`` is given, techniques are chosen by the error of the output, with SELECTION_WORK.
    """
    from edgeflow.quant.formats.config import SELECTION_WORK, QuantizationConfig
    from edgeflow.sw.flow.options import validated

    return validated("quantization option", QuantizationConfig, {"selection_work": SELECTION_WORK, **options})


@accepts_old_names
def fine_tuning(**options: Unpack[FineTuningOptions]) -> FineTuning:
    """Options of quantization-aware training (see FineTuning); InputError names a wrong one."""
    from edgeflow.quant.techniques.qat.options import FineTuning
    from edgeflow.sw.flow.options import validated

    return validated("fine-tuning option", FineTuning, options)


@accepts_old_names
def quantize(
    model: onnx_ir.Model,
    calibration: Data,
    *,
    config: QuantizationConfig | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Calibrate and quantize a canonical float graph; the result's ``graph`` is the integer network.

    ``calibration`` (see :func:`compile` for its forms): all of it sets numbers, and the result's ``warnings`` say what is odd about
    it. Raises CalibrationError.
    """
    from edgeflow.quant import ptq
    from edgeflow.sw.files.arrays import described
    from edgeflow.sw.files.batches import read_data
    from edgeflow.sw.measure.screening import with_warnings

    arrays = read_data(calibration, lambda: _inputs(model), "calibration data")
    what = described(arrays, "calibration data")
    checked = ptq.checked_data(model, arrays, what)
    return with_warnings(model, checked, what, ptq.quantize(model, checked, config or quantization(), progress))


@accepts_old_names
def finetune(
    model: onnx_ir.Model,
    data: Data,
    labels: NDArray[Any] | None = None,
    *,
    config: QuantizationConfig | None = None,
    options: FineTuning | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Fine-tune a canonical float graph with its quantizers in place (quantization-aware training, with Brevitas).

    ``data`` (see :func:`compile` for its forms) is what it learns from; ``labels (samples,)`` their classes, without
    which the float model's own outputs are the target. ``config`` has the bits. The result's ``model`` is a canonical graph that
    brings its formats along: :func:`quantize` keeps its words and scales, :func:`save` writes it for :func:`compile`. Raises
    CalibrationError for data or labels that do not fit, ToolchainError where Brevitas is not installed (the extra ``qat``).
    """
    from edgeflow.quant.techniques.qat import tune
    from edgeflow.sw.files.batches import read_data

    arrays = read_data(data, lambda: _inputs(model), "training data")
    return tune.finetune(model, arrays, labels, config or quantization(), options or fine_tuning(), progress)


@accepts_old_names
def compile(
    model: ModelSource | Quantized,
    *,
    output: PathLike,
    board: PathLike = "kv260",
    calibration: Data | None = None,
    example_inputs: object = None,
    config: QuantizationConfig | None = None,
    bits: Literal["hawq", "fit"] | PathLike | None = None,
    budget: str | Sequence[str] = (),
    labels: ArrayLike | None = None,
    test: Data | None = None,
    test_labels: ArrayLike | None = None,
    dims: Mapping[str, int] | None = None,
    overlay: PathLike | Architecture | None = None,
    clock_mhz: float | None = None,
    sizes: Mapping[str, int] | None = None,
    share: float | None = None,
    seed: int = 0,
    from_step: str | None = None,
    until_step: str | None = None,
    progress: Progress | None = None,
) -> Build:
    """Compile a model for a board into the folder ``output``, which is written whole or not at all.

    ``model``: the path of an ONNX file, an ``onnx.ModelProto``, what :func:`load` or :func:`quantize` returned (the latter needs no
    ``calibration``), or a torch module, which is exported with ``example_inputs``: what its ``forward`` takes, a tensor,
    several in a tuple, or a mapping by the names of its parameters (only shapes and types matter; the batch is of any size).

    ``calibration`` sets ranges and rounding: an ``.npz`` file; arrays ``(samples, ...)`` by input name; the array of a model with
    one input; or anything that yields batches, such as a torch DataLoader: of mappings by input name, of tuples in the order of the
    model's inputs (of a pair (inputs, labels) the first is used, and a warning says so), or of arrays. Batches are kept on disk,
    not in memory. Without ``calibration``, seeded random data sets the numbers.

    Accuracy is measured on samples that no number of the network depends on: ``test`` data, in the same forms; without it, on a
    quarter of ``calibration``, which is held out if that has 64 or more different samples; else not at all. ``labels`` are the
    calibration samples' classes and ``test_labels`` those of the test data, arrays ``(samples,)`` or the names of arrays of the
    data: with them the report has top-1 accuracy, and ``bits`` uses the former.

    ``bits`` chooses the bits of every layer under ``budget`` (such as ``"latency=0.6x"`` of the cost at 8 bits; see
    docs/quantization.md) by the trace of the loss's Hessian (``"hawq"``) or of its Fisher information (``"fit"``); or it is the
    ``bits.json`` of a build. ``overlay`` targets an existing accelerator (an ``overlay.json`` or an Architecture) instead of
    choosing one for the board. ``sizes`` fixes some of ``pi``, ``po``, ``epilogue``, ``vector`` and ``weight_ports`` of the
    accelerator that is chosen; ``share`` (0.8) is the part of every resource of the board that it may take.

    ``from_step`` takes what the steps before it made from the cache, where an equal run left it (InputError if it is not there);
    ``until_step`` is the last step: what it leaves is no whole build, and nothing but a run with ``from_step`` goes on with it.
    """
    from edgeflow.sw.flow.compilation import compile_model
    from edgeflow.sw.flow.options import CompileOptions, validated

    options = {
        "board": board,
        "calibration": calibration,
        "quantization": config,
        "bits": bits,
        "budget": budget,
        "labels": labels,
        "test": test,
        "test_labels": test_labels,
        "dims": dims,
        "overlay": overlay,
        "clock_mhz": clock_mhz,
        "sizes": sizes,
        "share": share,
        "seed": seed,
    }
    chosen = validated("option", CompileOptions, options)
    return compile_model(model, output, chosen, example_inputs, progress, start=from_step, until=until_step)


def open_build(folder: PathLike) -> Build:
    """A build folder that :func:`compile` wrote."""
    from edgeflow.sw.files import build

    return build.open_build(folder)


@accepts_old_names
def simulate(
    build: Build | Quantized | PathLike,
    inputs: Data,
    *,
    engine: EngineName = "numpy",
    exact: bool = False,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """Run a build, or what :func:`quantize` returned, on inputs (see :func:`compile` for their forms); returns its outputs as real
    values ``(samples, ...)``.

    ``engine``: the NumPy executor; the emitted C++ of a build compiled with g++ (``exact``: with the Xilinx ``ap_int`` headers);
    or, for comparison, the float model in onnxruntime. UserWarning for samples whose key mask leaves no key: softmax has no meaning
    there, and the engines' outputs are not the float model's.
    """
    from edgeflow.sw.flow import quantized_model, verification
    from edgeflow.sw.flow.options import SimulationOptions, validated

    chosen = validated("option", SimulationOptions, {"engine": engine, "exact": exact})
    subject = quantized_model.opened(build)
    return verification.simulate(subject, _data(inputs, subject), chosen.engine, chosen.exact, progress)


@accepts_old_names
def verify(
    build: Build | Quantized | PathLike,
    inputs: Data | None = None,
    *,
    samples: int = 8,
    exact: bool = False,
    board: PathLike | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Run float, NumPy and C++ on the inputs (by default those kept in the build) and compare every intermediate word.

    What :func:`quantize` returned is compiled for ``board`` first, into a folder that does not stay.
    """
    from edgeflow.sw.flow import quantized_model, verification

    subject = quantized_model.opened(build)
    arrays = None if inputs is None else _data(inputs, subject)
    with quantized_model.built(subject, board, "verification") as whole:
        return verification.verify(whole, arrays, samples, exact, progress)


@accepts_old_names
def export(build: Build | Quantized | PathLike, output: PathLike, *, format: Literal["qdq", "qonnx"] = "qdq") -> Path:
    """Write a quantized model, that of a build or what :func:`quantize` returned, as an ONNX file for other tools, and return its
    path.

    ``qdq``: QuantizeLinear and DequantizeLinear, which onnxruntime runs; ``qonnx``: QONNX's Quant nodes. Weights are the integer
    network's words; activations pass quantizers with its formats; attention, normalization and activation functions between them
    are float. The file is written whole or not at all.
    """
    from edgeflow.sw.flow import quantized_model

    return quantized_model.export(quantized_model.opened(build), Path(output), format)


@accepts_old_names
def cycles(
    build: Build | Quantized | PathLike,
    *,
    clock_mhz: float | None = None,
    board: PathLike | None = None,
    progress: Progress | None = None,
) -> CycleReport:
    """Predicted cycles, instruction by instruction, of a build, or of what :func:`quantize` returned, on the accelerator that is
    best for it on ``board``."""
    from edgeflow.sw.flow import quantized_model

    return quantized_model.predicted_cycles(quantized_model.opened(build), board, clock_mhz, progress)


def compare(*builds: Build | PathLike) -> Comparison:
    """Two builds or more beside one another: their figures, bits, cycles and error by layer, the options that differ, and which is
    better in everything (:class:`Comparison`; its ``html()`` is a page, ``document()`` for JSON).

    InputError for a folder that is no build, a damaged one, one that is there twice, and for less than two.
    """
    from edgeflow.sw.report.comparison import compare as comparison_of

    return comparison_of(builds)


def lint(folder: PathLike) -> list[Finding]:
    """What in the HLS C++ of a build, or of an ``hls`` folder, breaks one of the linter's rules (docs/lint.md).

    InputError where there is no such code, ToolchainError without libclang (the extra ``lint``), or where the code is no valid C++.
    """
    from edgeflow.hw.lint import lint_project
    from edgeflow.sw.files.build import open_build
    from edgeflow.sw.files.snapshot import MANIFEST

    path = Path(folder)
    return lint_project(open_build(path).folder / "hls" if (path / MANIFEST).is_file() else path)


@accepts_old_names
def explore(
    model: ModelSource,
    *,
    output: PathLike,
    board: PathLike = "kv260",
    calibration: Data | None = None,
    example_inputs: object = None,
    config: QuantizationConfig | None = None,
    dims: Mapping[str, int] | None = None,
    weight_bits: Sequence[int] | None = None,
    activation_bits: Sequence[int] | None = None,
    sizes: Mapping[str, Sequence[int]] | None = None,
    clocks_mhz: Sequence[float] | None = None,
    share: float | None = None,
    seed: int = 0,
    jobs: int | None = None,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Predict latency and resources of a grid of accelerators for a model on a board, and draw the Pareto front.

    ``model``, ``example_inputs`` and ``calibration`` are those of :func:`compile`.
    ``weight_bits`` and ``activation_bits`` are the bits to try (those of ``config``; the same for both where only the former
    are listed). ``sizes`` gives, for each of ``pi``, ``po``, ``epilogue``, ``vector`` and ``weight_ports``, the sizes to try
    (those that matter, if left out); ``clocks_mhz`` the clocks (the board's own). ``jobs`` processes of this machine work on
    it, or the Dask cluster whose ``scheduler`` has this address. The folder ``output`` keeps every point as soon as it is
    done: called again, this goes on where it stopped. BoardError if nothing fits, ClusterError if workers fail.
    """
    from edgeflow.sw.flow.compilation import explore_model
    from edgeflow.sw.flow.options import ExploreOptions, validated

    options = {
        "board": board,
        "calibration": calibration,
        "quantization": config,
        "dims": dims,
        "weight_bits": weight_bits,
        "activation_bits": activation_bits,
        "sizes": sizes,
        "clocks_mhz": clocks_mhz,
        "share": share,
        "seed": seed,
        "jobs": jobs,
        "scheduler": scheduler,
    }
    return explore_model(model, output, validated("option", ExploreOptions, options), example_inputs, progress)


def boards() -> tuple[str, ...]:
    """Names of the boards that EdgeFlow knows."""
    from edgeflow.hw.boards import boards as names

    return names()


def load_board(board: PathLike) -> Board:
    """A board by name, or from a TOML file of one's own; BoardError if there is none."""
    from edgeflow.hw.boards import load_board as find_board

    return find_board(str(board))


def _inputs(model: onnx_ir.Model) -> list[str]:
    return [str(value.name) for value in model.graph.inputs]


def _data(inputs: Data, subject: Build | Quantized) -> Mapping[str, NDArray[Any]]:
    from edgeflow.sw.files.batches import read_data
    from edgeflow.sw.flow.quantized_model import float_model

    return read_data(inputs, lambda: _inputs(float_model(subject)), "input data")
