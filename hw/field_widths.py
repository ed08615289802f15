"""Widths of what is no C++ type of its own: fields of instructions, elements in memory, counters and addresses.

Layouts of instructions and formulas of resources take them from here and from :mod:`edgeflow.hw.cpp_widths`. What follows from a
limit is derived from it (:func:`holding`), so that a field and the check of what it holds cannot differ.
"""

from __future__ import annotations

from edgeflow.hw.architecture import HALVES, LINE_BYTES, WORDS, Architecture
from edgeflow.hw.cpp_widths import ELEMENT, LONG_ELEMENT, Width
from edgeflow.hw.errors import InputError


def holding(largest: int, holds: str) -> Width:
    """The width of a number from 0 to ``largest``."""
    return Width("Field", largest.bit_length(), holds, signed=False)


def _unsigned(bits: int, holds: str) -> Width:
    return Width("Field", bits, holds, signed=False)


# Fields.
WORD = _unsigned(32, "a word of a descriptor: what has no narrower field")
FLAG = holding(1, "yes or no")
ROWS = _unsigned(20, "rows of an operand of the elementwise unit or of layer normalization")
CHANNELS = _unsigned(17, "elements of such a row")
COUNT = _unsigned(16, "steps, lines, strides, slots or channels of one instruction")
PART = _unsigned(8, "lanes, or parts of a line")
STORAGE = holding(HALVES, "how an element is stored on chip")
LONG_STORAGE = holding(WORDS, "how an element is stored, on chip or not")
RESULT_BITS = holding(LONG_ELEMENT.bits - 1, "bits of a result")

# Memory.
BYTE = _unsigned(8, "a byte")
NIBBLE = _unsigned(4, "half a byte")
STORED = _unsigned(ELEMENT.bits - 1, "an element in memory")
LINE_BYTE = holding(LINE_BYTES - 1, "a byte of a line")
LINE_LENGTH = holding(LINE_BYTES, "bytes of a line")
LINE_ADDRESS = _unsigned(16, "a line of the scratchpad, as the array counts them")
BYTE_ADDRESS = _unsigned(20, "a byte of a scratchpad of up to 16384 lines")

SIZES = {
    "slots": COUNT,
    "narrow_lines": LINE_ADDRESS,
    "wide_lines": LINE_ADDRESS,
    "stream_lines": COUNT,
    "max_channels": CHANNELS,
    "max_tokens": COUNT,
    "max_head": _unsigned(9, "channels of a head"),
}
"""By size of an accelerator that nothing else bounds: what counts or addresses it."""


def check_addressable(architecture: Architecture, what: object) -> None:
    """InputError where an accelerator from a file has more of something than its instructions can count."""
    for name, width in SIZES.items():
        size, most = getattr(architecture, name), width.maximum + 1
        if size > most:
            raise InputError(f"{what}: no accelerator has {name} = {size}, instructions count up to {most}: compile again")
