"""The elementwise unit, which add, multiply and requantize share: its instruction, broadcasting, cycles and resources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from edgeflow.hw.architecture import Architecture, ceil_div, storage_bytes
from edgeflow.hw.cost import Cycles, Resources, Unknown
from edgeflow.hw.graph import Format
from edgeflow.hw.ops.base import Array, Constants, Instruction, InstructionLayout, Kernel, LoweringContext, Operator
from edgeflow.hw.ops.vector import check_row_format, plane_blocks, require_channels, row_buffer_halves, row_loop, vector_loop

ADD, MULTIPLY, REQUANTIZE = range(3)

ELEMENTWISE = InstructionLayout(
    "elementwise",
    5,
    (
        *("operation", "rows", "columns"),
        *("a", "a_constant", "a_rows", "a_bytes", "a_signed"),
        *("b", "b_constant", "b_rows", "b_bytes", "b_signed"),
        *("multiplier_a", "shift_a", "multiplier_b", "shift_b", "multipliers", "offset"),
        *("y", "y_bits", "y_bytes", "y_signed"),
    ),
)


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


def lower_elementwise(
    operation: int,
    operands: Sequence[Format],
    constants: Constants,
    out: Format,
    extra: Mapping[str, int],
    context: LoweringContext,
) -> list[Instruction]:
    """The instruction for one or two operands; ``extra`` gives multipliers, shifts and offset."""
    require_channels(context, out.channels)
    if len(operands) == 2:
        problem = operand_problem(operands, constants)
        context.require(problem is None, problem or "")
    values = dict.fromkeys(ELEMENTWISE.fields, 0)
    for i, (name, format) in enumerate(zip("ab", operands, strict=False)):
        fixed = constants.get(i)
        values |= {
            name: context.address(i) if fixed is None else context.place_rows(f"operand {name}", fixed, format),
            f"{name}_constant": int(fixed is not None),
            f"{name}_rows": format.rows,
            f"{name}_bytes": storage_bytes(format.bits),
            f"{name}_signed": int(format.signed),
        }
    values |= {
        "operation": operation,
        "rows": out.rows,
        "columns": out.channels,
        "y": context.output_address(),
        "y_bits": out.bits,
        "y_bytes": storage_bytes(out.bits),
        "y_signed": int(out.signed),
    }
    return [Instruction(ELEMENTWISE, values | dict(extra))]


class ElementwiseOperator(Operator):
    """What every operator of the elementwise unit states alike."""

    header: ClassVar[str] = "elementwise.hpp"
    instruction: ClassVar[InstructionLayout] = ELEMENTWISE

    def macs(self, inputs: Sequence[Format]) -> int:
        return 0

    @classmethod
    def template_arguments(cls, architecture: Architecture) -> dict[str, int]:
        return {}

    @classmethod
    def cycles(cls, values: Mapping[str, int], architecture: Architecture) -> Cycles:
        """Every row of every operand is loaded, computed and stored; an operand of one row is loaded once."""
        rows, columns = values["rows"], values["columns"]
        parts = {"load a": (rows if values["a_rows"] > 1 else 1) * row_loop(columns, values["a_bytes"], architecture)}
        if values["operation"] == REQUANTIZE:
            parts["load multipliers"] = row_loop(columns, 4, architecture)
        else:
            parts["load b"] = (rows if values["b_rows"] > 1 else 1) * row_loop(columns, values["b_bytes"], architecture)
        parts["compute"] = rows * vector_loop(columns, architecture)
        parts["store"] = rows * row_loop(columns, values["y_bytes"], architecture)
        return Cycles(parts)

    @classmethod
    def resources(cls, architecture: Architecture) -> Resources:
        """Each lane multiplies 17 x 17 bit (one DSP), 32 x 18 bit (two) and 17 x 18 bit (one). Memories: three rows of 17 bit and
        one of multipliers, banked."""
        halves = 3 * row_buffer_halves(architecture) + row_buffer_halves(architecture, 32)
        unknown = Unknown("no synthesis has been run for this unit")
        return Resources(4 * architecture.vector, unknown, unknown, ceil_div(halves, 2), 0)
