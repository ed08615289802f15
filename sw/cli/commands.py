"""The commands of ``edgeflow``. Each one reads its options, calls the public API and shows the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from edgeflow.hw.errors import InputError
from edgeflow.sw.cli.comparing import compare
from edgeflow.sw.cli.console import Console, facts, table
from edgeflow.sw.cli.summaries import board_figures, board_rows, compared, explored, fine_tuned, layers, linted, summary, time_taken

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from edgeflow.quant.formats.config import LayerBits

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    help="Take a trained transformer (ONNX) to an FPGA accelerator: quantize, compile, prove it bit-exact, predict its speed.",
    epilog="--quiet and --json may stand before or after any command. Exit status: 0 done, 1 a check failed, 2 the input is wrong.",
)


class Observer(StrEnum):
    """How the range of an activation is chosen."""

    AUTO = "auto"
    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


class Engine(StrEnum):
    """What computes: the integer network in NumPy or as the emitted C++, or the original model in onnxruntime."""

    NUMPY = "numpy"
    CSIM = "csim"
    FLOAT = "float"


class ExportFormat(StrEnum):
    """How an exported ONNX file writes its quantizers."""

    QDQ = "qdq"
    QONNX = "qonnx"


class Order(StrEnum):
    """When layers are quantized in fine-tuning: all from the start, or one after another in HAWQ's order."""

    TOGETHER = "together"
    HAWQ = "hawq"


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Trained model, ONNX.", show_default=False)]
BoardName = Annotated[str, typer.Option(help="Board name (see: edgeflow boards) or a board's TOML file.")]
Calibration = Annotated[
    Path | None,
    typer.Option(help="Calibration data, an .npz keyed by input names. Without it: random data.", show_default=False),
]
Dimensions = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=SIZE", help="Size of a symbolic dimension (sequence=128); repeatable.", show_default=False),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of every random choice.")]
WeightBits = Annotated[
    int, typer.Option(metavar="N", min=2, max=8, help="Bits of the weights of linear layers, 2 to 8; first and last keep 8.")
]
ActivationBits = Annotated[
    int, typer.Option(metavar="N", min=2, max=8, help="Bits of what linear layers read, 2 to 8; first and last keep 8.")
]
BuildFolder = Annotated[Path, typer.Argument(metavar="BUILD", help="Build folder that compile wrote.", show_default=False)]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Array of the inputs file that holds class labels, not a model input; simulate prints top-1 accuracy.",
        show_default=False,
    ),
]
Share = Annotated[
    float | None,
    typer.Option(metavar="PART", help="Part of every resource of the board that may be used; 0.8 by default.", show_default=False),
]
Exact = Annotated[bool, typer.Option("--exact", help="Use the exact ap_int headers in the C simulation (slow).")]


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


