"""The schema of ``report.json``: what every key means is written beside it, and explained in ``docs/report.md``.

Figures that nobody has established are ``null`` and come with a reason; they are never 0.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Natural = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Setting = bool | int | float | str | list[str]


class Strict(BaseModel):
    """No unknown keys, no conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Resource(Strict):
    """One kind of FPGA primitive. ``used`` is null while a unit's count is unknown: ``known`` is the sum of the others."""

    used: Natural | None
    available: Natural
    known: Natural
    reason: str | None


class ResourceTable(Strict):
    """Primitives of the whole accelerator on the board's device."""

    dsp: Resource
    lut: Resource
    ff: Resource
    bram36: Resource
    uram: Resource


class UnitResources(Strict):
    """Primitives of one unit; null where unknown. ``part_of``: the unit that it runs on and that counts them, or null."""

    unit: str
    part_of: str | None
    dsp: Natural | None
    lut: Natural | None
    ff: Natural | None
    bram36: Natural | None
    uram: Natural | None


class Device(Strict):
    """The board: its FPGA and memory."""

    title: str
    part: str
    family: str
    ddr_gb_s: Finite
    ddr_efficiency: Finite
    ddr_latency_ns: Finite
    axi_ports: Natural
    axi_bits: Natural
    axi_burst_words: Natural


class Accelerator(Strict):
    """Static sizes of the overlay."""

    pi: Natural
    po: Natural
    epilogue: Natural
    slots: Natural
    vector: Natural
    axi_bits: Natural
    weight_ports: Natural
    narrow_lines: Natural
    wide_lines: Natural
    stream_lines: Natural
    max_channels: Natural
    max_tokens: Natural
    max_head: Natural
    precisions: list[Natural]
    dsp_bits: Natural
    block_buffers: bool
    units: list[str]


class Calibration(Strict):
    """The data that ranges and rounding were chosen with: the user's, or seeded random numbers. ``held_out``: further samples of
    the user's that were kept from it."""

    data: Literal["user", "random"]
    samples: Natural
    held_out: Natural


class ReferenceModel(Strict):
    """What accuracy is measured against: the model file itself, in onnxruntime, or, where that does not run, the canonical float
    graph that EdgeFlow made of it. ``note``: why, or how the file ran."""

    kind: Literal["original", "canonical"]
    note: str | None


EXACT = "exact: no quantization error"
"""The note on a ratio that is not finite because nothing differs."""


class OutputAccuracy(Strict):
    """One output of the network; ``sqnr_db`` null with a note where the ratio is not a finite number."""

    name: str
    sqnr_db: Finite | None
    note: str | None


class AccuracyTable(Strict):
    """Integer network against float model, on ``samples`` that set no number of the network: those ``held_out`` of the calibration
    data, or the user's own ``test`` data. ``sqnr_db`` is the worst output's; ``samples_sha256`` is equal where two builds were
    measured on the same samples.

    Without such samples ``meaningful`` is false, every figure (also of the layers) is null, and ``note`` begins with "not
    meaningful" and says why."""

    data: Literal["held_out", "test"] | None
    samples: Natural
    samples_sha256: str | None = None
    sqnr_db: Finite | None
    top1_agreement: Share | None
    top1_accuracy: Share | None
    float_top1_accuracy: Share | None
    meaningful: bool
    note: str | None
    outputs: list[OutputAccuracy]


class Layer(Strict):
    """A node of the integer graph, in order of execution. ``name`` is the model's own node, with what it is where several come from
    one; ``tensor`` what the layer computes."""

    name: str
    tensor: str
    op: str
    unit: str
    shape: list[Natural]
    macs: Natural
    cycles: Natural
    compute_cycles: Natural
    memory_cycles: Natural
    fill_cycles: Natural
    waiting_cycles: Natural
    vector_cycles: Natural
    mac_utilization: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    instructions: Natural
    weight_bits: Natural | None
    activation_bits: Natural
    weight_bytes: Natural
    traffic_bytes: Natural
    intensity: Finite | None
    gops: Finite | None
    sqnr_db: Finite | None
    sqnr_note: str | None


class UnitCycles(Strict):
    """Time of one unit, divided among its loops, waits for memory and waits for descriptors. ``exposed``: nothing else computes
    meanwhile (every unit but the array)."""

    unit: str
    exposed: bool
    cycles: Natural
    instructions: Natural
    parts: dict[str, Natural]


class Limits(Strict):
    """What no schedule can pass: cycles by arithmetic and by bytes, and the rates behind them. ``quad_gops``: of the 4-bit mode,
    null where no layer uses it."""

    mac_cycles: Natural
    ddr_cycles: Natural
    peak_gops: Finite
    quad_gops: Finite | None
    usable_gb_s: Finite


