"""Quantization-aware training of a canonical model: from floats over a Brevitas network to a model with formats of its own."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeflow.hw.arrays import Array
from edgeflow.hw.errors import CalibrationError, InputError, ToolchainError
from edgeflow.hw.progress import Progress
from edgeflow.quant.canonical.graph import FloatGraph
from edgeflow.quant.canonical.inputs import check_ids, model_data
from edgeflow.quant.canonical.masks import vocabulary
from edgeflow.quant.canonical.torch_graph import one_thread
from edgeflow.quant.convert.fixed_formats import has_fixed_formats
from edgeflow.quant.convert.observe import observe
from edgeflow.quant.convert.widths import layer_bits
from edgeflow.quant.formats.config import QuantizationConfig
from edgeflow.quant.techniques.hawq.layers import find_layers
from edgeflow.quant.techniques.hawq.objective import Objective
from edgeflow.quant.techniques.hawq.sensitivity import tuning_order
from edgeflow.quant.techniques.qat.equalize import equalized
from edgeflow.quant.techniques.qat.options import FineTuning

if TYPE_CHECKING:
    from edgeflow.quant.techniques.qat.network import QuantizedNetwork

LEAST_SAMPLES = 8
EVALUATED = 64  # validation samples at a time
ORDER_SAMPLES = 64  # that HAWQ's order comes from


@dataclass(frozen=True)
class Epoch:
    """Mean losses after so many passes over the training samples (0: before any; no training loss then). ``top1``: share of
    validation samples with the right class, or the float model's where there are no labels; None without a class output."""

    number: int
    loss: float
    validation_loss: float
    top1: float | None


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned network. ``model``: canonical, with the formats that it was trained in; ``epochs``, of which number ``best`` was
    kept; ``order``: layers with HAWQ's Omega, the largest first, where they were quantized in that order; ``network``: in
    Brevitas."""

    model: ir.Model
    epochs: tuple[Epoch, ...]
    best: int
    order: tuple[tuple[str, float], ...]
    seconds: float
    network: QuantizedNetwork


def finetune(
    model: ir.Model,
    data: Mapping[str, Array],
    labels: Array | None = None,
    config: QuantizationConfig | None = None,
    options: FineTuning | None = None,
    progress: Progress | None = None,
) -> Tuned:
    """Fine-tune a canonical float model at the bits of ``config``, and return it with its formats.

    ``data`` has an array for every model input, samples first. The loss is the cross-entropy to ``labels (samples,)``; without
    them, the model's own outputs are the target (see quant/techniques/hawq/objective.py). :func:`edgeflow.quant.ptq.quantize` makes
    the integer graph of the result: with the words and scales that were trained.

    ToolchainError where Brevitas is missing; InputError for a model without linear layers or one that is quantized already;
    CalibrationError where data or labels do not fit, or are too few.
    """
    require_brevitas()
    start = time.perf_counter()
    config, options = config or QuantizationConfig(), options or FineTuning()
    graph = FloatGraph(model)
    arrays = _checked(graph, data)
    if not graph.layers():
        raise InputError("the model has no linear layer: there is nothing to fine-tune")
    if has_fixed_formats(graph):
        raise InputError("the model brings formats of its own, so it is quantized already: fine-tune the float model that it was")
    with one_thread():
        training = _Training(graph, arrays, labels, config, options, progress)
        epochs, best = training.run()
    from edgeflow.quant.techniques.qat.translate import tuned_model

    tuned = tuned_model(training.network)
    return Tuned(tuned, epochs, best, training.order, time.perf_counter() - start, training.network)


def require_brevitas() -> None:
    """ToolchainError, which says what to install, where torch or Brevitas is missing."""
    try:
        import brevitas  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ToolchainError("fine-tuning needs torch and Brevitas: pip install 'edgeflow[qat]'") from error


def _checked(graph: FloatGraph, data: Mapping[str, Array]) -> dict[str, Array]:
    arrays = model_data(graph.model, data, "training data")
    for name in graph.inputs:
        rows = vocabulary(graph, name)
        if rows is not None:
            check_ids(name, arrays[name], rows - 1, "training data")
    count = len(next(iter(arrays.values())))
    if count < LEAST_SAMPLES:
        raise CalibrationError(f"training data: fine-tuning needs at least {LEAST_SAMPLES} samples, not {count}")
    return arrays


class _Training:
    """One run: the samples in two parts, the network, and the loop."""

    def __init__(
        self,
        graph: FloatGraph,
        arrays: Mapping[str, Array],
        labels: Array | None,
        config: QuantizationConfig,
        options: FineTuning,
        progress: Progress | None,
    ) -> None:
        self.options, self.progress = options, progress
        self.objective = Objective(graph, arrays, labels, progress)
        self.rng = np.random.default_rng(options.seed)
        shuffled = self.rng.permutation(self.objective.samples)
        held = min(max(1, round(options.validation * len(shuffled))), len(shuffled) - 1)
        self.held, self.train = shuffled[:held], shuffled[held:]
        chosen = np.sort(self.train[: options.calibration])
        few = {name: array[chosen] for name, array in arrays.items()}
        self.order = self._order(graph, few, None if labels is None else np.asarray(labels)[chosen], config)
        self.network = _network(graph, few, config, options.seed, progress)

    def _order(
        self, graph: FloatGraph, few: Mapping[str, Array], labels: Array | None, config: QuantizationConfig
    ) -> tuple[tuple[str, float], ...]:
        """The layers in HAWQ's order of fine-tuning; none where all train together."""
        if self.options.order == "together":
            return ()
        part = {name: array[:ORDER_SAMPLES] for name, array in few.items()}
        objective = Objective(graph, part, None if labels is None else labels[:ORDER_SAMPLES])
        layers, bits = find_layers(graph, ends=True), layer_bits(graph, config)
        return tuple(tuning_order(graph, layers, objective, bits, seed=self.options.seed, progress=self.progress))

    def run(self) -> tuple[tuple[Epoch, ...], int]:
        """Train; the network has the best parameters in the end. Returns the epochs and which was the best."""
        import torch

        options, network = self.options, self.network
        batch = min(options.batch, len(self.train))
        steps = math.ceil(len(self.train) / batch)
        total = steps * options.epochs
        optimizer = torch.optim.AdamW(self._groups())
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, total, options.warmup))
        epochs = [self._evaluated(0, math.nan)]
        best, kept = 0, _state(network)
        names = [name for name, _ in self.order]
        quantized = len(names) + 1  # how many layers are; more than there are: all
        for number in range(1, options.epochs + 1):
            network.train()
            shuffled, summed = self.rng.permutation(self.train), 0.0
            for i in range(steps):
                step = (number - 1) * steps + i
                if names and quantized != (wanted := _stage(step, total, options.stages, len(names))):
                    quantized = wanted
                    network.switch(names[:quantized])
                samples = shuffled[i * batch : (i + 1) * batch]
                piece = self.objective.chosen(samples)
                values = network(piece.inputs, self.objective.tensors())
                loss = self.objective.loss(values, piece) * (self.objective.samples / len(samples))
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
                summed += loss.item() * len(samples)
                if self.progress is not None:
                    self.progress("fine-tune", step + 1, total)
            if names:
                network.switch(names)
            epochs.append(self._evaluated(number, summed / len(self.train)))
            if names:
                network.switch(names[:quantized])
            if not math.isfinite(epochs[-1].validation_loss):
                raise InputError(f"the loss is not finite after epoch {number}: lower the learning rate")
            if epochs[-1].validation_loss <= epochs[best].validation_loss:
                best, kept = number, _state(network)
        if names:
            network.switch(names)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                parameter.copy_(kept[name])
        network.eval()
        return tuple(epochs), best

    def _groups(self) -> list[dict[str, Any]]:
        """Parameters by learning rate and decay: weights, other floats, scales and zero points."""
        weights: list[Any] = []
        floats: list[Any] = []
        scales: list[Any] = []
        for name, parameter in self.network.named_parameters():
            if not parameter.requires_grad:
                continue
            if "tensor_quant" in name:
                scales.append(parameter)
            else:
                (weights if name.startswith("layers.") and parameter.ndim == 2 else floats).append(parameter)
        options = self.options
        return [
            {"params": weights, "lr": options.learning_rate, "weight_decay": options.weight_decay},
            {"params": floats, "lr": options.learning_rate, "weight_decay": 0.0},
            {"params": scales, "lr": options.scale_rate, "weight_decay": 0.0},
        ]

    def _evaluated(self, number: int, loss: float) -> Epoch:
        """Loss and top-1 on the validation samples."""
        from edgeflow.quant.techniques.qat.network import evaluating

        total, right, classes = 0.0, 0, 0
        with evaluating(self.network):
            for start in range(0, len(self.held), EVALUATED):
                samples = self.held[start : start + EVALUATED]
                piece = self.objective.chosen(samples)
                values = self.network(piece.inputs, self.objective.tensors())
                total += float(self.objective.loss(values, piece)) * self.objective.samples
                for term, target in zip(self.objective.terms, piece.targets, strict=True):
                    if term.kind != "squared":
                        truth = target if term.kind == "labels" else target.argmax(1)
                        right += int((values[term.tensor].argmax(1) == truth).sum())
                        classes += len(samples)
                if self.progress is not None:
                    self.progress("validate", start + len(samples), len(self.held))
        return Epoch(number, loss, total / len(self.held), right / classes if classes else None)


