"""What is odd about calibration data: a sample far from the others, constant or vanishing inputs, too few samples.

A range covers the largest value seen. One sample that reaches far beyond all others (a wrong unit, a damaged record) takes the
integers' resolution from them: at 1000 times the others nothing is left. The pipeline leaves such a sample out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import distinct
from edgeflow.quant.canonical.masks import reads_mask, vocabulary
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.formats.ranges import TINY

ENOUGH = 64  # distinct samples: ranges from fewer are guesses
FAR = 16.0  # times the largest value of the others; ranges that cover a sample 30 times as large cost the others 3 to 8 dB
FEWEST = 8  # samples, of which one can be told to be the odd one
APART = 100.0  # times the largest value of the rest: no precision is left to it, however many samples reach as far
LISTED = 8  # samples that a warning names
PART = 20  # at most one sample in so many (but one) is odd: more of them are a kind of their own


def real_inputs(graph: FloatGraph) -> tuple[str, ...]:
    """The inputs whose values have a range: neither token ids nor key masks."""
    return tuple(
        name for name in graph.inputs if vocabulary(graph, name) is None and not any(reads_mask(use) for use in graph.uses_of(name))
    )


@dataclass(frozen=True)
class Far:
    """Samples (their numbers, from 0) whose values in an input lie far beyond all others': they reach ``reach``, the others
    ``rest``. ``certain``: there are enough samples to tell which of them are odd."""

    name: str
    samples: tuple[int, ...]
    reach: float
    rest: float
    certain: bool

    def warning(self, what: str, left_out: bool) -> str:
        """A line for the user about the data ``what``."""
        listed = ", ".join(map(str, self.samples[:LISTED])) + (", ..." if len(self.samples) > LISTED else "")
        numbers = f"sample{'s' if len(self.samples) > 1 else ''} {listed} (counted from 0{self._of()})"
        line = f"{what}: input {self.name!r} reaches {self.reach:.4g} in {numbers}, {self.rest:.4g} in the others"
        if left_out:
            return f"{line}: left out of calibration and accuracy; if such samples are real, give more of them"
        return f"{line}: ranges that cover both leave little precision to the others; check the data"

    def _of(self) -> str:
        return f", {len(self.samples)} in all" if len(self.samples) > LISTED else ""


def far_samples(arrays: Mapping[str, Array], names: tuple[str, ...]) -> list[Far]:
    """The samples that lie far from the others in one of the inputs ``names``."""
    far = []
    for name in names:
        reach = np.abs(arrays[name].reshape(len(arrays[name]), -1).astype(np.float64)).max(axis=1)
        order = np.argsort(-reach, kind="stable")
        outliers = _outliers(reach[order])
        count = outliers or _apart(reach[order])
        if count:
            numbers = tuple(sorted(order[:count].tolist()))
            far.append(Far(name, numbers, float(reach.max()), float(reach[order[count]]), bool(outliers) and len(reach) >= FEWEST))
    return far


def _outliers(reach: NDArray[np.float64]) -> int:
    """How many of the samples, sorted by their largest absolute value, lie far beyond the others."""
    for count in range(1, max(1, len(reach) // PART) + 1):
        if count < len(reach) and reach[count] > TINY and reach[count - 1] > FAR * reach[count]:
            return count
    return 0


def _apart(reach: NDArray[np.float64]) -> int:
    """How many of the samples, sorted by their largest absolute value, are of another kind than the rest, far beyond it."""
    seen = reach[reach > TINY]
    ratios = seen[:-1] / seen[1:]
    return int(ratios.argmax()) + 1 if len(ratios) and ratios.max() > APART else 0


def guesses(arrays: Mapping[str, Array], names: tuple[str, ...], what: str, left_out: int = 0) -> list[str]:
    """Why ranges that the samples set are guesses, a line each; ``names`` are the inputs whose values have a range, ``left_out``
    further samples were left out."""
    groups = distinct(arrays)
    samples, count = len(groups), int(groups.max()) + 1
    reasons = []
    advice = f"give {ENOUGH} or more different real samples"
    if samples == 1:
        reasons.append(f"{what}: there is one sample, and every range is a guess; {advice}")
    elif count == 1:
        reasons.append(f"{what}: all {samples} samples are equal, as good as one, and every range is a guess; {advice}")
    elif count + left_out < ENOUGH:
        different = f" ({count} different ones)" if count < samples else ""
        reasons.append(f"{what}: ranges from {samples} samples{different} are guesses; {advice}")
    for name in names:
        array = arrays[name]
        low, high = float(array.min()), float(array.max())
        largest = max(abs(low), abs(high))
        if low == high:
            reasons.append(f"{what}: every value of input {name!r} is {low:g}; check the data")
        elif largest <= TINY:
            reasons.append(
                f"{what}: no value of input {name!r} exceeds {largest:.1e}, which counts as zero; check how it is scaled"
            )
        elif count > 1 and (array == array[:1]).all():
            reasons.append(f"{what}: input {name!r} is the same in all {samples} samples; its ranges are guesses")
    return reasons


def with_warnings(model: ir.Model, arrays: Mapping[str, Array], what: str, quantized: Quantized) -> Quantized:
    """The network with warnings about the data, of which every sample has set its numbers."""
    names = real_inputs(FloatGraph(model))
    warnings = [far.warning(what, left_out=False) for far in far_samples(arrays, names)]
    if any(line.method != "given" for line in quantized.ranges.values()):
        warnings += guesses(arrays, names, what)
    return replace(quantized, warnings=(*warnings, *quantized.warnings))
