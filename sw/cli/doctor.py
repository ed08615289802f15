"""``edgeflow doctor``: which packages, compilers and tools that EdgeFlow can use this machine has, what each is for and how to get
it."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflow.hw.errors import EdgeFlowError
from edgeflow.hw.tools import run_tool
from edgeflow.sw.cli.console import table

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

REQUIRED = (
    "numpy",
    "onnx",
    "onnxruntime",
    "onnx-ir",
    "onnxscript",
    "jinja2",
    "pydantic",
    "typer",
    "rich",
    "matplotlib",
    "numba",
    "threadpoolctl",
)
"""Distributions without which nothing works."""


@dataclass(frozen=True)
class Finding:
    """One thing looked for: whether it is there, its version or what is wrong, what it is for and how to get it."""

    name: str
    present: bool
    detail: str
    purpose: str
    remedy: str
    required: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON, where ``present`` is called ``found``."""
        fields = asdict(self)
        return {"name": fields.pop("name"), "found": fields.pop("present"), **fields}


def examine() -> list[Finding]:
    """Look for everything."""
    return [
        _python(),
        *(_package(name, "compiling, simulating and reporting", f"pip install {name}", required=True) for name in REQUIRED),
        _compiler(),
        _cache(),
        _headers(),
        _package("libclang", "checking that the HLS C++ can be synthesized", "pip install 'edgeflow[lint]'"),
        _package("ziglang", "scheduling the loops of the HLS C++", "pip install 'edgeflow[schedule]'"),
        _package("torch", "training the reference models", "pip install 'edgeflow[train]'"),
        _package("brevitas", "quantization-aware training", "pip install 'edgeflow[qat]'"),
        _tool("vitis_hls", "synthesizing the HLS C++", "install AMD Vitis HLS and source its settings64.sh"),
        _tool("vivado", "making a bitstream", "install AMD Vivado and source its settings64.sh"),
        _vnni(),
    ]


def draw(out: RichConsole, findings: list[Finding]) -> None:
    """One line for each finding."""
    rows = []
    for finding in findings:
        state = "ok" if finding.present else "MISSING" if finding.required else "absent"
        rows.append((state, finding.name, finding.detail, finding.purpose, "" if finding.present else finding.remedy))
    table(out, ("state", "what", "found", "for", "how to get it"), rows)


def _python() -> Finding:
    ok = sys.version_info >= (3, 11)
    return Finding("Python", ok, platform.python_version(), "running EdgeFlow", "install Python 3.11 or newer", required=True)


def _package(name: str, purpose: str, remedy: str, *, required: bool = False) -> Finding:
    """Look for a distribution without importing it."""
    try:
        return Finding(name, True, metadata.version(name), purpose, remedy, required)
    except metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", purpose, remedy, required)


def _tool(name: str, purpose: str, remedy: str) -> Finding:
    path = shutil.which(name)
    return Finding(name, path is not None, path or "not on PATH", purpose, remedy)


def _attempt(name: str, check: Callable[[], str], purpose: str, remedy: str, *, required: bool = False) -> Finding:
    try:
        return Finding(name, True, check(), purpose, remedy, required)
    except (EdgeFlowError, OSError) as error:
        return Finding(name, False, str(error), purpose, remedy, required)


def _compiler() -> Finding:
    def check() -> str:
        from edgeflow.sim.csim import compiler

        command = compiler()
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "probe.cpp"
            source.write_text('#include <cstdint>\nextern "C" int64_t probe() { return 42; }\n')
            build = [command, "-std=c++14", "-O1", "-fPIC", "-shared", "-o", str(source.with_suffix(".so")), str(source)]
            done = run_tool(build, "install g++", seconds=60)
            if done.returncode:
                raise OSError(f"{command} does not compile a small program: {done.stderr.strip().splitlines()[-1:]}")
        version = run_tool([command, "-dumpfullversion"], "install g++", seconds=60).stdout.strip()
        return f"{command} {version}"

    return _attempt("C++ compiler", check, "C simulation: verify, simulate --engine csim", "apt-get install g++")


def _headers() -> Finding:
    def check() -> str:
        from edgeflow.sim.headers import exact_include

        exact_include()
        return f"hls4ml {metadata.version('hls4ml')}"

    return _attempt("exact ap_int headers", check, "C simulation with --exact", "pip install 'edgeflow[exact]'")


def _cache() -> Finding:
    def check() -> str:
        from edgeflow.hw import cache

        root, places = cache.root(), [cache.folder(part) for part in cache.PARTS]
        if root is None or None in places:
            raise OSError(f"{root or 'no home folder'} cannot be used, or is another user's")
        with tempfile.TemporaryFile(dir=places[0]):
            return str(root)

    remedy = "make it writable and your own, or set EDGEFLOW_CACHE to a folder that is"
    return _attempt("cache folder", check, "keeping compiled C simulations and finished steps", remedy)


def _vnni() -> Finding:
    purpose = "onnxruntime's own 8-bit kernels; EdgeFlow does not need it"
    remedy = "without it onnxruntime's u8s8 products saturate: compare against its QDQ graph with optimisations off"
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return Finding("CPU VNNI", False, "unknown on this system", purpose, remedy)
    present = "vnni" in flags
    return Finding("CPU VNNI", present, "present" if present else "absent", purpose, remedy)
