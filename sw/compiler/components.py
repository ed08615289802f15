"""The processes of an accelerator as HLS components: what their top functions take and which interfaces it has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from edgeflow.hw.architecture import LINE_BYTES, Architecture
from edgeflow.hw.process_network import Channel, Group, Kind, Process, channels, processes

_PORTS = ("weights_0", "weights_1", "weights_2", "weights_3")
_BURST = 64  # AXI words
MEMORY_WORDS = 1 << 20  # of each AXI port in co-simulation
_FILES = {"descriptors": "program.bin", "weights": "weights.bin", "constants": "weights.bin", "memory": "input_0.bin"}
CONTROL_BUS = "s_axi_control"
REGISTERS = {"identity": 0x10, "descriptors": 0x20, "weights": 0x30, "memory": 0x40, "first": 0x50, "count": 0x58}
"""Bytes from the start of the control bus at which a processor finds what it writes, and the identity; addresses take two words."""
CONTROL_ADDRESS_BITS = 7


@dataclass(frozen=True)
class Argument:
    """An argument of a top function."""

    type: str
    name: str


@dataclass(frozen=True)
class LocalGroup:
    """Streams that the process takes as one struct, declared in the top function."""

    type: str
    name: str
    streams: tuple[str, ...]


@dataclass(frozen=True)
class Component:
    """A top function ``edgeflow_<name>`` that calls a process once."""

    process: Process
    arguments: tuple[Argument, ...]
    pragmas: tuple[str, ...]
    groups: tuple[LocalGroup, ...]
    call: tuple[str, ...]

    @property
    def name(self) -> str:
        """The process's."""
        return self.process.name

    @property
    def registers(self) -> tuple[str, ...]:
        """What a processor writes before it starts the component."""
        return self.process.registers

    @property
    def state_type(self) -> str | None:
        """The type of what outlives a command."""
        return self.process.state_type

    @property
    def include(self) -> str:
        """The header that has the process."""
        header = self.process.header
        return header if header.startswith("edgeflow_") else f"edgeflow/network/{header}"

    @property
    def masters(self) -> tuple[str, ...]:
        """The names of its AXI ports."""
        return tuple(argument.name for argument in self.arguments if argument.type.endswith("Word*"))

    @property
    def written(self) -> tuple[str, ...]:
        """Those of its AXI ports that it writes to."""
        return tuple(argument.name for argument in self.arguments if argument.type == "Word*")

    @property
    def memories(self) -> dict[str, str]:
        """The file of the HLS project's data that lies behind each AXI port."""
        return {name: _FILES[name.split("_")[0]] for name in self.masters}

    @property
    def stream_types(self) -> tuple[tuple[str, str], ...]:
        """Its streams' arguments with their items' types, those first that it reads."""
        return tuple((stream_argument(name), channels()[name].type) for name in self.process.streams)

    @property
    def read_arguments(self) -> tuple[str, ...]:
        """The arguments of streams that it reads."""
        return tuple(map(stream_argument, self.process.reads))

    @property
    def written_arguments(self) -> tuple[str, ...]:
        """The arguments of streams that it writes."""
        return tuple(map(stream_argument, self.process.writes))

    @property
    def file(self) -> str:
        """The source file in the HLS project."""
        return f"components/{self.name}.cpp"


def sized_channels(architecture: Architecture) -> dict[str, Channel]:
    """All streams by name, with depths as generated code says them."""
    words = architecture.stream_lines * LINE_BYTES // architecture.stream_bytes
    return {
        name: replace(channel, depth=str(channel.depth).replace("STREAM_WORDS", str(words)).replace("C::", "Config::"))
        for name, channel in channels().items()
    }


def cpp_type(item: str) -> str:
    """The type of an item in generated code."""
    return Channel("", item, 0).type


def stream_argument(channel: str) -> str:
    """What a component calls a stream: a name that is no keyword of a hardware language, since its ports have it."""
    return f"{channel}_stream"


def components(architecture: Architecture) -> list[Component]:
    """The processes with a function in C++, whatever they are in hardware, as top functions."""
    return [_component(process, architecture) for process in processes() if process.parameters]


def identity(architecture: Architecture) -> int:
    """32 bits that an accelerator answers with when it is asked what it is: a digest of its sizes and units."""
    text = json.dumps(architecture.model_dump(mode="json"), sort_keys=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


@dataclass(frozen=True)
class Places:
    """The processes at both ends of a stream that are functions in C++, and the stream's number among each one's."""

    writer: str | None
    written: int
    reader: str | None
    read: int


def places() -> dict[str, Places]:
    """Of all streams by name."""
    ends: dict[tuple[str, bool], tuple[str, int]] = {}
    for process in processes():
        for number, name in enumerate(process.streams if process.parameters else ()):
            ends[name, number < len(process.reads)] = process.name, number
    nothing = (None, 0)
    return {name: Places(*ends.get((name, False), nothing), *ends.get((name, True), nothing)) for name in channels()}


def _component(process: Process, architecture: Architecture) -> Component:
    groups = tuple(
        LocalGroup(f"edgeflow::{group.type}", f"group_{n}", tuple(map(stream_argument, group.streams)))
        for n, group in enumerate(process.groups)
    )
    call = tuple(_call(process, groups, architecture))
    if process.state is not None:
        call += (f"{process.name}_state",)
    return Component(process, tuple(_arguments(process, architecture)), tuple(_pragmas(process, architecture)), groups, call)


def _arguments(process: Process, architecture: Architecture) -> Iterator[Argument]:
    for name in process.registers:
        yield Argument("unsigned" if name in ("first", "count") else "edgeflow::Address", name)
    for master in process.masters:
        for port in master.ports(architecture.weight_ports):
            yield Argument("Word*" if master.writes else "const Word*", port)
    for name in process.streams:
        yield Argument(f"hls::stream<{channels()[name].type}>&", stream_argument(name))


def _pragmas(process: Process, architecture: Architecture) -> Iterator[str]:
    """Queues, not AXI-Stream: a queue can be asked whether it is empty, and its items are packed bit by bit."""
    for name in process.streams:
        yield f"ap_fifo port={stream_argument(name)}"
    for master in process.masters:
        for port in master.ports(architecture.weight_ports):
            lengths = f"max_read_burst_length={_BURST}" + (f" max_write_burst_length={_BURST}" if master.writes else "")
            yield f"m_axi port={port} bundle=gmem_{port} offset=off depth={MEMORY_WORDS} {lengths}"
    for name in process.registers:
        yield f"s_axilite port={name} bundle=control offset=0x{REGISTERS[name]:02x}"
    yield "s_axilite port=return bundle=control" if process.kind is Kind.CONTROL else "ap_ctrl_none port=return"


def _call(process: Process, groups: tuple[LocalGroup, ...], architecture: Architecture) -> Iterator[str]:
    masters = {master.name: master for master in process.masters}
    named = iter(groups)
    for parameter in process.parameters:
        if isinstance(parameter, Group):
            yield next(named).name
        elif parameter in masters and masters[parameter].each:
            ports = masters[parameter].ports(architecture.weight_ports)
            # Ports that are not there are parameters that nothing reads.
            yield from (port if port in ports else ports[0] for port in _PORTS)
        else:
            yield stream_argument(parameter) if parameter in channels() and parameter in process.streams else parameter
