"""Widths and codes are stated once: headers name them, and a width that is narrowed in the table fails the overflow proof."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from header_types import types_held
from operator_harness import ARCHITECTURES, build, case_graph, case_samples, narrowed, operator_cases, reference

from edgeflow.hw import field_widths
from edgeflow.hw.architecture import HALVES, WORDS, Architecture
from edgeflow.hw.cost import Resources
from edgeflow.hw.cpp_widths import ACCUMULATOR, DIGITS, ELEMENT, LONG_ELEMENT, MULTIPLIER, PRODUCT, SHIFT, WIDTHS, Width
from edgeflow.hw.errors import UnsupportedError, VerificationError
from edgeflow.hw.ops import Case, InstructionLayout, LoweringContext, Register, instruction_layouts, registry, units
from edgeflow.hw.ops.base import INCLUDE, Field, Instruction
from edgeflow.hw.ops.elementwise import ELEMENTWISE
from edgeflow.hw.ops.pool import Pool
from edgeflow.hw.ops.smooth import MAXIMUM_SEGMENTS, SMOOTH
from edgeflow.hw.ops.vector import MAXIMUM_SHIFT, require_channels, require_rows
from edgeflow.hw.verify import verify_graph
from edgeflow.sim import csim
from edgeflow.sw.compiler.codegen import codes, overlay_sources
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

HW = INCLUDE.parent
HEADERS = {path.name: path.read_text() for path in sorted((INCLUDE / "edgeflow").glob("*.hpp"))}
PROCESSES = {path.name: path.read_text() for path in sorted((INCLUDE / "edgeflow" / "network").glob("*.hpp"))}

# Literal widths that headers may state. The layout of elements in memory (hw/program.py packs it) fixes them.
STORAGE = {
    *("ap_uint<8>", "ap_int<8>"),  # a byte
    *("ap_uint<4>", "ap_int<4>", "ap_int<2>"),  # its halves and quarters
    *("ap_uint<16>", "ap_int<16>", "ap_uint<32>"),  # little-endian integers put together from bytes, or taken apart
    "ap_uint<1>",  # one bit of something
}
EXCEPTIONS = {
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
        assert any(used.search(header) for header in (*HEADERS.values(), *PROCESSES.values()))


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


# Cases whose words differ in the C++ where a type has so few bits: what they hold in it, not only what others do, must be proven.
TOO_NARROW = [
    *[(ELEMENT, 16, "multiply", "signed by unsigned"), (ELEMENT, 16, "requantize", "every unsigned word")],
    *[(ELEMENT, 16, "pool", "float64 sums"), (ELEMENT, 16, "layernorm", "unsigned 4x33, 16 to 16 bits")],
    (ELEMENT, 16, "softmax", "unsigned 2x40, 7.3.14 to 12 bits"),
    *[(ACCUMULATOR, 24, "linear", "long, half up"), (ACCUMULATOR, 24, "linear", "long, half to even")],
    (LONG_ELEMENT, 20, "smooth", "gelu to 24 bits, every word"),
    *[(DIGITS, 4, "attention", case.name) for case in operator_cases("attention")],
]


@pytest.mark.parametrize(("width", "bits", "name", "case"), TOO_NARROW, ids=lambda value: getattr(value, "name", str(value)))
def test_what_an_operator_holds_is_proven(width: Width, bits: int, name: str, case: str) -> None:
    graph = case_graph(next(each for each in operator_cases(name) if each.name == case))
    verify_graph(graph)
    with narrowed(width, bits), pytest.raises(VerificationError, match=f"more than its {bits} bits"):
        verify_graph(graph)


# Types that an operator's C++ names and holds nothing of its own in: why.
HOLDS_NOTHING = {
    ("linear", "Score"): "sums that leave the array for attention",
    ("attention", "ActivationIndex"): "attention has no table",
    ("attention", "QuadSum"): "attention never runs the 4-bit mode",
    ("extreme", "PoolNumber"): "how many rows count is not used",
}


@pytest.mark.parametrize("name", registry())
def test_an_operator_states_what_its_cpp_holds(name: str, registers: dict[Width, list[tuple[Case, Register]]]) -> None:
    stated = {width.name for width, entries in registers.items() if any(case.operator.name == name for case, _ in entries)}
    exempt = {width for operator, width in HOLDS_NOTHING if operator == name}
    assert types_held(registry()[name]) - stated == exempt


# Widths whose variables take no logic that a formula counts: why.
UNCOUNTED = {
    "Chain": "the adders inside DSP slices",
    "MeanTotal": "what a DSP slice puts out",
    "RootSquare": "what DSP slices put out",
    "Fraction": "an address of a table, which is counted by its entries",
    "Segment": "an address of a table, which is counted by its entries",
    "ReciprocalNumerator": "the divider is counted by the dividend that it becomes",
    "Interpolated": "the bits of an entry and of a place are counted, those above them are copies of the sign",
    "SoftmaxNumerator": "the divider is counted by its quotient",
}


class TestFollows:
    """One change in the table changes the type, the fields of instructions and the resources; the proof is tested above."""

    def resources(self) -> dict[str, Resources]:
        return {cls.name: cls.resources(architecture) for cls in units() for architecture in [ARCHITECTURES["16x16 axi128"]]}

    @pytest.mark.parametrize("width", WIDTHS, ids=lambda width: width.name)
    def test_resources(self, width: Width) -> None:
        """By a bit, or by as many as take another DSP slice."""
        usual = self.resources()
        moved = False
        for more in (1, 4, 24):
            with narrowed(width, width.bits + more):
                moved |= self.resources() != usual
        assert moved == (width.name not in UNCOUNTED)
        assert self.resources() == usual

    @pytest.mark.parametrize("layout", instruction_layouts(), ids=lambda layout: layout.name)
    def test_layouts(self, layout: InstructionLayout) -> None:
        """The field of a width has a bit more where the width has one; what no width of the table says follows from a limit."""
        declared = [entry for entry in layout.fields if isinstance(entry, Field)]
        assert declared or layout.name == "dma"
        for width in {id(field.width): field.width for field in declared}.values():
            names = {field.name for field in declared if field.width is width}
            with narrowed(width, width.bits - 1):
                changed = replace(layout)
                different = {slot.name for slot in changed.slots if slot.bits != layout.bits(slot.name)}
                assert different == names

    def test_together(self) -> None:
        """A multiplier of 19 bits, without another edit."""
        types = overlay_sources(ARCHITECTURES["16x16 axi128"])["edgeflow_types.hpp"]
        assert "typedef ap_int<18> Multiplier;" in types
        usual = self.resources()
        with narrowed(MULTIPLIER, 19):
            assert "typedef ap_int<19> Multiplier;" in overlay_sources(ARCHITECTURES["16x16 axi128"])["edgeflow_types.hpp"]
            assert replace(ELEMENTWISE).bits("multiplier_a") == 19
            wider = self.resources()
            assert {name for name in usual if wider[name] != usual[name]} == {"add", "embedding", "layernorm", "linear"}
            case = next(case for case in operator_cases("add") if not case.constants)
            proven = [register.width for register in case.operator.registers(case.formats, {})]
            assert {width.maximum for width in proven if width is MULTIPLIER} == {(1 << 18) - 1}


def test_fields_hold_what_is_checked() -> None:
    assert field_widths.RESULT_BITS.maximum >= LONG_ELEMENT.bits - 1 > field_widths.RESULT_BITS.maximum >> 1
    assert field_widths.STORAGE.maximum >= HALVES
    assert field_widths.LONG_STORAGE.maximum >= WORDS
    assert SMOOTH.bits("segments") == MAXIMUM_SEGMENTS.bit_length()
    assert SHIFT.maximum >= MAXIMUM_SHIFT == PRODUCT.bits - 2


def test_what_no_field_holds_is_refused() -> None:
    """Whatever the accelerator's sizes: in one line, before an instruction is made."""

    class Context:
        architecture = Architecture(max_channels=1 << 17, slots=1 << 16)

        def require(self, condition: bool, message: str) -> None:
            if not condition:
                raise UnsupportedError(message)

    context = cast("LoweringContext", Context())
    require_channels(context, field_widths.COUNT.maximum)
    with pytest.raises(UnsupportedError, match="rows of 65536 channels exceed the accelerator's 65535"):
        require_channels(context, 1 << 16)
    require_rows(context, field_widths.ROWS.maximum)
    with pytest.raises(UnsupportedError, match="1048576 rows exceed the 1048575 of an instruction"):
        require_rows(context, 1 << 20)


