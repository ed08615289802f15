"""What an accelerator takes of a board, and which accelerators fit."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgeflow.hw.accelerator_options import SHARE, SIZES
from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import boards, load_board
from edgeflow.hw.cost import RESOURCE_NAMES, Resources, Unknown
from edgeflow.hw.errors import BoardError
from edgeflow.hw.fabric import axi_ports, control, scratchpad, weight_stream
from edgeflow.hw.fit import Space, excess, fill, known_resources, limits, unit_resources
from edgeflow.hw.primitives import axi_master, lutram_luts

UNITS = ("linear", "attention", "layernorm", "elementwise", "move", "dma", "patches")
SMALL = {"max_channels": 192, "max_tokens": 64, "max_head": 64}


def space(board: str = "zcu102", **changes: Any) -> Space:
    usual = Space(load_board(board), SMALL, UNITS, (4096, 2048), load_board(board).clock_mhz)
    return dataclasses.replace(usual, **changes)


@pytest.mark.parametrize("name", boards())
def test_a_small_encoder_fits_every_board(name: str) -> None:
    board, sizes = load_board(name), space(name)
    arrays = sizes.arrays()
    assert arrays
    for pi, po in arrays[:: max(1, len(arrays) // 5)]:
        for a in sizes.accelerators(pi, po):
            assert (a.pi, a.po, a.units, a.clock_mhz) == (pi, po, UNITS, board.clock_mhz)
            assert {k: getattr(a, k) for k in SMALL} == SMALL
            assert a.axi_bits <= board.axi_bits
            assert a.weight_ports < board.axi_ports
            assert fill(a, board) <= 1
            for resource, used in known_resources(a).items():
                assert used <= SHARE * board.resources[resource]


@pytest.mark.parametrize(("name", "shape"), [("kv260", (16, 16)), ("zcu102", (32, 48)), ("pynq-z2", (4, 8))])
def test_no_size_can_be_doubled(name: str, shape: tuple[int, int]) -> None:
    """The accelerators of an array are maximal: one with more of something either does not fit or is larger in nothing else."""
    accelerators = space(name).accelerators(*shape)
    assert accelerators
    for a in accelerators:
        for field in ("epilogue", "vector", "weight_ports"):
            sizes = {n: getattr(a, n) for n in SIZES} | {field: 2 * getattr(a, field)}
            larger = space(name).make(sizes) if sizes[field] in SIZES[field] else None
            assert larger is None or excess(larger, load_board(name))
    for a in accelerators:
        assert not any(b != a and all(getattr(b, n) >= getattr(a, n) for n in SIZES) for b in accelerators)


def test_smaller_ones_change_one_size() -> None:
    a = space().largest(16, 32)
    smaller = list(space().smaller(a))
    assert [{n for n in SIZES if getattr(b, n) != getattr(a, n)} for b in smaller] == [{"epilogue"}, {"vector"}, {"weight_ports"}]
    assert all(getattr(b, n) <= getattr(a, n) for b in smaller for n in SIZES)
    smallest = space().make(dict(zip(SIZES, (16, 32, 2, 1, 1), strict=True)))
    assert smallest is not None
    assert list(space().smaller(smallest)) == []


def test_a_smaller_share_fits_less() -> None:
    assert set(space(share=0.3).arrays()) < set(space(share=0.5).arrays()) < set(space(share=0.8).arrays())


def test_sizes_may_be_fixed() -> None:
    fixed = space(fixed={"pi": 8, "po": 24, "vector": 4, "epilogue": 4})
    assert fixed.arrays() == [(8, 24)]
    assert {(a.vector, a.epilogue) for a in fixed.accelerators(8, 24)} == {(4, 4)}


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"pi": 12}, r"no accelerator for board zcu102 has pi = 12: choose from 4, 8, 16, 32, 64$"),
        ({"po": 12, "epilogue": 32}, r"no accelerator for board zcu102 has po = 12, epilogue = 32: these sizes do not go together"),
        (
            {"pi": 64, "po": 64},
            r"zcu102 is too small .* smallest accelerator of these sizes takes \d+ dsp of 2016 \(\d+ too many\)",
        ),
    ],
)
def test_sizes_that_none_has_are_refused(fixed: dict[str, int], message: str) -> None:
    with pytest.raises(BoardError, match=message):
        space(fixed=fixed).arrays()


def test_what_does_not_fit_is_named_with_the_excess() -> None:
    with pytest.raises(BoardError, match=r"pynq-z2 is too small .* \d+ bram36 of 112 \(\d+ too many\), where 80% of the device"):
        space("pynq-z2", lines=(8192, 8192)).arrays()


def test_buffers_move_to_luts_where_block_memories_are_short() -> None:
    roomy, short = space("zcu102").least(16, 32), space("kv260").least(16, 32)
    assert roomy is not None
    assert short is not None
    assert roomy.block_buffers
    assert not short.block_buffers
    assert "bram36" in excess(short.model_copy(update={"block_buffers": True}), load_board("kv260"))


def test_a_packed_product_takes_two_slices_of_7_series() -> None:
    new, old = space("zcu102").least(16, 16), space("pynq-z2").least(16, 16)
    assert new is not None
    assert old is not None
    assert (new.dsp_bits, old.dsp_bits) == (27, 25)
    # So does, in each lane of layer normalization, the product of a deviation and a root of 26 bits.
    assert (
        known_resources(new.model_copy(update={"dsp_bits": 25}))["dsp"] - known_resources(new)["dsp"] == 16 * 16 // 2 + new.vector
    )


def test_sums_are_over_the_known_parts() -> None:
    chosen = space().largest(16, 32)
    parts, known = unit_resources(chosen), known_resources(chosen)
    assert set(UNITS) < set(parts)
    assert {"scratchpad", "weight stream", "AXI ports", "control"} < set(parts)
    for name in RESOURCE_NAMES:
        numbers = [n for r in parts.values() if not isinstance(n := getattr(r, name), Unknown)]
        assert known[name] == sum(numbers)
    assert known["dsp"] > 16 * 32 // 2
    assert limits(load_board("zcu102"), 0.5)["dsp"] == 1260


def luts(resources: Resources) -> int:
    assert not isinstance(resources.lut, Unknown)
    return resources.lut


def test_what_the_units_share() -> None:
    a = Architecture(weight_ports=2, narrow_lines=4096, wide_lines=2048, stream_lines=256, precisions=(8,), units=UNITS)
    assert scratchpad(a).bram36 == 64 + 32  # 16 RAMB18 of 36 x 512 for 512 lines in each of four banks
    assert scratchpad(a.model_copy(update={"wide_lines": 2049})).bram36 == 64 + 64
    assert scratchpad(a.model_copy(update={"precisions": (8, 4)})).bram36 == 128 + 32  # half bytes take twice as many
    assert weight_stream(a).bram36 == 4  # 256 bits x 512 in eight RAMB18 of 36 x 512: seven hold 252 bits
    shallow = a.model_copy(update={"stream_lines": 16})
    assert weight_stream(shallow).bram36 == 0  # 32 words: LUT memory
    assert luts(weight_stream(shallow)) > lutram_luts(256, 32)
    reads, both = axi_master(128, writes=False), axi_master(128)
    assert axi_ports(a).lut == 4 * luts(reads) + luts(both)
    assert control(a).ff == 32 * (2 * 5 + 2) + 3 * 1024
