"""A run is a file: what a build holds remakes it, and what a user writes is held to the same checks as the command line."""

from __future__ import annotations

import json
import shutil
import tomllib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import Terminal
from tiny_transformer import Tiny

import edgeflow
from edgeflow.hw import renamed
from edgeflow.hw.errors import InputError
from edgeflow.hw.format_version import FORMAT
from edgeflow.hw.renamed import RENAMED, RenamedWarning, Renaming, accepts_old_names, current_arguments, current_names
from edgeflow.sw.flow import run_file, run_reading
from edgeflow.sw.flow.options import CompileOptions


def program(folder: Path) -> tuple[bytes, bytes]:
    """What the accelerator executes."""
    return (folder / "program.bin").read_bytes(), (folder / "weights.bin").read_bytes()


def document(folder: Path) -> dict[str, Any]:
    """The run file of a build."""
    return tomllib.loads((folder / "run.toml").read_text())


@pytest.fixture(scope="module")
def overlay(tiny_build: Path) -> Path:
    """An accelerator: compiling for it takes no search."""
    return tiny_build / "overlay.json"


# What a build holds


def test_the_run_file_of_a_build_remakes_it(terminal: Terminal, tiny: Tiny, overlay: Path, tmp_path: Path) -> None:
    bits = {"layers": [{"name": "node_contract_product", "weight_bits": 4, "activation_bits": 6}]}
    (tmp_path / "bits.json").write_text(json.dumps(bits))
    options = ("--calib", tiny.calibration, "--overlay", overlay, "--seed", 3, "--bits", tmp_path / "bits.json")
    assert terminal.run("-q", "compile", tiny.model, *options, "-o", tmp_path / "first").status == 0
    assert terminal.run("-q", "compile", "--config", tmp_path / "first" / "run.toml", "-o", tmp_path / "second").status == 0
    assert program(tmp_path / "first") == program(tmp_path / "second")
    first, second = document(tmp_path / "first"), document(tmp_path / "second")
    assert first["quantization"]["layers"] == {"node_contract_product": {"weight": 4, "activation": 6}}
    assert (first["seed"], first["quantization"]["seed"]) == (3, 3)
    origin = first["made"]
    assert origin["command"].startswith("edgeflow -q compile ")
    assert origin["format"] == FORMAT
    assert origin["versions"]["edgeflow"] == edgeflow.__version__
    assert origin["date"].endswith("+00:00")
    assert set(origin["sha256"]) == {"model", "calibration", "overlay"}
    del first["made"]["command"], second["made"]["command"], first["made"]["date"], second["made"]["date"]
    assert first == second


def test_data_from_memory_is_kept_in_the_build(tiny: Tiny, overlay: Path, terminal: Terminal, tmp_path: Path) -> None:
    x = np.load(tiny.calibration)["tokens"]
    labels = np.arange(len(x)) % 4
    accelerator = edgeflow.open_build(overlay.parent).program.architecture
    edgeflow.compile(
        onnx.load(tiny.model),
        calibration=x,
        labels=labels,
        test=x + np.float32(0.1),
        overlay=accelerator,
        output=tmp_path / "first",
    )
    run = document(tmp_path / "first")
    assert (run["model"], run["calibration"], run["test"]) == ("model.original.onnx", "calibration.npz", "test.npz")
    assert (run["labels"], run.get("test_labels"), run["overlay"]) == ("labels", None, "overlay.json")
    shutil.move(tmp_path / "first", tmp_path / "moved")
    assert terminal.run("-q", "compile", "--config", tmp_path / "moved" / "run.toml", "-o", tmp_path / "second").status == 0
    assert program(tmp_path / "moved") == program(tmp_path / "second")
    # Into its own place, too: everything is read before the old build goes.
    assert terminal.run("-q", "compile", "--config", tmp_path / "moved" / "run.toml", "-o", tmp_path / "moved").status == 0
    assert program(tmp_path / "moved") == program(tmp_path / "second")