def test_a_value_that_its_field_does_not_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = operator_cases("pool")[0]
    lowered = Pool.lower

    def shifted(*arguments: object) -> list[Instruction]:
        return [Instruction(each.layout, {**each.values, "shift": 64}, each.stream) for each in lowered(*arguments)]  # type: ignore[arg-type]

    monkeypatch.setattr(Pool, "lower", shifted)
    with pytest.raises(UnsupportedError, match=r"node mean \(pool\): shift = 64 does not fit the 6 bits of its field \(pool\)"):
        lower(Network(case_graph(case)), ARCHITECTURES["16x16 axi128"])


# Parameters of the counts of primitives that are widths, by their places.
WIDTH_PARAMETERS = {
    **dict.fromkeys(("adder_luts", "comparator_luts", "shifter_luts", "tie_luts", "registers", "rom_luts", "delay_luts"), (0,)),
    **dict.fromkeys(("rounding", "delay", "queue"), (0,)),
    **dict.fromkeys(("lutram_luts", "bram18", "ram_bram36", "ram_uram"), (0,)),
    **dict.fromkeys(("mux_luts", "adder_tree_luts", "tree_registers", "rotator_luts"), (1,)),
    **dict.fromkeys(("saturation", "product", "multiplier_dsps", "multiplier_luts", "divider_luts", "divider_registers"), (0, 1)),
}
COUNTING = sorted([*(HW / "ops").glob("*.py"), HW / "array_resources.py", HW / "lanes.py"])


