"""Formats of attention's operands and outputs: scales by head, balanced between queries and keys; values by channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Real
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import QType
from edgeflow.hw.ops.attention import MAXIMUM_HEAD, padded_head
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.convert.fixed_formats import tensor_format
from edgeflow.quant.convert.widths import Widths
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.formats.interpretation import AttentionFormats, Demand, HeadPadding, Interpretation
from edgeflow.quant.formats.prequantized import fixed_format
from edgeflow.quant.formats.ranges import (
    SCALE_SPREAD,
    channel_groups,
    head_groups,
    joined,
    magnitudes,
    middle,
    shifted,
    symmetric,
    tensor_groups,
)
from edgeflow.quant.formats.statistics import Statistics
from edgeflow.quant.integers.heads import NUMERATOR_LIMIT, numerators
from edgeflow.quant.nodes import origin, output_name, required_input

SAME_SCALE = 1e-5  # relative: products and ratios of scales that were rounded to float32
NUMERATOR_ERROR = 1e-3  # relative, that 16-bit numerators may put into a given scale


class OperandPlan(Protocol):
    """The plan of formats, as far as attention needs it."""

    graph: FloatGraph
    statistics: Mapping[str, Statistics]
    config: QuantizationConfig
    widths: Widths
    warnings: dict[str, None]

    def chosen(self, name: str) -> Interpretation:
        """What a value's integers stand for."""

    def stream(self, name: str) -> QType:
        """The wide format of a value."""

    def demands(self, name: str) -> frozenset[Demand]:
        """What the readers of a value want."""

    def only_for_attention(self, name: str) -> bool:
        """Whether an operator makes an operand of attention for that alone, in no given format."""

    def record(self, key: str, name: str, interpretation: Interpretation, granularity: str, method: str) -> None:
        """Note the range that was chosen for a value."""


def attention_formats(node: ir.Node, plan: OperandPlan) -> AttentionFormats:
    """Formats around an attention node.

    Query and key channels are equalised: channel d of the queries is divided by, and of the keys multiplied with,
    sqrt(max|q_d| / max|k_d|), which leaves every product as it is; then one scale a head serves both. Keys are centred: an
    offset of all keys adds the same to every score of a query, which softmax does not see. Values have a scale and an offset
    per channel, which the output keeps, its scale times one ratio a head, for the projection to fold; where something else
    than linear layers reads the output, values have one scale a head and the output one scale.
    """
    q, k = (required_input(node, i) for i in range(2))
    heads = node.attributes.get_int("heads")
    assert heads is not None
    q_stats, k_stats = (plan.statistics[name] for name in (q, k))
    channels = q_stats.shape[-1]
    options = plan.config.at(q)  # queries and keys are one site
    bits, equalize = options.attention_bits, options.equalization
    fixed_q, fixed_k, fixed_v = (_attention_operand(node, i, plan) for i in range(3))
    groups = head_groups(channels, heads)
    if fixed_q is not None and fixed_k is not None:
        return _attention_output(node, plan, fixed_q, fixed_k, fixed_v, _score_scale(node, fixed_q, fixed_k, groups))
    if any(fixed_format(node, i) is not None for i in range(2)):  # a copy of a tensor with a zero point has one scale
        groups, equalize = tensor_groups(channels), False
    k_offset = middle(k_stats, options) if plan.only_for_attention(k) and equalize else None
    centred = shifted(k_stats, k_offset, None)
    q_max, k_max = (magnitudes(s, options) for s in (q_stats, centred))
    balance = np.sqrt(q_max / k_max) if equalize else np.ones(channels)
    both = joined(shifted(q_stats, None, 1.0 / balance), shifted(centred, None, balance))
    chosen = symmetric(both, bits, groups, options)
    scale = chosen.scale[groups]
    query = Interpretation(signed_format(bits, scale * balance))
    key = Interpretation(signed_format(bits, scale / balance), k_offset)
    plan.record(q, q, query, "head", chosen.method)
    plan.record(k, k, key, "head", chosen.method)
    return _attention_output(node, plan, query, key, fixed_v, _score_scale(node, query, key, head_groups(channels, heads)))


