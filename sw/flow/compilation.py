"""From a user's model, options and data to a build."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any

from edgeflow.hw.arrays import Array
from edgeflow.hw.progress import Progress
from edgeflow.quant.convert.conversion import Quantized
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.sw.files.arrays import Archive, described, take_labels
from edgeflow.sw.files.batches import Data, Names, read_data
from edgeflow.sw.files.build import Build
from edgeflow.sw.files.replacement import check_target
from edgeflow.sw.flow.options import CompileOptions, ExploreOptions
from edgeflow.sw.flow.run_file import Recipe
from edgeflow.sw.flow.steps import Request, run
from edgeflow.sw.importer.model_sources import ModelSource, model_file
from edgeflow.sw.measure.samples import UserData
from edgeflow.sw.search import explore


def compile_model(
    model: ModelSource | Quantized,
    output: str | os.PathLike[str],
    options: CompileOptions,
    example_inputs: object = None,
    progress: Progress | None = None,
    command: str = "edgeflow.compile",
    start: str | None = None,
    until: str | None = None,
) -> Build:
    """Compile a model into the folder ``output``; ``example_inputs`` are those of a torch module, ``command`` is what the build's
    run file says of how it was made. ``start`` and ``until`` are the first step to run and the last one."""
    quantized = model if isinstance(model, Quantized) else None
    if quantized is not None:
        options.refuse_for_quantized()
        samples = UserData(quantized.samples, what="the samples that the model was quantized with")
    board, architecture = options.loaded_board(), options.architecture()
    check_target(Path(output))
    with model_file(model.model if isinstance(model, Quantized) else model, example_inputs) as file:
        calibration, test = _data(options, file.input_names)
        request = Request(
            model=file,
            board=board,
            output=Path(output),
            calibration=calibration if quantized is None else samples,
            config=options.quantization if quantized is None else quantized.config,
            dims=options.dims,
            architecture=architecture,
            clock_mhz=board.clock_mhz if options.clock_mhz is None else options.clock_mhz,
            seed=options.seed,
            test=test,
            sizes=options.sizes,
            share=options.resources,
            bits=options.bit_request(),
            quantized=quantized,
            recipe=Recipe(options, file, calibration, test, command, quantized is not None),
        )
        return run(request, progress or _silent, start, until)


def explore_model(
    model: ModelSource,
    output: str | os.PathLike[str],
    options: ExploreOptions,
    example_inputs: object = None,
    progress: Progress | None = None,
) -> explore.Exploration:
    """Explore accelerators for a model into the folder ``output``."""
    board, chosen = options.loaded_board(), options.quantization
    with model_file(model, example_inputs) as file:
        request = explore.Request(
            model=file.path,
            board=board,
            output=Path(output),
            calibration=None if options.calibration is None else read_data(options.calibration, file.input_names),
            configs={explore.precision_name(bits): _at(chosen, bits) for bits in options.precisions()},
            dims=options.dims,
            grid=explore.Grid(options.clocks_mhz or (board.clock_mhz,), options.sizes, options.resources),
            seed=options.seed,
            processes=options.jobs,
            scheduler=options.scheduler,
        )
        return explore.explore(request, progress or _silent)


def _at(config: QuantizationConfig, bits: LayerBits) -> QuantizationConfig:
    return config.model_copy(update={"weight_bits": bits.weight, "activation_bits": bits.activation})


def _data(options: CompileOptions, names: Names) -> tuple[UserData | None, UserData | None]:
    """Calibration and test data with their labels, which may be arrays of the data itself."""
    test = None if options.test is None else _user_data(options.test, "test data", options.test_labels, names)
    if options.calibration is None:
        return None, test
    # On the command line one name stands for the labels in either file; accuracy needs those of the test data.
    shared = test is not None and isinstance(options.labels, str) and options.labels == options.test_labels
    return _user_data(options.calibration, "calibration data", options.labels, names, optional=shared), test


def _user_data(data: Data, what: str, labels: Any, names: Names, *, optional: bool = False) -> UserData:
    arrays: Mapping[str, Array] = read_data(data, names, what, labels if isinstance(labels, str) else None)
    what = described(arrays, what)
    if isinstance(labels, str):
        if optional and labels not in arrays:
            return UserData(arrays, None, what)
        rest = copy(arrays) if isinstance(arrays, Archive) else dict(arrays)
        labels = take_labels(rest, labels, what)
        return UserData(rest, labels, what)
    return UserData(arrays, labels, what)


def _silent(what: str, done: int, total: int) -> None:
    """Report no progress."""
