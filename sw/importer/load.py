"""Reading an ONNX file, and refusing early what cannot be read safely or at all."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper
from onnx_ir.passes.common import InlinePass, RemoveInitializersFromInputsPass, TopologicalSortPass

from edgeflow.hw.diagnosis import Cause, Diagnosis, RefusedNode
from edgeflow.hw.errors import ModelError, UnsupportedError
from edgeflow.hw.reading import reading
from edgeflow.quant.canonical.inputs import INTEGERS
from edgeflow.quant.canonical.session import LARGE, beside
from edgeflow.quant.formats.exact_constants import EXACT
from edgeflow.sw.files.presence import check_no_device, missing_model
from edgeflow.sw.importer.budgets import check_functions, check_sizes
from edgeflow.sw.importer.onnx_operators import in_training, stored_tensor, stored_tensors
from edgeflow.sw.importer.opset import OPSETS, TRAINING_MODE, default_opset, raised
from edgeflow.sw.importer.precision import single_precision
from edgeflow.sw.importer.quantizers import is_known, take_out
from edgeflow.sw.importer.schema import check_named, check_schema, wrong_tensor
from edgeflow.sw.importer.traps import check_traps
from edgeflow.sw.rewrite.base import ORIGIN, ORIGIN_TYPE

_FOREIGN = ("com.microsoft",)
LARGEST = (1 << 31) - 1
"""Bytes that a model's message, its weights included, may take: protobuf's own limit."""
LONGEST_NAME = 10_000
"""Bytes of the name of a tensor: files of arrays hold up to 65,535, with what EdgeFlow adds."""
QUANTIZERS = "edgeflow.quantizers"
"""Key in a loaded model's ``meta`` of the quantizers that were taken out of it; not there if it had none."""


UNREAD = "edgeflow.unread"
"""Key in a loaded model's ``meta`` of the names of inputs that nothing reads, which were left out; not there if all are read."""


