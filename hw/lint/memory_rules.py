"""Rules on memory and libraries: every byte has its place on the chip before the circuit is built."""

from __future__ import annotations

from collections.abc import Iterator

from edgeflow.hw.lint.clang import Cursor, CursorKind, StorageClass, Type, TypeKind
from edgeflow.hw.lint.finding import Finding
from edgeflow.hw.lint.rule import Rule
from edgeflow.hw.lint.source import Node, Source
from edgeflow.hw.lint.trace import trace

ALLOCATORS = frozenset(
    (
        *("malloc", "calloc", "realloc", "free", "alloca", "aligned_alloc", "posix_memalign", "strdup"),
        *("unique_ptr", "shared_ptr", "weak_ptr", "make_unique", "make_shared", "allocator"),
    )
)
# Headers whose contents exist at compile time only, and the library functions that Vitis HLS builds itself.
COMPILE_TIME_HEADERS = frozenset(
    (
        *("type_traits", "limits", "climits", "cstdint", "cstddef", "c++config.h", "move.h", "limits.h", "types.h"),
        *("stdint.h", "stddef.h", "stdint-intn.h", "stdint-uintn.h", "stdint-least.h"),
    )
)
SMALL_BITS = 1024
BUILT_IN_FUNCTIONS = frozenset(("memcpy", "memset"))


class DynamicMemory(Rule):
    id = "dynamic-memory"
    rationale = "There is no heap on the chip: every array is a memory of fixed size."
    remedy = "Declare an array of fixed size, as large as it can get."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            if node.kind in (CursorKind.CXX_NEW_EXPR, CursorKind.CXX_DELETE_EXPR):
                word = "new" if node.kind == CursorKind.CXX_NEW_EXPR else "delete"
                yield self.at(node, f"{word}: declare an array of fixed size")
            target = _library_target(node, source)
            if target is not None and _allocates(target):
                yield self.at(node, f"{_qualified(target)}: declare an array of fixed size")


class VariableLengthArray(Rule):
    id = "variable-length-array"
    rationale = "The size of a memory must be known when the circuit is built."
    remedy = "Give the array its greatest length as a constant."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            if node.kind == CursorKind.VAR_DECL and node.cursor.type.get_canonical().kind == TypeKind.VARIABLEARRAY:
                yield self.at(node, f"the length of {node.cursor.spelling} is not a constant: give it its greatest length")


class StandardLibrary(Rule):
    id = "standard-library"
    rationale = "Containers, strings, streams and system calls allocate memory or need an operating system."
    remedy = "Use arrays, ap_int and hls::stream, or keep the code inside #ifndef __SYNTHESIS__."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            target = _library_target(node, source)
            if target is None or _allocates(target) or target.spelling in BUILT_IN_FUNCTIONS or _names_vendor(node, source):
                continue
            header = str(target.location.file.name).rpartition("/")[2]
            if header not in COMPILE_TIME_HEADERS:
                yield self.at(
                    node,
                    f"{_qualified(target)} is not synthesizable: use arrays, ap_int and hls::stream, "
                    "or keep it inside #ifndef __SYNTHESIS__",
                )


class StaticLocal(Rule):
    id = "static-local"
    rationale = "State that outlives a call makes results depend on earlier calls and keeps a unit from being shared."
    remedy = "Pass the state in as an argument, or make the variable const."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            if node.kind != CursorKind.VAR_DECL or node.enclosing_function() is None:
                continue
            if node.cursor.storage_class == StorageClass.STATIC and not _is_const(node.cursor):
                yield self.at(node, f"{node.cursor.spelling} is static: pass the state in, or make it const")


class PointerToPointer(Rule):
    id = "pointer-to-pointer"
    rationale = "An address that is itself stored in a memory leads to no memory that is known when the circuit is built."
    remedy = "Pass the arrays themselves as arguments, or store an index instead of an address."

    def check(self, source: Source) -> Iterator[Finding]:
        for node in source.nodes:
            if node.kind in (CursorKind.VAR_DECL, CursorKind.PARM_DECL) and _points_to_pointer(node.cursor):
                yield self.at(node, f"{node.cursor.spelling} points to a pointer: pass the arrays themselves")
            elif node.kind == CursorKind.FIELD_DECL and _is_address(node.cursor.type):
                yield self.at(node, f"the member {node.cursor.spelling} is a pointer: pass it as an argument, or store an index")


