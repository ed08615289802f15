"""Embedding, pool, move and patches units: shapes drawn at random, and what a unit costs."""

from __future__ import annotations

import numpy as np
import pytest
from operator_harness import ARCHITECTURES, Built, build, case_graph, reference

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.cost import Resources
from edgeflow.hw.graph import Format
from edgeflow.hw.ops import Case, Operator, registry
from edgeflow.hw.ops.base import draw
from edgeflow.hw.ops.concat import Concat
from edgeflow.hw.ops.patches import Patches
from edgeflow.hw.ops.reshape import Reshape
from edgeflow.hw.ops.select import Select
from edgeflow.hw.ops.transpose import Transpose
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

DRAWN = 60


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def counting(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An accelerator and its C simulation, which counts iterations."""
    return build(tmp_path_factory.mktemp("counting"), ARCHITECTURES[request.param])


def shape(rng: np.random.Generator, rank: int) -> tuple[int, ...]:
    """Sizes that meet the lines of the scratchpad in every way: whole lines, parts of them, and a little more."""
    last = (1, 3, 16, 31, 64, 65, 96, 128, 130)
    return (*(int(n) for n in rng.integers(1, 5, size=rank - 1)), int(rng.choice(last)))


def drawn_case(rng: np.random.Generator) -> Case:
    """A copy or an image of random shape and format."""
    kind = int(rng.integers(5))
    bits, signed = int(rng.choice([5, 8, 9, 16])), bool(rng.integers(2))
    size = shape(rng, 3 if kind == 4 else int(rng.integers(1, 5)))
    rank, axis = len(size), int(rng.integers(len(size)))
    sizes = [size]
    op: Operator
    if kind == 0:
        order = tuple(int(a) for a in rng.permutation(rank))
        op = Transpose(order)
    elif kind == 1:
        start = int(rng.integers(size[axis]))
        op = Select(axis, start, int(rng.integers(start, size[axis])) + 1, False)
    elif kind == 2:
        op = Reshape(tuple(size[a] for a in rng.permutation(rank)))
    elif kind == 3:
        axis = int(rng.choice([0, rank - 1]))
        sizes += [(*size[:axis], int(rng.integers(1, 20)), *size[axis + 1 :]) for _ in range(3)]
        op = Concat(axis)
    else:
        size = (size[0], int(rng.integers(1, 20)), size[2])
        sizes = [size]
        op = Patches(int(rng.integers(1, size[1] + 1)), int(rng.integers(1, size[2] + 1)))
    formats = tuple(Format(one, bits, signed) for one in sizes)
    constants = frozenset(i for i in range(1, len(sizes)) if rng.integers(2))
    inputs = tuple(draw(rng, f, None if i in constants else 1) for i, f in enumerate(formats))
    return Case(f"{op} of {sizes}, {bits} bits", op, formats, inputs, constants)


def test_copies_of_drawn_shapes(counting: Built) -> None:
    rng = np.random.default_rng(5)
    seen = set()
    for _ in range(DRAWN):
        case = drawn_case(rng)
        actual, differences = counting.counted_run(case)
        np.testing.assert_array_equal(actual, reference(case), err_msg=case.name)
        assert differences == [], case.name
        seen.add(case.operator.name)
    assert seen == {"concat", "patches", "reshape", "select", "transpose"}


def test_an_image_takes_a_word_a_cycle() -> None:
    """An image of 3 x 224 x 224 bytes, whose rows take four lines in memory, in patches of whole words."""
    architecture = ARCHITECTURES["16x16 axi128"]
    image = Format((3, 224, 224), 8, True)
    case = Case("image", Patches(16, 16), (image,), (np.zeros((1, *image.shape), dtype=np.int64),), frozenset())
    (step,) = [s for s in lower(Network(case_graph(case)), architecture).steps if s.instruction.layout.name == "patches"]
    cost = Patches.cycles(step.instruction.values, architecture)
    assert cost.loops["patches"].trips == cost.inside["patches words"] == 3 * 224 * 256 // 16


def cost(name: str, architecture: Architecture) -> Resources:
    """Resources of an operator's unit, which must all be known."""
    resources = registry()[name].resources(architecture)
    assert all(isinstance(count, int) for count in (resources.dsp, resources.lut, resources.ff, resources.bram36, resources.uram))
    return resources


def test_resources_follow_the_architecture() -> None:
    small, large = ARCHITECTURES["8x12 axi64"], ARCHITECTURES["64x48 axi128"]
    assert cost("concat", small).dsp == cost("patches", large).dsp == 0
    # A DSP slice for every byte of a word, and one for the address of a table's row.
    assert cost("embedding", small).dsp == 8 + 1
    assert cost("embedding", large).dsp == 16 + 1
    # The pool's one multiplier serves any number of lanes; each lane has sums of its own.
    assert cost("pool", small).dsp == cost("pool", large).dsp == 4
    assert cost("pool", small).bram36 == 2
    assert cost("pool", large).bram36 == 16
