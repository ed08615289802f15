"""What is known of the bits of a value, and what operations make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bits:
    """What is known of a value of ``width`` bits: ``zero`` and ``one`` are masks; ``signed``: bits that hold it with its sign."""

    width: int
    zero: int
    one: int
    signed: int

    @property
    def unsigned(self) -> int:
        """Bits that hold it without leading zeros."""
        return (~self.zero & mask(self.width)).bit_length()

    @property
    def needed(self) -> int:
        """Bits that hold it one way or the other."""
        return min(self.unsigned, self.signed)

    @property
    def low(self) -> int:
        """How many of its lowest bits are known."""
        return trailing_ones(self.zero | self.one)

    @property
    def value(self) -> int:
        """What is known of its lowest bits."""
        return self.one & mask(self.low)


def mask(bits: int) -> int:
    """``bits`` ones."""
    return (1 << bits) - 1


def trailing_ones(value: int) -> int:
    """Ones at the end of a number."""
    return (~value & (value + 1)).bit_length() - 1


def constant(width: int, value: int) -> Bits:
    """A number."""
    value &= mask(width)
    negative = value >> (width - 1)
    signed = ((~value & mask(width)) if negative else value).bit_length() + 1
    return Bits(width, ~value & mask(width), value, min(signed, width))


def unknown(width: int) -> Bits:
    """Any value."""
    return Bits(width, 0, 0, width)


def holds(width: int, unsigned: int, signed: int) -> Bits:
    """A value of so many bits without, and with, a sign."""
    unsigned, signed = min(unsigned, width), min(signed, width)
    return Bits(width, mask(width) & ~mask(unsigned), 0, min(signed, unsigned + 1))


def join(a: Bits, b: Bits) -> Bits:
    """What is known of a value that is one of two."""
    return Bits(a.width, a.zero & b.zero, a.one & b.one, max(a.signed, b.signed))


def literal(text: str, width: int) -> Bits | None:
    """The bits of a constant as LLVM writes it; None for what is not one."""
    if text in ("true", "false"):
        return constant(width, int(text == "true"))
    if text in ("undef", "poison", "null", "zeroinitializer"):
        return constant(width, 0)
    return constant(width, int(text)) if text.lstrip("-").isdigit() else None


def result(op: str, width: int, operands: Sequence[Bits]) -> Bits:
    """What an operation of LLVM makes of what is known of its operands."""
    a = operands[0]
    b = operands[1] if len(operands) > 1 else a
    if op == "zext":
        return Bits(width, a.zero | (mask(width) & ~mask(a.width)), a.one, min(a.unsigned + 1, width))
    if op == "sext":
        known = a.zero >> (a.width - 1)
        high = mask(width) & ~mask(a.width) if known else 0
        return Bits(width, a.zero & mask(a.width - 1) | high | (known << (a.width - 1)), a.one & mask(a.width - 1), a.signed)
    if op in ("trunc", "freeze"):
        return Bits(width, a.zero & mask(width), a.one & mask(width), min(a.signed, width))
    if op in ("and", "or", "xor"):
        if op == "and":
            zero, one = a.zero | b.zero, a.one & b.one
        elif op == "or":
            zero, one = a.zero & b.zero, a.one | b.one
        else:
            zero, one = (a.zero & b.zero) | (a.one & b.one), (a.zero & b.one) | (a.one & b.zero)
        unsigned = (~zero & mask(width)).bit_length()
        return Bits(width, zero, one, min(max(a.signed, b.signed), unsigned + 1, width))
    if op in ("add", "sub", "mul"):
        return _arithmetic(op, width, a, b)
    if op in ("shl", "lshr", "ashr"):
        return _shift(op, width, a, b)
    if op in ("urem", "udiv"):
        return holds(width, min(a.unsigned, b.unsigned) if op == "urem" else a.unsigned, width)
    if op in ("srem", "sdiv"):
        return holds(width, width, min(width, a.signed + 1))
    return unknown(width)


def _arithmetic(op: str, width: int, a: Bits, b: Bits) -> Bits:
    low = min(a.low, b.low)
    exact = {"add": a.value + b.value, "sub": a.value - b.value, "mul": a.value * b.value}[op] & mask(low)
    if op == "add":
        unsigned, signed = max(a.unsigned, b.unsigned) + 1, max(a.signed, b.signed) + 1
    elif op == "sub":
        unsigned, signed = width, max(a.signed, b.signed) + 1
    else:
        unsigned, signed = a.unsigned + b.unsigned, a.signed + b.signed
        zeros = trailing_ones(a.zero) + trailing_ones(b.zero)
        if zeros > low:
            low, exact = min(zeros, width), 0
    if unsigned > width:
        unsigned = width
    top = holds(width, unsigned, signed)
    return Bits(width, top.zero | (mask(low) & ~exact), exact, top.signed)


def _shift(op: str, width: int, a: Bits, b: Bits) -> Bits:
    if b.zero | b.one == mask(b.width):
        count = min(b.one, width)
        if op == "shl":
            return Bits(
                width, (a.zero << count | mask(count)) & mask(width), a.one << count & mask(width), min(a.signed + count, width)
            )
        if op == "lshr":
            zero = a.zero >> count | (mask(width) & ~mask(width - count))
            return Bits(width, zero, a.one >> count, min(width, (~zero & mask(width)).bit_length() + 1))
        return (
            Bits(width, 0, 0, max(a.signed - count, 1))
            if not a.zero >> (width - 1)
            else holds(width, max(a.unsigned - count, 0), width)
        )
    if op == "lshr":
        return holds(width, a.unsigned, width)
    if op == "ashr":
        return Bits(width, mask(width) & ~mask(a.unsigned) if a.zero >> (width - 1) else 0, 0, a.signed)
    return Bits(width, mask(trailing_ones(a.zero)), 0, width)


def bits_of(kind: str) -> int:
    """Bits of an integer type; 64 for pointers, and for what has no width of its own."""
    return int(kind[1:]) if kind.startswith("i") and kind[1:].isdigit() else 64
