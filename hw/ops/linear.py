"""Linear layer: the MAC array's main operator, with its fused epilogue.

``y = epilogue(x . W^T + bias)``. The epilogue requantizes per output channel (HAWQ-V3, arXiv 2011.10680). Then it either adds a
requantized residual, or it looks the value up in a table (GELU and other activation functions) and requantizes the entry per output
channel, so that channels of very different ranges all use their 8 bits. It saturates at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import compiled
from edgeflow.hw.architecture import Architecture, ceil_div, round_up, storage_bytes
from edgeflow.hw.arithmetic import requantize, saturate
from edgeflow.hw.cost import Cycles, Resources, Unknown
from edgeflow.hw.fast import matrix_product
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

ROWS = 32  # rows held on chip at a time
PIPELINE_DEPTH = 12  # multiply, adder tree and accumulate; also the epilogue's stages
# 32 x 32-bit products of linear.hpp: row addresses of x, y and the residual; words before a tile of y, of the residual and of the
# weights; lines of a row of y and of the residual; elements before a word of y and of the residual, and twice in load_row.
INDEX_PRODUCTS = 12

LINEAR = InstructionLayout(
    "linear",
    1,
    (
        *("x", "rows", "in_channels", "out_channels", "x_signed", "weights", "parameters", "shift"),
        *("has_table", "table", "index_bits", "output_shift"),
        *("has_residual", "residual", "residual_constant", "residual_bytes", "residual_signed"),
        *("residual_multiplier", "residual_shift"),
        *("y", "y_bits", "y_bytes", "y_signed"),
    ),
)

X, WEIGHT, BIAS, MULTIPLIER, EXTRA, OUTPUT_MULTIPLIER = range(6)
TABLE_INDEX_BITS = 11  # widest table index


@register
@dataclass(frozen=True)
class Linear(Operator):
    """Inputs: ``x (..., K)`` up to 8 bits; ``weight (N, K)`` signed; ``bias (N,)`` and ``multiplier (N,)`` int32; then, if
    ``has_table``, a ``table (2^index_bits,)`` of signed 16-bit entries and an ``output_multiplier (N,)``, or, if ``has_residual``,
    a ``residual (..., N)`` up to 16 bits. Output ``(..., N)`` of ``bits``, ``signed``.

    ``y = sat(rq(acc, multiplier, shift) + rq(residual, residual_multiplier, residual_shift))`` or
    ``y = sat(rq(table[i + 2^(index_bits - 1)], output_multiplier, output_shift))`` with
    ``i = sat(rq(acc, multiplier, shift))`` to ``index_bits`` signed bits.
    """

    shift: int
    bits: int
    signed: bool
    has_table: bool
    index_bits: int
    output_shift: int
    has_residual: bool
    residual_multiplier: int
    residual_shift: int

    name: ClassVar[str] = "linear"
    header: ClassVar[str] = "linear.hpp"
    instruction: ClassVar[InstructionLayout] = LINEAR
    ports: ClassVar[tuple[Port, ...]] = (
        Port("x"),
        Port("weight", constant=True),
        Port("bias", constant=True),
        Port("multiplier", constant=True),
        Port("table or residual", optional=True),
        Port("output multiplier", constant=True, optional=True),
    )

    def infer(self, inputs: Sequence[Format]) -> Format:
        x, weight, bias, multiplier = inputs[:4]
        if self.has_table and self.has_residual:
            raise ValueError("a linear layer has a table or a residual, not both")
        if x.bits > 8:
            raise ValueError(f"the input of a linear layer must have at most 8 bits, not {x.bits}")
        if weight.bits > 8 or not weight.signed or len(weight.shape) != 2 or weight.shape[1] != x.channels:
            raise ValueError(f"weight {weight.shape} of {weight.bits} bits does not fit an input of {x.channels} channels")
        n = weight.shape[0]
        if bias.shape != (n,) or multiplier.shape != (n,):
            raise ValueError(f"bias {bias.shape} and multiplier {multiplier.shape} must both have {n} elements")
        if len(inputs) != 4 + 2 * self.has_table + self.has_residual:
            raise ValueError("a linear layer takes a table and output multipliers, or a residual, exactly when it says so")
        out = Format((*x.shape[:-1], n), self.bits, self.signed)
        if self.has_table:
            if not 1 <= self.index_bits <= TABLE_INDEX_BITS:
                raise ValueError(f"a table index must have 1 to {TABLE_INDEX_BITS} bits, not {self.index_bits}")
            if inputs[EXTRA] != Format((1 << self.index_bits,), 16, True):
                raise ValueError(f"the table must have {1 << self.index_bits} signed entries of 16 bits, not {inputs[EXTRA]}")
            if inputs[OUTPUT_MULTIPLIER].shape != (n,):
                raise ValueError(f"the output multipliers {inputs[OUTPUT_MULTIPLIER].shape} must have {n} elements")
        if self.has_residual and inputs[4].shape != out.shape:
            raise ValueError(f"the residual {inputs[4].shape} must have the output's shape {out.shape}")
        return out

    def reference(self, inputs: Sequence[IntArray]) -> IntArray:
        x, weight, bias, multiplier = inputs[:4]
        value = requantize(x @ weight.T + bias, multiplier, self.shift)
        if self.has_table:
            entry = inputs[EXTRA][saturate(value, self.index_bits, True) + (1 << (self.index_bits - 1))]
            return saturate(requantize(entry, inputs[OUTPUT_MULTIPLIER], self.output_shift), self.bits, self.signed)
        if self.has_residual:
            value = value + requantize(inputs[4], self.residual_multiplier, self.residual_shift)
        return saturate(value, self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        out, n = self.infer(inputs), constants[BIAS].size
        product = matrix_product(constants[WEIGHT], inputs[X])
        factor = constants[MULTIPLIER] * 2.0**-self.shift
        # Exact: biases and multipliers are integers of 31 and 17 bits.
        offset = constants[BIAS].astype(np.float64) * factor + 0.5
        residual = self._residual(constants) if self.has_residual else None
        residual_factor = self.residual_multiplier * 2.0**-self.residual_shift
        table = constants[EXTRA].astype(np.float32) if self.has_table else None
        if table is not None:
            offset += 1 << (self.index_bits - 1)
            scale = constants[OUTPUT_MULTIPLIER] * 2.0**-self.output_shift
        low, high = float(out.minimum), float(out.maximum)

        def run(activations: Sequence[Array]) -> Array:
            source = activations[0]
            rows = source.reshape(-1, source.shape[-1])
            y = np.empty((rows.shape[0], n), dtype=np.float32)
            accumulator = product(rows)
            if table is not None:
                compiled.requantize_lookup(accumulator, factor, offset, table, scale, low, high, y)
            elif residual is not None:
                added = np.ascontiguousarray(residual(activations)).reshape(-1, n)
                compiled.requantize_add(accumulator, factor, offset, added, residual_factor, low, high, y)
            else:
                compiled.requantize(accumulator, factor, offset, low, high, y)
            return y.reshape(*source.shape[:-1], n)

        return run

    def _residual(self, constants: Constants) -> Callable[[Sequence[Array]], Array]:
        """The residual operand of all samples."""
        fixed = constants.get(EXTRA)
        if fixed is None:
            return lambda activations: activations[1]
        rows = fixed.astype(np.float32)
        return lambda activations: np.broadcast_to(rows, (activations[0].shape[0], *rows.shape))

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        x = inputs[X]
        weight, bias, multiplier = constants[WEIGHT], constants[BIAS], constants[MULTIPLIER]
        positive = np.maximum(weight, 0).sum(axis=1)
        negative = np.minimum(weight, 0).sum(axis=1)
        # Partial sums in any order stay within the bias and the sums of the positive and the negative terms.
        high = np.maximum(bias, 0) + positive * x.maximum + negative * x.minimum
        low = np.minimum(bias, 0) + positive * x.minimum + negative * x.maximum
        half = 1 << max(self.shift - 1, 0)
        found = [
            Register("accumulator", 32, int(low.min(initial=0)), int(high.max(initial=0))),
            Register("multiplier", 18, int(multiplier.min(initial=0)), int(multiplier.max(initial=0))),
            _product_register(low, high, multiplier, half),
        ]
        if self.has_residual:
            residual = inputs[4]
            ends = np.array([residual.minimum, residual.maximum]) * self.residual_multiplier
            found.append(Register("residual multiplier", 18, self.residual_multiplier, self.residual_multiplier))
            found.append(
                Register("residual product", 50, int(ends.min()), int(ends.max()) + (1 << max(self.residual_shift - 1, 0)))
            )
        if self.has_table:
            table, scale = constants[EXTRA], constants[OUTPUT_MULTIPLIER]
            ends = np.outer([table.min(), table.max()], [scale.min(), scale.max()])
            found.append(Register("output multiplier", 18, int(scale.min()), int(scale.max())))
            found.append(Register("output product", 50, int(ends.min()), int(ends.max()) + (1 << max(self.output_shift - 1, 0))))
        return tuple(found)

    def macs(self, inputs: Sequence[Format]) -> int:
        return inputs[X].rows * inputs[X].channels * inputs[WEIGHT].shape[0]

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        x, out, a = inputs[X], self.infer(inputs), context.architecture
        for format, what in ((x, "input"), (out, "output")):
            context.require(
                format.channels <= a.max_channels,
                f"{format.channels} {what} channels exceed the accelerator's {a.max_channels} (max_channels)",
            )
        values = dict.fromkeys(LINEAR.fields, 0)
        values |= {
            "x": context.address(X),
            "rows": x.rows,
            "in_channels": x.channels,
            "out_channels": out.channels,
            "x_signed": int(x.signed),
            "weights": context.place("weight", weight_tiles(constants[WEIGHT], a)),
            "parameters": context.place("parameters", parameter_tiles(constants, a)),
            "shift": self.shift,
            "residual_bytes": 1,
            "y": context.output_address(),
            "y_bits": out.bits,
            "y_bytes": storage_bytes(out.bits),
            "y_signed": int(out.signed),
        }
        if self.has_table:
            values |= {
                "has_table": 1,
                "table": context.place_rows("table", constants[EXTRA], inputs[EXTRA]),
                "index_bits": self.index_bits,
                "output_shift": self.output_shift,
            }
        if self.has_residual:
            residual = inputs[4]
            fixed = constants.get(4)
            values |= {
                "has_residual": 1,
                "residual": context.address(4) if fixed is None else context.place_rows("residual", fixed, residual),
                "residual_constant": int(fixed is not None),
                "residual_bytes": storage_bytes(residual.bits),
                "residual_signed": int(residual.signed),
                "residual_multiplier": self.residual_multiplier,
                "residual_shift": self.residual_shift,
            }
        return [Instruction(LINEAR, values)]

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {"LINEAR_ROWS": ROWS, "LINEAR_TABLE": 1 << TABLE_INDEX_BITS}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        a = architecture
        steps, tiles = ceil_div(values["in_channels"], a.pi), ceil_div(values["out_channels"], a.po)
        rows, blocks = values["rows"], ceil_div(values["rows"], ROWS)
        y_words = a.po * values["y_bytes"] // a.word_bytes
        residual_words = values["has_residual"] * a.po * values["residual_bytes"] // a.word_bytes
        parameter_words = 3 * a.po * 4 // a.word_bytes
        table_words = values["has_table"] * (1 << values["index_bits"]) * 2 // a.word_bytes
        parts = {
            "mac": rows * tiles * (steps + PIPELINE_DEPTH),
            "epilogue": rows * tiles * (y_words + PIPELINE_DEPTH),
            "load input": rows * ceil_div(round_up(values["in_channels"], a.pi), a.word_bytes),
            "load weights": blocks * tiles * (steps * a.pi * a.po // a.word_bytes + parameter_words),
            "load residual": rows * tiles * residual_words,
            "load table": table_words,
        }
        return Cycles(parts, macs=rows * values["in_channels"] * values["out_channels"])

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """DSPs: one a multiplier of the array (9 x 8 bit). The epilogue requantizes one AXI word of bytes a cycle, each with two
        DSPs for the accumulator (32 x 18 bit, wider than one DSP's 27 x 18) and two for the residual or the table entry (the same
        function). Three each for the 32 x 32-bit multiplications of addresses and indices (:data:`INDEX_PRODUCTS`).

        Block memories: the input rows are PI banks of 17 bit, a tile's weights PI x PO banks of 8 bit; a RAMB36 is two halves of
        1024 x 18 or 2048 x 9 bit, and banks up to 1 kbit are LUT RAM. The table (17 bit) has a copy for two bytes of a word."""
        a = architecture
        dsp = a.pi * a.po + 2 * 2 * a.word_bytes + 3 * INDEX_PRODUCTS
        steps = ceil_div(a.max_channels, a.pi)
        input_halves = a.pi * ceil_div(ROWS * steps, 1024)
        weight_halves = 0 if steps * 8 <= 1024 else a.pi * a.po * ceil_div(steps, 2048)
        table_halves = a.word_bytes // 2 * ((1 << TABLE_INDEX_BITS) // 1024)
        unknown = Unknown("no synthesis has been run for this unit")
        return Resources(dsp, unknown, unknown, ceil_div(input_halves + weight_halves + table_halves, 2), 0)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        made = []
        for rows, k, n, bits, mode in [
            (1, 1, 1, 8, "plain"),
            (3, 17, 5, 8, "plain"),
            (50, 96, 40, 8, "table"),
            (9, 33, 21, 8, "uniform table"),
            (6, 20, 18, 16, "corner table"),
            (33, 64, 64, 16, "residual"),
            (7, 130, 33, 4, "plain"),
            (2, 64, 20, 16, "constant residual"),
            (5, 48, 24, 8, "corner"),
            (4, 100, 16, 8, "unsigned table"),
        ]:
            made.append(_case(rng, rows, k, n, bits, mode))
        return made


def _product_register(low: IntArray, high: IntArray, multiplier: IntArray, half: int) -> Register:
    ends = np.stack([low * multiplier, high * multiplier])
    return Register("product", 50, int(ends.min(initial=0)), int(ends.max(initial=0)) + half)


def weight_tiles(weight: IntArray, architecture: Architecture) -> Array:
    """Weights ``(N, K)`` as the array reads them: ``[tile of PO][step of PI][o][i]`` int8, zero-padded."""
    a = architecture
    n, k = weight.shape
    padded = np.zeros((round_up(n, a.po), round_up(k, a.pi)), dtype=np.int8)
    padded[:n, :k] = weight
    tiles = padded.reshape(-1, a.po, padded.shape[1] // a.pi, a.pi)
    return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3))


def parameter_tiles(constants: Constants, architecture: Architecture) -> Array:
    """What the epilogue reads for each tile: PO biases, PO multipliers and PO output multipliers (zeros without a table), int32."""
    po, n = architecture.po, constants[BIAS].size
    padded = np.zeros((3, round_up(n, po)), dtype=np.int32)
    for row, which in zip(padded, (BIAS, MULTIPLIER, OUTPUT_MULTIPLIER), strict=True):
        if which in constants:
            row[:n] = constants[which]
    return np.ascontiguousarray(padded.reshape(3, -1, po).transpose(1, 0, 2))


def _case(rng: np.random.Generator, rows: int, k: int, n: int, bits: int, mode: str) -> Case:
    corner = mode.startswith("corner")
    unsigned = mode.startswith("unsigned")
    x_format = Format((rows, k), 8, not unsigned)
    x = draw(rng, x_format, 2)
    weight = rng.integers(-128, 128, size=(n, k))
    if corner:
        x = np.where(x < 0, x_format.minimum, x_format.maximum)
        weight = np.where(weight < 0, -128, 127)
    bias = rng.integers(-(1 << 20), 1 << 20, size=n)
    multiplier = rng.integers(1 << 12, 1 << 17, size=n)
    spread = float(np.abs(np.einsum("brk,nk->brn", x, weight) + bias).mean()) + 1.0
    shift = int(np.ceil(np.log2(spread * 2.0**16 / 2.0 ** (bits - 2))))
    table, residual = mode.endswith("table"), mode.endswith("residual")
    index_bits = TABLE_INDEX_BITS if unsigned else 8 if bits == 8 else 10
    if table:
        shift -= index_bits - bits
    op = Linear(
        shift=shift,
        bits=bits,
        signed=not unsigned,
        has_table=table,
        index_bits=index_bits if table else 0,
        output_shift=24 - bits if table else 0,
        has_residual=residual,
        residual_multiplier=int(rng.integers(1 << 14, 1 << 17)) if residual else 0,
        residual_shift=16 if residual else 0,
    )
    inputs = [x, weight, bias, multiplier]
    formats = [x_format, Format((n, k), 8, True), Format((n,), 32, True), Format((n,), 32, True)]
    constants = {WEIGHT, BIAS, MULTIPLIER}
    if table:
        inputs.append(rng.integers(-(1 << 15), 1 << 15, size=1 << index_bits))
        formats.append(Format((1 << index_bits,), 16, True))
        scale = rng.integers(-(1 << 10) if corner else 1, 1 << 17, size=n)
        inputs.append(np.full(n, scale[0]) if mode.startswith("uniform") else scale)
        formats.append(Format((n,), 32, True))
        constants |= {EXTRA, OUTPUT_MULTIPLIER}
    if residual:
        fixed = mode.startswith("constant")
        inputs.append(rng.integers(-(1 << 15), 1 << 15, size=(rows, n) if fixed else (2, rows, n)))
        formats.append(Format((rows, n), 16, True))
        constants |= {4} if fixed else set()
    return Case(f"{mode} {rows}x{k}x{n}", op, tuple(formats), tuple(inputs), frozenset(constants))
