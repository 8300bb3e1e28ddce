"""The filter of the world model: from camera images and the executed action to the latent. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle


class EncoderInputError(ValueError):
    """The images or the executed action cannot be encoded; the recurrent state is unchanged."""


class EncoderOutputError(ValueError):
    """The encoder returned NaN or infinity; the recurrent state is reset, and the next step is a first one."""


@dataclass(frozen=True)
class LatentState:
    """The latent after one step, and two facts about its images for the safety monitor, which does not see them."""

    deter: NDArray[np.float32]
    """Deterministic part (m, h, e) of the latent, (D,): memory, recurrent state and image embedding, concatenated."""
    stoch: NDArray[np.float32]
    """Stochastic part z of the latent, (S,): one-hot, flattened from (variables, classes)."""
    surprise: float
    """KL[posterior || prior], in nats."""
    repeated_image: bool
    """True when the pixels of some camera are exactly those of the step before."""
    contrast: float
    """Standard deviation of the pixels, in [0, 1], of the camera with the least."""


class Encoder:
    """The recurrent state-space model of a bundle (encoder.onnx), together with its recurrent state."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.encoder
        self._images_shape = bundle.manifest.observation.shape
        self._action_size = bundle.manifest.action.size
        self._latent = bundle.manifest.latent
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next step is the first of an episode, whatever its `is_first` says."""
        self._deter = np.zeros((1, self._latent.deter), np.float32)
        self._stoch = np.zeros((1, self._latent.stoch), np.float32)
        self._fresh = True
        self._images: NDArray[np.uint8] | None = None

    def step(self, images: NDArray[np.uint8], executed: NDArray[np.float32], is_first: bool) -> LatentState:
        """Return the posterior latent of `images` (C, H, W, 3) uint8 after the action `executed` (A,) float32.

        `executed` is normalised, in [-1, 1]. The model ignores it on a first step, but it must be finite. Raise
        EncoderInputError on a wrong shape or dtype, or an action that is not finite; EncoderOutputError when the
        output of the model is not finite.
        """
        if images.shape != self._images_shape or images.dtype != np.uint8:
            raise EncoderInputError(f"images must be {self._images_shape} uint8, got {images.shape} {images.dtype}")
        if executed.shape != (self._action_size,):
            raise EncoderInputError(f"executed action must be ({self._action_size},), got {executed.shape}")
        if not np.isfinite(executed).all():
            raise EncoderInputError(f"executed action is not finite: {executed.tolist()}")
        output = self._model.run(
            image=images[np.newaxis],
            deter=self._deter,
            stoch=self._stoch,
            action=executed[np.newaxis].astype(np.float32, copy=False),
            is_first=np.array([is_first or self._fresh], np.float32),
        )
        deter, stoch, surprise = output["next_deter"], output["next_stoch"], float(output["kl"][0])
        if not (np.isfinite(deter).all() and np.isfinite(stoch).all() and np.isfinite(surprise)):
            self.reset()
            raise EncoderOutputError("the encoder's output is not finite")
        self._deter, self._stoch, self._fresh = deter, stoch, False
        repeated = self._images is not None and any(map(np.array_equal, images, self._images))
        self._images = images.copy()
        contrast = min(float(np.std(image, dtype=np.float32)) for image in images) / 255.0
        return LatentState(deter[0], stoch[0], surprise, repeated, contrast)
