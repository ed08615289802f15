"""What the importer has to know of operators of ONNX, and of QONNX's quantizers, each in one place.

An operator that is not in the table computes: its outputs depend on what its operands hold, their shapes on the operands' shapes.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.sw.rewrite.base import constant, shape_of

STANDARD = ("", "ai.onnx")
"""Names of ONNX's own operator domain."""
QONNX = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
"""Operator domains of QONNX, under the names that exporters have used."""

Movement = Callable[[ir.Node, Array], list[Array | None]]
"""From a node and the indices of its source, of the source's shape, to those of every output; None where only the shape changes."""


class Quantizes(enum.Enum):
    """What a quantizer does: real to integers, integers to real, or both at once: of some bits, of one bit, by cutting bits off."""

    TO_INTEGERS = enum.auto()
    TO_REAL = enum.auto()
    BOTH = enum.auto()
    BIPOLAR = enum.auto()
    TRUNCATES = enum.auto()


class Pieces(enum.Enum):
    """How the output of an operator depends on one operand that changes while the others stay.

    ``FEW``: in a finite number of pieces, each linear. ``JOINED``: in as many pieces as its operands have together. ``REAL``: as
    ``JOINED``, for real numbers; a division of integers rounds. ``CONVERTED``: as its operand, if the conversion between types
    keeps its values. ``STEPS``: in steps without end. ``CURVED``: along a curve, whose extremes its constants do not tell.
    """

    FEW = enum.auto()
    JOINED = enum.auto()
    REAL = enum.auto()
    CONVERTED = enum.auto()
    STEPS = enum.auto()
    CURVED = enum.auto()


class Choice(enum.Enum):
    """How an operator chooses among the numbers along an axis: by the place of the best one, or the best ones and their places."""

    PLACE = enum.auto()
    BEST = enum.auto()


def _never(_: ir.Node) -> bool:
    return False


@dataclass(frozen=True)
class OnnxOperator:
    """Traits of one operator; operands are counted from 0."""

    name: str
    domains: tuple[str, ...] = STANDARD
    moves: bool = False
    """Outputs hold elements of operand 0, whatever these are; the other operands only say where."""
    view: Movement | None = None
    """Where they come from, if the other operands are constant."""
    inert: Callable[[ir.Node], bool] = _never
    """Whether the output of a node equals its operand 0 at inference."""
    picks: bool = False
    """Outputs hold elements of operand 0 that the other operands pick, which may be computed."""
    sized_from: int | None = None
    """First of the operands whose values set the shape of the output."""
    reads_shape: bool = False
    """Of its operand it reads nothing but the shape."""
    random: bool = False
    stores: bool = False
    """Its value stands in its attributes."""
    branches: bool = False
    """Operand 0 says which of two subgraphs runs."""
    chooses: bool = False
    """Operand 0 says, element by element, which of the others is taken."""
    clips: bool = False
    """Limits operand 0 to a range, which the others give."""
    multiplies: bool = False
    """Its operand goes into products, or sums of them, in which 1 or 0 counts it in or out."""
    divides: bool = False
    """Operand 0 by operand 1; integers that have no quotient end the process that tries."""
    lists_places: bool = False
    """Its output holds the places of elements of its operand, as many as their values say."""
    trains: bool = False
    """It has a training mode, which an attribute says, or, in older operator sets, more outputs than one."""
    training: int | None = None
    """Operand that is true in training."""
    mask: int | None = None
    """Operand that masks scores (..., queries, keys)."""
    last_axis_since: int | None = None
    """Operator set from which its axis is the last one by default; before, axis 1."""
    quantizes: Quantizes | None = None
    choice: Choice | None = None
    refusal: str | None = None
    """What keeps a network with it from compiling, by name of the kind of obstacle (sw/importer/obstacles/kinds.py)."""
    pieces: Pieces | None = None
    """How often its output may turn while one number of its operands grows; None: as often as it likes, if it does not move."""

    @property
    def keeps_order(self) -> bool:
        """Its output has the elements of operand 0 in their order, in another shape."""
        return self.view is _same_order


def _same_order(_: ir.Node, __: Array) -> list[Array | None]:
    return [None]


def _transposed(node: ir.Node, index: Array) -> list[Array | None]:
    order = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(index.ndim)[::-1]
    return [index.transpose(tuple(order))]


