"""Inputs that would end the process, recurse without end or never end: one line each, and nothing left behind."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import Terminal
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import Graph

import edgeflow
from edgeflow.hw.errors import ModelError
from edgeflow.sw.files.build import CANONICAL_MODEL
from edgeflow.sw.files.snapshot import MANIFEST
from edgeflow.sw.importer.integer_divisors import check_computed_divisors


def plain(folder: Path) -> Path:
    g = Graph(17)
    g.output(g.node("MatMul", g.input("x", ["n", 4, 8]), g.weight(8, 8)))
    return g.save(folder)


def dividing(folder: Path, op: str, dividend: int, divisor: int) -> Path:
    g = Graph(17)
    x = g.input("x", ["n", 4, 8])
    shape = g.node(op, g.constant(np.array([dividend, 4, 8])), g.constant(np.array([divisor, 1, 1])))
    g.output(g.node("MatMul", g.node("Reshape", x, shape), g.weight(8, 8)))
    return g.save(folder)


@pytest.mark.parametrize("op", ["Div", "Mod"])
@pytest.mark.parametrize(
    ("dividend", "divisor", "reason"), [(4, 0, "divides integers by 0"), (-(2**63), -1, "divided by -1 is no number of int64")]
)
def test_divisions_that_processors_trap(
    op: str, dividend: int, divisor: int, reason: str, tmp_path: Path, terminal: Terminal
) -> None:
    assert reason in terminal.refused("check", dividing(tmp_path, op, dividend, divisor))


def computing(folder: Path, op: str, divisor: str) -> Path:
    """Integers divided by what an input, a constant computation, or a branch says, or by a size of an input."""
    g = Graph(17)
    x, ids = g.input("x", ["n", 4, 8]), g.input("ids", ["n", 4], TensorProto.INT64)
    by = {
        "input": lambda: ids,
        "function of the input": lambda: g.node("Sub", g.node("Abs", ids), g.constant(np.array([1]))),
        "constants": lambda: g.node("Sub", g.constant(np.array([1])), g.constant(np.array([1]))),
        "a size": lambda: g.node("Gather", g.node("Shape", ids), g.constant(np.array(1))),
        "less than a size": lambda: g.node(
            "Sub", g.node("Gather", g.node("Shape", ids), g.constant(np.array(1))), g.constant(np.array(4))
        ),
    }[divisor]()
    quotient = g.node("Cast", g.node(op, g.constant(np.array([[7, 7, 7, 7]])), by), to=TensorProto.FLOAT)
    g.output(g.node("MatMul", g.node("Add", x, g.node("Unsqueeze", quotient, g.constant(np.array([2])))), g.weight(8, 8)))
    return g.save(folder)


@pytest.mark.parametrize("op", ["Div", "Mod"])
@pytest.mark.parametrize("divisor", ["input", "function of the input", "constants", "less than a size"])
def test_integers_divided_by_computed_ones(op: str, divisor: str, tmp_path: Path, terminal: Terminal) -> None:
    file = computing(tmp_path, op, divisor)
    told = terminal.refused("compile", file, "-o", tmp_path / "b")
    assert f"{file}: node " in told
    assert f"({op}): it divides integers by " in told
    assert "is computed and might be 0" in told


@pytest.mark.parametrize("op", ["Div", "Mod"])
def test_computed_integers_divided_by_minus_one(op: str, tmp_path: Path, terminal: Terminal) -> None:
    g = Graph(17)
    x, ids = g.input("x", ["n", 4, 8]), g.input("ids", ["n", 4, 1], TensorProto.INT64)
    quotient = g.node(op, ids, g.constant(np.array([-1])))
    g.output(g.node("MatMul", g.node("Add", x, g.node("Cast", quotient, to=TensorProto.FLOAT)), g.weight(8, 8)))
    assert f"({op}): it divides computed integers by -1" in terminal.refused("check", g.save(tmp_path))


@pytest.mark.parametrize("divisor", [{"value_int": 0}, {"value_ints": [1, 0]}])
def test_constants_of_integers_are_divisors_too(divisor: dict[str, Any], tmp_path: Path, terminal: Terminal) -> None:
    g = Graph(17)
    x, ids = g.input("x", ["n", 2, 8]), g.input("ids", ["n", 2], TensorProto.INT64)
    quotient = g.node("Cast", g.node("Div", ids, g.node("Constant", **divisor)), to=TensorProto.FLOAT)
    g.output(g.node("MatMul", g.node("Add", x, g.node("Unsqueeze", quotient, g.constant(np.array([2])))), g.weight(8, 8)))
    assert "(Div): it divides integers by 0" in terminal.refused("check", g.save(tmp_path))


def test_divisors_in_other_files(tmp_path: Path, terminal: Terminal) -> None:
    file = dividing(tmp_path, "Div", 4, 0)
    proto = onnx.load(file)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    onnx.save(proto, file, save_as_external_data=True, size_threshold=0, location="weights")
    assert "it divides integers by 0" in terminal.refused("check", file)


def test_sizes_of_inputs_are_positive_divisors(tmp_path: Path) -> None:
    assert edgeflow.check(computing(tmp_path, "Div", "a size")).compiles


def test_divisions_of_floats_and_in_branches(tmp_path: Path) -> None:
    """Floats may be divided by anything; a division in a branch is one, too, and weights in other files are constants."""
    g = Graph(17)
    x = g.input("x", ["n", 4, 8])
    g.output(g.node("MatMul", g.node("Div", x, g.node("Exp", x)), g.weight(8, 8)))
    proto = onnx.load(g.save(tmp_path))
    check_computed_divisors(tmp_path, proto)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 4])
    proto.graph.input.append(ids)
    divided = helper.make_node("Div", ["ids", "ids"], ["q"], name="inner")
    branch = helper.make_graph([divided], "branch", [], [helper.make_tensor_value_info("q", TensorProto.INT64, None)])
    truth = helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
    proto.graph.node.extend([truth, helper.make_node("If", ["yes"], ["r"], then_branch=branch, else_branch=branch)])
    with pytest.raises(ModelError, match=r"node 'inner' \(Div\): it divides integers by 'ids'"):
        check_computed_divisors(tmp_path, proto)


def test_attributes_that_are_divided_by(tmp_path: Path, terminal: Terminal) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 8])
    node = helper.make_node("Attention", ["x", "x", "x"], ["y"], name="a", q_num_heads=0, kv_num_heads=-1)
    graph = helper.make_graph([node], "g", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10), tmp_path / "m.onnx")
    told = terminal.refused("check", tmp_path / "m.onnx")
    assert "node 'a' (Attention): its kv_num_heads must be positive, not -1" in told


def test_places_of_a_huge_constant(tmp_path: Path, terminal: Terminal) -> None:
    g = Graph(17)
    x = g.input("x", ["n", 4, 8])
    value = helper.make_tensor("v", TensorProto.UINT8, [1], [1])
    huge = g.node("ConstantOfShape", g.constant(np.array([500_000_000])), value=value)
    total = g.node("ReduceSum", g.node("Cast", g.node("NonZero", huge), to=TensorProto.FLOAT), keepdims=0)
    g.output(g.node("MatMul", g.node("Add", x, total), g.weight(8, 8)))
    told = terminal.refused("compile", g.save(tmp_path), "-o", tmp_path / "b")
    assert "(NonZero): the places of a tensor of shape [500000000] may take 4,000,000,000 bytes" in " ".join(told.split())


def test_a_shape_of_booleans(tmp_path: Path, terminal: Terminal) -> None:
    header = io.BytesIO()
    np.lib.format.write_array(header, np.zeros((1, 4, 8), np.float32))
    raw = header.getvalue().replace(b"(1, 4, 8), }   ", b"(True,4,8),}   ")
    assert b"True" in raw
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", raw)
    told = terminal.refused("compile", plain(tmp_path), "--calib", tmp_path / "x.npz", "-o", tmp_path / "b")
    assert "has shape (True, 4, 8), whose sizes must be integers" in told
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("option", ["--config", "--board", "--overlay", "--bits"])
def test_nesting_without_end(option: str, tmp_path: Path, terminal: Terminal) -> None:
    toml = option in ("--config", "--board")
    file = tmp_path / ("deep.toml" if toml else "deep.json")
    file.write_text("a = " + "[" * 5_000 if toml else "[" * 200_000)
    told = terminal.refused("compile", plain(tmp_path), option, file, "-o", tmp_path / "b")
    assert file.name in told
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("option", "reason"),
    [("--calib", "device"), ("--config", "device"), ("--board", "device"), ("--overlay", "device"), ("--bits", "no such")],
)
def test_devices_are_no_files(option: str, reason: str, tmp_path: Path, terminal: Terminal) -> None:
    assert reason in terminal.refused("compile", plain(tmp_path), option, "/dev/zero", "-o", tmp_path / "b")


def test_a_device_is_no_model(terminal: Terminal) -> None:
    assert terminal.refused("check", "/dev/zero") == "/dev/zero is a device, not a file: give the path of a file"


@pytest.mark.parametrize("command", ["compile", "explore"])
def test_clocks_beyond_reason(command: str, tmp_path: Path, terminal: Terminal) -> None:
    told = terminal.refused(command, plain(tmp_path), "--clock", "1e308", "-o", tmp_path / "b")
    assert "clock 1e+308 MHz is not possible: give 0.01 to 10,000 MHz" in told


@pytest.mark.parametrize("command", ["check", "compile", "explore"])
def test_what_onnxruntime_refuses_names_the_file_and_the_node(command: str, tmp_path: Path, terminal: Terminal) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.UINT64, ["n", 4, 8]) for name in "xy")
    weight = numpy_helper.from_array(np.ones((8, 8), np.uint64), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], "g", [x], [y], [weight])
    file = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), file)
    told = terminal.refused(command, file, *(() if command == "check" else ("-o", tmp_path / "b")))
    assert told.startswith(f"{file}: onnxruntime cannot load the model: ")
    assert "(product)" in told


@pytest.mark.parametrize("words", [("verify",), ("export", "-o", "q.onnx")])
def test_a_foreign_model_in_a_build(
    words: tuple[str, ...], tiny_build: Path, tmp_path: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its digest is right, and it is still no canonical model: the message names the file and the node."""
    monkeypatch.chdir(tmp_path)
    own = onnx.load(tiny_build / CANONICAL_MODEL)
    own.graph.node[-1].input[0] = "nothing"
    for content, reason in (
        (plain(tmp_path).read_bytes(), "(MatMul) is of no operator"),
        (own.SerializeToString(), "reads 'nothing'"),
    ):
        build = tmp_path / "build"
        shutil.copytree(tiny_build, build)
        (build / CANONICAL_MODEL).write_bytes(content)
        manifest = json.loads((build / MANIFEST).read_text())
        manifest["files"][CANONICAL_MODEL] = hashlib.sha256(content).hexdigest()
        (build / MANIFEST).write_text(json.dumps(manifest))
        told = terminal.refused(words[0], build, *words[1:])
        assert told.startswith(f"{build / CANONICAL_MODEL} is not this build's: node ")
        assert reason in told
        shutil.rmtree(build)


