"""Rules on pipelined loops: what a memory with two ports, or an AXI port, cannot do in every cycle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import gcd, prod

from edgeflow.hw.lint.affine import Affine, Symbol, combine
from edgeflow.hw.lint.finding import Finding
from edgeflow.hw.lint.regions import Access, Group, Region
from edgeflow.hw.lint.rule import Rule
from edgeflow.hw.lint.scopes import Partition, Ref, Storage
from edgeflow.hw.lint.source import Source
from edgeflow.hw.lint.trace import trace

Key = tuple[Storage, tuple[str, ...]]
Bank = tuple[int, ...]
Touch = tuple[bool, tuple[Affine, ...]]
MOST_BANKS = 8192
COMPLETE_THRESHOLD = 4  # the tool partitions smaller arrays by itself (config_array_partition -complete_threshold)


class MemoryPorts(Rule):
    """The banks of partitioned arrays are told apart as far as their indices are known when the circuit is built.

    Arrays that become registers are left alone: those that are partitioned completely in every dimension, very small ones,
    constants, and those that live within one iteration and have constant indices, which the tool partitions by itself.
    """

    id = "memory-ports"
    rationale = "A bank of memory has two ports: more accesses to it in one iteration raise the initiation interval."
    remedy = "Choose the address first and access once, let the unrolled index select the bank, or use registers."

    def check(self, source: Source) -> Iterator[Finding]:
        findings: dict[tuple[str, int], Finding] = {}
        for region in trace(source).regions:
            if region.interval is None:
                continue
            problems = [problem for key in _arrays(region) if (problem := _too_many(region, key, region.interval))]
            if problems:
                node = region.node
                findings.setdefault((str(node.file), node.line), self.at(node, "; ".join(problems)))
        yield from findings.values()


class LoopDependence(Rule):
    """Two accesses are independent when their indices differ by a constant that no iteration makes up for."""

    id = "loop-dependence"
    rationale = "A value that may be read back from memory in the next iteration makes every iteration wait for the write."
    remedy = "Keep the value in a register; places that always differ are stated with #pragma HLS DEPENDENCE."

    def check(self, source: Source) -> Iterator[Finding]:
        findings: dict[tuple[str, int], Finding] = {}
        for region in trace(source).regions:
            if region.node.is_function or region.everything_independent or region.interval != 1:
                continue
            problems = [problem for key in _arrays(region) if (problem := _carried(region, key))]
            if problems:
                node = region.node
                findings.setdefault((str(node.file), node.line), self.at(node, "; ".join(problems)))
        yield from findings.values()


class AxiReadWrite(Rule):
    id = "axi-read-write"
    rationale = "Reads and writes of one AXI port in one pipelined loop form no bursts: each pays the memory's latency."
    remedy = "Give reads and writes a loop each."

    def check(self, source: Source) -> Iterator[Finding]:
        for region in trace(source).regions:
            if region.node.is_function:
                continue
            accesses = [one for one in region.accesses if one.ref.storage.kind == "pointer"]
            read = {one.ref.storage for one in accesses if not one.write}
            for storage in sorted(read & {one.ref.storage for one in accesses if one.write}, key=lambda one: one.name):
                message = f"{storage.name} is read and written in one pipelined loop: give each direction a loop of its own"
                yield self.at(region.node, message)


def _arrays(region: Region) -> list[Key]:
    """Return the arrays on the chip that a region accesses, in the order of the code."""
    keys = {(one.ref.storage, one.ref.members): None for one in region.accesses if one.ref.storage.kind != "pointer"}
    return [key for key in keys if key[0].kind != "stream" and not key[0].constant and (not key[0].foreign or key[0].partitions)]


def _full_name(key: Key) -> str:
    return ".".join((key[0].name, *key[1]))


def _layout(region: Region, key: Key) -> tuple[list[Partition | None], str]:
    """Return how each dimension of an array is partitioned, and the type of its memory (empty: the tool chooses)."""
    storage, members = key
    sizes = region.sizes[key]
    dims: list[Partition | None] = [None] * len(sizes)
    kind = ""
    for partition in storage.partitions:
        if partition.members != members[: len(partition.members)]:
            continue
        if partition.directive == "BIND_STORAGE":
            kind = partition.style.lower()
        elif partition.directive == "AGGREGATE" and members:
            dims = [Partition("AGGREGATE", members, "complete", 0, None)] * len(sizes)
        elif partition.directive in ("ARRAY_PARTITION", "ARRAY_RESHAPE"):
            inner = len(sizes) - len(storage.dims) if partition.members else 0
            first = len(storage.dims) if partition.members else 0
            if partition.dim:
                chosen = [first + partition.dim - 1]
            else:
                chosen = list(range(first, first + inner)) if partition.members else list(range(len(sizes)))
            for place in chosen:
                if place < len(dims):
                    dims[place] = partition
    return dims, kind


def _registers(region: Region, key: Key, dims: Sequence[Partition | None]) -> bool:
    """Say whether an array becomes registers."""
    sizes = region.sizes[key]
    if None not in sizes and prod(size or 0 for size in sizes) < COMPLETE_THRESHOLD:
        return True
    if dims and all(one is not None and one.style == "complete" for one in dims):
        return True
    mine = [one for one in region.accesses if (one.ref.storage, one.ref.members) == key]
    return key[0].birth > region.birth and all(index.known is not None for one in mine for index in one.ref.indices)


def _too_many(region: Region, key: Key, interval: int) -> str:
    """Return what exceeds the ports of an array's banks, or an empty string."""
    dims, kind = _layout(region, key)
    if not dims or kind == "fifo" or _registers(region, key, dims):
        return ""
    accesses = [one for one in region.accesses if (one.ref.storage, one.ref.members) == key]
    spread = _Spread(key, dims, region.sizes[key], accesses)
    if not spread.usable:
        return ""
    most = ""
    worst = 0
    for touched in spread.collect(region.group).values():
        reads, writes = sum(not write for write, _ in touched), sum(write for write, _ in touched)
        if _fits(kind, reads, writes, interval) or reads + writes <= worst:
            continue
        worst = reads + writes
        where = "one bank of " if any(dims) else ""
        most = (
            f"{where}{_full_name(key)} has {reads} reads and {writes} writes in one iteration, more than its ports allow at "
            f"II={interval}: select the address first and access once, let the unrolled index select the bank, or use registers"
        )
    return most


