"""The weight image: constants that units read from it, at random or as a stream."""

from __future__ import annotations

import numpy as np

from edgeflow.hw.architecture import LINE_BYTES, Architecture, round_up
from edgeflow.hw.ops.base import Array
from edgeflow.hw.program import Parameter


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

    def stream(self, name: str, *data: Array) -> tuple[int, int]:
        """Append a segment of the weight stream: arrays one after another, each padded to whole lines. Returns first line
        and lines.

        The ports read it together, each a contiguous run: port p holds the AXI words p, p + P, p + 2 P, ... of the segment.
        """
        raw = b"".join(_padded(_raw(array), LINE_BYTES) for array in data)
        ports, word = self._architecture.weight_ports, self._architecture.word_bytes
        raw = _padded(raw, round_up(LINE_BYTES, ports * word))
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


def _raw(data: Array) -> bytes:
    return np.ascontiguousarray(data).astype(data.dtype.newbyteorder("<"), copy=False).tobytes()


def _padded(raw: bytes, size: int) -> bytes:
    return raw.ljust(round_up(len(raw), size), b"\0")
