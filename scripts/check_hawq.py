"""HAWQ's estimates against what can be computed in full on a small network: exact Hessians, and every allocation of bits.

    python scripts/check_hawq.py [--samples 64] [--probes 64] [--seed 0]

The network is a perceptron with layers of 16, 12 and 10 outputs on Fashion-MNIST images of 7 x 7 pixels, trained here on images of
examples/fashion_mnist_vit/test.npz. Each block of its Hessian is computed column by column; Hutchinson's estimate of its trace must
lie within two standard errors, at the seed given, and over many seeds about as often as that promises. Then every allocation of
bits to its layers is tried under several budgets; the integer programme must find one as good as the best. Needs the
extra ``train``.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import torch
from onnx import helper, numpy_helper

from edgeflow.hw.arrays import Array
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.convert.observe import observe
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.techniques.hawq.allocate import Task, bops_cost, brute_force, size_cost, solve, task
from edgeflow.quant.techniques.hawq.hessian import exact_block, traces
from edgeflow.quant.techniques.hawq.layers import attention_bops, find_layers
from edgeflow.quant.techniques.hawq.objective import Objective
from edgeflow.quant.techniques.hawq.sensitivity import measure
from edgeflow.sw.importer import import_model

IMAGES = Path(__file__).resolve().parent.parent / "examples" / "fashion_mnist_vit" / "test.npz"
WIDTHS = (49, 16, 12, 10)
STEPS, RATE = 400, 1e-2
OPSET = 21
SEEDS = 40
SHARE = (0.88, 1.0)  # of many estimates within two standard errors; 0.95 are expected
BUDGETS: Sequence[Mapping[str, float]] = (
    *({"size": share} for share in (0.3, 0.4, 0.5, 0.65, 0.8)),
    *({"bops": share} for share in (0.2, 0.3, 0.5)),
    {"size": 0.5, "bops": 0.4},
)


def small_images() -> tuple[Array, Array]:
    """Images ``(N, 49)``, each pixel the mean of 4 x 4, and their classes ``(N,)``."""
    with np.load(IMAGES) as archive:
        image, label = archive["image"], archive["label"]
    return image.reshape(-1, 7, 4, 7, 4).mean(axis=(2, 4)).reshape(len(image), -1).astype(np.float32), label


def trained(x: Array, label: Array, seed: int) -> torch.nn.Sequential:
    """A perceptron with tanh, trained on all images at once."""
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = []
    for inputs, outputs in itertools.pairwise(WIDTHS):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.Tanh()]
    network = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    images, classes = torch.from_numpy(x), torch.from_numpy(label)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), classes).backward()
        optimizer.step()
    return network


def as_onnx(network: torch.nn.Sequential) -> ir.Model:
    """The perceptron as a canonical model."""
    nodes, constants, name = [], [], "x"
    for i, layer in enumerate(network):
        if isinstance(layer, torch.nn.Linear):
            constants.append(numpy_helper.from_array(layer.weight.detach().numpy().T.copy(), f"w{i}"))
            constants.append(numpy_helper.from_array(layer.bias.detach().numpy(), f"b{i}"))
            nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], [f"y{i}"], name=f"layer{i}"))
        else:
            nodes.append(helper.make_node("Tanh", [name], [f"y{i}"], name=f"tanh{i}"))
        name = f"y{i}"
    float32 = onnx.TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(n, float32, ["batch", size]) for n, size in (("x", WIDTHS[0]), (name, WIDTHS[-1]))]
    proto = helper.make_model(
        helper.make_graph(nodes, "small", ends[:1], ends[1:], constants), opset_imports=[helper.make_opsetid("", OPSET)]
    )
    return imported(proto)


def imported(proto: onnx.ModelProto) -> ir.Model:
    """The canonical model of a protobuf message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "small.onnx"
        path.write_bytes(proto.SerializeToString())
        return import_model(path)


