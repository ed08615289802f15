"""Counts of device primitives against values worked out by hand from the manufacturer's tables."""

from __future__ import annotations

import pytest

from edgeflow.hw import primitives as p
from edgeflow.hw.cost import Logic


@pytest.mark.parametrize(
    ("a", "b", "slices"),
    [
        (8, 8, 1),
        (18, 27, 1),  # either way round
        (27, 18, 1),
        (28, 18, 2),  # 27 signed and a 2-bit rest, or 18 + 17 on the other port
        (27, 19, 2),
        (32, 18, 2),
        (32, 27, 2),  # 32 = 18 + 14 on the narrow port
        (32, 32, 4),
        (35, 53, 4),  # 35 = 18 + 17, 53 = 27 + 26
        (36, 53, 6),
    ],
)
def test_wide_products_are_tiled(a: int, b: int, slices: int) -> None:
    assert p.multiplier_dsps(a, b) == slices
    assert p.multiplier_dsps(b, a) == slices


def test_7_series_slices_are_narrower() -> None:
    assert p.multiplier_dsps(25, 18, p.DSP_A_7_SERIES) == 1
    assert p.multiplier_dsps(27, 18, p.DSP_A_7_SERIES) == 2
    assert p.multiplier_dsps(32, 18, p.DSP_A_7_SERIES) == 2


def test_a_product_in_luts_is_an_adder_tree() -> None:
    assert p.multiplier_luts(8, 1) == 4
    assert p.multiplier_luts(8, 2) == 10  # one pair of rows
    assert p.multiplier_luts(8, 4) == 2 * 10 + 10
    assert p.multiplier_luts(4, 8) == p.multiplier_luts(8, 4)
    assert p.multiplier_luts(8, 8) == 4 * 10 + 2 * 10 + 12


def test_adders_grow_by_one_bit_a_level() -> None:
    assert p.adder_luts(24) == 24
    assert p.adder_tree_luts(1, 8) == 0
    assert p.adder_tree_luts(4, 8) == 2 * 9 + 10
    assert p.adder_tree_luts(5, 8) == 2 * 9 + 10 + 11
    assert p.tree_registers(4, 8) == 2 * 9 + 10
    assert p.tree_registers(5, 8) == 3 * 9 + 2 * 10 + 11


def test_multiplexers_and_what_is_made_of_them() -> None:
    assert [p.mux_luts(n, 8) for n in (1, 2, 3, 4, 8, 16, 32)] == [0, 4, 8, 8, 16, 32, 64]
    assert p.mux_luts(64, 8) == 8 * 16 + 4
    assert p.shifter_luts(32, 1) == 0
    assert p.shifter_luts(32, 4) == 32
    assert p.shifter_luts(32, 32) == 2 * 32 + 16
    assert p.rotator_luts(16, 8) == 2 * 16 * 8
    assert p.rotator_luts(32, 8) == 3 * 32 * 8  # places 0 to 15 or 16, then by 4, then by 1
    assert p.rotator_luts(64, 8, 16) == (16 + 3 + 12 + 16 + 3 + 16) * 8  # for 16 words: 31, then 19, then 16
    assert p.comparator_luts(17) == 12
    assert p.saturation(32, 8) == Logic(2 * 8 + 24 // 3 + 2, 8)


def test_rounding_shifts_a_bit_more_and_adds_half() -> None:
    plain, even = p.rounding(50), p.rounding(50, ties=True)
    assert plain == Logic(3 * 51 + 50, 51 + 2 + 51 + 50)
    assert even == Logic(plain.lut + p.tie_luts(50), plain.ff + 2)


def test_products_of_several_slices_wait_for_one_another() -> None:
    assert p.product(27, 18) == Logic(0, 0, 1)
    assert p.product(25, 32) == Logic(0, 17, 2)
    assert p.product(32, 34) == Logic(9, 17 + 17 + 2 * 15 + 2 * 17, 4)


def test_divider_has_a_stage_for_each_quotient_bit() -> None:
    assert p.divider_luts(17, 24) == 17 * 25 + 14  # two bits wait 3, two wait 4, ... two wait 16 stages
    assert p.divider_registers(2, 3) == 2 * 3 + 8


def test_delays_and_small_memories() -> None:
    assert p.registers(8, 3) == 24
    assert p.delay_luts(8, 16) == 4
    assert p.delay_luts(8, 32) == 8
    assert p.delay_luts(8, 33) == 12
    assert p.rom_luts(8, 32) == 4
    assert p.rom_luts(17, 256) == 68 + 17
    assert p.rom_luts(8, 1024) == 8 * 16 + 8 * 4
    assert p.lutram_luts(14, 32) == 8  # one RAM32M16
    assert p.lutram_luts(7, 64) == 8  # one RAM64M8
    assert p.lutram_luts(7, 128) == 16 + 4 + 2
    assert p.lutram_luts(6, 32, p.DSP_A_7_SERIES) == 4  # one RAM32M
    assert p.lutram_luts(3, 64, p.DSP_A_7_SERIES) == 4  # one RAM64M
    assert p.delay(8, 2) == Logic(0, 16)
    assert p.delay(8, 3) == Logic(4, 0)
    assert p.delay_luts(8, 40) == 8 + 4
    assert p.queue(14, 32) == Logic(8 + 5 * 5 + 5, 14 + 16)
    assert p.queue(36, 512, block_memory=True) == Logic(5 * 9 + 5, 28, 0, 1)


@pytest.mark.parametrize(
    ("width", "depth", "dual", "halves"),
    [
        (36, 512, False, 1),
        (36, 512, True, 2),  # the 36-bit mode has no true dual port
        (72, 512, False, 2),
        (37, 512, False, 2),
        (18, 1024, True, 1),
        (8, 2048, True, 1),
        (8, 4096, True, 2),
        (4, 4096, True, 1),
        (4, 4097, True, 2),
        (20, 1024, True, 2),
        (1, 16384, True, 1),
        (13, 4096, True, 3),  # 9 bits deep twice and 4 bits once
        (512, 512, False, 15),
        (72, 1024, True, 4),
    ],
)
def test_block_memories_take_the_cheapest_columns(width: int, depth: int, dual: bool, halves: int) -> None:
    assert p.bram18(width, depth, dual=dual) == halves


def test_banks_share_blocks() -> None:
    assert p.ram_bram36(4, 4096, 128, dual=True) == 64
    assert p.ram_bram36(8, 2048, 64, dual=True) == 32
    assert p.ram_bram36(8, 2048, 3, dual=True) == 2
    assert p.ram_uram(64, 4096) == 1
    assert p.ram_uram(73, 4097, 3) == 12


def test_an_axi_port_grows_with_its_width() -> None:
    sizes = (32, 64, 128)
    assert [p.axi_master(bits, block_memory=True).bram36 for bits in sizes] == [1, 2, 4]
    assert [p.axi_master(bits, block_memory=True, writes=False).bram36 for bits in sizes] == [1, 1, 2]
    assert p.axi_master(32, block_memory=True).lut == 566
    assert p.axi_master(32, block_memory=True).ff == 640
    in_luts = p.axi_master(32, writes=False)
    assert in_luts.bram36 == 0
    assert in_luts.lut == 566 // 2 + p.lutram_luts(36, 128)
