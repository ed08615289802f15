"""The report: its schema, its sums, and a page that needs nothing else."""

from __future__ import annotations

import html
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from pydantic import ValidationError
from small_report import RUN, Accuracy, rows
from small_report import report_inputs as inputs

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import load_board
from edgeflow.hw.cost import Resources, Unknown
from edgeflow.hw.errors import InputError
from edgeflow.hw.fabric import SHARED
from edgeflow.hw.fit import unit_resources
from edgeflow.hw.ops import operator
from edgeflow.hw.program import DESCRIPTOR_BYTES, HEADER_BYTES
from edgeflow.quant.convert.decisions import Decision, Selection
from edgeflow.sw.measure.samples import Samples, Unseen
from edgeflow.sw.report import Report, build, read_report, render, write_report
from edgeflow.sw.report.html import bit_label, scratchpad_size


def test_design_keys_have_figures() -> None:
    source = inputs()
    document = json.loads(build(source).model_dump_json())
    assert (document["model"], document["board"], document["clock_mhz"]) == ("small.onnx", "kv260", 200.0)
    assert document["macs"] == source.cycles.macs
    assert document["cycles"] == source.cycles.cycles
    assert document["latency_ms"] == source.cycles.latency_ms
    assert document["fps"] == source.cycles.fps
    assert document["mac_utilization"] == source.cycles.mac_utilization
    assert document["accuracy"]["sqnr_db"] == 38.5
    assert document["accuracy"]["top1_agreement"] == 0.9375
    assert set(document["resources"]) == {"dsp", "lut", "ff", "bram36", "uram"}
    first = document["layers"][0]
    assert {k: first[k] for k in ("name", "op", "macs", "weight_bits", "activation_bits", "sqnr_db")} == {
        "name": "/fc1.0/MatMul",
        "op": "linear",
        "macs": 9 * 32 * 80,
        "weight_bits": 8,
        "activation_bits": 8,
        "sqnr_db": 40.0,
    }


def test_the_choice_of_techniques_is_reported(tmp_path: Path) -> None:
    decisions = (Decision("equalization", 20.0, 21.5, 4, ("a", "b")), Decision("bias correction", 20.0, math.nan, 2))
    source = inputs(selection=Selection(24, 9, 12, 20.0, 15.0, 21.25, decisions, "the work did not suffice"))
    document = json.loads(build(source).model_dump_json())["quantization"]["selection"]
    assert (document["all_db"], document["none_db"], document["chosen_db"]) == (20.0, 15.0, 21.25)
    assert (document["samples"], document["trials"], document["trials_allowed"]) == (24, 9, 12)
    assert document["decisions"][0] == {
        "technique": "equalization",
        "with_db": 20.0,
        "without_db": 21.5,
        "sites": 4,
        "left_out": ["a", "b"],
    }
    assert document["decisions"][1]["without_db"] is None
    write_report(tmp_path, source)
    page = (tmp_path / "report.html").read_text()
    assert "<td>equalization</td>" in page
    assert "The work did not suffice." in page
    assert build(inputs(selection_note="too few")).quantization.selection is not None
    assert build(inputs()).quantization.selection is None


def test_quantization_techniques_have_a_line_for_every_output() -> None:
    section = build(inputs()).quantization
    assert [line.model_dump() for line in section.rounding] == [
        {
            "tensor": "fc1.out",
            "nearest_db": 10.0,
            "bias_correction_db": 11.0,
            "input_correction_db": 11.5,
            "compensated_db": 14.0,
        }
    ]
    assert [(line.technique, line.output, line.with_db, line.without_db) for line in section.techniques] == [
        ("equalization", "logits", 20.0, 12.5),
        ("equalization", "exact", None, 30.0),
        ("bias correction", "logits", 20.0, 19.0),
        ("bias correction", "exact", None, None),
    ]


