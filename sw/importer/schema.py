"""A model file against the schema of ONNX, before anything reads it: in a file that passes, every field and operator is as its
schema says.

Operators are checked against the schemas that onnx (ONNX's own), onnxruntime (com.microsoft) and, for QONNX, this module define;
messages against what onnx.proto says of their fields. Operators that nobody defines are left to the importer, which lists them all.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
from onnx import AttributeProto, TensorProto, helper

from edgeflow.hw.errors import ModelError
from edgeflow.sw.importer.onnx_operators import QONNX, STANDARD

MICROSOFT = "com.microsoft"
_NEWEST = 1 << 30  # a version above all: the newest schema

_FIELDS = {  # of an attribute, by its type
    AttributeProto.FLOAT: "f", AttributeProto.INT: "i", AttributeProto.STRING: "s", AttributeProto.TENSOR: "t",
    AttributeProto.GRAPH: "g", AttributeProto.SPARSE_TENSOR: "sparse_tensor", AttributeProto.TYPE_PROTO: "tp",
    AttributeProto.FLOATS: "floats", AttributeProto.INTS: "ints", AttributeProto.STRINGS: "strings",
    AttributeProto.TENSORS: "tensors", AttributeProto.GRAPHS: "graphs", AttributeProto.SPARSE_TENSORS: "sparse_tensors",
    AttributeProto.TYPE_PROTOS: "type_protos",
}  # fmt: skip
_DATA = ("float_data", "int32_data", "string_data", "int64_data", "double_data", "uint64_data", "raw_data")
_COMPLEX = (TensorProto.COMPLEX64, TensorProto.COMPLEX128)


@dataclass(frozen=True)
class _Schema:
    """What an operator takes: types of its attributes and those that it must have, numbers of its operands and outputs, and which
    of these must have a name; the last one stands for all that follow."""

    attributes: Mapping[str, int]
    needed: frozenset[str]
    inputs: tuple[int, int]
    outputs: tuple[int, int]
    named_inputs: tuple[bool, ...]
    named_outputs: tuple[bool, ...]


_QUANT = _Schema(
    {"signed": AttributeProto.INT, "narrow": AttributeProto.INT, "rounding_mode": AttributeProto.STRING},
    frozenset(), (4, 4), (1, 1), (True,), (True,),
)  # fmt: skip
_QONNX = {
    "Quant": _QUANT,
    "BipolarQuant": _Schema({}, frozenset(), (2, 2), (1, 1), (True,), (True,)),
    "Trunc": _Schema({"rounding_mode": AttributeProto.STRING}, frozenset(), (5, 5), (1, 1), (True,), (True,)),
}


def check_schema(file: Path, proto: onnx.ModelProto) -> None:
    """ModelError naming the first place of a model that is not as ONNX says; its external data is not looked at."""
    problem = next(_problems(proto), None)
    if problem is not None:
        raise ModelError(f"{file}: {problem}; export the model again")


def check_named(file: Path, model: ir.Model) -> None:
    """ModelError naming the first node without an operand or an output that its operator demands, where functions are written out:
    what a call leaves out may be missing inside."""
    versions = _Model({"" if domain in STANDARD else domain: v for domain, v in model.opset_imports.items()}, frozenset())
    for node in model.graph.all_nodes():
        schema = versions.schema(node)
        if schema is None:
            continue
        for line in _unnamed([entry is not None for entry in node.inputs], [entry.name for entry in node.outputs], schema):
            raise ModelError(f"{file}: node {node.name!r} ({node.op_type}): {line}; export the model again")


def _problems(proto: onnx.ModelProto) -> Iterator[str]:
    yield from _not_text(proto, "the model")
    local = frozenset((function.domain, function.name) for function in proto.functions)
    model = _Model(_versions(proto.opset_import), local)
    yield from model.graph(proto.graph, f"graph {proto.graph.name!r}")
    for function in proto.functions:
        inner = _Model(_versions(function.opset_import), local, in_function=True)
        yield from inner.nodes(function.node, f"function {function.name!r}: ")
        yield from _twice([*function.input, *_outputs(function.node)], f"function {function.name!r}")


def _versions(imports: Sequence[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {"" if entry.domain in STANDARD else entry.domain: entry.version for entry in imports}


@dataclass(frozen=True)
class _Model:
    """What the nodes of a model, or of a function, are checked against: versions of operator sets, and the file's functions."""

    versions: Mapping[str, int]
    local: frozenset[tuple[str, str]]
    in_function: bool = False

    def graph(self, graph: onnx.GraphProto, where: str) -> Iterator[str]:
        for what, values in (("input", graph.input), ("output", graph.output)):
            for value in values:
                if not value.name:
                    yield f"{where} has an {what} without a name"
        for value in (*graph.input, *graph.output, *graph.value_info):
            yield from _wrong_type(value)
        for tensor in graph.initializer:
            if not tensor.name:
                yield f"{where} has an initializer without a name"
            yield from wrong_tensor(tensor, f"initializer {tensor.name!r}")
        for sparse in graph.sparse_initializer:
            for part in (sparse.values, sparse.indices):
                yield from wrong_tensor(part, f"sparse initializer {sparse.values.name!r}")
        initializers = [tensor.name for tensor in graph.initializer]
        yield from _twice(initializers, where)
        # Old exporters list weights among the inputs, too.
        outside = dict.fromkeys((*initializers, *(value.name for value in graph.input)))
        yield from _twice([value.name for value in graph.input], where)
        yield from _twice([*outside, *_outputs(graph.node)], where)
        yield from self.nodes(graph.node, "")

    def nodes(self, nodes: Sequence[onnx.NodeProto], where: str) -> Iterator[str]:
        for node in nodes:
            place = f"{where}node {_label(node)}"
            if not any(node.output):
                yield f"{place} has no output"
            yield from _twice([attribute.name for attribute in node.attribute], place, "has two attributes")
            for attribute in node.attribute:
                yield from self._attribute(attribute, f"{place}: attribute {attribute.name!r}")
            schema = self.schema(node)
            if schema is not None:
                yield from _misfits(node, schema, place)

    def _attribute(self, attribute: onnx.AttributeProto, place: str) -> Iterator[str]:
        if attribute.ref_attr_name:
            if not self.in_function:
                yield f"{place} refers to {attribute.ref_attr_name!r} of a function, and stands in none"
            return
        field = _FIELDS.get(attribute.type)
        if field is None:
            yield f"{place} has no type"
            return
        filled = [name for name in _FIELDS.values() if _is_filled(attribute, name)]
        if filled and filled != [field]:
            yield f"{place} says that it is {_kind(attribute.type)}, and holds something else"
        if field == "t":
            yield from wrong_tensor(attribute.t, place)
        for tensor in attribute.tensors:
            yield from wrong_tensor(tensor, place)
        for text in (attribute.s, *attribute.strings):
            if not _is_text(text):
                yield f"{place} is no text"
        if field == "g":
            yield from self.graph(attribute.g, place)
        for graph in attribute.graphs:
            yield from self.graph(graph, place)

    def schema(self, node: onnx.NodeProto | ir.Node) -> _Schema | None:
        """The schema of a node's operator; None for a function of the file, and for what nobody defines."""
        domain = "" if node.domain in STANDARD else node.domain
        if (node.domain, node.op_type) in self.local:
            return None
        if domain in QONNX:
            return _QONNX.get(node.op_type)
        if domain == MICROSOFT:
            return _microsoft().get(node.op_type)
        return _standard(node.op_type, self.versions.get(domain, 1 if domain else _NEWEST), domain)


