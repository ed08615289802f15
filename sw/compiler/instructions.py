"""The instructions of one operation, whose operands have their places."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Format, Node
from edgeflow.hw.ops.base import FieldError, Instruction, Packed
from edgeflow.hw.program import pack_rows
from edgeflow.sw.compiler.network import OUTPUT, Operation
from edgeflow.sw.compiler.weight_image import Image


@dataclass(frozen=True)
class Operand:
    """Where one operand of an operation starts, and how it is stored."""

    line: int
    storage: int


class NodeContext:
    """The :class:`~edgeflow.hw.ops.base.LoweringContext` of one operation."""

    def __init__(self, operation: Operation, operands: Mapping[int, Operand], architecture: Architecture, image: Image) -> None:
        self._operation = operation
        self._operands = operands
        self._architecture = architecture
        self._image = image

    @property
    def architecture(self) -> Architecture:
        return self._architecture

    @property
    def first_row(self) -> int:
        return self._operation.first_row

    def address(self, index: int) -> int:
        return self._operands[index].line

    def output_address(self) -> int:
        return self._operands[OUTPUT].line

    def storage(self, index: int) -> int:
        return self._operands[index].storage

    def output_storage(self) -> int:
        return self._operands[OUTPUT].storage

    def place(self, what: str, data: Array) -> int:
        return self._image.place(f"{self._operation.node.output}/{what}", data)

    def place_rows(self, what: str, data: IntArray, format: Format) -> int:
        return self.place(what, pack_rows(data, format))

    def stream(self, what: str, *data: Array | Packed) -> tuple[int, int]:
        return self._image.stream(f"{self._operation.node.output}/{what}", *data)

    def require(self, condition: bool, message: str) -> None:
        require(condition, self._operation.node, message)


def require(condition: bool, node: Node, message: str) -> None:
    """UnsupportedError that names the node, unless ``condition`` holds."""
    if not condition:
        raise UnsupportedError(f"node {node.origin} ({node.op}): {message}")


def instructions(
    operation: Operation, operands: Mapping[int, Operand], architecture: Architecture, image: Image
) -> list[Instruction]:
    """The instructions that compute an operation (or a block of its rows), with ``operands`` in their places.

    What they take from the weight image is handed to ``image``. UnsupportedError if the accelerator cannot run the operation.
    """
    context = NodeContext(operation, operands, architecture, image)
    try:
        return operation.operator.lower(operation.formats, operation.parameters, context)
    except FieldError as error:
        raise UnsupportedError(f"node {operation.node.origin} ({operation.node.op}): {error}") from error
