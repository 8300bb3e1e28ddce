"""Fits the network that looks for local faults in a picture (`fosp_core.bundle.lens`) on the frames of the training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fosp_core.bundle.lens import LENS_WIDTHS, lens_input, lens_view
from fosp_learner.bundling.lens_faults import damaged, whole

Array = NDArray[np.float32]
LensLayers = tuple[Array, Array, Array, Array]
Progress = Callable[[int, int], None]
"""Gets the steps done, and all."""


def silent(done: int, total: int) -> None:
    """Show no progress."""


STEPS = 5000
"""Gradient steps at most; with fewer than twice as many frames it is one for two frames."""
_BATCH = 128
_RATE = 3e-3
_VARIED = 0.7
"""Share of frames that are varied before anything else."""


class _Lens(nn.Module):
    """The network as PyTorch trains it."""

    def __init__(self) -> None:
        super().__init__()
        inputs = (3, *LENS_WIDTHS)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(inputs, LENS_WIDTHS, strict=False))
        self.out = nn.Linear(2 * LENS_WIDTHS[-1], 1)

    def forward(self, values: Tensor) -> Tensor:
        """Return the log-odds (B,) of frames (B, 3, H, W) as `lens_input` makes them."""
        for layer in self.layers:
            values = torch.relu(layer(values))
        pooled = torch.cat([values.amax((2, 3)), values.mean((2, 3))], 1)
        return torch.as_tensor(self.out(pooled))[:, 0]

    def _convolutions(self) -> list[nn.Conv2d]:
        return [layer for layer in self.layers if isinstance(layer, nn.Conv2d)]

    def arrays(self) -> LensLayers:
        """Return the layers as `lens_score` takes them."""
        rows = [layer.weight.permute(2, 3, 1, 0).flatten(0, 2) for layer in self._convolutions()]
        biases = [layer.bias for layer in self._convolutions() if layer.bias is not None]
        first, second, third, out = (
            torch.cat([weight, bias[None]]).detach().numpy().astype(np.float32)
            for weight, bias in zip((*rows, self.out.weight.T), (*biases, self.out.bias), strict=True)
        )
        return first, second, third, out


def fit_lens(
    frames: NDArray[np.uint8], rng: np.random.Generator, progress: Progress = silent, most_steps: int = STEPS
) -> LensLayers:
    """Return the layers of a network that tells whole frames from damaged ones, of training frames (N, H, W, 3) RGB.

    The frames are damaged in the size that the network sees: in images of 128 x 128 this takes a third of the time.
    """
    frames = np.stack([lens_view(frame) for frame in frames])
    steps = max(1, min(most_steps, len(frames) // 2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(1 << 31)))
        network = _Lens()
    optimizer = torch.optim.AdamW(network.parameters(), _RATE, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps + 1)
    for step in range(steps):
        shown, labels = _batch(frames, rng)
        loss = nn.functional.binary_cross_entropy_with_logits(network(shown), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        progress(step + 1, steps)
    return network.arrays()


@torch.no_grad()
def lens_scores(layers: LensLayers, frames: NDArray[np.uint8]) -> Array:
    """Return `lens_score` of many frames (N, H, W, 3) at once: (N,)."""
    values = torch.from_numpy(np.stack([lens_input(frame) for frame in frames])).permute(0, 3, 1, 2)
    *convolutions, out = (torch.from_numpy(layer) for layer in layers)
    for layer in convolutions:
        weight = layer[:-1].reshape(3, 3, -1, layer.shape[1]).permute(3, 2, 0, 1)
        values = torch.relu(nn.functional.conv2d(values, weight, layer[-1], 2, 1))
    pooled = torch.cat([values.amax((2, 3)), values.mean((2, 3))], 1)
    return np.asarray((pooled @ out[:-1] + out[-1])[:, 0], np.float32)


def _batch(frames: NDArray[np.uint8], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return frames (B, 3, H, W), of which about the half is damaged, and 1 for each that is."""
    shown: list[Array] = []
    labels: list[float] = []
    for index in rng.integers(len(frames), size=_BATCH):
        frame = frames[index]
        if rng.random() < _VARIED:
            frame = whole(frame, rng)
        spoilt = damaged(frame, rng) if len(shown) % 2 else None
        shown.append(lens_input(frame if spoilt is None else spoilt))
        labels.append(0.0 if spoilt is None else 1.0)
    values = torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2).contiguous()
    return values, torch.tensor(labels)
