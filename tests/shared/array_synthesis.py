"""Synthesis of the array core by yosys, and what it counts."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeflow.hw.array_core import CASCADE, TOP, ArrayCore, sources
from edgeflow.hw.array_core_resources import Part

YOSYS = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for line in sys.stdin.read().splitlines():
    libyosys.run_pass(line, design)
"""
MEMORIES = {"RAM32M16": 8, "RAM64M8": 8, "RAM32M": 4, "RAM64M": 4}
SLICES = {"ultrascale": "DSP48E2", "7series": "DSP48E1"}
LEFT_OUT = ("CARRY4", "MUXF7", "MUXF8", "$scopeinfo")  # what a LUT has beside it


@dataclass(frozen=True)
class Netlist:
    """Modules of yosys' JSON, and how often each stands in the core."""

    modules: Mapping[str, Any]
    instances: Counter[str]

    def cells(self) -> Counter[str]:
        """Primitives by their kind."""
        total: Counter[str] = Counter()
        for name, copies in self.instances.items():
            for cell in self.modules[name]["cells"].values():
                if cell["type"] not in self.instances:
                    total[cell["type"]] += copies
        return total


def synthesize(core: ArrayCore, top: str = TOP) -> Netlist:
    """The core, or the process around it, on UltraScale+ or 7 series; its columns, which are all alike, are synthesized once."""
    values = {name: value if isinstance(value, int) else constant(value) for name, value in core.parameters.items()}
    parameters = " ".join(f"-chparam {name} {value}" for name, value in values.items())
    family = "xcup" if core.packed else "xc7"
    with tempfile.TemporaryDirectory(prefix="edgeflow-yosys-") as folder:
        target = Path(folder) / "core.json"
        lines = [
            *(f"read_verilog -defer {path}" for path in sources()),
            "read_verilog -lib +/xilinx/cells_sim.v",
            "read_verilog -lib +/xilinx/cells_xtra.v",
            f"hierarchy -check -top {top} {parameters}",
            "setattr -mod -set keep_hierarchy 1 *edgeflow_array_column*",
            f"synth_xilinx -family {family} -top {top} -flatten -noiopad -noclkbuf -widemux 5",
            "check -assert",
            f"write_json {target}",
        ]
        done = subprocess.run([sys.executable, "-c", YOSYS], input="\n".join(lines), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stderr + done.stdout)[-2000:]
        modules = json.loads(target.read_text())["modules"]
    columns = Counter(cell["type"] for cell in modules[top]["cells"].values() if "edgeflow_array_column" in cell["type"])
    assert columns.total() == core.po // 2
    return Netlist(modules, Counter({top: 1}) + columns)


def constant(text: str) -> str:
    """A string as yosys takes it for a parameter."""
    return f"{8 * len(text)}'h{text.encode().hex()}"


def counted(netlist: Netlist, core: ArrayCore) -> Part:
    """What of a device the primitives are, as :mod:`edgeflow.hw.array_core_resources` counts."""
    cells = netlist.cells()
    logic = sum(n for kind, n in cells.items() if kind.startswith("LUT") or kind == "INV")
    memory = sum(n * MEMORIES[kind] for kind, n in cells.items() if kind in MEMORIES) + (cells["SRL16E"] + 1) // 2
    flip_flops = sum(n for kind, n in cells.items() if kind in ("FDRE", "FDSE"))
    known = {*MEMORIES, *LEFT_OUT, "SRL16E", "FDRE", "FDSE", "INV", SLICES[core.family]}
    unknown = {kind for kind in cells if kind not in known and not kind.startswith("LUT")}
    assert not unknown, unknown
    return Part(cells[SLICES[core.family]], logic + memory, flip_flops, memory)


def check_slices(netlist: Netlist, core: ArrayCore) -> None:
    """Each cascade is four slices from PCOUT to PCIN, with the registers that the core asks for."""
    (column,) = (netlist.modules[name] for name in netlist.instances if "edgeflow_array_column" in name)
    slices = [cell for cell in column["cells"].values() if cell["type"] == SLICES[core.family]]
    before = {bits[0]: number for number, cell in enumerate(slices) if isinstance((bits := cell["connections"]["PCOUT"])[0], int)}
    first = [cell for cell in slices if cell["connections"]["PCIN"] == ["0"] * 48]
    after = [before[cell["connections"]["PCIN"][0]] for cell in slices if cell["connections"]["PCIN"] != ["0"] * 48]
    assert len(set(after)) == len(after) == (CASCADE - 1) * len(first) == len(slices) * (CASCADE - 1) // CASCADE
    registers = {"BREG": 2, "MREG": 1, "PREG": 1, "CREG": 1} | ({"AREG": 1, "ADREG": 1, "DREG": 1} if core.packed else {"AREG": 2})
    for cell in slices:
        assert {name: int(cell["parameters"][name], 2) for name in registers} == registers
