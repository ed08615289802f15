"""What bits below 8 bought: the report's figures are those of the two builds, and little for much is a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from perceptrons import perceptron

import edgeflow
from edgeflow.sw.cli.main import main
from edgeflow.sw.flow.plain_build import small_gain
from edgeflow.sw.report.schema import BitChoice, Bits, BuildFigures, KeptBudget

SAMPLES = 64  # from which on some are held out


def figures(latency_ms: float, weight_bytes: int, sqnr_db: float | None) -> BuildFigures:
    return BuildFigures(latency_ms=latency_ms, weight_bytes=weight_bytes, sqnr_db=sqnr_db)


def choice(budget: str) -> BitChoice:
    kept = KeptBudget(name=budget, budget=f"{budget}=0.5x", unit="", reference=2.0, reference_is="", limit=1.0, reached=1.0)
    return BitChoice(method="hawq", taken="hawq", decision="", measured_on=None, trials=[], budgets=[kept], layers=[], fronts=[])


@pytest.mark.parametrize(
    ("build", "chosen", "warned"),
    [
        (figures(0.996, 500, 22.0), None, True),  # 0.4 % faster, 17 dB worse
        (figures(0.8, 500, 22.0), None, False),
        (figures(0.996, 500, 38.0), None, False),
        (figures(1.15, 500, 26.0), choice("latency"), True),
        (figures(1.0, 500, 22.0), choice("size"), False),  # half the size was what was asked for
        (figures(1.0, 990, 22.0), choice("size"), True),
        (figures(0.996, 500, None), None, False),
    ],
)
def test_much_accuracy_for_little_is_a_warning(build: BuildFigures, chosen: BitChoice | None, warned: bool) -> None:
    bits = Bits(choice=chosen, build=build, plain=figures(1.0, 1000, 39.0), bought="0.4 % faster", note=None)
    warning = small_gain(bits)
    assert (warning is not None) == warned
    assert warning is None or "bought little" in warning


def test_a_narrow_build_is_compared_with_the_8_bit_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    perceptron(tmp_path / "model.onnx", tokens=4, width=32, layers=4)
    rng = np.random.default_rng(5)
    np.savez(tmp_path / "data.npz", x=rng.standard_normal((SAMPLES, 4, 32)).astype(np.float32))
    run = ["compile", str(tmp_path / "model.onnx"), "--calib", str(tmp_path / "data.npz"), "-o"]
    assert main([*run, str(tmp_path / "plain")]) == 0
    assert "against 8 bits" not in capsys.readouterr().out
    assert main([*run, str(tmp_path / "narrow"), "--weight-bits", "4", "--activation-bits", "4"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    plain, narrow = (edgeflow.open_build(tmp_path / name).report for name in ("plain", "narrow"))
    assert plain["bits"] is None
    for report, row in ((plain, narrow["bits"]["plain"]), (narrow, narrow["bits"]["build"])):
        assert row["latency_ms"] == report["latency_ms"]
        assert row["weight_bytes"] == report["memory"]["weight_bytes"]
        assert row["sqnr_db"] == report["accuracy"]["sqnr_db"]
    loss = plain["accuracy"]["sqnr_db"] - narrow["accuracy"]["sqnr_db"]
    assert loss > 3
    assert f"SQNR {loss:.1f} dB lower" in narrow["bits"]["bought"]
    assert narrow["bits"]["bought"] in shown
    assert narrow["bits"]["bought"] in (tmp_path / "narrow" / "report.html").read_text()
    gain = 1 - narrow["latency_ms"] / plain["latency_ms"]
    assert any("bought little" in text for text in narrow["warnings"]) == (gain < 0.05)


def test_without_unseen_samples_only_the_accuracy_is_left_out(tiny: Any, tmp_path: Path) -> None:
    config = edgeflow.quantization(weight_bits=4)
    report = edgeflow.compile(tiny.model, calibration=tiny.calibration, output=tmp_path / "b", config=config).report
    assert report["bits"]["plain"]["sqnr_db"] is None
    assert report["bits"]["plain"]["latency_ms"] > 0
    assert "not meaningful" in report["bits"]["note"]
    assert "SQNR" not in report["bits"]["bought"]
