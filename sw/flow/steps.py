"""The pipeline from a model file to a build folder: one readable list of named steps.

Each step leaves its product as a file in the build folder. With ``EDGEFLOW_CHECK=1`` the integer graph's verifier runs again after
every step from quantization on; with ``EDGEFLOW_CHECK=2`` the lowered program is also simulated in C++ against NumPy before the
build is handed over.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path

import onnx
import onnx_ir as ir

from edgeflow.hw import cache
from edgeflow.hw.accelerator_options import SHARE
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.boards import Board
from edgeflow.hw.errors import InputError, VerificationError
from edgeflow.hw.fit import excess
from edgeflow.hw.program import Program
from edgeflow.hw.progress import STEP, Progress
from edgeflow.hw.verify import verify_graph
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.sim import csim
from edgeflow.sim.compare import compare
from edgeflow.sim.cycles import CycleReport, estimate
from edgeflow.sim.executor import Executor
from edgeflow.sw.compiler.component_project import write_component_project
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.export import export_qdq, write_correspondence
from edgeflow.sw.files.arrays import write_npz
from edgeflow.sw.files.build import QDQ_MODEL, Build, write_manifest
from edgeflow.sw.files.replacement import new_build
from edgeflow.sw.flow import step_cache
from edgeflow.sw.flow.plain_build import bits_section, small_gain, worst_sqnr
from edgeflow.sw.flow.run_file import DATA_FILES, RUN_FILE, Recipe, run_section
from edgeflow.sw.flow.step_range import step_range
from edgeflow.sw.importer import import_model
from edgeflow.sw.importer.model_sources import ModelFile
from edgeflow.sw.measure.accuracy import Accuracy, evaluate
from edgeflow.sw.measure.reference import MODEL as ORIGINAL_MODEL
from edgeflow.sw.measure.reference import Reference, hold_to_original, keep_original
from edgeflow.sw.measure.samples import Samples, UserData, choose_samples
from edgeflow.sw.report import TRACE_FILE, ReportInputs, write_report
from edgeflow.sw.report.schema import Bits, BuildFigures, Run, Search
from edgeflow.sw.search.accelerator import choose, extended
from edgeflow.sw.search.bit_allocation import BitChoice, as_built, choose_bits, exceeded, write_bits
from edgeflow.sw.search.bit_requests import BitRequest
from edgeflow.sw.search.early_budgets import check_budgets
from edgeflow.sw.search.latency_tables import Target

GOLDEN_SAMPLES = 8  # kept in the build for `verify`
TESTBENCH_SAMPLES = 2


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    model: ModelFile
    board: Board
    output: Path
    calibration: UserData | None
    config: QuantizationConfig
    dims: Mapping[str, int]
    architecture: Architecture | None  # a given overlay, or None to choose one for the board
    clock_mhz: float
    seed: int
    test: UserData | None = None  # data that measures accuracy, instead of a part of the calibration data
    sizes: Mapping[str, int] = field(default_factory=dict)  # sizes of the accelerator that are not to be chosen
    share: float = SHARE  # of every resource of the board, that the accelerator may take
    bits: BitRequest | None = None  # how the bits of every layer are to be chosen, unless the configuration has them
    recipe: Recipe | None = None  # what the build's run file says of all this
    quantized: Quantized | None = None  # what ``edgeflow.quantize`` made of the model


@dataclass
class State:
    """What the steps have made so far. ``folder`` is the build folder under construction.

    ``data`` is what sets numbers: ranges, rounding, choices. ``held_out`` is the part of the calibration data that no step before
    the evaluation may use for numbers, None where the data is too little for one, or the user gave test data (``samples.unseen``).
    """

    request: Request
    folder: Path
    progress: Progress
    float_model: ir.Model = field(init=False)
    samples: Samples = field(init=False)
    reference: Reference = field(init=False)
    choice: BitChoice | None = None
    quantized: Quantized = field(init=False)
    architecture: Architecture = field(init=False)
    search: Search | None = None  # how the architecture was found
    program: Program = field(init=False)
    accuracy: Accuracy | None = None
    bits: Bits | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @cached_property
    def origin(self) -> tuple[dict[str, object], Run | None]:
        """What the manifest says of the original model, and the report of the run. The first reading puts the model and the run
        file into the build folder."""
        request = self.request
        original = keep_original(self.folder, request.model.files, always=not request.model.users_own)
        return original, None if request.recipe is None else run_section(request.recipe.write(self.folder))

    @cached_property
    def network(self) -> Network:
        """The integer graph as it is compiled."""
        return Network(self.quantized.graph)

    @cached_property
    def cycles(self) -> CycleReport:
        """The predicted execution of the program."""
        return estimate(self.program, self.quantized.graph, self.request.board, self.request.clock_mhz)

    @property
    def data(self) -> dict[str, Array]:
        """Checked arrays that set numbers."""
        return self.samples.calibration

    @property
    def held_out(self) -> dict[str, Array] | None:
        """Checked arrays of the calibration data that set no numbers."""
        unseen = self.samples.unseen
        return None if unseen is None or unseen.origin != "held_out" else unseen.arrays

    @property
    def config(self) -> QuantizationConfig:
        """The configuration that the user gave, with the bits that were chosen; random data choose no techniques, since they say
        nothing of the output's error."""
        config = self.request.config if self.choice is None else self.choice.config
        return config.model_copy(update={"selection_work": 0.0}) if self.samples.random else config

    @property
    def target(self) -> Target:
        """The board and the accelerator on it, or how to choose it."""
        request = self.request
        return Target(request.board, request.clock_mhz, request.architecture, request.share, request.sizes)

    def golden(self) -> dict[str, Array]:
        """The inputs kept in the build: unseen ones where there are any."""
        arrays = self.data if self.samples.unseen is None else self.samples.unseen.arrays
        return {name: value[:GOLDEN_SAMPLES] for name, value in arrays.items()}

    def golden_origin(self) -> str:
        """Where they come from: held_out, test, calibration or random."""
        samples = self.samples
        return samples.unseen.origin if samples.unseen is not None else "random" if samples.random else "calibration"

    def warnings(self) -> Iterator[str]:
        """What the user should know of the network, a line each."""
        yield from self.quantized.warnings
        yield from [] if self.choice is None else exceeded(self.choice)
        warning = None if self.bits is None else small_gain(self.bits)
        if warning is not None:
            yield warning

    def golden_words(self) -> dict[str, IntArray]:
        """The same as the graph's integers."""
        return encode_inputs(self.quantized.graph, self.golden())


