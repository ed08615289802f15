"""Linear layer: the array's main operator, with its fused epilogue.

``y = epilogue(x . W^T + bias)``. The epilogue requantizes per output channel (HAWQ-V3, arXiv 2011.10680). Then it either adds a
requantized residual, or it looks the value up in a table (GELU and other activation functions) and requantizes the entry per output
channel, so that channels of very different ranges all use their 8 bits. It saturates at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from edgeflow.hw import compiled, field_widths
from edgeflow.hw import cpp_widths as widths
from edgeflow.hw.architecture import HALVES, LINE_BYTES, NIBBLES, ROW_ELEMENTS, Architecture, ceil_div, round_up
from edgeflow.hw.arithmetic import requantize, saturate
from edgeflow.hw.array_resources import CASCADE, array_constants, array_resources
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.commands import Command
from edgeflow.hw.cost import Resources
from edgeflow.hw.exact_float import matrix_product, sums_by_sign
from edgeflow.hw.field_widths import holding
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import (
    Case,
    Constants,
    Instruction,
    InstructionLayout,
    Kernel,
    LoweringContext,
    Operator,
    Packed,
    Port,
    Register,
    draw,
    element_register,
    of_width,
    register,
)
from edgeflow.hw.ops.layernorm_schedule import layernorm_sizes
from edgeflow.hw.ops.linear_commands import linear_commands
from edgeflow.hw.ops.rows import RowSplit

TABLE_INDEX_BITS = widths.ACTIVATION_INDEX.bits - 1  # widest table index
INDEX_BITS = holding(TABLE_INDEX_BITS, "bits of a table's index")
PACKING = holding(2, "weights of a byte: 2 to the power of it")

LINEAR = InstructionLayout(
    "linear",
    1,
    (
        *("x", "y", "residual", "load_words"),
        *of_width(field_widths.COUNT, "x_stride", "rows", "steps", "slot", "y_stride", "y_channel", "y_limit", "residual_stride"),
        *of_width(field_widths.COUNT, "load_table", "load_slot", "load_end"),
        *of_width(widths.SHIFT, "shift", "output_shift", "residual_shift"),
        *of_width(INDEX_BITS, "index_bits"),
        *of_width(field_widths.RESULT_BITS, "y_bits"),
        *of_width(field_widths.FLAG, "half_even"),
        *of_width(widths.MULTIPLIER, "residual_multiplier"),
        *of_width(field_widths.STORAGE, "x_storage", "y_storage"),
        *of_width(field_widths.FLAG, "x_signed", "y_signed", "residual_signed", "has_table", "has_residual"),
        *of_width(field_widths.FLAG, "quad", "chain", "norm", "set", "load_set"),
        *of_width(PACKING, "load_packing"),
        *of_width(field_widths.FLAG, "load_quad"),
    ),
    (),  # the array runs it
)

X, WEIGHT, BIAS, MULTIPLIER, EXTRA, OUTPUT_MULTIPLIER = range(6)


@register
@dataclass(frozen=True)
class Linear(Operator):
    """Inputs: ``x (..., K)`` up to 8 bits; ``weight (N, K)`` signed; ``bias (N,)`` and ``multiplier (N,)`` int32; then, if
    ``has_table``, a ``table (2^index_bits,)`` of signed 16-bit entries and an ``output_multiplier (N,)``, or, if ``has_residual``,
    a ``residual (..., N)`` up to 16 bits. Output ``(..., N)`` of ``bits``, ``signed``.

    ``y = sat(rq(acc, multiplier, shift) + rq(residual, residual_multiplier, residual_shift))``, where the first ``rq`` rounds half
    to even if ``half_even``, with multipliers of up to 24 bits, or
    ``y = sat(rq(table[i + 2^(index_bits - 1)], output_multiplier, output_shift))`` with
    ``i = sat(rq(acc, multiplier, shift))`` to ``index_bits`` signed bits, all rounded half up, with multipliers of up to 17 bits.
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
    half_even: bool

    name: ClassVar[str] = "linear"
    header: ClassVar[str] = "network/sequence.hpp"
    widens: ClassVar[bool] = True
    writes_pairs: ClassVar[bool] = True
    instruction: ClassVar[InstructionLayout] = LINEAR
    counters: ClassVar[tuple[str, ...]] = ("load", "feed lines", "feed steps", "residual lines", "products", "epilogue")
    on_array: ClassVar[bool] = True
    process: ClassVar[str] = "multiply"
    codes: ClassVar[Mapping[str, int]] = {"CASCADE": CASCADE}
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
        if self.has_table and self.half_even:
            raise ValueError("a linear layer with a table rounds half up")
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
        value = requantize(x @ weight.T + bias, multiplier, self.shift, self.half_even)
        if self.has_table:
            entry = inputs[EXTRA][saturate(value, self.index_bits, True) + (1 << (self.index_bits - 1))]
            return saturate(requantize(entry, inputs[OUTPUT_MULTIPLIER], self.output_shift), self.bits, self.signed)
        if self.has_residual:
            value = value + requantize(inputs[4], self.residual_multiplier, self.residual_shift)
        return saturate(value, self.bits, self.signed)

    def kernel(self, inputs: Sequence[Format], constants: Constants) -> Kernel:
        out, n = self.infer(inputs), constants[BIAS].size
        product = matrix_product(constants[WEIGHT], inputs[X])
        bias, multiplier = constants[BIAS], constants[MULTIPLIER]
        wide = not self._carried(inputs[X], constants)
        factor = multiplier * 2.0**-self.shift
        offset = bias * factor + (0.0 if self.half_even else 0.5)
        residual = self._residual(constants) if self.has_residual else None
        residual_factor = self.residual_multiplier * 2.0**-self.residual_shift if self.has_residual else 0.0
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
                return y.reshape(*source.shape[:-1], n)
            added = accumulator if residual is None else np.ascontiguousarray(residual(activations)).reshape(-1, n)
            if wide:
                rounding = (self.shift, self.half_even)
                compiled.requantize_wide(accumulator, bias, multiplier, *rounding, added, residual_factor, low, high, y)
            elif residual is not None:
                compiled.requantize_add(accumulator, factor, offset, self.half_even, added, residual_factor, low, high, y)
            else:
                compiled.requantize(accumulator, factor, offset, self.half_even, low, high, y)
            return y.reshape(*source.shape[:-1], n)

        return run

    def _residual(self, constants: Constants) -> Callable[[Sequence[Array]], Array]:
        """The residual operand of all samples."""
        fixed = constants.get(EXTRA)
        if fixed is None:
            return lambda activations: activations[1]
        rows = fixed.astype(np.float32)
        return lambda activations: np.broadcast_to(rows, (activations[0].shape[0], *rows.shape))

    def _carried(self, x: Format, constants: Constants) -> bool:
        """Whether float64 carries every product exactly, with the half that rounding adds: all stay below 2^52."""
        low, high = accumulator_range(x, constants)
        largest = np.maximum(-low, high) * np.abs(constants[MULTIPLIER])
        return int(largest.max(initial=0)) + (1 << max(self.shift - 1, 0)) < 1 << 52

    def registers(self, inputs: Sequence[Format], constants: Constants) -> tuple[Register, ...]:
        multiplier = constants[MULTIPLIER]
        low, high = accumulator_range(inputs[X], constants)
        product = _product_register(low, high, multiplier, 1 << max(self.shift - 1, 0))
        registers = [
            *array_registers(inputs[WEIGHT], inputs[X], quad=inputs[X].bits <= 4 and inputs[WEIGHT].bits <= 4),
            Register("shift", widths.SHIFT, 0, max(self.shift, self.residual_shift, self.output_shift)),
            Register("accumulator", widths.ACCUMULATOR, int(low.min(initial=0)), int(high.max(initial=0))),
            Register(
                "multiplier",
                widths.MULTIPLIER if self.has_table else widths.WIDE_MULTIPLIER,
                int(multiplier.min(initial=0)),
                int(multiplier.max(initial=0)),
            ),
            Register(
                "multiplier as an integer", widths.ACCUMULATOR, int(multiplier.min(initial=0)), int(multiplier.max(initial=0))
            ),
            product,
            element_register("output", self.infer(inputs)),
        ]
        if self.has_residual:
            residual = inputs[4]
            ends = np.array([residual.minimum, residual.maximum]) * self.residual_multiplier
            registers.append(element_register("residual", residual))
            registers.append(Register("residual as an integer", widths.ACCUMULATOR, residual.minimum, residual.maximum))
            registers.append(Register("residual multiplier", widths.MULTIPLIER, self.residual_multiplier, self.residual_multiplier))
            added = Register(
                "residual product", widths.PRODUCT, int(ends.min()), int(ends.max()) + (1 << max(self.residual_shift - 1, 0))
            )
            least = (product.minimum >> self.shift) + (added.minimum >> self.residual_shift)
            most = (product.maximum >> self.shift) + (added.maximum >> self.residual_shift)
            registers += [added, Register("sum with the residual", widths.WIDE_PRODUCT, least, most)]
        if self.has_table:
            table, scale = constants[EXTRA], constants[OUTPUT_MULTIPLIER]
            middle = 1 << (self.index_bits - 1)
            registers.append(Register("table index", widths.ACTIVATION_INDEX, -middle, max(middle, 2 * middle - 1)))
            ends = np.outer([table.min(), table.max()], [scale.min(), scale.max()])
            registers.append(Register("clipped index", widths.ELEMENT, -middle, middle - 1))
            registers.append(Register("table entry", widths.ELEMENT, int(table.min()), int(table.max())))
            registers.append(Register("table entry as an integer", widths.ACCUMULATOR, int(table.min()), int(table.max())))
            registers.append(Register("output multiplier as an integer", widths.ACCUMULATOR, int(scale.min()), int(scale.max())))
            registers.append(Register("output multiplier", widths.MULTIPLIER, int(scale.min()), int(scale.max())))
            scaled = Register(
                "output product", widths.PRODUCT, int(ends.min()), int(ends.max()) + (1 << max(self.output_shift - 1, 0))
            )
            least, most = scaled.minimum >> self.output_shift, scaled.maximum >> self.output_shift
            registers += [scaled, Register("scaled table entry", widths.WIDE_PRODUCT, least, most)]
        return tuple(registers)

    def macs(self, inputs: Sequence[Format]) -> int:
        return inputs[X].rows * inputs[X].channels * inputs[WEIGHT].shape[0]

    def demands(self, inputs: Sequence[Format]) -> dict[str, int]:
        return {"max_channels": max(inputs[X].channels, inputs[WEIGHT].shape[0])}

    def stationary(self, inputs: Sequence[Format], max_tokens: int) -> tuple[int, ...]:
        return (inputs[X].channels,)

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        return RowSplit(self.infer(inputs).rows, (X, EXTRA) if self.has_residual else (X,))

    def overwritable(self, inputs: Sequence[Format]) -> tuple[int, ...]:
        return (EXTRA,) if self.has_residual else ()

    def reads_wide(self, index: int) -> bool:
        return self.has_residual and index == EXTRA

    def reads_pairs(self, index: int, inputs: Sequence[Format]) -> bool:
        return index == X and inputs[WEIGHT].bits <= 4

    def on_chip_constant(self, index: int) -> bool:
        return self.reads_wide(index)

    def lower(self, inputs: Sequence[Format], constants: Constants, context: LoweringContext) -> list[Instruction]:
        """One pass a tile of PO outputs. The fields ``load_*`` are the tile's own load; sw/compiler/weight_prefetch.py moves them
        one pass ahead."""
        x, out, a = inputs[X], self.infer(inputs), context.architecture
        for format, what in ((x, "input"), (out, "output")):
            context.require(
                format.channels <= a.max_channels,
                f"{format.channels} {what} channels exceed the accelerator's {a.max_channels} (max_channels)",
            )
        context.require(EXTRA not in constants or self.has_table, "the array adds a residual from the scratchpad, not a constant")
        steps = ceil_div(x.channels, a.pi)
        packing = weight_packing(inputs[WEIGHT].bits, a)
        quad = inputs[WEIGHT].bits <= 4 and context.storage(X) == NIBBLES and 4 in a.precisions
        table = [constants[EXTRA].astype(np.int16)] if self.has_table else []
        storage = context.output_storage()
        values = dict.fromkeys(LINEAR.names, 0) | {
            "x": context.address(X),
            "x_stride": row_stride(x.channels, context.storage(X)),
            "x_storage": context.storage(X),
            "x_signed": int(x.signed),
            "rows": x.rows,
            "steps": steps,
            "quad": int(quad),
            "shift": self.shift,
            "half_even": int(self.half_even),
            "y": context.output_address(),
            "y_stride": row_stride(out.channels, storage),
            "y_storage": storage,
            "y_limit": round_up(out.channels, ROW_ELEMENTS),
            "y_bits": out.bits,
            "y_signed": int(out.signed),
            "has_table": int(self.has_table),
            "index_bits": self.index_bits,
            "output_shift": self.output_shift,
            "load_packing": packing,
            "load_quad": int(quad),
            "load_end": steps,
        }
        if self.has_residual:
            context.require(context.storage(EXTRA) == HALVES, "the residual must lie in the wide memory")
            values |= {
                "has_residual": 1,
                "residual": context.address(EXTRA),
                "residual_stride": row_stride(out.channels, HALVES),
                "residual_signed": int(inputs[EXTRA].signed),
                "residual_multiplier": self.residual_multiplier,
                "residual_shift": self.residual_shift,
            }
        instructions = []
        tiles = ceil_div(out.channels, a.po)
        for t in range(tiles):
            first = table if t == 0 else []
            weights = packed_tile(constants[WEIGHT], t, a, packing)
            segment = context.stream(f"tile {t}", *first, tile_parameters(constants, t, a.po), weights)
            own = {
                "y_channel": t * a.po,
                "chain": int(t < tiles - 1),
                "load_table": sum(round_up(e.nbytes, LINE_BYTES) for e in first) // a.stream_bytes,
                "load_words": segment[1] * LINE_BYTES // a.stream_bytes,
            }
            instructions.append(Instruction(LINEAR, values | own, segment))
        return instructions

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return array_constants(architecture) | layernorm_sizes(architecture)

    @classmethod
    def commands(cls, values: Mapping[str, int], architecture: Architecture, words: int) -> tuple[Command, ...]:
        return linear_commands(values, architecture)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """The whole array; see hw/array_resources.py."""
        return array_resources(architecture)

    @classmethod
    def cases(cls, rng: np.random.Generator) -> list[Case]:
        cases = []
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
            cases.append(_case(rng, rows, k, n, bits, mode))
        for rows, k, n, bits, mode, x_bits, weight_bits in [
            (3, 37, 19, 8, "plain", 8, 2),
            (5, 70, 21, 4, "plain", 4, 2),
            (4, 66, 33, 16, "residual", 4, 2),
            (3, 31, 17, 8, "corner", 8, 2),
            (3, 45, 23, 8, "table", 4, 3),
        ]:
            cases.append(_case(rng, rows, k, n, bits, mode, x_bits, weight_bits))
        for even in (False, True):
            cases.extend(_wide_case(rng, even, mode) for mode in ("long", "longest", "longest residual", "ties", "ties residual"))
        return cases


