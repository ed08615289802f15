"""The one place that imports libclang, so that its absence is one clear message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_int, c_longlong, c_uint, c_void_p
from functools import cache
from pathlib import Path

from edgeflow.hw.errors import ToolchainError
from edgeflow.hw.tools import run_tool

try:
    from clang import cindex
    from clang.cindex import Cursor, CursorKind, StorageClass, Type, TypeKind
except ImportError as error:
    raise ToolchainError("the HLS linter needs libclang, which is not installed: run pip install 'edgeflow[lint]'") from error

__all__ = [
    "Cursor",
    "CursorKind",
    "StorageClass",
    "Type",
    "TypeKind",
    "integer_value",
    "parse",
    "skipped_ranges",
    "template_of",
]  # fmt: skip


ENTRY_HEADERS = ("ap_int.h", "ap_fixed.h", "hls_stream.h")


class _SourceRangeList(Structure):
    _fields_ = (("count", c_uint), ("ranges", POINTER(cindex.SourceRange)))


@cache
def system_include() -> tuple[str, ...]:
    """Return g++'s own include folders: the libclang wheel has no C library headers.

    Raises:
        ToolchainError: g++ is not installed.
    """
    command = ["g++", "-E", "-v", "-x", "c++", "/dev/null"]
    done = run_tool(command, "the HLS linter needs its headers: install g++", seconds=60)
    listing = None if done.returncode else re.search(r"#include <\.\.\.>.*?\n(.*?)End of search list", done.stderr, re.DOTALL)
    if listing is None:
        raise ToolchainError("the HLS linter needs the headers of g++, which does not list its include folders")
    return tuple(line.strip() for line in listing.group(1).splitlines())


def parse(file: Path, arguments: list[str], vendor: Sequence[Path]) -> cindex.TranslationUnit:
    """Parse one C++14 source file with ``__SYNTHESIS__`` defined; ``vendor`` are the folders of the tool's own headers.

    Raises:
        ToolchainError: the file has a syntax error, or an include is missing.
    """
    system = [word for folder in system_include() for word in ("-isystem", folder)]
    command = ["-x", "c++", "-std=c++14", "-D__SYNTHESIS__", *arguments, "-nostdinc", "-nostdinc++", *system]
    options = cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD
    overlay = [pair for folder in vendor for pair in _simulated(folder)]
    try:
        unit = cindex.Index.create().parse(str(file), args=command, unsaved_files=overlay, options=options)
    except cindex.TranslationUnitLoadError as error:
        raise ToolchainError(f"{file}: libclang cannot read this file as C++14") from error
    for diagnostic in unit.diagnostics:
        if diagnostic.severity >= cindex.Diagnostic.Error:
            where = diagnostic.location
            raise ToolchainError(f"{where.file or file}:{where.line}: not valid C++14: {diagnostic.spelling}")
    return unit


def _simulated(folder: Path) -> list[tuple[str, str]]:
    """Return what to read instead of the headers of a folder that refuse ``__SYNTHESIS__``, as the open-source ones do."""
    common = folder / "ap_common.h"
    if not common.is_file() or not re.search(r"#ifdef __SYNTHESIS__\s+#error", common.read_text(errors="replace")):
        return []
    before = '#pragma push_macro("__SYNTHESIS__")\n#undef __SYNTHESIS__\n'
    after = '\n#pragma pop_macro("__SYNTHESIS__")\n'
    headers = [folder / name for name in ENTRY_HEADERS if (folder / name).is_file()]
    return [(str(header), before + header.read_text(errors="replace") + after) for header in headers]


def skipped_ranges(unit: cindex.TranslationUnit, file: Path) -> list[tuple[int, int]]:
    """Return the byte offsets of what the preprocessor left out of ``file``, such as ``#ifndef __SYNTHESIS__``."""
    library = cindex.conf.lib
    library.clang_getSkippedRanges.argtypes = [cindex.TranslationUnit, cindex.File]
    library.clang_getSkippedRanges.restype = POINTER(_SourceRangeList)
    library.clang_disposeSourceRangeList.argtypes = [POINTER(_SourceRangeList)]
    library.clang_disposeSourceRangeList.restype = None
    skipped = library.clang_getSkippedRanges(unit, cindex.File.from_name(unit, str(file)))
    ranges = [skipped.contents.ranges[i] for i in range(skipped.contents.count)]
    offsets = [(one.start.offset, one.end.offset) for one in ranges]
    library.clang_disposeSourceRangeList(skipped)
    return offsets


def template_of(function: Cursor) -> Cursor:
    """Return the template that ``function`` is an instance of, or ``function`` itself."""
    template = cindex.conf.lib.clang_getSpecializedCursorTemplate(function)
    return function if template is None else template


def integer_value(expression: Cursor) -> int | None:
    """Return what the compiler evaluates an integer expression to, or None."""
    library = cindex.conf.lib
    library.clang_Cursor_Evaluate.argtypes = [Cursor]
    library.clang_Cursor_Evaluate.restype = c_void_p
    library.clang_EvalResult_getKind.argtypes = [c_void_p]
    library.clang_EvalResult_getKind.restype = c_int
    library.clang_EvalResult_getAsLongLong.argtypes = [c_void_p]
    library.clang_EvalResult_getAsLongLong.restype = c_longlong
    library.clang_EvalResult_dispose.argtypes = [c_void_p]
    result = library.clang_Cursor_Evaluate(expression)
    if result is None:
        return None
    integer_kind = 1
    is_integer = library.clang_EvalResult_getKind(result) == integer_kind
    value = int(library.clang_EvalResult_getAsLongLong(result)) if is_integer else None
    library.clang_EvalResult_dispose(result)
    return value
