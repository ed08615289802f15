"""The folder of an exploration. Nothing heavy is imported here: a folder that will not do is told before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from edgeflow.sw.files.replacement import check_room, check_target

POINTS = "points.jsonl"
"""The file that makes a folder one: a header, then a line for every point that is done."""


def check_folder(folder: Path) -> bool:
    """Whether a folder holds an exploration; OutputError if it holds something else, or cannot be made."""
    check_target(folder, POINTS, "an exploration")
    if not folder.exists():
        check_room(folder)
    return (folder / POINTS).is_file()