def accumulator_range(x: Format, constants: Constants) -> tuple[IntArray, IntArray]:
    """Least and largest value ``(N,)`` that each output's accumulator can take, whatever the order of its sum."""
    weight, bias = constants[WEIGHT], constants[BIAS]
    positive, negative = sums_by_sign(weight)
    # Partial sums stay within the bias and the sums of the positive and the negative terms.
    high = np.maximum(bias, 0) + positive * x.maximum + negative * x.minimum
    low = np.minimum(bias, 0) + positive * x.minimum + negative * x.maximum
    return low, high


def array_registers(weights: Format, operands: Format, quad: bool = False) -> list[Register]:
    """What the multipliers hold: two weights packed into one operand, and in the 4-bit mode (``quad``) two rows into the other.

    The sum of a cascade of them falls apart into two sums of products, or four. An accelerator without the 4-bit mode has but two.
    """
    registers = [Register("weight", widths.WEIGHT, weights.minimum, weights.maximum)]
    modes = [(widths.CASCADE_SUM, widths.CASCADE_SUM.bits, 0)] + [
        (widths.QUAD_SUM, 2 * widths.QUAD_SUM.bits, widths.QUAD_SUM.bits)
    ] * quad
    for field, weight_place, row_place in modes:
        packed, operand = (1 << weight_place) + 1, (1 << row_place) + 1 if row_place else 1
        corners = [w * x for w in (weights.minimum, weights.maximum) for x in (operands.minimum, operands.maximum)]
        least, most = CASCADE * min(corners), CASCADE * max(corners)
        registers += [
            Register("packed weights", widths.PACKED, weights.minimum * packed, weights.maximum * packed),
            Register("operand", widths.OPERAND, operands.minimum * operand, operands.maximum * operand),
            Register("cascade", widths.CHAIN, least * packed * operand, most * packed * operand),
            Register("sum of a cascade", field, least, most),
        ]
    return registers


