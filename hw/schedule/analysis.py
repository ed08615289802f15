"""From an HLS project to the schedule of each of its pipelined loops."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from edgeflow.hw.errors import InputError
from edgeflow.hw.process_network import Kind, processes
from edgeflow.hw.schedule.checks import Checks
from edgeflow.hw.schedule.claims import KEPT, Kept
from edgeflow.hw.schedule.compiler import Compiled, compile_project
from edgeflow.hw.schedule.delays import FAMILIES, budget, load_delays
from edgeflow.hw.schedule.graph import Builder
from edgeflow.hw.schedule.ir import modules
from edgeflow.hw.schedule.layout import Layout
from edgeflow.hw.schedule.loops import Loop, pipelined_loops
from edgeflow.hw.schedule.memories import Memories
from edgeflow.hw.schedule.places import Places
from edgeflow.hw.schedule.recurrences import components
from edgeflow.hw.schedule.report import Finding, LoopSchedule, Schedule
from edgeflow.hw.schedule.stages import schedule

TOP = "edgeflow_top.cpp"
COMPONENTS = "components"  # the folder with a top function for each process
PREFIX = "edgeflow_"  # of top functions
PRODUCTS = {"ultrascale-plus": (27, 18), "series-7": (25, 18)}
"""Operands of a DSP slice's multiplier."""


def project_target(folder: Path) -> tuple[str, float]:
    """Return board family and clock in MHz for which a project's ``run_hls.tcl`` synthesizes it.

    Raises:
        InputError: it does not say.
    """
    script = folder / "run_hls.tcl"
    text = script.read_text(encoding="utf-8", errors="replace") if script.is_file() else ""
    part = re.search(r"set_part\s+\{?(\w+)", text)
    period = re.search(r"create_clock\s+-period\s+([\d.]+)", text)
    if part is None or period is None or float(period.group(1)) <= 0:
        raise InputError(f"{folder} has no run_hls.tcl that sets part and clock: give --board and --clock")
    return "zynq-7000" if part.group(1).lower().startswith("xc7") else "zynq-ultrascale+", 1000.0 / float(period.group(1))


def tops(folder: Path) -> list[str]:
    """The files of a project that have a top function: one, or one for each process.

    Raises:
        InputError: the folder has no such file.
    """
    if (folder / TOP).is_file():
        return [TOP]
    cores = {f"{process.name}.cpp" for process in processes() if process.kind is Kind.CORE}  # of which the C++ is a model
    files = sorted(f"{COMPONENTS}/{file.name}" for file in (folder / COMPONENTS).glob("*.cpp") if file.name not in cores)
    if not files:
        raise InputError(f"{folder} has no {TOP}: give a build that edgeflow compile wrote, or its hls folder")
    return files


def schedule_project(folder: Path, family: str, clock_mhz: float, *, kept: Mapping[tuple[str, str], Kept] = KEPT) -> Schedule:
    """Schedule every pipelined loop of a project for a device family (``Board.family``) and a clock.

    Raises:
        InputError: the folder has no top function.
        ToolchainError: clang or LLVM is missing, the C++ does not compile, or uses pointers that are no object and indices.
    """
    return schedule_compiled(folder, compile_project(folder, tops(folder)), family, clock_mhz, kept=kept)


def schedule_compiled(
    folder: Path, compiled: Compiled, family: str, clock_mhz: float, *, kept: Mapping[tuple[str, str], Kept] = KEPT
) -> Schedule:
    """As :func:`schedule_project`, of what is compiled already: the same code for another family or clock."""
    table = FAMILIES[family]
    layout = Layout(compiled.text)
    sources = {
        pragma.file: (folder / pragma.file).read_text(encoding="utf-8").split("\n") for pragma in compiled.pragmas
    }  # fmt: skip
    scheduled: list[LoopSchedule] = []
    lost: list[Finding] = []
    for module in modules(compiled.text):
        memories = Memories(module, layout, compiled.objects.get(module.name, {}))
        loops = pipelined_loops(module)
        all_places = [Places(module, loop, sources) for loop in loops]
        names = _names(compiled, loops, all_places)
        for loop, places, name in zip(loops, all_places, names, strict=True):
            pragma = compiled.pragmas[loop.pragma]
            builder = Builder(
                module, memories, loop, load_delays(table), clock_mhz, PRODUCTS[table], (pragma.file, pragma.scope, pragma.loop)
            )  # fmt: skip
            scheduled.append(_one(module.name.removeprefix(PREFIX), builder, places, name, kept))
        marked = {loop.pragma for loop in loops}
        for number in sorted(compiled.used.get(module.name, frozenset()) - marked):
            pragma = compiled.pragmas[number]
            message = f"{pragma.label} is no loop once compiled"
            lost.append(Finding("no-loop", pragma.label, pragma.label, pragma.file, pragma.line, message))
    return Schedule(table, clock_mhz, budget(clock_mhz), tuple(scheduled), tuple(dict.fromkeys(lost)))


def _names(compiled: Compiled, loops: list[Loop], places: list[Places]) -> list[str]:
    """The label of each loop; with the unit that it runs in, where several have one."""
    labels = [compiled.pragmas[loop.pragma].label for loop in loops]
    return [
        f"{label} of {place.callers[1]}" if labels.count(label) > 1 and len(place.callers) > 1 else label
        for label, place in zip(labels, places, strict=True)
    ]


def _one(process: str, builder: Builder, places: Places, name: str, kept: Mapping[tuple[str, str], Kept]) -> LoopSchedule:
    flow = builder.build()
    nodes, interval = flow.nodes, builder.loop.interval
    cycles = components(nodes)
    stages = schedule(nodes, interval, cycles, builder.order_after)
    checks = Checks(name, builder, places, stages, kept)
    slow = checks.recurrences(cycles)
    memories = checks.memories()
    reads = checks.streams()
    largest = cycles[0].largest if cycles else None
    unit = places.callers[1] if len(places.callers) > 2 and places.callers[0] != name else places.callers[0]
    return LoopSchedule(
        process, name, unit, places.loop.file, places.loop.line, interval, stages.depth, len(nodes.kind),
        round(largest.ns, 3) if largest else 0.0, checks.name_of(largest)[0] if largest else "", tuple(slow),
        tuple(memories), tuple(reads), tuple(checks.findings),
    )  # fmt: skip
