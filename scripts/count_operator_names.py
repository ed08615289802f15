"""Where code in ``sw`` and ``quant`` tells float operators apart by name: places that a new operator would have to be added to.

Counted by the syntax tree: comparisons, ``match`` cases, keys of dictionaries, and named collections of names, in which a string is
the name of an operator of ONNX or of the canonical float graph. Not counted: arguments of calls, such as the operator that a rule's
pattern, ``produced_by`` or ``is_a`` of a recogniser looks for, that a new node gets, or that an operator's own class states.

    python scripts/count_operator_names.py

Prints ``file:line`` of every place; exits with 1 where there are more than ``ALLOWED`` gives reasons for and ``REST`` tolerates.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx.defs

from edgeflow.quant.canonical.base import registry

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("sw", "quant")
ALLOWED: Mapping[str, tuple[int, str]] = {
    "sw/export/forms.py": (4, "the quantizers of ONNX that the form itself writes, and what onnxruntime moves them past"),
    "sw/importer/diagnose.py": (1, "operators that are parts of larger forms, so that a refusal of them says nothing"),
    "sw/importer/obstacles/attention.py": (1, "attention in one node, as exporters write it"),
    "sw/importer/obstacles/kinds.py": (
        3,
        "what a node that is refused for itself is called where the rules' reasons do not say",
    ),
    "sw/importer/obstacles/normalization.py": (1, "what stands between a norm and the quotient, in any spelling"),
    "sw/importer/obstacles/selection.py": (1, "operators that choose by computed numbers"),
    "sw/importer/formats.py": (1, "products of attention in a quantized file, which come before its other readings"),
    "sw/rewrite/activations.py": (5, "what the arithmetic of ONNX does to polynomials: the one table that formulas are read with"),
    "sw/rewrite/nan_guard.py": (1, "what exporters write the guard's condition with: any other form is left alone"),
}
"""By file: how many places it may have, and why."""
REST = 0
"""Places beyond those."""
_COLLECTIONS = ("frozenset", "set", "tuple", "list", "dict")


def operator_names() -> frozenset[str]:
    """The operators of ONNX, of any version and of its own domains, and the canonical ones."""
    standard = {schema.name for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""}
    return frozenset(standard | set(registry()))


def places(tree: ast.AST, names: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Line and source text of every place in a module that names an operator to tell it from others."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            parts = [side for side in (node.left, *node.comparators) if _names(side, names)]
        elif isinstance(node, ast.MatchValue):
            parts = [node.value] if _names(node.value, names) else []
        elif isinstance(node, ast.Dict):
            yield from ((key.lineno, ast.unparse(key)) for key in node.keys if key is not None and _names(key, names))
            continue
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.comprehension | ast.For):
            parts = [part for part in _collections(_collected(node)) if _names(part, names)]
        else:
            continue
        if parts:
            yield parts[0].lineno, ast.unparse(node)


def _collected(node: ast.Assign | ast.AnnAssign | ast.comprehension | ast.For) -> ast.expr | None:
    """What gets a name as a whole, or is gone through one by one."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
        return None
    return node.value if isinstance(node, ast.Assign | ast.AnnAssign) else node.iter


def _collections(node: ast.expr | None) -> Iterator[ast.expr]:
    """Tuples, sets and lists that an expression is made of, not those inside calls other than of their own types."""
    match node:
        case ast.Tuple() | ast.Set() | ast.List():
            yield node
        case ast.Call(func=ast.Name(id=kind)) if kind in _COLLECTIONS:
            for argument in node.args:
                yield from _collections(argument)
        case ast.BinOp():
            yield from _collections(node.left)
            yield from _collections(node.right)
        case ast.IfExp():
            yield from _collections(node.body)
            yield from _collections(node.orelse)
        case ast.Starred():
            yield from _collections(node.value)


def _names(node: ast.expr, names: frozenset[str]) -> bool:
    """Whether an expression is an operator's name, or a collection that holds one."""
    if isinstance(node, ast.Tuple | ast.Set | ast.List):
        return any(_names(element, names) for element in node.elts)
    if isinstance(node, ast.IfExp):
        return _names(node.body, names) or _names(node.orelse, names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _COLLECTIONS:
        return any(_names(argument, names) for argument in node.args)
    return isinstance(node, ast.Constant) and node.value in names


def count() -> dict[str, list[tuple[int, str]]]:
    """The places of every module that has any, by its path."""
    names = operator_names()
    by_file = {}
    for path in sorted(file for room in ROOMS for file in (ROOT / room).rglob("*.py")):
        here = sorted(places(ast.parse(path.read_text()), names))
        if here:
            by_file[path.relative_to(ROOT).as_posix()] = here
    return by_file


def beyond(by_file: Mapping[str, list[tuple[int, str]]]) -> dict[str, int]:
    """How many places each file has beyond those allowed; less than 0 where fewer are left."""
    numbers = {file: len(by_file.get(file, ())) - ALLOWED.get(file, (0, ""))[0] for file in {*by_file, *ALLOWED}}
    return {file: number for file, number in sorted(numbers.items()) if number}


def main() -> int:
    by_file = count()
    for file, here in by_file.items():
        for line, text in here:
            print(f"{file}:{line}: {text.splitlines()[0][:100]}")
    rest = sum(beyond(by_file).values())
    print(f"{sum(map(len, by_file.values()))} places, {rest} of them not allowed for a reason; {REST} may be left")
    return 1 if rest > REST else 0


if __name__ == "__main__":
    sys.exit(main())
