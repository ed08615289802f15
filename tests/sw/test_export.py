"""The exported model: the integer graph's words and formats, in files that onnxruntime and QONNX's own executor run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from canonical_models import linear, model, node
from command_line import Terminal
from network_zoo import NETWORKS
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from tiny_transformer import Tiny

import edgeflow
from edgeflow.hw.errors import InputError, ModelError
from edgeflow.hw.graph import Overflow, QType
from edgeflow.hw.layer_names import attention_roles, layer_names
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import check_inputs, decode_outputs, encode_inputs, model_inputs
from edgeflow.quant.canonical.session import MAXIMUM_IR_VERSION
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.formats.prequantized import set_format
from edgeflow.quant.nodes import ORIGIN, output_name
from edgeflow.quant.ptq import quantize
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor
from edgeflow.sw.export import Export, export_qdq, export_qonnx, exporter
from edgeflow.sw.export.renaming import Renaming, rename
from edgeflow.sw.files.arrays import read_npz
from edgeflow.sw.importer import import_model
from edgeflow.sw.measure.accuracy import float_outputs
from edgeflow.sw.rewrite.base import shape_of

Arrays = dict[str, NDArray[Any]]
LEVELS = (onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
MIXED = {
    "weight_bits": 2,
    "layers": {"node_expand_product": LayerBits(weight=3, activation=4), "node_logits_product": LayerBits(weight=4)},
}


@dataclass(frozen=True)
class Case:
    """A canonical model and its data."""

    model: ir.Model
    data: Arrays

    def quantized(self, **options: Any) -> Quantized:
        return quantize(self.model, self.data, QuantizationConfig(**options))

    def integer(self, quantized: Quantized) -> Mapping[str, NDArray[np.float32]]:
        """What the integer network makes of the data."""
        return decode_outputs(quantized.graph, Executor(quantized.graph).run(encode_inputs(quantized.graph, self.data)))


def load(path: Path, data: Arrays) -> Case:
    network = import_model(path, shapes={name: array.shape for name, array in data.items()})
    return Case(network, check_inputs(model_inputs(network), data))


@pytest.fixture(scope="module")
def block(tiny: Tiny) -> Case:
    """A transformer block whose heads of 8 channels are padded to 16, with GELU and a mean over tokens."""
    return load(tiny.model, read_npz(tiny.calibration))


@pytest.fixture(scope="module", params=["vit", "bert-mean"])
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """Patches, a class token and positions; token ids and masks."""
    pytest.importorskip("torch", reason="torch is not installed: pip install 'edgeflow[train]'")
    chosen = NETWORKS[request.param]
    return load(chosen.export(tmp_path_factory.mktemp("network")), chosen.data())


@pytest.fixture(scope="module")
def narrow(network: Case) -> Quantized:
    """The network with weights of 4 bits and activations of 6, but for the first and the last layer."""
    return network.quantized(weight_bits=4, activation_bits=6)


@pytest.fixture(scope="module")
def perceptron() -> Case:
    """Linear, ReLU, linear: nothing that the integer network computes in another way."""
    random, constants = np.random.default_rng(3), dict[str, NDArray[Any]]()
    nodes = [linear(random, constants, "x", "a", 12, 20), node("Relu", ["a"], "b"), linear(random, constants, "b", "y", 20, 5)]
    data = {"x": (random.normal(size=(400, 12)) + 1.0).astype(np.float32)}
    return Case(model(nodes, {"x": ("float32", (12,))}, {"y": (5,)}, constants), data)


def run(proto: onnx.ModelProto, data: Arrays, level: Any) -> Arrays:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.log_severity_level = 4
    # Fused unsigned-by-signed kernels saturate on processors without VNNI: products are not fused with the quantizers around them.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, data), strict=True))


def constants(proto: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    return {tensor.name: tensor for tensor in proto.graph.initializer}


def expected_words(case: Case, quantized: Quantized, layer: ir.Node) -> tuple[str, NDArray[np.int64], int]:
    """What a float layer's output is called in the file, and the integer graph's weights of the layer, without channels of padded
    heads, in the layout of the layer; their bits."""
    graph, known = quantized.graph, quantized.correspondence
    value = output_name(layer)
    makers = {node.output: node for node in graph.nodes}
    if f"{value}/weight" not in graph.constants:  # absorbed by what reads it
        assert layer.name is not None
        value = output_name(next(iter(case.model.graph.node(layer.name).outputs[0].uses())).node)
    maker = next(node for node in graph.nodes if f"{value}/weight" in node.inputs)
    words = graph.constants[f"{value}/weight"]
    rows = known[maker.output].channels
    x = makers.get(maker.inputs[0])
    source = x.inputs[0] if x is not None and x.op == "patches" else maker.inputs[0]
    columns = known[source].channels
    words = words if rows is None else words[rows]
    words = words if columns is None else words[:, columns]
    weight = layer.inputs[1]
    assert weight is not None
    shape = shape_of(weight)
    words = words.reshape(shape) if layer.op_type == "PatchEmbed" else words.T
    assert words.shape == shape
    name = f"{layer_names(graph)[maker.output]}.out" if maker.output in attention_roles(graph) else output_name(layer)
    return name, words, graph.tensors[f"{value}/weight"].qtype.bits


def check_words(case: Case, quantized: Quantized, proto: onnx.ModelProto) -> set[int]:
    """Every linear layer's words in the file are those of the integer graph; the bits that layers have."""
    tensors, widths = constants(proto), set()
    for layer in case.model.graph:
        if layer.op_type not in ("Linear", "PatchEmbed"):
            continue
        name, words, bits = expected_words(case, quantized, layer)
        stored = tensors[f"{name}/weight/words"]
        assert stored.data_type == (onnx.TensorProto.INT4 if bits <= 4 else onnx.TensorProto.INT8)
        assert np.array_equal(numpy_helper.to_array(stored).astype(np.int64), words)
        widths.add(bits)
    return widths


