"""Rules on parts of C++ that have no hardware."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from edgeflow.hw.lint.clang import Cursor, CursorKind, TypeKind
from edgeflow.hw.lint.finding import Finding, Level
from edgeflow.hw.lint.rule import Rule
from edgeflow.hw.lint.source import Source

FLOATS = frozenset((TypeKind.FLOAT, TypeKind.DOUBLE, TypeKind.LONGDOUBLE, TypeKind.HALF, TypeKind.FLOAT128))


class RunTimeType(Rule):
    id = "run-time-type"
    rationale = "Types do not exist any more when the circuit runs."
    remedy = "Choose by type at compile time, with templates."

    def check(self, source: Source) -> Iterator[Finding]:
        words = {CursorKind.CXX_TYPEID_EXPR: "typeid", CursorKind.CXX_DYNAMIC_CAST_EXPR: "dynamic_cast"}
        for node in source.nodes:
            if node.kind in words:
                yield self.at(node, f"{words[node.kind]} asks for a type at run time: use templates")


class Exceptions(Rule):
    id = "exception"
    rationale = "There is no stack that could be unwound."
    remedy = "Report errors through a value that is returned."

    def check(self, source: Source) -> Iterator[Finding]:
        words = {CursorKind.CXX_TRY_STMT: "try", CursorKind.CXX_THROW_EXPR: "throw"}
        for node in source.nodes:
            if node.kind in words:
                yield self.at(node, f"{words[node.kind]}: report errors through a value")


class Goto(Rule):
    id = "goto"
    rationale = "A jump hides the loop from the scheduler, so it is neither pipelined nor bounded."
    remedy = "Write a loop with a static bound."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            if node.kind in (CursorKind.GOTO_STMT, CursorKind.INDIRECT_GOTO_STMT):
                yield self.at(node, "goto: write a loop with a static bound")


class FloatingPoint(Rule):
    id = "floating-point"
    rationale = "The kernels are integer networks: a floating-point operator costs several DSPs and rounds differently."
    remedy = "Use a scaled integer."
    level: ClassVar[Level] = "warning"

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            typed = node.kind in (CursorKind.VAR_DECL, CursorKind.PARM_DECL, CursorKind.FIELD_DECL)
            if typed and _is_float(node.cursor):
                yield self.at(node, f"{node.cursor.spelling} is floating point: use a scaled integer")
            elif node.kind == CursorKind.FLOATING_LITERAL:
                yield self.at(node, "a floating-point constant: use a scaled integer")


def _is_float(declaration: Cursor) -> bool:
    type_ = declaration.type.get_canonical()
    while type_.kind in (TypeKind.CONSTANTARRAY, TypeKind.DEPENDENTSIZEDARRAY, TypeKind.INCOMPLETEARRAY):
        type_ = type_.element_type.get_canonical()
    if type_.kind in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE):
        type_ = type_.get_pointee().get_canonical()
    return type_.kind in FLOATS


RULES = (RunTimeType(), Exceptions(), Goto(), FloatingPoint())
