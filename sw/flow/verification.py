"""``edgeflow verify``: float (onnxruntime), NumPy and C++ on the same inputs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import InputError
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import decode_outputs, encode_inputs, model_data
from edgeflow.quant.canonical.masks import key_masks, keyless_samples
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.sim import csim
from edgeflow.sim.compare import TensorComparison, compare
from edgeflow.sim.executor import Executor
from edgeflow.sw.files.arrays import described
from edgeflow.sw.files.build import CANONICAL_MODEL, Build
from edgeflow.sw.flow.own_cpp import own_cpp
from edgeflow.sw.flow.own_program import own_program
from edgeflow.sw.measure.accuracy import Agreement, agreement
from edgeflow.sw.measure.reference import Reference, reference_of


@dataclass(frozen=True)
class Verification:
    """What ``verify`` found: every tensor's differing words, and the integer outputs' distance from the float model; ``reference``
    says which float model that is.

    ``origin`` of the samples: ``given`` by the user; or kept in the build, where they are ``held_out`` of the calibration data,
    ``test`` data, ``calibration`` data (on which a distance says little of unseen data) or ``random``. ``warnings`` are about the
    samples; those of which no key takes part do not count in a distance.
    """

    samples: int
    origin: str
    exact: bool
    tensors: tuple[TensorComparison, ...]
    sqnr_db: Mapping[str, float]
    top1_agreement: float | None
    reference: str
    warnings: tuple[str, ...] = ()

    @property
    def words(self) -> int:
        """Words compared."""
        return sum(t.words for t in self.tensors)

    @property
    def differing(self) -> int:
        """Words that differ between NumPy and C++."""
        return sum(t.differing for t in self.tensors)

    @property
    def passed(self) -> bool:
        """Whether every tensor was compared and no word differs."""
        return self.differing == 0 and all(t.words for t in self.tensors)


def checked(model: ir.Model, inputs: Mapping[str, Array], what: str = "input data") -> dict[str, Array]:
    """Inputs as a canonical model wants them; CalibrationError otherwise."""
    return model_data(model, inputs, described(inputs, what))


def _same_ends(build: Build, model: ir.Model, inputs: Mapping[str, Array]) -> None:
    """InputError unless the integer graph of a build has the inputs and outputs of its float model, whose inputs these are."""
    graph, shapes = build.graph, {name: array.shape[1:] for name, array in inputs.items()}
    outputs = {str(value.name) for value in model.graph.outputs}
    if {name: graph.tensors[name].shape for name in graph.inputs} != shapes or set(graph.outputs) != outputs:
        raise InputError(
            f"build {build.folder}: integer_graph.json has other inputs or outputs than {CANONICAL_MODEL}: compile the model again"
        )


def keyless(model: ir.Model, inputs: Mapping[str, Array]) -> NDArray[np.bool_]:
    """Which samples of checked inputs leave no key that takes part, ``(samples,)``."""
    return keyless_samples(key_masks(FloatGraph(model)), inputs)


def warnings_of(empty: NDArray[np.bool_], what: str) -> tuple[str, ...]:
    """What the user should know of the inputs ``what``, a line each; ``empty`` says which of them are :func:`keyless`."""
    numbers = np.flatnonzero(empty)
    if not len(numbers):
        return ()
    return (
        f"{what}: {len(numbers)} of {len(empty)} samples leave no key that takes part (first sample {numbers[0]}, counted from 0);"
        " softmax has no meaning there, and outputs are not the float model's",
    )


def verify(build: Build, inputs: Mapping[str, Array] | None, samples: int, exact: bool, progress: Progress | None) -> Verification:
    """Compare at most ``samples`` of the inputs (by default those the build keeps), every intermediate tensor."""
    model = build.float_model()
    try:
        reference = reference_of(build)
    except InputError as error:  # words are compared all the same
        reference = Reference("canonical", str(error), model)
    arrays = {name: value[:samples] for name, value in checked(model, build.golden() if inputs is None else inputs).items()}
    _same_ends(build, model, arrays)
    empty = keyless(model, arrays)
    words = encode_inputs(build.graph, arrays)
    if progress is not None:
        progress("compiling the C simulation", 0, 1)
    program = own_program(build)
    sources, notes = own_cpp(build)
    library = csim.build(sources, exact=exact)
    tensors = compare(build.graph, program, library, words, progress)
    expected = reference.outputs(arrays)
    actual = decode_outputs(build.graph, Executor(build.graph).run(words))
    arrays, expected, actual = ({name: value[~empty] for name, value in part.items()} for part in (arrays, expected, actual))
    close = Agreement({}, None) if empty.all() else agreement(model, arrays, expected, actual)
    return Verification(
        samples=len(empty),
        origin=str(build.manifest.get("golden_origin", "calibration")) if inputs is None else "given",
        exact=exact,
        tensors=tensors,
        sqnr_db=close.sqnr_db,
        top1_agreement=close.top1,
        reference=str(reference),
        warnings=(*notes, *warnings_of(empty, "input data" if inputs is None else described(inputs, "input data"))),
    )


def simulate(
    build: Build | Quantized, inputs: Mapping[str, Array], engine: str, exact: bool, progress: Progress | None
) -> dict[str, Array]:
    """The outputs as real values ``(samples, *shape)``: of the network by NumPy or C simulation, or of the reference.

    Warns of samples on which they are not the same function. InputError for the C simulation of a quantized model, which has no
    C++."""
    model = build.model if isinstance(build, Quantized) else build.float_model()
    arrays = checked(model, inputs)
    for line in warnings_of(keyless(model, arrays), described(inputs, "input data")):
        warnings.warn(line, stacklevel=3)
    if engine == "float":
        reference = Reference("canonical", None, model) if isinstance(build, Quantized) else reference_of(build)
        return reference.outputs(arrays, progress)
    if isinstance(build, Build):
        _same_ends(build, model, arrays)
    words = encode_inputs(build.graph, arrays)
    if engine == "numpy":
        return dict(decode_outputs(build.graph, Executor(build.graph).run(words, progress)))
    if isinstance(build, Quantized):
        raise InputError("the C simulation runs the C++ of a build: compile the quantized model, and simulate that")
    program = own_program(build)
    sources, notes = own_cpp(build)
    for line in notes:
        warnings.warn(line, stacklevel=3)
    results = csim.run_samples(program, csim.build(sources, exact=exact), words, progress)
    return dict(decode_outputs(build.graph, results))