def check_traces(objective: Objective, weights: Sequence[str], what: str, probes: int, seed: int) -> list[str]:
    """Print exact and estimated traces; what does not hold."""
    exact = {name: float(np.trace(exact_block(objective, name))) for name in weights}
    estimates = traces(objective, weights, probes=probes, tolerance=0.0, seed=seed)
    failed = []
    print(f"\n{what}: {objective.samples} samples, {estimates.probes} probes, seed {seed}")
    print(f"{'weight':16}{'elements':>10}{'exact trace':>14}{'estimate':>12}{'std. error':>12}{'errors away':>13}")
    for name in weights:
        away = (estimates.mean[name] - exact[name]) / estimates.error[name]
        print(
            f"{name:16}{estimates.count[name]:10}{exact[name]:14.5f}{estimates.mean[name]:12.5f}{estimates.error[name]:12.5f}{away:13.2f}"
        )
        if abs(away) > 2:
            failed.append(f"{what}: the trace of {name} is {away:.2f} standard errors away")
    within = []
    for other in range(SEEDS):
        again = traces(objective, weights, probes=probes, tolerance=0.0, seed=seed + 1 + other)
        within += [abs(again.mean[name] - exact[name]) <= 2 * again.error[name] for name in weights]
    share = float(np.mean(within))
    print(f"within two standard errors over {SEEDS} more seeds: {100 * share:.1f} percent of {len(within)}")
    if not SHARE[0] <= share <= SHARE[1]:
        failed.append(f"{what}: {100 * share:.1f} percent of the estimates lie within two standard errors")
    return failed


def check_programme(problem: Task) -> list[str]:
    """Print the best allocation by trying all and by integer programming; what does not hold."""
    count = int(np.prod([len(layer.choices()) for layer in problem.layers]))
    print(f"\nAllocations of bits to {len(problem.layers)} layers: {count}, each tried")
    print(f"{'budget':24}{'best Omega of all':>20}{'of the programme':>20}   bits (weight/activation)")
    failed = []
    for shares in BUDGETS:
        limits = {name: share * problem.costs[name].total(problem.full()) for name, share in shares.items()}
        best, solved = brute_force(problem, limits), solve(problem, limits)
        label = ", ".join(f"{name}={share:g}x" for name, share in shares.items())
        bits = " ".join(f"{choice.weight}/{choice.activation}" for choice in solved.bits.values())
        assert best is not None, label
        print(f"{label:24}{best.omega:20.9g}{solved.omega:20.9g}   {bits}")
        if not problem.feasible(solved.bits, limits) or abs(solved.omega - best.omega) > 1e-9 * best.omega:
            failed.append(f"{label}: the programme's Omega is {solved.omega:.9g}, the best {best.omega:.9g}")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks; the exit status is 1 where one fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--probes", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    x, label = small_images()
    network = trained(x, label, options.seed)
    with torch.no_grad():
        right = float((network(torch.from_numpy(x)).argmax(1).numpy() == label).mean())
    print(f"perceptron {WIDTHS}, trained on {len(x)} images, {100 * right:.1f} percent of them right; seed {options.seed}")
    graph, data = FloatGraph(as_onnx(network)), {"x": x[: options.samples]}
    layers = find_layers(graph, ends=True)
    weights = [name for layer in layers for name in layer.weights]
    with_labels, without = Objective(graph, data, label[: options.samples]), Objective(graph, data)
    failed = check_traces(with_labels, weights, "cross-entropy to labels", options.probes, options.seed)
    failed += check_traces(without, weights, "divergence from the model's own outputs", options.probes, options.seed)
    config = QuantizationConfig(seed=options.seed)
    sensitivity = measure(graph, observe(graph, data, config), layers, without, config, probes=options.probes)["hessian"]
    costs = {"size": size_cost(layers), "bops": bops_cost(layers, attention_bops(graph, config))}
    failed += check_programme(task(layers, sensitivity, costs))
    print("", *failed, sep="\n")
    print("all hold" if not failed else f"{len(failed)} do not hold")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
