"""Models that Brevitas quantized keep their words, scales and bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quantized_measures import formats, integers, sqnr

from edgeflow.hw.errors import InputError
from edgeflow.quant.canonical.inputs import decode_outputs
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.ptq import Quantized, quantize
from edgeflow.sim.executor import Executor
from edgeflow.sw.importer import import_model
from edgeflow.sw.search.bit_allocation import choose_bits


@pytest.fixture(scope="module")
def zoo() -> Any:
    """The module of Brevitas networks."""
    pytest.importorskip("brevitas", reason="Brevitas is not installed: pip install 'edgeflow[qat]'")
    from edgeflow.models import brevitas

    return brevitas


@pytest.fixture(scope="module")
def exported(zoo: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Any, Path]]:
    """A network by class name, bits and kind of scales, with the file of one of its exports; each made once."""
    folder = tmp_path_factory.mktemp("brevitas")
    networks: dict[tuple[str, int, str], Any] = {}

    def get(name: str, bits: int, scales: str, form: str) -> tuple[Any, Path]:
        key = name, bits, scales
        path = folder / f"{name}{bits}{scales}.{form}.onnx".replace(" ", "_")
        if key not in networks:
            networks[key] = zoo.build(getattr(zoo, name), bits, scales)
        if not path.exists():
            zoo.export(networks[key], path, form)
        return networks[key], path

    return get


def compared(zoo: Any, network: Any, path: Path, *, count: int) -> tuple[Quantized, list[Any], float]:
    """The imported model, its words against Brevitas' and the SQNR of its output."""
    x = zoo.samples(type(network), count, seed=7)
    recorded, expected = zoo.record(network, x)
    model = import_model(path)
    quantized = quantize(model, {str(model.graph.inputs[0].name): x.numpy()[:64]})
    graph = quantized.graph
    words = integers(graph, x.numpy())
    usable = {name: words[name] for name in words if name in formats(graph)}
    output = decode_outputs(graph, {name: words[name] for name in graph.outputs})[graph.outputs[0]]
    return quantized, zoo.compare(recorded, formats(graph), usable), sqnr(expected, output)


def layer_by_layer(zoo: Any, network: Any, path: Path, *, count: int) -> list[tuple[str, int, int]]:
    """For every quantizer behind a linear layer, given Brevitas' words before it: how many words differ, and how many of those are
    no ties, where Brevitas' single precision decides."""
    x = zoo.samples(type(network), count, seed=7)
    recorded, _ = zoo.record(network, x)
    quantized, rows, _ = compared(zoo, network, path, count=count)
    tensors = {row.quantizer: row.tensor for row in rows}
    layers = []
    for name, steps in zoo.exact(network, recorded).items():
        place = [entry.name for entry in recorded].index(name)
        before, entry = recorded[place - 1], recorded[place]
        part = zoo.between(quantized.graph, [tensors[before.name]], tensors[name])
        words = Executor(part).run({tensors[before.name]: before.words})[tensors[name]]
        wrong = words != entry.words
        tie = np.abs(steps - np.floor(steps) - 0.5) < zoo.TIE
        layers.append((name, int(wrong.sum()), int((wrong & ~tie).sum())))
    return layers


@pytest.mark.parametrize(
    ("bits", "scales", "form"),
    [
        (8, "tensor", "QCDQ"),
        (8, "channel", "QONNX"),
        (8, "power of two", "QCDQ"),
        (4, "tensor", "QONNX"),
        (4, "channel", "QCDQ"),
        (4, "power of two", "QONNX"),
    ],
)
def test_every_word_of_a_brevitas_mlp(zoo: Any, exported: Any, bits: int, scales: str, form: str) -> None:
    quantized, rows, _ = compared(zoo, *exported("Mlp", bits, scales, form), count=2000)
    assert quantized.warnings == ()
    assert [row.quantizer.split(".")[-2] for row in rows] == ["quantize", "1", "3", "4"]
    assert [node.op for node in quantized.graph.nodes] == ["linear"] * 3
    assert rows[0].different == 0
    if scales == "power of two":  # Brevitas' own sums are exact
        assert [row.different for row in rows] == [0] * 4
    else:
        assert sum(row.different for row in rows) < 1e-3 * sum(row.words for row in rows)


