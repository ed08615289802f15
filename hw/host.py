"""The machine that EdgeFlow runs on."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

_DESCRIPTION = Path("/proc/cpuinfo")


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS, nor on Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def instruction_set() -> str:
    """What the processor has: code that was compiled for it (``-march=native``) may not run on one with another answer."""
    try:
        lines = _DESCRIPTION.read_text().splitlines()
    except OSError:
        lines = []
    features = next((line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))), [])
    return " ".join([platform.machine(), *(sorted(features) or [platform.processor()])])
