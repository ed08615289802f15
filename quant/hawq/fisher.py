"""FIT (arXiv 2210.08502): the trace of the Fisher information instead of the Hessian's, from first derivatives only.

The trace of a layer's block is the mean over samples of the squared norm of the loss's gradient. One backward pass over a batch
gives it for all layers and samples: of a linear layer ``y = x W`` the gradient of one sample is ``x^T g``, whose squared norm
needs no more than ``x`` and the gradient ``g`` of ``y``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.progress import Progress
from edgeflow.quant.hawq.hessian import Traces
from edgeflow.quant.hawq.objective import Objective
from edgeflow.quant.torch_graph import one_thread

if TYPE_CHECKING:
    from torch import Tensor


@one_thread()
def fisher_traces(
    objective: Objective,
    layers: Mapping[str, Sequence[str]],
    activations: Sequence[str],
    *,
    scales: Mapping[str, NDArray[np.float64]] | None = None,
    draws: int = 1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Traces:
    """Traces of the Fisher information of weights and activations.

    ``layers``: by weight, the outputs of the linear layers that read it. ``scales`` as in :func:`hessian.traces`. ``draws``: how
    often targets are drawn for every sample where there are no labels; ``scales`` of weights are ``(K, N)``. The standard error is
    that of the mean over samples and draws.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    draws = 1 if objective.labels is not None else draws
    names = [*layers, *activations]
    factors = {name: torch.from_numpy(np.asarray(scale, dtype=np.float32)) for name, scale in (scales or {}).items()}
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    count: dict[str, int] = {name: objective.model.constants[name].numel() for name in layers}
    diagonal: dict[str, NDArray[np.float64]] = {}
    outputs = [output for made in layers.values() for output in made]
    for piece in objective.pieces():
        shapes = objective.model.run(piece.inputs, activations).values
        size = len(next(iter(piece.inputs.values())))
        for name in activations:
            count[name] = shapes[name].numel() // size
        with torch.enable_grad():
            leaves = {name: torch.zeros_like(shapes[name], requires_grad=True) for name in activations}
            weights = {name: objective.model.constants[name].detach().clone().requires_grad_() for name in layers}
            trace = objective.model.run(piece.inputs, objective.tensors(), weights=weights, added=leaves, operands=outputs)
            made = [trace.operands[output][1] for output in outputs]
            for draw in range(draws):
                loss = objective.sampled(trace.values, piece, generator)
                wanted = [*made, *leaves.values()]
                grads = torch.autograd.grad(loss, wanted, retain_graph=draw + 1 < draws, materialize_grads=True)
                by_output = dict(zip(outputs, grads[: len(made)], strict=True))
                for name, readers in layers.items():
                    pairs = [(trace.operands[o][0].detach(), by_output[o]) for o in readers]
                    squares = _gradient(pairs, factors.get(name)).square()
                    found[name].append(squares.flatten(1).sum(1).double().numpy())
                    diagonal[name] = diagonal.get(name, 0.0) + squares.sum(0).double().numpy()
                for name, grad in zip(leaves, grads[len(made) :], strict=True):
                    scaled = grad * factors[name] if name in factors else grad
                    found[name].append(scaled.square().flatten(1).sum(1).double().numpy())
        if progress is not None:
            progress("Fisher traces", piece.start + size, objective.samples)
    shares = {name: squares / max(float(squares.mean()), 1e-300) for name, squares in diagonal.items()}
    samples = np.stack([np.concatenate(found[name]) for name in names], axis=1)
    mean = samples.mean(axis=0)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples)) if len(samples) > 1 else np.full(len(names), np.inf)
    return Traces(
        dict(zip(names, mean.tolist(), strict=True)), dict(zip(names, error.tolist(), strict=True)), count, samples, True, shares
    )


def _gradient(pairs: Sequence[tuple[Tensor, Tensor]], scale: Tensor | None) -> Tensor:
    """Sum of ``x^T g``, times ``scale (K, N)``, of every sample: ``x (batch, ..., K)``, ``g (batch, ..., N)``."""
    made = sum(x.reshape(len(x), -1, x.shape[-1]).transpose(1, 2) @ g.reshape(len(g), -1, g.shape[-1]) for x, g in pairs)
    assert not isinstance(made, int)
    return made if scale is None else made * scale
