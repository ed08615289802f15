"""Results of commands drawn for a terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeflow.sw.cli.console import facts, table
from edgeflow.sw.search.pareto import COSTS, fastest_plain, front, point_name

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from edgeflow.hw.boards import Board
    from edgeflow.hw.lint.finding import Finding
    from edgeflow.hw.lint.rule import Rule
    from edgeflow.sw.flow.verification import Verification
    from edgeflow.sw.search.explore import Exploration

ORIGINS = {
    "held_out": "held out of the calibration data",
    "test": "of test data",
    "calibration": "of the calibration data, which say little of unseen data",
    "random": "of random data, which mean nothing",
    "given": "given",
}
_RESOURCES = ("dsp", "lut", "ff", "bram36", "uram")


def _accelerator(report: Mapping[str, Any]) -> str:
    """Its sizes, and how it was chosen."""
    sizes, search = report["accelerator"], report["search"]
    text = f"{sizes['pi']} x {sizes['po']} multiplies a cycle"
    if search is None:
        return text
    proof = "none is more than 2 % faster" if search["proven"] else "not all that might be faster were simulated"
    return f"{text}; {search['simulated']:,} of {search['bounded']:,} candidates simulated, {proof}"


def _widths(layers: Sequence[Mapping[str, Any]]) -> str:
    """Bits of weights and of what layers compute, the most frequent first, with the number of layers that have them."""
    texts = []
    for what, key in (("weights", "weight_bits"), ("outputs of layers", "activation_bits")):
        counts = Counter(layer[key] for layer in layers if layer[key] is not None)
        each = ", ".join(f"{bits} ({count})" for bits, count in counts.most_common())
        texts.append(f"{what} {each or 'none'}")
    return "; ".join(texts)


def _limits(report: Mapping[str, Any]) -> str:
    """What no schedule can pass, and the nearer of both."""
    limits, cycles = report["limits"], max(report["cycles"], 1)
    mac, ddr = limits["mac_cycles"], limits["ddr_cycles"]
    nearer = "arithmetic" if mac >= ddr else "memory"
    return f"{least_cycles(mac, ddr, cycles)}: {nearer} is the nearer limit (predicted)"


def least_cycles(mac: int, ddr: int, cycles: int) -> str:
    """The cycles that arithmetic and memory take at least, and which part of all that is."""
    least = (("arithmetic", mac), ("memory", ddr))
    return ", ".join(f"{name} {count:,} cycles at least ({100 * count / cycles:.1f} %)" for name, count in least)


def _outside(report: Mapping[str, Any]) -> str:
    """The share of the cycles in which the array stands still for other units, those that load and store included, and the layers
    that these work for most; linear layers may be among them."""
    cycles, layers = max(report["cycles"], 1), report["layers"]
    total = sum(layer["vector_cycles"] for layer in layers)
    worst = sorted((layer for layer in layers if layer["vector_cycles"]), key=lambda layer: -layer["vector_cycles"])[:3]
    each = ", ".join(f"{layer['name']} {100 * layer['vector_cycles'] / cycles:.1f} %" for layer in worst)
    text = f"{100 * total / cycles:.1f} % of the cycles, loading and storing included"
    return f"{text}{f', most for {each}' if each else ''} (predicted)"


def summary(out: RichConsole, folder: Path, report: Mapping[str, Any]) -> None:
    """What a build is and what it will do, in a few lines."""
    accuracy = report["accuracy"]
    doubled = ", of 8-bit products; two 4-bit ones count as much" if report["mac_utilization"] > 1 else ""
    rows = [
        ("model", str(report["model"])),
        ("board", f"{report['board']} at {report['clock_mhz']:g} MHz"),
        ("multiply-adds", f"{report['macs']:,}"),
        ("cycles", f"{report['cycles']:,} (predicted)"),
        ("latency", f"{report['latency_ms']:.3f} ms, {report['fps']:,.1f} frames a second (predicted)"),
        ("MAC utilization", f"{100 * report['mac_utilization']:.1f} % (predicted{doubled})"),
        ("bits", _widths(report["layers"])),
        ("accelerator", _accelerator(report)),
        ("limits", _limits(report)),
        ("outside the array", _outside(report)),
        ("resources", ", ".join(_resource(name, report["resources"][name]) for name in _RESOURCES)),
        ("calibration", _calibration(report["calibration"])),
    ]
    rows.append(("reference", _reference(report["reference"])))
    if accuracy["meaningful"]:
        rows.append(("tested on", f"{accuracy['samples']:,} samples {ORIGINS[accuracy['data']]}"))
        rows.append(("SQNR of outputs", _decibels({o["name"]: _ratio(o) for o in accuracy["outputs"]})))
        if accuracy["top1_agreement"] is not None:
            rows.append(("top-1 agreement", f"{100 * accuracy['top1_agreement']:.2f} % with the float model"))
        if accuracy["top1_accuracy"] is not None:
            floats = f"{100 * accuracy['float_top1_accuracy']:.2f} %"
            rows.append(("top-1 accuracy", f"{100 * accuracy['top1_accuracy']:.2f} % (float model: {floats})"))
    else:
        rows.append(("accuracy", accuracy["note"]))
    rows += _bits(report["bits"])
    rows += [("techniques", text) for text in _techniques(report["quantization"]["selection"])]
    rows += [("ablation", text) for text in _ablation(report["quantization"]["techniques"])]
    rows += [("warning", text) for text in report["warnings"]]
    rows.append(("report", str(folder / "report.html")))
    facts(out, rows)


def time_taken(seconds: float, steps: Mapping[str, float]) -> str:
    """How long a compilation took, with the seconds and the share of each step; what these leave is starting and reporting."""
    parts = {**steps, "start and report": seconds - sum(steps.values())}
    shares = (f"{name} {part:.1f} s ({100 * part / seconds:.0f} %)" for name, part in parts.items() if part >= 0.05)
    return f"{seconds:.1f} s: {', '.join(shares)}"


def _techniques(selection: Mapping[str, Any] | None) -> list[str]:
    """What became of the techniques of quantization that were not kept everywhere."""
    if selection is None:
        return []
    lines = []
    for line in selection["decisions"]:
        count, sites = len(line["left_out"]), line["sites"]
        if count:
            where = "everywhere" if count == sites else f"at {count} of {sites} tensors"
            lines.append(f"{line['technique']} left out {where}: the outputs' error is smaller without")
    return [*lines, *([selection["note"]] if selection["note"] else [])]


def _ablation(techniques: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each technique brings alone, in decibels of the worst output, the most first."""
    brought: dict[str, tuple[float, float]] = {}
    for line in techniques:
        with_it, without = line["with_db"], line["without_db"]
        if with_it is None or without is None:
            continue
        ratios = brought.setdefault(line["technique"], (with_it, without))
        brought[line["technique"]] = (min(ratios[0], with_it), min(ratios[1], without))
    gains = sorted(brought.items(), key=lambda item: item[1][1] - item[1][0])
    return [f"{name} {ratios[0] - ratios[1]:+.1f} dB ({ratios[0]:.1f} with it, {ratios[1]:.1f} without)" for name, ratios in gains]


