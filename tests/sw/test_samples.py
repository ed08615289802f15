"""Accuracy is measured on samples that no number of the network depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from command_line import STEP_LINES, Terminal
from numpy.typing import NDArray
from tiny_transformer import Tiny

import edgeflow
from edgeflow.hw.errors import CalibrationError
from edgeflow.quant.canonical.inputs import decode_outputs, distinct, encode_inputs
from edgeflow.quant.techniques.sqnr import signal_to_noise
from edgeflow.sim.executor import Executor
from edgeflow.sw.measure.samples import Samples, UserData, choose_samples, held_out
from edgeflow.sw.measure.screening import ENOUGH, far_samples, guesses

CASES = Path(__file__).parents[1] / "cases"
CLASSES = 4  # of the tiny transformer
SETTING: dict[str, Any] = {"board": "kv260", "sizes": {"pi": 8, "po": 8}}
PLAIN = edgeflow.quantization(selection_work=0.0)  # quick


def drawn(samples: int = 16, *, seed: int = 1) -> NDArray[np.float32]:
    """Inputs of the tiny transformer."""
    return np.random.default_rng(seed).normal(0, 1, (samples, 5, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> Path:
    return tiny.model


@pytest.fixture(scope="module")
def canonical(model: Path) -> ir.Model:
    return edgeflow.load(model)


def chosen(model: ir.Model, tokens: NDArray[Any], seed: int = 0, **fields: Any) -> Samples:
    return choose_samples(model, UserData({"tokens": tokens}, **fields), None, seed)


def words(build: Any) -> dict[str, bytes]:
    """What the hardware gets."""
    return {
        name: (build.folder / name).read_bytes() for name in ("program.bin", "weights.bin", "integer_graph.npz", "overlay.json")
    }


def test_a_quarter_is_held_out_from_enough_samples_on(canonical: ir.Model) -> None:
    few = chosen(canonical, drawn(ENOUGH - 1))
    assert len(few) == ENOUGH - 1
    assert few.unseen is None
    assert few.reason.startswith("63 calibration samples")
    enough = chosen(canonical, drawn(ENOUGH))
    assert enough.unseen is not None
    assert (len(enough), len(enough.unseen), enough.unseen.origin) == (48, 16, "held_out")
    both = np.concatenate([enough.calibration["tokens"], enough.unseen.arrays["tokens"]])
    assert sorted(map(bytes, both)) == sorted(map(bytes, drawn(ENOUGH)))


def test_the_choice_is_seeded(canonical: ir.Model) -> None:
    first, again, other = (chosen(canonical, drawn(ENOUGH), seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.calibration["tokens"], again.calibration["tokens"])
    assert not np.array_equal(first.calibration["tokens"], other.calibration["tokens"])


def test_no_copy_of_a_held_out_sample_calibrates(canonical: ir.Model) -> None:
    tokens = np.concatenate([drawn(ENOUGH)] * 3)
    samples = chosen(canonical, tokens)
    assert samples.unseen is not None
    assert (len(samples), len(samples.unseen)) == (144, 48)
    assert not {bytes(x) for x in samples.calibration["tokens"]} & {bytes(x) for x in samples.unseen.arrays["tokens"]}
    copies = chosen(canonical, np.concatenate([drawn(8)] * 16))
    assert copies.unseen is None
    assert copies.reason.startswith("8 distinct calibration samples")


def test_no_calibration_sample_is_test_data(canonical: ir.Model) -> None:
    tokens = drawn(ENOUGH)
    mixed = UserData({"tokens": np.concatenate([tokens[:5], drawn(7, seed=2)])}, np.arange(12) % CLASSES, "test data")
    samples = choose_samples(canonical, UserData({"tokens": tokens}), mixed, 0)
    assert samples.unseen is not None
    assert samples.unseen.labels is not None
    np.testing.assert_array_equal(samples.unseen.arrays["tokens"], drawn(7, seed=2))
    np.testing.assert_array_equal(samples.unseen.labels, np.arange(5, 12) % CLASSES)
    assert samples.warnings == ("test data: 5 samples are calibration samples, too: left out of accuracy",)
    same = choose_samples(canonical, UserData({"tokens": tokens}), UserData({"tokens": tokens[:9]}, what="test data"), 0)
    assert same.unseen is None
    assert same.reason.startswith("every sample of test data is a calibration sample, too")


def test_labels_follow_their_samples(canonical: ir.Model) -> None:
    tokens = drawn(ENOUGH)
    labels = np.arange(ENOUGH) % CLASSES
    samples = chosen(canonical, tokens, labels=labels)
    assert samples.unseen is not None
    assert samples.labels is not None
    assert samples.unseen.labels is not None
    held = held_out(distinct({"tokens": tokens}), 0)
    np.testing.assert_array_equal(samples.labels, labels[~held])
    np.testing.assert_array_equal(samples.unseen.labels, labels[held])
    with pytest.raises(CalibrationError, match=r"data\.npz: labels: there are 3 for 64 samples"):
        chosen(canonical, tokens, labels=labels[:3], what="calibration data data.npz")


def test_held_out_samples_influence_no_word(model: Path, tmp_path: Path) -> None:
    tokens = drawn(ENOUGH)
    held = held_out(distinct({"tokens": tokens}), 0)
    changed = tokens.copy()
    changed[held] = 3 * changed[held][::-1] + 1
    builds = [
        edgeflow.compile(model, calibration={"tokens": x}, output=tmp_path / str(i), **SETTING)
        for i, x in enumerate((tokens, changed))
    ]
    assert words(builds[0]) == words(builds[1])
    sqnr = [build.report["accuracy"]["sqnr_db"] for build in builds]
    assert sqnr[0] != sqnr[1]


def test_the_report_measures_the_held_out_samples(model: Path, tmp_path: Path) -> None:
    tokens = drawn(ENOUGH)
    labels = np.arange(ENOUGH) % CLASSES
    build = edgeflow.compile(
        model, calibration={"tokens": tokens}, labels=labels, output=tmp_path / "build", config=PLAIN, **SETTING
    )
    report = build.report
    assert report["calibration"] == {"data": "user", "samples": 48, "held_out": 16}
    accuracy = report["accuracy"]
    assert (accuracy["data"], accuracy["samples"], accuracy["meaningful"]) == ("held_out", 16, True)
    held = held_out(distinct({"tokens": tokens}), 0)
    unseen = {"tokens": tokens[held]}
    integer, floats = (edgeflow.simulate(build, unseen, engine=engine)["logits"] for engine in ("numpy", "float"))
    assert accuracy["top1_agreement"] == np.mean(integer.argmax(axis=1) == floats.argmax(axis=1))
    assert accuracy["top1_accuracy"] == np.mean(integer.argmax(axis=1) == labels[held])
    assert accuracy["float_top1_accuracy"] == np.mean(floats.argmax(axis=1) == labels[held])
    noise = np.sum((floats - integer.astype(np.float64)) ** 2)
    assert accuracy["sqnr_db"] == pytest.approx(10 * np.log10(np.sum(floats.astype(np.float64) ** 2) / noise), abs=1e-3)
    np.testing.assert_array_equal(build.golden()["tokens"], tokens[held][:8])
    assert edgeflow.verify(build, samples=1).origin == "held_out"
    assert edgeflow.verify(build, unseen, samples=1).origin == "given"


def test_test_data_measures_and_all_calibration_samples_set_ranges(terminal: Terminal, model: Path, tmp_path: Path) -> None:
    calibration, test = tmp_path / "calibration.npz", tmp_path / "test.npz"
    tokens, other = drawn(ENOUGH), drawn(20, seed=7)
    label = np.arange(20) % CLASSES
    np.savez(calibration, tokens=tokens)
    np.savez(test, tokens=other, label=label)
    options = ("--calib", calibration, "--test", test, "--labels", "label", "--pi", "8", "--po", "8", "-o", tmp_path / "build")
    outcome = terminal.run("--json", "compile", model, *options)
    assert outcome.status == 0
    report = json.loads(outcome.out)
    assert report["calibration"] == {"data": "user", "samples": 64, "held_out": 0}
    assert (report["accuracy"]["data"], report["accuracy"]["samples"]) == ("test", 20)
    integer = edgeflow.simulate(tmp_path / "build", {"tokens": other})["logits"]
    assert report["accuracy"]["top1_accuracy"] == np.mean(integer.argmax(axis=1) == label)
    seen = next(line for line in report["ranges"] if line["tensor"] == "tokens")
    assert (seen["minimum"], seen["maximum"]) == (tokens.min(), tokens.max())
    text = terminal.run("report", tmp_path / "build").out
    assert "20 samples of test data" in text
    assert "top-1 accuracy" in text


def test_below_that_no_figure_stands_where_one_would_be(terminal: Terminal, tiny_build: Path) -> None:
    report = edgeflow.open_build(tiny_build).report
    note = "not meaningful: 16 calibration samples"
    assert report["accuracy"]["note"].startswith(note)
    assert not report["accuracy"]["meaningful"]
    figures = [report["accuracy"][key] for key in ("sqnr_db", "top1_agreement", "top1_accuracy", "float_top1_accuracy")]
    figures += [line["sqnr_db"] for line in report["accuracy"]["outputs"] + report["layers"]]
    assert set(figures) == {None}
    assert report["accuracy"]["samples"] == 0
    text = terminal.run("report", tiny_build).out
    assert note in text
    assert " dB" not in text
    assert "%" not in text.split("accuracy")[1].split("warning")[0]
    assert "say little of unseen data" in terminal.run("verify", tiny_build, "--samples", "1").out


def test_labels_are_looked_for_where_accuracy_is_measured(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    np.savez(tmp_path / "labelled.npz", tokens=drawn(), label=np.zeros(16, np.int64))
    options = ("-o", tmp_path / "build", "--labels", "label")
    assert "--calib" in terminal.refused("compile", tiny.model, *options)
    assert "test data" in terminal.refused(
        "compile", tiny.model, "--calib", tmp_path / "labelled.npz", "--test", tiny.calibration, *options
    )
    assert f"calibration data {tiny.calibration}" in terminal.refused("compile", tiny.model, "--calib", tiny.calibration, *options)
    np.savez(tmp_path / "wrong.npz", tokens=drawn(), label=np.full(16, CLASSES))
    message = terminal.refused("compile", tiny.model, "--test", tmp_path / "wrong.npz", *options)
    assert message.startswith(f"test data {tmp_path / 'wrong.npz'}: labels: {CLASSES} is no class")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (drawn()[0], "has 3 axes in the model and 2 in {}"),
        (drawn()[..., :8], "the model fixes size 16, {} has 8"),
        (np.full((16, 5, 16), np.nan, np.float32), "{}: input 'tokens' holds nan"),
        (np.ones((16, 5, 16), np.int64), "{}: input 'tokens' has type int64"),
    ],
)
def test_messages_name_the_file(terminal: Terminal, tiny: Tiny, tmp_path: Path, tokens: NDArray[Any], message: str) -> None:
    file = tmp_path / "bad.npz"
    np.savez(file, tokens=tokens)
    for option, what in (("--calib", "calibration data"), ("--test", "test data")):
        assert message.format(f"{what} {file}") in terminal.refused("compile", tiny.model, option, file, "-o", tmp_path / "build")
    said = terminal.refused("explore", tiny.model, "--calib", file, "-o", tmp_path / "sweep")
    assert message.format(f"calibration data {file}") in said


def screened(tokens: NDArray[Any]) -> list[str]:
    """The warnings of the tiny transformer's data."""
    arrays = {"tokens": tokens}
    far = [line.warning("data", left_out=line.certain) for line in far_samples(arrays, ("tokens",))]
    return far + guesses(arrays, ("tokens",), "data")