def import_step(state: State) -> None:
    """Read the model and rewrite it to canonical operators."""
    request = state.request
    samples = request.calibration or request.test
    shapes = {} if samples is None else {name: value.shape for name, value in samples.arrays.items()}
    data = "the data" if samples is None else samples.what
    if request.quantized is not None:
        state.float_model = request.quantized.model
    else:
        state.float_model = import_model(request.model.path, dims=request.dims, shapes=shapes, data=data)
    (state.folder / "model.canonical.onnx").write_bytes(_proto(state.float_model).SerializeToString())


def budgets_step(state: State) -> None:
    """Refuse budgets that cannot be kept, as far as that is known before anything runs."""
    assert state.request.bits is not None
    check_budgets(state.float_model, state.request.config, state.request.bits, state.target)


def calibrate_step(state: State) -> None:
    """Check the data, or draw seeded random data if there is none, and hold a part of it out."""
    request = state.request
    state.samples = choose_samples(state.float_model, request.calibration, request.test, request.seed)
    if request.quantized is not None and state.samples.unseen is None:
        state.samples = replace(state.samples, reason="the model was quantized beforehand; give test data (--test)")
    if request.quantized is not None:
        state.samples = replace(state.samples, guesses=())  # those of the samples that set numbers are in its own warnings
    write_npz(state.folder / "golden.npz", state.golden())


def reference_step(state: State) -> None:
    """Hold the canonical model to the original one, which accuracy is measured against from here on."""
    state.reference = hold_to_original(state.request.model.path, state.float_model, state.data, state.progress)


