"""The accelerator that EdgeFlow chooses against the best of all that fit, for encoders of 30 shapes on every board.

    python scripts/bench_configure.py                        # the whole table; --processes 2 by default
    python scripts/bench_configure.py --shapes 65x32 17x24   # shapes whose name begins like this
    python scripts/bench_configure.py --output table.jsonl   # rows that are in the file already are not computed again

Up to 256 tokens and 512 channels every accelerator that fits (of any array, scratchpad and number of keys) is compared: those whose
lower bound (``edgeflow.sw.search.latency_bound``) is below the chosen one's latency are simulated. Beyond, 200 seeded draws of
accelerators are compared in the same way. Of the others a few are simulated as well, which checks the bounds themselves. Weights
are random: the choice depends on shapes and formats alone. A row takes 2 to 60 seconds of one core.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import onnx

from edgeflow.hw.accelerator_options import SIZES
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import boards, load_board
from edgeflow.hw.errors import BoardError, EdgeFlowError, UnsupportedError
from edgeflow.hw.fit import Space, excess
from edgeflow.hw.graph import Graph
from edgeflow.models.encoders import EncoderShape, encoder
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.sw.compiler.lowering import Compiler
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.importer import import_model
from edgeflow.sw.measure.random_data import random_inputs
from edgeflow.sw.search.accelerator import Predicted, Rank, choose, spaces
from edgeflow.sw.search.latency_bound import Bound

SHAPES = (
    EncoderShape(1, 24, 1, "linear", positions=False),
    EncoderShape(1, 512, 8, "linear", positions=False),
    EncoderShape(1, 1024, 16, "ids", positions=False),
    EncoderShape(3, 48, 3, "linear", positions=True),
    EncoderShape(8, 256, 4, "ids", positions=True),
    EncoderShape(16, 64, 2, "linear", positions=False, depth=3),
    EncoderShape(17, 24, 2, "patches", class_token=True),
    EncoderShape(17, 96, 3, "patches", class_token=True, depth=2, ratio=2.0),
    EncoderShape(32, 128, 4, "ids", positions=True),
    EncoderShape(33, 384, 6, "linear", positions=True),
    EncoderShape(48, 64, 4, "ids", positions=True, depth=2),
    EncoderShape(50, 96, 3, "patches", class_token=True, ratio=2.0),
    EncoderShape(50, 512, 8, "patches", class_token=True),
    EncoderShape(64, 192, 3, "linear", positions=False),
    EncoderShape(65, 32, 2, "linear", positions=True),
    EncoderShape(65, 96, 3, "patches", class_token=True),
    EncoderShape(96, 40, 1, "linear", positions=True, ratio=1.0),
    EncoderShape(100, 256, 8, "ids", positions=True),
    EncoderShape(128, 32, 1, "ids", positions=False),
    EncoderShape(128, 384, 12, "ids", positions=True),
    EncoderShape(197, 192, 3, "patches", class_token=True),
    EncoderShape(200, 32, 1, "linear", positions=False),
    EncoderShape(256, 24, 1, "linear", positions=True),
    EncoderShape(256, 512, 8, "ids", positions=True),
    EncoderShape(197, 768, 12, "patches", class_token=True),
    EncoderShape(384, 64, 2, "linear", positions=True),
    EncoderShape(512, 128, 4, "ids", positions=True),
    EncoderShape(577, 192, 3, "patches", class_token=True),
    EncoderShape(1024, 32, 1, "linear", positions=True),
    EncoderShape(1024, 64, 2, "linear", positions=True),
)
EXHAUSTIVE = (256, 512)  # tokens and channels up to which every accelerator is compared
DRAWS, CHECKED = 200, 3
TOLERANCE = 1.03

Row = dict[str, Any]


def network(shape: EncoderShape) -> Graph:
    """The integer graph of a shape, calibrated on two random samples."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(encoder(shape), file)
        model = import_model(file, dims={}, shapes={})
        return quantize(model, random_inputs(model, 2, 0), QuantizationConfig(rounding="nearest", input_correction=False)).graph


def rows(shape: EncoderShape, wanted: list[str]) -> list[Row]:
    """A row for each of the wanted boards."""
    graph = network(shape)
    return [compare(shape, graph, name) for name in wanted]


