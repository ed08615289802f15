"""What holds of the array core: its words, the order of words and steps, its cycles. Each check raises AssertionError."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from array_bench import Bench, Result, Stalls
from array_traffic import Mode, Traffic, draw, modes, tiles

from edgeflow.hw.array_core import ArrayCore

KINDS = ("random", "ends", "low", "high", "minus one")
CORES = {
    "8x8": ArrayCore(8, 8),
    "4x4, words of 4 bytes": ArrayCore(4, 4, slots=8, load_bytes=4, rows=4),
    "4x4, 7 series": ArrayCore(4, 4, slots=5, family="7series"),
    "16x12": ArrayCore(16, 12, slots=64, load_bytes=32),
    "16x12, 7 series": ArrayCore(16, 12, quarters=False, load_bytes=8, family="7series"),
    "8x8, bytes and halves": ArrayCore(8, 8, quad=False, quarters=False, rows=8),
    "32x4": ArrayCore(32, 4, quarters=False, load_bytes=16),
    "64x8": ArrayCore(64, 8),
    "64x8, 7 series": ArrayCore(64, 8, slots=12, load_bytes=4, family="7series"),
}
"""The cores that are simulated, by what they are called."""

# A change of one file that a check must notice.
MUTATIONS = (
    ("edgeflow_cascade.v", "48'h0_0008_0002_0000", "48'h0_0008_0000_0000"),  # the lower field borrows
    ("edgeflow_cascade.v", "48'h0_0801_0020_0400", "48'h0_0801_0000_0400"),  # field 1 borrows
    ("edgeflow_field_sums.v", "& {HIGH{quad_gate}}", ""),  # the difference is subtracted in every mode
    ("edgeflow_field_sums.v", "- odd_high_next[CARRY-1:0]", ""),  # field 2 has the lower bits of field 3 in it
    ("edgeflow_array_column.v", ".STAGES(1 + CLASS)", ".STAGES(1)"),  # banks of later classes are written with other words
    ("edgeflow_operand.v", "- {4'b0, low_sign}", ""),  # two rows in an operand without the borrow
    ("edgeflow_load_decoder.v", "~is_unsigned & data[BYTE+15]", "data[BYTE+15]"),  # unsigned weights that are signed
    ("edgeflow_array_core.v", "in_row | credits != {CREDIT_BITS{1'b0}}", "1'b1"),  # rows without room
    ("edgeflow_array_core.v", "STAGES(1 + c)", "STAGES(1)"),  # no skew of operands
)


def check_words(bench: Bench, traffic: Traffic, stalls: Stalls | None = None, disturbed: int = 0) -> Result:
    """Every sum of every row, whatever holds the ports up."""
    result = bench.run(traffic.words, traffic.steps, stalls, disturbed)
    np.testing.assert_array_equal(result.sums, np.stack(traffic.expected))
    return result


def check_modes(bench: Bench, kinds: Iterable[str] = KINDS) -> None:
    """Every mode with numbers of every kind, each tile with another number of steps and rows."""
    rng = np.random.default_rng(1)
    for kind in kinds:
        traffic = Traffic(bench.core)
        for mode in modes(bench.core):
            steps = int(rng.integers(1, 4))
            weights = draw(rng, mode.weight_range, (bench.core.po, steps * bench.core.pi), kind)
            x = draw(rng, mode.operand_range, (int(rng.integers(1, 6)), steps * bench.core.pi), kind)
            traffic.load(weights, 0, mode)
            traffic.rows(weights, x, 0, mode)
        check_words(bench, traffic)


def check_stalls(bench: Bench, runs: int) -> None:
    """Tiles loaded while others compute, with random and with long stalls of every port."""
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        load, step, sums = (int(n) for n in rng.choice([0, 40, 128, 240], size=3))
        check_words(
            bench, tiles(bench.core, rng, 10), Stalls(load, step, sums, seed), disturbed=int(rng.integers(200)) if seed % 2 else 0
        )


def check_order(bench: Bench, seed: int = 0) -> None:
    """A step sees the words of cycles before its own and no others, whenever words overwrite what steps read."""
    core, rng, mode = bench.core, np.random.default_rng(seed), Mode()
    traffic = Traffic(core)
    slots = core.slots
    weights = draw(rng, mode.weight_range, (core.po, slots * core.pi), "random")
    traffic.load(weights, 0, mode)
    loaded = len(traffic.words.data)
    for _ in range(20):  # from here on nothing waits for anything
        slot = int(rng.integers(slots))
        traffic.load(draw(rng, mode.weight_range, (core.po, core.pi), "random"), slot, mode)
    traffic.words.fields = [(*entry[:5], 0) for entry in traffic.words.fields]
    x = draw(rng, mode.operand_range, (400, core.pi), "random")
    for row in x:
        slot = int(rng.integers(slots))
        traffic.rows(weights[:, slot * core.pi : (slot + 1) * core.pi], row[None], slot, mode, loaded)
    result = bench.run(traffic.words, traffic.steps, Stalls(load=128, step=128, seed=seed))
    memory = np.zeros((slots, core.po * core.pi), dtype=np.int64)
    half, word, changed = core.load_bytes, 0, 0
    for number, cycle in enumerate(result.step_cycles):
        while word < len(traffic.words.data) and result.word_cycles[word] < cycle:
            slot, position, *_ = traffic.words.fields[word]
            data = np.frombuffer(traffic.words.data[word], dtype=np.int8)
            memory[slot, position * half : (position + 1) * half] = data  # [pair of outputs][input][2]
            word += 1
        current = (
            memory[traffic.steps.fields[number][0]].reshape(core.po // 2, core.pi, 2).transpose(0, 2, 1).reshape(core.po, core.pi)
        )
        np.testing.assert_array_equal(result.sums[number, 0], current @ x[number])
        changed += int(not np.array_equal(current @ x[number], traffic.expected[number][0]))
    assert changed > 10, "no step read what was overwritten"


def check_cycles(bench: Bench) -> None:
    """Each transfer in the cycle that the formulas say, where neither side makes the core wait."""
    core, mode = bench.core, Mode()
    rng = np.random.default_rng(2)
    most = min(4, core.slots)
    weights = draw(rng, mode.weight_range, (core.po, most * core.pi), "random")
    for counts in (
        [1] * (3 * core.rows),
        [most] * (2 * core.rows),
        [int(n) for n in rng.integers(1, most + 1, size=3 * core.rows)],
    ):
        traffic = Traffic(core)
        traffic.load(weights, 0, mode)
        for count in counts:
            x = draw(rng, mode.operand_range, (1, count * core.pi), "random")
            traffic.rows(weights[:, : count * core.pi], x, 0, mode)
        result = check_words(bench, traffic)
        begin = int(result.step_cycles[0])
        firsts = np.cumsum([0, *counts[:-1]])
        first, taken = core.schedule(counts)
        np.testing.assert_array_equal(result.step_cycles[firsts] - begin, first)
        np.testing.assert_array_equal(result.row_cycles - begin, taken)
        if len(set(counts)) == 1:
            period = result.row_cycles[2 * core.rows - 1] - result.row_cycles[core.rows - 1]
            assert period == core.interval(counts[0]) * core.rows
        assert result.row_cycles[0] - result.step_cycles[counts[0] - 1] == core.latency


def check_room(bench: Bench) -> None:
    """More rows than the queues hold, taken slowly: none begins without room for its sums."""
    core, rng, mode = bench.core, np.random.default_rng(4), Mode()
    weights = draw(rng, mode.weight_range, (core.po, core.pi), "random")
    traffic = Traffic(core)
    traffic.load(weights, 0, mode)
    traffic.rows(weights, draw(rng, mode.operand_range, (4 * core.rows, core.pi), "random"), 0, mode)
    result = check_words(bench, traffic, Stalls(sums=230))
    waiting = [int((result.step_cycles < cycle).sum()) - row for row, cycle in enumerate(result.row_cycles)]
    assert max(waiting) == core.rows


def check_running_sums(bench: Bench) -> None:
    """A row whose first step does not start new sums goes on with those of the row before."""
    core, rng, mode = bench.core, np.random.default_rng(3), Mode()
    weights = draw(rng, mode.weight_range, (core.po, 2 * core.pi), "random")
    traffic = Traffic(core)
    traffic.load(weights, 0, mode)
    traffic.rows(weights, draw(rng, mode.operand_range, (6, 2 * core.pi), "random"), 0, mode)
    traffic.steps.fields = [(entry[0], int(number == 0), *entry[2:]) for number, entry in enumerate(traffic.steps.fields)]
    traffic.expected = list(np.cumsum(traffic.expected, axis=0))
    check_words(bench, traffic)


def check_all(bench: Bench, runs: int = 12) -> None:
    """Everything of one core."""
    check_modes(bench)
    check_stalls(bench, runs)
    check_order(bench)
    check_room(bench)
    check_running_sums(bench)
    check_cycles(bench)
