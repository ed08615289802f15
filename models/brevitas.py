"""Small networks quantized with Brevitas, and the integers that its quantizers make: what imported models are compared with.

Needs torch and Brevitas (``pip install 'edgeflow[qat]'``).
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.export import export_onnx_qcdq, export_qonnx
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjectorBase
from brevitas.quant.fixed_point import Int8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint, Uint8ActPerTensorFixedPoint
from brevitas.quant.scaled_int import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    Int32Bias,
    Uint8ActPerTensorFloat,
)
from brevitas.quant_tensor import IntQuantTensor
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgeflow.hw.graph import Graph

EXPORTS: Mapping[str, Callable[..., Any]] = {"QONNX": export_qonnx, "QCDQ": export_onnx_qcdq}
"""Brevitas' exporters by the name of the format."""


@dataclass(frozen=True)
class Quantizers:
    """Brevitas quantizers of weights, of signed and of unsigned activations."""

    weight: Any
    signed: Any
    unsigned: Any


SCALES: Mapping[str, Quantizers] = {
    "tensor": Quantizers(Int8WeightPerTensorFloat, Int8ActPerTensorFloat, Uint8ActPerTensorFloat),
    "channel": Quantizers(Int8WeightPerChannelFloat, Int8ActPerTensorFloat, Uint8ActPerTensorFloat),
    "power of two": Quantizers(Int8WeightPerTensorFixedPoint, Int8ActPerTensorFixedPoint, Uint8ActPerTensorFixedPoint),
}
"""Kinds of scales: one float a weight tensor, one float an output channel, powers of two."""


class _Network(nn.Module):
    """The constructors of layers that the networks here share."""

    def __init__(self, bits: int, scales: str) -> None:
        super().__init__()
        self.bits, self.kind = bits, SCALES[scales]

    def identity(self, bits: int | None = None) -> Any:
        """A quantizer of a signed activation."""
        return qnn.QuantIdentity(act_quant=self.kind.signed, bit_width=bits or self.bits, return_quant_tensor=True)

    def relu(self) -> Any:
        """ReLU and a quantizer without sign."""
        return qnn.QuantReLU(act_quant=self.kind.unsigned, bit_width=self.bits, return_quant_tensor=True)

    def linear(self, inputs: int, outputs: int, output_bits: int | None = None) -> Any:
        """A linear layer with a bias on the grid of its accumulator, its output quantized or not."""
        more = {} if output_bits is None else {"output_quant": self.kind.signed, "output_bit_width": output_bits}
        return qnn.QuantLinear(
            inputs, outputs, bias=True, weight_quant=self.kind.weight, weight_bit_width=self.bits, bias_quant=Int32Bias, **more
        )


class Mlp(_Network):
    """Linear layers with ReLU on vectors of 64; 8 bits at the output."""

    def __init__(self, bits: int = 8, scales: str = "channel") -> None:
        super().__init__(bits, scales)
        self.quantize = self.identity()
        self.layers = nn.Sequential(self.linear(64, 96), self.relu(), self.linear(96, 48), self.relu(), self.linear(48, 10, 8))

    def forward(self, x: Any) -> Any:
        """(batch, 64) to (batch, 10)."""
        return self.layers(self.quantize(x))


class Patches(_Network):
    """Patch embedding of 28 x 28 images, a class token, and two linear layers on every token."""

    def __init__(self, bits: int = 8, scales: str = "channel") -> None:
        super().__init__(bits, scales)
        self.pixels = self.identity(8)
        self.patch = qnn.QuantConv2d(
            1, 24, 7, stride=7, bias=True, weight_quant=self.kind.weight, weight_bit_width=self.bits, bias_quant=Int32Bias
        )
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.quantize = self.identity()
        self.layers = nn.Sequential(self.linear(24, 40), self.relu(), self.linear(40, 10, 8))

    def forward(self, image: Any) -> Any:
        """(batch, 1, 28, 28) to (batch, 17, 10)."""
        x = self.patch(self.pixels(image)).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        return self.layers(self.quantize(x))


