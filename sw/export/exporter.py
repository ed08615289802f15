"""The float model with the integer graph's words and formats in it: weights as integers, every activation through its quantizer.

Where tensors have an offset per channel, the exported value is the float model's less the offset, as in the integer graph: the
producer's bias takes it off, and readers have it in theirs. Attention's probabilities, normalization and activation functions are
computed in float between quantizers.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import helper
from onnx_ir.passes.common import InlinePass, LiftConstantsToInitializersPass, RemoveUnusedNodesPass
from onnxscript.optimizer import fold_constants

from edgeflow.hw.arrays import IntArray, Real
from edgeflow.hw.errors import ModelError
from edgeflow.hw.graph import Node, Overflow, QType
from edgeflow.hw.layer_names import attention_roles, layer_names
from edgeflow.quant.canonical.base import Constants, FloatOperator, Training, operator
from edgeflow.quant.canonical.linear import linear_layer
from edgeflow.quant.canonical.session import MAXIMUM_IR_VERSION
from edgeflow.quant.formats.exact_constants import set_exact
from edgeflow.quant.formats.interpretation import Correspondence
from edgeflow.quant.formats.prequantized import format_entry
from edgeflow.quant.nodes import ORIGIN, origin, output_name, required_input
from edgeflow.sw.export.forms import WIDEST, Form
from edgeflow.sw.export.renaming import Renaming, rename
from edgeflow.sw.export.tensor_matching import Readings
from edgeflow.sw.importer.functions import function

MOVED = ("reshape", "transpose", "select")  # integer nodes whose output has the words, and so the quantizer, of their input
WEIGHT, BIAS, MULTIPLIER = 1, 2, 3  # inputs of an integer linear layer
CALL = "edgeflow.call"  # metadata of a node while functions are inlined: its name, or that of the node that called it
LARGEST = 2_000_000_000  # bytes of a protobuf message, next to its limit


@dataclass(frozen=True)
class Layer:
    """A linear layer in real numbers: ``words (N, K)`` times ``step`` over the input's scales, and a bias ``(N,)``."""

    words: IntArray
    step: Real
    bias: Real
    x_scale: Real


