"""Building blocks: image encoders and decoder, perceptrons, recurrent cells; LayerNorm and SiLU throughout.

Normalisation runs in float32 under autocast, too, since the backward pass of bfloat16 LayerNorm is slow on CPUs.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fosp_learner.model.losses import BINS


class Norm(nn.Module):
    """LayerNorm over the last dimension, computed and returned in float32."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self.weight.shape, self.weight, self.bias, 1e-3)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of (N, C, H, W) in channels_last memory, computed in float32."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = Norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.to(x.dtype).permute(0, 3, 1, 2)


class Perceptron(nn.Module):
    """`layers` times Linear, LayerNorm, SiLU, then a Linear to `outputs`: (..., inputs) -> (..., outputs)."""

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
    """Perceptron to two-hot logits, at first 0 so that the value is 0: (..., inputs) -> (..., 255), float32."""

    def __init__(self, inputs: int, units: int, layers: int) -> None:
        super().__init__()
        self.net = Perceptron(inputs, units, layers, BINS, zero_output=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.net(x)
        return result.float()


class ConvEncoder(nn.Module):
    """Encoder of the flattened grid: (N, H, W, channels) in [-0.5, 0.5] -> (N, size).

    Patches, then stride-2 convolutions to a 4 x 4 grid, which is flattened and not pooled, since the place of
    small things matters most.
    """

    def __init__(self, channels: int, image_size: int, depth: int, size: int, patch: int = 4) -> None:
        super().__init__()
        sizes = stage_channels(image_size // patch, depth)
        self.side = patch
        self.patch = nn.Linear(patch * patch * channels, sizes[0], bias=False)
        self.patch_norm = Norm(sizes[0])
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 4, 2, 1, bias=False), ChannelNorm(b), nn.SiLU())
                for a, b in pairwise(sizes)
            )
        )
        self.output = nn.Sequential(nn.Linear(16 * sizes[-1], size, bias=False), Norm(size), nn.SiLU())

    def forward(self, image: Tensor) -> Tensor:
        grid = patched(image, self.side, self.patch, self.patch_norm)
        embedded: Tensor = self.output(self.layers(grid.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).flatten(1))
        return embedded


class KeypointEncoder(nn.Module):
    """Encoder of keypoints: (N, H, W, channels) in [-0.5, 0.5] -> (N, keypoints * (3 + values)).

    Each feature map on a grid of patches becomes its expected position (a soft arg-max; Levine et al. 2016), its
    soft maximum, and `values` features averaged around that position. A few numbers that move with the things in the
    image generalise from fewer scenes than a flattened grid, which learns scenes by heart.
    """

    SHARPNESS = 3.0
    closed_form = True
    """True differentiates the softmax by formula, False by autograd."""

    def __init__(self, channels: int, image_size: int, depth: int, keypoints: int, values: int, patch: int = 4) -> None:
        super().__init__()
        width, side = 3 * depth, image_size // patch
        self.side = patch
        self.patch = nn.Linear(patch * patch * channels, width, bias=False)
        self.patch_norm = Norm(width)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(width, width, 3, 1, dilation, dilation, bias=False), ChannelNorm(width), nn.SiLU()
                )
                for dilation in (1, 1, 2)
            )
        )
        self.maps = nn.Linear(width, keypoints)
        self.values = nn.Linear(width, values)
        line = torch.linspace(-1, 1, side)
        self.places: Tensor
        self.register_buffer("places", torch.stack([line.repeat(side), line.repeat_interleave(side)], -1))
        """(cells, 2): position of each cell across and down, in [-1, 1]."""

    def forward(self, image: Tensor) -> Tensor:
        grid = patched(image, self.side, self.patch, self.patch_norm).permute(0, 3, 1, 2)
        cells = self.layers(grid).flatten(2)
        # (K, width) times (N, width, cells) puts the cells side by side for the softmax over them.
        logits = torch.matmul(self.SHARPNESS * self.maps.weight, cells).float()
        values = self.values(cells.transpose(1, 2)).float()
        values = torch.cat([self.places.expand(len(values), -1, -1), values], -1)
        if self.closed_form and torch.is_grad_enabled():
            pooled, peak = _AttentionPool.apply(logits, values)  # type: ignore[no-untyped-call]
        else:
            pooled, peak, _ = attention_pool(logits, values)
        height = (peak - math.log(logits.shape[-1])) / self.SHARPNESS + self.maps.bias  # the bias moves no softmax
        return torch.cat(
            [pooled[..., :2].flatten(1), torch.tanh(0.25 * height), torch.tanh(pooled[..., 2:]).flatten(1)], -1
        )


