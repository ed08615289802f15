"""Blocks of which units are made: memories, tables, queues, delays."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeflow.hw import cpp_widths as widths
from edgeflow.hw import primitives as p
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.cost import Logic
from edgeflow.hw.ops.layernorm import SEED_BITS, reciprocal_root_seeds
from edgeflow.hw.synthesis.block import Block, Port, Words

SHIFT, MULTIPLIER, ELEMENT = widths.SHIFT.bits, widths.MULTIPLIER.bits, widths.ELEMENT.bits


def memory_blocks(wide: int) -> list[Block]:
    """Memories of a device whose slices multiply ``wide`` x 18 bits."""
    return [
        _constants(),
        *(_lut_memory(bits, depth, wide) for bits, depth in ((27, 32), (27, 64), (18, 64), (24, 128), (8, 1024), (16, 2048))),
        *(_block_memory(bits, depth) for bits, depth in ((32, 1024), (24, 512), (17, 2048), (144, 512))),
        *(_bank(bits, depth) for bits, depth in ((4, 4096), (8, 2048), (17, 1024))),
        *(_delay(bits, cycles) for bits, cycles in ((57, 8), (18, 2), (24, 20), (50, 40))),
        *(_queue(bits, depth, block, wide) for bits, depth, block in ((128, 64, 0), (144, 32, 0), (128, 512, 1))),
    ]


def _constants() -> Block:
    words = reciprocal_root_seeds()
    text = f"{SEED_BITS * len(words)}'h" + "".join(f"{word:0{SEED_BITS // 4}x}" for word in reversed(words.tolist()))
    index = Port("index", (len(words) - 1).bit_length(), signed=False, high=len(words) - 1)
    return Block(
        f"constants, {len(words)} x {SEED_BITS} bits",
        "constant_table",
        {"ENTRIES": len(words), "W": SEED_BITS, "WORDS": text},
        (index,),
        (Port("y", SEED_BITS, signed=False),),
        1,
        lambda w: {"y": words[w["index"]]},
        lambda: Logic(p.rom_luts(SEED_BITS - 1, len(words)), SEED_BITS),
    )


def written(w: Words, depth: int, write: str = "write", to: str = "to", x: str = "x", start: str = "from") -> IntArray:
    """Words of a memory whose read comes before the write of the same cycle, ``(cycles, 1)``; words never written read as 0."""
    memory = np.zeros((depth, w[x].shape[1]), dtype=np.int64)
    shown = np.zeros_like(w[x])
    for cycle in range(len(shown)):
        shown[cycle] = memory[w[start][cycle, 0]]
        if w[write][cycle, 0]:
            memory[w[to][cycle, 0]] = w[x][cycle]
    return shown


def _memory_ports(bits: int, depth: int) -> tuple[Port, ...]:
    address = (depth - 1).bit_length()
    return (
        Port("write", 1, signed=False),
        Port("to", address, signed=False),
        Port("x", min(bits, 63), signed=False),
        Port("from", address, signed=False),
    )


def _memory(what: str, module: str, bits: int, depth: int, formula: Callable[[], Logic]) -> Block:
    def prepare(_: np.random.Generator, w: Words) -> None:
        # Few of the addresses, so that what was written is read; all are written first where the memory is small.
        for name in ("to", "from"):
            w[name] = w[name] % depth if depth <= 64 else w[name] // (depth // 16) * (depth // 16)

    count = 1 if bits <= 63 else bits // 16
    ports = tuple(
        Port(q.name, bits // count if q.name == "x" else q.bits, signed=False, count=count if q.name == "x" else 1)
        for q in _memory_ports(bits, depth)
    )
    return Block(
        what,
        module,
        {"W": bits, "DEPTH": depth},
        ports,
        (Port("y", bits // count, signed=False, count=count),),
        1,
        lambda w: {"y": written(w, depth)},
        formula,
        prepare,
    )


def _lut_memory(bits: int, depth: int, wide: int) -> Block:
    return _memory(
        f"LUT memory of {depth} x {bits} bits", "lut_memory", bits, depth, lambda: Logic(p.lutram_luts(bits, depth, wide), bits)
    )


def _block_memory(bits: int, depth: int) -> Block:
    return _memory(
        f"block memory of {depth} x {bits} bits", "block_memory", bits, depth, lambda: Logic(0, 0, bram18=p.bram18(bits, depth))
    )


def _bank(bits: int, depth: int) -> Block:
    def reads(w: Words) -> Words:
        memory = np.zeros(depth, dtype=np.int64)
        shown = {name: np.zeros_like(w["x_a"]) for name in ("y_a", "y_b")}
        for cycle in range(len(w["x_a"])):
            for port in "ab":
                shown[f"y_{port}"][cycle] = memory[w[f"at_{port}"][cycle]]
            for port in "ab":
                if w[f"write_{port}"][cycle, 0]:
                    memory[w[f"at_{port}"][cycle]] = w[f"x_{port}"][cycle]
        return shown

    def prepare(_: np.random.Generator, w: Words) -> None:
        # The ports never have the same line in one cycle: the scratchpad's clients do not.
        for port, odd in (("a", 0), ("b", 1)):
            w[f"at_{port}"] = (w[f"at_{port}"] // (depth // 8)) * 2 + (odd + np.arange(len(w["at_a"]))[:, None] // 4) % 2

    address = (depth - 1).bit_length()
    ports = [
        q
        for port in "ab"
        for q in (
            Port(f"write_{port}", 1, signed=False),
            Port(f"at_{port}", address, signed=False),
            Port(f"x_{port}", bits, signed=False),
        )
    ]

    return Block(
        f"bank of the scratchpad, {depth} x {bits} bits",
        "scratch_bank",
        {"W": bits, "DEPTH": depth},
        tuple(ports),
        (Port("y_a", bits, signed=False), Port("y_b", bits, signed=False)),
        1,
        reads,
        lambda: Logic(0, 0, bram18=p.bram18(bits, depth, dual=True)),
        prepare,
    )


def _delay(bits: int, cycles: int) -> Block:
    return Block(
        f"delay of {bits} bits by {cycles} cycles",
        "delay_line",
        {"BITS": bits, "CYCLES": cycles},
        (Port("x", bits),),
        (Port("y", bits),),
        cycles,
        lambda w: {"y": w["x"]},
        lambda: p.delay(bits, cycles),
    )


def _queue(bits: int, depth: int, block: int, wide: int) -> Block:
    count = bits // 16

    def run(w: Words) -> Words:
        cycles = len(w["x"])
        words = np.zeros((depth, count), dtype=np.int64)
        head = tail = held = 0
        shown = {"y": np.zeros_like(w["x"]), "empty": np.zeros((cycles, 1), np.int64), "full": np.zeros((cycles, 1), np.int64)}
        for cycle in range(cycles):
            pushes, pops = w["push"][cycle, 0] and held < depth, w["pop"][cycle, 0] and held > 0
            shown["y"][cycle] = words[tail]
            if pushes:
                words[head] = w["x"][cycle]
            if w["reset"][cycle, 0]:
                head = tail = held = 0
            else:
                head, tail = (head + int(pushes)) % depth, (tail + int(pops)) % depth
                held += int(pushes) - int(pops)
            # The flags show the state after the edge, so the same cycle's.
            shown["empty"][cycle], shown["full"][cycle] = held == 0, held == depth
        return shown

    def prepare(rng: np.random.Generator, w: Words) -> None:
        cycles = np.arange(len(w["x"]))[:, None]
        w["reset"] = (cycles < 2).astype(np.int64)
        # Bursts of pushes and of pops, so that it fills and empties.
        w["push"] = (rng.random(cycles.shape) < np.where(cycles // depth % 3 == 0, 0.95, 0.4)).astype(np.int64)
        w["pop"] = (rng.random(cycles.shape) < np.where(cycles // depth % 3 == 2, 0.95, 0.3)).astype(np.int64)

    flag = [Port(name, 1, signed=False) for name in ("reset", "push", "pop")]
    ports = (flag[0], flag[1], Port("x", 16, signed=False, count=count), flag[2])
    outputs = (Port("y", 16, signed=False, count=count), Port("empty", 1, signed=False), Port("full", 1, signed=False))
    return Block(
        f"queue of {depth} x {bits} bits" + (" in block memory" if block else ""),
        "fifo",
        {"W": bits, "DEPTH": depth, "BLOCK": block},
        ports,
        outputs,
        1,
        run,
        lambda: p.queue(bits, depth, wide, block_memory=bool(block)),
        prepare,
    )
