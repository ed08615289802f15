"""Tiny models as real exporters write them: the same few networks, many spellings.

Every case names the canonical operators that must come out, whatever the exporter and the operator set version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

os.environ.setdefault("HF_HUB_OFFLINE", "1")

DIM, HEADS, HIDDEN, TOKENS, DEPTH = 24, 3, 48, 9, 2

Counts = dict[str, int]
_BLOCK: Counts = {"Linear": 6, "Attention": 1, "LayerNormalization": 2, "Gelu": 1, "Add": 2}


def _blocks(depth: int, **extra: int) -> Counts:
    counts = {name: depth * count for name, count in _BLOCK.items()}
    for name, count in extra.items():
        counts[name] = counts.get(name, 0) + count
    return counts


VIT = _blocks(DEPTH, PatchEmbed=1, ConstantTokens=1, Concat=1, Add=1, LayerNormalization=1, SelectTokens=1, Linear=1)
DEIT = _blocks(DEPTH, PatchEmbed=1, ConstantTokens=1, Concat=1, Add=2, LayerNormalization=1, SelectTokens=2, Linear=2, Mul=1)
ENCODER = _blocks(DEPTH, SelectTokens=1, Linear=1)
BERT = _blocks(DEPTH, Embedding=2, Add=2, LayerNormalization=1, MeanPool=1)


def single(activation: str) -> Counts:
    """Counts of one attention block with a given activation and mean pooling."""
    return {"Linear": 6, "Attention": 1, "LayerNormalization": 1, "Add": 2, activation: 1, "MeanPool": 1}


@dataclasses.dataclass(frozen=True)
class Case:
    """One export: ``exporter`` is "script", "fixed" (script, no symbolic batch) or "dynamo"."""

    name: str
    build: Callable[[], Any]
    inputs: Callable[[], dict[str, npt.NDArray[Any]]]
    exporter: str
    opset: int
    counts: Counts
    runs_in_onnxruntime: bool = True


def modules() -> Any:
    """The torch modules, defined late so that importing this file does not import torch."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        """Pre-norm block with one qkv Linear, as timm writes it."""

        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
            self.qkv, self.proj = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
            self.up, self.down = nn.Linear(DIM, HIDDEN), nn.Linear(HIDDEN, DIM)

        def forward(self, x: Any) -> Any:
            batch, tokens, width = x.shape
            qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
            q, k, v = qkv.unbind(0)
            p = ((q * (width // HEADS) ** -0.5) @ k.transpose(-2, -1)).softmax(-1)
            x = x + self.proj((p @ v).transpose(1, 2).reshape(batch, tokens, width))
            return x + self.down(functional.gelu(self.up(self.norm2(x))))

    class Vit(nn.Module):
        """Class token, learned positions."""

        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(1, DIM, 7, 7)
            self.token = nn.Parameter(torch.randn(1, 1, DIM))
            self.positions = nn.Parameter(torch.randn(1, 17, DIM))
            self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
            self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, 10)

        def forward(self, image: Any) -> Any:
            x = self.patch(image).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.positions
            return self.head(self.norm(self.blocks(x))[:, 0])

    class Single(nn.Module):
        """One post-norm block with torch's scaled dot product attention, separate q, k, v, optional mask, mean pooling."""

        def __init__(self, activation: str, pool: bool = True) -> None:
            super().__init__()
            self.q, self.k, self.v = nn.Linear(DIM, DIM), nn.Linear(DIM, DIM, bias=False), nn.Linear(DIM, DIM)
            self.out, self.norm = nn.Linear(DIM, DIM), nn.LayerNorm(DIM)
            self.up, self.down = nn.Linear(DIM, HIDDEN), nn.Linear(HIDDEN, DIM)
            self.pool = pool
            activations: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
                "gelu": functional.gelu,
                "tanh": lambda t: functional.gelu(t, approximate="tanh"),
                "silu": functional.silu,
                "relu": functional.relu,
                "quick": lambda t: t * torch.sigmoid(1.702 * t),
                "hardswish": functional.hardswish,
            }
            self.activation = activations[activation]

        def forward(self, x: Any, mask: Any = None) -> Any:
            batch, tokens, width = x.shape

            def heads(t: Any) -> Any:
                return t.view(batch, tokens, HEADS, width // HEADS).transpose(1, 2)

            wide = None if mask is None else mask[:, None, None, :].bool()
            y = functional.scaled_dot_product_attention(heads(self.q(x)), heads(self.k(x)), heads(self.v(x)), attn_mask=wide)
            x = self.norm(x + self.out(y.transpose(1, 2).reshape(batch, tokens, width)))
            x = x + self.down(self.activation(self.up(x)))
            return x.mean(1) if self.pool else x

    class Encoder(nn.Module):
        """torch's own TransformerEncoder, sequence first or batch first."""

        def __init__(self, norm_first: bool, batch_first: bool) -> None:
            super().__init__()
            order = {"batch_first": batch_first, "norm_first": norm_first}
            layer = nn.TransformerEncoderLayer(DIM, HEADS, HIDDEN, activation="gelu", **order)
            self.encoder = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
            self.batch_first, self.head = batch_first, nn.Linear(DIM, 5)

        def forward(self, x: Any, mask: Any = None) -> Any:
            x = x if self.batch_first else x.transpose(0, 1)
            x = self.encoder(x, src_key_padding_mask=None if mask is None else mask == 0)
            return self.head(x[:, 0] if self.batch_first else x[0])

    class Two(nn.Module):
        """Two inputs, three outputs, no attention."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 8), nn.Linear(5, 8), nn.Linear(16, 3)

        def forward(self, x: Any, y: Any) -> Any:
            p, q = torch.relu(self.a(x)), torch.tanh(self.b(y))
            return self.c(torch.cat([p, q], -1)), p + q, p * q

    class Logits(nn.Module):
        """A Hugging Face image classifier that returns its logits only."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            return self.model(image).logits

    class Sentence(nn.Module):
        """A Hugging Face BERT encoder with masked mean pooling as sentence-transformers writes it."""

        def __init__(self, model: Any) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)[0]
            mask = attention_mask.unsqueeze(-1).expand(hidden.size()).float()
            return hidden, (hidden * mask).sum(1) / torch.clamp(mask.sum(1), min=1e-9)

    class Namespace:
        vit, single, encoder, two, logits, sentence = Vit, Single, Encoder, Two, Logits, Sentence

    return Namespace


