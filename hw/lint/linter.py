"""Running every rule over a set of files."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from edgeflow.hw.errors import InputError
from edgeflow.hw.lint import arithmetic_rules as arithmetic
from edgeflow.hw.lint import calls, dataflow, language, loops, ports, pragmas
from edgeflow.hw.lint import memory_rules as memory
from edgeflow.hw.lint.finding import Finding
from edgeflow.hw.lint.rule import Rule
from edgeflow.hw.lint.source import Source

GROUPS = (calls, memory, language, arithmetic, loops, ports, dataflow, pragmas)
RULES: dict[str, Rule] = {rule.id: rule for group in GROUPS for rule in group.RULES}


def run(files: Sequence[Path], include: Sequence[Path], defines: Sequence[str], tops: Collection[str]) -> list[Finding]:
    """Do what ``edgeflow.hw.lint.lint`` promises."""
    findings: dict[tuple[str, Path, int], Finding] = {}
    for file in files:
        if not file.is_file():
            raise InputError(f"{file}: there is no such file to lint")
        source = Source(file, include, defines, tops)
        for rule in RULES.values():
            for finding in rule.check(source):
                findings.setdefault((finding.rule, finding.file, finding.line), finding)
    return sorted(findings.values())
