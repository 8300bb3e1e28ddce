"""What a scenario does to the camera: noise, brightness, lost frames. Latency is the caller's, who knows the time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fosp_sim.task.scenario import CameraEffects

_BANK = 1 << 20


class CameraFaults:
    """The effects of one episode, drawn from `seed` alone."""

    def __init__(self, effects: CameraEffects, seed: int) -> None:
        self._effects = effects
        self._rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self._noise = np.zeros(0, np.int16)
        if effects.noise_std > 0:
            # Drawing a frame of normals takes longer than rendering it: cut each frame's noise from a bank.
            self._noise = np.rint(self._rng.standard_normal(_BANK) * effects.noise_std).astype(np.int16)

    @property
    def latency(self) -> float:
        """s from the exposure to the arrival of a frame."""
        return self._effects.latency_s

    def lost(self) -> bool:
        """Whether the next frame never arrives."""
        probability = self._effects.drop_probability
        return probability > 0 and bool(self._rng.uniform() < probability)

    def expose(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 with brightness and noise."""
        if self._effects.brightness == 1.0 and not len(self._noise):
            return frame
        bright = frame.astype(np.float32) * self._effects.brightness
        if len(self._noise):
            offset = int(self._rng.integers(_BANK - frame.size))
            bright += self._noise[offset : offset + frame.size].reshape(frame.shape)
        return np.clip(np.rint(bright), 0, 255).astype(np.uint8)
