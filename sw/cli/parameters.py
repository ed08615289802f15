"""Parameters that several commands of ``edgeflow`` take: their types, help and parsing."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from edgeflow.hw.errors import InputError

Number = TypeVar("Number", int, float)


class Observer(StrEnum):
    """How the range of an activation is chosen."""

    AUTO = "auto"
    MINMAX = "minmax"
    PERCENTILE = "percentile"
    MSE = "mse"


class Engine(StrEnum):
    """What computes: the integer network in NumPy or as the emitted C++, or the original model in onnxruntime."""

    NUMPY = "numpy"
    CSIM = "csim"
    FLOAT = "float"


class ExportFormat(StrEnum):
    """How an exported ONNX file writes its quantizers."""

    QDQ = "qdq"
    QONNX = "qonnx"


class Order(StrEnum):
    """When layers are quantized in fine-tuning: all from the start, or one after another in HAWQ's order."""

    TOGETHER = "together"
    HAWQ = "hawq"


Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Trained model, ONNX.", show_default=False)]
BoardName = Annotated[str, typer.Option(help="Board name (see: edgeflow boards) or a board's TOML file.")]
Calibration = Annotated[
    Path | None,
    typer.Option(help="Calibration data, an .npz keyed by input names. Without it: random data.", show_default=False),
]
Dimensions = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=SIZE", help="Size of a symbolic dimension (sequence=128); repeatable.", show_default=False),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of every random choice.")]
WeightBits = Annotated[
    int, typer.Option(metavar="N", min=2, max=8, help="Bits of the weights of linear layers, 2 to 8; first and last keep 8.")
]
ActivationBits = Annotated[
    int, typer.Option(metavar="N", min=2, max=8, help="Bits of what linear layers read, 2 to 8; first and last keep 8.")
]
BuildFolder = Annotated[Path, typer.Argument(metavar="BUILD", help="Build folder that compile wrote.", show_default=False)]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Array of the inputs file that holds class labels, not a model input; simulate prints top-1 accuracy.",
        show_default=False,
    ),
]
Share = Annotated[
    float | None,
    typer.Option(metavar="PART", help="Part of every resource of the board that may be used; 0.8 by default.", show_default=False),
]
Exact = Annotated[bool, typer.Option("--exact", help="Use the exact ap_int headers in the C simulation (slow).")]


def on_command_line(context: typer.Context, name: str) -> bool:
    """Whether a parameter was given, rather than left at its default."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def dimensions(options: list[str]) -> dict[str, int]:
    dims: dict[str, int] = {}
    for option in options:
        name, equals, size = option.partition("=")
        if not (name and equals and size.isdecimal() and int(size) > 0):
            raise InputError(f"option --dim {option!r} must be NAME=SIZE with a positive size, such as --dim sequence=128")
        dims[name] = int(size)
    return dims


def numbers(option: str, text: str, kind: Callable[[str], Number]) -> tuple[Number, ...]:
    try:
        numbers = tuple(dict.fromkeys(kind(part) for part in text.split(",")))
    except ValueError as error:
        raise InputError(f"option {option} {text!r} must be numbers separated by commas, such as 16,32") from error
    if min(numbers) <= 0:
        raise InputError(f"option {option} {text!r} must be positive numbers")
    return numbers
