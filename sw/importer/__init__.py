"""ONNX to the canonical float graph.

The float graph is an :class:`onnx_ir.Model` restricted to the operators of ``edgeflow.quant.canonical``. It stays runnable by
onnxruntime: EdgeFlow's own operators are model-local functions. Every node's ``metadata_props["edgeflow.origin"]`` names the
ONNX node that it comes from.
"""

from __future__ import annotations

from edgeflow.sw.importer.canonical import verify_canonical
from edgeflow.sw.importer.passes import import_model
from edgeflow.sw.importer.runtime import agreement, run, session, to_proto

__all__ = ["agreement", "import_model", "run", "session", "to_proto", "verify_canonical"]
