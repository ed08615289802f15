"""The parameters of one accelerator: what is fixed when its bitstream is made."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

LINE_BYTES = 64  # unit of every address in a program
ROW_ELEMENTS = 64  # rows of a tensor start at multiples of this many elements


class Architecture(BaseModel):
    """Static sizes of the overlay. The HLS headers receive them as constants; lowering refuses what exceeds them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pi: Annotated[int, Field(ge=4, le=64, description="input channels multiplied in one cycle")] = 16
    po: Annotated[int, Field(ge=4, le=64, description="output channels produced in one cycle")] = 16
    lanes: Annotated[int, Field(ge=1, le=64, description="attention queries held stationary")] = 8
    vector: Annotated[int, Field(ge=1, le=64, description="elements a cycle of the vector units")] = 8
    axi_bits: Annotated[int, Field(description="width of an AXI data port")] = 128
    max_channels: Annotated[int, Field(ge=64, description="longest row (channels) of any activation")] = 1024
    max_tokens: Annotated[int, Field(ge=16, description="most keys of one attention")] = 256
    max_head: Annotated[int, Field(ge=16, description="widest attention head, padded to 16")] = 64
    clock_mhz: Annotated[float, Field(gt=0)] = 200.0
    units: Annotated[tuple[str, ...], Field(description="instructions that the overlay implements")] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Architecture:
        for name in ("pi", "po", "vector", "axi_bits", "lanes"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name} must be a power of two, not {value}")
        if self.axi_bits not in (32, 64, 128):
            raise ValueError(f"axi_bits must be 32, 64 or 128, not {self.axi_bits}")
        if self.po * 8 < self.axi_bits:
            raise ValueError(f"po = {self.po} bytes of output must fill an AXI word of {self.axi_bits} bits")
        if self.pi * 8 < self.axi_bits:
            raise ValueError(f"pi = {self.pi} input banks must take an AXI word of {self.axi_bits} bits in one cycle")
        if self.max_channels % ROW_ELEMENTS or self.max_head % 16:
            raise ValueError("max_channels must be a multiple of 64 and max_head of 16")
        return self

    @property
    def word_bytes(self) -> int:
        """Bytes of one AXI word."""
        return self.axi_bits // 8


def ceil_div(a: int, b: int) -> int:
    """Quotient rounded up."""
    return -(-a // b)


def round_up(a: int, b: int) -> int:
    """Next multiple of ``b``."""
    return ceil_div(a, b) * b


def storage_bytes(bits: int) -> int:
    """Bytes of one stored activation element: 1, 2 or 4."""
    return 1 if bits <= 8 else 2 if bits <= 16 else 4


def row_lines(channels: int, bits: int) -> int:
    """Lines from one row of an activation to the next."""
    return ceil_div(channels, ROW_ELEMENTS) * storage_bytes(bits)
