"""What bits below 8 bought: a build beside the plain 8-bit build of the same model for the same board."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import onnx_ir as ir

from edgeflow.hw.errors import EdgeFlowError
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs
from edgeflow.quant.convert.fixed_formats import has_fixed_formats
from edgeflow.quant.convert.widths import layer_bits
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.integers.parameters import FULL
from edgeflow.sim.executor import Executor
from edgeflow.sw.measure.accuracy import Accuracy, agreement
from edgeflow.sw.measure.reference import Reference
from edgeflow.sw.measure.samples import Samples
from edgeflow.sw.report import schema
from edgeflow.sw.search.latency_tables import PlainBuild, Target, plain_build

LOSS_DB = 3.0  # of SQNR, that a gain is expected for
LEAST_GAIN = 0.05  # share of the latency, or of the weights where a budget of size or bit operations asked for fewer bits

FORMATS_OF_ITS_OWN = "the model brings its own formats: it has no 8-bit form to compare with"


def below_eight(model: ir.Model, config: QuantizationConfig) -> bool:
    """Whether any linear layer of a canonical model has fewer than 8 bits under these options."""
    bits = layer_bits(FloatGraph(model), config).values()
    return any(min(layer.weight, layer.activation) < FULL for layer in bits)


def bits_section(
    model: ir.Model,
    config: QuantizationConfig,
    samples: Samples,
    reference: Reference,
    build: schema.BuildFigures,
    target: Target,
    plain: PlainBuild | None,
    choice: Mapping[str, Any] | None,
    progress: Progress | None = None,
) -> schema.Bits | None:
    """The report's section on bits, for a build that has fewer than 8 anywhere or whose bits were chosen; None for others.

    ``plain``: the 8-bit build if it has been made; else it is made here, which takes one more quantization, choice of the
    accelerator and estimate. ``reference``: what accuracy is measured against. ``choice``: what ``bits.json`` holds.
    """
    narrow = below_eight(model, config)
    if not narrow and choice is None:
        return None
    chosen = None if choice is None else _choice(choice)
    if not narrow:
        return schema.Bits(choice=chosen, build=build, plain=build, bought=None, note="all layers have 8 bits")
    if has_fixed_formats(FloatGraph(model)):
        return schema.Bits(choice=chosen, build=build, plain=None, bought=None, note=FORMATS_OF_ITS_OWN)
    try:
        plain = plain or plain_build(model, samples.calibration, config, target, progress)
    except EdgeFlowError as error:
        return schema.Bits(choice=chosen, build=build, plain=None, bought=None, note=f"there is no 8-bit build: {error}")
    figures = schema.BuildFigures(
        latency_ms=plain.report.latency_ms, weight_bytes=plain.weight_bytes, sqnr_db=_plain_sqnr(model, plain, samples, reference)
    )
    note = None if samples.unseen is not None else f"SQNR is not meaningful: {samples.reason}"
    return schema.Bits(choice=chosen, build=build, plain=figures, bought=_bought(build, figures), note=note)


def worst_sqnr(accuracy: Accuracy | None) -> float | None:
    """SQNR in dB of the worst output; None where none is a finite number."""
    return None if accuracy is None else _worst(accuracy.sqnr_db)


def _bought(build: schema.BuildFigures, plain: schema.BuildFigures) -> str:
    """One line that says what bits below 8 bought against 8 bits, and what they cost."""
    latency, size = 1 - build.latency_ms / plain.latency_ms, 1 - build.weight_bytes / plain.weight_bytes
    text = f"{_share(latency, 'faster', 'slower')} (predicted), weights {_share(size, 'smaller', 'larger')}"
    loss = _loss(build, plain)
    if loss is not None:
        text += f", SQNR {abs(loss):.1f} dB {'lower' if loss >= 0 else 'higher'} ({build.sqnr_db:.1f} after {plain.sqnr_db:.1f} dB)"
    return text


def small_gain(bits: schema.Bits) -> str | None:
    """A warning where bits below 8 cost much of the accuracy for little; None where they are worth it, or nobody can tell."""
    loss = None if bits.plain is None else _loss(bits.build, bits.plain)
    if bits.plain is None or loss is None or loss < LOSS_DB:
        return None
    for_size = bits.choice is not None and all(budget.name != "latency" for budget in bits.choice.budgets)
    gain = 1 - (bits.build.weight_bytes / bits.plain.weight_bytes if for_size else bits.build.latency_ms / bits.plain.latency_ms)
    if gain >= LEAST_GAIN:
        return None
    return f"Fewer than 8 bits bought little: against the 8-bit build this one is {bits.bought}."


def _loss(build: schema.BuildFigures, plain: schema.BuildFigures) -> float | None:
    return None if plain.sqnr_db is None or build.sqnr_db is None else plain.sqnr_db - build.sqnr_db


def _share(gain: float, more: str, less: str) -> str:
    return f"{100 * abs(gain):.1f} % {more if gain >= 0 else less}"


def _worst(values: Mapping[str, float]) -> float | None:
    return min((value for value in values.values() if math.isfinite(value)), default=None)


def _plain_sqnr(model: ir.Model, plain: PlainBuild, samples: Samples, reference: Reference) -> float | None:
    if samples.unseen is None:
        return None
    arrays, graph = samples.unseen.arrays, plain.quantized.graph
    actual = decode_outputs(graph, Executor(graph).run(encode_inputs(graph, arrays)))
    return _worst(agreement(model, arrays, reference.outputs(arrays), actual).sqnr_db)


def _choice(document: Mapping[str, Any]) -> schema.BitChoice:
    return schema.BitChoice(
        method="hawq" if document["metric"] == "hessian" else "fit",
        taken=document["taken"],
        decision=document["decision"],
        measured_on=None if document["measured_on"] is None else schema.MeasuredOn(**document["measured_on"]),
        trials=[schema.BitTrial(**trial) for trial in document["trials"]],
        budgets=[schema.KeptBudget(**budget) for budget in document["budgets_kept"]],
        layers=[_sensitivity(layer) for layer in document["layers"]],
        fronts=[_front(cost, document) for cost in document["fronts"]],
    )


def _sensitivity(layer: Mapping[str, Any]) -> schema.LayerSensitivity:
    fields = {name: layer[name] for name in schema.LayerSensitivity.model_fields if name != "omega"}
    return schema.LayerSensitivity(**fields, omega=[schema.BitsOmega(**line) for line in layer["omega"]])


def _front(cost: str, document: Mapping[str, Any]) -> schema.Front:
    def points(lines: Iterable[Mapping[str, Any]]) -> list[schema.FrontPoint]:
        return [schema.FrontPoint(cost=line[cost], omega=line["omega"]) for line in lines]

    taken = points([document["chosen"]])[0]
    fronts, equal = document["fronts"], document["uniform"]
    return schema.Front(cost=cost, unit=document["units"][cost], points=points(fronts[cost]), uniform=points(equal), taken=taken)
