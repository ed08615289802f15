"""Accuracy at 8 bits after calibration on 8 to 512 samples: EdgeFlow, without its allowance, and onnxruntime's static quantization.

    python scripts/export_models.py minilm        # once; needs torch and the extra ``text``
    python scripts/bench_few_samples.py [vit|vowels|minilm ...] [--samples 8 16 ...] [--seed 0] [--json FILE]

Prints a table in Markdown for each model: the signal-to-noise ratio of the output against the float model's, and what the output is
for (top-1, or the correlation of cosines with people's ratings), on data that no range was taken from. Samples are drawn at random
from training data, so that each row has those of the row before and more. Every engine gets the same. onnxruntime's is
quantize_static with weights per channel and its defaults for the rest, once of every operator and once of matrix products and
embeddings alone, with all else in float; EdgeFlow's ``quantize`` with its defaults. Exits with status 1 where
EdgeFlow is further from the float model than the former, or with the allowance clearly further than without."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from bench_accuracy import PRODUCTS, VIT, float_runner, integer_runner, run_batches, static_runner

from edgeflow.hw.arrays import Array, Arrays
from edgeflow.hw.errors import EdgeFlowError, VerificationError
from edgeflow.models.data import load_fashion_mnist
from edgeflow.models.text import GENSIM_DATA, MINILM, calibration_texts, rated_documents, tokenize
from edgeflow.models.vowels import load_vowels
from edgeflow.models.wheels import cache_folder
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.techniques.sqnr import signal_to_noise

SAMPLES = (8, 16, 32, 64, 128, 256, 512)
IMAGES, TOKENS = 500, 128
VOWELS = VIT.parent / "japanese_vowels"
CHANCE_DB = 0.5  # that one drawing of samples may make against the allowance

Row = dict[str, float]


@dataclass(frozen=True)
class Subject:
    """A model, the data that calibration samples are the first of, data that sets nothing, and what an output is worth."""

    title: str
    path: Path
    pool: Arrays
    test: Arrays
    output: str
    worth: str
    score: Callable[[Array], float]

    @property
    def samples(self) -> int:
        """How many there are to calibrate on."""
        return len(next(iter(self.pool.values())))


def vit(seed: int) -> Subject:
    """The shipped Fashion-MNIST ViT."""
    train, test = load_fashion_mnist("train"), load_fashion_mnist("test")
    chosen = np.random.default_rng(seed).choice(len(train.labels), max(SAMPLES), replace=False)
    labels = test.labels[:IMAGES]
    pool, held = {"image": train.images(chosen)}, {"image": test.images(slice(IMAGES))}
    title = f"Fashion-MNIST ViT, {IMAGES:,} test images"
    return Subject(title, VIT / "model.onnx", pool, held, "logits", "top-1, %", lambda y: _top1(y, labels))


def vowels(seed: int) -> Subject:
    """The shipped transformer on speech, after normalization ("post-norm"), its input channels unequal."""
    train, test = load_vowels("train"), load_vowels("test")
    order = np.random.default_rng(seed).permutation(len(train.speakers))
    pool, held = {"features": train.features[order]}, {"features": test.features}
    title = f"Japanese Vowels, {len(test.speakers)} test utterances"
    path = VOWELS / "model.onnx"
    return Subject(title, path, pool, held, _output(path), "top-1, %", lambda y: _top1(y, test.speakers))


def minilm(seed: int) -> Subject:
    """MiniLM's sentence embeddings."""
    MINILM.fetch()
    GENSIM_DATA.fetch()
    texts = calibration_texts(max(SAMPLES), seed)
    order = np.random.default_rng(seed).permutation(len(texts))
    rated = rated_documents()
    pool, held = tokenize([texts[i] for i in order], TOKENS), tokenize(rated.documents, TOKENS)
    title = f"MiniLM, {len(rated.documents)} rated documents"
    path = cache_folder() / "minilm" / "model.onnx"
    return Subject(title, path, pool, held, "sentence_embedding", "Pearson", rated.correlation)


