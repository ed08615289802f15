"""Recordings of what goes through the streams of an accelerator's processes, for the testbenches of its components.

C simulation runs a sample; of each process the first calls are written to a file (hw/include/edgeflow/simulation/recording.h says
how), with the items that it read and wrote in each.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import OutputError
from edgeflow.hw.program import Program
from edgeflow.sim.csim import CSimulation

CALLS = 24
"""Calls of a process that a recording has at most: more take long in simulation of circuits, and none is unlike all of these."""


def record_streams(program: Program, library: Path, inputs: Mapping[str, IntArray], folder: Path, calls: int = CALLS) -> None:
    """Write ``<process>.streams`` for every process into a folder.

    ``library``: C simulation of the accelerator as processes. ``inputs``: one sample by name, in per-sample shape. The program runs
    chain by chain, each with a call of the sequencer of its own.

    Raises:
        OutputError: a file cannot be written.
        VerificationError: the processes cannot go on.
    """
    with CSimulation(program, library) as simulation:
        simulation.start(inputs)
        simulation.library.edgeflow_csim_record(calls)
        for first, count in _chains(program):
            simulation.run_steps(first, count)
        folder.mkdir(parents=True, exist_ok=True)
        saved = simulation.library.edgeflow_csim_save(ctypes.c_char_p(str(folder).encode()))
        simulation.library.edgeflow_csim_record(0)
    if not saved:
        raise OutputError(f"{folder}: the recorded streams cannot be written there")


def _chains(program: Program) -> Iterator[tuple[int, int]]:
    """First instruction and number of instructions of every chain: at its end the sequencer waits for all."""
    first = 0
    for number, step in enumerate(program.steps):
        values = step.instruction.values
        if not values.get("chain") and not values.get("norm"):
            yield first, number + 1 - first
            first = number + 1
