"""Which memories a circuit accesses, and when: every call expanded, every unrolled loop run.

The walk starts at the functions that no other function calls.  Template arguments, constants and the indices of
unrolled loops are followed, so an index is known up to what really is unknown when the circuit is built.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from edgeflow.hw.lint.affine import Affine, combine, known, unknown
from edgeflow.hw.lint.clang import CursorKind
from edgeflow.hw.lint.expressions import Expression, read
from edgeflow.hw.lint.regions import Access, Dataflow, Group, LocalArray, Process, Region, Trace
from edgeflow.hw.lint.scopes import CLASSES, DEPTH, Frame, Kind, Partition, Ref, Scopes, Storage, bare, template_name
from edgeflow.hw.lint.source import LOOP_KINDS, Node, Pragma, Source

LAYOUTS = ("ARRAY_PARTITION", "ARRAY_RESHAPE", "BIND_STORAGE", "AGGREGATE", "STREAM")
STYLES = ("complete", "cyclic", "block")
MOST_TRIPS = 4096
STREAM_READS = frozenset(("read", "read_nb", "try_read"))
STREAM_WRITES = frozenset(("write", "write_nb", "try_write"))
CONTROL = frozenset((CursorKind.IF_STMT, CursorKind.SWITCH_STMT)) | LOOP_KINDS


@lru_cache(maxsize=1)
def trace(source: Source) -> Trace:
    """Walk a translation unit from every function that no other one calls."""
    walker = _Walker(source)
    called: set[Node] = set()
    for function in source.functions:
        called |= walker.callees(function)
    for function in source.functions:
        if function not in called or function.cursor.spelling in source.tops:
            walker.start(function)
    return walker.result


class _Walker:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.scopes = Scopes(source)
        self.result = Trace()
        self.stack: list[Node] = []
        self.region: Region | None = None
        self.where: tuple[Path, int] = (source.file, 0)
        self._headers: dict[Node, tuple[str, str, str]] = {}
        self._assigned: dict[Node, tuple[frozenset[str], frozenset[str]]] = {}
        self._globals: dict[str, Ref] = {}

    def callees(self, function: Node) -> set[Node]:
        """Return the functions that a function's text calls; a function that calls itself does not count."""
        callees: set[Node] = set()
        assert function.body is not None
        for name in set(re.findall(r"\b([A-Za-z_]\w*)\s*[<(]", self.source.text(function.body))):
            callees.update(self.scopes.functions.get(name, ()))
        return callees - {function}

    def start(self, function: Node) -> None:
        frame = Frame(function)
        self._bind_globals(frame)
        for parameter in self.scopes.parameters(function):
            type_text, name, dims, _ = self.scopes.declarator(parameter)
            storage = self._declare_storage(parameter, type_text, name, dims, frame)
            storage.foreign = function.cursor.spelling not in self.source.tops
        self._body(function, frame, Group())

    def _bind_globals(self, frame: Frame) -> None:
        if not self._globals:
            holder = Frame(None)
            for node in self.source.globals:
                if node.parent is not None and node.parent.kind in CLASSES:
                    continue
                type_text, name, dims, _ = self.scopes.declarator(node)
                kind = self._kind(type_text, dims)
                record = template_name(bare(type_text))[0] in self.scopes.classes
                if kind != "scalar" or record:
                    self._declare_storage(node, type_text, name, dims, holder)
            self._globals.update((name, ref) for name, ref in holder.names.items() if isinstance(ref, Ref))
            for holder_node, pragmas in self.source.directives.items():
                function = holder_node if holder_node.is_function else holder_node.enclosing_function()
                for pragma in pragmas:
                    self._layout(pragma, Frame(function, dict(self._globals)))
        frame.names.update(self._globals)

    def _kind(self, type_text: str, dims: Sequence[str]) -> Kind:
        if re.search(r"\bstream\s*<", type_text):
            return "stream"
        if dims:
            return "array"
        return "pointer" if type_text.rstrip().endswith("*") or re.search(r"\*\s*const$", type_text) else "scalar"

    def _declare_storage(self, node: Node, type_text: str, name: str, dims: Sequence[str], frame: Frame) -> Storage:
        sizes = tuple(self.scopes.value(read(dim), frame).known if dim else None for dim in dims)
        constant = re.search(r"\bconst(expr)?\b", type_text) is not None
        element = self.scopes.resolve_type(type_text, frame)
        kind = self._kind(type_text, dims)
        storage = Storage(name, node, kind, self.scopes.birth(), sizes, element, constant)
        frame.names[name] = Ref(storage)
        return storage

    # Functions and statements

    def _body(self, function: Node, frame: Frame, out: Group) -> None:
        body = function.body
        if body is None or function in self.stack or len(self.stack) >= DEPTH:
            return
        self.stack.append(function)
        outer = self.region
        self._pragmas(function, frame)
        if self.source.directive(function, "PIPELINE") is not None and outer is None:
            region = self._open(function, frame, None, None)
            self._block(body, frame, region.group)
            self._close(region, out)
        elif self.source.directive(function, "DATAFLOW") is not None:
            self._dataflow(function, body, frame, out)
        else:
            self._block(body, frame, out)
        self.region = outer
        self.stack.pop()

    def _pragmas(self, holder: Node, frame: Frame) -> None:
        """Apply the pragmas of a function or loop that name variables known already."""
        for pragma in self.source.directives.get(holder, ()):
            self._layout(pragma, frame)
            self._independent(pragma, frame)

    def _layout(self, pragma: Pragma, frame: Frame) -> None:
        if pragma.name not in LAYOUTS or pragma.off:
            return
        for variable in (pragma.value("variable") or "").split(","):
            ref = self._named(variable, frame)
            if ref is None:
                continue
            words = {name.lower() for name, value in pragma.options if value is None}
            style = (pragma.value("type") or next((word for word in STYLES if word in words), "complete")).lower()
            factor = pragma.value("factor")
            amount = None if factor is None else self.scopes.value(read(factor), frame).known
            dim = self.scopes.value(read(pragma.value("dim") or "1"), frame).known
            partition = Partition(pragma.name, ref.members, style, 0 if dim is None else dim, amount)
            if partition not in ref.storage.partitions:
                ref.storage.partitions.append(partition)

    def _independent(self, pragma: Pragma, frame: Frame) -> None:
        if pragma.name != "DEPENDENCE" or self.region is None:
            return
        variable = pragma.value("variable")
        if variable is None:
            self.region.everything_independent = True
            return
        for name in variable.split(","):
            ref = self._named(name, frame)
            if ref is not None:
                self.region.independent.append(ref)

    def _named(self, variable: str, frame: Frame) -> Ref | None:
        expression = read(variable.strip())
        return None if expression is None else self.scopes.ref(expression, frame)

    def _block(self, node: Node, frame: Frame, out: Group) -> None:
        inner = frame.inner()
        for child in node.children:
            self._statement(child, inner, out)

    def _statement(self, node: Node, frame: Frame, out: Group) -> None:
        kind = node.kind
        self.where = (node.file, node.line)
        if kind == CursorKind.COMPOUND_STMT:
            self._block(node, frame, out)
        elif kind == CursorKind.DECL_STMT:
            for variable in node.children:
                if variable.kind == CursorKind.VAR_DECL:
                    self._declare(variable, frame, out)
        elif kind == CursorKind.IF_STMT:
            self._if(node, frame, out)
        elif kind in LOOP_KINDS:
            self._loop(node, frame, out)
        elif kind == CursorKind.SWITCH_STMT:
            self._visit(read(self.source.text(node.children[0])), frame, out)
            self._switch(node.children[-1], frame, out)
        elif kind in (CursorKind.LABEL_STMT, CursorKind.CASE_STMT, CursorKind.DEFAULT_STMT):
            if node.children:
                self._statement(node.children[-1], frame, out)
        elif kind == CursorKind.RETURN_STMT:
            self._visit(read(self.source.returned(node)), frame, out)
        elif kind.is_expression():
            self._visit(read(self.source.text(node)), frame, out)

    def _if(self, node: Node, frame: Frame, out: Group) -> None:
        condition = read(self.source.text(node.children[0]))
        self._visit(condition, frame, out)
        chosen = self.scopes.value(condition, frame).known
        branches = [node.children[1:2], node.children[2:3]]
        if chosen is not None:
            branches = [branches[0 if chosen else 1]]
        self._alternatives(branches, frame, out)

    def _alternatives(self, branches: Sequence[Sequence[Node]], frame: Frame, out: Group) -> None:
        choice = Group(exclusive=True)
        for branch in branches:
            part = Group()
            inner = frame.inner()
            for statement in branch:
                self._statement(statement, inner, part)
            if part.parts:
                choice.parts.append(part)
        if choice.parts:
            out.parts.append(choice)

    def _switch(self, body: Node, frame: Frame, out: Group) -> None:
        branches: list[list[Node]] = []
        for statement in body.children:
            if statement.kind in (CursorKind.CASE_STMT, CursorKind.DEFAULT_STMT) or not branches:
                branches.append([])
            branches[-1].append(statement)
        self._alternatives(branches, frame, out)

    def _declare(self, node: Node, frame: Frame, out: Group) -> None:
        type_text, name, dims, initial = self.scopes.declarator(node)
        expression = read(initial) if initial else None
        record = template_name(bare(self.scopes.resolve_type(type_text, frame)))[0] in self.scopes.classes
        if type_text.rstrip().endswith("&") and expression is not None:
            place = self.scopes.ref(expression, frame)
            if place is not None:
                frame.names[name] = place
                return
        self._visit(expression, frame, out)
        kind = self._kind(type_text, dims)
        if kind == "pointer" and expression is not None:
            place = self.scopes.ref(expression, frame)
            if place is not None:
                frame.names[name] = place
                return
        if kind == "scalar" and not record and expression is not None and not self._is_assigned(name, frame):
            frame.names[name] = self.scopes.cast(type_text, self.scopes.value(expression, frame), frame)
            return
        storage = self._declare_storage(node, type_text, name, dims, frame)
        if kind == "array" and self.region is None and not storage.constant:
            bits = self.scopes.bits(type_text, storage.dims, frame)
            if bits is not None:
                self.result.arrays.append(LocalArray(storage, bits))
        for holder in (node, *node.ancestors()):
            if holder in self.source.directives:
                for pragma in self.source.directives[holder]:
                    if name in re.findall(r"\w+", pragma.value("variable") or ""):
                        self._layout(pragma, frame)
            if holder.is_function:
                break

    def _is_assigned(self, name: str, frame: Frame) -> bool:
        """Say whether a variable of the running function may get another value than its first."""
        function = frame.function
        if function is None:
            return True
        changed, passed = self._changes(function)
        return name in changed or name in passed

    def _changes(self, node: Node) -> tuple[frozenset[str], frozenset[str]]:
        """Return the names that a piece of code assigns, and those that it passes to functions as they are."""
        if node not in self._assigned:
            text = self.source.text(node)
            sets = re.findall(r"\b(\w+)(?:\.\w+|\[[^\]]*\])*\s*(?:[-+*/%&|^]|<<|>>)?=(?![=])", text)
            steps = re.findall(r"(?:\+\+|--)\s*(\w+)|\b(\w+)\s*(?:\+\+|--)", text)
            declared = re.findall(r"(?:>|\b(?!else\b|do\b|return\b)\w+)\s+(\w+)\s*=(?![=])", text)
            changed = list(sets)
            for name in declared:
                changed.remove(name)
            names = frozenset(changed) | frozenset(one or other for one, other in steps)
            passed = re.findall(r"\b(\w+)\s*\(([^()]*)\)", text)
            bare_names = [
                word.strip()
                for callee, arguments in passed
                for word in arguments.split(",")
                if any(self._takes_reference(function) for function in self.scopes.functions.get(callee, ()))
            ]
            self._assigned[node] = (names, frozenset(bare_names))
        return self._assigned[node]

    def _takes_reference(self, function: Node) -> bool:
        for parameter in self.scopes.parameters(function):
            type_text = self.scopes.declarator(parameter)[0]
            if "&" in type_text and not re.search(r"\bconst\b", type_text):
                return True
        return False

    # Loops

    def _loop(self, node: Node, frame: Frame, out: Group) -> None:
        body = node.children[-1]
        frame = frame.inner()
        initial, condition, step = self._header(node, body)
        name = self._counter(initial, frame)
        pipelined = self.source.directive(node, "PIPELINE") is not None and self.region is None
        unroll = self.source.directive(node, "UNROLL")
        if self.region is not None and node.kind in (CursorKind.FOR_STMT, CursorKind.WHILE_STMT):
            if name and self._unrolled(node, name, condition, step, frame, out):
                return
            if not self._is_constant(condition, frame):
                self.region.loops.append(node)
        elif unroll is not None and unroll.value("factor") is None and not self._is_constant(condition, frame):
            self.result.unrolled.append(node)
        stride = self._stride(name, step, frame)
        birth = self._unknown_counter(name, stride, frame) if name else None
        if pipelined:
            region = self._open(node, frame, birth, None if stride is None else 1)
            self._pragmas(node, frame)
            self._partly_unrolled(node, unroll, name, stride, frame, region.group)
            self._close(region, out)
            return
        if self.source.directive(node, "DATAFLOW") is not None:
            self._dataflow(node, body, frame, out)
            return
        self._pragmas(node, frame)
        for text in (condition, step):
            self._visit(read(text) if text else None, frame, out)
        self._statement(body, frame, out)

    def _is_constant(self, condition: str, frame: Frame) -> bool:
        """Say whether a condition depends on nothing that runs: it may still name constants of a template not in use."""
        return not self.scopes.value(read(condition), frame).parts

    def _header(self, node: Node, body: Node) -> tuple[str, str, str]:
        """Return the texts of a for loop's initialization, condition and step; of a while loop the condition alone."""
        if node not in self._headers:
            text = self.source.between(node.file, node.start, body.start)
            inside = text.partition("(")[2].rstrip()
            inside = inside[:-1] if inside.endswith(")") else inside
            parts = [part.strip() for part in inside.split(";")]
            if node.kind == CursorKind.FOR_STMT and len(parts) == 3:
                self._headers[node] = (parts[0], parts[1], parts[2])
            else:
                condition = parts[0] if node.kind == CursorKind.WHILE_STMT else ""
                self._headers[node] = ("", condition, "")
        return self._headers[node]

    def _counter(self, initial: str, frame: Frame) -> str:
        """Bind a for loop's variable to its first value and return its name, or nothing."""
        match = re.fullmatch(r"(?:.*?\s)?(\w+)\s*=\s*(.+)", initial, re.DOTALL)
        if match is None:
            return ""
        frame.names[match.group(1)] = self.scopes.value(read(match.group(2)), frame)
        return match.group(1)

    def _unrolled(self, node: Node, name: str, condition: str, step: str, frame: Frame, out: Group) -> bool:
        """Run a loop whose trips are known; return False if they are not known, having done nothing."""
        test, advance = read(condition), read(step)
        values: list[Affine] = []
        while len(values) <= MOST_TRIPS:
            current = frame.names[name]
            again = self.scopes.value(test, frame).known
            if again is None or not isinstance(current, Affine) or current.terms:
                frame.names[name] = values[0] if values else current
                return False
            if not again:
                break
            values.append(current)
            frame.names[name] = self._advanced(advance, name, current, frame)
        self._pragmas(node, frame)
        self.result.known.add(node)
        for value in values:
            inner = frame.inner()
            inner.names[name] = value
            self._statement(node.children[-1], inner, out)
        return True

    def _advanced(self, step: Expression | None, name: str, current: Affine, frame: Frame) -> Affine:
        if step is None:
            return self.scopes.fresh()
        if step.kind in ("unary", "postfix") and step.text in ("++", "--"):
            return combine(step.text[0], current, known(1))
        if step.kind == "assign" and step.arguments[0] == Expression("name", name):
            amount = self.scopes.value(step.arguments[1], frame)
            return amount if step.text == "=" else combine(step.text[:-1], current, amount)
        return self.scopes.fresh()

    def _unknown_counter(self, name: str, stride: int | None, frame: Frame) -> int:
        """Bind a loop's variable to its first value and a multiple of its step; return the birth of the number of trips."""
        birth = self.scopes.birth()
        first = frame.names[name]
        trips = unknown(f"{name}#{birth}", frozenset((birth,)))
        if stride is None or not isinstance(first, Affine):
            frame.names[name] = trips
        else:
            frame.names[name] = combine("+", first, combine("*", trips, known(stride)))
        return birth

    def _partly_unrolled(self, node: Node, unroll: Pragma | None, name: str, stride: int | None, frame: Frame, out: Group) -> None:
        """Run the body of a pipelined loop as often as its UNROLL factor says."""
        factor = None if unroll is None else self.scopes.value(read(unroll.value("factor") or "1"), frame).known
        counter = frame.names.get(name)
        if not factor or factor < 2 or stride is None or not isinstance(counter, Affine):
            self._statement(node.children[-1], frame, out)
            return
        own = next(symbol for symbol, _ in counter.terms if symbol.key.startswith(f"{name}#"))
        trips = unknown(own.key, own.parts, stride)
        first = combine("-", counter, trips)
        for copy in range(min(factor, MOST_TRIPS)):
            inner = frame.inner()
            value = combine("+", combine("*", trips, known(factor)), known(copy * stride))
            inner.names[name] = combine("+", first, value)
            self._statement(node.children[-1], inner, out)

    def _stride(self, name: str, step: str, frame: Frame) -> int | None:
        """Return what one iteration adds to a loop's variable, or None."""
        counter = frame.names.get(name)
        if not isinstance(counter, Affine):
            return None
        return combine("-", self._advanced(read(step), name, counter, frame), counter).known

    def _open(self, node: Node, frame: Frame, counter: int | None, step: int | None) -> Region:
        pragma = self.source.directive(node, "PIPELINE")
        text = None if pragma is None else pragma.value("ii")
        interval = 1 if text is None else self.scopes.value(read(text), frame).known
        changed, passed = self._changes(node)
        bound = (frame.names.get(name) for name in changed | passed)
        assigned = frozenset(ref.storage.birth for ref in bound if isinstance(ref, Ref))
        region = Region(node, interval, self.scopes.birth(), counter, step, assigned)
        self.region = region
        for holder in node.ancestors():  # dependences that were stated around the loop hold inside
            for around in self.source.directives.get(holder, ()):
                self._independent(around, frame)
            if holder.is_function:
                break
        return region

    def _close(self, region: Region, out: Group) -> None:
        region.accesses = region.group.accesses()
        for access in region.accesses:
            key = (access.ref.storage, access.ref.members)
            if key not in region.sizes:
                region.sizes[key] = self.scopes.sizes(access.ref, Frame(None))
        self.result.regions.append(region)
        self.region = None
        out.parts.append(region.group)

    def _dataflow(self, node: Node, body: Node, frame: Frame, out: Group) -> None:
        inner = frame.inner()
        self._pragmas(node, inner)
        region = Dataflow(node)
        for pragma in self.source.directives.get(node, ()):
            if pragma.name == "INTERFACE" and "m_axi" in (pragma.value("mode") or " ".join(pragma.words)).lower():
                region.bundles[pragma.value("port") or ""] = pragma.value("bundle") or "gmem"
        for child in body.children:
            part = Group()
            self._statement(child, inner, part)
            expression = read(self.source.text(child)) if child.kind.is_expression() else None
            if expression is not None and expression.kind == "call":
                callee = expression.arguments[0]
                name = callee.text if callee.kind == "member" else template_name(callee.text)[0]
                region.processes.append(Process(name, child, part))
            elif child.kind.is_expression() or child.kind in CONTROL:
                region.others.append(child)
            out.parts.append(part)
        self.result.dataflow.append(region)

    # Expressions

    def _visit(self, expression: Expression | None, frame: Frame, out: Group, *, write: bool = False, look: bool = True) -> None:
        """Record what an expression accesses; ``look`` and ``write`` say what happens to the place that it names."""
        if expression is None:
            return
        kind, arguments = expression.kind, expression.arguments
        if kind in ("name", "index", "member") or (kind == "unary" and expression.text == "*"):
            self._indices(expression, frame, out)
            ref = self.scopes.ref(expression, frame)
            if ref is not None:
                self._record(ref, out, write=write, look=look)
        elif kind == "assign":
            if expression.text in ("/=", "%="):
                self._division(arguments[1], frame)
            self._visit(arguments[1], frame, out)
            self._visit(arguments[0], frame, out, write=True, look=expression.text != "=")
        elif kind in ("unary", "postfix") and expression.text in ("++", "--"):
            self._visit(arguments[0], frame, out, write=True)
        elif kind == "conditional":
            self._conditional(arguments, frame, out)
        elif kind == "call":
            self._call(expression, frame, out)
        elif kind == "binary" and expression.text in ("<<", ">>") and self._is_stream(arguments[0], frame):
            self._visit(arguments[1], frame, out, write=expression.text == ">>", look=expression.text == "<<")
            self._stream(arguments[0], frame, out, write=expression.text == "<<")
        else:
            if kind == "binary" and expression.text in ("/", "%"):
                self._division(arguments[1], frame)
            for argument in arguments:
                self._visit(argument, frame, out)

    def _division(self, divisor: Expression, frame: Frame) -> None:
        if self.region is not None and self.scopes.value(divisor, frame).parts:
            self.region.divisions.append(self.where)

    def _indices(self, expression: Expression, frame: Frame, out: Group) -> None:
        while expression.kind in ("index", "member", "unary"):
            if expression.kind == "index":
                self._visit(expression.arguments[1], frame, out)
            expression = expression.arguments[0]
        if expression.kind not in ("name", "index", "member"):
            self._visit(expression, frame, out)

    def _conditional(self, arguments: Sequence[Expression], frame: Frame, out: Group) -> None:
        self._visit(arguments[0], frame, out)
        chosen = self.scopes.value(arguments[0], frame).known
        kept = arguments[1:] if chosen is None else arguments[1:2] if chosen else arguments[2:]
        choice = Group(exclusive=True)
        for argument in kept:
            part = Group()
            self._visit(argument, frame, part)
            if part.parts:
                choice.parts.append(part)
        if choice.parts:
            out.parts.append(choice)

    def _record(self, ref: Ref, out: Group, *, write: bool, look: bool) -> None:
        if not ref.indices or ref.storage.kind == "stream":
            return
        rank = self.scopes.rank(ref)
        if rank <= 0 or len(ref.indices) < rank:
            return
        element = Ref(ref.storage, ref.members, ref.indices[:rank])
        file, line = self.where
        if look:
            out.parts.append(Access(element, False, file, line))
        if write:
            out.parts.append(Access(element, True, file, line))

    def _is_stream(self, expression: Expression, frame: Frame) -> bool:
        ref = self.scopes.ref(expression, frame)
        return ref is not None and ref.storage.kind == "stream"

    def _stream(self, expression: Expression, frame: Frame, out: Group, *, write: bool) -> None:
        ref = self.scopes.ref(expression, frame)
        if ref is not None:
            out.parts.append(Access(ref, write, *self.where))

    def _call(self, expression: Expression, frame: Frame, out: Group) -> None:
        callee, arguments = expression.arguments[0], expression.arguments[1:]
        if callee.kind == "member":
            base = callee.arguments[0]
            if self._is_stream(base, frame) and callee.text in STREAM_READS | STREAM_WRITES:
                self._stream(base, frame, out, write=callee.text in STREAM_WRITES)
            else:
                self._visit(base, frame, out)
        function = self.scopes.called(callee.text, len(arguments)) if callee.kind == "name" else None
        if function is None:
            for argument in arguments:
                self._visit(argument, frame, out)
            return
        inner = Frame(function, dict(self._globals))
        self.scopes.bind_template(function, self.scopes.template_arguments(callee.text, frame), inner)
        for parameter, argument in zip(self.scopes.parameters(function), arguments, strict=True):
            self._pass(parameter, argument, frame, inner, out)
        where = self.where
        self._body(function, inner, out)
        self.where = where

    def _pass(self, parameter: Node, argument: Expression, frame: Frame, inner: Frame, out: Group) -> None:
        """Bind a parameter: to the argument's place where it is passed by reference, to its value otherwise."""
        type_text, name, dims, _ = self.scopes.declarator(parameter)
        ref = self.scopes.ref(argument, frame)
        by_place = "&" in type_text or bool(dims) or self._kind(type_text, dims) in ("pointer", "stream")
        if ref is not None and ref.storage.kind == "pointer" and not ref.indices:  # of whatever type the template calls it
            by_place = True
        record = template_name(bare(self.scopes.resolve_type(type_text, inner)))[0] in self.scopes.classes
        if ref is not None and (by_place or record):
            self._indices(argument, frame, out)
            inner.names[name] = ref
            self._deduce(type_text, dims, ref, inner)
            return
        self._visit(argument, frame, out)
        if record or self._is_assigned(name, inner):
            self._declare_storage(parameter, type_text, name, dims, inner)
        else:
            inner.names[name] = self.scopes.cast(type_text, self.scopes.value(argument, frame), frame)

    def _deduce(self, type_text: str, dims: Sequence[str], ref: Ref, inner: Frame) -> None:
        """Bind the template parameters that the size or type of an argument tells."""
        for dim, size in zip(dims, ref.storage.dims[len(ref.indices) :], strict=False):
            if size is not None and dim.isidentifier() and dim not in inner.names:
                inner.names[dim] = known(size)
        wanted, actual = template_name(bare(type_text)), template_name(bare(ref.storage.type_text))
        if not ref.members and wanted[0] == actual[0]:
            for parameter, argument in zip(wanted[1], actual[1], strict=False):
                if parameter.isidentifier():
                    inner.types.setdefault(parameter, argument)
