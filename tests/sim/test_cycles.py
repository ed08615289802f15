"""Predicted cycles of a program: sums, kinds, limits, roofline, trace."""

from __future__ import annotations

import gzip
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from small_network import CHANNELS, HIDDEN, TOKENS, small_network

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import Board, load_board
from edgeflow.hw.cost import Unknown
from edgeflow.hw.fit import known_resources
from edgeflow.hw.graph import Graph, QType, TensorType
from edgeflow.hw.ops import make_node, node_macs, unit
from edgeflow.hw.ops.linear import Linear
from edgeflow.sim.counting import commands
from edgeflow.sim.cycles import CycleReport, chrome_trace, estimate, roofline, trace_file
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

CLOCK = 200.0
KINDS = ("compute", "memory", "fill", "waiting")


def architecture(**changes: int) -> Architecture:
    return Architecture(units=Network(small_network()).units, max_channels=128, clock_mhz=CLOCK).model_copy(update=changes)


def predicted(board: Board | None = None, /, **changes: int) -> CycleReport:
    graph = small_network()
    return estimate(lower(Network(graph), architecture(**changes)), graph, board or load_board("zcu102"), CLOCK)


def test_layers_instructions_units_and_kinds_add_up() -> None:
    report = predicted()
    assert report.cycles == sum(layer.cycles for layer in report.layers) == sum(report.by_unit().values()) > 0
    assert report.cycles == sum(report.split().values())
    for name, parts in report.parts().items():
        assert sum(parts.values()) == report.by_unit()[name]
    for layer in report.layers:
        own = [i for i in report.instructions if i.output == layer.output]
        assert len(own) == layer.instructions
        for kind in KINDS:
            assert getattr(layer, kind) == sum(getattr(i, kind) for i in own)
        assert layer.vector == sum(i.cycles for i in own if i.unit != "linear")


def test_instructions_follow_one_another() -> None:
    report = predicted()
    end = 0
    for i in report.instructions:
        assert i.start == end
        assert i.cycles == sum(getattr(i, kind) for kind in KINDS)
        assert i.start <= i.begin < i.begin + sum(i.parts.values()) <= i.end
        assert min(getattr(i, kind) for kind in KINDS) >= 0
        end = i.end
    assert end == report.cycles


def test_every_instruction_takes_what_its_unit_states() -> None:
    graph = small_network()
    program = lower(Network(graph), architecture())
    report = estimate(program, graph, load_board("zcu102"), CLOCK)
    for step, instruction in zip(program.steps, report.instructions, strict=True):
        layout = step.instruction.layout
        phases = [one for c in commands(step, program) if c.process == unit(layout).process for one in c.phases]
        assert instruction.unit == layout.name
        assert instruction.waiting >= instruction.begin - instruction.start
        assert instruction.compute + instruction.hidden == sum(one.trips * one.interval for one in phases)
        assert instruction.hidden == 0 or not instruction.array
        if not instruction.array and not instruction.hidden:
            assert instruction.fill >= sum(one.entries * (one.depth or 0) for one in phases)
            stalled = instruction.memory + instruction.waiting
            assert sum(instruction.parts.values()) <= instruction.compute + instruction.fill + stalled


def test_every_node_is_a_layer_and_a_view_takes_no_time() -> None:
    graph, report = small_network(), predicted()
    assert [layer.output for layer in report.layers] == [node.output for node in graph.nodes]
    view = next(layer for layer in report.layers if layer.output == "token")
    assert (view.cycles, view.instructions, view.traffic.total) == (0, 0, 0)


def test_utilization_and_times_follow_from_cycles() -> None:
    graph, report = small_network(), predicted()
    assert report.macs == sum(node_macs(graph, node) for node in graph.nodes) == TOKENS * 2 * 2 * CHANNELS * HIDDEN + 5 * CHANNELS
    assert report.mac_units == 16 * 16
    assert report.mac_utilization == report.macs / (report.cycles * 256)
    assert report.latency_ms == pytest.approx(report.cycles / 200e6 * 1e3, rel=1e-12)
    assert report.fps * report.latency_ms == pytest.approx(1000, rel=1e-12)
    assert report.gops == pytest.approx(2 * report.macs / (report.cycles / 200e6) / 1e9, rel=1e-12)


def test_operations_a_dsp_count_every_dsp() -> None:
    report = predicted()
    assert not isinstance(report.dsp, Unknown)
    assert not isinstance(report.gops_per_dsp, Unknown)
    assert report.dsp == known_resources(architecture())["dsp"] > 16 * 16 // 2
    assert report.gops_per_dsp == report.gops / report.dsp


def test_traffic_is_what_crosses_the_ports() -> None:
    graph = small_network()
    program = lower(Network(graph), architecture())
    report = estimate(program, graph, load_board("zcu102"), CLOCK)
    assert report.traffic.weights == sum(step.instruction.stream[1] for step in program.steps) * 64
    assert report.traffic.read == TOKENS * 64  # rows of 32 bytes in lines of 64
    assert report.traffic.written == 64  # five classes
    assert report.traffic.descriptors == 128 * len(program.steps)
    assert report.traffic.weights >= 2 * 2 * CHANNELS * HIDDEN + 5 * CHANNELS


