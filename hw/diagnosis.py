"""Why a model cannot be compiled: causes first, with what follows from them folded under them.

A :class:`Diagnosis` is what ``edgeflow.check`` returns, and what an UnsupportedError of the import carries; the command line,
notebooks and ``--json`` show the same value.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

WIDTH, LINES = 80, 24
"""Columns and lines of a screen, which a diagnosis does not exceed."""
_UNCOUNTABLE = ("attention", "control", "pooling", "training")
_NAMED = 3  # nodes, and causes, that one line names


@dataclass(frozen=True)
class RefusedNode:
    """A node of the model's file that cannot be compiled as it stands, its operator, and what the importer says of it."""

    node: str
    operator: str
    reason: str = ""


@dataclass(frozen=True)
class Cause:
    """One obstacle: its ``name``, why it is one (``reason``), and what to do (``remedy``).

    ``nodes`` is where it stands, empty where it is a property of the whole file. ``consequences`` are nodes that are refused only
    because of it: they read what it makes, or belong to a form that it breaks.
    """

    name: str
    reason: str
    remedy: str
    nodes: tuple[RefusedNode, ...] = ()
    consequences: tuple[RefusedNode, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """Whether a model compiles: ``causes`` that stand in its way, none where it does.

    ``nodes`` counts those of the file (0 where they were not counted), and ``operators`` the canonical operators that those which
    can be compiled become.
    """

    model: str
    causes: tuple[Cause, ...] = ()
    nodes: int = 0
    operators: Mapping[str, int] = field(default_factory=dict)

    @property
    def compiles(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.causes

    @property
    def refused(self) -> int:
        """Nodes that cannot be compiled, causes and consequences."""
        return sum(len(cause.nodes) + len(cause.consequences) for cause in self.causes)

    @property
    def summary(self) -> str:
        """The obstacles in a few words."""
        if not self.causes:
            return "nothing stands in the way of compiling it"
        names = [_with_article(cause.name) for cause in self.causes]
        if len(names) > 1:
            shown = names if len(names) <= _NAMED + 1 else [*names[:_NAMED], f"{len(names) - _NAMED} more"]
            return f"{len(names)} obstacles: {', '.join(shown[:-1])} and {shown[-1]}"
        follow = len(self.causes[0].consequences)
        says = f"{names[0]} is the only obstacle"
        return f"{says}; {_count(follow, 'node')} follow{'s' * (follow == 1)} from it" if follow else says

    @property
    def is_short(self) -> bool:
        """Whether :meth:`line` says all there is to say: a property of the whole file is the only obstacle."""
        return len(self.causes) == 1 and not self.causes[0].nodes

    def line(self) -> str:
        """All of it in one line, for an exception: of each cause the first nodes, the reason and the remedy."""
        if self.is_short:
            return printable(f"{self.model}: {self.causes[0].reason}; {self.causes[0].remedy}")
        told = [f"{_first_nodes(cause)}: {cause.reason}; {cause.remedy}" for cause in self.causes[:_NAMED]]
        left = len(self.causes) - len(told)
        more = [f"{_count(left, 'more obstacle')}, which edgeflow check lists"] if left else []
        return printable(f"{self.model}: {self.summary}: {'; '.join([*told, *more])}")

    def text(self, width: int = WIDTH, lines: int = LINES, mark: str = "") -> str:
        """The diagnosis for a terminal of so many columns, in at most so many lines, the first of which begins with ``mark``."""
        for detailed in range(len(self.causes), -1, -1):
            drawn = self._drawn(detailed, width, mark)
            if len(drawn) <= lines:
                break
        return "\n".join(drawn[:lines])

    def _drawn(self, detailed: int, width: int, mark: str) -> list[str]:
        room = width - len(mark) - 1
        name = self.model if len(self.model) <= room else f"...{self.model[3 - room :]}"
        drawn = _wrapped(f"{mark}{name}: {self.summary}", width, "", "  ", most=4)
        for number, cause in enumerate(self.causes[:detailed], start=1):
            mark = f"{number}. " if len(self.causes) > 1 else ""
            drawn += _wrapped(f"{mark}{cause.name}: {cause.reason}", width, "  ", "     ", most=3)
            if cause.nodes:
                drawn += _wrapped(f"at {_listed(cause.nodes, width - 9)}", width, "     ", "     ", most=1)
            if cause.consequences:
                drawn += _wrapped(f"so also {_by_operator(cause.consequences)}", width, "     ", "     ", most=2)
            drawn += _wrapped(f"do: {cause.remedy}", width, "     ", "     ", most=3)
        rest = self.causes[detailed:]
        if rest:
            names = ", ".join(f"{cause.name} ({_count(len(cause.nodes), 'node')})" for cause in rest)
            drawn += _wrapped(f"{len(rest)} more, which --json lists in full: {names}", width, "  ", "  ", most=3)
        if self.nodes:
            drawn += _wrapped(self.coverage, width, "  ", "  ", most=3)
        return drawn

    @property
    def coverage(self) -> str:
        """How many nodes map to what."""
        operators = ", ".join(
            f"{count} {name}" for name, count in sorted(self.operators.items(), key=lambda item: (-item[1], item[0]))
        )
        share = (
            f"all {_count(self.nodes, 'node')}" if self.compiles else f"{self.nodes - self.refused} of {_count(self.nodes, 'node')}"
        )
        return f"{share} map{f', to {operators}' if operators else ''}"

    def document(self) -> dict[str, Any]:
        """The diagnosis in JSON's own types."""
        return {
            "model": self.model,
            "compiles": self.compiles,
            "summary": self.summary,
            "nodes": self.nodes,
            "refused": self.refused,
            "refused_operators": dict(_counted(node for cause in self.causes for node in (*cause.nodes, *cause.consequences))),
            "operators": dict(self.operators),
            "causes": [
                {
                    "name": cause.name,
                    "reason": cause.reason,
                    "remedy": cause.remedy,
                    "nodes": [_node_document(node) for node in cause.nodes],
                    "consequences": [_node_document(node) for node in cause.consequences],
                }
                for cause in self.causes
            ],
        }

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr>{_cells('td', c.name, c.reason, _listed(c.nodes, WIDTH), _by_operator(c.consequences), c.remedy)}</tr>"
            for c in self.causes
        )
        table = f"<table><tr>{_cells('th', 'obstacle', 'why', 'where', 'so also', 'what to do')}</tr>{rows}</table>" if rows else ""
        more = f"<p>{escape(self.coverage)}</p>" if self.nodes else ""
        return f"<p><b>{escape(printable(self.model))}</b>: {escape(self.summary)}</p>{table}{more}"


def _cells(tag: str, *texts: str) -> str:
    return "".join(f"<{tag}>{escape(printable(text))}</{tag}>" for text in texts)


def printable(text: str) -> str:
    """The text with what a terminal would act on, or hide, written out: names in models come from strangers. Lines stay lines."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def _node_document(node: RefusedNode) -> dict[str, str]:
    return {"node": node.node, "operator": node.operator, "reason": node.reason}


def _with_article(name: str) -> str:
    """``name`` with its article, unless it is an operator's, which begins with a capital, or names no single thing."""
    if not name[:1].islower() or name.split()[0] in _UNCOUNTABLE:
        return name
    return f"{'an' if name[0] in 'aeiou' and not name.startswith('uint') else 'a'} {name}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _counted(nodes: Iterable[RefusedNode]) -> list[tuple[str, int]]:
    return Counter(node.operator for node in nodes).most_common()


def _by_operator(nodes: Sequence[RefusedNode]) -> str:
    listed = ", ".join(f"{count} {operator}" for operator, count in _counted(nodes))
    return f"{_count(len(nodes), 'node')}: {listed}" if nodes else ""


def _first_nodes(cause: Cause) -> str:
    named = ", ".join(f"{node.node} ({node.operator})" for node in cause.nodes[:_NAMED])
    left = len(cause.nodes) - _NAMED
    return f"{cause.name} at {named}{f' and {left} more' if left > 0 else ''}" if cause.nodes else cause.name


def _listed(nodes: Sequence[RefusedNode], width: int) -> str:
    """As many nodes as fit into ``width`` columns, by operator where they share one, and how many are left."""
    shared = {node.operator for node in nodes}
    names = [node.node if len(shared) == 1 else f"{node.node} ({node.operator})" for node in nodes]
    tail = f" ({next(iter(shared))})" if len(shared) == 1 else ""
    for shown in range(len(names), 0, -1):
        more = f" and {len(names) - shown} more" if shown < len(names) else ""
        text = ", ".join(names[:shown]) + more + tail
        if len(text) <= width:
            return text
    return text if names else ""


def _wrapped(text: str, width: int, first: str, others: str, most: int | None = None) -> list[str]:
    """``text`` in lines of ``width`` columns, at most so many; what is left out ends in three dots."""
    return textwrap.wrap(
        printable(text),
        width,
        initial_indent=first,
        subsequent_indent=others,
        max_lines=most,
        placeholder=" ...",
        break_on_hyphens=False,
    )