class Exporter:
    """One export of a canonical model in one form."""

    def __init__(self, readings: Readings, indices: Mapping[str, QType], form: Form) -> None:
        self._readings = readings
        self._float = readings.model
        self._indices = indices
        self._form = form
        self._exact: dict[str, str] = {}  # values before their quantizer
        self._real: dict[str, str] = {}  # what integer tensors stand for
        self._constants: dict[str, str] = {}  # of the float model
        self._weight_bits: Counter[int] = Counter()  # layers by bits
        self._activation_bits: Counter[int] = Counter()  # quantizers by bits
        self._shapes: dict[str, ir.Shape] = {}
        self._roles, self._names = attention_roles(readings.graph), layer_names(readings.graph)
        self._renamings: list[Renaming] = []

    def run(self, facts: Mapping[str, str]) -> onnx.ModelProto:
        """The model, without EdgeFlow's own functions; ``facts`` become its metadata, beside the bits of layers and tensors."""
        graph = self._float.model.graph
        for value in graph.inputs:
            self._exact[str(value.name)] = str(value.name)
        for op in self._float.operators:
            if op.repeated_constant() is None:
                self._node(op)
        for name in self._float.outputs:
            if name in self._float.inputs:  # one name for both: in a file it leaves as it comes
                continue
            tensor = self._readings.tensor(name)
            assert tensor is not None
            exported = self._tensor(tensor)
            if exported != name:  # an input that leaves as it is
                self._form.node("Identity", [exported], name)
        return self._proto(facts)

    # Operands

    def _tensor(self, tensor: str) -> str:
        """The real values of an integer tensor, less its offset."""
        if tensor not in self._real:
            self._real[tensor] = self._quantized(tensor)
        return self._real[tensor]

    def _quantized(self, tensor: str) -> str:
        readings, value = self._readings, self._readings.value(tensor)
        assert value is not None
        maker, qtype = readings.makers.get(tensor), readings.format(tensor)
        if tensor != readings.tensor(value):
            assert maker is not None
            source = maker.inputs[0]
            if readings.format(source) == qtype:  # padded
                return self._tensor(source)
            return self._quantizer(self._tensor(source), tensor, self._form.name(tensor), value)
        exact = self._exact[value]
        if maker is not None and maker.op in MOVED:
            return exact
        if qtype.bits > WIDEST or qtype.overflow is Overflow.ERROR:
            return exact
        op = self._float.operator(value)
        inner = maker if maker is None or op is None else op.integer_maker(maker, readings.makers)
        if inner is not None and inner is not maker:
            exact = self._quantizer(exact, inner.output, self._form.name(f"{value}/padded"), value, {"inside": True})
        name = self._form.name(f"{value}/quantized") if value in self._float.inputs else value
        return self._quantizer(exact, tensor, name, value, self._described(tensor, value))

    def _quantizer(self, x: str, tensor: str, name: str, value: str, more: Mapping[str, Any] = MappingProxyType({})) -> str:
        """The quantizer of a tensor, with the tensor's format as it is and ``more`` beside it."""
        start, qtype = len(self._form.nodes), self._readings.format(tensor)
        self._form.quantizer(x, qtype, name)
        self._activation_bits[qtype.bits] += 1
        producer = self._float.producers.get(value)
        self._note_origin(start, value if producer is None else origin(producer))
        self._form.note({**format_entry(self._readings.channel_format(tensor)), **more})
        self._note_shape(name, value)
        return name

    def _described(self, tensor: str, value: str) -> dict[str, Any]:
        """What an activation function has beside its format: an offset, and the format that its table is indexed in."""
        op, facts = self._float.operator(value), dict[str, Any]()
        if op is None or not op.tabulated:
            return facts
        offset, maker = self._offset(value), self._readings.makers[tensor]
        if offset is not None:
            facts["offset"] = float(offset[0])
        index = self._indices.get(op.input(0))
        if maker.op == "table":
            index = self._readings.graph.tensors[maker.inputs[0]].qtype
        if index is not None:
            facts["index"] = format_entry(index)
        return facts

    def operand(self, node: ir.Node, index: int) -> str:
        """What an exported node reads as its input ``index``."""
        name = required_input(node, index)
        tensor = self._readings.operand(node, index)
        if tensor is None:
            array = self._float.constant(name)
            return self._exact[name] if array is None else self._constant(name, array)
        if tensor not in self._readings.graph.constants:
            return self._tensor(tensor)
        words, qtype = self._readings.graph.constants[tensor], self._readings.graph.tensors[tensor].qtype
        joined = operator(node).constants is Constants.JOINED
        real = self._form.constant(words[None] if joined else words, qtype, None, tensor)
        if not joined:
            return real
        spread = self._form.name(f"{tensor}/tokens")
        return self._form.node("ConstantTokens", [self._float.inputs[0], real], spread, "edgeflow")

    def _constant(self, name: str, array: NDArray[Any]) -> str:
        if name not in self._constants:
            self._constants[name] = self._form.initializer(name, array)
        return self._constants[name]

    # Nodes

    def _note_origin(self, start: int, name: str) -> None:
        """Have the nodes from ``start`` on say which node of the original file, or which input, they come from."""
        for node in self._form.nodes[start:]:
            if all(entry.key != ORIGIN for entry in node.metadata_props):
                node.metadata_props.add(key=ORIGIN, value=name)

    def _node(self, op: FloatOperator) -> None:
        start = len(self._form.nodes)
        operands = op.export(self, self._readings.maker(op.node))
        self._exact[op.output] = operands if isinstance(operands, str) else self._emit(op, operands)
        self._finish(op.output)
        self._note_origin(start, origin(op.node))

    def _emit(self, op: FloatOperator, inputs: list[str]) -> str:
        node, output = op.node, op.output
        tensor, offset = self._readings.tensor(output), self._offset(output)
        name = self._form.name(f"{output}/float") if self._renamed(tensor) else output
        attributes = [ir.to_proto(attribute) for attribute in node.attributes.values()]
        proto = helper.make_node(node.op_type, inputs, [name], name=node.name, domain=node.domain, overload=node.overload or None)
        proto.attribute.extend(attributes)
        self._form.nodes.append(proto)
        self._note_shape(name, output)
        if offset is None or not op.tabulated or not offset.any():
            return name
        constant = self._form.initializer(f"{output}/offset", np.asarray(offset[0], np.float32))  # the same for all channels
        return self._form.node("Sub", [name, constant], self._form.name(f"{output}/less_offset"))

    def _finish(self, output: str) -> None:
        """The quantizer of a value right behind its node."""
        tensor = self._readings.tensor(output)
        if tensor is not None:
            self._tensor(tensor)

    def _renamed(self, tensor: str | None) -> bool:
        """Whether a quantizer follows, which takes the value's name."""
        if tensor is None:
            return False
        maker, qtype = self._readings.makers[tensor], self._readings.format(tensor)
        return maker.op not in MOVED and qtype.bits <= WIDEST

    def exact(self, name: str) -> str:
        """The exported value of a float value before its quantizer."""
        return self._exact[name]

    def absorbed(self, name: str) -> bool:
        """Whether a value is the output of a linear layer that its only reader absorbs."""
        maker = self._float.operator(name)
        return maker is not None and maker.training is Training.LAYER and self._readings.tensor(name) is None

    def _offset(self, value: str) -> Real | None:
        tensor = self._readings.tensor(value)
        return None if tensor is None else self._readings.correspondence[tensor].offset

    def _note_shape(self, name: str, value: str) -> None:
        """Remember that ``name`` has the shape of a float value, where that is known."""
        producer = self._float.producers.get(value)
        float_value = (
            producer.outputs[0] if producer is not None else next(v for v in self._float.model.graph.inputs if v.name == value)
        )
        if float_value.shape is not None:
            self._shapes[name] = float_value.shape

    # Parameters

    def shifted_bias(self, node: ir.Node, index: int) -> str:
        """A constant operand that is added to the output, less the offset of the output's format."""
        offset = self._offset(output_name(node))
        bias = self._float.parameter(node, index) - (0.0 if offset is None else offset)
        return self._form.rounded(f"{output_name(node)}/bias", np.asarray(bias))

    def table(self, node: ir.Node, maker: Node) -> str:
        """The table of an embedding, with the words of its integer node."""
        constants, out = self._readings.graph.constants, self._readings.graph.tensors[maker.output].qtype
        shift = maker.attributes["shift"]
        assert isinstance(shift, int)
        scale = constants[maker.inputs[2]] * 2.0**-shift * out.scales
        return self._form.constant(constants[maker.inputs[1]], _weights(8, scale), 0, f"{output_name(node)}/table")

    def layer_parameters(self, node: ir.Node, maker: Node) -> list[str]:
        """Weight and bias of a linear layer, with the words of its integer node."""
        name, layer, linear = output_name(node), self._layer(node, maker), linear_layer(node)
        bits = self._readings.graph.tensors[maker.inputs[WEIGHT]].qtype.bits
        self._weight_bits[bits] += 1
        if maker.output in self._roles and name not in self._float.outputs:
            self._renamings.append(Renaming(str(node.name), name, origin(node), self._names[maker.output]))
        bias = self._form.rounded(f"{name}/bias", layer.bias)
        shape = self._float.constant(required_input(node, 1)).shape  # type: ignore[union-attr]
        words, axis = np.ascontiguousarray(linear.weight_of(layer.words.T, shape)), linear.output_axis
        if not layer.x_scale.ndim:
            return [self._form.constant(words, _weights(bits, layer.step / layer.x_scale), axis, f"{name}/weight"), bias]
        folded = self._form.constant(words, _weights(bits, layer.step), axis, f"{name}/weight")
        inverse = self._form.initializer(f"{name}/input_scale", (1.0 / layer.x_scale)[:, None].astype(np.float32))
        return [self._form.node("Mul", [folded, inverse], self._form.name(f"{name}/weight/unfolded")), bias]

    def _layer(self, node: ir.Node, maker: Node) -> Layer:
        readings, constants = self._readings, self._readings.graph.constants
        x = self._readings.operand(node, 0)
        assert x is not None
        x_type, x_channels = readings.format(x), _channels(readings.correspondence.get(x))
        words, bias, multiplier = (constants[maker.inputs[i]] for i in (WEIGHT, BIAS, MULTIPLIER))
        rows = _channels(readings.correspondence.get(maker.output))
        if rows is not None:
            words, bias, multiplier = words[rows], bias[rows], multiplier[rows]
        if x_channels is not None:
            words = words[:, x_channels]
        y = self._indices[output_name(node)] if maker.attributes["has_table"] else readings.format(maker.output)
        shift = maker.attributes["shift"]
        assert isinstance(shift, int)
        # What the integers compute: y = (sum (x - z) w + z sum w + bias) multiplier / 2^shift in steps of the output's format.
        step = multiplier * 2.0**-shift * y.scales
        constant = (bias + x_type.zero_point * words.sum(axis=1)) * step - y.zero_point * y.scales
        return Layer(words, step, constant, x_type.scales)

    # The file

    def _proto(self, facts: Mapping[str, str]) -> onnx.ModelProto:
        form, model = self._form, self._float.model
        size = sum(len(tensor.raw_data) for tensor in form.initializers)
        if size > LARGEST:
            raise ModelError(f"the exported model has {size / 1e9:.1f} GB of constants: a single ONNX file holds 2 GB at most")
        domains = sorted({node.domain for node in form.nodes} - {""} - {domain for domain, _ in form.domains})
        opsets = [("", form.opset), *form.domains, *((domain, 1) for domain in domains)]
        ends = [ir.to_proto(value) for value in (*model.graph.inputs, *model.graph.outputs)]
        count = len(model.graph.inputs)
        graph = helper.make_graph(form.nodes, model.graph.name or "model", ends[:count], ends[count:], form.initializers)
        known = {value.name for value in ends}
        for name, shape in self._shapes.items():
            if name not in known:
                axes = [size if isinstance(size, int) else size.value for size in shape]
                graph.value_info.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, axes))
        imports = [helper.make_opsetid(*opset) for opset in opsets]
        version = metadata.version("edgeflow")
        proto = helper.make_model(graph, opset_imports=imports, producer_name="edgeflow", producer_version=version)
        proto.ir_version = MAXIMUM_IR_VERSION
        bits = {"weight_bits": _counted(self._weight_bits, "layer"), "activation_bits": _counted(self._activation_bits, "tensor")}
        helper.set_model_props(proto, {f"edgeflow.{name}": value for name, value in {**facts, **bits}.items() if value})
        return _inlined(proto, form, self._renamings)