def stated_numbers(expression: ast.expr) -> list[int]:
    """Numbers of an expression that are widths themselves: not a sign bit, and no factor of a width."""
    if isinstance(expression, ast.Constant):
        return [expression.value] if isinstance(expression.value, int) and expression.value > 1 else []
    if isinstance(expression, ast.BinOp):
        sides = [expression.left, expression.right]
        if isinstance(expression.op, ast.Mult | ast.FloorDiv) and any(not isinstance(side, ast.Constant) for side in sides):
            sides = [side for side in sides if not isinstance(side, ast.Constant)]
        return [number for side in sides for number in stated_numbers(side)]
    return []


@pytest.mark.parametrize("path", COUNTING, ids=lambda path: path.stem)
def test_a_formula_of_resources_states_no_width(path: Path) -> None:
    for call in ast.walk(ast.parse(path.read_text())):
        if not isinstance(call, ast.Call):
            continue
        name = call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""
        for place in WIDTH_PARAMETERS.get(name, ()):
            if place < len(call.args):
                assert stated_numbers(call.args[place]) == [], f"{path.name}, line {call.lineno}: {ast.unparse(call)}"


def test_names_are_unique() -> None:
    names = [*(width.name for width in WIDTHS), *(width.constant for width in WIDTHS), *codes()]
    assert len(set(names)) == len(names)


def test_the_codes_of_units_do_not_collide() -> None:
    own = [name for cls in units() for name in cls.codes]
    assert len(set(own)) == len(own)
    texts = (*HEADERS.values(), *PROCESSES.values())
    assert all(any(re.search(rf"\b{name}\b", header) for header in texts) for name in codes())


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_states_no_width_and_no_code(name: str) -> None:
    literals = set(re.findall(r"\bap_u?int<\d+>", HEADERS[name]))
    allowed = {literal for header, literal in EXCEPTIONS if header == name}
    assert literals - STORAGE == allowed
    assert re.findall(r"\b(?:half_place|tie_places|round_ties)<\d+>", HEADERS[name]) == []
    assert re.findall(r"^static const \w+ \w+ = \d+;", HEADERS[name], re.MULTILINE) == []
