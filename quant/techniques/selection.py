"""Which techniques of quantization a network keeps, and where: those without which its output error is not smaller.

Every technique lowers an error that is cheap to compute (of one tensor, of one layer), and nothing says that the network's output
follows. So the output's error, float against integer network, is measured on calibration samples that a network was not fitted to:
every trial is four networks (two, where more would cost too much), each compared on samples of its own and fitted to all others.
Networks with every technique, with none (plain min-max) and without each single one are compared, those that win are joined, and
from the best of them on techniques are left out or put back site by site, greedily, in the order of the network; where the trials
do not suffice for single sites, for groups of neighbours.

The measure is the mean logarithm of each sample's error: unseen samples agree with it, while the mean error is that of the one or
two samples that reach furthest, of which the next data has others. The allowance of ranges is for just such samples: it is left
out only where the mean error does not grow by as much as the other measure falls, and nowhere by site. Between whole networks the
smaller error wins, however sure, since nothing better is known of them; of the many sites, a change must also lie a standard error
below 0, or chance would choose. Less than two percent counts as nothing, and keeps the technique.

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
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.ops import operator
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, distinct, encode_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.convert.conversion import Quantized, convert
from edgeflow.quant.convert.decisions import Decision, Selection, joined
from edgeflow.quant.convert.observe import observe, valid_tokens
from edgeflow.quant.convert.widths import Widths
from edgeflow.quant.formats import allowance
from edgeflow.quant.formats.config import TECHNIQUES, QuantizationConfig
from edgeflow.quant.formats.interpretation import Demand
from edgeflow.quant.formats.prequantized import fixed_format
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.integers.parameters import FULL
from edgeflow.quant.nodes import input_name, output_name
from edgeflow.sim.executor import Executor

LEAST, MOST = 4, 96  # samples that one network, and all networks of a trial, are compared on
NETWORKS, FEWER = 4, 2  # of a trial
REPLAYED = 128  # samples at most that rounding is compensated on in a trial
COMPENSATED_BUDGET = 2  # times the work, where rounding is compensated: the conversion itself takes longer, too
SAMPLES = 32  # distinct ones of calibration data at least
TRIALS = 16  # that the work should suffice for before networks are compared on more samples than the least
FEWEST = 3  # trials: with fewer nothing is compared
ENOUGH = 10  # trials: all techniques, none, each left out, and two more
TRIAL_VALUES = 1 << 14  # of each tensor for the range search of a trial
VALUE_WORK = 5500  # multiply-accumulates that take as long as what conversion does for one of these values
COMPENSATION_WORK = 5  # times those of the network, for every sample that rounding is compensated on
TINY = 1e-30  # of a power: none
EXACT = 1e-10  # of an error: less than the outputs' own format could tell
CLEARLY = 2.5  # standard errors by which a technique helps as a whole: its sites are not looked at
BY_SITE = 1.0  # standard errors below 0 of a change at single sites
SMALLEST_GAIN = 0.02  # of the error

# Those that hurt most often first: the work may not suffice for all.
ORDER = (
    "equalization",
    "clipped ranges",
    "bias correction",
    "one-sided formats",
    "weight scales per channel",
    "allowance",
    "compensated rounding",
    "input correction",
)
TAILS = "allowance"
PLAIN = {key: value for options in TECHNIQUES.values() for key, value in options.items()}
COMPENSATION = ("compensated rounding", "input correction")
FORMATS = ("equalization", "one-sided formats", "clipped ranges", "allowance")


def select(
    graph: FloatGraph, arrays: Arrays, config: QuantizationConfig, progress: Progress | None = None
) -> tuple[Selection | None, str]:
    """Choose techniques for a canonical model on checked calibration ``arrays``, and say why not where that was not possible."""
    _, first = np.unique(distinct(arrays), return_index=True)
    samples = len(first)
    if samples < SAMPLES:
        wanted = f"{SAMPLES} distinct calibration samples"
        return None, f"techniques were not chosen by the output's error: that takes {wanted}, not {samples}"
    trials = _Trials(graph, {name: array[first] for name, array in arrays.items()}, config, samples)
    if trials.allowed < FEWEST:
        return None, (
            f"techniques were not chosen by the output's error: one trial takes {trials.work / 1e9:.0f} billion"
            f" multiply-accumulates; raise selection_work to {FEWEST * trials.work / 1e9:.0f} or more"
        )
    return _Search(trials, progress).run(), ""


class _Trials:
    """Networks fitted to one part of the distinct samples and compared on another; counts them."""

    def __init__(self, graph: FloatGraph, arrays: Arrays, config: QuantizationConfig, samples: int) -> None:
        self.graph = graph
        self.config = config.model_copy(
            update={"sample_values": min(TRIAL_VALUES, config.sample_values), "ablation": False, "selection_work": 0.0}
        )
        widths = Widths(graph, config)
        self.layers = [node for node in graph.layers() if fixed_format(node, 1) is None]
        self.compensated = [node for node in self.layers if widths.compensated(node)]
        one = observe(graph, {name: array[:1] for name, array in arrays.items()}, self.config)
        self.budget = config.selection_work * 1e9 * (COMPENSATED_BUDGET if self.compensated else 1)
        networks, size = self._divided(_least_macs(graph, one), one, samples)
        if self.allowed < FEWEST:  # nothing will be tried: no conversion is needed to know it
            return
        networks, size = self._divided(_macs(graph, one, self.config), one, samples)
        fitted = samples - size
        order = np.random.default_rng(config.seed).permutation(samples)
        parts = [order[i * size : (i + 1) * size] for i in range(networks)]
        self.compared = [{name: array[np.sort(part)] for name, array in arrays.items()} for part in parts]
        self.fitted = [{name: np.delete(array, part, axis=0) for name, array in arrays.items()} for part in parts]
        self.samples = networks * size
        self.replays_all = fitted <= REPLAYED
        self.plenty = fitted >= allowance.ENOUGH
        self.done = 0

    def _divided(self, macs: int, one: Mapping[str, Statistics], samples: int) -> tuple[int, int]:
        """The networks of a trial and the samples that each is compared on, for so many multiply-accumulates of a sample; sets the
        work of a trial and how many are allowed."""
        for networks in (NETWORKS, FEWER):
            size = int(max(LEAST, min(MOST // networks, samples // 4, self.budget / (networks * TRIALS) / max(macs, 1))))
            fitted = samples - size
            rows = sum(min(s.count * fitted * len(s.mean), TRIAL_VALUES) for s in one.values())
            replayed = min(REPLAYED, fitted) if self.compensated else 0
            self.work = networks * (macs * (size + COMPENSATION_WORK * replayed) + VALUE_WORK * rows)
            self.allowed = int(self.budget // self.work)
            if self.allowed >= ENOUGH:
                break
        return networks, size

    def start(self) -> None:
        """Observe the samples that the networks are fitted to, and run the float model on those that they are compared on."""
        session = FloatSession(self.graph.model, self.graph.outputs)
        self._statistics = [observe(self.graph, arrays, self.config) for arrays in self.fitted]
        self._expected = [session.run(arrays) for arrays in self.compared]

    def run(self, **options: Any) -> tuple[Quantized | None, Real]:
        """One of the networks with other options, and each compared sample's squared error as a share of the mean power, the
        mean over all outputs; infinite where the accelerator does not have the network."""
        self.done += 1
        without = joined(self.config.without, options.pop("without", {}))
        config = self.config.model_copy(update={**options, "without": without})
        errors: list[Real] = []
        try:
            with threadpool_limits(limits=1, user_api="blas"):  # many small products: threads would wait for each other
                for i, arrays in enumerate(self.fitted):
                    few = {name: array[:REPLAYED] for name, array in arrays.items()}
                    quantized = convert(self.graph, self._statistics[i], few, config)
                    errors.append(self._compare(quantized, i))
        except UnsupportedError:
            return None, np.full(self.samples, np.inf)
        return quantized, np.concatenate(errors)

    def _compare(self, quantized: Quantized, i: int) -> Real:
        arrays = self.compared[i]
        outputs = decode_outputs(quantized.graph, Executor(quantized.graph).run(encode_inputs(quantized.graph, arrays)))
        valid = valid_tokens(self.graph, arrays)
        errors = [_errors(expected, outputs[name], valid) for name, expected in self._expected[i].items()]
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
        everywhere = {name: frozenset(self._sites(name, whole, None)) for name in active}
        _, nothing = self._try({key: value for name in active for key, value in TECHNIQUES[name].items()})
        alone: dict[str, Real] = {}
        sites: dict[str, tuple[str, ...]] = {}
        for name in active[: trials.allowed - trials.done]:
            other, alone[name] = self._try(TECHNIQUES[name])
            sites[name] = self._sites(name, whole, other)
        ranked = sorted(alone, key=lambda name: _change(alone[name], everything))
        self._leave_out(
            [name for name in ranked if sites[name] and self._wins(alone[name], everything, name == TAILS)], alone, sites
        )
        if self._wins(nothing, self.errors, TAILS in active):
            self.errors, self.without = nothing, dict(everywhere)
            self._put_back(ranked[::-1])
        weak = [name for name in ranked if name != TAILS and len(sites[name]) > 1 and not _better(everything, alone[name], CLEARLY)]
        for i, name in enumerate(weak):
            self._by_site(name, sites[name], (trials.allowed - trials.done) // (len(weak) - i))
        missing = active[len(alone) :]
        notes = [f"selection_work was used up before leaving out {', '.join(missing)} was tried"] if missing else []
        if trials.compensated and not trials.replays_all:
            notes.append(f"{' and '.join(COMPENSATION)} are kept: what they bring depends on more samples than a trial takes")
        decisions = tuple(
            Decision(
                name,
                _decibel(everything),
                _decibel(alone[name]) if name in alone else math.nan,
                len(self.without.get(name, frozenset()).union(sites.get(name, ()))),
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
        idle = {"allowance"} if self.trials.plenty else set()
        return [name for name in active if name not in idle and (name not in COMPENSATION or tried)]

    def _try(self, options: Mapping[str, Any]) -> tuple[Quantized | None, Real]:
        trial = self.trials.run(**{"without": self._options(self.without), **options})
        if self.progress is not None:
            self.progress("choose techniques", self.trials.done, self.trials.allowed)
        return trial

    def _leave_out(self, names: Sequence[str], alone: Mapping[str, Real], sites: Mapping[str, Sequence[str]]) -> None:
        """Leave techniques that hurt out of the whole network, the worst first, others as far as they still hurt."""
        for name in names:
            without = {**self.without, name: frozenset(sites[name])}
            if not self.without:
                self.without, self.errors = without, alone[name]
            elif self.trials.done < self.trials.allowed:
                self._change_to(without)

    def _put_back(self, names: Sequence[str]) -> None:
        """Put techniques that help back into the network without any, those that helped most among all techniques first."""
        for name in names:
            if self.trials.done < self.trials.allowed:
                self._change_to({key: left_out for key, left_out in self.without.items() if key != name})

    def _by_site(self, name: str, sites: Sequence[str], allowed: int) -> None:
        """Leave a technique out, or put it back, where the error falls, with so many trials: group by group."""
        if allowed < 2:
            return
        for group in np.array_split(np.array(sites, dtype=object), min(allowed, len(sites))):
            self._change_to({**self.without, name: self.without.get(name, frozenset()) ^ frozenset(group.tolist())}, BY_SITE)

    def _change_to(self, without: dict[str, frozenset[str]], standard_errors: float = 0.0) -> None:
        """Leave techniques out elsewhere if the error falls."""
        _, errors = self._try({"without": self._options(without)})
        tails = TAILS in without and TAILS not in self.without
        if self._wins(errors, self.errors, tails, standard_errors):
            self.errors, self.without = errors, {name: left_out for name, left_out in without.items() if left_out}

    @staticmethod
    def _wins(errors: Real, than: Real, tails: bool, standard_errors: float = 0.0) -> bool:
        """Whether an error is smaller; where the ``tails`` of the samples' errors count, as much by it as by their mean."""
        if not _better(errors, than, standard_errors):
            return False
        both = _change(errors, than) + math.log(max(float(errors.mean()), EXACT) / max(float(than.mean()), EXACT))
        return not tails or both < math.log1p(-SMALLEST_GAIN)

    def _options(self, without: Mapping[str, frozenset[str]]) -> dict[str, tuple[str, ...]]:
        return {name: self._ordered(sites) for name, sites in without.items() if sites}

    def _ordered(self, sites: frozenset[str]) -> tuple[str, ...]:
        graph = self.trials.graph
        names = [*graph.inputs, *(output_name(node) for node in graph.nodes)]
        return tuple(name for name in names if name in sites)

    def _sites(self, name: str, whole: Quantized, other: Quantized | None) -> tuple[str, ...]:
        """Where a technique acts: tensors whose format differs without it (all, where nothing is known), and linear layers."""
        trials, graph = self.trials, self.trials.graph
        sites: set[str] = set()
        if name in FORMATS:
            formats, others = _formats(whole), {} if other is None else _formats(other)
            sites |= {tensor for tensor in formats if formats[tensor] != others.get(tensor)}
        if name == "equalization":  # queries stand for both operands, values for the output
            for op in graph.operators:
                if [op.demand(i) for i in op.array_operands()] == [Demand.ATTENTION] * 3:
                    query, key, value = (op.input(i) for i in range(3))
                    sites -= {key, op.output} - {query, value}
        if name in ("clipped ranges", "allowance"):  # of the indices of tables
            sites |= {op.input(0) for op in graph.operators if op.tabulated}
        if name not in ("equalization", "one-sided formats", "allowance"):
            sites |= {output_name(node) for node in (trials.compensated if name in COMPENSATION else trials.layers)}
        return self._ordered(frozenset(sites))