def _hugging_face(kind: str, attention: str) -> Any:
    import transformers

    sizes: dict[str, Any] = {
        "hidden_size": DIM,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": HEADS,
        "intermediate_size": HIDDEN,
        "attn_implementation": attention,
    }
    picture: dict[str, Any] = {"image_size": 28, "patch_size": 7, "num_channels": 1, "num_labels": 4}
    if kind == "vit":
        return modules().logits(transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, **picture)))
    if kind == "deit":
        return modules().logits(transformers.DeiTForImageClassificationWithTeacher(transformers.DeiTConfig(**sizes, **picture)))
    config = transformers.BertConfig(vocab_size=50, max_position_embeddings=16, **sizes)
    return modules().sentence(transformers.BertModel(config, add_pooling_layer=False))


def _network(kind: str, *arguments: Any) -> Callable[[], Any]:
    """One of :func:`modules`, built when it is called for."""
    return lambda: getattr(modules(), kind)(*arguments)


def _image(batch: int = 2) -> dict[str, npt.NDArray[Any]]:
    return {"image": np.random.default_rng(1).standard_normal((batch, 1, 28, 28)).astype(np.float32)}


def _sequence(batch: int = 2) -> dict[str, npt.NDArray[Any]]:
    return {"x": np.random.default_rng(2).standard_normal((batch, TOKENS, DIM)).astype(np.float32)}


def _masked() -> dict[str, npt.NDArray[Any]]:
    mask = np.ones((2, TOKENS), np.int64)
    mask[0, 4:] = 0
    return {**_sequence(), "mask": mask}


def _sentence() -> dict[str, npt.NDArray[Any]]:
    random = np.random.default_rng(3)
    mask = np.ones((2, 12), np.int64)
    mask[0, 8:], mask[1, 5:] = 0, 0
    ids, types = random.integers(0, 50, (2, 12)), random.integers(0, 2, (2, 12))
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def _pair() -> dict[str, npt.NDArray[Any]]:
    random = np.random.default_rng(4)
    return {"x": random.standard_normal((2, 6)).astype(np.float32), "y": random.standard_normal((2, 5)).astype(np.float32)}


