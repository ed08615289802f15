"""Pages from templates: everything that comes from models is escaped, and characters that a page cannot show are written out."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2

FOLDER = Path(__file__).resolve().parent


def page(template: str, filters: Mapping[str, Any], **values: Any) -> str:
    """A template of this folder, filled in; it refers to nothing outside itself. ``filters``: functions by their names there."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=jinja2.select_autoescape(("j2",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= filters
    style = (FOLDER / "report.css").read_text()
    return "".join(map(_shown, environment.get_template(template).render(style=style, **values)))


def _shown(character: str) -> str:
    """A character as it is, or its number where it is a control character: names in models come from strangers."""
    hidden = character not in "\n\t" and unicodedata.category(character) == "Cc"
    return f"\\x{ord(character):02x}" if hidden else character
