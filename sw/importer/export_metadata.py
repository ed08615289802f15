"""What EdgeFlow's own exports say beside the standard quantizers.

The last node of a quantizer says in its ``metadata_props``, under ``edgeflow.exact``, which format it stands for: with the digits
that float32 lacks, the rounding, and what standard operators cannot say. Constants say what they were before they were rounded
(quant/formats/exact_constants.py). All that counts where the file still says the same as far as it goes; where another tool has
changed it, the file counts, and a warning tells.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array
from edgeflow.hw.graph import QType
from edgeflow.quant.formats.exact_constants import EXACT, decode_exact
from edgeflow.quant.formats.prequantized import read_entry
from edgeflow.sw.importer.constant_values import Constants

INDEX_BITS = 10  # of tables, in linear layers' epilogues and alone
Pair = tuple[Array, NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class More:
    """What a quantizer has beside its format (see :class:`edgeflow.sw.importer.quantizers.Quantizer`)."""

    offset: float
    index: QType | None
    inside: bool


class Notes:
    """The notes of one file; lines for the user go to ``warnings``."""

    def __init__(self, warnings: list[str]) -> None:
        self._warnings = warnings

    def constants(self, graph: ir.Graph, known: Constants) -> list[Pair]:
        """Constants with what they were before they were rounded."""
        pairs: list[Pair] = []
        for name, value in graph.initializers.items():
            text = value.metadata_props.get(EXACT)
            array = None if text is None else known.array(value)
            if text is None or array is None:
                continue
            exact = decode_exact(text, array)
            if exact is None:
                self._warnings.append(f"{name}: the constant was changed after EdgeFlow exported it; its present value is used")
            else:
                pairs.append((array, exact))
        return pairs

    def of(self, node: ir.Node) -> tuple[QType, Mapping[str, Any]] | None:
        """The format that the last node of a quantizer notes, and all of the note; None without one."""
        text = node.metadata_props.get(EXACT)
        if text is None:
            return None
        try:
            entry = json.loads(text)
            return read_entry(entry), entry
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            self._foreign(str(node.name))
            return None

    def more(self, name: str, entry: Mapping[str, Any]) -> More | None:
        """What a note says beside the format; None where that is not what EdgeFlow writes."""
        try:
            index = read_entry(entry["index"]) if "index" in entry else None
            if index is not None and not (index.signed and index.bits == INDEX_BITS and isinstance(index.scale, float)):
                raise ValueError("not the index of a table")
            return More(float(entry.get("offset", 0.0)), index, bool(entry.get("inside", False)))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            self._foreign(name)
            return None

    def agrees(self, node: ir.Node, exact: QType, standard: QType) -> bool:
        """Whether the format noted for an activation is that of the standard nodes as far as float32 goes."""
        if not exact.signed and standard.signed:
            exact = dataclasses.replace(exact, signed=True, zero_point=exact.zero_point - (1 << (exact.bits - 1)))
        return self._same(
            node,
            exact.scales.ndim >= standard.scales.ndim
            and _equal(exact.scales, standard.scales)
            and (exact.bits, exact.signed, exact.zero_point) == (standard.bits, standard.signed, standard.zero_point),
        )

    def fits(self, node: ir.Node, exact: QType, scale: Array, low: int, high: int) -> bool:
        """Whether the format noted for a constant is that of standard nodes with integers from ``low`` to ``high``."""
        return self._same(node, exact.minimum >= low and exact.maximum <= high and _equal(exact.scales, scale.reshape(-1)))

    def _same(self, node: ir.Node, same: bool) -> bool:
        if not same:
            self._warnings.append(f"{node.name}: the quantizer was changed after EdgeFlow exported it; it is used as it is now")
        return same

    def _foreign(self, name: str) -> None:
        self._warnings.append(f"{name}: the metadata {EXACT} is not what EdgeFlow wrote; the node itself is used")


def _equal(exact: Array, scales: Array) -> bool:
    """Whether scales, one or one for each channel, are the same in float32."""
    if exact.size > 1 and scales.size > 1 and exact.size != scales.size:
        return False
    return bool((exact.astype(np.float32) == scales.astype(np.float32)).all())
