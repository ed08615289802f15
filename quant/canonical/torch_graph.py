"""The canonical float graph as differentiable torch code: the torch form of every operator, one after another.

Values are float32 tensors ``(batch, ...)`` by name, ids and masks integers. Weights may be given in place of the model's own, and
every activation may have a term added to it, so that the loss is differentiated with respect to either.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflow.hw.errors import ToolchainError
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.linear import LinearLayer

if TYPE_CHECKING:
    from torch import Tensor

    Tensors = Mapping[str, Tensor]


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
        for op in self.graph.operators:
            name = op.output
            arguments = [values[str(v.name)] for v in op.node.inputs if v is not None]
            if name in operands and isinstance(op, LinearLayer):
                rows = op.torch_rows(arguments[0], tuple(arguments[1].shape))
                output = op.torch_product(rows, arguments[1], arguments[2])
                trace.operands[name] = (rows, output)
            else:
                output = op.torch(*arguments)
            values[name] = output + added[name] if name in added else output
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