def test_sums_agree() -> None:
    report = build(inputs())
    assert report.cycles == sum(layer.cycles for layer in report.layers) == sum(u.cycles for u in report.unit_cycles)
    assert report.macs == sum(layer.macs for layer in report.layers)
    assert report.instructions == sum(layer.instructions for layer in report.layers)
    for u in report.unit_cycles:
        assert sum(u.parts.values()) == u.cycles
    for name, total in report.resources:
        parts = [getattr(u, name) for u in report.unit_resources]
        assert total.known == sum(p for p in parts if p is not None)
        assert total.used == (None if None in parts else total.known)
        assert (total.reason is None) == (total.used is not None)


def test_every_layer_and_register_is_there() -> None:
    source = inputs()
    report, graph = build(source), source.graph
    assert [layer.tensor for layer in report.layers] == [node.output for node in graph.nodes]
    assert next(layer for layer in report.layers if layer.tensor == "token").unit == "view"
    registers = [
        (node.output, r) for node in graph.nodes for r in operator(node).registers(graph.formats(node), graph.node_constants(node))
    ]
    expected = [(tensor, r.name, r.width.bits, r.minimum, r.maximum) for tensor, r in registers]
    assert [(r.tensor, r.intermediate, r.width_bits, r.minimum, r.maximum) for r in report.proof] == expected
    for r, (_, register) in zip(report.proof, registers, strict=True):
        assert r.needed_bits <= r.width_bits
        signed = register.width.signed
        magnitude = r.needed_bits - signed
        assert -(1 << magnitude) * signed <= r.minimum <= r.maximum < 1 << magnitude
        tight = magnitude - 1
        assert magnitude == 0 or r.minimum < -(1 << tight) or r.maximum >= 1 << tight


def test_cycles_by_kind_and_limits_are_the_prediction_s() -> None:
    source = inputs()
    report, cycles = build(source), source.cycles
    kinds = (report.compute_cycles, report.memory_cycles, report.fill_cycles, report.waiting_cycles)
    assert sum(kinds) == report.cycles
    for layer in report.layers:
        assert layer.compute_cycles + layer.memory_cycles + layer.fill_cycles + layer.waiting_cycles == layer.cycles
        assert layer.vector_cycles <= layer.cycles
    assert (report.limits.mac_cycles, report.limits.ddr_cycles) == (cycles.limits.macs, cycles.limits.ddr)
    assert report.gops == cycles.gops
    assert report.gops_per_dsp == cycles.gops_per_dsp
    assert sum(value for _, value in report.traffic) == sum(layer.traffic_bytes for layer in report.layers)
    assert {u.unit: u.exposed for u in report.unit_cycles} == {name: name != "linear" for name in cycles.by_unit()}


def test_the_timeline_is_the_prediction_s() -> None:
    source = inputs(4)
    line, cycles = build(source).timeline, source.cycles
    # The block of two linear layers that the network repeats: the second repetition, whose first layers are alike.
    assert (line.last_layer - line.first_layer, [layer.op for layer in cycles.layers[line.first_layer :][:2]]) == (
        1,
        ["linear"] * 2,
    )
    index = {layer.output: i for i, layer in enumerate(cycles.layers)}
    own = [i for i in cycles.instructions if line.first_layer <= index[i.output] <= line.last_layer]
    assert [(s.track, s.layer, s.start_cycle, s.end_cycle) for s in line.detail] == [
        (i.unit, index[i.output], i.begin, i.end) for i in own
    ]
    assert line.overview[-1].end_cycle == cycles.cycles
    assert all(a.end_cycle <= b.start_cycle for a, b in zip(line.overview, line.overview[1:], strict=False))
    assert {(s.track, s.layer) for s in line.overview} == {(i.unit, index[i.output]) for i in cycles.instructions}
    for s in line.fetches:
        assert own[0].start <= s.start_cycle < s.end_cycle <= own[-1].end
    assert all(0 <= q.lines <= cycles.stream_lines for q in line.queue)
    assert [q.cycle for q in line.queue] == sorted(q.cycle for q in line.queue)


