"""The user's own file as onnxruntime runs it: the reference that the canonical model, and the integer network, are held to.

The file itself is not touched. In memory its format version is lowered to what onnxruntime reads, half and double precision become
float32, and QONNX's quantizers, which onnxruntime does not know, become standard operators (QONNX, arXiv 2206.07527).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from onnx import helper, numpy_helper

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.quant.canonical.session import Weights, open_session, set_beside
from edgeflow.sw.importer.load import check_external, fetch_external, forget_impossible_sizes, graphs, nodes, parse, tensors
from edgeflow.sw.importer.onnx_operators import Quantizes, stored_tensors, traits
from edgeflow.sw.importer.opset import raised
from edgeflow.sw.importer.precision import single_precision
from edgeflow.sw.importer.runtime import names_read, run


@dataclasses.dataclass(frozen=True)
class Original:
    """A model file in memory, in float32; ``quantized``: it has quantizers; ``widened``: it was not all float32. Where it has none,
    its large constants lie in ``weights``, and the message only names them."""

    proto: onnx.ModelProto
    quantized: bool
    widened: bool
    weights: Weights = dataclasses.field(default_factory=dict)

    def as_written(self) -> onnx.ModelProto:
        """The model with its quantizers, in operators that onnxruntime knows."""
        return _expanded(self.proto, activations=True) if self.quantized else self.proto

    def float_copy(self) -> onnx.ModelProto:
        """The model without the quantizers of its activations: what its canonical form computes.

        Constants stay rounded, but for single numbers (the 1 of a GELU), which keep the value that was meant.
        """
        return _expanded(self.proto, activations=False) if self.quantized else self.proto


def whole(path: str | os.PathLike[str]) -> onnx.ModelProto:
    """The message in a file, its external data inside; ModelError where there is none."""
    file = Path(path)
    proto = parse(file)
    fetch_external(file, proto)
    return proto


def files_of(path: str | os.PathLike[str], proto: onnx.ModelProto | None = None) -> list[Path]:
    """A model file and the files of its external data; ``proto`` is the message in it, if that was read already."""
    file = Path(path)
    files = {file: None}
    for tensor in tensors(parse(file) if proto is None else proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            check_external(file, tensor)
            files[file.parent / next(entry.value for entry in tensor.external_data if entry.key == "location")] = None
    return list(files)


def read_original(path: str | os.PathLike[str]) -> Original:
    """A model file in memory; ModelError where it cannot be read."""
    return in_memory(whole(path), path)


def in_memory(proto: onnx.ModelProto, path: str | os.PathLike[str]) -> Original:
    """The message of a whole file, which messages name as ``path``, as onnxruntime is to run it."""
    forget_impossible_sizes(proto)
    widened = single_precision(graphs(proto.graph), nodes(proto), tensors(proto))
    quantized = any(_quantizes(node) is not None for node in nodes(proto))
    if quantized and proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    if quantized:  # what stands for a quantizer needs operators of today
        proto = raised(Path(path), proto, list(nodes(proto)))
        return Original(proto, quantized, widened)
    light, weights = set_beside(proto)
    return Original(light, quantized, widened, weights)


class OriginalSession:
    """A model in onnxruntime that returns the named tensors ``(N, ...)``, computed values or outputs, for N samples of any number.

    A batch that the file fixes is kept: samples run in groups of that size, the last one filled up. A file that declares a batch of
    any size and holds reshapes to a batch of one runs sample by sample. ``weights`` are constants that the message only names.
    Raises ModelError where onnxruntime refuses the model.
    """

    def __init__(
        self, proto: onnx.ModelProto, tensors: Sequence[str], batch: int, optimize: bool = True, weights: Weights | None = None
    ) -> None:
        self.tensors = tuple(tensors)
        self._session = open_session(proto, tensors, optimize=optimize, weights=weights)
        constant = {tensor.name for tensor in proto.graph.initializer}
        self._inputs = {entry.name: entry.type.tensor_type for entry in proto.graph.input if entry.name not in constant}
        self._batch = batch

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The named tensors; ModelError where onnxruntime fails on the inputs."""
        count = len(next(iter(inputs.values())))
        dims = [kind.shape.dim for name, kind in self._inputs.items() if name in inputs]
        fixed = min((dim[0].dim_value for dim in dims if dim and dim[0].dim_value), default=0)
        parts = []
        start = 0
        while start < count:
            size = min(fixed or self._batch, count - start)
            piece = {name: array[start : start + size] for name, array in inputs.items()}
            try:
                part = self._group(piece, size, fixed or size)
            except ModelError:
                if fixed or self._batch == 1:
                    raise
                self._batch = 1
                continue
            parts.append(part)
            start += size
        if len(parts) == 1:
            return parts[0]
        return {name: np.concatenate([part[name] for part in parts]) for name in self.tensors}

    def _group(self, piece: Mapping[str, Array], size: int, group: int) -> dict[str, Array]:
        inputs = {name: self._input(name, kind, piece, group) for name, kind in self._inputs.items()}
        outputs = run(self._session, inputs, self.tensors)
        for name, array in outputs.items():
            if not array.ndim or len(array) != group:
                raise ModelError(f"the first axis of {name!r} does not count the {group} samples of the inputs")
        return {name: array[:size] for name, array in outputs.items()}

    def _input(self, name: str, kind: onnx.TypeProto.Tensor, piece: Mapping[str, Array], group: int) -> Array:
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if name not in piece:  # nothing reads it
            return np.zeros([dim.dim_value or (group if i == 0 else 1) for i, dim in enumerate(kind.shape.dim)], dtype)
        array = piece[name].astype(dtype)
        return np.concatenate([array, np.repeat(array[-1:], group - len(array), axis=0)]) if len(array) < group else array


