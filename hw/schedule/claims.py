"""What keeps iterations apart where a pragma says only that they are independent (``DEPENDENCE ... inter false``).

Such a pragma takes a dependence out of the schedule; whether there is one is up to the program. Each entry says what the
compiler's schedules (``hw/ops``) guarantee for a variable in a loop: so many iterations between a write and the read that sees
it, or that nothing which is written is read in the same run of the loop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeflow.hw.ops.softmax import MAXIMUM_LAG, TOTAL_LAG


@dataclass(frozen=True)
class Kept:
    """A distance in iterations, or None where nothing that is written is read; ``why``: who sees to it."""

    distance: int | None
    why: str


_TENSORS = Kept(None, "source and target are different tensors (placement)")
_UNITS = ("move", "table", "smooth", "softmax", "elementwise", "extreme")

KEPT: Mapping[tuple[str, str], Kept] = {
    **{(loop, memory): _TENSORS for loop in _UNITS for memory in ("scratch.narrow", "scratch.wide")},
    ("epilogue", "state.table"): Kept(None, "a table never comes beside rows that look one up (sw/compiler/weight_prefetch.py)"),
    ("epilogue", "state.partial"): Kept(None, "a sum that waits has a place of its own, read before it is written"),
    ("values", "state.value"): Kept(None, "the set that is loaded is not the one that is read (hw/ops/attention_schedule.py)"),
    ("transpose_keys", "memory"): Kept(None, "the half that is written is not the one that is read"),
    **{("softmax", name): Kept(MAXIMUM_LAG, "MAXIMUM_LAG of hw/ops/softmax.py") for name in ("x_ring", "maximum_ring")},
    **{("softmax", name): Kept(TOTAL_LAG, "TOTAL_LAG of hw/ops/softmax.py") for name in ("weight_ring", "scale_ring")},
}  # fmt: skip
"""By loop and variable, as the C++ spells them."""