def test_a_unit_without_hardware_of_its_own_says_whose_it_uses() -> None:
    by_unit = {u.unit: u for u in build(inputs()).unit_resources}
    assert {name: u.part_of for name, u in by_unit.items() if u.part_of} == {}
    shared = Architecture(units=("linear", "attention"))
    assert unit_resources(shared)["attention"] == Resources(0, 0, 0, 0, 0, part_of="linear")
    assert unit_resources(shared)["linear"].part_of == ""


def test_memory_is_the_program_s() -> None:
    source = inputs()
    memory, accelerator = build(source).memory, source.program.architecture
    assert (memory.narrow.capacity_bytes, memory.wide.capacity_bytes) == (
        64 * accelerator.narrow_lines,
        64 * accelerator.wide_lines,
    )
    assert accelerator.precisions == (8, 4, 2)
    # Half a block memory holds 4 bytes of 512 lines in one of four banks, or as many half bytes.
    steps = 2 * memory.narrow.capacity_bytes / memory.narrow.least_bytes + memory.wide.capacity_bytes / memory.wide.least_bytes
    assert steps * 4 * 16 / 2 == SHARED["scratchpad"](accelerator).bram36
    for name, used in (("narrow", memory.narrow_bytes), ("wide", memory.wide_bytes), ("external", memory.external_bytes)):
        assert used == max((p.start_byte + p.bytes for p in memory.placements if p.memory == name), default=0)
    assert 0 < memory.peak_live_bytes <= memory.narrow_bytes + memory.wide_bytes
    held = max(
        len(
            {
                line
                for a in source.program.allocations
                for s in a.stays
                if s.first <= i <= s.last
                for line in range(s.line, s.line + s.lines)
            }
        )
        for i in range(12)
    )
    assert memory.peak_live_bytes == held * 64
    assert memory.weight_bytes == len(source.program.weights)
    assert memory.program_bytes == HEADER_BYTES + DESCRIPTOR_BYTES * len(source.program.steps)
    assert {p.tensor for p in memory.placements} >= {"image", *(node.output for node in source.graph.nodes)}


def test_unknown_resources_are_null_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Unknown("nobody has counted them")
    known = build(inputs()).resources
    assert (known.lut.used, known.lut.reason) == (known.lut.known, None)
    monkeypatch.setitem(SHARED, "extra", lambda _: Resources(1, unknown, unknown, 0, 0))
    report = build(inputs())
    assert (report.resources.lut.used, report.resources.lut.known) == (None, known.lut.known)
    assert report.resources.lut.reason == "nobody has counted them (extra)"
    assert any("LUT, FF" in text for text in report.warnings)
    assert "nobody has counted them" in render(report)
    assert report.resources.dsp.used == sum(u.dsp or 0 for u in report.unit_resources)


def test_an_accelerator_too_large_for_the_board_is_a_warning() -> None:
    board = load_board("kv260")
    assert any("does not fit" in w for w in build(inputs(board=board.model_copy(update={"dsp": 100}))).warnings)
    used = build(inputs()).resources.dsp.used
    assert used is not None
    assert any("hard to route" in w for w in build(inputs(board=board.model_copy(update={"dsp": used + 1}))).warnings)


def test_accuracy_says_on_what_it_was_measured() -> None:
    report = build(inputs())
    assert report.calibration.model_dump() == {"data": "user", "samples": 48, "held_out": 16}
    assert (report.accuracy.data, report.accuracy.samples, report.accuracy.meaningful) == ("held_out", 16, True)
    assert "16 samples held out of the calibration data" in render(report)
    tested = Samples(rows(8), None, Unseen("test", rows(100)), "", random=False)
    accuracy = Accuracy({"logits": 38.5}, 0.9375, {}, 0.75, 0.8)
    report = build(inputs(samples=tested, accuracy=accuracy))
    assert report.calibration.model_dump() == {"data": "user", "samples": 8, "held_out": 0}
    assert (report.accuracy.data, report.accuracy.samples) == ("test", 100)
    assert (report.accuracy.top1_accuracy, report.accuracy.float_top1_accuracy) == (0.75, 0.8)
    page = render(report)
    assert "100 samples of test data" in page
    assert "75.0 %" in page
    assert "float model 80.0 %" in page


