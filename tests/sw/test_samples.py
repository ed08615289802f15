"""Accuracy is measured on samples that no number of the network depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

import edgeflow
from edgeflow.hw.errors import CalibrationError
from edgeflow.sw.samples import ENOUGH, Given, Samples, choose_samples, distinct, held_out

if TYPE_CHECKING:
    from conftest import Terminal, Tiny

CLASSES = 4  # of the tiny transformer
SETTING = {"board": "kv260", "sizes": {"pi": 8, "po": 8}}


def drawn(samples: int = 16, *, seed: int = 1) -> NDArray[np.float32]:
    """Inputs of the tiny transformer."""
    return np.random.default_rng(seed).normal(0, 1, (samples, 5, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def model(tiny: Tiny) -> Path:
    return tiny.model


@pytest.fixture(scope="module")
def canonical(model: Path) -> ir.Model:
    return edgeflow.load(model)


def chosen(model: ir.Model, tokens: NDArray[Any], seed: int = 0, **given: Any) -> Samples:
    return choose_samples(model, Given({"tokens": tokens}, **given), None, seed)


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
    found = chosen(canonical, tokens)
    assert found.unseen is not None
    assert (len(found), len(found.unseen)) == (144, 48)
    assert not {bytes(x) for x in found.calibration["tokens"]} & {bytes(x) for x in found.unseen.arrays["tokens"]}
    copies = chosen(canonical, np.concatenate([drawn(8)] * 16))
    assert copies.unseen is None
    assert copies.reason.startswith("8 distinct calibration samples")


def test_labels_follow_their_samples(canonical: ir.Model) -> None:
    tokens = drawn(ENOUGH)
    labels = np.arange(ENOUGH) % CLASSES
    found = chosen(canonical, tokens, labels=labels)
    assert found.unseen is not None
    assert found.labels is not None
    assert found.unseen.labels is not None
    held = held_out(distinct({"tokens": tokens}), 0)
    np.testing.assert_array_equal(found.labels, labels[~held])
    np.testing.assert_array_equal(found.unseen.labels, labels[held])
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
    changed = tokens.copy()
    changed[~held] *= 3
    assert words(edgeflow.compile(model, calibration={"tokens": changed}, output=tmp_path / "2", **SETTING)) != words(builds[0])


def test_the_report_measures_the_held_out_samples(model: Path, tmp_path: Path) -> None:
    tokens = drawn(ENOUGH)
    labels = np.arange(ENOUGH) % CLASSES
    build = edgeflow.compile(model, calibration={"tokens": tokens}, labels=labels, output=tmp_path / "build", **SETTING)
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
    whole = edgeflow.quantize(edgeflow.load(model), {"tokens": tokens}).graph
    opened = edgeflow.open_build(tmp_path / "build").graph
    assert all(np.array_equal(value, opened.constants[name]) for name, value in whole.constants.items())
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


def test_messages_name_the_file(terminal: Terminal, tiny: Tiny, tmp_path: Path) -> None:
    np.savez(tmp_path / "flat.npz", tokens=drawn()[..., :8])
    options = ("-o", tmp_path / "build")
    for option, what in (("--calib", "calibration data"), ("--test", "test data")):
        message = terminal.refused("compile", tiny.model, option, tmp_path / "flat.npz", *options)
        assert message.startswith(f"{what} {tmp_path / 'flat.npz'}: input 'tokens'")
