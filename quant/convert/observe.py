"""Calibration: what values every tensor of the float model takes on the calibration data.

One pass over the data. Minimum, maximum and mean of every channel are exact; for the range search a random sample of rows of each
tensor is kept, and of some samples the extremes of every channel, of a size that does not grow with the data. Tokens that the
model's key mask excludes are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import CalibrationError
from edgeflow.hw.host import processors
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.masks import valid_keys
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.nodes import input_name

BATCH_BYTES = 128 << 20  # intermediate tensors held at a time
MAXIMUM_BATCH = 32
MINIMUM_ROWS = 256  # kept of wide tensors too
MINIMUM_SAMPLES = 64  # whose extremes are kept of wide tensors too
LARGEST = 1e15  # value of any tensor: sums of squares stay in single precision


@dataclass(frozen=True)
class _Choice:
    """Sorted numbers of what is kept of one kind of tensor: of its rows, and of the samples that have any."""

    rows: NDArray[np.int64]
    samples: NDArray[np.int64]


class _Collector:
    """Gathers the statistics of one tensor batch by batch."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.shape = shape
        channels = shape[-1] if shape else 1
        self.count = 0
        self.minimum = np.full(channels, np.inf)
        self.maximum = np.full(channels, -np.inf)
        self.total = np.zeros(channels)
        self.kept: list[NDArray[np.float32]] = []
        self.samples = 0
        self.lows: list[NDArray[np.float32]] = []
        self.highs: list[NDArray[np.float32]] = []

    def add(self, rows: Array, sizes: NDArray[np.int64], choice: _Choice) -> None:
        """Take ``rows (n, C)`` of samples that have ``sizes`` rows each, in this order."""
        if not len(rows):  # samples whose tokens are all masked
            return
        lows, highs = _extremes(rows, sizes[sizes > 0])
        low, high = lows.min(axis=0), highs.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise CalibrationError(
                f"calibration: tensor {self.name!r} of the float model holds NaN or infinite values; check the model and the data"
            )
        self.minimum, self.maximum = np.minimum(self.minimum, low), np.maximum(self.maximum, high)
        if (largest := max(-float(low.min()), float(high.max()))) > LARGEST:
            raise CalibrationError(
                f"calibration: tensor {self.name!r} of the float model reaches {largest:.1e}, where squares overflow single"
                " precision; check how the data is scaled"
            )
        self.total += rows.mean(axis=0, dtype=np.float64 if len(rows) > 1 << 16 else np.float32) * np.float64(len(rows))
        self.kept.append(rows[_within(choice.rows, self.count, len(rows))].astype(np.float32))
        self.count += len(rows)
        here = _within(choice.samples, self.samples, len(lows))
        self.lows.append(lows[here].astype(np.float32))
        self.highs.append(highs[here].astype(np.float32))
        self.samples += len(lows)

    def statistics(self) -> Statistics:
        """What was gathered."""
        mean = self.total / self.count
        rows, lows, highs = (np.concatenate(kept) for kept in (self.kept, self.lows, self.highs))
        return Statistics(self.shape, self.count, self.minimum, self.maximum, mean, rows, self.samples, lows, highs)


def _extremes(rows: Array, sizes: NDArray[np.int64]) -> tuple[Array, Array]:
    """The least and the largest values ``(samples, C)`` of samples with ``sizes`` rows each, at least one."""
    if (sizes == sizes[0]).all():
        grouped = rows.reshape(len(sizes), int(sizes[0]), -1)
        return grouped.min(axis=1), grouped.max(axis=1)
    starts = np.cumsum(sizes) - sizes
    return np.minimum.reduceat(rows, starts, axis=0), np.maximum.reduceat(rows, starts, axis=0)


def _within(numbers: NDArray[np.int64], start: int, count: int) -> NDArray[np.int64]:
    """Which of the sorted ``numbers`` lie in ``start`` to ``start + count``, counted from ``start``."""
    return numbers[(numbers >= start) & (numbers < start + count)] - start


def observe(
    graph: FloatGraph, arrays: Mapping[str, Array], config: QuantizationConfig, progress: Progress | None = None
) -> dict[str, Statistics]:
    """Statistics of every floating-point activation by name, for checked calibration data.

    Raises CalibrationError where the model produces NaN or infinite values.
    """
    samples = len(next(iter(arrays.values())))
    valid = valid_tokens(graph, arrays)
    collectors: dict[str, _Collector] = {}
    chosen: dict[tuple[int, int, int], _Choice] = {}
    start, batch = 0, 1
    with ThreadPoolExecutor(processors()) as pool:
        while start < samples:
            piece = slice(start, min(start + batch, samples))
            inputs = {name: array[piece] for name, array in arrays.items()}
            values = graph.every_tensor.run(inputs) | inputs
            here = None if valid is None else valid[piece]
            work = []
            for name, array in values.items():
                if array.dtype.kind != "f":
                    continue
                shape = array.shape[1:]
                collector = collectors.setdefault(name, _Collector(name, shape))
                masked = here is not None and len(shape) >= 2 and shape[0] == here.shape[1]
                rows = array[here] if masked and here is not None else array
                tokens = np.ones(samples, dtype=np.int64) if valid is None or not masked else valid.sum(axis=1)
                tokens = tokens * int(np.prod(shape[1:-1] if masked else shape[:-1], dtype=np.int64))
                channels = shape[-1] if shape else 1
                key = (int(tokens.sum()), int((tokens > 0).sum()), channels)
                if key not in chosen:
                    chosen[key] = _choose(*key, config)
                work.append((collector, rows.reshape(-1, channels), tokens[piece], chosen[key]))
            for _ in pool.map(lambda task: task[0].add(*task[1:]), work):
                pass
            start = piece.stop
            used = sum(array.nbytes for array in values.values()) // batch
            batch = max(1, min(MAXIMUM_BATCH, BATCH_BYTES // max(used, 1)))
            if progress is not None:
                progress("calibrate", start, samples)
    return {name: collector.statistics() for name, collector in collectors.items()}


def _choose(rows: int, samples: int, channels: int, config: QuantizationConfig) -> _Choice:
    """What to keep of a tensor that has so many rows, from so many samples."""

    def drawn(total: int, least: int, values: int) -> NDArray[np.int64]:
        keep = min(total, max(least, values // channels))
        rng = np.random.default_rng([config.seed, total, channels])
        return np.sort(rng.choice(total, keep, replace=False))

    return _Choice(drawn(rows, MINIMUM_ROWS, config.sample_values), drawn(samples, MINIMUM_SAMPLES, config.sample_values // 2))


def valid_tokens(graph: FloatGraph, arrays: Mapping[str, Array]) -> NDArray[np.bool_] | None:
    """Which tokens count, ``(samples, tokens)``: those of the one key mask that every attention and pooling node reads, if so."""
    masks = {input_name(op.node, place) for op in graph.operators if (place := op.mask_operand()) is not None}
    if len(masks) != 1:
        return None
    name = masks.pop()
    valid = None if name is None else valid_keys(graph, name, arrays)
    return valid if valid is not None and valid.any() else None