def _cut(node: ir.Node, index: Array) -> list[Array | None]:
    parts = [constant(entry) for entry in node.inputs[1:]]
    starts, ends = ([int(number) for number in part] for part in parts[:2] if part is not None)
    axes = [int(number) for number in parts[2]] if len(parts) > 2 and parts[2] is not None else list(range(len(starts)))
    steps = [int(number) for number in parts[3]] if len(parts) > 3 and parts[3] is not None else [1] * len(starts)
    cuts = [slice(None)] * index.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = index.shape[axis]
        # Beyond-range ends are clamped by ONNX; a negative step may run to the very front, which Python spells None.
        stop: int | None = end
        if step < 0 and end < -size:
            stop = None
        cuts[axis] = slice(start, stop, step)
    return [index[tuple(cuts)]]


def _gathered(node: ir.Node, index: Array) -> list[Array | None]:
    return [np.take(index, _fixed(node, 1), axis=node.attributes.get_int("axis", 0), mode="wrap")]


def _expanded(node: ir.Node, index: Array) -> list[Array | None]:
    return [np.broadcast_to(index, shape_of(node.outputs[0]))]


def _tiled(node: ir.Node, index: Array) -> list[Array | None]:
    return [np.tile(index, [int(number) for number in _fixed(node, 1)])]


def _split(node: ir.Node, index: Array) -> list[Array | None]:
    axis = node.attributes.get_int("axis", 0)
    ends = np.cumsum([shape_of(output)[axis] for output in node.outputs])[:-1]
    return list(np.split(index, ends, axis=axis))


def _fixed(node: ir.Node, position: int) -> Array:
    array = constant(node.inputs[position])
    if array is None:
        raise AssertionError(f"a {node.op_type} whose operand {position} is computed")
    return array


def _always(_: ir.Node) -> bool:
    return True


def _dropped_nothing(node: ir.Node) -> bool:
    training = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    return (training is None or not training.any()) and not any(list(extra.uses()) for extra in node.outputs[1:])


def _same_values(node: ir.Node) -> bool:
    """A cast between equal types, or integers that hold ids and sizes."""
    integers = (ir.DataType.INT32, ir.DataType.INT64)
    before, after = None if node.inputs[0] is None else node.inputs[0].dtype, node.outputs[0].dtype
    return before is not None and (before == after or (before in integers and after in integers))


