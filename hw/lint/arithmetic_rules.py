"""Rules on values: what is read before it is set, and operators that cost more, or do less, than they seem to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from edgeflow.hw.lint.clang import Cursor, CursorKind, TypeKind, integer_value
from edgeflow.hw.lint.expressions import Expression, read
from edgeflow.hw.lint.finding import Finding, Level
from edgeflow.hw.lint.loops import has_constant_trips
from edgeflow.hw.lint.rule import Rule
from edgeflow.hw.lint.source import LOOP_KINDS, Node, Source
from edgeflow.hw.lint.trace import trace

INTEGERS = {
    TypeKind.BOOL: 1, TypeKind.CHAR_U: 8, TypeKind.UCHAR: 8, TypeKind.CHAR_S: 8, TypeKind.SCHAR: 8, TypeKind.SHORT: 16,
    TypeKind.USHORT: 16, TypeKind.INT: 32, TypeKind.UINT: 32, TypeKind.LONG: 64, TypeKind.ULONG: 64, TypeKind.LONGLONG: 64,
    TypeKind.ULONGLONG: 64,
}  # fmt: skip
ARBITRARY = re.compile(r"(?:const )?ap_(u?)int<(.*)>")
NOTE = re.compile(r"//.*\bdivider\b", re.IGNORECASE)
JUMPS = (CursorKind.RETURN_STMT, CursorKind.BREAK_STMT, CursorKind.CONTINUE_STMT)


class Uninitialised(Rule):
    """A loop with constant bounds is taken to run; what a function may set through a reference counts as set."""

    id = "uninitialised"
    rationale = "A register without a value holds whatever the last use of it left: simulation and circuit then differ."
    remedy = "Give the variable a value where it is declared."

    def check(self, source: Source) -> Iterator[Finding]:
        for function in source.functions:
            for variable in _Flow(source, function).unset:
                message = f"{variable.cursor.spelling} may be read before it is set: give it a value where it is declared"
                yield self.at(variable, message)


class Division(Rule):
    id = "division"
    rationale = "A divider by a value that is not constant takes a stage a bit and hundreds of LUTs in every cycle's copy of it."
    remedy = "Count, shift or multiply by a reciprocal; a divider that is wanted is marked with a comment '// divider: why'."
    level: ClassVar[Level] = "warning"

    def check(self, source: Source) -> Iterator[Finding]:
        places = {place: None for region in trace(source).regions for place in region.divisions}
        for file, line in places:
            if not _noted(source, file, line):
                yield self.on(
                    file,
                    line,
                    "a division by a value that is not constant in pipelined code: count, shift or multiply by a reciprocal, or "
                    "say that it is wanted with a comment '// divider: why'",
                )


class ShiftWidth(Rule):
    id = "shift-width"
    rationale = "A shift by the width of its left operand or more loses every bit, and for C++ integers has no defined result."
    remedy = "Widen the value before it is shifted, or limit the amount."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            parts = _shift(node, source)
            if parts is None:
                continue
            left, right = parts
            width, native = _width(left.cursor)
            if width is None:
                continue
            amount = integer_value(right.cursor)
            if amount is not None and amount >= width:
                yield self.at(node, f"a value of {width} bits is shifted by {amount}: widen it first")
            limit = _greatest(right.cursor)
            if native and amount is None and limit is not None and limit >= width:
                yield self.at(node, f"a value of {width} bits is shifted by up to {limit}: widen it first, or limit the amount")


def _noted(source: Source, file: Path, line: int) -> bool:
    lines = source.between(file, 0, file.stat().st_size).splitlines()
    return any(NOTE.search(text) for text in lines[max(0, line - 2) : line])


def _shift(node: Node, source: Source) -> tuple[Node, Node] | None:
    """Return the operands of a shift."""
    if node.kind not in (CursorKind.BINARY_OPERATOR, CursorKind.CALL_EXPR) or len(node.children) < 2:
        return None
    operands = sorted(node.children, key=lambda child: child.start)
    between = source.between(node.file, operands[0].end, operands[-1].start).strip(" ()\n")
    return (operands[0], operands[-1]) if between in ("<<", ">>") else None


def _width(expression: Cursor) -> tuple[int | None, bool]:
    """Return the width of an integer expression, and whether it is one of C++'s own types, after promotion."""
    width = _arbitrary_width(expression)
    if width is not None:
        return width[0], False
    kind = expression.type.get_canonical().kind
    return (max(32, INTEGERS[kind]), True) if kind in INTEGERS else (None, False)


