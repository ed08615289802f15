"""Rules on dataflow regions: the tool builds a channel for what has one writer and one reader, and serialises the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from edgeflow.hw.lint.clang import CursorKind, Type
from edgeflow.hw.lint.finding import Finding, Level
from edgeflow.hw.lint.regions import Dataflow, Process
from edgeflow.hw.lint.rule import Rule
from edgeflow.hw.lint.scopes import Storage
from edgeflow.hw.lint.source import Source
from edgeflow.hw.lint.trace import trace

STREAM = re.compile(r"(?:const )?(?:hls::)?stream(?:_of_blocks)?<[^&*]*>")
Users = dict[tuple[Storage, tuple[int | None, ...]], dict[bool, list[Process]]]


class DataflowChannel(Rule):
    """Finds what several processes of a dataflow region write or read at once, scalars and constant arrays left out."""

    id = "dataflow-channel"
    rationale = "A stream, array or AXI port of a dataflow region has one writing and one reading process, or they run in turn."
    remedy = "Give each process a channel or port of its own, or pass the data through one process."

    def check(self, source: Source) -> Iterator[Finding]:
        for region in trace(source).dataflow:
            for problem in (*_shared(region), *_shared_bundles(region)):
                yield self.at(region.node, problem)


class DataflowForm(Rule):
    id = "dataflow-form"
    rationale = "Code between the processes of a dataflow region becomes processes that the tool chooses, or keeps them in turn."
    remedy = "Move the code into a function of its own, so that the region holds declarations and calls alone."
    level: ClassVar[Level] = "warning"

    def check(self, source: Source) -> Iterator[Finding]:
        for region in trace(source).dataflow:
            for node in region.others:
                yield self.at(node, "a dataflow region holds declarations and calls alone: move this into a function of its own")


class StreamByValue(Rule):
    id = "stream-by-value"
    rationale = "A stream is a wire with a handshake: a copy of it is connected to nothing."
    remedy = "Pass the stream by reference."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            if node.kind == CursorKind.PARM_DECL and _is_stream(node.cursor.type):
                yield self.at(node, f"{node.cursor.spelling} is a stream that is passed by value: pass it by reference")
            elif node.is_function and _is_stream(node.cursor.result_type):
                yield self.at(node, f"{node.cursor.spelling} returns a stream: take it as a reference parameter")


def _is_stream(type_: Type) -> bool:
    return any(STREAM.fullmatch(one.spelling) for one in (type_, type_.get_canonical()))


def _users(region: Dataflow) -> Users:
    """Return the processes that read and write each stream, array and port; elements of an array of streams are told apart."""
    users: Users = {}
    for process in region.processes:
        for access in process.group.accesses():
            storage = access.ref.storage
            if (storage.kind == "scalar" and not access.ref.members) or (storage.constant and storage.kind == "array"):
                continue
            which = tuple(index.known for index in access.ref.indices) if storage.kind == "stream" else ()
            listed = users.setdefault((storage, which), {True: [], False: []})[access.write]
            if process not in listed:
                listed.append(process)
    return users


def _shared(region: Dataflow) -> Iterator[str]:
    for (storage, which), by_direction in _users(region).items():
        name = storage.name + "".join("[?]" if index is None else f"[{index}]" for index in which)
        readers, writers = by_direction[False], by_direction[True]
        if storage.kind == "pointer":
            everybody = [one for one in region.processes if one in readers or one in writers]
            if len(everybody) > 1:
                yield f"{name} is used by {_names(everybody)}: give each process a port of its own"
            continue
        for word, processes in (("read", readers), ("written", writers)):
            if len(processes) > 1:
                yield f"{name} is {word} by {_names(processes)}: give each its own, or pass it through one process"
        order = {process.node: place for place, process in enumerate(region.processes)}
        if storage.kind == "array" and len(readers) == len(writers) == 1 and order[readers[0].node] < order[writers[0].node]:
            yield f"{name} is read by {readers[0].name} before {writers[0].name} writes it: call the writer first"


def _shared_bundles(region: Dataflow) -> Iterator[str]:
    users: dict[str, dict[str, set[str]]] = {}
    for process in region.processes:
        for access in process.group.accesses():
            bundle = region.bundles.get(access.ref.storage.name)
            if access.ref.storage.kind == "pointer" and bundle is not None:
                users.setdefault(bundle, {}).setdefault(access.ref.storage.name, set()).add(process.name)
    for bundle, ports in users.items():
        processes = set().union(*ports.values())
        if len(ports) > 1 and len(processes) > 1:
            yield (
                f"{', '.join(sorted(ports))} share the AXI port {bundle} and are used by {', '.join(sorted(processes))}: "
                "give each process a bundle of its own"
            )


def _names(processes: list[Process]) -> str:
    return " and ".join(process.name for process in processes)


RULES = (DataflowChannel(), DataflowForm(), StreamByValue())
