"""The choice of an accelerator: against every accelerator of a small space, and what it leaves away."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import onnx
import pytest
from small_network import small_network

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import boards, load_board
from edgeflow.hw.errors import BoardError, UnsupportedError
from edgeflow.hw.fit import SHARE, Space, excess, known_resources
from edgeflow.hw.graph import Graph
from edgeflow.models.encoders import EncoderShape, encoder
from edgeflow.quant.config import QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.sw.calibration import random_inputs
from edgeflow.sw.configure import SLACK, Predicted, Quick, configure, scratch_sizes, search, shed, spaces, token_sizes
from edgeflow.sw.importer import import_model
from edgeflow.sw.lowering import lower

GRAPH = small_network()
BOARD = load_board("zcu102")
SHAPES = (
    EncoderShape(17, 24, 2, "patches", positions=True, class_token=True),
    EncoderShape(65, 32, 2, "linear", positions=True),
    EncoderShape(48, 64, 4, "ids", positions=True),
    EncoderShape(200, 32, 1, "linear", positions=False),
)


def network(shape: EncoderShape, folder: Path) -> Graph:
    """The integer graph of an encoder with random weights."""
    file = folder / "model.onnx"
    onnx.save(encoder(shape), file)
    model = import_model(file, dims={}, shapes={})
    return quantize(model, random_inputs(model, 2, 0), QuantizationConfig(rounding="nearest", input_correction=False)).graph


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_accelerator_of_the_space_runs_and_is_ranked(shape: EncoderShape, tmp_path: Path) -> None:
    graph = network(shape, tmp_path)
    quick = Quick(graph)
    for name in ("pynq-z2", "zcu102"):
        space = next(spaces(graph, load_board(name), 200.0))
        arrays = space.arrays()
        assert all(math.isfinite(quick(space.largest(*array))) for array in arrays)
        for array in arrays[:: len(arrays) // 5]:
            lower(graph, space.accelerators(*array)[0])


@pytest.mark.parametrize("name", boards())
def test_the_choice_fits_and_runs(name: str) -> None:
    board = load_board(name)
    chosen = configure(GRAPH, board, board.clock_mhz)
    assert excess(chosen, board, SHARE) == {}
    assert chosen.clock_mhz == board.clock_mhz
    assert Predicted(GRAPH, board, board.clock_mhz)(chosen) > 0


def test_no_accelerator_of_the_space_is_faster() -> None:
    sizes = {"pi": 8, "weight_ports": 1}
    predict = Predicted(GRAPH, BOARD, 300.0)
    chosen = configure(GRAPH, BOARD, 300.0, sizes=sizes)
    space = next(spaces(GRAPH, BOARD, 300.0, sizes=sizes))
    every = [a for shape in space.arrays() for a in space.accelerators(*shape)]
    assert len(every) > 10
    assert predict(chosen) <= SLACK * min(predict(a) for a in every)


def test_it_sheds_what_does_not_help() -> None:
    space = next(spaces(GRAPH, BOARD, 300.0))
    largest = space.accelerators(8, 32)[0]
    calls: list[Architecture] = []

    def only_the_epilogue_matters(a: Architecture) -> float:
        calls.append(a)
        return 8 / a.epilogue

    kept = shed(largest, space, only_the_epilogue_matters, 2.0)
    assert (kept.epilogue, kept.vector, kept.weight_ports) == (4, 1, 1)
    assert calls


def test_a_graph_that_runs_nowhere_is_refused_with_its_reason() -> None:
    def refuse(_: Architecture) -> float:
        raise UnsupportedError("no unit for this")

    with pytest.raises(UnsupportedError, match="no unit for this"):
        search(next(spaces(GRAPH, BOARD, 300.0)), Quick(GRAPH), refuse)


def test_a_larger_share_or_board_is_not_slower() -> None:
    latency = []
    for name, share in (("pynq-z2", 0.8), ("ultra96-v2", 0.5), ("ultra96-v2", 0.8), ("zcu102", 0.8)):
        board = load_board(name)
        latency.append(Predicted(GRAPH, board, board.clock_mhz)(configure(GRAPH, board, board.clock_mhz, share=share)))
    assert all(later <= SLACK * earlier for earlier, later in itertools.pairwise(latency))


def test_a_share_that_is_too_small_is_refused() -> None:
    with pytest.raises(BoardError, match=r"zcu102 is too small .* 1% of the device may be used"):
        configure(GRAPH, BOARD, 300.0, share=0.01)


def test_quick_cycles_order_arrays_like_the_simulator() -> None:
    space, quick, predict = next(spaces(GRAPH, BOARD, 300.0)), Quick(GRAPH), Predicted(GRAPH, BOARD, 300.0)
    few, many = space.largest(4, 8), space.largest(16, 32)
    assert quick(many) < quick(few)
    assert predict(many) < predict(few)


def test_the_scratchpad_shrinks_by_whole_block_memories() -> None:
    assert scratch_sizes((0, 1)) == [(4096, 2048)]
    assert scratch_sizes((4097, 2049)) == [(8192, 4096), (8192, 2048), (4096, 4096), (4096, 2048)]


def test_attention_takes_its_keys_at_once_or_in_halves() -> None:
    assert token_sizes(64) == [64]
    assert token_sizes(320) == [320, 192, 128, 64]


def narrowed(weight_bits: int, activation_bits: int) -> Graph:
    """The graph with all weights, and the activations of one hidden layer, declared that narrow."""
    widths = {name: weight_bits for name in GRAPH.tensors if name.endswith(".weight")} | {"fc1.0.out": activation_bits}
    return dataclasses.replace(
        GRAPH,
        tensors={
            name: dataclasses.replace(t, qtype=dataclasses.replace(t.qtype, bits=widths.get(name, t.qtype.bits)))
            for name, t in GRAPH.tensors.items()
        },
        nodes=tuple(
            dataclasses.replace(n, attributes={**n.attributes, "bits": activation_bits}) if n.output == "fc1.0.out" else n
            for n in GRAPH.nodes
        ),
    )


def test_precisions_are_bought_only_where_they_are_used() -> None:
    found = {bits: next(spaces(narrowed(*bits), BOARD, 300.0)).precisions for bits in ((8, 8), (4, 8), (3, 4), (2, 8), (2, 4))}
    assert found == {(8, 8): (8,), (4, 8): (8,), (3, 4): (8, 4), (2, 8): (8, 2), (2, 4): (8, 4, 2)}
    assert next(spaces(GRAPH, BOARD, 300.0, precisions=(2,))).precisions == (8, 2)
    luts = [space.least(16, 16) for space in (next(spaces(GRAPH, BOARD, 300.0, precisions=p)) for p in ((), (2,), (4,), (2, 4)))]
    costs = [known_resources(a)["lut"] for a in luts if a is not None]
    assert costs == sorted(set(costs))
    assert costs[3] - costs[2] == costs[1] - costs[0]


def test_spaces_have_every_unit_of_the_graph() -> None:
    space: Space = next(spaces(GRAPH, BOARD, 300.0))
    assert {"linear", "dma"} <= set(space.units)
    assert space.demands["max_channels"] == 128
