"""The canonical float graph as differentiable torch code: one short function for each canonical operator.

Values are float32 tensors ``(batch, ...)`` by name, ids and masks integers. Weights may be given in place of the model's own, and
every activation may have a term added to it, so that the loss is differentiated with respect to either.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.errors import ToolchainError, UnsupportedError
from edgeflow.quant.canonical.graph import FloatGraph, origin, output_name
from edgeflow.quant.formats.plan import UNARY

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = Mapping[str, Tensor]

LEAST_COUNT = 1e-9  # of tokens that a masked mean divides by, as in the canonical MeanPool
MASKED = -3.0e38


@dataclass
class Trace:
    """What one evaluation kept: the wanted ``values`` by name; by linear layer's output its ``operands``, the input ``(batch, rows,
    K)`` and the product ``(batch, rows, N)``, where they were asked for."""

    values: dict[str, Tensor] = field(default_factory=dict)
    operands: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)


class TorchGraph:
    """A canonical model in torch. ``constants`` are its initializers by name."""

    def __init__(self, graph: FloatGraph) -> None:
        torch = require_torch()
        self.graph = graph
        self.constants: dict[str, Tensor] = {}
        for name, value in graph.model.graph.initializers.items():
            if value.const_value is not None:
                self.constants[name] = torch.from_numpy(np.array(value.const_value.numpy()))
        for node in graph.nodes:
            if node.op_type not in OPERATORS:
                raise UnsupportedError(f"{origin(node)}: no differentiable form of {node.op_type}")

    def run(
        self,
        inputs: Tensors,
        wanted: Collection[str],
        *,
        weights: Tensors | None = None,
        added: Tensors | None = None,
        operands: Collection[str] = (),
    ) -> Trace:
        """Evaluate the model on ``inputs (batch, ...)``.

        ``weights`` replace constants of the same name; ``added`` terms are added to activations or inputs of the same name before
        anything reads them. ``operands`` names the outputs of linear layers whose operands are kept.
        """
        added = added or {}
        values: dict[str, Tensor] = {**self.constants, **(weights or {})}
        for name, value in inputs.items():
            values[name] = value + added[name] if name in added else value
        trace = Trace()
        for node in self.graph.nodes:
            name = output_name(node)
            arguments = [values[str(v.name)] for v in node.inputs if v is not None]
            if node.op_type == "PatchEmbed":
                kh, kw = arguments[1].shape[2:]
                arguments = [patches(arguments[0], kh, kw), _columns(arguments[1]), arguments[2]]
            made = OPERATORS[node.op_type](node, *arguments)
            if name in operands:
                trace.operands[name] = (arguments[0], made)
            values[name] = made + added[name] if name in added else made
        trace.values = {name: values[name] for name in wanted}
        return trace


def require_torch() -> Any:
    """The torch module; ToolchainError says what to install where it is missing."""
    try:
        import torch
    except ImportError as error:
        raise ToolchainError("torch is missing, which differentiates the float model: pip install 'edgeflow[train]'") from error
    return torch


@contextmanager
def one_thread() -> Iterator[None]:
    """While the block runs, torch computes each operation in the thread that asks for it.

    The operations of small models take microseconds, and on a machine with other work torch's threads spend up to twenty times that
    waiting for each other. Probes run in parallel instead.
    """
    torch = require_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def patches(image: Tensor, kh: int, kw: int) -> Tensor:
    """Patches ``(batch, tokens, C * kh * kw)`` of ``image (batch, C, H, W)``, row by row."""
    batch, c, height, width = image.shape
    rows, columns = height // kh, width // kw
    x = image[:, :, : rows * kh, : columns * kw].reshape(batch, c, rows, kh, columns, kw)
    return x.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, c * kh * kw)


def _columns(weight: Tensor) -> Tensor:
    return weight.reshape(weight.shape[0], -1).T


LARGEST = 3.4028234663852886e38  # of float32


def _linear(_: ir.Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x @ weight + bias


def _attention(node: ir.Node, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    heads, scale = node.attributes.get_int("heads"), node.attributes.get_float("scale")
    assert heads is not None
    assert scale is not None
    batch, tokens = q.shape[:2]
    qh, kh, vh = (t.reshape(batch, t.shape[1], heads, -1).transpose(1, 2) for t in (q, k, v))
    scores = qh @ kh.transpose(2, 3) * scale
    if mask is not None:
        scores = scores.masked_fill((mask == 0)[:, None, None, :], MASKED)
    return (scores.softmax(-1) @ vh).transpose(1, 2).reshape(batch, tokens, -1)


def _mean_pool(_: ir.Node, x: Tensor, mask: Tensor | None = None) -> Tensor:
    if mask is None:
        return x.mean(1)
    weight = (mask != 0).to(x.dtype)[:, :, None]
    return (x * weight).sum(1) / weight.sum(1).clamp(min=LEAST_COUNT)


def _attends(_: ir.Node, mask: Tensor, low: Tensor, high: Tensor) -> Tensor:
    column = mask.to(low.dtype)[..., None]
    return ((column >= low) & (column <= high)).any(-1)


def _embedding(_: ir.Node, ids: Tensor, table: Tensor) -> Tensor:
    return table[ids.long()]


def _position_embedding(node: ir.Node, ids: Tensor, table: Tensor) -> Tensor:
    padding = node.attributes.get_int("padding")
    kept = (ids.long() != padding).long()
    return table[kept.cumsum(1) * kept + padding]


def _select_tokens(node: ir.Node, x: Tensor) -> Tensor:
    part = x[:, node.attributes.get_int("start") : node.attributes.get_int("stop")]
    return part.squeeze(1) if node.attributes.get_int("squeeze", 0) else part


def _select_channels(node: ir.Node, x: Tensor) -> Tensor:
    return x[..., node.attributes.get_int("start") : node.attributes.get_int("stop")]


def _constant_tokens(_: ir.Node, x: Tensor, tokens: Tensor) -> Tensor:
    return tokens.expand(x.shape[0], *tokens.shape[1:])


def _layer_norm(node: ir.Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.layer_norm(x, x.shape[-1:], scale, bias, float(node.attributes.get_float("epsilon", 1e-5) or 0.0))


def _concat(node: ir.Node, *parts: Tensor) -> Tensor:
    import torch

    batch = max(part.shape[0] for part in parts)
    axis = node.attributes.get_int("axis")
    assert axis is not None
    return torch.cat([part.expand(batch, *part.shape[1:]) for part in parts], dim=axis)


def _reshape(_: ir.Node, x: Tensor, shape: Tensor) -> Tensor:
    return x.reshape(x.shape[0], *(int(size) for size in shape[1:]))


def _transpose(node: ir.Node, x: Tensor) -> Tensor:
    axes = node.attributes.get_ints("perm")
    assert axes is not None
    return x.permute(*axes)


def _unary(node: ir.Node, x: Tensor) -> Tensor:
    import torch
    from torch.nn import functional

    def number(name: str, default: float) -> float:
        found = node.attributes.get_float(name, default)
        return default if found is None else found

    op = node.op_type
    if op == "Gelu":
        return functional.gelu(x, approximate=node.attributes.get_string("approximate", "none") or "none")
    if op == "HardSigmoid":
        return (number("alpha", 0.2) * x + number("beta", 0.5)).clamp(0.0, 1.0)
    if op == "Clip":
        return x.clamp(number("minimum", -LARGEST), number("maximum", LARGEST))
    if op == "LeakyRelu":
        return functional.leaky_relu(x, number("alpha", 0.01))
    if op in ("Elu", "Celu"):
        return (functional.elu if op == "Elu" else functional.celu)(x, number("alpha", 1.0))
    if op == "Selu":
        alpha, gamma = number("alpha", 1.6732632), number("gamma", 1.0507010)
        return gamma * functional.elu(x, alpha)
    if op == "QuickGelu":
        return x * torch.sigmoid(1.702 * x)
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "HardSwish": functional.hardswish,
        "Mish": functional.mish,
        "Silu": functional.silu,
        "Softplus": functional.softplus,
        "Softsign": functional.softsign,
    }
    return functions[op](x) if op in functions else getattr(torch, op.lower())(x)


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Add": lambda _, a, b: a + b,
    "Attention": _attention,
    "Concat": _concat,
    "ConstantTokens": _constant_tokens,
    "Attends": _attends,
    "Embedding": _embedding,
    "LayerNormalization": _layer_norm,
    "Linear": _linear,
    "MeanPool": _mean_pool,
    "Mul": lambda _, a, b: a * b,
    "PatchEmbed": _linear,
    "PositionEmbedding": _position_embedding,
    "Reshape": _reshape,
    "SelectChannels": _select_channels,
    "SelectTokens": _select_tokens,
    "Softmax": lambda _, x: x.softmax(-1),
    "Transpose": _transpose,
    **dict.fromkeys(UNARY, _unary),
}