def test_good_data_gives_no_warning() -> None:
    assert screened(drawn(ENOUGH)) == []
    spread = drawn(ENOUGH) * np.geomspace(1e-3, 1e3, ENOUGH).reshape(-1, 1, 1).astype(np.float32)
    assert screened(spread) == []  # loud and quiet samples, but none apart from all others


def test_a_sample_far_from_the_others_is_named_and_left_out(canonical: ir.Model) -> None:
    tokens = drawn(ENOUGH + 1)
    tokens[5] *= 1000
    tokens[60] *= 400
    (warning,) = screened(tokens)
    rest = np.abs(np.delete(tokens, [5, 60], axis=0)).max()
    assert f"reaches {np.abs(tokens[5]).max():.4g} in samples 5, 60 (counted from 0), {rest:.4g} in the others" in warning
    samples = chosen(canonical, tokens, labels=np.arange(ENOUGH + 1) % CLASSES)
    assert samples.unseen is not None
    assert (len(samples), len(samples.unseen), samples.guesses) == (48, 15, ())  # enough were given
    assert [line.removeprefix("calibration ") for line in samples.warnings] == [warning]
    numbers = {bytes(x): i for i, x in enumerate(tokens)}
    parts = (samples.calibration["tokens"], samples.labels), (samples.unseen.arrays["tokens"], samples.unseen.labels)
    kept = [(numbers[bytes(x)], label) for xs, labels in parts if labels is not None for x, label in zip(xs, labels, strict=True)]
    assert sorted(kept) == [(i, i % CLASSES) for i in range(ENOUGH + 1) if i not in (5, 60)]


