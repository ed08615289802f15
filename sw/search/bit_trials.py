"""Allocations of bits, quantized as the build will be and measured on samples that set none of their numbers.

A sensitivity predicts what bits cost; what counts is what they do cost. So the allocations that keep a budget, with those of the
same bits in every layer among them, are tried, and the most accurate is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.arrays import Arrays
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.quant.techniques.hawq.layers import layers_config
from edgeflow.sim.executor import Executor
from edgeflow.sw.measure.accuracy import agreement, float_outputs

Origin = Literal["held_out", "validation", "calibration"]

MEASURED = 64  # samples that allocations are measured on, at most
SPLIT = 4  # one in so many calibration samples is kept for that where none were held out

WHERE: Mapping[Origin, str] = {
    "held_out": "held-out samples",
    "validation": "calibration samples, kept from the trials' ranges and rounding",
    "calibration": "calibration samples, which set ranges and rounding, too: there are no others",
}


@dataclass(frozen=True)
class Candidate:
    """An allocation that keeps the limits, with its ``costs`` by name; the accelerator that a latency limit was kept on."""

    name: str
    bits: Mapping[str, LayerBits]
    costs: Mapping[str, float]
    architecture: Architecture | None = None


@dataclass(frozen=True)
class Trial:
    """A candidate with the SQNR in dB of its worst output."""

    candidate: Candidate
    sqnr_db: float


class Measurement:
    """The accuracy of a model by its quantization, on ``samples`` samples from ``origin``."""

    def __init__(self, model: ir.Model, data: Arrays, held_out: Arrays | None, progress: Progress | None = None) -> None:
        """``data`` are checked calibration arrays, ``held_out`` samples beside them; without, some of ``data`` are kept for it."""
        self._model, self._progress = model, progress
        total = len(next(iter(data.values())))
        self.origin: Origin = "held_out" if held_out is not None else "validation" if total >= SPLIT else "calibration"
        self._data, test = data, data
        if held_out is not None:
            test = held_out
        elif self.origin == "validation":
            test = {name: array[SPLIT - 1 :: SPLIT] for name, array in data.items()}
            kept = [i for i in range(total) if i % SPLIT != SPLIT - 1]
            self._data = {name: array[kept] for name, array in data.items()}
        self._test = {name: array[:MEASURED] for name, array in test.items()}
        self.samples = len(next(iter(self._test.values())))
        self._expected = float_outputs(model, self._test)

    def where(self) -> str:
        """What it is measured on."""
        return f"{self.samples} {WHERE[self.origin]}"

    def sqnr(self, config: QuantizationConfig) -> float:
        """SQNR in dB of the worst output of the model quantized with these options."""
        plain = config.model_copy(update={"ablation": False, "selection_work": 0.0})
        return self.sqnr_of(quantize(self._model, self._data, plain, self._progress))

    def sqnr_of(self, quantized: Quantized) -> float:
        """The same of a model that is quantized already."""
        graph = quantized.graph
        actual = decode_outputs(graph, Executor(graph).run(encode_inputs(graph, self._test)))
        values = agreement(self._model, self._test, self._expected, actual).sqnr_db.values()
        return min((value for value in values if not math.isnan(value)), default=math.nan)


def tried(
    candidates: Sequence[Candidate], config: QuantizationConfig, measurement: Measurement, progress: Progress | None = None
) -> list[Trial]:
    """Every candidate measured, in their order; equal bits once."""
    known: dict[tuple[LayerBits, ...], float] = {}
    trials = []
    for number, candidate in enumerate(candidates):
        key = tuple(candidate.bits.values())
        if key not in known:
            known[key] = measurement.sqnr(layers_config(config, candidate.bits))
        trials.append(Trial(candidate, known[key]))
        if progress is not None:
            progress("try allocations", number + 1, len(candidates))
    return trials


def best(trials: Sequence[Trial]) -> Trial:
    """The most accurate trial; of equal ones the cheapest, then the first. No other trial costs as little and is as accurate."""

    def rank(trial: Trial) -> tuple[float, tuple[float, ...]]:
        error = math.inf if math.isnan(trial.sqnr_db) else -trial.sqnr_db
        return error, tuple(trial.candidate.costs.values())

    return min(trials, key=rank)


def decision(taken: Trial, trials: Sequence[Trial], asked: str, where: str) -> str:
    """One line that says which allocation was taken, and how the others did. ``asked``: the name of the user's method. Of
    several allocations with one name, on different accelerators, the line names the best."""
    rivals: dict[str, Trial] = {}
    for trial in sorted(trials, key=lambda trial: -trial.sqnr_db if math.isfinite(trial.sqnr_db) else math.inf):
        if trial.candidate.name != taken.candidate.name:
            rivals.setdefault(trial.candidate.name, trial)
    others = ", ".join(f"{_titled(name)} {_decibel(trial.sqnr_db)}" for name, trial in rivals.items())
    instead = "" if taken.candidate.name == asked else f" instead of {_titled(asked)}'s"
    return f"{_titled(taken.candidate.name)} taken{instead}: {_decibel(taken.sqnr_db)} on {where}" + (
        f" ({others})" if others else ""
    )


def _titled(name: str) -> str:
    return name.upper() if name in ("hawq", "fit") else name


def _decibel(value: float) -> str:
    return f"{value:.2f} dB" if math.isfinite(value) else "exact" if value == math.inf else "no signal"
