"""Accuracy at 8 bits, side by side: float, EdgeFlow's integer network, onnxruntime's static quantization.

    python scripts/export_models.py minilm        # once; needs torch and the extra ``text``
    python scripts/bench_accuracy.py [vit|minilm|all] [--images 10000] [--json FILE]

Both quantizers get the same calibration data. onnxruntime's is quantize_static on the pre-processed model, QDQ, weights per
channel, with its defaults for the rest; its result runs with graph optimisations disabled, as the fused u8s8 kernels saturate on
CPUs without VNNI. Needs the full Fashion-MNIST test set (Debian package dataset-fashion-mnist) and the extra ``text``."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from edgeflow.hw.arrays import Array, Arrays
from edgeflow.hw.errors import EdgeFlowError, VerificationError
from edgeflow.hw.verify import verify_graph
from edgeflow.models.data import load_fashion_mnist
from edgeflow.models.text import GENSIM_DATA, MINILM, rated_documents, sentences, tokenize
from edgeflow.models.wheels import cache_folder
from edgeflow.quant.canonical.inputs import check_inputs, decode_outputs, encode_inputs, model_inputs
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor
from edgeflow.sw.importer import import_model

VIT = Path(__file__).resolve().parent.parent / "examples" / "fashion_mnist_vit"
PRODUCTS = ("Conv", "Gemm", "MatMul", "Gather")
BATCH = 100
TOP1_POINTS, COSINE, PEARSON = 0.5, 0.995, 0.01  # what must hold

Runner = Callable[[Arrays], dict[str, Array]]


class Samples(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Calibration data one sample at a time, as onnxruntime asks for it."""

    def __init__(self, arrays: Arrays) -> None:
        count = len(next(iter(arrays.values())))
        self._samples = iter([{name: array[i : i + 1] for name, array in arrays.items()} for i in range(count)])

    def get_next(self) -> dict[str, Array] | None:
        """The next sample; None at the end."""
        return next(self._samples, None)


def float_runner(model: Path) -> Runner:
    """onnxruntime in float32."""
    return _session_runner(model, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)


