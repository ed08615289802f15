"""The choice of an accelerator for a board."""

from __future__ import annotations

import pytest

from edgeflow.hw.boards import boards, load_board
from edgeflow.hw.cost import RESOURCE_NAMES, Unknown
from edgeflow.hw.errors import BoardError
from edgeflow.hw.fit import SHARE, choose_architecture, encoder_cycles, known_resources, unit_resources
from edgeflow.hw.ops import instruction_layouts

UNITS = tuple(layout.name for layout in instruction_layouts())
SMALL = {"max_channels": 192, "max_tokens": 64, "max_head": 32}


@pytest.mark.parametrize("name", boards())
def test_a_small_encoder_fits_every_board(name: str) -> None:
    board = load_board(name)
    chosen = choose_architecture(board, SMALL, UNITS)
    assert {k: getattr(chosen, k) for k in SMALL} == SMALL
    assert chosen.units == UNITS
    assert chosen.clock_mhz == board.clock_mhz
    assert chosen.axi_bits <= board.axi_bits
    for resource, used in known_resources(chosen).items():
        assert used <= SHARE * board.resources[resource]


@pytest.mark.parametrize("name", boards())
def test_nothing_can_be_doubled(name: str) -> None:
    """The choice is maximal: an accelerator that is larger in one respect either does not fit or is ranked behind."""
    board = load_board(name)
    chosen = choose_architecture(board, SMALL, UNITS)
    for field, most in (("pi", 64), ("po", 64), ("lanes", 32), ("vector", chosen.axi_bits // 8)):
        if getattr(chosen, field) < most:
            larger = chosen.model_copy(update={field: 2 * getattr(chosen, field)})
            fits = all(n <= SHARE * board.resources[k] for k, n in known_resources(larger).items())
            assert not fits or encoder_cycles(larger) >= encoder_cycles(chosen)


def test_a_larger_board_is_not_slower() -> None:
    cycles = [
        encoder_cycles(choose_architecture(load_board(b), SMALL, UNITS)) for b in ("pynq-z2", "ultra96-v2", "kv260", "zcu102")
    ]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] < cycles[0] / 4


def test_what_does_not_fit_is_named_with_the_excess() -> None:
    board = load_board("pynq-z2")
    with pytest.raises(BoardError, match=r"pynq-z2 is too small .* bram36 of 112 \(\d+ too many\)"):
        choose_architecture(board, {"max_channels": 16384, "max_tokens": 1024, "max_head": 128}, UNITS)


def test_a_clock_may_be_given() -> None:
    assert choose_architecture(load_board("kv260"), SMALL, UNITS, 150).clock_mhz == 150


def test_lanes_are_not_bought_without_attention() -> None:
    assert choose_architecture(load_board("zcu102"), SMALL, ("linear",)).lanes == 1


def test_sums_are_over_the_known_parts_of_every_unit() -> None:
    chosen = choose_architecture(load_board("kv260"), SMALL, UNITS)
    units, known = unit_resources(chosen), known_resources(chosen)
    assert set(units) == set(UNITS)
    for name in RESOURCE_NAMES:
        numbers = [n for r in units.values() if not isinstance(n := getattr(r, name), Unknown)]
        assert known[name] == sum(numbers)
    assert known["dsp"] > 0
    assert known["bram36"] > 0
