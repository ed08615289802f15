"""Emitted C++ as optimized LLVM IR: one function, everything inlined, unrolled where a pragma says so and nowhere else."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import edgeflow.hw
from edgeflow.hw.errors import ToolchainError
from edgeflow.hw.schedule.layout import Layout, storage, take_apart
from edgeflow.hw.schedule.pragmas import Pragma, copy_sources
from edgeflow.hw.tools import run_tool

REMEDY = "the schedule of C++ needs clang and LLVM: run pip install 'edgeflow[schedule]'"
# WebAssembly passes and returns a struct of one number as that number; other targets split it into registers of theirs.
FLAGS = (
    *("-target", "wasm64-freestanding", "-std=c++14", "-S", "-emit-llvm", "-O1", "-Xclang", "-disable-llvm-passes"),
    *("-gline-tables-only", "-fno-discard-value-names", "-fno-sanitize=all", "-fno-exceptions", "-fno-rtti", "-fno-vectorize"),
    *("-fno-slp-vectorize", "-w", "-nostdinc", "-nostdinc++"),
)
MARK = re.compile(r"^(declare (?:void|zeroext i1|noundef zeroext i1|i1|noundef i1) @edgeflow_\w+\([^)]*\)).*$", re.MULTILINE)
OBJECT = re.compile(r"call void @edgeflow_object\(ptr noundef (.+?), i32 noundef (\d+), i32 noundef (-?\d+), i32 noundef (\d+), ")
FORGOTTEN = 512  # bytes up to which a variable is said to have no value where its scope begins; larger ones are memories
ODD = re.compile(r"^  (?:(%[\w.$-]+) = load|store) i(\d+)(.*)$")
ALLOCA = re.compile(r"^  (%[\w.$-]+) = alloca (.*), align \d+$")
START = re.compile(r"^  call void @llvm\.lifetime\.start\.p0\(ptr (%[\w.$-]+)\)")
DEFINE = re.compile(r"^define .*?@([\w.$]+)\(")
LOOP = re.compile(r"call void @edgeflow_loop\(i32 noundef (\d+)")
BASE = re.compile(r"^  (%[\w.$-]+) = getelementptr .*?, ptr (%[\w.$-]+|@[\w.$-]+|getelementptr \(.*?\)), ")
INLINE = ("always_inliner", "global_dead_code_eliminate")
REFERENCES = ("sroa", "simplify_cfg")  # so that every pointer is an object and a way into it
OPTIMIZE = (
    *("sroa", "sccp", "simplify_cfg", "loop_simplify", "lcssa", "loop_rotate", "loop_unroll"),
    *("sroa", "sccp", "simplify_cfg", "new_gvn", "sroa", "aggressive_dce", "dead_store_elimination", "simplify_cfg"),
    *("new_gvn", "aggressive_dce", "simplify_cfg"),
)


@dataclass(frozen=True)
class Compiled:
    """The module's text; the pragmas by number; by top function those that name an object, by the object's name in the text, and
    the numbers of those in functions that it reaches."""

    text: str
    pragmas: Sequence[Pragma]
    objects: Mapping[str, Mapping[str, Sequence[tuple[Pragma, int]]]]
    used: Mapping[str, frozenset[int]]


def compile_project(folder: Path, tops: Sequence[str]) -> Compiled:
    """Compile the files ``tops`` of a folder, each with a top function of its own, with everything that they include from there.

    Raises:
        ToolchainError: clang or LLVM is not installed, or the C++ does not compile.
    """
    if find_spec("ziglang") is None or find_spec("llvmlite") is None:
        missing = " and ".join(name for name in ("ziglang", "llvmlite") if find_spec(name) is None)
        raise ToolchainError(f"{REMEDY} ({missing} is missing)")
    headers = Path(edgeflow.hw.__file__).resolve().parent / "include" / "edgeflow" / "schedule"
    with TemporaryDirectory(prefix="edgeflow-schedule-") as name:
        work = Path(name)
        pragmas = copy_sources(folder, work)
        output = work / "module.ll"
        together = work / "every_top.cpp"
        together.write_text("".join(f'#include "{top}"\n' for top in tops), encoding="utf-8")
        include = [word for path in (work, work / "include", headers) for word in ("-I", str(path))]
        command = [sys.executable, "-m", "ziglang", "c++", *FLAGS, *include, str(together), "-o", str(output)]
        done = run_tool(command, REMEDY, seconds=300)
        if done.returncode or not output.is_file():
            lines = [line for line in done.stderr.splitlines() if "error:" in line] or done.stderr.splitlines()[-1:]
            first = lines[0].replace(str(work), str(folder)) if lines else f"exit status {done.returncode}"
            raise ToolchainError(f"{folder if len(tops) > 1 else folder / tops[0]} does not compile: {first}")
        module = output.read_text(encoding="utf-8")
    return _optimize(module, pragmas)


def _optimize(module: str, pragmas: Sequence[Pragma]) -> Compiled:
    module = re.sub(
        r'\b(noinline|optnone|optsize)\b|"target-(?:cpu|features)"="[^"]*"|^target triple = .*$', "", module, flags=re.MULTILINE
    )
    module = re.sub(r"^attributes #(\d+) = \{", r"attributes #\1 = { alwaysinline", module, flags=re.MULTILINE)
    module = _run(_whole(MARK.sub(_effects, module)), INLINE)
    text = take_apart(_run(_forget(module), REFERENCES))
    lines: list[str] = []
    objects: dict[str, dict[str, list[tuple[Pragma, int]]]] = {}
    used: dict[str, set[int]] = {}
    bases: dict[str, str] = {}
    function = ""
    for line in text.split("\n"):
        if (match := DEFINE.match(line)) is not None:
            function, bases = match.group(1), {}
        elif (match := BASE.match(line)) is not None:
            bases[match.group(1)] = match.group(2)
        elif (match := LOOP.search(line)) is not None:
            used.setdefault(function, set()).add(int(match.group(1)))
        match = OBJECT.search(line)
        if match is None:
            lines.append(line)
        else:
            root = match.group(1)
            while root in bases or not root.startswith(("%", "@")):
                root = bases.get(root) or re.findall(r"@[\w.$-]+", root)[0]
            named = (pragmas[int(match.group(2))], int(match.group(3)))
            objects.setdefault(function, {}).setdefault(root, []).append(named)
    reached = {name: frozenset(numbers) for name, numbers in used.items()}
    return Compiled(_run("\n".join(lines), OPTIMIZE), pragmas, objects, reached)


def _whole(module: str) -> str:
    """Loads and stores of odd widths take the whole container, as those of the language do: else the bits between have no
    value."""
    lines: list[str] = []
    for number, line in enumerate(module.split("\n")):
        match = ODD.match(line)
        bits = int(match.group(2)) if match is not None else 8
        whole = 8 * storage(bits)
        if match is None or bits == whole:
            lines.append(line)
        elif match.group(1):
            name, rest = match.group(1), match.group(3)
            lines += [f"  {name}.whole = load i{whole}{rest}", f"  {name} = trunc i{whole} {name}.whole to i{bits}"]
        else:
            value, rest = match.group(3).strip().split(",", 1)
            lines += [f"  %whole.{number} = zext i{bits} {value} to i{whole}", f"  store i{whole} %whole.{number},{rest}"]
    return "\n".join(lines)


def _forget(module: str) -> str:
    """A variable has no value where its scope begins: without that, one that is not always set seems to keep its last one."""
    layout = Layout(module)
    lines: list[str] = []
    kinds: dict[str, str] = {}
    for line in module.split("\n"):
        lines.append(line)
        if (match := ALLOCA.match(line)) is not None:
            kinds[match.group(1)] = match.group(2)
        elif (match := START.match(line)) is not None and layout.size(kinds.get(match.group(1), "[0 x i8]")) in range(
            1, FORGOTTEN + 1
        ):
            lines.append(f"  store {kinds[match.group(1)]} poison, ptr {match.group(1)}, align 1")
    return "\n".join(lines)


def _effects(match: re.Match[str]) -> str:
    """What a mark may touch: the element of its stream, and something that nothing else sees, so that it stays where it is."""
    declaration = match.group(1).replace("(ptr noundef", "(ptr noundef captures(none)")
    stream = "argmem: readwrite, " if "_pop" in declaration or "_push" in declaration else ""
    return f"{declaration} nounwind willreturn memory({stream}inaccessiblemem: readwrite)"


@cache
def _limits() -> None:
    """Loops unroll whole, however large, and none is peeled. LLVM takes each option once."""
    import llvmlite.binding as llvm

    llvm.set_option("", "-pragma-unroll-threshold=1000000000")
    llvm.set_option("", "-unroll-allow-peeling=false")


def _run(module: str, passes: Sequence[str]) -> str:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    _limits()
    try:
        parsed = llvm.parse_assembly(module)
    except RuntimeError as error:
        raise ToolchainError(f"{REMEDY}; the versions that are installed do not understand each other: {error}") from error
    machine = llvm.Target.from_default_triple().create_target_machine()
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    options.loop_unrolling = False
    builder = llvm.create_pass_builder(machine, options)
    for name in passes:
        manager = llvm.create_new_module_pass_manager()
        getattr(manager, f"add_{name}_pass")()
        manager.run(parsed, builder)
    return str(parsed)