def compare(shape: EncoderShape, graph: Graph, name: str) -> Row:
    """The choice for a board against the others."""
    board, network, start = load_board(name), Network(graph), time.process_time()
    row: Row = {"shape": shape.name, "board": name}
    try:
        chosen = choose(network, board, board.clock_mhz)
    except EdgeFlowError as error:
        return row | {"refused": str(error)}
    seconds = time.process_time() - start
    compiler = Compiler(network)
    predict = unless_refused(Predicted(compiler, board, board.clock_mhz))
    bound = unless_refused(Bound(compiler, board, board.clock_mhz).milliseconds)
    every = list(spaces(network, board, board.clock_mhz))
    small = shape.tokens <= EXHAUSTIVE[0] and shape.width <= EXHAUSTIVE[1]
    rivals = dict.fromkeys(fitting(every) if small else draws(every))
    rivals.pop(chosen.architecture, None)
    bounds = {a: bound(a) for a in rivals}
    fast = [a for a in rivals if bounds[a] < chosen.latency_ms]
    checked = random.Random(0).sample(list(rivals), min(CHECKED, len(rivals)))
    wrong = [a for a in {*fast, *checked} if predict(a) < bounds[a]]
    best = min([chosen.latency_ms, *(predict(a) for a in {*fast, *checked})])
    a = chosen.architecture
    return row | {
        "array": f"{a.pi}x{a.po}",
        "sizes": [a.epilogue, a.vector, a.weight_ports, a.slots, a.max_tokens, a.narrow_lines, a.wide_lines],
        "latency_ms": chosen.latency_ms,
        "best_ms": best,
        "compared": len(rivals) + 1,
        "all": small,
        "predicted": len({*fast, *checked}),
        "wrong_bounds": len(wrong),
        "bounded": chosen.bounded,
        "simulated": chosen.simulated,
        "proven": chosen.proven,
        "seconds": seconds,
    }


def unless_refused(milliseconds: Rank) -> Rank:
    """The same, infinite for accelerators that cannot run the model, with too little scratchpad, say."""

    def known(architecture: Architecture) -> float:
        try:
            return milliseconds(architecture)
        except UnsupportedError:
            return math.inf

    return known


def fitting(every: list[Space]) -> Iterator[Architecture]:
    """Every accelerator that fits and is not smaller than another in everything."""
    for space in every:
        try:
            arrays = space.arrays()
        except BoardError:
            continue
        for array in arrays:
            yield from space.accelerators(*array)


def draws(every: list[Space]) -> Iterator[Architecture]:
    """Accelerators that fit, all sizes drawn."""
    rng, count = random.Random(0), 0
    for _ in range(100 * DRAWS):
        space = rng.choice(every)
        drawn = space.make({name: rng.choice(sizes) for name, sizes in SIZES.items()})
        if drawn is not None and not excess(drawn, space.board, space.share):
            yield drawn
            count += 1
            if count == DRAWS:
                return


def show(row: Row) -> str:
    """A line of the table."""
    head = f"{row['shape']:32} {row['board']:11}"
    if "refused" in row:
        return f"{head} refused: {row['refused']}"
    ratio = row["latency_ms"] / row["best_ms"]
    which = "all" if row["all"] else "draws"
    sizes = "/".join(map(str, row["sizes"][:3]))
    return (
        f"{head} {row['array']:>5} {sizes:>8} {row['latency_ms']:10.4f} ms, best {row['best_ms']:10.4f} ms, {ratio:.3f}"
        f" of {row['compared']:5} ({which}); {row['simulated']:2} simulated{'' if row['proven'] else ', not proven'},"
        f" {row['seconds']:.1f} s"
    )


def main() -> int:
    """Print the table; exit status 1 if a choice is too slow or a bound is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", help="only shapes whose name begins with one of these")
    parser.add_argument("--boards", nargs="*", default=list(boards()))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--output", type=Path, help="JSON lines to append rows to, and to take known rows from")
    args = parser.parse_args()
    known: list[Row] = []
    if args.output and args.output.exists():
        known = [json.loads(line) for line in args.output.read_text().splitlines()]
    done = {(row["shape"], row["board"]) for row in known}
    shapes = [s for s in SHAPES if not args.shapes or s.name.startswith(tuple(args.shapes))]
    for row in known:
        print(show(row))
    with ProcessPoolExecutor(args.processes) as pool:
        missing = {s: [b for b in args.boards if (s.name, b) not in done] for s in shapes}
        jobs = [pool.submit(rows, s, [b]) for s, names in missing.items() for b in names]
        for job in as_completed(jobs):
            for row in job.result():
                known.append(row)
                print(show(row), flush=True)
                if args.output:
                    with args.output.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    ran = [row for row in known if "refused" not in row]
    worst = max((row["latency_ms"] / row["best_ms"] for row in ran), default=1.0)
    wrong = sum(row["wrong_bounds"] for row in ran)
    print(f"{len(known)} rows, {len(known) - len(ran)} refused; worst choice {worst:.3f} of the best; {wrong} bounds wrong")
    return 1 if worst > TOLERANCE or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
