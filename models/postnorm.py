"""A small post-norm transformer in torch for series of sensor values (Vaswani et al., arXiv 1706.03762; BERT, arXiv 1810.04805).

A linear layer embeds the channels of every frame as they are, learned positions are added, and every block normalises what it has
added; the mean over frames is classified. Written with basic tensor operations, so that both torch exporters trace it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from edgeflow.models.vit import Attention


@dataclass(frozen=True)
class SeriesConfig:
    """The shape of a series classifier; ``hidden`` is the width inside the MLPs."""

    channels: int
    frames: int
    classes: int
    dim: int = 48
    depth: int = 2
    heads: int = 3
    hidden: int = 96
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads, not {self.dim} with {self.heads} heads")

    def as_dict(self) -> dict[str, int | float]:
        """The fields by name, for records."""
        return asdict(self)


class PostNormBlock(nn.Module):
    """One encoder block: attention and MLP, each added to its input and the sum normalised."""

    def __init__(self, config: SeriesConfig) -> None:
        super().__init__()
        self.attention = Attention(config.dim, config.heads)
        self.norm1 = nn.LayerNorm(config.dim)
        self.fc1 = nn.Linear(config.dim, config.hidden)
        self.activation = nn.GELU()
        self.fc2 = nn.Linear(config.hidden, config.dim)
        self.norm2 = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x)))
        normalised: Tensor = self.norm2(x + self.dropout(self.fc2(self.activation(self.fc1(x)))))
        return normalised


class SeriesTransformer(nn.Module):
    """Series (batch, frames, channels) float32 to logits (batch, classes) float32."""

    def __init__(self, config: SeriesConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.channels, config.dim)
        self.positions = nn.Parameter(torch.zeros(1, config.frames, config.dim))
        self.norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(PostNormBlock(config) for _ in range(config.depth))
        self.head = nn.Linear(config.dim, config.classes)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, series: Tensor) -> Tensor:
        x = self.dropout(self.norm(self.embed(series) + self.positions))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(x.mean(dim=1))
        return logits

    @torch.no_grad()
    def fold_input_normalisation(self, mean: Tensor, std: Tensor) -> None:
        """Let the model take raw channels: fold ``(series - mean) / std``, both ``(channels,)``, into the embedding.

        A model trained on normalised series gives the same logits, up to float rounding, on raw ones afterwards.
        """
        if not bool((std > 0).all()):
            raise ValueError("std must be positive in every channel")
        self.embed.weight.div_(std)
        self.embed.bias.sub_(self.embed.weight @ mean)
