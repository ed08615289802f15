"""The table of processes and streams: one writer and one reader a stream, commands from the sequencer alone."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import networkx
import pytest

from edgeflow.hw import process_network
from edgeflow.hw.process_network import (
    CLIENTS,
    ISSUE_ORDER,
    SCRATCHPAD,
    SEQUENCE,
    Group,
    Kind,
    Process,
    channels,
    network,
    processes,
)


def test_every_stream_joins_two_processes() -> None:
    graph = network()
    assert {key for *_, key in graph.edges(keys=True)} == set(channels())
    assert {process.name for process in processes()} == set(graph)


def test_what_a_process_is_called_with_is_what_it_reads_and_writes() -> None:
    for process in processes():
        if process.name == SCRATCHPAD:
            continue
        parameters = [name for p in process.parameters for name in (p.streams if isinstance(p, Group) else (p,))]
        masters = [master.name for master in process.masters]
        assert sorted(parameters) == sorted((*process.streams, *masters, *process.registers))


def test_one_process_is_started_from_outside() -> None:
    assert [process.name for process in processes() if process.kind is Kind.CONTROL] == [SEQUENCE]
    assert [process.name for process in processes() if process.registers] == [SEQUENCE]
    assert {process.name for process in processes() if process.kind is Kind.CORE} == {SCRATCHPAD, "multiply"}
    assert {process.name for process in processes() if process.masters} == {"fetch_program", "fetch_words", "vector"}


def test_every_other_process_is_told_what_to_do() -> None:
    for process in processes():
        if process.name not in (SEQUENCE, SCRATCHPAD, "fetch_words"):
            assert process.reads[0] == f"{process.name}_commands"


def test_a_second_reader_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    thief = Process("thief", ("steps",), (), ("steps",), "feed.hpp")
    more = (*processes(), thief)
    monkeypatch.setattr(process_network, "processes", lambda: more)
    network.cache_clear()
    with pytest.raises(AssertionError, match="stream steps has two processes on one side: multiply and thief"):
        network()
    network.cache_clear()


def test_data_flows_one_way() -> None:
    """But for the scratchpad, which answers, for what tells the sequencer that a command is done, and for the program that it asks
    for, no stream leads back, save where scores become weights."""
    graph = networkx.DiGraph(network())
    graph.remove_node(SCRATCHPAD)
    graph.remove_edge("multiply", SEQUENCE)
    graph.remove_edge(SEQUENCE, "fetch_program")
    turning = {"load", "weigh", "transpose_keys", "track", "multiply"}
    assert networkx.is_directed_acyclic_graph(graph.subgraph(set(graph) - turning))
    assert list(networkx.simple_cycles(graph.subgraph(turning))) != []  # scores become weights


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


def test_streams_weights_through_as_many_ports_as_there_are() -> None:
    words = next(process for process in processes() if process.name == "fetch_words")
    assert words.pointers(2) == ("weights_0", "weights_1")


def test_which_processes_ask_whether_a_stream_is_empty() -> None:
    """The function's text has the question where the table says that it asks."""
    include = Path(process_network.__file__).parent / "include" / "edgeflow" / "network"
    for process in processes():
        if process.parameters and not process.header.startswith("edgeflow_"):
            text = (include / process.header).read_text()
            begin = text.index(f"\nvoid {process.name}(")
            body = text[begin : text.index("\n}\n", begin)]
            assert (".empty()" in body or ".read_nb(" in body) == process.asks, process.name


def test_commands_go_out_in_the_order_that_the_table_states() -> None:
    """Of every instruction, by the text of the sequencer."""
    text = (Path(process_network.__file__).parent / "include" / "edgeflow" / "network" / "sequence.hpp").read_text()
    struct = text[text.index("struct ArrayCommands {") : text.index("};", text.index("struct ArrayCommands {"))]
    sequencer = next(process for process in processes() if process.name == SEQUENCE)
    streams = next(group.streams for group in sequencer.groups if group.type == "ArrayCommands")
    members = dict(zip(re.findall(r">& (\w+);", struct), (name.removesuffix("_commands") for name in streams), strict=True))
    assert sorted(ISSUE_ORDER) == sorted(members.values())
    issued = set()
    for body in re.split(r"\nvoid ", text)[1:]:
        part = body if not body.startswith("sequence(") else body[body.index("} else {\n            const unsigned lines") :]
        order = [members[name] for name in re.findall(r"(?:out|commands)\.(\w+)\.write\(", part)]
        assert order == sorted(order, key=ISSUE_ORDER.index), body[:60]
        issued |= set(order)
    assert issued == set(ISSUE_ORDER)
