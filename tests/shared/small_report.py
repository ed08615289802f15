"""What a small network's report is made of, with something in every section."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from small_network import small_network

from edgeflow.hw.architecture import Architecture
from edgeflow.hw.boards import load_board
from edgeflow.hw.verify import verify_graph
from edgeflow.quant.convert.conversion import Contribution
from edgeflow.quant.formats.ranges import TensorRange
from edgeflow.quant.integers.compensate import LayerErrors
from edgeflow.sim.cycles import estimate
from edgeflow.sw.compiler.lowering import lower
from edgeflow.sw.compiler.network import Network
from edgeflow.sw.measure.samples import Samples, Unseen
from edgeflow.sw.report import ReportInputs
from edgeflow.sw.report.schema import (
    BitChoice,
    Bits,
    BitsOmega,
    BitTrial,
    BuildFigures,
    Front,
    FrontPoint,
    KeptBudget,
    LayerSensitivity,
    MeasuredOn,
    Run,
    Search,
)


@dataclass(frozen=True)
class Reference:
    """As edgeflow.sw.measure.reference.Reference."""

    kind: Literal["original", "canonical"] = "original"
    note: str | None = None


@dataclass(frozen=True)
class Accuracy:
    sqnr_db: dict[str, float]
    top1_agreement: float | None
    layers: dict[str, float]
    top1_accuracy: float | None = None
    float_top1_accuracy: float | None = None


def rows(count: int) -> dict[str, NDArray[Any]]:
    return {"image": np.zeros((count, 2), np.float32)}


SAMPLES = Samples(rows(48), None, Unseen("held_out", rows(16)), "", random=False)


RANGES = (
    TensorRange("image", 8, "tensor", "minmax", -1.0, 1.0, -1.0, 1.0),
    TensorRange("<odd & name>", 16, "channel", "percentile", -300.0, 12.5, -250.0, 20.0),
)


def report_inputs(blocks: int = 2, **changes: Any) -> ReportInputs:
    graph, board = small_network(blocks), load_board("kv260")
    verify_graph(graph)
    architecture = Architecture(units=Network(graph).units, max_channels=128, clock_mhz=200.0)
    program = lower(Network(graph), architecture)
    layers = {node.output: 40.0 - i for i, node in enumerate(graph.nodes)}
    usual = ReportInputs(
        model="small.onnx",
        board=board,
        clock_mhz=200.0,
        graph=graph,
        program=program,
        cycles=estimate(program, graph, board, 200.0),
        ranges={r.name: r for r in RANGES},
        accuracy=Accuracy({"logits": 38.5}, 0.9375, layers, 0.875, 0.9),
        reference=Reference(),
        samples=SAMPLES,
        warnings=("the model has <two> heads",),
        search=Search(bounded=12, simulated=3, proven=True),
        bits=bits(),
        run=RUN,
        timings={"import": 0.25, "quantize": 1.5},
        rounding={"fc1.out": LayerErrors(10.0, 11.0, 11.5, 14.0)},
        techniques=(
            Contribution("equalization", {"logits": 20.0, "exact": math.inf}, {"logits": 12.5, "exact": 30.0}),
            Contribution("bias correction", {"logits": 20.0, "exact": math.inf}, {"logits": 19.0, "exact": math.nan}),
        ),
    )
    return dataclasses.replace(usual, **changes)


RUN = Run(
    command="edgeflow compile small.onnx --calib 'my <data>.npz'",
    date="2026-01-31T12:00:00+00:00",
    options={"model": "small.onnx", "seed": 0, "quantization.weight_bits": 4, "budget": ["size=0.6x"]},
    versions={"python": "3.11.7", "numpy": "2.4.6"},
    sha256={"model": "0123456789abcdef" * 4},
)


def bits(taken: str = "hawq") -> Bits:
    """A choice of bits among three layers of the float model, one of them fixed."""
    layers = [
        LayerSensitivity(
            name=name,
            weight_bits=weight,
            activation_bits=8,
            fixed=weight == 8,
            parameters=2560,
            trace=0.5,
            trace_error=0.01,
            omega=[BitsOmega(weight_bits=b, activation_bits=8, omega=10.0**-b) for b in ((8,) if weight == 8 else (8, 6, 4, 2))],
        )
        for name, weight in (("/fc1.0/MatMul", 8), ("/fc2.0/MatMul", 4), ("/<head>", 6))
    ]
    points = [FrontPoint(cost=1000.0 * b, omega=10.0**-b) for b in (2, 4, 6, 8)]
    front = Front(cost="size", unit="bytes", points=points, uniform=points[1:], taken=points[2])
    trials = [
        BitTrial(name=name, sqnr_db=30.0 + i, costs={"size": 6000.0}, taken=name == taken) for i, name in enumerate(("fit", "hawq"))
    ]
    budget = KeptBudget(
        name="size", budget="size=0.6x", unit="bytes", reference=8000.0, reference_is="all at 8", limit=6100.0, reached=6000.0
    )
    choice = BitChoice(
        method="hawq",
        taken=taken,
        decision="HAWQ taken",
        measured_on=MeasuredOn(data="held_out", samples=16),
        trials=trials,
        budgets=[budget],
        layers=layers,
        fronts=[front],
    )
    narrow, plain = (BuildFigures(latency_ms=t, weight_bytes=n, sqnr_db=db) for t, n, db in ((0.5, 6000, 31.0), (0.6, 8000, 38.5)))
    return Bits(choice=choice, build=narrow, plain=plain, bought="16.7 % faster", note=None)