@pytest.mark.parametrize("random", [False, True])
def test_without_unseen_samples_no_figure_stands_where_one_would_be(random: bool) -> None:
    report = build(inputs(samples=Samples(rows(16), None, None, "<16 samples>", random=random), accuracy=None))
    note = "not meaningful: <16 samples>"
    empty = dict.fromkeys(("data", "samples_sha256", "sqnr_db", "top1_agreement", "top1_accuracy", "float_top1_accuracy"))
    outputs = [{"name": name, "sqnr_db": None, "note": note} for name in inputs().graph.outputs]
    assert report.accuracy.model_dump() == {**empty, "samples": 0, "meaningful": False, "note": note, "outputs": outputs}
    assert {(layer.sqnr_db, layer.sqnr_note) for layer in report.layers} == {(None, note)}
    assert any("--calib" in text for text in report.warnings) == random
    page = render(report)
    assert "<b><small>not meaningful</small></b><span>Accuracy: &lt;16 samples&gt;</span>" in page
    assert " dB</small>" not in page
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_ratios_that_are_no_numbers_are_null_with_a_note() -> None:
    accuracy = Accuracy({"a": math.inf, "b": math.nan, "c": 12.0}, None, {"token": math.inf})
    report = build(inputs(accuracy=accuracy))
    assert [(o.sqnr_db, o.note) for o in report.accuracy.outputs] == [
        (None, "exact: no quantization error"),
        (None, "the float signal is zero"),
        (12.0, None),
    ]
    assert report.accuracy.sqnr_db == 12.0
    assert report.accuracy.top1_agreement is None
    assert {layer.tensor: layer.sqnr_note for layer in report.layers}["token"] == "exact: no quantization error"
    assert report.layers[0].sqnr_note == "no tensor of the float model corresponds"
    assert "Top-1 agreement" not in render(report)


def numbers(value: Any, key: str) -> set[str]:
    """The keys under which a document has numbers; figures by step, loop nest or cost count as those of the dictionary."""
    if isinstance(value, dict):
        return {
            n
            for name, child in value.items()
            for n in numbers(child, key if key in ("costs", "options", "parts", "timings_s") else name)
        }
    if isinstance(value, list):
        return {n for child in value for n in numbers(child, key)}
    return {key} if isinstance(value, int | float) and not isinstance(value, bool) else set()


def test_every_number_has_a_unit() -> None:
    document = json.loads(build(inputs()).model_dump_json())
    assert numbers(document, "") - {"version"} == set(document["units"]) - {"quad_gops"}  # no layer of 4 bits


def test_files_are_written_and_read_back(tmp_path: Path) -> None:
    report = write_report(tmp_path, inputs())
    assert read_report(tmp_path) == report
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == render(report)


def test_a_wrong_report_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"report\.json cannot be read"):
        read_report(tmp_path)
    document = json.loads(build(inputs()).model_dump_json())
    (tmp_path / "report.json").write_text(json.dumps({**document, "version": 1}))
    with pytest.raises(InputError, match="compile the model again"):
        read_report(tmp_path)


def test_the_schema_refuses_what_it_does_not_know() -> None:
    document = json.loads(build(inputs()).model_dump_json())
    with pytest.raises(ValidationError, match="surprise"):
        Report.model_validate_json(json.dumps({**document, "surprise": 1}))
    with pytest.raises(ValidationError, match="cycles"):
        Report.model_validate_json(json.dumps({**document, "cycles": -1}))