def test_limits_are_below_the_prediction() -> None:
    for changes in ({}, {"pi": 32, "po": 32}, {"weight_ports": 2}):
        report = predicted(**changes)
        assert report.limits.macs == -(-report.macs // report.mac_units)
        moved = report.traffic.weights + report.traffic.read + report.traffic.written
        assert report.limits.ddr == math.ceil(moved / report.memory.shared)
        assert 0 < report.limits.cycles <= report.cycles


def test_a_slow_memory_makes_layers_wait() -> None:
    board = load_board("zcu102")
    fast, slow = predicted(board), predicted(board.model_copy(update={"ddr_gb_s": 0.01}))
    assert slow.limits.ddr > fast.cycles
    assert slow.limits.ddr == slow.limits.cycles <= slow.cycles
    assert slow.split()["memory"] > slow.cycles / 2
    assert slow.split()["compute"] == fast.split()["compute"]


def test_a_pass_that_only_loads_weights_waits_for_memory() -> None:
    graph = small_network()
    program = lower(Network(graph), architecture())
    report = estimate(program, graph, load_board("zcu102"), CLOCK)
    alone = [
        (i, step.instruction.values["load_words"])
        for i, step in zip(report.instructions, program.steps, strict=True)
        if i.unit == "linear" and step.instruction.values["rows"] == 0
    ]
    assert alone
    for i, words in alone:
        assert i.compute == 0
        assert i.memory >= words


def test_latency_is_paid_before_the_first_word() -> None:
    board = load_board("zcu102")
    near, far = (predicted(board.model_copy(update={"ddr_latency_ns": ns})) for ns in (5.0, 1005.0))
    first = (near.instructions[0], far.instructions[0])
    assert [i.unit for i in first] == ["dma", "dma"]
    assert first[1].waiting - first[0].waiting == 200  # a descriptor, at 200 MHz
    assert first[1].memory - first[0].memory == 200  # the input's first word


def test_more_weight_ports_bring_weights_sooner() -> None:
    assert predicted(weight_ports=4).split()["memory"] < predicted().split()["memory"]


def test_a_larger_array_is_faster() -> None:
    assert predicted(pi=32, po=32).cycles < predicted(pi=16, po=16).cycles


def test_work_outside_the_array_is_listed() -> None:
    report = predicted()
    units = report.by_unit()
    assert report.exposed() == {name: cycles for name, cycles in units.items() if name != "linear"}
    assert report.exposed()["dma"] > 0


def test_a_loop_at_a_port_moves_a_word_an_iteration() -> None:
    """What units state with ``port``: the input's and the output's lines, in AXI words."""
    program = lower(Network(small_network()), architecture())
    loops = [one for step in program.steps for command in commands(step, program) for one in command.phases if one.port]
    stated = [(one.trips, one.entries, one.interval, one.port) for one in loops]
    assert stated == [(TOKENS * 4, 1, 1, "read"), (4, 1, 1, "write")]


def test_the_roofline_holds_every_layer() -> None:
    report = predicted()
    roof = roofline(report)
    assert roof.peak_gops == pytest.approx(2 * 256 * 0.2, rel=1e-12)
    assert roof.quad_gops is None
    assert roof.ddr_gb_s == pytest.approx(17.1 * load_board("zcu102").ddr_efficiency, rel=1e-12)
    assert [p.layer for p in roof.layers] == [i for i, layer in enumerate(report.layers) if layer.macs]
    for point in roof.layers:
        layer = report.layers[point.layer]
        assert point.intensity == 2 * layer.macs / layer.traffic.total
        assert point.gops == pytest.approx(2 * layer.macs / layer.cycles * 0.2, rel=1e-12)
        assert point.gops <= roof.peak_gops
    assert roof.network is not None
    assert roof.network.gops == report.gops
    assert roof.network.gops <= roof.network.intensity * roof.ddr_gb_s


def test_trace_has_every_instruction_and_fetch(tmp_path: Path) -> None:
    report = predicted(load_board("zcu102").model_copy(update={"ddr_gb_s": 0.1}))
    (tmp_path / "trace.json").write_bytes(trace_file(report))
    document = json.loads((tmp_path / "trace.json").read_text())
    assert document == json.loads(json.dumps(chrome_trace(report)))
    names = {e["tid"]: e["args"]["name"] for e in document["traceEvents"] if e["name"] == "thread_name"}
    assert set(names.values()) == {"layers", "descriptors", "fetch", *report.by_unit()}
    slices = [e for e in document["traceEvents"] if e["ph"] == "X"]
    runs = [e for e in slices if names[e["tid"]] not in ("layers", "descriptors", "fetch")]
    assert [e["args"]["instruction"] for e in runs] == list(range(len(report.instructions)))
    for e, i in zip(runs, report.instructions, strict=True):
        assert names[e["tid"]] == i.unit
        assert {kind: e["args"][kind] for kind in KINDS} == {kind: getattr(i, kind) for kind in KINDS}
        assert (e["ts"], e["ts"] + e["dur"]) == pytest.approx((i.begin / CLOCK, i.end / CLOCK), abs=1e-9)
    for track in names:
        own = [e for e in slices if e["tid"] == track]
        for a, b in pairwise(own):
            assert a["ts"] + a["dur"] <= b["ts"] + 1e-6
    fetched = [e["args"]["instruction"] for e in slices if e["name"] == "descriptor"]
    assert fetched == list(range(len(report.instructions)))


def test_trace_has_the_layers_above_the_units() -> None:
    report = predicted()
    document = json.loads(gzip.decompress(trace_file(report, compressed=True)))
    assert document == json.loads(json.dumps(chrome_trace(report)))
    order = {e["tid"]: e["args"]["sort_index"] for e in document["traceEvents"] if e["name"] == "thread_sort_index"}
    track = next(e["tid"] for e in document["traceEvents"] if e["name"] == "thread_name" and e["args"]["name"] == "layers")
    assert order[track] == min(order.values())
    slices = [e for e in document["traceEvents"] if e["ph"] == "X" and e["tid"] == track]
    for a, b in pairwise(slices):
        assert a["ts"] + a["dur"] <= b["ts"] + 1e-6
        assert a["args"]["layer"] != b["args"]["layer"]
    for number, layer in enumerate(report.layers):
        own = [e for e in slices if e["args"]["layer"] == number]
        instructions = [i for i in report.instructions if i.output == layer.output]
        assert sum(e["args"]["instructions"] for e in own) == len(instructions) == layer.instructions
        assert {(e["name"], e["args"]["operator"]) for e in own} <= {(layer.name, layer.op)}
        if own:
            ends = own[0]["ts"], own[-1]["ts"] + own[-1]["dur"]
            assert ends == pytest.approx((instructions[0].begin / CLOCK, instructions[-1].end / CLOCK), abs=1e-9)


def test_trace_counts_the_queue_and_the_ports() -> None:
    report = predicted()
    counters = [e for e in chrome_trace(report)["traceEvents"] if e["ph"] == "C"]
    queue = [e["args"]["lines"] for e in counters if e["name"] == "weight stream queue"]
    assert 0 < max(queue) <= report.stream_lines
    assert queue[-1] == 0
    ports = [e["args"] for e in counters if e["name"] == "DDR ports, GB/s"]
    assert 0 < max(p["weights"] for p in ports) <= 16 * 0.2
    assert 0 < max(p["activations and constants"] for p in ports) <= 16 * 0.2


def plain_network(bits: int) -> Graph:
    """Three linear layers of 128 channels for 64 rows, whose weights and activations have ``bits``; the output has 8."""
    rng = np.random.default_rng(0)
    tensors = {"x": TensorType((64, 128), QType(bits, True, 0.1))}
    constants, nodes = {}, []
    for i, out in enumerate((bits, bits, 8)):
        values = {
            f"weight.{i}": (rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), size=(128, 128)), bits),
            f"bias.{i}": (np.zeros(128, dtype=np.int64), 32),
            f"multiplier.{i}": (np.full(128, 40000), 32),
        }
        for name, (value, width) in values.items():
            constants[name] = value.astype(np.int64)
            tensors[name] = TensorType(value.shape, QType(width, True, 1.0))
        op = Linear(
            shift=22,
            bits=out,
            signed=True,
            has_table=False,
            index_bits=0,
            output_shift=0,
            has_residual=False,
            residual_multiplier=0,
            residual_shift=0,
            half_even=False,
        )
        tensors[f"y.{i}"] = TensorType((64, 128), QType(out, True, 0.1))
        nodes.append(make_node(op, (f"y.{i - 1}" if i else "x", *values), f"y.{i}", f"/{i}"))
    return Graph("plain", ("x",), ("y.2",), tensors, constants, tuple(nodes))


def test_four_bits_take_half_the_cycles_and_count_against_the_peak_of_eight() -> None:
    # Four groups of outputs for four steps of inputs: the epilogue keeps up with two rows at once.
    reports = {}
    for bits in (8, 4):
        graph = plain_network(bits)
        architecture = Architecture(
            pi=16, po=16, epilogue=4, weight_ports=4, units=Network(graph).units, max_channels=128, clock_mhz=CLOCK
        )
        reports[bits] = estimate(lower(Network(graph), architecture), graph, load_board("zcu102"), CLOCK)
    eight, four = reports[8], reports[4]
    whole, half = eight.layers[1], four.layers[1]
    assert (whole.rate, half.rate) == (256, 512)
    assert 2 * half.compute == whole.compute == 64 * 128 * 128 // 256
    assert roofline(four).quad_gops == 2 * roofline(four).peak_gops
    assert roofline(eight).quad_gops is None
    assert four.limits.macs < eight.limits.macs == 3 * 64 * 128 * 128 // 256
    assert half.macs / (half.compute * four.mac_units) == 2
