"""Every registered float operator in all of its forms: onnxruntime, torch, integer graph, both exports, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from canonical_models import model
from onnx import helper

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph_equality import differences
from edgeflow.hw.verify import verify_graph
from edgeflow.quant.canonical.base import BATCH_NAME, FloatOperator, register, registry
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.canonical.movement import Transpose
from edgeflow.quant.canonical.session import FloatSession, open_session, run_session
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.canonical.torch_graph import TorchGraph
from edgeflow.quant.ptq import Quantized, quantize
from edgeflow.sim.executor import Executor
from edgeflow.sw.export import export_qdq, export_qonnx
from edgeflow.sw.importer import import_model, verify_canonical

Exporter = Callable[[ir.Model, Quantized], onnx.ModelProto]
NEAR_DB = 25.0  # integer network against float, of 8 bits


def drawn(name: str) -> tuple[ir.Model, Sketch]:
    """The network that an operator draws of itself, and its data."""
    sketch = Sketch(np.random.default_rng(sorted(registry()).index(name)))
    registry()[name].example(sketch)
    nodes = [
        helper.make_node(
            n.op,
            list(n.inputs),
            [n.output],
            name=n.output,
            domain=registry()[n.op].domain,
            overload=n.overload or None,
            **n.attributes,
        )
        for n in sketch.nodes
    ]
    inputs = {name: (array.dtype.name, array.shape[1:]) for name, array in sketch.inputs.items()}
    return model(nodes, inputs, sketch.outputs, sketch.constants), sketch


def signal_to_noise(expected: Array, actual: Array) -> float:
    error = float(np.square(actual.astype(np.float64) - expected).mean())
    return 10 * float(np.log10(np.square(expected, dtype=np.float64).mean() / max(error, 1e-300)))


@pytest.mark.parametrize("name", sorted(registry()))
class TestEveryOperator:
    def test_its_example_has_it_and_is_canonical(self, name: str) -> None:
        network, sketch = drawn(name)
        graph = FloatGraph(network)
        shapes = FloatSession(network, [op.output for op in graph.operators]).run(sketch.inputs)
        for op in graph.operators:  # as a model has them that was imported
            op.node.outputs[0].shape = ir.Shape([BATCH_NAME, *shapes[op.output].shape[1:]])
            op.node.outputs[0].dtype = ir.DataType.from_numpy(shapes[op.output].dtype)
        verify_canonical(network)
        assert any(op.name == name for op in FloatGraph(network).operators)
        assert sketch.outputs

    def test_torch_is_onnxruntime(self, name: str) -> None:
        import torch

        network, sketch = drawn(name)
        graph = FloatGraph(network)
        values = [op.output for op in graph.operators]
        expected = FloatSession(network, values).run(sketch.inputs)
        actual = TorchGraph(graph).run({key: torch.from_numpy(array) for key, array in sketch.inputs.items()}, values).values
        for value in values:
            np.testing.assert_allclose(actual[value].numpy(), expected[value], rtol=2e-5, atol=2e-5, err_msg=value)

    def test_the_integer_graph_is_near_the_float_one(self, name: str) -> None:
        network, sketch = drawn(name)
        quantized = quantize(network, sketch.inputs)
        verify_graph(quantized.graph)
        actual = decode_outputs(quantized.graph, Executor(quantized.graph).run(encode_inputs(quantized.graph, sketch.inputs)))
        for value, expected in FloatSession(network, list(sketch.outputs)).run(sketch.inputs).items():
            assert signal_to_noise(expected, actual[value]) > NEAR_DB, value

    @pytest.mark.parametrize("export", [export_qdq, export_qonnx])
    def test_exports_come_back(self, name: str, export: Exporter, tmp_path: Path) -> None:
        network, sketch = drawn(name)
        quantized = quantize(network, sketch.inputs)
        proto = export(network, quantized)
        if export is export_qdq:
            actual = run_session(open_session(proto), sketch.inputs)
            expected = FloatSession(network, list(sketch.outputs)).run(sketch.inputs)
            for value in sketch.outputs:
                assert signal_to_noise(expected[value], actual[value]) > NEAR_DB, value
        onnx.save(proto, tmp_path / "exported.onnx")
        returned = import_model(tmp_path / "exported.onnx", shapes={key: array.shape for key, array in sketch.inputs.items()})
        again = quantize(returned, {key: array[:3] for key, array in sketch.inputs.items()})
        assert list(differences(quantized.graph, again.graph)) == []


def test_registration_refuses_a_class_that_leaves_something_out() -> None:
    class Turn(Transpose):
        name: ClassVar[str] = "Turn"

    class Half(FloatOperator):
        name: ClassVar[str] = "Half"

    with pytest.raises(TypeError, match=r"float operator Half must define .*check.*convert.*torch"):
        register(Half)
    Turn.bodies = {"": "(x) => (y) { y = Identity (x) }"}
    with pytest.raises(TypeError, match=r"Turn: operators of EdgeFlow's domain, and only they, have function bodies"):
        register(Turn)
    Turn.bodies = {}
    Turn.name = "Transpose"
    with pytest.raises(TypeError, match="registered twice"):
        register(Turn)
    Turn.name, Turn.fuses = "Turn", True
    with pytest.raises(TypeError, match="fuses and must define convert_fused"):
        register(Turn)
    assert "Turn" not in registry()


def test_a_node_of_another_domain_is_no_canonical_operator() -> None:
    network = model([helper.make_node("Clip", ["x"], ["y"], name="y")], {"x": ("float32", (3,))}, {"y": (3,)}, {})
    with pytest.raises(UnsupportedError, match="y: no integer form of Clip"):
        _ = FloatGraph(network).operators
