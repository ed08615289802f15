"""The array core in Verilator: words, order and cycles, on a few cores; scripts/check_array_core.py takes all of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from array_bench import Bench, mutated, verilate
from array_checks import CORES, MUTATIONS, check_all
from array_synthesis import check_slices, counted, synthesize

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.array_core import ArrayCore
from edgeflow.hw.array_core_resources import resources

SHAPES = (
    ArrayCore(),
    ArrayCore(4, 2, load_bytes=4),
    ArrayCore(64, 48),
    ArrayCore(16, 12, quad=False, quarters=False, family="7series"),
)


@pytest.mark.parametrize("name", ["8x8", "4x4, words of 4 bytes", "4x4, 7 series"])
def test_words_order_and_cycles(name: str, tmp_path: Path) -> None:
    check_all(Bench(CORES[name], tmp_path / "model"))


@pytest.mark.parametrize("number", [2, 7], ids=lambda number: MUTATIONS[number][1])
def test_a_wrong_core_is_noticed(number: int, tmp_path: Path) -> None:
    """The others are for the script: each is compiled."""
    bench = Bench(CORES["4x4, words of 4 bytes"], tmp_path / "model", mutated(MUTATIONS[number], tmp_path))
    with pytest.raises(AssertionError, match=r"not equal|did not transfer"):
        check_all(bench)


@pytest.mark.parametrize("core", SHAPES, ids=str)
def test_verilator_has_no_remark(core: ArrayCore) -> None:
    done = verilate(core, "--lint-only", "-Wall")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"pi": 12}, "pi must be a power of two from 4 on, not 12"),
        ({"load_bytes": 2}, "load_bytes must be a power of two from 4 on, not 2"),
        ({"rows": 24}, "rows must be a power of two from 2 on, not 24"),
        ({"po": 5}, "po = 5 must be even"),
        ({"pi": 4, "po": 2}, "fill words of 16 bytes"),
        ({"slots": 1}, "slots must be at least 2, not 1"),
    ],
)
def test_parameters_that_no_core_has(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArrayCore(**sizes)  # type: ignore[arg-type]


def test_the_core_of_an_accelerator() -> None:
    core = ArrayCore.of(Architecture(pi=64, po=48, epilogue=16, slots=96, weight_ports=2, precisions=(8, 4), dsp_bits=25))
    assert core == ArrayCore(64, 48, slots=96, quarters=False, load_bytes=32, family="7series")


@pytest.mark.parametrize(
    ("pi", "po", "bits", "load_bytes"), [(64, 48, 128, 64), (8, 12, 32, 16), (4, 20, 32, 16), (16, 4, 128, 16)]
)
def test_words_hold_a_key_of_attention(pi: int, po: int, bits: int, load_bytes: int) -> None:
    """A byte for every lane, but no more than fill a slot, and a word of the weight stream at least."""
    architecture = Architecture(pi=pi, po=po, epilogue=4, axi_bits=bits, max_channels=128, units=("attention",))
    assert ArrayCore.of(architecture).load_bytes == load_bytes


def test_latency_and_interval() -> None:
    """Worked out by hand: 2 + 3 hops + 4 + 3 + 1 level + 3 + 2."""
    core = ArrayCore(8, 8)
    assert core.latency == 18
    assert ArrayCore(8, 8, quad=False).latency == 15
    assert (core.interval(1), core.interval(40)) == (1, 40)
    assert ArrayCore(8, 8, rows=8).interval(1) == 19 / 8
    assert core.schedule([2, 1, 3]) == ([0, 2, 3], [19, 20, 23])
    assert ArrayCore(8, 8, rows=2).schedule([1, 1, 1]) == ([0, 1, 19], [18, 19, 37])


@pytest.mark.parametrize(
    "core", [ArrayCore(8, 4, quarters=False, load_bytes=8), ArrayCore(4, 4, load_bytes=4, family="7series")], ids=str
)
def test_synthesis_keeps_the_slices_and_takes_what_is_counted(core: ArrayCore) -> None:
    netlist = synthesize(core)
    check_slices(netlist, core)
    taken, counts = counted(netlist, core), resources(core)
    assert taken.dsp == counts.dsp == core.pi * core.po // (2 if core.packed else 1)
    assert taken.lut == pytest.approx(counts.lut, rel=0.1)
    assert taken.lutram == pytest.approx(counts.lutram, rel=0.1)
    assert taken.ff == pytest.approx(counts.ff, rel=0.1)
