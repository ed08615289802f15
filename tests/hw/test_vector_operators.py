"""Views, refusals and costs of the vector and data movement operators, beyond what every operator is tested for."""

from __future__ import annotations

import numpy as np
import pytest
from operator_harness import ARCHITECTURES, case_graph, operator_cases, reference

from edgeflow.hw.architecture import LINE_BYTES, Architecture
from edgeflow.hw.arithmetic import requantize
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Format
from edgeflow.hw.ops import Case, Constants, Operator, registry
from edgeflow.hw.ops.add import Add
from edgeflow.hw.ops.concat import Concat
from edgeflow.hw.ops.embedding import Embedding
from edgeflow.hw.ops.movement import Target, merged, move
from edgeflow.hw.ops.multiply import Multiply
from edgeflow.hw.ops.patches import Patches
from edgeflow.hw.ops.pool import Pool
from edgeflow.hw.ops.requantize import Requantize
from edgeflow.hw.ops.reshape import Reshape
from edgeflow.hw.ops.select import Select
from edgeflow.hw.ops.table import Table
from edgeflow.hw.ops.transpose import Transpose
from edgeflow.hw.program import format_lines, pack_rows, unpack_rows
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

ARCHITECTURE = ARCHITECTURES["16x16 axi128"]
ROWS = Format((4, 10), 8, True)
WIDE = Format((4, 10), 16, True)


def viewed_cases() -> list[Case]:
    cases = []
    for name in registry():
        cases += [case for case in operator_cases(name) if case.operator.view(case.formats) is not None]
    return cases


def test_every_movement_has_a_view() -> None:
    assert {case.operator.name for case in viewed_cases()} == {"reshape", "select", "transpose"}


@pytest.mark.parametrize("case", viewed_cases(), ids=lambda case: f"{case.operator.name} {case.name}")
def test_a_view_is_the_operator_without_a_copy(case: Case) -> None:
    offset = case.operator.view(case.formats)
    assert offset is not None
    out = case.operator.infer(case.formats)
    raw = pack_rows(case.inputs[0][0], case.formats[0])
    part = raw[offset * LINE_BYTES :][: format_lines(out) * LINE_BYTES]
    np.testing.assert_array_equal(unpack_rows(part, out), reference(case)[0])


