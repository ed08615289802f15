"""A synthesizability linter for HLS C++14: what Vitis HLS cannot build, or would silently ignore.

The syntax tree comes from libclang, so the rules see what the compiler sees.  Code inside ``#ifndef __SYNTHESIS__``
is not looked at, nor are the C++ library and the tool vendor's own headers.  libclang is imported by the first call.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import edgeflow.hw
from edgeflow.hw.errors import InputError
from edgeflow.hw.lint.finding import Finding

__all__ = ["Finding", "lint", "lint_project"]

TOP = "edgeflow_top"
COMPONENTS = "components"  # the folder with a top function for each process


def lint(
    files: Sequence[Path], include: Sequence[Path], defines: Sequence[str] = (), top: str | Collection[str] = TOP
) -> list[Finding]:
    """Return what breaks a rule in ``files`` and in the headers of ours that they include, by file and line.

    Args:
        files: the C++ files that synthesis compiles.
        include: the include folders; one of them must hold an ``ap_int.h`` if the code includes it.
        defines: macros as ``NAME`` or ``NAME=VALUE``; ``__SYNTHESIS__`` is always defined.
        top: the name of the function that synthesis starts from, or several, each synthesized by itself; only they may have
            INTERFACE pragmas.

    Raises:
        InputError: a file does not exist.
        ToolchainError: a file is not valid C++14, an include is missing, or libclang or g++ is not installed.
    """
    from edgeflow.hw.lint.linter import run

    return run(files, include, defines, (top,) if isinstance(top, str) else top)


def lint_project(folder: Path) -> list[Finding]:
    """Return what breaks a rule in the HLS project in ``folder``, as ``compile`` emits it, headers included.

    Where it has components, these are looked at together.

    Raises:
        InputError: the folder does not exist or has no ``edgeflow_top.cpp`` and no components.
        ToolchainError: as for :func:`lint`.
    """
    top = folder / f"{TOP}.cpp"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder: give a build that edgeflow compile wrote, or its hls folder")
    own = Path(edgeflow.hw.__file__).resolve().parent / "include"
    include = [folder, folder / "include", own / "edgeflow" / "native", own / "edgeflow" / "simulation", own]
    if top.is_file():
        return lint([top], include)
    components = sorted((folder / COMPONENTS).glob("*.cpp"))
    if not components:
        raise InputError(f"{folder} has no {top.name}: give a build that edgeflow compile wrote, or its hls folder")
    with TemporaryDirectory(prefix="edgeflow-lint-") as work:
        everything = Path(work) / "components.cpp"
        everything.write_text("".join(f'#include "{COMPONENTS}/{file.name}"\n' for file in components))
        return lint([everything], include, top=[f"edgeflow_{file.stem}" for file in components])
