"""One batch of training: sequences of rows as tensors."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Return `x` on `device`; a copy to a GPU goes through pinned memory and runs beside the computation."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


@dataclass(frozen=True)
class Batch:
    """Sequences of B x T rows as tensors."""

    images: Tensor
    """(B, T, cameras, H, W, 3) uint8."""
    action_prev: Tensor
    """(B, T, A) float32, executed on the way to the row; 0 on first rows."""
    followed_prev: Tensor
    """(B, T, A) float32, what an actor learns to do there: Dataset.followed of the row before; 0 on first rows."""
    reward: Tensor
    """(B, T) float32, arriving with the row."""
    cost: Tensor
    """(B, T) float32 >= 0, arriving with the row."""
    is_first: Tensor
    """(B, T) bool."""
    is_terminal: Tensor
    """(B, T) bool: no value beyond the row."""
    is_last: Tensor
    """(B, T) bool: last row of an episode, at its terminal or at a time limit."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch on `device`."""
        return Batch(**{field.name: to_device(getattr(self, field.name), device) for field in fields(self)})