def test_samples_of_two_kinds_are_told_and_kept(canonical: ir.Model) -> None:
    tokens = drawn(80)
    tokens[::4] *= 1000
    (line,) = far_samples({"tokens": tokens}, ("tokens",))
    assert (line.samples, line.certain) == (tuple(range(0, 80, 4)), False)
    samples = chosen(canonical, tokens)
    assert len(samples) == 60
    (warning,) = samples.warnings
    assert "in samples 0, 4, 8, 12, 16, 20, 24, 28, ... (counted from 0, 20 in all)" in warning
    assert "ranges that cover both leave little precision to the others" in warning


def test_among_few_samples_none_is_left_out(canonical: ir.Model) -> None:
    tokens = drawn(4)
    tokens[2] *= 1000
    assert "in sample 2 " in screened(tokens)[0]
    assert "check the data" in screened(tokens)[0]
    assert len(chosen(canonical, tokens)) == 4


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        (drawn(1), ["there is one sample"]),
        (np.repeat(drawn(1), 16, axis=0), ["all 16 samples are equal"]),
        (drawn(16), ["ranges from 16 samples are guesses"]),
        (np.repeat(drawn(20), 4, axis=0), ["ranges from 80 samples (20 different ones) are guesses"]),
        (drawn(ENOUGH) * np.float32(1e-40), ["no value of input 'tokens' exceeds"]),
        (np.full((ENOUGH, 5, 16), 2.5, np.float32), ["all 64 samples are equal", "every value of input 'tokens' is 2.5"]),
    ],
)
def test_poor_data_is_said_to_be_that(tokens: NDArray[Any], expected: list[str]) -> None:
    lines = screened(tokens)
    assert len(lines) == len(expected)
    assert all(part in line for part, line in zip(expected, lines, strict=True))


