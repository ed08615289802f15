"""Linear layers: weights, biases and multipliers, with the activation function or the addition that the layer absorbs."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.arrays import IntArray, Real
from edgeflow.hw.graph import Attribute, QType, Rounding
from edgeflow.quant.canonical.graph import origin, output_name, parameter, required_input
from edgeflow.quant.convert.context import Context, as_words, ratio
from edgeflow.quant.convert.unary import index_range, index_type, table_values, unary_function
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.plan import HeadPadding, Interpretation
from edgeflow.quant.formats.prequantized import INDEX, given_format, words
from edgeflow.quant.formats.widths import FULL
from edgeflow.quant.techniques.compensate import InputMoments, LayerErrors, Moments, fitted, input_moments, moments, rounded

COPY_BITS = 8  # of weights that only carry channels on, all 0 or 1
ENTRY_LIMIT = (1 << 15) - 1
INDEX_BITS = 10  # of the table in the epilogue
BIAS_LIMIT = 1 << 29
RATIO_SPREAD = 256  # multipliers share a shift: none may be this many times below the largest
ENERGY = 1e-30  # errors below are none
WEIGHT_RATIOS = (1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.8, 0.75)
NARROW_WEIGHT_RATIOS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.64, 0.58, 0.5, 0.42, 0.34)


@dataclass(frozen=True)
class LinearParameters:
    """Integer parameters: ``weight (N, K)``, ``bias`` and ``multiplier (N,)``, ``shift``; what the steps of
    compensated rounding brought."""

    weight: IntArray
    bias: IntArray
    multiplier: IntArray
    shift: int
    errors: LayerErrors | None = None


def linear_parameters(
    weight: Real,
    bias: Real,
    x: Interpretation,
    moments: tuple[Real, Real],
    y: Interpretation,
    bits: int,
    config: QuantizationConfig,
    seen: Moments | None = None,
    table: bool = False,
) -> LinearParameters:
    """Quantize ``y = x . weight + bias``, ``weight (K, N)`` to ``bits``, between integers with the given interpretations.

    ``moments`` are the mean and the mean square of each input channel's real values. The input's scales are folded into the
    weights before these are rounded, its zero point and offsets into the bias, and so are the output's. Each output channel's
    weight scale is the largest weight, or with observer ``auto`` or ``mse`` the clipping with the least expected squared error of
    the output. What rounding the weights adds to the mean of an output is taken off its bias (Nagel et al., arXiv 1906.04721,
    section 4.2). With ``seen``, moments of the layer's integer input less its zero point and of what the float layer makes of the
    float input, rounding errors compensate each other (see quant/techniques/compensate.py). ``table``: the outputs are a table's
    indices.
    """
    scale, zero_point = np.broadcast_to(y.qtype.scales, bias.shape), y.qtype.zero_point
    x_scale = np.broadcast_to(x.qtype.scales, weight.shape[:1])
    folded = np.ascontiguousarray((weight * x_scale[:, None]).T)
    mean, square = moments
    if x.offset is not None:
        bias = bias + x.offset @ weight
        square = square - 2 * x.offset * mean + x.offset**2
        mean = mean - x.offset
    if y.offset is not None:
        bias = bias - y.offset
    mean, square = mean / x_scale, square / x_scale**2
    if seen is not None:
        square = _spread(seen.inputs, config)
    grid = _Grid(scale, np.abs(bias) + abs(zero_point) * scale, square, bits, config)
    step, quantized, corrected, errors = _rounded(folded, bias, mean, grid, seen, config)
    offsets = as_words(corrected / step + zero_point * scale / step) - x.qtype.zero_point * quantized.sum(axis=1).astype(np.int64)
    multiplier, shift = dyadic(step / scale, config.short_multiplier_bits if table else config.multiplier_bits)
    return LinearParameters(quantized.astype(np.int64), offsets, multiplier, shift, errors)


def given_parameters(
    weight: IntArray,
    qtype: QType,
    bias: Real,
    x: Interpretation,
    y: Interpretation,
    config: QuantizationConfig,
    table: bool = False,
) -> LinearParameters:
    """Parameters of a layer whose weights ``(K, N)`` are given as integers, with their format: they stay as they are, and so does
    the bias where it is a multiple of a unit of the accumulator. The scales of an input that has them by channel are in the weights
    already. ``table``: the outputs are a table's indices."""
    folded = isinstance(x.qtype.scale, tuple)
    step = np.broadcast_to(qtype.scales * (1.0 if folded else float(x.qtype.scales)), bias.shape)
    if x.offset is not None:
        bias = bias + x.offset @ (weight * qtype.scales / (x.qtype.scales[:, None] if folded else 1.0))
    if y.offset is not None:
        bias = bias - y.offset
    scale = np.broadcast_to(y.qtype.scales, bias.shape)
    offsets = as_words(bias / step + y.qtype.zero_point * scale / step) - x.qtype.zero_point * weight.sum(axis=0)
    multiplier, shift = dyadic(step / scale, config.short_multiplier_bits if table else config.multiplier_bits)
    return LinearParameters(np.ascontiguousarray(weight.T), offsets, multiplier, shift)


