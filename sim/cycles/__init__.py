"""The cycle simulator: predicted execution of a program on a board, its timeline and its roofline."""

from edgeflow.sim.cycles.model import (
    ASSUMPTIONS,
    CycleReport,
    InstructionCycles,
    LayerCycles,
    Limits,
    Traffic,
    estimate,
    least_cycles,
    predicted_cycles,
)
from edgeflow.sim.cycles.roofline import Point, Roofline, roofline
from edgeflow.sim.cycles.trace import chrome_trace, trace_file

__all__ = [
    "ASSUMPTIONS",
    "CycleReport",
    "InstructionCycles",
    "LayerCycles",
    "Limits",
    "Point",
    "Roofline",
    "Traffic",
    "chrome_trace",
    "estimate",
    "least_cycles",
    "predicted_cycles",
    "roofline",
    "trace_file",
]
