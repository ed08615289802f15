"""The original model as the reference: the canonical model is proven equal to it, and accuracy is measured against it.

On a few samples, and on corner values of masks and ids, every tensor that the canonical model and the user's file share must equal
the file's, as onnxruntime computes it, up to rounding. Rewriting changes the order of float32 additions, nothing else.
"""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import InputError, ModelError
from edgeflow.hw.host import processors
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.base import operator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import integers_of
from edgeflow.quant.canonical.masks import key_masks, keyless_samples, token_ids
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.nodes import origin, output_name
from edgeflow.sw.files.build import Build, hash_file
from edgeflow.sw.importer.original import Original, OriginalSession, in_memory, read_original, whole
from edgeflow.sw.rewrite.base import ORIGIN_TYPE, ORIGINAL, RULES

TOLERANCE = 1e-4
"""Largest difference of an element, relative to the RMS of its tensor over the samples of the comparison."""
FLOOR = 1e-6
"""A tensor's RMS counts as at least this much of the largest of all tensors: what cancels to zero is rounding noise."""
SENSITIVITY = 32.0
"""Where a model's own outputs change by more than the tolerance when its inputs change in the last place of float32, this many
times that change is allowed: no order of additions is then better than another."""
SAMPLES = 8
CORNERS = 8
CHUNK = 4  # samples whose tensors are all held at a time
BATCH = 16
MODEL = "model.original.onnx"
LARGEST = 500_000_000
"""Bytes of a model, external data included, up to which a build holds a copy of it."""
_SEED = 11


@dataclasses.dataclass(frozen=True)
class Reference:
    """The model that expected outputs are computed from. ``kind`` is "canonical" where onnxruntime does not run the user's own
    file; ``note`` says why, or how the file runs if not as it is."""

    kind: Literal["original", "canonical"]
    note: str | None
    model: ir.Model = dataclasses.field(repr=False)
    original: Original | None = dataclasses.field(repr=False, default=None)

    def __str__(self) -> str:
        return self.kind if self.note is None else f"{self.kind} ({self.note})"

    def outputs(self, inputs: Mapping[str, Array], progress: Progress | None = None) -> dict[str, Array]:
        """The model's outputs ``(samples, ...)`` in float32, for checked inputs."""
        names = [str(value.name) for value in self.model.graph.outputs]
        session: OriginalSession | FloatSession
        if self.original is None:
            session = FloatSession(self.model, names)
        else:
            # Fusion would replace quantizers by integer kernels that round otherwise.
            original = self.original
            session = OriginalSession(original.as_written(), names, BATCH, not original.quantized, original.weights)
        count = len(next(iter(inputs.values())))
        parts = []
        for i in range(0, count, BATCH):
            parts.append(session.run({name: value[i : i + BATCH] for name, value in inputs.items()}))
            if progress is not None:
                progress("running the float model", min(i + BATCH, count), count)
        return {name: np.concatenate([part[name] for part in parts]).astype(np.float32, copy=False) for name in names}


def hold_to_original(
    path: str | os.PathLike[str], model: ir.Model, inputs: Mapping[str, Array], progress: Progress | None = None
) -> Reference:
    """Hold the canonical ``model`` of the file at ``path`` to it, on at most :data:`SAMPLES` of the checked ``inputs`` and as many
    corner values of masks and ids, and return the reference for accuracy.

    Raises ModelError naming the first tensor that differs and the rewrite rules that made it.
    """
    if progress is not None:
        progress("comparing with the original model", 0, 1)
    first = {name: array[:1] for name, array in inputs.items()}
    try:
        original = read_original(path)
        check = _Comparison(path, original, model)
        check.original.run(first)
        if original.quantized:
            OriginalSession(original.as_written(), check.outputs, 1, optimize=False).run(first)
    except ModelError as error:
        return Reference("canonical", f"onnxruntime does not run the original model: {_short(error, path)}", model)
    count = len(next(iter(inputs.values())))
    few = np.unique(np.linspace(0, count - 1, min(count, SAMPLES)).astype(np.int64))
    chosen = {name: array[few] for name, array in inputs.items()}
    check.run("sample", few.tolist(), chosen)
    corners = corner_values(model, chosen)
    if corners is not None:
        check.corners(corners)
    if not check.compared:
        return Reference("canonical", "on no sample are the original model's outputs finite and leaves every mask a key", model)
    if progress is not None:
        progress("comparing with the original model", 1, 1)
    return Reference("original", _note(original), model, original)


