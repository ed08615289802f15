"""Whatever is wrong with the input: one clear line, exit status 2, nothing half-written, an existing good build untouched."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import Terminal
from onnx import TensorProto, helper, numpy_helper
from tiny_transformer import Tiny

import edgeflow
from edgeflow.hw import boards
from edgeflow.hw.errors import CalibrationError, OutputError
from edgeflow.sw.files import arrays as arrays_module
from edgeflow.sw.files.arrays import read_npz, take_labels, write_npz


class Compile:
    """``edgeflow compile`` into the workplace's good build, with one thing made wrong."""

    def __init__(self, terminal: Terminal, tiny: Tiny, workplace: Path) -> None:
        self.terminal, self.tiny, self.workplace = terminal, tiny, workplace

    def refused(self, *, model: Path | None = None, calib: Path | None = None, options: tuple[object, ...] = ()) -> str:
        """The message of the refusal."""
        usual = (model or self.tiny.model, "--calib", calib or self.tiny.calibration, "-o", self.workplace / "build")
        before = sorted(p.name for p in self.workplace.iterdir())
        message = self.terminal.refused("compile", *usual, *options)
        assert sorted(p.name for p in self.workplace.iterdir()) == before
        return message

    def model(self, change: object) -> Path:
        """The tiny model with ``change`` applied to its proto, as a file outside the workplace's build."""
        proto = onnx.load(self.tiny.model)
        assert callable(change)
        change(proto)
        onnx.save(proto, self.workplace / "changed.onnx")
        return self.workplace / "changed.onnx"

    def data(self, **arrays: Any) -> Path:
        """A file of calibration data, or of what is none."""
        np.savez(self.workplace / "data.npz", **arrays)
        return self.workplace / "data.npz"

    def tokens(self) -> np.ndarray:
        """Good calibration data."""
        with np.load(self.tiny.calibration) as archive:
            tokens: np.ndarray = archive["tokens"]
        return tokens


@pytest.fixture
def attempt(terminal: Terminal, tiny: Tiny, workplace: Path) -> Compile:
    """A compilation that goes wrong."""
    return Compile(terminal, tiny, workplace)


def says(message: str, *parts: str) -> None:
    missing = [part for part in parts if part not in message]
    assert not missing, message


# The model file


def test_a_model_that_is_not_there(attempt: Compile) -> None:
    says(attempt.refused(model=Path("nowhere.onnx")), "nowhere.onnx")


def test_a_model_that_is_a_folder(attempt: Compile) -> None:
    says(attempt.refused(model=attempt.workplace), str(attempt.workplace))


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(64), b"this is a text file, not a model\n", bytes(range(256)) * 4]
)
def test_a_file_that_is_not_onnx(attempt: Compile, content: bytes) -> None:
    file = attempt.workplace / "model.onnx"
    file.write_bytes(content)
    says(attempt.refused(model=file), "model.onnx", "ONNX")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_a_truncated_model(attempt: Compile, share: float) -> None:
    whole = attempt.tiny.model.read_bytes()
    file = attempt.workplace / "model.onnx"
    file.write_bytes(whole[: int(share * len(whole))])
    says(attempt.refused(model=file), "model.onnx")


def test_every_unsupported_operator_is_listed(attempt: Compile) -> None:
    def change(proto: onnx.ModelProto) -> None:
        old, proto.graph.node[-1].output[0] = proto.graph.node[-1].output[0], "before"
        proto.graph.node.append(helper.make_node("CumSum", ["before", "axis"], ["summed"], name="running_sum"))
        proto.graph.node.append(helper.make_node("Det", ["square"], ["area"], name="area_node"))
        proto.graph.node.insert(0, helper.make_node("Reshape", ["tokens", "square_shape"], ["square"], name="to_square"))
        proto.graph.node.append(helper.make_node("Hardmax", ["summed"], [old], name="largest", axis=1))
        proto.graph.initializer.append(numpy_helper.from_array(np.array(1), "axis"))
        proto.graph.initializer.append(numpy_helper.from_array(np.array([0, 5, 4, 4]), "square_shape"))
        proto.graph.output.append(helper.make_tensor_value_info("area", TensorProto.FLOAT, ["batch", 5]))

    says(attempt.refused(model=attempt.model(change)), "running_sum", "CumSum", "area_node", "Det", "largest", "Hardmax")


