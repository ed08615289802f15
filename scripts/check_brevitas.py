"""Imported quantized models against the frameworks that made them, word for word.

    python scripts/check_brevitas.py [--samples 2000] [--seed 0] [--markdown]      # needs 'edgeflow[qat]'

Small networks with seeded weights and ranges are quantized with Brevitas, exported as QONNX and as QCDQ, imported and quantized by
EdgeFlow. Every activation quantizer's integers are compared with the integer tensor that has exactly its format: through the whole
network, and, for networks of linear layers, layer by layer, with Brevitas' own integers before each layer. There, words that
differ are told apart from ties: words whose exact value lies within 2^-15 of a step of the middle between two, where the rounding
errors of Brevitas' own single-precision sums decide. Normalization, softmax and GELU have integer arithmetic of their own in
EdgeFlow: the transformer block is compared by the signal-to-noise ratio (SQNR) of its output, too.

The shipped vision transformer, quantized by onnxruntime (quantize_static, QDQ), is compared by its classes. Exit status 1 if a word
that is no tie differs in a network of linear layers.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from edgeflow.models import brevitas as zoo

from edgeflow.hw.arrays import Array
from edgeflow.hw.graph import Graph
from edgeflow.models.data import load_fashion_mnist
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.ptq import quantize
from edgeflow.sim.executor import Executor
from edgeflow.sw.importer import import_model, run, session

VIT = Path(__file__).resolve().parent.parent / "examples" / "fashion_mnist_vit"
CALIBRATION = 64
HEAD = ("network", "bits", "scales", "export", "words", "different", "largest", "layer by layer", "no ties", "SQNR, dB")


def sqnr(expected: Array, actual: Array) -> float:
    """Signal-to-noise ratio in dB; infinity where both are equal."""
    noise = np.square(expected.astype(np.float64) - actual).mean()
    return float("inf") if not noise else float(10 * np.log10(np.square(expected.astype(np.float64)).mean() / noise))


def formats(graph: Graph) -> dict[str, tuple[int, bool, float]]:
    """Bits, sign and scale of the tensors with one scale."""
    return {
        name: (tensor.qtype.bits, tensor.qtype.signed, tensor.qtype.scale)
        for name, tensor in graph.tensors.items()
        if isinstance(tensor.qtype.scale, float)
    }


def check(network: Any, model: Any, bits: int, scales: str, form: str, path: Path, x: Any) -> tuple[tuple[str, ...], int]:
    """One line of the table, and how many words differ that are no ties."""
    zoo.export(model, path, form)
    recorded, expected = zoo.record(model, x)
    imported = import_model(path)
    name = str(imported.graph.inputs[0].name)
    graph = quantize(imported, {name: x.numpy()[:CALIBRATION]}).graph
    words = Executor(graph).run_all(encode_inputs(graph, {name: x.numpy()}))
    known = formats(graph)
    rows = zoo.compare(recorded, known, {key: value for key, value in words.items() if key in known})
    output = graph.outputs[0]
    fidelity = sqnr(expected, decode_outputs(graph, {output: words[output]})[output])
    alone, wrong = ("", ""), 0
    if network is not zoo.Block:
        places = {entry.name: place for place, entry in enumerate(recorded)}
        counts = [
            _one_layer(graph, rows, recorded, places[quantizer], steps) for quantizer, steps in zoo.exact(model, recorded).items()
        ]
        wrong = sum(no_ties for _, no_ties in counts)
        alone = (str(sum(different for different, _ in counts)), str(wrong))
    total, different = sum(row.words for row in rows), sum(row.different for row in rows)
    largest = max(row.largest for row in rows)
    return (network.__name__, str(bits), scales, form, str(total), str(different), str(largest), *alone, f"{fidelity:.1f}"), wrong


def _one_layer(graph: Graph, rows: list[Any], recorded: list[Any], place: int, steps: Array) -> tuple[int, int]:
    """Words of one quantizer that differ, given Brevitas' integers before it, and those of them that are no ties."""
    tensors = {row.quantizer: row.tensor for row in rows}
    before, entry = recorded[place - 1], recorded[place]
    part = zoo.between(graph, [tensors[before.name]], tensors[entry.name])
    words = Executor(part).run({tensors[before.name]: before.words})[tensors[entry.name]]
    wrong = words != entry.words
    tie = np.abs(steps - np.floor(steps) - 0.5) < zoo.TIE
    return int(wrong.sum()), int((wrong & ~tie).sum())