def static_runner(model: Path, calibration: Arrays, folder: Path, operators: Sequence[str] | None = None, **options: Any) -> Runner:
    """onnxruntime's static quantization of the model, of the given operator types or all that it can; ``options`` are more of
    quantize_static's."""
    prepared, quantized = folder / "prepared.onnx", folder / "quantized.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quant_pre_process(model, prepared)
        quantize_static(
            prepared,
            quantized,
            Samples(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=operators,
            **{"per_channel": True, **options},
        )
    return _session_runner(quantized, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)


def integer_runner(model: Path, calibration: Arrays, config: QuantizationConfig) -> Runner:
    """EdgeFlow's integer network in its NumPy executor, its accumulators proved not to overflow."""
    canonical = import_model(model, shapes={name: array.shape for name, array in calibration.items()})
    specs = model_inputs(canonical)
    graph = quantize(canonical, calibration, config).graph
    verify_graph(graph)
    executor = Executor(graph)

    def run(arrays: Arrays) -> dict[str, Array]:
        words = encode_inputs(graph, check_inputs(specs, arrays))
        return dict(decode_outputs(graph, executor.run(words)))

    return run


def runners(model: Path, calibration: Arrays, observer: str, folder: Path) -> dict[str, Runner]:
    """The engines by name."""
    return {
        "float": float_runner(model),
        "EdgeFlow int8": integer_runner(model, calibration, QuantizationConfig.model_validate({"observer": observer})),
        "onnxruntime int8": static_runner(model, calibration, folder),
        "onnxruntime mixed": static_runner(model, calibration, folder, PRODUCTS),
    }


def run_batches(runner: Runner, inputs: Arrays, output: str) -> Array:
    """One output for all samples."""
    count = len(next(iter(inputs.values())))
    pieces = [slice(i, min(i + BATCH, count)) for i in range(0, count, BATCH)]
    return np.concatenate([runner({name: array[piece] for name, array in inputs.items()})[output] for piece in pieces])


def bench_vit(images: int, observer: str, folder: Path) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Top-1 on Fashion-MNIST test images; figures by engine, and what does not hold."""
    test = load_fashion_mnist("test")
    labels = test.labels[:images]
    inputs = {"image": test.images(slice(images))}
    with np.load(VIT / "calibration.npz") as archive:
        calibration = dict(archive)
    rows: dict[str, dict[str, float]] = {}
    expected = None
    for name, runner in runners(VIT / "model.onnx", calibration, observer, folder).items():
        start = time.perf_counter()
        logits = run_batches(runner, inputs, "logits")
        expected = logits if expected is None else expected
        rows[name] = {
            "top1_percent": 100.0 * float(np.mean(logits.argmax(axis=1) == labels)),
            "top1_agreement_percent": 100.0 * float(np.mean(logits.argmax(axis=1) == expected.argmax(axis=1))),
            "logits_sqnr_db": signal_to_noise(expected, logits),
            "seconds": time.perf_counter() - start,
        }
    reference, ours, *others = rows.values()
    failed = []
    if abs(reference["top1_percent"] - ours["top1_percent"]) > TOP1_POINTS:
        failed.append(f"ViT: int8 top-1 is more than {TOP1_POINTS} points from float")
    if ours["logits_sqnr_db"] < max(row["logits_sqnr_db"] for row in others):
        failed.append("ViT: the logits are further from float than onnxruntime's")
    if ours["top1_percent"] < min(reference["top1_percent"], *(row["top1_percent"] for row in others)):
        failed.append("ViT: top-1 is below float's and onnxruntime's")
    return rows, failed


def bench_minilm(observer: str, folder: Path) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Sentence embeddings: cosine to float on the rated documents and on their sentences, and Pearson with people's ratings."""
    MINILM.fetch()
    GENSIM_DATA.fetch()
    path = cache_folder() / "minilm"
    with np.load(path / "calibration.npz") as archive:
        calibration = dict(archive)
    rated = rated_documents()
    length = calibration["input_ids"].shape[1]
    documents = tokenize(rated.documents, length)
    single = tokenize(sentences(rated.documents), length)
    rows: dict[str, dict[str, float]] = {}
    reference: tuple[Array, Array] | None = None
    for name, runner in runners(path / "model.onnx", calibration, observer, folder).items():
        start = time.perf_counter()
        embeddings = tuple(run_batches(runner, inputs, "sentence_embedding") for inputs in (documents, single))
        reference = (embeddings[0], embeddings[1]) if reference is None else reference
        cosines = [cosine(a, b) for a, b in zip(reference, embeddings, strict=True)]
        rows[name] = {
            "document_cosine_mean": float(cosines[0].mean()),
            "document_cosine_least": float(cosines[0].min()),
            "sentence_cosine_mean": float(cosines[1].mean()),
            "sentence_cosine_least": float(cosines[1].min()),
            "pearson": rated.correlation(embeddings[0]),
            "seconds": time.perf_counter() - start,
        }
    truth, ours, *others = rows.values()
    failed = []
    for kind in ("document", "sentence"):
        key = f"{kind}_cosine_mean"
        if ours[key] < COSINE:
            failed.append(f"MiniLM: mean {kind} cosine {ours[key]:.5f} is below {COSINE}")
        best = max(row[key] for row in others)
        if ours[key] < best:
            failed.append(f"MiniLM: mean {kind} cosine {ours[key]:.5f} is below onnxruntime's {best:.5f}")
    if abs(truth["pearson"] - ours["pearson"]) > PEARSON:
        failed.append(f"MiniLM: Pearson is more than {PEARSON} from float")
    return rows, failed


def cosine(a: Array, b: Array) -> Array:
    """Cosine of each pair of rows."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    product: Array = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return product


def print_table(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """Engines across, figures down."""
    print(f"\n{title}")
    print(f"  {'':26}" + "".join(f"{name:>18}" for name in rows))
    for key in next(iter(rows.values())):
        print(f"  {key:26}" + "".join(f"{row[key]:18.4f}" for row in rows.values()))


def _session_runner(model: Path, level: onnxruntime.GraphOptimizationLevel) -> Runner:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda arrays: dict(zip(names, session.run(names, dict(arrays)), strict=True))


def main() -> int:
    """Run the benches, print tables, write JSON; status 1 where something that must hold does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=("vit", "minilm", "all"), default="all")
    parser.add_argument("--images", type=int, default=10_000, help="Fashion-MNIST test images (default all 10,000)")
    parser.add_argument("--observer", choices=("auto", "minmax", "percentile", "mse"), default="auto")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)  # onnxruntime's quantizer warns of every vector of weights
    results: dict[str, dict[str, dict[str, float]]] = {}
    failed: list[str] = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            if arguments.model in ("vit", "all"):
                results["vit"], wrong = bench_vit(arguments.images, arguments.observer, Path(folder))
                failed += wrong
                print_table(f"Fashion-MNIST ViT, {arguments.images:,} test images", results["vit"])
            if arguments.model in ("minilm", "all"):
                results["minilm"], wrong = bench_minilm(arguments.observer, Path(folder))
                failed += wrong
                print_table("MiniLM, 50 rated documents and their sentences", results["minilm"])
        if arguments.json is not None:
            document = {"models": results, "failed": failed, "onnxruntime": onnxruntime.__version__}
            arguments.json.write_text(json.dumps(document, indent=1) + "\n")
        if failed:
            raise VerificationError("; ".join(failed))
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