def _score_scale(node: ir.Node, query: Interpretation, key: Interpretation, groups: NDArray[np.int64]) -> Real:
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
    node: ir.Node,
    plan: OperandPlan,
    query: Interpretation,
    key: Interpretation,
    value: Interpretation | None,
    score_scale: Real,
) -> AttentionFormats:
    """The formats around attention with those of queries and keys decided; ``value`` is that of the values if it is given."""
    v, output, bits = required_input(node, 2), output_name(node), plan.config.attention_bits
    v_stats = plan.statistics[v]
    heads = len(score_scale)
    groups = head_groups(v_stats.shape[-1], heads)
    fixed, equalize = fixed_format(node, 2) is not None, plan.config.at(v).equalization
    shared = tensor_groups(len(groups)) if fixed else groups  # a copy of a tensor with a zero point has one scale
    asked = tensor_format(plan.graph, output)
    if value is not None and asked is not None and isinstance(asked.scale, tuple):
        ratio = np.broadcast_to(value.qtype.scales, groups.shape) / asked.scales
        first = _first(ratio, groups)
        numerator, shift = numerators(first)
        if _same_scales(ratio, first[groups]) and np.abs(numerator * 2.0**-shift / first - 1.0).max() < NUMERATOR_ERROR:
            return AttentionFormats(query, key, value, Interpretation(asked), score_scale, numerator, shift)
    if asked is None and plan.demands(output) <= {Demand.NARROW}:
        value = value or _values(v, shared, equalize and not fixed, plan)
        v_scale = np.broadcast_to(value.qtype.scales, groups.shape)
        narrow = plan.widths.activation(output)
        seen = shifted(plan.statistics[output], value.offset, 1.0 / v_scale)
        relative = symmetric(seen, narrow, groups, plan.config.at(output))
        # The output's scales follow the rounded numerators: readers fold them, so that the rounding costs nothing.
        numerator, shift = numerators(1.0 / relative.scale)
        out = Interpretation(signed_format(narrow, v_scale * (2.0**shift / numerator)[groups]), value.offset)
        plan.record(output, output, out, "channel", relative.method)
    else:
        if value is None:
            v_range = symmetric(v_stats, bits, shared, plan.config.at(v))
            value = Interpretation(signed_format(bits, v_range.scale[shared]))
            plan.record(v, v, value, "head", v_range.method)
        by_head = np.broadcast_to(value.qtype.scales, groups.shape)[:: len(groups) // heads]
        taken = asked is not None and asked.zero_point == 0 and isinstance(asked.scale, float)
        stream = asked if taken and asked is not None else plan.stream(output)
        # An output that is next to nothing beside the values must not ask for more than the largest numerator.
        stream = replace(stream, scale=max(float(stream.scales), float(by_head.max()) / NUMERATOR_LIMIT))
        out = Interpretation(stream)
        numerator, shift = numerators(by_head / float(stream.scales))
    return AttentionFormats(query, key, value, out, score_scale, numerator, shift)


def _attention_operand(node: ir.Node, index: int, plan: OperandPlan) -> Interpretation | None:
    """What an operand of attention stands for, where the model fixes a format that attention can take: signed, without zero
    point."""
    qtype, name = fixed_format(node, index), required_input(node, index)
    if qtype is None:
        return None
    if not qtype.signed or qtype.zero_point or qtype.bits > 8:
        plan.warnings[
            f"{origin(node)}: attention takes signed operands of at most 8 bits without zero point; {name!r}, which the model"
            f" has in {qtype.bits} bits with the zero point {qtype.zero_point}, is quantized once more"
        ] = None
        return None
    return plan.chosen(name) if tensor_format(plan.graph, name) == qtype else Interpretation(qtype)


def _values(name: str, groups: NDArray[np.int64], equalize: bool, plan: OperandPlan) -> Interpretation:
    """Format of attention's values: a scale per channel, and an offset where a linear layer computes them for attention alone;
    without equalization a scale a group."""
    stats = plan.statistics[name]
    offset = middle(stats, plan.config.at(name)) if equalize and plan.only_for_attention(name) else None
    groups = channel_groups(len(groups)) if equalize else groups
    chosen = symmetric(shifted(stats, offset, None), plan.config.attention_bits, groups, plan.config.at(name))
    interpretation = Interpretation(signed_format(plan.config.attention_bits, _within_reach(chosen.scale[groups])), offset)
    plan.record(name, name, interpretation, "channel" if equalize else "head", chosen.method)
    return interpretation


def head_padding(node: ir.Node, index: int, statistics: Mapping[str, Statistics]) -> HeadPadding | None:
    """The padding of the heads of an attention node's operand to what the accelerator takes; None where they fit as they are.

    Heads of values, and of the output, are padded to those of queries and keys, and the other way round. UnsupportedError for
    heads that are too wide.
    """
    heads = node.attributes.get_int("heads")
    assert heads is not None
    sizes = [statistics[required_input(node, i)].shape[-1] // heads for i in range(3)]
    padded, size = padded_head(max(sizes)), sizes[index]
    if padded > MAXIMUM_HEAD:
        raise UnsupportedError(f"{origin(node)}: attention takes heads of at most {MAXIMUM_HEAD} channels, not {max(sizes)}")
    if padded == size:
        return None
    return HeadPadding((np.arange(heads)[:, None] * padded + np.arange(size)).reshape(-1), heads * padded)


def _first(values: Real, groups: NDArray[np.int64]) -> Real:
    """The value of the first channel of each group; channels of a group stand side by side."""
    first: Real = values[np.searchsorted(groups, np.arange(groups.max() + 1))]
    return first


def _same_scales(a: Real, b: Real) -> bool:
    """Whether scales are the same but for what rounding to float32 does to them."""
    return bool(np.abs(a / b - 1.0).max() < SAME_SCALE)


def signed_format(bits: int, scale: Real) -> QType:
    """A signed format with a scale for every channel."""
    return QType(bits, True, tuple(map(float, scale)))


def _within_reach(scale: Real) -> Real:
    """Scales of channels that hardly vary, raised so that multipliers with a common shift can serve all channels."""
    raised: Real = np.maximum(scale, scale.max() / SCALE_SPREAD)
    return raised
