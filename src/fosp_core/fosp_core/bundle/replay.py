"""Replays frames through the encoder of a bundle from an empty state, as an episode begins. No ROS."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.onnx_session import OnnxModel
from fosp_core.processes import give_way
from fosp_core.specs import LatentSpec

Latent = dict[str, NDArray[Any]]
"""`deter` (1, D) and `stoch` (1, S) float32, as the policy and the critic of a bundle take them."""


def replayed(
    encoder: OnnxModel, latent: LatentSpec, images: Iterable[NDArray[np.uint8]], executed: Iterable[NDArray[np.float32]]
) -> Iterator[tuple[Latent, float]]:
    """Yield latent and surprise, in nats, after each frame of an episode.

    `images` are the frames of all cameras (C, H, W, 3), and `executed` the normalised actions (A,) before them.
    """
    state: Latent = {
        "deter": np.zeros((1, latent.deter), np.float32),
        "stoch": np.zeros((1, latent.stoch), np.float32),
    }
    for step, (image, action) in enumerate(zip(images, executed, strict=True)):
        output = encoder.run(
            image=image[np.newaxis], action=action[np.newaxis], is_first=np.array([step == 0], np.float32), **state
        )
        state = {"deter": output["next_deter"], "stoch": output["next_stoch"]}
        give_way()
        yield state, float(output["kl"][0])


def last_latent(
    encoder: OnnxModel, latent: LatentSpec, images: Iterable[NDArray[np.uint8]], executed: Iterable[NDArray[np.float32]]
) -> Latent:
    """Return the latent after the last frame of `replayed`; ValueError without a frame."""
    ((state, _),) = deque(replayed(encoder, latent, images, executed), maxlen=1)
    return state