def test_an_input_that_never_changes_is_named() -> None:
    arrays: dict[str, NDArray[Any]] = {
        "a": drawn(ENOUGH),
        "b": np.repeat(drawn(1), ENOUGH, axis=0),
        "mask": np.ones((ENOUGH, 5), np.int64),
    }
    (warning,) = guesses(arrays, ("a", "b"), "data")
    assert "input 'b' is the same in all 64 samples" in warning


def test_warnings_reach_the_user(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    tokens = drawn(ENOUGH)
    tokens[5] *= 1000
    data = tmp_path / "data.npz"
    np.savez(data, tokens=tokens)
    outcome = terminal.run("compile", tiny.model, "--calib", data, "--pi", "8", "--po", "8", "-o", tmp_path / "build")
    assert outcome.status == 0
    warnings = edgeflow.open_build(tmp_path / "build").report["warnings"]
    assert f"calibration data {data}: input 'tokens' reaches" in warnings[0]
    assert not any("guesses" in text for text in warnings)
    assert "in sample 5 (counted from 0)" in " ".join(outcome.out.split())
    assert "48 samples, 15 more held out" in outcome.out  # 64 were given, one is left out
    assert "in sample 5 (counted from 0)" in (tmp_path / "build" / "report.html").read_text()
    quantized = edgeflow.quantize(edgeflow.load(tiny.model), data, config=PLAIN)
    assert "check the data" in quantized.warnings[0]


def test_values_that_count_as_zero_compile(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", tokens=drawn(ENOUGH) * np.float32(1e-40))
    options = ("--calib", tmp_path / "data.npz", "--pi", "8", "--po", "8", "-o", tmp_path / "build")
    outcome = terminal.run("compile", tiny.model, *options)
    assert (outcome.status, STEP_LINES.sub("", outcome.err)) == (0, "")
    assert "counts as zero" in outcome.out


def test_one_sample_of_a_thousand_times_the_others_spoils_nothing(tmp_path: Path) -> None:
    """Rebuilt from a public thread: sample 5 is 1000 times the others."""
    file = CASES / "input_outlier_sample.onnx"
    with np.load(file.with_suffix(".npz")) as archive:
        x = archive["x"]
    build = edgeflow.compile(file, calibration={"x": x}, output=tmp_path / "build", config=PLAIN, **SETTING)
    accuracy = build.report["accuracy"]
    assert "in sample 5 (counted from 0)" in build.report["warnings"][0]
    assert accuracy["sqnr_db"] > 20
    unseen = np.delete(x, 5, axis=0)
    unseen = unseen[held_out(distinct({"x": unseen}), 0)]
    assert accuracy["samples"] == len(unseen)
    graph = edgeflow.quantize(edgeflow.load(file), {"x": x}, config=PLAIN).graph  # ranges that cover sample 5
    outputs = decode_outputs(graph, Executor(graph).run(encode_inputs(graph, {"x": unseen})))["y"]
    covered = signal_to_noise(edgeflow.simulate(build, {"x": unseen}, engine="float")["y"], outputs)
    assert covered < accuracy["sqnr_db"] - 15


def test_one_calibration_sample_is_warned_of(terminal: Terminal, tmp_path: Path) -> None:
    """Rebuilt from a public thread: unseen data fares far worse than the one sample, on which the network looks good."""
    file = CASES / "calib_one_sample.onnx"
    outcome = terminal.run("compile", file, "--calib", file.with_suffix(".npz"), "--pi", "8", "--po", "8", "-o", tmp_path / "build")
    assert outcome.status == 0
    assert "there is one sample, and every range is a guess" in " ".join(outcome.out.split())
    assert "not meaningful: 1 calibration sample is too few" in " ".join(outcome.out.split())
    assert edgeflow.open_build(tmp_path / "build").report["accuracy"]["sqnr_db"] is None
