"""Every loop of the processes has a schedule, and the committed depths are those that the gate finds: ``pytest --refresh-golden``
rewrites them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.ops import instruction_layouts
from edgeflow.hw.process_depths import TABLE, loop_depth
from edgeflow.sw.compiler.codegen import overlay_files

pytest.importorskip("ziglang", reason="clang comes with edgeflow[schedule]")

TARGETS = (("zynq-ultrascale+", 300.0), ("zynq-ultrascale+", 250.0), ("zynq-7000", 100.0))
SMALL = {"pi": 4, "po": 4, "epilogue": 2, "vector": 2, "axi_bits": 32, "max_tokens": 64, "slots": 512}


def test_the_table_is_what_the_gate_finds(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from edgeflow.hw.schedule.analysis import schedule_compiled, tops
    from edgeflow.hw.schedule.compiler import compile_project

    units = tuple(layout.name for layout in instruction_layouts())
    for name, content in overlay_files(Architecture.model_validate({**SMALL, "units": units})).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    compiled = compile_project(tmp_path, tops(tmp_path))
    depths: dict[str, dict[str, dict[str, int]]] = {}
    for family, clock in TARGETS:
        result = schedule_compiled(tmp_path, compiled, family, clock)
        loops = result.loops
        findings = [str(one) for one in result.all_findings]
        assert findings == [], f"{family} at {clock:g} MHz"
        depths.setdefault(family, {})[f"{clock:g}"] = {loop.name: loop.depth for loop in loops}
    if request.config.getoption("--refresh-golden"):
        TABLE.write_text(json.dumps(depths, indent=1) + "\n")
    assert depths == json.loads(TABLE.read_text())


def test_the_slowest_clock_that_is_fast_enough_counts() -> None:
    assert loop_depth("weigh keys", "zynq-ultrascale+", 200.0) == loop_depth("weigh_keys", "zynq-ultrascale+", 250.0)
    assert loop_depth("weigh keys", "zynq-ultrascale+", 400.0) == loop_depth("weigh keys", "zynq-ultrascale+", 300.0)
    with pytest.raises(KeyError):
        loop_depth("no loop", "zynq-7000", 100.0)