def _least_macs(graph: FloatGraph, one: Mapping[str, Statistics]) -> int:
    """Multiply-accumulates of one sample but for those of channels that pad the heads of attention."""
    full = QuantizationConfig(attention_bits=FULL, probability_bits=FULL)

    def shape(name: str) -> tuple[int, ...]:
        array = graph.constant(name)
        return one[name].shape if name in one else () if array is None else array.shape

    attention = sum(
        op.bit_operations([shape(input_name(op.node, i) or "") for i in range(len(op.node.inputs))], full) for op in graph.operators
    )
    layers = sum(math.prod(shape(output_name(node))[:-1]) * graph.parameter(node, 1).size for node in graph.layers())
    return layers + attention // FULL**2


def _macs(graph: FloatGraph, statistics: dict[str, Statistics], config: QuantizationConfig) -> int:
    """Multiply-accumulates of one sample, by a network whose numbers do not matter."""
    try:
        integer_graph = convert(graph, statistics, {}, config.model_copy(update=PLAIN)).graph
    except UnsupportedError:  # a register that the techniques keep from overflowing
        integer_graph = convert(graph, statistics, {}, config.model_copy(update={"rounding": "nearest"})).graph
    return sum(operator(node).macs(integer_graph.formats(node)) for node in integer_graph.nodes)


