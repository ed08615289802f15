"""Builds damaged in one file, with and without the hashes of the manifest corrected: what the commands make of them.

A damaged build is its number: the file, the damage and whether hashes are corrected are drawn from it. Whoever damages a build on
purpose corrects every hash, the overlay's in ``program.bin`` included; so do these.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from fuzzing import Outcome, Worker
from tiny_transformer import tiny_inputs, tiny_transformer

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.ops.base import instruction_layouts
from edgeflow.hw.program import DESCRIPTOR_BYTES, HEADER_BYTES, overlay_document
from edgeflow.sw.files.snapshot import MANIFEST

Random = np.random.Generator

READ = (
    *("program.bin", "weights.bin", "memory_map.json", "overlay.json", "integer_graph.json", "integer_graph.npz"),
    *("correspondence.json", "golden.npz", "report.json", "board.json", "model.canonical.onnx", "model.original.onnx", MANIFEST),
)
"""What commands read of a build, so most damage is done to it."""
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**31,
    -(2**31),
    2**63,
    10**30,
    0.5,
    -1e308,
    float("nan"),
    "",
    "x",
    "\x1b[2J",
    [],
    {},
    [[]],
    [-1],
)
WORDS = (0, 1, 0x7F, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def bits(random: Random, content: bytes) -> bytes:
    """One to eight bits are others."""
    data = bytearray(content)
    for place in random.integers(0, 8 * len(data), int(random.integers(1, 9))) if data else ():
        data[place // 8] ^= 1 << (place % 8)
    return bytes(data)


def truncated(random: Random, content: bytes) -> bytes:
    """The end is missing."""
    return content[: int(random.integers(0, max(1, len(content))))]


def inserted(random: Random, content: bytes) -> bytes:
    """There is more in it."""
    place = int(random.integers(0, len(content) + 1))
    return content[:place] + random.bytes(int(random.choice((1, 4, 64, 128)))) + content[place:]


def missing(_: Random, _content: bytes) -> None:
    """The file is not there."""
    return


def json_values(random: Random, content: bytes) -> bytes:
    """One or two values of a document are of another type, huge or negative, are gone, or come twice."""
    document = json.loads(content)
    for _ in range(int(random.integers(1, 3))):
        holder, key = _place(random, document)
        choice = int(random.integers(8))
        if choice == 0:
            del holder[key]
        elif choice == 1 and isinstance(holder, list):
            holder.append(holder[key])
        elif choice == 2 and isinstance(holder, dict):
            holder["x"] = holder.pop(key)
        elif choice <= 4 and isinstance(holder[key], int | float):
            holder[key] = type(holder[key])(holder[key] + random.choice((-1, 1, 64, -(1 << 20), 1 << 40)))
        else:
            holder[key] = VALUES[int(random.integers(len(VALUES)))]
    return json.dumps(document, indent=1).encode()


def _place(random: Random, document: Any) -> tuple[Any, Any]:
    """Somewhere in a document: the deeper the more likely."""
    holder = document
    while True:
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        if not keys:
            raise ValueError("nothing is left that could change")
        key = keys[int(random.integers(len(keys)))]
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or random.random() < 0.1:
            return holder, key
        holder = inner


def npz_arrays(random: Random, content: bytes) -> bytes:
    """An array has other values, another type or shape, or is gone."""
    with np.load(io.BytesIO(content)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    name = list(arrays)[int(random.integers(len(arrays)))]
    value, choice = arrays[name], int(random.integers(6))
    if choice == 0:
        del arrays[name]
    elif choice == 1:
        arrays[name] = value.reshape(-1)[: value.size // 2]
    elif choice == 2:
        arrays[name] = np.asarray(["x"] * max(1, value.size))
    elif choice == 3:
        arrays[name] = value[..., None]
    elif value.dtype.kind in "iuf":
        arrays[name] = value.astype(np.float64) if choice == 4 else value.copy()
        other = (np.nan, 127, 1e300, -1)[int(random.integers(4))] if choice == 4 else 1
        arrays[name].reshape(-1)[int(random.integers(value.size))] = other
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def fields(random: Random, content: bytes) -> bytes:
    """Fields of one to three instructions, or of the header, have extreme values."""
    data = bytearray(content)
    count = (len(data) - HEADER_BYTES) // DESCRIPTOR_BYTES
    layouts = {layout.opcode: layout for layout in instruction_layouts()}
    for _ in range(int(random.integers(1, 4))):
        if random.random() < 0.1:
            struct.pack_into("<I", data, 8 + 4 * int(random.integers(4)), int(random.choice(WORDS)))
            continue
        start = HEADER_BYTES + DESCRIPTOR_BYTES * int(random.integers(count))
        words = np.frombuffer(bytes(data[start : start + DESCRIPTOR_BYTES]), "<u4").copy()
        layout = layouts.get(int(words[0]))
        draw = random.random()
        if layout is None or draw < 0.15:
            words[int(random.choice((0, 30, 31)))] = int(random.choice(WORDS))
        else:
            slot = layout.slots[int(random.integers(len(layout.slots)))]
            most = (1 << slot.bits) - 1
            value = int(random.choice((most, most // 2 + 1, 1, 0))) if draw < 0.8 else int(random.integers(most + 1))
            words[slot.word] = int(words[slot.word]) & ~(most << slot.bit) & 0xFFFFFFFF | value << slot.bit
        data[start : start + DESCRIPTOR_BYTES] = words.astype("<u4").tobytes()
    return bytes(data)


Damage = Callable[[Random, bytes], bytes | None]
ANY: tuple[Damage, ...] = (bits, truncated, inserted, missing)
ENDINGS: dict[str, tuple[Damage, ...]] = {".json": (json_values,) * 6, ".npz": (npz_arrays,) * 4, ".bin": (bits,)}


def draw(number: int, names: list[str]) -> tuple[str, Damage, bool, Random]:
    """File, damage and whether hashes are corrected; two of three have them corrected."""
    random = np.random.default_rng([31415, number])
    name = READ[number % len(READ)] if random.random() < 0.85 else names[int(random.integers(len(names)))]
    kinds = (*ANY, *ENDINGS.get(Path(name).suffix, ()), *((fields,) * 10 if name == "program.bin" else ()))
    return name, kinds[int(random.integers(len(kinds)))], number % 3 != 0 or name == MANIFEST, random


def correct_hashes(build: Path) -> None:
    """Write every hash anew: the overlay's in the program, and those of all files in the manifest."""
    program = build / "program.bin"
    with contextlib.suppress(Exception):  # there is no program or no overlay any more
        architecture = json.loads((build / "overlay.json").read_text())["architecture"]
        document = overlay_document(Architecture.model_construct(**architecture))
        digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).digest()[:8]
        content = program.read_bytes()
        if len(content) >= 32:
            program.write_bytes(content[:24] + digest + content[32:])
    manifest = json.loads((build / MANIFEST).read_text())
    paths = sorted(path for path in build.rglob("*") if path.is_file() and path.name != MANIFEST)
    manifest["files"] = {path.relative_to(build).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    (build / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def damage(build: Path, number: int) -> tuple[str, str, bool]:
    """Damage a build in place; returns the file, the damage and whether hashes are corrected."""
    names = sorted(path.relative_to(build).as_posix() for path in build.rglob("*") if path.is_file())
    name, how, corrected, random = draw(number, names)
    content = (build / name).read_bytes()
    try:
        changed = how(random, content)
    except (ValueError, IndexError):
        changed = bits(random, content)
    if changed is None:
        (build / name).unlink()
    else:
        (build / name).write_bytes(changed)
    if corrected and name != MANIFEST:
        correct_hashes(build)
    return name, how.__name__, corrected


class BuildWorker(Worker):
    """Takes damaged builds of a tiny transformer through the commands that read builds."""

    @staticmethod
    def describe(number: int) -> tuple[str, str]:
        name, how, corrected, _ = draw(number, ["hls"])
        return name, f"{how.__name__}{', hashes corrected' if corrected else ''}"

    def prepare(self) -> None:
        onnx.save(tiny_transformer(), self.folder / "model.onnx")
        np.savez(self.folder / "inputs.npz", tokens=tiny_inputs(4))
        units = tuple(layout.name for layout in instruction_layouts())
        (self.folder / "overlay.json").write_text(json.dumps(overlay_document(Architecture(units=units))))
        overlay = ("--overlay", self.folder / "overlay.json", "--calib", self.folder / "inputs.npz")
        self._expect("compile", self.folder / "model.onnx", "-o", self.folder / "good", *overlay)
        shutil.copytree(self.folder / "good", self.folder / "build")
        for command in self._commands():
            self._expect(*command)
        self.outputs = self._values("csim.npz")

    def _commands(self) -> list[tuple[object, ...]]:
        build, folder = self.folder / "build", self.folder
        inputs = ("--inputs", folder / "inputs.npz")
        return [
            ("verify", build, "--json", "--samples", 2),
            ("simulate", build, *inputs, "--engine", "csim", "--outputs", folder / "csim.npz"),
            ("simulate", build, *inputs, "--engine", "numpy", "--outputs", folder / "numpy.npz"),
            ("cycles", build),
            ("report", build, "--layers"),
            ("export", build, "-o", folder / "export.onnx"),
            ("compare", build, folder / "good"),
        ]

    def _expect(self, *command: object) -> None:
        status, text = self._command(*command)
        if status:
            raise RuntimeError(f"a good build fails: {text}")

    def _command(self, *words: object) -> tuple[int, str]:
        from edgeflow.sw.cli.main import main

        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            status = main(["-q", *map(str, words)])
        return status, errors.getvalue()

    def _values(self, name: str) -> dict[str, np.ndarray[Any, Any]]:
        with np.load(self.folder / name) as archive:
            return {key: archive[key] for key in archive.files}

    def run(self, number: int) -> Outcome:
        """Refused: some command did, in one line, and none did worse. Equal: all went well, and the C++ gives the good build's
        outputs. Harmless: all went well with other values, which NumPy and C++ agree on. Wrong: success although they do not, or
        although hashes are not those of the manifest."""
        shutil.rmtree(self.folder / "build", ignore_errors=True)
        shutil.copytree(self.folder / "good", self.folder / "build")
        for name in ("csim.npz", "numpy.npz", "export.onnx"):
            (self.folder / name).unlink(missing_ok=True)
        name, how, corrected = damage(self.folder / "build", number)
        label = f"{how}{', hashes corrected' if corrected else ''}"
        refusal = ""
        for command in self._commands():
            status, text = self._command(*command)
            lines = [line for line in text.splitlines() if line.startswith("error: ")]
            end = "" if status in (0, 2) else "internal" if status == 70 else f"status {status}"
            if status == 2 and (len(lines) != 1 or not lines[0].isprintable()):
                end = "message"
            if status == 0 and not corrected:
                end = "wrong"
            if status == 2 and not refusal:
                refusal = f"{command[0]}: {lines[0][:400]}" if lines else "?"
            if end:
                places = re.findall(r'File "[^"]*/(?:edgeflow/)?((?:sw|hw|quant|sim)/[^"]+)", line (\d+), in (\w+)', text)
                place = ":".join(places[-1]) if places else ""
                return Outcome(number, name, label, end, f"{command[0]} {place}", lines[-1][:400] if lines else "")
        if refusal:
            return Outcome(number, name, label, "refused", "", refusal)
        native, reference = self._values("csim.npz"), self._values("numpy.npz")
        if not _equal(native, reference):
            return Outcome(number, name, label, "wrong", "simulate", "C++ and NumPy differ")
        return Outcome(number, name, label, "equal" if _equal(native, self.outputs) else "harmless")


def _equal(one: dict[str, np.ndarray[Any, Any]], other: dict[str, np.ndarray[Any, Any]]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