@pytest.mark.parametrize(
    ("name", "bits", "scales", "form"),
    [
        ("Mlp", 8, "tensor", "QCDQ"),
        ("Mlp", 8, "channel", "QONNX"),
        ("Mlp", 4, "channel", "QCDQ"),
        ("Mlp", 4, "power of two", "QONNX"),
        ("Patches", 8, "channel", "QCDQ"),
        ("Patches", 4, "tensor", "QONNX"),
        ("Patches", 4, "power of two", "QCDQ"),
    ],
)
def test_every_quantizer_agrees_to_the_last_bit(zoo: Any, exported: Any, name: str, bits: int, scales: str, form: str) -> None:
    rows = layer_by_layer(zoo, *exported(name, bits, scales, form), count=400)
    assert len(rows) == 3
    for quantizer, different, not_ties in rows:
        assert not_ties == 0, quantizer
        assert different <= (0 if scales == "power of two" else 3), quantizer


@pytest.mark.parametrize("scales", ["tensor", "channel"])
def test_weights_are_the_words_of_brevitas(exported: Any, scales: str) -> None:
    for form in ("QONNX", "QCDQ"):
        network, path = exported("Mlp", 4, scales, form)
        model = import_model(path)
        graph = quantize(model, {str(model.graph.inputs[0].name): np.ones((4, 64), np.float32)}).graph
        linear = [node for node in graph.nodes if node.op == "linear"]
        for node, layer in zip(linear, (network.layers[i] for i in (0, 2, 4)), strict=True):
            words = layer.quant_weight().int(float_datatype=False).numpy()
            np.testing.assert_array_equal(graph.constants[node.inputs[1]], words)
            assert graph.tensors[node.inputs[1]].qtype.bits == 4


@pytest.mark.parametrize(("bits", "form", "least"), [(8, "QONNX", 38.0), (8, "QCDQ", 38.0), (4, "QCDQ", 20.0)])
def test_a_brevitas_transformer_block(zoo: Any, exported: Any, bits: int, form: str, least: float) -> None:
    """Its integer tensors have exactly Brevitas' formats (or :func:`compare` raises); normalization, softmax and GELU have
    arithmetic of their own, so that words differ by little."""
    quantized, rows, fidelity = compared(zoo, *exported("Block", bits, "channel", form), count=200)
    assert quantized.warnings == ()
    assert len(rows) == 10
    assert rows[0].different == 0
    assert fidelity > least
    attention = next(node for node in quantized.graph.nodes if node.op == "attention")
    assert [row.tensor for row in rows[2:5]] == list(attention.inputs[:3])


def test_requests_for_other_bits_are_refused(exported: Any) -> None:
    model = import_model(exported("Mlp", 8, "tensor", "QCDQ")[1])
    data = {str(model.graph.inputs[0].name): np.ones((4, 64), np.float32)}
    with pytest.raises(InputError, match=r"^quantization option weight_bits is 4, but .* keeps its own formats \(8 bits there\)"):
        quantize(model, data, QuantizationConfig(weight_bits=4))
    layers = {"/layers/layers.0/Gemm": LayerBits(weight=4)}
    with pytest.raises(InputError, match=r"^quantization option layers asks for 4 bits in '/layers/layers.0/Gemm', but"):
        quantize(model, data, QuantizationConfig(layers=layers))
    request: Any = object()  # the model is looked at before the request
    with pytest.raises(InputError, match="bits are to be allocated, but the model is quantized already"):
        choose_bits(model, data, QuantizationConfig(), request, request)