def test_a_quantized_model_is_remade_from_its_words(tiny: Tiny, overlay: Path, terminal: Terminal, tmp_path: Path) -> None:
    quantized = edgeflow.quantize(edgeflow.load(tiny.model), tiny.calibration, config=edgeflow.quantization(weight_bits=4))
    edgeflow.compile(quantized, overlay=overlay, output=tmp_path / "first")
    assert document(tmp_path / "first")["model"] == "model.qdq.onnx"
    assert terminal.run("-q", "compile", "--config", tmp_path / "first" / "run.toml", "-o", tmp_path / "second").status == 0
    assert program(tmp_path / "first") == program(tmp_path / "second")


def test_data_that_is_too_large_is_not_kept(
    tiny: Tiny, overlay: Path, terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_file, "LARGEST", 100)
    x = np.load(tiny.calibration)["tokens"]
    edgeflow.compile(tiny.model, calibration=x, overlay=overlay, output=tmp_path / "b")
    assert not (tmp_path / "b" / "calibration.npz").exists()
    config = ("compile", "--config", tmp_path / "b" / "run.toml", "-o", tmp_path / "c")
    assert "calibration data was too large to be kept: give it again" in terminal.refused(*config)
    assert terminal.run("-q", *config, "--calib", tiny.calibration).status == 0
    assert program(tmp_path / "b") == program(tmp_path / "c")


# What a user writes


def written(folder: Path, text: str, tiny: Tiny) -> Path:
    """A run file beside the files of the tiny transformer."""
    shutil.copy(tiny.model, folder / "tiny.onnx")
    shutil.copy(tiny.calibration, folder / "data.npz")
    (folder / "mine.toml").write_text(text)
    return folder / "mine.toml"