class Block(_Network):
    """A pre-norm transformer block on (batch, 12, 48): quantized queries, keys, values and residual sums, GELU."""

    HEADS = 3

    def __init__(self, bits: int = 8, scales: str = "channel") -> None:
        super().__init__(bits, scales)
        dim = 48
        self.inputs, self.norm1, self.norm2 = self.identity(8), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.normed1, self.normed2, self.mixed, self.active = (self.identity() for _ in range(4))
        self.q, self.k, self.v = (self.linear(dim, dim, 8) for _ in range(3))
        self.project, self.up, self.down = self.linear(dim, dim), self.linear(dim, 2 * dim), self.linear(2 * dim, dim)
        self.sum1, self.sum2 = self.identity(8), self.identity(8)

    def heads(self, x: Any) -> Any:
        """(batch, tokens, 48) to (batch, heads, tokens, 16)."""
        return x.reshape(x.shape[0], x.shape[1], self.HEADS, -1).transpose(1, 2)

    def forward(self, x: Any) -> Any:
        """(batch, 12, 48) to the same."""
        x = _plain(self.inputs(x))
        y = self.normed1(self.norm1(x))
        q, k, v = (self.heads(_plain(layer(y))) for layer in (self.q, self.k, self.v))
        weights = ((q * 0.25) @ k.transpose(-2, -1)).softmax(-1)
        mixed = (weights @ v).transpose(1, 2).reshape(x.shape)
        x = _plain(self.sum1(x + self.project(self.mixed(mixed))))
        y = self.up(self.normed2(self.norm2(x)))
        return _plain(self.sum2(x + self.down(self.active(functional.gelu(_plain(y))))))


def _plain(x: Any) -> Any:
    return x.value if isinstance(x, IntQuantTensor) else x


SHAPES: Mapping[type[_Network], tuple[int, ...]] = {Mlp: (64,), Patches: (1, 28, 28), Block: (12, 48)}
"""Shape of one input sample of each network."""


def build(network: type[_Network], bits: int, scales: str, seed: int = 0) -> nn.Module:
    """A network with seeded weights whose ranges have seen seeded normal inputs, ready for evaluation."""
    torch.manual_seed(seed)
    with _quiet():
        model = network(bits, scales)
        model.train()
        for _ in range(4):
            model(samples(network, 64, seed + 1))
        model.eval()
    return model


def samples(network: type[_Network], count: int, seed: int) -> Tensor:
    """Seeded normal inputs ``(count, ...)``."""
    return torch.randn(count, *SHAPES[network], generator=torch.Generator().manual_seed(seed))


def export(model: nn.Module, path: Path, form: str) -> None:
    """Write a network as QONNX or QCDQ; the batch is that of one sample, which the importer sets free."""
    shape = SHAPES[type(model)]  # type: ignore[index]
    with _quiet():
        EXPORTS[form](model, torch.zeros(1, *shape), str(path), dynamo=False)


@dataclass(frozen=True)
class Recorded:
    """What one quantizer made: its format, and the integers ``(samples, ...)``."""

    name: str
    bits: int
    signed: bool
    scale: float
    words: NDArray[np.int64]


def record(model: nn.Module, x: Tensor) -> tuple[list[Recorded], NDArray[np.float32]]:
    """Run a network and return the integers of all its activation quantizers in their order, and its output."""
    recorded: list[Recorded] = []

    def note(name: str, module: Any) -> Callable[[Any, Any, Any], None]:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            if module.is_quant_enabled and isinstance(output, IntQuantTensor):
                scale, words = float(output.scale), output.int(float_datatype=False).numpy().astype(np.int64)
                recorded.append(Recorded(name, int(output.bit_width), bool(output.signed), scale, words))

        return hook

    hooks = [
        module.register_forward_hook(note(name, module))
        for name, module in model.named_modules()
        if isinstance(module, ActQuantProxyFromInjectorBase)
    ]
    try:
        with torch.no_grad(), _quiet():
            output = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return recorded, np.asarray(_plain(output).numpy(), np.float32)