@app.command(name="compile", short_help="Compile a model for a board.")
def compile_model(
    context: typer.Context,
    model: Annotated[Path | None, typer.Argument(metavar="MODEL", help="Trained model, ONNX.", show_default=False)] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN.toml", help="Options of a run file, such as a build's; others override them.", show_default=False
        ),
    ] = None,
    board: BoardName = "kv260",
    calib: Calibration = None,
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="X.npz",
            help="Data to measure accuracy on. Without it: a quarter of 64 or more calibration samples, held out.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Array of the calibration or test file with class labels, for top-1 accuracy and --bits.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Build folder to write.")] = Path("edgeflow-build"),
    dim: Dimensions = None,
    observer: Annotated[Observer, typer.Option(help="How activation ranges are chosen.")] = Observer.AUTO,
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    ablation: Annotated[bool, typer.Option("--ablation", help="Report what each quantization technique brings.")] = False,
    bits: Annotated[
        str | None,
        typer.Option(
            metavar="hawq|fit|BITS.json",
            help="Choose every layer's bits under --budget by the Hessian's trace (hawq) or Fisher's (fit); or take a file's.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LIMIT",
            help="Limit of latency, size or bops: 0.6x of the cost at 8 bits, or absolute (2.5ms, 500KB, 3G); repeatable.",
            show_default=False,
        ),
    ] = None,
    clock: Annotated[float | None, typer.Option(metavar="MHZ", help="Clock in MHz; the board's own by default.")] = None,
    pi: Annotated[int | None, typer.Option(metavar="N", help="Input channels multiplied in a cycle; chosen by default.")] = None,
    po: Annotated[int | None, typer.Option(metavar="N", help="Output channels made in a cycle; chosen by default.")] = None,
    epilogue: Annotated[int | None, typer.Option(metavar="N", help="Outputs requantized in a cycle; chosen by default.")] = None,
    vector: Annotated[int | None, typer.Option(metavar="N", help="Elements a cycle of vector units; chosen by default.")] = None,
    weight_ports: Annotated[int | None, typer.Option(metavar="N", help="AXI ports that read weights; chosen by default.")] = None,
    share: Share = None,
    overlay: Annotated[
        Path | None, typer.Option(metavar="OVERLAY.json", help="Compile for this existing overlay.", show_default=False)
    ] = None,
    seed: Seed = 0,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="STEP", help="Take what the steps before this one made from the cache.", show_default=False),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="STEP", help="Stop after this step; --from goes on.", show_default=False)
    ] = None,
) -> None:
    """Compile a model for a board: program, weights, HLS C++ and a report."""
    asked = {name: value for name, value in locals().items() if _on_command_line(context, name)}
    began = time.perf_counter()
    if dim:
        asked["dims"] = _dims(dim)
    from edgeflow.sw.cli import early

    early.check(asked)
    from edgeflow.sw.cli.run_options import compilation
    from edgeflow.sw.flow import compilation as flow

    console: Console = context.obj
    file, folder, options = compilation(config, {name: getattr(value, "value", value) for name, value in asked.items()})
    with console.progress() as progress:
        build = flow.compile_model(file, folder, options, progress=progress, command=console.command, start=start, until=until)
    if build.incomplete is not None:
        done = {"build": build.folder, "incomplete": build.incomplete}
        console.show(done, lambda out: facts(out, [("stopped after", str(build.incomplete)), ("folder", str(build.folder))]))
        return
    report, seconds = build.report, time.perf_counter() - began

    def render(out: RichConsole) -> None:
        summary(out, build.folder, report)
        facts(out, [("time", time_taken(seconds, report["timings_s"]))])

    console.show({"build": build.folder, "seconds": seconds, **report}, render)


@app.command(short_help="Say whether a model can be compiled.")
def check(context: typer.Context, model: Model, dim: Dimensions = None) -> None:
    """Say whether a model can be compiled, and what stands in its way; exit 2 if anything does. It needs no data and no board."""
    dims = _dims(dim or [])
    import edgeflow

    console: Console = context.obj
    diagnosis = edgeflow.check(model, dims=dims)
    console.show(diagnosis.document(), lambda out: out.print(diagnosis.text(), soft_wrap=True), answer=True)
    if not diagnosis.compiles:
        raise typer.Exit(2)