def test_options_of_the_command_line_override_those_of_the_file(
    terminal: Terminal, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
        model = "tiny.onnx"
        calibration = "data.npz"
        board = "zcu102"
        output = "made"
        seed = 1
        [sizes]
        pi = 16
        po = 16
        [quantization]
        observer = "minmax"
        seed = 7
        """
    config = written(tmp_path, text, tiny)
    seen: list[Any] = []
    from edgeflow.sw.flow import compilation

    def record(*arguments: object, **_: object) -> edgeflow.Build:
        seen.append(arguments)
        return edgeflow.open_build(tmp_path)

    monkeypatch.setattr(compilation, "compile_model", record)
    for arguments in ((), ("--board", "kv260", "--pi", 8, "--seed", 2, "--weight-bits", 4, "-o", "other", "--dim", "a=1")):
        terminal.run("-q", "compile", "--config", config, *arguments)
    (model, output, plain), (_, other, changed) = seen
    assert (model, output) == (tmp_path / "tiny.onnx", tmp_path / "made")
    assert (plain.board, plain.seed, plain.sizes, plain.calibration) == (
        "zcu102",
        1,
        {"pi": 16, "po": 16},
        str(tmp_path / "data.npz"),
    )
    assert (plain.quantization.observer, plain.quantization.seed, plain.quantization.weight_bits) == ("minmax", 7, 8)
    assert (other, changed.board, changed.seed, changed.sizes) == (Path("other"), "kv260", 2, {"pi": 8, "po": 16})
    assert (changed.quantization.observer, changed.quantization.seed, changed.quantization.weight_bits) == ("minmax", 2, 4)
    assert changed.dims == {"a": 1}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("modle = 'tiny.onnx'", ("there is no 'modle'", "budget")),
        ("bord = 'kv260'", ("there is no 'bord'", "did you mean 'board'")),
        ("[quantization]\nweight_bit = 4", ("quantization.weight_bit", "did you mean 'weight_bits'")),
        ("[quantization.layers.fc1]\nwieght = 4", ("quantization.layers.fc1.wieght", "did you mean 'weight'")),
        ("[quantization.without]\n'magic' = ['x']", ("quantization.without", "no technique 'magic'")),
        ("[sizes]\npie = 3", ("no size 'pie'", "did you mean 'pi'")),
        ("sizes = 3", ("sizes",)),
        ("quantization = 3", ("quantization",)),
        ("seed = 'one'", ("seed", "integer")),
        ("seed = ", ("not valid TOML",)),
        ("calibration = 3", ("calibration must be a path",)),
        ("labels = 'label'", ("labels", "calibration data")),
        ("overlay = 'overlay.json'\n[sizes]\npi = 16", ("overlay", "sizes")),
        ("bits = 'fit'", ("--budget",)),
        ("[made]\nformat = 1", ("has format 1", f"reads {FORMAT}")),
        ("made = 1", ("has no format version",)),
        (f"[made]\nformat = {FORMAT}\n[made.sha256]\nmodel = '00'", ("model", "SHA-256 differs")),
        (
            f"calibration = 'gone.npz'\n[made]\nformat = {FORMAT}\n[made.sha256]\ncalibration = '00'",
            ("gone.npz", "not there any more"),
        ),
    ],
)
def test_a_run_file_that_is_wrong_is_one_line(
    terminal: Terminal, tiny: Tiny, tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    config = written(tmp_path, text if text.startswith("modle") else f"model = 'tiny.onnx'\n{text}", tiny)
    message = terminal.refused(
        "compile", "--config", config, *((tiny.model,) if text.startswith("modle") else ()), "-o", tmp_path / "b"
    )
    assert all(part in message for part in parts), message
    assert "mine.toml" in message or "option" in message or "labels" in message
    assert not (tmp_path / "b").exists()


def test_a_run_file_that_is_none(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    assert "does not exist" in terminal.refused("compile", "--config", tmp_path / "nowhere.toml")
    assert "cannot be read" in terminal.refused("compile", "--config", tmp_path)
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    assert "not valid TOML" in terminal.refused("compile", "--config", tmp_path / "bytes.toml")
    assert "'MODEL'" in terminal.refused("compile", "--config", written(tmp_path, "seed = 1", tiny))


def test_another_model_may_be_given_to_a_run_file(terminal: Terminal, tiny: Tiny, overlay: Path, tmp_path: Path) -> None:
    config = written(tmp_path, f"model = 'none.onnx'\n[made]\nformat = {FORMAT}\n[made.sha256]\nmodel = '00'", tiny)
    options = ("--calib", tiny.calibration, "--overlay", overlay, "-o", tmp_path / "b")
    assert "none.onnx" in terminal.refused("compile", "--config", config, *options)
    assert terminal.run("-q", "compile", tiny.model, "--config", config, *options).status == 0


def test_a_board_of_the_users_own_is_found_again(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    from edgeflow.hw import boards

    text = (Path(boards.__file__).parent / "kv260.toml").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "board.toml").write_text(text)
    config = written(tmp_path, "model = 'tiny.onnx'\ncalibration = 'data.npz'\nboard = 'mine/board.toml'", tiny)
    assert terminal.run("-q", "compile", "--config", config, "-o", tmp_path / "first").status == 0
    run = document(tmp_path / "first")
    assert run["board"] == str(tmp_path / "mine" / "board.toml")
    assert "board" in run["made"]["sha256"]
    again = ("compile", "--config", tmp_path / "first" / "run.toml", "-o", tmp_path / "second")
    assert terminal.run("-q", *again).status == 0
    assert program(tmp_path / "first") == program(tmp_path / "second")
    (tmp_path / "mine" / "board.toml").write_text(text + "\n")
    assert "board.toml' is not the file that the run was made with" in terminal.refused(*again)


def test_every_option_of_the_command_line_has_a_place() -> None:
    from edgeflow.sw.cli.run_options import PLACES

    for first, *rest in PLACES.values():
        field = CompileOptions.model_fields[first]
        assert not rest or first == "sizes" or rest[0] in edgeflow.QuantizationConfig.model_fields
        assert field.description


# One version of everything in a build


@pytest.mark.parametrize(
    ("name", "command", "key"),
    [("manifest.json", "report", "format"), ("integer_graph.json", "verify", "format"), ("correspondence.json", "export", "format"),
     ("overlay.json", "compile", "version")],
)  # fmt: skip
def test_a_file_of_another_version_is_refused(
    terminal: Terminal, tiny: Tiny, tiny_build: Path, tmp_path: Path, name: str, command: str, key: str
) -> None:
    shutil.copytree(tiny_build, tmp_path / "build")
    changed = {**json.loads((tmp_path / "build" / name).read_text()), key: 2}
    (tmp_path / "build" / name).write_text(json.dumps(changed))
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    if name != "manifest.json":
        manifest["files"][name] = edgeflow.sw.files.build.hash_file(tmp_path / "build" / name)
        (tmp_path / "build" / "manifest.json").write_text(json.dumps(manifest))
    arguments: dict[str, tuple[object, ...]] = {
        "report": ("report", tmp_path / "build"),
        "verify": ("verify", tmp_path / "build"),
        "export": ("export", tmp_path / "build", "-o", tmp_path / "x.onnx"),
        "compile": ("compile", tiny.model, "--overlay", tmp_path / "build" / name, "-o", tmp_path / "b"),
    }
    message = terminal.refused(*arguments[command])
    assert f"has format 2, this EdgeFlow reads {FORMAT}: compile the model again" in message


def test_a_build_from_before_versions_is_refused(terminal: Terminal, tiny_build: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_build, tmp_path / "build")
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    del manifest["format"]
    (tmp_path / "build" / "manifest.json").write_text(json.dumps(manifest))
    assert "has no format version" in terminal.refused("cycles", tmp_path / "build")


# Names that changed


def test_an_old_option_of_the_command_line_is_understood(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    outcome = terminal.run("-q", "compile", tiny.model, "--ports", 3, "--pi", 4, "-o", tmp_path / "b")
    assert outcome.err.startswith(
        "warning: option --ports is now --weight-ports; version 0.3 does not know the old name any more\n"
    )
    assert "weight_ports = 3" in outcome.err
    assert current_arguments(["a", "--ports=2", "--", "--ports"])[0] == ["a", "--weight-ports=2", "--", "--ports"]


def test_old_names_go_with_the_version_that_was_said() -> None:
    current = tuple(int(part) for part in edgeflow.__version__.split(".")[:2])
    assert RENAMED
    assert all(tuple(int(part) for part in entry.goes.split(".")) > current for entry in RENAMED), "take them out"


def test_old_keys_and_python_options_are_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = (
        Renaming("run file key", "sizes.ports", "sizes.weight_ports", "9.9"),
        Renaming("run file key", "calib", "calibration", "9.9"),
        Renaming("JSON key", "sha", "sha256", "9.9"),
        Renaming("Python option", "calib", "calibration", "9.9"),
    )
    monkeypatch.setattr(renamed, "RENAMED", table)
    (tmp_path / "run.toml").write_text("calib = 'x.npz'\n[sizes]\nports = 2\npi = 8")
    with pytest.warns(
        RenamedWarning, match=r"run file key (calib is now calibration|sizes.ports is now sizes.weight_ports); version 9.9"
    ):
        options = run_reading.read_run(tmp_path / "run.toml").options
    assert options == {"calibration": str(tmp_path / "x.npz"), "sizes": {"weight_ports": 2, "pi": 8}}
    with pytest.warns(RenamedWarning, match="JSON key sha is now sha256"):
        assert current_names("JSON key", {"sha": 1, "b": 2}) == {"sha256": 1, "b": 2}
    with pytest.warns(RenamedWarning):
        assert current_names("JSON key", {"sha": 1, "sha256": 2}) == {"sha256": 2}

    @accepts_old_names
    def call(*, calibration: int) -> int:
        return calibration

    with pytest.warns(RenamedWarning, match="Python option calib is now calibration"):
        assert call(calib=3) == 3  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="both calibration and its old name calib"):
        call(calibration=1, calib=2)  # type: ignore[call-arg]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(calibration=4) == 4


def test_every_public_function_with_options_understands_old_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renamed, "RENAMED", (Renaming("Python option", "setup", "config", "9.9"),))
    with pytest.warns(RenamedWarning), pytest.raises(InputError, match="give the path of an ONNX file"):
        edgeflow.compile(7, output="b", setup=edgeflow.quantization())  # type: ignore[call-arg, arg-type]