def outer(folder: Path) -> Path:
    g = Graph(17)
    x = g.node("MatMul", g.input("x", ["n", 4, 8]), g.weight(8, 8))
    for _ in range(70):
        x = g.node("Unsqueeze", x, g.constant(np.array([1])))
    g.output(x)
    return g.save(folder)


def unmade_output(folder: Path) -> Path:
    model = onnx.load(plain(folder))
    del model.graph.output[:]
    model.graph.output.append(model.graph.input[0])
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def named(folder: Path, name: str) -> Path:
    model = onnx.load(plain(folder))
    old, model.graph.input[0].name = model.graph.input[0].name, name
    for node in model.graph.node:
        node.input[:] = [name if entry == old else entry for entry in node.input]
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (outer, r"tensor '.*' has 65 axes, more than 64; reshape it"),
        (unmade_output, "every output is an input of the model, which computes nothing"),
        (lambda folder: named(folder, "x" * 100_000), r"has 100000 characters, more than 10000; rename it"),
        (lambda folder: named(folder, "x\0"), r"has a null character; rename it"),
    ],
    ids=["axes", "output", "long name", "null"],
)
@pytest.mark.parametrize("command", ["compile", "check"])
def test_models_that_no_array_or_file_holds(make: Any, message: str, command: str, tmp_path: Path, terminal: Terminal) -> None:
    place: tuple[object, ...] = ("-o", tmp_path / "build") if command == "compile" else ()
    assert re.search(message, terminal.refused(command, make(tmp_path), *place))
    assert not (tmp_path / "build").exists()