SUBJECTS: dict[str, Callable[[int], Subject]] = {"vit": vit, "vowels": vowels, "minilm": minilm}


def measure(subject: Subject, counts: Sequence[int]) -> dict[int, Row]:
    """Figures by the number of samples; 0 stands for the float model."""
    expected = run_batches(float_runner(subject.path), subject.test, subject.output)
    rows: dict[int, Row] = {0: {"float": subject.score(expected)}}
    for count in sorted({min(count, subject.samples) for count in counts}):
        calibration = {name: array[:count] for name, array in subject.pool.items()}
        rows[count] = {}
        with tempfile.TemporaryDirectory() as folder:
            path, place = subject.path, Path(folder)
            runners = {
                "onnxruntime": static_runner(path, calibration, place),
                "products": static_runner(path, calibration, place, PRODUCTS),
                "without": integer_runner(path, calibration, QuantizationConfig(allowance=False)),
                "EdgeFlow": integer_runner(path, calibration, QuantizationConfig()),
            }
            for name, runner in runners.items():
                actual = run_batches(runner, subject.test, subject.output)
                rows[count] |= {f"{name} dB": signal_to_noise(expected, actual), name: subject.score(actual)}
    return rows


def check(subject: Subject, rows: dict[int, Row]) -> list[str]:
    """What does not hold."""
    failed = []
    for count, row in rows.items():
        if count and row["EdgeFlow dB"] < row["onnxruntime dB"]:
            failed.append(f"{subject.title}, {count} samples: {row['EdgeFlow dB']:.2f} dB is below onnxruntime's")
        if count and row["EdgeFlow dB"] < row["without dB"] - CHANCE_DB:
            failed.append(f"{subject.title}, {count} samples: {row['EdgeFlow dB']:.2f} dB is below that without the allowance")
    return failed


def markdown(subject: Subject, rows: dict[int, Row]) -> str:
    """A line for every number of samples."""
    engines = {"onnxruntime": "onnxruntime", "products": "its products", "without": "no allowance", "EdgeFlow": "EdgeFlow"}
    digits = 4 if subject.worth == "Pearson" else 2
    heads = [
        "samples",
        *(f"{title}, dB" for title in engines.values()),
        *(f"{title}, {subject.worth}" for title in engines.values()),
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---:|" * len(heads)]
    for count, row in rows.items():
        if count:
            cells = [
                str(count),
                *(f"{row[f'{name} dB']:.2f}" for name in engines),
                *(f"{row[name]:.{digits}f}" for name in engines),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + f"\n\nfloat: {rows[0]['float']:.{digits}f}"


def _top1(outputs: Array, labels: Array) -> float:
    return 100.0 * float(np.mean(outputs.argmax(axis=1) == labels))


def _output(path: Path) -> str:
    import onnx

    return str(onnx.load(path, load_external_data=False).graph.output[0].name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print tables, write JSON; status 1 where something that must hold does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(SUBJECTS)} (default all)")
    parser.add_argument("--samples", type=int, nargs="+", default=SAMPLES)
    parser.add_argument("--seed", type=int, default=0, help="of the choice of samples")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    logging.getLogger().setLevel(logging.ERROR)  # onnxruntime's quantizer warns of every vector of weights
    if unknown := [name for name in options.models if name not in SUBJECTS]:
        parser.error(f"there is no model {', '.join(unknown)}; there are {', '.join(SUBJECTS)}")
    results: dict[str, dict[int, Row]] = {}
    failed: list[str] = []
    start = time.perf_counter()
    try:
        for name in options.models or SUBJECTS:
            subject = SUBJECTS[name](options.seed)
            results[name] = rows = measure(subject, options.samples)
            failed += check(subject, rows)
            print(f"\n{subject.title}; seed {options.seed}\n\n{markdown(subject, rows)}", flush=True)
        print(f"\n{time.perf_counter() - start:.0f} s")
        if options.json is not None:
            options.json.write_text(json.dumps({"models": results, "failed": failed, "seed": options.seed}, indent=1) + "\n")
        if failed:
            raise VerificationError("; ".join(failed))
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
