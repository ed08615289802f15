"""The parameters of one accelerator: what is fixed when its bitstream is made."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

LINE_BYTES = 64  # unit of every address in a program
ROW_ELEMENTS = 64  # rows of a tensor start at multiples of this many elements
NIBBLES, BYTES, HALVES = 0, 1, 2  # storage of an element on chip: half a byte (rows in pairs), one byte, two bytes
WORDS = 4  # storage of 17- to 32-bit elements, four bytes each; on chip only results on their way out (Operator.writes_long)


class Architecture(BaseModel):
    """Static sizes of the overlay. The HLS headers receive them as constants; lowering refuses what exceeds them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pi: Annotated[int, Field(ge=4, le=64, description="input channels multiplied in one cycle, a power of two")] = 16
    po: Annotated[int, Field(ge=4, le=64, description="output channels (or queries) of the array, a multiple of 4")] = 16
    epilogue: Annotated[int, Field(ge=2, le=32, description="outputs requantized in one cycle, a power of two that divides po")] = 8
    slots: Annotated[int, Field(ge=4, description="steps of pi inputs whose weights the array holds, two tiles at least")] = 256
    vector: Annotated[int, Field(ge=1, le=32, description="elements a cycle of the vector units, a power of two")] = 8
    axi_bits: Annotated[int, Field(description="width of an AXI data port")] = 128
    weight_ports: Annotated[int, Field(description="AXI ports that read weights together")] = 1
    narrow_lines: Annotated[int, Field(ge=64, description="lines of 64 bytes of scratchpad for 8-bit activations")] = 4096
    wide_lines: Annotated[int, Field(ge=64, description="lines of 64 bytes of scratchpad for 16-bit activations")] = 4096
    stream_lines: Annotated[int, Field(ge=16, description="lines of weights that are read ahead")] = 512
    max_channels: Annotated[int, Field(ge=64, description="longest row (channels) of any activation")] = 1024
    max_tokens: Annotated[int, Field(ge=16, description="keys that attention holds at a time, a multiple of 64")] = 256
    max_head: Annotated[int, Field(ge=64, description="widest attention head, a multiple of 64")] = 64
    precisions: Annotated[
        tuple[int, ...], Field(description="8; 4 where the array has the 4-bit mode; 2 where it takes weights four to a byte")
    ] = (8, 4, 2)
    block_buffers: Annotated[bool, Field(description="attention's scores and values in block memory, else in LUT memory")] = True
    dsp_bits: Annotated[int, Field(description="wide operand of the device's multipliers: 27, or 25 in 7 series")] = 27
    clock_mhz: Annotated[float, Field(gt=0)] = 200.0
    units: Annotated[tuple[str, ...], Field(description="instructions that the overlay implements")] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Architecture:
        for name in ("pi", "epilogue", "vector", "axi_bits", "weight_ports"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name} must be a power of two, not {value}")
        if self.axi_bits not in (32, 64, 128):
            raise ValueError(f"axi_bits must be 32, 64 or 128, not {self.axi_bits}")
        if not 1 <= self.weight_ports <= 4:
            raise ValueError(f"weight_ports must be 1, 2 or 4, not {self.weight_ports}")
        if self.po % 4 or self.po % self.epilogue:
            raise ValueError(f"po = {self.po} must be a multiple of 4 and of epilogue = {self.epilogue}")
        # Parameters (4 bytes an output) and the weights of a step (a byte or half a byte a product) fill stream words.
        if (4 * self.po) % self.stream_bytes or (self.pi * self.po // 2) % self.stream_bytes:
            raise ValueError(
                f"po = {self.po}, pi = {self.pi} must fill words of {self.stream_bytes} bytes from {self.weight_ports} weight ports"
            )
        if self.max_channels % ROW_ELEMENTS or self.max_head % 64 or self.max_tokens % 64:
            raise ValueError("max_channels, max_head and max_tokens must be multiples of 64")
        if self.slots < 2 * ceil_div(self.max_channels, self.pi):
            raise ValueError(f"slots = {self.slots} must hold two tiles of max_channels = {self.max_channels}, {self.pi} a slot")
        if self.precisions not in ((8,), (8, 4), (8, 2), (8, 4, 2)):
            raise ValueError(f"precisions must be 8, and in this order 4, 2, both or neither, not {self.precisions}")
        return self

    @property
    def word_bytes(self) -> int:
        """Bytes of one AXI word."""
        return self.axi_bits // 8

    @property
    def stream_bytes(self) -> int:
        """Bytes of weights that arrive in one cycle."""
        return self.weight_ports * self.word_bytes

    @property
    def load_bytes(self) -> int:
        """Bytes of a word of the operands that the array holds: of the weight stream's words, or, with attention, of those that the
        weights of one key fill in all lanes, so that the array takes keys as fast as they come."""
        if "attention" not in self.units:
            return self.stream_bytes
        step = self.pi * self.po
        return max(self.stream_bytes, min(1 << (self.po - 1).bit_length(), step & -step))


def ceil_div(a: int, b: int) -> int:
    """Quotient rounded up."""
    return -(-a // b)


def slots_of(lengths: Iterable[int], pi: int) -> int:
    """Slots of the array's stationary memory that vectors of these lengths take, ``pi`` elements a slot."""
    return sum(ceil_div(length, pi) for length in lengths)


def round_up(a: int, b: int) -> int:
    """Next multiple of ``b``."""
    return ceil_div(a, b) * b


def storage_bytes(bits: int) -> int:
    """Bytes of one activation element behind an AXI port: 1, 2 or 4."""
    return 1 if bits <= 8 else 2 if bits <= 16 else 4


def row_lines(channels: int, bits: int) -> int:
    """Lines from one row of an activation to the next, with whole bytes for each element."""
    return ceil_div(channels, ROW_ELEMENTS) * storage_bytes(bits)