def rounded_layer(
    folded: Real, bias: Real, inputs: InputMoments, seen: Moments | None, bits: int, config: QuantizationConfig
) -> tuple[Real, Real]:
    """Real weights ``(N, K)`` and biases as a layer of ``bits`` would get them: rounded to the nearest, or compensated to ``seen``.

    ``folded (N, K)`` takes the layer's integer input less its zero point, of which ``inputs`` are the moments. The output's own
    grid, which bounds the multipliers' spread, is that of one scale for all channels.
    """
    spread = np.einsum("nk,kl,nl->n", folded, inputs.covariance, folded, optimize=True)
    scale = np.full(len(bias), max(math.sqrt(float(spread.max(initial=0.0))), ENERGY))
    grid = _Grid(scale, np.abs(bias), _spread(inputs, config), bits, config)
    step, quantized, corrected, _ = _rounded(folded, bias, inputs.mean, grid, seen, config)
    return quantized * step[:, None], corrected


def _rounded(
    folded: Real, bias: Real, mean: Real, grid: _Grid, seen: Moments | None, config: QuantizationConfig
) -> tuple[Real, Real, Real, LayerErrors | None]:
    """Steps, integers, real biases, and what compensation brought where ``seen`` asks for it; ``mean`` is that of the input."""
    if seen is not None:
        return _compensated(folded, bias, grid, seen, config)
    step, quantized = grid.nearest(folded)
    return step, quantized, bias - (quantized * step[:, None] - folded) @ mean if config.bias_correction else bias, None


@dataclass(frozen=True)
class _Grid:
    """How a layer's folded weights ``(N, K)`` are rounded: to multiples of a step for each output.

    ``scale (N,)`` is that of the output, ``offset (N,)`` the largest value that the bias register must hold, ``square (K,)`` the
    mean square of each input.
    """

    scale: Real
    offset: Real
    square: Real
    bits: int
    config: QuantizationConfig

    def steps(self, folded: Real) -> Real:
        """The step of every output."""
        largest = np.abs(folded).max(axis=1, initial=0.0)
        if not self.config.channel_weights:
            largest = np.full(len(largest), largest.max())
        step: Real = largest / weight_ends(self.bits)[1]
        # A multiplier far below the others would lose its precision: such a channel gets coarser weights instead, which stay fine
        # enough: counted in the output's integers its steps are still RATIO_SPREAD times below the largest. Nor may a bias outgrow
        # its register.
        floor = max(float((step / self.scale).max(initial=0.0)), 2.0**-30) / RATIO_SPREAD * self.scale
        floor = np.maximum(floor, self.offset / BIAS_LIMIT)
        step = np.maximum(step, floor)
        if self.config.observer in ("auto", "mse") and self.config.channel_weights:
            step = np.maximum(clipped_steps(folded, step, self.square, self.bits), floor)
        return step

    def nearest(self, folded: Real) -> tuple[Real, Real]:
        """Steps, and the nearest integers."""
        step = self.steps(folded)
        low, high = weight_ends(self.bits)
        return step, np.clip(np.floor(folded / step[:, None] + 0.5), low, high)


