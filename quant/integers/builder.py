"""Collecting the integer graph node by node, with what each tensor stands for in the float model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Attribute, Graph, Layout, Node, QType, TensorType
from edgeflow.hw.ops import operator, registry
from edgeflow.quant.formats.interpretation import Correspondence


class GraphBuilder:
    """An integer graph under construction. Every node's output type is what its operator infers."""

    def __init__(self, name: str, reserved: Sequence[str] = ()) -> None:
        self.name = name
        self._reserved = frozenset(reserved)  # names of the model's own values: constants may not take them
        self.tensors: dict[str, TensorType] = {}
        self.constants: dict[str, IntArray] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []
        self.correspondence: dict[str, Correspondence] = {}

    def input(
        self,
        name: str,
        shape: tuple[int, ...],
        qtype: QType,
        limit: int | None = None,
        attend: tuple[tuple[float, float], ...] | None = None,
    ) -> str:
        """Declare a graph input."""
        self.tensors[name] = TensorType(shape, qtype, limit=limit, attend=attend)
        self.inputs.append(name)
        return name

    def constant(self, name: str, values: NDArray[np.integer], bits: int, signed: bool = True, rows: bool = False) -> str:
        """Add a constant; ``rows`` where it is an operand with the layout of activations."""
        array = np.asarray(values, dtype=np.int64)
        name = self._unique(f"{name}_1" if name in self._reserved else name)
        self.tensors[name] = TensorType(array.shape, QType(bits, signed, 1.0), Layout.ROWS if rows else Layout.IMAGE)
        self.constants[name] = array
        return name

    def node(
        self, op: str, inputs: Sequence[str], output: str, qtype: QType, origin: str, attributes: Mapping[str, Attribute]
    ) -> str:
        """Add a node whose output has the given interpretation; attributes ``bits`` and ``signed`` are filled in from it.

        Raises UnsupportedError naming ``origin`` where the operator refuses its operands.
        """
        cls = registry()[op]
        fields = cls.__dataclass_fields__  # type: ignore[attr-defined]
        filled = {k: v for k, v in (("bits", qtype.bits), ("signed", qtype.signed)) if k in fields and k not in attributes}
        output = self._unique(output)
        node = Node(op, tuple(inputs), output, {**attributes, **filled}, origin)
        try:
            format = operator(node).infer([self.tensors[name].format for name in inputs])
        except ValueError as error:
            raise UnsupportedError(f"{origin}: the accelerator's {op} cannot express it: {error}") from error
        if (format.bits, format.signed) != (qtype.bits, qtype.signed):
            raise AssertionError(f"{origin}: {op} makes {format}, not {qtype.bits} bits")
        self.tensors[output] = TensorType(format.shape, qtype)
        self.nodes.append(node)
        return output

    def stands_for(self, tensor: str, correspondence: Correspondence) -> None:
        """Record the float tensor behind an integer tensor."""
        self.correspondence[tensor] = correspondence

    def graph(self, outputs: Sequence[str]) -> Graph:
        """The finished graph."""
        return Graph(self.name, tuple(self.inputs), tuple(outputs), self.tensors, self.constants, tuple(self.nodes))

    def _unique(self, name: str) -> str:
        candidate, i = name, 2
        while candidate in self.tensors:
            candidate, i = f"{name}_{i}", i + 1
        return candidate
