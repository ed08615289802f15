"""Whole networks from ONNX file to C++: every word of every tensor, and the distance from what onnxruntime computes of the file."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from header_mutations import MUTATIONS, with_another_header
from network_zoo import NETWORKS, SAMPLES
from numpy.typing import NDArray
from onnx import numpy_helper
from onnx_graphs import Graph, normal
from operator_harness import ARCHITECTURES

import edgeflow
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import Arrays
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.sim import csim
from edgeflow.sim.compare import compare
from edgeflow.sim.counting import count_differences
from edgeflow.sw.compiler.codegen import write_overlay
from edgeflow.sw.files.build import Build, write_manifest

OVERLAY = ARCHITECTURES["16x16 axi128"]  # has every unit: one library serves all networks
WITHOUT_KEYS = "ignore:.*leave no key that takes part:UserWarning"  # of which there is one in the data


def agree(build: Build, *, exact: bool = False) -> None:
    """Float, NumPy and C++ have run the eight samples kept in the build; no word of any tensor differs."""
    verification = edgeflow.verify(build, exact=exact)
    samples = verification.samples
    assert samples == min(8, len(next(iter(build.golden().values()))))
    expected = {name: samples * int(np.prod(build.graph.tensors[name].shape)) for name in build.graph.inputs}
    expected |= {node.output: samples * int(np.prod(build.graph.tensors[node.output].shape)) for node in build.graph.nodes}
    assert {t.name: t.words for t in verification.tensors} == expected
    assert {t.name: (t.differing, t.first) for t in verification.tensors if t.differing} == {}
    assert verification.passed


def original(path: Path, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """What onnxruntime computes of the file itself, sample by sample: independent of the importer."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = [session.run(names, {k: v[i : i + 1] for k, v in inputs.items()}) for i in range(len(next(iter(inputs.values()))))]
    return {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(names)}


def decibel(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    noise = float(np.sum((expected.astype(np.float64) - actual) ** 2))
    return float("inf") if noise == 0 else float(10 * np.log10(np.sum(expected.astype(np.float64) ** 2) / noise))


def meaningful(output: NDArray[Any], mask: NDArray[Any] | None) -> NDArray[Any]:
    """The rows of an output that a key mask leaves a meaning: its tokens, or the samples that have any."""
    if mask is None:
        return output
    return output[mask != 0] if output.shape[:2] == mask.shape else output[mask.any(axis=1)]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Build]]:
    """The ONNX file and the build of a network by name, made once."""
    pytest.importorskip("torch", reason="torch is not installed: pip install 'edgeflow[train]'")
    folder = tmp_path_factory.mktemp("networks")
    done: dict[str, tuple[Path, Build]] = {}

    def get(name: str) -> tuple[Path, Build]:
        if name.startswith(("hf", "bert")):
            pytest.importorskip("transformers", reason="transformers is not installed: pip install 'edgeflow[text]'")
        if name not in done:
            path = NETWORKS[name].export(folder)
            done[name] = path, edgeflow.compile(path, calibration=NETWORKS[name].data(), output=folder / name, overlay=OVERLAY)
        return done[name]

    return get


@pytest.mark.parametrize("name", sorted(NETWORKS))
class TestNetwork:
    def test_every_word_agrees(self, name: str, networks: Callable[[str], tuple[Path, Build]]) -> None:
        agree(networks(name)[1])

    @pytest.mark.filterwarnings(WITHOUT_KEYS)
    def test_outputs_are_near_the_files(self, name: str, networks: Callable[[str], tuple[Path, Build]]) -> None:
        path, build = networks(name)
        inputs = NETWORKS[name].data()
        expected, actual = original(path, inputs), edgeflow.simulate(build, inputs)
        assert list(actual) == list(expected)
        mask = inputs.get("attention_mask")
        for output, value in expected.items():
            assert actual[output].shape == value.shape
            assert len(value) == SAMPLES
            assert decibel(meaningful(value, mask), meaningful(actual[output], mask)) > NETWORKS[name].minimum_db, output


@pytest.mark.parametrize("name", ["bert-mean", "vit"])
def test_counted_iterations_are_those_predicted(name: str, networks: Callable[[str], tuple[Path, Build]]) -> None:
    build = networks(name)[1]
    words = encode_inputs(build.graph, build.golden())
    library = csim.build(build.folder / "hls", count=True)
    assert count_differences(build.program, library, {name: value[0] for name, value in words.items()}) == []