def _note(original: Original) -> str | None:
    notes = []
    if original.widened:
        notes.append("in float32")
    if original.quantized:
        notes.append("with its quantizers")
    return ", ".join(notes) or None


def _short(error: Exception, path: str | os.PathLike[str]) -> str:
    return str(error).removeprefix(f"{os.fspath(path)}: ").removeprefix("onnxruntime cannot load the model: ")


class _Comparison:
    """The canonical model beside the original one, every tensor that both have."""

    def __init__(self, path: str | os.PathLike[str], original: Original, model: ir.Model) -> None:
        proto = original.float_copy()
        self.path, self.model = os.fspath(path), model
        self.graph = FloatGraph(model)
        self.outputs = [str(value.name) for value in model.graph.outputs]
        file_values = {name for node in proto.graph.node for name in node.output}
        computed = [
            (output_name(node), node.metadata_props[ORIGINAL])
            for node in model.graph
            if node.metadata_props.get(ORIGINAL) in file_values and operator(node).repeated_constant() is None
        ]
        rest = [(name, name) for name in self.outputs if name not in dict(computed)]
        self.tensors = dict((*computed, *rest))  # canonical name to original name, in the order of computation
        names = list(dict.fromkeys(self.tensors.values()))
        # Weights of a quantized file leave dequantizers, which fusion would turn into integer kernels that round.
        self.original = OriginalSession(proto, names, CHUNK, optimize=False, weights=original.weights)
        self.canonical = FloatSession(model, list(self.tensors))
        self.masks = key_masks(self.graph)
        self.integers = {str(value.name) for value in model.graph.inputs if integers_of(value) is not None}
        self.compared = 0  # samples that have a meaning

    def run(self, what: str, numbers: Sequence[int], inputs: Mapping[str, Array]) -> None:
        """Compare on samples, whose numbers messages name; ModelError for a difference."""
        count = len(next(iter(inputs.values())))
        differences = {name: _Difference() for name in self.tensors}
        for start in range(0, count, CHUNK):
            piece = {name: array[start : start + CHUNK] for name, array in inputs.items()}
            expected, actual = self.original.run(piece), self.canonical.run(piece)
            usable = self._usable(piece, expected)
            self.compared += int(usable.sum())
            part = numbers[start : start + CHUNK]
            real = [(name, other) for name, other in self.tensors.items() if expected[other].dtype.kind == "f"]
            with ThreadPoolExecutor(processors()) as pool:
                tasks = [pool.submit(differences[n].add, expected[other], actual[n], usable, part) for n, other in real]
                for task in tasks:
                    task.result()
        floor = FLOOR * max((entry.rms for entry in differences.values()), default=0.0)
        wrong = {name: entry for name, entry in differences.items() if entry.worst > TOLERANCE * max(entry.rms, floor)}
        if wrong:
            wrong = self._beyond_rounding(inputs, wrong, floor)
        if wrong:
            name, entry = next(iter(wrong.items()))
            raise ModelError(self._message(name, entry, max(entry.rms, floor), what))

    def corners(self, inputs: Mapping[str, Array]) -> None:
        """Compare on drawn values that the original model accepts, one sample after the other."""
        accepted = []
        for i in range(len(next(iter(inputs.values())))):
            try:
                self.original.run({name: array[i : i + 1] for name, array in inputs.items()})
            except ModelError:
                continue
            accepted.append(i)
        if accepted:
            self.run("drawn masks and ids", accepted, {name: array[accepted] for name, array in inputs.items()})

    def _usable(self, inputs: Mapping[str, Array], expected: Mapping[str, Array]) -> NDArray[np.bool_]:
        """Samples with a meaning: the original's outputs are finite, and every mask leaves a key."""
        count = len(next(iter(inputs.values())))
        good = np.ones(count, np.bool_)
        for name in self.outputs:
            good &= np.isfinite(expected[name].reshape(count, -1)).all(axis=1)
        return good & ~keyless_samples(self.masks, inputs)

    def _beyond_rounding(self, inputs: Mapping[str, Array], wrong: dict[str, _Difference], floor: float) -> dict[str, _Difference]:
        """The differences that rounding does not explain: the original moves less when its inputs change in the last place."""
        rng = np.random.default_rng(_SEED)
        moved = {
            name: (array * (1 + rng.choice((-1, 1), array.shape) * np.finfo(np.float32).eps)).astype(array.dtype)
            if array.dtype.kind == "f" and name not in self.masks and name not in self.integers
            else array
            for name, array in inputs.items()
        }
        own = {name: _Difference() for name in wrong}
        count = len(next(iter(inputs.values())))
        for start in range(0, count, CHUNK):
            before, after = (
                self.original.run({name: array[start : start + CHUNK] for name, array in arrays.items()})
                for arrays in (inputs, moved)
            )
            for name, entry in own.items():
                size = len(before[self.tensors[name]])
                entry.add(
                    before[self.tensors[name]], after[self.tensors[name]], np.ones(size, np.bool_), range(start, start + size)
                )
        return {
            name: entry
            for name, entry in wrong.items()
            if not np.isfinite(entry.worst) or entry.worst > TOLERANCE * max(entry.rms, floor) + SENSITIVITY * own[name].worst
        }

    def _message(self, name: str, entry: _Difference, rms: float, what: str) -> str:
        node = self.graph.producers.get(name)
        rules = "" if node is None else node.metadata_props.get(RULES, "")
        kind = "" if node is None else node.metadata_props.get(ORIGIN_TYPE, node.op_type)
        how = f"made by the rewrite rules {rules}" if rules else "which no rewrite rule made"
        where = "" if node is None else f" of node {origin(node)} ({kind})"
        size = "has another shape or holds other infinities" if not np.isfinite(entry.worst) else (
            f"differs by {entry.worst / rms if rms else np.inf:.2g} of its RMS (at most {TOLERANCE:g})"
        )  # fmt: skip
        numbered = f"{what} {entry.sample}" if what == "sample" else what
        return (
            f"{self.path}: EdgeFlow would compile another function than the model's: on {numbered}, tensor"
            f" {self.tensors[name]!r}{where}, {how}, {size}; report this with the model"
        )


