"""Run the commands of the README in order, in a checkout, as a newcomer would.

``python scripts/run_readme.py CHECKOUT`` runs every ``sh`` and ``python`` block of its README.md, one after another, with a virtual
environment of its own first on the path. MODEL.onnx and DATA.npz, which the README asks for, are those of the shipped example.
``--without 'make test'`` leaves a line out. The exit status is that of the first block that fails, whose line is named.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path("examples/fashion_mnist_vit")
ASKED_FOR = {"MODEL.onnx": EXAMPLE / "model.onnx", "DATA.npz": EXAMPLE / "calibration.npz"}
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text, and the line of the README where it begins."""

    language: str
    text: str
    line: int


def blocks(readme: str) -> Iterator[Block]:
    """All blocks of code, in order."""
    for match in _BLOCK.finditer(readme):
        yield Block(match[1], match[2], readme.count("\n", 0, match.start()) + 1)


def run(block: Block, folder: Path, environment: Mapping[str, str], without: Collection[str] = ()) -> int:
    """Run a block in a folder; returns its exit status, that of the first command that fails. Other languages are left alone."""
    lines = [line for line in block.text.splitlines() if line.partition("#")[0].strip() not in without]
    command = {"sh": ["bash", "-euxo", "pipefail", "-c"], "python": ["python", "-c"]}.get(block.language)
    if command is None or not any(lines):
        return 0
    start = time.monotonic()
    status = subprocess.run([*command, "\n".join(lines)], cwd=folder, env=dict(environment), check=False).returncode
    print(f"README.md, line {block.line}: exit status {status} after {time.monotonic() - start:.0f} s", flush=True)
    return status


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--without", action="append", default=[], metavar="LINE", help="leave this line out; repeatable")
    arguments = parser.parse_args()
    checkout = arguments.checkout.resolve()
    for name, source in ASKED_FOR.items():
        shutil.copyfile(checkout / source, checkout / name)
    with tempfile.TemporaryDirectory(prefix="edgeflow-readme-") as work:
        subprocess.run([sys.executable, "-m", "venv", work], check=True)
        environment = {
            **os.environ,
            "PATH": f"{work}/bin{os.pathsep}{os.environ['PATH']}",
            "PIP_CONSTRAINT": str(checkout / "constraints.txt"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        for block in blocks((checkout / "README.md").read_text()):
            status = run(block, checkout, environment, arguments.without)
            if status:
                return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
