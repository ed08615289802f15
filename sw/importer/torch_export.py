"""A torch module as an ONNX file, by torch's exporter that traces with ``torch.export`` (dynamo)."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeflow.hw.errors import InputError, ModelError, ToolchainError
from edgeflow.hw.reading import first_line

if TYPE_CHECKING:
    import torch

OPSET = 18  # what the exporter writes itself; other versions pass through a converter


def is_module(model: object) -> bool:
    """Whether an object is a torch module; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def export_module(module: torch.nn.Module, example_inputs: object, path: Path) -> None:
    """Write a module as ONNX, in evaluation mode, with the batch, the first axis of every input, of any size.

    ``example_inputs``: a tensor or array, several in a tuple in the order of ``forward``, or a mapping by the names of its
    parameters; of them only shapes and types matter. Inputs have the names of the parameters; a single output is ``output``,
    several are ``output_0`` and so on, or what a mapping calls them. InputError for inputs that ``forward`` does not take,
    ModelError where the module fails or the exporter has no form of it, ToolchainError without torch's exporter.
    """
    try:
        import onnxscript  # noqa: F401 (the exporter needs it, and says so in its own words)
        import torch
    except ImportError as error:
        raise ToolchainError(
            f"a torch module needs torch and onnxscript to be exported: {error}: pip install torch onnxscript"
        ) from error
    name = type(module).__name__
    positional, named = _arguments(example_inputs)
    try:
        bound = inspect.signature(module.forward).bind(*positional, **named)
    except TypeError as error:
        raise InputError(
            f"example_inputs do not fit {name}.forward ({error}): give what it takes, in its order or by name"
        ) from error
    named = {key: named[key] for key in sorted(named, key=[*bound.arguments, *named].index)}  # the order of inputs
    batch = torch.export.Dim("batch", min=1)
    shapes = {key: _dynamic(value, batch) for key, value in bound.arguments.items()}
    training = module.training
    try:
        with _silence(), torch.no_grad():
            module.eval()
            names = _output_names(module(*positional, **named))
            torch.onnx.export(
                module,
                positional,
                path,
                kwargs=named,
                dynamo=True,
                dynamic_shapes=shapes,
                opset_version=OPSET,
                output_names=names,
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever the module and the exporter raise
        reason = first_line(error.__cause__ if isinstance(error.__cause__, Exception) else error)
        raise ModelError(f"torch module {name} cannot be exported to ONNX: {type(error).__name__}: {reason}") from error
    finally:
        module.train(training)


def _arguments(example: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments of ``forward``, each of two samples at least: one sample would fix the batch."""
    if example is None:
        raise InputError("a torch module is compiled from its export: give example_inputs=, what forward takes")
    if isinstance(example, Mapping):
        return (), {str(name): _example(value) for name, value in example.items()}
    return tuple(_example(value) for value in (example if isinstance(example, tuple | list) else (example,))), {}


def _example(value: Any) -> Any:
    import torch

    if isinstance(value, np.ndarray):
        value = torch.from_numpy(value)
    if isinstance(value, torch.Tensor):
        value = value.detach()
        return torch.cat([value, value]) if value.ndim and len(value) == 1 else value
    return value


def _dynamic(value: Any, batch: Any) -> Any:
    """The axes without a fixed size of an argument: the first axis of every tensor in it."""
    if hasattr(value, "detach"):
        return {0: batch}
    if isinstance(value, tuple | list):
        return type(value)(_dynamic(part, batch) for part in value)
    return None


def _output_names(outputs: Any) -> list[str]:
    if isinstance(outputs, Mapping):
        return [str(name) for name in outputs]
    return [f"output_{i}" for i in range(len(outputs))] if isinstance(outputs, tuple | list) else ["output"]


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter prints, warns and logs what concerns nobody who reads its result."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
