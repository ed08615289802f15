"""The whole accelerator in Verilator: the module with its streams and cores, and the C++ of its components, make the words of the
executor."""

from __future__ import annotations

import numpy as np
import pytest
from accelerator_bench import AcceleratorBench
from array_networks import attending, mlp, stream

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.ops import instruction_layouts
from edgeflow.sim.executor import Executor
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

SMALLEST = Architecture(
    pi=4,
    po=4,
    epilogue=2,
    vector=2,
    axi_bits=32,
    max_channels=128,
    max_tokens=64,
    slots=512,
    narrow_lines=512,
    wide_lines=512,
    stream_lines=64,
    units=tuple(layout.name for layout in instruction_layouts()),
)
NETWORKS = {
    "two rows at once": mlp(7, 32, 20, 4, 4),
    "normalization beside products": stream(5, 64, 80),
    "attention": attending(13, 2, 16),
    "more rows than chunks wait of": stream(9, 128, 64),
}


@pytest.fixture(scope="module")
def accelerator(tmp_path_factory: pytest.TempPathFactory) -> AcceleratorBench:
    return AcceleratorBench(SMALLEST, tmp_path_factory.mktemp("accelerator"))


@pytest.mark.parametrize("name", NETWORKS)
def test_words_of_networks(name: str, accelerator: AcceleratorBench) -> None:
    """With components that are as fast as they can be, with some that rest now and then, and with pipelines that hold back what
    64 iterations have written while the next one waits: none may need what lies in one."""
    graph = NETWORKS[name]
    format = graph.tensors["x"].format
    x = np.random.default_rng(1).integers(format.minimum, format.maximum + 1, size=format.shape)
    expected = Executor(graph, threads=1).run({"x": x[None]})
    program = lower(Network(graph), accelerator.architecture)
    for seed, stalled in ((0, 0), (3, 0), (0, 64), (4, 64)):
        outputs, _ = accelerator.run(program, {"x": x}, seed, stalled)
        for output in graph.outputs:
            np.testing.assert_array_equal(outputs[output], expected[output][0], err_msg=f"seed {seed}, {stalled} iterations")
