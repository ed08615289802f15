"""Key masks and token ids among a canonical model's inputs, and what the values of a mask mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array
from edgeflow.quant.canonical.base import Role, operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.nodes import Use

Interval = tuple[float, float]

MASK = "edgeflow.mask"
"""Metadata key of an input: the values of a key mask as JSON, :meth:`MaskValues.document`."""
EXACT = float(1 << 53)  # integers up to which double precision has them all
_LARGEST = float(np.finfo(np.float64).max)
_LISTED = 6  # intervals that a message names
_SMALLEST = float(np.finfo(np.float64).smallest_subnormal)


@dataclass(frozen=True)
class MaskValues:
    """Closed intervals of the values with which a key takes part (``attend``) and with which it does not (``ignore``); the model
    does something else with all others."""

    attend: tuple[Interval, ...]
    ignore: tuple[Interval, ...]

    def attends(self, array: Array) -> NDArray[np.bool_]:
        """Where keys take part."""
        return within(array, self.attend)

    def accepts(self, array: Array) -> NDArray[np.bool_]:
        """Which values are those of a key mask."""
        return within(array, self.attend + self.ignore)

    def examples(self, intervals: tuple[Interval, ...], dtype: np.dtype[Any]) -> list[float]:
        """A few values of the type within intervals, 1 and 0 first where they are."""
        info = (False, True) if dtype.kind == "b" else np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(np.float16)
        least, most = (0.0, 1.0) if isinstance(info, tuple) else (max(float(info.min), -EXACT), min(float(info.max), EXACT))
        tried = (
            1.0,
            0.0,
            2.0,
            -1.0,
            0.5,
            0.25,
            0.75,
            3.0,
            7.0,
            1e-3,
            1e4,
            -1e4,
            *(end for interval in intervals for end in interval),
        )
        fitting = [min(max(value, least), most) for value in tried]
        fitting = [value for value in fitting if dtype.kind == "f" or value == int(value)]
        fitting = list(dict.fromkeys(fitting))
        return [value for value, inside in zip(fitting, within(np.array(fitting), intervals), strict=True) if inside]

    def usual(self, dtype: np.dtype[Any]) -> tuple[float, float]:
        """A value with which a key takes part and one with which it does not, 1 and 0 where these are such."""
        return self.examples(self.attend, dtype)[0], self.examples(self.ignore, dtype)[0]

    def corners(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Masks ``shape``: all keys, the first, the last, every other one, and draws of all values; each leaves a key."""
        on, off = self.examples(self.attend, dtype), self.examples(self.ignore, dtype)
        masks = np.full(shape, on[0], np.float64)
        if off:
            masks[1], masks[1, ..., 0] = off[0], on[0]
            masks[2], masks[2, ..., -1] = off[0], on[0]
            masks[3, ..., 1::2] = off[0]
            drawn = rng.choice(on + off, masks[4:].shape)
            drawn[..., 0] = rng.choice(on, drawn[..., 0].shape)
            masks[4:] = drawn
        return masks.astype(dtype)

    def __str__(self) -> str:
        attend = f"{_listed(self.attend)} for keys that take part"
        return f"{attend} and {_listed(self.ignore)} for those that do not" if self.ignore else f"{attend}, and no other value"

    def document(self) -> str:
        """The values as JSON."""
        return json.dumps({"attend": self.attend, "ignore": self.ignore})

    @staticmethod
    def read(text: str) -> MaskValues:
        """What :meth:`document` wrote."""
        entries = json.loads(text)
        return MaskValues(*(tuple((float(low), float(high)) for low, high in entries[key]) for key in ("attend", "ignore")))


NONZERO = MaskValues(((-_LARGEST, -_SMALLEST), (_SMALLEST, _LARGEST)), ((0.0, 0.0),))
"""Every value but 0 takes part."""


