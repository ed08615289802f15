"""What every rule states."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from edgeflow.hw.lint.finding import Finding, Level
from edgeflow.hw.lint.source import Node, Source


class Rule(ABC):
    """One thing that the code must not do; ``rationale`` says in a sentence why, ``remedy`` what to do instead."""

    id: ClassVar[str]
    rationale: ClassVar[str]
    remedy: ClassVar[str]
    level: ClassVar[Level] = "error"

    @abstractmethod
    def check(self, source: Source) -> Iterator[Finding]:
        """Yield a finding for every violation in ``source``."""

    def at(self, node: Node, message: str) -> Finding:
        """Return a finding at the line of ``node``."""
        return self.on(node.file, node.line, message)

    def on(self, file: Path, line: int, message: str) -> Finding:
        """Return a finding at a line of a file."""
        return Finding(file, line, self.id, message, self.level)