def _cases() -> list[Case]:
    cases = [Case(f"vit-script{v}", _network("vit"), _image, "script", v, VIT) for v in (9, 13, 14, 17, 18)]
    cases += [Case(f"vit-dynamo{v}", _network("vit"), _image, "dynamo", v, VIT) for v in (18, 20, 23)]
    cases += [Case(f"vit-fixed{n}", _network("vit"), partial(_image, n), "fixed", 14, VIT) for n in (1, 3)]
    spelt = {"gelu": "Gelu", "tanh": "Gelu", "silu": "Silu", "relu": "Relu", "quick": "QuickGelu", "hardswish": "HardSwish"}
    for name, operator in spelt.items():
        cases.append(Case(f"{name}-script14", _network("single", name), _sequence, "script", 14, single(operator)))
    cases.append(Case("tanh-dynamo23", _network("single", "tanh"), _sequence, "dynamo", 23, single("Gelu")))
    masked = {name: count for name, count in single("Gelu").items() if name != "MeanPool"}
    for exporter, opset in (("script", 14), ("script", 17), ("dynamo", 23)):
        runs = opset < 23  # onnxruntime wants one mask row a query there, ONNX does not
        cases.append(Case(f"mask-{exporter}{opset}", _network("single", "gelu", False), _masked, exporter, opset, masked, runs))
    for norm_first in (True, False):
        for batch_first in (True, False):
            name = f"{'pre' if norm_first else 'post'}norm-{'batch' if batch_first else 'sequence'}first"
            for exporter, opset in (("script", 17), ("dynamo", 18)) if norm_first and batch_first else (("script", 14),):
                cases.append(Case(f"{name}-{exporter}{opset}", _network("encoder", norm_first, batch_first),
                                  _sequence, exporter, opset, ENCODER))  # fmt: skip
    cases.append(Case("padding-script17", _network("encoder", True, True), _masked, "script", 17, ENCODER))
    cases.append(Case("sequencefirst-fixed", _network("encoder", True, False), partial(_sequence, 1), "fixed", 14, ENCODER))
    cases.append(Case("two-script13", _network("two"), _pair, "script", 13,
                      {"Linear": 3, "Relu": 1, "Tanh": 1, "Concat": 1, "Add": 1, "Mul": 1}))  # fmt: skip
    for kind, counts in (("vit", VIT), ("deit", DEIT)):
        for attention, exporter, opset in (("eager", "script", 14), ("sdpa", "script", 17)):
            cases.append(Case(f"hf{kind}-{attention}-{exporter}{opset}", partial(_hugging_face, kind, attention),
                              _image, exporter, opset, counts))  # fmt: skip
    written = (
        ("eager", "script", 10),
        ("eager", "script", 14),
        ("sdpa", "script", 17),
        ("eager", "dynamo", 18),
        ("sdpa", "dynamo", 23),
    )
    for attention, exporter, opset in written:
        cases.append(Case(f"bert-{attention}-{exporter}{opset}", partial(_hugging_face, "bert", attention), _sentence,
                          exporter, opset, BERT))  # fmt: skip
    return cases


CASES = {case.name: case for case in _cases()}


def export(case: Case, folder: Path) -> tuple[Path, dict[str, npt.NDArray[Any]]]:
    """Export a case with seeded random weights; returns the file and what torch computes on the case's inputs."""
    import torch

    path = folder / f"{case.name}.onnx"
    inputs = case.inputs()
    tensors = tuple(torch.from_numpy(array) for array in inputs.values())
    names = list(inputs)
    options: dict[str, Any] = {"dynamo": False, "dynamic_axes": {name: {0: "batch"} for name in names}}
    if case.exporter == "fixed":
        options = {"dynamo": False}
    elif case.exporter == "dynamo":
        options = {"dynamo": True, "verbose": False, "dynamic_shapes": tuple({0: torch.export.Dim("batch")} for _ in names)}
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    silence = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model = case.build().eval()
        with torch.no_grad():
            for parameter in model.parameters():  # zero-initialized ones would be optimized away
                parameter.add_(0.1 * torch.randn_like(parameter))
            results = model(*tensors)
        torch.onnx.export(model, tensors, path, input_names=names, opset_version=case.opset, **options)
    quiet.setLevel(level)
    results = results if isinstance(results, tuple) else (results,)
    return path, {str(position): result.numpy() for position, result in enumerate(results)}
