"""The commands that take a model: compile, check, finetune, explore."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeflow.sw.cli.console import Console, facts
from edgeflow.sw.cli.parameters import (
    ActivationBits,
    BoardName,
    Calibration,
    Dimensions,
    Model,
    Observer,
    Order,
    Seed,
    Share,
    WeightBits,
    dimensions,
    numbers,
    on_command_line,
)
from edgeflow.sw.cli.summaries import explored, fine_tuned, summary, time_taken
from edgeflow.sw.files.presence import check_data, check_model
from edgeflow.sw.files.writing import check_writable

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from edgeflow.quant.formats.config import LayerBits


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
    asked = {name: value for name, value in locals().items() if on_command_line(context, name)}
    began = time.perf_counter()
    if dim:
        asked["dims"] = dimensions(dim)
    from edgeflow.sw.cli.run_options import compilation
    from edgeflow.sw.flow.step_range import step_range

    step_range(start, until)
    file, folder, options = compilation(config, {name: getattr(value, "value", value) for name, value in asked.items()})
    from edgeflow.sw.flow import compilation as flow  # heavy: what can be wrong with the options has been told

    console: Console = context.obj
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


def check(context: typer.Context, model: Model, dim: Dimensions = None) -> None:
    """Say whether a model can be compiled, and what stands in its way; exit 2 if anything does. It needs no data and no board."""
    dims = dimensions(dim or [])
    check_model(model)
    import edgeflow

    console: Console = context.obj
    diagnosis = edgeflow.check(model, dims=dims)
    console.show(diagnosis.document(), lambda out: out.print(diagnosis.text(), soft_wrap=True), answer=True)
    if not diagnosis.compiles:
        raise typer.Exit(2)


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
    dims = dimensions(dim or [])
    check_model(model)
    check_data(data, "training data")
    check_writable(output)
    import edgeflow
    from edgeflow.quant.ptq import checked_data
    from edgeflow.sw.files.arrays import read_npz, take_labels
    from edgeflow.sw.importer import import_model
    from edgeflow.sw.measure.reference import hold_to_original

    console: Console = context.obj
    arrays = read_npz(data, "training data")  # whole: labels that no option names are an error, not left out in silence
    truth = None if labels is None else take_labels(arrays, labels, f"training data {data}")
    layers_bits: Mapping[str, LayerBits] = {}
    if bits is not None:
        from edgeflow.sw.search.bit_requests import read_bits

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


def explore(
    context: typer.Context,
    model: Model,
    board: BoardName = "kv260",
    calib: Calibration = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the exploration; a rerun goes on there.")] = Path(
        "explore"
    ),
    dim: Dimensions = None,
    weight_bits: Annotated[
        str | None, typer.Option(metavar="N,...", help="Bits of weights to try, 2 to 8; 8 by default.", show_default=False)
    ] = None,
    activation_bits: Annotated[
        str | None,
        typer.Option(
            metavar="N,...", help="Bits of what linear layers read, each with each; the weights' by default.", show_default=False
        ),
    ] = None,
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
    dims = dimensions(dim or [])
    asked = {"pi": pi, "po": po, "epilogue": epilogue, "vector": vector, "weight_ports": weight_ports}
    sizes = {name: numbers(f"--{name.replace('_', '-')}", text, int) for name, text in asked.items() if text is not None}
    clocks = None if clock is None else numbers("--clock", clock, float)
    weights = None if weight_bits is None else numbers("--weight-bits", weight_bits, int)
    activations = None if activation_bits is None else numbers("--activation-bits", activation_bits, int)
    from edgeflow.hw.boards import load_board
    from edgeflow.sw.search.exploration_folder import check_folder

    load_board(board)
    check_model(model)
    check_data(calib, "calibration data")
    check_folder(output)
    import edgeflow  # heavy from here on: what can be wrong with the options has been told

    console: Console = context.obj
    with console.progress() as progress:
        exploration = edgeflow.explore(
            model,
            board=board,
            calibration=calib,
            output=output,
            dims=dims,
            sizes=sizes,
            weight_bits=weights,
            activation_bits=activations,
            clocks_mhz=clocks,
            share=share,
            seed=seed,
            jobs=jobs,
            scheduler=scheduler,
            progress=progress,
        )
    document = {"folder": exploration.folder, "resumed": exploration.resumed, **exploration.document}
    console.show(document, lambda out: explored(out, exploration))
