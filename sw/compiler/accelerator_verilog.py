"""The accelerator as one Verilog module: an instance for every process of the table, a queue for every stream between them.

Components have the ports that Vitis HLS gives queues and AXI ports of their C++ arguments, cores those of their streams' names. All
connections are by name, so that a port that a version of the tool adds stays open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.process_network import CLIENTS, SCRATCHPAD, Kind, Process, processes
from edgeflow.hw.scratchpad_core import ScratchpadCore
from edgeflow.hw.stream_items import ItemLayouts
from edgeflow.sw.compiler.components import CONTROL_ADDRESS_BITS, CONTROL_BUS, sized_channels, stream_argument

TOP = "edgeflow_accelerator"
CORE_MODULES = {"multiply": "edgeflow_array_process", SCRATCHPAD: "edgeflow_scratchpad_process"}

# What a master drives is an output. Bits as Vitis HLS has them, 0 for those of a word, -1 for a bit for each of its bytes.
_ADDRESS = (
    *(("VALID", "output", 1), ("READY", "input", 1), ("ADDR", "output", 64), ("ID", "output", 1), ("LEN", "output", 8)),
    *(("SIZE", "output", 3), ("BURST", "output", 2), ("LOCK", "output", 2), ("CACHE", "output", 4), ("PROT", "output", 3)),
    *(("QOS", "output", 4), ("REGION", "output", 4), ("USER", "output", 1)),
)
_MASTER = (
    *((f"AW{name}", direction, bits) for name, direction, bits in _ADDRESS),
    *(("WVALID", "output", 1), ("WREADY", "input", 1), ("WDATA", "output", 0), ("WSTRB", "output", -1)),
    *(("WLAST", "output", 1), ("WID", "output", 1), ("WUSER", "output", 1)),
    *((f"AR{name}", direction, bits) for name, direction, bits in _ADDRESS),
    *(("RVALID", "input", 1), ("RREADY", "output", 1), ("RDATA", "input", 0), ("RLAST", "input", 1), ("RID", "input", 1)),
    *(("RUSER", "input", 1), ("RRESP", "input", 2)),
    *(("BVALID", "input", 1), ("BREADY", "output", 1), ("BRESP", "input", 2), ("BID", "input", 1), ("BUSER", "input", 1)),
)
_CONTROL = (
    *(("AWVALID", "input", 1), ("AWREADY", "output", 1), ("AWADDR", "input", CONTROL_ADDRESS_BITS)),
    *(("WVALID", "input", 1), ("WREADY", "output", 1), ("WDATA", "input", 32), ("WSTRB", "input", 4)),
    *(("ARVALID", "input", 1), ("ARREADY", "output", 1), ("ARADDR", "input", CONTROL_ADDRESS_BITS)),
    *(("RVALID", "output", 1), ("RREADY", "input", 1), ("RDATA", "output", 32), ("RRESP", "output", 2)),
    *(("BVALID", "output", 1), ("BREADY", "input", 1), ("BRESP", "output", 2)),
)


@dataclass(frozen=True)
class Port:
    """A port of a module, and what the accelerator joins it with."""

    name: str
    direction: str
    bits: int
    net: str

    @property
    def range(self) -> str:
        """Its bits as Verilog declares them."""
        return f"[{self.bits - 1}:0] " if self.bits > 1 else ""


@dataclass(frozen=True)
class Instance:
    """A process in the accelerator."""

    name: str
    module: str
    parameters: dict[str, int | str]
    ports: tuple[Port, ...]


@dataclass(frozen=True)
class Queue:
    """A stream between two instances: bits of its items, and how many of them it holds at least."""

    name: str
    bits: int
    depth: int

    @property
    def range(self) -> str:
        """The bits of an item as Verilog declares them."""
        return f"[{self.bits - 1}:0] " if self.bits > 1 else ""

    @property
    def spare(self) -> int:
        """Bits that fill an item's last byte."""
        return -self.bits % 8


@dataclass(frozen=True)
class Accelerator:
    """What the module ``edgeflow_accelerator`` holds: ``ports`` are its own, each of them of one instance; of ``filled`` queues a
    core drives more bits than items have, in whole bytes."""

    ports: tuple[Port, ...]
    filled: tuple[Queue, ...]
    queues: tuple[Queue, ...]
    instances: tuple[Instance, ...]
    masters: tuple[str, ...]