def test_an_operator_that_onnx_does_not_define(attempt: Compile) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node[3].op_type = "Frobnicate"

    says(attempt.refused(model=attempt.model(change)), "Frobnicate", "changed.onnx")


def test_names_with_escape_sequences_are_shown_harmlessly(attempt: Compile) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.node[3].op_type, proto.graph.node[3].name = "Frob", "\x1b]0;title\x07\x1b[2Jnode"

    message = attempt.refused(model=attempt.model(change))
    assert all(line.isprintable() for line in message.splitlines())
    says(message, "\\x1b]0;title\\x07\\x1b[2Jnode", "Frob")


def test_a_board_whose_part_is_a_command(attempt: Compile) -> None:
    """It goes into a script of the vendor's tools."""
    text = (Path(boards.__file__).parent / "kv260.toml").read_text()
    board = attempt.workplace / "board.toml"
    board.write_text(text.replace('part = "xck26', 'part = "[exec touch x]; xck26', 1))
    says(attempt.refused(options=("--board", board)), "board.toml", "part")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite(attempt: Compile, value: float) -> None:
    def change(proto: onnx.ModelProto) -> None:
        weight = next(t for t in proto.graph.initializer if t.name == "expand_weight")
        array = numpy_helper.to_array(weight).copy()
        array[3, 5] = value
        weight.CopyFrom(numpy_helper.from_array(array, weight.name))

    says(attempt.refused(model=attempt.model(change)), "expand_weight", "NaN")


def external(attempt: Compile, location: str) -> Path:
    def change(proto: onnx.ModelProto) -> None:
        weight = next(t for t in proto.graph.initializer if t.name == "expand_weight")
        weight.ClearField("raw_data")
        weight.data_location = TensorProto.EXTERNAL
        weight.external_data.add(key="location", value=location)

    proto = onnx.load(attempt.tiny.model)
    change(proto)
    folder = attempt.workplace / "model"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    (attempt.workplace / "weights.bin").write_bytes(bytes(1 << 16))
    return folder / "model.onnx"


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "a/../../weights.bin", "missing.bin", "link.bin"])
def test_external_data_outside_the_models_folder(attempt: Compile, location: str) -> None:
    model = external(attempt, location)
    (model.parent / "link.bin").symlink_to(attempt.workplace / "weights.bin")
    says(attempt.refused(model=model), "expand_weight", location)


