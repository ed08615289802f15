"""Reading an existing overlay, to compile for it without changing it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import ValidationError

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.errors import InputError
from edgeflow.hw.field_widths import check_addressable
from edgeflow.hw.format_version import check_format
from edgeflow.hw.program import overlay_document
from edgeflow.sw.files.presence import check_no_device, missing_overlay


def read_overlay(overlay: str | os.PathLike[str] | Architecture) -> Architecture:
    """The accelerator that an ``overlay.json`` describes; InputError if the file is none or has instructions of another version."""
    if isinstance(overlay, Architecture):
        return overlay
    path = Path(overlay)
    check_no_device(path, "overlay ")
    try:
        document = json.loads(path.read_text())
        version, architecture = document["version"], Architecture(**document["architecture"])
    except FileNotFoundError as error:
        raise missing_overlay(path) from error
    except OSError as error:
        raise InputError(f"overlay {path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, ValidationError, RecursionError) as error:
        raise InputError(f"{path} is not an EdgeFlow overlay: give the overlay.json of a build") from error
    check_format(version, f"overlay {path}")
    check_addressable(architecture, f"overlay {path}")
    if json.loads(json.dumps(overlay_document(architecture))) != document:
        raise InputError(f"overlay {path} has instructions of another EdgeFlow version: compile it again")
    return architecture
