"""The one version of everything that a build folder holds: manifest, report, integer graph, program, overlay, run file.

It rises when a file of a build changes its meaning; a build of another version is compiled again.
"""

from __future__ import annotations

from typing import Final

from edgeflow.hw.errors import InputError

FORMAT: Final = 6


def check_format(version: object, what: object) -> None:
    """InputError where ``what`` has another version than this EdgeFlow reads."""
    if version != FORMAT:
        named = "no format version" if version is None else f"format {version}"
        raise InputError(f"{what} has {named}, this EdgeFlow reads {FORMAT}: compile the model again")
