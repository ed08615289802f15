"""Attention as passes of the array: which job runs beside which product.

A block of PO queries is an item; items follow one another through four stages, so that the array always has a product to do:

=======  ==============================  =====================================================================
step i   pass A                          pass B
=======  ==============================  =====================================================================
product  scores of item i                values of item i - 2
beside   weights of item i - 1,          reciprocals of item i - 1, queries of item i + 1, output of item i - 3
         values of the next head
=======  ==============================  =====================================================================

Keys and values stream by at one vector a cycle for any number of lanes, from the scratchpad: scores never leave the array. More
keys than the buffers hold come in blocks: a first sweep over the blocks finds the maxima, a second one repeats the scores, weighs
and accumulates. The words that come out are the same, since the weights depend on the maximum alone and sums are exact.

The order of computation is the reordering of Edge-MoE (arXiv 2305.18691): stationary queries, one key or value a cycle. Its lanes
start staggered so that queries load while the first keys pass; here the next block's queries load beside the products of the block
before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import field_widths
from edgeflow.hw.architecture import HALVES, LINE_BYTES, Architecture, ceil_div
from edgeflow.hw.exponent import MAXIMUM_FRACTION_BITS
from edgeflow.hw.field_widths import holding
from edgeflow.hw.ops.base import InstructionLayout, of_width

SCORES, VALUES = 1, 2  # products of a pass

FRACTION_BITS = holding(MAXIMUM_FRACTION_BITS, "fraction bits of an exponent")
WEIGHT_BITS = holding(widths.EXPONENT.bits, "bits of a key's weight")
PRODUCTS = holding(VALUES, "which products a pass makes")

ATTENTION = InstructionLayout(
    "attention",
    2,
    (
        *("k", "q", "v", "o", "load_words"),
        *of_width(field_widths.COUNT, "k_stride", "keys", "rows", "steps", "slot", "column", "q_stride", "q_part"),
        *of_width(field_widths.COUNT, "q_slot", "q_low", "q_high", "e_keys", "e_slot", "numerator", "v_stride", "v_keys"),
        *of_width(field_widths.COUNT, "o_stride", "o_channel", "o_channels"),
        *of_width(field_widths.PART, "k_part", "q_lanes", "q_steps", "o_lanes", "v_lines"),
        *of_width(widths.MULTIPLIER, "e_multiplier"),
        *of_width(widths.SHIFT, "e_shift", "r_shift"),
        *of_width(FRACTION_BITS, "fraction_bits"),
        *of_width(WEIGHT_BITS, "probability_bits"),
        *of_width(field_widths.RESULT_BITS, "o_bits"),
        *of_width(field_widths.STORAGE, "o_storage"),
        *of_width(field_widths.FLAG, "o_signed"),
        *of_width(PRODUCTS, "mac"),
        *of_width(field_widths.FLAG, "chain", "has_mask", "query", "exponents", "reciprocals", "value_load", "value_mask", "store"),
        *of_width(
            field_widths.FLAG, "score_set", "maximum_reset", "e_set", "total_reset", "r_set", "n_set", "w_set", "o_set", "v_set"
        ),
        *of_width(field_widths.FLAG, "value_set", "accumulate", "partial", "keep"),
    ),
    (),  # the array runs it
)


@dataclass(frozen=True)
class Operands:
    """Shapes, places (scratchpad lines) and numbers of one attention node."""

    queries: int
    keys: int
    heads: int
    head_channels: int
    q: int
    k: int
    v: int
    o: int
    mask: int | None
    stride: int  # lines from row to row of q, k and v
    o_stride: int
    o_storage: int
    o_bits: int
    o_signed: bool
    multiplier: tuple[int, ...]  # for each head
    numerator: tuple[int, ...]
    shift: int
    output_shift: int
    fraction_bits: int
    probability_bits: int
    table_words: int  # stream words of the exponent table


Pass = dict[str, int]


def passes(op: Operands, a: Architecture, lanes: int | None = None) -> list[Pass]:
    """Field values of every pass. ``lanes``: queries of a block, the array's PO unless fewer are wanted."""
    lanes = lanes or a.po
    scheduler = _Scheduler(op, a, lanes)
    schedule = list(scheduler.resident() if op.keys <= a.max_tokens else scheduler.blocks())
    for i, fields in enumerate(schedule):
        fields["chain"] = int(i < len(schedule) - 1 and not fields.pop("drain", 0))
    return schedule


def stationary(head_channels: int, keys: int, max_tokens: int) -> tuple[int, int, int]:
    """Elements of what attention keeps in the array's slots: one block's queries and the weights of two blocks."""
    held = min(keys, max_tokens)
    return head_channels, held, held