@dataclass(frozen=True)
class Compared:
    """Words of one quantizer that differ from those of an integer tensor, and the largest difference."""

    quantizer: str
    tensor: str
    words: int
    different: int
    largest: int


def compare(
    recorded: Sequence[Recorded], formats: Mapping[str, tuple[int, bool, float]], words: Mapping[str, NDArray[np.int64]]
) -> list[Compared]:
    """Compare recorded integers with the tensors of an integer graph, both in their order of computation.

    ``formats`` are bits, sign and scale of the tensors, ``words`` their integers. A quantizer belongs to the first tensor left that
    has exactly its format and as many elements; ValueError where there is none.
    """
    left = list(words)
    compared = []
    for entry in recorded:
        format = (entry.bits, entry.signed, entry.scale)
        name = next((name for name in left if formats[name] == format and words[name].size == entry.words.size), None)
        if name is None:
            raise ValueError(f"no integer tensor has the format of {entry.name}: {format}")
        left.remove(name)
        distance = np.abs(words[name].reshape(entry.words.shape) - entry.words)
        compared.append(Compared(entry.name, name, distance.size, int((distance != 0).sum()), int(distance.max(initial=0))))
    return compared


TIE = 2.0**-15
"""Distance from half a step, in steps, within which single precision decides how a word of 8 bits is rounded."""


def exact(model: nn.Module, recorded: Sequence[Recorded]) -> dict[str, NDArray[np.float64]]:
    """What every quantizer behind a linear layer of an :class:`Mlp` or :class:`Patches` rounds, in its steps, in exact arithmetic.

    It follows from the integers of the quantizer before and those of the weights and biases.
    """
    by_name = {entry.name: entry for entry in recorded}
    steps: dict[str, NDArray[np.float64]] = {}
    last = by_name["quantize.act_quant"]
    if isinstance(model, Patches):
        pixels = by_name["pixels.act_quant"]
        patches = pixels.words.reshape(-1, 4, 7, 4, 7).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 49)
        token = np.broadcast_to(model.token.detach().numpy().astype(np.float64), (len(patches), 1, 24))
        tokens = _linear_steps(model.patch, patches, pixels.scale, last.scale)
        steps[last.name] = np.concatenate([token / last.scale, tokens], axis=1)
    layers: Any = model.layers
    for i in range(0, len(layers), 2):
        name = f"layers.{i + 1}.act_quant" if i + 1 < len(layers) else f"layers.{i}.output_quant"
        steps[name] = _linear_steps(layers[i], last.words, last.scale, by_name[name].scale)
        last = by_name[name]
    return steps


def _linear_steps(layer: Any, words: NDArray[np.int64], x_scale: float, y_scale: float) -> NDArray[np.float64]:
    with torch.no_grad():
        weight = layer.quant_weight()
        integers = weight.int(float_datatype=False).reshape(len(layer.weight), -1).numpy().astype(np.int64)
        unit = x_scale * weight.scale.reshape(-1).numpy().astype(np.float64)
        bias = np.rint(layer.bias.numpy().astype(np.float64) / unit)
    steps: NDArray[np.float64] = (words @ integers.T + bias) * (unit / y_scale)
    return steps


def between(graph: Graph, inputs: Sequence[str], output: str) -> Graph:
    """The part of an integer graph that computes one tensor from others."""
    needed: set[str] = {output}
    nodes = []
    for node in reversed(graph.nodes):
        if node.output in needed and node.output not in inputs:
            nodes.append(node)
            needed |= set(node.inputs)
    read = tuple(name for name in inputs if name in needed)
    return Graph(graph.name, read, (output,), graph.tensors, graph.constants, tuple(reversed(nodes)))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Brevitas and torch's exporter talk about named tensors, deprecations and tracing, which is nobody's concern here."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
