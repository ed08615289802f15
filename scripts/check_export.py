"""The exported QDQ model in onnxruntime against the integer network that it describes, on real models.

    python scripts/export_models.py minilm        # once; needs torch and the extra ``text``
    python scripts/check_export.py [vit|minilm|all] [--trips] [--images 1000] [--documents 25] [--seed 0] [--json FILE]

WwAa: weights of w bits, activations between linear layers of a bits; the first and the last layer have 8 bits. Mixed: bits drawn
for each layer from the seed, weights of 2, 3, 4 or 8 bits, activations of 4 or 8. Weight words must all be equal. Both exports must
compile to the integer network that they came from, and so must the export of that: ``trips`` counts what differs, and ``--trips``
checks this alone. Outputs are compared with onnxruntime's graph optimizations off and on: SQNR, the share of equal classes and, for
scale, the SQNR between the float model and the integer network. QONNX's own executor runs a few samples of the QONNX export against
QDQ (needs the extra ``test``)."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from bench_accuracy import VIT
from onnx import numpy_helper

from edgeflow.hw.arrays import Array, Arrays
from edgeflow.hw.errors import EdgeFlowError, VerificationError
from edgeflow.hw.graph_equality import differences
from edgeflow.models.data import load_fashion_mnist
from edgeflow.models.text import GENSIM_DATA, MINILM, rated_documents, tokenize
from edgeflow.models.wheels import cache_folder
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import check_inputs, decode_outputs, encode_inputs, model_inputs
from edgeflow.quant.canonical.session import MAXIMUM_IR_VERSION
from edgeflow.quant.convert.widths import layer_bits
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.nodes import origin, output_name
from edgeflow.quant.ptq import Quantized, quantize
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor
from edgeflow.sw.export import export_qdq, export_qonnx
from edgeflow.sw.importer import import_model
from edgeflow.sw.measure.accuracy import float_outputs

BITS = {"W8A8": (8, 8), "W4A4": (4, 4), "W2A4": (2, 4)}
LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "on": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
BATCH = 25
QONNX_SAMPLES = 4
TRIP_SAMPLES = 4
LISTED = 5  # lines on what differs
COUNTS = ("words", "different", "trips")


def configurations(model: ir.Model, seed: int) -> dict[str, QuantizationConfig]:
    """What is checked, by name."""
    uniform = {name: QuantizationConfig(weight_bits=w, activation_bits=a, seed=seed) for name, (w, a) in BITS.items()}
    rng = np.random.default_rng(seed)
    layers = {
        name: LayerBits(weight=int(rng.choice((2, 3, 4, 8))), activation=int(rng.choice((4, 8))))
        for name in layer_bits(FloatGraph(model), QuantizationConfig())
    }
    return {**uniform, "mixed": QuantizationConfig(layers=layers, seed=seed)}


def compared_words(model: ir.Model, quantized: Quantized, proto: onnx.ModelProto) -> tuple[int, int]:
    """Weight words of linear layers in the file, and how many are not the integer graph's."""
    graph, known = quantized.graph, quantized.correspondence
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    makers = {node.output: node for node in graph.nodes}
    linear = [node for node in graph.nodes if node.op == "linear"]
    words = different = 0
    for name in dict.fromkeys(map(origin, FloatGraph(model).layers())):
        layers = [node for node in FloatGraph(model).layers() if origin(node) == name]
        for layer, node in zip(layers, [node for node in linear if node.origin == name], strict=True):
            expected = graph.constants[node.inputs[1]]
            source = makers.get(node.inputs[0])
            x = source.inputs[0] if source is not None and source.op == "patches" else node.inputs[0]
            rows, columns = known[node.output].channels, known[x].channels
            expected = expected if rows is None else expected[rows]
            expected = expected if columns is None else expected[:, columns]
            actual = numpy_helper.to_array(stored[f"{output_name(layer)}/weight/words"]).astype(np.int64)
            actual = actual.reshape(len(actual), -1) if layer.op_type == "PatchEmbed" else actual.T
            words += expected.size
            different += int(np.sum(actual != expected)) if actual.shape == expected.shape else expected.size
    return words, different


def run(proto: onnx.ModelProto, inputs: Arrays, output: str, level: Any) -> Array:
    """One output of a model for all samples."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    count = len(next(iter(inputs.values())))
    pieces = [slice(i, i + BATCH) for i in range(0, count, BATCH)]
    return np.concatenate([session.run([output], {name: array[piece] for name, array in inputs.items()})[0] for piece in pieces])


def run_qonnx(proto: onnx.ModelProto, inputs: Arrays, output: str) -> Array:
    """The same by QONNX's own executor, which wants to know the batch and runs one node after another."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    samples = len(next(iter(inputs.values())))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == "batch":
                axis.dim_value = samples
    onnx.IR_VERSION = MAXIMUM_IR_VERSION  # type: ignore[assignment]  # of the single nodes that it hands to onnxruntime
    values: Array = execute_onnx(ModelWrapper(proto).transform(InferShapes()), dict(inputs))[output]
    return values


