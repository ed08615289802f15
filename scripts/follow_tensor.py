"""One tensor from the file to the word in memory: what every stage of a compilation makes of it.

    python scripts/follow_tensor.py BUILD [TENSOR] [--token T --channel C]

``TENSOR`` is a value of ``model.canonical.onnx``; without it, the first that an elementwise function makes. Prints, a line each,
the node of the file that it comes from, its canonical operator and the rules that made it, the range seen in calibration, the
format chosen for it, the integer node, the instruction that completes it, where it lies on chip, and one element of the build's
first sample: as a real number, as an integer, and the line and byte of the scratchpad that hold it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

import edgeflow
from edgeflow.hw.architecture import LINE_BYTES
from edgeflow.hw.errors import InputError
from edgeflow.quant.canonical import FloatOperator
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import encode_inputs
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.nodes import ORIGIN
from edgeflow.sim.executor import Executor
from edgeflow.sw.export.correspondence import read_correspondence
from edgeflow.sw.rewrite.base import ORIGINAL, RULES


def follow(build: edgeflow.Build, name: str | None, token: int, channel: int) -> Iterator[tuple[str, str]]:
    """Stage and what it makes of the tensor; InputError where the model has no such tensor, or no integer tensor of its own."""
    graph, program = build.graph, build.program
    float_graph = FloatGraph(build.float_model())
    op = _operator(float_graph, name)
    tensor, meta = op.output, op.node.metadata_props
    node = next((node for node in graph.nodes if node.output == tensor), None)
    if node is None:
        raise InputError(f"{tensor} has no integer tensor of its own: a linear layer may have absorbed its function; name another")
    yield "the file", f"node {meta.get(ORIGIN)!r}, value {meta.get(ORIGINAL, 'of no name of its own')!r}"
    yield "canonical", f"{op.name}, by {meta.get(RULES) or 'no rule: as it is in the file'}"
    seen = next(line for line in build.report["ranges"] if line["tensor"] == tensor)
    how = f"range by {seen['observer']}, a scale a {seen['granularity']}"
    yield "calibration", f"{seen['minimum']:.4f} to {seen['maximum']:.4f} seen; {how}"

    golden = {key: array[:1] for key, array in build.golden().items()}
    real = FloatSession(float_graph.model, [tensor]).run(golden)[tensor][0]
    words = Executor(graph).run_all(encode_inputs(graph, golden), [tensor])[tensor][0]
    known = read_correspondence(build.files, graph).correspondence[tensor]
    column = channel if known.channels is None else int(known.channels[channel])  # where heads are padded
    qtype = graph.tensors[tensor].qtype
    scale = float(np.broadcast_to(qtype.scales, words.shape[-1:])[column])
    sign = "signed" if qtype.signed else "unsigned"
    yield "format", f"{qtype.bits} bits, {sign}; channel {channel} has the scale {scale:.6g}, zero point {qtype.zero_point}"
    yield (
        "integer node",
        f"{node.op} of {node.inputs[0]!r}: {', '.join(f'{key} {value}' for key, value in node.attributes.items())}",
    )

    number = next(i for i, step in enumerate(program.steps) if step.completes == tensor)
    layout = program.steps[number].instruction.layout
    yield "instruction", f"number {number} of {len(program.steps)}: {layout.name}, opcode {layout.opcode}"
    place = next(place for place in program.allocations if place.tensor == tensor)
    line = place.stays[0].line if place.stays else place.line
    assert line is not None
    memory = "narrow" if line < program.architecture.narrow_lines else "wide"
    held = f"while nodes {place.first} to {place.last} run"
    yield "memory", f"{place.lines} lines of {LINE_BYTES} bytes from line {line} of the {memory} scratchpad, {held}"

    rows = int(np.prod(words.shape[:-1]))
    row = min(token, rows - 1)
    word, exact = int(words.reshape(rows, -1)[row, column]), float(real.reshape(rows, -1)[row, channel])
    offset = 0.0 if known.offset is None else float(known.offset[channel])
    stands = (word - qtype.zero_point) * scale + offset
    byte = column * place.storage
    at = line + row * (place.lines // rows) + byte // LINE_BYTES
    yield (
        "the word",
        f"row {row}, channel {channel}: {exact:.5f} in the float model, {word} in the integer network, for {stands:.5f}",
    )
    yield "its bytes", f"line {at}, byte {byte % LINE_BYTES}, of {place.storage}"


def _operator(graph: FloatGraph, name: str | None) -> FloatOperator:
    operators = [op for op in graph.operators if (op.tabulated if name is None else op.output == name)]
    if not operators:
        what = "no elementwise function" if name is None else f"no tensor {name!r}"
        raise InputError(f"the model has {what}; name a value that a node of model.canonical.onnx makes")
    return operators[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("build")
    parser.add_argument("tensor", nargs="?")
    parser.add_argument("--token", type=int, default=0)
    parser.add_argument("--channel", type=int, default=0)
    options = parser.parse_args()
    try:
        for stage, text in follow(edgeflow.open_build(options.build), options.tensor, options.token, options.channel):
            print(f"{stage:13} {text}")
    except edgeflow.EdgeFlowError as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
