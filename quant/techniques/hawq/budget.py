"""Budgets as a user writes them: ``latency=0.6x``, ``size=500KB``, ``bops=2.5G``."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from edgeflow.hw.errors import InputError

UNITS: dict[str, dict[str, float]] = {
    "latency": {"ms": 1.0, "us": 1e-3, "s": 1e3},
    "size": {"B": 1.0, "KB": 1e3, "MB": 1e6, "": 1.0},
    "bops": {"": 1.0, "M": 1e6, "G": 1e9, "T": 1e12},
}
"""What a budget may limit, with its units: latency in milliseconds, size in bytes, bit operations of a sample."""
UNIT = {"latency": "ms", "size": "bytes", "bops": "bit operations"}
FORMS = {"latency": "latency=2.5ms", "size": "size=500KB", "bops": "bops=2.5G"}
_FORM = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([a-zA-Z]*)")


@dataclass(frozen=True)
class Budget:
    """A limit: ``value`` in the unit of ``name``, or a multiple of a reference if ``relative``: size and bit operations with 8 bits
    everywhere, or the latency of the best 8-bit build."""

    name: str
    value: float
    relative: bool

    def __str__(self) -> str:
        return f"{self.name}={self.value:g}{'x' if self.relative else ' ' + UNIT[self.name]}"

    def limit(self, reference: float) -> float:
        """The limit, where ``reference`` is what relative ones refer to."""
        return self.value * reference if self.relative else self.value


def parse_budgets(texts: Sequence[str]) -> tuple[Budget, ...]:
    """Budgets from texts such as ``latency=0.6x``; several may stand in one text, with commas between. InputError says what is
    wrong with one."""
    budgets: dict[str, Budget] = {}
    for text in (part.strip() for whole in texts for part in whole.split(",")):
        name, mark, amount = (part.strip() for part in text.partition("="))
        if name not in UNITS:
            near = difflib.get_close_matches(name, UNITS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"budgets are {', '.join(UNITS)}"
            raise InputError(f"option --budget: unknown budget {name!r}; {hint}")
        match = _FORM.fullmatch(amount) if mark else None
        units = UNITS[name]
        if match is None or (match[2] not in units and match[2] != "x"):
            raise InputError(
                f"option --budget: {text!r} is no limit; write {name}=0.5x for half the cost at 8 bits, or {FORMS[name]}"
            )
        if name in budgets:
            raise InputError(f"option --budget: {name} is limited twice")
        try:
            value = float(match[1])
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"option --budget: {text!r}: the limit must be a positive number")
        relative = match[2] == "x"
        budgets[name] = Budget(name, value if relative else value * units[match[2]], relative)
    return tuple(budgets.values())
