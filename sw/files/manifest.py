"""The schema of ``manifest.json``: what commands take from it."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from edgeflow.hw.errors import InputError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    """What is not named here is for people."""

    model_config = ConfigDict(frozen=True, strict=True)


class ModelFile(_Part):
    """The user's file."""

    file: str
    sha256: Sha256


class OutsideFile(_Part):
    """A file of a model that was too large to copy."""

    path: str
    sha256: Sha256


class ReferenceFacts(_Part):
    """The model that expected outputs are computed from: ``file`` in the build, or ``files`` outside."""

    kind: Literal["original", "canonical"]
    note: str | None
    file: Literal["model.original.onnx"] | None = None
    files: tuple[OutsideFile, ...] = ()

    @model_validator(mode="after")
    def _has_a_file(self) -> ReferenceFacts:
        if self.kind == "original" and self.file is None and not self.files:
            raise ValueError("the original model has no file")
        return self


class Manifest(_Part):
    """A whole build's manifest."""

    edgeflow: str
    model: ModelFile
    board: str
    clock_mhz: Annotated[float, Field(gt=0, le=10_000)]
    reference: ReferenceFacts | None = None
    golden_origin: Literal["held_out", "test", "calibration", "random"] = "calibration"


def check_manifest(document: dict[str, Any], where: object) -> None:
    """InputError unless a manifest says what commands take from it."""
    try:
        Manifest.model_validate_json(json.dumps(document))  # where a list is a tuple
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"])) or "the document"
        raise InputError(f"{where} is damaged ({place}: {problem['msg']}): compile the model again") from error