def round_trips(model: ir.Model, quantized: Quantized, calibration: Arrays) -> int:
    """Export a network as QDQ, as QONNX, and as QDQ again from the QONNX file; return in how many places the integer networks that
    these compile to differ from the first."""
    shapes = {name: array.shape for name, array in calibration.items()}
    few = {name: array[:TRIP_SAMPLES] for name, array in calibration.items()}
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        for forms in ((export_qdq,), (export_qonnx, export_qdq)):
            source, network = model, quantized
            for form in forms:
                file.write_bytes(form(source, network).SerializeToString())
                source = import_model(file, shapes=shapes)
                network = quantize(source, few)
                lines = [*differences(quantized.graph, network.graph), *set(network.warnings)]
                count += len(lines)
                for line in lines[:LISTED]:
                    print(f"  {form.__name__}: {line}")
    return count


def check(path: Path, calibration: Arrays, inputs: Arrays, output: str, seed: int, trips: bool) -> dict[str, dict[str, float]]:
    """Figures of every configuration; ``trips``: of round trips alone."""
    model = import_model(path, shapes={name: array.shape for name, array in calibration.items()})
    if trips:
        return {
            name: {"trips": round_trips(model, quantize(model, calibration, config), calibration)}
            for name, config in configurations(model, seed).items()
        }
    checked = check_inputs(model_inputs(model), inputs)
    real = float_outputs(model, checked)[output]
    classes = real.shape[1]
    rows: dict[str, dict[str, float]] = {}
    for name, config in configurations(model, seed).items():
        quantized = quantize(model, calibration, config)
        integer = decode_outputs(quantized.graph, Executor(quantized.graph).run(encode_inputs(quantized.graph, checked)))[output]
        start = time.perf_counter()
        proto = export_qdq(model, quantized)
        row: dict[str, float] = {"export_seconds": time.perf_counter() - start, "megabytes": proto.ByteSize() / 1e6}
        onnx.checker.check_model(proto, full_check=True)
        row["words"], row["different"] = compared_words(model, quantized, proto)
        row["trips"] = round_trips(model, quantized, calibration)
        row["float_sqnr_db"] = signal_to_noise(real, integer)
        for setting, level in LEVELS.items():
            values = run(proto, checked, output, level)
            row[f"{setting}_sqnr_db"] = signal_to_noise(integer, values)
            if classes <= 1000 and output == "logits":
                row[f"{setting}_top1_percent"] = 100.0 * float(np.mean(values.argmax(axis=1) == integer.argmax(axis=1)))
        few = {key: array[:QONNX_SAMPLES] for key, array in checked.items()}
        other = run_qonnx(export_qonnx(model, quantized), few, output)
        row["qonnx_sqnr_db"] = signal_to_noise(run(proto, few, output, LEVELS["off"]), other)
        rows[name] = row
    return rows


def wrong(title: str, rows: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What does not hold."""
    problems = [f"{title} {name}: {row['different']:.0f} weight words differ" for name, row in rows.items() if row.get("different")]
    for name, row in rows.items():
        if row["trips"]:
            problems.append(f"{title} {name}: exports compile to something else in {row['trips']:.0f} places")
        if "float_sqnr_db" not in row:
            continue
        nearest = min(row[f"{setting}_sqnr_db"] for setting in LEVELS)
        if nearest <= row["float_sqnr_db"]:
            problems.append(f"{title} {name}: QDQ is no nearer to the integer network ({nearest:.2f} dB) than the float model is")
    return problems


def show(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """A line for each configuration."""
    keys = list(next(iter(rows.values())))
    print(f"\n{title}\n  {'':8}" + "".join(f"{key:>18}" for key in keys))
    for name, row in rows.items():
        print(f"  {name:8}" + "".join(f"{row[key]:18.0f}" if key in COUNTS else f"{row[key]:18.2f}" for key in keys))


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; status 1 where something that must hold does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=("vit", "minilm", "all"), default="all")
    parser.add_argument("--trips", action="store_true", help="only check that exports compile to the network that they came from")
    parser.add_argument("--images", type=int, default=1000, help="Fashion-MNIST test images")
    parser.add_argument("--documents", type=int, default=25, help="rated documents for MiniLM, 50 at most")
    parser.add_argument("--seed", type=int, default=0, help="of drawn bits and of rows that ranges are searched on")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")  # qonnx's
    results: dict[str, dict[str, dict[str, float]]] = {}
    try:
        if options.model in ("vit", "all"):
            with np.load(VIT / "calibration.npz") as archive:
                calibration = dict(archive)
            images = {"image": load_fashion_mnist("test").images(slice(options.images))}
            results["vit"] = check(VIT / "model.onnx", calibration, images, "logits", options.seed, options.trips)
            show(f"Fashion-MNIST ViT, {options.images:,} test images, seed {options.seed}", results["vit"])
        if options.model in ("minilm", "all"):
            MINILM.fetch()
            GENSIM_DATA.fetch()
            path = cache_folder() / "minilm"
            with np.load(path / "calibration.npz") as archive:
                calibration = dict(archive)
            documents = tokenize(rated_documents().documents[: options.documents], calibration["input_ids"].shape[1])
            results["minilm"] = check(
                path / "model.onnx", calibration, documents, "sentence_embedding", options.seed, options.trips
            )
            show(f"MiniLM, {options.documents} rated documents, seed {options.seed}", results["minilm"])
        if options.json is not None:
            options.json.write_text(json.dumps(results, indent=1) + "\n")
        failed = [line for title, rows in results.items() for line in wrong(title, rows)]
        if failed:
            raise VerificationError("; ".join(failed))
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
