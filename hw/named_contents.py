"""Named contents to read: the files of a folder, or parts of a build that were read and checked before."""

from __future__ import annotations

from typing import Protocol, Self


class Readable(Protocol):
    """A ``pathlib.Path``, or what stands for one."""

    def __truediv__(self, name: str, /) -> Self:
        """What lies in this folder under a name."""

    def with_suffix(self, suffix: str, /) -> Self:
        """What lies beside this under a name with another ending."""

    def read_bytes(self) -> bytes:
        """The contents."""

    def read_text(self) -> str:
        """The contents as text, in UTF-8."""
