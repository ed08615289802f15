"""The calibration data in both networks while the integer one is being built: a layer's inputs, and the outputs wanted for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edgeflow.hw.arrays import Array
from edgeflow.hw.graph import Graph, Node, QType
from edgeflow.hw.host import processors
from edgeflow.hw.ops import operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.convert.observe import valid_tokens
from edgeflow.quant.integers.builder import GraphBuilder
from edgeflow.sim.executor import CARRIER_BITS

MEMORY = 1 << 30  # bytes of float tensors kept: as many samples are replayed as this holds
BATCH = 8  # samples that an integer operator or the float model takes at a time


class Replay:
    """Calibration samples in the float model and, as far as it is built, in the integer graph.

    ``wanted`` are the float activations that will be asked for. Tensors are computed when they are first asked for and kept.
    """

    def __init__(self, graph: FloatGraph, arrays: Mapping[str, Array], builder: GraphBuilder, wanted: Sequence[str]) -> None:
        self._graph = graph
        self._builder = builder
        self._wanted = tuple(dict.fromkeys(name for name in wanted if name not in graph.inputs))
        self._arrays = arrays
        self._valid = valid_tokens(graph, arrays)
        self._real: dict[str, Array] = {}
        self._words: dict[str, Array] = {}
        self._samples = 0

    def real(self, name: str) -> Array:
        """The float tensor ``(samples, ...)``."""
        self._start()
        return self._real[name]

    def words(self, tensor: str) -> Array:
        """An integer tensor ``(samples, ...)``, exactly as the accelerator computes it."""
        self._start()
        if tensor not in self._words:
            makers = {node.output: node for node in self._builder.nodes}
            for node in self._missing(tensor, makers):
                self._words[node.output] = self._evaluate(node)
        return self._words[tensor]

    def rows(self, array: Array) -> NDArray[np.float32]:
        """A tensor ``(samples, ..., C)`` as rows ``(n, C)``, without the tokens that the key mask excludes."""
        valid = None if self._valid is None else self._valid[: self._samples]
        if valid is not None and array.ndim >= 3 and array.shape[1] == valid.shape[1]:
            array = array[valid]
        return np.ascontiguousarray(array.reshape(-1, array.shape[-1]), dtype=np.float32)

    def _start(self) -> None:
        """Run the float model, on the first call."""
        if self._samples:
            return
        session = FloatSession(self._graph.model, self._wanted)
        total = len(next(iter(self._arrays.values())))
        first = session.run({name: array[:1] for name, array in self._arrays.items()})
        size = sum(array.nbytes for array in first.values())
        self._samples = max(1, min(total, MEMORY // max(size, 1)))
        held = {name: array[: self._samples] for name, array in self._arrays.items()}
        pieces = []
        for i in range(0, self._samples, BATCH):
            pieces.append(session.run({name: array[i : i + BATCH] for name, array in held.items()}))
        self._real = {name: np.concatenate([piece[name] for piece in pieces]) for name in self._wanted} | held
        builder = self._builder
        inputs = Graph(builder.name, tuple(builder.inputs), (), builder.tensors, {}, ())
        for name, words in encode_inputs(inputs, held).items():
            self._words[name] = _compact(words, builder.tensors[name].qtype)

    def _missing(self, tensor: str, makers: Mapping[str, Node]) -> list[Node]:
        """The nodes, in order, that have to run for a tensor."""
        needed, stack = set(), [tensor]
        while stack:
            name = stack.pop()
            if name in self._words or name in self._builder.constants or name in needed:
                continue
            needed.add(name)
            stack += makers[name].inputs
        return [node for node in self._builder.nodes if node.output in needed]

    def _evaluate(self, node: Node) -> Array:
        builder = self._builder
        constants = {i: builder.constants[name] for i, name in enumerate(node.inputs) if name in builder.constants}
        kernel = operator(node).kernel([builder.tensors[name].format for name in node.inputs], constants)
        operands = [(self._words[name], builder.tensors[name].qtype.bits) for name in node.inputs if name not in builder.constants]

        def work(start: int) -> Array:
            batch = slice(start, start + BATCH)
            output = kernel([words[batch].astype(np.float32 if bits <= CARRIER_BITS else np.int64) for words, bits in operands])
            return _compact(output, builder.tensors[node.output].qtype)

        with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(processors()) as pool:
            return np.concatenate(list(pool.map(work, range(0, self._samples, BATCH))))


def _compact(words: Array, qtype: QType) -> Array:
    """Integers in the smallest signed type that holds those of the format."""
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= qtype.minimum and qtype.maximum <= np.iinfo(kind).max:
            return words.astype(kind)
    return words.astype(np.int64)
