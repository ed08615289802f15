"""The scratchpad core in Verilator: what is read, in which order and cycles, of some; scripts/check_scratchpad.py takes all."""

from __future__ import annotations

from pathlib import Path

import pytest
from array_bench import mutated, verilate
from scratchpad_bench import Bench
from scratchpad_checks import CORES, MUTATIONS, check_all
from scratchpad_synthesis import BANKS, WHOLE, block_memories

from edgeflow.hw.cost import Logic
from edgeflow.hw.scratchpad_core import TOP, ScratchpadCore
from edgeflow.hw.scratchpad_core_resources import resources

SHAPES = (ScratchpadCore(), ScratchpadCore(half_lines=2048), ScratchpadCore(lines=3072, half_lines=1024), *CORES.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where simulations are compiled; they share Verilator's runtime."""
    return tmp_path_factory.mktemp("scratchpad")


@pytest.mark.parametrize("name", ["3 readers, 2 writers, half bytes", "one of each, bytes", "lines of both kinds"])
def test_lines_order_and_cycles(name: str, folder: Path) -> None:
    check_all(Bench(CORES[name], folder / name.replace(" ", "_")))


@pytest.mark.parametrize("number", [5], ids=lambda number: MUTATIONS[number][1])
def test_a_wrong_core_is_noticed(number: int, folder: Path, tmp_path: Path) -> None:
    """The others are for the script: each is compiled."""
    bench = Bench(CORES["3 readers, 2 writers, half bytes"], folder / "mutated", mutated(MUTATIONS[number], tmp_path))
    with pytest.raises(AssertionError, match=r"not equal|did not transfer"):
        check_all(bench)


def test_banks_are_block_memories() -> None:
    """As many as counted, and nothing beside them for reads in the cycle of a write; the other sizes are for the script."""
    core = BANKS[-4]
    assert core.half_lines == core.lines == 4 * 1024
    assert block_memories(core) == core.block_memories // core.banks == 8


def test_block_memories() -> None:
    """Worked out by hand, of 64 and of 128 lanes: 4, 2 and 1 to a memory; one that is 4096 deep holds a half byte."""
    rows = (512, 1024, 2048, 4096)
    assert [ScratchpadCore(lines=4 * n).block_memories for n in rows] == [4 * 16, 4 * 32, 4 * 64, 4 * 128]
    assert [ScratchpadCore(lines=4 * n, half_lines=4 * n).block_memories for n in rows] == [4 * 32, 4 * 64, 4 * 128, 4 * 128]
    assert ScratchpadCore(lines=4 * 1536, half_lines=4 * 512).block_memories == 4 * (32 + 32)


def test_resources() -> None:
    """Flip-flops as yosys finds them, LUTs within 15 % of its 703, 876 and 709; the script synthesizes these again."""
    assert [resources(core) for core in WHOLE] == [
        Logic(793, 725, bram18=16),
        Logic(977, 737, bram18=24),
        Logic(711, 394, bram18=4),
    ]


@pytest.mark.parametrize("core", SHAPES, ids=str)
def test_verilator_has_no_remark(core: ScratchpadCore) -> None:
    done = verilate(core, "--lint-only", "-Wall", top=TOP)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"banks": 3}, "banks must be a power of two from 2 on, not 3"),
        ({"queue": 1}, "queue must be a power of two from 2 on, not 1"),
        ({"readers": 0}, "readers must be at least 1, not 0"),
        (
            {"half_lines": 4},
            "half_lines = 4 must be a multiple of banks = 4, with two lines a bank or more of them and of the rest",
        ),
        ({"half_lines": 4096}, "half_lines = 4096 must be"),
        ({"lines": 10}, "lines = 10 must be a multiple of banks = 4"),
        ({"lines": 4}, "with two lines a bank or more"),
    ],
)
def test_parameters_that_no_core_has(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScratchpadCore(**sizes)


def test_cycles_of_reads() -> None:
    """A place in the queue is free again five cycles after its read."""
    assert (ScratchpadCore().interval(), ScratchpadCore(queue=4).interval()) == (1, 5 / 4)
    assert ScratchpadCore(queue=4).reads(9) == [0, 1, 2, 3, 5, 6, 7, 8, 10]
    assert ScratchpadCore().reads(20) == list(range(20))