def _greatest(expression: Cursor) -> int | None:
    """Return the greatest value of an integer of arbitrary width."""
    width = _arbitrary_width(expression)
    return None if width is None else int(2 ** (width[0] - width[1]) - 1)


def _arbitrary_width(expression: Cursor) -> tuple[int, bool] | None:
    """Return the width and sign of an integer of arbitrary width, looking through its conversion to another type."""
    extent = expression.extent
    while True:
        match = ARBITRARY.fullmatch(expression.type.get_canonical().spelling)
        if match is not None and match.group(2).isdigit():
            return int(match.group(2)), not match.group(1)
        inner = [child for child in expression.get_children() if child.kind.is_expression()]
        if not inner or (inner[0].location.file is not None and inner[0].extent != extent):
            return None
        expression = inner[0]


class _Flow:
    """Follows one function and notes the scalars that may be read before they are set; None is a path that has ended."""

    def __init__(self, source: Source, function: Node) -> None:
        self.source = source
        self.unset: list[Node] = []
        self.tracked: dict[str, Node] = {}
        assert function.body is not None
        self._statement(function.body, frozenset())

    def _statement(self, node: Node, assigned: frozenset[str] | None) -> frozenset[str] | None:
        """Return the variables that are set after a statement when those of ``assigned`` were set before."""
        if assigned is None:
            return None
        kind = node.kind
        if kind == CursorKind.COMPOUND_STMT:
            outer = dict(self.tracked)
            now: frozenset[str] | None = assigned
            for child in node.children:
                now = self._statement(child, now)
            self.tracked = outer
            return now
        if kind == CursorKind.DECL_STMT:
            for variable in node.children:
                assigned = self._declare(variable, assigned)
            return assigned
        if kind == CursorKind.IF_STMT:
            assigned = self._expression(node.children[0], assigned)
            then = self._statement(node.children[1], assigned)
            other = self._statement(node.children[2], assigned) if len(node.children) > 2 else assigned
            return other if then is None else then if other is None else then & other
        if kind in LOOP_KINDS:
            return self._loop(node, assigned)
        if kind == CursorKind.SWITCH_STMT:
            return self._switch(node, assigned)
        if kind in (CursorKind.LABEL_STMT, CursorKind.CASE_STMT, CursorKind.DEFAULT_STMT):
            return self._statement(node.children[-1], assigned) if node.children else assigned
        if kind in JUMPS:
            for child in node.children:
                self._expression(child, assigned)
            return None
        return self._expression(node, assigned) if kind.is_expression() else assigned

    def _declare(self, variable: Node, assigned: frozenset[str]) -> frozenset[str]:
        if variable.kind != CursorKind.VAR_DECL:
            return assigned
        name = str(variable.cursor.spelling)
        offset = variable.cursor.location.offset + len(name.encode())
        rest = self.source.between(variable.file, offset, variable.end).strip()
        self.tracked.pop(name, None)
        type_ = variable.cursor.type.get_canonical()
        scalar = type_.kind in INTEGERS or re.match(r"(?:const )?ap_u?int<", type_.spelling) is not None
        if rest:
            value = read(rest.removeprefix("=").strip())
            assigned = self._read(value, assigned) if value is not None else assigned
        elif scalar and type_.kind not in (TypeKind.CONSTANTARRAY, TypeKind.DEPENDENTSIZEDARRAY) and "[" not in type_.spelling:
            static = self.source.text(variable).lstrip().startswith("static")
            if not static:
                self.tracked[name] = variable
                return assigned - {name}
        return assigned

    def _loop(self, node: Node, assigned: frozenset[str]) -> frozenset[str]:
        outer = dict(self.tracked)
        for child in node.children[:-1] if node.kind != CursorKind.DO_STMT else ():
            after = self._statement(child, assigned)
            assigned = assigned if after is None else after
        body = node.children[0] if node.kind == CursorKind.DO_STMT else node.children[-1]
        end = self._statement(body, assigned)
        runs = node.kind == CursorKind.DO_STMT or has_constant_trips(node, self.source)
        if runs and end is not None:
            assigned = assigned | end
        if node.kind == CursorKind.DO_STMT:
            assigned = self._expression(node.children[-1], assigned)
        self.tracked = outer
        return assigned

    def _switch(self, node: Node, assigned: frozenset[str]) -> frozenset[str]:
        assigned = self._expression(node.children[0], assigned)
        ends: list[frozenset[str]] = []
        complete = False
        now: frozenset[str] | None = assigned
        for child in node.children[-1].children:
            if child.kind in (CursorKind.CASE_STMT, CursorKind.DEFAULT_STMT):
                complete = complete or child.kind == CursorKind.DEFAULT_STMT
                now = assigned if now is None else now & assigned | assigned
            if child.kind == CursorKind.BREAK_STMT:
                ends += [] if now is None else [now]
                now = None
            else:
                now = self._statement(child, now)
        ends += [] if now is None else [now]
        if not complete:
            return assigned
        return frozenset.intersection(*ends) if ends else assigned

    def _expression(self, node: Node, assigned: frozenset[str]) -> frozenset[str]:
        expression = read(self.source.text(node))
        return assigned if expression is None else self._read(expression, assigned)

    def _read(self, expression: Expression, assigned: frozenset[str]) -> frozenset[str]:
        kind, arguments = expression.kind, expression.arguments
        if kind == "name":
            if expression.text in self.tracked and expression.text not in assigned:
                variable = self.tracked[expression.text]
                if variable not in self.unset:
                    self.unset.append(variable)
            return assigned
        if kind == "assign":
            assigned = self._read(arguments[1], assigned)
            if expression.text == "=" or arguments[0].kind != "name":
                return self._set(arguments[0], assigned)
            return self._read(arguments[0], assigned)
        if kind == "conditional":
            assigned = self._read(arguments[0], assigned)
            return self._read(arguments[1], assigned) & self._read(arguments[2], assigned)
        if kind == "binary" and expression.text in ("&&", "||"):
            assigned = self._read(arguments[0], assigned)
            self._read(arguments[1], assigned)
            return assigned
        if kind == "unary" and expression.text == "&":
            return self._set(arguments[0], assigned)
        if kind == "call":
            return self._call(expression, assigned)
        if kind == "binary" and expression.text == ">>" and arguments[0].kind == "name" and arguments[0].text not in self.tracked:
            assigned = self._set(arguments[1], assigned)  # a stream sets the variable that it delivers to
        for argument in arguments:
            assigned = self._read(argument, assigned)
        return assigned

    def _call(self, expression: Expression, assigned: frozenset[str]) -> frozenset[str]:
        """A variable that is passed as it is may be set by the function, unless what is called is a cast."""
        callee, *arguments = expression.arguments
        cast = callee.kind == "name" and re.match(r"(?:ap_u?int<|unsigned$|int$|static_cast<)", callee.text) is not None
        if callee.kind == "member":
            base = callee.arguments[0]
            assigned = self._set(base, assigned) if base.kind == "name" else self._read(base, assigned)
        for argument in arguments:
            assigned = self._read(argument, assigned) if cast or argument.kind != "name" else self._set(argument, assigned)
        return assigned

    def _set(self, place: Expression, assigned: frozenset[str]) -> frozenset[str]:
        """Set what an expression names; the indices in it are read."""
        while place.kind in ("index", "member", "call"):
            for argument in place.arguments[1:]:
                assigned = self._read(argument, assigned)
            place = place.arguments[0]
        return assigned | {place.text} if place.kind == "name" else self._read(place, assigned)


RULES = (Uninitialised(), Division(), ShiftWidth())
