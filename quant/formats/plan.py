"""Which integer format every activation gets, and which nodes are fused, decided before any node is converted.

A value that only linear layers read is narrow: 8 bits, or as few as asked for, with a scale per channel where its producer can
provide one for nothing, since linear layers fold the scales of their input channels into their weights, and likewise an offset per
channel into their bias (RepQ-ViT, arXiv 2212.08254). Operands of attention have the scales that attention wants. Everything else
is the residual stream: wide, with one scale for the tensor and no zero point. Data movement keeps formats, so a value that is only
moved takes the format of where it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arithmetic import dyadic
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import QType
from edgeflow.hw.ops.attention import MAXIMUM_HEAD, MAXIMUM_OUTPUT_SHIFT, NUMERATOR_BITS, padded_head
from edgeflow.quant.canonical.graph import FloatGraph, input_name, origin, output_name, parameter, required_input
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.observe import Statistics
from edgeflow.quant.formats.prequantized import given_format, made_format, partly_given, read_format, tensor_format
from edgeflow.quant.formats.ranges import (
    CHANNELS_GAIN,
    SCALE_SPREAD,
    SymmetricRange,
    TensorRange,
    asymmetric,
    balanced,
    channel_groups,
    head_groups,
    joined,
    magnitudes,
    middle,
    on_grid,
    product_error,
    reach,
    shifted,
    stream_scale,
    symmetric,
    tensor_groups,
)
from edgeflow.quant.formats.widths import EMBEDDINGS, LINEAR, MOVES, Widths

SAME_SCALE = 1e-5  # relative: products and ratios of scales that were rounded to float32
NUMERATOR_ERROR = 1e-3  # relative, that 16-bit numerators may put into a given scale
NUMERATOR_LIMIT = (1 << NUMERATOR_BITS) - 1
ZERO_POINTS = frozenset(("Linear", "PatchEmbed", "LayerNormalization", "Concat"))  # operators that make tensors with a zero point
CHANNEL_SCALES = frozenset((*LINEAR, "LayerNormalization", "SelectTokens", "Attention"))  # that make tensors with them

UNARY = frozenset(
    (
        *("Abs", "Celu", "Clip", "Cos", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish"),
        *("QuickGelu", "Reciprocal", "Relu", "Selu", "Sigmoid", "Silu", "Sin", "Softplus", "Softsign", "Sqrt", "Tanh"),
    )
)


class Demand(Enum):
    """How a reader wants its operand."""

    NARROW = "narrow"  # up to 8 bits, a scale per channel
    NARROW_UNIFORM = "narrow uniform"  # up to 8 bits, one scale
    ATTENTION = "attention"
    STREAM = "stream"
    CONTROL = "control"  # masks and token ids: integers by nature


@dataclass(frozen=True)
class Interpretation:
    """What an activation's integers stand for: ``(q - zero_point) * scale + offset``. ``offset (C,)`` is known to the readers of
    a narrow tensor alone; None stands for zeros."""

    qtype: QType
    offset: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class AttentionFormats:
    """Formats of an attention node's operands and output, for the channels of the model (head padding left out).

    ``score_scale (heads,)`` is what one unit of an integer score stands for in the model's q . k; ``numerator (heads,)`` over
    ``2^output_shift`` is the values' scale over that of the output.
    """

    query: Interpretation
    key: Interpretation
    value: Interpretation
    output: Interpretation
    score_scale: NDArray[np.float64]
    numerator: IntArray
    output_shift: int


@dataclass(frozen=True)
class HeadPadding:
    """Where the model's channels stand, ``positions (C,)``, among the ``size`` channels of an attention node with padded heads."""

    positions: NDArray[np.int64]
    size: int


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

    def _find_fusions(self) -> dict[str, ir.Node]:
        fused: dict[str, ir.Node] = {}
        order = {node: i for i, node in enumerate(self.graph.nodes)}
        for node in self.graph.nodes:
            if node.op_type not in UNARY and node.op_type != "Add":
                continue
            made = [name for i in range(len(node.inputs)) if (name := input_name(node, i)) and self._absorbable(name)]
            if node.op_type == "Add" and len({str(v.name) for v in node.inputs if v is not None}) < 2:
                continue
            made = [name for name in made if self.statistics[name].shape == self.statistics[output_name(node)].shape]
            if made:
                fused[max(made, key=lambda name: order[self.graph.producers[name]])] = node
        return fused

    def _absorbable(self, name: str) -> bool:
        producer = self.graph.producers.get(name)
        return producer is not None and producer.op_type in LINEAR and self.graph.sole_use(name) is not None

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
        if given_format(node, 1) is not None:
            uniform, method = self._uniform_type(name)
            self._record(f"{name}/narrow", name, Interpretation(uniform), "tensor", method)
            return uniform
        chosen, granularity = self._scales(name, None)
        qtype = _signed(self.widths.activation(name), chosen.scale)
        self._record(f"{name}/narrow", name, Interpretation(qtype), granularity, chosen.method)
        return qtype

    def stream(self, name: str) -> QType:
        """The wide format of a value."""
        stats, bits = self.statistics[name], self.config.residual_bits
        qtype = QType(bits, True, stream_scale(stats, bits, self.config))
        self._record(name, name, Interpretation(qtype), "tensor", "minmax")
        return qtype

    def demands(self, name: str) -> set[Demand]:
        """What the readers of a value want, looking through data movement."""
        found = {Demand.STREAM} if name in self.graph.outputs else set()
        for use in self.graph.uses_of(name):
            op = use.node.op_type
            if op in MOVES:
                behind = self.demands(output_name(use.node))
                if op != "SelectTokens":
                    behind = {Demand.NARROW_UNIFORM if d is Demand.NARROW else d for d in behind}
                # Attention folds scales into its own operands only.
                found |= {Demand.STREAM if d is Demand.ATTENTION else d for d in behind}
            elif op == "Linear":  # given weights cannot fold scales
                found.add(Demand.NARROW if given_format(use.node, 1) is None else Demand.NARROW_UNIFORM)
            elif op == "PatchEmbed":
                found.add(Demand.NARROW_UNIFORM)
            elif op == "Attention":
                found.add(Demand.ATTENTION if use.index < 3 else Demand.CONTROL)
            elif (op == "MeanPool" and use.index == 1) or op in (*EMBEDDINGS, "Attends"):
                found.add(Demand.CONTROL)
            else:
                found.add(Demand.STREAM)
        return found

    def _decide(self, name: str) -> Interpretation:
        given = tensor_format(self.graph, name)
        if given is not None and self._provided(name, given):
            return self._given(name, given)
        if given is not None or partly_given(self.graph, name):
            return self._ungiven(name)
        use = self.graph.sole_use(name)
        if use is not None and use.node.op_type in MOVES:
            return self.chosen(output_name(use.node))
        source, uniform = self._source(name)
        producer = self.graph.producers.get(source)
        if producer is None:
            return self._input(name)
        op = producer.op_type
        if op in (*MOVES, "SelectChannels") and op != "Concat":
            return self.chosen(required_input(producer, 0))  # a shared value that is moved: the move keeps its format
        if op == "Attention":
            return self.attention(producer).output
        if op == "Softmax":
            leaves = name == source and name in self.graph.outputs and not self.graph.uses_of(name)
            bits = self.config.softmax_bits if leaves else self.config.residual_bits
            return Interpretation(QType(bits, False, 1.0 / ((1 << bits) - 1)))
        demands = self.demands(name)
        if use is not None and demands == {Demand.ATTENTION} and self._own(name):
            formats = self.attention(use.node)
            return (formats.query, formats.key, formats.value)[use.index]
        if demands <= {Demand.NARROW, Demand.NARROW_UNIFORM}:
            options = self.config.at(name)
            equalize = options.equalization and not uniform and demands == {Demand.NARROW}
            if equalize and op in UNARY and self.fused_linear(producer) is not None:
                return self._balanced(name)
            if op in UNARY:
                return Interpretation(self._asymmetric(name)) if options.one_sided else self._uniform(name)
            if op in ("Linear", "PatchEmbed", "LayerNormalization"):
                return self._uniform(name) if uniform or Demand.NARROW_UNIFORM in demands else self._per_channel(name)
        return Interpretation(self.stream(name))

    def _given(self, name: str, qtype: QType) -> Interpretation:
        """A value in the format that the model gives it."""
        made = made_format(self.graph, name)
        offset = 0.0 if made is None else made[1]
        channels = len(self.statistics[name].mean)
        found = Interpretation(qtype, np.full(channels, offset) if offset else None)
        self._record(name, name, found, "channel" if isinstance(qtype.scale, tuple) else "tensor", "given")
        return found

    def _provided(self, name: str, given: QType) -> bool:
        """Whether what makes a value can make it in a given format."""
        producer = self.graph.producers.get(name)
        by_channel = isinstance(given.scale, tuple)
        if producer is None:
            return name in self.statistics and not by_channel
        op = producer.op_type
        fused = self.fused_linear(producer) is not None
        if by_channel and op not in CHANNEL_SCALES and not (op in UNARY and fused):
            return False
        if op in ("Softmax", "SelectChannels"):
            return False
        if op in MOVES and op != "Concat":  # moved and nothing else: what is moved has the same format
            source = required_input(producer, 0)
            return self.graph.sole_use(source) is not None and self._provided(source, given)
        if op == "Attention":
            return given == self.attention(producer).output.qtype
        return given.zero_point == 0 or fused or op in ZERO_POINTS or op in UNARY

    def _ungiven(self, name: str) -> Interpretation:
        """The format of a value that its readers read in formats of their own, each in a copy."""
        producer = self.graph.producers.get(name)
        if producer is not None and producer.op_type in ("SelectTokens", "SelectChannels", "Reshape", "Transpose"):
            source = required_input(producer, 0)
            if producer.op_type != "SelectChannels" and self.graph.sole_use(source) is not None:
                return Interpretation(self.stream(name))  # which is then the format of the source, too
            return self.chosen(source)
        if producer is not None and producer.op_type == "Attention":
            return self.attention(producer).output
        if producer is not None and producer.op_type == "Softmax":
            return Interpretation(QType(self.config.residual_bits, False, 1.0 / ((1 << self.config.residual_bits) - 1)))
        return Interpretation(self.stream(name))

    def _source(self, name: str) -> tuple[str, bool]:
        """Where a moved value comes from, and whether the way there needs one scale for the tensor."""
        uniform = False
        while True:
            node = self.graph.producers.get(name)
            if node is None or node.op_type not in MOVES:
                return name, uniform
            uniform |= node.op_type != "SelectTokens"
            before = required_input(node, 0)
            if node.op_type == "Concat" or self.graph.sole_use(before) is None:
                return name, uniform
            name = before

    # Attention

    def attention(self, node: ir.Node) -> AttentionFormats:
        """Formats around an attention node.

        Query and key channels are equalised: channel d of the queries is divided by, and of the keys multiplied with,
        sqrt(max|q_d| / max|k_d|), which leaves every product as it is; then one scale a head serves both. Keys are centred: an
        offset of all keys adds the same to every score of a query, which softmax does not see. Values have a scale and an offset
        per channel, which the output keeps, its scale times one ratio a head, for the projection to fold; where something else
        than linear layers reads the output, values have one scale a head and the output one scale.
        """
        key = output_name(node)
        if key not in self._attention:
            self._attention[key] = self._attention_formats(node)
        return self._attention[key]

    def _attention_formats(self, node: ir.Node) -> AttentionFormats:
        q, k = (required_input(node, i) for i in range(2))
        heads = node.attributes.get_int("heads")
        assert heads is not None
        q_stats, k_stats = (self.statistics[name] for name in (q, k))
        channels = q_stats.shape[-1]
        options = self.config.at(q)  # queries and keys are one site
        bits, equalize = options.attention_bits, options.equalization
        given_q, given_k, given_v = (self._attention_operand(node, i) for i in range(3))
        groups = head_groups(channels, heads)
        if given_q is not None and given_k is not None:
            return self._attention_output(node, given_q, given_k, given_v, self._score_scale(node, given_q, given_k, groups))
        if any(given_format(node, i) is not None for i in range(2)):  # a copy of a tensor with a zero point has one scale
            groups, equalize = tensor_groups(channels), False
        k_offset = middle(k_stats, options) if self._own(k) and equalize else None
        centred = shifted(k_stats, k_offset, None)
        q_max, k_max = (magnitudes(s, options) for s in (q_stats, centred))
        balance = np.sqrt(q_max / k_max) if equalize else np.ones(channels)
        both = joined(shifted(q_stats, None, 1.0 / balance), shifted(centred, None, balance))
        chosen = symmetric(both, bits, groups, options)
        scale = chosen.scale[groups]
        query = Interpretation(_signed(bits, scale * balance))
        key = Interpretation(_signed(bits, scale / balance), k_offset)
        self._record(q, q, query, "head", chosen.method)
        self._record(k, k, key, "head", chosen.method)
        return self._attention_output(node, query, key, given_v, self._score_scale(node, query, key, head_groups(channels, heads)))

    def _score_scale(
        self, node: ir.Node, query: Interpretation, key: Interpretation, groups: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """What one unit of each head's scores stands for: the product of the scales of any of its channels, which are all the same.

        UnsupportedError where they are not."""
        product = np.broadcast_to(query.qtype.scales * key.qtype.scales, groups.shape)
        first = _first(product, groups)
        if not _same_scales(product, first[groups]):
            raise UnsupportedError(
                f"{origin(node)}: queries and keys have scales by channel whose products differ within a head; quantize them by"
                " head or by tensor"
            )
        return first

    def _attention_output(
        self,
        node: ir.Node,
        query: Interpretation,
        key: Interpretation,
        value: Interpretation | None,
        score_scale: NDArray[np.float64],
    ) -> AttentionFormats:
        """The formats around attention with those of queries and keys decided; ``value`` is that of the values if it is given."""
        v, output, bits = required_input(node, 2), output_name(node), self.config.attention_bits
        v_stats = self.statistics[v]
        heads = len(score_scale)
        groups = head_groups(v_stats.shape[-1], heads)
        fixed, equalize = given_format(node, 2) is not None, self.config.at(v).equalization
        shared = tensor_groups(len(groups)) if fixed else groups  # a copy of a tensor with a zero point has one scale
        asked = tensor_format(self.graph, output)
        if value is not None and asked is not None and isinstance(asked.scale, tuple):
            ratio = np.broadcast_to(value.qtype.scales, groups.shape) / asked.scales
            first = _first(ratio, groups)
            numerator, shift = numerators(first)
            if _same_scales(ratio, first[groups]) and np.abs(numerator * 2.0**-shift / first - 1.0).max() < NUMERATOR_ERROR:
                return AttentionFormats(query, key, value, Interpretation(asked), score_scale, numerator, shift)
        if asked is None and self.demands(output) <= {Demand.NARROW}:
            value = value or self._values(v, shared, equalize and not fixed)
            v_scale = np.broadcast_to(value.qtype.scales, groups.shape)
            narrow = self.widths.activation(output)
            seen = shifted(self.statistics[output], value.offset, 1.0 / v_scale)
            relative = symmetric(seen, narrow, groups, self.config.at(output))
            # The output's scales follow the rounded numerators: readers fold them, so that the rounding costs nothing.
            numerator, shift = numerators(1.0 / relative.scale)
            out = Interpretation(_signed(narrow, v_scale * (2.0**shift / numerator)[groups]), value.offset)
            self._record(output, output, out, "channel", relative.method)
        else:
            if value is None:
                v_range = symmetric(v_stats, bits, shared, self.config.at(v))
                value = Interpretation(_signed(bits, v_range.scale[shared]))
                self._record(v, v, value, "head", v_range.method)
            by_head = np.broadcast_to(value.qtype.scales, groups.shape)[:: len(groups) // heads]
            taken = asked is not None and asked.zero_point == 0 and isinstance(asked.scale, float)
            stream = asked if taken and asked is not None else self.stream(output)
            # An output that is next to nothing beside the values must not ask for more than the largest numerator.
            stream = replace(stream, scale=max(float(stream.scales), float(by_head.max()) / NUMERATOR_LIMIT))
            out = Interpretation(stream)
            numerator, shift = numerators(by_head / float(stream.scales))
        return AttentionFormats(query, key, value, out, score_scale, numerator, shift)

    def _attention_operand(self, node: ir.Node, index: int) -> Interpretation | None:
        """What an operand of attention stands for if that is given and attention can take it: signed, without zero point."""
        given, name = given_format(node, index), required_input(node, index)
        if given is None:
            return None
        if not given.signed or given.zero_point or given.bits > 8:
            self.warnings[
                f"{origin(node)}: attention takes signed operands of at most 8 bits without zero point; {name!r}, which the model"
                f" has in {given.bits} bits with the zero point {given.zero_point}, is quantized once more"
            ] = None
            return None
        return self.chosen(name) if tensor_format(self.graph, name) == given else Interpretation(given)

    def _own(self, name: str) -> bool:
        """Whether a linear layer makes an attention operand for that alone, in no given format: it then provides any scales and
        offsets."""
        producer, use = self.graph.producers.get(name), self.graph.sole_use(name)
        return producer is not None and producer.op_type == "Linear" and use is not None and read_format(use) is None

    def head_padding(self, node: ir.Node, index: int) -> HeadPadding | None:
        """The padding of the heads of an attention node's operand to what the accelerator takes; None where they fit as they are.

        Heads of values, and of the output, are padded to those of queries and keys, and the other way round. UnsupportedError for
        heads that are too wide.
        """
        heads = node.attributes.get_int("heads")
        assert heads is not None
        sizes = [self.statistics[required_input(node, i)].shape[-1] // heads for i in range(3)]
        padded, size = padded_head(max(sizes)), sizes[index]
        if padded > MAXIMUM_HEAD:
            raise UnsupportedError(f"{origin(node)}: attention takes heads of at most {MAXIMUM_HEAD} channels, not {max(sizes)}")
        if padded == size:
            return None
        return HeadPadding((np.arange(heads)[:, None] * padded + np.arange(size)).reshape(-1), heads * padded)

    # Ranges

    def _values(self, name: str, groups: NDArray[np.int64], equalize: bool) -> Interpretation:
        """Values of attention with a scale and, where a linear layer makes them for that alone, an offset per channel; or, without
        equalization, a scale a group."""
        stats = self.statistics[name]
        offset = middle(stats, self.config.at(name)) if equalize and self._own(name) else None
        groups = channel_groups(len(groups)) if equalize else groups
        chosen = symmetric(shifted(stats, offset, None), self.config.attention_bits, groups, self.config.at(name))
        made = Interpretation(_signed(self.config.attention_bits, _within_reach(chosen.scale[groups])), offset)
        self._record(name, name, made, "channel" if equalize else "head", chosen.method)
        return made

    def _per_channel(self, name: str) -> Interpretation:
        """Narrow with a scale and an offset per channel; without equalization both are the same for all channels."""
        stats = self.statistics[name]
        if self.config.at(name).equalization:
            offset = middle(stats, self.config.at(name))
        else:
            low, high = reach(stats, tensor_groups(len(stats.mean)), self.config.at(name))
            offset = np.full(len(stats.mean), (low.min() + high.max()) / 2)
        chosen, granularity = self._scales(name, offset)
        made = Interpretation(_signed(self.widths.activation(name), chosen.scale), offset)
        self._record(name, name, made, granularity, chosen.method)
        return made

    def _scales(self, name: str, offset: NDArray[np.float64] | None) -> tuple[SymmetricRange, str]:
        """Scales of a narrow signed value less its offset, a number for every channel, and their granularity.

        Where scales follow every channel's own range, the weights that fold them lose what the value gains: the scales are balanced
        between both (see :func:`balanced`)."""
        stats, bits, options = self.statistics[name], self.widths.activation(name), self.config.at(name)
        channels = len(stats.mean)
        if not options.equalization:
            found = symmetric(shifted(stats, offset, None), bits, tensor_groups(channels), options)
            return replace(found, scale=np.full(channels, found.scale[0])), "tensor"
        weight = np.concatenate(self._readers(name), axis=1)
        behind = self.widths.weights_behind(name)
        return balanced(stats, weight, QType(bits, True, 1.0), behind, options, 0.0 if offset is None else offset), "channel"

    def _balanced(self, name: str) -> Interpretation:
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
        made = Interpretation(replace(qtype, scale=tuple(map(float, chosen.scale))), offset)
        self._record(name, name, made, "channel", chosen.method)
        return made

    def _readers(self, name: str) -> list[NDArray[np.float64]]:
        """Weights ``(C, N)`` of the linear layers that read a value, directly or after a selection of tokens."""
        found = []
        for use in self.graph.uses_of(name):
            if use.node.op_type == "Linear":
                found.append(parameter(self.graph, use.node, 1))
            elif use.node.op_type == "SelectTokens":
                found += self._readers(output_name(use.node))
        return found

    def _uniform(self, name: str) -> Interpretation:
        """Narrow with one scale."""
        qtype, method = self._uniform_type(name)
        self._record(name, name, Interpretation(qtype), "tensor", method)
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
        uniform, stats, readers = self._asymmetric(name), self.statistics[name], self._readers(name)
        if options.equalization and demands == {Demand.NARROW} and readers and not on_grid(stats, float(uniform.scales)):
            behind = self.widths.weights_behind(name)
            weight = np.concatenate(readers, axis=1)
            by_channel = balanced(stats, weight, QType(uniform.bits, True, 1.0), behind, options)
            if by_channel.error < CHANNELS_GAIN * product_error(stats, weight, uniform, behind, options):
                return Interpretation(self.stream(name))
        return Interpretation(uniform)

    def _asymmetric(self, name: str) -> QType:
        bits = self.widths.activation(name)
        chosen = asymmetric(self.statistics[name], bits, self.config.at(name))
        qtype = QType(bits, True, chosen.scale, chosen.zero_point)
        if name in self.graph.inputs and qtype.zero_point == qtype.minimum:
            qtype = QType(bits, False, chosen.scale)  # pixels: what the host holds already
        self._record(name, name, Interpretation(qtype), "tensor", chosen.method)
        return qtype

    def _record(self, key: str, name: str, made: Interpretation, granularity: str, method: str) -> None:
        stats, qtype = self.statistics[name], made.qtype
        offset = 0.0 if made.offset is None else made.offset
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


def numerators(factor: NDArray[np.float64]) -> tuple[IntArray, int]:
    """Numerators from 1 to 2^16 - 1, one a head, and their common shift, the largest that fits: ``factor`` is next to
    ``numerator / 2^shift``."""
    shift = dyadic(factor, NUMERATOR_BITS)[1]
    shift = min(shift, MAXIMUM_OUTPUT_SHIFT)
    words = np.clip(np.floor(factor * 2.0**shift + 0.5), 1, NUMERATOR_LIMIT)
    return words.astype(np.int64), shift


def _first(values: NDArray[np.float64], groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """The value of the first channel of each group; channels of a group stand side by side."""
    found: NDArray[np.float64] = values[np.searchsorted(groups, np.arange(groups.max() + 1))]
    return found


def _same_scales(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether scales are the same but for what rounding to float32 does to them."""
    return bool(np.abs(a / b - 1.0).max() < SAME_SCALE)


def _signed(bits: int, scale: NDArray[np.float64]) -> QType:
    """A signed format with a scale for every channel."""
    return QType(bits, True, tuple(map(float, scale)))


def _within_reach(scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scales of channels that hardly vary, raised so that multipliers with a common shift can serve all channels."""
    raised: NDArray[np.float64] = np.maximum(scale, scale.max() / SCALE_SPREAD)
    return raised
