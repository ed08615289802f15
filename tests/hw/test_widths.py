"""Widths and codes are stated once: headers name them, and a width that is narrowed in the table fails the overflow proof."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from operator_harness import ARCHITECTURES, build, case_graph, case_samples, narrowed, operator_cases, reference

from edgeflow.hw.cpp_widths import PRODUCT, WIDTHS, Width
from edgeflow.hw.errors import VerificationError
from edgeflow.hw.ops import Case, Register, registry, units
from edgeflow.hw.ops.base import INCLUDE
from edgeflow.hw.verify import verify_graph
from edgeflow.sim import csim
from edgeflow.sw.compiler.codegen import codes, overlay_sources
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

HEADERS = {path.name: path.read_text() for path in sorted((INCLUDE / "edgeflow").glob("*.hpp"))}

# Literal widths that headers may state. The layout of elements in memory (hw/program.py packs it) fixes them.
STORAGE = {
    *("ap_uint<8>", "ap_int<8>"),  # a byte
    *("ap_uint<4>", "ap_int<4>", "ap_int<2>"),  # its halves and quarters
    *("ap_uint<16>", "ap_int<16>", "ap_uint<32>"),  # little-endian integers put together from bytes, or taken apart
    "ap_uint<1>",  # one bit of something
}
EXCEPTIONS = {
    ("move.hpp", "ap_uint<6>"): "a place in a line, whose 64 bytes the memory's structure fixes",
    ("move.hpp", "ap_uint<2>"): "a base-4 digit of that place: a stage of the rotation",
    ("row_mask.hpp", "ap_uint<7>"): "how many of a line's 64 bytes are set",
}


@pytest.fixture(scope="module")
def registers() -> dict[Width, list[tuple[Case, Register]]]:
    """Every register of every operator's cases, by width."""
    by_width: dict[Width, list[tuple[Case, Register]]] = {width: [] for width in WIDTHS}
    for name in registry():
        for case in operator_cases(name):
            constants = {i: case.inputs[i] for i in case.constants}
            for register in case.operator.registers(case.formats, constants):
                if register.width in by_width:
                    by_width[register.width].append((case, register))
                else:  # a table's entries must fit its output's format, which is no width of the C++
                    assert name == "table"
    return by_width


@pytest.mark.parametrize("width", WIDTHS, ids=lambda width: width.name)
class TestWidth:
    def test_one_bit_less_than_needed_fails_the_proof(
        self, width: Width, registers: dict[Width, list[tuple[Case, Register]]]
    ) -> None:
        assert registers[width], f"no operator's registers have the width {width.name}"
        needs = [(width.needed(r.minimum, r.maximum), i) for i, (_, r) in enumerate(registers[width])]
        need, i = max(needs)
        case, _ = registers[width][i]
        assert need <= width.bits
        verify_graph(case_graph(case))
        with narrowed(width, need):
            verify_graph(case_graph(case))
        with narrowed(width, need - 1), pytest.raises(VerificationError, match=f"more than its {need - 1} bits"):
            verify_graph(case_graph(case))

    def test_the_headers_take_it_from_the_table(self, width: Width) -> None:
        text = overlay_sources(ARCHITECTURES["16x16 axi128"])["edgeflow_types.hpp"]
        assert f"typedef {width.cpp} {width.name};" in text
        assert f"static const int {width.constant} = {width.bits};" in text
        used = re.compile(rf"\b({width.name}|{width.constant})\b")
        assert any(used.search(header) for header in HEADERS.values())


def test_a_product_of_44_bits_makes_other_words_and_fails_the_proof(tmp_path: Path) -> None:
    architecture = ARCHITECTURES["16x16 axi128"].model_copy(update={"units": ("elementwise", "dma")})
    wrong = unproven = 0
    with narrowed(PRODUCT, 44):
        library = build(tmp_path, architecture).library
        for case in operator_cases("multiply"):
            graph = case_graph(case)
            with csim.CSimulation(lower(Network(graph), architecture), library) as simulation:
                words = np.stack([simulation.run(sample)["out"] for sample in case_samples(case)])
            differs = not np.array_equal(words, reference(case))
            try:
                verify_graph(graph)
            except VerificationError:
                unproven += 1
            else:
                assert not differs, f"{case.name}: proven, but its words differ"
            wrong += differs
    assert unproven >= wrong > 0


def test_names_are_unique() -> None:
    names = [*(width.name for width in WIDTHS), *(width.constant for width in WIDTHS), *codes()]
    assert len(set(names)) == len(names)


def test_the_codes_of_units_do_not_collide() -> None:
    own = [name for cls in units() for name in cls.codes]
    assert len(set(own)) == len(own)
    assert all(any(re.search(rf"\b{name}\b", header) for header in HEADERS.values()) for name in codes())


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_states_no_width_and_no_code(name: str) -> None:
    literals = set(re.findall(r"\bap_u?int<\d+>", HEADERS[name]))
    allowed = {literal for header, literal in EXCEPTIONS if header == name}
    assert literals - STORAGE == allowed
    assert re.findall(r"\b(?:half_place|tie_places|round_ties)<\d+>", HEADERS[name]) == []
    assert re.findall(r"^static const \w+ \w+ = \d+;", HEADERS[name], re.MULTILINE) == []