def within(array: Array, intervals: tuple[Interval, ...]) -> NDArray[np.bool_]:
    """Which values lie in any of the closed intervals."""
    values = np.asarray(array).astype(np.float64)
    if not intervals:
        return np.zeros(values.shape, np.bool_)
    low, high = np.array(sorted(intervals)).T
    place = np.searchsorted(low, values, side="right")
    return np.asarray((place > 0) & (values <= np.maximum.accumulate(high)[place - 1]))


def _listed(intervals: tuple[Interval, ...]) -> str:
    near = sorted(sorted(intervals, key=lambda interval: min(abs(end) for end in interval))[:_LISTED])
    text = ", ".join(f"{low:g}" if low == high else f"{low:g} to {high:g}" for low, high in near)
    return text + (f" ({len(intervals) - _LISTED} more)" if len(intervals) > _LISTED else "")


def attends_bounds(values: MaskValues) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Operands ``low (n,)`` and ``high (n,)`` of ``edgeflow::Attends``: ends of the intervals whose values take part."""
    ends = np.clip(np.array(values.attend, np.float64), np.finfo(np.float32).min, np.finfo(np.float32).max).astype(np.float32)
    return ends[:, 0], ends[:, 1]


def reads_mask(use: Use) -> bool:
    """Whether a node reads a key mask there."""
    return operator(use.node).operand(use.index).role in (Role.MASK, Role.RAW_MASK)


def mask_input(graph: FloatGraph, name: str) -> str:
    """The model input behind the mask that a node reads: itself, or what ``edgeflow::Attends`` reads."""
    maker = graph.operator(name)
    raw = None if maker is None else maker.raw_mask()
    return name if raw is None else raw


def valid_keys(graph: FloatGraph, name: str, arrays: Mapping[str, Array]) -> NDArray[np.bool_] | None:
    """Where the keys of a mask that a node reads take part ``(samples, keys)``; None where the mask is no input of the model."""
    source = mask_input(graph, name)
    value = next((value for value in graph.model.graph.inputs if value.name == source), None)
    return None if value is None or source not in arrays else mask_values(value).attends(arrays[source])


def keyless_samples(masks: Mapping[str, MaskValues], arrays: Mapping[str, Array]) -> NDArray[np.bool_]:
    """Which samples have a key mask of which no key takes part, ``(samples,)``. Softmax has no meaning there: a model that adds a
    large negative number to the scores attends to all keys alike, the integer network's attention gives zeros."""
    keyless = np.zeros(len(next(iter(arrays.values()))), np.bool_)
    for name, mask in masks.items():
        keyless |= ~mask.attends(arrays[name]).reshape(len(keyless), -1).any(axis=1)
    return keyless


def mask_values(value: ir.Value) -> MaskValues:
    """What the values of a mask input stand for."""
    text = value.metadata_props.get(MASK)
    return NONZERO if text is None else MaskValues.read(text)


def key_masks(graph: FloatGraph) -> Mapping[str, MaskValues]:
    """The inputs that are key masks."""
    masks = {}
    for value in graph.model.graph.inputs:
        uses = graph.uses_of(str(value.name))
        if uses and all(reads_mask(use) for use in uses):
            masks[str(value.name)] = mask_values(value)
    return masks


def vocabulary(graph: FloatGraph, name: str) -> int | None:
    """Rows of the smallest table that an input of token ids is looked up in; None for other inputs."""
    uses = graph.uses_of(name)
    readers = [operator(use.node) for use in uses]
    if not uses or any(reader.operand(use.index).role is not Role.IDS for reader, use in zip(readers, uses, strict=True)):
        return None
    tables = [rows for reader in readers if (rows := reader.table_rows()) is not None]
    return min(tables) if tables else None


def token_ids(graph: FloatGraph) -> Mapping[str, int]:
    """The inputs that are token ids, with the size of their vocabulary."""
    sizes = {name: vocabulary(graph, name) for name in graph.inputs}
    return {name: rows for name, rows in sizes.items() if rows is not None}
