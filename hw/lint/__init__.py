"""A synthesizability linter for HLS C++14: what Vitis HLS cannot build, or would silently ignore.

The syntax tree comes from libclang, so the rules see what the compiler sees.  Code inside ``#ifndef __SYNTHESIS__``
is not looked at, nor are the C++ library and the tool vendor's own headers.  libclang is imported by the first call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import edgeflow.hw
from edgeflow.hw.errors import InputError
from edgeflow.hw.lint.finding import Finding

__all__ = ["Finding", "lint", "lint_project"]

TOP = "edgeflow_top"


def lint(files: Sequence[Path], include: Sequence[Path], defines: Sequence[str] = (), top: str = TOP) -> list[Finding]:
    """Return what breaks a rule in ``files`` and in the headers of ours that they include, by file and line.

    Args:
        files: the C++ files that synthesis compiles.
        include: the include folders; one of them must hold an ``ap_int.h`` if the code includes it.
        defines: macros as ``NAME`` or ``NAME=VALUE``; ``__SYNTHESIS__`` is always defined.
        top: the name of the function that synthesis starts from; only it may have INTERFACE pragmas.

    Raises:
        InputError: a file does not exist.
        ToolchainError: a file is not valid C++14, an include is missing, or libclang or g++ is not installed.
    """
    from edgeflow.hw.lint.linter import run

    return run(files, include, defines, top)


def lint_project(folder: Path) -> list[Finding]:
    """Return what breaks a rule in the HLS project in ``folder``, as ``compile`` emits it, headers included.

    Raises:
        InputError: the folder does not exist or has no ``edgeflow_top.cpp``.
        ToolchainError: as for :func:`lint`.
    """
    top = folder / f"{TOP}.cpp"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a build that edgeflow compile wrote, or its hls folder")
    if not top.is_file():
        raise InputError(f"{folder} has no {top.name}: give a build that edgeflow compile wrote, or its hls folder")
    own = Path(edgeflow.hw.__file__).resolve().parent / "include"
    return lint([top], [folder, folder / "include", own / "edgeflow" / "native", own / "edgeflow" / "simulation", own])