def test_an_archive_of_an_unknown_version(tmp_path: Path, terminal: Terminal) -> None:
    model, data = plain(tmp_path), tmp_path / "x.npz"
    np.savez(data, x=np.zeros((4, 4, 8), np.float32))
    content = bytearray(data.read_bytes())
    place = content.rindex(b"PK\x01\x02")
    content[place + 6 : place + 8] = b"\xff\xff"
    data.write_bytes(bytes(content))
    told = terminal.refused("compile", model, "--calib", data, "-o", tmp_path / "build")
    assert "x.npz: zip file version 25.5; write it again" in told


@pytest.mark.parametrize("digits", [400, 5000])
def test_numbers_of_hundreds_of_digits(digits: int, tmp_path: Path, terminal: Terminal) -> None:
    model, board, run = plain(tmp_path), tmp_path / "big.toml", tmp_path / "run.toml"
    shipped = (Path(edgeflow.hw.__file__).parent / "boards" / "kv260.toml").read_text()
    board.write_text(re.sub(r"(?m)^dsp = .*$", f"dsp = {'9' * digits}", shipped))
    assert "big.toml: the board file is " in terminal.refused("compile", model, "--board", board, "-o", tmp_path / "build")
    run.write_text(f'model = "{model}"\n[quantization]\nweight_bits = {"9" * digits}\n')
    assert "run.toml" in terminal.refused("compile", "--config", run, "-o", tmp_path / "build")


