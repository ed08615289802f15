"""Class labels: which output of a model they belong to, and whether they fit it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.errors import CalibrationError
from edgeflow.quant.canonical.graph import FloatGraph


def class_outputs(graph: FloatGraph) -> tuple[str, ...]:
    """Outputs that stand for classes: vectors of more than one element that a linear layer or a softmax makes."""
    return tuple(str(value.name) for value in graph.model.graph.outputs if _classes(graph, value))


def _classes(graph: FloatGraph, value: ir.Value) -> int:
    """Classes of an output ``(samples, classes)``; 0 if it is none."""
    maker = graph.operator(str(value.name))
    if maker is None or not maker.classifies or value.shape is None or len(value.shape) != 2:
        return 0
    size = value.shape[1]
    return size if isinstance(size, int) and size > 1 else 0


def check_labels(graph: FloatGraph, labels: NDArray[Any], samples: int, what: str = "labels") -> NDArray[np.int64]:
    """Labels ``(samples,)`` of the model's first output of classes; CalibrationError, which begins with ``what``, where they do not
    fit."""
    outputs = [(str(value.name), _classes(graph, value)) for value in graph.model.graph.outputs]
    name, classes = next(((name, classes) for name, classes in outputs if classes), ("", 0))
    if not classes:
        raise CalibrationError(
            f"{what} were given, but no output of the model stands for classes: {', '.join(graph.outputs)}; leave the labels out"
        )
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise CalibrationError(f"{what}: an array of integers (samples,) is expected, not {labels.dtype} {labels.shape}")
    if len(labels) != samples:
        raise CalibrationError(f"{what}: there are {len(labels)} for {samples} samples; give one label a sample")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise CalibrationError(f"{what}: {wrong[0]} is no class of output {name!r}, which has {classes} (0 to {classes - 1})")
    return labels.astype(np.int64)
