"""EdgeFlow's canonical operators as ONNX model-local functions, so that onnxruntime runs a canonical model."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeflow.quant.canonical.base import find, registry
from edgeflow.quant.nodes import DOMAIN

OPSET = 20
"""Version of the default operator set of canonical models (the first with Gelu)."""


def function(op_type: str, overload: str = "") -> ir.Function:
    """The model-local function of a canonical operator; overload "masked" takes a mask, "squeeze" drops the token axis."""
    from onnx import parser

    header = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]>'
    proto = parser.parse_function(f"{header} {op_type} {registry()[op_type].bodies[overload]}")
    proto.overload = overload
    return ir.serde.deserialize_function(proto)


def attach_functions(model: ir.Model) -> None:
    """Give ``model`` the functions of exactly the EdgeFlow operators that it uses."""
    model.functions.clear()
    for node in model.graph:
        identifier = node.op_identifier()
        op = find(node)
        if op is not None and op.bodies and identifier not in model.functions:
            model.functions[identifier] = function(node.op_type, node.overload)


def constant_shape(dimensions: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The shape operand of a canonical Reshape: 0 keeps the batch, the rest is written out."""
    return np.array((0, *dimensions), np.int64)
