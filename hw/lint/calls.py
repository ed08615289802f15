"""Rules on who calls whom: the call graph of a circuit is a tree that is known when it is built."""

from __future__ import annotations

from collections.abc import Iterator

from edgeflow.hw.lint.clang import Cursor, CursorKind, TypeKind, template_of
from edgeflow.hw.lint.finding import Finding
from edgeflow.hw.lint.rule import Rule
from edgeflow.hw.lint.source import Node, Source


class Recursion(Rule):
    """Calls that depend on a template parameter are resolved by name and number of arguments.

    A template that names itself with other template arguments, such as ``sum<N - 1>(...)``, is unrolled by the compiler
    and is no recursion.
    """

    id = "recursion"
    rationale = "A function that can reach itself would need a call stack, and a circuit has none."
    remedy = "Turn the recursion into a loop with a constant trip count."

    def check(self, source: Source) -> Iterator[Finding]:
        functions = {_key(node.cursor): node for node in source.functions}
        calls = {key: _callees(node, functions) for key, node in functions.items()}
        reported: set[str] = set()
        for start in functions:
            cycle = _cycle_from(start, calls)
            if cycle and not reported.intersection(cycle):
                reported.update(cycle)
                names = [functions[key].cursor.spelling for key in [*cycle, start]]
                yield self.at(functions[start], f"recursion {' -> '.join(names)}: turn it into a loop")


class FunctionPointer(Rule):
    id = "function-pointer"
    rationale = "A call through a pointer has no hardware module that could be instantiated."
    remedy = "Call the function itself, or pass it as a template parameter."

    def check(self, source: Source) -> Iterator[Finding]:
        declarations = {CursorKind.VAR_DECL, CursorKind.PARM_DECL, CursorKind.FIELD_DECL}
        for node in source.nodes:
            if node.kind in declarations and _points_to_function(node.cursor):
                name = node.cursor.spelling or "a parameter"
                yield self.at(node, f"{name} points to a function: call the function, or pass it as a template parameter")


class VirtualFunction(Rule):
    id = "virtual-function"
    rationale = "Dispatch at run time goes through a table of function pointers."
    remedy = "Choose the function at compile time, by a template parameter."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            if node.is_function and node.cursor.is_virtual_method():
                yield self.at(node, f"{node.cursor.spelling} is virtual: use templates instead")


def _key(function: Cursor) -> str:
    return str(template_of(function).get_usr())


def _callees(function: Node, functions: dict[str, Node]) -> list[str]:
    callees: list[str] = []
    for node in function.walk():
        if node.kind != CursorKind.CALL_EXPR:
            continue
        target = node.cursor.referenced
        if target is not None and _key(target) in functions:
            callees.append(_key(target))
        elif target is None or not target.kind.is_declaration() or target.kind == CursorKind.OVERLOADED_DECL_REF:
            callees += _by_name(node, function, functions)
    return callees


def _by_name(call: Node, caller: Node, functions: dict[str, Node]) -> list[str]:
    """Return the functions that a call may mean whose target depends on a template parameter."""
    words = [token.spelling for _, token in zip(range(16), call.cursor.get_tokens(), strict=False)]
    if "(" not in words:
        return []
    callee = words[: words.index("(")]
    name = next((word for word in callee if word not in ("::", "template", "this", "->", ".")), "")
    if not name.isidentifier() or (name == caller.cursor.spelling and "<" in callee):
        return []
    count = len(list(call.cursor.get_arguments()))
    return [
        key
        for key, node in functions.items()
        if node.cursor.spelling == name and count <= sum(c.kind == CursorKind.PARM_DECL for c in node.children)
    ]


def _cycle_from(start: str, calls: dict[str, list[str]]) -> list[str]:
    """Return the functions on a shortest way from ``start`` back to itself, or an empty list."""
    came_from: dict[str, str] = {}
    front = [start]
    while front:
        reached: list[str] = []
        for caller in front:
            for callee in calls[caller]:
                if callee == start:
                    path = [caller]
                    while path[-1] != start:
                        path.append(came_from[path[-1]])
                    return path[::-1]
                if callee not in came_from:
                    came_from[callee] = caller
                    reached.append(callee)
        front = reached
    return []


def _points_to_function(declaration: Cursor) -> bool:
    type_ = declaration.type.get_canonical()
    while type_.kind in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.DEPENDENTSIZEDARRAY):
        type_ = type_.element_type.get_canonical()
    if type_.kind == TypeKind.MEMBERPOINTER:
        return True
    if type_.kind not in (TypeKind.POINTER, TypeKind.LVALUEREFERENCE, TypeKind.RVALUEREFERENCE):
        return False
    return type_.get_pointee().kind in (TypeKind.FUNCTIONPROTO, TypeKind.FUNCTIONNOPROTO)


RULES = (Recursion(), FunctionPointer(), VirtualFunction())
