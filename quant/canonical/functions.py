"""Elementwise functions of one tensor: tables, in a linear layer's epilogue or alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.graph import Node, QType
from edgeflow.hw.ops.smooth import ENTRY_BITS, smooth_parameters
from edgeflow.quant.canonical.base import Commutes, Constants, FloatOperator, Operand, Scaling, Shape, Training, register
from edgeflow.quant.canonical.contexts import Conversion, Export, Formats, Function, Wanted
from edgeflow.quant.canonical.linear import LinearLayer
from edgeflow.quant.canonical.sketch import Sketch
from edgeflow.quant.canonical.tables import delta_reach, index_range, index_type, rectifier_delta, table_values
from edgeflow.quant.formats.interpretation import Demand, Interpretation
from edgeflow.quant.formats.prequantized import INDEX, fixed_format
from edgeflow.quant.integers.parameters import as_words
from edgeflow.quant.nodes import DOMAIN

if TYPE_CHECKING:
    from torch import Tensor

TABLE_BITS = 10  # index width of a table that stands alone
EPILOGUE_BITS = 10  # of the table in a linear layer's epilogue
ENTRY_LIMIT = (1 << 15) - 1  # of that table
LARGEST = 3.4028234663852886e38  # of float32


class ElementwiseFunction(FloatOperator):
    """What elementwise functions of one tensor share."""

    domain = ""
    description = "elementwise"
    operands = (Operand("x", Demand.STREAM),)
    attributes: ClassVar[tuple[str, ...]] = ()
    bodies: ClassVar[Mapping[str, str]] = {}
    commutes = Commutes.ELEMENTS
    constants = Constants.FIXED
    training = Training.REAL
    fuses = True
    tabulated = True
    least: ClassVar[float | None] = None  # above which it is defined; None: everywhere
    example_attributes: ClassVar[Mapping[str, Any]] = {}
    saturates: ClassVar[bool] = False  # it is the saturation of a format whose least integer stands for 0

    @abstractmethod
    def torch(self, *operands: Tensor) -> Tensor:
        """The function in torch."""

    @classmethod
    def example(cls, sketch: Sketch) -> None:
        """The function in a linear layer's epilogue, and alone, of values where it is defined."""
        x = sketch.input(6, 24, least=cls.least)
        constants = sketch.rng.normal(size=(24, 40)) / 24**0.5, 0.3 * sketch.rng.normal(size=40)
        weight, bias = (np.asarray(c if cls.least is None else np.abs(c), np.float32) for c in constants)
        inner = sketch.node("Linear", x, sketch.constant(weight), sketch.constant(bias))
        sketch.output(sketch.node(cls.name, x, **cls.example_attributes), 6, 24)
        sketch.output(sketch.linear(sketch.node(cls.name, inner, **cls.example_attributes), 40, 9), 6, 9)

    def check(self, shape: Shape) -> str | None:
        return None

    def make(self, plan: Formats, wanted: Wanted) -> Interpretation:
        if not wanted.narrow:
            return Interpretation(plan.stream(wanted.name))
        options = plan.config.at(wanted.name)
        if options.equalization and wanted.by_channel and plan.in_epilogue(self.node):
            return plan.balanced(wanted.name)
        return Interpretation(plan.asymmetric(wanted.name)) if options.one_sided else plan.uniform(wanted.name)

    def make_apart(self, plan: Formats, name: str) -> Interpretation:
        return Interpretation(plan.stream(name))

    def provides(self, plan: Formats, qtype: QType) -> bool:
        return not isinstance(qtype.scale, tuple) or plan.in_epilogue(self.node)

    def export(self, export: Export, maker: Node | None) -> list[str] | str:
        source = self.input(0)
        return [export.exact(source) if export.absorbed(source) else export.operand(self.node, 0)]

    def convert(self, context: Conversion) -> None:
        """A function that no linear layer absorbed: of a wide tensor, ReLU minus a table where it has that form; else requantize to
        the index of an exact table."""
        source, output = self.input(0), self.output
        out, stream = context.chosen(output).qtype, context.stream(source, self.node)
        function = context.function(self.node)
        if context.qtype(stream).bits > TABLE_BITS and self._convert_smooth(function, stream, out, context):
            return
        wanted = fixed_format(self.node, INDEX)
        if wanted is None:
            ends = index_range(context.statistics[source], function, TABLE_BITS, context.config.at(source))
            wanted = index_type(*ends, TABLE_BITS)
        index = context.requantize(stream, wanted, f"{output}/index", self.origin)
        entries = out.quantize(table_values(function, wanted))
        table = context.add_constant(f"{output}/table", entries, out.bits, out.signed)
        context.set(output, context.add_node("table", [index, table], output, out, self.origin, {"minimum": wanted.minimum}))

    def _convert_smooth(self, function: Function, source: str, out: QType, context: Conversion) -> bool:
        """A smooth rectifier of a wide tensor: ReLU minus an interpolated table. False if the function or its scales are not
        that."""
        x, output = context.qtype(source), self.output
        step, fine = float(x.scales), float(out.scales)
        limit = (max(-x.minimum, x.maximum) + 1) * step
        delta = rectifier_delta(function, limit)
        if delta is None:
            return False
        reach = delta_reach(delta, limit, fine / 8)
        try:
            attributes, table = smooth_parameters(delta, reach, step, fine, (out.bits, out.signed, out.zero_point))
        except ValueError:
            return False
        constant = context.add_constant(f"{output}/table", table, ENTRY_BITS)
        context.set(output, context.add_node("smooth", [source, constant], output, out, self.origin, attributes))
        return True

    def convert_fused(self, layer: FloatOperator, context: Conversion) -> None:
        """The function in the epilogue of the linear layer before it."""
        assert isinstance(layer, LinearLayer)
        before, value = layer.output, self.output
        chosen = context.chosen(value)
        out = chosen.qtype
        if self.saturates and out.zero_point == out.minimum and (chosen.offset is None or not chosen.offset.any()):
            inputs, attributes = layer.integer_layer(context, value, chosen)
            context.set(value, context.add_node("linear", inputs, value, out, layer.origin, attributes))
            return
        function = context.function(self.node)
        index = fixed_format(self.node, INDEX)
        if index is None:
            ends = index_range(context.statistics[before], function, EPILOGUE_BITS, context.config.at(before))
            index = index_type(*ends, EPILOGUE_BITS)
        context.note_index(before, index)
        inputs, attributes = layer.integer_layer(context, value, Interpretation(index), table=True)
        # Entries hold the function above what the output's integer 0 stands for, as finely as 16 bits go.
        zero = float(chosen.offset[0]) if chosen.offset is not None else -out.zero_point * float(out.scales.max())
        values = table_values(function, index) - zero
        step = max(float(np.abs(values).max()), 1e-12) / ENTRY_LIMIT
        channels = context.type(inputs[1]).shape[0]
        multiplier, shift = dyadic(np.broadcast_to(step / out.scales, (channels,)), context.config.short_multiplier_bits)
        inputs.append(context.add_constant(f"{value}/table", as_words(values / step), 16))
        inputs.append(context.add_constant(f"{value}/output_multiplier", multiplier, 32))
        attributes |= {"has_table": True, "index_bits": index.bits, "output_shift": shift}
        context.set(value, context.add_node("linear", inputs, value, out, layer.origin, attributes))


