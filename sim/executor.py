"""The NumPy executor: runs an integer graph exactly, fast.

Every value is an integer; arrays carry them as float32 where the format has at most 24 bits (hw/exact_float.py says why that is
exact). Samples are divided among threads, each of which runs single-threaded BLAS.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.graph import Graph
from edgeflow.hw.host import processors
from edgeflow.hw.ops import operator
from edgeflow.hw.progress import Progress

CARRIER_BITS = 24
CHUNK = 8  # samples that one thread takes at a time: bounds memory


class Executor:
    """An integer graph prepared for repeated runs."""

    def __init__(self, graph: Graph, threads: int | None = None) -> None:
        self.graph = graph
        self.threads = threads or processors()
        self._kernels = [operator(node).kernel(graph.formats(node), graph.node_constants(node)) for node in graph.nodes]
        last: dict[str, int] = {}
        for i, node in enumerate(graph.nodes):
            last |= dict.fromkeys(node.inputs, i)
        self._release = [
            tuple(n for n in dict.fromkeys(node.inputs) if last[n] == i and n not in graph.outputs)
            for i, node in enumerate(graph.nodes)
        ]

    def run(self, inputs: Mapping[str, IntArray], progress: Progress | None = None) -> dict[str, IntArray]:
        """Integer outputs ``(N, *shape)`` for integer inputs ``(N, *shape)`` by name."""
        return self._spread(inputs, self.graph.outputs, progress)

    def run_all(self, inputs: Mapping[str, IntArray], names: Sequence[str] | None = None) -> dict[str, IntArray]:
        """Every intermediate tensor (or those named), as :meth:`run`. Memory grows with all of them: use few samples."""
        wanted = [*self.graph.inputs, *(node.output for node in self.graph.nodes)] if names is None else list(names)
        return self._spread(inputs, wanted)

    def _spread(
        self, inputs: Mapping[str, IntArray], wanted: Sequence[str], progress: Progress | None = None
    ) -> dict[str, IntArray]:
        arrays = {name: _carry(inputs[name], self.graph.tensors[name].qtype.bits) for name in self.graph.inputs}
        samples = next(iter(arrays.values())).shape[0]
        size = min(CHUNK, max(1, -(-samples // self.threads)))
        pieces = [slice(i, min(i + size, samples)) for i in range(0, samples, size)]

        def work(piece: slice) -> dict[str, IntArray]:
            return self._run_piece({name: a[piece] for name, a in arrays.items()}, wanted)

        if len(pieces) == 1 or self.threads == 1:
            results = list(_watched(map(work, pieces), pieces, progress))
        else:
            with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(self.threads) as pool:
                results = list(_watched(pool.map(work, pieces), pieces, progress))
        return {name: np.concatenate([r[name] for r in results]) for name in wanted}

    def _run_piece(self, values: dict[str, Array], wanted: Sequence[str]) -> dict[str, IntArray]:
        keep = set(wanted)
        outputs: dict[str, IntArray] = {name: _words(values[name]) for name in keep & set(values)}
        for node, kernel, release in zip(self.graph.nodes, self._kernels, self._release, strict=True):
            activations = [values[name] for name in node.inputs if name not in self.graph.constants]
            result = values[node.output] = kernel(activations)
            if node.output in keep:
                outputs[node.output] = _words(result)
            for name in release:
                values.pop(name, None)
        return outputs


def _watched(
    results: Iterable[dict[str, IntArray]], pieces: Sequence[slice], progress: Progress | None
) -> Iterator[dict[str, IntArray]]:
    for piece, result in zip(pieces, results, strict=True):
        if progress is not None:
            progress("integer simulation", piece.stop, pieces[-1].stop)
        yield result


def _carry(value: IntArray, bits: int) -> Array:
    return value.astype(np.float32) if bits <= CARRIER_BITS else value


def _words(value: Array) -> IntArray:
    return value.astype(np.int64)