def _misfits(node: onnx.NodeProto, schema: _Schema, place: str) -> Iterator[str]:
    """Where a node is not as its operator's schema says."""
    for attribute in node.attribute:
        kind = schema.attributes.get(attribute.name)
        if kind is None:
            yield f"{place}: {node.op_type} has no attribute {attribute.name!r}"
        elif kind != attribute.type:
            yield f"{place}: attribute {attribute.name!r} is {_kind(attribute.type)} and must be {_kind(kind)}"
    missing = schema.needed - {attribute.name for attribute in node.attribute}
    if missing:
        yield f"{place} lacks the attribute {min(missing)!r}"
    for what, count, (least, most) in (("inputs", len(node.input), schema.inputs), ("outputs", len(node.output), schema.outputs)):
        if not least <= count <= most:
            yield f"{place} has {count} {what}; {node.op_type} has " + (f"{least}" if least == most else f"{least} to {most}")
    for line in _unnamed(node.input, node.output, schema):
        yield f"{place}: {line}"


def _unnamed(inputs: Sequence[object], outputs: Sequence[object], schema: _Schema) -> Iterator[str]:
    """Operands and outputs that are not there, an empty name or None, though an operator demands them."""
    for what, values, named in (("operand", inputs, schema.named_inputs), ("output", outputs, schema.named_outputs)):
        for position, value in enumerate(values if named else ()):
            if named[min(position, len(named) - 1)] and not value:
                yield f"its {what} {position} is missing"


# Schemas of operators


@cache
def _standard(op_type: str, version: int, domain: str) -> _Schema | None:
    try:
        own = _read_schema(onnx.defs.get_schema(op_type, min(version, _NEWEST), domain))
        newest = _read_schema(onnx.defs.get_schema(op_type, domain))
    except onnx.defs.SchemaError:
        return None
    # Tools that quantize older models write the axes of newer quantizers; where a runtime minds, it says so.
    return dataclasses.replace(own, attributes={**newest.attributes, **own.attributes})