class Traffic(Strict):
    """Bytes that cross the AXI ports for one sample."""

    weight_bytes: Natural
    read_bytes: Natural
    written_bytes: Natural
    descriptor_bytes: Natural


class Span(Strict):
    """A stretch of one track of the timeline that works for one layer (an index)."""

    track: str
    layer: int
    start_cycle: Natural
    end_cycle: Natural


class QueueLevel(Strict):
    """Lines of weights that wait in the stream's queue at a cycle."""

    cycle: Finite
    lines: Finite


class Timeline(Strict):
    """What ran when. ``overview``: the whole sample by layer and unit; ``detail`` and ``fetches``: instructions of the layers
    ``first_layer`` to ``last_layer``, one block of the network, with the weights' queue meanwhile."""

    first_layer: int
    last_layer: int
    overview: list[Span]
    detail: list[Span]
    fetches: list[Span]
    queue: list[QueueLevel]


class Range(Strict):
    """What calibration saw of a tensor (real values) and what its integers can stand for."""

    tensor: str
    bits: Natural
    granularity: str
    observer: str
    minimum: Finite
    maximum: Finite
    clip_low: Finite
    clip_high: Finite


class RegisterProof(Strict):
    """An intermediate of the C++: the exact worst case over all inputs against its width. ``needed_bits``: with the
    sign, where the width has one."""

    layer: str
    tensor: str
    intermediate: str
    width_bits: Natural
    needed_bits: Natural
    minimum: int
    maximum: int


class Placement(Strict):
    """A stay of an activation in a memory, from the first to the last layer (inclusive; -1: before the first)."""

    tensor: str
    memory: Literal["narrow", "wide", "external"]
    start_byte: Natural
    bytes: Natural
    bits: Natural
    first_layer: int
    last_layer: int
    view_of: str | None


class Banks(Strict):
    """One memory of the scratchpad as it is built: ``capacity_bytes`` in ``banks`` that each read and write a line in the same
    cycle. It grows by ``least_bytes``, which fill the block memories that a line takes."""

    capacity_bytes: Natural
    banks: Natural
    least_bytes: Natural


class Memory(Strict):
    """Bytes in use of the scratchpad's two memories and of external memory: activations, weight image, program.

    ``peak_live_bytes``: most of the scratchpad that is alive in one layer; ``narrow`` and ``wide``: how its memories are built."""

    narrow: Banks
    wide: Banks

    narrow_bytes: Natural
    wide_bytes: Natural
    external_bytes: Natural
    peak_live_bytes: Natural
    weight_bytes: Natural
    program_bytes: Natural
    placements: list[Placement]


class Rounding(Strict):
    """What the steps of compensated rounding brought one linear layer: each ratio includes the steps of those before it. ``tensor``
    is the float tensor that the layer makes."""

    tensor: str
    nearest_db: Finite
    bias_correction_db: Finite
    input_correction_db: Finite
    compensated_db: Finite


class Technique(Strict):
    """An output's SQNR as quantized and with one technique left out; null where the output is exact or all zero."""

    technique: str
    output: str
    with_db: Finite | None
    without_db: Finite | None


class Decision(Strict):
    """What became of one technique: the outputs' SQNR with every technique and without this one anywhere (null where that was not
    tried, or the outputs are exact), the number of float tensors where it acts, and those at which it was left out."""

    technique: str
    with_db: Finite | None
    without_db: Finite | None
    sites: Natural
    left_out: list[str]


class Selection(Strict):
    """The choice of techniques by the outputs' error on calibration samples that trials were not fitted to: SQNR with all
    techniques, with none and as chosen. ``note`` says what could not be tried; where it stands alone, nothing was."""

    all_db: Finite | None = None
    none_db: Finite | None = None
    chosen_db: Finite | None = None
    samples: Natural = 0
    trials: Natural = 0
    trials_allowed: Natural = 0
    decisions: list[Decision] = []
    note: str | None = None


class Quantization(Strict):
    """What the techniques of quantization brought, on calibration data. ``rounding`` has the layers whose rounding is compensated,
    ``techniques`` is empty unless asked for, ``selection`` null where every technique is kept untried."""

    rounding: list[Rounding]
    techniques: list[Technique]
    selection: Selection | None = None


class BuildFigures(Strict):
    """What a build does: predicted latency, bytes of its weight image, SQNR of its worst output on unseen samples (null without
    any, or where the output is exact)."""

    latency_ms: Finite
    weight_bytes: Natural
    sqnr_db: Finite | None


