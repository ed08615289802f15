"""Synthesis by yosys (the Python package ``pyosys``): Verilog to primitives of UltraScale+ (``xcup``) or 7 series (``xc7``).

``synth_xilinx`` runs with everything flattened, without pads and clock buffers. yosys ends the process that it fails in and writes
to its own standard output, so it runs in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeflow.hw.errors import ToolchainError
from edgeflow.hw.synthesis.block import Block, prelude, sources
from edgeflow.hw.synthesis.netlist import Counts, count

FAMILIES = {"xcup": "UltraScale+", "xc7": "7 series"}
OPTIONS = "-flatten -noiopad -noclkbuf -widemux 5"  # multiplexers F7 and F8 for choices of five and more

_PROGRAM = """
import sys
from pyosys import libyosys as yosys
design = yosys.Design()
for line in sys.stdin.read().splitlines():
    yosys.run_pass(line, design)
"""


def available() -> bool:
    """Whether yosys is installed."""
    return importlib.util.find_spec("pyosys") is not None


def version() -> str:
    """The version of yosys; ToolchainError where it is not installed."""
    if not available():
        raise ToolchainError("synthesis needs yosys: pip install pyosys")
    return importlib.metadata.version("pyosys")


def synthesize(blocks: Sequence[Block], family: str) -> list[Counts]:
    """What each block takes on a device of ``family`` (a key of :data:`FAMILIES`). Their hierarchy is kept: none is optimized with
    another.

    ToolchainError where yosys is not installed or fails; its log's end is in the message.
    """
    version()
    with tempfile.TemporaryDirectory(prefix="edgeflow-yosys-") as folder:
        text = prelude() + "".join(path.read_text() for path in sources())
        text += "".join("(* keep_hierarchy *)\n" + block.wrapper(f"block_{number}") for number, block in enumerate(blocks))
        (Path(folder) / "blocks.sv").write_text(text + together(blocks))
        lines = [
            f"read_verilog -sv -D {family.upper()} {folder}/blocks.sv",
            "hierarchy -top top",
            f"synth_xilinx -family {family} -top top {OPTIONS}",
            f"write_json {folder}/netlist.json",
        ]
        done = subprocess.run([sys.executable, "-c", _PROGRAM], input="\n".join(lines), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ToolchainError(f"yosys failed: {(done.stderr + done.stdout).strip()[-600:]}")
        netlist = json.loads((Path(folder) / "netlist.json").read_text())
        return [count(netlist, f"block_{number}") for number in range(len(blocks))]


def together(blocks: Sequence[Block]) -> str:
    """A module ``top`` with every block ``block_n``, all of whose ports are ports of its own."""
    ports, instances = ["input clk"], []
    for number, block in enumerate(blocks):
        connections = [".clk(clk)"]
        for direction, group in (("input", block.inputs), ("output", block.outputs)):
            for port in group:
                ports.append(f"{direction} [{port.bits * port.count - 1}:0] p{number}_{port.name}")
                connections.append(f".{port.name}(p{number}_{port.name})")
        instances.append(f"    block_{number} b{number} ({', '.join(connections)});\n")
    return f"module top ({', '.join(ports)});\n{''.join(instances)}endmodule\n"
