"""The accelerator as processes joined by streams: which there are, what each reads and writes, how much every stream holds.

The table is what C simulation is generated from, and every picture of the network. A stream has one process that writes it and one
that reads it; the scratchpad serves its clients through streams as well (hw/include/edgeflow/network/ports.hpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import networkx

COMMANDS = 2  # commands that wait for a process: the next one is decoded while one runs
ANSWERS = 16  # lines that a client of the scratchpad has asked for and not yet taken

SEQUENCE, SCRATCHPAD, FETCH = "sequence", "scratchpad", "fetch"


@dataclass(frozen=True)
class Channel:
    """A stream: the C++ type of its items (``C`` stands for the configuration), and how many it holds (a number, or a constant of
    the configuration)."""

    name: str
    item: str
    depth: int | str

    @property
    def type(self) -> str:
        """The items' type in generated code."""
        return f"edgeflow::{self.item.replace('<C>', '<Config>')}"


@dataclass(frozen=True)
class Process:
    """A function of the header library that handles one command at a time: its arguments are streams in the order of its
    parameters, then the state that outlives a command, if it has one."""

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    arguments: tuple[str, ...]
    state: str | None = None

    @property
    def state_type(self) -> str | None:
        """The state's type in generated code."""
        return None if self.state is None else f"edgeflow::{self.state.replace('<C>', '<Config>')}"


@dataclass(frozen=True)
class Client:
    """What asks the scratchpad for lines (``reads``) or writes them, by the name of its streams."""

    name: str
    reads: bool


CLIENTS = (
    *(Client(name, reads=True) for name in ("feed", "query", "value", "residual", "norm", "narrow", "wide")),
    *(Client(name, reads=False) for name in ("epilogue", "outputs", "norm", "vector")),
)


def _commands() -> Iterator[Channel]:
    items = {
        "feed_lines": "FeedCommand",
        "feed_steps": "FeedCommand",
        "load": "LoadCommand",
        "multiply": "MultiplyCommand",
        "residual_lines": "EpilogueCommand",
        "epilogue": "EpilogueCommand",
        "track": "TrackCommand",
        "weigh": "WeighCommand",
        "divide": "DivideCommand",
        "query_lines": "LinesCommand",
        "value_lines": "LinesCommand",
        "values": "ValuesCommand",
        "outputs": "OutputsCommand",
        "norm_lines": "NormCommand",
        "norm_sums": "NormCommand",
        "norm_statistics": "NormCommand",
        "norm_write": "NormCommand",
        "vector": "Descriptor",
        "ask": "Descriptor",
    }
    for process, item in items.items():
        yield Channel(f"{process}_commands", item, COMMANDS)


@cache
def channels() -> dict[str, Channel]:
    """All streams by name."""
    every = [
        Channel("program", "Descriptor", 4),
        Channel("words", "StreamWord<C>", "STREAM_WORDS"),
        *_commands(),
        Channel("steps", "Step<C>", 4),
        Channel("value_steps", "Step<C>", 4),
        Channel("loads", "LoadWord<C>", 4),
        Channel("parameters", "ParameterWord<C>", 16),
        Channel("rows", "RowSums<C>", 16),
        Channel("score_rows", "RowSums<C>", 16),
        Channel("multiplied", "Flag", 2),
        Channel("scores", "KeyScores<C>", "2 * C::ATTENTION_KEYS"),
        Channel("maxima", "Maxima<C>", 2),
        Channel("key_weights", "KeyWeights<C>", 4),
        Channel("totals", "Totals<C>", 2),
        Channel("reciprocals", "LaneReciprocal", 16),
        Channel("exponents", "StreamWord<C>", 4),
        Channel("masks", "Line", 2),
        Channel("query_outputs", "QueryOutputs<C>", 16),
        Channel("norm_words", "StreamWord<C>", 4),
        Channel("vector_words", "StreamWord<C>", 4),
        Channel("norm_chunks", "NormChunk<C>", "C::LAYERNORM_RING"),
        Channel("sums", "NormSums", 4),
        Channel("statistics", "NormStatistics", 4),
        Channel("complete_rows", "Flag", 1024),
        *(Channel(f"{c.name}_requests", "LineAddress", ANSWERS) for c in CLIENTS if c.reads),
        *(Channel(f"{c.name}_lines", "Line", ANSWERS) for c in CLIENTS if c.reads),
        *(Channel(f"{c.name}_writes", "WriteRequest", 8) for c in CLIENTS if not c.reads),
        *(Channel(f"{c.name}_done", "Flag", 2) for c in CLIENTS if not c.reads),
    ]
    return {channel.name: channel for channel in every}