def fine_tuned(out: RichConsole, file: Path, document: Mapping[str, Any]) -> None:
    """The epochs of quantization-aware training, and where the model is."""
    rows = [
        (
            f"{epoch['epoch']}{' (kept)' if epoch['epoch'] == document['best'] else ''}",
            "" if not epoch["epoch"] else f"{epoch['loss']:.4f}",
            f"{epoch['validation_loss']:.4f}",
            "" if epoch["top1"] is None else f"{100 * epoch['top1']:.2f} %",
        )
        for epoch in document["epochs"]
    ]
    table(out, ("epoch", ">training loss", ">validation loss", ">validation top-1"), rows)
    facts(out, [("samples", f"{document['samples']:,} in {document['seconds']:.0f} s"), ("written to", str(file))])


def layers(out: RichConsole, report: Mapping[str, Any]) -> None:
    """One line for each layer."""
    rows = [
        (
            str(layer["name"]),
            str(layer["op"]),
            f"{layer['macs']:,}",
            f"{layer['cycles']:,}",
            _blank(layer["weight_bits"]),
            _blank(layer["activation_bits"]),
            _blank(layer["sqnr_db"], ".1f"),
        )
        for layer in report["layers"]
    ]
    table(out, ("layer", "operator", ">MACs", ">cycles", ">weight bits", ">input bits", ">SQNR dB"), rows)


def compared(out: RichConsole, result: Verification) -> None:
    """What ``verify`` found; tensors only where words differ."""
    headers = "exact ap_int headers" if result.exact else "native integers"
    rows = [
        ("samples", f"{result.samples} {ORIGINS[result.origin]}"),
        (
            "NumPy against C++",
            f"{result.differing:,} of {result.words:,} words differ ({len(result.tensors)} tensors, {headers})",
        ),
        ("SQNR against float", _decibels(result.sqnr_db)),
        ("reference", result.reference),
    ]
    if result.top1_agreement is not None:
        rows.append(("top-1 agreement", f"{100 * result.top1_agreement:.2f} % with the float model"))
    rows += [("warning", text) for text in result.warnings]
    rows.append(("verdict", "passed" if result.passed else "FAILED"))
    facts(out, rows)
    wrong = [t for t in result.tensors if t.differing or not t.words]
    if wrong:
        lines = [(t.name, f"{t.words:,}", f"{t.differing:,}", _first(t.first) if t.words else "never compared") for t in wrong]
        table(out, ("tensor", ">words", ">differing", "first difference"), lines)


def linted(out: RichConsole, findings: Sequence[Finding], rules: Mapping[str, Rule], *, quiet: bool) -> None:
    """What ``lint`` found, a line each as compilers write them, then what to do about each rule that is broken."""
    here = Path.cwd()
    for finding in findings:
        file = finding.file.relative_to(here) if finding.file.is_relative_to(here) else finding.file
        out.print(str(replace(finding, file=file)), soft_wrap=True)
    if not quiet and findings:
        out.print(f"\n{len(findings)} findings, more in docs/lint.md. What to do:")
        facts(out, [(name, rules[name].remedy) for name in sorted({finding.rule for finding in findings})])
    elif not quiet:
        out.print(f"no findings: the code keeps all {len(rules)} rules")


