"""The choice of an accelerator: against every accelerator of a small space, and what it leaves away."""

from __future__ import annotations

import dataclasses
import itertools
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from array_networks import attending
from small_network import small_network

from edgeflow.hw.accelerator_options import SHARE
from edgeflow.hw.architecture import Architecture, slots_of
from edgeflow.hw.boards import Board, boards, load_board
from edgeflow.hw.errors import BoardError, UnsupportedError
from edgeflow.hw.fit import Space, excess, known_resources
from edgeflow.hw.graph import Graph
from edgeflow.hw.ops.attention import Attention
from edgeflow.models.encoders import EncoderShape, encoder
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.ptq import quantize
from edgeflow.sim.cycles import estimate
from edgeflow.sw.compiler.lowering import Compiler, lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.importer import import_model
from edgeflow.sw.measure.random_data import random_inputs
from edgeflow.sw.search.accelerator import (
    ROOM,
    SLACK,
    Predicted,
    choose,
    configure,
    reduced,
    scratch_sizes,
    search,
    spaces,
    token_sizes,
    useful,
)
from edgeflow.sw.search.latency_bound import Bound

GRAPH = small_network()
NETWORK = Network(GRAPH)
BOARD = load_board("zcu102")
TOLERANCE = 1.03  # of the best latency that a choice may take
SHAPES = (
    (EncoderShape(1, 64, 2, "linear", positions=False), "zcu104"),
    (EncoderShape(17, 24, 2, "patches", positions=True, class_token=True), "zcu102"),
    (EncoderShape(65, 32, 2, "linear", positions=True), "kv260"),
    (EncoderShape(48, 64, 4, "ids", positions=True, depth=2), "ultra96-v2"),
    (EncoderShape(200, 32, 1, "linear", positions=False), "pynq-z2"),
    (EncoderShape(65, 96, 3, "patches", positions=True, class_token=True), "ultra96-v2"),
)


def prediction(network: Network, board: Board) -> Predicted:
    """Latency on a board at its clock."""
    return Predicted(Compiler(network), board, board.clock_mhz)


def encoder_network(shape: EncoderShape, folder: Path) -> Network:
    """An encoder with random weights."""
    file = folder / "model.onnx"
    onnx.save(encoder(shape), file)
    model = import_model(file, dims={}, shapes={})
    config = QuantizationConfig(rounding="nearest", input_correction=False)
    return Network(quantize(model, random_inputs(model, 2, 0), config).graph)


@pytest.mark.parametrize(("shape", "name"), SHAPES, ids=lambda value: getattr(value, "name", value))
def test_no_accelerator_of_any_space_is_faster(shape: EncoderShape, name: str, tmp_path: Path) -> None:
    """Exhaustive: whatever an accelerator's lower bound does not rule out is simulated, and a draw of what it does."""
    network, board = encoder_network(shape, tmp_path), load_board(name)
    predict, bound = prediction(network, board), Bound(Compiler(network), board, board.clock_mhz)
    chosen = choose(network, board, board.clock_mhz)
    assert chosen.latency_ms == predict(chosen.architecture)
    every = [a for space in spaces(network, board, board.clock_mhz) for array in space.arrays() for a in space.accelerators(*array)]
    assert len(every) > 5
    assert chosen.simulated > 0
    fast = [a for a in every if bound.milliseconds(a) * TOLERANCE < chosen.latency_ms]
    drawn = random.Random(0).sample(every, 5)
    assert chosen.latency_ms <= TOLERANCE * min(predict(a) for a in [*fast, *drawn])
    assert all(0.4 * predict(a) < bound.milliseconds(a) <= predict(a) for a in [*fast, *drawn])


def test_the_outline_takes_the_cycles_of_the_program() -> None:
    for a in (next(spaces(NETWORK, BOARD, 300.0)).largest(*shape) for shape in ((4, 8), (16, 32), (64, 48))):
        cycles = estimate(lower(NETWORK, a), GRAPH, BOARD, 300.0).cycles
        assert Predicted(Compiler(NETWORK), BOARD, 300.0)(a) == cycles / 300e3
        assert Bound(Compiler(NETWORK), BOARD, 300.0)(a) <= cycles