@app.command(short_help="Fine-tune a model at the bits it is to have.")
def finetune(
    context: typer.Context,
    model: Model,
    data: Annotated[Path, typer.Option(help="Training data, an .npz keyed by input names.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="TUNED.onnx", help="File to write.", show_default=False)],
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Array of the data with class labels; without, the model's own outputs.", show_default=False
        ),
    ] = None,
    dim: Dimensions = None,
    weight_bits: WeightBits = 8,
    activation_bits: ActivationBits = 8,
    bits: Annotated[
        Path | None,
        typer.Option(metavar="BITS.json", help="Bits of every layer, as compile --bits chose them.", show_default=False),
    ] = None,
    epochs: Annotated[int, typer.Option(metavar="N", min=1, help="Passes over the training data.")] = 3,
    batch: Annotated[int, typer.Option(metavar="N", min=1, help="Samples of a step.")] = 32,
    lr: Annotated[float, typer.Option(metavar="RATE", help="Largest learning rate of the weights.")] = 3e-4,
    order: Annotated[Order, typer.Option(help="Quantize all layers at once, or the most sensitive first.")] = Order.TOGETHER,
    seed: Seed = 0,
) -> None:
    """Fine-tune a model with its quantizers in place (Brevitas); the file holds the formats, which compile keeps."""
    dims = _dims(dim or [])
    import edgeflow
    from edgeflow.quant.ptq import checked_data
    from edgeflow.sw.files.arrays import read_npz, take_labels
    from edgeflow.sw.files.writing import check_writable
    from edgeflow.sw.importer import import_model
    from edgeflow.sw.measure.reference import hold_to_original

    console: Console = context.obj
    check_writable(output)
    arrays = read_npz(data, "training data")
    truth = None if labels is None else take_labels(arrays, labels, f"training data {data}")
    layers_bits: Mapping[str, LayerBits] = {}
    if bits is not None:
        from edgeflow.sw.search.bit_allocation import read_bits

        layers_bits = read_bits(bits)
    config = edgeflow.quantization(weight_bits=weight_bits, activation_bits=activation_bits, layers=layers_bits, seed=seed)
    options = edgeflow.fine_tuning(epochs=epochs, batch=batch, learning_rate=lr, order=order.value, seed=seed)
    with console.progress() as progress:
        shapes = {name: array.shape for name, array in arrays.items()}
        imported = import_model(model, dims=dims, shapes=shapes, data=f"training data {data}")
        hold_to_original(model, imported, checked_data(imported, arrays, f"training data {data}"), progress)
        tuned = edgeflow.finetune(imported, arrays, truth, config=config, options=options, progress=progress)
    edgeflow.save(tuned.model, output)
    document = {
        "file": output,
        "samples": len(next(iter(arrays.values()))),
        "seconds": round(tuned.seconds, 1),
        "best": tuned.best,
        "epochs": [{"epoch": e.number, "loss": e.loss, "validation_loss": e.validation_loss, "top1": e.top1} for e in tuned.epochs],
        "order": [{"layer": name, "omega": omega} for name, omega in tuned.order],
    }
    console.show(document, lambda out: fine_tuned(out, output, document))


