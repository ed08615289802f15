"""Constants as they were before they were rounded to float32.

A quantized file holds biases and scales in float32, which has fewer digits than the 32-bit words that are computed of them. What
EdgeFlow exports therefore also says what they were: the ``metadata_props`` of a constant's value have, under ``edgeflow.exact``,
its elements in float64 (little endian, base64). They count only where the constant that is there is what they round to.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

EXACT = "edgeflow.exact"
ROUNDED = 2.0**-22  # relative, that a product of two numbers in float32 may be off


def set_exact(value: ir.Value, array: NDArray[np.float64]) -> None:
    """Record with a constant what it was before it was rounded."""
    value.metadata_props[EXACT] = encode_exact(array)


def exact_constant(value: ir.Value, array: NDArray[Any]) -> NDArray[np.float64]:
    """A constant, which is ``array``, in double precision: as it was before it was rounded, where it says so."""
    text = value.metadata_props.get(EXACT)
    exact = None if text is None else decode_exact(text, array)
    return array.astype(np.float64) if exact is None else exact


def encode_exact(array: NDArray[np.float64]) -> str:
    """Elements as text."""
    return base64.b64encode(np.ascontiguousarray(array, "<f8").tobytes()).decode("ascii")


def decode_exact(text: str, like: NDArray[Any]) -> NDArray[np.float64] | None:
    """The elements in the shape of the array that they were rounded to; None where that array is not what they round to."""
    try:
        elements = np.frombuffer(base64.b64decode(text, validate=True), "<f8").astype(np.float64).reshape(like.shape)
    except ValueError:
        return None
    return elements if is_rounded(like, elements) else None


def is_rounded(array: NDArray[Any], exact: NDArray[np.float64]) -> bool:
    """Whether float32 makes ``array`` of ``exact``, give or take what a product loses."""
    return bool((np.abs(array - exact) <= ROUNDED * np.abs(exact)).all())
