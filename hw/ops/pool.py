"""Mean over tokens, with an optional mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw.architecture import Architecture, ceil_div, storage_bytes
from edgeflow.hw.arithmetic import round_shift, saturate
from edgeflow.hw.cost import Cycles, Resources, Unknown
from edgeflow.hw.fast import FLOAT32_EXACT
from edgeflow.hw.graph import Format, IntArray
from edgeflow.hw.ops.base import (
    Array,
    Case,
    Constants,
    Instruction,
    InstructionLayout,
    Kernel,
    LoweringContext,
    Operator,
    Port,
    Register,
    draw,
    register,
)
from edgeflow.hw.ops.vector import (
    check_row_format,
    check_shift,
    memory_halves,
    require_channels,
    row_buffer_halves,
    row_loop,
    vector_loop,
)

DIVISION_CYCLES = 36  # a sequential 32-bit division, one bit a cycle
MASK_ROWS = 64  # rows whose mask is held at a time: one line of bytes

POOL = InstructionLayout(
    "pool",
    10,
    (
        *("x", "rows", "columns", "x_bytes", "x_signed"),
        *("has_mask", "mask", "mask_constant", "mask_signed"),
        *("numerator", "shift"),
        *("y", "y_bits", "y_bytes", "y_signed"),
    ),
)

X, MASK = range(2)


@register
@dataclass(frozen=True)
class Pool(Operator):
    """Inputs: ``x (S, D)`` up to 16 bits; if ``has_mask``, ``mask (S,)`` up to 8 bits, nonzero where a row counts. Output ``(D,)``
    of ``bits``, ``signed``.

    With ``n`` counted rows and their sum ``s``: ``r = (numerator + floor(n / 2)) // n`` (0 if ``n`` is 0),
    ``y = sat(round_shift(s * r, shift))``.
    """

    numerator: int
    shift: int
    bits: int
    signed: bool
    has_mask: bool

    name: ClassVar[str] = "pool"
    header: ClassVar[str] = "pool.hpp"
    instruction: ClassVar[InstructionLayout] = POOL
    ports: ClassVar[tuple[Port, ...]] = (Port("x"), Port("mask", optional=True))

    def infer(self, inputs: Sequence[Format]) -> Format:
        x = inputs[X]
        check_row_format(x.bits, "input")
        check_row_format(self.bits, "output")
        check_shift(self.shift)
        if len(x.shape) != 2:
            raise ValueError(f"the input {x.shape} must have two axes: rows and channels")
        if not 0 <= self.numerator < 1 << 31:
            raise ValueError(f"the numerator must lie between 0 and 2^31 - 1, not {self.numerator}")
        if len(inputs) != 1 + self.has_mask:
            raise ValueError("a pool takes a mask exactly when has_mask says so")
        if self.has_mask and (inputs[MASK].shape != x.shape[:1] or inputs[MASK].bits > 8):
            mask = inputs[MASK]
            raise ValueError(f"the mask must have {x.shape[0]} elements of at most 8 bits, not {mask.shape} of {mask.bits} bits")
        return Format(x.shape[1:], self.bits, self.signed)

    def reciprocal(self, count: IntArray) -> IntArray:
        """``r`` for a number of counted rows."""
        return np.where(count > 0, (self.numerator + (count >> 1)) // np.maximum(count, 1), 0)

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        x = inputs[X]
        counted = inputs[MASK] != 0 if self.has_mask else np.ones(x.shape[1], dtype=np.bool_)
        counted = np.broadcast_to(counted, x.shape[:2])
        total = (x * counted[..., None]).sum(axis=1)
        r = self.reciprocal(counted.sum(axis=1))
        return saturate(round_shift(total * r[:, None], self.shift), self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        x = inputs[X]
        exact = x.rows * x.magnitude <= FLOAT32_EXACT
        fixed = constants[MASK] if MASK in constants else np.ones(x.rows, dtype=np.int64)

        def run(activations: Sequence[Array]) -> Array:
            rows = activations[0]
            mask = activations[1] if self.has_mask and MASK not in constants else fixed
            weights = np.broadcast_to(mask != 0, rows.shape[:2]).astype(rows.dtype if exact else np.float64)
            total = np.matmul(weights[:, None, :], rows if exact else rows.astype(np.float64))[:, 0].astype(np.int64)
            r = self.reciprocal(weights.sum(axis=1).astype(np.int64))
            return saturate(round_shift(total * r[:, None], self.shift), self.bits, self.signed).astype(np.float32)

        return run

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        x = inputs[X]
        if not self.has_mask:
            counts = np.array([x.rows])
        elif MASK in constants:
            counts = np.array([np.count_nonzero(constants[MASK])])
        else:
            counts = np.arange(x.rows + 1)
        r = self.reciprocal(counts)
        most = int((counts * r).max())
        half = 1 << (self.shift - 1) if self.shift else 0
        rows = int(counts.max())
        return (
            Register("sum", 32, rows * min(x.minimum, 0), rows * x.maximum),
            Register("reciprocal", 32, 0, int(r.max())),
            Register("product", 50, most * min(x.minimum, 0), most * x.maximum + half),
        )

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out = inputs[X], self.infer(inputs)
        require_channels(context, x.channels)
        context.require(X not in constants, "the input is a constant: fold the pool")
        values = dict.fromkeys(POOL.fields, 0)
        values |= {
            "x": context.address(X),
            "rows": x.rows,
            "columns": x.channels,
            "x_bytes": storage_bytes(x.bits),
            "x_signed": int(x.signed),
            "numerator": self.numerator,
            "shift": self.shift,
            "y": context.output_address(),
            "y_bits": out.bits,
            "y_bytes": storage_bytes(out.bits),
            "y_signed": int(out.signed),
        }
        if self.has_mask:
            mask, fixed = inputs[MASK], constants.get(MASK)
            values |= {
                "has_mask": 1,
                "mask": context.address(MASK) if fixed is None else context.place_rows("mask", fixed, mask),
                "mask_constant": int(fixed is not None),
                "mask_signed": int(mask.signed),
            }
        return [Instruction(POOL, values)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        rows, columns = values["rows"], values["columns"]
        blocks, rest = divmod(rows, MASK_ROWS)
        mask = blocks * row_loop(MASK_ROWS, 1, architecture) + (row_loop(rest, 1, architecture) if rest else 0)
        return Cycles(
            {
                "load mask": values["has_mask"] * mask,
                "load": rows * row_loop(columns, values["x_bytes"], architecture),
                "sum": rows * vector_loop(columns, architecture),
                "divide": DIVISION_CYCLES,
                "scale": vector_loop(columns, architecture),
                "store": row_loop(columns, values["y_bytes"], architecture),
            }
        )

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """A lane multiplies 32 x 32 bit (four DSPs). Memories: two banked rows of 17 bit and the sums (32 bit, a bank a lane)."""
        a = architecture
        halves = 2 * row_buffer_halves(a) + memory_halves(a.vector, ceil_div(a.max_channels, a.vector), 32)
        unknown = Unknown("no synthesis has been run for this unit")
        return Resources(4 * a.vector, unknown, unknown, ceil_div(halves, 2), 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        made = []
        for name, rows, columns, x_bits, x_signed, bits, signed, mask in [
            ("mean", 50, 96, 16, True, 16, True, ""),
            ("one row", 1, 1, 8, True, 8, True, ""),
            ("bytes", 130, 33, 8, False, 8, False, ""),
            ("ends", 197, 20, 16, True, 16, True, ""),
            ("float64 sums", 300, 5, 16, False, 16, False, ""),
            ("masked", 70, 40, 16, True, 16, True, "activation"),
            ("masked ends", 64, 65, 8, True, 8, True, "activation"),
            ("constant mask", 20, 64, 12, True, 8, True, "constant"),
        ]:
            x = Format((rows, columns), x_bits, x_signed)
            data = draw(rng, x, 3)
            if name.endswith("ends"):
                data = np.where(rng.random(data.shape) < rng.random((3, 1, columns)), x.minimum, x.maximum)
            op = cls(1 << 22, 22 + max(x_bits - bits, 0), bits, signed, bool(mask))
            inputs, formats, constants = [data], [x], set()
            if mask:
                chosen = rng.integers(0, 2, size=(3, rows)) * rng.integers(1, 256, size=(3, rows))
                chosen[0] = 0  # no row counts
                chosen[1] = 255
                fixed = mask == "constant"
                inputs.append(chosen[2] if fixed else chosen)
                formats.append(Format((rows,), 8, False))
                constants |= {MASK} if fixed else set()
            made.append(Case(name, op, tuple(formats), tuple(inputs), frozenset(constants)))
        return made
