"""Predicted cycles, utilization and resources of the accelerator on DeiT-Tiny and DeiT-Small. Nothing here is measured on a board.

    python scripts/bench_hw.py                       # every table
    python scripts/bench_hw.py --json figures.json   # the figures as well, for docs/performance.md

Models come from the cache folder (``scripts/export_models.py deit-tiny``, ``deit-small``); their weights are random, since cycles
depend on shapes alone. Tables: the accelerator that EdgeFlow chooses on each board, and a 32 x 32 array on the ZCU102; how
attention's traffic depends on the number of lanes; 8 against 4 bits, and against weights of 2 bits.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflow.hw.boards import Board, load_board
from edgeflow.hw.errors import BoardError, EdgeFlowError
from edgeflow.hw.fit import known_resources, limits, unit_resources
from edgeflow.hw.graph import Graph
from edgeflow.hw.ops import operator
from edgeflow.hw.ops.attention import Attention
from edgeflow.hw.ops.attention_commands import attention_commands
from edgeflow.hw.ops.attention_schedule import SCORES, VALUES, Operands, passes
from edgeflow.models.wheels import cache_folder
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.sim.cycles import CycleReport, estimate
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.importer import import_model
from edgeflow.sw.measure.random_data import random_inputs
from edgeflow.sw.search.accelerator import configure

CLOCK = 300.0  # MHz, the ZCU102's target; other boards at their own
SETUPS: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("deit_tiny", "zcu102", {}),
    ("deit_tiny", "zcu102", {"pi": 32, "po": 32}),
    ("deit_tiny", "kv260", {}),
    ("deit_tiny", "pynq-z2", {}),
    ("deit_small", "zcu102", {}),
    ("deit_small", "zcu102", {"pi": 32, "po": 32}),
    ("deit_small", "kv260", {}),
    ("deit_small", "pynq-z2", {}),
)
LANES = (1, 4, 16, 64)


def load(name: str, weight_bits: int = 8, activation_bits: int = 8) -> Graph:
    """The integer graph of a cached model, calibrated on two random samples."""
    path = cache_folder() / name / "model.onnx"
    if not path.exists():
        raise EdgeFlowError(f"{path} does not exist: run python scripts/export_models.py {name.replace('_', '-')}")
    model = import_model(path, dims={}, shapes={})
    config = QuantizationConfig(
        weight_bits=weight_bits, activation_bits=activation_bits, rounding="nearest", input_correction=False
    )
    return quantize(model, random_inputs(model, 2, 0), config).graph


def measure(graph: Graph, board: Board, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Figures of one model on the accelerator chosen for a board, with ``sizes`` given."""
    clock = CLOCK if board.name == "zcu102" else board.clock_mhz
    network = Network(graph)
    architecture = configure(network, board, clock, sizes=sizes)
    report = estimate(lower(network, architecture), graph, board, clock)
    allowed, used = limits(board), known_resources(architecture)
    return {
        "board": board.name,
        "clock_mhz": clock,
        "architecture": architecture.model_dump(mode="json"),
        "macs": report.macs,
        "cycles": report.cycles,
        **report.split(),
        "latency_ms": report.latency_ms,
        "mac_utilization": report.mac_utilization,
        "gops": report.gops,
        "gops_per_dsp": report.gops_per_dsp,
        "limit_cycles": report.limits.cycles,
        "not_hidden": report.exposed(),
        "used": used,
        "share": {name: used[name] / board.resources[name] for name in used if board.resources[name]},
        "fits": all(used[name] <= allowed[name] for name in used),
        "parts": {name: vars(r) for name, r in unit_resources(architecture).items()},
    }


def show(name: str, figures: Mapping[str, Any]) -> None:
    """One row of the main table, and what it is made of."""
    a, share = figures["architecture"], figures["share"]
    sizes = f"{a['pi']}x{a['po']}, epilogue {a['epilogue']}, vector {a['vector']}, {a['weight_ports']} weight ports"
    taken = ", ".join(f"{resource} {figures['used'][resource]} ({part:.0%})" for resource, part in share.items())
    hidden = ", ".join(f"{unit} {cycles}" for unit, cycles in figures["not_hidden"].items())
    print(f"{name} on {figures['board']} at {figures['clock_mhz']:g} MHz: {sizes}")
    factor, useful = figures["cycles"] / figures["limit_cycles"], figures["mac_utilization"]
    print(
        f"  {figures['latency_ms']:.3f} ms, {figures['cycles']} cycles ({factor:.2f} x the limit), {useful:.1%} of the multiplies "
        f"useful, {figures['gops']:.0f} GOPS, {figures['gops_per_dsp']:.3f} a DSP"
    )
    print(f"  resources: {taken}; {'within' if figures['fits'] else 'BEYOND'} 80 % of each")
    print(f"  not hidden behind the array: {hidden} cycles")


