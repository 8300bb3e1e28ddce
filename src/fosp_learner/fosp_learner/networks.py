"""Building blocks: convolutional encoder and decoder, perceptrons, recurrent cell. LayerNorm + SiLU throughout.

Normalisation runs in float32 also under autocast: the backward pass of bfloat16 LayerNorm is many times slower on CPUs.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fosp_learner.losses import BINS


class Norm(nn.Module):
    """LayerNorm over the last dimension, in float32."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.weight.shape, self.weight, self.bias, 1e-3)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (N, C, H, W) in channels_last memory, in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class Perceptron(nn.Module):
    """`layers` of Linear, LayerNorm, SiLU, then a Linear to `outputs`: (..., inputs) -> (..., outputs)."""

    def __init__(self, inputs: int, units: int, layers: int, outputs: int, zero_output: bool = False) -> None:
        super().__init__()
        sizes = [inputs] + [units] * layers
        self.hidden = nn.Sequential(
            *(nn.Sequential(nn.Linear(a, b, bias=False), Norm(b), nn.SiLU()) for a, b in pairwise(sizes))
        )
        self.output = nn.Linear(units, outputs)
        if zero_output:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.output(self.hidden(x))
        return result


class ScalarHead(nn.Module):
    """Perceptron to one logit: (..., inputs) -> (...), float32."""

    def __init__(self, inputs: int, units: int, layers: int) -> None:
        super().__init__()
        self.net = Perceptron(inputs, units, layers, 1)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result.squeeze(-1).float()


class TwoHotHead(nn.Module):
    """Perceptron to two-hot logits, zero at the start so that the value is 0: (..., inputs) -> (..., 255), float32."""

    def __init__(self, inputs: int, units: int, layers: int) -> None:
        super().__init__()
        self.net = Perceptron(inputs, units, layers, BINS, zero_output=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result.float()


class ConvEncoder(nn.Module):
    """Cameras -> embedding: (N, 3 * cameras, H, W) in [-0.5, 0.5] -> (N, size), stride-2 convolutions to a 4 x 4 grid.

    The grid is flattened, not pooled: where small things are matters most.
    """

    def __init__(self, channels: int, image_size: int, depth: int) -> None:
        super().__init__()
        stages = stage_count(image_size)
        sizes = [channels] + [depth * 2**i for i in range(stages)]
        self.layers = nn.Sequential(
            nn.Conv2d(sizes[0], sizes[1], 4, 2, 1),
            nn.SiLU(),
            *(
                nn.Sequential(nn.Conv2d(a, b, 4, 2, 1, bias=False), ChannelNorm(b), nn.SiLU())
                for a, b in pairwise(sizes[1:])
            ),
        )
        self.size = sizes[-1] * 16

    def forward(self, image: Tensor) -> Tensor:
        grid: Tensor = self.layers(image)
        return grid.permute(0, 2, 3, 1).flatten(1)


class ConvDecoder(nn.Module):
    """Latent feature -> image mean: (N, feature) -> (N, 3 * cameras, H, W) float32, pixels in about [-0.5, 0.5]."""

    def __init__(self, feature: int, channels: int, image_size: int, depth: int) -> None:
        super().__init__()
        stages = stage_count(image_size)
        sizes = [depth * 2**i for i in reversed(range(stages))]
        self.top = sizes[0]
        self.project = nn.Linear(feature, 16 * self.top)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), ChannelNorm(b), nn.SiLU())
                for a, b in pairwise(sizes[:-1])
            ),
            nn.ConvTranspose2d(sizes[-2], sizes[-1], 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(sizes[-1], channels, 4, 2, 1),
        )

    def forward(self, feature: Tensor) -> Tensor:
        grid = self.project(feature).reshape(-1, 4, 4, self.top).permute(0, 3, 1, 2)
        image: Tensor = self.layers(grid)
        return image.float()


def stage_count(image_size: int) -> int:
    """Stride-2 stages from a square image to the 4 x 4 grid; ValueError when the size is no power of two >= 16."""
    stages = image_size.bit_length() - 3
    if stages < 2 or image_size != 4 * 2**stages:
        raise ValueError(f"observation must be square with a side of 16, 32, 64, 128 ..., got {image_size}")
    return stages


class RecurrentCell(nn.Module):
    """GRU with layer normalisation (DreamerV3): input (B, inputs), state (B, units) -> state (B, units)."""

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__()
        self.gates = nn.Linear(inputs + units, 3 * units, bias=False)
        self.norm = Norm(3 * units)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        reset, candidate, update = self.norm(self.gates(torch.cat([x, state], -1))).chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        keep = torch.sigmoid(update - 1)
        result: Tensor = keep * candidate + (1 - keep) * state
        return result