class KeptBudget(Strict):
    """A budget: ``limit`` and ``reached`` in its ``unit``, and the ``reference`` that a relative limit multiplies."""

    name: str
    budget: str
    unit: str
    reference: Finite
    reference_is: str
    limit: Finite
    reached: Finite


class MeasuredOn(Strict):
    """The samples that allocations of bits were compared on: held out of the calibration data, kept from the ranges and rounding
    of the trials alone (validation), or the calibration data themselves where there were too few."""

    data: Literal["held_out", "validation", "calibration"]
    samples: Natural


class BitTrial(Strict):
    """An allocation of bits that keeps the budgets: its costs by name, and SQNR of the worst output (null where it is not a finite
    number, or nothing was measured)."""

    name: str
    sqnr_db: Finite | None
    costs: dict[str, Finite]
    taken: bool


class BitsOmega(Strict):
    """Bits and the expected rise of the loss."""

    weight_bits: Natural
    activation_bits: Natural
    omega: Finite


class LayerSensitivity(Strict):
    """What the bits of one layer of the float model cost: ``omega``, the expected rise of the loss, for every choice of bits.
    ``fixed``: its bits were not to be chosen; ``trace`` of the Hessian of the loss, with the standard error of its estimate."""

    name: str
    weight_bits: Natural
    activation_bits: Natural
    fixed: bool
    parameters: Natural
    trace: Finite
    trace_error: Finite
    omega: list[BitsOmega]


class FrontPoint(Strict):
    """An allocation of bits: what it costs, in the front's unit, and the expected rise of the loss."""

    cost: Finite
    omega: Finite


class Front(Strict):
    """Least expected rise of the loss for every ``cost`` (size, bops or latency): the best allocations, those with equal bits in
    all layers, and the one that was taken."""

    cost: str
    unit: str
    points: list[FrontPoint]
    uniform: list[FrontPoint]
    taken: FrontPoint


class BitChoice(Strict):
    """How the bits of every layer were chosen: the ``method`` asked for, every allocation that was tried, and which was taken;
    sensitivities and fronts are those of the method."""

    method: Literal["hawq", "fit"]
    taken: str
    decision: str
    measured_on: MeasuredOn | None
    trials: list[BitTrial]
    budgets: list[KeptBudget]
    layers: list[LayerSensitivity]
    fronts: list[Front]


class Bits(Strict):
    """What bits below 8 bought: this build and the plain 8-bit build of the same model for the same board. ``plain`` is null where
    there is none; ``note`` says why, or why there is no SQNR. ``bought`` is the comparison in words."""

    choice: BitChoice | None
    build: BuildFigures
    plain: BuildFigures | None
    bought: str | None
    note: str | None


class Search(Strict):
    """How the accelerator was chosen among those that fit the board: how many were ``bounded``, one by one, by a lower bound of
    their latency (arrays that it rules out as a whole are not), how many ``simulated``; ``proven``: none is over 2 % faster."""

    bounded: Natural
    simulated: Natural
    proven: bool


class Run(Strict):
    """How the build was made, as its ``run.toml`` says: the command, when (ISO 8601, UTC), every option by its dotted name, the
    versions of what computed it, and the SHA-256 of the files that went in, by the option that names them."""

    command: str
    date: str
    options: dict[str, Setting]
    versions: dict[str, str]
    sha256: dict[str, str]


class Report(Strict):
    """``report.json``. ``run`` is null where the steps ran without a recipe; ``trace_file``, beside the report, has the timeline
    for Perfetto or chrome://tracing; ``bits`` is null where no layer has fewer than 8 bits and none were chosen; ``search`` where
    the accelerator was given, or came with the choice of bits."""

    version: Literal[6]
    edgeflow: str
    run: Run | None
    trace_file: str | None
    model: str
    board: str
    clock_mhz: Finite
    macs: Natural
    cycles: Natural
    latency_ms: Finite
    fps: Finite
    mac_utilization: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    gops: Finite
    gops_per_dsp: Finite | None
    compute_cycles: Natural
    memory_cycles: Natural
    fill_cycles: Natural
    waiting_cycles: Natural
    limits: Limits
    traffic: Traffic
    instructions: Natural
    resources: ResourceTable
    unit_resources: list[UnitResources]
    calibration: Calibration
    reference: ReferenceModel
    accuracy: AccuracyTable
    quantization: Quantization
    bits: Bits | None
    layers: list[Layer]
    unit_cycles: list[UnitCycles]
    timeline: Timeline
    ranges: list[Range]
    proof: list[RegisterProof]
    memory: Memory
    device: Device
    accelerator: Accelerator
    search: Search | None
    timings_s: dict[str, Finite]
    warnings: list[str]
    assumptions: list[str]
    units: dict[str, str]
