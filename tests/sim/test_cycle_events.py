"""The event simulation against hand-made tasks and against a simulation word by word."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import load_board
from edgeflow.sim.cycles.ddr import Ddr, ddr
from edgeflow.sim.cycles.events import Fetcher, Phase, Schedule, Task, simulate

FETCHER = Fetcher(descriptor=50, queue=4, capacity=256, word_bytes=16)
FAST = Ddr(shared=1000.0, port=16.0, weights=16.0, latency=40, word_bytes=16, burst_words=64)


def vector(cycles: int, dispatch: int = 4) -> Task:
    return Task(dispatch, (Phase(cycles),), 0)


def array(cycles: int, words: int) -> Task:
    """A pass that takes its words first, one a cycle."""
    return Task(0, (Phase(min(words, cycles), words), Phase(max(cycles - words, 0))), words)


def test_instructions_without_memory_take_their_cycles_and_their_dispatch() -> None:
    schedule = simulate([vector(1000), vector(300), vector(7)], FETCHER, FAST)
    assert [(e.start, e.begin, e.end) for e in schedule.executions] == [(0, 54, 1054), (1054, 1058, 1358), (1358, 1362, 1369)]
    assert schedule.cycles == 1369
    assert schedule.fetches[1].start == 50
    assert schedule.fetches[1].descriptor == 100


def test_an_instruction_waits_for_its_descriptor() -> None:
    schedule = simulate([vector(5)] * 4, FETCHER, FAST)
    assert [e.begin for e in schedule.executions] == [54, 104, 154, 204]


def test_no_instructions_take_no_time() -> None:
    assert simulate([], FETCHER, FAST).cycles == 0


def test_weights_are_fetched_behind_the_array() -> None:
    schedule = simulate([array(400, 200)] * 6, FETCHER, FAST)
    # Only the first pass waits: for its descriptor and the latency. Two segments do not fit the queue at once, one does.
    assert schedule.cycles == 50 + 40 + 6 * 400
    assert [e.begin - e.start for e in schedule.executions] == [50, 0, 0, 0, 0, 0]
    assert max(s.level for s in schedule.samples) <= FETCHER.capacity


def test_a_fetch_that_is_slower_than_the_array_sets_the_pace() -> None:
    schedule = simulate([array(100, 100)] * 50, FETCHER, FAST)
    assert schedule.cycles == 50 * (50 + 40 + 100)
    assert schedule.fetches[-1].end == schedule.cycles


def test_a_full_queue_holds_the_fetch_back() -> None:
    schedule = simulate([array(1000, 100), array(1000, 250), array(1000, 10)], FETCHER, FAST)
    first, second, third = schedule.fetches
    assert first.end == 190
    assert second.end == 190 + 90 + 250  # the first words have long left
    assert third.end > schedule.executions[1].begin  # 250 + 10 words do not fit before the second pass has taken some
    assert schedule.cycles == 90 + 3000


def test_a_segment_larger_than_the_queue_passes_through_it() -> None:
    schedule = simulate([vector(2000), array(700, 600)], FETCHER, FAST)
    # 256 words wait when the pass starts; the rest arrives as fast as it is taken.
    assert schedule.executions[1].end - schedule.executions[1].begin == 700


def test_descriptors_wait_in_their_queue() -> None:
    schedule = simulate([vector(1000)] * 9, FETCHER, FAST)
    # One runs, four wait, and the next one is read but finds no room until another is taken.
    assert [f.descriptor for f in schedule.fetches[:5]] == [50, 100, 150, 200, 250]
    assert [f.start for f in schedule.fetches[:6]] == [0, 50, 100, 150, 200, 250]
    assert [f.descriptor for f in schedule.fetches[5:]] == [e.start for e in schedule.executions[1:5]]


def test_a_transfer_takes_latency_and_bandwidth() -> None:
    slow = Ddr(shared=8.0, port=16.0, weights=16.0, latency=40, word_bytes=16, burst_words=64)
    load = Task(4, (Phase(100, bytes=1600, latency=40),), 0)
    assert simulate([load], FETCHER, FAST).cycles == 54 + 40 + 100
    assert simulate([load], FETCHER, slow).cycles == 54 + 40 + 200


def test_weights_and_data_share_the_memory_fairly() -> None:
    shared = Ddr(shared=16.0, port=16.0, weights=16.0, latency=0, word_bytes=16, burst_words=64)
    load = Task(0, (Phase(500, bytes=8000),), 0)
    schedule = simulate([load, array(200, 200)], FETCHER, shared)
    # Alone until the second descriptor is there (50 cycles), then at half speed while 200 words arrive at half speed.
    assert schedule.fetches[1].end == 100 + 400
    assert schedule.executions[0].end == 50 + 50 + 400 + (500 - 50 - 200)


def test_a_small_demand_is_served_whole() -> None:
    shared = Ddr(shared=16.0, port=16.0, weights=16.0, latency=0, word_bytes=16, burst_words=64)
    load = Task(0, (Phase(500, bytes=2000),), 0)  # 4 bytes a cycle
    schedule = simulate([load, array(150, 150)], FETCHER, shared)
    assert schedule.executions[0].end == 550
    assert schedule.fetches[1].end == 100 + 200  # 12 bytes a cycle are left


def test_words_that_no_phase_takes_are_refused() -> None:
    with pytest.raises(ValueError, match="instruction 1 takes other words"):
        simulate([vector(5), Task(0, (Phase(10, 5),), 6)], FETCHER, FAST)


def word_by_word(tasks: Sequence[Task], fetcher: Fetcher, memory: Ddr) -> int:
    """The same two processes, a step for each word; the ports alone limit the memory."""
    rate = memory.weights / fetcher.word_bytes
    pushed: list[float] = []
    popped: list[float] = []
    begun: list[float] = []
    fetched, executed = 0.0, 0.0
    for i, task in enumerate(tasks):
        fetched += fetcher.descriptor
        if i >= fetcher.queue:
            fetched = max(fetched, begun[i - fetcher.queue])
        descriptor = fetched
        first = len(pushed)
        arriving = fetched + memory.latency
        now = max(executed, descriptor) + task.dispatch
        begun.append(max(executed, descriptor))
        for phase in task.phases:
            for _ in range(phase.words):
                arriving += 1 / rate
                if len(pushed) >= fetcher.capacity:
                    arriving = max(arriving, popped[len(pushed) - fetcher.capacity])
                pushed.append(arriving)
                now = max(now, pushed[-1]) + max(phase.cycles, phase.words) / phase.words
                popped.append(now)
            if not phase.words:
                now += phase.cycles
        if len(pushed) > first:
            fetched = pushed[-1]
        executed = now
    return int(executed)


@pytest.mark.parametrize("seed", range(6))
def test_it_agrees_with_a_simulation_word_by_word(seed: int) -> None:
    rng = np.random.default_rng(seed)
    fetcher = Fetcher(int(rng.integers(5, 90)), int(rng.integers(1, 6)), int(rng.integers(40, 400)), 16)
    memory = Ddr(1e6, 16.0, float(rng.choice([16.0, 15.0, 6.0])), int(rng.integers(0, 90)), 16, 64)
    tasks = []
    for _ in range(300):
        words = int(rng.choice([0, 20, 100, 350]))
        cycles = int(rng.integers(words, 2 * words + 40)) + 1
        tasks.append(array(cycles, words) if rng.random() < 0.7 else vector(cycles))
    schedule, expected = simulate(tasks, fetcher, memory), word_by_word(tasks, fetcher, memory)
    # A word is there as a whole or not at all, here; between them words are a flow: they differ by a word's time an instruction.
    assert abs(schedule.cycles - expected) <= 300 * fetcher.word_bytes / memory.weights
    conserved(tasks, schedule, fetcher)


def conserved(tasks: Sequence[Task], schedule: Schedule, fetcher: Fetcher) -> None:
    """Every word that was fetched left the queue, and no port moved more than its width."""
    assert schedule.samples[-1].level == pytest.approx(0, abs=1e-3)
    moved = sum((b.time - a.time) * a.weights for a, b in zip(schedule.samples, schedule.samples[1:], strict=False))
    assert moved == pytest.approx(sum(t.words for t in tasks) * fetcher.word_bytes, rel=1e-9)
    assert all(0 <= s.level <= fetcher.capacity for s in schedule.samples)
    assert all(a.end == b.start for a, b in zip(schedule.executions, schedule.executions[1:], strict=False))


def test_ten_thousand_instructions_are_quick() -> None:
    rng = np.random.default_rng(0)
    tasks = [array(int(rng.integers(100, 900)), int(rng.integers(0, 400))) for _ in range(10_000)]
    start = time.process_time()
    schedule = simulate(tasks, FETCHER, FAST)
    assert time.process_time() - start < 5  # about 0.4 s; a step for each of 2 million words would take longer
    conserved(tasks, schedule, FETCHER)


def test_the_memory_is_the_board_s() -> None:
    board = load_board("zcu102").model_copy(
        update={"ddr_gb_s": 16.0, "ddr_efficiency": 0.5, "ddr_latency_ns": 210.0, "axi_burst_words": 15}
    )
    memory = ddr(board, Architecture(axi_bits=128, weight_ports=2), 200.0)
    assert memory.shared == 16.0 * 0.5 * 1e3 / 200  # bytes a cycle
    assert memory.latency == 42
    assert memory.port == 16 * 15 / 16  # a cycle lost after a burst of 15 words
    assert memory.weights == 2 * memory.port
    assert memory.efficiency == 15 / 16
    # With very long latencies the requests in flight limit a port: 16 bursts of 15 words every latency.
    far = ddr(board.model_copy(update={"ddr_latency_ns": 5000.0}), Architecture(axi_bits=128), 200.0)
    assert far.port == 16 * 16 * 15 / (1000 + 15)
