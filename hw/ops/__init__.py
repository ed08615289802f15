"""The operators: importing this package registers all of them."""

from __future__ import annotations

import importlib
import pkgutil

from edgeflow.hw.ops.base import (
    Case,
    Constants,
    Instruction,
    InstructionLayout,
    Kernel,
    LoweringContext,
    Operator,
    Port,
    Register,
    instruction_layouts,
    make_node,
    node_macs,
    operator,
    register,
    registry,
    unit,
    units,
)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Case",
    "Constants",
    "Instruction",
    "InstructionLayout",
    "Kernel",
    "LoweringContext",
    "Operator",
    "Port",
    "Register",
    "instruction_layouts",
    "make_node",
    "node_macs",
    "operator",
    "register",
    "registry",
    "unit",
    "units",
]
