"""The loss whose curvature says how much an error in a layer matters.

With labels it is the cross-entropy of the class output. Without, the model's own outputs are the target: for an output that stands
for classes (vectors from a linear layer or softmax, as in the accuracy report) the Kullback-Leibler divergence of the perturbed
distribution from the unperturbed one, for any other half the squared error over the mean squared norm of the output. At the
unperturbed weights both are at their minimum, so that their Hessian equals its Gauss-Newton form, ``J^T F J``: no curvature is
negative. Losses of several outputs add up; tokens that the key mask excludes do not count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import InputError
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.base import operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.labels import check_labels, class_outputs
from edgeflow.quant.canonical.torch_graph import TorchGraph, one_thread, require_torch
from edgeflow.quant.convert.observe import valid_tokens

if TYPE_CHECKING:
    import torch
    from torch import Tensor

BATCH_BYTES = 1 << 30  # of values that a gradient with its graph holds at a time
COPIES = 10  # of every activation, in the graph of a gradient that is differentiated again
LARGEST_BATCH = 64


@dataclass(frozen=True)
class Term:
    """The loss of one output: ``tensor`` is what it is computed from, ``kind`` cross-entropy to labels, divergence or squared
    error."""

    output: str
    tensor: str
    kind: str


@dataclass(frozen=True)
class Piece:
    """A batch of samples: inputs by name, for each term its target, which tokens count, ``(batch, tokens)``, and the number of the
    first sample."""

    inputs: Mapping[str, Tensor]
    targets: tuple[Tensor, ...]
    valid: Tensor | None
    start: int


class Objective:
    """The mean loss over ``samples`` of a model, batch by batch."""

    def __init__(
        self, graph: FloatGraph, arrays: Mapping[str, Array], labels: Array | None = None, progress: Progress | None = None
    ) -> None:
        """``arrays`` are checked model inputs. CalibrationError where ``labels (samples,)`` do not fit the model's outputs."""
        torch = require_torch()
        self.model = TorchGraph(graph)
        self.samples = len(next(iter(arrays.values())))
        self.labels = None if labels is None else check_labels(graph, np.asarray(labels), self.samples)
        self.terms = tuple(_terms(graph, labels is not None))
        self._arrays = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        valid = valid_tokens(graph, arrays)
        self._valid = None if valid is None else torch.from_numpy(valid)
        self.batch = _batch(graph, self.samples)
        self._targets = self._own_targets(progress)
        self._norms = self._squared_norms()

    def pieces(self) -> Iterator[Piece]:
        """All samples in batches of ``batch``."""
        for start in range(0, self.samples, self.batch):
            yield self._piece(start, self._targets)

    def chosen(self, samples: NDArray[np.int64]) -> Piece:
        """The samples of these numbers as one batch, whose ``start`` means nothing."""
        import torch

        part = torch.from_numpy(samples)
        inputs = {name: array[part] for name, array in self._arrays.items()}
        valid = None if self._valid is None else self._valid[part]
        return Piece(inputs, tuple(target[part] for target in self._targets), valid, 0)

    def loss(self, values: Mapping[str, Tensor], piece: Piece) -> Tensor:
        """Sum over a batch's samples of the loss, divided by the number of all samples."""
        import torch
        from torch.nn import functional

        total = torch.zeros(())
        for term, target, norm in zip(self.terms, piece.targets, self._norms, strict=True):
            value = values[term.tensor]
            if term.kind == "labels":
                total = total + functional.cross_entropy(value, target, reduction="sum")
            elif term.kind == "divergence":
                total = total + functional.kl_div(value.log_softmax(-1), target, reduction="sum", log_target=True)
            else:
                total = total + self._counted(value - target, piece).square().sum() / (2 * norm)
        return total / self.samples

    def sampled(self, values: Mapping[str, Tensor], piece: Piece, generator: torch.Generator) -> Tensor:
        """A sum over a batch's samples of losses whose gradients are each a sample's score.

        With labels the scores are those of the labels, which makes the empirical Fisher matrix; without, of targets drawn from the
        model's own distribution (classes from its softmax, normal errors around other outputs): the expectation of their outer
        product is the Gauss-Newton Hessian of :meth:`loss`.
        """
        import torch
        from torch.nn import functional

        total = torch.zeros(())
        for term, target, norm in zip(self.terms, piece.targets, self._norms, strict=True):
            value = values[term.tensor]
            if term.kind == "labels":
                total = total + functional.cross_entropy(value, target, reduction="sum")
            elif term.kind == "divergence":
                drawn = torch.multinomial(target.exp(), 1, generator=generator)[:, 0]
                total = total + functional.cross_entropy(value, drawn, reduction="sum")
            else:
                noise = torch.randn(value.shape, generator=generator)
                total = total + (self._counted(value, piece) * noise).sum() / norm.sqrt()
        return total

    def tensors(self) -> list[str]:
        """The values that the loss is computed from."""
        return [term.tensor for term in self.terms]

    def _piece(self, start: int, targets: tuple[Tensor, ...]) -> Piece:
        part = slice(start, min(start + self.batch, self.samples))
        inputs = {name: array[part] for name, array in self._arrays.items()}
        valid = None if self._valid is None else self._valid[part]
        return Piece(inputs, tuple(target[part] for target in targets), valid, start)

    @one_thread()
    def _own_targets(self, progress: Progress | None) -> tuple[Tensor, ...]:
        import torch

        if self.labels is not None:
            return (torch.from_numpy(self.labels),)
        outputs: list[list[Tensor]] = [[] for _ in self.terms]
        with torch.no_grad():
            for start in range(0, self.samples, self.batch):
                values = self.model.run(self._piece(start, ()).inputs, self.tensors()).values
                for term, parts in zip(self.terms, outputs, strict=True):
                    value = values[term.tensor]
                    parts.append(value.log_softmax(-1) if term.kind == "divergence" else value)
                if progress is not None:
                    progress("run the float model", min(start + self.batch, self.samples), self.samples)
        return tuple(torch.cat(parts) for parts in outputs)

    def _squared_norms(self) -> tuple[Tensor, ...]:
        import torch

        norms = [torch.zeros(()) for _ in self.terms]
        for piece in self.pieces():
            for i, (term, target) in enumerate(zip(self.terms, piece.targets, strict=True)):
                if term.kind == "squared":
                    norms[i] = norms[i] + self._counted(target, piece).square().sum() / self.samples
        return tuple(norm.clamp(min=1e-30) for norm in norms)

    def _counted(self, value: Tensor, piece: Piece) -> Tensor:
        """A value with zeros at the tokens that the key mask excludes."""
        if piece.valid is None or value.ndim < 3 or value.shape[1] != piece.valid.shape[1]:
            return value
        return value * piece.valid.reshape(*piece.valid.shape, *[1] * (value.ndim - 2)).to(value.dtype)


def _terms(graph: FloatGraph, labelled: bool) -> list[Term]:
    terms, classes = [], class_outputs(graph)
    for name in classes[:1] if labelled else graph.outputs:
        maker = graph.operator(name)
        if maker is None:
            continue
        tensor = name if maker.logits is None else maker.input(maker.logits)
        terms.append(Term(name, tensor, "squared" if name not in classes else "labels" if labelled else "divergence"))
    if not terms:
        raise InputError("no output of the model depends on a layer: its bits do not matter")
    return terms


def _batch(graph: FloatGraph, samples: int) -> int:
    """Samples whose gradient, with what its own gradient needs, is held at a time."""
    values = 0
    for node in graph.nodes:
        shape = [size for size in node.outputs[0].shape or () if isinstance(size, int)]
        values += int(np.prod(shape, dtype=np.int64))
        values += operator(node).held_values(tuple(shape))
    return max(1, min(samples, LARGEST_BATCH, BATCH_BYTES // (4 * COPIES * max(values, 1))))