class _Scheduler:
    def __init__(self, op: Operands, a: Architecture, lanes: int) -> None:
        self.op, self.a, self.lanes = op, a, lanes
        self.blocks_of_queries = ceil_div(op.queries, lanes)
        self.items = [(h, b) for h in range(op.heads) for b in range(self.blocks_of_queries)]
        self.q_slots = ceil_div(op.head_channels, a.pi)
        self.p_slots = ceil_div(min(op.keys, a.max_tokens), a.pi)
        self.idle = dict.fromkeys(ATTENTION.names, 0) | {
            "has_mask": int(op.mask is not None),
            "fraction_bits": op.fraction_bits,
            "probability_bits": op.probability_bits,
            "o_bits": op.o_bits,
            "o_signed": int(op.o_signed),
        }

    def resident(self) -> Iterator[Pass]:
        """All keys fit: the four-stage schedule of the module's table."""
        op, count = self.op, len(self.items)
        yield self.start() | self.query(0)
        if op.mask is not None:
            yield self.base() | self.mask(0, op.keys)
        for i in range(count + 3):
            first = self.base()
            if i < count:
                first |= self.scores(i, i % 2, 0, op.keys) | {"maximum_reset": 1, "keep": 1}
            if 0 <= i - 1 < count:
                first |= self.exponents(i - 1, (i - 1) % 2, op.keys) | {"total_reset": 1}
                if self.items[i - 1][1] == 0:
                    first |= self.load_values(self.items[i - 1][0], 0, op.keys)
            second = self.base()
            if 0 <= i - 2 < count:
                second |= self.values(i - 2, op.keys)
            if 0 <= i - 1 < count:
                second |= self.reciprocals(i - 1)
            if i + 1 < count:
                second |= self.query(i + 1)
            if 0 <= i - 3 < count:
                second |= self.store(i - 3)
            for fields in (first, second):
                if fields != self.idle:
                    yield fields

    def blocks(self) -> Iterator[Pass]:
        """More keys than the buffers hold: maxima first, then scores again, weights and sums, block by block."""
        op, a = self.op, self.a
        blocks = [(start, min(a.max_tokens, op.keys - start)) for start in range(0, op.keys, a.max_tokens)]
        yield self.start()
        for i in range(len(self.items)):
            yield self.base() | self.query(i)
            for sweep in range(2):
                for n, (start, size) in enumerate(blocks):
                    if op.mask is not None:
                        yield self.base() | self.mask(start, size)
                    kept = {"maximum_reset": int(sweep == 0 and n == 0), "keep": sweep}
                    yield self.base() | self.scores(i, 0, start, size) | kept
                    if sweep == 0:
                        continue
                    weigh = self.exponents(i, 0, size) | {"total_reset": int(n == 0)}
                    yield self.base() | weigh | self.load_values(self.items[i][0], start, size)
                    yield self.base() | self.reciprocals(i)
                    last = n == len(blocks) - 1
                    sums = {"accumulate": int(n > 0), "partial": int(not last), "drain": int(last)}
                    yield self.base() | self.values(i, size) | sums
            yield self.base() | self.store(i)

    def base(self) -> Pass:
        """A pass that does nothing yet, to be filled in."""
        return self.idle.copy()

    def start(self) -> Pass:
        return self.base() | {"load_words": self.op.table_words}

    def mask(self, start: int, size: int) -> Pass:
        assert self.op.mask is not None
        lines = ceil_div(size, LINE_BYTES)
        place = self.op.mask + start // LINE_BYTES
        return {"value_load": 1, "value_mask": 1, "v": place, "v_stride": 1, "v_keys": lines, "v_lines": 1}

    def query(self, i: int) -> Pass:
        op, a = self.op, self.a
        head, block = self.items[i]
        low = head * op.head_channels
        first, steps = _steps(low, op.head_channels, a.pi)
        return {
            "query": 1,
            "q": op.q + block * self.lanes * op.stride,
            "q_stride": op.stride,
            "q_lanes": min(self.lanes, op.queries - block * self.lanes),
            "q_part": first,
            "q_steps": steps,
            "q_slot": 0,
            "q_low": low,
            "q_high": low + op.head_channels,
        }

    def scores(self, i: int, buffer: int, start: int, size: int) -> Pass:
        op, a = self.op, self.a
        first, steps = _steps(self.items[i][0] * op.head_channels, op.head_channels, a.pi)
        parts = LINE_BYTES // a.pi
        return {
            "mac": SCORES,
            "k": op.k + start * op.stride + first // parts,
            "k_part": first % parts,
            "k_stride": op.stride,
            "keys": size,
            "steps": steps,
            "slot": 0,
            "score_set": buffer,
        }

    def exponents(self, i: int, buffer: int, size: int) -> Pass:
        op = self.op
        return {
            "exponents": 1,
            "e_keys": size,
            "e_set": buffer,
            "e_slot": self.q_slots + (i % 2) * self.p_slots,
            "e_multiplier": op.multiplier[self.items[i][0]],
            "e_shift": op.shift,
        }

    def load_values(self, head: int, start: int, size: int) -> Pass:
        op = self.op
        line = op.v + start * op.stride + head * op.head_channels // LINE_BYTES
        lines = ceil_div(op.head_channels, LINE_BYTES)
        return {"value_load": 1, "v": line, "v_stride": op.stride, "v_keys": size, "v_lines": lines, "v_set": head % 2}

    def reciprocals(self, i: int) -> Pass:
        return {"reciprocals": 1, "numerator": self.op.numerator[self.items[i][0]], "r_shift": self.op.output_shift, "r_set": i % 2}

    def values(self, i: int, size: int) -> Pass:
        op, head = self.op, self.items[i][0]
        return {
            "mac": VALUES,
            "rows": op.head_channels,
            "steps": ceil_div(size, self.a.pi),
            "slot": self.q_slots + (i % 2) * self.p_slots,
            "column": head * op.head_channels % LINE_BYTES,
            "value_set": head % 2,
            "n_set": i % 2,
            "w_set": i % 2,
        }

    def store(self, i: int) -> Pass:
        op = self.op
        head, block = self.items[i]
        return {
            "store": 1,
            "o": op.o + block * self.lanes * op.o_stride,
            "o_stride": op.o_stride,
            "o_lanes": min(self.lanes, op.queries - block * self.lanes),
            "o_channel": head * op.head_channels,
            "o_channels": op.head_channels,
            "o_storage": op.o_storage,
            "o_set": i % 2,
        }


def _steps(low: int, channels: int, pi: int) -> tuple[int, int]:
    """First step of PI channels that a head touches, and how many."""
    first = low // pi
    return first, (low + channels - 1) // pi - first + 1


def output_lines(channels: int, storage: int) -> int:
    """Lines from row to row of the output."""
    return ceil_div(channels, LINE_BYTES) * (2 if storage == HALVES else 1)
