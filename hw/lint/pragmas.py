"""Rules on pragmas: Vitis HLS ignores what it does not know or cannot place, often with a warning nobody reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from functools import lru_cache

from edgeflow.hw.lint.clang import CursorKind
from edgeflow.hw.lint.finding import Finding
from edgeflow.hw.lint.pragma_table import COMPILER, DIRECTIVES, REPLACED, Scope
from edgeflow.hw.lint.rule import Rule
from edgeflow.hw.lint.source import LOOP_KINDS, Node, Pragma, Source

CLASSES = (CursorKind.STRUCT_DECL, CursorKind.CLASS_DECL, CursorKind.CLASS_TEMPLATE)
VALUE = re.compile(r"[\w:,.()<>+\-*/\[\]]+")


class UnknownPragma(Rule):
    id = "unknown-pragma"
    rationale = "A misspelt pragma is ignored, and the design is built without it."
    remedy = "Correct the name; what Vivado HLS called differently has a new name in Vitis HLS."

    def check(self, source: Source) -> Iterator[Finding]:
        for pragma in source.pragmas:
            if not pragma.is_hls:
                family = pragma.words[0] if pragma.words else ""
                if family not in COMPILER:
                    yield self.on(pragma.file, pragma.line, f"#pragma {family} is unknown{_instead(family, ['HLS'])}")
            elif pragma.name in REPLACED:
                message = f"{pragma.name} is a pragma of Vivado HLS: use {REPLACED[pragma.name]}"
                yield self.on(pragma.file, pragma.line, message)
            elif pragma.name not in DIRECTIVES:
                suggestion = _instead(pragma.name, DIRECTIVES)
                yield self.on(pragma.file, pragma.line, f"#pragma HLS {pragma.name} is unknown{suggestion}")


class PragmaOption(Rule):
    id = "pragma-option"
    rationale = "A pragma with an option that is unknown, missing or has a wrong value is ignored or means something else."
    remedy = "Correct the option: AMD's user guide UG1399 lists what each pragma takes."

    def check(self, source: Source) -> Iterator[Finding]:
        for pragma in _known(source):
            for problem in _option_problems(pragma):
                yield self.on(pragma.file, pragma.line, f"{pragma.name}: {problem}")


class PragmaVariable(Rule):
    id = "pragma-variable"
    rationale = "A pragma that names a variable or port that does not exist has no effect."
    remedy = "Name a variable that is declared in the scope of the pragma, or a parameter of its function."

    def check(self, source: Source) -> Iterator[Finding]:
        for pragma in _known(source):
            function = _function_of(source.enclosing(pragma))
            if function is None:
                continue
            known = {node.cursor.spelling for node in _variables(function, source)}
            for name in _names(pragma.value("variable")):
                if name not in known:
                    message = f"{pragma.name}: there is no variable {name} here{_instead(name, known)}"
                    yield self.on(pragma.file, pragma.line, message)
            parameters = {node.cursor.spelling for node in function.children if node.kind == CursorKind.PARM_DECL}
            for name in _names(pragma.value("port")):
                if name not in parameters | {"return"}:
                    message = f"{pragma.name}: {function.cursor.spelling} has no parameter {name}{_instead(name, parameters)}"
                    yield self.on(pragma.file, pragma.line, message)


class PragmaPlacement(Rule):
    id = "pragma-placement"
    rationale = "A pragma acts on the scope it stands in; in another place it is ignored or acts on something else."
    remedy = "Move the pragma: into the body of the loop or function it is for, or directly behind the declaration."

    def check(self, source: Source) -> Iterator[Finding]:
        for pragma in _known(source):
            problem = _placement_problem(pragma, source)
            if problem:
                yield self.on(pragma.file, pragma.line, f"{pragma.name} {problem}")


class InterfaceOutsideTop(Rule):
    id = "interface-outside-top"
    rationale = "Only the top function has ports; an interface elsewhere is ignored."
    remedy = "Move the INTERFACE pragma into the top function, or remove it."

    def check(self, source: Source) -> Iterator[Finding]:
        for pragma in _known(source):
            function = _function_of(source.enclosing(pragma))
            if pragma.name == "INTERFACE" and function is not None and function.cursor.spelling not in source.tops:
                top = " or ".join(sorted(source.tops))
                message = f"INTERFACE in {function.cursor.spelling}: only the top function {top} has ports, move it there"
                yield self.on(pragma.file, pragma.line, message)


class InterfaceMissing(Rule):
    """Arguments that are not mentioned get the ports that the tool's flow prefers, which differ between flows."""

    id = "interface-missing"
    rationale = "A port without an INTERFACE pragma gets the default of the flow that runs, not the one that the driver expects."
    remedy = "State the mode of every port, return included, with #pragma HLS INTERFACE."

    def check(self, source: Source) -> Iterator[Finding]:
        for function in source.functions:
            if function.cursor.spelling not in source.tops or (function.parent is not None and function.parent.kind in CLASSES):
                continue
            stated = {
                name
                for pragma in source.directives.get(function, ())
                if pragma.name == "INTERFACE"
                for name in _names(pragma.value("port"))
            }
            ports = [node.cursor.spelling for node in function.children if node.kind == CursorKind.PARM_DECL]
            missing = [name for name in [*ports, "return"] if name not in stated]
            if missing:
                message = (
                    f"{function.cursor.spelling} has no INTERFACE pragma for {', '.join(missing)}: state the mode of every port"
                )
                yield self.at(function, message)


