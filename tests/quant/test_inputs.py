"""Model inputs: every kind of wrong data has its one clear message; encoding is exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeflow.hw.errors import CalibrationError
from edgeflow.hw.graph import Graph, Overflow, QType, TensorType
from edgeflow.quant.canonical.inputs import InputSpec, check_inputs, decode_outputs, encode_inputs
from edgeflow.quant.canonical.masks import MaskValues

SPECS = (InputSpec("image", (1, 4), "float32"), InputSpec("ids", (3,), "int64"))


def data(**changes: Any) -> dict[str, np.ndarray[Any, Any]]:
    return {"image": np.zeros((2, 1, 4), np.float32), "ids": np.zeros((2, 3), np.int64), **changes}


def test_good_data_comes_in_the_models_order_and_types() -> None:
    data = {"ids": np.ones((2, 3), np.int32), "image": np.full((2, 1, 4), 0.5)}
    checked = check_inputs(SPECS, data)
    assert list(checked) == ["image", "ids"]
    assert checked["image"].dtype == np.float32
    assert checked["ids"].dtype == np.int64
    assert (checked["ids"] == 1).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"imagee": np.zeros(1)}, ["unknown input 'imagee'", "did you mean 'image'", "image: float32 (samples, 1, 4)"]),
        ({"image": np.zeros((2, 1, 4), np.uint8)}, ["'image' has type uint8", "float32 (samples, 1, 4)"]),
        ({"ids": np.zeros((2, 3), np.float32)}, ["'ids' has type float32", "int64 (samples, 3)"]),
        ({"image": np.zeros((1, 4), np.float32)}, ["'image' has shape (1, 4)", "the first axis must count samples"]),
        ({"image": np.zeros((2, 3, 4), np.float32)}, ["'image' has shape (2, 3, 4)", "float32 (samples, 1, 4)"]),
        ({"image": np.zeros((0, 1, 4), np.float32), "ids": np.zeros((0, 3), np.int64)}, ["'image' has no samples"]),
        ({"ids": np.zeros((5, 3), np.int64)}, ["same number of samples", "image: 2", "ids: 5"]),
        ({"image": np.array([[[0, 1, np.nan, 0]]] * 2, np.float32)}, ["'image' holds nan at (0, 0, 2)"]),
        ({"image": np.array([[[0, 1, 0, -np.inf]]] * 2, np.float32)}, ["'image' holds -inf at (0, 0, 3)"]),
        ({"image": np.full((2, 1, 4), 1e39)}, ["'image' holds inf at (0, 0, 0)"]),
        ({"ids": np.full((2, 3), 2**63, np.uint64)}, ["'ids' holds values outside int64"]),
        ({"ids": np.array([["a"] * 3] * 2)}, ["'ids' has type <U1"]),
    ],
)
def test_wrong_data_is_refused_in_one_line(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(CalibrationError) as caught:
        check_inputs(SPECS, data(**changes), "calibration data")
    message = str(caught.value)
    assert message.startswith("calibration data: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def test_missing_input_is_named_with_what_the_model_expects() -> None:
    with pytest.raises(CalibrationError, match=r"input 'ids' is missing; give an array ids: int64 \(samples, 3\)"):
        check_inputs(SPECS, {"image": np.zeros((2, 1, 4), np.float32)})


def graph() -> Graph:
    kinds = {
        "image": TensorType((1, 4), QType(8, True, 0.5, zero_point=-3)),
        "ids": TensorType((3,), QType(32, False, 1.0, overflow=Overflow.ERROR), limit=9),
        "mask": TensorType((3,), QType(8, False, 1.0, overflow=Overflow.ERROR), limit=1),
    }
    return Graph("g", tuple(kinds), ("image",), kinds, {}, ())


def test_encoding_quantizes_reals_keeps_ids_and_turns_masks_into_ones() -> None:
    arrays = {
        "image": np.array([[[0.0, 0.25, -0.26, 1000.0]]]),
        "ids": np.array([[0, 9, 4]]),
        "mask": np.array([[0, -7, 300]]),
    }
    words = encode_inputs(graph(), arrays)
    assert words["image"].tolist() == [[[-3, -2, -4, 127]]]
    assert words["ids"].tolist() == [[0, 9, 4]]
    assert words["mask"].tolist() == [[0, 1, 1]]
    assert decode_outputs(graph(), words)["image"].tolist() == [[[0.0, 0.5, -0.5, 65.0]]]


@pytest.mark.parametrize("token", [-1, 10])
def test_token_outside_the_vocabulary_is_refused(token: int) -> None:
    arrays = {"image": np.zeros((1, 1, 4)), "ids": np.array([[0, token, 1]]), "mask": np.zeros((1, 3))}
    with pytest.raises(CalibrationError, match=rf"input 'ids' holds {token}; ids must lie in 0 to 9"):
        encode_inputs(graph(), arrays)


def test_a_mask_of_one_value_says_so() -> None:
    text = str(MaskValues(((1.0, 1.0),), ()))
    assert text == "1 for keys that take part, and no other value"


def test_many_values_are_named_by_the_nearest_ones() -> None:
    odd = tuple((float(number), float(number)) for number in range(-255, 1024, 2))
    values = MaskValues(odd, ((0.0, 0.0),))
    text = str(values)
    assert text == "-5, -3, -1, 1, 3, 5 (634 more) for keys that take part and 0 for those that do not"
    assert values.attends(np.array([1023, 1024, 1025, -255, 0, 8, 9])).tolist() == [True, False, False, True, False, False, True]
    assert values.examples(values.attend, np.dtype("int64"))[:3] == [1.0, -1.0, 3.0]
