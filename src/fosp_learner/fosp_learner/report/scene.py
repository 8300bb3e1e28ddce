"""Reachability over a scene: V_h of what the camera would see with the robot at every place of a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fosp_learner.model.critics import Critics
from fosp_learner.model.world_model import WorldModel

_GROUP = 256


@dataclass(frozen=True)
class SceneFrames:
    """Observations of one still scene with the robot at each place of a grid; m in the frame of the scene."""

    images: NDArray[np.uint8]
    """(rows, columns, cameras, H, W, 3)."""
    x: NDArray[np.float64]
    """(columns,)."""
    y: NDArray[np.float64]
    """(rows,)."""
    clearance: NDArray[np.float64]
    """(rows, columns) m from the nearest obstacle, below 0 inside of one."""
    start: tuple[float, float]
    goal: tuple[float, float]
    picture: NDArray[np.uint8]
    """(H, W, 3): what the camera sees at the start."""
    caption: str


@torch.no_grad()
def scene_v_h(model: WorldModel, critics: Critics, scene: SceneFrames) -> NDArray[np.float32]:
    """V_h (rows, columns) of every place, as of the first frame of an episode."""
    shape = scene.images.shape[:2]
    images = torch.from_numpy(scene.images.reshape(-1, *scene.images.shape[2:]))
    found = []
    for group in torch.split(images, _GROUP):
        number = len(group)
        deter, stoch = torch.zeros(number, model.carried), torch.zeros(number, model.rssm.from_stoch.in_features)
        action = torch.zeros(number, model.rssm.from_action.in_features)
        deter, stoch, _ = model.filter_step(group, deter, stoch, action, torch.ones(number))
        found.append(critics.v.values(torch.cat([deter, stoch], -1))[2])
    result: NDArray[np.float32] = torch.cat(found).float().numpy().reshape(shape)
    return result
