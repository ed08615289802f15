"""Where in the C++ a node comes from, and which variable a register is: what messages name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeflow.hw.schedule.ir import Module, Place
from edgeflow.hw.schedule.loops import Loop
from edgeflow.hw.schedule.nodes import Nodes

ASSIGNED = re.compile(r"(?:\+\+|--)([A-Za-z_][\w.]*)|([A-Za-z_][\w.]*)(?:\[[^\]]*\])*\s*(?:\+\+|--|(?:<<|>>|[-+*/%&|^])?=(?!=))")
OWN = ("ap_int.h", "hls_stream.h", "marks.h")


class Places:
    """The source lines of one loop's nodes; ``sources``: the lines of each file, from 1."""

    def __init__(self, module: Module, loop: Loop, sources: Mapping[str, Sequence[str]]) -> None:
        self.module, self.sources = module, sources
        around = [(place, name) for place, name in module.places(loop.place) if not place.file.endswith(OWN)]
        self.function = around[0][1]
        self.callers = [re.sub(r"<.*", "", name) for _, name in around]
        self.loop = Place(self.file(around[0][0].file), around[0][0].line)

    def file(self, path: str) -> str:
        """The name of a file below the project's folder."""
        for name in self.sources:
            if path == name or path.endswith("/" + name):
                return name
        return Path(path).name

    def of(self, nodes: Nodes, node: int) -> Place | None:
        """The line that a node stands for: in the loop's function or in what it calls, and in none of the gate's own headers."""
        first: Place | None = None
        for place, name in self.module.places(nodes.place[node]):
            if first is None and place.line and not place.file.endswith(OWN):
                first = Place(self.file(place.file), place.line)
            if name == self.function:
                return first
        return None

    def chain(self, nodes: Nodes, way: Sequence[int]) -> list[Place]:
        """The lines of a chain of nodes in order, repeated ones once."""
        places: list[Place] = []
        for node in way:
            place = self.of(nodes, node)
            if place is not None and (not places or places[-1] != place):
                places.append(place)
        return places

    def text(self, place: Place) -> str:
        """What the line says."""
        lines = self.sources.get(place.file, ())
        return lines[place.line - 1].strip() if 0 < place.line <= len(lines) else ""

    def variable(self, title: str, chain: Sequence[Place]) -> str:
        """The name of a register: an array's own; else what a line of its chain assigns, preferably under the name that it has
        in the compiled code."""
        if not title.startswith(("%", "_Z")):
            return title.split("[")[0]
        base = re.sub(r"\d+$", "", re.split(r"\.", title.lstrip("%"), maxsplit=1)[0])
        assigned = [name for place in reversed(chain) for pair in ASSIGNED.findall(self.text(place)) for name in pair if name]
        same = [name for name in assigned if name.split(".")[0] == base]
        plain = "" if title.startswith("_Z") or base in ("retval", "ref", "agg") else base
        struct = ".sroa." in title or title.startswith("_Z")
        if same:
            return str(same[0])
        return str(next((name for name in assigned if "." in name), plain or "a value")) if struct or not plain else plain