def bits_step(state: State) -> None:
    """Choose the bits of every layer under the budgets."""
    request = state.request
    assert request.bits is not None
    asked = replace(request.bits, labels=state.samples.labels)
    state.choice = choose_bits(
        state.float_model,
        state.data,
        state.config,
        asked,
        state.target,
        state.progress,
        held_out=state.held_out,
        random=state.samples.random,
    )
    write_bits(state.folder, state.choice)


def quantize_step(state: State) -> None:
    """Choose ranges and build the integer graph, unless that was done beforehand."""
    quantized = state.request.quantized
    state.quantized = quantized or quantize(state.float_model, state.data, state.config, state.progress)
    state.quantized.graph.save(state.folder / "integer_graph")


def export_step(state: State) -> None:
    """Write the quantized model as QDQ ONNX, and what its tensors stand for."""
    write_correspondence(state.folder, state.quantized)
    facts = {"model": state.request.model.name, "board": state.request.board.name}
    proto = export_qdq(state.float_model, state.quantized, facts)
    (state.folder / QDQ_MODEL).write_bytes(proto.SerializeToString())


def fit_step(state: State) -> None:
    """Choose the accelerator for the board, or take the given one."""
    network = state.network
    chosen = state.request.architecture
    request = state.request
    if chosen is None and state.choice is not None and state.choice.architecture is not None:
        kept = extended(state.choice.architecture, network)  # the one that a latency budget was kept on
        chosen = None if excess(kept, request.board, request.share) else kept
    if chosen is None:
        choice = choose(
            network, request.board, request.clock_mhz, share=request.share, sizes=request.sizes, progress=state.progress
        )
        chosen = choice.architecture
        state.search = Search(bounded=choice.bounded, simulated=choice.simulated, proven=choice.proven)
    state.architecture = chosen


def lower_step(state: State) -> None:
    """Turn the integer graph into instructions, a weight image and a memory map."""
    state.program = lower(state.network, state.architecture)
    state.program.save(state.folder)


def emit_step(state: State) -> None:
    """Write the HLS project with golden data for its testbench."""
    words = {name: value[:TESTBENCH_SAMPLES] for name, value in state.golden_words().items()}
    outputs = Executor(state.quantized.graph).run(words)
    count = len(next(iter(words.values())))
    samples = [({k: v[i] for k, v in words.items()}, {k: v[i] for k, v in outputs.items()}) for i in range(count)]
    request = state.request
    board = request.board
    write_component_project(state.folder / "hls", state.program, part=board.part, clock_mhz=request.clock_mhz, samples=samples)


def evaluate_step(state: State) -> None:
    """Compare the integer network with the reference on samples that no number depends on, if there are any."""
    unseen = state.samples.unseen
    if unseen is not None:
        state.accuracy = evaluate(state.float_model, state.quantized, unseen, state.reference, state.progress)


def compare_step(state: State) -> None:
    """Compare a build with bits below 8 with the plain 8-bit build."""
    request = state.request
    if request.quantized is not None:  # the few samples that it keeps would make a poorer 8-bit build than it was made of
        return
    latency = state.cycles.latency_ms
    build = BuildFigures(latency_ms=latency, weight_bytes=len(state.program.weights), sqnr_db=worst_sqnr(state.accuracy))
    plain, document = None, None
    if state.choice is not None:
        chosen, state.choice = state.choice, as_built(state.choice, latency)
        if state.choice.document != chosen.document:
            write_bits(state.folder, state.choice)
        plain, document = state.choice.plain, state.choice.document
    state.bits = bits_section(
        state.float_model, state.config, state.samples, state.reference, build, state.target, plain, document, state.progress
    )


def report_step(state: State) -> None:
    """Predict cycles and write report.json and report.html."""
    request = state.request
    write_report(
        state.folder,
        ReportInputs(
            model=request.model.name,
            board=request.board,
            clock_mhz=request.clock_mhz,
            graph=state.quantized.graph,
            program=state.program,
            cycles=state.cycles,
            ranges=state.quantized.ranges,
            accuracy=state.accuracy,
            reference=state.reference,
            samples=state.samples,
            warnings=tuple(state.warnings()),
            timings=dict(state.timings),
            rounding=state.quantized.layers,
            techniques=state.quantized.contributions,
            bits=state.bits,
            selection=state.quantized.selection,
            selection_note=state.quantized.selection_note,
            search=state.search,
            run=state.origin[1],
        ),
    )


