"""A compiled program: instructions, weight image and memory map for one accelerator, and the files that hold them.

``program.bin``: a header of 64 bytes (magic ``EDGEFLOW``, format version, instruction count, lines of external activation memory,
lines of the weight image as little-endian uint32, then the first 8 bytes of the overlay's SHA-256), followed by descriptors of
128 bytes.
``weights.bin``: the weight image. ``memory_map.json``: where every tensor and parameter lies. ``overlay.json``: the accelerator.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from edgeflow.hw.architecture import BYTES, HALVES, LINE_BYTES, NIBBLES, ROW_ELEMENTS, WORDS, Architecture, ceil_div, round_up
from edgeflow.hw.arrays import IntArray
from edgeflow.hw.errors import InputError
from edgeflow.hw.field_widths import check_addressable
from edgeflow.hw.format_version import FORMAT, check_format
from edgeflow.hw.graph import Format
from edgeflow.hw.named_contents import Readable
from edgeflow.hw.ops.base import INSTRUCTION_WORDS, STREAM_WORD, Instruction, instruction_layouts
from edgeflow.hw.reading import COMPILE_AGAIN, reading

MAGIC = b"EDGEFLOW"
HEADER_BYTES = 64
DESCRIPTOR_BYTES = 4 * INSTRUCTION_WORDS


@dataclass(frozen=True)
class Step:
    """An instruction and the integer graph's tensor that is complete once it has run (None if more instructions follow)."""

    instruction: Instruction
    node: str
    completes: str | None


@dataclass(frozen=True)
class Stay:
    """Lines of the scratchpad that hold a tensor, or the current block of its rows, while nodes ``first`` to ``last`` run."""

    line: int
    lines: int
    first: int
    last: int


@dataclass(frozen=True)
class Allocation:
    """Where an activation lies, and the nodes between which it is alive (inclusive; -1: before the first).

    ``line``: of the scratchpad, from when the tensor is complete (for a network input: loaded) to the end of its first stay there;
    None if it is never there as a whole. ``external``: line of the external memory; None if it is never there. In both places it
    takes ``lines`` lines with the same bytes: elements in ``storage`` NIBBLES, BYTES, HALVES or WORDS. ``view_of`` names the tensor
    whose memory this one shares (nothing is copied), if any; ``stays`` are empty then.
    """

    tensor: str
    line: int | None
    external: int | None
    lines: int
    storage: int
    shape: tuple[int, ...]
    bits: int
    signed: bool
    first: int
    last: int
    view_of: str | None
    stays: tuple[Stay, ...]

    @property
    def format(self) -> Format:
        """Per-sample shape and integer format."""
        return Format(self.shape, self.bits, self.signed)


@dataclass(frozen=True)
class Parameter:
    """A named part of the weight image."""

    name: str
    line: int
    bytes: int


