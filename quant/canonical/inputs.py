"""Model inputs as a user gives them: what the model asks for, the check, and the step to the integers of the graph."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.errors import CalibrationError
from edgeflow.hw.graph import Graph, Overflow, TensorType
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.masks import MaskValues, key_masks, within
from edgeflow.quant.nodes import sample_shape

UNREAD = "edgeflow.unread"
"""Metadata key of a canonical model: names of inputs of the file that nothing reads, as JSON."""

INTEGERS = "edgeflow.integers"
"""Metadata key of a float32 input of a canonical model: the NumPy type of integers that the file's own input has."""


@dataclass(frozen=True)
class InputSpec:
    """One model input: name, shape of one sample (no batch axis), the NumPy type that the model declares, such as
    ``float32``, and of a key mask what its values stand for. ``real``: integers that stand for numbers, images of bytes say;
    checked arrays hold them as float32."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    mask: MaskValues | None = None
    real: bool = False

    def __str__(self) -> str:
        axes = ", ".join(["samples", *map(str, self.shape)])
        return f"{self.name}: {self.dtype} ({axes})"


def model_inputs(model: ir.Model) -> tuple[InputSpec, ...]:
    """What a canonical model asks for; its first axis is the batch."""
    specs = []
    masks = key_masks(FloatGraph(model))
    for value in model.graph.inputs:
        assert value.dtype is not None
        name = str(value.name)
        integers = integers_of(value)
        dtype = value.dtype.numpy().name if integers is None else integers
        specs.append(InputSpec(name, sample_shape(value), dtype, masks.get(name), integers is not None))
    return tuple(specs)


def integers_of(value: ir.Value) -> str | None:
    """The NumPy type of integers that an input of a canonical model has in the file, where they stand for numbers."""
    name = value.metadata_props.get(INTEGERS)
    return name if name in ("uint8", "int8") else None


def note_unread(model: ir.Model, names: Sequence[str]) -> None:
    """Remember in a canonical model the inputs of the file that no output depends on, which it does not have."""
    if names:
        model.metadata_props[UNREAD] = json.dumps(list(names))


def unread_inputs(model: ir.Model) -> tuple[str, ...]:
    """Inputs of the file that no output depends on: data may hold them, and nothing looks at it."""
    return tuple(json.loads(model.metadata_props.get(UNREAD, "[]")))


def check_inputs(
    specs: Sequence[InputSpec], arrays: Mapping[str, Array], what: str = "calibration data", unread: Sequence[str] = ()
) -> dict[str, Array]:
    """The arrays in the model's order and types, all with the same number of samples on their first axis; without those in
    ``unread``.

    Floating-point types of any width are taken for floating-point inputs, integers and booleans for integer and boolean inputs;
    whole numbers of any type for integers that stand for numbers.
    Raises CalibrationError naming the input, what is wrong and what the model expects. ``what`` names the data in messages.
    """
    names = [spec.name for spec in specs]
    for name in arrays:
        if name not in names and name not in unread:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise CalibrationError(f"{what}: unknown input {name!r}; {hint}the model's inputs are {'; '.join(map(str, specs))}")
    checked: dict[str, Array] = {}
    for spec in specs:
        if spec.name not in arrays:
            raise CalibrationError(f"{what}: input {spec.name!r} is missing; give an array {spec}")
        checked[spec.name] = _checked(spec, np.asarray(arrays[spec.name]), what)
    counts = {name: len(array) for name, array in checked.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise CalibrationError(f"{what}: every input must have the same number of samples, not {listed}")
    return checked


def model_data(model: ir.Model, arrays: Mapping[str, Array], what: str = "calibration data") -> dict[str, Array]:
    """:func:`check_inputs` for what a canonical model asks for."""
    return check_inputs(model_inputs(model), arrays, what, unread_inputs(model))


def _checked(spec: InputSpec, array: Array, what: str) -> Array:
    dtype = np.dtype(spec.dtype)
    kinds = "f" if dtype.kind == "f" else "biuf" if spec.real else "biu"
    if array.dtype.kind not in kinds:
        raise CalibrationError(f"{what}: input {spec.name!r} has type {array.dtype}; the model expects {spec}")
    if array.ndim != len(spec.shape) + 1 or array.shape[1:] != spec.shape:
        hint = "; the first axis must count samples" if array.shape == spec.shape else ""
        raise CalibrationError(f"{what}: input {spec.name!r} has shape {array.shape}; the model expects {spec}{hint}")
    if len(array) == 0:
        raise CalibrationError(f"{what}: input {spec.name!r} has no samples; give at least one of {spec}")
    if dtype.kind == "f":
        with np.errstate(over="ignore"):  # a double beyond single precision becomes infinite, which is reported
            array = array.astype(dtype, copy=False)
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            place = tuple(int(i) for i in np.unravel_index(bad[0], array.shape))
            raise CalibrationError(f"{what}: input {spec.name!r} holds {array[place]} at {place}; every value must be finite")
    elif dtype.kind in "iu" and array.dtype.kind in "iuf":
        info = np.iinfo(dtype)
        if array.dtype.kind == "f" and not (array == np.rint(array)).all():
            raise CalibrationError(f"{what}: input {spec.name!r} holds values that are no integers; the model expects {spec}")
        if array.min() < info.min or array.max() > info.max:
            raise CalibrationError(f"{what}: input {spec.name!r} holds values outside {dtype}")
    array = np.ascontiguousarray(array, dtype=np.float32 if spec.real else dtype)
    if spec.mask is not None:
        _check_mask(spec.name, array, spec.mask, what)
    return array


def _check_mask(name: str, array: Array, mask: MaskValues, what: str) -> None:
    """CalibrationError unless every value of a key mask is one that the integer network honours: a key takes part or does not."""
    wrong = np.argwhere(~mask.accepts(array))
    if len(wrong):
        sample, *place = (int(i) for i in wrong[0])
        raise CalibrationError(
            f"{what}: input {name!r}, sample {sample}, holds {array[(sample, *place)]} at {tuple(place)}: no mask value;"
            f" the integer network takes {mask}"
        )


def distinct(arrays: Mapping[str, Array]) -> NDArray[np.int64]:
    """The number of every sample among the distinct ones, in the order of their first appearance."""
    numbers: dict[bytes, int] = {}
    sample_numbers = []
    for i in range(len(next(iter(arrays.values())))):
        digest = hashlib.blake2b(digest_size=16)
        for array in arrays.values():
            digest.update(np.ascontiguousarray(array[i]).data)
        sample_numbers.append(numbers.setdefault(digest.digest(), len(numbers)))
    return np.array(sample_numbers, dtype=np.int64)


def without_copies(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The samples without those that repeat an earlier one: they say nothing new of the data, and must not seem to."""
    groups = distinct(arrays)
    first = np.unique(groups, return_index=True)[1]
    return dict(arrays) if len(first) == len(groups) else {name: array[first] for name, array in arrays.items()}