@dataclass(frozen=True)
class Step:
    """A step of the pipeline.

    ``reads``: the products of other steps that it uses, by attribute of the state, and fields of the request, as ``request.NAME``;
    ``writes``: its own products; ``files``: patterns of the files that it leaves in the build folder. Products of a ``kept`` step
    are cached; the other steps read or write files for the user, which is quick. ``wanted`` says whether a request needs the step
    at all.
    """

    name: str
    function: Callable[[State], None]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    files: tuple[str, ...] = ()
    kept: bool = True
    wanted: Callable[[Request], bool] = lambda _: True


_TARGET = tuple(f"request.{name}" for name in ("architecture", "board", "clock_mhz", "share", "sizes"))

STEPS: tuple[Step, ...] = (
    Step(
        "import",
        import_step,
        reads=("request.calibration", "request.dims", "request.model", "request.quantized"),
        writes=("float_model",),
        files=("model.canonical.onnx",),
        kept=False,
    ),
    Step(
        "budgets",
        budgets_step,
        reads=("float_model", "request.bits", "request.config", *_TARGET),
        writes=(),
        kept=False,
        wanted=lambda request: request.bits is not None,
    ),
    Step(
        "calibrate",
        calibrate_step,
        reads=("float_model", "request.calibration", "request.quantized", "request.seed", "request.test"),
        writes=("samples",),
        files=("golden.npz",),
        kept=False,
    ),
    Step("reference", reference_step, reads=("float_model", "request.model", "samples"), writes=("reference",), kept=False),
    Step(
        "bits",
        bits_step,
        reads=("float_model", "samples", "request.bits", "request.config", *_TARGET),
        writes=("choice",),
        files=("bits.json", "bits.png"),
        wanted=lambda request: request.bits is not None,
    ),
    Step(
        "quantize",
        quantize_step,
        reads=("choice", "float_model", "samples", "request.config", "request.quantized"),
        writes=("quantized",),
        files=("integer_graph.*",),
    ),
    Step(
        "export",
        export_step,
        reads=("float_model", "quantized", "request.board", "request.model"),
        writes=(),
        files=("correspondence.json", QDQ_MODEL),
    ),
    Step("fit", fit_step, reads=("choice", "quantized", *_TARGET), writes=("architecture", "search")),
    Step(
        "lower",
        lower_step,
        reads=("architecture", "quantized"),
        writes=("program",),
        files=("memory_map.json", "overlay.json", "program.bin", "weights.bin"),
    ),
    Step(
        "emit",
        emit_step,
        reads=("program", "quantized", "samples", "request.board", "request.clock_mhz"),
        writes=(),
        files=("hls/**/*",),
    ),
    Step("evaluate", evaluate_step, reads=("float_model", "quantized", "reference", "samples"), writes=("accuracy",)),
    Step(
        "compare",
        compare_step,
        reads=(
            *("accuracy", "choice", "float_model", "program", "quantized", "reference", "samples"),
            *("request.config", "request.quantized", *_TARGET),
        ),
        writes=("bits", "choice"),
        files=("bits.json", "bits.png"),
    ),
    Step(
        "report",
        report_step,
        reads=(
            *("accuracy", "bits", "choice", "program", "quantized", "reference", "samples", "search"),
            *("request.board", "request.clock_mhz", "request.model", "request.recipe"),
        ),
        writes=(),
        files=("report.html", "report.json", TRACE_FILE, ORIGINAL_MODEL, RUN_FILE, *DATA_FILES),
        kept=False,
    ),
)


