"""The commands that run a build or take it elsewhere: verify, simulate, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeflow.hw.errors import InputError
from edgeflow.sw.cli.console import Console, facts
from edgeflow.sw.cli.parameters import BuildFolder, Engine, Exact, ExportFormat, Labels
from edgeflow.sw.cli.summaries import compared
from edgeflow.sw.files.presence import check_build, check_data
from edgeflow.sw.files.writing import check_writable


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
    check_build(build)
    check_data(inputs, "inputs")
    import edgeflow
    from edgeflow.sw.files.arrays import read_npz, take_labels

    console: Console = context.obj
    opened = edgeflow.open_build(build)
    also = () if labels is None else (labels,)
    data = None if inputs is None else read_npz(inputs, "inputs", lambda: opened.graph.inputs, also)
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
    from edgeflow.sw.flow.options import SimulationOptions, validated

    validated("option", SimulationOptions, {"engine": engine.value, "exact": exact})
    check_build(build)
    check_data(inputs, "inputs")
    if outputs is not None:
        check_writable(outputs)
    import time
    import warnings

    import edgeflow
    from edgeflow.quant.canonical.graph import FloatGraph
    from edgeflow.quant.canonical.labels import check_labels
    from edgeflow.sw.files.arrays import read_npz, take_labels, top1_accuracy, write_npz

    console: Console = context.obj
    opened = edgeflow.open_build(build)
    also = () if labels is None else (labels,)
    data = read_npz(inputs, "inputs", lambda: opened.graph.inputs, also)
    truth = None if labels is None else take_labels(data, labels, f"inputs {inputs}")
    if truth is not None:
        samples = len(next(iter(data.values()), truth))
        truth = check_labels(FloatGraph(opened.float_model()), truth, samples, f"inputs {inputs}: labels {labels!r}")
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


def export(
    context: typer.Context,
    build: BuildFolder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.onnx", help="File to write.", show_default=False)],
    format: Annotated[
        ExportFormat, typer.Option(help="QuantizeLinear and DequantizeLinear, or QONNX's Quant nodes.")
    ] = ExportFormat.QDQ,
) -> None:
    """Write the quantized model of a build as ONNX: QDQ, which onnxruntime runs, or QONNX."""
    check_build(build)
    check_writable(output)
    import edgeflow

    console: Console = context.obj
    file = edgeflow.export(build, output, format=format.value)
    size = file.stat().st_size
    document = {"file": file, "format": format.value, "bytes": size}
    console.show(document, lambda out: facts(out, [("written to", f"{file}, {format.value}, {size / 1e6:.1f} MB")]))
