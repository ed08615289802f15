"""NumPy against C++ on the reference models: every word of every tensor on real inputs; minutes, so not part of make test.

    python scripts/export_models.py minilm                  # once; needs torch and the extra ``text``
    python scripts/check_networks.py [vit|minilm|all] [--samples 8] [--exact-samples 1]

Each model is compiled and compared on ``--samples`` inputs with the fast native integers and on ``--exact-samples`` with the exact
``ap_int`` headers (extra ``exact``). Then every instruction's counted loop iterations are compared with its formula. Exit status 1
if a word or a count differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import edgeflow
from edgeflow.models.wheels import cache_folder
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.sim import csim
from edgeflow.sim.counting import count_differences
from edgeflow.sw.files.arrays import read_npz
from edgeflow.sw.files.build import Build

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "fashion_mnist_vit"


@dataclass(frozen=True)
class Reference:
    """A trained model with calibration data and other inputs to compare on; ``inputs`` may hold labels, too."""

    folder: Path
    inputs: str


def references() -> dict[str, Reference]:
    """The models by name."""
    return {"vit": Reference(EXAMPLE, "test.npz"), "minilm": Reference(cache_folder() / "minilm", "documents.npz")}


def check(build: Build, inputs: Path, samples: int, exact: bool) -> int:
    """Compare, print what was found, and return the number of differing words."""
    start = time.perf_counter()
    names = build.graph.inputs
    verification = edgeflow.verify(build, {k: v for k, v in read_npz(inputs).items() if k in names}, samples=samples, exact=exact)
    seconds = time.perf_counter() - start
    uncompared = [t.name for t in verification.tensors if not t.words]
    headers = "exact" if exact else "native"
    print(
        f"  {headers} headers: {verification.samples} samples, {len(verification.tensors)} tensors, {verification.words:,} words, "
        f"{verification.differing:,} differing; {seconds:.1f} s"
    )
    for tensor in verification.tensors:
        if tensor.first is not None:
            place, expected, got = tensor.first
            print(f"  {tensor.name}: {tensor.differing:,} of {tensor.words:,} differ, first at {place}: {expected}, C++ {got}")
    for name in uncompared:
        print(f"  {name}: not compared")
    return verification.differing + len(uncompared)


def check_counts(build: Build) -> int:
    """Compare the loop iterations of every instruction with its formula; print and return the number of differing instructions."""
    library = csim.build(build.folder / "hls", count=True)
    words = encode_inputs(build.graph, {k: v[:1] for k, v in build.golden().items()})
    wrong = count_differences(build.program, library, {name: value[0] for name, value in words.items()})
    print(f"  loop iterations: {len(build.program.steps):,} instructions, {len(wrong)} differ from their formulas")
    for line in wrong[:5]:
        print(f"  {line}")
    return len(wrong)


def main() -> int:
    """Parse the options, compile and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", choices=("vit", "minilm", "all"), default="all")
    parser.add_argument("--board", default="kv260")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--exact-samples", type=int, default=1)
    args = parser.parse_args()
    wrong = 0
    try:
        for name, reference in references().items():
            if args.model not in (name, "all"):
                continue
            if not reference.folder.joinpath("model.onnx").exists():
                raise edgeflow.InputError(f"{reference.folder} has no model.onnx: run scripts/export_models.py {name}")
            with tempfile.TemporaryDirectory() as work:
                start = time.perf_counter()
                build = edgeflow.compile(
                    reference.folder / "model.onnx",
                    board=args.board,
                    calibration=reference.folder / "calibration.npz",
                    output=Path(work) / "build",
                )
                print(f"{name}: {len(build.graph.nodes)} operators, compiled in {time.perf_counter() - start:.1f} s")
                for exact, samples in ((False, args.samples), (True, args.exact_samples)):
                    if samples:
                        wrong += check(build, reference.folder / reference.inputs, samples, exact)
                wrong += check_counts(build)
    except edgeflow.EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