def _errors(expected: NDArray[Any], actual: NDArray[Any], valid: NDArray[np.bool_] | None) -> Real:
    """Squared error of every sample over the mean power; tokens that the key mask excludes do not count."""
    if valid is not None and expected.ndim >= 3 and expected.shape[1] == valid.shape[1]:
        keep = valid.reshape(*valid.shape, *[1] * (expected.ndim - 2))
        expected, actual = expected * keep, actual * keep
    axes = tuple(range(1, expected.ndim))
    power = float(np.sum(np.square(expected, dtype=np.float64), axis=axes).mean())
    return np.asarray(np.sum(np.square(expected.astype(np.float64) - actual), axis=axes) / max(power, TINY), dtype=np.float64)


def _formats(quantized: Quantized) -> dict[str, list[tuple[str, object, bytes]]]:
    """The formats of every float tensor and of its copies."""
    formats: dict[str, list[tuple[str, object, bytes]]] = {}
    for tensor, line in quantized.correspondence.items():
        offset = b"" if line.offset is None else line.offset.tobytes()
        formats.setdefault(line.name, []).append((tensor, quantized.graph.tensors[tensor].qtype, offset))
    return formats


def _better(errors: Real, than: Real, standard_errors: float = 0.0) -> bool:
    """Whether an error is smaller, by more than next to nothing and so many standard errors, paired over samples."""
    if not np.isfinite(errors).all():
        return False
    ratio = _ratio(errors, than)
    chance = standard_errors * float(ratio.std(ddof=1)) / math.sqrt(len(ratio))
    return float(ratio.mean()) < min(math.log1p(-SMALLEST_GAIN), -chance)


def _change(errors: Real, than: Real) -> float:
    """The mean logarithm of the ratio of errors."""
    return float(_ratio(errors, than).mean())


def _ratio(errors: Real, than: Real) -> Real:
    return np.asarray(np.log(np.maximum(errors, EXACT) / np.maximum(than, EXACT)), dtype=np.float64)


def _decibel(errors: Real) -> float:
    mean = float(errors.mean())
    return math.inf if mean == 0.0 else -10.0 * math.log10(mean)
