"""Inputs that would end the process, recurse without end or never end: one line each, and nothing left behind."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import Terminal
from onnx import TensorProto, helper
from onnx_graphs import Graph


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
