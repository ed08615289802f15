"""Tables on a terminal of 80 columns: no line is longer, and no number is folded over two lines or cut off."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from command_line import Terminal
from rich.console import Console

import edgeflow
from edgeflow.sw.cli import console
from edgeflow.sw.cli.cycle_tables import predicted
from edgeflow.sw.cli.summaries import compared, explored, layers

LONG = "/vit/encoder/layer.11/attention/attention/query/MatMul"


def drawn(render: Any, *arguments: Any) -> str:
    """What is drawn on 80 columns, which no line exceeds."""
    file = io.StringIO()
    render(Console(file=file, width=80, highlight=False, markup=False), *arguments)
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    return text


def cells(text: str, name: str) -> list[str]:
    """The cells of the row whose first cell ends as ``name`` does; words of one cell are one gap apart."""
    line = next(line for line in text.splitlines() if name in line)
    return re.split(r"\s{2,}", line.strip())


@pytest.mark.parametrize("arguments", [("cycles",), ("report", "--layers"), ("boards",), ("boards", "kv260")])
def test_commands_keep_to_80_columns(
    arguments: tuple[str, ...], tiny_build: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "FILE_WIDTH", 80)
    folder = () if arguments[0] == "boards" else (tiny_build,)
    outcome = terminal.run(arguments[0], *folder, *arguments[1:])
    assert outcome.status == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    numbers = set(re.findall(r"(?<![\w.,-])\d{1,3}(?:,\d{3})+(?![\w,])", outcome.out))
    whole = terminal.run(arguments[0], *folder, *arguments[1:], "--json").out
    assert numbers
    assert {number for number in numbers if number.replace(",", "") not in whole} == set()


def test_layers_of_a_large_model() -> None:
    layer = {"name": LONG, "op": "layernorm", "macs": 302_776_320, "cycles": 12_345_678, "weight_bits": 8, "activation_bits": 16}
    text = drawn(layers, {"layers": [{**layer, "sqnr_db": 102.34}]})
    assert cells(text, "query/MatMul")[1:] == ["layernorm", "302,776,320", "12,345,678", "8", "16", "102.3"]


def test_cycles_of_a_large_model_leave_columns_out_and_say_so(tiny_build: Path) -> None:
    report = edgeflow.cycles(tiny_build)
    first = report.layers[0]
    kinds = {"compute": 1_234_567, "memory": 1_234_567, "fill": 34_567, "waiting": 1_234_567}
    large = SimpleNamespace(name=LONG, op="layernorm", macs=302_776_320, cycles=1_234_567, **kinds)
    assert {name for name in vars(large) if not hasattr(first, name)} == set()
    text = drawn(predicted, cast("Any", _WithLayers(report, [large])), None)
    assert cells(text, "query/MatMul")[1:4] == ["layernorm", "302,776,320", "1,234,567"]
    assert "not shown in 80 columns: fill, waiting, memory, compute" in text


class _WithLayers:
    """A report with other layers."""

    def __init__(self, report: Any, layers: list[Any]) -> None:
        self._report, self.layers = report, layers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._report, name)


def test_the_front_of_an_exploration() -> None:
    resources = {"dsp": 1_248, "lut": 117_120, "ff": 1, "bram36": 1_144.5, "uram": 0}
    point = {"pi": 128, "po": 128, "epilogue": 16, "vector": 16, "weight_ports": 4, "clock_mhz": 250.0, "resources": resources}
    point |= {"runs": True, "latency_ms": 1234.567, "mac_utilization": 0.987, "key": "k"}
    point |= {"precision": "W8A8", "bits": 8, "activation_bits": 8}
    exploration = SimpleNamespace(document={"points": [point]}, points=[point], resumed=0, folder=Path("explore"))
    text = drawn(explored, exploration)
    assert cells(text, "98.7") == ["W8A8 128 x 128", "16", "16", "250", "1,248", "117,120", "1234.567", "98.7"]
    assert "not shown in 80 columns: ports, BRAM36" in text


def test_rows_stay_distinguishable() -> None:
    """Whatever long names have in common, what a table of 80 columns shows of them differs."""
    several = [
        [f"/vit/encoder/layer.{i}/attention/{part}/MatMul" for i in range(12) for part in ("query", "key", "value")],
        [f"model.{side}.blocks.0.mlp.fc1.linear" for side in ("encoder", "decoder")],
        ["a" * 40 + str(i) + "b" * 40 + str(j) + "c" * 40 for i in range(12) for j in range(12)],
        ["short", "x" * 100, "y" * 100, "x" * 101],
    ]
    for names in several:
        for width in (16, 20, 40):
            short = console.shortened(names, width)
            assert len(set(short)) == len(names)
            assert max(map(len, short)) <= width
    assert console.shortened(["a", "b" * 20], 16) == ["a", "\N{HORIZONTAL ELLIPSIS}" + "b" * 15]
    assert console.shortened(["same" * 9, "same" * 9], 16)[0].endswith("same")


def test_ratios_without_a_number_are_said_in_words() -> None:
    result = SimpleNamespace(
        samples=1, origin="given", exact=False, words=8, differing=0, tensors=[], top1_agreement=None, warnings=(), passed=True,
        reference="original", sqnr_db={"a": math.nan, "b": math.inf, "c": 30.0},
    )  # fmt: skip
    text = " ".join(drawn(compared, cast("Any", result)).split())
    assert "a has none: the float model's output is 0 everywhere, b exact, c 30.0 dB" in text
