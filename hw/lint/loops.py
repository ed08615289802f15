"""Rules on loops: how often one runs must be known, or said."""

from __future__ import annotations

from collections.abc import Iterator

from edgeflow.hw.lint.clang import Cursor, CursorKind, TypeKind, integer_value
from edgeflow.hw.lint.finding import Finding
from edgeflow.hw.lint.rule import Rule
from edgeflow.hw.lint.source import LOOP_KINDS, Node, Source
from edgeflow.hw.lint.trace import trace

COMPARISONS = frozenset(("<", "<=", ">", ">=", "!="))
FUNCTIONS = (CursorKind.FUNCTION_DECL, CursorKind.CXX_METHOD, CursorKind.FUNCTION_TEMPLATE)


class LoopBound(Rule):
    """A for loop is bounded when its start, its step and the limit of its condition are constants."""

    id = "loop-bound"
    rationale = "Without a trip count the tool reports no latency and cannot choose a schedule."
    remedy = "Make the bounds constants, or state the greatest trip count with #pragma HLS LOOP_TRIPCOUNT max=N in the loop."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            if node.kind == CursorKind.FOR_STMT:
                reason = _unbounded(node, source)
            elif node.kind == CursorKind.CXX_FOR_RANGE_STMT:
                reason = "" if _ranges_over_array(node) else "it does not range over an array"
            else:
                continue
            if reason and not has_tripcount(node, source) and node not in trace(source).known:
                yield self.at(
                    node,
                    f"{reason}: make it a constant, or say the greatest trip count with "
                    "#pragma HLS LOOP_TRIPCOUNT max=... at the start of the body",
                )


class WhileBound(Rule):
    id = "while-bound"
    rationale = "A while loop has no trip count that could be derived."
    remedy = "Write a for loop with a constant bound, or state the greatest count with #pragma HLS LOOP_TRIPCOUNT max=N."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            if node.kind not in (CursorKind.WHILE_STMT, CursorKind.DO_STMT):
                continue
            if not _runs_once(node) and not has_tripcount(node, source):
                yield self.at(
                    node,
                    "a while loop without a trip count: write a for loop with a constant bound, or say the greatest "
                    "count with #pragma HLS LOOP_TRIPCOUNT max=... at the start of the body",
                )


class UnrolledBound(Rule):
    id = "unrolled-bound"
    rationale = "A loop inside pipelined code is unrolled; without a constant trip count it keeps that code from pipelining."
    remedy = "Run to the greatest count and guard the body with if, or pipeline the inner loop instead."

    def check(self, source: Source) -> Iterator[Finding]:
        traced = trace(source)
        inner = {loop: region.node for region in traced.regions for loop in region.loops}
        for loop, around in inner.items():
            if not _runs_once(loop):
                where = f"{around.file.name}:{around.line}"
                yield self.at(
                    loop,
                    f"this loop is unrolled for the pipeline at {where}, and its trip count is not constant: run to the greatest "
                    "count and guard the body with if, or pipeline this loop instead",
                )
        for loop in dict.fromkeys(traced.unrolled):
            yield self.at(loop, "the trip count of a loop with UNROLL is not constant: state factor=, or give it a constant bound")


def has_tripcount(loop: Node, source: Source) -> bool:
    """Say whether a LOOP_TRIPCOUNT pragma with ``max`` stands in the loop's body and in no inner loop."""
    body = loop.body
    if body is None:
        return False
    for pragma in source.pragmas:
        inside = pragma.file == loop.file and body.start < pragma.offset < body.end
        if inside and pragma.is_hls and pragma.name == "LOOP_TRIPCOUNT" and pragma.value("max"):
            innermost = [node for node in source.enclosing(pragma) if node.kind in LOOP_KINDS][-1]
            if innermost is loop:
                return True
    return False


def has_constant_trips(loop: Node, source: Source) -> bool:
    """Say whether the trip count of a loop is known when the circuit is built."""
    if loop.kind == CursorKind.FOR_STMT:
        return not _unbounded(loop, source)
    return loop.kind == CursorKind.CXX_FOR_RANGE_STMT and _ranges_over_array(loop)


def _unbounded(loop: Node, source: Source) -> str:
    """Return why the trip count of a for loop is not a constant, or an empty string."""
    start, condition, step = _header(loop, source)
    variable = _loop_variable(start)
    if start is None or variable is None:
        return "the loop declares no counter"
    if not all(is_constant(child.cursor) for child in _initializers(start)):
        return "the counter starts at a value that is not a constant"
    if condition is None or not _limited(condition, variable):
        return "the bound is not a constant"
    if step is None:
        return "the counter has no step in the loop's header"
    if not all(is_constant(part.cursor) for part in step.walk() if _names_other(part, variable)):
        return "the step is not a constant"
    return ""