_TABLE = {
    operator.name: operator
    for operator in (
        # Data movement
        OnnxOperator("Reshape", moves=True, view=_same_order, sized_from=1),
        OnnxOperator("Flatten", moves=True, view=_same_order),
        OnnxOperator("Squeeze", moves=True, view=_same_order),
        OnnxOperator("Unsqueeze", moves=True, view=_same_order),
        OnnxOperator("Transpose", moves=True, view=_transposed),
        OnnxOperator("Slice", moves=True, view=_cut, sized_from=1),
        OnnxOperator("Gather", moves=True, view=_gathered, picks=True),
        OnnxOperator("GatherElements", picks=True),
        OnnxOperator("GatherND", picks=True),
        OnnxOperator("Expand", moves=True, view=_expanded, sized_from=1),
        OnnxOperator("Tile", moves=True, view=_tiled, sized_from=1),
        OnnxOperator("Split", moves=True, view=_split),
        OnnxOperator("DepthToSpace", moves=True),
        OnnxOperator("SpaceToDepth", moves=True),
        OnnxOperator("Identity", moves=True, inert=_always),
        OnnxOperator("Dropout", moves=True, inert=_dropped_nothing, training=2),
        OnnxOperator("Cast", inert=_same_values, pieces=Pieces.CONVERTED),
        # Shapes
        OnnxOperator("Shape", reads_shape=True),
        OnnxOperator("Size", reads_shape=True),
        OnnxOperator("Range", sized_from=0, pieces=Pieces.FEW),
        OnnxOperator("ConstantOfShape", sized_from=0, pieces=Pieces.FEW),
        OnnxOperator("Pad", sized_from=1, pieces=Pieces.JOINED),
        OnnxOperator("Resize", sized_from=1, refusal="resizing"),
        OnnxOperator("OneHot", sized_from=1),
        OnnxOperator("TopK", sized_from=1, choice=Choice.BEST),
        OnnxOperator("ArgMax", choice=Choice.PLACE),
        OnnxOperator("ArgMin", choice=Choice.PLACE),
        OnnxOperator("NonZero", sized_from=0, lists_places=True),
        OnnxOperator("Unique", sized_from=0),
        OnnxOperator("Compress", sized_from=0),
        OnnxOperator("NonMaxSuppression", sized_from=0),
        # Chance
        OnnxOperator("RandomNormal", random=True),
        OnnxOperator("RandomUniform", random=True),
        OnnxOperator("RandomNormalLike", random=True),
        OnnxOperator("RandomUniformLike", random=True),
        OnnxOperator("Multinomial", random=True),
        OnnxOperator("Bernoulli", random=True),
        # Arithmetic
        OnnxOperator("Constant", stores=True),
        OnnxOperator("If", branches=True),
        OnnxOperator("Where", chooses=True, pieces=Pieces.JOINED),
        OnnxOperator("Clip", clips=True, pieces=Pieces.FEW),
        OnnxOperator("Mul", multiplies=True, pieces=Pieces.FEW),
        OnnxOperator("Div", multiplies=True, pieces=Pieces.REAL, divides=True),
        OnnxOperator("Mod", divides=True),
        OnnxOperator("ReduceSum", multiplies=True, pieces=Pieces.FEW),
        OnnxOperator("MatMul", multiplies=True, pieces=Pieces.FEW),
        OnnxOperator("Abs", pieces=Pieces.FEW),
        OnnxOperator("Add", pieces=Pieces.FEW),
        OnnxOperator("CumSum", pieces=Pieces.FEW),
        OnnxOperator("Equal", pieces=Pieces.FEW),
        OnnxOperator("Exp", pieces=Pieces.CURVED),
        OnnxOperator("Greater", pieces=Pieces.FEW),
        OnnxOperator("GreaterOrEqual", pieces=Pieces.FEW),
        OnnxOperator("IsInf", pieces=Pieces.FEW),
        OnnxOperator("IsNaN", pieces=Pieces.FEW),
        OnnxOperator("Less", pieces=Pieces.FEW),
        OnnxOperator("LessOrEqual", pieces=Pieces.FEW),
        OnnxOperator("Log", pieces=Pieces.CURVED),
        OnnxOperator("Max", pieces=Pieces.FEW),
        OnnxOperator("Mean", pieces=Pieces.FEW),
        OnnxOperator("Min", pieces=Pieces.FEW),
        OnnxOperator("Neg", pieces=Pieces.FEW),
        OnnxOperator("Pow", pieces=Pieces.CURVED),
        OnnxOperator("Reciprocal", pieces=Pieces.CURVED),
        OnnxOperator("ReduceMax", pieces=Pieces.FEW),
        OnnxOperator("ReduceMean", pieces=Pieces.FEW),
        OnnxOperator("ReduceMin", pieces=Pieces.FEW),
        OnnxOperator("Relu", pieces=Pieces.FEW),
        OnnxOperator("Sigmoid", pieces=Pieces.CURVED),
        OnnxOperator("Sign", pieces=Pieces.FEW),
        OnnxOperator("Sqrt", pieces=Pieces.CURVED),
        OnnxOperator("Sub", pieces=Pieces.FEW),
        OnnxOperator("Sum", pieces=Pieces.FEW),
        OnnxOperator("Tanh", pieces=Pieces.CURVED),
        OnnxOperator("And", pieces=Pieces.JOINED),
        OnnxOperator("Concat", pieces=Pieces.JOINED),
        OnnxOperator("Not", pieces=Pieces.JOINED),
        OnnxOperator("Or", pieces=Pieces.JOINED),
        OnnxOperator("Xor", pieces=Pieces.JOINED),
        OnnxOperator("Ceil", pieces=Pieces.STEPS),
        OnnxOperator("Floor", pieces=Pieces.STEPS),
        OnnxOperator("Round", pieces=Pieces.STEPS),
        OnnxOperator("BatchNormalization", trains=True),
        OnnxOperator("Softmax", last_axis_since=13, pieces=Pieces.FEW),
        OnnxOperator("Attention", mask=3),
        # Known, and not compiled
        OnnxOperator("RMSNormalization", refusal="RMS norm"),
        OnnxOperator("SimplifiedLayerNormalization", (*STANDARD, "com.microsoft"), refusal="RMS norm"),
        OnnxOperator("SkipSimplifiedLayerNormalization", (*STANDARD, "com.microsoft"), refusal="RMS norm"),
        OnnxOperator("LpNormalization", refusal="L2 norm"),
        OnnxOperator("RotaryEmbedding", (*STANDARD, "com.microsoft"), refusal="rotation"),
        OnnxOperator("GroupQueryAttention", (*STANDARD, "com.microsoft"), refusal="cache"),
        OnnxOperator("DecoderMaskedMultiHeadAttention", (*STANDARD, "com.microsoft"), refusal="cache"),
        OnnxOperator("LSTM", refusal="recurrence"),
        OnnxOperator("GRU", refusal="recurrence"),
        OnnxOperator("RNN", refusal="recurrence"),
        OnnxOperator("ConvTranspose", refusal="upsampling"),
        OnnxOperator("MaxPool", refusal="pooling"),
        OnnxOperator("AveragePool", refusal="pooling"),
        OnnxOperator("GroupNormalization", refusal="group norm"),
        OnnxOperator("InstanceNormalization", refusal="instance norm"),
        # Quantizers
        OnnxOperator("QuantizeLinear", (*STANDARD, "com.microsoft"), quantizes=Quantizes.TO_INTEGERS),
        OnnxOperator("DequantizeLinear", (*STANDARD, "com.microsoft"), quantizes=Quantizes.TO_REAL),
        OnnxOperator("Quant", QONNX, quantizes=Quantizes.BOTH),
        OnnxOperator("BipolarQuant", QONNX, quantizes=Quantizes.BIPOLAR),
        OnnxOperator("Trunc", QONNX, quantizes=Quantizes.TRUNCATES),
    )
}
_OTHER = OnnxOperator("")


