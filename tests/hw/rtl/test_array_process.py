"""The array's process in Verilator: words, what waits for what, cycles; scripts/check_array_core.py takes all."""

from __future__ import annotations

from pathlib import Path

import pytest
from array_bench import mutated, verilate
from array_checks import CORES
from array_networks import attending, mlp
from array_synthesis import check_slices, counted, synthesize
from component_projects import record
from operator_harness import ARCHITECTURES
from process_bench import Bench
from process_checks import MUTATIONS, check_all, check_recording

from edgeflow.hw.array_core import ArrayCore
from edgeflow.hw.array_core_resources import process
from edgeflow.hw.array_process import TOP, ArrayCommand, Transfers, transfers


@pytest.mark.parametrize("name", ["8x8", "4x4, 7 series"])
def test_words_order_and_cycles(name: str, tmp_path: Path) -> None:
    check_all(Bench(CORES[name], tmp_path / "model"))


def test_the_model_of_c_simulation_makes_the_same_words(tmp_path: Path) -> None:
    """Attention whose keys come in blocks, two rows at once and quarter bytes; words that hold several pairs of outputs."""
    architecture = ARCHITECTURES["4x16 axi32"]
    bench = Bench(ArrayCore.of(architecture), tmp_path / "model")
    for name, graph in (("attention", attending(70, 2, 16)), ("quad", mlp(7, 70, 40, 4, 4)), ("quarters", mlp(5, 70, 40, 3, 2))):
        record(tmp_path / name, graph, architecture)
        assert check_recording(bench, tmp_path / name / "hls" / "data" / "multiply.streams") > 20


@pytest.mark.parametrize("number", [1], ids=lambda number: MUTATIONS[number][1])
def test_a_wrong_process_is_noticed(number: int, tmp_path: Path) -> None:
    """The others are for the script: each is compiled."""
    bench = Bench(CORES["4x4, words of 4 bytes"], tmp_path / "model", mutated(MUTATIONS[number], tmp_path))
    with pytest.raises(AssertionError, match=r"not equal|did not transfer"):
        check_all(bench)


@pytest.mark.parametrize(
    "core", [ArrayCore(), ArrayCore(64, 48), ArrayCore(4, 4, quad=False, quarters=False, load_bytes=4)], ids=str
)
def test_verilator_has_no_remark(core: ArrayCore) -> None:
    done = verilate(core, "--lint-only", "-Wall", top=TOP)
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_follow_each_other_without_a_cycle_between() -> None:
    """Worked out by hand, with a latency of 18 cycles: two rows of three steps beside four words; a command that only tells, once
    both rows are there; two words; a row that begins in the cycle after them, whose command ends when the first notice is gone."""
    core = ArrayCore(8, 8)
    commands = [ArrayCommand(2, 3, 4), ArrayCommand(notice=True), ArrayCommand(loads=2), ArrayCommand(1, 1, notice=True)]
    assert core.latency == 18
    assert transfers(core, commands) == Transfers(
        commands=[0, 1, 2, 8],
        steps=[2, 3, 4, 5, 6, 7, 11],
        loads=[2, 3, 4, 5, 9, 10],
        rows=[22, 25, 29],
        notices=[26, 30],
    )


def test_synthesis_takes_what_is_counted() -> None:
    core = ArrayCore(8, 4, quarters=False, load_bytes=8)
    netlist = synthesize(core, TOP)
    check_slices(netlist, core)
    taken, counts = counted(netlist, core), process(core)
    assert taken.dsp == counts.dsp
    assert taken.lut == pytest.approx(counts.lut, rel=0.1)
    assert taken.lutram == pytest.approx(counts.lutram, rel=0.1)
    assert taken.ff == pytest.approx(counts.ff, rel=0.1)