class ArrayStorage(Rule):
    """Arrays of at most ``SMALL_BITS``, those declared within pipelined code and constants are left to the tool."""

    id = "array-storage"
    rationale = "Without a binding the tool chooses registers, LUTs or block RAM by rules of its own that change with its version."
    remedy = "Say where the array lies with #pragma HLS BIND_STORAGE, or partition it with ARRAY_PARTITION."

    def check(self, source: Source) -> Iterator[Finding]:
        for array in trace(source).arrays:
            if array.bits > SMALL_BITS and not array.storage.partitions:
                yield self.at(
                    array.storage.node,
                    f"{array.storage.name} holds {array.bits} bits: say where with #pragma HLS BIND_STORAGE "
                    f"variable={array.storage.name} type=... impl=..., or partition it",
                )


def _points_to_pointer(declaration: Cursor) -> bool:
    type_ = declaration.type.get_canonical()
    if type_.kind in (TypeKind.LVALUEREFERENCE, TypeKind.RVALUEREFERENCE):
        type_ = type_.get_pointee().get_canonical()
        return _is_address(type_)
    return type_.kind == TypeKind.POINTER and _is_address(type_.get_pointee())


def _is_address(type_: Type) -> bool:
    """Say whether a type is a pointer to data, or an array of them."""
    type_ = type_.get_canonical()
    while type_.kind in (TypeKind.CONSTANTARRAY, TypeKind.INCOMPLETEARRAY, TypeKind.DEPENDENTSIZEDARRAY):
        type_ = type_.element_type.get_canonical()
    functions = (TypeKind.FUNCTIONPROTO, TypeKind.FUNCTIONNOPROTO)
    return type_.kind == TypeKind.POINTER and type_.get_pointee().get_canonical().kind not in functions


def _library_target(node: Node, source: Source) -> Cursor | None:
    """Return the declaration of the C or C++ library that ``node`` uses, if it does."""
    uses = (CursorKind.DECL_REF_EXPR, CursorKind.TYPE_REF, CursorKind.TEMPLATE_REF, CursorKind.CALL_EXPR)
    if node.kind not in (*uses, CursorKind.MEMBER_REF_EXPR, CursorKind.OVERLOADED_DECL_REF):
        return None
    target = node.cursor.referenced
    return target if target is not None and source.is_system(target) else None


def _names_vendor(node: Node, source: Source) -> bool:
    """Say whether a use is the implicit string that names a variable of the tool's own type, such as a stream."""
    variable = next((around for around in node.ancestors() if around.kind == CursorKind.VAR_DECL), None)
    if variable is None or not source.text(node).startswith('"'):
        return False
    return source.is_vendor(variable.cursor.type.get_canonical().get_declaration())


def _allocates(declaration: Cursor) -> bool:
    return declaration.spelling in ALLOCATORS or declaration.semantic_parent.spelling in ALLOCATORS


def _qualified(declaration: Cursor) -> str:
    names = [declaration.spelling]
    scope = declaration.semantic_parent
    while scope is not None and scope.kind == CursorKind.NAMESPACE:
        if not scope.spelling.startswith("__"):
            names.insert(0, scope.spelling)
        scope = scope.semantic_parent
    return "::".join(names)


def _is_const(variable: Cursor) -> bool:
    type_ = variable.type.get_canonical()
    while type_.kind in (TypeKind.CONSTANTARRAY, TypeKind.DEPENDENTSIZEDARRAY) and not type_.is_const_qualified():
        type_ = type_.element_type
    return bool(type_.is_const_qualified())


RULES = (DynamicMemory(), VariableLengthArray(), StandardLibrary(), StaticLocal(), PointerToPointer(), ArrayStorage())