def _fits(kind: str, reads: int, writes: int, interval: int) -> bool:
    if kind in ("ram_1wnr", "rom_np"):
        return writes <= interval
    if kind in ("ram_1p", "rom_1p"):
        return reads + writes <= interval
    if kind == "ram_s2p":
        return reads <= interval and writes <= interval
    return reads + writes <= 2 * interval and (kind != "ram_2p" or writes <= interval)


class _Spread:
    """How the accesses to one array fall on its banks."""

    def __init__(self, key: Key, dims: Sequence[Partition | None], sizes: Sequence[int | None], accesses: Sequence[Access]) -> None:
        self.key = key
        self.usable = True
        self.shapes: list[tuple[str, int, int]] = []
        for partition, size in zip(dims, sizes, strict=True):
            if partition is None:
                self.shapes.append(("", 1, 1))
            elif partition.style == "complete" and size:
                self.shapes.append(("complete", size, 1))
            elif partition.style == "cyclic" and partition.factor:
                self.shapes.append(("cyclic", partition.factor, 1))
            elif partition.style == "block" and partition.factor and size:
                self.shapes.append(("block", partition.factor, -(-size // partition.factor)))
            else:
                self.usable = False
        if any(
            style == "block" and access.ref.indices[place].known is None
            for access in accesses
            for place, (style, _, _) in enumerate(self.shapes)
        ):
            self.usable = False  # the range of an index is not followed, and it says which block is meant
        self.usable = self.usable and prod(banks for _, banks, _ in self.shapes) <= MOST_BANKS

    def banks(self, ref: Ref) -> Iterator[Bank]:
        """Yield the banks that an access may touch."""
        choices: list[Sequence[int]] = []
        for index, (style, banks, length) in zip(ref.indices, self.shapes, strict=True):
            value = index.known
            if style == "":
                choices.append((0,))
            elif value is not None:
                choices.append((value % banks,) if style == "cyclic" else (value // length,))
            else:
                step = gcd(index.stride, banks) if style == "cyclic" else index.stride
                choices.append(range(index.constant % step, banks, step))
        yield from product(*choices)

    def address(self, access: Access) -> tuple[Affine, ...]:
        """Return what tells an access from others in one bank.

        Reads of one address in a bank are one read, whichever indices chose the bank; writes are told apart by those too,
        for nothing says that they do not happen together.
        """
        if access.write:
            return access.ref.indices
        return tuple(index for index, shape in zip(access.ref.indices, self.shapes, strict=True) if shape[0] != "complete")

    def collect(self, group: Group) -> dict[Bank, set[Touch]]:
        """Return the different elements that a group touches in each bank, at the worst."""
        total: dict[Bank, set[Touch]] = {}
        for part in group.parts:
            if isinstance(part, Access):
                if (part.ref.storage, part.ref.members) == self.key:
                    touch = (part.write, self.address(part))
                    for bank in self.banks(part.ref):
                        total.setdefault(bank, set()).add(touch)
                continue
            for bank, touched in self.collect(part).items():
                held = total.setdefault(bank, set())
                if not group.exclusive:
                    held |= touched
                elif len(touched) > len(held):
                    total[bank] = touched
        return total


def _carried(region: Region, key: Key) -> str:
    """Return why an iteration may have to wait for an earlier one's write to an array, or an empty string."""
    dims, kind = _layout(region, key)
    if not dims or kind == "fifo" or _registers(region, key, dims) or _declared_independent(region, key):
        return ""
    mine = {one: None for one in region.accesses if (one.ref.storage, one.ref.members) == key}
    if key[0].birth > region.birth:
        return ""
    reads = {one.ref.indices for one in mine if not one.write}
    writes = {one.ref.indices for one in mine if one.write}
    if any(_may_meet(region, write, read) for write in writes for read in reads):
        return (
            f"{_full_name(key)} is written in one iteration and may be read at the same place in the next: keep the value in "
            "a register, or if the places always differ say so with #pragma HLS DEPENDENCE "
            f"variable={_full_name(key)} type=inter dependent=false"
        )
    return ""


def _declared_independent(region: Region, key: Key) -> bool:
    return any(ref.storage is key[0] and ref.members == key[1][: len(ref.members)] for ref in region.independent)


def _may_meet(region: Region, write: Sequence[Affine], read: Sequence[Affine]) -> bool:
    """Say whether an iteration may read in memory what the iteration before it wrote."""
    for one, other in zip(write, read, strict=True):
        common = gcd(one.stride, other.stride)
        if common and (one.constant - other.constant) % common:
            return False
        difference = combine("-", one, other)
        if difference.terms or _varies(region, one):
            continue
        factor = sum(times for symbol, times in one.terms if _is_counter(region, symbol))
        if factor == 0:
            if difference.constant:
                return False  # two places that no iteration changes
        elif region.step is not None and difference.constant != factor * region.step:
            return False
    return True


def _is_counter(region: Region, symbol: Symbol) -> bool:
    name, _, number = symbol.key.partition("#")
    return name.isidentifier() and number == str(region.counter)


def _varies(region: Region, index: Affine) -> bool:
    """Say whether an index depends on what changes in the loop, other than as a multiple of the loop's variable."""
    parts = {part for symbol, _ in index.terms if not _is_counter(region, symbol) for part in symbol.parts}
    return any(part in region.assigned or part >= region.birth or part == region.counter for part in parts)


RULES = (MemoryPorts(), LoopDependence(), AxiReadWrite())
