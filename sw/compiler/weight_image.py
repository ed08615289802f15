"""The weight image: constants that units read from it, at random or as a stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from edgeflow.hw.architecture import LINE_BYTES, Architecture, ceil_div, round_up
from edgeflow.hw.arrays import Array
from edgeflow.hw.ops.base import Packed
from edgeflow.hw.program import Parameter


class Image(Protocol):
    """Takes what instructions read from the weight image."""

    def place(self, name: str, data: Array) -> int:
        """Take an array for random access; returns its line."""

    def stream(self, name: str, *data: Array | Packed) -> tuple[int, int]:
        """Take a segment of the weight stream; returns first line and lines."""


class WeightImage:
    """The weight image under construction: line-aligned arrays, equal contents stored once."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture
        self._parts: list[bytes] = []
        self._known: dict[bytes, int] = {}
        self._line = 0
        self._parameters: dict[Parameter, None] = {}

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """What lies where, in order of first use."""
        return tuple(self._parameters)

    def place(self, name: str, data: Array) -> int:
        """Append an array's little-endian bytes; returns their line."""
        return self._append(name, _raw(data))

    def stream(self, name: str, *data: Array | Packed) -> tuple[int, int]:
        """Append a segment of the weight stream: arrays one after another, each padded to whole lines. Returns first line
        and lines.

        The ports read it together, each a contiguous run: port p holds the AXI words p, p + P, p + 2 P, ... of the segment.
        """
        raw = b"".join(_padded(_raw(part.make() if isinstance(part, Packed) else part), LINE_BYTES) for part in data)
        ports, word = self._architecture.weight_ports, self._architecture.word_bytes
        raw = _padded(raw, round_up(LINE_BYTES, ports * word))
        assert len(raw) // LINE_BYTES == stream_size(self._architecture, data)
        words = np.frombuffer(raw, dtype=np.uint8).reshape(-1, ports, word)
        permuted = np.ascontiguousarray(words.transpose(1, 0, 2)).tobytes()
        return self._append(name, permuted), len(permuted) // LINE_BYTES

    def _append(self, name: str, raw: bytes) -> int:
        line = self._known.get(raw)
        if line is None:
            line = self._known[raw] = self._line
            padded = _padded(raw, LINE_BYTES)
            self._parts.append(padded)
            self._line += len(padded) // LINE_BYTES
        self._parameters[Parameter(name, line, len(raw))] = None
        return line

    def encode(self) -> bytes:
        """The image; one line at least."""
        return b"".join(self._parts) or bytes(LINE_BYTES)


class SizedImage:
    """Counts lines without storing their contents, for predictions; equal contents are counted each time."""

    def __init__(self, architecture: Architecture) -> None:
        self._architecture = architecture
        self._line = 0

    def place(self, name: str, data: Array) -> int:
        """Count an array; returns its line."""
        return self._append(ceil_div(data.nbytes, LINE_BYTES))

    def stream(self, name: str, *data: Array | Packed) -> tuple[int, int]:
        """Count a segment of the weight stream; returns first line and lines."""
        lines = stream_size(self._architecture, data)
        return self._append(lines), lines

    def _append(self, lines: int) -> int:
        self._line += lines
        return self._line - lines


def stream_size(architecture: Architecture, data: Sequence[Array | Packed]) -> int:
    """Lines of a segment of the weight stream: its parts in whole lines, and the whole in whole words of all ports together."""
    lines = sum(ceil_div(part.nbytes, LINE_BYTES) for part in data)
    return round_up(lines * LINE_BYTES, round_up(LINE_BYTES, architecture.stream_bytes)) // LINE_BYTES


def _raw(data: Array) -> bytes:
    return np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<"), copy=False).tobytes()


def _padded(raw: bytes, size: int) -> bytes:
    return raw.ljust(round_up(len(raw), size), b"\0")
