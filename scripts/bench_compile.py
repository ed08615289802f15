"""How long ``edgeflow compile`` takes and how much memory, by step, for encoders of published shapes with random weights.

    python scripts/bench_compile.py [MODEL ...] [--before FILE.json] [--json FILE.json]
    python scripts/bench_compile.py --growth

Each model is compiled in a process of its own, with 32 seeded samples, every option at its default but the board (the smallest of
those listed that holds the model). ``--before`` compares with what an earlier run has written by ``--json``. CPU seconds are of all
threads and child processes; on a machine that does other work beside, they say more than seconds on the clock.

``--growth`` compiles one encoder with more and more layers and compares what each doubling adds: as much again as the one before
doubled, if time grows as the model does. It exits with 1 where a doubling adds more than that by half.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeflow.models.encoders import COLORS, FEATURES, VOCABULARY, EncoderShape, encoder

SAMPLES = 32
WORDS = ("program.bin", "weights.bin", "integer_graph.json", "integer_graph.npz", "overlay.json")

MODELS: dict[str, tuple[EncoderShape, str]] = {
    "small": (EncoderShape(17, 64, 2, "patches", class_token=True, depth=2), "kv260"),
    "deit-tiny": (EncoderShape(197, 192, 3, "patches", class_token=True, depth=12, patch=16, classes=1000), "kv260"),
    "deit-small": (EncoderShape(197, 384, 6, "patches", class_token=True, depth=12, patch=16, classes=1000), "kv260"),
    "vit-base": (EncoderShape(197, 768, 12, "patches", class_token=True, depth=12, patch=16, classes=1000), "zcu102"),
    "dinov2-vits": (EncoderShape(257, 384, 6, "patches", class_token=True, depth=12, patch=14, classes=1000), "kv260"),
    "wide-1024": (EncoderShape(17, 1024, 16, "linear", depth=2), "zcu102"),
    "long-1024": (EncoderShape(1024, 384, 6, "linear", depth=2), "zcu102"),
}


GROWING = EncoderShape(197, 192, 3, "patches", class_token=True, patch=16, classes=1000)
DEPTHS = (3, 6, 12, 24)
REPEATS = 3  # of which the least counts: other work only adds
MOST_GROWTH = 3.0
"""Times that a doubling of the layers may add what the doubling before it added: 2 is linear, 4 quadratic."""


def samples(shape: EncoderShape, model: onnx.ModelProto) -> NDArray[Any]:
    """Seeded calibration data of a model."""
    rng = np.random.default_rng(0)
    if shape.source == "ids":
        return rng.integers(0, VOCABULARY, (SAMPLES, shape.tokens - shape.class_token))
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:]
    assert dims[0] == COLORS or dims[-1] == FEATURES
    return rng.standard_normal((SAMPLES, *dims), dtype=np.float32)


def measured(name: str, shape: EncoderShape, board: str, folder: Path) -> dict[str, Any]:
    """Compile one model in a child process; seconds, peak memory, and the hashes of what it made."""
    model = encoder(shape)
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "samples.npz", x=samples(shape, model))
    build = folder / "build"
    arguments = ["compile", "model.onnx", "--board", board, "--calib", "samples.npz", "-o", str(build)]
    began = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "edgeflow.sw.cli.main", "--quiet", *arguments], cwd=folder)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - began
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{name}: edgeflow compile ended with {child.returncode}")
    report = json.loads((build / "report.json").read_text())
    return {
        "board": board,
        "parameters": sum(int(np.prod(t.dims)) for t in model.graph.initializer),
        "seconds": seconds,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_gb": usage.ru_maxrss / 1024**2,
        "steps": report["timings_s"],
        "words": {file: hashlib.sha256((build / file).read_bytes()).hexdigest() for file in WORDS if (build / file).exists()},
    }


def show(results: dict[str, dict[str, Any]], before: dict[str, dict[str, Any]]) -> None:
    """One table: a line a model; what was before stands in brackets."""
    steps = list(dict.fromkeys(step for result in results.values() for step in result["steps"]))
    steps = [step for step in steps if any(result["steps"].get(step, 0) >= 0.5 for result in [*results.values(), *before.values()])]
    print("| " + " | ".join(["model", "board", "parameters", "s", "CPU s", "peak GB", *steps, "words"]) + " |")
    print("|" + "---|" * (len(steps) + 7))
    for name, now in results.items():
        old = before.get(name)

        def cell(of: Any, digits: int, now: dict[str, Any] = now, old: dict[str, Any] | None = old) -> str:
            return f"{of(now):.{digits}f}" + ("" if old is None else f" ({of(old):.{digits}f})")

        line = [name, now["board"], f"{now['parameters'] / 1e6:.1f} M"]
        line += [cell(lambda r: r["seconds"], 1), cell(lambda r: r["cpu_seconds"], 1), cell(lambda r: r["peak_gb"], 2)]
        line += [cell(lambda r, step=step: r["steps"].get(step, 0), 1) for step in steps]
        line.append("" if old is None else ", ".join(f for f in WORDS if now["words"].get(f) != old["words"].get(f)) or "equal")
        print("| " + " | ".join(line) + " |")


def growth() -> int:
    """Compile an encoder at growing depths and print what each doubling adds; 1 where that grows faster than the model."""
    seconds: list[float] = []
    print("| layers | CPU s | more than before | times the step before |")
    print("|---|---|---|---|")
    worst = 0.0
    for depth in DEPTHS:
        least = []
        for _ in range(REPEATS):
            with tempfile.TemporaryDirectory() as folder:
                shape = dataclasses.replace(GROWING, depth=depth)
                least.append(measured(f"{depth} layers", shape, "zcu102", Path(folder))["cpu_seconds"])
        seconds.append(min(least))
        added = [after - before for before, after in itertools.pairwise(seconds)]
        times = added[-1] / added[-2] if len(added) > 1 else 0.0
        worst = max(worst, times)
        cells = [str(depth), f"{seconds[-1]:.2f}", f"{added[-1]:.2f}" if added else "", f"{times:.2f}" if times else ""]
        print("| " + " | ".join(cells) + " |", flush=True)
    print(f"2 is linear, 4 quadratic; at most {MOST_GROWTH:g} is allowed")
    return int(worst > MOST_GROWTH)


def main() -> int:
    """Compile the models, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", choices=[*MODELS, []], metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--before", type=Path)
    parser.add_argument("--growth", action="store_true", help="how seconds grow with the number of layers, instead")
    parser.add_argument("--json", type=Path, help="results are added to this file")
    arguments = parser.parse_args()
    if arguments.growth:
        return growth()
    results: dict[str, dict[str, Any]] = {}
    before = {} if arguments.before is None else json.loads(arguments.before.read_text())
    for name in arguments.models or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measured(name, *MODELS[name], Path(folder))
        if arguments.json is not None:
            known = json.loads(arguments.json.read_text()) if arguments.json.exists() else {}
            arguments.json.write_text(json.dumps({**known, name: results[name]}, indent=1) + "\n")
        print(f"{name}: {results[name]['seconds']:.1f} s", file=sys.stderr, flush=True)
    show(results, before)
    return 0


if __name__ == "__main__":
    sys.exit(main())
