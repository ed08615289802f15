"""What holds of the scratchpad core: what is read, its order, who goes first, cycles. Each check raises AssertionError."""

from __future__ import annotations

import numpy as np
from scratchpad_bench import Bench, Bytes, Read, Requests, Result, Stalls, Waits, Write

from edgeflow.hw.scratchpad_core import ScratchpadCore

CORES = {
    "3 readers, 2 writers, half bytes": ScratchpadCore(3, 2, lines=24, line_bytes=8, half_lines=24),
    "one of each, bytes": ScratchpadCore(1, 1, 2, 6, line_bytes=4, queue=2, notices=2),
    "lines of both kinds": ScratchpadCore(2, 2, 2, 22, line_bytes=4, half_lines=12, queue=4),
    "those of the accelerator, half bytes": ScratchpadCore(lines=64, line_bytes=16, half_lines=40, queue=16),
    "those of the accelerator, bytes": ScratchpadCore(lines=40),
    "5 readers, 3 writers, 8 banks": ScratchpadCore(5, 3, 8, 48, line_bytes=8, queue=4, notices=2),
}
"""The cores that are simulated, by what they are called."""

# A change of one file that a check must notice.
MUTATIONS = (
    ("edgeflow_queue.v", "free != NONE", "1'b1"),  # answers without room
    ("edgeflow_priority.v", "|wants[c-1:0]", "1'b0"),  # two clients at once
    ("edgeflow_priority.v", "i = LAST - 1; i >= 0; i = i - 1", "i = 0; i < LAST; i = i + 1"),  # another one's row
    ("edgeflow_scratchpad.v", "assign write_ready[w] = may &", "assign write_ready[w] ="),  # notices without room
    ("edgeflow_scratchpad.v", "~(changes & |blocked)", "~|blocked"),  # a write of nothing waits for its bank
    ("edgeflow_scratchpad_bank.v", "{2{inside[b] & write_half}} & halves", "{2{inside[b] & write_half}}"),  # both halves
    ("edgeflow_scratchpad_bank.v", "PLACE < last", "PLACE <= last"),  # a byte too many
    ("edgeflow_scratchpad_bank.v", "write <= |write_wants & ~reset", "write <= ~reset"),  # writes that nobody wants
)


def store(memory: Bytes, write: Write, core: ScratchpadCore) -> None:
    """What a write does to the lines."""
    mask = (0xF if write.halves & 1 else 0) | (0xF0 if write.halves & 2 else 0) if write.line < core.half_lines else 0xFF
    part = slice(write.first, write.first + write.count)
    memory[write.line, part] = memory[write.line, part] & (mask ^ 0xFF) | write.data[part] & mask


def fill(core: ScratchpadCore, rng: np.random.Generator) -> tuple[Requests, Bytes]:
    """Requests that begin with writes of all lines by writer 0, the last with a notice; and the lines."""
    requests = Requests.of(core)
    memory = rng.integers(256, size=(core.lines, core.line_bytes), dtype=np.uint8)
    for line in range(core.lines):
        requests.writes[0].append(Write(line, 0, core.line_bytes, 3, int(line == core.lines - 1), memory[line].copy()))
    return requests, memory


def some_write(core: ScratchpadCore, rng: np.random.Generator, line: int, notice: int = 0, waits: Waits | None = None) -> Write:
    """A write of some part, perhaps nothing, perhaps one that ends behind the line."""
    first, count = (
        int(rng.integers(core.line_bytes)),
        int(rng.choice([0, 1, core.line_bytes, int(rng.integers(core.line_bytes + 1))])),
    )
    data = rng.integers(256, size=core.line_bytes, dtype=np.uint8)
    return Write(line, first, count, int(rng.integers(4)), notice, data, waits or Waits())


def some_stalls(core: ScratchpadCore, rng: np.random.Generator, seed: int) -> Stalls:
    def ports(clients: int) -> list[int]:
        return [int(n) for n in rng.choice([0, 0, 40, 128, 240], size=clients)]

    return Stalls(ports(core.readers), ports(core.readers), ports(core.writers), ports(core.writers), seed)


def check_regions(bench: Bench, seed: int, phases: int = 6) -> None:
    """Regions that writers fill in turn, and that others read once a notice says so: the bytes that were written, and no others."""
    core, rng = bench.core, np.random.default_rng(seed)
    requests, memory = fill(core, rng)
    regions = [list(map(int, region)) for region in np.array_split(rng.permutation(core.lines), core.writers + 1)]
    had = [1] + [0] * (core.writers - 1)  # notices of each writer
    expected: list[list[Bytes]] = [[] for _ in range(core.readers)]
    free = [Waits({0: 1}) for _ in regions]  # what the next writer of a region waits for
    for _ in range(phases):
        filled: list[Waits] = []
        for region, lines in enumerate(regions):
            writer = int(rng.integers(core.writers))
            for _ in range(int(rng.integers(1, 8))):
                notice = int(rng.choice([0, 0, 0, 2]))
                had[writer] += notice != 0
                requests.writes[writer].append(some_write(core, rng, int(rng.choice(lines)), notice, free[region]))
                store(memory, requests.writes[writer][-1], core)
            if requests.writes[writer][-1].notice == 0:  # what it wrote is reported by a write of nothing
                requests.writes[writer].append(Write(0, 0, 0, 0, 1, memory[0].copy()))
                had[writer] += 1
            filled.append(Waits({writer: had[writer]}))
        free = [Waits(dict(wait.notices)) for wait in filled]
        for reader in range(core.readers):
            for region in rng.permutation(len(regions))[: int(rng.integers(1, len(regions) + 1))]:
                for line in rng.choice(regions[region], size=int(rng.integers(1, 5))):
                    requests.reads[reader].append(Read(int(line), filled[region]))
                    expected[reader].append(memory[line].copy())
                free[region] = Waits(free[region].notices, {**free[region].lines, reader: len(expected[reader])})
    every = Waits(dict(enumerate(had)))
    requests.reads[0] += [Read(line, every) for line in range(core.lines)]
    expected[0] += list(memory)
    result = bench.run(requests, some_stalls(core, rng, seed), disturbed=int(rng.integers(60)) if seed % 2 else 0)
    for reader in range(core.readers):
        np.testing.assert_array_equal(result.data[reader], np.stack(expected[reader]))
    check_notices(requests, result)