def bandwidth(tokens: int = 256, heads: int = 3, head_channels: int = 64) -> list[dict[str, float]]:
    """Vectors that attention reads for p lanes on an array of 64 inputs: at most one a cycle, whatever p is.

    ``formula``: Edge-MoE's count of loads for one operand and one head with reordering, N^2 / p + N + p - 1 (arXiv 2305.18691).
    """
    from edgeflow.hw.architecture import Architecture

    rows = []
    for lanes in LANES:
        a = Architecture(
            pi=64, po=max(4, lanes), epilogue=max(4, lanes // 4), slots=64, max_tokens=tokens, units=("linear", "attention")
        )
        numbers = dict.fromkeys(("q", "k", "v", "o", "o_storage", "shift", "output_shift"), 0)
        op = Operands(
            queries=tokens,
            keys=tokens,
            heads=heads,
            head_channels=head_channels,
            mask=None,
            stride=3,
            o_stride=3,
            o_bits=8,
            o_signed=True,
            multiplier=(1,) * heads,
            numerator=(1,) * heads,
            fraction_bits=6,
            probability_bits=8,
            table_words=4,
            **numbers,
        )
        schedule = passes(op, a, lanes)
        products = [p for p in schedule if p["mac"] in (SCORES, VALUES)]
        cycles = sum(max(c.trips for command in attention_commands(p, a) for c in command.phases) for p in products)
        streamed = sum(p["steps"] * (p["keys"] if p["mac"] == SCORES else p["rows"]) for p in products)
        loads = sum(p["steps"] * p["keys"] for p in products if p["mac"] == SCORES) // heads
        queries = sum(p["q_lanes"] * p["q_steps"] for p in schedule if p["query"]) // heads
        rows.append(
            {
                "lanes": lanes,
                "vectors_a_cycle": streamed / cycles,
                "key_vectors_a_head": loads,
                "query_vectors_a_head": queries,
                "formula": tokens**2 / lanes + tokens + lanes - 1,
                "products_a_cycle": 2 * heads * tokens**2 * head_channels / cycles,
            }
        )
    return rows


def few_bits(board: Board) -> list[dict[str, Any]]:
    """DeiT-Tiny at 8 bits, at 4 and with 2-bit weights on one accelerator that has all modes, and on it with one weight port."""
    networks = {f"W{w}A{a}": Network(load("deit_tiny", w, a)) for w, a in ((8, 8), (4, 4), (2, 4))}
    chosen = configure(networks["W4A4"], board, CLOCK, precisions=(2,))
    rows = []
    for ports, (name, network) in itertools.product(sorted({chosen.weight_ports, 1}, reverse=True), networks.items()):
        program = lower(network, chosen.model_copy(update={"weight_ports": ports}))
        report = estimate(program, network.graph, board, CLOCK)
        rows.append(
            {
                "bits": name,
                "weight_ports": ports,
                "weight_bytes": len(program.weights),
                "cycles": report.cycles,
                "linear_cycles": linear_cycles(report),
                "latency_ms": report.latency_ms,
            }
        )
    return rows


def linear_cycles(report: CycleReport) -> int:
    """Cycles of the linear layers whose weights may have 4 bits: not the first and the last."""
    return sum(layer.cycles for layer in [x for x in report.layers if x.op == "linear"][1:-1])


def main() -> int:
    """Print every table; exit status 1 if a bar of docs/performance.md is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    args = parser.parse_args()
    try:
        graphs = {name: load(name) for name in ("deit_tiny", "deit_small")}
        tables: dict[str, Any] = {"models": []}
        missed = []
        print("All figures are predictions; clocks are targets. No synthesis tool or board was used.\n")
        for name, board, sizes in SETUPS:
            try:
                figures = measure(graphs[name], load_board(board), sizes)
            except BoardError as error:
                tables["models"].append({"model": name, "board": board, "refused": str(error)})
                print(f"{name} on {board}: {error}")
                missed += [f"{name} on {board}: {error}"] if board == "zcu102" else []
                continue
            tables["models"].append({"model": name, **figures})
            show(name, figures)
            missed += missing(name, board, bool(sizes), figures)
        heads = [op for node in graphs["deit_tiny"].nodes if isinstance(op := operator(node), Attention)]
        print(f"\nAttention, 256 tokens, 3 heads of 64, array of 64 inputs ({len(heads)} such layers in DeiT-Tiny):")
        tables["attention"] = bandwidth()
        for row in tables["attention"]:
            print(
                f"  p = {row['lanes']:2.0f}: {row['vectors_a_cycle']:.3f} vectors a cycle, {row['products_a_cycle']:6.0f} useful "
                f"multiplies a cycle; a head loads {row['key_vectors_a_head']:.0f} keys, {row['query_vectors_a_head']:.0f} queries "
                f"(N^2/p + N + p - 1 = {row['formula']:.0f})"
            )
        if max(row["vectors_a_cycle"] for row in tables["attention"]) > 1:
            missed.append("attention reads more than one vector a cycle")
        print("\nDeiT-Tiny on the same accelerator at 8 bits and below (first and last layer at 8):")
        tables["bits"] = few_bits(load_board("zcu102"))
        for row in tables["bits"]:
            print(
                f"  {row['bits']}, {row['weight_ports']} weight ports: {row['latency_ms']:.3f} ms, {row['cycles']} cycles "
                f"({row['linear_cycles']} in the inner linear layers), {row['weight_bytes']} bytes of weights"
            )
        if args.json:
            args.json.write_text(json.dumps(tables, indent=1) + "\n")
        print("\n" + ("\n".join(f"MISSED: {m}" for m in missed) or "every bar is met"))
        return 1 if missed else 0
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


def missing(name: str, board: str, fixed: bool, figures: Mapping[str, Any]) -> list[str]:
    """The bars on the ZCU102 that these figures miss; DeiT-Small has 3.68 times DeiT-Tiny's multiply-adds."""
    if board != "zcu102":
        return [] if figures["fits"] else [f"{name} on {board}: beyond 80 % of a resource"]
    which = f"{name} on {board}{' at 32x32' if fixed else ''}"
    bars = [("useful multiplies", figures["mac_utilization"] >= (0.9 if fixed else 0.8))]
    bars += [("80 % of each resource", figures["fits"])]
    if not fixed:
        allowed = 1.8 * figures["macs"] / 1.2537e9
        bars += [(f"{allowed:.2f} ms", figures["latency_ms"] <= allowed), ("0.75 GOPS a DSP", figures["gops_per_dsp"] >= 0.75)]
    return [f"{which}: {bar}" for bar, met in bars if not met]


if __name__ == "__main__":
    sys.exit(main())
