"""One parsed translation unit: the syntax tree of our own files with parents, and their pragmas.

Pragmas are not part of clang's syntax tree.  They are found among the tokens and related to the tree by byte offsets.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from edgeflow.hw.lint.clang import Cursor, CursorKind, parse, skipped_ranges

FUNCTION_KINDS = frozenset(
    {
        CursorKind.FUNCTION_DECL,
        CursorKind.FUNCTION_TEMPLATE,
        CursorKind.CXX_METHOD,
        CursorKind.CONSTRUCTOR,
        CursorKind.DESTRUCTOR,
        CursorKind.CONVERSION_FUNCTION,
    }
)
# What may hold the word pragma without being one comes first: comments and strings.
PRAGMA = re.compile(
    rb"""//[^\n]*|/\*.*?\*/
       |_Pragma\s*\(\s*"(?P<quoted>(?:\\.|[^"\\])*)"\s*\)
       |"(?:\\.|[^"\\\n])*"
       |^[ \t]*\#[ \t]*pragma\b(?P<line>(?:\\\r?\n|/\*.*?\*/|[^\n])*)""",
    re.VERBOSE | re.DOTALL | re.MULTILINE,
)
REMARK = re.compile(rb"//.*|/\*.*?\*/", re.DOTALL)
LOOP_KINDS = frozenset({CursorKind.FOR_STMT, CursorKind.WHILE_STMT, CursorKind.DO_STMT, CursorKind.CXX_FOR_RANGE_STMT})


@dataclass(eq=False)
class Node:
    """A cursor of one of our files; ``start`` and ``end`` are byte offsets."""

    cursor: Cursor
    kind: CursorKind
    parent: Node | None
    file: Path
    line: int
    start: int
    end: int
    children: list[Node] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, parents first."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            waiting += reversed(node.children)

    @property
    def is_function(self) -> bool:
        return self.kind in FUNCTION_KINDS

    @property
    def body(self) -> Node | None:
        """The compound statement of a function, loop or lambda."""
        return next((child for child in reversed(self.children) if child.kind == CursorKind.COMPOUND_STMT), None)

    def ancestors(self) -> Iterator[Node]:
        """Yield the nodes around this one, innermost first."""
        node = self.parent
        while node is not None:
            yield node
            node = node.parent

    def enclosing_function(self) -> Node | None:
        node = self.parent
        while node is not None and not node.is_function:
            node = node.parent
        return node


@dataclass(frozen=True)
class Pragma:
    """``text`` is what follows the word ``pragma``, on one line and without comments."""

    file: Path
    line: int
    offset: int
    text: str

    @cached_property
    def words(self) -> list[str]:
        """The words, with ``name = value`` and ``a, b`` drawn together."""
        return re.sub(r"\s*([=,])\s*", r"\1", self.text).split()

    @property
    def is_hls(self) -> bool:
        return self.words[:1] == ["HLS"]

    @property
    def name(self) -> str:
        """The directive of an HLS pragma in upper case, or nothing."""
        return self.words[1].upper() if len(self.words) > 1 else ""

    @property
    def options(self) -> list[tuple[str, str | None]]:
        """The arguments of an HLS pragma: ``(name, value)``, or ``(word, None)``."""
        return [(name, value if equals else None) for name, equals, value in (w.partition("=") for w in self.words[2:])]

    @property
    def off(self) -> bool:
        """Whether the pragma switches its directive off."""
        return any(name.lower() == "off" and (value is None or value.lower() == "true") for name, value in self.options)

    def value(self, option: str) -> str | None:
        """Return the value of an option, or None."""
        return next((value for name, value in self.options if name.lower() == option and value is not None), None)