def _inlined(proto: onnx.ModelProto, form: Form, renamings: Sequence[Renaming]) -> onnx.ModelProto:
    """The model with EdgeFlow's functions replaced by the standard operators that they are made of."""
    model = ir.from_proto(proto)
    named = {str(value.name) for node in model.graph for value in node.outputs}
    for node in model.graph:
        identifier = node.op_identifier()
        node.metadata_props[CALL] = str(node.name)
        if node.domain == "edgeflow" and identifier not in model.functions:
            body = function(node.op_type, node.overload)
            body.opset_imports[""] = model.opset_imports[""]  # what the bodies use is the same in both
            model.functions[identifier] = body
    InlinePass()(model)
    RemoveUnusedNodesPass()(model)
    _name_after_calls(model.graph, named)
    model.opset_imports.pop("edgeflow", None)
    fold_constants(model, should_fold=_about_shapes)
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    RemoveUnusedNodesPass()(model)
    form.settle(model)
    for name, value in model.graph.initializers.items():
        if name in form.exact:
            set_exact(value, form.exact[name])
    rename(model, renamings)
    exported: onnx.ModelProto = ir.to_proto(model)
    return exported


def _name_after_calls(graph: ir.Graph, named: Set[str]) -> None:
    """Name a function's nodes, and what they compute apart from the values ``named`` before, after the node that called it."""
    nodes = {str(node.name) for node in graph if node.metadata_props[CALL] == node.name}
    values = {*named, *graph.initializers, *(str(value.name) for value in graph.inputs)}
    for node in graph:
        call = node.metadata_props.pop(CALL)
        if call == node.name:
            continue
        node.name = _distinct(f"{call}/{node.op_type}", nodes)
        for value in node.outputs:
            if value.name not in named:
                value.name = _distinct(f"{call}/{re.sub(r'_[0-9]+$', '', str(value.name))}", values)


def _distinct(wanted: str, taken: set[str]) -> str:
    """A name that is not taken, and then is."""
    name, i = wanted, 2
    while name in taken:
        name, i = f"{wanted}_{i}", i + 1
    taken.add(name)
    return name


def _counted(bits: Mapping[int, int], what: str) -> str:
    return ", ".join(f"{width} ({count} {what}{'s' if count > 1 else ''})" for width, count in sorted(bits.items(), reverse=True))


def _about_shapes(node: ir.Node) -> bool:
    """Whether a node computes with constant integers alone: shapes, which every tool then sees as they are."""
    values = [ir.convenience.get_const_tensor(value) for value in node.inputs if value is not None]
    return bool(values) and all(tensor is not None and tensor.dtype == ir.DataType.INT64 for tensor in values)


def _weights(bits: int, scale: Real) -> QType:
    """The format of signed words with a scale for each output channel or row."""
    return QType(bits, True, tuple(map(float, scale)))


def _channels(known: Correspondence | None) -> NDArray[np.int64] | None:
    return None if known is None else known.channels
