"""LLVM's text as blocks of instructions, and the pipelined loops in them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from edgeflow.hw.schedule.layout import split

DEFINE = re.compile(r"^define [^@]*@([\w.$]+)\((.*)\)[^(]*\{$")
BLOCK = re.compile(r'^([\w.$-]+|"[^"]+"):')
RESULT = re.compile(r'^  (?:(%[\w.$-]+|%"[^"]+") = )?(?:tail |musttail |notail )?([a-z]+)\b ?(.*)$')
DEBUG = re.compile(r", !dbg !(\d+)")
FLAGS = re.compile(r"\b(?:nuw|nsw|exact|disjoint|nneg|inbounds|samesign|nusw|inrange|volatile|noundef)\b ?")
PHI = re.compile(r"\[ ([^,]+(?:\([^)]*\))?), (%[\w.$-]+) \]")
LABELS = re.compile(r"label (%[\w.$-]+)")
CASES = re.compile(r"i\d+ (-?\d+), label (%[\w.$-]+)")
LOCATION = re.compile(r"^!(\d+) = (?:distinct )?!DILocation\(line: (\d+)(?:, column: \d+)?, scope: !(\d+)(?:, inlinedAt: !(\d+))?")
SCOPE = re.compile(r"^!(\d+) = (?:distinct )?!DI(?:Subprogram|LexicalBlock|LexicalBlockFile)\((.*)\)$")
FILE = re.compile(r'^!(\d+) = !DIFile\(filename: "([^"]*)"')


@dataclass(slots=True)
class Instruction:
    """One instruction: ``operands`` are the words that name values or constants, ``types`` their types where they are needed."""

    name: str
    op: str
    type: str
    operands: list[str]
    block: str
    place: int  # number of its debug location, or 0
    detail: str = ""  # predicate of a comparison, callee of a call, element type of a getelementptr
    labels: list[str] = field(default_factory=list)
    types: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Block:
    """A block, and where it leads to."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)
    successors: list[str] = field(default_factory=list)
    predecessors: list[str] = field(default_factory=list)


@dataclass(frozen=True, order=True)
class Place:
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Common:
    """What the functions of a compiled project share: globals, and where instructions come from."""

    def __init__(self) -> None:
        self.globals: dict[str, str] = {}  # type by name
        self.constants: set[str] = set()
        self.locations: dict[int, tuple[int, int, int]] = {}
        self.scopes: dict[int, str] = {}
        self.files: dict[int, str] = {}

    def read(self, line: str) -> None:
        """Take a line outside of functions."""
        if line.startswith("@"):
            name, _, rest = line.partition(" = ")
            match = re.match(r"(?:\w+ )*?(global|constant) (.+)$", rest)
            if match is not None:
                self.globals[name] = leading_type(match.group(2))
                if match.group(1) == "constant":
                    self.constants.add(name)
        elif (match := LOCATION.match(line)) is not None:
            number, row, scope, inlined = match.groups()
            self.locations[int(number)] = (int(row), int(scope), int(inlined or 0))
        elif (match := FILE.match(line)) is not None:
            self.files[int(match.group(1))] = match.group(2)
        elif (match := SCOPE.match(line)) is not None:
            self.scopes[int(match.group(1))] = match.group(2)


def modules(text: str) -> list[Module]:
    """The functions of a compiled project, each as a module."""
    common, functions, lines = Common(), [], None
    for line in text.split("\n"):
        if lines is not None:
            lines.append(line)
            if line.startswith("}"):
                lines = None
        elif line.startswith("define"):
            lines = [line]
            functions.append(lines)
        else:
            common.read(line)
    return [Module(one, common) for one in functions]


class Module:
    """One top function of a compiled project, everything inlined."""

    def __init__(self, lines: Sequence[str], common: Common) -> None:
        self.common = common
        self.name = ""
        self.arguments: list[str] = []
        self.blocks: dict[str, Block] = {}
        self._read(lines)
        for block in self.blocks.values():
            for successor in block.successors:
                self.blocks[successor].predecessors.append(block.name)

    @property
    def globals(self) -> dict[str, str]:
        """The types of the project's globals by name."""
        return self.common.globals

    @property
    def constants(self) -> set[str]:
        """Those of them that never change."""
        return self.common.constants

    def _read(self, lines: Sequence[str]) -> None:
        block: Block | None = None
        pending = ""
        for line in lines:
            if pending:
                pending += line.strip() + " "
                if line.strip() == "]" or line.lstrip().startswith("]"):
                    assert block is not None
                    self._instruction(block, pending)
                    pending = ""
            elif line.startswith("  ") and block is not None:
                if line.lstrip().startswith("switch") and line.endswith("["):
                    pending = line + " "
                else:
                    self._instruction(block, line)
            elif line.startswith("define"):
                match = DEFINE.match(line)
                assert match is not None, line
                self.name = match.group(1)
                self.arguments = re.findall(r"(%[\w.$-]+)(?:,|$)", match.group(2))
                block = self.blocks["%entry"] = Block("%entry")
            elif line.startswith("}"):
                block = None
            elif block is not None and (match := BLOCK.match(line)) is not None:
                name = "%" + match.group(1)
                if not (name == "%entry" and not self.blocks["%entry"].instructions):
                    block = self.blocks[name] = Block(name)

    def _instruction(self, block: Block, line: str) -> None:
        match = RESULT.match(line)
        if match is None:
            return
        name, op, rest = match.groups()
        debug = DEBUG.search(rest)
        place = int(debug.group(1)) if debug else 0
        if debug:
            rest = rest[: debug.start()]
        instruction = Instruction(name or "", op, "", [], block.name, place)
        _READERS.get(op, _read_binary)(instruction, rest)
        if op in ("br", "switch"):
            block.successors = list(dict.fromkeys(instruction.labels))
        block.instructions.append(instruction)

    def places(self, number: int) -> Iterator[tuple[Place, str]]:
        """File and line of a debug location and the function around it, then of the call that it was inlined at, and so on."""
        while number:
            row, scope, number = self.common.locations[number]
            yield Place(self._file(scope), row), self._function(scope)

    def _file(self, scope: int) -> str:
        while scope:
            text = self.common.scopes.get(scope, "")
            match = re.search(r"\bfile: !(\d+)", text)
            if match is not None:
                return self.common.files.get(int(match.group(1)), "")
            match = re.search(r"\bscope: !(\d+)", text)
            scope = int(match.group(1)) if match else 0
        return ""

    def _function(self, scope: int) -> str:
        while scope:
            text = self.common.scopes.get(scope, "")
            match = re.search(r'\bname: "([^"]*)"', text)
            if match is not None:
                return match.group(1)
            match = re.search(r"\bscope: !(\d+)", text)
            scope = int(match.group(1)) if match else 0
        return ""


