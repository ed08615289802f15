"""A plain vision transformer in torch (Dosovitskiy et al., arXiv 2010.11929).

Pre-norm blocks, one class token, learned positions, exact (erf) GELU, several heads, a patch embedding that is a
convolution with stride = kernel. Written with basic tensor operations only, so that both torch exporters to ONNX
(``dynamo=False`` and ``dynamo=True``) trace it without special cases.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ViTConfig:
    """The shape of a vision transformer; ``mlp_ratio`` is the hidden width of the MLP divided by ``dim``."""

    image_size: int = 28
    channels: int = 1
    patch: int = 4
    dim: int = 96
    depth: int = 4
    heads: int = 3
    mlp_ratio: float = 2.0
    classes: int = 10

    def __post_init__(self) -> None:
        if self.image_size % self.patch:
            raise ValueError(f"image_size must be a multiple of patch, not {self.image_size} with patch {self.patch}")
        if self.dim % self.heads:
            raise ValueError(f"dim must be a multiple of heads, not {self.dim} with {self.heads} heads")

    @property
    def tokens(self) -> int:
        """Number of tokens, the class token included."""
        return (self.image_size // self.patch) ** 2 + 1

    def as_dict(self) -> dict[str, int | float]:
        """The fields by name, for checkpoints and records."""
        return asdict(self)


class Attention(nn.Module):
    """Multi-head self-attention, ``softmax(q k^T / sqrt(dh)) v``, on (batch, tokens, dim)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = dim // heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = ((q * self.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        projected: Tensor = self.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, dim))
        return projected


class Block(nn.Module):
    """One pre-norm encoder block: attention and MLP, each behind a LayerNorm and beside a residual path."""

    def __init__(self, dim: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.fc1 = nn.Linear(dim, hidden)
        self.activation = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        update: Tensor = self.fc2(self.activation(self.fc1(self.norm2(x))))
        return x + update


class VisionTransformer(nn.Module):
    """Image (batch, channels, size, size) float32 to logits (batch, classes) float32."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = nn.Conv2d(config.channels, config.dim, kernel_size=config.patch, stride=config.patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.positions = nn.Parameter(torch.zeros(1, config.tokens, config.dim))
        hidden = round(config.dim * config.mlp_ratio)
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, hidden) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.head = nn.Linear(config.dim, config.classes)
        self._initialise()

    def _initialise(self) -> None:
        """Xavier uniform weights and zero biases as in the first ViT; small random tokens and positions."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.class_token, std=0.02)
        nn.init.trunc_normal_(self.positions, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed(image).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_token.expand(x.shape[0], -1, -1), x), dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x)[:, 0])
        return logits

    @torch.no_grad()
    def fold_input_normalisation(self, mean: float, std: float) -> None:
        """Let the model take the raw image: fold ``(image - mean) / std`` into the patch embedding.

        A model trained on normalised images gives the same logits, up to float rounding, on raw ones afterwards.
        """
        if std <= 0:
            raise ValueError(f"std must be positive, not {std}")
        embed = self.patch_embed
        assert embed.bias is not None
        embed.weight.div_(std)
        embed.bias.sub_(embed.weight.sum(dim=(1, 2, 3)) * mean)


def deit_tiny() -> VisionTransformer:
    """The DeiT-Tiny shape (arXiv 2012.12877, table 1: dim 192, depth 12, 3 heads, 5.7 M weights), random weights."""
    return VisionTransformer(
        ViTConfig(image_size=224, channels=3, patch=16, dim=192, depth=12, heads=3, mlp_ratio=4.0, classes=1000)
    )


def deit_small() -> VisionTransformer:
    """The DeiT-Small shape (arXiv 2012.12877, table 1: dim 384, depth 12, 6 heads, 22 M weights), random weights."""
    return VisionTransformer(
        ViTConfig(image_size=224, channels=3, patch=16, dim=384, depth=12, heads=6, mlp_ratio=4.0, classes=1000)
    )
