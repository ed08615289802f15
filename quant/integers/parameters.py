"""Parameters of a linear layer as integers: weights, biases and multipliers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.arrays import IntArray, Real
from edgeflow.hw.graph import Attribute, QType, Rounding
from edgeflow.quant.formats.compiled import nearest_integers, square_errors
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import Interpretation
from edgeflow.quant.integers.compensate import InputMoments, LayerErrors, Moments, fitted, rounded

FULL = 8  # bits of weights that are not asked to have fewer
BIAS_LIMIT = 1 << 29
BEYOND = 2.0**60  # no register has so many bits; sums of a few such numbers stay within 64
NEGLIGIBLE = 2.0**-8  # of a step of an output
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


def fixed_parameters(
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
    already. ``table``: the outputs are a table's indices.

    An output that its weights cannot move by ``NEGLIGIBLE`` of a step, most of all because they are 0, is a constant: where it has
    no multiplier, or its bias no register, in the steps of these weights, it gets other steps, and weights that are 0.
    """
    folded = isinstance(x.qtype.scale, tuple)
    step = np.broadcast_to(qtype.scales * (1.0 if folded else float(x.qtype.scales)), bias.shape)
    if x.offset is not None:
        bias = bias + x.offset @ (weight * qtype.scales / (x.qtype.scales[:, None] if folded else 1.0))
    if y.offset is not None:
        bias = bias - y.offset
    scale, zero_point = np.broadcast_to(y.qtype.scales, bias.shape), y.qtype.zero_point

    def parameters(step: Real, weight: IntArray) -> LinearParameters:
        offsets = as_words(bias / step + zero_point * scale / step) - x.qtype.zero_point * weight.sum(axis=0)
        multiplier, shift = dyadic(step / scale, config.short_multiplier_bits if table else config.multiplier_bits)
        return LinearParameters(np.ascontiguousarray(weight.T), offsets, multiplier, shift)

    plain = parameters(step, weight)
    outgrown = (plain.multiplier == 0) | (np.abs(plain.bias) > BIAS_LIMIT)
    if not outgrown.any():
        return plain
    span = max(abs(x.qtype.minimum - x.qtype.zero_point), abs(x.qtype.maximum - x.qtype.zero_point))
    constant = outgrown & (np.abs(weight).sum(axis=0) * span * step / scale < NEGLIGIBLE)
    ratio = float((step / scale)[~constant].max(initial=0.0)) or NEGLIGIBLE
    other = np.maximum(ratio * scale, np.abs(bias + zero_point * scale) / BIAS_LIMIT)
    return parameters(np.where(constant, other, step), np.where(constant, 0, weight))


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
        return step, nearest_integers(folded, step, low, high)


def _compensated(
    folded: Real, bias: Real, grid: _Grid, seen: Moments, config: QuantizationConfig
) -> tuple[Real, Real, Real, LayerErrors]:
    """Steps, integers and real biases of a layer whose rounding errors compensate each other, and what that brought."""
    decibels: list[float] = []

    def note(step: Real, quantized: Real, offset: Real) -> None:
        decibels.append(10 * math.log10(max(seen.power, ENERGY) / max(seen.error(quantized * step[:, None], offset), ENERGY)))

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
    return step, quantized, offset, LayerErrors(*decibels)


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
    weight_unit, power_unit = _unit(step), _unit(square)
    weight, power = (folded / weight_unit).astype(np.float32), (square / power_unit).astype(np.float32)
    best, best_error = step.copy(), np.full(len(step), np.inf)
    low, high = weight_ends(bits)
    squares = np.empty_like(weight)
    for fraction in WEIGHT_RATIOS if bits == FULL else NARROW_WEIGHT_RATIOS:
        candidate = step * fraction
        single = np.maximum((candidate / weight_unit).astype(np.float32), np.finfo(np.float32).tiny)
        square_errors(weight, single, low, high, squares)
        error = squares @ power
        better = error < best_error
        best[better], best_error[better] = candidate[better], error[better]
    return best


def _unit(values: Real) -> float:
    """The power of two next to the largest of some values: counted in it they do not leave single precision."""
    return float(np.ldexp(1.0, np.frexp(values.max(initial=0.0))[1]))


def ratio(source: QType, target: QType, bits: int) -> tuple[int, int]:
    """Multiplier and shift that take integers of one uniform format to another."""
    multiplier, shift = dyadic(float(source.scales) / float(target.scales), bits)
    return int(multiplier), shift


def as_words(values: NDArray[np.float64]) -> IntArray:
    """Real numbers rounded half up to integers; those beyond any register to one that is too."""
    return np.floor(np.clip(values, -BEYOND, BEYOND) + 0.5).astype(np.int64)


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