def accelerator(architecture: Architecture, layouts: ItemLayouts) -> Accelerator:
    """The accelerator of an architecture, with the items of its C++."""
    queues = {
        name: Queue(name, layouts.bits(channel.item), layouts.value(str(channel.depth)))
        for name, channel in sized_channels(architecture).items()
    }
    instances, outside, masters, filled = [], [], [], []
    for process in processes():
        if process.name == SCRATCHPAD:
            instances.append(_scratchpad(architecture, queues))
            continue
        if process.kind is Kind.CORE:
            ports = [*_clock("clk", "reset", "reset"), *_core_ports(process, queues)]
            instances.append(Instance(process.name, CORE_MODULES[process.name], _array_parameters(architecture), tuple(ports)))
            filled += [queues[name] for name in process.writes if queues[name].spare]
            continue
        buses = [port for name in process.pointers(architecture.weight_ports) for port in _master(name, architecture)]
        masters += [f"m_axi_gmem_{name}" for name in process.pointers(architecture.weight_ports)]
        if process.kind is Kind.CONTROL:
            buses += [Port(f"{CONTROL_BUS}_{name}", way, bits, f"{CONTROL_BUS}_{name}") for name, way, bits in _CONTROL]
            buses.append(Port("interrupt", "output", 1, "interrupt"))
        outside += buses
        ports = [*_clock("ap_clk", "ap_rst_n", "reset_n"), *_component_ports(process, queues), *buses]
        instances.append(Instance(process.name, f"edgeflow_{process.name}", {}, tuple(ports)))
    return Accelerator(tuple(outside), tuple(filled), tuple(queues.values()), tuple(instances), tuple(masters))


def _clock(clock: str, reset: str, net: str) -> tuple[Port, Port]:
    return Port(clock, "input", 1, "ap_clk"), Port(reset, "input", 1, net)


def _component_ports(process: Process, queues: dict[str, Queue]) -> Iterator[Port]:
    """The ports of queues of an HLS component."""
    for name in process.reads:
        argument = stream_argument(name)
        yield Port(f"{argument}_dout", "input", queues[name].bits, f"{name}_out_data")
        yield Port(f"{argument}_empty_n", "input", 1, f"{name}_out_valid")
        yield Port(f"{argument}_read", "output", 1, f"{name}_out_ready")
    for name in process.writes:
        argument = stream_argument(name)
        yield Port(f"{argument}_din", "output", queues[name].bits, f"{name}_in_data")
        yield Port(f"{argument}_full_n", "input", 1, f"{name}_in_ready")
        yield Port(f"{argument}_write", "output", 1, f"{name}_in_valid")


def _core_ports(process: Process, queues: dict[str, Queue]) -> Iterator[Port]:
    """The ports of a Verilog core that has one for every stream: whole bytes, as AXI-Stream has them."""
    for names, data, ready, side in ((process.reads, "input", "output", "out"), (process.writes, "output", "input", "in")):
        for name in names:
            port = name.removeprefix(f"{process.name}_")
            bits, spare = queues[name].bits, queues[name].spare
            filling = f"{spare}'b0" if side == "out" else f"{name}_unused"
            yield Port(f"{port}_tvalid", data, 1, f"{name}_{side}_valid")
            yield Port(f"{port}_tready", ready, 1, f"{name}_{side}_ready")
            item = f"{name}_{side}_data"
            yield Port(f"{port}_tdata", data, bits + spare, f"{{{filling}, {item}}}" if spare else item)


def _array_parameters(architecture: Architecture) -> dict[str, int | str]:
    return {
        "FAMILY": '"ultrascale"' if architecture.dsp_bits == 27 else '"7series"',
        "PI": architecture.pi,
        "PO": architecture.po,
        "SLOTS": architecture.slots,
        "QUAD": int(4 in architecture.precisions),
        "QUARTERS": int(2 in architecture.precisions),
        "LOAD_BYTES": architecture.load_bytes,
    }


def _scratchpad(architecture: Architecture, queues: dict[str, Queue]) -> Instance:
    """Its clients' streams are parts of vectors, the first client's lowest."""
    readers = [client.name for client in CLIENTS if client.reads]
    writers = [client.name for client in CLIENTS if not client.reads]
    ports = list(_clock("clk", "reset", "reset"))
    for stream, clients, side in (
        ("requests", readers, "out"),
        ("lines", readers, "in"),
        ("writes", writers, "out"),
        ("done", writers, "in"),
    ):
        names = [f"{client}_{stream}" for client in reversed(clients)]
        data, ready = ("input", "output") if side == "out" else ("output", "input")
        for kind, way, bits in (("valid", data, 1), ("ready", ready, 1), ("data", data, queues[names[0]].bits)):
            net = "{" + ", ".join(f"{name}_{side}_{kind}" for name in names) + "}"
            ports.append(Port(f"{stream}_{kind}", way, bits * len(names), net))
    for kind, way in (("valid", "output"), ("ready", "input"), ("data", "output")):
        ports.append(Port(f"complete_rows_{kind}", way, 1, f"complete_rows_in_{kind}"))
    core = ScratchpadCore.of(architecture)
    parameters: dict[str, int | str] = {name: value for name, value in core.parameters.items() if name != "LINE_BYTES"}
    parameters["NARROW_LINES"] = architecture.narrow_lines
    return Instance(SCRATCHPAD, CORE_MODULES[SCRATCHPAD], parameters, tuple(ports))


def _master(name: str, architecture: Architecture) -> Iterator[Port]:
    for signal, way, bits in _MASTER:
        width = {0: architecture.axi_bits, -1: architecture.word_bytes}.get(bits, bits)
        yield Port(f"m_axi_gmem_{name}_{signal}", way, width, f"m_axi_gmem_{name}_{signal}")
