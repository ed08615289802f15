"""FIT (arXiv 2210.08502): the trace of the Fisher information instead of the Hessian's, from first derivatives only.

The trace of an activation's block is the mean over samples of the squared norm of the loss's gradient with respect to it, its
diagonal the mean of the squared gradient. One backward pass over a batch gives it for all activations and samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.torch_graph import one_thread
from edgeflow.quant.techniques.hawq.hessian import Traces
from edgeflow.quant.techniques.hawq.objective import Objective


@one_thread()
def fisher_traces(
    objective: Objective, activations: Sequence[str], *, draws: int = 1, seed: int = 0, progress: Progress | None = None
) -> Traces:
    """Traces of the Fisher information of activations, with their diagonals.

    ``draws``: how often targets are drawn for every sample where there are no labels. The standard error is that of the mean over
    samples and draws.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    draws = 1 if objective.labels is not None else draws
    by_sample: dict[str, list[NDArray[np.float64]]] = {name: [] for name in activations}
    diagonal: dict[str, NDArray[np.float64]] = {}
    for piece in objective.pieces():
        shapes = objective.model.run(piece.inputs, activations).values
        with torch.enable_grad():
            leaves = {name: torch.zeros_like(shapes[name], requires_grad=True) for name in activations}
            values = objective.model.run(piece.inputs, objective.tensors(), added=leaves).values
            for draw in range(draws):
                loss = objective.sampled(values, piece, generator)
                grads = torch.autograd.grad(loss, list(leaves.values()), retain_graph=draw + 1 < draws, materialize_grads=True)
                for name, grad in zip(activations, grads, strict=True):
                    squares = grad.square()
                    by_sample[name].append(squares.flatten(1).sum(1).double().numpy())
                    diagonal[name] = diagonal.get(name, 0.0) + squares.sum(0).double().numpy() / (draws * objective.samples)
        if progress is not None:
            progress("Fisher traces", piece.start + len(shapes[activations[0]]), objective.samples)
    samples = np.stack([np.concatenate(by_sample[name]) for name in activations], axis=1)
    mean = samples.mean(axis=0)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples)) if len(samples) > 1 else np.full(len(mean), np.inf)
    return Traces(
        dict(zip(activations, mean.tolist(), strict=True)),
        dict(zip(activations, error.tolist(), strict=True)),
        {name: values.size for name, values in diagonal.items()},
        samples,
        True,
        {name: values / max(float(values.mean()), 1e-300) for name, values in diagonal.items()},
    )
