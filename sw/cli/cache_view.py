"""``edgeflow cache``: what the user's cache folder holds, its limit, and clearing it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgeflow.hw import cache
from edgeflow.hw.errors import InputError, OutputError
from edgeflow.sw.cli.console import facts

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_MOST = 1e18
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", re.IGNORECASE)


def bytes_of(text: str) -> int:
    """The bytes that a size such as 500MB or 2GB stands for; InputError where it is none."""
    match = _SIZE.fullmatch(text.strip())
    size = None if match is None else float(match[1]) * _UNITS[match[2].upper()]
    if size is None or size >= _MOST:
        raise InputError(f"option --limit {text!r} must be a size, such as 500MB or 2GB")
    return int(size)


def manage(limit: str | None, clear: bool) -> dict[str, Any]:
    """Set the limit, clear the cache, and describe it; OutputError where it cannot be changed."""
    size = None if limit is None else bytes_of(limit)
    try:
        if size is not None:
            cache.set_limit(size)
        if clear:
            cache.clear()
    except OSError as error:
        raise OutputError(f"cache {cache.root()} cannot be changed: {error.strerror or error}; set EDGEFLOW_CACHE") from error
    used = cache.usage()
    return {
        "folder": cache.root(),
        "limit_bytes": cache.limit(),
        "bytes": sum(part.bytes for part in used),
        "parts": [{"name": part.part, "holds": cache.PARTS[part.part], "files": part.files, "bytes": part.bytes} for part in used],
    }


def draw(out: RichConsole, document: dict[str, Any]) -> None:
    """One line for each part."""
    rows = [("folder", str(document["folder"] or "none: this user has no home folder"))]
    rows += [(part["holds"], f"{_megabytes(part['bytes'])}, {part['files']} files") for part in document["parts"]]
    rows.append(("together", f"{_megabytes(document['bytes'])} of {_megabytes(document['limit_bytes'])}"))
    facts(out, rows)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
