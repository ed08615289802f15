"""Text encoders of Hugging Face transformers, with the library's own classes and initialisation, small, as both torch exporters
write them."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeflow.hw.arrays import Array

os.environ.setdefault("HF_HUB_OFFLINE", "1")

FAMILIES = ("bert", "distilbert", "roberta", "electra", "albert", "mpnet", "camembert", "xlm-roberta")
HEADS = ("base", "classifier")
EXPORTERS = ("script", "dynamo")
WIDTH, HIDDEN, LAYERS, ATTENTION_HEADS, TOKENS, WORDS, LABELS = 32, 64, 2, 4, 12, 60, 3
BATCH = 2  # of the export's example
OPSETS = {"script": 17, "dynamo": 18}


@dataclasses.dataclass(frozen=True)
class Encoder:
    """One export: family, what stands on the encoder ("base" or "classifier"), exporter."""

    family: str
    head: str
    exporter: str

    @property
    def name(self) -> str:
        """Of its file and of its test."""
        return f"{self.family}-{self.head}-{self.exporter}"


ENCODERS = {
    encoder.name: encoder
    for encoder in (Encoder(family, head, exporter) for family in FAMILIES for head in HEADS for exporter in EXPORTERS)
}


def _build(family: str, head: str) -> Any:
    """The library's model in evaluation mode, with seeded weights of its own initialisation."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": ATTENTION_HEADS, "intermediate_size": HIDDEN}
    factorised = {**sizes, "embedding_size": WIDTH // 2}
    common = {"vocab_size": WORDS, "max_position_embeddings": TOKENS + 4, "num_labels": LABELS}
    classes = {
        "bert": (hf.BertConfig, hf.BertModel, hf.BertForSequenceClassification, sizes),
        "distilbert": (hf.DistilBertConfig, hf.DistilBertModel, hf.DistilBertForSequenceClassification,
                       {"dim": WIDTH, "n_layers": LAYERS, "n_heads": ATTENTION_HEADS, "hidden_dim": HIDDEN}),
        "roberta": (hf.RobertaConfig, hf.RobertaModel, hf.RobertaForSequenceClassification, sizes),
        "electra": (hf.ElectraConfig, hf.ElectraModel, hf.ElectraForSequenceClassification, factorised),
        "albert": (hf.AlbertConfig, hf.AlbertModel, hf.AlbertForSequenceClassification, factorised),
        "mpnet": (hf.MPNetConfig, hf.MPNetModel, hf.MPNetForSequenceClassification, sizes),
        "camembert": (hf.CamembertConfig, hf.CamembertModel, hf.CamembertForSequenceClassification, sizes),
        "xlm-roberta": (hf.XLMRobertaConfig, hf.XLMRobertaModel, hf.XLMRobertaForSequenceClassification, sizes),
    }  # fmt: skip
    config, base, classifier, options = classes[family]
    return (base if head == "base" else classifier)(config(**common, **options)).eval()


def sentences(family: str, count: int = BATCH, seed: int = 1) -> dict[str, Array]:
    """Ids of sentences of different lengths, filled up with the padding id on the right, and the mask that goes with them."""
    import transformers as hf

    padding = hf.AutoConfig.for_model(family).pad_token_id
    random = np.random.default_rng(seed)
    lengths = random.integers(1, TOKENS + 1, count)
    lengths[0] = TOKENS
    mask = (np.arange(TOKENS) < lengths[:, None]).astype(np.int64)
    ids = np.where(mask == 1, random.integers(3, WORDS, (count, TOKENS)), padding)
    return {"input_ids": ids, "attention_mask": mask}


def _called(model: Any) -> Any:
    """The model as a function of ids and mask that returns a tuple of tensors."""
    import torch

    class Called(torch.nn.Module):
        """Calls by position."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids=input_ids, attention_mask=attention_mask, return_dict=False)

    return Called().eval()


def export(encoder: Encoder, folder: Path, seed: int = 1) -> tuple[Path, dict[str, Array], list[npt.NDArray[Any]]]:
    """Export an encoder; returns the file, inputs, and what torch computes on them."""
    import torch

    path = folder / f"{encoder.name}.onnx"
    model = _called(_build(encoder.family, encoder.head))
    data = sentences(encoder.family, seed=seed)
    tensors = tuple(torch.from_numpy(array) for array in data.values())
    options: dict[str, Any] = {"dynamo": False, "dynamic_axes": {name: {0: "batch", 1: "sequence"} for name in data}}
    if encoder.exporter == "dynamo":
        axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence", max=TOKENS)}
        options = {"dynamo": True, "verbose": False, "dynamic_shapes": tuple(axes for _ in data)}
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # torch logs every step where something listens, as pytest does
    silence = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        warnings.simplefilter("ignore")
        with torch.no_grad():
            results = model(*tensors)
        torch.onnx.export(model, tensors, path, input_names=list(data), opset_version=OPSETS[encoder.exporter], **options)
    logging.disable(disabled)
    return path, data, [result.numpy() for result in results]
