"""A tiny transformer, its data and its build, for the tests of the command line and of the Python API."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

TOKENS, WIDTH, HEADS, CLASSES = 5, 16, 2, 4


def tiny_transformer(*, seed: int = 0) -> onnx.ModelProto:
    """One pre-norm block: LayerNorm, two-head attention, residual, LayerNorm, GELU, residual, mean over tokens, four classes."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, value: NDArray[Any]) -> str:
        weights.append(numpy_helper.from_array(value, name))
        return name

    def node(kind: str, name: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node_{name}", **attributes))
        return name

    def linear(name: str, x: str, inner: int, outer: int) -> str:
        weight = constant(f"{name}_weight", rng.normal(0, inner**-0.5, (inner, outer)).astype(np.float32))
        bias = constant(f"{name}_bias", rng.normal(0, 0.1, outer).astype(np.float32))
        return node("Add", name, node("MatMul", f"{name}_product", x, weight), bias)

    def norm(name: str, x: str) -> str:
        scale = constant(f"{name}_scale", rng.uniform(0.8, 1.2, WIDTH).astype(np.float32))
        bias = constant(f"{name}_bias", rng.normal(0, 0.1, WIDTH).astype(np.float32))
        return node("LayerNormalization", name, x, scale, bias, axis=-1, epsilon=1e-5)

    def heads(name: str, x: str, order: list[int]) -> str:
        return node("Transpose", f"{name}_heads", node("Reshape", f"{name}_split", x, "head_shape"), perm=order)

    constant("head_shape", np.array([0, TOKENS, HEADS, WIDTH // HEADS]))
    constant("flat_shape", np.array([0, TOKENS, WIDTH]))
    constant("head_scale", np.array((WIDTH // HEADS) ** -0.5, dtype=np.float32))
    first = norm("norm1", "tokens")
    query, key, value = (linear(name, first, WIDTH, WIDTH) for name in ("query", "key", "value"))
    product = node("MatMul", "scores", heads("query", query, [0, 2, 1, 3]), heads("key", key, [0, 2, 3, 1]))
    share = node("Softmax", "share", node("Mul", "scaled", product, "head_scale"), axis=-1)
    mixed = node("Transpose", "mixed", node("MatMul", "weighted", share, heads("value", value, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    attended = linear("projection", node("Reshape", "joined", mixed, "flat_shape"), WIDTH, WIDTH)
    middle = node("Add", "residual1", "tokens", attended)
    wide = linear("expand", norm("norm2", middle), WIDTH, 2 * WIDTH)
    scaled = node("Div", "gelu_scaled", wide, constant("root2", np.array(2**0.5, dtype=np.float32)))
    erf = node("Add", "gelu_shifted", node("Erf", "gelu_erf", scaled), constant("one", np.array(1, dtype=np.float32)))
    gelu = node("Mul", "gelu", node("Mul", "gelu_twice", wide, erf), constant("half", np.array(0.5, dtype=np.float32)))
    last = node("Add", "residual2", middle, linear("contract", gelu, 2 * WIDTH, WIDTH))
    pooled = node("ReduceMean", "pooled", last, axes=[1], keepdims=0)
    linear("logits", pooled, WIDTH, CLASSES)
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["batch", TOKENS, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def tiny_inputs(samples: int = 16, *, seed: int = 1) -> NDArray[np.float32]:
    """Inputs of the tiny transformer, ``(samples, TOKENS, WIDTH)``."""
    return np.random.default_rng(seed).normal(0, 1, (samples, TOKENS, WIDTH)).astype(np.float32)


@dataclass(frozen=True)
class Tiny:
    """Files of the tiny transformer."""

    model: Path
    calibration: Path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    """The tiny transformer and its calibration data on disk."""
    folder = tmp_path_factory.mktemp("tiny")
    onnx.save(tiny_transformer(), folder / "tiny.onnx")
    np.savez(folder / "calibration.npz", tokens=tiny_inputs())
    return Tiny(folder / "tiny.onnx", folder / "calibration.npz")


@pytest.fixture(scope="session")
def tiny_build(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good build of it; tests read it and leave it alone."""
    from edgeflow.sw.cli.main import main

    folder = tmp_path_factory.mktemp("tiny_build") / "build"
    assert main(["--quiet", "compile", str(tiny.model), "--calib", str(tiny.calibration), "-o", str(folder)]) == 0
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and what it wrote."""

    status: int
    out: str
    err: str


class Terminal:
    """Runs the command line in this process, and holds refusals to its manners."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def run(self, *arguments: object) -> Outcome:
        from edgeflow.sw.cli.main import main

        self._capsys.readouterr()
        status = main([str(a) for a in arguments])
        return Outcome(status, *self._capsys.readouterr())

    def refused(self, *arguments: object, status: int = 2) -> str:
        """The message of a command that must fail: one line on standard error, nothing else."""
        outcome = self.run(*arguments)
        assert (outcome.status, outcome.out) == (status, "")
        assert outcome.err.startswith("error: ")
        assert outcome.err.count("\n") == 1
        assert outcome.err.endswith("\n")
        assert "Traceback" not in outcome.err
        assert "internal error" not in outcome.err
        return outcome.err.removeprefix("error: ").rstrip("\n")


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    """The command line."""
    return Terminal(capsys)


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder: relative path to contents (None for folders)."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


@pytest.fixture
def workplace(tiny_build: Path, tmp_path: Path) -> Iterator[Path]:
    """A folder with a good build in ``build``; what is there when the test starts must be there, unchanged, when it ends."""
    shutil.copytree(tiny_build, tmp_path / "build")
    before = snapshot(tmp_path)
    yield tmp_path
    after = snapshot(tmp_path)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after if ".edgeflow-" in name]