def _compensated(
    folded: Real, bias: Real, grid: _Grid, seen: Moments, config: QuantizationConfig
) -> tuple[Real, Real, Real, LayerErrors]:
    """Steps, integers and real biases of a layer whose rounding errors compensate each other, and what that brought."""
    found: list[float] = []

    def note(step: Real, quantized: Real, offset: Real) -> None:
        found.append(10 * math.log10(max(seen.power, ENERGY) / max(seen.error(quantized * step[:, None], offset), ENERGY)))

    def corrected(step: Real, quantized: Real) -> Real:
        exact: Real = seen.mean - (quantized * step[:, None]) @ seen.inputs.mean
        return exact if config.bias_correction else bias

    step, quantized = grid.nearest(folded)
    note(step, quantized, bias)
    note(step, quantized, corrected(step, quantized))
    if config.input_correction:
        folded = fitted(folded, seen)
        step, quantized = grid.nearest(folded)
    note(step, quantized, corrected(step, quantized))
    quantized = rounded(folded, step, weight_ends(grid.bits), seen.inputs)
    offset = corrected(step, quantized)
    note(step, quantized, offset)
    return step, quantized, offset, LayerErrors(*found)


def _spread(inputs: InputMoments, config: QuantizationConfig) -> Real:
    """What an error of each input channel's weights costs: with the bias corrected, the channel's mean costs nothing."""
    variance = np.diag(inputs.covariance)
    return variance if config.bias_correction else variance + inputs.mean**2


def weight_ends(bits: int) -> tuple[int, int]:
    """The least and the largest integer of weights: symmetric at 8 bits, all codes below."""
    high = (1 << (bits - 1)) - 1
    return (-high if bits == FULL else -high - 1), high


def clipped_steps(folded: Real, step: Real, square: Real, bits: int) -> Real:
    """For each output channel the step, among fractions of ``step``, with the least squared error weighted by the input's power."""
    weight, power = folded.astype(np.float32), square.astype(np.float32)
    best, best_error = step.copy(), np.full(len(step), np.inf)
    low, high = weight_ends(bits)
    for fraction in WEIGHT_RATIOS if bits == FULL else NARROW_WEIGHT_RATIOS:
        candidate = step * fraction
        size = candidate.astype(np.float32)[:, None]
        q = weight / size
        np.add(q, np.float32(0.5), out=q)
        np.floor(q, out=q)
        np.clip(q, low, high, out=q)
        q *= size
        q -= weight
        error = np.square(q, out=q) @ power
        better = error < best_error
        best[better], best_error[better] = candidate[better], error[better]
    return best


def convert_linear(node: ir.Node, context: Context) -> None:
    """A linear layer or patch embedding that nothing absorbs."""
    value = output_name(node)
    if context.plan.fused_into(value) is not None:
        return
    made = context.plan.chosen(value)
    use = context.graph.sole_use(value)
    padding = None
    if use is not None and use.node.op_type == "Attention":
        padding = context.plan.head_padding(use.node, use.index)
    inputs, attributes = _prepare(node, context, value, made, padding=padding)
    out = made.qtype if padding is None else pad_qtype(made.qtype, padding)
    positions = None if padding is None else padding.positions
    context.set(value, context.builder.node("linear", inputs, value, out, origin(node), attributes), positions)


def convert_fused_unary(node: ir.Node, linear: ir.Node, context: Context) -> None:
    """An elementwise function in the epilogue of the linear layer before it."""
    before, value = output_name(linear), output_name(node)
    made, build = context.plan.chosen(value), context.builder
    out = made.qtype
    if node.op_type == "Relu" and out.zero_point == out.minimum and (made.offset is None or not made.offset.any()):
        # The least integer stands for 0: saturation is the function.
        inputs, attributes = _prepare(linear, context, value, made)
        context.set(value, build.node("linear", inputs, value, out, origin(linear), attributes))
        return
    function = unary_function(context.graph.model, node)
    index = given_format(node, INDEX)
    if index is None:
        index = index_type(*index_range(context.statistics[before], function, INDEX_BITS, context.config.at(before)), INDEX_BITS)
    context.indices[before] = index
    inputs, attributes = _prepare(linear, context, value, Interpretation(index), table=True)
    # Entries hold the function above what the output's integer 0 stands for, as finely as 16 bits go.
    zero = float(made.offset[0]) if made.offset is not None else -out.zero_point * float(out.scales.max())
    values = table_values(function, index) - zero
    step = max(float(np.abs(values).max()), 1e-12) / ENTRY_LIMIT
    channels = len(build.constants[inputs[1]])
    multiplier, shift = dyadic(np.broadcast_to(step / out.scales, (channels,)), context.config.short_multiplier_bits)
    inputs.append(build.constant(f"{value}/table", as_words(values / step), 16))
    inputs.append(build.constant(f"{value}/output_multiplier", multiplier, 32))
    attributes |= {"has_table": True, "index_bits": index.bits, "output_shift": shift}
    context.set(value, build.node("linear", inputs, value, out, origin(linear), attributes))


