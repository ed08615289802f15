"""The command line: every command on a real build, its JSON, its exit statuses and its manners."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from command_line import STEP_LINES, Terminal
from header_mutations import with_another_header
from tiny_transformer import Tiny

import edgeflow
from edgeflow.hw import cache
from edgeflow.sw.cli import doctor
from edgeflow.sw.cli import main as cli
from edgeflow.sw.cli.summaries import time_taken
from edgeflow.sw.flow.steps import STEPS

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

COMMANDS = (
    "compile",
    "finetune",
    "verify",
    "simulate",
    "export",
    "cycles",
    "explore",
    "lint",
    "report",
    "boards",
    "cache",
    "doctor",
)
HEAVY = ("numpy", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "torch", "pydantic", "jinja2", "matplotlib")


def process(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeflow.sw.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def document(terminal: Terminal, *arguments: object, status: int = 0) -> dict[str, Any]:
    """The one JSON document that a command writes with --json."""
    outcome = terminal.run("--json", *arguments)
    assert outcome.status == status, outcome.err
    content: dict[str, Any] = json.loads(outcome.out)
    return content


RUN_FILES = {
    "broken.toml": "board = kv260",
    "bord.toml": "bord = 'kv260'",
    "bits.toml": "[quantization]\nweight_bits = 9",
    "data.toml": "calibration = 'none.npz'",
}


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys; from edgeflow.sw.cli.main import main; status = main(['--help']);"
        f"print('LOADED', status, [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED 0 []"
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--board", "kv261"), "unknown board 'kv261': did you mean kv260?"),
        (("--board", "mine.toml"), "mine.toml: there is no such board file"),
        (("--calib", "none.npz"), "calibration data none.npz does not exist: write it with numpy.savez"),
        (("--test", "none.npz"), "test data none.npz does not exist: write it with numpy.savez"),
        (("--config", "none.toml"), "run file none.toml does not exist"),
        (("--pi", "7"), "no accelerator has pi = 7: choose from 4, 8, 16, 32, 64"),
        (("--share", "80"), "share 80 of the board's resources is not possible"),
        (("--clock", "0"), "clock 0 MHz is not possible"),
        (("--overlay", "none.json"), "overlay none.json does not exist: give the overlay.json of a build"),
        (("--from", "quantise"), "option --from: there is no step 'quantise'; steps are import, budgets, calibrate"),
        (("--until", "quantise"), "option --until: there is no step 'quantise'; steps are import, budgets, calibrate"),
        (("--from", "fit", "--until", "export"), "option --from fit comes after --until export"),
        (("--bits", "hauk"), "option --bits takes hawq or fit, or the bits.json of a build, and 'hauk' is no such file"),
        (("--bits", "hawq"), "option --bits needs a limit to choose bits under"),
        (("--bits", "hawq", "--budget", "latency=0.5y"), "option --budget: 'latency=0.5y' is no limit"),
        (("--budget", "size=0.5x"), "a budget says how bits are to be chosen: add --bits hawq"),
        (("--labels", "y"), "option --labels names an array of the calibration or test file"),
        (("--overlay", "there.onnx", "--pi", "8"), "option overlay (--overlay) fixes the accelerator and its clock"),
        (("--config", "broken.toml"), "run file broken.toml is not valid TOML"),
        (("--config", "bord.toml"), "run file bord.toml: bord: there is no 'bord'; did you mean 'board'?"),
        (("--config", "bits.toml"), "run file bits.toml: quantization.weight_bits: Input should be less than or equal to 8"),
        (("--config", "data.toml"), "calibration data none.npz does not exist: write it with numpy.savez"),
        (("-o", "build"), "nowhere.onnx: no such file; give the path of an ONNX model"),
    ],
)
def test_a_mistyped_option_is_answered_before_anything_heavy_is_loaded(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    model = "nowhere.onnx" if options[0] == "-o" else "there.onnx"
    (tmp_path / "there.onnx").touch()
    for name, text in RUN_FILES.items():
        (tmp_path / name).write_text(text)
    answered_at_once(tmp_path, ("compile", model, *options), said)


def answered_at_once(folder: Path, words: Sequence[str], said: str) -> None:
    heavy = tuple(name for name in HEAVY if name != "pydantic")  # boards are checked with it
    program = (
        f"import sys; from edgeflow.sw.cli.main import main; status = main({list(words)!r});"
        f"print('LOADED', status, [m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=folder)
    assert done.stdout.splitlines()[-1] == "LOADED 2 []"
    assert f"error: {said}" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("check none.onnx", "none.onnx: no such file"),
        ("compile there.onnx -o there.onnx/b", "output folder there.onnx/b cannot be written: there.onnx is not a folder"),
        ("compile there.onnx -o /proc/b", "output folder /proc/b cannot be written"),
        ("explore none.onnx", "none.onnx: no such file"),
        ("explore there.onnx --board kv261", "unknown board 'kv261': did you mean kv260?"),
        ("explore there.onnx --calib none.npz", "calibration data none.npz does not exist"),
        ("explore there.onnx -o there.onnx", "output there.onnx exists and is not a folder"),
        ("explore there.onnx -o there.onnx/e", "output folder there.onnx/e cannot be written: there.onnx is not a folder"),
        ("explore there.onnx -o .", "output folder . exists and is not an exploration"),
        ("export none -o q.onnx", "none is not a folder: give a build folder"),
        ("export . -o q.onnx", ". is not an EdgeFlow build (it has no manifest.json)"),
        ("export build -o none/q.onnx", "output none/q.onnx cannot be written: none is not a folder"),
        ("finetune none.onnx --data d.npz -o t.onnx", "none.onnx: no such file"),
        ("finetune there.onnx --data none.npz -o t.onnx", "training data none.npz does not exist"),
        ("compare build none", "none is not a folder: give a build folder"),
        ("compare build build --html none/c.html", "output none/c.html cannot be written: none is not a folder"),
        ("simulate none --inputs x.npz --outputs y.npz", "none is not a folder: give a build folder"),
        ("simulate build --inputs none.npz --outputs y.npz", "inputs none.npz does not exist"),
        ("simulate build --inputs there.onnx --outputs none/y.npz", "output none/y.npz cannot be written"),
        ("verify none", "none is not a folder: give a build folder"),
        ("verify build --inputs none.npz", "inputs none.npz does not exist"),
        ("cycles none", "none is not a folder: give a build folder"),
        ("report none", "none is not a folder: give a build folder"),
    ],
)
def test_a_mistyped_path_is_answered_before_anything_heavy_is_loaded(words: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "there.onnx").touch()
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "manifest.json").touch()
    answered_at_once(tmp_path, words.split(), said)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["build", "there.onnx"]


def test_time_is_told_by_step() -> None:
    text = time_taken(20.0, {"import": 1.0, "bits": 0.0, "quantize": 15.0})
    assert text == "20.0 s: import 1.0 s (5 %), quantize 15.0 s (75 %), start and report 4.0 s (20 %)"


def test_importing_edgeflow_loads_no_torch() -> None:
    program = f"import sys, edgeflow; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(terminal: Terminal, command: str) -> None:
    outcome = terminal.run(command, "--help")
    assert outcome.status == 0
    assert outcome.out.startswith(f"Usage: edgeflow {command}")
    assert outcome.err == ""


def test_no_arguments_is_help(terminal: Terminal) -> None:
    assert terminal.run() == terminal.run("--help")


def test_version(terminal: Terminal) -> None:
    from importlib import metadata

    assert terminal.run("--version").out == f"edgeflow {metadata.version('edgeflow')}\n"


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("compil",), ("'compil'", "Did you mean 'compile'", "edgeflow --help")),
        (("boards", "--jsn"), ("--jsn", "edgeflow boards --help")),
        (("compile", "m.onnx", "--bord", "kv260"), ("--bord", "--board", "edgeflow compile --help")),
        (("compile",), ("'MODEL'", "edgeflow compile --help")),
        (("compile", "m.onnx", "--clock", "fast"), ("--clock", "number")),
        (("compile", "m.onnx", "--observer", "median"), ("--observer", "minmax", "percentile", "mse")),
        (("compile", "m.onnx", "--seed", "-1"), ("--seed", "0")),
        (("compile", "m.onnx", "--weight-bits", "1"), ("--weight-bits", "2")),
        (("compile", "m.onnx", "--weight-bits", "9"), ("--weight-bits", "8")),
        (("compile", "m.onnx", "--activation-bits", "1"), ("--activation-bits", "2")),
        (("verify", "build", "extra"), ("extra", "edgeflow verify --help")),
        (("simulate", "build"), ("--inputs", "edgeflow simulate --help")),
        (("simulate", "build", "--inputs"), ("--inputs",)),
        (("simulate", "build", "--inputs", "x.npz"), ("--outputs", "--labels")),
        (("simulate", "build", "--inputs", "x.npz", "--outputs", "y.npz", "--exact"), ("--exact", "--engine csim")),
        (("verify", "build", "--samples", "0"), ("--samples", "1")),
        (("compile", "m.onnx", "--dim", "sequence"), ("--dim", "'sequence'", "--dim sequence=128")),
        (("compile", "m.onnx", "--dim", "sequence=0"), ("--dim", "'sequence=0'", "positive")),
        (("compile", "m.onnx", "--overlay", "overlay.json", "--clock", "100"), ("--overlay", "--clock")),
        (("compile", "m.onnx", "--overlay", "overlay.json", "--po", "16"), ("--overlay", "--po")),
    ],
)
def test_a_usage_error_is_one_line_with_a_hint(terminal: Terminal, arguments: tuple[str, ...], parts: tuple[str, ...]) -> None:
    message = terminal.refused(*arguments)
    assert all(part in message for part in parts), message


def test_errors_are_json_too(terminal: Terminal) -> None:
    outcome = terminal.run("report", "nowhere", "--json")
    assert outcome.status == 2
    error = json.loads(outcome.out)["error"]
    assert error == {"type": "InputError", "message": outcome.err.removeprefix("error: ").rstrip("\n"), "exit_status": 2}


def test_compile_sums_up_what_it_made(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    outcome = terminal.run("compile", tiny.model, "--calib", tiny.calibration, "-o", tmp_path / "made")
    assert outcome.status == 0
    assert STEP_LINES.fullmatch(outcome.err)
    steps = [line.split(": ")[1].rpartition(", ")[0] for line in outcome.err.splitlines()]
    assert steps == [step.name for step in STEPS]
    for part in ("tiny.onnx", "kv260", "multiply-adds", "predicted", "16 samples", "not meaningful", "report.html"):
        assert part in outcome.out
    assert "random" not in outcome.out
    assert [p.name for p in tmp_path.iterdir()] == ["made"]


def test_compile_honours_its_options(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    sizes = ("--pi", 4, "--po", 8, "--epilogue", 4, "--vector", 2, "--weight-ports", 1, "--share", 0.9)
    options = ("--board", "PYNQ-Z2", "--clock", "75", "--observer", "minmax", "--seed", "3", "-o", tmp_path / "made", *sizes)
    summary = document(terminal, "compile", tiny.model, "--calib", tiny.calibration, *options)
    assert (summary["board"], summary["clock_mhz"], summary["build"]) == ("pynq-z2", 75, str(tmp_path / "made"))
    build = edgeflow.open_build(tmp_path / "made")
    sizes_of_build = [getattr(build.program.architecture, name) for name in ("pi", "po", "epilogue", "vector", "weight_ports")]
    assert sizes_of_build == [4, 8, 4, 2, 1]
    manifest = build.manifest
    assert (manifest["quantization"]["observer"], manifest["seed"], manifest["board"]) == ("minmax", 3, "pynq-z2")


def test_compile_takes_bits_and_says_what_techniques_bring(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    options = ["--weight-bits", "4", "--activation-bits", "4", "--ablation", "-o", tmp_path / "made"]
    summary = document(terminal, "compile", tiny.model, "--calib", tiny.calibration, *options)
    assert 4 in {layer["weight_bits"] for layer in summary["layers"]}
    assert 4 in {layer["activation_bits"] for layer in summary["layers"]}
    assert {"equalization", "compensated rounding"} <= {line["technique"] for line in summary["quantization"]["techniques"]}
    assert summary["quantization"]["rounding"]
    shown = " ".join(terminal.run("report", tmp_path / "made").out.split())
    for line in summary["quantization"]["techniques"]:
        gain = line["with_db"] - line["without_db"]
        assert f"{line['technique']} {gain:+.1f} dB ({line['with_db']:.1f} with it, {line['without_db']:.1f} without)" in shown
    assert terminal.run("-q", "verify", tmp_path / "made", "--samples", "1").status == 0


def test_compile_without_data_says_that_accuracy_means_nothing(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    outcome = terminal.run("compile", tiny.model, "-o", tmp_path / "made")
    assert outcome.status == 0
    assert "mean nothing" in outcome.out


def test_compile_for_an_existing_overlay(terminal: Terminal, tiny: Tiny, tiny_build: Path, tmp_path: Path) -> None:
    options = ("--calib", tiny.calibration, "--overlay", tiny_build / "overlay.json", "-o", tmp_path / "made")
    assert terminal.run("-q", "compile", tiny.model, *options).status == 0
    assert (tmp_path / "made" / "program.bin").read_bytes() == (tiny_build / "program.bin").read_bytes()


def test_quiet_says_nothing(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    outcome = terminal.run("compile", tiny.model, "--calib", tiny.calibration, "-o", tmp_path / "made", "--quiet")
    assert (outcome.status, outcome.out, outcome.err) == (0, "", "")


def test_verify_compares_every_tensor(terminal: Terminal, tiny_build: Path) -> None:
    verification = document(terminal, "verify", tiny_build)
    graph = edgeflow.open_build(tiny_build).graph
    assert verification["passed"] is True
    assert verification["differing"] == 0
    assert verification["samples"] == 8
    assert [t["name"] for t in verification["tensors"]] == [*graph.inputs, *(node.output for node in graph.nodes)]
    assert verification["words"] == sum(t["words"] for t in verification["tensors"])
    assert all(t["words"] for t in verification["tensors"])


def test_verify_takes_inputs_of_ones_own(terminal: Terminal, tiny: Tiny, tiny_build: Path) -> None:
    outcome = terminal.run("verify", tiny_build, "--inputs", tiny.calibration, "--samples", "3")
    assert outcome.status == 0
    assert "passed" in outcome.out
    assert document(terminal, "verify", tiny_build, "--inputs", tiny.calibration, "--samples", "3")["samples"] == 3


def test_verify_fails_with_status_1_when_the_hardware_computes_something_else(
    terminal: Terminal, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = tmp_path / "build"
    with_another_header(monkeypatch, "requantize.hpp", "(kept + 1) >> 1", "kept >> 1")  # rounds down
    assert terminal.run("compile", tiny.model, "--calib", tiny.calibration, "-o", build).status == 0
    outcome = terminal.run("verify", build)
    assert outcome.status == 1
    assert "FAILED" in outcome.out
    assert "first difference" in outcome.out
    verification = document(terminal, "verify", build, status=1)
    assert verification["passed"] is False
    assert verification["differing"] > 0


def test_simulate_writes_the_outputs_of_both_engines(terminal: Terminal, tiny: Tiny, tiny_build: Path, tmp_path: Path) -> None:
    with np.load(tiny.calibration) as archive:
        inputs = dict(archive)
    results = {}
    for engine in ("numpy", "csim"):
        file = tmp_path / f"{engine}.npz"
        options = ("--inputs", tiny.calibration, "--outputs", file, "--engine", engine)
        summary = document(terminal, "simulate", tiny_build, *options)
        assert summary["outputs"] == {"logits": {"shape": [16, 4]}}
        with np.load(file) as archive:
            results[engine] = archive["logits"]
    expected = edgeflow.simulate(edgeflow.open_build(tiny_build), inputs)["logits"]
    np.testing.assert_array_equal(results["numpy"], expected)
    np.testing.assert_array_equal(results["csim"], expected)
    assert {p.name for p in tmp_path.iterdir()} == {"numpy.npz", "csim.npz"}


def test_simulate_scores_labels(terminal: Terminal, tiny: Tiny, tiny_build: Path, tmp_path: Path) -> None:
    with np.load(tiny.calibration) as archive:
        inputs = dict(archive)
    classes = edgeflow.simulate(tiny_build, inputs)["logits"].argmax(axis=1)
    labels = classes.copy()
    labels[:4] = (labels[:4] + 1) % 4
    np.savez(tmp_path / "labelled.npz", label=labels, **inputs)
    options = ("--inputs", tmp_path / "labelled.npz", "--labels", "label")
    assert document(terminal, "simulate", tiny_build, *options)["top1_accuracy"] == 0.75
    exact = edgeflow.simulate(tiny_build, inputs, engine="float")["logits"].argmax(axis=1)
    assert document(terminal, "simulate", tiny_build, *options)["float_top1_accuracy"] == np.mean(exact == labels)
    assert "75.00 %" in terminal.run("simulate", tiny_build, *options).out
    assert document(terminal, "verify", tiny_build, *options)["passed"] is True


def test_cycles_add_up_and_leave_a_trace(terminal: Terminal, tiny_build: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace.json"
    prediction = document(terminal, "cycles", tiny_build, "--trace", trace)
    assert prediction["cycles"] == sum(layer["cycles"] for layer in prediction["layers"]) == sum(prediction["units"].values())
    assert prediction["cycles"] == edgeflow.open_build(tiny_build).report["cycles"]
    kinds = ("compute", "memory", "fill", "waiting")
    assert prediction["cycles"] == sum(prediction[kind] for kind in kinds)
    assert all(layer["cycles"] == sum(layer[kind] for kind in kinds) for layer in prediction["layers"])
    assert 0 < max(prediction["limits"].values()) <= prediction["cycles"]
    assert prediction["gops_per_dsp"] == pytest.approx(2 * prediction["macs"] / prediction["latency_ms"] / 1e6 / prediction["dsp"])
    assert set(prediction["not_hidden"]) < set(prediction["units"])
    events = [e for e in json.loads(trace.read_text())["traceEvents"] if e["ph"] == "X" and "compute" in e["args"]]
    assert sum(e["args"][kind] for e in events for kind in kinds) == prediction["cycles"]
    text = terminal.run("cycles", tiny_build).out
    assert f"{prediction['cycles']:,} (predicted" in text
    assert all(word in text for word in ("not hidden behind the array", "limits", "a DSP over all"))


def test_cycles_at_another_clock(terminal: Terminal, tiny_build: Path) -> None:
    slow, fast = (document(terminal, "cycles", tiny_build, "--clock", mhz) for mhz in (100, 200))
    assert slow["latency_ms"] == pytest.approx(slow["cycles"] / 100e3)
    assert slow["latency_ms"] > fast["latency_ms"]


def test_report_is_the_file_and_lists_layers(terminal: Terminal, tiny_build: Path) -> None:
    stored = json.loads((tiny_build / "report.json").read_text())
    assert document(terminal, "report", tiny_build) == stored
    text = terminal.run("report", tiny_build, "--layers").out
    assert all(layer["name"] in text for layer in stored["layers"])


def test_lint_finds_nothing_in_a_build(terminal: Terminal, tiny_build: Path) -> None:
    assert document(terminal, "lint", tiny_build)["findings"] == []
    assert "no findings" in terminal.run("lint", tiny_build).out
    assert terminal.run("lint", tiny_build / "hls", "--quiet").out == ""


def test_lint_names_file_line_rule_and_what_to_do(terminal: Terminal, tiny_build: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_build / "hls", tmp_path / "hls")
    top = tmp_path / "hls" / "include" / "edgeflow" / "network" / "feed.hpp"
    text = top.read_text().replace("#pragma HLS PIPELINE II=1", "#pragma HLS PIPLINE II=1", 1)
    top.write_text(text)
    line = 1 + text[: text.index("PIPLINE")].count("\n")
    outcome = terminal.run("lint", tmp_path / "hls")
    assert (outcome.status, outcome.err) == (1, "")
    assert f"{top}:{line}: error: #pragma HLS PIPLINE is unknown: did you mean PIPELINE? [unknown-pragma]\n" in outcome.out
    assert "Correct the name" in outcome.out
    quiet = terminal.run("lint", tmp_path / "hls", "--quiet").out
    assert quiet
    assert all(": error: " in shown or ": warning: " in shown for shown in quiet.splitlines())
    findings = document(terminal, "lint", tmp_path / "hls", status=1)["findings"]
    wrong = next(one for one in findings if one["rule"] == "unknown-pragma")
    assert (wrong["file"], wrong["line"], wrong["level"]) == (str(top), line, "error")
    assert wrong["remedy"].startswith("Correct the name")


def test_lint_refuses_what_is_no_code(terminal: Terminal, tmp_path: Path) -> None:
    assert "is not a folder" in terminal.refused("lint", tmp_path / "nowhere")
    assert "no edgeflow_top.cpp" in terminal.refused("lint", tmp_path)


def test_lint_without_libclang_names_the_extra(tiny_build: Path) -> None:
    start = "import sys; sys.modules['clang'] = None; from edgeflow.sw.cli.main import main"
    program = f"{start}; sys.exit(main(['lint', {str(tiny_build)!r}]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "pip install 'edgeflow[lint]'" in done.stderr


def test_boards(terminal: Terminal) -> None:
    boards = document(terminal, "boards")["boards"]
    assert [b["name"] for b in boards] == list(edgeflow.boards())
    text = terminal.run("--quiet", "boards").out
    assert all(b["name"] in text and b["part"] in text for b in boards)
    one = terminal.run("boards", "kv260").out
    assert "1,248" in one
    assert "source" in one


def test_the_cache_is_shown_limited_and_cleared(terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFLOW_CACHE", str(tmp_path / "cache"))
    for i in range(3):
        path = cache.store("steps", f"{i}", ".pickle", lambda file: file.write(bytes(400_000)))
        assert path is not None
        os.utime(path, (i, i))
    shown = document(terminal, "cache")
    assert (shown["folder"], shown["bytes"], shown["limit_bytes"]) == (str(tmp_path / "cache"), 1_200_000, 2_000_000_000)
    assert {part["name"]: part["files"] for part in shown["parts"]} == {"csim": 0, "steps": 3, "loops": 0, "fonts": 0}
    text = terminal.run("cache").out
    assert "1.2 MB of 2000.0 MB" in text
    assert document(terminal, "cache", "--limit", "0.9MB")["bytes"] == 800_000
    assert document(terminal, "cache")["limit_bytes"] == 900_000
    assert document(terminal, "cache", "--clear")["bytes"] == 0
    for size in ("much", "-1", "1XB", ""):
        assert "500MB" in terminal.refused("cache", "--limit", size)
    monkeypatch.setenv("EDGEFLOW_CACHE", "/dev/null")
    assert "/dev/null" in terminal.refused("cache", "--limit", "1GB")
    assert document(terminal, "cache")["bytes"] == 0


def test_doctor_finds_what_is_here(terminal: Terminal) -> None:
    outcome = terminal.run("doctor")
    assert outcome.status == 0
    findings = {f["name"]: f for f in document(terminal, "doctor")["findings"]}
    assert findings["numpy"]["detail"] == np.__version__
    assert findings["C++ compiler"]["found"]


def test_doctor_fails_only_on_what_is_required(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    diagnosis = document(terminal, "doctor")
    assert diagnosis["healthy"] is True
    assert not next(f for f in diagnosis["findings"] if f["name"] == "C++ compiler")["found"]
    monkeypatch.setattr(doctor, "REQUIRED", ("edgeflow-part-that-is-not-there",))
    assert document(terminal, "doctor", status=1)["healthy"] is False
    assert "MISSING" in terminal.run("doctor").out


def test_an_unexpected_error_is_one_line(terminal: Terminal, tiny_build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the\nflux is out of phase")

    monkeypatch.setattr(edgeflow, "open_build", fail)
    outcome = terminal.run("report", tiny_build)
    assert outcome.status == cli.INTERNAL
    assert outcome.err.count("\n") == 1
    for part in ("internal error", "RuntimeError", "flux is out of phase", "report", "EDGEFLOW_DEBUG=1"):
        assert part in outcome.err
    monkeypatch.setenv("EDGEFLOW_DEBUG", "1")
    assert "Traceback" in terminal.run("report", tiny_build).err


def test_a_closed_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stdout:
        command = [sys.executable, "-m", "edgeflow.sw.cli.main", "boards"]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(("number", "status", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")])
def test_a_signal_is_one_line(tmp_path: Path, tiny_build: Path, number: signal.Signals, status: int, word: str) -> None:
    program = (
        "import sys, time, edgeflow; from pathlib import Path; from edgeflow.sw.cli.main import main\n"
        f"edgeflow.open_build = lambda folder: (Path({str(tmp_path / 'ready')!r}).touch(), time.sleep(60))\n"
        f"sys.exit(main(['report', {str(tiny_build)!r}]))"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(number)
    assert STEP_LINES.sub("", child.communicate(timeout=60)[1]) == f"error: {word}\n"
    assert child.returncode == status


def test_the_module_runs_as_a_program() -> None:
    done = process("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert process("boards", "nothing").returncode == 2


def test_progress_goes_to_a_terminal_only_and_leaves_no_trace_in_results(tiny: Tiny, tmp_path: Path) -> None:
    """On a terminal, progress is drawn on standard error; standard output stays one JSON document."""
    leader, follower = os.openpty()
    command = [sys.executable, "-m", "edgeflow.sw.cli.main", "--json", "compile", str(tiny.model), "-o", str(tmp_path / "made")]
    written = tmp_path / "document.json"  # no pipe, which would be full before anybody reads it
    with (
        written.open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=follower, env={**os.environ, "TERM": "xterm"}) as child,
    ):
        os.close(follower)
        drawn = b""
        with contextlib.suppress(OSError):  # the terminal closes when the child ends
            while piece := os.read(leader, 1 << 16):
                drawn += piece
    os.close(leader)
    assert child.returncode == 0
    assert json.loads(written.read_text())["model"] == "tiny.onnx"
    assert f"step {len(STEPS)} of {len(STEPS)}: ".encode() in drawn


def test_text_in_brackets_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    from edgeflow.sw.cli.console import Console, facts, table

    def render(out: RichConsole) -> None:
        table(out, ("name",), [("pip install 'edgeflow[exact]'",)])
        facts(out, [("[bold]", "[/red]")])

    Console().show({}, render)
    text = capsys.readouterr().out
    assert all(part in text for part in ("edgeflow[exact]", "[bold]", "[/red]"))
