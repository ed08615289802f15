"""Which steps of a compilation run. Nothing heavy is imported here: a mistyped step is answered before anything is loaded."""

from __future__ import annotations

from edgeflow.hw.errors import InputError

NAMES = (
    "import",
    "budgets",
    "calibrate",
    "reference",
    "bits",
    "quantize",
    "export",
    "fit",
    "lower",
    "emit",
    "evaluate",
    "compare",
    "report",
)
"""Of the steps in sw/flow/steps.py, in their order."""


def step_range(start: str | None, until: str | None) -> tuple[int, int]:
    """The numbers of the first and the last step to run; InputError where there are no such steps, or not in this order."""
    for option, name in (("--from", start), ("--until", until)):
        if name is not None and name not in NAMES:
            raise InputError(f"option {option}: there is no step {name!r}; steps are {', '.join(NAMES)}")
    first, last = 0 if start is None else NAMES.index(start), len(NAMES) - 1 if until is None else NAMES.index(until)
    if first > last:
        raise InputError(f"option --from {start} comes after --until {until}: steps are {', '.join(NAMES)}")
    return first, last