@pytest.mark.parametrize(
    ("queries", "heads", "size"), [(9, 12, 64), (70, 13, 16), (33, 7, 32), (197, 12, 64), (3, 16, 32), (1, 9, 16)]
)
def test_repeated_heads_and_blocks_of_attention_are_counted_exactly(queries: int, heads: int, size: int) -> None:
    network = Network(attending(queries, heads, size))
    bound = Bound(Compiler(network), BOARD, 300.0)
    attention = [operation for operation in network.executed if isinstance(operation.operator, Attention)]
    every = list(spaces(network, BOARD, 300.0))
    for space in (every[0], every[-1]):
        for array in space.arrays()[::9]:
            a = space.largest(*array)
            if slots_of(attention[0].operator.stationary(attention[0].formats, a.max_tokens), a.pi) <= a.slots // 2:
                least, work = bound._least(attention, a), bound._work(attention, a)
                assert (least.instructions, least.cycles, least.bytes) == (work.instructions, work.cycles, work.bytes)
                assert least.fetch == pytest.approx(work.fetch, rel=1e-12)  # the order of additions


def test_a_bound_holds_where_the_scratchpad_is_small(tmp_path: Path) -> None:
    """Spilled tensors, layers in blocks of rows."""
    network = encoder_network(EncoderShape(200, 64, 1, "linear", positions=True), tmp_path)
    predict, bound = prediction(network, BOARD), Bound(Compiler(network), BOARD, BOARD.clock_mhz)
    whole = next(spaces(network, BOARD, BOARD.clock_mhz)).largest(16, 32)
    latency = []
    for lines in ((4096, 2048), (704, 448), (512, 192)):
        a = whole.model_copy(update=dict(zip(("narrow_lines", "wide_lines"), lines, strict=True)))
        latency.append(predict(a))
        assert 0.85 * latency[-1] < bound.milliseconds(a) <= latency[-1]
    assert latency == sorted(set(latency))


@pytest.mark.parametrize("name", boards())
def test_the_choice_fits_and_runs(name: str) -> None:
    board = load_board(name)
    chosen = configure(NETWORK, board, board.clock_mhz)
    assert excess(chosen, board, SHARE) == {}
    assert chosen.clock_mhz == board.clock_mhz
    assert prediction(NETWORK, board)(chosen) > 0


def test_no_accelerator_of_the_space_is_faster() -> None:
    sizes = {"pi": 8, "weight_ports": 1}
    predict = Predicted(Compiler(NETWORK), BOARD, 300.0)
    chosen = configure(NETWORK, BOARD, 300.0, sizes=sizes)
    space = next(spaces(NETWORK, BOARD, 300.0, sizes=sizes))
    every = [a for shape in space.arrays() for a in space.accelerators(*shape)]
    assert len(every) > 10
    assert predict(chosen) <= SLACK * min(predict(a) for a in every)


def test_it_sheds_what_does_not_help() -> None:
    space = next(spaces(NETWORK, BOARD, 300.0))
    largest = space.accelerators(8, 32)[0]
    calls: list[Architecture] = []

    def only_the_epilogue_matters(a: Architecture) -> float:
        calls.append(a)
        return 8 / a.epilogue

    kept = reduced(largest, space, only_the_epilogue_matters, 2.0)
    assert (kept.epilogue, kept.vector, kept.weight_ports) == (4, 1, 1)
    assert calls


def test_a_graph_that_runs_nowhere_is_refused_with_its_reason() -> None:
    def refuse(_: Architecture) -> float:
        raise UnsupportedError("no unit for this")

    with pytest.raises(UnsupportedError, match="no unit for this"):
        search([next(spaces(NETWORK, BOARD, 300.0))], lambda _: 0.0, refuse)


def test_no_bound_is_an_error_and_not_a_choice() -> None:
    def refuse(_: Architecture) -> float:
        raise UnsupportedError("no unit for this")

    with pytest.raises(UnsupportedError, match="no unit for this"):
        search([next(spaces(NETWORK, BOARD, 300.0))], refuse, refuse)


def test_a_larger_share_or_board_is_not_slower() -> None:
    latency = []
    for name, share in (("pynq-z2", 0.8), ("ultra96-v2", 0.5), ("ultra96-v2", 0.8), ("zcu102", 0.8)):
        board = load_board(name)
        latency.append(choose(NETWORK, board, board.clock_mhz, share=share).latency_ms)
    assert all(later <= SLACK * earlier for earlier, later in itertools.pairwise(latency))


