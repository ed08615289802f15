"""Curvature by Hessian-vector products: traces of every layer from shared random probes, and largest eigenvalues.

HAWQ-V2 (arXiv 1911.03852): the trace of a layer's block of the Hessian is the mean of ``z^T H z`` over random signs ``z``
(Hutchinson). One probe serves all layers: with independent signs everywhere, ``sum z_i (H z)_i`` over one layer's elements has the
block's trace as its expectation, since the products with other blocks' signs average out. For activations the loss is a mean over
samples and the Hessian's blocks are those of single samples, so that the same sum is the mean over samples of ``z^T H z``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.host import processors
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.torch_graph import one_thread
from edgeflow.quant.techniques.hawq.objective import Objective, Piece

if TYPE_CHECKING:
    from torch import Tensor

POWER_STEPS = 100
POWER_TOLERANCE = 1e-3
ROUND = 8  # probes between two looks at the stop rule

Gradient = tuple[Sequence["Tensor"], Sequence["Tensor"], Piece]


@dataclass(frozen=True)
class Traces:
    """Estimated traces by block: ``mean``, its standard error ``error`` (of the probes; that of the data is not in it), ``count``
    of elements. ``shares``: of every activation, in the shape of a sample, the diagonal of its block over its mean, if known.
    ``samples[p]`` are the estimates of probe p, in the order of the blocks. ``converged`` says whether every block met the stop
    rule."""

    mean: Mapping[str, float]
    error: Mapping[str, float]
    count: Mapping[str, int]
    samples: NDArray[np.float64]
    converged: bool
    shares: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def probes(self) -> int:
        """Probes that were drawn."""
        return len(self.samples)


@dataclass
class _Blocks:
    """The tensors whose second derivatives are wanted: weights by name, or terms added to activations by name."""

    objective: Objective
    names: Sequence[str]
    activations: bool
    _kept: Gradient | None = field(default=None, repr=False)

    def gradients(self, piece: Piece) -> Gradient:
        """Leaves and the gradient of the loss with respect to them, itself differentiable; kept where one batch is all there is."""
        import torch

        if self._kept is not None:
            return self._kept
        objective = self.objective
        with torch.enable_grad():
            if self.activations:
                shapes = objective.model.run(piece.inputs, self.names).values
                leaves = {name: torch.zeros_like(shapes[name], requires_grad=True) for name in self.names}
                values = objective.model.run(piece.inputs, objective.tensors(), added=leaves).values
            else:
                leaves = {name: objective.model.constants[name].detach().clone().requires_grad_() for name in self.names}
                values = objective.model.run(piece.inputs, objective.tensors(), weights=leaves).values
            order = [leaves[name] for name in self.names]
            loss = objective.loss(values, piece)
            gradients = torch.autograd.grad(loss, order, create_graph=True, materialize_grads=True)
        kept = (order, gradients, piece)
        if objective.batch >= objective.samples:
            self._kept = kept
        return kept


def product(gradient: Gradient, vector: Sequence[Tensor]) -> Sequence[Tensor]:
    """``H v`` for a batch's gradient; the blocks in the order of its leaves."""
    import torch

    leaves, gradients, _ = gradient
    used = [(g, v) for g, v in zip(gradients, vector, strict=True) if g.requires_grad]
    if not used:  # a loss that is linear in all of them
        return [torch.zeros_like(leaf) for leaf in leaves]
    products: Sequence[Tensor] = torch.autograd.grad(
        [g for g, _ in used], leaves, [v for _, v in used], retain_graph=True, materialize_grads=True
    )
    return products


