"""Largest and smallest over tokens: the words are those of the float result, with no error of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from canonical_models import linear, model, node

from edgeflow.hw.arrays import Array
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.ptq import Quantized, quantize
from edgeflow.sim.executor import Executor

TOKENS, WIDTH, SAMPLES = 7, 12, 40


def words(quantized: Quantized, data: dict[str, Array], names: list[str]) -> list[Array]:
    values = Executor(quantized.graph).run_all(encode_inputs(quantized.graph, data), names)
    return [values[name].astype(np.int64) for name in names]


@pytest.mark.parametrize("name", ["MaxPool", "MinPool"])
@pytest.mark.parametrize("masked", [False, True])
class TestExact:
    def data(self) -> dict[str, Array]:
        rng = np.random.default_rng(3)
        lengths = rng.integers(1, TOKENS + 1, SAMPLES)
        mask = (np.arange(TOKENS) < lengths[:, None]).astype(np.int64)
        return {"x": rng.normal(size=(SAMPLES, TOKENS, WIDTH)).astype(np.float32), "m": mask}

    def inputs(self, masked: bool) -> dict[str, Any]:
        return {"x": ("float32", (TOKENS, WIDTH))} | ({"m": ("int64", (TOKENS,))} if masked else {})

    def test_of_an_input(self, name: str, masked: bool) -> None:
        data = self.data() if masked else {"x": self.data()["x"]}
        network = model([node(name, list(data), "y")], self.inputs(masked), {"y": (WIDTH,)}, {})
        quantized = quantize(network, data)
        (integers,) = words(quantized, data, ["y"])
        expected = quantized.graph.tensors["y"].qtype.quantize(FloatSession(network, ["y"]).run(data)["y"])
        np.testing.assert_array_equal(integers, expected)

    def test_of_a_layer_in_few_bits(self, name: str, masked: bool) -> None:
        """The layer makes its output in the range of what is left of it, and nothing else is rounded."""
        rng = np.random.default_rng(4)
        constants: dict[str, Array] = {}
        pooled = node(name, ["h", "m"] if masked else ["h"], "y")
        nodes = [linear(rng, constants, "x", "h", WIDTH, 20), pooled, linear(rng, constants, "y", "z", 20, 5)]
        data = self.data() if masked else {"x": self.data()["x"]}
        quantized = quantize(model(nodes, self.inputs(masked), {"z": (5,)}, constants), data)
        graph = quantized.graph
        assert [n.op for n in graph.nodes] == ["linear", "extreme", "linear"]
        assert graph.tensors["h"].qtype == graph.tensors["y"].qtype
        assert graph.tensors["h"].qtype.bits == 8
        h, y = words(quantized, data, ["h", "y"])
        sign = 1 if name == "MaxPool" else -1
        counted = data["m"][:, :, None] != 0 if masked else np.True_
        np.testing.assert_array_equal(y, sign * np.where(counted, sign * h, -1000).max(axis=1))


def test_a_sample_without_tokens_leaves_the_statistics_alone() -> None:
    data = TestExact().data()
    network = model([node("MaxPool", ["x", "m"], "y")], TestExact().inputs(True), {"y": (WIDTH,)}, {})
    usual = quantize(network, data).graph.tensors["y"].qtype
    data["m"][5] = 0
    assert quantize(network, data).graph.tensors["y"].qtype.scale == pytest.approx(usual.scale, rel=0.2)