class Page(HTMLParser):
    """Collects what a page refers to, its ids, and checks that elements close in order."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("href", "src", "srcset", "action", "data", "xlink:href", "poster"):
                self.references.append(value or "")
            if name == "id":
                self.ids.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("blocks", [1, 4, 12])
def test_the_page_stands_alone(blocks: int) -> None:
    report = build(inputs(blocks))
    text = render(report)
    page = Page(text)
    assert not page.open
    assert not re.search(r"https?:|url\(|@import|<link|<iframe|<img", text)
    assert set(page.references) <= {f"#{name}" for name in page.ids} | {"trace.json.gz"}
    assert len(set(page.ids)) == len(page.ids)
    assert {f"layer-{i}" for i in range(len(report.layers))} <= set(page.ids)
    assert page.tags.count("script") == 1
    assert len(text) < 1_500_000


def test_every_layer_range_and_warning_is_on_the_page() -> None:
    report = build(inputs())
    text = html.unescape(re.sub("<wbr>", "", render(report)))
    for layer in report.layers:
        assert f'<td class="name" title="computes {layer.tensor}">{layer.name}' in text
    for name in (*(r.tensor for r in report.ranges), *report.warnings, *report.assumptions):
        assert name in text
    assert f"{report.cycles:,}".replace(",", "\u202f") in text


def test_the_page_says_how_the_build_was_made() -> None:
    text = render(build(inputs()))
    assert "edgeflow compile small.onnx --calib &#39;my &lt;data&gt;.npz&#39;" in text
    for part in ("2026-01-31 12:00:00 UTC", "quantization.weight_bits", "size=0.6x", "numpy", "2.4.6", RUN.sha256["model"]):
        assert part in text
    assert '<a href="trace.json.gz" download>' in text
    assert "<pre" not in render(build(inputs(run=None)))


def test_quantization_has_a_section() -> None:
    report = build(inputs())
    page = render(report)
    section = page[page.index('<section id="quantization">') : page.index('<section id="timeline">')]
    text = html.unescape(re.sub(r"<[^>]*>", "", section.replace("<wbr>", "")))
    assert report.bits is not None
    assert report.bits.choice is not None
    names = [layer.name for layer in report.bits.choice.layers]
    for part in (
        *names,
        "HAWQ taken",
        "16.7 % faster",
        "size=0.6x",
        "equalization",
        "+7.5",
        "bias correction",
        "+1.0",
        "fc1.out",
        "+4.0",
    ):
        assert part in text
    plain = render(build(inputs(bits=None, techniques=(), rounding={})))
    assert 'id="quantization"' in plain
    assert "Compiled with <code>--ablation</code>" in plain
    assert "What rounding brings" not in plain


@pytest.mark.parametrize(
    ("layers", "label"),
    [
        ([(8, 8), (8, 16)], "W8\u00a0A8"),
        ([(8, 8), (4, 4), (None, 4)], "W4–8\u00a0A4–8"),
        ([(None, 16)], "–"),
    ],
)
def test_bits_have_a_short_name(layers: list[tuple[int | None, int]], label: str) -> None:
    report = build(inputs())
    changed = [report.layers[0].model_copy(update={"macs": 1, "weight_bits": w, "activation_bits": a}) for w, a in layers]
    assert bit_label(report.model_copy(update={"layers": changed})) == label


def test_the_page_explains_what_looks_odd() -> None:
    report = build(inputs())
    scratchpad = next(u for u in report.unit_resources if u.unit == "scratchpad")
    page = render(report)
    assert f"The scratchpad&#39;s {scratchpad.bram36} block memories hold" in page
    grown = report.memory.narrow.model_copy(update={"capacity_bytes": 64 * 8192})
    larger = report.model_copy(update={"memory": report.memory.model_copy(update={"narrow": grown})})
    assert "is the least that it can be" not in scratchpad_size(larger)
    small = report.memory.narrow.model_copy(update={"capacity_bytes": report.memory.narrow.least_bytes})
    wide = report.memory.wide.model_copy(update={"capacity_bytes": report.memory.wide.least_bytes})
    least = report.model_copy(update={"memory": report.memory.model_copy(update={"narrow": small, "wide": wide})})
    assert scratchpad_size(least).endswith("256\u00a0KiB is the least that it can be.")
    attention = report.unit_resources[0].model_copy(update={"unit": "attention", "part_of": "linear"})
    assert "part of the array, counted with linear" in render(report.model_copy(update={"unit_resources": [attention]}))
    proof = page[page.index('<section id="proof">') : page.index('<section id="about">')]
    assert proof.count("<table") == proof.count("<details>") == 2


def test_names_from_the_model_are_escaped() -> None:
    text = render(build(inputs(model="<script>alert(1)</script>.onnx")))
    assert "<script>alert" not in text
    assert "<odd & name>" not in text
    assert "&lt;odd &amp; name&gt;" in text


def test_charts_are_valid_drawings_with_a_mark_for_every_layer() -> None:
    report = build(inputs(3))
    drawings = [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", render(report), re.DOTALL)]
    assert len(drawings) == 10
    layers, bits, fronts, sensitivities, rounding, overview, detail, roof, memory, ranges = drawings
    assert [a.get("href") for a in bits.iter("a")] == [f"#layer-{i}" for i, layer in enumerate(report.layers) if layer.macs]
    assert {len(list(a.iter("rect"))) for a in bits.iter("a")} == {3}
    choice = report.bits.choice if report.bits else None
    assert choice is not None
    cells = [r for r in sensitivities.iter("rect") if "cell" in r.get("class", "")]
    assert len(cells) == sum(len(layer.omega) for layer in choice.layers)
    assert len([r for r in sensitivities.iter("rect") if r.get("class") == "taken"]) == len(choice.layers)
    marks = [c.get("class") for c in fronts.iter("circle")]
    assert {kind: marks.count(kind) for kind in set(marks)} == {"seen": 4, "ring": 3, "chosen": 1}
    assert len([e for e in fronts.iter("line") if e.get("class") == "capacity"]) == 1
    assert len(list(rounding.iter("circle"))) == 4 * len(report.quantization.rounding)
    assert [a.get("href") for a in layers.iter("a")] == [f"#layer-{i}" for i in range(len(report.layers))]
    assert len(list(ranges.iter("g"))) == len(report.ranges)
    for drawing, spans in ((overview, report.timeline.overview), (detail, [*report.timeline.detail, *report.timeline.fetches])):
        assert len([r for r in drawing.iter("rect") if "span" in r.get("class", "")]) == len(spans) > 0
    assert len(list(detail.iter("polygon"))) == 1
    worked = [i for i, layer in enumerate(report.layers) if layer.macs]
    assert [a.get("href") for a in roof.iter("a")] == [f"#layer-{i}" for i in worked]
    assert len([e for e in roof.iter("line") if e.get("class") == "limit"]) == 2
    blocks = [r for r in memory.iter("rect") if "block" in r.get("class", "")]
    assert len(blocks) == sum(p.view_of is None for p in report.memory.placements)
    assert len([e for e in memory.iter("line") if e.get("class") == "capacity"]) == 2
    for drawing in drawings:
        width, height = (float(n) for n in drawing.get("viewBox", "").split()[2:])
        for rect in drawing.iter("rect"):
            x, y, w, h = (float(rect.get(name, "nan")) for name in ("x", "y", "width", "height"))
            assert 0 <= x <= x + w <= width + 0.2
            assert 0 <= y <= y + h <= height + 0.2
            assert w > 0
            assert h > 0


def test_columns_are_as_high_as_their_cycles() -> None:
    report = build(inputs())
    drawing = ElementTree.fromstring(re.findall(r"<svg.*?</svg>", render(report), re.DOTALL)[0])
    heights = {}
    for a, layer in zip(drawing.iter("a"), report.layers, strict=True):
        columns = [r for r in a.iter("rect") if r.get("class") != "hover"]
        assert len(columns) == (layer.cycles > 0)
        for column in columns:
            heights[layer.cycles] = float(column.get("height", "nan"))
    largest = max(heights)
    for cycles, height in heights.items():
        assert height == pytest.approx(heights[largest] * cycles / largest, abs=0.11)  # coordinates have one decimal


def test_control_characters_of_names_are_written_out() -> None:
    report = build(inputs())
    layer = report.layers[0].model_copy(update={"name": "a\x1b[31mRED\x07\x9b", "tensor": "b\x1b]0;t"})
    text = render(report.model_copy(update={"layers": [layer, *report.layers[1:]]}))
    assert "a\\x1b[31mRED\\x07\\x9b" in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", text)