def check_order(bench: Bench, seed: int, count: int = 150) -> None:
    """Reads and writes of the same few lines, none waiting for another: a read sees the writes of cycles before its own."""
    core, rng = bench.core, np.random.default_rng(seed)
    requests, memory = fill(core, rng)
    begin = Waits({0: 1})
    lines = rng.choice(core.lines, size=min(5, core.lines), replace=False)
    for reads in requests.reads:
        reads += [Read(int(rng.choice(lines)), begin) for _ in range(count)]
    for writes in requests.writes:
        writes += [some_write(core, rng, int(rng.choice(lines)), int(rng.integers(3)), begin) for _ in range(count)]
    result = bench.run(requests, some_stalls(core, rng, seed))
    transfers = [(int(t), 1, w, n) for w, cycles in enumerate(result.write_cycles) for n, t in enumerate(cycles)]
    transfers += [(int(t), 0, r, n) for r, cycles in enumerate(result.read_cycles) for n, t in enumerate(cycles)]
    for _, writes_it, client, number in sorted(transfers):  # of a cycle first what is read
        if writes_it:
            store(memory, requests.writes[client][number], core)
        else:
            np.testing.assert_array_equal(result.data[client][number], memory[requests.reads[client][number].line])
    ports = [
        (t, writes_it, (requests.writes if writes_it else requests.reads)[client][number].line % core.banks)
        for t, writes_it, client, number in transfers
        if not writes_it or requests.writes[client][number].count
    ]
    assert len(set(ports)) == len(ports), "a bank transferred two in a cycle"
    check_notices(requests, result)


def check_notices(requests: Requests, result: Result) -> None:
    """Each notice comes as it was asked for, in order, after its write."""
    for writes, notices, taken, said in zip(
        requests.writes, result.notices, result.write_cycles, result.notice_cycles, strict=True
    ):
        np.testing.assert_array_equal(notices, [write.notice for write in writes])
        reporting = notices != 0
        assert (said[reporting] > taken[reporting]).all()
        assert (np.diff(said[reporting]) > 0).all()


def check_cycles(bench: Bench, count: int = 40) -> None:
    """Each transfer in the cycle that the formulas say where clients are in different banks: one read and one write a cycle."""
    core = bench.core
    for offset in range(core.banks):
        requests, memory = fill(core, np.random.default_rng(offset))
        begin = Waits({0: 1})
        for reader in range(min(core.readers, core.banks)):
            requests.reads[reader] = [Read((offset + reader + n) % core.lines, begin) for n in range(count)]
        for writer in range(min(core.writers, core.banks)):  # as they are already
            lines = [(offset + writer + n) % core.lines for n in range(count)]
            requests.writes[writer] += [Write(line, 0, core.line_bytes, 3, 2, memory[line], begin) for line in lines]
        result = bench.run(requests)
        start = int(result.notice_cycles[0][core.lines - 1])
        for reader in range(min(core.readers, core.banks)):
            reads, data = result.read_cycles[reader], result.data[reader]
            np.testing.assert_array_equal(reads - start, core.reads(count))
            np.testing.assert_array_equal(result.data_cycles[reader], reads + core.latency)
            np.testing.assert_array_equal(data, memory[(offset + reader + np.arange(count)) % core.lines])
            assert reads[core.queue] - reads[0] == core.interval() * core.queue
        for writes, notices in zip(result.write_cycles[: core.banks], result.notice_cycles, strict=False):
            np.testing.assert_array_equal(writes[-count:] - start, np.arange(count))
            np.testing.assert_array_equal(notices[-count:], writes[-count:] + core.notice_latency)


def check_slow_reader(bench: Bench, count: int = 40) -> None:
    """Readers of one bank: the first, which takes no line for long, reads as much as it has room for; then the others do."""
    core = bench.core
    requests, memory = fill(core, np.random.default_rng(0))
    for reads in requests.reads:
        reads += [Read(n * core.banks % core.lines, Waits({0: 1})) for n in range(count)]
    held = 4 * count * core.readers + core.lines
    result = bench.run(requests, Stalls.none(core, [held] + [0] * (core.readers - 1)))
    start = int(result.notice_cycles[0][core.lines - 1])
    np.testing.assert_array_equal(result.read_cycles[0][: core.queue] - start, np.arange(core.queue))
    assert result.read_cycles[0][core.queue] == held + 1
    others = np.sort(np.concatenate([*result.read_cycles[1:], np.zeros(0, dtype=np.int64)]))
    if core.readers > 1 and core.interval() == 1:
        np.testing.assert_array_equal(others - start, core.queue + np.arange(len(others)))
        for number, cycles in enumerate(result.read_cycles[1:]):  # the lower number first
            np.testing.assert_array_equal(cycles - start, core.queue + number * count + np.arange(count))
    for data in result.data:
        np.testing.assert_array_equal(data, memory[np.arange(count) * core.banks % core.lines])


def check_all(bench: Bench, runs: int = 12) -> None:
    """Everything of one core."""
    for seed in range(runs):
        check_regions(bench, seed)
        check_order(bench, seed)
    check_cycles(bench)
    check_slow_reader(bench)
