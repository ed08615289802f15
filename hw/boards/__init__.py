"""The boards that EdgeFlow knows: one TOML file each, beside this module.

A board file states the figures below and, in its table ``sources``, where every one of them comes from.
"""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeflow.hw.errors import BoardError

FIGURES = (
    *("part", "dsp", "lut", "ff", "bram36", "uram", "clock_mhz"),
    *("ddr_gb_s", "ddr_efficiency", "ddr_latency_ns", "axi_ports", "axi_bits", "axi_burst_words"),
)
RESOURCES = ("dsp", "lut", "ff", "bram36", "uram")

LARGEST = 10**9  # of any figure of a board: what is more is a slip
Count = Annotated[int, Field(ge=0, le=LARGEST, strict=True)]
Positive = Annotated[float, Field(gt=0, le=LARGEST, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Board(BaseModel):
    """One board: its device, what that holds, and how it reaches the memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", description="what the command line calls it")]
    title: Annotated[Text, Field(description="what people call it")]
    aliases: Annotated[tuple[Text, ...], Field(description="other names that are accepted")] = ()
    part: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]+$", description="device, package and speed grade, as the vendor's tools spell it")
    ]
    family: Annotated[Literal["zynq-7000", "zynq-ultrascale+"], Field(description="decides the DSP and memory blocks")]
    dsp: Annotated[Count, Field(description="DSP48E1 (zynq-7000) or DSP48E2 slices")]
    lut: Annotated[Count, Field(description="six-input look-up tables")]
    ff: Annotated[Count, Field(description="flip-flops")]
    bram36: Annotated[Count, Field(description="block memories of 36 Kbit")]
    uram: Annotated[Count, Field(description="UltraRAM blocks of 288 Kbit")]
    clock_mhz: Annotated[Positive, Field(description="target clock of the programmable logic, MHz")]
    ddr_gb_s: Annotated[Positive, Field(description="peak bandwidth of the DDR memory, 10^9 bytes a second")]
    ddr_efficiency: Annotated[float, Field(gt=0, le=1, description="share of that peak which long bursts reach, 0 to 1")]
    ddr_latency_ns: Annotated[Positive, Field(description="time from a read request of the logic to its first word, ns")]
    axi_ports: Annotated[int, Field(ge=1, le=LARGEST, strict=True, description="AXI ports from the programmable logic to the DDR")]
    axi_bits: Annotated[Literal[32, 64, 128, 256, 512], Field(description="width of one of these ports")]
    axi_burst_words: Annotated[int, Field(ge=1, le=256, strict=True, description="words of the longest burst on such a port")]
    sources: Annotated[dict[str, Text], Field(description="where each figure comes from")]

    @model_validator(mode="after")
    def _every_figure_has_a_source(self) -> Board:
        missing = [name for name in FIGURES if name not in self.sources]
        unknown = [name for name in self.sources if name not in FIGURES]
        if missing:
            raise ValueError(f"the table sources says nothing about {', '.join(missing)}")
        if unknown:
            raise ValueError(f"the table sources names {', '.join(unknown)}, which no board has")
        return self

    @property
    def resources(self) -> dict[str, int]:
        """What the device holds, by resource: dsp, lut, ff, bram36, uram."""
        return {name: int(getattr(self, name)) for name in RESOURCES}


def boards() -> tuple[str, ...]:
    """Return the names of the boards that EdgeFlow knows, sorted."""
    return tuple(sorted(_shipped()))


def load_board(board: str | Path) -> Board:
    """Return a board by name, or from a TOML file of the user's own.

    Names and aliases are compared without regard to case and punctuation: ``PYNQ_Z2`` is ``pynq-z2``.  A string that
    ends in ``.toml`` or contains a path separator is a file.

    Raises:
        BoardError: there is no such board or file, or the file does not describe a board.
    """
    text = str(board)
    if isinstance(board, Path) or text.lower().endswith(".toml") or "/" in text or "\\" in text:
        return _read(Path(board))
    names = {_plain(name): known for known in _shipped().values() for name in (known.name, known.title, *known.aliases)}
    if _plain(text) in names:
        return names[_plain(text)]
    close = get_close_matches(_plain(text), names, n=1)
    suggestion = f"did you mean {names[close[0]].name}? " if close else ""
    raise BoardError(
        f"unknown board {text!r}: {suggestion}EdgeFlow knows {', '.join(boards())}; a board of your own is a TOML file"
    )


@cache
def _shipped() -> dict[str, Board]:
    shipped = [_read(file) for file in sorted(Path(__file__).parent.glob("*.toml"))]
    return {board.name: board for board in shipped}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _read(file: Path) -> Board:
    if file.is_char_device() or file.is_block_device():
        raise BoardError(f"{file}: a device is no board file: give the path of a file")
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BoardError(f"{file}: there is no such board file; by name EdgeFlow knows its own boards") from error
    except OSError as error:
        raise BoardError(f"{file}: the board file cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of thousands of digits, too deep
        raise BoardError(f"{file}: the board file is not valid TOML: {error}") from error
    try:
        return Board.model_validate(content)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}".removeprefix(": ") for e in error.errors()]
        raise BoardError(f"{file}: the board file is wrong: {'; '.join(problems)}") from error