def _product_register(low: IntArray, high: IntArray, multiplier: IntArray, half: int) -> Register:
    ends = np.stack([low * multiplier, high * multiplier])
    return Register("product", widths.WIDE_PRODUCT, int(ends.min(initial=0)), int(ends.max(initial=0)) + half)


def row_stride(channels: int, storage: int) -> int:
    """Lines from one row (pair of rows in half-byte storage) to the next on chip."""
    return ceil_div(channels, ROW_ELEMENTS) * (2 if storage == HALVES else 1)


def weight_packing(bits: int, architecture: Architecture) -> int:
    """How weights of a width lie in the weight stream: 0, a byte each; 1, two to a byte (3 and 4 bits, and 2 bits where the
    accelerator takes no others); 2, four to a byte."""
    return 2 if bits <= 2 and 2 in architecture.precisions else 1 if bits <= 4 else 0


def packed_tile(weight: IntArray, tile: int, architecture: Architecture, packing: int) -> Packed:
    """:func:`tile_weights`, made when they are wanted."""
    a = architecture
    step = round_up(a.pi * a.po >> packing, a.stream_bytes)
    return Packed(ceil_div(weight.shape[1], a.pi) * step, lambda: tile_weights(weight, tile, a, packing))


def tile_weights(weight: IntArray, tile: int, architecture: Architecture, packing: int) -> Array:
    """A tile of the weights ``(N, K)`` in stream order ``[step of PI][pair of outputs][i][2]``, zero-padded.

    ``1 << packing`` weights to a byte, the first in its lowest bits. Bytes and half bytes fill whole words of the stream in each
    step (hw/architecture.py holds this); quarter bytes are padded to whole words.
    """
    a = architecture
    part = weight[tile * a.po : (tile + 1) * a.po]
    steps = ceil_div(weight.shape[1], a.pi)
    padded = np.zeros((a.po, steps * a.pi), dtype=np.int8)
    padded[: part.shape[0], : part.shape[1]] = part
    ordered = padded.reshape(a.po // 2, 2, steps, a.pi).transpose(2, 0, 3, 1)
    count, bits = 1 << packing, 8 >> packing
    fields = ordered.reshape(steps, -1, count).view(np.uint8) & np.uint8((1 << bits) - 1)
    packed = np.bitwise_or.reduce(fields << (bits * np.arange(count, dtype=np.uint8)), axis=2)
    return np.pad(packed, ((0, 0), (0, -packed.shape[1] % a.stream_bytes)))


def tile_parameters(constants: Constants, tile: int, po: int) -> Array:
    """What the epilogue needs of a tile: PO biases, PO multipliers and PO output multipliers (zeros without a table), int32."""
    padded = np.zeros((3, po), dtype=np.int32)
    for row, which in zip(padded, (BIAS, MULTIPLIER, OUTPUT_MULTIPLIER), strict=True):
        if which in constants:
            part = constants[which][tile * po : (tile + 1) * po]
            row[: part.size] = part
    return padded


def _case(rng: np.random.Generator, rows: int, k: int, n: int, bits: int, mode: str, x_bits: int = 8, weight_bits: int = 8) -> Case:
    corner = mode.startswith("corner")
    unsigned = mode.startswith("unsigned")
    x_format = Format((rows, k), x_bits, not unsigned)
    x = draw(rng, x_format, 2)
    weight_format = Format((n, k), weight_bits, True)
    weight = draw(rng, weight_format)
    if corner:
        x = np.where(x < 0, x_format.minimum, x_format.maximum)
        weight = np.where(weight < 0, weight_format.minimum, weight_format.maximum)
    largest = 1 << (x_bits + weight_bits + 4)
    bias = rng.integers(-largest, largest, size=n)
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
        half_even=False,
    )
    inputs = [x, weight, bias, multiplier]
    formats = [x_format, weight_format, Format((n,), 32, True), Format((n,), 32, True)]
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
    return Case(f"{mode} {rows}x{k}x{n} W{weight_bits}A{x_bits}", op, tuple(formats), tuple(inputs), frozenset(constants))