class _Images:
    """Calibration images as onnxruntime wants them."""

    def __init__(self, images: Array) -> None:
        self.batches = iter([{"image": images[i : i + 16]} for i in range(0, len(images), 16)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self.batches, None)


def check_onnxruntime(folder: Path, images: int) -> list[tuple[str, ...]]:
    """The vision transformer quantized by onnxruntime: classes of onnxruntime and of the imported model."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    calibration = np.load(VIT / "calibration.npz")["image"][:CALIBRATION]
    data = load_fashion_mnist("test")
    test, labels = data.images(slice(images)), data.labels[:images]
    rows = []
    for text, per_channel, kind in (
        ("one scale a tensor, unsigned", False, QuantType.QUInt8),
        ("a scale each output channel, signed", True, QuantType.QInt8),
    ):
        path = folder / "onnxruntime.onnx"
        logging.disable(logging.WARNING)
        quantize_static(
            VIT / "model.onnx",
            path,
            _Images(calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=kind,
            weight_type=QuantType.QInt8,
            extra_options={"ActivationSymmetric": kind == QuantType.QInt8},
        )
        logging.disable(logging.NOTSET)
        theirs = run(session(path), {"image": test})["logits"]
        graph = quantize(import_model(path), {"image": calibration}).graph
        ours = decode_outputs(graph, Executor(graph).run(encode_inputs(graph, {"image": test})))["logits"]
        scores = [f"{100 * (logits.argmax(1) == labels).mean():.2f}" for logits in (theirs, ours)]
        same = f"{100 * (theirs.argmax(1) == ours.argmax(1)).mean():.2f}"
        rows.append((text, *scores, same, f"{sqnr(theirs, ours):.1f}"))
    return rows


def table(head: tuple[str, ...], rows: list[tuple[str, ...]], markdown: bool) -> str:
    """Rows under a head, as text or as markdown."""
    if markdown:
        return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows))
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000, help="inputs of every Brevitas network")
    parser.add_argument("--images", type=int, default=1000, help="test images of the vision transformer")
    parser.add_argument("--seed", type=int, default=0, help="of weights, ranges and inputs")
    parser.add_argument("--markdown", action="store_true", help="print tables as markdown")
    options = parser.parse_args()
    rows, wrong = [], 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network in (zoo.Mlp, zoo.Patches, zoo.Block):
            count = options.samples if network is zoo.Mlp else options.samples // 4
            x = zoo.samples(network, count, options.seed + 2)
            for bits in (8, 4):
                for scales in zoo.SCALES:
                    model = zoo.build(network, bits, scales, options.seed)
                    for form in zoo.EXPORTS:
                        row, no_ties = check(network, model, bits, scales, form, folder / "model.onnx", x)
                        rows.append(row)
                        wrong += no_ties
        inputs = f"{options.samples} inputs of Mlp, {options.samples // 4} of Patches and Block"
        print(f"Brevitas, seed {options.seed}, {inputs}:\n")
        print(table(HEAD, rows, options.markdown))
        head = ("quantize_static", "onnxruntime, percent", "EdgeFlow, percent", "same class, percent", "SQNR, dB")
        print(f"\nonnxruntime, Fashion-MNIST ViT, {CALIBRATION} calibration images, {options.images} test images:\n")
        print(table(head, check_onnxruntime(folder, options.images), options.markdown))
    print(f"\nwords that differ layer by layer and are no ties: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