def attention_pool(logits: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the softmax-weighted mean of values over cells for each map, the log-sum-exp of each map, and the softmax.

    (N, K, cells) and (N, cells, C) -> (N, K, C), (N, K), (N, K, cells).
    """
    share = torch.softmax(logits, -1)
    return torch.matmul(share, values), logits.amax(-1) - share.amax(-1).log(), share


class _AttentionPool(torch.autograd.Function):
    """`attention_pool` with its derivative in closed form.

    Autograd would pass eight times over the maps, which are the largest tensors of the encoder. With w = softmax(l),
    d E[v] / d l_j = w_j (v_j - E[v]) and d logsumexp(l) / d l_j = w_j.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(logits.device.type, enabled=False):
            pooled, peak, share = attention_pool(logits, values)
        ctx.save_for_backward(share, values, pooled)
        return pooled, peak

    @staticmethod
    def backward(ctx: Any, to_pooled: Tensor, to_peak: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        share, values, pooled = ctx.saved_tensors
        with torch.autocast(share.device.type, enabled=False):
            constant = (to_peak - (to_pooled * pooled).sum(-1)).unsqueeze(-1)
            to_logits = torch.baddbmm(constant, to_pooled, values.transpose(1, 2)).mul_(share)
            return to_logits, torch.matmul(share.transpose(1, 2), to_pooled)


class ConvDecoder(nn.Module):
    """Decoder of the state to the mean image as `patches`: (N, feature) -> (N, H / p, W / p, p * p * channels)."""

    def __init__(self, feature: int, channels: int, image_size: int, depth: int, patch: int = 4) -> None:
        super().__init__()
        sizes = stage_channels(image_size // patch, depth)[::-1]
        self.top = sizes[0]
        self.project = nn.Linear(feature, 16 * self.top)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), ChannelNorm(b), nn.SiLU())
                for a, b in pairwise(sizes)
            )
        )
        self.patch = nn.Linear(sizes[-1], patch * patch * channels)

    def forward(self, feature: Tensor) -> Tensor:
        grid = self.project(feature).reshape(-1, 4, 4, self.top).permute(0, 3, 1, 2)
        image: Tensor = self.patch(self.layers(grid).permute(0, 2, 3, 1))
        return image.float()


def stage_channels(cells: int, depth: int) -> list[int]:
    """Return the channels from a grid of cells x cells patches to the 4 x 4 grid; ValueError for other sides."""
    stages = cells.bit_length() - 3
    if stages < 1 or cells != 4 * 2**stages:
        raise ValueError(f"observation must be square with 8, 16, 32 ... patches along its side, got {cells}")
    return [2 * depth * 2**i for i in range(stages + 1)]


def patched(image: Tensor, side: int, project: nn.Linear, norm: Norm) -> Tensor:
    """Apply the first stage of an encoder: (N, H, W, channels) -> (N, H / side, W / side, width).

    It is a linear map of patches, since convolutions with three channels at full resolution are slow on CPUs.
    """
    projected = project(patches(image, side))
    return F.silu(norm(projected).to(projected.dtype))


def patches(image: Tensor, side: int) -> Tensor:
    """Cut images into patches: (N, H, W, channels) -> (N, H / side, W / side, side * side * channels)."""
    number, height, width, channels = image.shape
    grid = image.reshape(number, height // side, side, width // side, side, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(number, height // side, width // side, -1)


def unpatched(grid: Tensor, side: int) -> Tensor:
    """Return the inverse of `patches`."""
    number, rows, columns, size = grid.shape
    image = grid.reshape(number, rows, columns, side, side, size // side**2).permute(0, 1, 3, 2, 4, 5)
    return image.reshape(number, rows * side, columns * side, -1)


def scaled_gradient(x: Tensor, scale: float) -> Tensor:
    """Return `x` with its gradient multiplied by `scale`; 0 stops the gradient."""
    return x.detach() if scale == 0 else scale * x + (1 - scale) * x.detach()


class ImageMemory(nn.Module):
    """Memory of image embeddings, m_t = GRU(m_{t-1}, e_t), which is 0 before the first image of an episode."""

    def __init__(self, embed: int, units: int) -> None:
        super().__init__()
        self.units = units
        self.input = nn.Sequential(nn.Linear(embed, units, bias=False), Norm(units), nn.SiLU())
        self.cell = RecurrentCell(units, units)

    def step(self, embed: Tensor, memory: Tensor) -> Tensor:
        """Return the next memory: (B, E), (B, M) -> (B, M)."""
        result: Tensor = self.cell(self.input(embed), memory)
        return result

    def forward(self, embed: Tensor, is_first: Tensor) -> Tensor:
        """Return the memory over sequences: (B, T, E), (B, T) -> (B, T, M) float32."""
        inputs, keep = self.input(embed), 1 - is_first.float()
        memory = inputs.new_zeros(len(embed), self.units)
        memories = []
        for t in range(embed.shape[1]):
            memory = self.cell(inputs[:, t], memory * keep[:, t : t + 1])
            memories.append(memory)
        return torch.stack(memories, 1).float()


class RecurrentCell(nn.Module):
    """GRU with layer normalisation (DreamerV3): input (B, inputs) and state (B, units) -> state (B, units)."""

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
