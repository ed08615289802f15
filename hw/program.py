"""A compiled program: instructions, weight image and memory map for one accelerator, and the files that hold them.

``program.bin``: a header of 64 bytes (magic ``EDGEFLOW``, format version, instruction count, lines of activation memory, lines of
the weight image as little-endian uint32, then the first 8 bytes of the overlay's SHA-256), followed by descriptors of 128 bytes.
``weights.bin``: the weight image. ``memory_map.json``: where every tensor and parameter lies. ``overlay.json``: the accelerator.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeflow.hw.architecture import LINE_BYTES, Architecture, row_lines, storage_bytes
from edgeflow.hw.errors import InputError
from edgeflow.hw.graph import Format, IntArray
from edgeflow.hw.ops.base import INSTRUCTION_WORDS, Instruction, instruction_layouts

MAGIC = b"EDGEFLOW"
VERSION = 1
HEADER_BYTES = 64
DESCRIPTOR_BYTES = 4 * INSTRUCTION_WORDS


@dataclass(frozen=True)
class Step:
    """An instruction and the integer graph's tensor that is complete once it has run (None if more instructions follow)."""

    instruction: Instruction
    node: str
    completes: str | None


@dataclass(frozen=True)
class Allocation:
    """Where an activation lies: lines of activation memory, and the nodes between which it is alive (inclusive; -1: before).

    ``view_of`` names the tensor whose memory this one shares (nothing is copied), if any.
    """

    tensor: str
    line: int
    lines: int
    shape: tuple[int, ...]
    bits: int
    signed: bool
    first: int
    last: int
    view_of: str | None

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
    def activation_lines(self) -> int:
        """Lines of activation memory in use."""
        return max((a.line + a.lines for a in self.allocations), default=0)

    def encode(self) -> bytes:
        """The contents of ``program.bin``."""
        sizes = (VERSION, len(self.steps), self.activation_lines, len(self.weights) // LINE_BYTES)
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
            "inputs": self.inputs,
            "outputs": self.outputs,
            "activations": [asdict(a) for a in self.allocations],
            "weights": [asdict(p) for p in self.parameters],
            "steps": [{"node": s.node, "completes": s.completes} for s in self.steps],
        }
        (folder / "memory_map.json").write_text(json.dumps(document, indent=1) + "\n")

    @staticmethod
    def load(folder: Path) -> Program:
        """Read the four files back; InputError if they do not belong together."""
        raw = (folder / "program.bin").read_bytes()
        if raw[:8] != MAGIC:
            raise InputError(f"{folder / 'program.bin'} is not an EdgeFlow program: compile the model again")
        version, count, _, _ = struct.unpack("<4I", raw[8:24])
        if version != VERSION:
            raise InputError(
                f"{folder / 'program.bin'} has format {version}, this EdgeFlow reads {VERSION}: compile the model again"
            )
        overlay = json.loads((folder / "overlay.json").read_text())
        architecture = Architecture(**overlay["architecture"])
        if raw[24:32] != overlay_digest(architecture):
            raise InputError(
                f"{folder / 'program.bin'} was compiled for another overlay than overlay.json: compile the model again"
            )
        layouts = {layout.opcode: layout for layout in instruction_layouts()}
        words = np.frombuffer(raw, dtype="<u4", offset=HEADER_BYTES).reshape(count, INSTRUCTION_WORDS)
        memory = json.loads((folder / "memory_map.json").read_text())
        steps = []
        for row, info in zip(words, memory["steps"], strict=True):
            layout = layouts[int(row[0])]
            values = {name: int(row[1 + i]) for i, name in enumerate(layout.fields)}
            steps.append(Step(Instruction(layout, values), info["node"], info["completes"]))
        return Program(
            architecture,
            tuple(steps),
            (folder / "weights.bin").read_bytes(),
            tuple(Allocation(**{**a, "shape": tuple(a["shape"])}) for a in memory["activations"]),
            tuple(Parameter(**p) for p in memory["weights"]),
            tuple(memory["inputs"]),
            tuple(memory["outputs"]),
        )


def overlay_document(architecture: Architecture) -> dict[str, Any]:
    """The accelerator as a document: its parameters and the instruction formats it understands."""
    units = [layout for layout in instruction_layouts() if layout.name in architecture.units]
    return {
        "version": VERSION,
        "architecture": architecture.model_dump(mode="json"),
        "instructions": [{"name": u.name, "opcode": u.opcode, "fields": u.fields} for u in units],
    }


def overlay_digest(architecture: Architecture) -> bytes:
    """First 8 bytes of the SHA-256 of the overlay document."""
    return hashlib.sha256(json.dumps(overlay_document(architecture), sort_keys=True).encode()).digest()[:8]


def format_lines(format: Format) -> int:
    """Lines that a tensor of this format takes in memory."""
    return format.rows * row_lines(format.channels, format.bits)


_STORAGE = {(1, True): "i1", (1, False): "u1", (2, True): "<i2", (2, False): "<u2", (4, True): "<i4", (4, False): "<u4"}


def pack_rows(data: IntArray, format: Format) -> NDArray[np.uint8]:
    """One sample as the bytes of its rows in memory, padding zeroed."""
    size = storage_bytes(format.bits)
    stride = row_lines(format.channels, format.bits) * LINE_BYTES // size
    rows = np.zeros((format.rows, stride), dtype=_STORAGE[size, format.signed])
    rows[:, : format.channels] = np.asarray(data).reshape(format.rows, format.channels)
    return rows.reshape(-1).view(np.uint8)


def unpack_rows(raw: NDArray[np.uint8], format: Format) -> IntArray:
    """The tensor (int64, per-sample shape) that lies in memory as ``raw``."""
    size = storage_bytes(format.bits)
    stride = row_lines(format.channels, format.bits) * LINE_BYTES // size
    rows = np.ascontiguousarray(raw).view(_STORAGE[size, format.signed]).reshape(format.rows, stride)
    values: IntArray = rows[:, : format.channels].astype(np.int64).reshape(format.shape)
    return values