@pytest.mark.parametrize(
    ("options", "widths"),
    [({}, {8}), ({"weight_bits": 4, "activation_bits": 4}, {4, 8}), (MIXED, {2, 3, 4, 8}), ({"equalization": False}, {8})],
)
def test_padded_block(block: Case, options: dict[str, Any], widths: set[int]) -> None:
    quantized = block.quantized(**options)
    proto = export_qdq(block.model, quantized)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} == {""}
    assert (proto.ir_version, [(o.domain, o.version) for o in proto.opset_import]) == (MAXIMUM_IR_VERSION, [("", 21)])
    assert check_words(block, quantized, proto) >= widths
    integer, real = block.integer(quantized)["logits"], float_outputs(block.model, block.data)["logits"]
    for level in LEVELS:
        actual = run(proto, block.data, level)["logits"]
        # Nearer than float is, but for chance where attention's rounding is most of either distance.
        assert signal_to_noise(integer, actual) > max(signal_to_noise(real, integer) - 0.5, 25.0)


def test_networks(network: Case, narrow: Quantized) -> None:
    proto = export_qdq(network.model, narrow)
    onnx.checker.check_model(proto, full_check=True)
    check_words(network, narrow, proto)
    tables = [node for node in network.model.graph if node.op_type == "Embedding"]
    for table in tables:
        stored = numpy_helper.to_array(constants(proto)[f"{output_name(table)}/table/words"])
        assert stored.dtype == np.int8
        assert np.array_equal(stored, narrow.graph.constants[f"{output_name(table)}/table"])
    integer, real = network.integer(narrow), float_outputs(network.model, network.data)
    for level in LEVELS:
        actual = run(proto, network.data, level)
        for name, values in integer.items():
            if values.ndim == 2:  # the other output has tokens that the mask leaves out
                assert signal_to_noise(values, actual[name]) > signal_to_noise(real[name], values)


