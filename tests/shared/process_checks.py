"""What holds of the array's process: its words, what waits for what, its cycles. Each check raises AssertionError."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from array_traffic import Mode, Traffic, draw, modes
from process_bench import Bench, Items, Result, recorded

from edgeflow.hw.array_core import ArrayCore
from edgeflow.hw.array_process import ArrayCommand, transfers
from edgeflow.hw.arrays import IntArray

# A change of one file that a check must notice.
MUTATIONS = (
    ("edgeflow_array_process.v", "steps_complete & loads_complete", "steps_complete"),  # a command begins without its words
    ("edgeflow_array_process.v", "noticed & awaited == NONE", "noticed"),  # a notice before its rows
    ("edgeflow_array_process.v", "~(notice & noticed)", "1'b1"),  # two notices become one
    ("edgeflow_array_process.v", ".in(scores)", ".in(scores & ~step_first)"),  # short rows of scores go elsewhere
    ("edgeflow_array_process.v", "begins_words == 20'd1", "1'b0"),  # a single word is not the last
    ("edgeflow_array_steps.v", "last ? first_slot : slot", "last ? slot : slot"),  # rows do not begin with the first slot
    ("edgeflow_array_steps.v", "last ? single", "last ? 1'b0"),  # rows of a single step that do not end
    ("edgeflow_array_commands.v", "row_field != 16'd0 & step_field != 16'd0", "1'b1"),  # a command without steps waits for some
    ("edgeflow_array_commands.v", ".WORDS(2)", ".WORDS(4)"),  # more commands wait than the cycles say
)


@dataclass
class Session:
    """Commands in an order that keeps what each reads, what they take, and what comes of them."""

    core: ArrayCore
    items: Items = field(default_factory=Items)
    commands: list[ArrayCommand] = field(default_factory=list)
    rows: list[IntArray] = field(default_factory=list)
    scores: list[IntArray] = field(default_factory=list)
    _traffic: Traffic = field(init=False)

    def __post_init__(self) -> None:
        self._traffic = Traffic(self.core)

    def command(
        self,
        load: tuple[IntArray, int, Mode] | None = None,
        rows: tuple[IntArray, IntArray, int, Mode] | None = None,
        *,
        values: bool = False,
        scores: bool = False,
        notice: bool = False,
    ) -> None:
        """``load``: weights ``(po, steps * pi)`` for the slots from a first one on; ``rows``: weights that are there and operands
        ``(rows, steps * pi)`` that stream past them, from the source of ``values`` or the other one."""
        words, steps, expected = self._traffic.words, self._traffic.steps, self._traffic.expected
        before = len(words.data), len(steps.data), len(expected)
        if load is not None:
            self._traffic.load(*load)
        if rows is not None:
            self._traffic.rows(*rows)
        for data, (slot, position, packing, quad, unsigned, _) in list(zip(words.data, words.fields, strict=True))[before[0] :]:
            side = slot | position << 16 | packing << 32 | quad << 34 | unsigned << 35
            self.items.loads.append(data + side.to_bytes(5, "little"))
        target = self.items.value_steps if values else self.items.steps
        fields = list(zip(steps.data, steps.fields, strict=True))[before[1] :]
        for data, (_, _, _, is_signed, quad, nibbles, odd, _) in fields:
            target.append(data + bytes([is_signed | quad << 1 | nibbles << 2 | odd << 3]))
        sums = expected[before[2] :]
        (self.scores if scores else self.rows).extend(sums)
        loads = len(words.data) - before[0]
        count = len(fields) // len(sums) if sums else 0
        source = 0 if rows is None else 2 if values else 1
        slot = 0 if rows is None else rows[2]
        packed = source | scores << 2 | notice << 3 | len(sums) << 4 | count << 20 | slot << 36 | loads << 52
        self.items.commands.append(packed.to_bytes(9, "little"))
        self.items.rows, self.items.score_rows = len(self.rows), len(self.scores)
        self.items.notices += notice
        self.commands.append(ArrayCommand(len(sums), count, loads, notice))


def session(core: ArrayCore, rng: np.random.Generator, count: int, most_rows: int = 9) -> Session:
    """Tiles in modes drawn at random, each loaded while the rows of the one before stream by; in between commands that load, or
    multiply, or do nothing, and some that tell when they are done."""
    drawn = Session(core)
    choices = modes(core)
    half = core.slots // 2
    there: tuple[IntArray, int, Mode] | None = None

    def operands() -> tuple[IntArray, IntArray, int, Mode] | None:
        if there is None:
            return None
        weights, slot, mode = there
        x = draw(rng, mode.operand_range, (int(rng.integers(1, most_rows + 1)), weights.shape[1]), "random")
        return weights, x, slot, mode

    def flags() -> dict[str, Any]:
        return {name: bool(rng.integers(2)) for name in ("values", "scores")} | {"notice": not rng.integers(4)}

    for number in range(count):
        mode = choices[rng.integers(len(choices))]
        weights = draw(rng, mode.weight_range, (core.po, int(rng.integers(1, half + 1)) * core.pi), "random")
        load = weights, number % 2 * half, mode
        if rng.integers(3):
            drawn.command(load, operands(), **flags())
        else:
            drawn.command(load, None, **flags())
        there = load
        for _ in range(int(rng.integers(3))):
            drawn.command(None, operands() if rng.integers(4) else None, **flags())
    drawn.command(None, operands(), notice=True)
    return drawn


def check_words(session: Session, result: Result) -> None:
    """Every sum of every row and score."""
    core = session.core
    shape = (-1, 1 + core.quad, core.po)
    rows = result.data["rows"].copy().view(np.int32).reshape(shape)
    np.testing.assert_array_equal(rows, np.array(session.rows, dtype=np.int64).reshape(shape))
    parts = result.data["score_rows"].reshape(-1, core.po, 3).astype(np.int64)
    scores = np.array(session.scores, dtype=np.int64).reshape(shape)[:, 0]
    np.testing.assert_array_equal(parts[..., 0] | parts[..., 1] << 8 | parts[..., 2] << 16, scores & 0xFFFFFF)
    assert (result.data["notices"] == 1).all()


def check_order(session: Session, result: Result) -> None:
    """A command takes nothing before the one before has everything; a notice comes after everything of its command."""
    steps = np.sort(np.concatenate([result.cycles["steps"], result.cycles["value_steps"]]))
    rows = np.sort(np.concatenate([result.cycles["rows"], result.cycles["score_rows"]]))
    loads = result.cycles["loads"]
    step = load = row = notice = 0
    last = -1
    for command in session.commands:
        taken = [*steps[step : step + command.rows * command.steps], *loads[load : load + command.loads]]
        assert not taken or min(taken) > last, "a command does not transfer before the one before ends: not equal"
        last = max([last, *taken])
        step, load, row = step + command.rows * command.steps, load + command.loads, row + command.rows
        if command.notice:
            told = result.cycles["notices"][notice]
            assert told > max([last, *rows[:row]]), "a notice comes before its rows: not equal"
            notice += 1


def check_stalls(bench: Bench, runs: int, first_seed: int = 0) -> None:
    """Random commands with random and with long stalls of every stream, after resets amid work."""
    for seed in range(first_seed, first_seed + runs):
        rng = np.random.default_rng(seed)
        drawn = session(bench.core, rng, 10)
        stalls = [int(n) for n in rng.choice([0, 40, 128, 240], size=7)]
        result = bench.run(drawn.items, stalls, seed, disturbed=int(rng.integers(200)) if seed % 2 else 0)
        check_words(drawn, result)
        check_order(drawn, result)


def check_cycles(bench: Bench) -> None:
    """Each transfer in the cycle that the formulas say, where no stream makes the process wait: random commands, many of a single
    row and step, rows that exceed the queues, and loads longer than the rows beside them."""
    core, mode = bench.core, Mode()
    rng = np.random.default_rng(5)
    sessions = [session(core, rng, 12), session(core, rng, 6, most_rows=2 * core.rows)]
    weights = draw(rng, mode.weight_range, (core.po, core.pi), "random")
    short = Session(core)
    short.command((weights, 0, mode))
    for number in range(2 * core.rows):
        x = draw(rng, mode.operand_range, (1, core.pi), "random")
        short.command(None, (weights, x, 0, mode) if number % 5 else None, scores=number % 3 == 0, notice=number % 7 == 0)
    for drawn in (*sessions, short):
        result = bench.run(drawn.items)
        check_words(drawn, result)
        expected = transfers(core, drawn.commands)
        begin = int(result.cycles["commands"][0])
        for name, streams in (
            ("commands", ("commands",)),
            ("steps", ("steps", "value_steps")),
            ("loads", ("loads",)),
            ("rows", ("rows", "score_rows")),
            ("notices", ("notices",)),
        ):
            cycles = np.sort(np.concatenate([result.cycles[stream] for stream in streams])) - begin
            np.testing.assert_array_equal(cycles, getattr(expected, name), err_msg=name)


def check_recording(bench: Bench, path: Path) -> int:
    """What the model in C++ made of its streams in C simulation comes out here, with and without stalls. Returns the rows."""
    items, written = recorded(path)
    for stalls in ((0,) * 7, (60, 40, 80, 120, 100, 30, 200)):
        result = bench.run(items, stalls, seed=1)
        for name, expected in written.items():
            np.testing.assert_array_equal(result.data[name], expected, err_msg=name)
    return items.rows + items.score_rows


def check_all(bench: Bench, runs: int = 12) -> None:
    """Everything of one process."""
    check_stalls(bench, runs)
    check_cycles(bench)
