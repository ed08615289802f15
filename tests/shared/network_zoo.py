"""Whole networks at tiny sizes, with calibration data: what the end-to-end tests compile.

Every network is exported by torch; the sizes are chosen to be awkward (odd channels, heads that are no multiple of 16, one token).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from exporter_zoo import CASES, Case, export
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
SAMPLES = 16


@dataclass(frozen=True)
class Network:
    """``minimum_db`` is the least SQNR of any output against the exported file in onnxruntime, masked tokens left out."""

    name: str
    build: Callable[[], Any]
    data: Callable[[], Arrays]
    minimum_db: float
    exporter: str = "script"
    opset: int = 17

    def export(self, folder: Path) -> Path:
        """Write the network as ONNX."""
        few = {"fixed": 1}.get(self.exporter, 2)
        case = Case(self.name, self.build, lambda: {k: v[:few] for k, v in self.data().items()}, self.exporter, self.opset, {})
        return export(case, folder)[0]


def _normal(name: str, *shape: int) -> Callable[[], Arrays]:
    return lambda: {name: np.random.default_rng(7).standard_normal((SAMPLES, *shape)).astype(np.float32)}


def _sentences(tokens: int, vocabulary: int = 50) -> Callable[[], Arrays]:
    """Token ids of sentences of 1 to ``tokens`` tokens; the fourth sample is padding throughout."""

    def draw() -> Arrays:
        random = np.random.default_rng(8)
        length = random.integers(1, tokens + 1, SAMPLES)
        length[:4] = (tokens, 1, tokens - 1, 0)
        mask = (np.arange(tokens) < length[:, None]).astype(np.int64)
        ids, types = random.integers(0, vocabulary, (SAMPLES, tokens)), random.integers(0, 2, (SAMPLES, tokens))
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

    return draw


def _pair() -> Arrays:
    random = np.random.default_rng(9)
    return {name: random.standard_normal((SAMPLES, size)).astype(np.float32) for name, size in (("x", 6), ("y", 5))}


def _vit() -> Any:
    from edgeflow.models.vit import VisionTransformer, ViTConfig

    return VisionTransformer(ViTConfig(image_size=12, patch=4, channels=3, dim=36, depth=2, heads=3, classes=10))


def _encoder(dim: int, heads: int, hidden: int, activation: str, norm_first: bool, head: str, classes: int = 5) -> Any:
    """torch's own TransformerEncoder with a head: the mean or the largest over tokens, or the first token, and a classifier."""
    import torch
    from torch import nn
    from torch.nn import functional

    functions: dict[str, Any] = {
        "relu": functional.relu,
        "silu": functional.silu,
        "tanh-gelu": lambda t: functional.gelu(t, approximate="tanh"),
        "quick-gelu": lambda t: t * torch.sigmoid(1.702 * t),
    }

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            options: dict[str, Any] = {"batch_first": True, "norm_first": norm_first, "activation": functions[activation]}
            layer = nn.TransformerEncoderLayer(dim, heads, hidden, **options)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

        def forward(self, x: Any) -> Any:
            x = self.norm(self.encoder(x))
            if head == "max":
                return self.head(x.max(dim=1).values)
            logits = self.head(x[:, 0] if head == "first" else x.mean(1))
            return logits.softmax(-1) if head == "softmax" else logits

    return Model()


def _bert(dim: int, heads: int, hidden: int, pooler: bool, largest: bool = False) -> Any:
    """A Hugging Face BERT with masked mean pooling as sentence-transformers does it, with the largest over tokens, or with its own
    pooler (tanh)."""
    import torch
    import transformers
    from torch import nn

    sizes: dict[str, Any] = {"hidden_size": dim, "num_hidden_layers": 2, "num_attention_heads": heads, "intermediate_size": hidden}
    options: dict[str, Any] = {"vocab_size": 50, "max_position_embeddings": 20, "attn_implementation": "eager"}

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = transformers.BertModel(transformers.BertConfig(**sizes, **options), add_pooling_layer=pooler)

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            outputs = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            if pooler:
                return outputs.pooler_output
            if largest:
                return outputs.last_hidden_state.masked_fill(attention_mask.unsqueeze(-1) == 0, -1e9).max(dim=1).values
            hidden, mask = outputs.last_hidden_state, attention_mask.unsqueeze(-1).float()
            return hidden, (hidden * mask).sum(1) / torch.clamp(mask.sum(1), min=1e-9)

    return Model()


NETWORKS = {
    network.name: network
    for network in (
        Network("vit", _vit, _normal("image", 3, 12, 12), 30.0),
        Network("vit-dynamo", _vit, _normal("image", 3, 12, 12), 30.0, "dynamo", 18),
        Network("vit-one-image", _vit, _normal("image", 3, 12, 12), 30.0, "fixed", 13),
        Network("hf-deit", CASES["hfdeit-eager-script14"].build, _normal("image", 1, 28, 28), 25.0),
        Network("bert-mean", lambda: _bert(36, 3, 40, False), _sentences(17), 30.0),
        Network("bert-max", lambda: _bert(20, 2, 24, False, largest=True), _sentences(11), 30.0),
        Network("bert-pooler", lambda: _bert(20, 2, 24, True), _sentences(3), 30.0),
        Network("postnorm-relu", lambda: _encoder(20, 2, 36, "relu", False, "mean"), _normal("x", 17, 20), 30.0),
        Network("prenorm-max", lambda: _encoder(20, 2, 36, "relu", True, "max"), _normal("x", 13, 20), 30.0, "dynamo", 18),
        Network("prenorm-silu", lambda: _encoder(36, 4, 20, "silu", True, "mean"), _normal("x", 1, 36), 30.0),
        Network("tanh-gelu", lambda: _encoder(24, 1, 33, "tanh-gelu", True, "first", 1), _normal("x", 3, 24), 30.0),
        Network("softmax", lambda: _encoder(20, 5, 36, "quick-gelu", False, "softmax"), _normal("x", 9, 20), 30.0),
        Network("two-inputs", CASES["two-script13"].build, _pair, 30.0),
    )
}