def _header(loop: Node, source: Source) -> tuple[Node | None, Node | None, Node | None]:
    """Return a for loop's initialization, condition and step; libclang leaves out those that are empty."""
    body = loop.children[-1]
    extent = source.unit.get_extent(str(loop.file), (loop.start, body.start))
    depth, semicolons = 0, []
    for token in source.unit.get_tokens(extent=extent):
        offset = token.extent.start.offset
        if offset >= body.start:
            break
        if token.spelling in ("(", "[", "{"):
            depth += 1
        elif token.spelling in (")", "]", "}"):
            depth -= 1
        elif token.spelling == ";" and depth == 1:
            semicolons.append(offset)
    parts: list[Node | None] = [None, None, None]
    for child in loop.children[:-1]:
        parts[sum(child.start > offset for offset in semicolons)] = child
    return parts[0], parts[1], parts[2]


def _loop_variable(start: Node | None) -> str | None:
    """Return the identity of the variable that a for loop declares or sets first."""
    if start is None:
        return None
    if start.kind == CursorKind.DECL_STMT:
        return _identity(start.children[0].cursor)
    left = next((node for node in start.walk() if node.kind == CursorKind.DECL_REF_EXPR), None)
    return None if left is None else _identity(left.cursor.referenced)


def _initializers(start: Node) -> list[Node]:
    if start.kind == CursorKind.DECL_STMT:
        return [value for variable in start.children for value in variable.children if value.kind.is_expression()]
    return start.children[1:]


def _limited(condition: Node, variable: str) -> bool:
    """Say whether a condition, or a part of a conjunction, compares the variable with a constant."""
    while condition.kind in (CursorKind.UNEXPOSED_EXPR, CursorKind.PAREN_EXPR) and len(condition.children) == 1:
        condition = condition.children[0]
    operator, left, right = _binary(condition)
    if left is None or right is None:
        return False
    if operator == "&&":
        return _limited(left, variable) or _limited(right, variable)
    if operator not in COMPARISONS:
        return False
    return any(_mentions(one, variable) and is_constant(other.cursor) for one, other in ((left, right), (right, left)))


def _binary(expression: Node) -> tuple[str, Node | None, Node | None]:
    """Return the operator and the operands of a binary expression, built in or overloaded."""
    if expression.kind not in (CursorKind.BINARY_OPERATOR, CursorKind.CALL_EXPR):
        return "", None, None
    operands = sorted(expression.children, key=lambda child: child.start)
    if len(operands) < 2:
        return "", None, None
    left, right = operands[0], operands[-1]
    between = [token.spelling for token in expression.cursor.get_tokens() if left.end <= token.extent.start.offset < right.start]
    return next((word for word in between if word in COMPARISONS or word == "&&"), ""), left, right


def _mentions(expression: Node, variable: str) -> bool:
    return any(
        node.kind == CursorKind.DECL_REF_EXPR
        and node.cursor.referenced is not None
        and _identity(node.cursor.referenced) == variable
        for node in expression.walk()
    )


def _names_other(node: Node, variable: str) -> bool:
    """Say whether an expression names a declaration other than the loop variable or an operator."""
    target = node.cursor.referenced
    if node.kind not in (CursorKind.DECL_REF_EXPR, CursorKind.MEMBER_REF_EXPR) or target is None:
        return False
    return _identity(target) != variable and not target.spelling.startswith("operator")


def is_constant(expression: Cursor) -> bool:
    """Say whether an expression is known when the circuit is built; what depends on a template parameter is."""
    if expression.kind in (CursorKind.DECL_REF_EXPR, CursorKind.MEMBER_REF_EXPR):
        return _names_constant(expression.referenced)
    if expression.kind == CursorKind.CXX_THIS_EXPR:
        return False
    if expression.kind == CursorKind.CALL_EXPR:
        target = expression.referenced
        if target is not None and target.kind in FUNCTIONS and not _is_constexpr(target):
            return False
    return all(is_constant(child) for child in expression.get_children())


def _names_constant(declaration: Cursor | None) -> bool:
    if declaration is None or not declaration.kind.is_declaration():
        return True
    if declaration.kind == CursorKind.VAR_DECL:
        if not declaration.type.is_const_qualified():
            return False
        return all(is_constant(child) for child in declaration.get_children() if child.kind.is_expression())
    return declaration.kind not in (CursorKind.PARM_DECL, CursorKind.FIELD_DECL)


def _is_constexpr(function: Cursor) -> bool:
    for token in function.get_tokens():
        if token.spelling in ("constexpr", "{"):
            return bool(token.spelling == "constexpr")
    return False


def _ranges_over_array(loop: Node) -> bool:
    arrays = (TypeKind.CONSTANTARRAY, TypeKind.DEPENDENTSIZEDARRAY)
    return any(
        node.kind.is_expression() and node.cursor.type.get_canonical().kind in arrays
        for child in loop.children[:-1]
        for node in child.walk()
    )


def _runs_once(loop: Node) -> bool:
    """Say whether a loop is the ``do { ... } while (0)`` that macros use."""
    return loop.kind == CursorKind.DO_STMT and integer_value(loop.children[-1].cursor) == 0


def _identity(declaration: Cursor | None) -> str:
    if declaration is None:
        return ""
    where = declaration.location
    return f"{declaration.spelling}@{where.file}:{where.offset}"


RULES = (LoopBound(), WhileBound(), UnrolledBound())
