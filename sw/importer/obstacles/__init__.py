"""Forms that are known but cannot be compiled, each recognised, named, and taken away as though it were not there.

A model that is refused is imported a second time with the known obstacles supposed away. What is refused even then is an obstacle,
too; what is not was refused only because of them (:mod:`edgeflow.sw.importer.diagnose`).
"""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgeflow.sw.importer.obstacles.attention import learned_queries, masks, rotations
from edgeflow.sw.importer.obstacles.base import Obstacle
from edgeflow.sw.importer.obstacles.normalization import normalizations
from edgeflow.sw.importer.obstacles.selection import gates, integer_inputs, selected_outputs

RECOGNISED = (integer_inputs, normalizations, rotations, masks, learned_queries, selected_outputs, gates)
"""In the order in which they are looked for; each changes the graph and says what it has taken away."""


def suppose_away(model: ir.Model) -> list[Obstacle]:
    """Take every known obstacle out of a model whose data movement is all Views, and return them in order."""
    obstacles: list[Obstacle] = []
    for recognise in RECOGNISED:
        obstacles += recognise(model.graph)
        RemoveUnusedNodesPass()(model)
    return obstacles