def load(path: str | os.PathLike[str]) -> ir.Model:
    """Read the model at ``path``, with every tensor in memory, functions inlined and every node named; of
    a model that is quantized already the float graph, and in ``meta`` the quantizers.

    Raises
    ------
    ModelError
        The file is missing, is not ONNX, is truncated or inconsistent, refers to external data outside its own folder, or a weight
        holds NaN or infinity.
    UnsupportedError
        The operator set is too old or too new (see opset.py), the model was exported in training mode, or there are operators that
        ONNX does not define.
    """
    file = Path(path)
    proto = parse(file)
    forget_impossible_sizes(proto)
    fetch_external(file, proto)
    _check_mode(file, proto)
    proto = raised(file, proto, nodes(proto))
    single_precision(graphs(proto.graph), nodes(proto), tensors(proto))
    inconsistent = f"{file}: the model is inconsistent", "export it again", ModelError
    with _unlogged(), reading(*inconsistent):
        model = ir.serde.deserialize_model(proto)
    # Old exporters list weights among the inputs, too: as values that a caller might replace, which nobody does here.
    with reading(*inconsistent):
        RemoveInitializersFromInputsPass()(model)
    drop_unread_inputs(model)
    _name_results(model)
    _check_values(file, model)
    with reading(*inconsistent):
        ir.passes.Sequential(InlinePass(), TopologicalSortPass())(model)
    for entry in model.graph.inputs:
        entry.metadata_props.pop(INTEGERS, None)  # it says what the file's type was, which is the type here
    _name_nodes(model)
    _check_operands(file, model)
    check_named(file, model)
    _check_weights(file, model)
    _hold_arrays(model)
    _check_operators(file, model)
    if any(is_known(node) for node in model.graph):  # constants are evaluated
        check_sizes(beside(model)[0])
    quantizers = take_out(model)
    if quantizers is not None:
        model.meta[QUANTIZERS] = quantizers
    return model


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep onnx_ir from logging what the checks here say, each in one message."""
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def drop_unread_inputs(model: ir.Model) -> bool:
    """Leave out the inputs on which no output depends, in any way, and note their names. Where that is all of them, they stay."""
    graph, reached = model.graph, _reached(model.graph)
    read = [entry for entry in graph.inputs if entry in reached]
    unread = tuple(str(entry.name) for entry in graph.inputs if entry not in reached)
    if not unread or not read:
        return False
    graph.inputs.clear()
    graph.inputs.extend(read)
    graph.remove([node for node in graph if reached.isdisjoint(node.outputs)], safe=True)
    model.meta[UNREAD] = unread
    return True


def _reached(graph: ir.Graph) -> set[ir.Value]:
    """All values that the outputs are computed from, themselves included."""
    wanted, reached = list(graph.outputs), set(graph.outputs)
    while wanted:
        node = wanted.pop().producer()
        if node is not None:
            read = {entry for entry in (*node.inputs, *_captured(node)) if entry is not None} - reached
            wanted += read
            reached |= read
    return reached


def _captured(node: ir.Node) -> Iterator[ir.Value | None]:
    """What the subgraphs of a node read, their own values among it."""
    for attribute in node.attributes.values():
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
            for inner in [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs():
                yield from inner.outputs
                yield from (entry for inside in inner.all_nodes() for entry in inside.inputs)


def parse(file: Path) -> onnx.ModelProto:
    check_no_device(file, "", ModelError)
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise missing_model(file) from None
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); give the path of an ONNX model") from None
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise ModelError(f"{file}: is not an ONNX model, or is truncated; export or download it again") from None
    if not proto.HasField("graph") or not proto.graph.output:
        raise ModelError(f"{file}: is not an ONNX model, or is truncated: it holds no graph; export or download it again")
    check_schema(file, proto)
    check_functions(file, proto)
    check_traps(file, proto)
    return proto


def fetch_external(file: Path, proto: onnx.ModelProto) -> None:
    """Bring external data into the model's own message; ModelError where that is not possible or not allowed."""
    external = [tensor for tensor in tensors(proto) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    total = sum(check_external(file, tensor) for tensor in external)
    if total > LARGEST:
        raise UnsupportedError(f"{file}: its tensors take {total:,} bytes; at most {LARGEST:,} are supported (2 GiB)")
    for tensor in external:
        with reading(f"{file}: the external data of tensor {tensor.name!r} cannot be read", "export the model again", ModelError):
            external_data_helper.load_external_data_for_tensor(tensor, str(file.parent))
        tensor.data_location = onnx.TensorProto.DEFAULT
        tensor.ClearField("external_data")
        problem = next(wrong_tensor(tensor, f"tensor {tensor.name!r}"), None)
        if problem is not None:
            raise ModelError(f"{file}: {problem}; export the model again")
    if external:
        check_traps(file, proto)  # constants that were not there before


def _check_mode(file: Path, proto: onnx.ModelProto) -> None:
    """UnsupportedError for a model in training mode, in which outputs depend on the other samples of a batch, or on chance.

    Before an attribute said so, BatchNormalization in training mode was the one with more outputs than one. Of a Dropout of these
    operator sets nothing tells: it copies its input, as it does in every runtime."""
    constants = stored_tensors(nodes(proto), (tensor for graph in graphs(proto.graph) for tensor in graph.initializer))
    by_outputs = default_opset(file, proto) < TRAINING_MODE
    training = [
        f"{node.name or node.output[0]} ({node.op_type})" for node in nodes(proto) if in_training(node, constants, by_outputs)
    ]
    if training:
        listed = "; ".join(training[:3]) + (f"; and {len(training) - 3} more" if len(training) > 3 else "")
        cause = Cause("training mode", f"exported in training mode: {listed}", "call model.eval() and export again")
        raise UnsupportedError(Diagnosis(str(file), (cause,)))


def forget_impossible_sizes(proto: onnx.ModelProto) -> None:
    """Paddle writes -1 for an axis of any size: such an axis has no size."""
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.HasField("dim_value") and axis.dim_value < 1:
                axis.ClearField("dim_value")


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from graphs(inner)


def nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for function in proto.functions:
        yield from function.node
    for graph in graphs(proto.graph):
        yield from graph.node


def tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in graphs(proto.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(proto):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def check_external(file: Path, tensor: onnx.TensorProto) -> int:
    """External data must lie, whole, in a regular file inside the model's own folder, links resolved; returns its bytes."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"{file}: tensor {tensor.name!r} has its data in {location!r}"
    malformed = f"{where} with a malformed offset, length or type; export the model again"
    with reading(where, "export the model again", ModelError):
        folder = file.parent.resolve()
        target = (folder / location).resolve()
        is_file = target.is_file()
        size = target.stat().st_size if is_file else 0
    if not location or Path(location).is_absolute() or ".." in Path(location).parts or not target.is_relative_to(folder):
        raise ModelError(f"{where}, outside the model's own folder; move the data beside the model and export again")
    if not is_file:
        raise ModelError(f"{where}, which does not exist; copy it beside the model")
    if tensor.data_type == onnx.TensorProto.STRING:
        raise ModelError(malformed)
    needed = -(-math.prod(tensor.dims) * ir.DataType(tensor.data_type).bitwidth // 8)
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(needed)))
    except ValueError:
        raise ModelError(malformed) from None
    if offset < 0 or length < 0:
        raise ModelError(malformed)
    if offset + length > size:
        raise ModelError(f"{where}, which is too short for it; copy the whole file beside the model")
    return length


def _check_weights(file: Path, model: ir.Model) -> None:
    tensors = [(name, value.const_value) for name, value in model.graph.initializers.items()]
    for node in model.graph.all_nodes():
        stored = stored_tensor(node)
        if stored is not None:
            tensors.append((node.outputs[0].name or "", stored))
    for name, tensor in tensors:
        if tensor is None or not tensor.dtype.is_floating_point():
            continue
        with reading(f"{file}: initializer {name!r} is malformed", "export the model again", ModelError):
            array = tensor.numpy()
        # Masks are filled with infinities on purpose; they are scalars or whole tensors of nothing else but zeros.
        finite = np.isfinite(array)
        if np.isnan(array).any() or (array.size > 1 and not finite.all() and np.any(array[finite] != 0)):
            raise ModelError(f"{file}: initializer {name!r} holds NaN or infinity; train or export the model again")


def _hold_arrays(model: ir.Model) -> None:
    """Hold large constants as arrays, which everyone shares: a message copies them whenever it is asked."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.FLOAT and tensor.size > LARGE:
            value.const_value = ir.tensor(tensor.numpy(), tensor.dtype, name=tensor.name)


def _check_values(file: Path, model: ir.Model) -> None:
    """ModelError for names that no file of arrays can have, and for a model that computes nothing."""
    computed = [value for node in model.graph.all_nodes() for value in node.outputs]
    for value in (*model.graph.inputs, *model.graph.initializers.values(), *computed):
        name = str(value.name)
        if "\0" in name or len(name.encode(errors="replace")) > LONGEST_NAME:
            problem = "has a null character" if "\0" in name else f"has {len(name)} characters, more than {LONGEST_NAME}"
            raise ModelError(f"{file}: the name of a tensor, {name[:40]!r}..., {problem}; rename it")
    if model.graph.outputs and all(value.is_graph_input() for value in model.graph.outputs):
        raise ModelError(f"{file}: every output is an input of the model, which computes nothing; export it again")


def _check_operands(file: Path, model: ir.Model) -> None:
    for node in model.graph.all_nodes():
        for value in node.inputs:
            if value is not None and value.producer() is None and value.const_value is None and not value.is_graph_input():
                raise ModelError(f"{file}: node {node.name!r} reads {value.name!r}, which nothing computes; export the model again")


def _name_results(model: ir.Model) -> None:
    """Give what a function returns and its call does not name a name of its own: its nodes keep it once they are written out."""
    computed = {value.name for node in model.graph.all_nodes() for value in node.outputs}
    taken = computed | {value.name for value in model.graph.inputs} | set(model.graph.initializers)
    numbers = itertools.count()
    for node in model.graph.all_nodes():
        for value in node.outputs if node.op_identifier() in model.functions else ():
            if not value.name:
                value.name = next(name for number in numbers if (name := f"{node.op_type}.unnamed.{number}") not in taken)


def _name_nodes(model: ir.Model) -> None:
    """Give every node a name of its own and remember it, with the operator type, as its origin; of the metadata, only what
    EdgeFlow's exports say of quantizers stays."""
    taken: set[str] = set()
    for number, node in enumerate(model.graph.all_nodes()):
        name = node.name or f"{node.op_type}_{number}"
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f"{name}_{count}"
        taken.add(unique)
        node.name = unique
        own = node.metadata_props.get(EXACT)
        node.metadata_props.clear()
        if own is not None and is_known(node):
            node.metadata_props[EXACT] = own
        node.metadata_props[ORIGIN] = unique
        node.metadata_props[ORIGIN_TYPE] = node.op_type if not node.domain else f"{node.domain}.{node.op_type}"


def _check_operators(file: Path, model: ir.Model) -> None:
    version = model.opset_imports.get("", OPSETS.stop - 1)
    unknown: dict[tuple[str, str], list[RefusedNode]] = {}
    for node in model.graph.all_nodes():
        if node.domain in _FOREIGN or is_known(node):
            continue
        try:
            onnx.defs.get_schema(node.op_type, version, node.domain)
        except onnx.defs.SchemaError:
            domain = f" of domain {node.domain!r}" if node.domain else f" in operator set {version}"
            reason = f"there is no such ONNX operator{domain}"
            nodes = unknown.setdefault((node.op_type, reason), [])
            nodes.append(RefusedNode(node.name or node.op_type, node.op_type, reason))
    if unknown:
        remedy = "export the model without it, or take the operator's own library out of the export"
        causes = (Cause(operator, reason, remedy, tuple(nodes)) for (operator, reason), nodes in unknown.items())
        raise UnsupportedError(Diagnosis(str(file), tuple(causes)))