def traits(node: ir.Node | onnx.NodeProto) -> OnnxOperator:
    """What is known of a node's operator."""
    entry = _TABLE.get(node.op_type, _OTHER)
    return entry if node.domain in entry.domains else _OTHER


def refusal(operator: str) -> str | None:
    """What keeps a network with an operator, ``name`` or ``domain.name``, from compiling; None where nothing is known."""
    return _TABLE.get(operator.rpartition(".")[2], _OTHER).refusal


def moved_indices(node: ir.Node) -> list[Array | None] | None:
    """For each output the flat index into operand 0 of every element (None where the order stays), or None if the node computes."""
    source, view = node.inputs[0], traits(node).view
    if source is None or view is None:
        return None
    shape = shape_of(source)
    return view(node, np.arange(math.prod(shape), dtype=np.int64).reshape(shape))


def in_training(node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], by_outputs: bool) -> bool:
    """Whether a node is in training mode: by its attribute, or by its outputs where operators had no such attribute yet, or by an
    operand that is constant."""
    operator = traits(node)
    if operator.trains:
        mode = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
        return mode or (by_outputs and sum(map(bool, node.output)) > 1)
    position = operator.training
    flag = None if position is None or len(node.input) <= position else constants.get(node.input[position])
    return flag is not None and bool(np.any(onnx.numpy_helper.to_array(flag)))


def stored_tensor(node: ir.Node | None) -> ir.TensorProtocol | None:
    """The tensor that a Constant holds as such; None for other nodes, and for numbers that stand in other attributes."""
    if node is None or not traits(node).stores or "value" not in node.attributes:
        return None
    return node.attributes["value"].as_tensor()


def stored_tensors(nodes: Iterable[onnx.NodeProto], initializers: Iterable[onnx.TensorProto]) -> dict[str, onnx.TensorProto]:
    """Constants by name: initializers, and what Constants hold, as a tensor or as integers."""
    stored = {tensor.name: tensor for tensor in initializers}
    for node in nodes:
        if not traits(node).stores:
            continue
        for value in node.attribute:
            if value.name == "value":
                stored[node.output[0]] = value.t
            elif value.name == "value_int":
                stored[node.output[0]] = onnx.helper.make_tensor(node.output[0], onnx.TensorProto.INT64, [], [value.i])
            elif value.name == "value_ints":
                integers = list(value.ints)
                stored[node.output[0]] = onnx.helper.make_tensor(node.output[0], onnx.TensorProto.INT64, [len(integers)], integers)
    return stored
