"""Synthesis of the scratchpad by yosys, for UltraScale+."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from array_synthesis import YOSYS

from edgeflow.hw.array_core import RTL
from edgeflow.hw.scratchpad_core import TOP, ScratchpadCore
from edgeflow.hw.synthesis.netlist import Counts, count

HALVES = {"RAMB36E2": 2, "RAMB18E2": 1}
BANK = "edgeflow_scratchpad_bank"
ROWS = (512, 1024, 2048, 4096)
BANKS = (
    *(ScratchpadCore(lines=4 * rows, line_bytes=8, half_lines=halves * 4 * rows) for halves in (0, 1) for rows in ROWS),
    ScratchpadCore(lines=4 * 1536, line_bytes=8, half_lines=4 * 512),
)
"""Those whose bank is synthesized."""
WHOLE = (
    ScratchpadCore(3, 2, lines=4 * 512, line_bytes=8, half_lines=4 * 512),
    ScratchpadCore(3, 2, lines=4 * 1024, line_bytes=8, half_lines=4 * 512),
    ScratchpadCore(7, 4, 2, lines=2 * 1024, line_bytes=4, queue=16),
)
"""Those that are synthesized as a whole."""


def synthesized(top: str, parameters: Mapping[str, int]) -> Counts:
    """What a module takes."""
    return count(_yosys(top, parameters, ""), top)


def synthesize(core: ScratchpadCore) -> Counts:
    """What the core takes.

    Without ``-widemux``, with which yosys 0.70 drops banks: it joins the choice among four with the memory's write enable.
    """
    netlist = _yosys(TOP, core.parameters, "")
    return count(netlist, TOP)


def block_memories(core: ScratchpadCore) -> int:
    """Block memories of one bank in halves of a RAMB36; AssertionError where yosys adds memory of another kind."""
    values = core.parameters
    rows = {"ROWS": core.lines // core.banks, "HALF_ROWS": core.half_lines // core.banks}
    sizes = {name: values[name] for name in ("READERS", "WRITERS", "LINE_BYTES")} | rows
    cells = _yosys(BANK, sizes, "-run begin:map_ffram")["modules"][BANK]["cells"].values()
    memories = Counter(cell["type"] for cell in cells if "RAM" in cell["type"].upper() or cell["type"].startswith("$mem"))
    assert set(memories) <= set(HALVES), memories
    return sum(HALVES[kind] * number for kind, number in memories.items())


def _yosys(top: str, parameters: Mapping[str, int], options: str) -> Any:
    """The netlist of ``top``, flat."""
    with tempfile.TemporaryDirectory(prefix="edgeflow-yosys-") as folder:
        target = Path(folder) / "netlist.json"
        lines = [
            *(f"read_verilog -defer {path}" for path in sorted(RTL.glob("*.v"))),
            "read_verilog -lib +/xilinx/cells_sim.v",
            "read_verilog -lib +/xilinx/cells_xtra.v",
            f"hierarchy -check -top {top} {' '.join(f'-chparam {name} {value}' for name, value in parameters.items())}",
            f"synth_xilinx -family xcup -top {top} -flatten -noiopad -noclkbuf {options}",
            f"select -module {top}",
            f"write_json -selected {target}",
        ]
        done = subprocess.run([sys.executable, "-c", YOSYS], input="\n".join(lines), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
        return json.loads(target.read_text())
