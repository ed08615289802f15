"""The canonical operators of the float graph, one class each, and the graph that they make up.

Every module of operators registers what it defines when this package is imported.
"""

from __future__ import annotations

import importlib
import pkgutil

from edgeflow.quant.canonical.base import FloatOperator, find, operator, register, registry

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "FloatOperator",
    "find",
    "operator",
    "register",
    "registry",
]