class _Difference:
    """Difference of one tensor over samples: ``rms`` of what is expected, ``worst`` difference and the ``sample`` that has it."""

    def __init__(self) -> None:
        self.squares, self.count, self.worst, self.sample = 0.0, 0, 0.0, -1

    @property
    def rms(self) -> float:
        return float(np.sqrt(self.squares / self.count)) if self.count else 0.0

    def add(self, expected: Array, actual: Array, usable: NDArray[np.bool_], numbers: Sequence[int]) -> None:
        """Take a group of samples."""
        if expected.shape != actual.shape:
            if usable.any():
                self.worst, self.sample = np.inf, int(numbers[int(np.argmax(usable))])
            return
        for row, number in zip(np.flatnonzero(usable), np.asarray(numbers)[usable], strict=True):
            worst, squares = _compared(expected[row].reshape(-1), actual[row].reshape(-1))
            self.squares += squares
            self.count += expected[row].size
            if worst > self.worst:
                self.worst, self.sample = worst, int(number)


def _compared(expected: Array, actual: Array) -> tuple[float, float]:
    """The largest difference between the elements of one sample, and the sum of squares of those expected; infinities and NaN at
    the same places in both are no difference, and count as 0."""
    if not expected.size:
        return 0.0, 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.subtract(expected, actual, dtype=np.float64)
        worst = float(np.abs(difference, out=difference).max())
        squares = float(np.square(expected, dtype=np.float64).sum())
        if math.isfinite(worst) and math.isfinite(squares):
            return worst, squares
        finite = np.isfinite(expected)
        known = np.where(finite, expected, 0.0).astype(np.float64)
        difference = np.abs(known - np.where(finite, actual, 0.0))
        same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
        difference[np.isnan(difference) | (~finite & ~same)] = np.inf
        return float(difference.max()), float(np.sum(known**2))