def test_formats_of_activations(network: Case, narrow: Quantized) -> None:
    tensors = constants(export_qdq(network.model, narrow))
    checked = 0
    for tensor, known in narrow.correspondence.items():
        qtype = narrow.graph.tensors[tensor].qtype
        name = f"{known.name}/quantized" if known.name in FloatGraph(network.model).inputs else tensor
        if qtype.overflow is Overflow.ERROR or f"{name}/scale" not in tensors:
            continue
        scales = qtype.scales if known.channels is None or not qtype.scales.ndim else qtype.scales[known.channels]
        stored = numpy_helper.to_array(tensors[f"{name}/scale"])
        assert np.array_equal(np.broadcast_to(stored, scales.shape), scales.astype(np.float32))
        zero = numpy_helper.to_array(tensors[f"{name}/zero_point"])
        assert zero.dtype == np.dtype(f"{'' if qtype.signed else 'u'}int{8 if qtype.bits <= 8 else 16}")
        assert np.all(zero == qtype.zero_point)
        checked += 1
    assert checked > 15


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"equalization": False},
        {"layers": {"a": LayerBits(weight=3, activation=8), "y": LayerBits(weight=2, activation=3)}},
        {"residual_bits": 10},
    ],
)
def test_linear_layers(perceptron: Case, options: dict[str, Any]) -> None:
    """Without attention and smooth functions a word is another only where float32 and the multipliers' 17 bits meet a tie."""
    quantized = perceptron.quantized(**options)
    proto = export_qdq(perceptron.model, quantized)
    check_words(perceptron, quantized, proto)
    integer = perceptron.integer(quantized)["y"]
    step = quantized.graph.tensors["y"].qtype.scales
    steps = [np.abs(run(proto, perceptron.data, level)["y"] - integer) / step for level in LEVELS]
    assert np.mean(steps[0] < 0.5) > 0.97
    assert steps[0].max() < 1.5
    assert np.mean(steps[1] < 0.5) > 0.97


def test_zero_points(perceptron: Case) -> None:
    """A one-sided input has a zero point, and the layer behind it takes it off."""
    quantized = perceptron.quantized()
    qtype = quantized.graph.tensors["x"].qtype
    assert qtype.zero_point not in (0, qtype.minimum)
    assert numpy_helper.to_array(constants(export_qdq(perceptron.model, quantized))["x/quantized/zero_point"]) == qtype.zero_point


def test_rows_of_zeros() -> None:
    """The row of a padding id is zeros, and so may be the weights of an output: each has a scale all the same."""
    random, constants = np.random.default_rng(5), dict[str, NDArray[Any]]()
    constants["table"] = random.normal(size=(9, 12)).astype(np.float32)
    constants["table"][0], constants["table"][4] = 0.0, 1e-9
    nodes = [node("Embedding", ["ids", "table"], "x"), linear(random, constants, "x", "y", 12, 5)]
    weights = nodes[1].input[1]
    constants[weights][:, 3] = 0.0
    ids = random.integers(0, 9, (50, 6))
    case = Case(model(nodes, {"ids": ("int64", (6,))}, {"y": (6, 5)}, constants), {"ids": ids})
    quantized = case.quantized()
    words, multiplier = (quantized.graph.constants[f"x/{name}"] for name in ("table", "multiplier"))
    assert not words[[0, 4]].any()
    assert multiplier.min() > 0
    integer = case.integer(quantized)["y"]
    step = np.max(quantized.graph.tensors["y"].qtype.scales)
    assert np.abs(run(export_qdq(case.model, quantized), case.data, LEVELS[0])["y"] - integer).max() < 1.5 * step
    assert len(np.unique(integer[(ids == 0) | (ids == 4)], axis=0)) == 1


