"""Integer networks made by hand that drive the array into its corners."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgeflow.hw.arrays import IntArray
from edgeflow.hw.exponent import exponent_table
from edgeflow.hw.graph import Graph, Node, QType, TensorType
from edgeflow.hw.ops import make_node
from edgeflow.hw.ops.attention import Attention
from edgeflow.hw.ops.layernorm import LayerNorm, layernorm_parameters
from edgeflow.hw.ops.linear import Linear


class Builder:
    """Collects the tensors, constants and nodes of a graph."""

    def __init__(self, name: str, rows: int, channels: int, bits: int = 8, seed: int = 0) -> None:
        self.name, self.rng = name, np.random.default_rng(seed)
        self.tensors = {"x": TensorType((rows, channels), QType(bits, True, 1.0))}
        self.constants: dict[str, IntArray] = {}
        self.nodes: list[Node] = []

    def constant(self, name: str, value: IntArray, bits: int, signed: bool = True) -> str:
        self.constants[name] = value.astype(np.int64)
        self.tensors[name] = TensorType(value.shape, QType(bits, signed, 1.0))
        return name

    def linear(
        self,
        x: str,
        n: int,
        *,
        weight_bits: int = 8,
        bits: int = 8,
        signed: bool = True,
        table: bool = False,
        residual: str | None = None,
    ) -> str:
        """A linear layer of random numbers whose outputs fill their width."""
        name, (rows, k) = f"linear{len(self.nodes)}", self.tensors[x].shape
        low, high = -(1 << (weight_bits - 1)), (1 << (weight_bits - 1)) - 1
        weight = self.rng.integers(low, high + 1, size=(n, k))
        if weight_bits == 2:  # so lopsided a range would saturate every output: with these shares its mean is zero
            weight = self.rng.choice((-2, -1, 0, 1), p=(1 / 6, 1 / 6, 1 / 6, 1 / 2), size=(n, k))
        spread = float(self.tensors[x].qtype.maximum) * high * np.sqrt(k) / 3
        target = 10 if table else bits
        op = Linear(
            shift=max(0, int(np.ceil(np.log2(spread * 2.0**16 / 2.0 ** (target - 2))))),
            bits=bits,
            signed=signed,
            has_table=table,
            index_bits=10 if table else 0,
            output_shift=32 - bits if table else 0,
            has_residual=residual is not None,
            residual_multiplier=1 << 15 if residual else 0,
            residual_shift=16 if residual else 0,
            half_even=False,
        )
        inputs = [
            x,
            self.constant(f"{name}.weight", weight, weight_bits),
            self.constant(f"{name}.bias", self.rng.integers(-100, 100, size=n), 32),
            self.constant(f"{name}.multiplier", self.rng.integers(1 << 15, 1 << 17, size=n), 32),
        ]
        if table:
            inputs.append(self.constant(f"{name}.table", self.rng.integers(-(1 << 15), 1 << 15, size=1 << 10), 16))
            inputs.append(self.constant(f"{name}.output", self.rng.integers(1 << 15, 1 << 17, size=n), 32))
        if residual is not None:
            inputs.append(residual)
        return self.add(op, inputs, (rows, n), QType(bits, signed, 1.0))

    def attention(self, q: str, k: str, v: str, heads: int, bits: int = 8) -> str:
        """Attention of random scale over on-chip queries, keys and values."""
        name = f"attention{len(self.nodes)}"
        op = Attention(heads, 6, 8, 20, 14, bits, True, False)
        inputs = [
            *(q, k, v),
            self.constant(f"{name}.exponent", exponent_table(6, 8), 16, signed=False),
            self.constant(f"{name}.multiplier", self.rng.integers(1 << 14, 1 << 16, size=heads), 32),
            self.constant(f"{name}.numerator", self.rng.integers(1 << 15, 1 << 16, size=heads), 32),
        ]
        return self.add(op, inputs, self.tensors[q].shape, QType(bits, True, 1.0))

    def add(self, op: Linear | Attention, inputs: list[str], shape: tuple[int, ...], qtype: QType) -> str:
        output = f"{op.name}{len(self.nodes)}.out"
        self.tensors[output] = TensorType(shape, qtype)
        self.nodes.append(make_node(op, inputs, output, f"/{output}"))
        return output

    def graph(self, *outputs: str) -> Graph:
        return Graph(self.name, ("x",), outputs, self.tensors, self.constants, tuple(self.nodes))


class NormBuilder(Builder):
    """With layer normalization."""

    def norm(self, x: str, bits: int) -> str:
        name, n = f"norm{len(self.nodes)}", self.tensors[x].shape[-1]
        gamma, beta = self.rng.normal(1.0, 0.3, n), self.rng.normal(0.0, 0.3, n)
        scales = np.full(n, 6.0 / 2 ** (bits - 1))
        attributes, gain, offset, seed = layernorm_parameters(gamma, beta, 1e-5, n, 1.0, scales, 16, bits)
        op = LayerNorm(**attributes)  # type: ignore[arg-type]
        inputs = [
            x,
            self.constant(f"{name}.gain", gain, 18),
            self.constant(f"{name}.offset", offset, 32),
            self.constant(f"{name}.seed", seed, 32),
        ]
        output = f"{name}.out"
        self.tensors[output] = dataclasses.replace(self.tensors[x], qtype=QType(bits, True, 1.0))
        self.nodes.append(make_node(op, inputs, output, f"/{output}"))
        return output


def stream(rows: int, channels: int, hidden: int, bits: int = 8, weight_bits: int = 8, last: int = 16) -> Graph:
    """A residual stream: layers that add to it, each followed by a layer normalization of ``bits``, the last one by one of ``last``
    bits, whose result is an output too."""
    b = NormBuilder(f"stream {rows} {channels} {hidden} {bits} {weight_bits}", rows, channels)
    s = b.linear("x", channels, bits=16)
    for _ in range(2):
        n = b.norm(s, bits)
        h = b.linear(n, hidden, weight_bits=weight_bits, bits=bits, table=True)
        s = b.linear(h, channels, weight_bits=weight_bits, bits=16, residual=s)
    n = b.norm(s, last)
    return b.graph(n, b.linear(b.norm(s, bits), 24, weight_bits=weight_bits, bits=16))


def mlp(rows: int, channels: int, hidden: int, activation_bits: int, weight_bits: int) -> Graph:
    """Linear layers whose inner activations have ``activation_bits``, signed and unsigned, weights of ``weight_bits``."""
    b = Builder(f"mlp {rows} {activation_bits} {weight_bits}", rows, channels)
    x = b.linear("x", channels, bits=activation_bits)
    y = b.linear(x, hidden, weight_bits=weight_bits, bits=activation_bits, signed=False, table=True)
    z = b.linear(y, channels, weight_bits=weight_bits, bits=activation_bits)
    return b.graph(b.linear(z, 10, weight_bits=weight_bits, bits=16))


def attending(queries: int, heads: int, head_channels: int, bits: int = 8) -> Graph:
    """Linear layers to queries, keys and values, attention, and a linear layer behind it."""
    channels = heads * head_channels
    b = Builder(f"attention {queries} {heads} {head_channels}", queries, 48)
    q, k, v = (b.linear("x", channels) for _ in range(3))
    out = b.attention(q, k, v, heads, bits)
    return b.graph(out if bits > 8 else b.linear(out, 16, bits=16))
