"""How a user asks for bits: a method and budgets, or the ``bits.json`` of a build.

Nothing heavy is imported here: options are checked before anything is loaded that could fulfil them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from edgeflow.hw.errors import InputError
from edgeflow.hw.renamed import current_names
from edgeflow.quant.formats.config import LayerBits
from edgeflow.quant.techniques.hawq.budget import Budget, parse_budgets
from edgeflow.sw.files.presence import check_no_device

if TYPE_CHECKING:
    from edgeflow.hw.arrays import Array
    from edgeflow.quant.techniques.hawq.sensitivity import Metric

MethodName = Literal["hawq", "fit"]
METHODS: Mapping[str, Metric] = {"hawq": "hessian", "fit": "fisher"}


@dataclass(frozen=True)
class BitRequest:
    """How bits are to be chosen: ``budgets``; ``labels (samples,)`` of the calibration data, if there are any; the ``metric``;
    ``samples`` and ``probes`` of the Hessian at most; ``ends``: the first and the last layer, too."""

    budgets: tuple[Budget, ...]
    labels: Array | None = None
    metric: Metric = "hessian"
    samples: int = 64
    probes: int = 32
    tolerance: float = 0.1
    ends: bool = False


def bit_request(method: str | None, budget: str | Sequence[str]) -> BitRequest | None:
    """What a user asks for: ``method`` is hawq or fit, or None to leave the bits as configured. InputError for half a request."""
    budgets = parse_budgets([budget] if isinstance(budget, str) else budget)
    if method is None:
        if budgets:
            raise InputError("a budget says how bits are to be chosen: add --bits hawq (in Python bits='hawq')")
        return None
    if method not in METHODS:
        raise InputError(f"bits are chosen by {' or '.join(METHODS)}, not by {method!r}")
    if not budgets:
        raise InputError("option --bits needs a limit to choose bits under: add --budget latency=0.8x, size=0.5x or bops=0.5x")
    return BitRequest(budgets, metric=METHODS[method])


def method_or_layers(text: str | None) -> tuple[MethodName | None, dict[str, LayerBits]]:
    """What ``--bits`` says: a method by which to choose, or the bits of the layers in a file; InputError for neither."""
    if text is None or text in METHODS:
        return cast("MethodName | None", text), {}
    if not Path(text).is_file():
        raise InputError(f"option --bits takes {' or '.join(METHODS)}, or the bits.json of a build, and {text!r} is no such file")
    return None, read_bits(Path(text))


def read_bits(file: Path) -> dict[str, LayerBits]:
    """Bits of every layer from a ``bits.json``; InputError where the file is none."""
    advice = "give the bits.json of a build that compile --bits made"
    check_no_device(file, "bits ")
    try:
        layers = current_names("JSON key", json.loads(file.read_text()))["layers"]
        return {layer["name"]: LayerBits(weight=layer["weight_bits"], activation=layer["activation_bits"]) for layer in layers}
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror}): {advice}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file} does not hold the bits of layers: {advice}") from error