def test_a_share_that_is_too_small_is_refused() -> None:
    with pytest.raises(BoardError, match=r"zcu102 is too small .* 1% of the device may be used"):
        configure(NETWORK, BOARD, 300.0, share=0.01)


def test_the_scratchpad_shrinks_by_whole_block_memories() -> None:
    assert scratch_sizes((0, 1), (8,)) == [(4096, 2048)]
    assert scratch_sizes((0, 1), (8, 4)) == [(2048, 2048)]
    assert scratch_sizes((4097, 2049), (8,)) == [(8192, 4096), (8192, 2048), (4096, 4096), (4096, 2048)]


def test_attention_takes_its_keys_at_once_or_in_halves() -> None:
    assert token_sizes(64) == [64]
    assert token_sizes(320) == [320, 192, 128, 64]


def test_a_scratchpad_that_leaves_much_room_is_not_tried() -> None:
    pairs = scratch_sizes((4096 * 12, 2048 * 12), (8,))
    tried = useful(pairs, BOARD, SHARE, (8,))
    block_memories = [n // 64 + w // 64 for n, w in tried]
    assert all(729 - ROOM < count <= 729 for count in block_memories)
    assert useful(pairs, load_board("kv260"), SHARE, (8,)) == [(4096, 2048)]
    assert useful(pairs, load_board("kv260"), 0.01, (8,)) == [(4096, 2048)]


def narrowed(weight_bits: int, activation_bits: int) -> Graph:
    """The graph with all weights held that narrow, and the activations of one hidden layer declared so."""
    widths = {name: weight_bits for name in GRAPH.tensors if name.endswith(".weight")} | {"fc1.0.out": activation_bits}
    return dataclasses.replace(
        GRAPH,
        tensors={
            name: dataclasses.replace(t, qtype=dataclasses.replace(t.qtype, bits=widths.get(name, t.qtype.bits)))
            for name, t in GRAPH.tensors.items()
        },
        constants={
            name: np.clip(words, -(1 << (widths[name] - 1)), (1 << (widths[name] - 1)) - 1) if name in widths else words
            for name, words in GRAPH.constants.items()
        },
        nodes=tuple(
            dataclasses.replace(n, attributes={**n.attributes, "bits": activation_bits}) if n.output == "fc1.0.out" else n
            for n in GRAPH.nodes
        ),
    )


def test_precisions_are_bought_only_where_they_are_used() -> None:
    bought = {
        bits: next(spaces(Network(narrowed(*bits)), BOARD, 300.0)).precisions for bits in ((8, 8), (4, 8), (3, 4), (2, 8), (2, 4))
    }
    assert bought == {(8, 8): (8,), (4, 8): (8,), (3, 4): (8, 4), (2, 8): (8, 2), (2, 4): (8, 4, 2)}
    assert next(spaces(NETWORK, BOARD, 300.0, precisions=(2,))).precisions == (8, 2)
    luts = [space.least(16, 16) for space in (next(spaces(NETWORK, BOARD, 300.0, precisions=p)) for p in ((), (2,), (4,), (2, 4)))]
    costs = [known_resources(a)["lut"] for a in luts if a is not None]
    assert costs == sorted(set(costs))
    assert costs[3] - costs[2] == costs[1] - costs[0]


def test_spaces_have_every_unit_of_the_graph() -> None:
    space: Space = next(spaces(NETWORK, BOARD, 300.0))
    assert {"linear", "dma"} <= set(space.units)
    assert space.demands["max_channels"] == 128


def test_another_division_of_the_scratchpad_is_tried_where_the_first_fits() -> None:
    """256 tokens of 512 channels on the ZCU104: more of the wide memory is 1.2 times as fast, and no array is kept away."""
    first = next(spaces(NETWORK, BOARD, BOARD.clock_mhz))
    narrow, wide = (dataclasses.replace(first, lines=lines) for lines in ((8192, 2048), (4096, 4096)))
    assert narrow.arrays() == wide.arrays()

    def faster_with_more_wide_lines(a: Architecture) -> float:
        return 4096 / a.wide_lines

    choice = search([narrow, wide], faster_with_more_wide_lines, faster_with_more_wide_lines)
    assert (choice.architecture.narrow_lines, choice.architecture.wide_lines) == wide.lines