def _process(name: str, reads: tuple[str, ...], writes: tuple[str, ...], state: str | None = None) -> Process:
    """One whose parameters are its commands, what else it reads, what it writes."""
    commands = f"{name}_commands"
    return Process(name, (commands, *reads), writes, (commands, *reads, *writes), state)


@cache
def array_processes() -> tuple[Process, ...]:
    """The processes of the array, attention and layer normalization."""
    return (
        _process("feed_lines", (), ("feed_requests",)),
        _process("feed_steps", ("feed_lines",), ("steps",)),
        _process(
            "load",
            ("words", "query_lines", "key_weights"),
            ("loads", "parameters", "exponents", "norm_words", "vector_words"),
        ),
        _process("multiply", ("steps", "value_steps", "loads"), ("rows", "score_rows", "multiplied"), "Stationary<C>"),
        _process("residual_lines", (), ("residual_requests",)),
        _process(
            "epilogue",
            ("rows", "parameters", "reciprocals", "residual_lines"),
            ("epilogue_writes", "query_outputs"),
            "EpilogueState<C>",
        ),
        _process("track", ("score_rows", "masks"), ("scores", "maxima"), "TrackState<C>"),
        _process("weigh", ("scores", "maxima", "exponents"), ("key_weights", "totals"), "WeighState<C>"),
        _process("divide", ("totals",), ("reciprocals",)),
        _process("query_lines", (), ("query_requests",)),
        _process("value_lines", (), ("value_requests",)),
        _process("values", ("value_lines",), ("masks", "value_steps"), "ValuesState<C>"),
        _process("outputs", ("query_outputs",), ("outputs_writes",), "OutputsState<C>"),
        _process("norm_lines", ("complete_rows",), ("norm_requests",)),
        _process("norm_sums", ("norm_lines",), ("norm_chunks", "sums")),
        _process("norm_statistics", ("sums",), ("statistics",)),
        _process("norm_write", ("norm_words", "norm_chunks", "statistics"), ("norm_writes",), "NormState<C>"),
    )


@cache
def network() -> networkx.MultiDiGraph:
    """Processes as nodes, streams as edges from the one that writes to the one that reads; the stream's name is the edge's key."""
    graph = networkx.MultiDiGraph()
    ends: dict[str, list[str | None]] = {name: [None, None] for name in channels()}

    def end(channel: str, side: int, process: str) -> None:
        if ends[channel][side] is not None:
            raise AssertionError(f"stream {channel} has two processes on one side: {ends[channel][side]} and {process}")
        ends[channel][side] = process

    for process in array_processes():
        for name in process.reads:
            end(name, 1, process.name)
        for name in process.writes:
            end(name, 0, process.name)
    for name in channels():
        if name.endswith("_commands"):
            end(name, 0, SEQUENCE)
    for client in CLIENTS:
        if client.reads:
            end(f"{client.name}_requests", 1, SCRATCHPAD)
            end(f"{client.name}_lines", 0, SCRATCHPAD)
        else:
            end(f"{client.name}_writes", 1, SCRATCHPAD)
            end(f"{client.name}_done", 0, SCRATCHPAD)
            end(f"{client.name}_done", 1, SEQUENCE)
    end("complete_rows", 0, SCRATCHPAD)
    end("multiplied", 1, SEQUENCE)
    end("program", 0, FETCH)
    end("program", 1, SEQUENCE)
    end("words", 0, FETCH)
    for name, side, own in (
        ("vector_commands", 1, "vector"),
        ("ask_commands", 1, "ask"),
        ("narrow_requests", 0, "ask"),
        ("wide_requests", 0, "ask"),
        ("narrow_lines", 1, "vector"),
        ("wide_lines", 1, "vector"),
        ("vector_writes", 0, "vector"),
        ("vector_words", 1, "vector"),
    ):
        end(name, side, own)
    for name, (writer, reader) in ends.items():
        if writer is None or reader is None:
            raise AssertionError(f"stream {name} has no process that {'writes' if writer is None else 'reads'} it")
        graph.add_edge(writer, reader, key=name)
    return graph