def corner_values(model: ir.Model, inputs: Mapping[str, Array]) -> dict[str, Array] | None:
    """:data:`CORNERS` samples with values of masks and ids that data seldom has; other inputs are those of ``inputs``, in turn.
    None for a model without masks and ids.

    Masks: all keys, the first alone, the last alone, every other one, and draws from all values that the mask may have. Ids: all 0,
    all the largest, and draws from the whole vocabulary with many zeros and ones, which often stand for padding.
    """
    graph = FloatGraph(model)
    masks, ids = key_masks(graph), token_ids(graph)
    if not masks and not ids:
        return None
    rng = np.random.default_rng(_SEED)
    drawn: dict[str, Array] = {}
    for name, array in inputs.items():
        shape = (CORNERS, *array.shape[1:])
        if name in masks:
            drawn[name] = masks[name].corners(rng, shape, array.dtype)
        elif name in ids:
            values = rng.integers(0, ids[name], shape)
            few = rng.random(shape) < 0.3
            values[few] = np.minimum(rng.integers(0, 2, shape), ids[name] - 1)[few]
            values[0], values[1] = 0, ids[name] - 1
            drawn[name] = values.astype(array.dtype)
        else:
            drawn[name] = array[np.arange(CORNERS) % len(array)]
    return drawn


# In the build folder


def keep_original(folder: Path, files: Sequence[Path], *, always: bool = False) -> dict[str, Any]:
    """Put a model file, the first of ``files``, into a build folder, the external data in the others inside; returns what the
    manifest says of it.

    Above :data:`LARGEST` bytes, the manifest has paths and digests only, unless it is to be kept ``always``.
    """
    if not always and sum(file.stat().st_size for file in files) > LARGEST:
        return {"file": None, "files": [{"path": str(file.resolve()), "sha256": hash_file(file)} for file in files]}
    if len(files) == 1:
        shutil.copyfile(files[0], folder / MODEL)
    else:
        (folder / MODEL).write_bytes(whole(files[0]).SerializeToString())
    return {"file": MODEL, "files": []}


def reference_of(build: Build) -> Reference:
    """The reference of a build; InputError where its model was too large to copy and is gone or changed."""
    model = build.float_model()
    facts = build.manifest.get("reference")
    if facts is None:
        return Reference("canonical", "the build was made before builds held the original model", model)
    if facts["kind"] == "canonical":
        return Reference("canonical", facts["note"], model)
    if facts["file"] is not None:
        path = build.folder / MODEL
        return Reference("original", facts["note"], model, in_memory(build.onnx_model(MODEL), path))
    for entry in facts["files"]:
        file = Path(entry["path"])
        what = "is gone" if not file.is_file() else "was changed" if hash_file(file) != entry["sha256"] else None
        if what is not None:
            raise InputError(
                f"{file}, the original model of build {build.folder}, {what}: put it back, or compile again"
                f" (models above {LARGEST // 1_000_000} MB are not copied into the build)"
            )
    return Reference("original", facts["note"], model, read_original(Path(facts["files"][0]["path"])))
