"""The shape of the code base itself: import direction, light imports, nothing torch-bound at the top."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ALLOWED = {
    "hw": {"hw"},
    "sim": {"hw", "sim"},
    "quant": {"hw", "sim", "quant"},
    "sw": {"hw", "sim", "quant", "sw"},
    "models": {"hw", "models"},
}
# What stands in sw/ and in quant/, lowest first: each imports those before it.
FLOORS = {
    "sw": ("files", "rewrite", "importer", "measure", "compiler", "export", "search", "report", "flow", "cli"),
    "quant": ("nodes", "formats", "integers", "canonical", "convert", "techniques", "ptq"),
}
# The modules of sw/compiler/, lowest first: each imports those before it.
COMPILER = (
    "wide_copies",
    "network",
    "storage",
    "row_blocks",
    "lifetimes",
    "placement",
    "weight_image",
    "instructions",
    "schedule",
    "memory_map",
    "weight_prefetch",
    "lowering",
    "codegen",
    "overlay",
)
HEAVY = {"torch", "brevitas", "hls4ml", "pynq", "dask", "transformers"}
TORCH_ROOMS = {"models"}
# The network in training: its classes derive from torch's, and nothing imports them but the training itself, late.
TORCH_MODULES = {f"quant/techniques/qat/{name}.py" for name in ("network", "quantizers", "initialization")}


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported(path: Path, *, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "edgeflow"}
    return names


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_dependencies_point_one_way(room: str) -> None:
    files = modules(room)
    assert files
    for path in files:
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "edgeflow" and len(parts) > 1 and parts[1] in ALLOWED:
                assert parts[1] in ALLOWED[room], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("room", sorted(FLOORS))
def test_rooms_stand_on_one_another(room: str) -> None:
    """What lies in a folder imports only what lies in it or below."""
    floors = FLOORS[room]
    assert {p.relative_to(ROOT / room).parts[0].removesuffix(".py") for p in modules(room)} - {"__init__"} == set(floors)
    for path in modules(room):
        here = path.relative_to(ROOT / room).parts[0].removesuffix(".py")
        below = floors[: floors.index(here) + 1] if here in floors else ()
        for name in imported(path):
            parts = name.split(".")
            if parts[:2] == ["edgeflow", room] and len(parts) > 2:
                assert parts[2] in below, f"{path.relative_to(ROOT)} imports {name}, of a higher room"


@pytest.mark.parametrize("room", sorted(set(ALLOWED) - TORCH_ROOMS))
def test_extras_are_imported_only_where_they_are_used(room: str) -> None:
    for path in modules(room):
        if path.relative_to(ROOT).as_posix() in TORCH_MODULES:
            continue
        extras = {name.split(".")[0] for name in imported(path, top_level_only=True)} & HEAVY
        assert not extras, f"{path.relative_to(ROOT)} imports {extras} at its top"


def test_import_needs_no_torch_and_little_else() -> None:
    code = "import sys, edgeflow; print(*sorted({'torch', 'onnx', 'onnxruntime', 'matplotlib', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("room", sorted(set(ALLOWED) - TORCH_ROOMS))
def test_importing_a_module_loads_no_torch(room: str) -> None:
    late = {*TORCH_MODULES, "quant/techniques/qat/translate.py"}
    names = [
        path.relative_to(ROOT).with_suffix("").as_posix() for path in modules(room) if path.relative_to(ROOT).as_posix() not in late
    ]
    wanted = [f"edgeflow.{name.replace('/', '.').removesuffix('.__init__')}" for name in names]
    code = f"import importlib, sys; [importlib.import_module(n) for n in {wanted}]; print(*sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_public_names_exist() -> None:
    import edgeflow

    assert sorted(edgeflow.__all__) == list(edgeflow.__all__)
    for name in edgeflow.__all__:
        assert getattr(edgeflow, name) is not None


def test_modules_stay_short() -> None:
    long = {str(p.relative_to(ROOT)): n for room in ALLOWED for p in modules(room) if (n := len(p.read_text().splitlines())) > 600}
    assert not long


def test_array_types_are_named_once() -> None:
    aliases = {"Array", "IntArray", "Real", "Arrays"}
    for room in ALLOWED:
        for path in modules(room):
            if path != ROOT / "hw/arrays.py":
                defined = {
                    target.id
                    for node in ast.walk(ast.parse(path.read_text()))
                    if isinstance(node, ast.Assign)
                    for target in node.targets
                    if isinstance(target, ast.Name)
                }
                assert not defined & aliases, f"{path.relative_to(ROOT)} defines {defined & aliases}: import it from hw/arrays.py"


def test_onnxruntime_is_opened_in_one_place() -> None:
    opened = {
        path.relative_to(ROOT).as_posix()
        for room in set(ALLOWED) - {"models"}
        for path in modules(room)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "InferenceSession"
    }
    assert opened == {"quant/canonical/session.py"}


def named(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of every variable, argument, attribute, function and class that a module defines."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(attr=name, ctx=ast.Store())
                | ast.arg(arg=name)
                | ast.FunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.ExceptHandler(name=str(name))
                | ast.MatchAs(name=str(name))
            ):
                yield node.lineno, name


@pytest.mark.parametrize("folder", [*ALLOWED, "edgeflow", "scripts", "examples", "tests"])
def test_names_say_what_things_are(folder: str) -> None:
    """Not that they were found, made or given."""
    places = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in modules(folder)
        for line, name in named(ast.parse(path.read_text()))
        if name.strip("_").lower() in {"found", "made", "given"}
    ]
    assert places == []


def test_every_kind_of_name_is_looked_at() -> None:
    text = """
class Made:
    given: int
def found(a, *given, made=None):
    with open(a) as found: self.made = [b for given in found]
    try: (made := a)
    except OSError as given: pass
    match a:
        case [found, *rest]: pass
lambda found: a
"""
    names = [name.lower() for _, name in named(ast.parse(text))]
    assert [names.count(name) for name in ("found", "made", "given")] == [4, 4, 4]
