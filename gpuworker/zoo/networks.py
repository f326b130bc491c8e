"""Small networks of a zoo. Shapes: N samples, C labels, T steps, H and W image sides.

Each is nn.Sequential: fixed features or nothing, then layers that learn. Only operators that a published model may use.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

ANGLES = 8
CELL = 4
BANDS = 16


class Edges(nn.Module):
    """(N, channels, H, W) -> mean positive response of 8 fixed gradient filters in cells of 4 x 4 pixels, and the mean grey of each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        angles = torch.arange(ANGLES) * (2 * math.pi / ANGLES)
        smooth, slope = torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0])
        across, down = torch.outer(smooth, slope) / 4, torch.outer(slope, smooth) / 4
        filters = torch.cos(angles)[:, None, None] * across + torch.sin(angles)[:, None, None] * down
        grey = torch.zeros(1, 3, 3)
        grey[0, 1, 1] = 1
        self.register_buffer("filters", torch.cat([filters, grey])[:, None].repeat(1, channels, 1, 1) / channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        filters = self.get_buffer("filters")
        response = nn.functional.avg_pool2d(torch.relu(nn.functional.conv2d(x, filters, padding=1)), CELL)
        return torch.flatten(response, 1)


class Spectrum(nn.Module):
    """(N, channels, T) -> mean and spread of each channel and ln(1 + power) in 16 bands of its spectrum."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        bins = steps // 2
        turns = 2 * math.pi * torch.outer(torch.arange(steps, dtype=torch.float64), torch.arange(1, bins + 1, dtype=torch.float64)) / steps
        bands = torch.zeros(bins, min(BANDS, bins), dtype=torch.float64)
        place = torch.arange(bins) * bands.shape[1] // bins
        bands[torch.arange(bins), place] = 1
        self.register_buffer("cosine", (torch.cos(turns) / math.sqrt(steps)).float())
        self.register_buffer("sine", (torch.sin(turns) / math.sqrt(steps)).float())
        self.register_buffer("bands", (bands / bands.sum(0)).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(2, keepdim=True)
        centred = x - mean
        spread = torch.sqrt((centred * centred).mean(2, keepdim=True) + 1e-6)
        cosine, sine = centred @ self.get_buffer("cosine"), centred @ self.get_buffer("sine")
        power = torch.log((cosine * cosine + sine * sine) @ self.get_buffer("bands") + 1)
        return torch.flatten(torch.cat([mean, spread, power], 2), 1)


def head(inputs: int, hidden: tuple[int, ...], labels: int) -> list[nn.Module]:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return [*layers, nn.Linear(inputs, labels)]


def cnn2d(shape: tuple[int, ...], width: int, labels: int) -> list[nn.Module]:
    channels, height, across = shape
    size = 2 * width * -(-height // 4) * -(-across // 4)
    return [
        nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(size, 64), nn.ReLU(), nn.Linear(64, labels),
    ]  # fmt: skip


def cnn1d(shape: tuple[int, ...], width: int, labels: int) -> list[nn.Module]:
    channels, steps = shape
    return [
        nn.Conv1d(channels, width, 7, stride=2, padding=3), nn.ReLU(),
        nn.Conv1d(width, 2 * width, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv1d(2 * width, 2 * width, 5, stride=2, padding=2), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.2), nn.Linear(2 * width * -(-steps // 8), labels),
    ]  # fmt: skip


FRONTS: dict[str, Callable[[tuple[int, ...]], nn.Module]] = {
    "edges": lambda shape: Edges(shape[0]),
    "spectrum": lambda shape: Spectrum(shape[1]),
    "none": lambda shape: nn.Flatten(),
}


def front(name: str, shape: tuple[int, ...]) -> nn.Module:
    """A fixed first stage, (N, *shape) -> (N, D). Raises KeyError for an unknown name."""
    return FRONTS[name](shape)


def convolutional(shape: tuple[int, ...], width: int, labels: int) -> list[nn.Module]:
    """For (channels, H, W) or (channels, T)."""
    return (cnn2d if len(shape) == 3 else cnn1d)(shape, width, labels)
