"""Smooth rectifiers and softmax at 24 bits: which networks get them, and how near the function they are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from canonical_models import linear, model, node

from edgeflow.hw.ops import operator
from edgeflow.quant.canonical.tables import delta_reach, rectifier_delta
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.ptq import quantize

Arrays = dict[str, Any]


def normal(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("op", ["Gelu", "Silu", "HardSwish", "QuickGelu", "Softplus", "Relu"])
@pytest.mark.parametrize("reader", ["", "linear"])
def test_smooth_rectifiers_of_wide_tensors_err_by_less_than_a_step(op: str, reader: str) -> None:
    constants: Arrays = {}
    nodes = [node("Add", ["x", "x"], "z"), node(op, ["z"], "f" if reader else "y")]
    if reader:
        nodes.append(linear(np.random.default_rng(0), constants, "f", "y", 24, 8))
    network = model(nodes, {"x": ("float32", (6, 24))}, {"y": (6, 8 if reader else 24)}, constants)
    graph = quantize(network, {"x": normal(1, 60, 6, 24) * 2}).graph
    smooth = next(n for n in graph.nodes if n.op == "smooth")
    source, out = graph.tensors[smooth.inputs[0]].qtype, graph.tensors[smooth.output].qtype
    assert source.bits == 16
    assert out.bits == (8 if reader else 16)
    words = np.arange(source.minimum, source.maximum + 1)
    rectified = operator(smooth).reference([words.reshape(1, -1), graph.constants[smooth.inputs[1]]])[0]
    x = source.dequantize(words)
    expected = {
        "Gelu": x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2.0))),
        "Silu": x / (1 + np.exp(-x)),
        "HardSwish": x * np.clip(x / 6 + 0.5, 0, 1),
        "QuickGelu": x / (1 + np.exp(-1.702 * x)),
        "Softplus": np.logaddexp(0, x),
        "Relu": np.maximum(x, 0),
    }[op]
    inside = (expected >= out.dequantize(np.array(out.minimum))) & (expected <= out.dequantize(np.array(out.maximum)))
    error = np.abs(out.dequantize(rectified) - expected)[inside]
    # Half a step of rounding, an eighth where the table ends, and what linear interpolation in 176 segments leaves.
    assert error.max() < 0.65 * float(out.scales) + 2e-4
    assert inside.mean() > 0.2


def test_other_functions_are_no_rectifiers() -> None:
    for function in (np.abs, np.tanh, lambda x: np.where(x > 0, x, 0.1 * x), np.square, np.exp):
        assert rectifier_delta(function, 4.0) is None


def test_the_table_reaches_as_far_as_delta_does() -> None:
    delta = rectifier_delta(lambda x: x / (1 + np.exp(-x)), 40.0)
    assert delta is not None
    reach = delta_reach(delta, 40.0, 1e-4)
    assert delta(np.array([reach])) < 1e-4 < delta(np.array([reach - 0.05]))
    assert delta_reach(delta, 2.0, 1e-4) == 2.0


@pytest.mark.parametrize("bits", [12, 24])
def test_probabilities_that_leave_the_network_have_their_own_width(bits: int) -> None:
    constants: Arrays = {}
    rng = np.random.default_rng(0)
    before = linear(rng, constants, "x", "a", 16, 10)
    x = normal(1, 80, 3, 16) * 2
    inputs, config = {"x": ("float32", (3, 16))}, QuantizationConfig(softmax_bits=bits)
    last = model([before, node("Softmax", ["a"], "y", axis=-1)], inputs, {"y": (3, 10)}, constants)
    assert quantize(last, {"x": x}, config).graph.tensors["y"].qtype.bits == bits
    nodes = [before, node("Softmax", ["a"], "p", axis=-1), node("Add", ["p", "a"], "y")]
    inside = model(nodes, inputs, {"y": (3, 10), "p": (3, 10)}, constants)
    assert quantize(inside, {"x": x}, config).graph.tensors["p"].qtype.bits == 16
