"""The elementwise unit, which add, multiply and requantize share: its instruction, broadcasting, cycles and resources."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import field_widths
from edgeflow.hw.architecture import LINE_BYTES, NIBBLES, Architecture, ceil_div, round_up
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.cost import Cycles, Loop, Resources
from edgeflow.hw.field_widths import holding
from edgeflow.hw.graph import Format
from edgeflow.hw.lanes import elementwise_lane
from edgeflow.hw.ops.base import (
    Constants,
    Instruction,
    InstructionLayout,
    Kernel,
    LoweringContext,
    Operator,
    Register,
    VectorUnit,
    element_register,
    of_width,
)
from edgeflow.hw.ops.chunk import parameter_banks, read_logic, stream_words, write_logic
from edgeflow.hw.ops.rows import RowSplit
from edgeflow.hw.ops.vector import check_row_format, plane_blocks, require_channels, require_rows, value_range
from edgeflow.hw.primitives import (
    adder_luts,
    lutram_luts,
    multiplier_dsps,
    mux_luts,
    registers,
)

ADD, MULTIPLY, REQUANTIZE = range(3)
SCRATCH, ROW, ROWS = range(3)  # where operand b comes from: the scratchpad, or one row or a row for each row of the weight stream

OPERATION = holding(REQUANTIZE, "what it computes")
SOURCE = holding(ROWS, "where operand b comes from")

ELEMENTWISE = InstructionLayout(
    "elementwise",
    5,
    (
        *("a", "b", "y", "offset"),
        *of_width(field_widths.ROWS, "rows"),
        *of_width(OPERATION, "operation"),
        *of_width(field_widths.STORAGE, "a_storage"),
        *of_width(field_widths.FLAG, "a_signed"),
        *of_width(field_widths.STORAGE, "b_storage"),
        *of_width(field_widths.FLAG, "b_signed"),
        *of_width(SOURCE, "b_source"),
        *of_width(field_widths.FLAG, "half_even"),
        *of_width(field_widths.ROWS, "a_rows"),
        *of_width(widths.SHIFT, "shift_a", "shift_b"),
        *of_width(field_widths.ROWS, "b_rows"),
        *of_width(field_widths.STORAGE, "y_storage"),
        *of_width(field_widths.FLAG, "y_signed"),
        *of_width(field_widths.RESULT_BITS, "y_bits"),
        *of_width(field_widths.CHANNELS, "columns"),
        *of_width(widths.MULTIPLIER, "multiplier_a", "multiplier_b"),
    ),
    ("stream", "scratch"),
)

CONSTANT_ELEMENTS = LINE_BYTES // 2  # of a line of constant rows in the weight stream
LOAD_DEPTH = 4  # stages of the loop that loads a row of parameters: read, sign, write
# Stages of the loop over chunks: address 1, block memory 2, choice of the chunk 1, product 3, second product 4, rounding and shift
# 3, sum 1, saturation 1, layout and write 2.
CHUNK_DEPTH = 18


def pair_format(a: Format, b: Format, bits: int, signed: bool) -> Format:
    """Output format of an operator on ``a`` and ``b``, either of which may repeat along leading axes; ValueError otherwise."""
    for operand in (a, b):
        check_row_format(operand.bits, "operands")
    check_row_format(bits, "output")
    rank = max(len(a.shape), len(b.shape))
    padded = [(1,) * (rank - len(f.shape)) + f.shape for f in (a, b)]
    shape = tuple(max(sizes) for sizes in zip(*padded, strict=True))
    for own in padded:
        lead = next((i for i, size in enumerate(own) if size != 1), rank)
        if own[lead:] != shape[lead:] or own[-1:] != shape[-1:]:
            raise ValueError(f"shapes {a.shape} and {b.shape} must be equal, or one must repeat along leading axes of the other")
    return Format(shape, bits, signed)


def operand_problem(inputs: Sequence[Format], constants: Constants) -> str | None:
    """Why the operands cannot be told apart from constants, if so: an activation must have the rank of the output."""
    if 0 in constants and 1 in constants:
        return "both operands are constants: fold them"
    rank = max(len(f.shape) for f in inputs[:2])
    for i, f in enumerate(inputs[:2]):
        if i not in constants and len(f.shape) != rank:
            return f"the activation operand {f.shape} must have rank {rank}: give it leading axes of size 1"
    return None


PairBlock = Callable[[Sequence[Array], Array], None]


def pair_kernel(
    inputs: Sequence[Format], constants: Constants, fixed: Mapping[int, Array], out: Format, block: PairBlock
) -> Kernel:
    """A kernel that hands matching three-dimensional blocks of both operands to ``block(operands, result)``.

    ``fixed`` holds the prepared form of each constant operand.
    """
    problem = operand_problem(inputs, constants)
    if problem is not None:
        raise ValueError(problem)
    period = next((inputs[i].rows for i in fixed), 1)
    columns = out.channels

    def run(activations: Sequence[Array]) -> Array:
        samples = activations[0].shape[0]
        planes = samples * out.rows // period
        remaining = iter(activations)
        operands = []
        for i, format in enumerate(inputs[:2]):
            if i in fixed:
                operands.append(fixed[i].reshape(1, period, columns))
                continue
            value = next(remaining)
            if format.rows != out.rows:
                value = np.broadcast_to(value, (samples, *out.shape))
            operands.append(value.reshape(planes, period, columns))
        y = np.empty((planes, period, columns), dtype=np.float32)
        for plane, rows in plane_blocks(planes, period, columns):
            block([o[plane if i not in fixed else slice(0, 1), rows] for i, o in enumerate(operands)], y[plane, rows])
        return y.reshape(samples, *out.shape)

    return run


def operand_registers(inputs: Sequence[Format], constants: Constants, out: Format) -> list[Register]:
    """What holds the operands and the result; b is the constant one, if there is one."""
    second = 0 if 0 in constants else 1
    a, b = (value_range(inputs[i], constants.get(i)) for i in (1 - second, second))
    elements = [a] if constants and constants[second].size == out.channels else [a, b]
    return [
        *(Register(name, widths.ELEMENT, *operand) for name, operand in zip("ab", elements, strict=False)),
        Register("b as a factor", widths.MULTIPLIER, *b),
        Register("b as an integer", widths.ACCUMULATOR, *b),
        element_register("output", out),
    ]


def lower_elementwise(
    operation: int,
    operands: Sequence[Format],
    constants: Constants,
    out: Format,
    extra: Mapping[str, int],
    context: LoweringContext,
) -> list[Instruction]:
    """The instruction for two operands; ``extra`` gives multipliers, shifts and offset.

    A constant comes from the weight stream as operand b (its scaling in ``extra`` is ``multiplier_b``, ``shift_b``, whichever
    operand it is): a single row is sent once, several are repeated to the rows of the output. Requantization passes its
    multipliers, one a channel, as the constant operand 1.
    """
    require_channels(context, out.channels)
    require_rows(context, out.rows)
    problem = operand_problem(operands, constants)
    context.require(problem is None, problem or "")
    fixed = next(iter(constants), None)
    first, second = (1, 0) if fixed == 0 else (0, 1)
    values = dict.fromkeys(ELEMENTWISE.names, 0)
    stream = (0, 0)
    for name, index in (("a", first), ("b", second)):
        if index != fixed:
            context.require(context.storage(index) != NIBBLES, "elementwise operators take rows of whole bytes")
            values |= {name: context.address(index), f"{name}_storage": context.storage(index)}
        values |= {f"{name}_rows": operands[index].rows, f"{name}_signed": int(operands[index].signed)}
    if fixed is not None:
        rows = constants[fixed].reshape(-1, out.channels)
        if len(rows) == 1:
            values["b_source"] = ROW
            stream = context.stream("operand row", rows.astype(np.int32))
        else:
            values["b_source"] = ROWS
            stream = context.stream("operand rows", _constant_rows(rows, out))
    context.require(context.output_storage() != NIBBLES, "elementwise operators make rows of whole bytes")
    values |= {
        "operation": operation,
        "rows": out.rows,
        "columns": out.channels,
        "y": context.output_address(),
        "y_bits": out.bits,
        "y_storage": context.output_storage(),
        "y_signed": int(out.signed),
    }
    return [Instruction(ELEMENTWISE, values | dict(extra), stream)]


def _constant_rows(rows: IntArray, out: Format) -> Array:
    """Rows repeated to those of the output, in 16-bit elements and whole lines."""
    padded = np.zeros((out.rows, round_up(out.channels, CONSTANT_ELEMENTS)), dtype=np.uint16)
    padded[:, : out.channels] = np.tile(rows, (out.rows // len(rows), 1)).astype(np.uint16)
    return padded


def phases(values: Mapping[str, int], architecture: Architecture) -> int:
    """Iterations of a chunk: two where both operands lie in the same memory, a stream word each where constant rows arrive."""
    if values["b_source"] == ROWS:
        return max(1, 2 * architecture.vector // architecture.stream_bytes)
    same = (values["a"] < architecture.narrow_lines) == (values["b"] < architecture.narrow_lines)
    return 2 if values["b_source"] == SCRATCH and same else 1


class ElementwiseOperator(VectorUnit, Operator):
    """What every operator of the elementwise unit states alike."""

    header: ClassVar[str] = "elementwise.hpp"
    instruction: ClassVar[InstructionLayout] = ELEMENTWISE
    counters: ClassVar[tuple[str, ...]] = ("elementwise", "parameters")
    codes: ClassVar[Mapping[str, int]] = {
        "ELEMENTWISE_ADD": ADD,
        "ELEMENTWISE_MULTIPLY": MULTIPLY,
        "ELEMENTWISE_REQUANTIZE": REQUANTIZE,
        "OPERAND_SCRATCH": SCRATCH,
        "OPERAND_ROW": ROW,
        "OPERAND_ROWS": ROWS,
        "ELEMENTWISE_ROWS_BITS": ELEMENTWISE.bits("rows"),
        "ELEMENTWISE_COLUMNS_BITS": ELEMENTWISE.bits("columns"),
    }
    widens: ClassVar[bool] = True

    def row_split(self, inputs: Sequence[Format], constants: Collection[int]) -> RowSplit | None:
        rows = self.infer(inputs).rows
        operands = [i for i, port in enumerate(self.ports) if not port.constant]
        whole = tuple(i for i in operands if inputs[i].rows == rows)
        repeated = tuple(i for i in operands if inputs[i].rows != rows)
        return RowSplit(rows, whole, repeated, math.lcm(*(inputs[i].rows for i in repeated)))

    def overwritable(self, inputs: Sequence[Format]) -> tuple[int, ...]:
        rows = self.infer(inputs).rows
        return tuple(i for i, port in enumerate(self.ports) if not port.constant and inputs[i].rows == rows)

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """One loop over the chunks of all rows; a constant row is loaded before it. Constant rows count whole lines."""
        columns = values["columns"]
        if values["b_source"] == ROWS:
            columns = round_up(columns, CONSTANT_ELEMENTS)
        trips = values["rows"] * ceil_div(columns, architecture.vector) * phases(values, architecture)
        loops = {"elementwise": Loop(trips, depth=CHUNK_DEPTH)}
        if values["b_source"] == ROW:
            loops = {"parameters": Loop(stream_words(4 * columns, architecture), depth=LOAD_DEPTH)} | loops
        return Cycles(loops)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """The lanes (hw/lanes.py) with their two ways out of a line and one into it, and what they have in common.

        A lane chooses its parameter among those of a word of the stream and of the banks, one of which is registered; a parameter
        of 18 bits for each channel lies in LUT memory. Which places decide ties is decoded once for all lanes. Chunks are counted
        by a product of 21 x 18 bits; addresses and counters are twelve numbers.
        """
        v, rows, columns = architecture.vector, field_widths.ROWS.bits, field_widths.CHANNELS.bits
        element, multiplier = widths.ELEMENT.bits, widths.MULTIPLIER.bits
        banks, _ = parameter_banks(architecture, 4)
        word_elements = architecture.stream_bytes // 2
        choices = mux_luts(banks // v, multiplier) + mux_luts(max(1, word_elements // v), element) + mux_luts(2, multiplier)
        parameters = banks * lutram_luts(multiplier, architecture.max_channels // banks, architecture.dsp_bits)
        unit = elementwise_lane(architecture.dsp_bits) * v + read_logic(architecture) * 2 + write_logic(architecture)
        kept = element * max(v, word_elements)
        return Resources(
            dsp=unit.dsp + multiplier_dsps(rows + 1, columns + 1),
            lut=unit.lut + v * choices + widths.OPERAND_PRODUCT.bits + parameters + 12 * adder_luts(rows),
            ff=unit.ff + v * registers(multiplier) + kept + 12 * rows,
            bram36=0,
            uram=0,
        )
