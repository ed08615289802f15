"""Softmax, smooth rectifiers and tables: how near the functions they are, how fast, and what they refuse."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from operator_harness import case_graph, operator_cases

from edgeflow.hw.architecture import Architecture, ceil_div
from edgeflow.hw.arrays import Array, IntArray
from edgeflow.hw.errors import UnsupportedError
from edgeflow.hw.graph import Format
from edgeflow.hw.interpolation import exponent_knots, exponent_weights, interpolate, smooth_knots
from edgeflow.hw.ops.base import Operator
from edgeflow.hw.ops.smooth import Smooth, gelu_delta, smooth_parameters
from edgeflow.hw.ops.softmax import MAXIMUM_LAG, TOTAL_LAG, Softmax, softmax_parameters, widest_probability
from edgeflow.hw.ops.table import Table
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

OPERATORS = ("smooth", "softmax", "table")
UNITS = (*OPERATORS, "dma")
WIDE = (7, 10, 22, 24)


def float_softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


class TestSoftmax:
    def test_wide_setting_is_as_exact_as_edge_moe(self) -> None:
        """129 keys, logits of standard deviation 2: at most 1.03e-5 and on average 1.45e-7 (arXiv 2305.18691)."""
        scale = 16.0 / 2**15
        x = np.floor(np.random.default_rng(0).normal(0, 2.0, size=(2000, 129)) / scale).astype(np.int64)
        y = Softmax(**softmax_parameters(scale, *WIDE)).reference([x, exponent_knots(7, 22)])  # type: ignore[arg-type]
        error = np.abs(y / (2.0**24 - 1) - float_softmax(x * scale))
        assert error.max() <= 1.03e-5
        assert error.mean() <= 1.45e-7

    @pytest.mark.parametrize(("table", "interpolation", "probability"), [(0, 0, 1), (0, 3, 5), (4, 0, 8), (7, 10, 22)])
    def test_weights_follow_the_definition_one_by_one(self, table: int, interpolation: int, probability: int) -> None:
        knots = exponent_knots(table, probability).tolist()
        fraction = table + interpolation
        t = np.unique(np.linspace(0, (probability + 3) << fraction, 3000).astype(np.int64))
        expected = []
        for value in t.tolist():
            whole, rest = value >> fraction, value & ((1 << fraction) - 1)
            start, place = rest >> interpolation, rest & ((1 << interpolation) - 1)
            exact = knots[start] * ((1 << interpolation) - place) + knots[start + 1] * place  # times 2^interpolation
            expected.append(math.floor(exact / 2 ** (interpolation + whole) + 0.5) if whole <= probability else 0)
        actual = exponent_weights(t, np.array(knots), table, interpolation, probability)
        np.testing.assert_array_equal(actual, expected)
        assert (np.diff(actual) <= 0).all()

    @pytest.mark.parametrize("channels", [1, 2, 129, 1000, 4096])
    @pytest.mark.parametrize("bits", [8, 16, 24])
    def test_equal_logits_share_equally_and_one_takes_all(self, channels: int, bits: int) -> None:
        probability = min(22, widest_probability(channels, bits))
        op = Softmax(**softmax_parameters(0.001, 7, 10, probability, bits))  # type: ignore[arg-type]
        table = exponent_knots(7, probability)
        op.infer((Format((channels,), 16, True), Format(table.shape, 24, True)))
        most = (1 << bits) - 1
        flat = op.reference([np.zeros((1, channels), dtype=np.int64), table])
        assert np.ptp(flat) == 0
        assert abs(int(flat[0, 0]) - most / channels) <= 0.7  # half a step of rounding, and the reciprocal's 26 bits
        peak = np.full((1, channels), -32768)
        peak[0, -1] = 32767
        assert op.reference([peak, table]).tolist() == [[0] * (channels - 1) + [most]]

    @pytest.mark.parametrize("vector", [1, 8, 32])
    @pytest.mark.parametrize(("rows", "channels"), [(1, 1000), (197, 197), (64, 5)])
    def test_a_chunk_a_cycle_beside_the_lags(self, vector: int, rows: int, channels: int) -> None:
        """Three stages share one loop: a row costs its chunks, and the way between the stages at most two rows and the lags."""
        architecture = Architecture(pi=16, po=32, vector=vector, weight_ports=1, units=UNITS)
        values = {"rows": rows, "channels": channels, "y_bytes": 2, "table_bits": 7}
        chunks = ceil_div(channels, vector)
        values |= {"maximum_lag": ceil_div(MAXIMUM_LAG, chunks), "total_lag": ceil_div(TOTAL_LAG, chunks)}
        trips = Softmax.cycles(values, architecture).loops["softmax"].trips
        assert rows * chunks < trips <= (rows + 2) * chunks + MAXIMUM_LAG + TOTAL_LAG


class TestSmooth:
    def test_gelu_is_more_exact_than_edge_moe(self) -> None:
        """177 entries at 22 fractional bits, [-8, 8]: at most 9.76e-5 and on average 7.71e-6 (arXiv 2305.18691)."""
        attributes, table = smooth_parameters(gelu_delta, 5.5, 2.0**-12, 2.0**-20, (24, True, 0))
        assert table.size == 177
        assert attributes["output_shift"] - attributes["interpolation_bits"] + 20 == 22
        words = np.arange(-(1 << 15), 1 << 15)
        x = words * 2.0**-12
        error = np.abs(Smooth(**attributes).reference([words, table]) * 2.0**-20 - x * (x > 0) + gelu_delta(np.abs(x)))  # type: ignore[arg-type]
        assert error.max() <= 9.76e-5
        assert error.mean() <= 7.71e-6
        assert Smooth(**attributes).reference([np.zeros(1, dtype=np.int64), table]).tolist() == [0]  # type: ignore[arg-type]

    def test_moved_chords_err_to_both_sides_alike(self) -> None:
        """Of a parabola the error of every inner segment is a sixteenth of the second difference, on either side."""
        knots = smooth_knots(np.square, 8.0, 8)
        fine = np.linspace(1.0, 7.0, 601)
        error = np.interp(fine, np.arange(9.0), knots) - fine**2
        np.testing.assert_allclose([error.max(), -error.min()], 2.0 / 16, rtol=1e-9)
        assert knots[0] == 0.0

    def test_beyond_the_table_stands_relu(self) -> None:
        attributes, table = smooth_parameters(gelu_delta, 5.5, 2.0**-10, 2.0**-10, (16, True, 7))
        x = np.array([-32768, -6000, 6000, 20_000])
        assert Smooth(**attributes).reference([x, table]).tolist() == [7, 7, 6007, 20_007]  # type: ignore[arg-type]

    def test_scales_that_leave_no_room_are_refused(self) -> None:
        with pytest.raises(ValueError, match="too fine for input steps"):
            smooth_parameters(gelu_delta, 5.5, 1.0, 1e-6, (16, True, 0))


def test_interpolation_meets_its_knots() -> None:
    knots: IntArray = np.array([5, -3, 100, 0])
    np.testing.assert_array_equal(interpolate(knots, np.arange(12), 2), [20, 12, 4, -4, -12, 91, 194, 297, 400, 300, 200, 100])


SOFTMAX = Softmax(100, 10, 2, 3, 8, 1 << 20, 12, 8, False)
SOFTMAX_INPUTS = (Format((4, 8), 16, True), Format((5,), 24, True))
SMOOTH = Smooth(100, 10, 3, 100, 12, 0, 8, True)
SMOOTH_INPUTS = (Format((4, 8), 16, True), Format((5,), 21, True))


@pytest.mark.parametrize(
    ("op", "inputs", "message"),
    [
        (SOFTMAX, (Format((4, 8), 17, True), SOFTMAX_INPUTS[1]), "takes up to 16 bits"),
        (SOFTMAX, (SOFTMAX_INPUTS[0], Format((4,), 24, True)), "must have 5 entries"),
        (SOFTMAX, (Format((4, 1 << 29), 16, True), SOFTMAX_INPUTS[1]), "use fewer than 8 probability_bits"),
        (dataclasses.replace(SOFTMAX, bits=25), SOFTMAX_INPUTS, "makes up to 24"),
        (dataclasses.replace(SOFTMAX, table_bits=8), SOFTMAX_INPUTS, "tables of up to 7 bits"),
        (dataclasses.replace(SOFTMAX, probability_bits=23), SOFTMAX_INPUTS, "weights of up to 22"),
        (dataclasses.replace(SOFTMAX, interpolation_bits=11), SOFTMAX_INPUTS, "interpolation_bits must be 0 to 10"),
        (dataclasses.replace(SOFTMAX, multiplier=1 << 26), SOFTMAX_INPUTS, "multiplier below"),
        (dataclasses.replace(SOFTMAX, numerator=1 << 24), SOFTMAX_INPUTS, "numerator below"),
        (SMOOTH, (Format((4, 8), 17, True), SMOOTH_INPUTS[1]), "takes up to 16 bits"),
        (SMOOTH, (SMOOTH_INPUTS[0], Format((258,), 21, True)), "2 to 257 entries"),
        (dataclasses.replace(SMOOTH, slope=1 << 26), SMOOTH_INPUTS, "a slope below"),
        (dataclasses.replace(SMOOTH, output_shift=49), SMOOTH_INPUTS, "shifts by 0 to 48"),
        (dataclasses.replace(SMOOTH, zero_point=1 << 24), SMOOTH_INPUTS, "zero point"),
        (Table(-512, 8, True), (Format((8,), 11, True), Format((2048,), 8, True)), "at most 10 bits"),
    ],
)
def test_wrong_inputs_are_refused(op: Operator, inputs: tuple[Format, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        op.infer(inputs)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", OPERATORS)
def test_rows_beyond_the_accelerator_are_refused(name: str) -> None:
    case = max(operator_cases(name), key=lambda c: c.formats[0].channels)
    with pytest.raises(UnsupportedError, match="max_channels"):
        lower(Network(case_graph(case)), Architecture(max_channels=64, units=UNITS))


@pytest.mark.parametrize("name", OPERATORS)
def test_cost_grows_with_the_lanes(name: str) -> None:
    cls = next(type(c.operator) for c in operator_cases(name))
    small, large = (cls.resources(Architecture(vector=v, units=UNITS)) for v in (4, 16))
    assert isinstance(small.dsp, int)
    assert isinstance(large.dsp, int)
    assert isinstance(small.lut, int)
    assert isinstance(large.lut, int)
    assert large.dsp == 4 * small.dsp
    assert small.lut < large.lut < 4 * small.lut + 20_000