@pytest.mark.filterwarnings(WITHOUT_KEYS)
def test_engines_give_the_same_outputs(networks: Callable[[str], tuple[Path, Build]]) -> None:
    build = networks("bert-mean")[1]
    inputs = {name: value[:5] for name, value in NETWORKS["bert-mean"].data().items()}
    by_numpy, by_csim = (edgeflow.simulate(build, inputs, engine=engine) for engine in ("numpy", "csim"))
    for name, value in by_numpy.items():
        np.testing.assert_array_equal(by_csim[name], value)


@pytest.mark.skipif(importlib.util.find_spec("hls4ml") is None, reason="the exact headers come with hls4ml")
def test_exact_headers_agree(networks: Callable[[str], tuple[Path, Build]]) -> None:
    agree(networks("bert-pooler")[1], exact=True)


@pytest.mark.parametrize("header", ["network/weigh.hpp", "layernorm.hpp"])
def test_a_wrong_header_is_caught(
    header: str, networks: Callable[[str], tuple[Path, Build]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "bert-mean"  # has masks, without which one of the mutations would be harmless
    good = networks(name)[1]
    old, new = next((old, new) for name, old, new in MUTATIONS if name == header)
    with_another_header(monkeypatch, header, old, new)
    shutil.copytree(good.folder, tmp_path / "build")
    write_overlay(tmp_path / "build" / "hls", good.program.architecture)
    write_manifest(tmp_path / "build", {**good.manifest, "files": {}})
    verification = edgeflow.verify(tmp_path / "build")
    assert not verification.passed
    kinds = {node.output: node.op for node in good.graph.nodes}
    first = next(t for t in verification.tensors if t.differing)
    assert kinds[first.name] == {"network/weigh.hpp": "attention", "layernorm.hpp": "layernorm"}[header]
    assert first.first is not None


# Boards and overlays


def block(
    path: Path, *, tokens: int = 5, width: int = 20, heads: int = 2, hidden: int = 36, classes: int = 3, gain: float = 1.0
) -> Path:
    """One pre-norm encoder block over ``x (batch, tokens, width)``, the mean over tokens and a classifier, written by hand."""
    g = Graph(17, seed=1)
    size = width // heads

    def linear(x: str, inner: int, outer: int) -> str:
        weight = (g.random.standard_normal((inner, outer)) * gain * inner**-0.5).astype(np.float32)
        return str(g.node("Add", g.node("MatMul", x, g.constant(weight)), g.weight(outer)))

    def norm(x: str) -> str:
        scale, bias = (g.constant(g.random.uniform(low, 1.2, width).astype(np.float32)) for low in (0.8, -1.2))
        return str(g.node("LayerNormalization", x, scale, bias, axis=-1))

    def split(x: str, order: list[int]) -> str:
        return str(g.node("Transpose", g.node("Reshape", x, g.constant(np.array([0, tokens, heads, size]))), perm=order))

    x = g.input("x", ("batch", tokens, width))
    n = norm(x)
    q, k, v = (split(linear(n, width, width), order) for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]))
    share = g.node("Softmax", g.node("Mul", g.node("MatMul", q, k), g.constant(np.float32(size**-0.5))), axis=-1)
    mixed = g.node("Transpose", g.node("MatMul", share, v), perm=[0, 2, 1, 3])
    x = g.node("Add", x, linear(g.node("Reshape", mixed, g.constant(np.array([0, tokens, width]))), width, width))
    x = g.node("Add", x, linear(g.node("Relu", linear(norm(x), width, hidden)), hidden, width))
    g.output(linear(g.node("ReduceMean", norm(x), axes=[1], keepdims=0), width, classes))
    return g.save(path.parent, path.name)


@pytest.mark.parametrize("board", edgeflow.boards())
def test_every_board(board: str, tmp_path: Path) -> None:
    x = normal((8, 5, 20))
    build = edgeflow.compile(block(tmp_path / "m.onnx"), board=board, calibration={"x": x}, output=tmp_path / "b")
    agree(build)
    assert build.board.name == board
    assert build.program.architecture.clock_mhz == build.board.clock_mhz
    assert all(r["used"] is None or r["used"] <= r["available"] for r in build.report["resources"].values())


