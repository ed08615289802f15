"""The two ways in which an ONNX file writes a quantizer: QuantizeLinear and DequantizeLinear, or QONNX's Quant.

Both give the same real values. QDQ stores integer words; QONNX (arXiv 2206.07527) stores the real values that they stand for, with
the format beside them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.graph import QType, Rounding
from edgeflow.quant.formats.exact_constants import EXACT
from edgeflow.quant.formats.prequantized import format_entry

QONNX_DOMAIN = "qonnx.custom_op.general"
MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice")  # that onnxruntime moves a DequantizeLinear past
WIDEST = 16  # bits of the widest integers that QuantizeLinear makes


_TYPES = {
    (4, True): TensorProto.INT4,
    (4, False): TensorProto.UINT4,
    (8, True): TensorProto.INT8,
    (8, False): TensorProto.UINT8,
    (16, True): TensorProto.INT16,
    (16, False): TensorProto.UINT16,
}


class Form(ABC):
    """An ONNX graph under construction, and how quantizers are written in it."""

    opset: ClassVar[int]
    domains: ClassVar[tuple[tuple[str, int], ...]] = ()

    def __init__(self, reserved: Sequence[str]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.exact: dict[str, NDArray[np.float64]] = {}
        """What initializers were before they were rounded to float32."""
        self._taken = set(reserved)

    def name(self, wanted: str) -> str:
        """A name that nothing else in the file has."""
        candidate, i = wanted, 2
        while candidate in self._taken:
            candidate, i = f"{wanted}_{i}", i + 1
        self._taken.add(candidate)
        return candidate

    def initializer(self, name: str, array: Array) -> str:
        """Add a constant; returns its name."""
        name = self.name(name)
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def rounded(self, name: str, array: NDArray[np.float64]) -> str:
        """Add a constant in float32, and remember what it was; returns its name."""
        name = self.initializer(name, array.astype(np.float32))
        self.exact[name] = array
        return name

    def node(self, op: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        """Add a node named after its output, which must be a name of :meth:`name`; returns the output."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], name=f"{output}/{op}", domain=domain, **attributes))
        return output

    def note(self, entry: Mapping[str, Any]) -> None:
        """Record on the last node, which ends a quantizer, the quantizer's format in EdgeFlow's own numbers."""
        self.nodes[-1].metadata_props.add(key=EXACT, value=json.dumps(dict(entry)))

    @abstractmethod
    def quantizer(self, x: str, qtype: QType, output: str) -> None:
        """Put the real values of ``x`` on the grid of a format; scales per channel are those of the last axis."""

    @abstractmethod
    def constant(self, words: IntArray, qtype: QType, axis: int | None, name: str) -> str:
        """The real values of words of a format, whose scales are those of an axis (None: one scale); returns their name."""

    def settle(self, model: ir.Model) -> None:  # noqa: B027 (most forms need none)
        """Last changes to the whole file, made of standard operators by now."""


class Qdq(Form):
    """Standard operators: QuantizeLinear, a Clip where the format has fewer bits than its type, DequantizeLinear."""

    opset = 21

    def quantizer(self, x: str, qtype: QType, output: str) -> None:
        width = 8 if qtype.bits <= 8 else 16
        dtype = helper.tensor_dtype_to_np_dtype(_TYPES[width, qtype.signed])
        ends = {"low": qtype.minimum, "high": qtype.maximum}
        if qtype.bits < width == 16:  # onnxruntime clips no integers of 16 bits
            bounds = {what: np.array((end - qtype.zero_point) * qtype.scales, np.float32) for what, end in ends.items()}
            x = self._clip(x, bounds, output)
        scale = self.initializer(f"{output}/scale", qtype.scales.astype(np.float32))
        zeros = self.initializer(f"{output}/zero_point", np.full(qtype.scales.shape, qtype.zero_point, dtype))
        axis: dict[str, Any] = {"axis": -1} if qtype.scales.ndim else {}
        words = self.node("QuantizeLinear", [x, scale, zeros], self.name(f"{output}/words"), **axis)
        if qtype.bits < width == 8:
            words = self._clip(words, {what: np.array(end, dtype) for what, end in ends.items()}, output)
        self.node("DequantizeLinear", [words, scale, zeros], output, **axis)

    def constant(self, words: IntArray, qtype: QType, axis: int | None, name: str) -> str:
        dtype = helper.tensor_dtype_to_np_dtype(_TYPES[next(w for w in (4, 8, 16) if qtype.bits <= w), qtype.signed])
        operands = [self.initializer(f"{name}/words", words.astype(dtype))]
        operands.append(self.initializer(f"{name}/scale", qtype.scales.astype(np.float32)))
        if qtype.zero_point:
            operands.append(self.initializer(f"{name}/zero_point", np.full(qtype.scales.shape, qtype.zero_point, dtype)))
        along: dict[str, Any] = {} if axis is None else {"axis": axis}
        output = self.node("DequantizeLinear", operands, self.name(name), **along)
        self.note(format_entry(qtype))
        return output

    def settle(self, model: ir.Model) -> None:
        """Repeat quantizers behind data movement.

        onnxruntime (1.31) moves a DequantizeLinear past data movement and gives the QuantizeLinear that it adds there an
        output type, which its own change from int8 to uint8 then contradicts: it refuses the model. Where the movement ends in the
        same quantizer it adds nothing.
        """
        for node in list(model.graph):
            if node.op_type == "DequantizeLinear" and "axis" not in node.attributes and _computed(node.inputs[0]):
                _repeat(model.graph, node, node.outputs[0], moved=False)

    def _clip(self, x: str, bounds: Mapping[str, Array], output: str) -> str:
        names = [self.initializer(f"{output}/{what}", bound) for what, bound in bounds.items()]
        return self.node("Clip", [x, *names], self.name(f"{output}/clipped"))


