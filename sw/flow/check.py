"""Whether a model can be compiled, and what stands in its way, without data and without a board."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from edgeflow.hw.diagnosis import Cause, Diagnosis
from edgeflow.hw.errors import UnsupportedError
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.quant.techniques.selection import PLAIN
from edgeflow.sw.importer import import_model
from edgeflow.sw.importer.model_sources import ModelSource, model_file
from edgeflow.sw.importer.passes import NODES
from edgeflow.sw.measure.random_data import random_inputs

SAMPLES = 2  # of random data, for the conversion to integers that is tried
WITHOUT_TECHNIQUES = QuantizationConfig().model_copy(update=PLAIN | {"selection_work": 0.0, "ablation": False})
"""Whether there is an integer form does not depend on them."""


def check_model(model: ModelSource, dims: Mapping[str, int] | None = None, example_inputs: object = None) -> Diagnosis:
    """The diagnosis of a model (see ``edgeflow.check``); ModelError where it cannot be read at all."""
    with model_file(model, example_inputs) as file:
        name = str(file.path) if file.users_own else f"model {file.name}"
        try:
            imported = import_model(file.path, dims=dims)
            quantize(imported, random_inputs(imported, SAMPLES, seed=0), WITHOUT_TECHNIQUES)
        except UnsupportedError as error:
            return replace(error.diagnosis or _one_cause(str(error), str(file.path)), model=name)
        operators = dict(Counter(node.op_type for node in imported.graph))
        return Diagnosis(name, nodes=imported.meta.get(NODES, len(imported.graph)), operators=operators)


def _one_cause(message: str, path: str) -> Diagnosis:
    """The diagnosis of which there is no more than a message, ``PATH: reason; remedy``."""
    reason, _, remedy = message.removeprefix(f"{path}: ").partition("; ")
    return Diagnosis(path, (Cause("form that is not supported", reason, remedy),))
