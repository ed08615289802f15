"""Operators whose output is part of the residual stream: wide, with one scale and no zero point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from edgeflow.hw.graph import Node, QType
from edgeflow.quant.canonical.base import Commutes, Constants, FloatOperator, Shape, Training
from edgeflow.quant.canonical.contexts import Export, Formats, Wanted
from edgeflow.quant.formats.interpretation import Interpretation
from edgeflow.quant.nodes import input_name


class StreamOperator(FloatOperator):
    """What they share."""

    domain = ""
    attributes: ClassVar[tuple[str, ...]] = ()
    bodies: ClassVar[Mapping[str, str]] = {}
    commutes = Commutes.NO
    constants = Constants.FIXED
    training = Training.REAL

    def check(self, shape: Shape) -> str | None:
        return None

    def make(self, plan: Formats, wanted: Wanted) -> Interpretation:
        return Interpretation(plan.stream(wanted.name))

    def make_apart(self, plan: Formats, name: str) -> Interpretation:
        return Interpretation(plan.stream(name))

    def provides(self, plan: Formats, qtype: QType) -> bool:
        return not isinstance(qtype.scale, tuple) and (qtype.zero_point == 0 or plan.in_epilogue(self.node))

    def export(self, export: Export, maker: Node | None) -> list[str] | str:
        return [export.operand(self.node, i) for i in range(len(self.node.inputs)) if input_name(self.node, i) is not None]