def encode_inputs(graph: Graph, arrays: Mapping[str, Array], what: str = "input data") -> dict[str, IntArray]:
    """Checked model inputs as the graph's integers: real values quantized, token ids as they are, masks as 0 and 1.

    Raises CalibrationError for a token id outside the vocabulary.
    """
    return {name: _encode(name, graph.tensors[name], arrays[name], what) for name in graph.inputs}


def is_mask(tensor: TensorType) -> bool:
    """Whether a graph input is a key mask, which the host turns into zeros and ones."""
    return tensor.qtype.overflow is Overflow.ERROR and tensor.limit == 1 and tensor.qtype.bits == 8


def _encode(name: str, tensor: TensorType, array: Array, what: str) -> IntArray:
    if is_mask(tensor):
        return np.asarray(array != 0 if tensor.attend is None else within(array, tensor.attend), dtype=np.int64)
    if tensor.qtype.overflow is Overflow.SATURATE:
        return tensor.qtype.quantize(array)
    check_ids(name, array, tensor.qtype.maximum if tensor.limit is None else min(tensor.limit, tensor.qtype.maximum), what)
    return array.astype(np.int64)


def check_ids(name: str, array: Array, limit: int, what: str) -> None:
    """CalibrationError unless every token id of an input lies in 0 to ``limit``."""
    wrong = array[(array < 0) | (array > limit)]
    if wrong.size:
        raise CalibrationError(f"{what}: input {name!r} holds {wrong[0]}; ids must lie in 0 to {limit}")


def decode_outputs(graph: Graph, outputs: Mapping[str, Array]) -> dict[str, NDArray[np.float32]]:
    """The graph's output integers as real values."""
    return {name: graph.tensors[name].qtype.dequantize(outputs[name]).astype(np.float32) for name in graph.outputs}