@cache
def _microsoft() -> dict[str, _Schema]:
    """onnxruntime's own operators, by name."""
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime

    return {schema.name: _read_schema(schema) for schema in runtime.get_all_operator_schema() if schema.domain == MICROSOFT}


def _read_schema(schema: Any) -> _Schema:
    """A schema of onnx, or of onnxruntime, whose classes are alike."""
    optional = onnx.defs.OpSchema.FormalParameterOption.Optional
    return _Schema(
        {name: int(entry.type.value) for name, entry in schema.attributes.items()},
        frozenset(name for name, entry in schema.attributes.items() if entry.required),
        (schema.min_input, schema.max_input),
        (schema.min_output, schema.max_output),
        *(tuple(entry.option != optional for entry in entries) for entries in (schema.inputs, schema.outputs)),
    )


# Messages


def wrong_tensor(tensor: onnx.TensorProto, place: str) -> Iterator[str]:
    """Where a tensor does not hold as many elements of its type as its dimensions say."""
    if tensor.data_type == TensorProto.UNDEFINED or tensor.data_type not in TensorProto.DataType.values():
        yield f"{place} has no type that ONNX knows"
        return
    if any(size < 0 for size in tensor.dims):
        yield f"{place} has a negative dimension"
        return
    if tensor.HasField("segment"):
        yield f"{place} is only a segment of a tensor"
    if tensor.data_location == TensorProto.EXTERNAL:
        return
    filled = [name for name in _DATA if _is_filled(tensor, name)]
    count = math.prod(tensor.dims)
    field = helper.tensor_dtype_to_field(tensor.data_type)
    if filled == ["raw_data"] and tensor.data_type != TensorProto.STRING:
        stored, expected, unit = len(tensor.raw_data), -(-count * ir.DataType(tensor.data_type).bitwidth // 8), "bytes"
    elif filled in ([], [field]):
        packed = max(8 // _bits(tensor.data_type), 1)
        stored, expected, unit = len(getattr(tensor, field)), -(-count // packed), "numbers"
        if tensor.data_type in _COMPLEX:
            expected *= 2
    else:
        yield f"{place} holds its {TensorProto.DataType.Name(tensor.data_type)} elements in {' and '.join(filled)}"
        return
    if stored != expected:
        yield f"{place} holds {stored} {unit}, and its dimensions {list(tensor.dims)} say {expected}"


def _bits(data_type: int) -> int:
    return 8 if data_type == TensorProto.STRING else int(ir.DataType(data_type).bitwidth)


def _wrong_type(value: onnx.ValueInfoProto) -> Iterator[str]:
    kind = value.type.tensor_type.elem_type
    if value.type.HasField("tensor_type") and kind not in TensorProto.DataType.values():
        yield f"value {value.name!r} has no type that ONNX knows"


def _is_filled(message: Any, name: str) -> bool:
    value = getattr(message, name)
    return len(value) > 0 if hasattr(value, "__len__") and not isinstance(value, bytes | str) else message.HasField(name)


def _outputs(nodes: Sequence[onnx.NodeProto]) -> list[str]:
    return [name for node in nodes for name in node.output if name]


def _twice(names: Sequence[str], where: str, what: str = "computes two values") -> Iterator[str]:
    known: set[str] = set()
    for name in names:
        if name in known:
            yield f"{where} {what} {name!r}"
        known.add(name)


def _label(node: onnx.NodeProto) -> str:
    return f"{node.name or next((name for name in node.output if name), '')!r} ({node.op_type})"


def _kind(attribute_type: int) -> str:
    known = attribute_type in AttributeProto.AttributeType.values()
    return AttributeProto.AttributeType.Name(attribute_type) if known else "of no type"


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@cache
def _text_fields(descriptor: Any) -> tuple[tuple[str, bool, bool], ...]:
    """Fields of a message that hold text or messages: name, whether text, whether repeated."""
    return tuple(
        (field.name, field.type == field.TYPE_STRING, field.is_repeated)
        for field in descriptor.fields
        if field.type in (field.TYPE_STRING, field.TYPE_MESSAGE)
    )


def _not_text(message: Any, place: str) -> Iterator[str]:
    """Where the text of a message and of all inside it is not UTF-8, which protobuf hands on as bytes."""
    for name, is_text, is_repeated in _text_fields(message.DESCRIPTOR):
        if is_repeated:
            entries = getattr(message, name)
        elif message.HasField(name):
            entries = (getattr(message, name),)
        else:
            continue
        for entry in entries:
            if not is_text:
                yield from _not_text(entry, place)
            elif isinstance(entry, bytes):
                yield f"{place} holds {entry[:40]!r} as {name.replace('_', ' ')}, which is no text"
