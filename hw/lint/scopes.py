"""Names and what they stand for: variables with their memory, constants of classes and templates, functions by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from edgeflow.hw.lint.affine import Affine, combine, either, known, unknown
from edgeflow.hw.lint.clang import CursorKind
from edgeflow.hw.lint.expressions import Expression, integer, read
from edgeflow.hw.lint.source import Node, Source

Kind = Literal["array", "pointer", "stream", "scalar"]
CLASSES = (CursorKind.STRUCT_DECL, CursorKind.CLASS_DECL, CursorKind.CLASS_TEMPLATE)
PARAMETERS = (CursorKind.TEMPLATE_TYPE_PARAMETER, CursorKind.TEMPLATE_NON_TYPE_PARAMETER)
NATIVE = frozenset(("unsigned", "int", "long", "size_t", "std::size_t", "static_cast"))
ARBITRARY = re.compile(r"(?:const\s+)?ap_u?int\s*<(.*)>")
WORD = re.compile(r"\b[A-Za-z_]\w*\b")
DEPTH = 24
WIDTHS = {
    "bool": 1, "char": 8, "signed char": 8, "unsigned char": 8, "short": 16, "unsigned short": 16, "int": 32, "unsigned": 32,
    "unsigned int": 32, "long": 64, "unsigned long": 64, "long long": 64, "unsigned long long": 64,
}  # fmt: skip


@dataclass(eq=False)
class Storage:
    """A variable that lives somewhere: ``dims`` are its array dimensions (None: unknown), ``type_text`` its element type.

    ``foreign`` is a parameter of a function that nothing calls here: how its array is stored is the caller's to say.
    """

    name: str
    node: Node
    kind: Kind
    birth: int
    dims: tuple[int | None, ...] = ()
    type_text: str = ""
    constant: bool = False
    foreign: bool = False
    partitions: list[Partition] = field(default_factory=list)


@dataclass(frozen=True)
class Partition:
    """One pragma on how an array is stored; ``members`` select a part of a struct, ``dim`` counts from 1 (0: all)."""

    directive: str
    members: tuple[str, ...]
    style: str
    dim: int
    factor: int | None


@dataclass(frozen=True)
class Ref:
    """A place: a variable, members of it, and indices into the arrays on the way."""

    storage: Storage
    members: tuple[str, ...] = ()
    indices: tuple[Affine, ...] = ()


@dataclass
class Frame:
    """What names mean at one place of one call: values or places of variables, and the types that templates got."""

    function: Node | None
    names: dict[str, Affine | Ref] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)

    def inner(self) -> Frame:
        """Return the frame of a block inside."""
        return Frame(self.function, dict(self.names), self.types)


@lru_cache(maxsize=65536)
def template_name(text: str) -> tuple[str, tuple[str, ...]]:
    """Split ``a::b<c, d>`` into ``b`` and its template arguments."""
    name, bracket, rest = text.strip().partition("<")
    parts: list[str] = []
    depth, start = 0, 0
    inside = rest.rstrip()[:-1] if bracket else ""
    for place, letter in enumerate(inside):
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append(inside[start:place].strip())
            start = place + 1
    if inside[start:].strip():
        parts.append(inside[start:].strip())
    return name.rpartition("::")[2], tuple(parts)


@lru_cache(maxsize=65536)
def split_scope(name: str) -> tuple[str, str]:
    """Split ``a<b::c>::d`` into ``a<b::c>`` and ``d``."""
    depth = 0
    for place in range(len(name) - 1, 0, -1):
        depth += {">": 1, "<": -1}.get(name[place], 0)
        if depth == 0 and name[place - 1 : place + 1] == "::":
            return name[: place - 1], name[place + 1 :]
    return "", name


class Scopes:
    """The declarations of a translation unit by name, and the values of its constants."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.births = 0
        self.functions: dict[str, list[Node]] = {}
        for node in source.functions:
            self.functions.setdefault(node.cursor.spelling, []).append(node)
        self.classes: dict[str, Node] = {}
        self.fields: dict[tuple[str, str], Node] = {}
        for node in source.nodes:
            if node.kind in CLASSES and node.children:
                self.classes.setdefault(node.cursor.spelling, node)
                for child in node.children:
                    if child.kind == CursorKind.FIELD_DECL:
                        self.fields.setdefault((node.cursor.spelling, child.cursor.spelling), child)
        self.aliases: dict[str, str] = {}
        for node in source.nodes:
            if node.kind in (CursorKind.TYPEDEF_DECL, CursorKind.TYPE_ALIAS_DECL) and (
                node.parent is None or node.parent.kind not in CLASSES
            ):
                self.aliases.setdefault(node.cursor.spelling, node.cursor.underlying_typedef_type.get_canonical().spelling)
        self.constants: dict[str, Node] = {}
        for node in source.nodes:
            free = node.kind == CursorKind.VAR_DECL and node.enclosing_function() is None
            if (free and not (node.parent is not None and node.parent.kind in CLASSES)) or (
                node.kind == CursorKind.ENUM_CONSTANT_DECL
            ):
                self.constants.setdefault(node.cursor.spelling, node)
        self._values: dict[tuple[str, ...], Affine | None] = {}
        self._parameters: dict[Node, list[Node]] = {}
        self._declarators: dict[Node, tuple[str, str, tuple[str, ...], str]] = {}
        self._resolved: dict[tuple[object, ...], str] = {}
        self._depth = 0

    def birth(self) -> int:
        """Return the next number for a variable: those of inner scopes are greater."""
        self.births += 1
        return self.births

    def parameters(self, function: Node) -> list[Node]:
        """Return the declarations of a function's parameters."""
        if function not in self._parameters:
            self._parameters[function] = [child for child in function.children if child.kind == CursorKind.PARM_DECL]
        return self._parameters[function]

    def declarator(self, node: Node) -> tuple[str, str, tuple[str, ...], str]:
        """Return the text of a variable's type, its name, the texts of its dimensions and its initial value."""
        if node not in self._declarators:
            name = str(node.cursor.spelling)
            offset = node.cursor.location.offset
            before = self.source.between(node.file, node.start, offset) if name else self.source.text(node)
            rest = self.source.between(node.file, offset + len(name.encode()), node.end) if name else ""
            dims: list[str] = []
            rest = rest.lstrip(" )")
            while rest.startswith("["):
                inside, _, rest = rest[1:].partition("]")
                dims.append(inside.strip())
                rest = rest.lstrip()
            value = rest.removeprefix("=").strip() if rest.startswith("=") else rest
            self._declarators[node] = (before.strip(), name, tuple(dims), value)
        return self._declarators[node]

    def called(self, name: str, count: int) -> Node | None:
        """Return the one function that a call with ``count`` arguments means, or None if several or none could be meant."""
        fitting = [node for node in self.functions.get(template_name(name)[0], ()) if len(self.parameters(node)) == count]
        return fitting[0] if len(fitting) == 1 else None

    def value(self, expression: Expression | None, frame: Frame) -> Affine:
        """Return the integer that an expression stands for, with unknowns for what is not known."""
        if expression is None:
            return self.fresh()
        kind, arguments = expression.kind, expression.arguments
        if kind == "number":
            number = integer(expression.text)
            return known(number) if number is not None else self.fresh()
        if kind == "name":
            return self._name(expression.text, frame)
        if kind == "binary":
            return combine(expression.text, self.value(arguments[0], frame), self.value(arguments[1], frame))
        if kind == "conditional":
            return either(*(self.value(argument, frame) for argument in arguments))
        if kind == "unary" and expression.text in ("+", "-", "~", "!"):
            return self._unary(expression.text, self.value(arguments[0], frame))
        if kind in ("index", "member"):
            return self._place(expression, frame)
        if kind == "call":
            return self._call(expression, frame)
        return self.fresh()

    def fresh(self) -> Affine:
        """Return an unknown that is equal to no other."""
        birth = self.birth()
        return unknown(f"?{birth}", frozenset((birth,)))

    def ref(self, expression: Expression, frame: Frame) -> Ref | None:
        """Return the place that an expression names, or None."""
        kind, arguments = expression.kind, expression.arguments
        if kind == "name":
            bound = frame.names.get(expression.text)
            return bound if isinstance(bound, Ref) else None
        if kind == "unary" and expression.text in ("*", "&"):
            base = self.ref(arguments[0], frame)
            if base is not None and expression.text == "*" and base.storage.kind == "pointer" and not base.indices:
                return Ref(base.storage, base.members, (known(0),))
            return base
        if kind == "binary" and expression.text in ("+", "-"):
            base = self.ref(arguments[0], frame)
            return base if base is not None and base.storage.kind == "pointer" and not base.indices else None
        if kind not in ("index", "member"):
            return None
        base = self.ref(arguments[0], frame)
        if base is None:
            return None
        if kind == "member":
            return Ref(base.storage, (*base.members, expression.text), base.indices)
        return Ref(base.storage, base.members, (*base.indices, self.value(arguments[1], frame)))

    def rank(self, ref: Ref) -> int:
        """Return how many indices name one element of the arrays of a place; -1 if that is unknown."""
        storage = ref.storage
        rank = len(storage.dims) if storage.kind != "pointer" else 1
        type_text = storage.type_text
        for member in ref.members:
            declared = self.fields.get((template_name(bare(type_text))[0], member))
            if declared is None:
                return -1
            type_text, _, dims, _ = self.declarator(declared)
            rank += len(dims)
        return rank

    def sizes(self, ref: Ref, frame: Frame) -> list[int | None]:
        """Return the sizes of the arrays of a place, outermost first."""
        sizes = list(ref.storage.dims)
        type_text = ref.storage.type_text
        for member in ref.members:
            name, arguments = template_name(bare(type_text))
            declared = self.fields.get((name, member))
            if declared is None:
                break
            inner = self._class_frame(name, arguments, frame)
            type_text, _, dims, _ = self.declarator(declared)
            sizes += [self.value(read(dim), inner).known for dim in dims]
        return sizes

    def bits(self, type_text: str, dims: Sequence[int | None], frame: Frame) -> int | None:
        """Return how many bits an array of integers or of structs of integers holds, or None."""
        resolved = bare(self.resolve_type(type_text, frame))
        name, arguments = template_name(resolved)
        width: int | None = WIDTHS.get(resolved)
        if width is None and name in ("ap_int", "ap_uint") and arguments:
            width = self.value(read(arguments[0]), frame).known
        elif width is None and name in self.classes:
            inner = self._class_frame(name, arguments, frame)
            width = 0
            for child in self.classes[name].children:
                if child.kind == CursorKind.FIELD_DECL and width is not None:
                    inside, _, texts, _ = self.declarator(child)
                    part = self.bits(inside, [self.value(read(text), inner).known for text in texts], inner)
                    width = None if part is None else width + part
        elif width is None and name in self.aliases:
            width = self.bits(self.aliases[name], (), frame)
        for size in dims:
            width = None if width is None or size is None else width * size
        return width

    def resolve_type(self, text: str, frame: Frame) -> str:
        """Return a type's text with template parameters replaced by what they are."""
        if not frame.types:
            return text
        key = (text, *frame.types.items())
        if key not in self._resolved:
            self._resolved[key] = WORD.sub(lambda match: frame.types.get(match.group(), match.group()), text)
        return self._resolved[key]

    def _name(self, name: str, frame: Frame) -> Affine:
        bound = frame.names.get(name)
        if isinstance(bound, Affine):
            return bound
        if bound is not None:
            return self._element(bound)
        if name in ("true", "false"):
            return known(int(name == "true"))
        constant = self._constant(name, frame)
        return constant if constant is not None else unknown(self.resolve_type(name, frame), frozenset())

    def _constant(self, name: str, frame: Frame) -> Affine | None:
        scope, member = split_scope(name)
        scope = self.resolve_type(scope, frame) if scope else ""
        base, arguments = template_name(scope)
        stated = [self._argument(argument, frame) for argument in arguments]
        key = (base, *stated, member)
        if key not in self._values:
            self._values[key] = None  # a constant that is defined by itself has no value
            owner = self.classes.get(base)
            node = self.constants.get(member)
            inner = Frame(None)
            if owner is not None:
                inner = self._class_frame(base, stated, frame)
                node = next((one for one in self._members(owner) if one.cursor.spelling == member), None)
            self._values[key] = None if node is None else self._initial(node, inner)
        return self._values[key]

    def _members(self, owner: Node) -> Iterator[Node]:
        for child in owner.children:
            if child.kind == CursorKind.VAR_DECL:
                yield child
            elif child.kind == CursorKind.ENUM_DECL:
                yield from child.children

    def _initial(self, node: Node, frame: Frame) -> Affine | None:
        if node.kind == CursorKind.ENUM_CONSTANT_DECL:
            return known(int(node.cursor.enum_value))
        type_text, _, dims, value = self.declarator(node)
        if dims or not value or not re.search(r"\bconst(expr)?\b", type_text):
            return None
        result = self.value(read(value), frame)
        return result if result.known is not None else None

    def _class_frame(self, name: str, arguments: Sequence[str], frame: Frame) -> Frame:
        inner = Frame(None)
        owner = self.classes.get(name)
        if owner is None:
            return inner
        self.bind_template(owner, [self._argument(argument, frame) for argument in arguments], inner)
        for member in self._members(owner):
            if member.kind == CursorKind.VAR_DECL and member.cursor.spelling not in inner.names:
                value = self._initial(member, inner)
                if value is not None:
                    inner.names[str(member.cursor.spelling)] = value
        return inner

    def bind_template(self, owner: Node, arguments: Sequence[str], frame: Frame) -> None:
        """Give the template parameters of a class or function their arguments, as far as they are stated."""
        parameters = [child for child in owner.children if child.kind in PARAMETERS]
        for parameter, argument in zip(parameters, arguments, strict=False):
            if parameter.kind == CursorKind.TEMPLATE_TYPE_PARAMETER:
                frame.types[str(parameter.cursor.spelling)] = argument
            else:
                frame.names[str(parameter.cursor.spelling)] = self.value(read(argument), frame)

    def _argument(self, text: str, frame: Frame) -> str:
        resolved = self.resolve_type(text, frame)
        value = self.value(read(resolved), frame)
        return str(value.known) if value.known is not None else resolved

    def template_arguments(self, name: str, frame: Frame) -> list[str]:
        """Return the template arguments that a call states, with types and constants put in."""
        return [self._argument(argument, frame) for argument in template_name(name)[1]]

    def _unary(self, word: str, value: Affine) -> Affine:
        if word == "+":
            return value
        if word == "-":
            return combine("-", known(0), value)
        if value.known is not None:
            return known(~value.constant if word == "~" else int(not value.constant))
        return unknown(f"{word}({value})", value.parts)

    def _element(self, ref: Ref) -> Affine:
        indices = "".join(f"[{index}]" for index in ref.indices)
        parts = frozenset((ref.storage.birth,)).union(*(index.parts for index in ref.indices))
        return unknown(".".join((f"{ref.storage.name}#{ref.storage.birth}", *ref.members)) + indices, parts)

    def _place(self, expression: Expression, frame: Frame) -> Affine:
        ref = self.ref(expression, frame)
        return self.fresh() if ref is None else self._element(ref)

    def _call(self, expression: Expression, frame: Frame) -> Affine:
        callee, arguments = expression.arguments[0], expression.arguments[1:]
        if callee.kind != "name":
            return self.fresh()
        name = template_name(callee.text)[0]
        if len(arguments) == 1 and (callee.text in NATIVE or name in ("ap_uint", "ap_int", "static_cast")):
            return self.cast(callee.text, self.value(arguments[0], frame), frame)
        function = self.called(callee.text, len(arguments))
        values = [self.value(argument, frame) for argument in arguments]
        if function is not None and self._depth < DEPTH:
            result = self._returned(function, callee.text, values, frame)
            if result is not None:
                return result
        parts = frozenset[int]().union(*(value.parts for value in values))
        return unknown(f"{name}({','.join(map(str, values))})", parts) if function is not None else self.fresh()

    def cast(self, type_text: str, value: Affine, frame: Frame) -> Affine:
        """Return a value as a variable of a type holds it; only integers of arbitrary width lose bits here."""
        match = ARBITRARY.fullmatch(self.resolve_type(type_text, frame).strip())
        if match is None:
            return value
        width = self.value(read(match.group(1)), frame).known
        if value.known is not None:
            fits = width is None or "ap_int" in type_text or value.constant >> width == 0
            return value if fits else known(value.constant & ((1 << (width or 0)) - 1))
        factor = value.content & -value.content  # what a lost high bit leaves: only powers of two still divide
        return unknown(f"ap{width}({value})", value.parts, factor if width is None else min(factor, 1 << width))

    def _returned(self, function: Node, name: str, values: Sequence[Affine], frame: Frame) -> Affine | None:
        """Return the result of a function that only declares constants and returns an expression, or None."""
        body = function.body
        if body is None:
            return None
        inner = Frame(function)
        self.bind_template(function, self.template_arguments(name, frame), inner)
        for parameter, value in zip(self.parameters(function), values, strict=True):
            inner.names[str(parameter.cursor.spelling)] = value
        self._depth += 1
        try:
            for statement in body.children:
                if statement.kind == CursorKind.RETURN_STMT and statement.children:
                    return self.value(read(self.source.returned(statement)), inner)
                if statement.kind != CursorKind.DECL_STMT:
                    return None
                for variable in statement.children:
                    type_text, local, dims, initial = self.declarator(variable)
                    if dims or not initial or not type_text.startswith("const"):
                        return None
                    inner.names[local] = self.cast(type_text, self.value(read(initial), inner), inner)
        finally:
            self._depth -= 1
        return None


@lru_cache(maxsize=65536)
def bare(type_text: str) -> str:
    """Return a type without const, references and pointers."""
    return re.sub(r"\b(const|typename|static|struct)\b|[&*(]", "", type_text).strip()