@register
class Abs(ElementwiseFunction):
    """``|x|``."""

    name = "Abs"

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].abs()


@register
class Celu(ElementwiseFunction):
    """``max(0, x) + min(0, alpha (exp(x / alpha) - 1))``."""

    name = "Celu"
    attributes = ("alpha",)

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.celu(operands[0], self.number("alpha", 1.0))


@register
class Clip(ElementwiseFunction):
    """The nearest number within two constants."""

    name = "Clip"
    domain = DOMAIN
    example_attributes: ClassVar[Mapping[str, Any]] = {"minimum": -1.5, "maximum": 2.0}
    attributes = ("minimum", "maximum")
    bodies: ClassVar[Mapping[str, str]] = {
        "": """<minimum, maximum> (x) => (y) {
            low = Constant <value_float: float = @minimum> ()
            high = Constant <value_float: float = @maximum> ()
            y = Clip (x, low, high)
        }"""
    }

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].clamp(self.number("minimum", -LARGEST), self.number("maximum", LARGEST))


@register
class Cos(ElementwiseFunction):
    """Cosine."""

    name = "Cos"

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].cos()


@register
class Elu(ElementwiseFunction):
    """``x`` where positive, else ``alpha (exp(x) - 1)``."""

    name = "Elu"
    attributes = ("alpha",)

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.elu(operands[0], self.number("alpha", 1.0))


