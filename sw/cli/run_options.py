"""Options of a compilation from the command line, laid over those of a run file.

Nothing heavy is imported here: what is wrong with them is told in tenths of a second."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeflow.hw.errors import InputError
from edgeflow.sw.files.presence import check_data, check_model, missing_overlay
from edgeflow.sw.files.replacement import check_room, check_target
from edgeflow.sw.flow.options import CompileOptions, validated
from edgeflow.sw.flow.run_reading import RunFile, read_run
from edgeflow.sw.search.bit_requests import method_or_layers

# Where an option of the command line has its place among the options of a compilation.
PLACES: Mapping[str, tuple[str, ...]] = {
    "board": ("board",),
    "calib": ("calibration",),
    "test": ("test",),
    "bits": ("bits",),
    "budget": ("budget",),
    "clock": ("clock_mhz",),
    "share": ("share",),
    "overlay": ("overlay",),
    "seed": ("seed",),
    "dims": ("dims",),
    "observer": ("quantization", "observer"),
    "weight_bits": ("quantization", "weight_bits"),
    "activation_bits": ("quantization", "activation_bits"),
    "ablation": ("quantization", "ablation"),
    "pi": ("sizes", "pi"),
    "po": ("sizes", "po"),
    "epilogue": ("sizes", "epilogue"),
    "vector": ("sizes", "vector"),
    "weight_ports": ("sizes", "weight_ports"),
}


def compilation(config: Path | None, parameters: Mapping[str, Any]) -> tuple[Path, Path, CompileOptions]:
    """Model, output folder and options of a compilation; ``parameters`` are those given on the command line, by their names, which
    override those of the run file ``config``. An EdgeFlowError for a wrong option, and for a board or a file that there is not."""
    method_or_layers(parameters.get("bits"))
    run = RunFile(Path("run.toml"), None, None, {}) if config is None else read_run(config)
    options = _merged(run.options, parameters)
    model, output = parameters.get("model", run.model), parameters.get("output", run.output or Path("edgeflow-build"))
    if model is None:
        raise InputError("missing argument 'MODEL', or --config RUN.toml (edgeflow compile --help tells what it takes)")
    labels = parameters.get("labels")
    if labels is not None:
        if "calibration" not in options and "test" not in options:
            raise InputError("option --labels names an array of the calibration or test file: add --calib X.npz or --test X.npz")

        options |= {key: labels for key, data in (("labels", "calibration"), ("test_labels", "test")) if data in options}
    checked = validated("option" if config is None else f"run file {config}:", CompileOptions, options)
    replaced = {PLACES[name][0] for name in parameters if name in PLACES} | ({"model"} if "model" in parameters else set())
    checked.loaded_board()
    run.check({name: value for name, value in {**options, "model": model}.items() if name not in replaced})
    check_files(model, checked)
    check_target(Path(output))
    check_room(Path(output))
    return model, output, checked


def check_files(model: Path, options: CompileOptions) -> None:
    """The error of the first file among the options that there is not."""
    check_model(model)
    for data, what in ((options.calibration, "calibration data"), (options.test, "test data")):
        if isinstance(data, str | os.PathLike):
            check_data(Path(data), what)
    if isinstance(options.overlay, Path) and not options.overlay.exists():
        raise missing_overlay(options.overlay)


def _merged(base: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: dict(value) if isinstance(value, Mapping) else value for name, value in base.items()}
    tables = {"dims", "quantization", "sizes"}
    if any(not isinstance(options.get(name, {}), dict) for name in tables):
        return options  # refused where the options are checked
    for name, (first, *rest) in PLACES.items():
        if name not in parameters:
            continue
        if first == "dims":
            options[first] = {**options.get(first, {}), **parameters[name]}
        elif rest:
            options.setdefault(first, {})[rest[0]] = parameters[name]
        else:
            options[first] = parameters[name]
    if "seed" in parameters:  # one seed on the command line
        options.get("quantization", {}).pop("seed", None)
    if "bits" in parameters:
        options.get("quantization", {}).pop("layers", None)
    return options