def board_rows(boards: Sequence[Board]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of the list of boards."""
    names = ("dsp", "lut", "bram36", "uram")
    columns = ("board", "part", *(f">{name.upper()}" for name in names), ">MHz", ">GB/s")
    rows = []
    for board in boards:
        sizes = (f"{getattr(board, name):,}" for name in names)
        rows.append((board.name, board.part, *sizes, f"{board.clock_mhz:g}", f"{board.ddr_gb_s:g}"))
    return columns, rows


def board_figures(board: Board) -> tuple[tuple[str, ...], list[tuple[str, ...]], str]:
    """Columns and rows of one board's figures with their sources, and its name."""
    figures = board.model_dump(exclude={"sources", "name", "title", "aliases", "family"})
    rows: list[tuple[str, ...]] = [
        (name, f"{value:,}" if isinstance(value, int) else str(value), board.sources[name]) for name, value in figures.items()
    ]
    return ("figure", "value", "source"), rows, f"{board.title} ({board.name})"


def _resource(name: str, resource: Mapping[str, Any]) -> str:
    used = resource["used"]
    return f"{name.upper()} {'unknown' if used is None else f'{used:,}'} of {resource['available']:,}"


def _calibration(calibration: Mapping[str, Any]) -> str:
    samples, held_out = calibration["samples"], calibration["held_out"]
    if calibration["data"] == "random":
        return "random data; give real samples with --calib DATA.npz"
    return f"{samples:,} sample{'s' if samples > 1 else ''}{f', {held_out:,} more held out' if held_out else ''}"


def _bits(bits: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """How bits were chosen, what the budgets refer to, and what bits below 8 bought."""
    if bits is None:
        return []
    rows = []
    if bits["choice"] is not None:
        rows.append(("bits", bits["choice"]["decision"]))
        for b in bits["choice"]["budgets"]:
            limit = f"limit {b['limit']:,.6g} {b['unit']} (reference {b['reference']:,.6g}: {b['reference_is']})"
            rows.append((f"budget {b['name']}", f"{b['reached']:,.6g} {b['unit']} reached, {limit}"))
    if bits["bought"] is not None:
        rows.append(("against 8 bits", bits["bought"]))
    if bits["note"] is not None:
        rows.append(("against 8 bits", bits["note"]))
    return rows


def _reference(reference: Mapping[str, Any]) -> str:
    return str(reference["kind"]) if reference["note"] is None else f"{reference['kind']} ({reference['note']})"


def _decibels(values: Mapping[str, float | str]) -> str:
    """Ratios by output; what is no finite number is said in words."""
    return ", ".join(f"{name} {value if isinstance(value, str) else _decibel(value)}" for name, value in values.items())


def _decibel(value: float) -> str:
    if math.isnan(value):
        return "has none: the float model's output is 0 everywhere"
    return "exact" if value == math.inf else f"{value:.1f} dB"


def _ratio(output: Mapping[str, Any]) -> float | str:
    """The ratio of an output in a report, or why it has none."""
    return str(output["note"]) if output["sqnr_db"] is None else float(output["sqnr_db"])


def _blank(value: float | None, form: str = "") -> str:
    return "" if value is None else format(value, form)


def _first(first: tuple[tuple[int, ...], int, int] | None) -> str:
    if first is None:
        return ""
    (sample, *index), expected, actual = first
    return f"sample {sample}, index {tuple(index)}: NumPy {expected}, C++ {actual}"


def explored(out: RichConsole, exploration: Exploration) -> None:
    """The front against DSP slices for a terminal, and where everything lies."""
    running = [p for p in exploration.document["points"] if p["runs"]]
    best = front(running, COSTS["dsp"][1])
    rows = [
        (
            point_name(p),
            *(str(p[name]) for name in ("epilogue", "vector", "weight_ports")),
            f"{p['clock_mhz']:g}",
            *(f"{p['resources'][name]:,}" for name in ("dsp", "lut", "bram36")),
            f"{p['latency_ms']:.3f}",
            f"{100 * p['mac_utilization']:.1f}",
        )
        for p in best
    ]
    columns = ("bits and array", ">epilogue", ">vector", ">ports", ">MHz", ">DSP", ">LUT", ">BRAM36", ">latency ms", ">MAC use %")
    table(out, columns, rows, "front of predicted latency against DSP slices", (">ports", ">BRAM36"))
    lines = [("points", f"{len(exploration.points)}, {exploration.resumed} of them known before")]
    plain = fastest_plain(running)
    if plain is not None:
        used = f"{plain['resources']['dsp']:,} DSP, {plain['resources']['lut']:,} LUT"
        lines.append(("fastest of 8 bits", f"{point_name(plain)}: {plain['latency_ms']:.3f} ms, {used}"))
    if len(running) < len(exploration.points):
        lines.append(("cannot run", f"{len(exploration.points) - len(running)} of them; pareto.json says why"))
    facts(out, [*lines, ("written to", str(exploration.folder))])