def _wide_case(rng: np.random.Generator, half_even: bool, mode: str) -> Case:
    """Multipliers of 24 bits; accumulators near the ends of 32 bits ("longest"); or sums of which many are ties."""
    rows, k, n, bits = 4, 21, 19, 16
    x, weight = Format((rows, k), 8, True), Format((n, k), 8, True)
    words, weights = draw(rng, x, 2), draw(rng, weight)
    bias = rng.integers(-(1 << 12), 1 << 12, size=n)
    multiplier = rng.integers(1 << 22, 1 << 24, size=n)
    shift = 26
    if mode.startswith("longest"):
        reach = np.abs(weights).sum(axis=1) * x.magnitude
        bias = np.where(rng.random(n) < 0.5, (1 << 31) - 1 - reach, reach - (1 << 31))
        multiplier[0], shift = (1 << 24) - 1, 40
    if mode.startswith("ties"):  # one sum in two, four or eight lies halfway between two integers
        multiplier, shift = rng.integers(1, 4, size=n) * 2 + 1 << rng.integers(17, 20, size=n), 20
    multiplier[1::3] *= -1
    residual = mode.endswith("residual")
    op = Linear(
        shift=shift,
        bits=bits,
        signed=True,
        has_table=False,
        index_bits=0,
        output_shift=0,
        has_residual=residual,
        residual_multiplier=-70001 if residual else 0,
        residual_shift=18 if residual else 0,
        half_even=half_even,
    )
    inputs = [words, weights, bias, multiplier]
    formats = [x, weight, Format((n,), 32, True), Format((n,), 32, True)]
    if residual:
        formats.append(Format((rows, n), 16, True))
        inputs.append(draw(rng, formats[-1], 2))
    name = f"{mode}, half {'to even' if half_even else 'up'}"
    return Case(name, op, tuple(formats), tuple(inputs), frozenset({WEIGHT, BIAS, MULTIPLIER}))