class Qonnx(Form):
    """QONNX: one Quant for each quantizer."""

    opset = 20
    domains = ((QONNX_DOMAIN, 1),)

    def quantizer(self, x: str, qtype: QType, output: str) -> None:
        self._quant(x, qtype, qtype.scales, output)

    def constant(self, words: IntArray, qtype: QType, axis: int | None, name: str) -> str:
        shape = [1] * words.ndim
        if axis is not None:
            shape[axis] = -1
        scale = qtype.scales.reshape(shape)
        real = self.initializer(f"{name}/real", ((words - qtype.zero_point) * scale).astype(np.float32))
        output = self.name(name)
        self._quant(real, qtype, scale, output)
        self.note(format_entry(qtype))
        return output

    def _quant(self, x: str, qtype: QType, scale: NDArray[np.float64], output: str) -> None:
        values = {"scale": scale, "zero_point": qtype.zero_point, "bits": qtype.bits}
        operands = [self.initializer(f"{output}/{what}", np.asarray(value, np.float32)) for what, value in values.items()]
        mode = "HALF_UP" if qtype.rounding is Rounding.HALF_UP else "ROUND"
        attributes: dict[str, Any] = {"signed": int(qtype.signed), "narrow": 0, "rounding_mode": mode}
        self.node("Quant", [x, *operands], output, QONNX_DOMAIN, **attributes)


def _repeat(graph: ir.Graph, quantizer: ir.Node, value: ir.Value, moved: bool) -> None:
    """Put a copy of the quantizer that ends in ``quantizer`` between moved values and everything else that reads them."""
    ends = []
    for node, index in list(value.uses()):
        if node.op_type in MOVES and index == 0:
            _repeat(graph, quantizer, node.outputs[0], moved=True)
        elif node.op_type != "QuantizeLinear":
            ends.append((node, index))
    before = value.producer()
    if not moved or not ends or before is None:
        return
    for copied in _chain(quantizer):
        operands = [value if i == 0 else operand for i, operand in enumerate(copied.inputs)]
        copy = ir.node(copied.op_type, operands, attributes=dict(copied.attributes), name=f"{before.name}/{copied.op_type}")
        if EXACT in copied.metadata_props:
            copy.metadata_props[EXACT] = json.dumps({**json.loads(copied.metadata_props[EXACT]), "inside": True})
        if copied.outputs[0].type is not None:
            copy.outputs[0].shape, copy.outputs[0].type = value.shape, copied.outputs[0].type
        graph.insert_after(before, copy)
        before, value = copy, copy.outputs[0]
    for node, index in ends:
        node.replace_input_with(index, value)


def _computed(value: ir.Value | None) -> bool:
    return value is not None and value.producer() is not None


def _chain(last: ir.Node) -> list[ir.Node]:
    """The nodes of a quantizer from QuantizeLinear on."""
    nodes = [last]
    while nodes[0].op_type != "QuantizeLinear":
        operand = nodes[0].inputs[0]
        before = None if operand is None else operand.producer()
        assert before is not None
        nodes.insert(0, before)
    return nodes