def test_external_data_inside_the_models_folder_is_read(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    proto = onnx.load(tiny.model)
    onnx.save(proto, tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    assert (tmp_path / "m.bin").stat().st_size > 0
    assert terminal.run("-q", "compile", tmp_path / "m.onnx", "--calib", tiny.calibration, "-o", tmp_path / "made").status == 0


def test_a_dimension_without_a_size(attempt: Compile) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "features"

    model = attempt.model(change)
    (attempt.workplace / "none").mkdir()
    message = attempt.terminal.refused("compile", model, "-o", attempt.workplace / "none" / "made")
    says(message, "features", "--dim features=")
    assert not list((attempt.workplace / "none").iterdir())


def test_a_dimension_that_the_model_does_not_have(attempt: Compile) -> None:
    says(attempt.refused(options=("--dim", "sequnce=5")), "sequnce")


# Calibration data


def test_data_that_is_not_there(attempt: Compile) -> None:
    says(attempt.refused(calib=Path("nowhere.npz")), "nowhere.npz", "does not exist")


def test_data_that_is_a_folder(attempt: Compile) -> None:
    says(attempt.refused(calib=attempt.workplace), "is a folder")


@pytest.mark.parametrize("content", [b"", b"tokens,1,2,3\n", b"\x93NUMPY\x01\x00"])
def test_data_that_is_not_an_npz(attempt: Compile, content: bytes) -> None:
    file = attempt.workplace / "data.npz"
    file.write_bytes(content)
    says(attempt.refused(calib=file), "data.npz", "is not an .npz file")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated_data(attempt: Compile, share: float) -> None:
    whole = attempt.tiny.calibration.read_bytes()
    file = attempt.workplace / "data.npz"
    file.write_bytes(whole[: int(share * len(whole))])
    says(attempt.refused(calib=file), "data.npz", "truncated or damaged")


def test_damaged_data(attempt: Compile) -> None:
    whole = bytearray(attempt.tiny.calibration.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    file = attempt.workplace / "data.npz"
    file.write_bytes(whole)
    says(attempt.refused(calib=file), "data.npz", "truncated or damaged")


def test_pickled_data_is_never_unpickled(attempt: Compile) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(attempt.workplace / "sprung"),)

    says(attempt.refused(calib=attempt.data(tokens=np.array([Trap()], dtype=object))), "'tokens'", "Python objects")
    assert not (attempt.workplace / "sprung").exists()


def zeros(shape: tuple[int, ...], stored: int) -> bytes:
    """A ``.npy`` whose header has a shape, with so many zero bytes behind it."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue() + bytes(stored)


@pytest.fixture
def small_archives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrays may take 64 KiB and 100 times the file."""
    monkeypatch.setattr(arrays_module, "LARGEST_UNPACKED", 1 << 16)


@pytest.mark.usefixtures("small_archives")
def test_an_archive_that_unpacks_to_far_more_than_it_is(tmp_path: Path) -> None:
    """Whatever takes part in the sum is refused before it is unpacked; the limit stands in the message."""
    file = tmp_path / "data.npz"
    np.savez_compressed(file, tokens=np.zeros((1 << 14, 5, 16), np.float32))
    limit = (1 << 16) + 100 * file.stat().st_size
    assert limit < 4 * 80 << 14
    with pytest.raises(CalibrationError, match=rf"its arrays take 5,243,008 bytes or more; at most {limit:,} are supported"):
        read_npz(file)
    write_npz(file, {f"a{number}": np.zeros((8, 8192), np.float32) for number in range(8)})
    with pytest.raises(CalibrationError, match="its arrays take"):
        read_npz(file)
    np.savez(file, tokens=np.zeros((1 << 14, 5, 16), np.float32))
    assert read_npz(file)["tokens"].shape == (1 << 14, 5, 16)


@pytest.mark.usefixtures("small_archives")
def test_members_that_are_no_inputs_are_not_unpacked(tmp_path: Path) -> None:
    """Neither bombs, nor what cannot be read, nor Python objects; labels are read where their name is given."""
    file, tokens = tmp_path / "data.npz", np.ones((3, 5, 16), np.float32)
    contents = {"bomb.npy": zeros((1 << 20,), 4 << 20), "text.npy": b"none", "liar.npy": zeros((1 << 40,), 8), "README": b"read me"}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
        for name, array in (("tokens", tokens), ("label", np.arange(3))):
            with archive.open(f"{name}.npy", "w") as stream:
                np.lib.format.write_array(stream, array)
    assert set(read_npz(file, wanted=lambda: ["tokens"])) == {"tokens"}
    both = read_npz(file, wanted=lambda: ["tokens"], also=["label"])
    assert both.keys() == {"tokens", "label"}
    assert np.array_equal(both["tokens"], tokens)
    with pytest.raises(CalibrationError, match=r"names 'labl', but the arrays are README, bomb, label, liar, text, tokens"):
        take_labels(both, "labl", "data")
    with pytest.raises(CalibrationError, match="its arrays take"):  # an input is missing: all are looked at
        read_npz(file, wanted=lambda: ["image"])


def test_other_arrays_beside_the_inputs(attempt: Compile) -> None:
    """A file may hold more than the model takes."""
    data = attempt.data(tokens=attempt.tokens(), label=np.arange(8), names=np.array(["a"]))
    edgeflow.compile(attempt.tiny.model, calibration=data, output=attempt.workplace / "other", until_step="calibrate")


def test_a_header_that_promises_more_than_there_is(attempt: Compile) -> None:
    """Nothing of its size is asked for."""
    file = attempt.workplace / "data.npz"
    for shape in ((1 << 40, 5, 16), (1 << 62, 1 << 62), (-1, -1), (2, 5, 16)):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("tokens.npy", zeros(shape, 320))
        says(attempt.refused(calib=file), "'tokens'", "does not have as many bytes as its shape")


def test_a_header_of_gigabytes(attempt: Compile) -> None:
    """Its first bytes are all that is unpacked."""
    with zipfile.ZipFile(attempt.workplace / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tokens.npy", b"\x93NUMPY\x02\x00" + (1 << 31).to_bytes(4, "little") + bytes(1 << 20))
    says(attempt.refused(calib=attempt.workplace / "data.npz"), "'tokens' cannot be read", f"expected {1 << 31} bytes got 16372")


def test_data_with_a_password(attempt: Compile) -> None:
    whole = bytearray(attempt.tiny.calibration.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := whole.find(signature, place + 1)) >= 0:
            whole[place + offset] |= 1
    file = attempt.workplace / "data.npz"
    file.write_bytes(whole)
    says(attempt.refused(calib=file), "is protected by a password")


def test_data_compressed_in_an_unknown_way(attempt: Compile) -> None:
    whole = bytearray(attempt.tiny.calibration.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = -1
        while (place := whole.find(signature, place + 1)) >= 0:
            whole[place + offset : place + offset + 2] = (98).to_bytes(2, "little")
    file = attempt.workplace / "data.npz"
    file.write_bytes(whole)
    says(attempt.refused(calib=file), "is compressed in an unknown way")


def test_data_that_is_text(attempt: Compile) -> None:
    says(attempt.refused(calib=attempt.data(tokens=np.array(["a", "b"]))), "'tokens'", "<U1")


def test_data_without_arrays(attempt: Compile) -> None:
    says(attempt.refused(calib=attempt.data()), "holds no arrays")


def test_a_member_that_is_no_array(attempt: Compile) -> None:
    with zipfile.ZipFile(attempt.workplace / "data.npz", "w") as archive:
        archive.writestr("tokens.npy", b"\x93NUMPY\x01\x00\x02\x00xx")
    says(attempt.refused(calib=attempt.workplace / "data.npz"), "'tokens'")


def test_a_wrong_key_names_the_models_inputs(attempt: Compile) -> None:
    says(attempt.refused(calib=attempt.data(token=attempt.tokens())), "'token'", "inputs are tokens")


def test_a_missing_key_names_what_the_model_expects(attempt: Compile) -> None:
    def change(proto: onnx.ModelProto) -> None:
        next(n for n in proto.graph.node if n.name == "node_residual1").input[0] = "memory"
        proto.graph.input.append(helper.make_tensor_value_info("memory", TensorProto.FLOAT, ["batch", 5, 16]))

    says(attempt.refused(model=attempt.model(change)), "'memory' is missing", "memory: float32 (samples, 5, 16)")


@pytest.mark.parametrize("shape", [(5, 16), (16,), (8, 5, 15), (8, 4, 16), (8, 5, 16, 1), (0, 5, 16)])
def test_a_wrong_shape(attempt: Compile, shape: tuple[int, ...]) -> None:
    data = attempt.data(tokens=np.zeros(shape, dtype=np.float32))
    says(attempt.refused(calib=data), "'tokens'")


@pytest.mark.parametrize("dtype", ["int64", "bool", "complex64"])
def test_a_wrong_type(attempt: Compile, dtype: str) -> None:
    says(attempt.refused(calib=attempt.data(tokens=attempt.tokens().astype(dtype))), "'tokens'", dtype)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_not_finite(attempt: Compile, value: float) -> None:
    tokens = attempt.tokens()
    tokens[3, 2, 1] = value
    says(attempt.refused(calib=attempt.data(tokens=tokens)), "'tokens'", "(3, 2, 1)", "finite")


# Board, overlay, output


def test_an_unknown_board(attempt: Compile) -> None:
    says(attempt.refused(options=("--board", "kv261")), "'kv261'", "did you mean kv260")


def test_a_board_file_that_is_none(attempt: Compile) -> None:
    (attempt.workplace / "board.toml").write_text("name = ")
    says(attempt.refused(options=("--board", attempt.workplace / "board.toml")), "board.toml")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"architecture": {"pi": 3}}', None])
def test_an_overlay_that_is_none(attempt: Compile, content: str | None) -> None:
    if content is not None:
        (attempt.workplace / "overlay.json").write_text(content)
    says(attempt.refused(options=("--overlay", attempt.workplace / "overlay.json")), "overlay.json")


def test_an_overlay_that_is_too_small(attempt: Compile) -> None:
    overlay = json.loads((attempt.workplace / "build" / "overlay.json").read_text())
    overlay["architecture"]["units"] = [u for u in overlay["architecture"]["units"] if u != "attention"]
    overlay["instructions"] = [i for i in overlay["instructions"] if i["name"] != "attention"]
    (attempt.workplace / "small.json").write_text(json.dumps(overlay))
    says(attempt.refused(options=("--overlay", attempt.workplace / "small.json")), "attention")


@pytest.mark.parametrize("clock", ["0", "-5", "nan", "inf"])
def test_a_clock_that_is_none(attempt: Compile, clock: str) -> None:
    says(attempt.refused(options=("--clock", clock)), "clock")


def test_a_size_that_no_accelerator_has(attempt: Compile) -> None:
    says(attempt.refused(options=("--pi", 12)), "pi = 12", "8", "16", "64")
    says(attempt.refused(options=("--pi", 64, "--po", 64)), "kv260", "dsp")


def compile_into(terminal: Terminal, tiny: Tiny, target: Path) -> str:
    return terminal.refused("compile", tiny.model, "--calib", tiny.calibration, "-o", target)


def test_an_output_folder_that_is_not_ours(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    says(compile_into(terminal, tiny, tmp_path / "thesis"), "thesis", "not an EdgeFlow build", "-o")
    assert (tmp_path / "thesis" / "chapter1.txt").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["thesis"]


def test_an_output_that_is_a_file(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("keep")
    says(compile_into(terminal, tiny, tmp_path / "notes"), "notes", "not a folder")
    says(compile_into(terminal, tiny, tmp_path / "notes" / "build"), "notes is not a folder", "cannot be written")
    assert (tmp_path / "notes").read_text() == "keep"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc, which nobody can write to")
def test_an_output_that_is_not_writable(terminal: Terminal, tiny: Tiny) -> None:
    says(compile_into(terminal, tiny, Path("/proc/edgeflow/build")), "/proc/edgeflow/build", "cannot be written")


def test_a_failure_leaves_no_new_folders(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    terminal.refused("compile", tmp_path / "bad.onnx", "-o", tmp_path / "new" / "deep" / "build")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.onnx"]


def test_an_empty_folder_and_an_old_build_are_replaced(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "build").mkdir()
    for board in ("kv260", "zcu102"):
        options = ("--calib", tiny.calibration, "--board", board, "-o", tmp_path / "build")
        assert terminal.run("-q", "compile", tiny.model, *options).status == 0
        assert json.loads((tmp_path / "build" / "manifest.json").read_text())["board"] == board
        assert [p.name for p in tmp_path.iterdir()] == ["build"]


def test_a_link_to_a_build_is_followed(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for _ in range(2):
        assert terminal.run("-q", "compile", tiny.model, "--calib", tiny.calibration, "-o", tmp_path / "link").status == 0
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "manifest.json").is_file()
        assert sorted(p.name for p in tmp_path.iterdir()) == ["link", "real"]


# Builds and data of the other commands


def test_a_build_that_is_none(terminal: Terminal, tmp_path: Path) -> None:
    for command in (("verify",), ("cycles",), ("report",), ("simulate", "--inputs", "x.npz", "--outputs", "y.npz")):
        says(terminal.refused(*command, tmp_path / "nowhere"), "nowhere")
        says(terminal.refused(*command, tmp_path), "not an EdgeFlow build")


@pytest.mark.parametrize("name", ["program.bin", "weights.bin", "golden.npz", "integer_graph.npz"])
def test_a_build_that_was_changed(terminal: Terminal, tiny_build: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny_build, tmp_path / "build")
    content = bytearray((tmp_path / "build" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "build" / name).write_bytes(content)
    says(terminal.refused("verify", tmp_path / "build"), name, "compile the model again")
    (tmp_path / "build" / name).unlink()
    says(terminal.refused("verify", tmp_path / "build"), name, "compile the model again")


@pytest.mark.parametrize(
    "name", ["manifest.json", "report.json", "memory_map.json", "overlay.json", "integer_graph.json", "board.json"]
)
def test_a_build_whose_documents_are_damaged(terminal: Terminal, tiny_build: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny_build, tmp_path / "build")
    text = (tmp_path / "build" / name).read_text()
    for damaged in (text[: len(text) // 2], "", "{}"):
        (tmp_path / "build" / name).write_text(damaged)
        terminal.refused("verify", tmp_path / "build")
        terminal.refused("report", tmp_path / "build")


def test_simulate_refuses_wrong_inputs_and_outputs(terminal: Terminal, tiny: Tiny, workplace: Path) -> None:
    build = workplace / "build"
    np.savez(workplace / "wrong.npz", tokens=np.zeros((2, 5, 9), dtype=np.float32))
    outputs = ("--outputs", workplace / "y.npz")
    says(terminal.refused("simulate", build, "--inputs", workplace / "wrong.npz", *outputs), "'tokens'", "(samples, 5, 16)")
    says(terminal.refused("simulate", build, "--inputs", workplace / "none.npz", *outputs), "none.npz")
    says(terminal.refused("verify", build, "--inputs", workplace / "wrong.npz"), "'tokens'", "(samples, 5, 16)")
    inputs = ("simulate", build, "--inputs", tiny.calibration)
    says(terminal.refused(*inputs, "--outputs", workplace / "no" / "y.npz"), "cannot be written")
    says(terminal.refused(*inputs, "--outputs", workplace), "is a folder")
    says(terminal.refused(*inputs, "--labels", "label"), "'label'", "tokens")
    says(terminal.refused(*inputs, "--labels", "tokens"), "'tokens'", "(samples,)")
    says(terminal.refused("cycles", build, "--trace", workplace / "no" / "t.json"), "cannot be written")
    assert sorted(p.name for p in workplace.iterdir()) == ["build", "wrong.npz"]


def test_verify_without_a_compiler(terminal: Terminal, tiny_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    says(terminal.refused("verify", tiny_build), "no-such-compiler", "install g++")


def test_npz_files_round_trip_whole_or_not_at_all(tmp_path: Path) -> None:
    arrays = {"a/b": np.arange(6, dtype=np.int16).reshape(2, 3), "c": np.float64(1.5), "d": np.zeros((0, 2), dtype=bool)}
    write_npz(tmp_path / "x.npz", {name: np.asarray(value) for name, value in arrays.items()})
    loaded = read_npz(tmp_path / "x.npz")
    assert loaded.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(loaded[name], value)
        assert loaded[name].dtype == np.asarray(value).dtype
    before = (tmp_path / "x.npz").read_bytes()
    with pytest.raises(ValueError, match="Object arrays"):
        write_npz(tmp_path / "x.npz", {"good": np.zeros(3), "bad": np.array([object()])})
    assert (tmp_path / "x.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]
    with pytest.raises(OutputError, match="is not a folder"):
        write_npz(tmp_path / "x.npz" / "y.npz", {"a": np.zeros(1)})
    with pytest.raises(CalibrationError, match="does not exist"):
        read_npz(tmp_path / "y.npz")
