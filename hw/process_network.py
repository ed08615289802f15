"""The accelerator as processes joined by streams: which there are, what each reads and writes, how much every stream holds.

The table is what C simulation and the HLS components are generated from, and every picture of the network. A stream has one process
that writes it and one that reads it; the scratchpad serves its clients through streams as well
(hw/include/edgeflow/network/ports.hpp).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

import networkx

COMMANDS = 2  # commands that wait for a process: the next one is decoded while one runs
ANSWERS = 16  # lines that a client of the scratchpad has asked for and not yet taken

SEQUENCE, SCRATCHPAD = "sequence", "scratchpad"

# In which order the sequencer hands out an instruction's commands: one that finds no room holds up those behind it.
ISSUE_ORDER = (
    *("query_lines", "load", "transpose_keys", "weigh", "track", "feed_lines", "feed_steps", "value_lines", "values", "divide"),
    *("residual_lines", "norm_lines", "norm_sums", "norm_statistics", "norm_write", "multiply", "epilogue", "outputs"),
    *("ask", "vector"),
)


@dataclass(frozen=True)
class Channel:
    """A stream: the C++ type of its items (``C`` stands for the configuration), and how many it holds (a number, or a constant of
    the configuration). ``beside``: no iteration of its reader waits for an item, only the end of the reader's command."""

    name: str
    item: str
    depth: int | str
    beside: bool = False

    @property
    def type(self) -> str:
        """The items' type in generated code."""
        return f"edgeflow::{self.item.replace('<C>', '<Config>')}"


class Kind(Enum):
    """What a process is in hardware."""

    COMPONENT = "component"  # synthesized from C++, starts by itself and handles one command a call
    CONTROL = "control"  # synthesized from C++, started over AXI-Lite
    CORE = "core"  # Verilog (hw/rtl); C simulation has its model


@dataclass(frozen=True)
class Master:
    """An AXI port through which a process reads external memory, and writes it where ``writes``. ``each``: one for every port that
    streams weights."""

    name: str
    writes: bool = False
    each: bool = False

    def ports(self, weight_ports: int) -> tuple[str, ...]:
        """The ports' names, in an accelerator that streams weights through so many."""
        return tuple(f"{self.name}_{port}" for port in range(weight_ports)) if self.each else (self.name,)


@dataclass(frozen=True)
class Group:
    """Streams that a function takes as one struct of references."""

    type: str
    streams: tuple[str, ...]


@dataclass(frozen=True)
class Process:
    """A function of the header library that handles one command at a time.

    ``parameters`` are those of the function, in order: registers, masters, streams, or groups of streams; then comes the state
    that outlives a command, if there is one. ``header`` has the function: of ``network``, or a generated one. ``asks``: it looks
    whether a stream is empty, and goes on if so.
    """

    name: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    parameters: tuple[str | Group, ...]
    header: str
    state: str | None = None
    kind: Kind = Kind.COMPONENT
    masters: tuple[Master, ...] = ()
    registers: tuple[str, ...] = ()
    asks: bool = False

    @property
    def state_type(self) -> str | None:
        """The state's type in generated code."""
        return None if self.state is None else f"edgeflow::{self.state.replace('<C>', '<Config>')}"

    @property
    def groups(self) -> tuple[Group, ...]:
        """The structs among its parameters."""
        return tuple(p for p in self.parameters if isinstance(p, Group))

    @property
    def streams(self) -> tuple[str, ...]:
        """All streams that it has a part in."""
        return self.reads + self.writes

    def pointers(self, weight_ports: int) -> tuple[str, ...]:
        """The names of its AXI ports."""
        return tuple(port for master in self.masters for port in master.ports(weight_ports))


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
        "fetch_program": "FetchCommand",
        "feed_lines": "FeedCommand",
        "feed_steps": "FeedCommand",
        "load": "LoadCommand",
        "transpose_keys": "TransposeCommand",
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
        Channel("segments", "WordRun", 4),
        Channel("words", "StreamWord<C>", "STREAM_WORDS"),
        *_commands(),
        Channel("steps", "Step<C>", 4),
        Channel("value_steps", "Step<C>", 4),
        Channel("loads", "LoadWord<C>", 4, beside=True),
        Channel("parameters", "ParameterWord<C>", 16, beside=True),
        Channel("rows", "RowSums<C>", 16),
        Channel("score_rows", "ScoreRow<C>", 16),
        Channel("multiplied", "Flag", 2),
        Channel("scores", "KeyScores<C>", "2 * C::ATTENTION_KEYS"),
        Channel("maxima", "Maxima<C>", 2),
        Channel("key_weights", "KeyWeights<C>", 4),
        Channel("key_words", "OperandWord<C>", 4),
        Channel("totals", "Totals<C>", 2),
        Channel("reciprocals", "LaneReciprocal", 16, beside=True),
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


def _process(
    name: str,
    header: str,
    reads: tuple[str, ...],
    writes: tuple[str, ...],
    state: str | None = None,
    kind: Kind = Kind.COMPONENT,
    asks: bool = False,
) -> Process:
    """One whose parameters are its commands, what else it reads, what it writes."""
    reads = (f"{name}_commands", *reads)
    return Process(name, reads, writes, reads + writes, header, state, kind, asks=asks)


