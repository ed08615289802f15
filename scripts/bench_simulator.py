"""Speed of the NumPy executor against onnxruntime float32, and of compilation, on a DeiT-Tiny-sized model with random weights.

    python scripts/export_models.py deit-tiny     # once; needs torch
    python scripts/bench_simulator.py [--model MODEL.onnx] [--batch 8] [--rounds 5] [--json FILE]

Both engines run the same batch on the same cores, in turn; the ratio of each round's times is what counts, and its median is
printed. The limit is the matrix products' own time in float32 BLAS, which is measured in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import edgeflow
from edgeflow.hw.host import processors
from edgeflow.hw.ops import node_macs
from edgeflow.models.wheels import cache_folder
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.sim.executor import Executor

REST = 0.3


def seconds(work: Callable[[], Any]) -> float:
    """Wall-clock seconds of one call, once the threads of whatever ran before have stopped waiting actively for more."""
    time.sleep(REST)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def float_session(model: Path, threads: int) -> onnxruntime.InferenceSession:
    """onnxruntime with all its optimisations."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Compile the model, time both engines in turn, print ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=cache_folder() / "deit_tiny" / "model.onnx")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calibration-images", type=int, default=32)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    threads = processors()
    session = float_session(arguments.model, threads)
    image = session.get_inputs()[0]
    shape = image.shape[1:]
    rng = np.random.default_rng(0)
    calibration = {image.name: rng.standard_normal((arguments.calibration_images, *shape)).astype(np.float32)}
    inputs = {image.name: calibration[image.name][: arguments.batch]}

    with tempfile.TemporaryDirectory() as folder:
        compile_seconds = seconds(
            lambda: edgeflow.compile(arguments.model, board="zcu102", calibration=calibration, output=Path(folder) / "build")
        )
        build = edgeflow.open_build(Path(folder) / "build")
        graph, steps = build.graph, build.report["timings_s"]
    executor = Executor(graph)
    words = encode_inputs(graph, inputs)
    macs = sum(node_macs(graph, node) for node in graph.nodes)
    a, b = (rng.standard_normal((1024, 1024)).astype(np.float32) for _ in range(2))

    session.run(None, inputs)
    executor.run(words)
    rounds = []
    for _ in range(arguments.rounds):
        ours, theirs = seconds(lambda: executor.run(words)), seconds(lambda: session.run(None, inputs))
        blas = seconds(lambda: a @ b) / 1024**3 * macs * arguments.batch
        rounds.append({"edgeflow_s": ours, "onnxruntime_s": theirs, "blas_limit_s": blas})
    ratio = statistics.median(r["onnxruntime_s"] / r["edgeflow_s"] for r in rounds)
    limit = statistics.median(r["blas_limit_s"] / r["edgeflow_s"] for r in rounds)
    per_image = {key: statistics.median(r[key] for r in rounds) / arguments.batch * 1000 for key in rounds[0]}
    print(f"{macs / 1e9:.3f} GMAC an image, batch {arguments.batch}, {threads} threads, {arguments.rounds} rounds")
    for key, value in per_image.items():
        print(f"  {key.removesuffix('_s'):14s} {value:8.2f} ms an image, {macs / value / 1e6:6.1f} GMAC/s")
    print(f"  throughput relative to onnxruntime float32: {ratio:.2f}; to the BLAS limit: {limit:.2f}")
    print(f"compile with {arguments.calibration_images} calibration images: {compile_seconds:.1f} s")
    for name, value in steps.items():
        print(f"  {name:10s} {value:6.2f} s")
    if arguments.json:
        result = {"macs": macs, "rounds": rounds, "throughput_ratio": ratio, "blas_ratio": limit, "compile_s": compile_seconds}
        arguments.json.write_text(json.dumps({**result, "steps_s": steps}, indent=1) + "\n")


if __name__ == "__main__":
    main()
