"""What the gate finds in the C++ that EdgeFlow emits today, held to a committed table: ``pytest --refresh-golden`` rewrites it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.ops import instruction_layouts
from edgeflow.hw.schedule import Schedule
from edgeflow.sw.compiler.codegen import write_overlay

pytest.importorskip("ziglang", reason="clang comes with edgeflow[schedule]")

GOLDEN = Path(__file__).parent / "emitted.json"
TARGETS = (("zynq-ultrascale+", 300.0), ("zynq-7000", 100.0))
SMALL = {"pi": 4, "po": 4, "epilogue": 2, "vector": 2, "axi_bits": 32, "max_tokens": 64, "slots": 512}


@pytest.fixture(scope="module")
def schedules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Schedule]:
    """The smallest accelerator with every unit, scheduled for both families."""
    from edgeflow.hw.schedule.analysis import schedule_compiled
    from edgeflow.hw.schedule.compiler import compile_project

    folder = tmp_path_factory.mktemp("emitted") / "hls"
    units = tuple(layout.name for layout in instruction_layouts())
    write_overlay(folder, Architecture.model_validate({**SMALL, "units": units}))
    compiled = compile_project(folder, ["edgeflow_top.cpp"])
    return {f"{family} {clock:g} MHz": schedule_compiled(folder, compiled, family, clock) for family, clock in TARGETS}


def summary(result: Schedule) -> dict[str, Any]:
    """Of each loop what matters, and of each finding what it is about."""
    return {
        loop.name: {
            "interval": loop.interval,
            "depth": loop.depth,
            "recurrence_ns": loop.recurrence_ns,
            "slow": list(loop.slow),
            "findings": [f"{one.kind}: {one.variable} ({one.file.rsplit('/', 1)[-1]}:{one.line})" for one in loop.findings],
        }
        for loop in result.loops
    }


def test_todays_schedules_are_those_of_the_table(schedules: dict[str, Schedule], request: pytest.FixtureRequest) -> None:
    now = {name: summary(result) for name, result in schedules.items()}
    if request.config.getoption("--refresh-golden"):
        GOLDEN.write_text(json.dumps(now, indent=1) + "\n")
    assert now == json.loads(GOLDEN.read_text())


def test_the_loop_of_the_array_fails_at_300_mhz(schedules: dict[str, Schedule]) -> None:
    """What an analysis by hand says, too: control recurrences beyond the clock, and four places that write each bank of weights."""
    loop = next(one for one in schedules["zynq-ultrascale+ 300 MHz"].loops if one.name == "array_cycles")
    assert loop.recurrence_ns > 3.68
    weights = next(one for one in loop.memories if one.variable == "state.weight")
    assert (weights.reads, weights.writes, weights.storage) == (1, 4, "ram_s2p")
    assert {one.kind for one in loop.findings} >= {"recurrence", "ports", "distance"}
    needed = next(one.needed for one in loop.memories if one.variable == "scratch.wide")
    assert needed > 60


def test_every_stream_that_a_loop_reads_is_seen(schedules: dict[str, Schedule]) -> None:
    loops = {one.name: dict(one.reads) for one in next(iter(schedules.values())).loops}
    assert set(loops["array_cycles"]) == {"program", "stream"}
    assert set(loops["patches"]) == {"words"}
