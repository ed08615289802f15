"""Pipeline stages of the processes' loops, as the gate on schedules (hw/schedule) finds them in the emitted C++: a committed
table that ``tests/hw/schedule/test_process_depths.py`` derives again."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_suffix(".json")


def loop_depth(loop: str, family: str, clock_mhz: float) -> int:
    """Cycles from the start of an iteration to its end for a loop by its label, or by the name of its counter, in a device family
    (``Board.family``): those of the slowest clock in the table that is no slower than ``clock_mhz``, else of its fastest. KeyError
    for a loop that the table does not have."""
    clocks = _table()[family]
    enough = [clock for clock in clocks if clock >= clock_mhz]
    return clocks[min(enough) if enough else max(clocks)][loop.replace(" ", "_")]


def most_stages(loop: str) -> int:
    """Those of a loop in the device family and at the clock where it has the most."""
    return max(loops[loop] for clocks in _table().values() for loops in clocks.values())


@cache
def _table() -> dict[str, dict[float, dict[str, int]]]:
    text = json.loads(TABLE.read_text(encoding="utf-8"))
    return {family: {float(clock): loops for clock, loops in clocks.items()} for family, clocks in text.items()}
