"""Predictions that skip what was simulated before say of every instruction what the whole simulation says."""

from __future__ import annotations

import dataclasses

import pytest
from array_networks import attending, mlp, stream

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import load_board
from edgeflow.hw.graph import Graph
from edgeflow.sim.cycles import model, network
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

GRAPHS = {
    "attention": attending(70, 6, 16),
    "heads": attending(33, 13, 32),
    "mlp": mlp(64, 96, 384, 8, 8),
    "nibbles": mlp(40, 192, 384, 4, 4),
    "stream": stream(50, 192, 256),
}
LAYERS = 8  # a network's instructions again and again, as those of equal layers are
SIZES = ((4, 8, 4), (16, 16, 8), (32, 8, 32), (64, 48, 64))
CLOCKS = {"zcu102": 300.0, "kv260": 250.0}


def simulated(graph: Graph, board: str, size: tuple[int, int, int], *, detail: bool) -> list[tuple[int, int, int]]:
    own = Network(graph)
    sizes = Architecture.model_validate({**own.demands, "slots": own.demands["max_channels"], "units": own.units})
    pi, po, epilogue = size
    a = sizes.model_copy(update={"pi": pi, "po": po, "epilogue": epilogue, "precisions": (8, 4), "clock_mhz": CLOCKS[board]})
    program = lower(own, a)
    program = dataclasses.replace(program, steps=program.steps * LAYERS)
    _, schedule = model._simulated(program, load_board(board), CLOCKS[board], detail=detail)
    return [(one.start, one.begin, one.end) for one in schedule.executions]


@pytest.mark.parametrize("board", CLOCKS)
@pytest.mark.parametrize("name", GRAPHS)
def test_every_instruction_begins_and_ends_as_in_detail(board: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    again = network.Network._again
    skipped = 0

    def counted(self: network.Network, known: network.Repeatable, start: float) -> network.Stretch:
        nonlocal skipped
        skipped += 1
        return again(self, known, start)

    monkeypatch.setattr(network.Network, "_again", counted)
    instructions = 0
    for size in SIZES:
        whole = simulated(GRAPHS[name], board, size, detail=True)
        assert simulated(GRAPHS[name], board, size, detail=False) == whole
        instructions += len(whole)
    assert skipped > instructions // 2
