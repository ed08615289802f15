"""Which integer format every activation gets, and which nodes are fused, decided before any node is converted.

A value that only linear layers read is narrow: 8 bits, or as few as asked for, with a scale per channel where its producer can
provide one for nothing, since linear layers fold the scales of their input channels into their weights, and likewise an offset per
channel into their bias (RepQ-ViT, arXiv 2212.08254). Operands of attention have the scales that attention wants. Everything else
is the residual stream: wide, with one scale for the tensor and no zero point. Data movement keeps formats, so a value that is only
moved takes the format of where it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Real
from edgeflow.hw.graph import QType
from edgeflow.quant.canonical.base import Training, operator
from edgeflow.quant.canonical.contexts import Wanted
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.linear import LinearLayer
from edgeflow.quant.convert.attention_formats import attention_formats, head_padding, signed_format
from edgeflow.quant.convert.fixed_formats import partly_fixed, produced_format, tensor_format
from edgeflow.quant.convert.widths import Widths
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import AttentionFormats, Demand, HeadPadding, Interpretation
from edgeflow.quant.formats.prequantized import fixed_format, read_format
from edgeflow.quant.formats.ranges import (
    CHANNELS_GAIN,
    SymmetricRange,
    TensorRange,
    asymmetric,
    balanced,
    middle,
    on_grid,
    product_error,
    reach,
    shifted,
    stream_scale,
    symmetric,
    tensor_groups,
)
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.nodes import input_name, output_name


class Plan:
    """Formats, fusions and channel layouts of one network."""

    def __init__(self, graph: FloatGraph, statistics: Mapping[str, Statistics], config: QuantizationConfig) -> None:
        self.graph = graph
        self.statistics = statistics
        self.config = config
        self.widths = Widths(graph, config)
        self.ranges: dict[str, TensorRange] = {}
        self.warnings: dict[str, None] = {}
        self._chosen: dict[str, Interpretation] = {}
        self._attention: dict[str, AttentionFormats] = {}
        self._fused = self._find_fusions()

    # Fusions

    def fused_into(self, name: str) -> ir.Node | None:
        """The activation or addition that absorbs the linear layer which makes ``name``."""
        return self._fused.get(name)

    def fused_linear(self, node: ir.Node) -> ir.Node | None:
        """The linear layer that ``node`` absorbs."""
        for value in node.inputs:
            if value is not None and self._fused.get(str(value.name)) is node:
                return self.graph.producers[str(value.name)]
        return None

    def in_epilogue(self, node: ir.Node) -> bool:
        """Whether a linear layer runs the node in its epilogue."""
        return self.fused_linear(node) is not None

    def _find_fusions(self) -> dict[str, ir.Node]:
        fused: dict[str, ir.Node] = {}
        order = {node: i for i, node in enumerate(self.graph.nodes)}
        for node in self.graph.nodes:
            if not operator(node).fuses:
                continue
            absorbed = [name for i in range(len(node.inputs)) if (name := input_name(node, i)) and self._absorbable(name)]
            absorbed = [name for name in absorbed if self.statistics[name].shape == self.statistics[output_name(node)].shape]
            if absorbed:
                fused[max(absorbed, key=lambda name: order[self.graph.producers[name]])] = node
        return fused

    def _absorbable(self, name: str) -> bool:
        maker = self.graph.operator(name)
        return maker is not None and maker.training is Training.LAYER and self.read_once(name)

    def read_once(self, name: str) -> bool:
        """Whether one node alone reads a value, which is no output of the model."""
        return self.graph.sole_use(name) is not None

    # Formats

    def chosen(self, name: str) -> Interpretation:
        """What the integers of an activation stand for, for the model's own channels."""
        if name not in self._chosen:
            self._chosen[name] = self._decide(name)
        return self._chosen[name]

    def qtype(self, name: str) -> QType:
        """The format of an activation, for the model's own channels."""
        return self.chosen(name).qtype

    def narrow(self, name: str, node: ir.Node) -> QType:
        """The narrow format in which a linear layer reads a copy of a wide value: with a scale per channel, or with one where the
        layer's weights are given."""
        if fixed_format(node, 1) is not None:
            uniform, method = self._uniform_type(name)
            self.record(f"{name}/narrow", name, Interpretation(uniform), "tensor", method)
            return uniform
        chosen, granularity = self._scales(name, None)
        qtype = signed_format(self.widths.activation(name), chosen.scale)
        self.record(f"{name}/narrow", name, Interpretation(qtype), granularity, chosen.method)
        return qtype

    def stream(self, name: str) -> QType:
        """The wide format of a value."""
        stats, bits = self.statistics[name], self.config.residual_bits
        qtype = QType(bits, True, stream_scale(stats, bits, self.config))
        self.record(name, name, Interpretation(qtype), "tensor", "minmax")
        return qtype

    def demands(self, name: str) -> frozenset[Demand]:
        """What the readers of a value want, looking through data movement."""
        demands = {Demand.STREAM} if name in self.graph.outputs else set()
        for use in self.graph.uses_of(name):
            reader = operator(use.node)
            demand = reader.demand(use.index)
            if demand is not Demand.BEHIND:
                demands.add(demand)
                continue
            behind = self.demands(reader.output)
            if not reader.keeps_channels:
                behind = frozenset(Demand.NARROW_UNIFORM if d is Demand.NARROW else d for d in behind)
            # Attention folds scales into its own operands only.
            demands |= {Demand.STREAM if d is Demand.ATTENTION else d for d in behind}
        return frozenset(demands)

    def _decide(self, name: str) -> Interpretation:
        fixed = tensor_format(self.graph, name)
        if fixed is not None and self.provided(name, fixed):
            return self._fixed(name, fixed)
        if fixed is not None or partly_fixed(self.graph, name):
            maker = self.graph.operator(name)
            return Interpretation(self.stream(name)) if maker is None else maker.make_apart(self, name)
        use = self.graph.sole_use(name)
        if use is not None and operator(use.node).moves:
            return self.chosen(output_name(use.node))
        source, uniform = self._source(name)
        maker = self.graph.operator(source)
        if maker is None:
            return self._input(name)
        demands = self.demands(name)
        if use is not None and demands == {Demand.ATTENTION} and self.only_for_attention(name):
            formats = self.attention(use.node)
            return (formats.query, formats.key, formats.value)[use.index]
        leaves = name == source and name in self.graph.outputs and not self.graph.uses_of(name)
        return maker.make(self, Wanted(name, demands, uniform, leaves))

    def only_for_attention(self, name: str) -> bool:
        """Whether attention alone reads a value, without a fixed format, and its operator can produce any scales and offsets."""
        maker, use = self.graph.operator(name), self.graph.sole_use(name)
        return maker is not None and maker.any_scales and use is not None and read_format(use) is None

    def _fixed(self, name: str, qtype: QType) -> Interpretation:
        """A value in the format that the model gives it."""
        produced = produced_format(self.graph, name)
        offset = 0.0 if produced is None else produced[1]
        channels = len(self.statistics[name].mean)
        interpretation = Interpretation(qtype, np.full(channels, offset) if offset else None)
        self.record(name, name, interpretation, "channel" if isinstance(qtype.scale, tuple) else "tensor", "given")
        return interpretation

    def provided(self, name: str, qtype: QType) -> bool:
        """Whether the node that computes a value can produce it in ``qtype``, a format that the model prescribes."""
        maker = self.graph.operator(name)
        if maker is None:
            return name in self.statistics and not isinstance(qtype.scale, tuple)
        return maker.provides(self, qtype)

    def _source(self, name: str) -> tuple[str, bool]:
        """Where a moved value comes from, and whether the way there needs one scale for the tensor."""
        uniform = False
        while True:
            maker = self.graph.operator(name)
            if maker is None or not maker.moves:
                return name, uniform
            uniform |= not maker.keeps_channels
            before = maker.input(0)
            if not maker.keeps_format or not self.read_once(before):
                return name, uniform
            name = before

    # Attention

    def attention(self, node: ir.Node) -> AttentionFormats:
        """Formats around a node of attention (see quant/convert/attention_formats.py)."""
        key = output_name(node)
        if key not in self._attention:
            self._attention[key] = attention_formats(node, self)
        return self._attention[key]

    def head_padding(self, node: ir.Node, index: int) -> HeadPadding | None:
        """The padding of the heads of an attention node's operand to what the accelerator takes; None where they fit as they
        are."""
        return head_padding(node, index, self.statistics)

    # Ranges

    def per_channel(self, name: str) -> Interpretation:
        """Narrow with a scale and an offset per channel; without equalization both are the same for all channels."""
        stats = self.statistics[name]
        if self.config.at(name).equalization:
            offset = middle(stats, self.config.at(name))
        else:
            low, high = reach(stats, tensor_groups(len(stats.mean)), self.config.at(name))
            offset = np.full(len(stats.mean), (low.min() + high.max()) / 2)
        chosen, granularity = self._scales(name, offset)
        interpretation = Interpretation(signed_format(self.widths.activation(name), chosen.scale), offset)
        self.record(name, name, interpretation, granularity, chosen.method)
        return interpretation

    def _scales(self, name: str, offset: Real | None) -> tuple[SymmetricRange, str]:
        """Scales of a narrow signed value less its offset, a number for every channel, and their granularity.

        Where scales follow every channel's own range, the weights that fold them lose what the value gains: the scales are balanced
        between both (see :func:`balanced`)."""
        stats, bits, options = self.statistics[name], self.widths.activation(name), self.config.at(name)
        channels = len(stats.mean)
        if not options.equalization:
            uniform = symmetric(shifted(stats, offset, None), bits, tensor_groups(channels), options)
            return replace(uniform, scale=np.full(channels, uniform.scale[0])), "tensor"
        weight = np.concatenate(self._readers(name), axis=1)
        behind = self.widths.weights_behind(name)
        return balanced(stats, weight, QType(bits, True, 1.0), behind, options, 0.0 if offset is None else offset), "channel"

    def balanced(self, name: str) -> Interpretation:
        """Narrow with a scale per channel that shares the rounding error between the value and the weights that read it.

        Scales that follow each channel's range make the value exact but its outlier channels' weights large (SmoothQuant, arXiv
        2211.10438, section 4): scales between that and one for the tensor are tried, and the one with the least expected squared
        error of the reading layers is taken. The least value of all channels is the offset, as functions such as GELU are bounded
        below; without one-sided formats, 0 is.
        """
        stats, bits, options = self.statistics[name], self.widths.activation(name), self.config.at(name)
        qtype = QType(bits, not options.one_sided, 1.0)
        least = float(reach(stats, tensor_groups(len(stats.mean)), options)[0].min()) if options.one_sided else 0.0
        weight = np.concatenate(self._readers(name), axis=1)
        chosen = balanced(stats, weight, qtype, self.widths.weights_behind(name), options, least)
        offset = np.full(len(stats.mean), least) if options.one_sided else None
        interpretation = Interpretation(replace(qtype, scale=tuple(map(float, chosen.scale))), offset)
        self.record(name, name, interpretation, "channel", chosen.method)
        return interpretation

    def _readers(self, name: str) -> list[Real]:
        """Weights ``(C, N)`` of the linear layers that read a value, directly or after a selection of tokens."""
        weights = []
        for use in self.graph.uses_of(name):
            reader = operator(use.node)
            if reader.moves and reader.keeps_channels:
                weights += self._readers(reader.output)
            elif isinstance(reader, LinearLayer) and reader.operand(use.index).demand is Demand.NARROW:
                weights.append(reader.matrix(self.graph.parameter(use.node, 1)))
        return weights

    def uniform(self, name: str) -> Interpretation:
        """Narrow with one scale."""
        qtype, method = self._uniform_type(name)
        self.record(name, name, Interpretation(qtype), "tensor", method)
        return Interpretation(qtype)

    def _uniform_type(self, name: str) -> tuple[QType, str]:
        stats, bits = self.statistics[name], self.widths.activation(name)
        chosen = symmetric(stats, bits, tensor_groups(len(stats.mean)), self.config.at(name))
        return QType(bits, True, float(chosen.scale[0])), chosen.method

    def _input(self, name: str) -> Interpretation:
        """A model input that linear layers alone read is narrow with one scale, as the host has pixels; or wide, for a narrow copy
        with a scale per channel, where channels are so unequal that the layers' expected error falls clearly. What 8 bits hold
        exactly stays."""
        demands, options = self.demands(name), self.config.at(name)
        if not demands <= {Demand.NARROW, Demand.NARROW_UNIFORM}:
            return Interpretation(self.stream(name))
        uniform, stats, readers = self.asymmetric(name), self.statistics[name], self._readers(name)
        if options.equalization and demands == {Demand.NARROW} and readers and not on_grid(stats, float(uniform.scales)):
            behind = self.widths.weights_behind(name)
            weight = np.concatenate(readers, axis=1)
            by_channel = balanced(stats, weight, QType(uniform.bits, True, 1.0), behind, options)
            if by_channel.error < CHANNELS_GAIN * product_error(stats, weight, uniform, behind, options):
                return Interpretation(self.stream(name))
        return Interpretation(uniform)

    def asymmetric(self, name: str) -> QType:
        bits = self.widths.activation(name)
        chosen = asymmetric(self.statistics[name], bits, self.config.at(name))
        qtype = QType(bits, True, chosen.scale, chosen.zero_point)
        if name in self.graph.inputs and qtype.zero_point == qtype.minimum:
            qtype = QType(bits, False, chosen.scale)  # pixels: what the host holds already
        self.record(name, name, Interpretation(qtype), "tensor", chosen.method)
        return qtype

    def record(self, key: str, name: str, interpretation: Interpretation, granularity: str, method: str) -> None:
        stats, qtype = self.statistics[name], interpretation.qtype
        offset = 0.0 if interpretation.offset is None else interpretation.offset
        low, high = (qtype.dequantize(np.array([end])) + offset for end in (qtype.minimum, qtype.maximum))
        self.ranges[key] = TensorRange(
            name=key,
            bits=qtype.bits,
            granularity=granularity,
            method=method,
            minimum=float(stats.minimum.min()),
            maximum=float(stats.maximum.max()),
            clip_low=float(low.min()),
            clip_high=float(high.max()),
        )
