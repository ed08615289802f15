"""The bits of the items that streams carry, read from the structs of the C++.

An HLS tool packs an item of a queue bit by bit (UG1399: interfaces other than AXI aggregate with ``compact=bit``): the first
member lies lowest, and of an array the first element. Verilog that takes or gives items, and whatever writes them to files, has
their bits from here.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod

_STRUCT = re.compile(r"^struct (\w+) \{\n(.*?)^\};", re.MULTILINE | re.DOTALL)
_TYPEDEF = re.compile(r"^typedef (ap_u?int<[^;]+>) (\w+);", re.MULTILINE)
_CONSTANT = re.compile(r"^ *static const (?:int|unsigned) (\w+) = ([^;]+);", re.MULTILINE)
_FIELD = re.compile(r"^(?P<type>[\w:]+(?:<.+>)?) (?P<name>\w+)(?P<sizes>(?:\[[^\]]+\])*);")
_INTEGER = re.compile(r"ap_(u?)int<(.+)>$")
_NAME = re.compile(r"(?:(\w+)(?:<C>)?::)?([A-Za-z_]\w*)")
_OPERATIONS: dict[type[ast.AST], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Gt: operator.gt,
}


@dataclass(frozen=True)
class Field:
    """An integer of an item: ``bits`` from bit ``low`` on. ``path`` is what C++ calls it in the item."""

    path: str
    low: int
    bits: int
    signed: bool


@dataclass(frozen=True)
class Member:
    """A member of a struct: its type as written, and the sizes of its array."""

    name: str
    type: str
    sizes: tuple[int, ...]


class ItemLayouts:
    """The structs of an accelerator's C++.

    Args:
        sources: C++ texts; the structs' members must be integers, structs, or arrays of them, one to a line.
        config: the constants of the configuration, by name.
    """

    def __init__(self, sources: Iterable[str], config: Mapping[str, int]) -> None:
        self._config = config
        self._structs: dict[str, str] = {}
        self._types: dict[str, str] = {}
        self._constants: dict[str, str] = {}
        for text in sources:
            self._structs |= {match[1]: match[2] for match in _STRUCT.finditer(text)}
            self._types |= {match[2]: match[1] for match in _TYPEDEF.finditer(text)}
            self._constants |= {match[1]: match[2] for match in _CONSTANT.finditer(_STRUCT.sub("", text))}

    def bits(self, item: str) -> int:
        """Bits of a type, such as ``LineAddress`` or ``Step<C>``."""
        integer = self._integer(item)
        if integer is not None:
            return integer[0]
        return sum(prod(member.sizes) * self.bits(member.type) for member in self.members(item))

    def fields(self, item: str) -> list[Field]:
        """The integers of a type, from its lowest bit on."""
        return list(self._fields(item, "", 0))

    def members(self, item: str) -> list[Member]:
        """The members of a struct in order."""
        name = item.removesuffix("<C>")
        members = []
        for line in self._body(name).splitlines():
            text = line.split("//")[0].strip()
            if not text or text.startswith(("static const ", "typedef ")):
                continue
            match = _FIELD.match(text)
            if match is None:
                raise ValueError(f"struct {name}: {text!r} is no member of a stream's item")
            sizes = tuple(self.value(size, name) for size in re.findall(r"\[([^\]]+)\]", match["sizes"]))
            members.append(Member(match["name"], match["type"], sizes))
        return members

    def structs(self, items: Iterable[str]) -> list[str]:
        """The structs among items and their members, members before what holds them."""
        listed: dict[str, None] = {}
        for item in items:
            if self._integer(item) is None and item not in listed:
                listed |= dict.fromkeys([*self.structs(member.type for member in self.members(item)), item])
        return list(listed)

    def value(self, expression: str, scope: str | None = None) -> int:
        """The value of a constant expression, as written in the C++; ``scope``: the struct in which it stands."""
        condition, _, rest = expression.partition(" ? ")
        if rest:
            first, _, second = rest.partition(" : ")
            return self.value(first if self.value(condition, scope) else second, scope)
        text = _NAME.sub(lambda match: str(self._constant(match[1], match[2], scope)), expression.strip())
        return _evaluate(ast.parse(text.replace("/", "//"), mode="eval").body)

    def _constant(self, owner: str | None, name: str, scope: str | None) -> int:
        if owner in ("C", "Config"):
            return self._config[name]
        owner = owner or scope
        if owner is not None:
            inner = {match[1]: match[2] for match in _CONSTANT.finditer(self._body(owner))}
            if name in inner:
                return self.value(inner[name], owner)
        if name not in self._constants:
            raise ValueError(f"the constant {name} of a stream's item is not known")
        return self.value(self._constants[name])

    def _body(self, name: str) -> str:
        if name not in self._structs:
            raise ValueError(f"the struct {name} of a stream's item is not known")
        return self._structs[name]

    def _integer(self, item: str) -> tuple[int, bool] | None:
        match = _INTEGER.match(self._types.get(item, item))
        return None if match is None else (self.value(match[2]), match[1] == "")

    def _fields(self, item: str, path: str, low: int) -> Iterator[Field]:
        integer = self._integer(item)
        if integer is not None:
            yield Field(path, low, *integer)
            return
        for member in self.members(item):
            for index in _indices(member.sizes):
                yield from self._fields(member.type, f"{path}.{member.name}{index}", low)
                low += self.bits(member.type)


def _indices(sizes: tuple[int, ...]) -> Iterator[str]:
    if not sizes:
        yield ""
        return
    for i in range(sizes[0]):
        for rest in _indices(sizes[1:]):
            yield f"[{i}]{rest}"


def _evaluate(node: ast.expr) -> int:
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_evaluate(left), _evaluate(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_evaluate(left), _evaluate(right))
    raise ValueError(f"{ast.unparse(node)!r} is no constant of a stream's item")
