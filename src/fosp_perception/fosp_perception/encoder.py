"""The world model's filter: one camera frame and one executed action in, one latent out. No ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fosp_core.bundle.bundle import Bundle


class EncoderInputError(ValueError):
    """The frame or the executed action cannot be encoded; the recurrent state is what it was before."""


class EncoderOutputError(ValueError):
    """The encoder gave NaN or infinity; the recurrent state is void and the next step starts afresh."""


@dataclass(frozen=True)
class LatentState:
    """The belief after one step: deter (D,) float32, stoch (S,) float32 flat one-hot, surprise in nats.

    And two facts on the images that it comes from, for the safety monitor, which does not see them.
    """

    deter: NDArray[np.float32]
    stoch: NDArray[np.float32]
    surprise: float
    repeated_image: bool
    """The pixels of some camera are exactly those of the step before."""
    contrast: float
    """Smallest of the cameras: standard deviation of the pixels, of 1."""


class Encoder:
    """Recurrent state-space model of a bundle (encoder.onnx), with the recurrent state that belongs to it."""

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.encoder
        self._images_shape = bundle.manifest.observation.shape
        self._action_size = bundle.manifest.action.size
        self._latent = bundle.manifest.latent
        self.reset()

    def reset(self) -> None:
        """Forget the past: the next step is the first of an episode, whatever its `is_first`."""
        self._deter = np.zeros((1, self._latent.deter), np.float32)
        self._stoch = np.zeros((1, self._latent.stoch), np.float32)
        self._fresh = True
        self._images: NDArray[np.uint8] | None = None

    def step(self, images: NDArray[np.uint8], executed: NDArray[np.float32], is_first: bool) -> LatentState:
        """Posterior latent of `images` (C, H, W, 3) uint8; `executed` (A,) float32 in [-1, 1] lies since the last.

        The executed action of a first step is not looked at by the model, but must be finite all the same.
        Raises EncoderInputError on a wrong shape or dtype, or an action that is not finite; EncoderOutputError when the
        model's own output is not finite.
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
