"""Small networks for the demo catalog. Shapes: N samples, C labels, F features, H and W image sides."""

from __future__ import annotations

import math

import torch
from torch import nn


def linear(shape: tuple[int, ...], labels: int) -> nn.Module:
    return nn.Sequential(nn.Linear(math.prod(shape), labels))


def mlp(shape: tuple[int, ...], labels: int) -> nn.Module:
    return nn.Sequential(nn.Linear(math.prod(shape), 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU(), nn.Linear(48, labels))


def cnn(shape: tuple[int, ...], labels: int) -> nn.Module:
    """Two convolutions with batch normalisation and pooling, then one linear layer."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(24 * (height // 4) * (width // 4), labels),
    )  # fmt: skip


class Residual(nn.Module):
    """y = x + f(x)."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = x + self.inner(x)
        return added


def conv_mixer(shape: tuple[int, ...], labels: int) -> nn.Module:
    """Patches, then depthwise and pointwise convolutions with a residual (ConvMixer, arXiv 2201.09792), two blocks wide 32."""
    channels, dim = shape[0], 32

    def block() -> list[nn.Module]:
        spatial = Residual(nn.Sequential(nn.Conv2d(dim, dim, 5, groups=dim, padding=2), nn.GELU(), nn.BatchNorm2d(dim)))
        return [spatial, nn.Conv2d(dim, dim, 1), nn.GELU(), nn.BatchNorm2d(dim)]

    patches = [nn.Conv2d(channels, dim, 2, stride=2), nn.GELU(), nn.BatchNorm2d(dim)]
    return nn.Sequential(*patches, *block(), *block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, labels))
