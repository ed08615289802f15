"""The table of processes and streams: one writer and one reader a stream, commands from the sequencer alone."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import networkx
import pytest

from edgeflow.hw import process_network
from edgeflow.hw.process_network import CLIENTS, FETCH, SCRATCHPAD, SEQUENCE, Process, array_processes, channels, network


def test_every_stream_joins_two_processes() -> None:
    graph = network()
    assert {key for *_, key in graph.edges(keys=True)} == set(channels())
    assert {process.name for process in array_processes()} | {SEQUENCE, SCRATCHPAD, FETCH, "vector", "ask"} == set(graph)


def test_what_a_process_is_called_with_is_what_it_reads_and_writes() -> None:
    for process in array_processes():
        assert process.arguments == process.reads + process.writes
        assert process.reads[0] == f"{process.name}_commands"


def test_a_second_reader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    thief = Process("thief", ("steps",), (), ("steps",))
    more = (*array_processes(), thief)
    monkeypatch.setattr(process_network, "array_processes", lambda: more)
    network.cache_clear()
    with pytest.raises(AssertionError, match="stream steps has two processes on one side: multiply and thief"):
        network()
    network.cache_clear()


def test_data_flows_one_way() -> None:
    """But for the scratchpad, which answers, and for what tells the sequencer that a command is done, no stream leads back, save
    where scores become weights."""
    graph = networkx.DiGraph(network())
    graph.remove_node(SCRATCHPAD)
    graph.remove_edge("multiply", SEQUENCE)
    assert networkx.is_directed_acyclic_graph(graph.subgraph(set(graph) - {"load", "weigh", "track", "multiply"}))
    assert list(networkx.simple_cycles(graph.subgraph({"load", "weigh", "track", "multiply"}))) != []  # scores become weights


def test_clients_have_names_of_their_own() -> None:
    assert len({(client.name, client.reads) for client in CLIENTS}) == len(CLIENTS)


def test_the_page_draws_every_pair_of_processes() -> None:
    """Commands are one arrow of the picture; all other streams have theirs."""
    page = (Path(__file__).parents[2] / "docs" / "accelerator.md").read_text()
    drawing = page[page.index("```mermaid") : page.index("```", page.index("```mermaid") + 3)]
    drawn = set()
    for line in drawing.splitlines():
        places = [name.split("[")[0] for name in re.split(r" --(?: [^-]* --)?> ", line.strip())]
        drawn |= set(itertools.pairwise(places)) if " --> " in line else set()
    wanted = {(a, b) for a, b, key in network().edges(keys=True) if not key.endswith("_commands")}
    assert drawn == wanted