def test_an_overlay_runs_a_smaller_model_and_refuses_a_larger_one(tmp_path: Path) -> None:
    large = block(tmp_path / "large.onnx", tokens=33, width=80, heads=2, hidden=160)
    first = edgeflow.compile(large, calibration={"x": normal((8, 33, 80))}, output=tmp_path / "large")
    overlay = first.folder / "overlay.json"

    small = block(tmp_path / "small.onnx", tokens=7, width=36, heads=3, hidden=20)
    second = edgeflow.compile(small, calibration={"x": normal((8, 7, 36))}, output=tmp_path / "small", overlay=overlay)
    agree(second)
    assert second.program.architecture == first.program.architecture
    assert json.loads((second.folder / "overlay.json").read_text()) == json.loads(overlay.read_text())

    larger = block(tmp_path / "larger.onnx", tokens=49, width=200, heads=2, hidden=260)
    with pytest.raises(edgeflow.UnsupportedError) as refusal:
        edgeflow.compile(larger, calibration={"x": normal((8, 49, 200))}, output=tmp_path / "larger", overlay=overlay)
    needs = r".*it needs max_channels 320, not 192; max_head 128, not 64\)"
    assert refusal.match(needs + r": node LayerNormalization_0 .*200 channels .* exceed .*; and \d+ more$")
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "larger").exists()


def test_one_library_runs_two_programs(tmp_path: Path) -> None:
    """The C++ of an overlay made for a larger model runs a smaller one's program as it is, word for word."""
    large = block(tmp_path / "large.onnx", tokens=33, width=80, heads=2, hidden=160)
    first = edgeflow.compile(large, calibration={"x": normal((8, 33, 80))}, output=tmp_path / "large")
    small = block(tmp_path / "small.onnx", tokens=7, width=36, heads=3, hidden=20)
    overlay = first.folder / "overlay.json"
    second = edgeflow.compile(small, calibration={"x": normal((8, 7, 36))}, output=tmp_path / "small", overlay=overlay)

    library = csim.build(first.folder / "hls")
    built = library.stat().st_ino
    for build in (first, second, first):
        words = encode_inputs(build.graph, build.golden())
        compared = compare(build.graph, build.program, library, words)
        assert {t.name: t.differing for t in compared if t.differing or not t.words} == {}
        assert len(compared) == len(build.graph.inputs) + len(build.graph.nodes)
    assert library.stat().st_ino == built
    # The smaller model's own folder holds the same C++: it is the same library, not one like it.
    assert csim.build(second.folder / "hls") == library


def test_an_overlay_without_a_unit_is_refused(tmp_path: Path) -> None:
    units = tuple(unit for unit in OVERLAY.units if unit not in ("layernorm", "pool"))
    overlay = OVERLAY.model_copy(update={"units": units})
    with pytest.raises(edgeflow.UnsupportedError, match=r"needs unit layernorm; unit pool\): node .*no layernorm unit"):
        edgeflow.compile(block(tmp_path / "m.onnx"), calibration={"x": normal((8, 5, 20))}, output=tmp_path / "b", overlay=overlay)


def test_attention_that_needs_more_slots_than_the_channels_compiles(tmp_path: Path) -> None:
    """65 tokens of 32 channels: the weights of 65 keys take more of the array's stationary memory than any linear layer's."""
    case = Path(__file__).parent / "cases" / "flat_attention"
    agree(edgeflow.compile(case.with_suffix(".onnx"), calibration=case.with_suffix(".npz"), output=tmp_path / "b", board="pynq-z2"))