def _known(source: Source) -> Iterator[Pragma]:
    return (pragma for pragma in source.pragmas if pragma.is_hls and pragma.name in DIRECTIVES)


def _instead(word: str, known: object) -> str:
    """Return ``: did you mean X?`` when a known word is close."""
    words = {str(one).lower(): str(one) for one in known} if isinstance(known, (dict, list, set, frozenset)) else {}
    close = get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    return f": did you mean {words[close[0]]}?" if close else ""


def _option_problems(pragma: Pragma) -> Iterator[str]:
    directive = DIRECTIVES[pragma.name]
    seen: set[str] = set()
    for name, value in pragma.options:
        key = name.lower()
        if value is None:
            if key not in directive.words:
                known = directive.words | {f"{option}=" for option in directive.options}
                yield f"unknown keyword {name}{_instead(name, known)}"
            continue
        if key in seen:
            yield f"option {name} is given twice"
        seen.add(key)
        choices = directive.options.get(key)
        if choices is None:
            yield f"unknown option {name}={_instead(name, set(directive.options))}"
        elif not value or not VALUE.fullmatch(value):
            yield f"option {name}= has no value that could be read"
        elif choices and value.lower() not in choices:
            suggestion = _instead(value, set(choices)) or f": it is one of {', '.join(choices)}"
            yield f"{name}={value} is unknown{suggestion}"
    for missing in sorted(directive.required - seen):
        yield f"option {missing}= is missing"


def _placement_problem(pragma: Pragma, source: Source) -> str:
    """Return why a pragma stands in the wrong place, or an empty string."""
    directive = DIRECTIVES[pragma.name]
    path = source.enclosing(pragma)
    if not path or _function_of(path) is None:
        return "stands outside of any function"
    block = path[-1]
    if block.kind != CursorKind.COMPOUND_STMT:
        return "stands between a statement and its body: move it behind the opening brace"
    scope = _scope_of(block)
    if scope not in directive.scopes:
        wanted = " or ".join(sorted(directive.scopes))
        return f"must stand directly in the body of a {wanted}"
    before = [child for child in block.children if child.start < pragma.offset]
    if directive.first and any(child.kind != CursorKind.DECL_STMT for child in before):
        return f"must stand at the start of the {scope}'s body, before its statements"
    if directive.declared:
        function = _function_of(path)
        assert function is not None
        for name in _names(pragma.value("variable")):
            declarations = [node for node in _variables(function, source) if node.cursor.spelling == name]
            if declarations and not any(_declared_in(node, block, pragma.offset) for node in declarations):
                later = any(_block_of(node) is block for node in declarations)
                where = "before the declaration of" if later else "in another scope than the declaration of"
                return f"stands {where} {name}: move it directly behind the declaration"
    return ""


def _scope_of(block: Node) -> Scope:
    parent = block.parent
    if parent is not None and (parent.is_function or parent.kind == CursorKind.LAMBDA_EXPR):
        return "function"
    return "loop" if parent is not None and parent.kind in LOOP_KINDS else "block"


def _declared_in(variable: Node, block: Node, offset: int) -> bool:
    """Say whether a pragma at ``offset`` in ``block`` stands in the scope of a variable's declaration, after it."""
    if variable.kind == CursorKind.PARM_DECL:
        return block.parent is not None and block.parent.is_function
    if variable.kind == CursorKind.FIELD_DECL or variable.enclosing_function() is None:
        return True
    return _block_of(variable) is block and variable.start < offset


def _block_of(variable: Node) -> Node | None:
    node = variable.parent
    while node is not None and node.kind != CursorKind.COMPOUND_STMT:
        node = node.parent
    return node


def _function_of(path: list[Node]) -> Node | None:
    return next((node for node in reversed(path) if node.is_function), None)


@lru_cache(maxsize=64)
def _variables(function: Node, source: Source) -> list[Node]:
    """Return the declarations that a pragma in ``function`` may name: its own, its class's and global ones."""
    kinds = (CursorKind.VAR_DECL, CursorKind.PARM_DECL)
    declarations = [node for node in function.walk() if node.kind in kinds]
    if function.parent is not None:
        declarations += [node for node in function.parent.children if node.kind in (CursorKind.FIELD_DECL, CursorKind.VAR_DECL)]
    return declarations + source.globals


def _names(value: str | None) -> list[str]:
    """Return the variables that an option names, without ``this->`` and member selections."""
    return [] if value is None else [name.removeprefix("this->").split(".")[0] for name in value.split(",")]


RULES = (UnknownPragma(), PragmaOption(), PragmaVariable(), PragmaPlacement(), InterfaceOutsideTop(), InterfaceMissing())
