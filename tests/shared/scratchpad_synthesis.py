"""Synthesis of a bank of the scratchpad by yosys, for UltraScale+: its block memories."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from array_synthesis import YOSYS

from edgeflow.hw.array_core import RTL
from edgeflow.hw.scratchpad_core import ScratchpadCore

HALVES = {"RAMB36E2": 2, "RAMB18E2": 1}
BANK = "edgeflow_scratchpad_bank"
BANKS = tuple(
    ScratchpadCore(lines=4 * rows, line_bytes=8, lane_bits=lane_bits) for lane_bits in (8, 4) for rows in (512, 1024, 2048, 4096)
)
"""Those whose bank is synthesized."""


def block_memories(core: ScratchpadCore) -> int:
    """Block memories of one bank in halves of a RAMB36; AssertionError where yosys adds memory of another kind."""
    values = core.parameters
    sizes = {name: values[name] for name in ("READERS", "WRITERS", "LINE_BYTES", "LANE_BITS")} | {"ROWS": core.lines // core.banks}
    with tempfile.TemporaryDirectory(prefix="edgeflow-yosys-") as folder:
        target = Path(folder) / "bank.json"
        lines = [
            *(f"read_verilog -defer {path}" for path in sorted(RTL.glob("*.v"))),
            f"hierarchy -check -top {BANK} {' '.join(f'-chparam {name} {value}' for name, value in sizes.items())}",
            f"synth_xilinx -family xcup -top {BANK} -flatten -noiopad -noclkbuf -run begin:map_ffram",
            f"select -module {BANK}",
            f"write_json -selected {target}",
        ]
        done = subprocess.run([sys.executable, "-c", YOSYS], input="\n".join(lines), capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
        cells = Counter(cell["type"] for cell in json.loads(target.read_text())["modules"][BANK]["cells"].values())
    memories = Counter({kind: count for kind, count in cells.items() if "RAM" in kind.upper() or kind.startswith("$mem")})
    assert set(memories) <= set(HALVES), memories
    return sum(HALVES[kind] * count for kind, count in memories.items())