SIZES = {
    "least": {"pi": 4, "po": 4, "epilogue": 2, "vector": 1, "axi_bits": 32, "max_channels": 64, "max_tokens": 64, "slots": 32},
    "wide and shallow": {"pi": 64, "po": 8, "epilogue": 4, "vector": 16, "axi_bits": 64, "weight_ports": 4},
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_words_do_not_depend_on_the_accelerator(sizes: Mapping[str, int], tmp_path: Path) -> None:
    x, path = {"x": normal((8, 5, 20))}, block(tmp_path / "m.onnx")
    overlay = Architecture.model_validate({**OVERLAY.model_dump(), **sizes})
    build = edgeflow.compile(path, calibration=x, output=tmp_path / "b", overlay=overlay)
    agree(build)
    other = edgeflow.compile(path, calibration=x, output=tmp_path / "o", overlay=OVERLAY)
    for name, value in edgeflow.simulate(other, x, engine="csim").items():
        np.testing.assert_array_equal(edgeflow.simulate(build, x, engine="csim")[name], value)


# Data that a user may give by mistake or by nature


def _spiked(x: NDArray[Any]) -> NDArray[Any]:
    x = x.copy()
    x[0, 0, 0] = 1e6
    return x


def _dead(x: NDArray[Any]) -> NDArray[Any]:
    return np.where(np.arange(x.shape[-1]) % 3 == 1, 0.0, x).astype(np.float32)


DATA: dict[str, tuple[Callable[[NDArray[Any]], NDArray[Any]], float | None]] = {
    # How the calibration data is made of normal values, and the least SQNR on it (None: what is left of it is luck).
    "zeros": (np.zeros_like, 30.0),
    "ones": (np.ones_like, 30.0),
    "channels that are always zero": (_dead, 25.0),
    "one sample": (lambda x: x[:1], 25.0),
    "one outlier": (_spiked, None),
    "huge": (lambda x: x * np.float32(1e6), 25.0),
    "tiny": (lambda x: x * np.float32(1e-8), 25.0),
    "tinier than any range": (lambda x: x * np.float32(1e-35), 25.0),
    "far from zero": (lambda x: x + np.float32(1e4), None),
}


@pytest.mark.parametrize("data", DATA)
def test_any_finite_calibration_data(data: str, tmp_path: Path) -> None:
    change, minimum_db = DATA[data]
    x, path = {"x": change(normal((16, 5, 20)))}, block(tmp_path / "m.onnx")
    build = edgeflow.compile(path, calibration=x, output=tmp_path / "b", overlay=OVERLAY)
    agree(build)
    if minimum_db is not None:
        (expected,), (actual,) = original(path, x).values(), edgeflow.simulate(build, x).values()
        assert decibel(expected, actual) > minimum_db


def test_a_dead_channel_costs_the_others_nothing(tmp_path: Path) -> None:
    """Ranges of channels that never move must not spoil the multipliers that all channels share."""
    path = block(tmp_path / "m.onnx")
    live = {"x": normal((16, 5, 20))}
    (expected,) = original(path, live).values()
    noise = []
    for name, calibration in (("all", live), ("dead", {"x": _dead(live["x"])})):
        build = edgeflow.compile(path, calibration=calibration, output=tmp_path / name, overlay=OVERLAY)
        (actual,) = edgeflow.simulate(build, {"x": _dead(live["x"])}).values()
        (expected,) = original(path, {"x": _dead(live["x"])}).values()
        noise.append(decibel(expected, actual))
    assert noise[1] > noise[0] - 3.0


@pytest.mark.parametrize("gain", [1e6, 1e-8])
def test_any_finite_weights(gain: float, tmp_path: Path) -> None:
    x = {"x": normal((16, 5, 20))}
    agree(edgeflow.compile(block(tmp_path / "m.onnx", gain=gain), calibration=x, output=tmp_path / "b", overlay=OVERLAY))


# Shapes of graphs that exporters seldom write, but people do

TOKENS, WIDTH = 5, 20


def _linear(g: Graph, x: str, inner: int, outer: int) -> str:
    return str(g.node("Add", g.node("MatMul", x, g.weight(inner, outer)), g.weight(outer)))


def _attention(g: Graph, *operands: str) -> str:
    def split(x: str, order: list[int]) -> str:
        return str(g.node("Transpose", g.node("Reshape", x, g.constant(np.array([0, TOKENS, 2, WIDTH // 2]))), perm=order))

    q, k, v = (split(x, order) for x, order in zip(operands, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True))
    share = g.node("Softmax", g.node("MatMul", q, k), axis=-1)
    mixed = g.node("Transpose", g.node("MatMul", share, v), perm=[0, 2, 1, 3])
    return str(g.node("Reshape", mixed, g.constant(np.array([0, TOKENS, WIDTH]))))


def _norm(g: Graph, x: str, scale: NDArray[Any] | None = None) -> str:
    gain = np.ones(WIDTH, np.float32) if scale is None else scale.astype(np.float32)
    return str(g.node("LayerNormalization", x, g.constant(gain), g.weight(WIDTH), axis=-1))


def _three(g: Graph, x: str) -> tuple[str, str, str]:
    return _linear(g, x, WIDTH, WIDTH), _linear(g, x, WIDTH, WIDTH), _linear(g, x, WIDTH, WIDTH)


def _shared_attention_operand(g: Graph, x: str) -> list[str]:
    both, value = _linear(g, x, WIDTH, WIDTH), _linear(g, x, WIDTH, WIDTH)
    return [_linear(g, _attention(g, both, both, value), WIDTH, WIDTH), _linear(g, value, WIDTH, 3)]


def _two_outputs(g: Graph, x: str) -> list[str]:
    middle = g.node("Relu", _linear(g, x, WIDTH, WIDTH))
    return [_linear(g, middle, WIDTH, 3), middle]


def _logits_and_softmax(g: Graph, x: str) -> list[str]:
    logits = _linear(g, x, WIDTH, 7)
    return [logits, g.node("Softmax", logits, axis=-1)]


def _number_a_sample(g: Graph, x: str) -> list[str]:
    score = _linear(g, g.node("ReduceMean", x, axes=[1], keepdims=0), WIDTH, 1)
    return [g.node("Sigmoid", g.node("Squeeze", score, g.constant(np.array([1]))))]


def _mixer(g: Graph, x: str) -> list[str]:
    across = g.node("Relu", _linear(g, g.node("Transpose", _norm(g, x), perm=[0, 2, 1]), TOKENS, 9))
    return [g.node("Add", x, g.node("Transpose", _linear(g, across, 9, TOKENS), perm=[0, 2, 1]))]


def _dead_affine(g: Graph, x: str) -> list[str]:
    scale = np.ones(WIDTH)
    scale[:4] = 0.0, 1e-9, -1.0, 1e3
    return [_linear(g, _norm(g, x, scale), WIDTH, 3), _norm(g, x, np.zeros(WIDTH))]


def _far_apart(g: Graph, x: str) -> list[str]:
    """Output channels whose sizes lie 10^14 apart."""
    sizes = (10.0 ** np.linspace(-8, 6, WIDTH)).astype(np.float32)
    spread = g.node("MatMul", x, g.constant(normal((WIDTH, WIDTH)) * sizes))
    return [_linear(g, _norm(g, spread), WIDTH, 3), g.node("Add", spread, x)]


GRAPHS: dict[str, Callable[[Graph, str], list[str]]] = {
    "addition last": lambda g, x: [g.node("Add", _linear(g, x, WIDTH, WIDTH), x)],
    "normalization last": lambda g, x: [_norm(g, x)],
    "attention last": lambda g, x: [_attention(g, *_three(g, x))],
    "attention of the input": lambda g, x: [_attention(g, x, x, x)],
    "attention of a normalization": lambda g, x: [_linear(g, _attention(g, *(_norm(g, x),) * 3), WIDTH, 3)],
    "attention with a shared operand": _shared_attention_operand,
    "attention after attention": lambda g, x: [_attention(g, _attention(g, *_three(g, x)), *_three(g, x)[:2])],
    "activation of the input": lambda g, x: [g.node("Tanh", x)],
    "softmax of the input": lambda g, x: [g.node("Softmax", x, axis=-1)],
    "logits and their softmax": _logits_and_softmax,
    "an input twice": lambda g, x: [g.node("Add", x, x), g.node("Mul", x, x), g.node("Sub", x, x)],
    "the input as an output": lambda g, x: [_linear(g, x, WIDTH, 3), g.node("Identity", x)],
    "an intermediate as an output": _two_outputs,
    "one output channel": lambda g, x: [_linear(g, x, WIDTH, 1)],
    "a thousand classes": lambda g, x: [_linear(g, g.node("ReduceMean", x, axes=[1], keepdims=0), WIDTH, 1000)],
    "one number a sample": _number_a_sample,
    "linear over linear": lambda g, x: [_linear(g, _linear(g, _linear(g, x, WIDTH, 33), 33, 65), 65, 7)],
    "linear over tokens": _mixer,
    "channels and tokens cut and joined": lambda g, x: [
        g.node("Concat", _linear(g, x, WIDTH, 7), g.node("Slice", x, *(g.constant(np.array([n])) for n in (3, 14, 2))), axis=2),
        g.node("Concat", x, g.node("Relu", _linear(g, x, WIDTH, WIDTH)), axis=1),
    ],
    "a gated layer": lambda g, x: [_linear(g, g.node("Mul", *_three(g, x)[:2]), WIDTH, 3)],
    "weights of zero": lambda g, x: [_linear(g, g.node("Relu", g.node("MatMul", x, g.constant(np.zeros((20, 9), "f")))), 9, 3)],
    "a normalization with dead channels": _dead_affine,
    "channels of very different size": _far_apart,
    "a factor of zero": lambda g, x: [g.node("Mul", x, g.constant(np.float32(0))), _linear(g, x, WIDTH, 3)],
}


@pytest.mark.parametrize("name", GRAPHS)
def test_any_graph(name: str, tmp_path: Path) -> None:
    g = Graph(17)
    for output in GRAPHS[name](g, g.input("x", ("batch", TOKENS, WIDTH))):
        g.output(output)
    path, x = g.save(tmp_path), {"x": normal((16, TOKENS, WIDTH))}
    build = edgeflow.compile(path, calibration=x, output=tmp_path / "b", overlay=OVERLAY)
    agree(build)
    expected, actual = original(path, x), edgeflow.simulate(build, x)
    assert list(actual) == list(expected)
    for output, value in expected.items():
        assert actual[output].shape == value.shape
        if value.any():
            assert decibel(value, actual[output]) > 20.0, output
        else:
            np.testing.assert_array_equal(actual[output], value)


@pytest.mark.parametrize("kind", ["float", "int64"])
def test_an_input_that_nothing_reads(kind: str, tmp_path: Path) -> None:
    from onnx import TensorProto

    g = Graph(17)
    x = g.input("x", ("batch", TOKENS, WIDTH))
    g.input("unused", ("batch", 3), TensorProto.FLOAT if kind == "float" else TensorProto.INT64)
    g.output(_linear(g, x, WIDTH, 3))
    data = {"x": normal((8, TOKENS, WIDTH)), "unused": np.arange(24).reshape(8, 3).astype(kind if kind == "int64" else "float32")}
    build = edgeflow.compile(g.save(tmp_path), calibration=data, output=tmp_path / "b", overlay=OVERLAY)
    agree(build)


def test_samples_that_are_padding_throughout(networks: Callable[[str], tuple[Path, Build]], tmp_path: Path) -> None:
    path, _ = networks("bert-mean")
    data = NETWORKS["bert-mean"].data()
    for masked in (slice(0, 1), slice(None)):  # the first sample is a batch of its own in calibration
        mask = data["attention_mask"].copy()
        mask[masked] = 0
        build = edgeflow.compile(path, calibration=data | {"attention_mask": mask}, output=tmp_path / "b", overlay=OVERLAY)
        agree(build)


# Files and names


def _in_half_precision(path: Path) -> Path:
    """The same model with float16 weights, inputs and outputs."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, path.with_name("half.onnx"))
    return path.with_name("half.onnx")


def test_a_model_in_half_precision(tmp_path: Path) -> None:
    x, path = {"x": normal((8, 5, 20))}, block(tmp_path / "m.onnx")
    build = edgeflow.compile(_in_half_precision(path), calibration=x, output=tmp_path / "b", overlay=OVERLAY)
    agree(build)
    (expected,), (actual,) = original(path, x).values(), edgeflow.simulate(build, x).values()
    assert decibel(expected, actual) > 25.0


def test_weights_among_the_inputs(tmp_path: Path) -> None:
    path = block(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.input.extend(onnx.helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in model.graph.initializer)
    onnx.save(model, path)
    agree(edgeflow.compile(path, calibration={"x": normal((8, 5, 20))}, output=tmp_path / "b", overlay=OVERLAY))


@pytest.mark.parametrize("name", ["file", "allow_pickle", "a/b:0", "../x", "input bild é", "y/weight"])
def test_any_input_name(name: str, tmp_path: Path) -> None:
    g = Graph(17)
    g.output(_linear(g, g.input(name, ("batch", WIDTH)), WIDTH, 3))
    build = edgeflow.compile(g.save(tmp_path), calibration={name: normal((8, WIDTH))}, output=tmp_path / "b", overlay=OVERLAY)
    agree(edgeflow.open_build(build.folder))


def test_plain_lists_are_arrays(tmp_path: Path) -> None:
    x = normal((8, 5, 20))
    build = edgeflow.compile(block(tmp_path / "m.onnx"), calibration={"x": x.tolist()}, output=tmp_path / "b", overlay=OVERLAY)
    agree(build)


@pytest.mark.parametrize(("level", "message"), [("2", None), ("", None), ("all", "EDGEFLOW_CHECK is 'all': set it to 0, 1 or 2")])
def test_check_level(level: str, message: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFLOW_CHECK", level)
    path, x = block(tmp_path / "m.onnx"), {"x": normal((8, 5, 20))}
    if message is None:
        edgeflow.compile(path, calibration=x, output=tmp_path / "b", overlay=OVERLAY)
    else:
        with pytest.raises(edgeflow.InputError, match=message):
            edgeflow.compile(path, calibration=x, output=tmp_path / "b", overlay=OVERLAY)
        assert not (tmp_path / "b").exists()