def run(request: Request, progress: Progress, start: str | None = None, until: str | None = None) -> Build:
    """Run every step into a new build folder, which replaces ``request.output`` only when all have succeeded.

    ``start``: the steps before this one are taken from the cache; InputError where they are not there. ``until``: the last step;
    the manifest of what it leaves says so.
    """
    level = _check_level(os.environ.get("EDGEFLOW_CHECK") or "0")
    first, last = step_range(start, until)
    with new_build(request.output) as folder:
        state = State(request, folder, progress)
        key = None if request.quantized is not None else ""
        try:
            fingerprints: dict[str, str] = {}
            for i, step in enumerate(STEPS[: last + 1]):
                progress(f"{STEP}{i + 1} of {len(STEPS)}: {step.name}", 0, 0)
                key = None if key is None else _key(key, step, request, fingerprints)
                restored = i < first and step.kept and step.wanted(request)
                if restored:
                    _restore(state, step, key)
                else:
                    _run(state, step, key)
                _check(state, step.name, level, restored)
        finally:
            cache.trim()
        _write_manifest(state, None if last == len(STEPS) - 1 else STEPS[last].name)
    return Build(request.output)


def _key(before: str, step: Step, request: Request, known: dict[str, str]) -> str:
    """The key of a step after another; ``known`` are fingerprints of the request's parts, each of which is taken once."""
    asked = [name.removeprefix("request.") for name in step.reads if name.startswith("request.") and step.wanted(request)]
    for name in asked:
        if name not in known:
            known[name] = step_cache.fingerprint(getattr(request, name))
    return step_cache.next_key(before, step.name, {name: known[name] for name in asked})


def _run(state: State, step: Step, key: str | None) -> None:
    began = time.perf_counter()
    if step.wanted(state.request):
        step.function(state)
    seconds = state.timings[step.name] = time.perf_counter() - began
    if key is None or not step.kept or not step.wanted(state.request):
        return
    files = {
        file.relative_to(state.folder).as_posix(): file.read_bytes()
        for pattern in step.files
        for file in sorted(state.folder.glob(pattern))
        if file.is_file()
    }
    products = {name: getattr(state, name) for name in step.writes}
    step_cache.store(key, step_cache.Finished(products, files, seconds), state.float_model)


def _restore(state: State, step: Step, key: str | None) -> None:
    finished = None if key is None else step_cache.load(key, state.float_model)
    if finished is None:
        raise InputError(
            f"option --from: step {step.name} of this run is not in the cache ({cache.root()}): run it from there, or"
            " without --from"
        )
    for name, content in finished.files.items():
        file = state.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    for name, product in finished.products.items():
        setattr(state, name, product)
    state.timings[step.name] = finished.seconds


def _check_level(setting: str) -> int:
    if setting not in ("0", "1", "2"):
        raise InputError(f"environment variable EDGEFLOW_CHECK is {setting!r}: set it to 0, 1 or 2")
    return int(setting)


def _check(state: State, name: str, level: int, restored: bool) -> None:
    # What was quantized just now has been proven.
    if (name == "quantize" and (restored or state.request.quantized is not None)) or (level >= 1 and hasattr(state, "quantized")):
        verify_graph(state.quantized.graph)
    if level >= 2 and name == "emit":
        library = csim.build(state.folder / "hls")
        results = compare(state.quantized.graph, state.program, library, state.golden_words(), state.progress)
        wrong = [r.name for r in results if r.differing or not r.words]
        if wrong:
            raise VerificationError(f"C++ and NumPy differ in {', '.join(wrong)}: please report this with the model")


def _proto(model: ir.Model) -> onnx.ModelProto:
    proto: onnx.ModelProto = ir.to_proto(model)
    return proto


def _write_manifest(state: State, incomplete: str | None) -> None:
    request = state.request
    original, _ = state.origin
    (state.folder / "board.json").write_text(request.board.model_dump_json(indent=1) + "\n")
    facts = {
        "edgeflow": metadata.version("edgeflow"),
        "model": {"file": request.model.name, "sha256": request.model.digests[0]},
        "board": request.board.name,
        "clock_mhz": request.clock_mhz,
        "dims": dict(request.dims),
        "calibration": "random" if request.calibration is None else "given",
        "seed": request.seed,
    }
    if incomplete is not None:
        write_manifest(state.folder, {"incomplete": incomplete, **facts})
        return
    facts |= {
        "reference": {"kind": state.reference.kind, "note": state.reference.note, **original},
        "quantization": json.loads(state.config.model_dump_json()),
        "golden_samples": len(next(iter(state.golden().values()))),
        "golden_origin": state.golden_origin(),
    }
    write_manifest(state.folder, facts)