@pytest.mark.parametrize(
    ("op", "formats", "message"),
    [
        (Add(1, 0, 1, 0, 8, True), (ROWS, Format((4, 11), 8, True)), "shapes"),
        (Add(1, 0, 1, 0, 8, True), (ROWS, Format((4, 1), 8, True)), "shapes"),
        (Add(1, 0, 1, 0, 8, True), (Format((2, 4, 10), 8, True), Format((2, 1, 10), 8, True)), "leading axes"),
        (Add(1, 0, 1, 0, 17, True), (ROWS, ROWS), "the output must have 1 to 16 bits, not 17"),
        (Add(1, 0, 1, 49, 8, True), (ROWS, ROWS), "shift"),
        (Multiply(1, 0, 8, True), (ROWS, Format((4, 10), 32, True)), "operands"),
        (Requantize(0, 0, 8, True, False), (ROWS, Format((9,), 32, True)), "multiplier"),
        (Table(0, 8, True), (ROWS, Format((256,), 8, True)), "smallest value -128"),
        (Table(-128, 8, True), (ROWS, Format((255,), 8, True)), "256 input values"),
        (Table(-128, 8, True), (ROWS, Format((256,), 8, False)), "format must be the output's"),
        (Table(-1024, 8, True), (Format((3,), 11, True), Format((2048,), 8, True)), "at most 10 bits"),
        (Embedding(0, 16, True), (Format((3,), 8, True), ROWS, Format((4,), 32, True)), "32 unsigned bits, not 8 signed bits"),
        (Embedding(0, 16, True), (Format((3,), 32, False), ROWS, Format((10,), 32, True)), "4 table rows"),
        (Pool(1, 0, 8, True, True), (ROWS,), "has_mask"),
        (Pool(1, 0, 8, True, True), (ROWS, Format((5,), 8, False)), "mask must have 4 elements"),
        (Pool(1 << 31, 0, 8, True, False), (ROWS,), "numerator"),
        (Pool(1, 0, 8, True, False), (Format((10,), 8, True),), "two axes"),
        (Concat(0), (ROWS, WIDE), "integer format"),
        (Concat(0), (ROWS, Format((4, 11), 8, True)), "axis 0 only"),
        (Concat(1), (Format((2, 3, 4), 8, True),), "first or the last"),
        (Concat(0), (ROWS,) * 17, "1 to 16 inputs"),
        (Select(2, 0, 1, False), (ROWS,), "axis"),
        (Select(0, 3, 5, False), (ROWS,), "inside axis 0"),
        (Select(0, 0, 2, True), (ROWS,), "one element"),
        (Reshape((3, 13)), (ROWS,), "40 elements"),
        (Transpose((0, 0)), (ROWS,), "permutation"),
        (Transpose((0, 1, 2, 3, 4)), (Format((1, 1, 1, 1, 1), 8, True),), "at most 4 axes"),
        (Patches(5, 5), (Format((1, 4, 8), 8, True),), "do not fit"),
        (Patches(1, 1), (ROWS,), "three axes"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(op: Operator, formats: tuple[Format, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op.infer(formats)


@pytest.mark.parametrize("name", ["add", "requantize", "table", "pool"])
def test_rows_longer_than_the_buffers_are_refused(name: str) -> None:
    case = next(c for c in operator_cases(name) if c.operator.infer(c.formats).channels > 64)
    small = Architecture(max_channels=64, units=ARCHITECTURE.units)
    with pytest.raises(UnsupportedError, match=r"exceed the accelerator's 64 \(max_channels\)"):
        lower(Network(case_graph(case)), small)


def test_movement_demands_no_row_buffer() -> None:
    for name in ("concat", "select", "reshape", "transpose", "patches"):
        for case in operator_cases(name):
            assert case.operator.demands(case.formats) == {}


@pytest.mark.parametrize(("fixed", "message"), [({}, "rank 2"), ({0, 1}, "fold")])
def test_operands_that_cannot_be_told_apart_are_refused(fixed: set[int], message: str) -> None:
    formats = (ROWS, Format((10,), 8, True))
    constants: Constants = {i: np.zeros(formats[i].shape, dtype=np.int64) for i in fixed}
    with pytest.raises(ValueError, match=message):
        Add(1, 0, 1, 0, 8, True).kernel(formats, constants)


def test_overflow_is_found_in_the_registers() -> None:
    unsigned = Format((2, 3), 16, False)
    assert not all(r.fits for r in Multiply(1, 0, 16, True).registers((unsigned, unsigned), {}))
    assert all(r.fits for r in Multiply(1, 0, 16, True).registers((unsigned, Format((2, 3), 16, True)), {}))
    wide = (1 << 17) + 1
    assert [r.name for r in Add(wide, 0, 1, 0, 16, True).registers((ROWS, ROWS), {}) if not r.fits] == ["a multiplier"]
    rows = Format((1 << 17, 2), 16, True)
    assert [r.name for r in Pool(1, 0, 16, True, False).registers((rows,), {}) if not r.fits] == ["sum"]
    formats = (Format((3,), 4, True), Format((16,), 4, True))
    assert [r.name for r in Table(-8, 4, True).registers(formats, {1: np.arange(16)}) if not r.fits] == ["table entry"]


def test_pool_registers_are_reached() -> None:
    """The worst case that the overflow proof states is a value that really occurs."""
    x = Format((5, 1), 8, True)
    op = Pool(1 << 20, 0, 16, True, False)
    named = {r.name: r for r in op.registers((x,), {})}
    assert named["sum"].minimum == 5 * -128
    assert named["reciprocal"].maximum == ((1 << 20) + 2) // 5
    assert named["product"].minimum == 5 * -128 * named["reciprocal"].maximum


def test_add_registers_are_reached() -> None:
    op = Add(-70_000, 3, 65_537, 4, 16, True)
    total = op.registers((WIDE, ROWS), {})[-1]
    a, b = np.array([-(1 << 15), (1 << 15) - 1]), np.array([-128, 127])
    sums = [int(requantize(x, -70_000, 3) + requantize(y, 65_537, 4)) for x in a for y in b]
    assert (total.minimum, total.maximum) == (min(sums), max(sums))


def test_loops_merge() -> None:
    assert merged([(2, 60), (3, 20), (4, 5), (5, 1)]) == [(120, 1)]
    assert merged([(2, 64), (1, 7), (10, 1)]) == [(2, 64), (10, 1)]
    assert merged([(1, 9), (1, 1)]) == [(1, 1)]


def test_a_move_takes_a_cycle_for_what_lies_together() -> None:
    """Pieces end with a run, a row, a line of the source or a line of the target."""
    out = Format((50, 96), 16, True)  # three lines a row
    rows = move(0, 0, [(50, 128), (96, 1)], Target(0, out, 50, 96))
    assert rows.values["steps"] == 50 * 3
    shifted = move(0, 3, [(50, 128), (90, 1)], Target(0, Format((50, 90), 16, True), 50, 90))
    assert shifted.values["steps"] == 50 * 5  # two breaks between lines on either side
    elements = move(0, 0, [(96, 1), (50, 128)], Target(0, Format((96, 50), 16, True), 96, 50))
    assert elements.values["steps"] == 96 * 50
    flat = move(0, 0, [(6, 64), (10, 1)], Target(0, Format((4, 15), 8, True), 4, 15))
    assert flat.values["steps"] == 8  # runs end at 10, 20, ... and rows at 15, 30, 45, 60


def test_an_image_is_read_once() -> None:
    image = Format((3, 224, 224), 8, True)  # rows of four lines
    assert Patches(16, 16).pieces(image, 16) == 3 * 224 * 256 // 16
    # Four words a row in memory, 28 bytes of it in seven patches of four bytes, and two words of padding.
    assert Patches(4, 4).pieces(Format((1, 28, 28), 8, False), 16) == 28 * (7 + 1 + 2)
    # The last two rows are below the last whole patch: a piece for each of their words.
    assert Patches(5, 3).pieces(Format((1, 17, 13), 8, False), 64) == 15 * (4 + 1) + 2


@pytest.mark.parametrize("name", ["concat", "select", "reshape", "transpose"])
def test_elements_that_the_scratchpad_cannot_hold_are_not_moved(name: str) -> None:
    operators: dict[str, tuple[Operator, tuple[Format, ...]]] = {
        "concat": (Concat(0), (Format((2, 5), 20, True),) * 2),
        "select": (Select(1, 1, 4, False), (Format((2, 5), 20, True),)),
        "reshape": (Reshape((5, 2)), (Format((2, 5), 20, True),)),
        "transpose": (Transpose((1, 0)), (Format((2, 5), 20, True),)),
    }
    op, formats = operators[name]
    inputs = tuple(np.zeros((1, *f.shape), dtype=np.int64) for f in formats)
    with pytest.raises(UnsupportedError, match="20 bits"):
        lower(Network(case_graph(Case(name, op, formats, inputs, frozenset()))), ARCHITECTURE)


def test_masks_longer_than_their_memory_are_refused() -> None:
    rows = 64 * 64 + 1
    formats = (Format((rows, 4), 8, True), Format((rows,), 8, False))
    inputs = tuple(np.zeros((1, *f.shape), dtype=np.int64) for f in formats)
    case = Case("mask", Pool(1, 0, 8, True, True), formats, inputs, frozenset())
    with pytest.raises(UnsupportedError, match="a mask of 4097 rows exceeds the accelerator's 4096"):
        lower(Network(case_graph(case)), Architecture(narrow_lines=16384, units=ARCHITECTURE.units))


def test_more_loops_than_counters_are_refused() -> None:
    loops = [(2, 1000), (2, 300), (2, 100), (2, 30), (2, 10), (2, 1)]
    with pytest.raises(ValueError, match="at most 4 nested loops"):
        move(0, 0, loops, Target(0, Format((8, 8), 8, True), 8, 8))