# Quantizers


def _quantizes(node: onnx.NodeProto) -> Quantizes | None:
    return traits(node).quantizes


def _is_quant(node: onnx.NodeProto) -> bool:
    """Whether a node is a quantizer of QONNX."""
    return _quantizes(node) not in (None, Quantizes.TO_INTEGERS, Quantizes.TO_REAL)


def _expanded(proto: onnx.ModelProto, activations: bool) -> onnx.ModelProto:
    """A copy with QONNX's quantizers in standard operators; without ``activations``, those of computed values are left out."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    graph = result.graph
    del graph.node[:], graph.value_info[:]
    constants = {
        name: numpy_helper.to_array(tensor) for name, tensor in stored_tensors(proto.graph.node, proto.graph.initializer).items()
    }
    moving = {entry.name for entry in proto.graph.input if entry.name not in constants}
    integers: set[str] = set()  # values between QuantizeLinear and DequantizeLinear that are real now
    for node in proto.graph.node:
        source = node.input[0] if node.input else ""
        moves = any(name in moving for name in names_read(node))
        if moves:
            moving.update(node.output)
        number = source in constants and constants[source].size == 1 and constants[source].dtype.kind == "f"
        starts = (moves or number) and not activations and (_is_quant(node) or _quantizes(node) is Quantizes.TO_INTEGERS)
        ends = source in integers and _quantizes(node) is Quantizes.TO_REAL
        if starts or ends or (source in integers and traits(node).clips):
            graph.node.append(helper.make_node("Identity", [source], list(node.output), name=node.name))
        elif _is_quant(node):
            graph.node.extend(_in_standard_operators(node, constants))
        else:
            graph.node.append(node)
        if (starts and not _is_quant(node)) or (source in integers and not ends):
            integers.update(node.output)
    return result


def _in_standard_operators(node: onnx.NodeProto, constants: Mapping[str, Array]) -> Iterator[onnx.NodeProto]:
    """``(clip(round(x / scale + zero point)) - zero point) * scale`` of a Quant, ``sign(x) * scale`` of a BipolarQuant."""
    build = _Nodes(node.output[0])
    x, scale = node.input[0], node.input[1]
    if _quantizes(node) is Quantizes.BIPOLAR:
        positive = build("GreaterOrEqual", x, build.number(0.0))
        build.last("Mul", build("Where", positive, build.number(1.0), build.number(-1.0)), scale)
        yield from build.nodes
        return
    bits = constants.get(node.input[3]) if len(node.input) > 3 else None
    if _quantizes(node) is Quantizes.TRUNCATES or bits is None or bits.size != 1:
        raise UnsupportedError(f"{node.name} ({node.op_type}): it has no form in standard operators")
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    signed, narrow = bool(options.get("signed", 1)), bool(options.get("narrow", 0))
    width = float(bits.reshape(()))
    low = -(2.0 ** (width - 1)) + narrow if signed else 0.0
    high = 2.0 ** (width - 1) - 1 if signed else 2.0**width - 1 - narrow
    exact = build("Add", build("Div", x, scale), node.input[2])
    words = build(
        "Clip", _rounded(build, exact, options.get("rounding_mode", b"ROUND").decode()), build.number(low), build.number(high)
    )
    build.last("Mul", build("Sub", words, node.input[2]), scale)
    yield from build.nodes


def _rounded(build: _Nodes, x: str, mode: str) -> str:
    mode = mode.upper()
    simple = {"ROUND": "Round", "HALF_EVEN": "Round", "FLOOR": "Floor", "CEIL": "Ceil"}
    if mode in simple:
        return build(simple[mode], x)
    sign, size = build("Sign", x), build("Abs", x)
    half = build.number(0.5)
    away = {
        "ROUND_TO_ZERO": lambda: build("Floor", size),
        "DOWN": lambda: build("Floor", size),
        "UP": lambda: build("Ceil", size),
        "HALF_UP": lambda: build("Floor", build("Add", size, half)),
        "HALF_DOWN": lambda: build("Ceil", build("Sub", size, half)),
    }
    if mode not in away:
        raise UnsupportedError(f"rounding mode {mode!r} has no form in standard operators")
    return build("Mul", sign, away[mode]())


class _Nodes:
    """Nodes in the place of one, whose output the last of them makes."""

    def __init__(self, output: str) -> None:
        self.output = output
        self.nodes: list[onnx.NodeProto] = []

    def __call__(self, op_type: str, *inputs: str) -> str:
        return self._add(op_type, inputs, f"{self.output}//{len(self.nodes)}")

    def last(self, op_type: str, *inputs: str) -> None:
        """Make the output of the replaced node."""
        self._add(op_type, inputs, self.output)

    def number(self, value: float) -> str:
        """A constant."""
        name = f"{self.output}//{len(self.nodes)}"
        tensor = numpy_helper.from_array(np.array(value, np.float32), name)
        self.nodes.append(helper.make_node("Constant", [], [name], name=name, value=tensor))
        return name

    def _add(self, op_type: str, inputs: Sequence[str], output: str) -> str:
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=f"{output}/{op_type}"))
        return output
