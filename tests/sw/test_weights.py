"""The weight image: what the ports read together is what was put in, in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeflow.hw.architecture import LINE_BYTES, Architecture
from edgeflow.sw.compiler.weight_image import WeightImage


def delivered(image: bytes, segment: tuple[int, int], architecture: Architecture) -> bytes:
    """The bytes of a segment as they enter the stream: every port reads its own run, one word of each a cycle."""
    first, lines = segment
    ports, word = architecture.weight_ports, architecture.word_bytes
    run = lines * LINE_BYTES // ports
    raw = image[first * LINE_BYTES :]
    cycles = run // word
    assert cycles * word == run
    return b"".join(raw[p * run + c * word :][:word] for c in range(cycles) for p in range(ports))


@given(st.sampled_from([1, 2, 4]), st.sampled_from([32, 64, 128]), st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_the_stream_delivers_arrays_in_order(ports: int, bits: int, sizes: list[int]) -> None:
    architecture = Architecture(weight_ports=ports, axi_bits=bits, pi=32, po=32)
    image = WeightImage(architecture)
    rng = np.random.default_rng(sum(sizes))
    image.place("before", rng.integers(0, 255, 100).astype(np.uint8))
    arrays = [rng.integers(-(1 << 15), 1 << 15, size).astype(np.int16) for size in sizes]
    segment = image.stream("parts", *arrays)
    stream = delivered(image.encode(), segment, architecture)
    for array in arrays:
        raw = array.astype("<i2").tobytes()
        assert stream[: len(raw)] == raw
        stream = stream[-(-len(raw) // LINE_BYTES) * LINE_BYTES :]
    assert not any(stream)


def test_equal_contents_are_stored_once() -> None:
    image = WeightImage(Architecture())
    a = image.place("a", np.arange(100, dtype=np.int32))
    assert image.place("b", np.arange(100, dtype=np.int32)) == a
    assert image.place("b", np.arange(100, dtype=np.int32)) == a
    assert image.stream("c", np.arange(64, dtype=np.uint8)) == image.stream("d", np.arange(64, dtype=np.uint8))
    assert [p.name for p in image.parameters] == ["a", "b", "c", "d"]
    assert len(image.encode()) == (7 + 1) * LINE_BYTES


@pytest.mark.parametrize("ports", [1, 4])
def test_an_image_has_a_line_at_least(ports: int) -> None:
    assert WeightImage(Architecture(weight_ports=ports)).encode() == bytes(LINE_BYTES)