class Source:
    """A translation unit, restricted to the files that are ours.

    A file is ours when it stands in the folder of a linted file or below an include folder, except for the folders
    that hold an ``ap_int.h`` or ``hls_stream.h`` of their own: those headers are the tool vendor's part.
    """

    def __init__(self, file: Path, include: Sequence[Path], defines: Sequence[str], tops: Collection[str]) -> None:
        self.file = file.resolve()
        self.tops = frozenset(tops)
        folders = [folder.resolve() for folder in include]
        self._vendor = [folder for folder in folders if any((folder / name).is_file() for name in ("ap_int.h", "hls_stream.h"))]
        self._ours = [self.file.parent, *(folder for folder in folders if folder not in self._vendor)]
        arguments = [*(f"-D{define}" for define in defines), *(f"-I{folder}" for folder in folders)]
        self.unit = parse(self.file, arguments, self._vendor)
        self._owned: dict[str, Path | None] = {}
        self._vendors: dict[str, bool] = {}
        self._content: dict[Path, bytes] = {}
        self.roots: dict[Path, list[Node]] = {self.file: []}
        for cursor in self.unit.cursor.get_children():
            if self._file_of(cursor) is not None:
                self._add(cursor, None)

    def owns(self, name: str) -> Path | None:
        """Return the resolved path of a file that is ours, None for any other."""
        if name not in self._owned:
            path = Path(name).resolve()
            ours = any(path.is_relative_to(folder) for folder in self._ours)
            vendor = any(path.is_relative_to(folder) for folder in self._vendor)
            self._owned[name] = path if path == self.file or (ours and not vendor) else None
        return self._owned[name]

    def is_vendor(self, cursor: Cursor) -> bool:
        """Say whether a declaration stands in the tool vendor's headers, such as ``ap_int.h``."""
        file = cursor.location.file
        if file is None:
            return False
        name = str(file.name)
        if name not in self._vendors:
            self._vendors[name] = any(Path(name).resolve().is_relative_to(folder) for folder in self._vendor)
        return self._vendors[name]

    def is_system(self, cursor: Cursor) -> bool:
        """Say whether a declaration stands in a header of the C or C++ library."""
        return cursor.location.file is not None and self._file_of(cursor) is None and not self.is_vendor(cursor)

    def text(self, node: Node) -> str:
        """Return the source text of a node."""
        return self.between(node.file, node.start, node.end)

    def returned(self, statement: Node) -> str:
        """Return the text of what a return statement returns."""
        return re.sub(r"^\s*return\b", "", self.text(statement))

    def between(self, file: Path, start: int, end: int) -> str:
        """Return the source text between two byte offsets of a file."""
        if file not in self._content:
            self._content[file] = file.read_bytes()
        return self._content[file][start:end].decode(errors="replace")

    @cached_property
    def nodes(self) -> list[Node]:
        """Every node of our files."""
        return [node for roots in self.roots.values() for root in roots for node in root.walk()]

    @cached_property
    def functions(self) -> list[Node]:
        """Every function of our files that has a body."""
        return [node for node in self.nodes if node.is_function and node.body is not None]

    @cached_property
    def globals(self) -> list[Node]:
        """Every variable of our files that is declared outside of functions."""
        return [node for node in self.nodes if node.kind == CursorKind.VAR_DECL and node.enclosing_function() is None]

    @cached_property
    def pragmas(self) -> list[Pragma]:
        """Every pragma of our files that the preprocessor keeps, HLS or not."""
        return [pragma for file in self.roots for pragma in self._pragmas_of(file)]

    @cached_property
    def directives(self) -> dict[Node, list[Pragma]]:
        """The HLS pragmas by the innermost function or loop that they stand in."""
        by_holder: dict[Node, list[Pragma]] = {}
        for pragma in self.pragmas:
            path = self.enclosing(pragma) if pragma.is_hls else []
            holder = next((node for node in reversed(path) if node.is_function or node.kind in LOOP_KINDS), None)
            if holder is not None:
                by_holder.setdefault(holder, []).append(pragma)
        return by_holder

    def directive(self, node: Node, name: str) -> Pragma | None:
        """Return the pragma of a name that stands in a function or loop, and in no loop inside it, unless it says off."""
        pragmas = (pragma for pragma in self.directives.get(node, ()) if pragma.name == name and not pragma.off)
        return next(pragmas, None)

    def enclosing(self, pragma: Pragma) -> list[Node]:
        """Return the nodes around a pragma, outermost first."""
        path: list[Node] = []
        level = self.roots[pragma.file]
        while level:
            inside = [node for node in level if node.file == pragma.file and node.start <= pragma.offset < node.end]
            if not inside:
                break
            path.append(inside[-1])
            level = inside[-1].children
        return path

    def _file_of(self, cursor: Cursor) -> Path | None:
        file = cursor.location.file
        return None if file is None else self.owns(file.name)

    def _add(self, cursor: Cursor, parent: Node | None) -> None:
        if cursor.location.file is None and parent is not None:
            for child in cursor.get_children():  # an implicit conversion has no place of its own
                self._add(child, parent)
            return
        file = self._file_of(cursor)
        if file is None or cursor.kind.is_preprocessing():
            return
        extent = cursor.extent
        node = Node(cursor, cursor.kind, parent, file, cursor.location.line, extent.start.offset, extent.end.offset)
        (self.roots.setdefault(file, []) if parent is None else parent.children).append(node)
        for child in cursor.get_children():
            self._add(child, node)

    def _pragmas_of(self, file: Path) -> Iterator[Pragma]:
        content = file.read_bytes()
        if b"ragma" not in content:
            return
        skipped = skipped_ranges(self.unit, file)
        for match in PRAGMA.finditer(content):
            text = match.group("line") or match.group("quoted")
            offset = match.start()
            if text is None or any(start <= offset < end for start, end in skipped):
                continue
            if match.group("line") is not None:
                offset = content.index(b"#", offset)
                text = REMARK.sub(b" ", text.replace(b"\\\r\n", b" ").replace(b"\\\n", b" "))
            else:
                text = text.replace(b'\\"', b'"').replace(b"\\\\", b"\\")
            line = content.count(b"\n", 0, offset) + 1
            yield Pragma(file, line, offset, " ".join(text.decode(errors="replace").split()))
