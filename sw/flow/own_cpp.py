"""The C++ that is compiled and run for a build: always what this installation emits for its program, never what the folder holds.

C++ is code that runs with the user's rights, and a build may come from anywhere. So it is emitted again from the program and its
overlay, which are data, and compared with what the manifest says of the folder's own.
"""

from __future__ import annotations

import hashlib
from importlib import metadata

from edgeflow.hw.errors import InputError
from edgeflow.sw.compiler.codegen import overlay_files
from edgeflow.sw.files.build import Build

_OURS = "hls/"


def own_cpp(build: Build) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The C++ of a build by its paths below ``hls/``, and a line, for the user, where another version wrote the folder's own.

    InputError where this version wrote it, but would not write the same: something else than what lies there would be proven.
    """
    emitted = overlay_files(build.program.architecture)
    digests = build.snapshot.digests
    stated = {name: digests[name] for name in digests if name.startswith(_OURS) and name.endswith((".cpp", ".hpp", ".h"))}
    expected = {f"{_OURS}{name}": hashlib.sha256(content).hexdigest() for name, content in emitted.items()}
    names = sorted(stated.keys() | expected.keys())
    other = [name for name in names if stated.get(name) != expected.get(name)]
    if not other:
        return emitted, ()
    ours, theirs = metadata.version("edgeflow"), build.manifest.get("edgeflow")
    if theirs == ours:
        raise InputError(
            f"build {build.folder}: {other[0]} is not the C++ that EdgeFlow {ours} emits for this program, and C++ that a build"
            " brings is not run: compile the model again"
        )
    line = (
        f"build {build.folder} holds C++ of EdgeFlow {theirs}; what ran is the C++ that this version, {ours}, emits for the same"
        " program and overlay"
    )
    return emitted, (line,)
