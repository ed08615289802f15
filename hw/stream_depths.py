"""How many items the streams between processes hold, as numbers."""

from __future__ import annotations

import re

from edgeflow.hw.architecture import LINE_BYTES, Architecture
from edgeflow.hw.array_resources import array_constants
from edgeflow.hw.ops.layernorm_schedule import layernorm_sizes
from edgeflow.hw.process_network import channels


def stream_depths(architecture: Architecture) -> dict[str, int]:
    """The depth of every stream of an accelerator by its name."""
    constants = array_constants(architecture) | layernorm_sizes(architecture)
    constants["STREAM_WORDS"] = architecture.stream_lines * LINE_BYTES // architecture.stream_bytes
    return {name: _product(channel.depth, constants) for name, channel in channels().items()}


def _product(depth: int | str, constants: dict[str, int]) -> int:
    """A depth as the table of processes writes it: a number, a constant, or a product of both."""
    number = 1
    for factor in str(depth).split("*"):
        name = re.sub(r"^C::", "", factor.strip())
        number *= int(name) if name.isdigit() else constants[name]
    return number
