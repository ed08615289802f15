"""Which techniques of quantization a network keeps, and where: those without which its output error is not smaller.

Every technique lowers an error that is cheap to compute (of one tensor, of one layer), and nothing says that the network's output
follows. So the output's error, float against integer network, is measured on calibration samples that a network was not fitted to:
every trial is two networks, each compared on samples of its own and fitted to all others. First every technique is left out of the
whole network, and all of them together. One that does not clearly help is then left out or put back site by site, greedily, in the
order of the network; where the trials do not suffice for single sites, for groups of neighbours.

A change counts where the error falls by at least two percent and, sample by sample, by more than chance explains: the mean
logarithm of the ratio lies two and a half standard errors below 0.

The effort is bounded by an estimate of the work, in multiply-accumulates, and not by a clock: every machine tries the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edgeflow.hw.arrays import Arrays, Real
from edgeflow.hw.errors import UnsupportedError, VerificationError
from edgeflow.hw.ops import operator
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.convert.conversion import Quantized, convert
from edgeflow.quant.convert.observe import observe, valid_tokens
from edgeflow.quant.convert.widths import Widths
from edgeflow.quant.formats.config import TECHNIQUES, QuantizationConfig
from edgeflow.quant.formats.interpretation import Demand
from edgeflow.quant.formats.prequantized import given_format
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.nodes import output_name
from edgeflow.quant.techniques.decisions import Decision, Selection, joined
from edgeflow.sim.executor import Executor

LEAST, MOST = 4, 48  # samples that one network is compared on
REPLAYED = 128  # samples at most that rounding is compensated on in a trial
COMPENSATED_BUDGET = 2  # times the work, where rounding is compensated: the conversion itself takes longer, too
SAMPLES = 32  # of calibration data at least
TRIALS = 16  # that the work should suffice for before networks are compared on more samples than the least
TRIAL_VALUES = 1 << 14  # of each tensor for the range search of a trial
VALUE_WORK = 5500  # multiply-accumulates that take as long as what conversion does for one of these values
COMPENSATION_WORK = 5  # times those of the network, for every sample that rounding is compensated on
TINY = 1e-30  # of an error: none
STANDARD_ERRORS = 2.5
SMALLEST_GAIN = 0.02  # of the error

# Those that hurt most often first: the work may not suffice for all. The allowance of ranges is not among them: it is for values so
# rare that the samples that are compared on hold few of them.
ORDER = (
    "equalization",
    "clipped ranges",
    "bias correction",
    "one-sided formats",
    "weight scales per channel",
    "compensated rounding",
    "input correction",
)
COMPENSATION = ("compensated rounding", "input correction")
FORMATS = ("equalization", "one-sided formats", "clipped ranges")


def select(
    graph: FloatGraph, arrays: Arrays, config: QuantizationConfig, progress: Progress | None = None
) -> tuple[Selection | None, str]:
    """Choose techniques for a canonical model on checked calibration ``arrays``, and say why not where that was not possible."""
    samples = len(next(iter(arrays.values())))
    if samples < SAMPLES:
        return None, f"techniques were not chosen by the output's error: that takes {SAMPLES} calibration samples, not {samples}"
    trials = _Trials(graph, arrays, config, samples)
    if trials.allowed < 3:
        return None, (
            f"techniques were not chosen by the output's error: one trial takes {trials.work / 1e9:.0f} billion"
            f" multiply-accumulates; raise selection_work to {3 * trials.work / 1e9:.0f} or more"
        )
    return _Search(trials, progress).run(), ""


class _Trials:
    """Networks fitted to one part of the samples and compared on another; counts them."""

    def __init__(self, graph: FloatGraph, arrays: Arrays, config: QuantizationConfig, samples: int) -> None:
        self.graph = graph
        self.config = config.model_copy(
            update={"sample_values": min(TRIAL_VALUES, config.sample_values), "ablation": False, "selection_work": 0.0}
        )
        widths = Widths(graph, config)
        self.layers = [node for node in graph.layers() if given_format(node, 1) is None]
        self.compensated = [node for node in self.layers if widths.compensated(node)]
        one = observe(graph, {name: array[:1] for name, array in arrays.items()}, self.config)
        macs = _macs(graph, one, self.config)
        budget = config.selection_work * 1e9 * (COMPENSATED_BUDGET if self.compensated else 1)
        size = int(max(LEAST, min(MOST, samples // 4, budget / (2 * TRIALS) / max(macs, 1))))
        order = np.random.default_rng(config.seed).permutation(samples)
        parts = [order[:size], order[size : 2 * size]]
        self.compared = [{name: array[np.sort(part)] for name, array in arrays.items()} for part in parts]
        self.fitted = [{name: np.delete(array, part, axis=0) for name, array in arrays.items()} for part in parts]
        self.samples = 2 * size
        self.replays_all = samples - size <= REPLAYED
        rows = sum(min(s.count * (samples - size) * len(s.mean), TRIAL_VALUES) for s in one.values())
        replayed = min(REPLAYED, samples - size) if self.compensated else 0
        self.work = 2 * (macs * (size + COMPENSATION_WORK * replayed) + VALUE_WORK * rows)
        self.allowed = int(budget // self.work)
        self.done = 0

    def start(self) -> None:
        """Observe what the networks are fitted to, and run the float model on what they are compared on."""
        session = FloatSession(self.graph.model, self.graph.outputs)
        self._statistics = [observe(self.graph, arrays, self.config) for arrays in self.fitted]
        self._expected = [session.run(arrays) for arrays in self.compared]

    def run(self, **options: Any) -> tuple[Quantized | None, Real]:
        """One of the two networks with other options, and each compared sample's squared error as a share of the mean power, the
        mean over all outputs; infinite where the accelerator does not have the network."""
        self.done += 1
        without = joined(self.config.without, options.pop("without", {}))
        config = self.config.model_copy(update={**options, "without": without})
        found: list[Real] = []
        try:
            with threadpool_limits(limits=1, user_api="blas"):  # many small products: threads would wait for each other
                for i, arrays in enumerate(self.fitted):
                    few = {name: array[:REPLAYED] for name, array in arrays.items()}
                    made = convert(self.graph, self._statistics[i], few, config)
                    found.append(self._compare(made, i))
        except (UnsupportedError, VerificationError):
            return None, np.full(self.samples, np.inf)
        return made, np.concatenate(found)

    def _compare(self, made: Quantized, i: int) -> Real:
        arrays = self.compared[i]
        found = decode_outputs(made.graph, Executor(made.graph).run(encode_inputs(made.graph, arrays)))
        valid = valid_tokens(self.graph, arrays)
        errors = [_errors(expected, found[name], valid) for name, expected in self._expected[i].items()]
        return np.asarray(np.mean(errors, axis=0), dtype=np.float64)


@dataclass
class _Search:
    """The greedy search."""

    trials: _Trials
    progress: Progress | None
    errors: Real = field(init=False)
    without: dict[str, frozenset[str]] = field(default_factory=dict)

    def run(self) -> Selection:
        """Try techniques as a whole, then by site."""
        trials = self.trials
        trials.start()
        whole, everything = trials.run()
        self.errors = everything
        if whole is None:
            raise UnsupportedError("the accelerator has no form of this network")  # convert says why, when it is asked again
        active = self._active()
        _, nothing = self._try({key: value for name in active for key, value in TECHNIQUES[name].items()})
        alone: dict[str, Real] = {}
        sites: dict[str, tuple[str, ...]] = {}
        for name in active[: trials.allowed - trials.done]:
            made, alone[name] = self._try(TECHNIQUES[name])
            sites[name] = self._sites(name, whole, made)
        gains = {name: _decibel(everything) - _decibel(errors) for name, errors in alone.items()}
        weak = sorted(
            (name for name in alone if sites[name] and not _better(everything, alone[name])), key=lambda name: gains[name]
        )
        for i, name in enumerate(weak):
            self._by_site(name, sites[name], alone[name], (trials.allowed - trials.done) // (len(weak) - i))
        if _better(nothing, self.errors):
            self.errors = nothing
            self.without = {name: frozenset(self._sites(name, whole, None)) for name in active}
        missing = active[len(alone) :]
        notes = [f"the work did not suffice to leave out {', '.join(missing)}"] if missing else []
        if trials.compensated and not trials.replays_all:
            notes.append(f"{' and '.join(COMPENSATION)} are kept: what they bring depends on more samples than a trial takes")
        decisions = tuple(
            Decision(
                name,
                _decibel(everything),
                _decibel(alone[name]) if name in alone else math.nan,
                len(sites.get(name, self.without.get(name, ()))),
                self._ordered(self.without.get(name, frozenset())),
            )
            for name in active
        )
        return Selection(
            trials.samples,
            trials.done,
            trials.allowed,
            _decibel(everything),
            _decibel(nothing),
            _decibel(self.errors),
            decisions,
            "; ".join(notes),
        )

    def _active(self) -> list[str]:
        """Techniques that are switched on and have something to act on."""
        options = self.trials.config.model_dump()
        active = [name for name in ORDER if any(options[key] != value for key, value in TECHNIQUES[name].items())]
        tried = bool(self.trials.compensated) and self.trials.replays_all
        return [name for name in active if name not in COMPENSATION or tried]

    def _try(self, options: Mapping[str, Any]) -> tuple[Quantized | None, Real]:
        found = self.trials.run(**{"without": self._options(self.without), **options})
        if self.progress is not None:
            self.progress("choose techniques", self.trials.done, self.trials.allowed)
        return found

    def _by_site(self, name: str, sites: Sequence[str], alone: Real, allowed: int) -> None:
        """Leave a technique out where the error falls, with so many trials: everywhere first, then group by group."""
        here: frozenset[str] = frozenset()
        if self.without and allowed > 0:
            _, alone = self._try({"without": self._options({**self.without, name: frozenset(sites)})})
            allowed -= 1
        if (self.without == {} or allowed >= 0) and _better(alone, self.errors):
            here, self.errors = frozenset(sites), alone
        if allowed >= 2 and len(sites) > 1:
            for group in np.array_split(np.array(sites, dtype=object), min(allowed, len(sites))):
                changed = here ^ frozenset(group.tolist())
                _, errors = self._try({"without": self._options({**self.without, name: changed})})
                if _better(errors, self.errors):
                    here, self.errors = changed, errors
        if here:
            self.without[name] = here

    def _options(self, without: Mapping[str, frozenset[str]]) -> dict[str, tuple[str, ...]]:
        return {name: self._ordered(sites) for name, sites in without.items() if sites}

    def _ordered(self, sites: frozenset[str]) -> tuple[str, ...]:
        graph = self.trials.graph
        names = [*graph.inputs, *(output_name(node) for node in graph.nodes)]
        return tuple(name for name in names if name in sites)

    def _sites(self, name: str, whole: Quantized, other: Quantized | None) -> tuple[str, ...]:
        """Where a technique acts: tensors whose format differs without it (all, where nothing is known), and linear layers."""
        trials, graph = self.trials, self.trials.graph
        found: set[str] = set()
        if name in FORMATS:
            formats, others = _formats(whole), {} if other is None else _formats(other)
            found |= {tensor for tensor in formats if formats[tensor] != others.get(tensor)}
        if name == "equalization":  # queries stand for both operands, values for the output
            for op in graph.operators:
                if [op.demand(i) for i in op.array_operands()] == [Demand.ATTENTION] * 3:
                    query, key, value = (op.input(i) for i in range(3))
                    found -= {key, op.output} - {query, value}
        if name == "clipped ranges":  # of the indices of tables
            found |= {op.input(0) for op in graph.operators if op.tabulated}
        if name not in ("equalization", "one-sided formats"):
            found |= {output_name(node) for node in (trials.compensated if name in COMPENSATION else trials.layers)}
        return self._ordered(frozenset(found))


def _macs(graph: FloatGraph, statistics: dict[str, Statistics], config: QuantizationConfig) -> int:
    """Multiply-accumulates of one sample, by a network whose numbers do not matter."""
    made = convert(graph, statistics, {}, config.model_copy(update={"rounding": "nearest"})).graph
    return sum(operator(node).macs(made.formats(node)) for node in made.nodes)


def _errors(expected: NDArray[Any], found: NDArray[Any], valid: NDArray[np.bool_] | None) -> Real:
    """Squared error of every sample over the mean power; tokens that the key mask excludes do not count."""
    if valid is not None and expected.ndim >= 3 and expected.shape[1] == valid.shape[1]:
        keep = valid.reshape(*valid.shape, *[1] * (expected.ndim - 2))
        expected, found = expected * keep, found * keep
    axes = tuple(range(1, expected.ndim))
    power = float(np.sum(np.square(expected, dtype=np.float64), axis=axes).mean())
    return np.asarray(np.sum(np.square(expected.astype(np.float64) - found), axis=axes) / max(power, TINY), dtype=np.float64)


def _formats(made: Quantized) -> dict[str, list[tuple[str, object, bytes]]]:
    """The formats of every float tensor and of its copies."""
    found: dict[str, list[tuple[str, object, bytes]]] = {}
    for tensor, line in made.correspondence.items():
        offset = b"" if line.offset is None else line.offset.tobytes()
        found.setdefault(line.name, []).append((tensor, made.graph.tensors[tensor].qtype, offset))
    return found


def _better(errors: Real, than: Real) -> bool:
    """Whether an error is smaller by more than chance explains, paired over samples."""
    if not np.isfinite(errors).all() or errors.mean() > (1 - SMALLEST_GAIN) * than.mean():
        return False
    ratio = np.log(np.maximum(errors, TINY) / np.maximum(than, TINY))
    return float(ratio.mean()) < -STANDARD_ERRORS * float(ratio.std(ddof=1)) / math.sqrt(len(ratio))


def _decibel(errors: Real) -> float:
    mean = float(errors.mean())
    return math.inf if mean == 0.0 else -10.0 * math.log10(mean)