@dataclass(frozen=True)
class Program:
    """Everything the accelerator needs to run one model, for one sample at a time."""

    architecture: Architecture
    steps: tuple[Step, ...]
    weights: bytes
    allocations: tuple[Allocation, ...]
    parameters: tuple[Parameter, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def external_lines(self) -> int:
        """Lines of external activation memory in use: network inputs and outputs, and what the scratchpad does not hold."""
        return max((a.external + a.lines for a in self.allocations if a.external is not None), default=0)

    @property
    def scratch_lines(self) -> tuple[int, int]:
        """Lines of the narrow and of the wide scratchpad in use."""
        border = self.architecture.narrow_lines
        ends = [stay.line + stay.lines for a in self.allocations for stay in a.stays]
        return max((e for e in ends if e <= border), default=0), max((e - border for e in ends if e > border), default=0)

    def encode(self) -> bytes:
        """The contents of ``program.bin``."""
        sizes = (FORMAT, len(self.steps), self.external_lines, len(self.weights) // LINE_BYTES)
        header = MAGIC + struct.pack("<4I", *sizes) + overlay_digest(self.architecture)
        descriptors = np.stack([step.instruction.encode() for step in self.steps])
        return header.ljust(HEADER_BYTES, b"\0") + descriptors.astype("<u4").tobytes()

    def save(self, folder: Path) -> None:
        """Write the four files."""
        (folder / "program.bin").write_bytes(self.encode())
        (folder / "weights.bin").write_bytes(self.weights)
        (folder / "overlay.json").write_text(json.dumps(overlay_document(self.architecture), indent=1) + "\n")
        document = {
            "line_bytes": LINE_BYTES,
            "narrow_lines": self.architecture.narrow_lines,
            "external_lines": self.external_lines,
            "inputs": self.inputs,
            "outputs": self.outputs,
            "activations": [asdict(a) for a in self.allocations],
            "weights": [asdict(p) for p in self.parameters],
            "steps": [{"node": s.node, "completes": s.completes} for s in self.steps],
        }
        (folder / "memory_map.json").write_text(json.dumps(document, indent=1) + "\n")

    @staticmethod
    def load(folder: Readable) -> Program:
        """Read the four files back; InputError if they do not belong together, or one is damaged.

        Whether the instructions compute what they should, and touch no memory but their own, is not known of a program from
        anywhere: ``sw.flow.own_program`` compares it with what the compiler makes."""
        binary = folder / "program.bin"
        raw = binary.read_bytes()
        if raw[:8] != MAGIC or len(raw) < HEADER_BYTES:
            raise InputError(f"{binary} is not an EdgeFlow program: compile the model again")
        version, count, external_lines, weight_lines = struct.unpack("<4I", raw[8:24])
        check_format(version, binary)
        overlay, text = folder / "overlay.json", (folder / "overlay.json").read_text()
        with reading(overlay, COMPILE_AGAIN):
            architecture = Architecture.model_validate(json.loads(text)["architecture"])
        check_addressable(architecture, overlay)
        if raw[24:32] != overlay_digest(architecture):
            raise InputError(
                f"{folder / 'program.bin'} was compiled for another overlay than overlay.json: compile the model again"
            )
        map_file, text = folder / "memory_map.json", (folder / "memory_map.json").read_text()
        with reading(map_file, COMPILE_AGAIN):
            memory = _MemoryMap.model_validate_json(text)
        weights = (folder / "weights.bin").read_bytes()
        if len(raw) != HEADER_BYTES + count * DESCRIPTOR_BYTES or len(memory.steps) != count:
            raise InputError(f"{binary} and memory_map.json do not agree on the number of instructions: compile the model again")
        if len(weights) != weight_lines * LINE_BYTES:
            raise InputError(f"{folder / 'weights.bin'} is not as long as program.bin says: compile the model again")
        layouts = {layout.opcode: layout for layout in instruction_layouts()}
        words = np.frombuffer(raw, dtype="<u4", offset=HEADER_BYTES).reshape(count, INSTRUCTION_WORDS)
        steps = []
        for i, (row, info) in enumerate(zip(words, memory.steps, strict=True)):
            layout = layouts.get(int(row[0]))
            first, lines = int(row[STREAM_WORD]), int(row[STREAM_WORD + 1])
            if layout is None or layout.name not in architecture.units:
                raise InputError(f"{binary}: instruction {i} is none of the overlay's: compile the model again")
            if first + lines > weight_lines:
                raise InputError(
                    f"{binary}: instruction {i} takes weights from behind the end of weights.bin: compile the model again"
                )
            steps.append(Step(Instruction(layout, layout.decode(row.tolist()), (first, lines)), info.node, info.completes))
        program = Program(architecture, tuple(steps), weights, memory.activations, memory.weights, memory.inputs, memory.outputs)
        if program.external_lines != external_lines:
            raise InputError(f"{binary} and memory_map.json do not agree on the size of the memory: compile the model again")
        return program


_STRICT = ConfigDict(strict=True, extra="forbid")


class _StoredStep(BaseModel):
    model_config = _STRICT

    node: str
    completes: str | None


class _MemoryMap(BaseModel):
    """``memory_map.json``."""

    model_config = _STRICT

    line_bytes: Literal[64]
    narrow_lines: int
    external_lines: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    activations: tuple[Allocation, ...]
    weights: tuple[Parameter, ...]
    steps: tuple[_StoredStep, ...]


def overlay_document(architecture: Architecture) -> dict[str, Any]:
    """The accelerator as a document: its parameters and the instruction formats it understands."""
    units = [layout for layout in instruction_layouts() if layout.name in architecture.units]
    return {
        "version": FORMAT,
        "architecture": architecture.model_dump(mode="json"),
        "instructions": [{"name": u.name, "opcode": u.opcode, "fields": u.texts} for u in units],
    }


def overlay_digest(architecture: Architecture) -> bytes:
    """First 8 bytes of the SHA-256 of the overlay document."""
    return hashlib.sha256(json.dumps(overlay_document(architecture), sort_keys=True).encode()).digest()[:8]


def natural_storage(bits: int) -> int:
    """Storage of elements of that many bits where nothing says otherwise: whole bytes."""
    return BYTES if bits <= 8 else HALVES if bits <= 16 else WORDS


def stride_lines(channels: int, storage: int) -> int:
    """Lines from one row to the next; from one pair of rows to the next in NIBBLES."""
    return ceil_div(channels, ROW_ELEMENTS) * max(storage, 1)


def format_lines(format: Format, storage: int | None = None) -> int:
    """Lines that a tensor of this format takes, in its natural storage unless told."""
    storage = natural_storage(format.bits) if storage is None else storage
    rows = ceil_div(format.rows, 2) if storage == NIBBLES else format.rows
    return rows * stride_lines(format.channels, storage)


_STORAGE = {(1, True): "i1", (1, False): "u1", (2, True): "<i2", (2, False): "<u2", (4, True): "<i4", (4, False): "<u4"}


def pack_rows(data: IntArray, format: Format, storage: int | None = None) -> NDArray[np.uint8]:
    """One sample as the bytes of its rows in memory, padding zeroed; in its natural storage unless told."""
    storage = natural_storage(format.bits) if storage is None else storage
    values = np.asarray(data).reshape(format.rows, format.channels)
    stride = ceil_div(format.channels, ROW_ELEMENTS) * ROW_ELEMENTS
    if storage == NIBBLES:
        halves = np.zeros((round_up(format.rows, 2), stride), dtype=np.uint8)
        halves[: format.rows, : format.channels] = values & 15
        pairs: NDArray[np.uint8] = halves[0::2] | (halves[1::2] << np.uint8(4))
        return pairs.reshape(-1)
    rows = np.zeros((format.rows, stride), dtype=_STORAGE[storage, format.signed])
    rows[:, : format.channels] = values
    return rows.reshape(-1).view(np.uint8)


def unpack_rows(raw: NDArray[np.uint8], format: Format, storage: int | None = None) -> IntArray:
    """The tensor (int64, per-sample shape) that lies in memory as ``raw``, in its natural storage unless told."""
    storage = natural_storage(format.bits) if storage is None else storage
    stride = ceil_div(format.channels, ROW_ELEMENTS) * ROW_ELEMENTS
    if storage == NIBBLES:
        pairs = np.ascontiguousarray(raw).reshape(-1, 1, stride)
        halves = np.concatenate([pairs & 15, pairs >> 4], axis=1).reshape(-1, stride).astype(np.int64)
        sign = 8 if format.signed else 0
        rows = ((halves ^ sign) - sign)[: format.rows]
    else:
        rows = np.ascontiguousarray(raw).view(_STORAGE[storage, format.signed]).reshape(format.rows, stride)
    values: IntArray = rows[:, : format.channels].astype(np.int64).reshape(format.shape)
    return values
