"""The shipped example and the scripts that use it run as the README says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import edgeflow
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.sim import csim
from edgeflow.sim.counting import count_differences

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "fashion_mnist_vit"


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What examples/quickstart.py prints, and the folder where it ran."""
    folder = tmp_path_factory.mktemp("quickstart")
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "quickstart.py")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout, folder


def test_quickstart_compiles_verifies_and_reports(quickstart: tuple[str, Path]) -> None:
    text, folder = quickstart
    words = re.search(r"([\d,]+) words compared, 0 differ", text)
    assert words
    assert int(words[1].replace(",", "")) > 100_000
    assert (folder / "builds" / "quickstart" / "report.html").is_file()
    assert [p.name for p in folder.rglob(".edgeflow-*")] == []


def test_every_instruction_of_the_quickstart_runs_the_predicted_iterations(quickstart: tuple[str, Path]) -> None:
    build = edgeflow.open_build(quickstart[1] / "builds" / "quickstart")
    words = encode_inputs(build.graph, build.golden())
    library = csim.build(build.folder / "hls", count=True)
    assert count_differences(build.program, library, {name: value[0] for name, value in words.items()}) == []


def test_quickstart_is_as_accurate_as_the_float_model(quickstart: tuple[str, Path]) -> None:
    accuracy = re.search(r"top-1 on 1000 test images: ([\d.]+)%", quickstart[0])
    assert accuracy
    recorded = json.loads((EXAMPLE / "metrics.json").read_text())["float_top1_on_test_npz"]
    assert float(accuracy[1]) >= 100 * recorded - 1.0  # ten of a thousand images


def test_the_readme_shows_the_same_lines() -> None:
    """The example in the README is quickstart.py up to its printing."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code
    lines = [line for line in code[1].splitlines() if line.startswith(("build =", "verification =", "logits =", "cycles ="))]
    script = (ROOT / "examples" / "quickstart.py").read_text().splitlines()
    assert len(lines) == 4
    assert all(line in script for line in lines)


def test_the_example_is_small() -> None:
    assert (EXAMPLE / "model.onnx").stat().st_size < 3_000_000


def test_the_notebook_compiles_a_torch_module_in_ten_lines(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    script = ROOT / "examples" / "notebook.py"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith('"""')]
    assert len(lines) <= 10
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    printed = re.fullmatch(r"True [\d.e-]+\nlargest error: ([\d.]+)\n", done.stdout)
    assert printed, done.stdout
    assert float(printed[1]) < 0.1


def test_the_example_is_compiled_from_its_torch_module(quickstart: tuple[str, Path], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from edgeflow.models.vit import VisionTransformer, ViTConfig

    graph = onnx.load(EXAMPLE / "model.onnx").graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:  # weights of linear layers have the layer's path in the node's name, and are transposed
        if node.op_type == "MatMul" and node.input[1] in weights:
            path = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{path}.weight"] = weights[node.input[1]].T
    module = VisionTransformer(ViTConfig())
    module.load_state_dict({name: torch.tensor(weights[name]) for name in module.state_dict()})
    test = np.load(EXAMPLE / "test.npz")
    built = quickstart[1] / "builds" / "quickstart"
    build = edgeflow.compile(
        module,
        example_inputs=torch.zeros(1, 1, 28, 28),
        calibration=np.load(EXAMPLE / "calibration.npz")["image"],
        test=test["image"],
        test_labels=test["label"],
        overlay=built / "overlay.json",
        output=tmp_path / "b",
    )
    accuracy = build.report["accuracy"]
    recorded = json.loads((EXAMPLE / "metrics.json").read_text())["float_top1_on_test_npz"]
    assert accuracy["float_top1_accuracy"] == pytest.approx(recorded, abs=0.001)
    assert accuracy["top1_accuracy"] >= recorded - 0.01
    assert build.manifest["reference"]["kind"] == "original"
    graphs = (build.graph, edgeflow.open_build(built).graph)
    first, second = ([tensor.qtype.bits for tensor in graph.tensors.values()] for graph in graphs)
    assert first == second