@app.command(short_help="Sweep accelerators for a model and draw the Pareto front.")
def explore(
    context: typer.Context,
    model: Model,
    board: BoardName = "kv260",
    calib: Calibration = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the exploration; a rerun goes on there.")] = Path(
        "explore"
    ),
    dim: Dimensions = None,
    clock: Annotated[str | None, typer.Option(metavar="MHZ,...", help="Clocks in MHz; the board's own by default.")] = None,
    pi: Annotated[str | None, typer.Option(metavar="N,...", help="Input channels multiplied in a cycle; all by default.")] = None,
    po: Annotated[str | None, typer.Option(metavar="N,...", help="Output channels made in a cycle; all by default.")] = None,
    epilogue: Annotated[str | None, typer.Option(metavar="N,...", help="Outputs requantized in a cycle.")] = None,
    vector: Annotated[str | None, typer.Option(metavar="N,...", help="Elements a cycle of vector units.")] = None,
    weight_ports: Annotated[str | None, typer.Option(metavar="N,...", help="AXI ports that read weights.")] = None,
    share: Share = None,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Processes on this machine; one a processor by default.", show_default=False),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Work on the Dask cluster of this scheduler (tcp://HOST:PORT).", show_default=False),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Sweep accelerators for a model and a board: predicted latency against resources, and the Pareto front."""
    dims = _dims(dim or [])
    asked = {"pi": pi, "po": po, "epilogue": epilogue, "vector": vector, "weight_ports": weight_ports}
    sizes = {name: _numbers(f"--{name.replace('_', '-')}", text, int) for name, text in asked.items() if text is not None}
    clocks = None if clock is None else _numbers("--clock", clock, float)
    import edgeflow

    console: Console = context.obj
    with console.progress() as progress:
        exploration = edgeflow.explore(
            model,
            board=board,
            calibration=calib,
            output=output,
            dims=dims,
            sizes=sizes,
            clocks_mhz=clocks,
            share=share,
            seed=seed,
            jobs=jobs,
            scheduler=scheduler,
            progress=progress,
        )
    document = {"folder": exploration.folder, "resumed": exploration.resumed, **exploration.document}
    console.show(document, lambda out: explored(out, exploration))


@app.command(short_help="Prove that NumPy and C++ agree, word by word.")
def verify(
    context: typer.Context,
    build: BuildFolder,
    inputs: Annotated[
        Path | None, typer.Option(help="Inputs, an .npz; the build's own samples by default.", show_default=False)
    ] = None,
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Samples to run, from the first.")] = 8,
    exact: Exact = False,
    labels: Labels = None,
) -> None:
    """Run the model in float, NumPy and C++; exit 1 if any word of any tensor differs between NumPy and C++."""
    import edgeflow
    from edgeflow.sw.files.arrays import read_npz, take_labels

    console: Console = context.obj
    opened = edgeflow.open_build(build)
    data = None if inputs is None else read_npz(inputs, "inputs")
    if labels is not None:
        if data is None:
            raise InputError("option --labels names an array of the inputs file: add --inputs FILE.npz")
        take_labels(data, labels, f"inputs {inputs}")
    with console.progress() as progress:
        result = edgeflow.verify(opened, data, samples=samples, exact=exact, progress=progress)
    document = {
        "passed": result.passed,
        "samples": result.samples,
        "origin": result.origin,
        "exact": result.exact,
        "words": result.words,
        "differing": result.differing,
        "reference": result.reference,
        "sqnr_db": result.sqnr_db,
        "top1_agreement": result.top1_agreement,
        "warnings": list(result.warnings),
        "tensors": [{"name": t.name, "words": t.words, "differing": t.differing} for t in result.tensors],
    }
    console.show(document, lambda out: compared(out, result))
    if not result.passed:
        raise typer.Exit(1)


@app.command(short_help="Run a build on inputs of your own.")
def simulate(
    context: typer.Context,
    build: BuildFolder,
    inputs: Annotated[Path, typer.Option(help="Inputs, an .npz keyed by input names.", show_default=False)],
    outputs: Annotated[Path | None, typer.Option(help="Where to write the outputs, an .npz.", show_default=False)] = None,
    engine: Annotated[Engine, typer.Option(help="NumPy, the emitted C++, or the float model.")] = Engine.NUMPY,
    exact: Exact = False,
    labels: Labels = None,
) -> None:
    """Run a build on inputs of your own; outputs are real values under the model's names."""
    if outputs is None and labels is None:
        raise InputError("simulate has nothing to do with its result: give --outputs FILE.npz, or --labels KEY for top-1 accuracy")
    import time
    import warnings

    import edgeflow
    from edgeflow.sw.files.arrays import read_npz, take_labels, top1_accuracy, write_npz
    from edgeflow.sw.files.writing import check_writable
    from edgeflow.sw.flow.options import SimulationOptions, validated

    console: Console = context.obj
    validated("option", SimulationOptions, {"engine": engine.value, "exact": exact})
    opened = edgeflow.open_build(build)
    if outputs is not None:
        check_writable(outputs)
    data = read_npz(inputs, "inputs")
    truth = None if labels is None else take_labels(data, labels, f"inputs {inputs}")
    start = time.perf_counter()
    with console.progress() as progress, warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always", UserWarning)
        results = edgeflow.simulate(opened, data, engine=engine.value, exact=exact, progress=progress)
        seconds = time.perf_counter() - start
        expected = {} if truth is None else edgeflow.simulate(opened, data, engine="float", progress=progress)
    texts = list(dict.fromkeys(str(line.message) for line in noted))
    count = len(next(iter(results.values())))
    document: dict[str, Any] = {"samples": count, "seconds": round(seconds, 3), "engine": engine.value}
    document["outputs"] = {name: {"shape": list(value.shape)} for name, value in results.items()}
    document["warnings"] = texts
    rows = [("samples", f"{count} in {seconds:.2f} s, {engine.value}")]
    rows += [(f"output {name}", " x ".join(map(str, value.shape))) for name, value in results.items()]
    if truth is not None:
        document["top1_accuracy"] = accuracy = top1_accuracy(results, truth)
        document["float_top1_accuracy"] = reference = top1_accuracy(expected, truth)
        rows.append(("top-1 accuracy", f"{100 * accuracy:.2f} % (float model: {100 * reference:.2f} %)"))
    if outputs is not None:
        write_npz(outputs, results)
        document["file"] = outputs
        rows.append(("written to", str(outputs)))
    rows += [("warning", text) for text in texts]
    console.show(document, lambda out: facts(out, rows))


