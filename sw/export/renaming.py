"""Names of an exported file's layers that say what the layers are, as reports do, where the canonical model numbers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from edgeflow.quant.nodes import origin


@dataclass(frozen=True)
class Renaming:
    """A layer of the canonical model: its node, the value that it makes, the origin of the node, and the layer's new name."""

    node: str
    value: str
    origin: str
    name: str

    def __call__(self, name: str) -> str:
        """The new name of a node or value that is named after the layer; any other name as it is."""
        for old, new in ((self.value, f"{self.name}.out"), (self.node, self.name)):
            if name == old or name.startswith(f"{old}/"):
                return new + name[len(old) :]
        return name


def rename(model: ir.Model, renamings: Sequence[Renaming]) -> None:
    """Rename layers, what is in them, and their constants.

    A layer whose new names are in part in use already keeps its own.
    """
    graph = model.graph
    for renaming in renamings:
        nodes = [node for node in graph if origin(node) == renaming.origin]
        values = [value for node in nodes for value in node.outputs]
        values += [value for name, value in graph.initializers.items() if name.startswith(f"{renaming.value}/")]
        items: list[ir.Node | ir.Value] = [*nodes, *values]
        changes = [(item, renaming(str(item.name))) for item in items if renaming(str(item.name)) != item.name]
        taken = {str(node.name) for node in graph} | {str(value.name) for node in graph for value in node.outputs}
        if taken.isdisjoint(new for _, new in changes) and graph.initializers.keys().isdisjoint(new for _, new in changes):
            for item, new in changes:
                item.name = new
