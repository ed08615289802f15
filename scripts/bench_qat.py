"""Quantization-aware training of the Fashion-MNIST ViT against post-training quantization at the same bits.

    python scripts/bench_qat.py [--samples 16000] [--epochs 1] [--images 10000] [--seed 0] [--bits W3A3 ...] [--json FILE]

Every network is fine-tuned from the shipped float model, on training images with their labels, with Brevitas; then its integer
graph is made. Top-1 of the float model, of post-training quantization, of the Brevitas network itself and of the integer graph is
over the same test images. What got lost on the way back is counted: weight words that differ and formats that changed (none may),
images on which the last two agree. Exit status 1 where something got lost, or where training made the integer graph worse by more
than two standard errors (over the test images, in pairs). Needs the Debian package dataset-fashion-mnist and the extra ``qat``.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array, Arrays
from edgeflow.hw.errors import EdgeFlowError, InputError, VerificationError
from edgeflow.models.data import load_fashion_mnist
from edgeflow.quant.canonical.inputs import check_inputs, decode_outputs, encode_inputs, model_inputs
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.ptq import Quantized, quantize
from edgeflow.quant.techniques.qat.options import FineTuning
from edgeflow.quant.techniques.qat.tune import finetune
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor
from edgeflow.sw.importer import import_model
from edgeflow.sw.measure.accuracy import float_outputs

VIT = Path(__file__).resolve().parent.parent / "examples" / "fashion_mnist_vit"
BITS = ("W3A3", "W2A4", "W4A4")
COLUMNS = ("float", "PTQ", "Brevitas", "integer graph", "agree", "SQNR, dB", "words differ", "seconds")
BATCH = 50


def bits_of(text: str) -> tuple[int, int]:
    """Weight and activation bits of a name such as W3A3."""
    match = re.fullmatch(r"W(\d)A(\d)", text)
    if match is None:
        raise InputError(f"bits {text!r} must be written as W3A3: bits of weights, bits of activations")
    return int(match[1]), int(match[2])


def integer_outputs(quantized: Quantized, inputs: Arrays, output: str) -> Array:
    """What the integer graph makes of all inputs."""
    graph, executor = quantized.graph, Executor(quantized.graph)
    parts = []
    for start in range(0, len(next(iter(inputs.values()))), BATCH):
        words = encode_inputs(graph, {name: array[start : start + BATCH] for name, array in inputs.items()})
        parts.append(decode_outputs(graph, executor.run(words))[output])
    return np.concatenate(parts)


def row(
    model: ir.Model, config: QuantizationConfig, options: FineTuning, data: Arrays, labels: Array, test: _Test
) -> dict[str, Any]:
    """Figures of one network."""
    from edgeflow.quant.techniques.qat.translate import compare

    plain = integer_outputs(quantize(model, test.calibration, config), test.inputs, test.output)
    tuned = finetune(model, data, labels, config, options)
    start = time.perf_counter()
    own = tuned.network.outputs(test.inputs)[test.output]
    quantized = quantize(tuned.model, test.calibration)
    outputs = integer_outputs(quantized, test.inputs, test.output)
    translation = compare(tuned.network, quantized)
    return {
        "float": test.top1(test.expected),
        "PTQ": test.top1(plain),
        "standard error": 100.0 * float(np.std(test.right(outputs) - test.right(plain))) / len(plain) ** 0.5,
        "Brevitas": test.top1(own),
        "integer graph": test.top1(outputs),
        "agree": 100.0 * float(np.mean(own.argmax(axis=1) == outputs.argmax(axis=1))),
        "SQNR, dB": signal_to_noise(own, outputs),
        "words": translation.weights,
        "words differ": translation.differ,
        "formats": translation.formats,
        "formats changed": len(translation.changed),
        "seconds": tuned.seconds,
        "test seconds": time.perf_counter() - start,
        "best epoch": tuned.best,
        "epochs": [[e.number, e.loss, e.validation_loss, e.top1] for e in tuned.epochs],
    }


class _Test:
    """Test images, what the float model makes of them, and the calibration data."""

    def __init__(self, model: ir.Model, images: int) -> None:
        data = load_fashion_mnist("test")
        self.output, self.labels = "logits", data.labels[:images]
        self.inputs = check_inputs(model_inputs(model), {"image": data.images(slice(images))})
        self.expected = float_outputs(model, self.inputs)[self.output]
        with np.load(VIT / "calibration.npz") as archive:
            self.calibration = dict(archive)

    def top1(self, logits: Array) -> float:
        """Percent of images with the right class."""
        return 100.0 * float(np.mean(self.right(logits)))

    def right(self, logits: Array) -> Array:
        """1 for every image with the right class, 0 for the others."""
        right: Array = (logits.argmax(axis=1) == self.labels).astype(np.float64)
        return right


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench, print the table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=16_000, help="training images, drawn from the 60,000")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--images", type=int, default=10_000, help="test images (default all 10,000)")
    parser.add_argument("--bits", nargs="+", default=list(BITS), help="such as W4A4 W3A3")
    parser.add_argument("--order", choices=("together", "hawq"), default="together")
    parser.add_argument("--seed", type=int, default=0, help="of the training images, their order and the calibration")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    logging.getLogger().setLevel(logging.ERROR)
    failed = []
    rows: dict[str, dict[str, Any]] = {}
    try:
        model = import_model(VIT / "model.onnx")
        train, test = load_fashion_mnist("train"), _Test(model, options.images)
        chosen = np.random.default_rng(options.seed).permutation(len(train.labels))[: options.samples]
        data, labels = {"image": train.images(chosen)}, train.labels[chosen]
        tuning = FineTuning(epochs=options.epochs, seed=options.seed, order=options.order)
        print(
            f"Fashion-MNIST ViT, {options.samples:,} training images, {options.epochs} epochs, order {options.order},"
            f" {len(test.labels):,} test images, seed {options.seed}; top-1 in percent"
        )
        print(f"  {'':6}" + "".join(f"{name:>15}" for name in COLUMNS), flush=True)
        for name in options.bits:
            weight, activation = bits_of(name)
            config = QuantizationConfig(weight_bits=weight, activation_bits=activation, seed=options.seed)
            rows[name] = figures = row(model, config, tuning, data, labels, test)
            print(f"  {name:6}" + "".join(f"{figures[column]:15.2f}" for column in COLUMNS), flush=True)
            if figures["words differ"] or figures["formats changed"]:
                failed.append(f"{name}: {figures['words differ']} words and {figures['formats changed']} formats got lost")
            if figures["integer graph"] < figures["PTQ"] - 2 * figures["standard error"]:
                failed.append(f"{name}: {figures['integer graph']:.2f} after training, {figures['PTQ']:.2f} without")
        if options.json is not None:
            settings = {key: value for key, value in vars(options).items() if key != "json"}
            options.json.write_text(json.dumps({"settings": settings, "rows": rows, "failed": failed}, indent=1) + "\n")
        if failed:
            raise VerificationError("; ".join(failed))
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
