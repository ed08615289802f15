"""HAWQ's curvature: the float graph in torch, traces, Fisher information, eigenvalues, and what they become."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from canonical_models import linear, model, node

from edgeflow.hw.errors import CalibrationError, InputError
from edgeflow.quant.canonical.base import registry
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.session import FloatSession
from edgeflow.quant.canonical.torch_graph import TorchGraph
from edgeflow.quant.convert.observe import observe
from edgeflow.quant.formats.config import LayerBits, QuantizationConfig
from edgeflow.quant.nodes import output_name
from edgeflow.quant.techniques.hawq.fisher import fisher_traces
from edgeflow.quant.techniques.hawq.hessian import exact_block, top_eigenvalues, traces
from edgeflow.quant.techniques.hawq.layers import find_layers
from edgeflow.quant.techniques.hawq.objective import Objective
from edgeflow.quant.techniques.hawq.sensitivity import METRICS, Metric, measure, tuning_order

torch = pytest.importorskip("torch")

WEIGHTS = ("a.w", "b.w", "y.w")
SAMPLES = 12


def network(classes: bool = True, seed: int = 0) -> ir.Model:
    """Three linear layers with tanh and a residual addition over four tokens; classes, or tokens of eight channels."""
    rng = np.random.default_rng(seed)
    constants: dict[str, np.ndarray] = {}
    nodes = [
        linear(rng, constants, "x", "a", 5, 6),
        node("Tanh", ["a"], "t"),
        linear(rng, constants, "t", "b", 6, 6),
        node("Add", ["t", "b"], "s"),
    ]
    if not classes:
        nodes.append(linear(rng, constants, "s", "y", 6, 8))
        return model(nodes, {"x": ("float32", (4, 5))}, {"y": (4, 8)}, constants)
    nodes += [node("MeanPool", ["s"], "m"), linear(rng, constants, "m", "y", 6, 3)]
    return model(nodes, {"x": ("float32", (4, 5))}, {"y": (3,)}, constants)


def data(seed: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(seed).standard_normal((SAMPLES, 4, 5)).astype(np.float32)}


def objective(classes: bool = True, labels: np.ndarray | None = None) -> Objective:
    return Objective(FloatGraph(network(classes)), data(), labels)


LABELS = np.random.default_rng(2).integers(0, 3, SAMPLES)
KINDS: dict[str, Callable[[], Objective]] = {
    "labels": lambda: objective(labels=LABELS),
    "own classes": objective,
    "own outputs": lambda: objective(classes=False),
}


def test_torch_computes_what_onnxruntime_does() -> None:
    """One network of every unary function, and the operators that move data, node by node."""
    rng = np.random.default_rng(3)
    constants: dict[str, np.ndarray] = {
        "one": np.array(1.5, np.float32),
        "scale": np.ones(6, np.float32) * 1.2,
        "shift": np.ones(6, np.float32),
    }
    constants["cls"] = rng.standard_normal((1, 1, 6)).astype(np.float32)
    nodes = [node("Abs", ["x"], "abs"), node("Add", ["abs", "one"], "positive")]
    nodes += [node(op, ["positive"], f"u.{op}") for op in sorted(name for name, op in registry().items() if op.tabulated)]
    nodes += [
        node("LayerNormalization", ["x", "scale", "shift"], "n", axis=-1, epsilon=1e-5),
        node("ConstantTokens", ["x", "cls"], "c"),
        node("Concat", ["c", "n"], "j", axis=1),
        node("Attention", ["j", "j", "j"], "p", heads=2, scale=0.4),
        node("Attention", ["n", "n", "n", "mask"], "pm", heads=3, scale=0.7),
        node("SelectTokens", ["p"], "first", start=0, stop=1, squeeze=1),
        node("SelectChannels", ["p"], "part", start=1, stop=4),
        node("MeanPool", ["n"], "mean"),
        node("MeanPool", ["n", "mask"], "meanm"),
        node("Transpose", ["p"], "tr", perm=[0, 2, 1]),
        node("Reshape", ["p", "shape"], "flat"),
        node("Mul", ["n", "pm"], "prod"),
    ]
    constants["shape"] = np.array([0, 36], np.int64)
    canonical = model(nodes, {"x": ("float32", (5, 6)), "mask": ("int64", (5,))}, {"prod": (5, 6)}, constants)
    inputs = {
        "x": rng.standard_normal((3, 5, 6)).astype(np.float32),
        "mask": np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 1, 0, 1]]),
    }
    graph = FloatGraph(canonical)
    names = [output_name(n) for n in graph.nodes]
    expected = FloatSession(canonical, names).run(inputs)
    actual = TorchGraph(graph).run({name: torch.from_numpy(a) for name, a in inputs.items()}, names).values
    for name in names:
        np.testing.assert_allclose(actual[name].numpy(), expected[name], rtol=2e-5, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_traces_are_within_two_standard_errors_of_the_exact_hessian(kind: str) -> None:
    loss = KINDS[kind]()
    exact = {name: np.trace(exact_block(loss, name)) for name in WEIGHTS}
    estimates = traces(loss, WEIGHTS, probes=200, tolerance=0.0, seed=5)
    assert estimates.probes == 200
    for name in WEIGHTS:
        assert estimates.error[name] < 0.1 * max(map(abs, exact.values()))
        assert abs(estimates.mean[name] - exact[name]) <= 2 * estimates.error[name]


def test_standard_errors_are_as_large_as_the_errors_are() -> None:
    """Over many seeds about 95 percent of the estimates lie within two standard errors; fewer than all do."""
    loss = objective()
    exact = {name: np.trace(exact_block(loss, name)) for name in WEIGHTS}
    within = []
    for seed in range(40):
        estimates = traces(loss, WEIGHTS, probes=48, tolerance=0.0, seed=seed)
        within += [abs(estimates.mean[name] - exact[name]) <= 2 * estimates.error[name] for name in WEIGHTS]
    assert 0.88 <= np.mean(within) < 1.0


def test_scales_and_balance_change_coordinates_and_variance_not_the_expectation() -> None:
    loss = objective()
    scale = {"b.w": np.linspace(0.5, 2.0, 6)[:, None] * np.ones((6, 6))}
    exact = np.diag(exact_block(loss, "b.w")) @ scale["b.w"].reshape(-1) ** 2
    estimates = traces(loss, WEIGHTS, scales=scale, balance={"a.w": 0.3, "b.w": 2.0}, probes=300, tolerance=0.0)
    assert abs(estimates.mean["b.w"] - exact) <= 2 * estimates.error["b.w"]
    plain = traces(loss, WEIGHTS, probes=300, tolerance=0.0)
    balanced = traces(loss, WEIGHTS, balance={name: plain.mean[name] ** -0.5 for name in WEIGHTS}, probes=300, tolerance=0.0)
    smallest = min(WEIGHTS, key=lambda name: plain.mean[name])
    assert balanced.error[smallest] < plain.error[smallest]


def test_activation_traces_are_means_over_samples_of_their_own_hessians() -> None:
    loss = objective()
    graph, arrays = FloatGraph(network()), data()
    exact = 0.0
    for i in range(SAMPLES):
        constant = {name: np.asarray(graph.constant(name)) for name in WEIGHTS}
        x = arrays["x"][i].astype(np.float64)
        t = np.tanh(x @ constant["a.w"] + np.asarray(graph.constant("a.b")))
        logits = (t + t @ constant["b.w"] + np.asarray(graph.constant("b.b"))).mean(axis=0) @ constant["y.w"]
        logits = logits + np.asarray(graph.constant("y.b"))
        p = np.exp(logits - logits.max())
        p /= p.sum()
        jacobian = constant["y.w"].T @ (np.eye(6) + constant["b.w"]).T / 4  # of the logits with respect to a token of t
        exact += 4 * np.trace(jacobian.T @ (np.diag(p) - np.outer(p, p)) @ jacobian) / SAMPLES
    estimates = traces(loss, ["t"], activations=True, probes=400, tolerance=0.0)
    assert estimates.count["t"] == 24
    assert abs(estimates.mean["t"] - exact) <= 2 * estimates.error["t"]


def test_the_stop_rule_ends_early_and_the_seed_decides() -> None:
    loss = objective()
    one, again, other = (traces(loss, WEIGHTS, probes=400, tolerance=0.15, seed=seed) for seed in (1, 1, 2))
    assert one.converged
    assert one.probes < 400
    assert np.array_equal(one.samples, again.samples)
    assert not np.array_equal(one.samples[0], other.samples[0])
    assert not traces(loss, WEIGHTS, probes=8, tolerance=1e-6).converged


def test_batches_do_not_change_the_estimate() -> None:
    loss, whole = objective(), objective()
    loss.batch = 5
    a, b = (traces(which, WEIGHTS, probes=4, tolerance=0.0).samples for which in (loss, whole))
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_fisher_traces_are_mean_squared_gradients(kind: str) -> None:
    loss = KINDS[kind]()
    outputs = ("a", "b", "y")
    fisher = fisher_traces(loss, outputs, draws=400, seed=2)
    for name in outputs:
        assert (
            fisher.shares[name].shape
            == next(iter(loss.model.run(next(iter(loss.pieces())).inputs, [name]).values.values())).shape[1:]
        )
        assert fisher.shares[name].mean() == pytest.approx(1.0)
    if kind != "labels":  # the Gauss-Newton Hessian, in expectation
        exact = traces(loss, outputs, activations=True, probes=400, tolerance=0.0)
        for name in outputs:
            rough = fisher.samples.reshape(400, SAMPLES, 3)[:, :, outputs.index(name)].mean(axis=1)
            assert abs(fisher.mean[name] - exact.mean[name]) <= 3 * (rough.std(ddof=1) / 20 + exact.error[name])
        return
    total = {name: np.zeros(fisher.shares[name].shape) for name in outputs}
    for i in range(SAMPLES):
        one = Objective(FloatGraph(network()), {"x": data()["x"][i : i + 1]}, LABELS[i : i + 1])
        piece = next(iter(one.pieces()))
        shapes = one.model.run(piece.inputs, outputs).values
        leaves = {name: torch.zeros_like(shapes[name], requires_grad=True) for name in outputs}
        value = one.loss(one.model.run(piece.inputs, one.tensors(), added=leaves).values, piece)
        for name, grad in zip(outputs, torch.autograd.grad(value, list(leaves.values())), strict=True):
            total[name] += grad[0].numpy() ** 2 / SAMPLES
    for name in outputs:
        assert fisher.mean[name] == pytest.approx(total[name].sum(), rel=1e-4)
        np.testing.assert_allclose(fisher.shares[name], total[name] / total[name].mean(), rtol=1e-3, atol=1e-6)


def test_power_iteration_finds_the_largest_eigenvalue() -> None:
    loss = objective(labels=LABELS)
    eigenvalues = top_eigenvalues(loss, WEIGHTS, steps=500, tolerance=1e-7)
    for name in WEIGHTS:
        values = np.linalg.eigvalsh(exact_block(loss, name))
        assert eigenvalues[name] == pytest.approx(values[np.abs(values).argmax()], rel=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_sensitivity_falls_with_bits(metric: Metric) -> None:
    graph, config = FloatGraph(network()), QuantizationConfig()
    layers, loss = find_layers(graph, ends=True), objective()
    statistics = observe(graph, data(), config)
    sensitivity, again = (measure(graph, statistics, layers, loss, config, metrics=[metric], probes=64)[metric] for _ in range(2))
    assert sensitivity.omega == again.omega
    for layer in layers:
        for activation in (4, 8):
            values = [sensitivity.omega[layer.name][LayerBits(weight=bits, activation=activation)] for bits in (2, 3, 4, 6)]
            assert all(a > b for a, b in itertools.pairwise(values))
        assert all(
            sensitivity.omega[layer.name][LayerBits(weight=bits, activation=4)]
            > sensitivity.omega[layer.name][LayerBits(weight=bits)]
            > 0
            for bits in (6, 8)
        )


def test_tuning_order_puts_the_coarsest_layer_first() -> None:
    graph, loss = FloatGraph(network()), objective(labels=LABELS)
    layers = find_layers(graph, ends=True)
    for coarse in ("a", "b", "y"):
        bits = {layer.name: LayerBits(weight=2 if layer.name == coarse else 8) for layer in layers}
        order = tuning_order(graph, layers, loss, bits)
        assert order[0][0] == coarse
        assert sorted(name for name, _ in order) == ["a", "b", "y"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(SAMPLES - 1, np.int64), "labels: there are 11 for 12 samples"),
        (np.full(SAMPLES, 3), "labels: 3 is no class of output 'y', which has 3"),
        (np.zeros(SAMPLES), "an array of integers"),
        (np.zeros((SAMPLES, 2), np.int64), "an array of integers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(CalibrationError, match=message) as caught:
        objective(labels=labels)
    assert "\n" not in str(caught.value)


def test_labels_need_a_class_output() -> None:
    with pytest.raises(CalibrationError, match="no output of the model stands for classes: y"):
        objective(classes=False, labels=LABELS)


def test_a_model_without_weights_is_refused() -> None:
    bare = model([node("Relu", ["x"], "y")], {"x": ("float32", (4,))}, {"y": (4,)}, {})
    with pytest.raises(InputError, match="the model has no linear layer"):
        find_layers(FloatGraph(bare))
