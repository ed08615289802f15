"""The canonical operators of the float graph, one class each, and the graph that they make up.

Every module of operators registers what it defines when this package is imported.
"""

from __future__ import annotations

from edgeflow.quant.canonical import attention, elementwise, embedding, functions, linear, movement, normalization, pool
from edgeflow.quant.canonical.base import FloatOperator, find, operator, register, registry

__all__ = [
    "FloatOperator",
    "attention",
    "elementwise",
    "embedding",
    "find",
    "functions",
    "linear",
    "movement",
    "normalization",
    "operator",
    "pool",
    "register",
    "registry",
]
