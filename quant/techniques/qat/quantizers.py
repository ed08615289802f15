"""Brevitas quantizers with the integer formats and the rounding of EdgeFlow's graphs.

Scales are learned in the logarithm (Jain et al., arXiv 1903.08066, section 3.2), with the straight-through gradient of LSQ (Esser
et al., arXiv 1902.08153); they start where the caller says. Importing this module needs the extra ``qat``.
"""

from __future__ import annotations

import numpy as np
import torch
from brevitas.core.zero_point import ParameterZeroPoint
from brevitas.function.ops_ste import floor_ste
from brevitas.inject import ExtendedInjector
from brevitas.inject.enum import RestrictValueType, ScalingImplType
from brevitas.nn import QuantIdentity, QuantLinear
from brevitas.quant.base import IntQuant, PerChannelFloatScaling8bit, PerTensorFloatScaling8bit, UintQuant
from brevitas.quant.scaled_int import Int32Bias
from brevitas.quant.solver.act import ActQuantSolver
from brevitas.quant.solver.weight import WeightQuantSolver
from brevitas.quant_tensor import IntQuantTensor
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from edgeflow.hw.graph import QType
from edgeflow.quant.integers.parameters import weight_ends

LEAST_SCALE = 1e-12


class HalfUp(nn.Module):
    """``floor(x + 1/2)``, the rounding of EdgeFlow's integer graphs, with a gradient of 1."""

    def __init__(self) -> None:  # without it, Brevitas's injector sees arbitrary arguments
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """Round every element."""
        rounded: Tensor = floor_ste(x + 0.5)
        return rounded


class Clamp(nn.Module):
    """Clipping in one operation, with the gradient of Brevitas's own: 1 inside, 0 outside."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor, min_val: Tensor, max_val: Tensor) -> Tensor:
        """Clip every element."""
        return torch.clamp(x, min_val, max_val)


class _Learned(ExtendedInjector):
    scaling_impl_type = ScalingImplType.PARAMETER
    restrict_scaling_type = RestrictValueType.LOG_FP
    scaling_min_val = LEAST_SCALE
    float_to_int_impl = HalfUp
    tensor_clamp_impl = Clamp


class _Weight(_Learned, IntQuant, PerChannelFloatScaling8bit, WeightQuantSolver):
    pass


class _Signed(_Learned, IntQuant, PerTensorFloatScaling8bit, ActQuantSolver):
    pass


class _Unsigned(_Learned, UintQuant, PerTensorFloatScaling8bit, ActQuantSolver):
    pass


class _Shifted(_Unsigned):
    zero_point_impl = ParameterZeroPoint
    zero_point_shape = ()
    quantize_zero_point = True


class _Bias(Int32Bias):
    float_to_int_impl = HalfUp


class Layer(QuantLinear):
    """A linear layer with quantized weights, one learned scale an output channel, and a bias in units of its accumulator.

    It takes rows ``(..., K)`` with their format and returns plain ``(..., N)``.
    """

    def __init__(self, weight: Tensor, bias: Tensor, bits: int, steps: Tensor) -> None:
        """``weight (N, K)``, ``bias (N,)``; ``steps (N,)`` are the first scales of the weights, which get ``bits``."""
        low, _ = weight_ends(bits)
        narrow = -low < 1 << (bits - 1)
        quantizer = _Weight.let(bit_width=bits, narrow_range=narrow, scaling_init=(steps * -low)[:, None])
        super().__init__(weight.shape[1], weight.shape[0], bias=True, weight_quant=quantizer, bias_quant=_Bias)
        self.bits = bits
        self._reach = -low  # in steps: what Brevitas's scale parameter stands for
        with torch.no_grad():
            self.weight.copy_(weight)
            self.bias.copy_(bias)

    def begin(self, weight: NDArray[np.float64], bias: NDArray[np.float64], steps: NDArray[np.float64]) -> None:
        """Start anew from ``weight (N, K)``, ``bias`` and ``steps (N,)``."""
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(weight))
            self.bias.copy_(torch.from_numpy(bias))
            self.weight_quant.tensor_quant.scaling_impl.value.copy_(torch.from_numpy(np.log2(steps * self._reach)[:, None]))

    def inner_forward_impl(self, x: Tensor, quant_weight: Tensor, quant_bias: Tensor | None) -> Tensor:
        """The product of the values that the integers stand for."""
        return functional.linear(plain(x), plain(quant_weight), None if quant_bias is None else plain(quant_bias))

    def switch(self, on: bool) -> None:
        """Quantize weights and bias, or compute with the floats behind them."""
        self.weight_quant.disable_quant = not on
        self.bias_quant.disable_quant = not on


class Activation(nn.Module):
    """A quantizer of activations with one learned scale, and a learned zero point where its first format has one."""

    def __init__(self, first: QType) -> None:
        super().__init__()
        scale = float(first.scales)
        options = {"bit_width": first.bits, "scaling_init": torch.tensor(scale * max(-first.minimum, first.maximum))}
        if first.signed and first.zero_point:
            raise ValueError("a signed activation has the zero point 0")
        if first.zero_point:
            quantizer = _Shifted.let(zero_point_init=torch.tensor(scale * first.zero_point), **options)
        else:
            quantizer = (_Signed if first.signed else _Unsigned).let(**options)
        self.signed = first.signed
        self.identity = QuantIdentity(act_quant=quantizer, return_quant_tensor=True)

    def forward(self, x: Tensor) -> IntQuantTensor | Tensor:
        """The value with its format; the value alone while switched off."""
        return self.identity(x)

    def switch(self, on: bool) -> None:
        """Quantize, or let values pass."""
        self.identity.act_quant.disable_quant = not on
        self.identity.return_quant_tensor = on

    def qtype(self) -> QType:
        """The format as learned so far."""
        quant = self.identity.act_quant
        with torch.no_grad():
            return QType(int(quant.bit_width()), self.signed, float(quant.scale()), int(quant.zero_point()))


def plain(x: IntQuantTensor | Tensor) -> Tensor:
    """The real values of a tensor, whether it carries a format or not."""
    return x.value if isinstance(x, IntQuantTensor) else x


def like(x: Tensor, format: IntQuantTensor | Tensor) -> IntQuantTensor | Tensor:
    """Values that have moved since they were quantized, with the format of that tensor."""
    if not isinstance(format, IntQuantTensor):
        return x
    return IntQuantTensor(x, format.scale, format.zero_point, format.bit_width, format.signed, format.training)
