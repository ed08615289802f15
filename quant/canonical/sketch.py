"""Small canonical networks, drawn for the tests of an operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeflow.hw.arrays import Array

SAMPLES = 48


@dataclass(frozen=True)
class SketchedNode:
    """A node: operator, inputs and output by name, attributes, and the overload of an operator that has several forms."""

    op: str
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]
    overload: str


@dataclass
class Sketch:
    """A network as it is drawn: nodes in order, constants by name, seeded ``inputs (samples, ...)``, and ``outputs`` with the shape
    of a sample."""

    rng: np.random.Generator
    inputs: dict[str, Array] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)
    nodes: list[SketchedNode] = field(default_factory=list)
    outputs: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def input(self, *shape: int, least: float | None = None) -> str:
        """A real input of normal values; with ``least``, of their sizes above it."""
        values = self.rng.normal(size=(SAMPLES, *shape))
        return self._input((values if least is None else np.abs(values) + least).astype(np.float32))

    def ids(self, tokens: int, rows: int) -> str:
        """Token ids below ``rows``."""
        return self._input(self.rng.integers(0, rows, (SAMPLES, tokens)))

    def mask(self, tokens: int) -> str:
        """A key mask that leaves each sample at least one token."""
        lengths = self.rng.integers(1, tokens + 1, SAMPLES)
        return self._input((np.arange(tokens) < lengths[:, None]).astype(np.int64))

    def constant(self, values: Array) -> str:
        """A constant."""
        name = f"c{len(self.constants)}"
        self.constants[name] = values
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """A constant of normal values."""
        return self.constant((scale * self.rng.normal(size=shape)).astype(np.float32))

    def node(self, op: str, *inputs: str, overload: str = "", **attributes: Any) -> str:
        """A node; returns what it makes."""
        output = f"v{len(self.nodes)}"
        self.nodes.append(SketchedNode(op, inputs, output, attributes, overload))
        return output

    def linear(self, x: str, k: int, n: int) -> str:
        """A linear layer with weights that keep the size of what they multiply."""
        return self.node("Linear", x, self.normal(k, n, scale=k**-0.5), self.normal(n, scale=0.3))

    def output(self, value: str, *shape: int) -> None:
        """Make a value, of so many elements a sample, an output."""
        self.outputs[value] = shape

    def _input(self, values: Array) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = values
        return name
