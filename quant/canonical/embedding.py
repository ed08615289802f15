"""Embedding tables: int8 rows with a multiplier each."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Attribute, Node
from edgeflow.quant.canonical.base import Operand, Role, parameter, register
from edgeflow.quant.canonical.contexts import Conversion, Export
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.canonical.stream import StreamOperator
from edgeflow.quant.formats.interpretation import Demand
from edgeflow.quant.formats.prequantized import fixed_format
from edgeflow.quant.integers.parameters import as_words
from edgeflow.quant.nodes import DOMAIN

if TYPE_CHECKING:
    from torch import Tensor

TABLE_BITS = 8
ROW_LIMIT = (1 << (TABLE_BITS - 1)) - 1


class Table(StreamOperator):
    """What embeddings share: rows of a constant table, onto the wide grid of the output."""

    domain = DOMAIN
    operands = (Operand("ids", Demand.CONTROL, Role.IDS), parameter("table"))

    @abstractmethod
    def integer_operator(self) -> tuple[str, dict[str, Attribute]]:
        """The integer operator, and the attributes that it has besides the shift."""

    def export(self, export: Export, maker: Node | None) -> list[str] | str:
        table = export.operand(self.node, 1) if maker is None else export.table(self.node, maker)
        return [export.operand(self.node, 0), table]

    def convert(self, context: Conversion) -> None:
        ids, output = self.input(0), self.output
        if not context.is_input(ids):
            raise UnsupportedError(f"{self.origin}: token ids must be an input of the model, not computed")
        out = context.chosen(output).qtype
        table = context.parameter(self.node, 1)
        row_format = fixed_format(self.node, 1)
        scale = np.maximum(np.abs(table).max(axis=1), 1e-12) / ROW_LIMIT if row_format is None else row_format.scales
        multiplier, shift = dyadic(scale / float(out.scales), context.config.short_multiplier_bits)
        # A row of zeros (that of the padding id), or one too small for any multiplier, takes the smallest: a scale of 0 is no
        # format.
        vanishing = multiplier == 0
        multiplier[vanishing], scale[vanishing] = 1, float(out.scales) / 2.0**shift
        rows = context.add_constant(f"{output}/table", as_words(table / scale[:, None]), TABLE_BITS)
        multipliers = context.add_constant(f"{output}/multiplier", multiplier, 32)
        op, more = self.integer_operator()
        inputs = [context.tensor(ids), rows, multipliers]
        context.set(output, context.add_node(op, inputs, output, out, self.origin, {"shift": shift, **more}))


@register
class Embedding(Table):
    """A gather of table rows by token id."""

    name = "Embedding"
    description = "rows of table (V, D) at integer ids (batch, ...)"
    bodies: ClassVar[Mapping[str, str]] = {
        "": """(ids, table) => (y) {
            y = Gather <axis = 0> (table, ids)
        }"""
    }
    weighted = True

    def table_rows(self) -> int | None:
        value = self.node.inputs[1]
        assert value is not None
        assert value.shape is not None
        rows = value.shape[0]
        return rows if isinstance(rows, int) else None

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        rows = sketch.node(cls.name, sketch.ids(7, 30), sketch.normal(30, 16))
        sketch.output(sketch.linear(rows, 16, 9), 7, 9)

    def torch(self, *operands: Tensor) -> Tensor:
        ids, table = operands
        return table[ids.long()]

    def integer_operator(self) -> tuple[str, dict[str, Attribute]]:
        return "embedding", {}


@register
class PositionEmbedding(Table):
    """A gather of table rows by position among the ids other than padding."""

    name = "PositionEmbedding"
    description = (
        "rows of table (V, D) by position among the integer ids (batch, tokens) other than padding, from padding + 1 on; padding"
        " itself has row padding"
    )
    attributes = ("padding",)
    bodies: ClassVar[Mapping[str, str]] = {
        "": """<padding> (ids, table) => (y) {
            number = Constant <value_int: int = @padding> ()
            start = CastLike (number, ids)
            empty = Equal (ids, start)
            full = Not (empty)
            kept = CastLike (full, ids)
            axis = Constant <value_int = 1> ()
            total = CumSum (kept, axis)
            count = Mul (total, kept)
            positions = Add (count, start)
            y = Gather <axis = 0> (table, positions)
        }"""
    }

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        ids = sketch.ids(7, 4)
        words = sketch.node("Embedding", ids, sketch.normal(4, 16))
        places = sketch.node(cls.name, ids, sketch.normal(12, 16), padding=1)
        sketch.output(sketch.linear(sketch.node("Add", words, places), 16, 9), 7, 9)

    def torch(self, *operands: Tensor) -> Tensor:
        ids, table = operands
        padding = self.integer("padding")
        kept = (ids.long() != padding).long()
        return table[kept.cumsum(1) * kept + padding]

    def integer_operator(self) -> tuple[str, dict[str, Attribute]]:
        return "position_embedding", {"padding": self.integer("padding")}
