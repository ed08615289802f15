"""Sizes and offsets of types in LLVM's text, as x86-64 lays them out, and globals taken apart into their members."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

STRUCT = re.compile(r'^(%"[^"]+"|%[\w.$-]+) = type (<?\{.*\}>?)$', re.MULTILINE)
GLOBAL = re.compile(r'^@([\w.$-]+|"[^"]+") = internal global (.+?) (?:zeroinitializer|undef|poison)(?:, align \d+)?$', re.MULTILINE)


class Layout:
    """The types of one module by their text."""

    def __init__(self, module: str) -> None:
        self.structs: dict[str, str] = dict(STRUCT.findall(module))

    def size(self, text: str) -> int:
        """Bytes that a value takes in memory, with padding."""
        if text.startswith("["):
            count, element = array(text)
            return count * self.size(element)
        if text.startswith("i"):
            return storage(int(text[1:]))
        if text == "ptr":
            return 8
        offsets = list(self.members(text))
        if not offsets:
            return 0
        end = offsets[-1][0] + self.size(offsets[-1][1])
        return -(-end // self.align(text)) * self.align(text)

    def align(self, text: str) -> int:
        """Bytes to whose multiples a value is aligned."""
        if text.startswith("["):
            return self.align(array(text)[1])
        if text.startswith(("i", "ptr")):
            return min(self.size(text), 16)
        if self.body(text).startswith("<"):
            return 1
        return max((self.align(member) for member in split(self.body(text)[1:-1])), default=1)

    def body(self, text: str) -> str:
        """The braces of a struct."""
        return self.structs.get(text, text)

    def members(self, text: str) -> Iterator[tuple[int, str]]:
        """Offset and type of each member of a struct."""
        body = self.body(text)
        packed = body.startswith("<")
        offset = 0
        for member in split(body[2:-2] if packed else body[1:-1]):
            align = 1 if packed else self.align(member)
            offset = -(-offset // align) * align
            yield offset, member
            offset += self.size(member)

    def is_struct(self, text: str) -> bool:
        """Whether a type is a struct, named or not."""
        return text.startswith(("%", "{", "<{"))

    def leaves(self, text: str, base: int = 0) -> Iterator[tuple[int, str]]:
        """Offset and type of everything in a type that is not a struct of several members: arrays and numbers."""
        if not self.is_struct(text):
            yield base, text
            return
        for offset, member in self.members(text):
            yield from self.leaves(member, base + offset)

    def offset(self, text: str, indices: list[int]) -> int:
        """Bytes from the start of a value of this type to what indices of a getelementptr lead to."""
        total = indices[0] * self.size(text)
        for index in indices[1:]:
            if text.startswith("["):
                text = array(text)[1]
                total += index * self.size(text)
            else:
                start, text = list(self.members(text))[index]
                total += start
        return total


def storage(bits: int) -> int:
    """Bytes of an integer in memory."""
    size = 1
    while 8 * size < bits:
        size *= 2
    return size


def array(text: str) -> tuple[int, str]:
    """Length and element of an array's type."""
    count, _, element = text[1:-1].partition(" x ")
    return int(count), element


def split(text: str) -> list[str]:
    """The parts of a list that commas separate, brackets kept together."""
    parts, depth, quoted, start = [], 0, False, 0
    for place, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif character in "[{(<":
            depth += 1
        elif character in "]})>":
            depth -= 1
        elif character == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


@dataclass(frozen=True)
class Leaf:
    """A part of a global that becomes one of its own."""

    name: str
    start: int
    end: int
    type: str


CONSTANT_GEP = re.compile(r'getelementptr [a-z ]*\((%"[^"]+"|[^%(,]+|%[\w.]+), ptr @([\w.$-]+)((?:, i\d+ -?\d+)+)\)')
INSTRUCTION_GEP = re.compile(
    r'^  (%[\w.$-]+) = getelementptr [a-z ]*?((?:%"[^"]+"|\[|%[\w.]+|i\d+).*?), ptr ([%@][\w.$-]+)((?:, i\d+ -?\d+)+)(,.*)?$'
)


def take_apart(module: str) -> str:
    """Give every member of an internal global a global of its own.

    So every array of a struct is an object to which an address belongs from the start; later passes merge offsets, which hides
    whose they are. Members are told by the constant part of an address, as the front end wrote it: of the place where an array
    begins.
    """
    layout = Layout(module)
    globals_ = {name: kind for name, kind in GLOBAL.findall(module) if layout.is_struct(kind)}
    leaves = {
        name: [
            Leaf(f"{name}.{number}", start, start + layout.size(part), part)
            for number, (start, part) in enumerate(layout.leaves(kind))
        ]
        for name, kind in globals_.items()
    }
    used: dict[str, Leaf] = {}

    def place(name: str, offset: int) -> str:
        leaf = next(one for one in leaves[name] if one.start <= offset < one.end)
        used[leaf.name] = leaf
        rest = offset - leaf.start
        return f"@{leaf.name}" if rest == 0 else f"getelementptr (i8, ptr @{leaf.name}, i64 {rest})"

    lines = []
    resolved: dict[str, tuple[str, int]] = {}
    for line in module.split("\n"):
        if line.startswith("@"):
            match = GLOBAL.match(line)
            if match is None or match.group(1) not in globals_:
                lines.append(line)
            continue
        if line.startswith("define"):
            resolved = {}
        match = INSTRUCTION_GEP.match(line)
        if match is not None:
            name, kind, base, indices, rest = match.groups()
            root = (base[1:], 0) if base[1:] in globals_ and base[0] == "@" else resolved.get(base)
            if root is not None and rest is not None and not rest.startswith(", !"):  # an array's own indices, which vary
                line = line.replace(f", ptr {base},", f", ptr {place(*root)},", 1)
            elif root is not None:
                offset = root[1] + layout.offset(kind, [int(part.split()[1]) for part in split(indices[1:])])
                resolved[name] = (root[0], offset)
                lines.append(f"  {name} = getelementptr i8, ptr {place(root[0], offset)}, i64 0{rest or ''}")
                continue
        if "@" in line and any(name in line for name in globals_):
            line = CONSTANT_GEP.sub(
                lambda match: (
                    place(
                        match.group(2), layout.offset(match.group(1), [int(part.split()[1]) for part in split(match.group(3)[1:])])
                    )
                    if match.group(2) in globals_
                    else match.group(0)
                ),
                line,
            )
            line = re.sub(
                r"@([\w.$-]+)", lambda match: place(match.group(1), 0) if match.group(1) in globals_ else match.group(0), line
            )
        lines.append(line)
    text = "\n".join(lines)
    fresh = "\n".join(f"@{leaf.name} = internal global {leaf.type} zeroinitializer, align 16" for leaf in used.values())
    return text.replace("\ndefine ", f"\n{fresh}\n\ndefine ", 1)
