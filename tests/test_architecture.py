"""The shape of the code base itself: import direction, light imports, nothing torch-bound at the top."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Collection
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
# The rooms of sw/, lowest first: each imports those before it.
FLOORS = ("files", "rewrite", "importer", "measure", "compiler", "export", "search", "report", "flow", "cli")
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


def test_the_rooms_of_sw_stand_on_one_another() -> None:
    assert {p.parent.name for p in (ROOT / "sw").glob("*/__init__.py")} == set(FLOORS)
    assert [p.name for p in (ROOT / "sw").glob("*.py")] == ["__init__.py"]
    for path in modules("sw"):
        if path.parent.name in FLOORS:
            below = FLOORS[: FLOORS.index(path.parent.name) + 1]
            for name in imported(path):
                parts = name.split(".")
                if parts[:2] == ["edgeflow", "sw"] and len(parts) > 2:
                    assert parts[2] in below, f"{path.relative_to(ROOT)} imports {name}, of a higher room"


def test_the_compiler_is_one_line_of_modules() -> None:
    files = {path.stem: path for path in modules("sw/compiler") if path.stem != "__init__"}
    assert sorted(files) == sorted(COMPILER)
    for name, path in files.items():
        below = {f"edgeflow.sw.compiler.{other}" for other in COMPILER[: COMPILER.index(name)]}
        higher = {m for m in imported(path) if m.startswith("edgeflow.sw.compiler")} - below
        assert not higher, f"sw/compiler/{name}.py imports {sorted(higher)}, of the same height or higher"


def test_operators_of_nodes_are_resolved_in_the_network_alone() -> None:
    resolving = {
        path.relative_to(ROOT).as_posix()
        for room in ("sw/compiler", "sw/search", "sw/flow")
        for path in modules(room)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edgeflow.hw.ops")
        if any(alias.name == "operator" for alias in node.names)
    }
    assert resolving == {"sw/compiler/network.py", "sw/compiler/wide_copies.py"}


def test_no_module_imports_itself_in_the_end() -> None:
    """Late imports, inside functions and for type checkers, count like all others."""
    paths = [*(ROOT / "edgeflow").glob("*.py"), *(path for room in ALLOWED for path in modules(room))]
    files = {dotted(path): path for path in paths}
    imports = {name: dependencies(path, files) - {name} for name, path in files.items()}
    assert sum(map(len, imports.values())) > len(files)
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"modules import each other: {' <- '.join(error.args[1])}")


def dotted(path: Path) -> str:
    """The name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "edgeflow" else ("edgeflow", *parts)).removesuffix(".__init__")


def dependencies(path: Path, known: Collection[str]) -> set[str]:
    """The modules among ``known`` that a file imports, wherever in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if name in known else node.module for name in submodules]
    return set(names) & set(known)


@pytest.mark.parametrize("room", sorted(set(ALLOWED) - TORCH_ROOMS))
def test_extras_are_imported_only_where_they_are_used(room: str) -> None:
    for path in modules(room):
        if path.relative_to(ROOT).as_posix() in TORCH_MODULES:
            continue
        found = {name.split(".")[0] for name in imported(path, top_level_only=True)} & HEAVY
        assert not found, f"{path.relative_to(ROOT)} imports {found} at its top"


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
                made = {
                    target.id
                    for node in ast.walk(ast.parse(path.read_text()))
                    if isinstance(node, ast.Assign)
                    for target in node.targets
                    if isinstance(target, ast.Name)
                }
                assert not made & aliases, f"{path.relative_to(ROOT)} defines {made & aliases}: import it from hw/arrays.py"


def test_onnxruntime_is_opened_in_one_place() -> None:
    opened = {
        path.relative_to(ROOT).as_posix()
        for room in set(ALLOWED) - {"models"}
        for path in modules(room)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "InferenceSession"
    }
    assert opened == {"quant/canonical/session.py"}
