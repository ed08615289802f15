"""Giving every input a concrete shape: the batch a distinctive number, everything else what the user or the data say."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from edgeflow.hw.diagnosis import Cause, Diagnosis
from edgeflow.hw.errors import ModelError, UnsupportedError

BOUND_BATCH = 2
"""What a symbolic batch is bound to during import, so that it is never taken for an axis of length one."""

Shapes = dict[str, tuple[int, ...]]


def bind_shapes(
    model: ir.Model,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    batch: int = BOUND_BATCH,
    data: str = "the data",
) -> Shapes:
    """Concrete shape of every input, its first axis the batch.

    Parameters
    ----------
    dims
        Sizes of symbolic dimensions by name (``{"sequence": 128}``); the batch needs none.
    shapes
        Whole shapes by input name, such as those of calibration data; their first axis is not looked at.
    data
        What the shapes come from, for messages.
    batch
        What a symbolic batch is bound to. A batch that the model fixes stays.

    Raises
    ------
    ModelError
        A dimension is left without size, a name does not occur, or a given shape contradicts the model.
    """
    inputs = {str(value.name): value for value in model.graph.inputs}
    for name in shapes or {}:
        if name not in inputs:
            listed = ", ".join(inputs)
            raise ModelError(f"the model has no input {name!r}; its inputs are {listed}: rename or remove that array of {data}")
    _check_batch_axis(model, inputs)
    known = _named_sizes(inputs, dims or {}, shapes or {})
    bound: Shapes = {}
    for name, value in inputs.items():
        data_shape = (shapes or {}).get(name)
        if value.shape is None and data_shape is None:
            raise ModelError(f"input {name!r} has no declared shape; give calibration data for it or export it with a shape")
        if value.shape is None and data_shape is not None:
            bound[name] = (batch, *data_shape[1:])
            continue
        bound[name] = _one_shape(name, value, data_shape, known, batch, data)
    return bound


def _check_batch_axis(model: ir.Model, inputs: Mapping[str, ir.Value]) -> None:
    """UnsupportedError where a later axis than the first is the batch: by its name, or because it is the first axis of an output,
    of one sample where sizes are fixed."""
    first = {entries[0] for value in inputs.values() if (entries := _dimensions(value))}
    results = {entries[0] for value in model.graph.outputs if (entries := _dimensions(value))}
    fixed = results == {1} and all(isinstance(entry, int) and entry > 1 for entry in first)
    for name, value in inputs.items():
        for axis, entry in enumerate(_dimensions(value)):
            named = isinstance(entry, str) and entry not in first and (entry in results or "batch" in entry.lower())
            if axis and (named or (fixed and entry == 1)):
                cause = Cause(
                    "batch on another axis",
                    f"input {name!r}: the batch is axis {axis} ({entry!r}), but must be axis 0",
                    "export a model that takes its inputs with the batch first and transposes them itself",
                )
                raise UnsupportedError(Diagnosis("the model", (cause,)))


def _dimensions(value: ir.Value) -> list[int | str | None]:
    return [] if value.shape is None else [entry if isinstance(entry, int) else entry.value for entry in value.shape]


def _named_sizes(inputs: Mapping[str, ir.Value], dims: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    symbols = {entry for value in inputs.values() for entry in _dimensions(value) if isinstance(entry, str)}
    for name, size in dims.items():
        if name not in symbols:
            listed = ", ".join(sorted(symbols)) or "none"
            raise ModelError(f"option --dim {name}={size}: no input has a dimension of that name; symbolic dimensions: {listed}")
        if size < 1:
            raise ModelError(f"option --dim {name}={size}: a dimension must be at least 1")
    known = dict(dims)
    for name, shape in shapes.items():
        for entry, size in list(zip(_dimensions(inputs[name]), shape, strict=False))[1:]:
            if isinstance(entry, str):
                known.setdefault(entry, size)
    return known


def _one_shape(
    name: str, value: ir.Value, data_shape: tuple[int, ...] | None, known: Mapping[str, int], batch: int, data: str
) -> tuple[int, ...]:
    entries = _dimensions(value)
    if not entries:
        raise ModelError(f"input {name!r} is a scalar; its first axis must be the batch")
    if data_shape is not None and len(data_shape) != len(entries):
        raise ModelError(
            f"input {name!r} has {len(entries)} axes in the model and {len(data_shape)} in {data}; give data of that rank"
        )
    shape = [entries[0] if isinstance(entries[0], int) else batch]
    for axis, entry in enumerate(entries[1:], start=1):
        offered = None if data_shape is None else data_shape[axis]
        if isinstance(entry, int):
            if offered is not None and offered != entry:
                raise ModelError(f"input {name!r}, axis {axis}: the model fixes size {entry}, {data} has {offered}")
            shape.append(entry)
            continue
        size = known.get(entry) if entry is not None else None
        size = offered if size is None else size
        if size is None:
            label = entry if entry is not None else f"axis {axis}"
            named = entry is not None
            advice = f"give --dim {entry}=128 (or its size)" if named else "export the model with that axis named or fixed"
            raise ModelError(f"input {name!r}: the size of dimension {label!r} is not known; {advice}, or calibration data")
        if offered is not None and offered != size:
            raise ModelError(f"input {name!r}, axis {axis}: dimension {entry!r} is {size}, {data} has {offered}")
        shape.append(size)
    return tuple(shape)