@register
class Erf(ElementwiseFunction):
    """The error function."""

    name = "Erf"

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].erf()


@register
class Exp(ElementwiseFunction):
    """Exponential."""

    name = "Exp"

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].exp()


@register
class Gelu(ElementwiseFunction):
    """``x`` times the normal distribution's probability of at most ``x``, or its approximation by tanh."""

    name = "Gelu"
    attributes = ("approximate",)

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.gelu(operands[0], approximate=self.node.attributes.get_string("approximate", "none") or "none")


@register
class HardSigmoid(ElementwiseFunction):
    """``alpha x + beta`` between 0 and 1."""

    name = "HardSigmoid"
    attributes = ("alpha", "beta")

    def torch(self, *operands: Tensor) -> Tensor:
        return (self.number("alpha", 0.2) * operands[0] + self.number("beta", 0.5)).clamp(0.0, 1.0)


@register
class HardSwish(ElementwiseFunction):
    """``x`` times ``x / 6 + 1 / 2`` between 0 and 1."""

    name = "HardSwish"

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.hardswish(operands[0])


@register
class LeakyRelu(ElementwiseFunction):
    """``x`` where positive, else ``alpha x``."""

    name = "LeakyRelu"
    attributes = ("alpha",)

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.leaky_relu(operands[0], self.number("alpha", 0.01))


@register
class Log(ElementwiseFunction):
    """Natural logarithm."""

    name = "Log"
    least = 0.5

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].log()


@register
class Mish(ElementwiseFunction):
    """``x tanh(softplus(x))``."""

    name = "Mish"

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.mish(operands[0])


@register
class QuickGelu(ElementwiseFunction):
    """``x sigmoid(1.702 x)``."""

    name = "QuickGelu"
    domain = DOMAIN
    bodies: ClassVar[Mapping[str, str]] = {
        "": """(x) => (y) {
            slope = Constant <value_float = 1.702> ()
            steep = Mul (x, slope)
            gate = Sigmoid (steep)
            y = Mul (x, gate)
        }"""
    }

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0] * (1.702 * operands[0]).sigmoid()


@register
class Reciprocal(ElementwiseFunction):
    """``1 / x``."""

    name = "Reciprocal"
    least = 0.5

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].reciprocal()


@register
class Relu(ElementwiseFunction):
    """``max(0, x)``."""

    name = "Relu"
    saturates = True
    scaling = Scaling.HOMOGENEOUS

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].relu()


@register
class Selu(ElementwiseFunction):
    """``gamma`` times ``x`` where positive, else times ``alpha (exp(x) - 1)``."""

    name = "Selu"
    attributes = ("alpha", "gamma")

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return self.number("gamma", 1.0507010) * functional.elu(operands[0], self.number("alpha", 1.6732632))


@register
class Sigmoid(ElementwiseFunction):
    """``1 / (1 + exp(-x))``."""

    name = "Sigmoid"

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].sigmoid()


@register
class Silu(ElementwiseFunction):
    """``x sigmoid(x)``."""

    name = "Silu"
    domain = DOMAIN
    bodies: ClassVar[Mapping[str, str]] = {
        "": """(x) => (y) {
            gate = Sigmoid (x)
            y = Mul (x, gate)
        }"""
    }

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.silu(operands[0])


@register
class Sin(ElementwiseFunction):
    """Sine."""

    name = "Sin"

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].sin()


@register
class Softplus(ElementwiseFunction):
    """``log(1 + exp(x))``."""

    name = "Softplus"

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.softplus(operands[0])


@register
class Softsign(ElementwiseFunction):
    """``x / (1 + |x|)``."""

    name = "Softsign"

    def torch(self, *operands: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.softsign(operands[0])


@register
class Sqrt(ElementwiseFunction):
    """Square root."""

    name = "Sqrt"
    least = 0.5

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].sqrt()


@register
class Tanh(ElementwiseFunction):
    """Hyperbolic tangent."""

    name = "Tanh"

    def torch(self, *operands: Tensor) -> Tensor:
        return operands[0].tanh()
