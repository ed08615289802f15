"""The build folder: written whole or not at all, and read back as one object."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgeflow.hw.boards import Board
from edgeflow.hw.errors import InputError, VerificationError
from edgeflow.hw.format_version import FORMAT, check_format
from edgeflow.hw.graph import Graph
from edgeflow.hw.program import Program
from edgeflow.hw.reading import COMPILE_AGAIN, first_line, read_arrays, reading
from edgeflow.hw.verify import verify_graph
from edgeflow.sw.files.manifest import check_manifest
from edgeflow.sw.files.notebook_card import card
from edgeflow.sw.files.replacement import restore
from edgeflow.sw.files.snapshot import MANIFEST, Snapshot, SnapshotPath, json_object

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir
    from google.protobuf.message import Message  # type: ignore[import-untyped]

CANONICAL_MODEL = "model.canonical.onnx"
QDQ_MODEL = "model.qdq.onnx"


@dataclass(frozen=True)
class Build:
    """A compiled model on disk. Its files are read when they are asked for, each as the manifest has it (:class:`Snapshot`)."""

    folder: Path

    @cached_property
    def snapshot(self) -> Snapshot:
        """The files as they were when the manifest was read."""
        return Snapshot(self.folder)

    @property
    def files(self) -> SnapshotPath:
        """Their names, for what reads several."""
        return SnapshotPath(self.snapshot)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was compiled, for which board, with which options, and the SHA-256 of every file."""
        return self.snapshot.manifest

    @cached_property
    def graph(self) -> Graph:
        """The integer graph, proven to be one (:func:`~edgeflow.hw.verify.verify_graph`)."""
        graph = Graph.load(self.files / "integer_graph")
        with contents(self.folder / "integer_graph.json"):
            verify_graph(graph)
        return graph

    @cached_property
    def program(self) -> Program:
        """The instructions, weight image and memory map."""
        return Program.load(self.files)

    @cached_property
    def report(self) -> dict[str, Any]:
        """``report.json``."""
        return json_object((self.files / "report.json").read_bytes(), self.folder / "report.json")

    @property
    def board(self) -> Board:
        """The board that the model was compiled for, as it was then."""
        file = self.files / "board.json"
        text = file.read_text()
        with reading(file, COMPILE_AGAIN):
            return Board.model_validate_json(text)

    def float_model(self) -> ir.Model:
        """The canonical float model; InputError where it is damaged."""
        import onnx_ir as ir

        from edgeflow.quant.canonical.base import find

        proto = self.onnx_model(CANONICAL_MODEL)
        known = {entry.name for entry in (*proto.graph.input, *proto.graph.initializer)} | {""}
        for node in proto.graph.node:
            lost = next((name for name in node.input if name not in known), None)
            if lost is not None:
                raise self._not_canonical(f"node {node.name!r} ({node.op_type}) reads {lost!r}, which nothing computes")
            known |= set(node.output)
        with reading(self.folder / CANONICAL_MODEL, COMPILE_AGAIN):
            model = ir.from_proto(proto)
        foreign = next((node for node in model.graph if find(node) is None), None)
        if foreign is not None:
            raise self._not_canonical(f"node {foreign.name!r} ({foreign.op_type}) is of no operator that compile leaves there")
        return model

    def _not_canonical(self, reason: str) -> InputError:
        return InputError(f"{self.folder / CANONICAL_MODEL} is not this build's: {reason}: compile the model again")

    def onnx_model(self, name: str) -> onnx.ModelProto:
        """An ONNX file of the build, which holds all of its data; InputError where it is damaged."""
        import onnx
        from google.protobuf.message import DecodeError

        proto = onnx.ModelProto()
        try:
            proto.ParseFromString((self.files / name).read_bytes())
        except DecodeError as error:
            raise InputError(f"{self.folder / name} is damaged: compile the model again") from error
        if _reads_files(proto):
            raise InputError(f"{self.folder / name} has data outside itself, which no build has: compile the model again")
        return proto

    @property
    def incomplete(self) -> str | None:
        """The last step that ran, of what ``compile --until`` left; None for a whole build."""
        step: str | None = self.manifest.get("incomplete")
        return step

    def require_complete(self) -> None:
        """InputError for what ``compile --until`` left."""
        if self.incomplete is not None:
            raise InputError(
                f"build {self.folder} is not complete, it stops after step {self.incomplete}: compile it without --until"
            )

    def golden(self) -> dict[str, NDArray[Any]]:
        """The sample inputs that the build keeps for verification, by the model's input names."""
        file = self.files / "golden.npz"
        return read_arrays(file.read_bytes(), file)

    def _repr_html_(self) -> str:
        """A short card for notebooks."""
        self.require_complete()
        return card(self.folder, self.report)


def open_build(folder: str | os.PathLike[str]) -> Build:
    """The build in a folder; InputError if there is none or any of its files is damaged."""
    path = Path(folder)
    if not path.exists():
        restore(path)
    build = Build(path)
    check_format(build.manifest.get("format"), f"build {build.folder}")
    build.require_complete()
    check_manifest(build.manifest, path / MANIFEST)
    build.snapshot.check()
    return build


@contextmanager
def contents(file: Path) -> Iterator[None]:
    """InputError that names a file of a build where its contents, whose types are right, make no sense.

    The block proves that they do. It is given sizes and numbers that nothing in EdgeFlow makes, so what it raises is their fault.
    """
    try:
        yield
    except (VerificationError, ArithmeticError, AssertionError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged ({first_line(error)}): compile the model again") from error


def _reads_files(message: Message) -> bool:
    """Whether any tensor of an ONNX message has its data outside."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            return True
        if field.message_type is not None and any(map(_reads_files, value if field.is_repeated else (value,))):
            return True
    return False


def hash_file(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the manifest with the hashes of all files in the folder."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST]
    files = {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, **facts, "files": files}, indent=1) + "\n")