@app.command(short_help="Write the quantized model as ONNX for other tools.")
def export(
    context: typer.Context,
    build: BuildFolder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.onnx", help="File to write.", show_default=False)],
    format: Annotated[
        ExportFormat, typer.Option(help="QuantizeLinear and DequantizeLinear, or QONNX's Quant nodes.")
    ] = ExportFormat.QDQ,
) -> None:
    """Write the quantized model of a build as ONNX: QDQ, which onnxruntime runs, or QONNX."""
    import edgeflow

    console: Console = context.obj
    file = edgeflow.export(build, output, format=format.value)
    size = file.stat().st_size
    document = {"file": file, "format": format.value, "bytes": size}
    console.show(document, lambda out: facts(out, [("written to", f"{file}, {format.value}, {size / 1e6:.1f} MB")]))


@app.command(short_help="Predict the cycles of every layer.")
def cycles(
    context: typer.Context,
    build: BuildFolder,
    trace: Annotated[
        Path | None,
        typer.Option(metavar="T.json", help="Write a trace for Perfetto or chrome://tracing; .gz compresses.", show_default=False),
    ] = None,
    clock: Annotated[float | None, typer.Option(metavar="MHZ", help="Clock in MHz; the build's own by default.")] = None,
) -> None:
    """Predict the cycles of every layer and how far off the limits they are; with --trace also as a timeline."""
    import edgeflow
    from edgeflow.sim.cycles import trace_file
    from edgeflow.sw.cli.cycle_tables import predicted, prediction
    from edgeflow.sw.files.writing import check_writable, write_bytes

    console: Console = context.obj
    if trace is not None:
        check_writable(trace)
    report = edgeflow.cycles(edgeflow.open_build(build), clock_mhz=clock)
    document = prediction(report)
    if trace is not None:
        write_bytes(trace, trace_file(report, compressed=trace.suffix == ".gz"))
        document["trace"] = trace
    console.show(document, lambda out: predicted(out, report, trace), answer=True)


@app.command(short_help="Check that the HLS C++ can be synthesized.")
def lint(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="BUILD|FOLDER", help="Build folder, or a folder of HLS C++.", show_default=False)
    ],
) -> None:
    """Check that the HLS C++ of a build can be synthesized as it is meant; exit 1 if anything breaks a rule (docs/lint.md)."""
    import edgeflow

    console: Console = context.obj
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


@app.command(short_help="Show a build's report.")
def report(
    context: typer.Context,
    build: BuildFolder,
    per_layer: Annotated[bool, typer.Option("--layers", help="Add one line for each layer.")] = False,
) -> None:
    """Show a build's report; with --json the whole of report.json."""
    import edgeflow

    console: Console = context.obj
    opened = edgeflow.open_build(build)
    document = opened.report

    def render(out: RichConsole) -> None:
        summary(out, opened.folder, document)
        if per_layer:
            layers(out, document)

    console.show(document, render, answer=True)


app.command(short_help="Compare builds with one another.")(compare)


@app.command(short_help="List the boards EdgeFlow knows.")
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


@app.command(name="cache", short_help="Show, limit or clear what is kept between runs.")
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


@app.command(short_help="Check what this machine has.")
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


def _on_command_line(context: typer.Context, name: str) -> bool:
    """Whether a parameter was given, rather than left at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _dims(options: list[str]) -> dict[str, int]:
    dims: dict[str, int] = {}
    for option in options:
        name, equals, size = option.partition("=")
        if not (name and equals and size.isdecimal() and int(size) > 0):
            raise InputError(f"option --dim {option!r} must be NAME=SIZE with a positive size, such as --dim sequence=128")
        dims[name] = int(size)
    return dims


Number = TypeVar("Number", int, float)


def _numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    try:
        numbers = tuple(dict.fromkeys(kind(part) for part in text.split(",")))
    except ValueError as error:
        raise InputError(f"option {option} {text!r} must be numbers separated by commas, such as 16,32") from error
    if min(numbers) <= 0:
        raise InputError(f"option {option} {text!r} must be positive numbers")
    return numbers
