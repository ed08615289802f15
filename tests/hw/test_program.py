"""Programs as files, and tensors as the bytes of their rows."""

from __future__ import annotations

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from array_networks import mlp
from hypothesis import given
from hypothesis import strategies as st

from edgeflow.hw.architecture import BYTES, HALVES, LINE_BYTES, NIBBLES, WORDS, Architecture
from edgeflow.hw.errors import InputError
from edgeflow.hw.field_widths import SIZES, check_addressable
from edgeflow.hw.graph import Format
from edgeflow.hw.program import Program, format_lines, natural_storage, pack_rows, unpack_rows
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network

ARCHITECTURE = Architecture(units=("linear", "dma"), weight_ports=2, narrow_lines=64, wide_lines=64)


@pytest.fixture
def program() -> Program:
    return lower(Network(mlp(100, 130, 200, 4, 4)), ARCHITECTURE)


formats = st.builds(Format, st.lists(st.integers(1, 9), max_size=2).map(lambda s: (*s, 70)), st.integers(1, 32), st.booleans())


@given(formats, st.integers(0, 1 << 32))
def test_rows_survive_the_memory(format: Format, seed: int) -> None:
    data = np.random.default_rng(seed).integers(format.minimum, format.maximum + 1, size=format.shape)
    natural = natural_storage(format.bits)
    wider = [s for s in (BYTES, HALVES, WORDS) if s >= natural]
    for storage in [*wider, *([NIBBLES] if format.bits <= 4 else [])]:
        raw = pack_rows(data, format, storage)
        assert raw.size == format_lines(format, storage) * LINE_BYTES
        np.testing.assert_array_equal(unpack_rows(raw, format, storage), data)
    np.testing.assert_array_equal(pack_rows(data, format), pack_rows(data, format, natural))


def test_two_rows_share_the_bytes_of_a_line() -> None:
    raw = pack_rows(np.array([[1, -2], [-8, 7], [3, 4]]), Format((3, 2), 4, True), NIBBLES)
    assert raw[:2].tolist() == [0x81, 0x7E]
    assert raw[64:66].tolist() == [0x03, 0x04]


def test_a_program_is_what_its_files_say(program: Program, tmp_path: Path) -> None:
    assert any(step.instruction.stream[1] for step in program.steps)
    assert any(a.line is None for a in program.allocations)
    program.save(tmp_path)
    assert Program.load(tmp_path) == program
    memory = json.loads((tmp_path / "memory_map.json").read_text())
    assert memory["narrow_lines"] == 64
    assert memory["external_lines"] == program.external_lines


def test_files_of_another_format_are_refused(program: Program, tmp_path: Path) -> None:
    program.save(tmp_path)
    path = tmp_path / "program.bin"
    raw = path.read_bytes()
    path.write_bytes(raw[:8] + (1).to_bytes(4, "little") + raw[12:])
    with pytest.raises(InputError, match="has format 1"):
        Program.load(tmp_path)
    path.write_bytes(b"PROGRAM?" + raw[8:])
    with pytest.raises(InputError, match="is not an EdgeFlow program"):
        Program.load(tmp_path)
    path.write_bytes(raw[:24] + bytes(8) + raw[32:])
    with pytest.raises(InputError, match="another overlay"):
        Program.load(tmp_path)


@pytest.mark.parametrize("name", sorted(SIZES))
def test_an_accelerator_beyond_what_instructions_count_is_refused(program: Program, tmp_path: Path, name: str) -> None:
    most = SIZES[name].maximum + 1
    check_addressable(program.architecture.model_copy(update={name: most}), "overlay")
    huge = {"slots": 1 << 28, name: 1 << 28}
    dataclasses.replace(program, architecture=Architecture.model_validate({**program.architecture.model_dump(), **huge})).save(
        tmp_path
    )
    with pytest.raises(InputError, match=r"overlay\.json: no accelerator has .* = 268435456, instructions count up to"):
        Program.load(tmp_path)


def test_a_pickled_graph_is_the_same_and_small() -> None:
    graph = mlp(5, 20, 40, 8, 8)
    content = pickle.dumps(graph)
    again = pickle.loads(content)
    assert (again.name, again.inputs, again.outputs, again.tensors, again.nodes) == (
        *(graph.name, graph.inputs, graph.outputs, graph.tensors, graph.nodes),
    )
    assert list(again.constants) == list(graph.constants)
    for name, value in graph.constants.items():
        assert again.constants[name].dtype == np.int64
        np.testing.assert_array_equal(again.constants[name], value)
    assert len(content) < sum(value.nbytes for value in graph.constants.values())
