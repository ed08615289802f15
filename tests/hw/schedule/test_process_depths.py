"""Every loop of the processes has a schedule, and the committed depths are those that the gate finds: ``pytest --refresh-golden``
rewrites them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.ops import instruction_layouts
from edgeflow.hw.process_depths import TABLE, loop_depth
from edgeflow.sw.compiler.codegen import overlay_files

pytest.importorskip("ziglang", reason="clang comes with edgeflow[schedule]")

TARGETS = (("zynq-ultrascale+", 300.0), ("zynq-ultrascale+", 250.0), ("zynq-7000", 100.0))
SMALL = {"pi": 4, "po": 4, "epilogue": 2, "vector": 2, "axi_bits": 32, "max_tokens": 64, "slots": 512}
LARGE = {"pi": 64, "po": 48, "epilogue": 16, "vector": 32, "weight_ports": 4}
IN_SMALL = {"components/vector.cpp", "components/ask.cpp"}
"""Components that are scheduled with few lanes: with 32 they take minutes."""


def scheduled(folder: Path, sizes: dict[str, int], parts: Callable[[str], bool]) -> dict[str, dict[str, dict[str, int]]]:
    """Depths of the loops of some components of an accelerator with every unit, by device family, clock, and loop."""
    from edgeflow.hw.schedule.analysis import schedule_compiled, tops
    from edgeflow.hw.schedule.compiler import compile_project

    units = tuple(layout.name for layout in instruction_layouts())
    for name, content in overlay_files(Architecture.model_validate({**sizes, "units": units})).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    compiled = compile_project(folder, [top for top in tops(folder) if parts(top)])
    depths: dict[str, dict[str, dict[str, int]]] = {}
    for family, clock in TARGETS:
        result = schedule_compiled(folder, compiled, family, clock)
        assert [str(one) for one in result.all_findings] == [], f"{family} at {clock:g} MHz"
        depths.setdefault(family, {})[f"{clock:g}"] = {loop.name: loop.depth for loop in result.loops}
    return depths


def test_the_table_is_what_the_gate_finds(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    depths = scheduled(tmp_path / "small", SMALL, IN_SMALL.__contains__)
    for family, clocks in scheduled(tmp_path / "large", LARGE, lambda top: top not in IN_SMALL).items():
        for clock, loops in clocks.items():
            depths[family][clock] |= loops
    if request.config.getoption("--refresh-golden"):
        TABLE.write_text(json.dumps(depths, indent=1) + "\n")
    assert depths == json.loads(TABLE.read_text())


def test_the_slowest_clock_that_is_fast_enough_counts() -> None:
    assert loop_depth("weigh keys", "zynq-ultrascale+", 200.0) == loop_depth("weigh_keys", "zynq-ultrascale+", 250.0)
    assert loop_depth("weigh keys", "zynq-ultrascale+", 400.0) == loop_depth("weigh keys", "zynq-ultrascale+", 300.0)
    with pytest.raises(KeyError):
        loop_depth("no loop", "zynq-7000", 100.0)