@one_thread()
def traces(
    objective: Objective,
    names: Sequence[str],
    *,
    activations: bool = False,
    scales: Mapping[str, NDArray[np.float64]] | None = None,
    balance: Mapping[str, float] | None = None,
    probes: int = 50,
    tolerance: float = 0.1,
    seed: int = 0,
    progress: Progress | None = None,
) -> Traces:
    """Hutchinson's estimate of the trace of every block of the Hessian: weights by name, or ``activations``.

    ``scales`` broadcast to a block: the trace is then that of the Hessian with respect to the elements divided by them, as
    integers with those steps see it. ``balance`` multiplies a block's probe and divides its estimate by the square: the products
    of signs of a large block and a small one then weigh less in the small one's estimate. Stops when every block's standard error
    is within ``tolerance`` of its mean, or of a hundredth of the largest mean, or after ``probes`` probes.
    """
    import torch

    blocks = _Blocks(objective, names, activations)
    weight = [(balance or {}).get(name, 1.0) for name in names]
    factors = [
        torch.from_numpy(np.asarray((scales or {}).get(name, 1.0) * w, dtype=np.float32))
        for name, w in zip(names, weight, strict=True)
    ]
    estimates = np.zeros((0, len(names)))
    count = {}
    converged = False
    with ThreadPoolExecutor(processors()) as pool:
        while len(estimates) < probes and not converged:
            here = min(ROUND, probes - len(estimates))
            round_estimates = np.zeros((here, len(names)))
            for piece in objective.pieces():
                gradient = blocks.gradients(piece)

                def estimate(number: int, gradient: Gradient = gradient, start: int = piece.start) -> list[float]:
                    vector = _signs(gradient[0], [seed, number, start if activations else 0], factors)
                    images = product(gradient, vector)
                    return [float((v * h).sum(dtype=torch.float64)) / w**2 for v, h, w in zip(vector, images, weight, strict=True)]

                numbers = range(len(estimates), len(estimates) + here)
                for number, values in zip(numbers, pool.map(estimate, numbers), strict=True):
                    round_estimates[number - len(estimates)] += values
                    if progress is not None:
                        progress("Hessian traces", number, probes)
                count = {name: leaf.numel() for name, leaf in zip(names, gradient[0], strict=True)}
                if activations:  # elements of one sample
                    count = {name: size // len(next(iter(piece.inputs.values()))) for name, size in count.items()}
            estimates = np.concatenate([estimates, round_estimates])
            mean, error = _moments(estimates)
            converged = bool(np.all(error <= tolerance * np.maximum(np.abs(mean), np.abs(mean).max() / 100)))
    mean, error = _moments(estimates)
    return Traces(
        dict(zip(names, mean.tolist(), strict=True)), dict(zip(names, error.tolist(), strict=True)), count, estimates, converged
    )


def _moments(estimates: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of every block and its standard error, infinite from a single probe."""
    n = len(estimates)
    mean = estimates.mean(axis=0)
    return mean, estimates.std(axis=0, ddof=1) / math.sqrt(n) if n > 1 else np.full(len(mean), math.inf)


def _signs(leaves: Sequence[Tensor], seed: Sequence[int], factors: Sequence[Tensor]) -> list[Tensor]:
    """Random signs for every element, times the factor of its block."""
    import torch

    rng = np.random.default_rng(list(seed))
    signs = []
    for leaf, factor in zip(leaves, factors, strict=True):
        bits = np.unpackbits(rng.integers(0, 256, (leaf.numel() + 7) // 8, dtype=np.uint8), count=leaf.numel())
        sign = torch.from_numpy(bits.astype(np.float32)).reshape(leaf.shape) * 2 - 1
        signs.append(sign * factor)
    return signs


@one_thread()
def top_eigenvalues(
    objective: Objective,
    names: Sequence[str],
    *,
    seed: int = 0,
    steps: int = POWER_STEPS,
    tolerance: float = POWER_TOLERANCE,
    progress: Progress | None = None,
) -> dict[str, float]:
    """The eigenvalue of largest magnitude of every weight's block of the Hessian, by power iteration (HAWQ, arXiv 1905.03696).

    A block is done when its Rayleigh quotient changes by less than ``tolerance`` of itself, or after ``steps`` steps.
    """
    eigenvalues = {}
    for i, name in enumerate(names):
        multiply = partial(_whole, objective, _Blocks(objective, [name], False))
        eigenvalues[name] = _power(multiply, objective.model.constants[name], (seed, i), steps, tolerance)
        if progress is not None:
            progress("largest eigenvalues", i + 1, len(names))
    return eigenvalues


def _whole(objective: Objective, blocks: _Blocks, vector: Tensor) -> Tensor:
    """``H v`` over all samples for a single block."""
    total: Any = 0
    for piece in objective.pieces():
        total = total + product(blocks.gradients(piece), [vector])[0]
    result: Tensor = total
    return result


def _power(multiply: Callable[[Tensor], Tensor], like: Tensor, seed: Sequence[int], steps: int, tolerance: float) -> float:
    import torch

    start = np.random.default_rng(list(seed)).standard_normal(tuple(like.shape)).astype(np.float32)
    vector = torch.from_numpy(start)
    value = 0.0
    for _ in range(steps):
        norm = vector.norm()
        if not float(norm) > 0.0:
            return 0.0
        vector = vector / norm
        image = multiply(vector)
        before, value = value, float((vector * image).sum(dtype=torch.float64))
        if abs(value - before) <= tolerance * abs(value):
            break
        vector = image
    return value


def exact_block(objective: Objective, name: str) -> NDArray[np.float64]:
    """A weight's block of the Hessian in full, ``(n, n)``: for small layers only."""
    import torch

    blocks = _Blocks(objective, [name], False)
    like = objective.model.constants[name]
    columns = []
    for i in range(like.numel()):
        unit = torch.zeros(like.numel())
        unit[i] = 1.0
        columns.append(_whole(objective, blocks, unit.reshape(like.shape)).reshape(-1).double().numpy())
    return np.stack(columns, axis=1)