def leading_type(text: str) -> str:
    """The type that a text begins with."""
    depth, quoted = 0, False
    for place, character in enumerate(text):
        if character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif character in "[{(<":
            depth += 1
        elif character in "]})>":
            depth -= 1
        elif character in " ," and depth == 0:
            return text[:place]
    return text


def _value(text: str) -> str:
    """The last word of ``i32 %x``: the value."""
    text = text.strip()
    if text.endswith(")"):
        start = text.find("getelementptr")
        return text[start:] if start >= 0 else text
    return text.rsplit(" ", 1)[-1]


def _read_binary(instruction: Instruction, rest: str) -> None:
    rest = FLAGS.sub("", rest)
    parts = split(rest)
    if parts and " " in parts[0]:
        instruction.type = parts[0].split(" ", 1)[0]
    instruction.operands = [_value(part) for part in parts]


def _read_icmp(instruction: Instruction, rest: str) -> None:
    rest = FLAGS.sub("", rest)
    instruction.detail, _, rest = rest.partition(" ")
    _read_binary(instruction, rest)


def _read_cast(instruction: Instruction, rest: str) -> None:
    rest = FLAGS.sub("", rest)
    source, _, target = rest.rpartition(" to ")
    kind, _, value = source.partition(" ")
    instruction.type, instruction.operands, instruction.types = target.strip(), [value], [kind]


def _read_phi(instruction: Instruction, rest: str) -> None:
    instruction.type = rest.split(" ", 1)[0] if not rest.startswith(("{", "[")) else rest[: rest.index(" [ ")]
    pairs = PHI.findall(rest)
    instruction.operands = [value.strip() for value, _ in pairs]
    instruction.labels = [label for _, label in pairs]


def _read_select(instruction: Instruction, rest: str) -> None:
    parts = split(FLAGS.sub("", rest))
    instruction.type = parts[1].split(" ", 1)[0]
    instruction.operands = [_value(part) for part in parts]


def _read_load(instruction: Instruction, rest: str) -> None:
    parts = split(FLAGS.sub("", rest))
    instruction.type, instruction.operands = parts[0], [_value(parts[1])]


def _read_store(instruction: Instruction, rest: str) -> None:
    parts = split(FLAGS.sub("", rest))
    instruction.type = parts[0].rsplit(" ", 1)[0]
    instruction.operands = [_value(parts[0]), _value(parts[1])]


def _read_gep(instruction: Instruction, rest: str) -> None:
    parts = split(FLAGS.sub("", rest))
    instruction.type, instruction.detail = "ptr", parts[0]
    instruction.operands = [_value(part) for part in parts[1:]]


def _read_call(instruction: Instruction, rest: str) -> None:
    match = re.match(r"(?:[\w\s]*?)(\S+) @([\w.$]+)\((.*)\)", rest)
    if match is not None:
        instruction.type, instruction.detail = match.group(1), match.group(2)
        instruction.operands = [
            _value(re.sub(r"\balign \d+ |\bcaptures\(\w+\) |noundef |nonnull ", "", part)) for part in split(match.group(3))
        ]


def _read_br(instruction: Instruction, rest: str) -> None:
    instruction.labels = LABELS.findall(rest)
    if rest.startswith("i1 "):
        instruction.operands = [rest[3:].split(",", 1)[0]]


def _read_switch(instruction: Instruction, rest: str) -> None:
    head, _, cases = rest.partition("[")
    instruction.type, value = head.split(",", 1)[0].split(" ", 1)
    default = LABELS.findall(head)
    pairs = CASES.findall(cases)
    instruction.labels = default + [label for _, label in pairs]
    instruction.operands = [value]
    instruction.types = [number for number, _ in pairs]


def _read_alloca(instruction: Instruction, rest: str) -> None:
    instruction.type, instruction.detail = "ptr", split(rest)[0]


_READERS = {
    "icmp": _read_icmp, "phi": _read_phi, "select": _read_select, "load": _read_load, "store": _read_store,
    "getelementptr": _read_gep, "call": _read_call, "br": _read_br, "switch": _read_switch, "alloca": _read_alloca,
    **dict.fromkeys(("zext", "sext", "trunc", "bitcast", "freeze", "ptrtoint", "inttoptr"), _read_cast),
}  # fmt: skip