def convert_fused_add(node: ir.Node, linear: ir.Node, context: Context) -> None:
    """An addition in the epilogue of the linear layer that makes one operand."""
    before, value = output_name(linear), output_name(node)
    other = next(name for i in range(2) if (name := required_input(node, i)) != before)
    shape = context.statistics[value].shape
    array = context.constant(other, shape)
    name, out = value, context.plan.qtype(value)
    if array is not None and array.ndim <= 1:
        # The same for every row: part of the bias.
        inputs, attributes = _prepare(linear, context, value, Interpretation(out), array)
    else:
        residual = context.operand(other, shape, node, f"{value}/residual")
        fixed = residual in context.builder.constants
        name, out = context.sum_format(value)
        pair = None if fixed else (residual, other)
        inputs, attributes = _prepare(linear, context, value, Interpretation(out), residual=pair)
        if fixed and context.builder.tensors[residual].shape != shape:
            raise AssertionError("a constant residual has the output's shape")
        multiplier, shift = ratio(context.qtype(residual), out, context.config.short_multiplier_bits)
        inputs.append(residual)
        attributes |= {"has_residual": True, "residual_multiplier": multiplier, "residual_shift": shift}
    made = context.builder.node("linear", inputs, name, out, origin(linear), attributes)
    context.set(value, context.rounded_sum(value, made, node))


def _prepare(
    node: ir.Node,
    context: Context,
    name: str,
    out: Interpretation,
    extra: Real | None = None,
    padding: HeadPadding | None = None,
    residual: tuple[str, str] | None = None,
    table: bool = False,
) -> tuple[list[str], dict[str, Attribute]]:
    """Inputs and attributes of the integer linear layer of ``node``; ``extra`` is added to its bias, ``padding`` spreads its
    outputs, ``residual`` is the tensor that is added to them and the float value that it stands for; ``table``: what ``out``
    describes are indices of a table."""
    source = required_input(node, 0)
    weight, bias = parameter(context.graph, node, 1), parameter(context.graph, node, 2)
    if extra is not None:
        bias = bias + extra
    if node.op_type == "PatchEmbed":
        x = _patches(node, context, weight.shape[2:], name)
        made = Interpretation(context.qtype(x))
        weight = weight.reshape(len(weight), -1).T  # columns in the order (channel, ky, kx) of the patches
        stats = context.statistics[source]
        moments = (np.full(len(weight), stats.mean.mean()), np.full(len(weight), float(np.square(stats.rows).mean())))
    else:
        x, made = context.narrow(source, node)
        stats = context.statistics[source]
        moments = (stats.mean, np.square(stats.rows).mean(axis=0, dtype=np.float64))
    bits, seen, given = context.plan.widths.weight(origin(node)), None, given_format(node, 1)
    options = context.config.at(output_name(node))
    if context.plan.widths.compensated(node):
        seen = _seen(node, context, x, made, out, extra, residual)
    if given is not None:
        folded = weight * made.qtype.scales[:, None] if isinstance(made.qtype.scale, tuple) else weight
        found = given_parameters(words(folded, given, 1, origin(node)), given, bias, made, out, options, table)
    else:
        found = linear_parameters(weight, bias, made, moments, out, bits, options, seen, table)
    if found.errors is not None:
        context.layers[output_name(node)] = found.errors
    integers, offsets, multiplier = found.weight, found.bias, found.multiplier
    positions = context.channels(source)
    if positions is not None:
        integers = np.zeros((len(found.weight), context.builder.tensors[x].shape[-1]), dtype=np.int64)
        integers[:, positions] = found.weight
    if padding is not None:
        integers, offsets, multiplier = pad_outputs(integers, offsets, multiplier, padding)
    build = context.builder
    inputs = [
        x,
        build.constant(f"{name}/weight", integers, bits),
        build.constant(f"{name}/bias", offsets, 32),
        build.constant(f"{name}/multiplier", multiplier, 32),
    ]
    return inputs, plain_attributes(found.shift, out.qtype.rounding)