@cache
def array_processes() -> tuple[Process, ...]:
    """The processes of the array, attention and layer normalization."""
    return (
        _process("feed_lines", "feed.hpp", (), ("feed_requests",)),
        _process("feed_steps", "feed.hpp", ("feed_lines",), ("steps",)),
        _process(
            "load",
            "load.hpp",
            ("words", "query_lines", "key_words"),
            ("loads", "parameters", "exponents", "norm_words", "vector_words"),
        ),
        _process(
            "multiply",
            "multiply.hpp",
            ("steps", "value_steps", "loads"),
            ("rows", "score_rows", "multiplied"),
            "Stationary<C>",
            Kind.CORE,
            asks=True,
        ),
        _process("residual_lines", "epilogue.hpp", (), ("residual_requests",)),
        _process(
            "epilogue",
            "epilogue.hpp",
            ("rows", "parameters", "reciprocals", "residual_lines"),
            ("epilogue_writes", "query_outputs"),
            "EpilogueState<C>",
            asks=True,
        ),
        _process("track", "weigh.hpp", ("score_rows", "masks"), ("scores", "maxima"), "TrackState<C>"),
        _process("weigh", "weigh.hpp", ("scores", "maxima", "exponents"), ("key_weights", "totals"), "WeighState<C>"),
        _process("transpose_keys", "transpose.hpp", ("key_weights",), ("key_words",)),
        _process("divide", "weigh.hpp", ("totals",), ("reciprocals",)),
        _process("query_lines", "values.hpp", (), ("query_requests",)),
        _process("value_lines", "values.hpp", (), ("value_requests",)),
        _process("values", "values.hpp", ("value_lines",), ("masks", "value_steps"), "ValuesState<C>"),
        _process("outputs", "values.hpp", ("query_outputs",), ("outputs_writes",), "OutputsState<C>"),
        _process("norm_lines", "normalize.hpp", ("complete_rows",), ("norm_requests",)),
        _process("norm_sums", "normalize.hpp", ("norm_lines",), ("norm_chunks", "sums")),
        _process("norm_statistics", "normalize.hpp", ("sums",), ("statistics",)),
        _process("norm_write", "normalize.hpp", ("norm_words", "norm_chunks", "statistics"), ("norm_writes",), "NormState<C>"),
    )


def _sequence() -> Process:
    """Hands out the commands: the first of them to what fetches the program."""
    commands = tuple(name for name in channels() if name.endswith("_commands"))
    notices = ("multiplied", *(f"{client.name}_done" for client in CLIENTS if not client.reads))
    registers = ("descriptors", "weights", "memory", "first", "count")
    fetching, others = commands[0], commands[1:]
    groups = (Group("ArrayCommands", others), Group("ArrayNotices", notices))
    return Process(
        SEQUENCE,
        ("program", *notices),
        commands,
        (*registers, fetching, "program", *groups),
        "sequence.hpp",
        kind=Kind.CONTROL,
        registers=registers,
    )


def _scratchpad() -> Process:
    """Answers its clients; what they are is in the table, not in a function."""
    reads = tuple(f"{client.name}_{'requests' if client.reads else 'writes'}" for client in CLIENTS)
    answers = tuple(f"{client.name}_{'lines' if client.reads else 'done'}" for client in CLIENTS)
    return Process(SCRATCHPAD, reads, (*answers, "complete_rows"), (), "ports.hpp", kind=Kind.CORE)


@cache
def processes() -> tuple[Process, ...]:
    """All processes."""
    weights = Master("weights", each=True)
    asked, answered = ("narrow_requests", "wide_requests"), ("narrow_lines", "wide_lines")
    return (
        Process(
            "fetch_program",
            ("fetch_program_commands",),
            ("program", "segments"),
            ("descriptors", "fetch_program_commands", "program", "segments"),
            "fetch.hpp",
            masters=(Master("descriptors"),),
        ),
        Process("fetch_words", ("segments",), ("words",), ("weights", "segments", "words"), "fetch.hpp", masters=(weights,)),
        _sequence(),
        _scratchpad(),
        *array_processes(),
        Process(
            "vector",
            ("vector_commands", "vector_words", *answered),
            ("vector_writes",),
            (
                "constants",
                "memory",
                "vector_commands",
                "vector_words",
                Group("GivenLines<Config>", (*answered, "vector_writes")),
            ),
            "edgeflow_vector.hpp",
            state="VectorState",
            masters=(Master("constants"), Master("memory", writes=True)),
        ),
        Process("ask", ("ask_commands",), asked, ("ask_commands", Group("AskedLines<Config>", asked)), "edgeflow_vector.hpp"),
    )


@cache
def network() -> networkx.MultiDiGraph:
    """Processes as nodes, streams as edges from the one that writes to the one that reads; the stream's name is the edge's key."""
    graph = networkx.MultiDiGraph()
    ends: dict[str, list[str | None]] = {name: [None, None] for name in channels()}
    for process in processes():
        for side, names in enumerate((process.writes, process.reads)):
            for name in names:
                other = ends[name][side]
                if other is not None:
                    raise AssertionError(f"stream {name} has two processes on one side: {other} and {process.name}")
                ends[name][side] = process.name
    for name, (writer, reader) in ends.items():
        if writer is None or reader is None:
            raise AssertionError(f"stream {name} has no process that {'writes' if writer is None else 'reads'} it")
        graph.add_edge(writer, reader, key=name)
    return graph
