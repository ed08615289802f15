"""One parsed translation unit: the syntax tree of our own files with parents, and their pragmas.

Pragmas are not part of clang's syntax tree.  They are found among the tokens and related to the tree by byte offsets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from edgeflow.hw.lint.clang import Cursor, CursorKind, TokenKind, parse, skipped_ranges

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
        yield self
        for child in self.children:
            yield from child.walk()

    @property
    def is_function(self) -> bool:
        return self.kind in FUNCTION_KINDS

    @property
    def body(self) -> Node | None:
        """The compound statement of a function, loop or lambda."""
        return next((child for child in reversed(self.children) if child.kind == CursorKind.COMPOUND_STMT), None)

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

    @property
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

    def value(self, option: str) -> str | None:
        """Return the value of an option, or None."""
        return next((value for name, value in self.options if name.lower() == option and value is not None), None)


class Source:
    """A translation unit, restricted to the files that are ours.

    A file is ours when it stands in the folder of a linted file or below an include folder, except for the folders
    that hold an ``ap_int.h`` of their own: those headers are the tool vendor's part.
    """

    def __init__(self, file: Path, include: Sequence[Path], defines: Sequence[str], top: str) -> None:
        self.file = file.resolve()
        self.top = top
        folders = [folder.resolve() for folder in include]
        self._vendor = [folder for folder in folders if (folder / "ap_int.h").is_file()]
        self._ours = [self.file.parent, *(folder for folder in folders if folder not in self._vendor)]
        arguments = [*(f"-D{define}" for define in defines), *(f"-I{folder}" for folder in folders)]
        self.unit = parse(self.file, arguments)
        self._owned: dict[str, Path | None] = {}
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
        return file is not None and any(Path(file.name).resolve().is_relative_to(folder) for folder in self._vendor)

    def is_system(self, cursor: Cursor) -> bool:
        """Say whether a declaration stands in a header of the C or C++ library."""
        return cursor.location.file is not None and self._file_of(cursor) is None and not self.is_vendor(cursor)

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
        whole = self.unit.get_extent(str(file), (0, len(content)))
        skipped = skipped_ranges(self.unit, file)
        tokens = [token for token in self.unit.get_tokens(extent=whole) if token.kind != TokenKind.COMMENT]
        line_of = [token.location.line for token in tokens]
        for i, token in enumerate(tokens):
            offset = token.extent.start.offset
            if any(start <= offset < end for start, end in skipped):
                continue
            rest = [after.spelling for after in tokens[i + 1 : i + 4]]
            if token.spelling == "#" and rest[:1] == ["pragma"]:
                last = i + 1
                while last + 1 < len(tokens) and (
                    line_of[last + 1] == line_of[last] or _continues(content, tokens[last].extent.end.offset)
                ):
                    last += 1
                text = _joined(content, tokens[i + 2 : last + 1])
                yield Pragma(file, line_of[i], offset, text)
            elif token.spelling == "_Pragma" and len(rest) == 3 and rest[1].startswith('"'):
                text = rest[1][1:-1].replace('\\"', '"').replace("\\\\", "\\")
                yield Pragma(file, line_of[i], offset, text)


def _continues(content: bytes, offset: int) -> bool:
    """Say whether the line goes on after ``offset`` with a backslash."""
    return re.match(rb"[ \t]*\\\r?\n", content[offset : offset + 200]) is not None


def _joined(content: bytes, tokens: Sequence[Cursor]) -> str:
    """Return the source text of tokens: a blank wherever there was anything between two of them."""
    text = ""
    for i, token in enumerate(tokens):
        start, end = token.extent.start.offset, token.extent.end.offset
        if i and start > tokens[i - 1].extent.end.offset:
            text += " "
        text += content[start:end].decode(errors="replace")
    return text
