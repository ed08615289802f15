"""Text encoders of Hugging Face transformers, small, from both torch exporters: original, canonical model, integer network and C++.

    python scripts/check_hugging_face.py [FAMILY ...] [--exporter script|dynamo|both] [--samples 4] [--json FILE]

Needs torch and the extra ``text``; 32 exports take some ten minutes. Each family (``edgeflow.models.hugging_face``) with the base
model and the sequence classifier, the library's own classes and initialisation, batches with padding on the right. Columns: largest
difference of the file in onnxruntime from torch, and of the canonical model from the file, relative to the largest output; SQNR of
the integer network against the file on other sentences; words compared with C++ and words that differ. Exit status 1 where a word
differs, a difference exceeds 1e-5 or an export is refused.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgeflow
from edgeflow.hw.errors import EdgeFlowError
from edgeflow.models.hugging_face import ENCODERS, FAMILIES, Encoder, export, sentences
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sw.importer import run, session

CALIBRATION, TEST = 64, 32
TOLERANCE = 1e-5
COLUMNS = {"torch": ".1e", "canonical": ".1e", "sqnr_db": ".1f", "words": ",.0f", "differing": ",.0f", "export_s": ".1f",
           "compile_s": ".1f"}  # fmt: skip


def relative(expected: Sequence[NDArray[Any]], actual: Sequence[NDArray[Any]]) -> float:
    """Largest difference of any output, relative to that output's largest value."""
    return max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(expected, actual, strict=True))


def check(encoder: Encoder, folder: Path, samples: int) -> dict[str, float]:
    """Figures of one export."""
    start = time.perf_counter()
    path, example, torch_outputs = export(encoder, folder)
    exported = time.perf_counter()
    calibration, test = sentences(encoder.family, CALIBRATION, seed=2), sentences(encoder.family, TEST, seed=3)
    original = session(path)
    row = {"torch": relative(torch_outputs, list(run(original, example).values()))}
    build = edgeflow.compile(path, calibration=calibration, output=folder / encoder.name)
    expected = run(original, test)
    canonical = run(session(edgeflow.load(path, dims={"sequence": example["input_ids"].shape[1]})), test)
    row["canonical"] = relative(list(expected.values()), list(canonical.values()))
    outputs = edgeflow.simulate(build, test)
    row["sqnr_db"] = min(signal_to_noise(expected[name], outputs[name]) for name in expected)
    compared = edgeflow.verify(build, samples=samples)
    row |= {"words": compared.words, "differing": compared.differing}
    return row | {"export_s": exported - start, "compile_s": time.perf_counter() - exported}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; status 1 where something that must hold does not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", choices=(*FAMILIES, []), metavar="FAMILY", help=", ".join(FAMILIES))
    parser.add_argument("--exporter", choices=("script", "dynamo", "both"), default="both")
    parser.add_argument("--samples", type=int, default=4, help="sentences that C++ runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    logging.getLogger().setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    print(f"{'':32}" + "".join(f"{key:>11}" for key in COLUMNS))
    results: dict[str, dict[str, float]] = {}
    failed = 0
    for encoder in ENCODERS.values():
        if encoder.family not in (options.families or FAMILIES) or options.exporter not in ("both", encoder.exporter):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = results[encoder.name] = check(encoder, Path(folder), options.samples)
            except EdgeFlowError as error:
                print(f"{encoder.name:32}error: {error}", flush=True)
                failed += 1
                continue
        cells = (f"{row[key]:11{form}}" for key, form in COLUMNS.items())
        print(f"{encoder.name:32}" + "".join(cells), flush=True)
        failed += bool(row["differing"] or max(row["torch"], row["canonical"]) > TOLERANCE)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(f"{len(results)} exports, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
