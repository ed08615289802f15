"""Canonicalisation rules of the float graph: one idea a file, each a pattern, a check that refuses with a reason, a rewrite.

:func:`rule_sets` lists them in the order in which they are tried at every node.
"""

from __future__ import annotations

from onnxscript.rewriter import pattern

from edgeflow.sw.rewrite import (
    activations,
    attention,
    attention_fused,
    batch_norm,
    clip,
    compose_views,
    einsum,
    embedding,
    layer_norm,
    linear,
    linear_columns,
    nan_guard,
    neutral,
    patch_embed,
    pools,
    positions,
    scalar_forms,
    sink_views,
)


def rule_sets() -> tuple[pattern.RewriteRuleSet, pattern.RewriteRuleSet]:
    """The rules in two stages, each to be run until none applies.

    In the first, multiplications by numbers stay where they are, so that the scale of an attention is found as such; in the second
    they go into the Linear above them.
    """
    return pattern.RewriteRuleSet(_rules(fold_scales=False)), pattern.RewriteRuleSet(_rules(fold_scales=True))


def _rules(fold_scales: bool) -> list[pattern.RewriteRule]:
    beside = (linear.ADDED, linear.MULTIPLIED) if fold_scales else (linear.ADDED,)
    return [
        compose_views.ComposeViews.rule(),
        compose_views.IdentityView.rule(),
        nan_guard.NanGuard.rule(),
        layer_norm.FusedLayerNorm.rule(),
        layer_norm.DividedLayerNorm.rule(),
        layer_norm.MultipliedLayerNorm.rule(),
        *pools.rules(),
        scalar_forms.DivideByConstant.rule(),
        scalar_forms.SubtractConstant.rule(),
        scalar_forms.SubtractFromConstant.rule(),
        scalar_forms.SubtractActivation.rule(),
        scalar_forms.Negate.rule(),
        scalar_forms.MergeNumbers.rule(),
        neutral.Neutral.rule("Add", 0.0),
        neutral.Neutral.rule("Mul", 1.0),
        activations.GeluErf.rule(),
        activations.GeluTanh.rule(),
        activations.SigmoidGate.rule(),
        activations.HardSwishProduct.rule(),
        batch_norm.BatchNorm.rule(),
        *(rule.rule() for rule in clip.RULES if fold_scales),  # after HardSwish, which is written with it
        einsum.EinsumToMatMul.rule(),
        positions.CountedPositions.rule(),
        embedding.GatherToEmbedding.rule(),
        patch_embed.ConvToPatchEmbed.rule(),
        patch_embed.IntegersToPatchEmbed.rule(),
        attention.SoftmaxAttention.rule(),
        attention_fused.OnnxAttention.rule(),
        attention_fused.MultiHeadAttention.rule(),
        linear.MatMulToLinear.rule(),
        linear.GemmToLinear.rule(),
        *(linear.FoldIntoLinear.rule(kind) for kind in beside),
        *(layer_norm.FoldIntoLayerNorm.rule(kind) for kind in (linear.ADDED, linear.MULTIPLIED)),
        linear_columns.ColumnsOfLinear.rule(),
        linear_columns.RowsOfLinear.rule(),
        *sink_views.rules([kind.op_type for kind in beside]),
    ]
