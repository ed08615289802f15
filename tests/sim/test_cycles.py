"""Predicted cycles: sums, memory bound, trace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_network import CHANNELS, HIDDEN, TOKENS, small_network

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import Board, load_board
from edgeflow.hw.ops import node_macs, unit
from edgeflow.sim.cycles import CycleReport, chrome_trace, estimate, write_trace
from edgeflow.sw.lowering import lower, units

CLOCK = 200.0


def architecture(**changes: int) -> Architecture:
    return Architecture(units=units(small_network()), max_channels=128, clock_mhz=CLOCK).model_copy(update=changes)


def predicted(board: Board | None = None, **changes: int) -> CycleReport:
    graph = small_network()
    return estimate(lower(graph, architecture(**changes)), graph, board or load_board("zcu102"), CLOCK)


def test_layers_and_instructions_add_up() -> None:
    report = predicted()
    assert report.cycles == sum(layer.cycles for layer in report.layers) == sum(report.by_unit().values()) > 0
    for name, parts in report.parts().items():
        assert sum(parts.values()) == report.by_unit()[name]
    for layer in report.layers:
        own = [i for i in report.instructions if i.output == layer.output]
        assert len(own) == layer.instructions
        assert sum(i.cycles for i in own) == layer.cycles
        assert layer.wait == (max(0, layer.memory - layer.compute) if own else 0)


def test_instructions_follow_one_another() -> None:
    report = predicted()
    end = 0
    for i in report.instructions:
        assert i.start == end
        assert i.cycles == i.fetch + i.compute + i.wait
        assert sum(i.parts.values()) == i.compute > 0
        end = i.start + i.cycles
    assert end == report.cycles


def test_every_instruction_takes_what_its_unit_states() -> None:
    graph = small_network()
    program = lower(graph, architecture())
    report = estimate(program, graph, load_board("zcu102"), CLOCK)
    for step, found in zip(program.steps, report.instructions, strict=True):
        layout = step.instruction.layout
        assert found.unit == layout.name
        assert found.compute == unit(layout).cycles(step.instruction.values, program.architecture).total
        assert found.fetch == 128 // 16  # a descriptor of 128 bytes in AXI words of 16


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


def test_traffic_counts_every_operand_once() -> None:
    layer = predicted().layers[0]
    assert (layer.traffic.read, layer.traffic.written) == (9 * 64, 9 * 128)  # rows of 32 and 80 bytes in lines of 64
    # 80 x 32 weights in 5 x 2 tiles; bias, multiplier and output multiplier a channel; a table of 256 entries of 16 bits.
    assert layer.traffic.weights == 80 * 32 + 80 * 12 + 256 * 2


def test_a_slow_memory_makes_layers_wait() -> None:
    board = load_board("zcu102")
    slow = board.model_copy(update={"ddr_gb_s": 0.001})
    fast_report, slow_report = predicted(board), predicted(slow)
    assert all(layer.wait == 0 for layer in fast_report.layers)
    assert all(layer.wait > 0 for layer in slow_report.layers if layer.instructions)
    first = slow_report.layers[0]
    assert first.memory == -(-first.traffic.total * 200 // 1)  # 0.001 GB/s at 200 MHz: 200 cycles a byte
    assert slow_report.cycles == fast_report.cycles + sum(layer.wait for layer in slow_report.layers)


def test_a_larger_array_is_faster() -> None:
    assert predicted(pi=32, po=32).cycles < predicted(pi=16, po=16).cycles


def test_trace_covers_every_cycle_once(tmp_path: Path) -> None:
    report = predicted(load_board("zcu102").model_copy(update={"ddr_gb_s": 0.1}))
    write_trace(report, tmp_path / "trace.json")
    document = json.loads((tmp_path / "trace.json").read_text())
    assert document == json.loads(json.dumps(chrome_trace(report)))
    slices = [e for e in document["traceEvents"] if e["ph"] == "X"]
    assert sum(e["args"]["cycles"] for e in slices) == report.cycles
    names = {e["tid"]: e["args"]["name"] for e in document["traceEvents"] if e["name"] == "thread_name"}
    assert {names[e["tid"]] for e in slices} == {"descriptor fetch", "memory wait", *report.by_unit()}
    end = 0.0
    for e in slices:
        assert e["ts"] == pytest.approx(end, abs=1e-9)
        assert e["dur"] == e["args"]["cycles"] / CLOCK
        end = e["ts"] + e["dur"]
    assert end == pytest.approx(report.latency_ms * 1e3, rel=1e-12)
