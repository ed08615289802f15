"""What the array core is driven with in tests: tiles of weights and rows in every mode, with the sums that NumPy expects."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from array_bench import Steps, Words

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.array_core import ArrayCore
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.ops.linear import tile_weights


@dataclass(frozen=True)
class Mode:
    """How a tile is stored and its rows are read: bits of weights and operands, and their storage.

    ``packing``: ``1 << packing`` weights to a byte; ``quad``: two rows at once, of 4-bit operands; ``nibbles``: operands in half
    bytes, two rows to a byte; ``signed``: operands; ``unsigned_weights``: weights of 0 to 255, in bytes.
    """

    packing: int = 0
    quad: bool = False
    nibbles: bool = False
    signed: bool = True
    unsigned_weights: bool = False

    @property
    def weight_range(self) -> tuple[int, int]:
        bits = min(4, 8 >> self.packing) if self.quad else 8 >> self.packing
        return (0, 255) if self.unsigned_weights else (-(1 << bits - 1), (1 << bits - 1) - 1)

    @property
    def operand_range(self) -> tuple[int, int]:
        bits = 4 if self.quad or self.nibbles else 8
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.signed else (0, (1 << bits) - 1)


def modes(core: ArrayCore) -> list[Mode]:
    """Every mode of the core."""
    packings = (0, 1, 2) if core.quarters else (0, 1)
    plain = [Mode(p, False, nibbles, signed) for p in packings for nibbles in (False, True) for signed in (False, True)]
    quad = [Mode(p, True, nibbles, signed) for p in packings for nibbles in (False, True) for signed in (False, True)]
    return [*plain, *(quad if core.quad else ()), Mode(unsigned_weights=True)]


def draw(rng: np.random.Generator, bounds: tuple[int, int], shape: tuple[int, ...], kind: str) -> IntArray:
    """Numbers of a range: any (``random``), its ends (``ends``), or one value everywhere (``low``, ``high``, ``minus one``)."""
    low, high = bounds
    if kind == "random":
        return rng.integers(low, high + 1, size=shape)
    if kind == "ends":
        return np.where(rng.integers(2, size=shape) > 0, low, high)
    return np.full(shape, {"low": low, "high": high, "minus one": max(low, -1)}[kind])


@dataclass
class Traffic:
    """A run: words and steps in an order that keeps what each step reads, and the sums of every row."""

    core: ArrayCore
    words: Words = field(default_factory=Words)
    steps: Steps = field(default_factory=Steps)
    expected: list[IntArray] = field(default_factory=list)

    def load(self, weights: IntArray, slot: int, mode: Mode) -> None:
        """Load ``(po, steps * pi)`` weights into the slots from ``slot`` on, once the steps that are there so far are taken."""
        core = self.core
        for step, data in enumerate(self._packed(weights, mode.packing)):
            for word in range(data.size // core.load_bytes):
                self.words.data.append(data[word * core.load_bytes : (word + 1) * core.load_bytes].tobytes())
                position = word << mode.packing
                taken = len(self.steps.data)
                self.words.fields.append(
                    ((slot + step) % core.slots, position, mode.packing, int(mode.quad), int(mode.unsigned_weights), taken)
                )

    def _packed(self, weights: IntArray, packing: int) -> np.ndarray:
        """The compiler's own stream of one tile."""
        core = self.core
        architecture = Architecture.model_construct(pi=core.pi, po=core.po, axi_bits=8 * core.load_bytes, weight_ports=1)
        return tile_weights(weights.astype(np.int64), 0, architecture, packing)

    def rows(self, weights: IntArray, x: IntArray, slot: int, mode: Mode, after_words: int | None = None) -> None:
        """Stream ``(rows, steps * pi)`` operands past the weights in the slots from ``slot`` on, once ``after_words`` are taken:
        all that are there so far, if not said otherwise."""
        core = self.core
        needed = len(self.words.data) if after_words is None else after_words
        count = x.shape[1] // core.pi
        sums = np.zeros((x.shape[0], 1 + core.quad, core.po), dtype=np.int64)
        if mode.quad:
            padded = np.pad(x, ((0, x.shape[0] % 2), (0, 0)))
            pairs = padded.reshape(-1, 2, x.shape[1])
            stored = ((pairs[:, 0] & 15) | (pairs[:, 1] & 15) << 4).astype(np.uint8)
            sums = pairs @ weights.T
        elif mode.nibbles:
            filler = np.random.default_rng(x.size).integers(16, size=x.shape)  # the other row's
            odd = (np.arange(x.shape[0]) % 2)[:, None]
            stored = np.where(odd, filler | (x & 15) << 4, (x & 15) | filler << 4).astype(np.uint8)
            sums[:, 0] = x @ weights.T
        else:
            stored = x.astype(np.uint8)
            sums[:, 0] = x @ weights.T
        for row, data in enumerate(stored):
            for step in range(count):
                self.steps.data.append(data[step * core.pi : (step + 1) * core.pi].tobytes())
                flags = (int(step == 0), int(step == count - 1), int(mode.signed), int(mode.quad), int(mode.nibbles), row % 2)
                self.steps.fields.append(((slot + step) % core.slots, *flags, needed))
        self.expected += list(sums)


def tiles(core: ArrayCore, rng: np.random.Generator, count: int, kind: str = "random", most_rows: int = 9) -> Traffic:
    """``count`` tiles in modes drawn at random, each loaded while the rows of the one before stream by."""
    traffic = Traffic(core)
    choices = modes(core)
    slot = 0
    waiting: tuple[IntArray, IntArray, int, Mode, int] | None = None
    for _ in range(count):
        mode = choices[rng.integers(len(choices))]
        steps = int(rng.integers(1, core.slots // 2 + 1))
        weights = draw(rng, mode.weight_range, (core.po, steps * core.pi), kind)
        x = draw(rng, mode.operand_range, (int(rng.integers(1, most_rows + 1)), steps * core.pi), kind)
        # These words may arrive as soon as the rows before those that wait have gone by: they lie in other slots.
        traffic.load(weights, slot, mode)
        words = len(traffic.words.data)
        if waiting is not None:
            traffic.rows(*waiting)
        waiting = (weights, x, slot, mode, words)
        slot = (slot + steps) % core.slots
    assert waiting is not None
    traffic.rows(*waiting)
    return traffic
