"""Finished steps of compilations in the user's cache folder, so that a compilation goes on where one like it stopped.

A step is found again by its key: the SHA-256 of EdgeFlow's version and sources, of the kind of processor, and of everything that
the step and those before it read of what the user asked for, the contents of the model and the data included. What it made is
pickled into one file (the cache is the user's alone, ``hw/cache.py``).
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from pydantic import BaseModel

from edgeflow.hw import cache
from edgeflow.hw.host import instruction_set
from edgeflow.hw.ops import instruction_layouts
from edgeflow.hw.ops.base import InstructionLayout
from edgeflow.sw.importer.model_sources import ModelFile
from edgeflow.sw.measure.samples import UserData

SUFFIX = ".pickle"
MODEL = "float_model"
"""What stands in a pickle for the canonical float model, which every compilation imports itself."""
LAYOUT = "instruction "


@dataclass(frozen=True)
class Finished:
    """What a step left: the attributes of the state that it makes, files of the build folder by their names in it, and seconds."""

    products: Mapping[str, Any]
    files: Mapping[str, bytes]
    seconds: float


def next_key(before: str, name: str, read: Mapping[str, str]) -> str:
    """The key of a step after the one with the key ``before``; ``read`` holds the fingerprints of what it reads of the request."""
    texts = [_code(), before, name, *(f"{field}={text}" for field, text in sorted(read.items()))]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def fingerprint(value: Any) -> str:
    """A text that is the same for equal parts of a request, whatever files or arrays they come from."""
    if isinstance(value, ModelFile):
        return " ".join(value.digests)
    if isinstance(value, UserData):
        digest = hashlib.sha256()
        labels = {} if value.labels is None else {"labels of the samples": value.labels}
        for name, array in sorted({**value.arrays, **labels}.items()):
            array = np.ascontiguousarray(array)
            digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
            digest.update(array.reshape(-1).view(np.uint8).data)
        return digest.hexdigest()
    if isinstance(value, BaseModel):
        return value.model_dump_json()
    if isinstance(value, Mapping):
        return json.dumps(dict(value), sort_keys=True)
    return repr(value)


def store(key: str, finished: Finished, model: ir.Model) -> None:
    """Keep what a step left, in place of what an equal one left before; a cache that cannot be written keeps nothing."""
    cache.remove("steps", key)
    cache.store("steps", key, SUFFIX, lambda file: _Pickler(file, model).dump(finished))


def load(key: str, model: ir.Model) -> Finished | None:
    """What a step left, None where that is not kept, or damaged."""
    kept = cache.load("steps", key, SUFFIX)
    if kept is None:
        return None
    try:
        finished = _Unpickler(io.BytesIO(kept[1]), model).load()
    except (EOFError, ValueError, pickle.UnpicklingError, AttributeError, ImportError):
        return None
    return finished if isinstance(finished, Finished) else None


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, model: ir.Model) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.model = model

    def persistent_id(self, item: Any) -> str | None:
        if isinstance(item, InstructionLayout):  # there is one of each, and programs are asked for it
            return f"{LAYOUT}{item.opcode}"
        return MODEL if item is self.model else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, model: ir.Model) -> None:
        super().__init__(file)
        self.model = model

    def persistent_load(self, name: Any) -> ir.Model | InstructionLayout:
        known: dict[str, ir.Model | InstructionLayout] = {f"{LAYOUT}{layout.opcode}": layout for layout in instruction_layouts()}
        known[MODEL] = self.model
        if name not in known:
            raise pickle.UnpicklingError(f"unknown object {name!r}")
        return known[name]


@functools.cache
def _code() -> str:
    """EdgeFlow's version, and its sources as they lie there: a step made by other code is another step."""
    root = Path(__file__).parents[2]
    files: Iterable[Path] = (file for room in ("hw", "quant", "sim", "sw") for file in sorted((root / room).rglob("*.py")))
    facts = [f"{file.relative_to(root)} {(status := file.stat()).st_size} {status.st_mtime_ns}" for file in files]
    return f"{metadata.version('edgeflow')} {instruction_set()} {hashlib.sha256(' '.join(facts).encode()).hexdigest()}"
