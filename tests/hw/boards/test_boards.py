"""Boards: the shipped ones, names and aliases, files of one's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

import edgeflow.hw.boards
from edgeflow.hw.boards import FIGURES, Board, boards, load_board
from edgeflow.hw.errors import BoardError

KV260 = (Path(edgeflow.hw.boards.__file__).parent / "kv260.toml").read_text()


def test_shipped_boards() -> None:
    assert boards() == ("kv260", "pynq-z2", "ultra96-v2", "zcu102", "zcu104")
    for name in boards():
        board = load_board(name)
        assert board.name == name
        assert set(board.sources) == set(FIGURES)


def test_figures_of_one_board() -> None:
    board = load_board("zcu102")
    assert board.part == "xczu9eg-ffvb1156-2-e"
    assert board.resources == {"dsp": 2520, "lut": 274080, "ff": 548160, "bram36": 912, "uram": 0}
    assert (board.ddr_gb_s, board.axi_ports, board.axi_bits, board.axi_burst_words) == (17.1, 6, 128, 256)


def test_every_device_belongs_to_its_family() -> None:
    prefixes: dict[str, str | tuple[str, ...]] = {"zynq-7000": "xc7z", "zynq-ultrascale+": ("xczu", "xck")}
    for board in map(load_board, boards()):
        assert board.part.startswith(prefixes[board.family])
        assert board.axi_bits == (64 if board.family == "zynq-7000" else 128)
        assert board.ff == 2 * board.lut


@pytest.mark.parametrize(
    ("name", "board"),
    [
        ("KV260", "kv260"),
        ("PYNQ_Z2", "pynq-z2"),
        ("Ultra96", "ultra96-v2"),
        ("AMD Kria KV260", "kv260"),
        ("zcu 104", "zcu104"),
    ],
)
def test_names_are_forgiving(name: str, board: str) -> None:
    assert load_board(name).name == board


def test_no_two_boards_share_a_name() -> None:
    every = [name for board in map(load_board, boards()) for name in (board.name, *board.aliases)]
    assert len(every) == len(set(every))
    for board in map(load_board, boards()):
        assert {load_board(name).name for name in (board.name, board.title, *board.aliases)} == {board.name}


def test_unknown_board_names_the_closest_and_all() -> None:
    with pytest.raises(BoardError) as raised:
        load_board("kv206")
    assert str(raised.value) == (
        "unknown board 'kv206': did you mean kv260? EdgeFlow knows kv260, pynq-z2, ultra96-v2, zcu102, zcu104; "
        "a board of your own is a TOML file"
    )
    with pytest.raises(BoardError, match=r"^unknown board 'versal': EdgeFlow knows"):
        load_board("versal")


def test_board_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(KV260.replace('name = "kv260"', 'name = "mine"').replace("dsp = 1248", "dsp = 900", 1))
    assert load_board(file).dsp == 900
    assert load_board(str(file)).name == "mine"
    assert "mine" not in boards()


def test_board_survives_json() -> None:
    board = load_board("kv260")
    assert Board.model_validate_json(board.model_dump_json()) == board
    with pytest.raises(ValidationError, match="frozen"):
        board.dsp = 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("dsp = 1248", "dsp = -1", "dsp: Input should be greater than or equal to 0"),
        ("dsp = 1248", 'dsp = "many"', "dsp: Input should be a valid integer"),
        ("dsp = 1248", "", "dsp: Field required"),
        ("dsp = 1248", "dsp = 1248\ndsps = 3", "dsps: Extra inputs are not permitted"),
        ("clock_mhz = 250", "clock_mhz = inf", "clock_mhz: Input should be a finite number"),
        ('name = "kv260"', 'name = "my board"', "name: String should match pattern"),
        ("[sources]", '[sources]\ncolour = "looked at it"', "the table sources names colour, which no board has"),
        ('ff = "', 'bram18 = "', "the table sources says nothing about ff"),
        ("[sources]", "[sources", "not valid TOML"),
    ],
)
def test_wrong_file_is_one_clear_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    assert old in KV260
    file.write_text(KV260.replace(old, new, 1))
    with pytest.raises(BoardError) as raised:
        load_board(file)
    assert str(raised.value).startswith(f"{file}: the board file is ")
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="there is no such board file"):
        load_board("nowhere/board.toml")
    with pytest.raises(BoardError, match="cannot be read: Is a directory"):
        load_board(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(BoardError, match="not valid TOML"):
        load_board(tmp_path / "binary.toml")
