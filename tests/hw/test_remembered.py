"""Functions of an accelerator that are remembered by what they read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.fabric import SHARED
from edgeflow.hw.fit import unit_resources
from edgeflow.hw.memoize import Remembered, RememberedFields
from edgeflow.hw.ops import instruction_layouts, unit

BASE = Architecture(units=("linear", "attention", "layernorm", "dma"))


def test_it_runs_once_for_all_that_agree_in_what_is_read() -> None:
    asked: list[int] = []

    def size(a: Architecture) -> int:
        asked.append(a.pi)
        return a.pi * (a.vector if a.pi > 8 else 1)

    remembered = Remembered(size)
    for pi, vector, expected in ((8, 1, 8), (8, 2, 8), (16, 2, 32), (16, 4, 64), (16, 2, 32), (8, 8, 8)):
        assert remembered(BASE.model_copy(update={"pi": pi, "vector": vector})) == expected
    assert asked == [8, 16, 16]


def test_refusals_are_remembered() -> None:
    asked: list[int] = []

    def refuse(a: Architecture) -> int:
        asked.append(a.po)
        raise UnsupportedError("too small")

    remembered = Remembered(refuse)
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="too small"):
            remembered(BASE)
    assert asked == [16]


def test_what_is_read_cannot_hide_in_a_method() -> None:
    with pytest.raises(AttributeError, match="only fields can be read"):
        Remembered(lambda a: a.model_dump())(BASE)


def test_fields_that_are_not_read_do_not_count() -> None:
    asked: list[int] = []

    def cycles(values: Mapping[str, int]) -> int:
        asked.append(values["rows"])
        return values["rows"] * (values["steps"] if values["rows"] > 8 else 1)

    remembered = RememberedFields(cycles)
    for rows, steps, place, expected in ((8, 1, 0, 8), (8, 2, 5, 8), (16, 2, 5, 32), (16, 4, 5, 64), (16, 2, 9, 32)):
        assert remembered({"rows": rows, "steps": steps, "place": place}) == expected
    assert asked == [8, 16, 16]


def test_fields_are_read_by_name() -> None:
    with pytest.raises(TypeError, match="only be read by their names"):
        RememberedFields(lambda values: sum(values.values()))({"rows": 8})


def test_resources_are_those_of_the_units() -> None:
    sizes: list[dict[str, Any]] = [{}, {"pi": 32}, {"vector": 4}, {"dsp_bits": 25}, {"slots": 512}]
    sizes += [{"block_buffers": False}, {"precisions": (8,)}]
    for changes in [*sizes, *sizes]:
        a = BASE.model_copy(update=changes)
        expected = {x.name: unit(x).resources(a) for x in instruction_layouts() if x.name in a.units}
        assert unit_resources(a) == expected | {name: count(a) for name, count in SHARED.items()}