def _network(
    graph: FloatGraph, few: Mapping[str, Array], config: QuantizationConfig, seed: int, progress: Progress | None
) -> QuantizedNetwork:
    """The quantized network before training: equalized, with calibrated formats."""
    import torch

    from edgeflow.quant.techniques.qat.initialization import compensate
    from edgeflow.quant.techniques.qat.network import QuantizedNetwork

    statistics = observe(graph, few, config, progress)
    model = ir.from_proto(ir.to_proto(graph.model))
    for name, array in equalized(graph, statistics, config).items():
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
    start = FloatGraph(model)
    with torch.random.fork_rng(devices=[]):  # torch draws weights that are replaced at once
        torch.manual_seed(seed)
        network = QuantizedNetwork(start, observe(start, few, config, progress), config)
    compensate(network, few, config)
    return network


def _rate(step: int, total: int, warmup: float) -> float:
    """The learning rate of a step over the largest."""
    rise = max(1, round(warmup * total))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * (step - rise) / max(1, total - rise)))


def _stage(step: int, total: int, stages: int, layers: int) -> int:
    """How many layers are quantized in a step: more from stage to stage of the first half of the steps, then all."""
    stage = min(stages, 1 + (2 * stages * step) // total)
    return math.ceil(layers * stage / stages)


def _state(network: QuantizedNetwork) -> dict[str, Any]:
    return {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