def _seen(
    node: ir.Node,
    context: Context,
    x: str,
    made: Interpretation,
    out: Interpretation,
    extra: Real | None,
    residual: tuple[str, str] | None,
) -> Moments:
    """Moments of the layer's integer input and of what it should make of it.

    With a residual, that is what the sum lacks: the layer also makes up for what the stream has lost so far.
    """
    replay = context.replay
    if x not in context.inputs:
        context.inputs.clear()  # layers that share an input follow each other
        rows = replay.rows(replay.words(x)) - np.float32(made.qtype.zero_point)
        positions = context.channels(required_input(node, 0))
        context.inputs[x] = input_moments(rows if positions is None else np.ascontiguousarray(rows[:, positions]))
    value = output_name(node)
    wanted = replay.rows(replay.real(value)).copy()
    if extra is not None:
        wanted += extra.astype(np.float32)
    if out.offset is not None:
        wanted -= out.offset.astype(np.float32)
    if residual is not None and context.config.at(value).input_correction:
        tensor, other = residual
        lost = replay.rows(replay.real(other)) - replay.rows(context.qtype(tensor).dequantize(replay.words(tensor)))
        wanted += lost
    return moments(context.inputs[x], wanted)


def plain_attributes(shift: int, rounding: Rounding = Rounding.HALF_UP) -> dict[str, Attribute]:
    """Attributes of an integer linear layer without table or residual."""
    return {
        "shift": shift,
        "has_table": False,
        "index_bits": 0,
        "output_shift": 0,
        "has_residual": False,
        "residual_multiplier": 0,
        "residual_shift": 0,
        "half_even": rounding is Rounding.HALF_EVEN,
    }


def _patches(node: ir.Node, context: Context, kernel: tuple[int, ...], name: str) -> str:
    source = required_input(node, 0)
    image = context.tensor(source)
    given = given_format(node, 0)
    if given is not None:
        image = image if context.qtype(image) == given else context.copy(source, given, f"{source}/given", node)
    elif context.qtype(image).bits > 8 or not isinstance(context.qtype(image).scale, float):
        stats = context.statistics[source]
        qtype = QType(context.plan.widths.activation(source), True, 1.0)
        scale = float(stats.magnitude.max()) / qtype.maximum or 1.0
        image = context.copy(source, replace(qtype, scale=scale), f"{source}/narrow", node)
    attributes: dict[str, Attribute] = {"kernel_h": int(kernel[0]), "kernel_w": int(kernel[1])}
    return context.builder.node("patches", [image], f"{name}/patches", context.qtype(image), origin(node), attributes)


def pad_outputs(
    weight: IntArray, bias: IntArray, multiplier: IntArray, padding: HeadPadding
) -> tuple[IntArray, IntArray, IntArray]:
    """Spread output channels to their places in padded heads, with channels of zeros between."""
    channels, size = padding.positions, padding.size
    wide = np.zeros((size, weight.shape[1]), dtype=np.int64)
    wide_bias, wide_multiplier = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    wide[channels], wide_bias[channels], wide_multiplier[channels] = weight, bias, multiplier
    return wide, wide_bias, wide_multiplier


def pad_qtype(qtype: QType, padding: HeadPadding) -> QType:
    """A per-channel format with the scale 1 in padding channels."""
    scales = np.ones(padding.size)
    scales[padding.positions] = qtype.scales
    return replace(qtype, scale=tuple(map(float, scales)))


def identity(
    context: Context,
    tensor: str,
    out: QType,
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    size: int,
    name: str,
    where: str,
) -> str:
    """A linear layer that carries channel ``source[i]`` of an 8-bit tensor to channel ``target[i]`` of ``size`` and requantizes it.

    ``out`` is the format of the ``size`` output channels.
    """
    kind = context.builder.tensors[tensor]
    weight = np.zeros((size, kind.shape[-1]), dtype=np.int64)
    weight[target, source] = 1
    x_scales = np.broadcast_to(kind.qtype.scales, (kind.shape[-1],))
    out_scales = np.broadcast_to(out.scales, (size,))
    factor = np.zeros(size)
    factor[target] = x_scales[source] / out_scales[target]
    multiplier, shift = dyadic(factor, context.config.multiplier_bits)
    build = context.builder
    inputs = [
        tensor,
        build.constant(f"{name}/weight", weight, COPY_BITS),
        build.constant(f"{name}/bias", np.zeros(size, dtype=np.int64), 32),
        build.constant(f"{name}/multiplier", multiplier, 32),
    ]
    return build.node("linear", inputs, name, out, where, plain_attributes(shift))
