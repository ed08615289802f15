"""Train the shipped post-norm transformer on Japanese Vowels and write examples/japanese_vowels/.

Needs torch (extra ``train``); the data comes out of the wheel of aeon, which pip fetches once. About a minute on one core.

    python scripts/train_vowels.py
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from edgeflow.hw.errors import EdgeFlowError
from edgeflow.models.postnorm import SeriesConfig, SeriesTransformer
from edgeflow.models.vowels import AEON, CHANNELS, FRAMES, SPEAKERS, load_vowels

ROOT = Path(__file__).resolve().parents[1]
RATE, WEIGHT_DECAY, LABEL_SMOOTHING, NOISE, BATCH = 2e-3, 0.05, 0.1, 0.3, 32
CALIBRATION, TEST, OPSET = 128, 128, 17


def train(series: Tensor, speakers: Tensor, epochs: int, seed: int) -> SeriesTransformer:
    """A model trained on normalised series, with Gaussian noise on them, dropout and label smoothing."""
    torch.manual_seed(seed)
    model = SeriesTransformer(SeriesConfig(CHANNELS, FRAMES, SPEAKERS))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    steps = epochs * -(-len(series) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        model.train()
        order, total = torch.randperm(len(series)), 0.0
        for chosen in order.split(BATCH):
            logits = model(series[chosen] + NOISE * torch.randn_like(series[chosen]))
            loss = torch.nn.functional.cross_entropy(logits, speakers[chosen], label_smoothing=LABEL_SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        if (epoch + 1) % 20 == 0:
            print(f"epoch {epoch + 1}/{epochs}  loss {total / len(series):.4f}", flush=True)
    return model.eval()


def write(folder: Path, seed: int, epochs: int, data: Path | None) -> None:
    """Train, then write model.onnx, calibration.npz, test.npz and metrics.json."""
    training, test = load_vowels("train", data), load_vowels("test", data)
    series = torch.from_numpy(training.features)
    mean, std = series.mean(dim=(0, 1)), series.std(dim=(0, 1))
    began = time.perf_counter()
    model = train((series - mean) / std, torch.from_numpy(training.speakers), epochs, seed)
    seconds = time.perf_counter() - began
    model.fold_input_normalisation(mean, std)

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (torch.zeros(2, FRAMES, CHANNELS),),
            path,
            input_names=["features"],
            output_names=["logits"],
            dynamic_axes={"features": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=OPSET,
            dynamo=False,  # keeps the module path in node names, which the reports show
        )
    onnx.checker.check_model(str(path), full_check=True)

    random = np.random.default_rng(seed)
    calibration = np.sort(random.choice(len(training.speakers), CALIBRATION, replace=False))
    sample = np.sort(random.choice(len(test.speakers), TEST, replace=False))
    np.savez_compressed(folder / "calibration.npz", features=training.features[calibration])
    np.savez_compressed(folder / "test.npz", features=test.features[sample], label=test.speakers[sample])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    correct = session.run(["logits"], {"features": test.features})[0].argmax(axis=1) == test.speakers
    reach = np.abs(training.features).max(axis=(0, 1))
    metrics = {
        "model": "model.onnx",
        "data": f"Japanese Vowels of {AEON.package} {AEON.version}, {len(series)} training and {len(correct)} test utterances",
        "config": model.config.as_dict(),
        "weights": sum(p.numel() for p in model.parameters()),
        "float_top1": int(correct.sum()) / len(correct),
        "float_top1_utterances": len(correct),
        "float_top1_on_test_npz": int(correct[sample].sum()) / len(sample),
        "test_npz_utterances": len(sample),
        "calibration_npz_utterances": len(calibration),
        "largest_over_smallest_channel_range": float(reach.max() / reach.min()),
        "seed": seed,
        "epochs": epochs,
        "torch": torch.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
    print(f"{path}: {path.stat().st_size:,} bytes, float top-1 {metrics['float_top1']:.4f}, trained in {seconds:.0f} s")


def main() -> int:
    """Parse the options, train, export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the files of JapaneseVowels (default: out of the wheel)")
    parser.add_argument("--output", type=Path, default=ROOT / "examples" / "japanese_vowels")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    try:
        write(args.output, args.seed, args.epochs, args.data)
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
