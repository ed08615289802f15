"""One tensor's way from the file to the word in memory, as the script of that name prints it."""

from __future__ import annotations

from pathlib import Path

import follow_tensor
import pytest

import edgeflow
from edgeflow.hw.errors import InputError
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.sim.executor import Executor


def test_every_stage_is_told_and_the_word_is_the_executors(tiny_build: Path) -> None:
    build = edgeflow.open_build(tiny_build)
    told = dict(follow_tensor.follow(build, None, 2, 3))
    stages = "the file, canonical, calibration, format, integer node, instruction, memory, the word, its bytes"
    assert ", ".join(told) == stages
    assert told["canonical"].startswith("Gelu, by ")
    tensor = next(node.output for node in build.graph.nodes if node.attributes.get("has_table"))
    golden = {key: array[:1] for key, array in build.golden().items()}
    word = int(Executor(build.graph).run_all(encode_inputs(build.graph, golden), [tensor])[tensor][0, 2, 3])
    assert f" {word} in the integer network" in told["the word"]


def test_a_tensor_that_is_not_there_is_one_line(tiny_build: Path) -> None:
    with pytest.raises(InputError, match="the model has no tensor 'nothing'"):
        list(follow_tensor.follow(edgeflow.open_build(tiny_build), "nothing", 0, 0))
