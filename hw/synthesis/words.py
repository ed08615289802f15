"""Words that blocks are fed with, and what several definitions share."""

from __future__ import annotations

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.arithmetic import round_shift
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.synthesis.block import HELD_CYCLES, Port, Words

SHIFT, MULTIPLIER, ELEMENT = widths.SHIFT.bits, widths.MULTIPLIER.bits, widths.ELEMENT.bits


def at(array: IntArray, index: IntArray) -> IntArray:
    """Of each row the word at an index: ``(cycles, count)`` at ``(cycles, 1)``."""
    return np.take_along_axis(array, index, axis=1)


def tie_mask(shift: IntArray, half_even: IntArray, bits: int) -> IntArray:
    """The C++'s tie_places as ``bits`` unsigned ones."""
    low = (np.int64(1) << np.maximum(shift - 1, 0)) - 1
    mask: IntArray = np.where((half_even != 0) & (shift > 0), low, -1) & ((1 << bits) - 1)
    return mask


def shifted(value: IntArray, shift: IntArray, half_even: IntArray | None = None) -> IntArray:
    """hw.arithmetic.round_shift for shifts ``(cycles, 1)`` that differ."""
    rounded = value.copy()
    for s in np.unique(shift):
        rows = shift[:, 0] == s
        for even in (False, True):
            these = rows & ((half_even[:, 0] != 0) == even) if half_even is not None else rows
            rounded[these] = round_shift(value[these], int(s), even and half_even is not None)
    return rounded


def clipped(value: IntArray, bits: IntArray, signed: IntArray) -> IntArray:
    """hw.arithmetic.saturate for formats ``(cycles, 1)`` that differ."""
    low = np.where(signed != 0, -(np.int64(1) << (bits - 1)), 0)
    high = np.where(signed != 0, (np.int64(1) << (bits - 1)) - 1, (np.int64(1) << bits) - 1)
    return np.clip(value, low, high)


def above_places(bits: IntArray, signed: IntArray, width: int) -> IntArray:
    """The places above those of a format, as ``width`` unsigned bits."""
    places: IntArray = (np.int64(-1) << (bits - (signed != 0))) & ((1 << width) - 1)
    return places


def draw_format(rng: np.random.Generator, w: Words, cycles: int, width: int, name: str = "above") -> None:
    """Formats of 1 to ``width - 1`` bits, held: ``bits`` for the definition, ``name`` for the port."""
    bits = rng.integers(1, width, size=(cycles // 64 + 1, 1))
    w["bits"] = np.repeat(bits, 64, axis=0)[:cycles]
    w[name] = above_places(w["bits"], w["is_signed"], width)


def flag(name: str, *, held: bool = False) -> Port:
    """A port of a bit."""
    return Port(name, 1, signed=False, held=held)


def held(name: str, width: int, *, signed: bool = False, low: int | None = None, high: int | None = None) -> Port:
    """A port that an instruction fixes."""
    return Port(name, width, signed=signed, held=True, low=low, high=high)


def hold(rng: np.random.Generator, cycles: int, low: int, high: int) -> IntArray:
    """Held numbers ``(cycles, 1)`` from ``low`` to ``high``."""
    return np.repeat(rng.integers(low, high + 1, size=(cycles // HELD_CYCLES + 1, 1)), HELD_CYCLES, axis=0)[:cycles]


def wrapped(value: IntArray, bits: int) -> IntArray:
    """A signed number of ``bits`` that is left of a longer one."""
    low = value & ((1 << bits) - 1)
    return low - ((low >> (bits - 1)) << bits)


def filled(w: Words, depth: int, x: str = "x") -> IntArray:
    """A table's words ``(depth,)`` after the writes that come first, a word a cycle."""
    table = np.zeros(depth, dtype=np.int64)
    for cycle in np.flatnonzero(w["write"][:, 0]):
        table[w["to"][cycle, 0]] = w[x][cycle, 0]
    return table


def fill(w: Words, depth: int) -> None:
    """Write every word of a table first; what comes out meanwhile is not compared."""
    cycles = len(w["to"])
    w["to"] = (np.arange(cycles) % depth)[:, None]
    w["write"] = (np.arange(cycles) < depth).astype(np.int64)[:, None]


def table_ports(segments: int) -> tuple[Port, ...]:
    """What fills the two tables of an interpolation."""
    address, knot = (segments - 1).bit_length(), widths.KNOT.bits
    return flag("write"), Port("to", address, signed=False), Port("start_x", knot), Port("drop_x", knot)


def interpolated(w: Words, segments: int, segment: IntArray, place: IntArray) -> IntArray:
    """The tables' values at places ``(cycles, 1)`` of segments."""
    start, drop = filled(w, segments, "start_x"), filled(w, segments, "drop_x")
    return (start[segment] << w["bits_"]) - drop[segment] * place


def format_ports(width: int) -> tuple[Port, ...]:
    """The places above a format's, and whether it is signed."""
    return held("above", width), flag("is_signed", held=True)
