"""From a trained model to a verified accelerator program, from Python."""

from pathlib import Path

import numpy as np

import edgeflow

example = Path(__file__).parent / "fashion_mnist_vit"
test = np.load(example / "test.npz")
build = edgeflow.compile(example / "model.onnx", board="kv260", calibration=example / "calibration.npz", output="builds/quickstart")
verification = edgeflow.verify(build, {"image": test["image"]}, samples=8)
assert verification.passed, "C++ and NumPy differ"
logits = edgeflow.simulate(build, {"image": test["image"]})["logits"]
cycles = edgeflow.cycles(build)
print(f"{verification.words:,} words compared, {verification.differing} differ")
print(f"top-1 on {len(logits)} test images: {np.mean(logits.argmax(axis=1) == test['label']):.1%}")
print(f"predicted on {build.board.title}: {cycles.latency_ms:.3f} ms, {cycles.fps:,.0f} frames a second")
print(f"report: {build.folder / 'report.html'}")