def test_a_path_with_a_null_character(tmp_path: Path, terminal: Terminal) -> None:
    run = tmp_path / "run.toml"
    run.write_text(f'model = "{plain(tmp_path)}"\noutput = "\\u0000"\n')
    assert "run.toml: output has a null character" in terminal.refused("compile", "--config", run)


def header(shape: str) -> str:
    return f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    "text",
    [
        header("(0, 1180591620717411303424)"),
        header(f"(0, 0x{'f' * 5000})"),
        "{" * 4000,
        "{[1]: 2}",
        "-" * 9000,
        header("(2, 4)") + "\0",
    ],
    ids=["size", "digits", "brackets", "key", "signs", "null"],
)
def test_headers_of_arrays_that_python_cannot_take(text: str, tmp_path: Path, terminal: Terminal) -> None:
    data = tmp_path / "x.npz"
    content = text.encode() + b"\n"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x02\x00" + len(content).to_bytes(4, "little") + content)
    told = terminal.refused("compile", plain(tmp_path), "--calib", data, "-o", tmp_path / "build")
    assert "x.npz" in told
    assert "memory" not in told


def test_names_of_arrays_that_are_no_text(tmp_path: Path, terminal: Terminal) -> None:
    data = tmp_path / "x.npz"
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("\u00e4\u00e4.npy", b"")
    data.write_bytes(data.read_bytes().replace("\u00e4\u00e4".encode(), b"\xff\xff\xff\xff"))
    assert "x.npz" in terminal.refused("compile", plain(tmp_path), "--calib", data, "-o", tmp_path / "build")


def test_a_weight_of_no_columns(tmp_path: Path, terminal: Terminal) -> None:
    g = Graph(17)
    g.output(g.node("MatMul", g.input("x", ["n", 4, 8]), g.constant(np.zeros((8, 0), np.float32))))
    assert "which holds nothing" in terminal.refused("check", g.save(tmp_path))


@pytest.mark.parametrize("key", ["edgeflow.exact", "edgeflow.format.0"])
def test_notes_of_nodes_that_are_nested_without_end(key: str, tmp_path: Path, terminal: Terminal) -> None:
    model = onnx.load(plain(tmp_path))
    helper.set_model_props(model, {})
    for node in model.graph.node:
        node.metadata_props.add(key=key, value="[" * 100_000)
    onnx.save(model, tmp_path / "model.onnx")
    outcome = terminal.run("check", tmp_path / "model.onnx")
    assert outcome.status in (0, 2), outcome.err


def test_a_limit_of_the_cache_without_end(terminal: Terminal) -> None:
    assert "must be a size" in terminal.refused("cache", "--limit", f"{'9' * 400}GB")
