"""Mutants of small models through compile and verify (scripts/fuzz_models.py runs more), and budgets of what small files may ask
for."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from fuzz_mutations import MUTATIONS, SPOILS
from fuzz_seeds import SEEDS, write
from fuzzing import KINDS, Outcome, draw, make
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import Graph

from edgeflow.hw.errors import InputError, ModelError, UnsupportedError
from edgeflow.sw.cli.memory import out_of_memory
from edgeflow.sw.importer import budgets, import_model, passes
from edgeflow.sw.importer.load import load


def test_a_mutant_is_its_number(tmp_path: Path) -> None:
    """Drawn twice it is the same file; every mutation of every kind is drawn."""
    for number in range(28):
        make(number, tmp_path / "a.onnx")
        make(number, tmp_path / "b.onnx")
        first, second = (tmp_path / "a.onnx").read_bytes(), (tmp_path / "b.onnx").read_bytes()
        assert first.replace(b"a.bin", b"b.bin") == second
    assert [draw(number)[0] for number in range(len(KINDS))] == list(KINDS)
    assert set(SPOILS) == {kind for kind, mutations in MUTATIONS.items() if not mutations}


@pytest.mark.parametrize("end", ["internal", "hang", "memory", "died", "differs", "folder", "message", "status 1"])
def test_what_counts_as_a_failure(end: str) -> None:
    assert Outcome(0, "nodes", "mlp", end).failed
    assert not Outcome(0, "nodes", "mlp", "compiled").failed
    assert not Outcome(0, "nodes", "mlp", "refused").failed


@pytest.mark.parametrize("kind", KINDS)
def test_mutations_of_every_kind_reach_the_importer(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first mutants of a kind one passes the checks of the file, is read, and is another model than its seed."""
    loaded: list[str] = []

    def watched(path: str) -> object:
        model = load(path)
        loaded.append(path)
        return model

    monkeypatch.setattr(passes, "load", watched)
    for number in range(KINDS.index(kind), 60 * len(KINDS), len(KINDS)):
        folder = tmp_path / str(number)
        folder.mkdir()
        seed = draw(number)[1]
        make(number, folder / "model.onnx")
        (folder / "seed").mkdir()
        write(SEEDS[seed](), folder / "seed" / "model.onnx", external=seed == "external data")
        if (folder / "model.onnx").read_bytes() == (folder / "seed" / "model.onnx").read_bytes():
            continue
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import_model(folder / "model.onnx")
        if loaded:
            return
    pytest.fail("no mutant of this kind is read as a model")


CHUNK = 250


@pytest.mark.parametrize("chunk", range(4))
def test_mutants_compile_or_are_refused(chunk: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """None ends in an internal error, hangs, takes more than 2 GB, differs or leaves half a folder."""
    file, script = tmp_path / "outcomes.json", Path(__file__).parents[2] / "scripts" / "fuzz_models.py"
    numbers = range(chunk * CHUNK, (chunk + 1) * CHUNK)
    cache = tmp_path_factory.getbasetemp().parent / "fuzz-cache"  # holds the compiled simulation, once for all chunks
    options = ["--first", numbers.start, "--count", CHUNK, "--workers", 1, "--cache", cache, "--json", file]
    run = subprocess.run([sys.executable, str(script), *map(str, options)], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    outcomes = [Outcome(**entry) for entry in json.loads(file.read_text())]
    assert sorted(outcome.number for outcome in outcomes) == list(numbers)
    assert not any(outcome.failed for outcome in outcomes)
    assert {outcome.kind for outcome in outcomes} == set(KINDS)
    for end, least in (("compiled", CHUNK // 10), ("refused", CHUNK // 10)):
        assert sum(outcome.loaded and outcome.end == end for outcome in outcomes) >= least, run.stdout


# Budgets


def calling(levels: int, folder: Path) -> Path:
    """A model of few bytes whose functions, written out, make 2^levels nodes."""
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("twice", 1)]
    functions = [helper.make_function("twice", "f0", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], imports)]
    for level in range(1, levels + 1):
        calls = [helper.make_node(f"f{level - 1}", [a], [b], domain="twice") for a, b in (("x", "h"), ("h", "y"))]
        functions.append(helper.make_function("twice", f"f{level}", ["x"], ["y"], calls, imports))
    node = helper.make_node(f"f{levels}", ["x"], ["y"], domain="twice")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in "xy"]
    graph = helper.make_graph([node], "twice", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=10), folder / "model.onnx")
    return folder / "model.onnx"


def test_functions_that_double(tmp_path: Path) -> None:
    path = calling(29, tmp_path)
    assert path.stat().st_size < 3000
    with pytest.raises(UnsupportedError, match=r"its functions, written out, make 536,870,912 nodes; at most 2,960 are supported"):
        import_model(path)


def test_functions_that_call_themselves(tmp_path: Path) -> None:
    path = calling(2, tmp_path)
    proto = onnx.load(path)
    proto.functions[0].node[0].domain, proto.functions[0].node[0].op_type = "twice", "f2"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"function 'f[012]' calls itself"):
        import_model(path)


def test_functions_deep_inside_one_another(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"more than {budgets.DEEPEST} deep"):
        import_model(calling(budgets.DEEPEST + 5, tmp_path))


@pytest.mark.parametrize("kind", ["ConstantOfShape", "Expand", "Tile", "Range", "Concat", "Add"])
def test_constants_of_gigabytes(kind: str, tmp_path: Path) -> None:
    """A few bytes that stand for 16 GB are refused before anything computes them."""
    g = Graph(17)
    x = g.input("x", ["n", 4])
    elements, one = 1 << 32, g.constant(np.zeros(1, np.float32))
    size = g.node("Mul", g.constant(np.array([1 << 16])), g.constant(np.array([1 << 16])))
    if kind == "ConstantOfShape":
        big = g.node(kind, size)
    elif kind == "Expand":
        big = g.node(kind, one, size)
    elif kind == "Tile":
        big = g.node(kind, one, g.constant(np.array([elements])))
    elif kind == "Range":
        big = g.node(kind, *(g.constant(np.float32(number)) for number in (0, elements, 1)))
    elif kind == "Concat":
        big = one
        for _ in range(32):
            big = g.node(kind, big, big, axis=0)
    else:
        big = g.node(kind, *(g.node("Expand", one, g.constant(np.array(shape))) for shape in ([1 << 16, 1], [1, 1 << 16])))
    g.output(g.node("Add", x, g.node("ReduceMax", big, keepdims=0)))
    with pytest.raises(UnsupportedError, match=rf"\({kind}\): a tensor of shape .* at most 512 MiB are supported"):
        import_model(g.save(tmp_path))


def test_a_large_table_may_be_computed(tmp_path: Path) -> None:
    """What the file's own tensors say in so many bytes is no bomb: the limit grows with them."""
    g = Graph(17)
    x = g.input("x", ["n", 8])
    table = g.constant(np.zeros((1 << 10, 8), np.float32), "table")
    assert numpy_helper.to_array(g.initializers[-1]).nbytes == 1 << 15
    row = g.node("Gather", g.node("Transpose", table, perm=[1, 0]), g.constant(np.array(3)), axis=1)
    g.output(g.node("MatMul", g.node("Add", x, row), g.weight(8, 3)))
    import_model(g.save(tmp_path))


def test_an_exception_in_its_own_context_ends_the_search_for_a_lack_of_memory() -> None:
    """As passes leave it that raise the cause of an error again."""
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert out_of_memory(first) is None
