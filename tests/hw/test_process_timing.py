"""The cycle simulator against the C++ itself: every process with a clock, an iteration a cycle, streams as deep as declared."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np
import pytest
from array_networks import attending, mlp, stream
from operator_harness import ARCHITECTURES, Built, case_graph, case_samples, operator_cases

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.array_core import ArrayCore
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.ops import registry, units
from edgeflow.hw.process_depths import loop_depth
from edgeflow.hw.process_network import COMMANDS, ISSUE_ORDER
from edgeflow.hw.program import Program
from edgeflow.hw.stream_depths import stream_depths
from edgeflow.sim import csim
from edgeflow.sim.counting import commands
from edgeflow.sim.csim import CSimulation, Depths, LoopTiming, Schedule
from edgeflow.sim.cycles.ddr import Ddr
from edgeflow.sim.cycles.fetching import Fetcher
from edgeflow.sim.cycles.model import DECODE_CYCLES
from edgeflow.sim.cycles.timeline import Task, simulate
from edgeflow.sw.compiler.codegen import overlay_files
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

FAMILY, CLOCK = "zynq-ultrascale+", 300.0
# How far a prediction may be off: what a loop takes of several streams at once is not told apart by iteration.
CYCLES, SHARE = 80, 0.02


@pytest.fixture(scope="module")
def overlays() -> dict[str, Built]:
    return {name: Built(a, csim.build(overlay_files(a), count=True)) for name, a in ARCHITECTURES.items()}


@pytest.fixture(scope="module")
def one_command() -> Built:
    """An accelerator in which one command waits for a process, not as many as the table of streams says."""
    architecture = ARCHITECTURES["16x16 axi128"]
    files = dict(overlay_files(architecture))
    declared = re.compile(rf", {COMMANDS}>(&? \w+_commands)".encode())
    files["csim.cpp"], changed = declared.subn(rb", 1>\1", files["csim.cpp"])
    assert changed > len(ISSUE_ORDER)
    return Built(architecture, csim.build(files, count=True))


def model(architecture: Architecture, program: Program, waiting: int = COMMANDS) -> tuple[int, dict[tuple[str, str], LoopTiming]]:
    """Cycles that the simulator predicts with a memory that never makes anyone wait, and how it takes the loops to behave.
    ``waiting``: commands that wait for a process."""
    core = ArrayCore.of(architecture).latency

    def depth(loop: str) -> int:
        return {"products": core, "instructions": DECODE_CYCLES}.get(loop) or loop_depth(loop, FAMILY, CLOCK)

    by_layout = {own.instruction: own for own in units()}
    tasks = []
    timing = {("sequence", "instructions"): LoopTiming(1, DECODE_CYCLES, 0, True)}
    for process in ("fetch_program", "fetch_words"):
        loop = process.replace("_", " ")
        timing[process, loop] = LoopTiming(1, depth(loop), 0, True)
    for step in program.steps:
        work = commands(step, program)
        words = step.instruction.stream[1] * 64 // architecture.stream_bytes
        tasks.append(Task(work, by_layout[step.instruction.layout].process, words))
        for command in work:
            for one in command.phases:
                stages = depth(one.loop) if one.depth is None else one.depth
                timing[command.process, one.loop] = LoopTiming(one.interval, stages, 0, command.process != "multiply")
    memory = Ddr(math.inf, architecture.word_bytes, architecture.stream_bytes, 0, architecture.word_bytes, 64)
    depths = stream_depths(architecture)
    depths |= {name: waiting for name in depths if name.endswith("_commands")}
    fetcher = Fetcher(depths["program"], depths["words"], architecture.stream_bytes, depth("fetch program"), depth("fetch words"))
    return simulate(tasks, fetcher, memory, depth, depths).cycles, timing


def assert_close(
    overlay: Built, program: Program, inputs: Mapping[str, IntArray], label: str, waiting: int = COMMANDS
) -> tuple[int, int]:
    """Prediction and C++ agree for one sample; both."""
    predicted, timing = model(overlay.architecture, program, waiting)
    with CSimulation(program, overlay.library, Schedule(0, Depths.DECLARED)) as simulation:
        cycles = simulation.timed(inputs, lambda process, loop: timing.get((process, loop), LoopTiming(1, 0, 0, True)))
    assert abs(cycles - predicted) <= max(CYCLES, SHARE * cycles), f"{label}: {cycles} in C++, {predicted} predicted"
    return cycles, predicted


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("name", sorted(registry()))
def test_cases_of_operators(name: str, architecture: str, overlays: dict[str, Built]) -> None:
    overlay = overlays[architecture]
    for case in operator_cases(name):
        program = lower(Network(case_graph(case)), overlay.architecture)
        assert_close(overlay, program, case_samples(case)[0], f"{name} {case.name}")


GRAPHS = {
    "two rows at once": mlp(7, 96, 80, 4, 4),
    "quarter bytes": mlp(9, 70, 40, 3, 2),
    "blocks of keys": attending(150, 2, 16),
    "many heads": attending(13, 12, 32),
    "normalization beside products": stream(21, 64, 300),
    "of pairs of rows": stream(7, 96, 200, 4, 4),
    "long rows": stream(3, 1000, 64),
}


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("name", GRAPHS)
def test_chains_of_instructions(name: str, architecture: str, overlays: dict[str, Built]) -> None:
    graph, overlay = GRAPHS[name], overlays[architecture]
    format = graph.tensors["x"].format
    x = np.random.default_rng(1).integers(format.minimum, format.maximum + 1, size=format.shape)
    assert_close(overlay, lower(Network(graph), overlay.architecture), {"x": x}, name)


@pytest.mark.parametrize("name", GRAPHS)
def test_chains_where_one_command_waits(name: str, one_command: Built) -> None:
    graph = GRAPHS[name]
    format = graph.tensors["x"].format
    x = np.random.default_rng(1).integers(format.minimum, format.maximum + 1, size=format.shape)
    program = lower(Network(graph), one_command.architecture)
    assert_close(one_command, program, {"x": x}, name, 1)


def test_a_full_queue_of_commands_holds_up_the_sequencer(one_command: Built) -> None:
    """The network in which it does: cycle by cycle as in C++, and later than with two commands that wait."""
    program = lower(Network(GRAPHS["blocks of keys"]), one_command.architecture)
    x = np.zeros(GRAPHS["blocks of keys"].tensors["x"].format.shape, dtype=np.int64)
    cycles, predicted = assert_close(one_command, program, {"x": x}, "blocks of keys", 1)
    assert abs(cycles - predicted) <= 1
    assert predicted > model(one_command.architecture, program)[0]