@pytest.mark.filterwarnings("ignore")  # qonnx's own
def test_qonnx(network: Case, narrow: Quantized, monkeypatch: pytest.MonkeyPatch) -> None:
    """QONNX's own executor computes what onnxruntime makes of QDQ, to the last bit where ties round alike."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    exported = export_qonnx(network.model, narrow)
    onnx.checker.check_model(exported)
    assert {node.op_type for node in exported.graph.node if node.domain} == {"Quant"}
    samples = len(next(iter(network.data.values())))
    for value in (*exported.graph.input, *exported.graph.output, *exported.graph.value_info):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param == "batch":
                axis.dim_value = samples  # which the executor wants to know
    for quant in exported.graph.node:
        for attribute in quant.attribute:
            if attribute.name == "rounding_mode":
                assert attribute.s == b"HALF_UP"
                attribute.s = b"ROUND"  # as QuantizeLinear does
    monkeypatch.setattr(onnx, "IR_VERSION", MAXIMUM_IR_VERSION)  # of the files that it hands to onnxruntime
    actual = execute_onnx(ModelWrapper(exported).transform(InferShapes()), network.data)
    expected = run(export_qdq(network.model, narrow), network.data, LEVELS[0])
    for name, values in expected.items():
        assert np.array_equal(actual[name], values)


def test_sums_of_few_bits(perceptron: Case) -> None:
    """A residual sum that the model itself has in 8 bits: the integer network makes it in 16 and rounds it once."""
    random, arrays = np.random.default_rng(5), dict[str, NDArray[Any]]()
    nodes = [
        linear(random, arrays, "x", "a", 12, 12),
        node("Add", ["x", "a"], "sum"),
        linear(random, arrays, "sum", "y", 12, 5),
        linear(random, arrays, "sum", "z", 12, 5),
        node("Add", ["y", "z"], "out"),
    ]
    network = model(nodes, {"x": ("float32", (12,))}, {"out": (5,)}, arrays)
    for layer in list(network.graph)[2:4]:
        set_format(layer, 0, QType(8, True, 0.05))
    set_format(network.graph.node("out"), None, QType(8, True, 0.1))
    case = Case(network, perceptron.data)
    quantized = case.quantized()
    assert {"sum/sum", "out/sum"} <= set(quantized.graph.tensors)
    proto = export_qdq(case.model, quantized)
    assert {"sum/sum", "out/sum"}.isdisjoint(name for node in proto.graph.node for name in node.output)
    differences = np.abs(run(proto, case.data, LEVELS[0])["out"] - case.integer(quantized)["out"]) / 0.1
    assert np.mean(differences < 0.5) > 0.97
    assert differences.max() < 1.5


def test_too_large(perceptron: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "LARGEST", 100)
    with pytest.raises(ModelError, match="a single ONNX file holds 2 GB at most"):
        export_qdq(perceptron.model, perceptron.quantized())


@pytest.mark.parametrize("export", [export_qdq, export_qonnx])
def test_names_and_metadata_tell_where_nodes_come_from(export: Export, network: Case, narrow: Quantized) -> None:
    facts = {"model": "vit.onnx", "board": "kv260"}
    proto = export(network.model, narrow, facts)
    assert (proto.producer_name, proto.producer_version) == ("edgeflow", edgeflow.__version__)
    about = {entry.key: entry.value for entry in proto.metadata_props}
    assert about["edgeflow.model"] == "vit.onnx"
    assert about["edgeflow.board"] == "kv260"
    linear_layers = [n for n in narrow.graph.nodes if n.op == "linear"]
    bits = sorted({narrow.graph.tensors[n.inputs[1]].qtype.bits for n in linear_layers}, reverse=True)
    assert [int(part.split(" (")[0]) for part in about["edgeflow.weight_bits"].split(", ")] == bits
    counted = sum(int(part.split(" (")[1].split()[0]) for part in about["edgeflow.weight_bits"].split(", "))
    assert counted == len(linear_layers)
    assert "8 (" in about["edgeflow.activation_bits"]
    known = {n.metadata_props.get("edgeflow.origin") for n in network.model.graph} | {v.name for v in network.model.graph.inputs}
    names = [n.name for n in proto.graph.node]
    assert len(set(names)) == len(names)
    assert not [name for name in names if re.fullmatch(r"node(_\d+)?", name)]
    for n in proto.graph.node:
        origins = [entry.value for entry in n.metadata_props if entry.key == "edgeflow.origin"]
        assert len(origins) == 1, n.name
        assert origins[0] in known, n.name
    values = {v for n in proto.graph.node for v in n.output}
    inputs = {v.name for v in (*proto.graph.input, *proto.graph.output)}
    callers = {str(n.name) for n in network.model.graph} | {str(v.name) for n in network.model.graph for v in n.outputs}
    roles, layers = attention_roles(narrow.graph), layer_names(narrow.graph)
    callers |= {name for output in roles for name in (layers[output], f"{layers[output]}.out")}
    callers |= {f"{name}/float" for name in callers} | inputs
    assert not [v for v in values if v not in callers and not any(v.startswith(f"{name}/") for name in callers)]
    assert not [key for n in proto.graph.node for key in (e.key for e in n.metadata_props) if key == "edgeflow.call"]


@pytest.mark.parametrize("export", [export_qdq, export_qonnx])
def test_queries_keys_and_values_are_called_as_in_reports(export: Export, network: Case, narrow: Quantized) -> None:
    """Layers, their outputs and their weights; layers that nothing but a number told apart are told apart by what they are."""
    proto, names, roles = export(network.model, narrow), layer_names(narrow.graph), attention_roles(narrow.graph)
    nodes = {n.name for n in proto.graph.node}
    values = {value for n in proto.graph.node for value in n.output}
    assert roles
    for output in roles:
        assert f"{names[output]}/MatMul" in nodes
        assert f"{names[output]}.out" in values
        assert f"{names[output]}.out/weight" in values
    split = [names[node.output] for node in narrow.graph.nodes if node.output in roles and names[node.output] != node.origin]
    for name in split:
        origin = name.rpartition(" (")[0]
        assert not [n for n in nodes | values if re.match(re.escape(origin) + r"_\d+(/|\.out|$)", n)]
    if network.model.graph.inputs[0].name == "image":
        assert len(split) == len(roles)


def test_a_new_name_that_is_in_use_is_not_taken() -> None:
    """A layer whose new names another node, value or constant has keeps all of its own."""

    def renamed(*taken: str) -> list[str]:
        matrix = np.zeros((2, 2), np.float32)
        constants = [numpy_helper.from_array(matrix, name) for name in ("m_2.out/weight", *taken)]
        x, y = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, 2]) for name in ("x", "y"))
        layer = helper.make_node("MatMul", ["x", "m_2.out/weight"], ["m_2.out"], name="m_2")
        proto = helper.make_graph([layer, helper.make_node("Relu", ["m_2.out"], ["y"])], "graph", [x], [y], constants)
        graph = ir.from_proto(helper.make_model(proto))
        graph.graph[0].metadata_props[ORIGIN] = "m"
        rename(graph, [Renaming("m_2", "m_2.out", "m", "m (key)")])
        onnx.checker.check_model(ir.to_proto(graph))
        layer = ir.to_proto(graph).graph.node[0]
        return [layer.name, *layer.input, *layer.output]

    assert renamed() == ["m (key)", "x", "m (key).out/weight", "m (key).out"]
    assert renamed("m (key).out/weight") == ["m_2", "x", "m_2.out/weight", "m_2.out"]


@pytest.mark.parametrize("form", ["qdq", "qonnx"])
def test_export_of_a_build(form: str, tiny_build: Path, tmp_path: Path, terminal: Terminal) -> None:
    outcome = terminal.run("export", tiny_build, "--format", form, "-o", tmp_path / "out.onnx")
    assert outcome.status == 0
    assert str(tmp_path / "out.onnx") in outcome.out
    proto = onnx.load(tmp_path / "out.onnx")
    onnx.checker.check_model(proto)
    quants = {"qdq": "DequantizeLinear", "qonnx": "Quant"}[form]
    assert any(node.op_type == quants for node in proto.graph.node)
    if form == "qdq":
        assert (tmp_path / "out.onnx").read_bytes() == (tiny_build / "model.qdq.onnx").read_bytes()
        data = edgeflow.open_build(tiny_build).golden()
        actual = run(proto, data, LEVELS[1])["logits"]
        integer = edgeflow.simulate(tiny_build, data)["logits"]
        assert signal_to_noise(integer, actual) > 25.0


def test_bad_input(workplace: Path, terminal: Terminal, tmp_path: Path) -> None:
    assert "is not a folder" in terminal.refused("export", workplace / "nowhere", "-o", tmp_path / "out.onnx")
    assert "is not an EdgeFlow build" in terminal.refused("export", workplace, "-o", tmp_path / "out.onnx")
    assert "--format" in terminal.refused("export", workplace / "build", "--format", "tflite", "-o", tmp_path / "out.onnx")
    assert "-o" in terminal.refused("export", workplace / "build")
    message = terminal.refused("export", workplace / "build", "-o", tmp_path / "nowhere" / "out.onnx")
    assert message.endswith("is not a folder; create it or choose another")
    with pytest.raises(InputError, match="'tflite' is not known: choose from qdq, qonnx"):
        edgeflow.export(workplace / "build", tmp_path / "out.onnx", format="tflite")  # type: ignore[arg-type]
    assert not (tmp_path / "out.onnx").exists()


def test_build_without_correspondence(workplace: Path, tmp_path: Path) -> None:
    """A build is read as it was when it was opened; afterwards the file is missed."""
    opened = edgeflow.open_build(workplace / "build")
    (workplace / "build" / "correspondence.json").rename(tmp_path / "correspondence.json")
    try:
        edgeflow.export(opened, tmp_path / "out.onnx")
        with pytest.raises(InputError, match=r"lacks correspondence\.json: compile the model again"):
            edgeflow.export(edgeflow.open_build(workplace / "build"), tmp_path / "out.onnx")
    finally:
        (tmp_path / "correspondence.json").rename(workplace / "build" / "correspondence.json")
