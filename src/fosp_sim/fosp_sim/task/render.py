"""The simulated camera: off-screen rendering, intrinsics, and the faults of a scenario."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_sim.task.gl import mujoco
from fosp_sim.task.scenario import CameraEffects

CAMERA = "color"
CAMERA_FRAME = "camera_color_optical_frame"
NATIVE_HEIGHT, NATIVE_WIDTH = 240, 320
_BANK = 1 << 20

_context: Any = None


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera of the 320x240 frame, in pixels."""

    focal: float
    centre_x: float
    centre_y: float


def intrinsics(model: Any) -> Intrinsics:
    """Return the intrinsics of the model's camera."""
    half_angle = math.radians(float(model.camera(CAMERA).fovy[0])) / 2
    return Intrinsics(NATIVE_HEIGHT / 2 / math.tan(half_angle), NATIVE_WIDTH / 2, NATIVE_HEIGHT / 2)


class Renderer:
    """Renders the camera `color` of one model at any size up to 320x240.

    A process has one GL context, which belongs to the thread that made the first Renderer. A second live Renderer would
    corrupt the first, so a new one replaces it.
    """

    def __init__(self, model: Any) -> None:
        global _context
        if _context is None:
            try:
                _context = mujoco.GLContext(NATIVE_WIDTH, NATIVE_HEIGHT)
            except Exception as error:
                raise UserError(
                    f"no off-screen rendering with MUJOCO_GL={os.environ.get('MUJOCO_GL')}: {error}; "
                    "install libegl1 and libgl1-mesa-dri, or libosmesa6 and set MUJOCO_GL=osmesa"
                ) from None
        _context.make_current()
        self._model = model
        self._scene = mujoco.MjvScene(model, maxgeom=100)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._option = mujoco.MjvOption()
        self._perturb = mujoco.MjvPerturb()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, CAMERA)
        self._gpu = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._gpu)
        self._flipped: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def render(self, data: Any, height: int = NATIVE_HEIGHT, width: int = NATIVE_WIDTH) -> NDArray[np.uint8]:
        """Return the view of `data`, whose kinematics are computed, as a new array (height, width, 3) uint8 RGB."""
        size = height, width
        if size not in self._flipped:
            self._flipped[size] = np.empty((height, width, 3), np.uint8)
        buffer, area = self._flipped[size], mujoco.MjrRect(0, 0, width, height)
        mujoco.mjv_updateScene(
            self._model, data, self._option, self._perturb, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        mujoco.mjr_render(area, self._scene, self._gpu)
        mujoco.mjr_readPixels(buffer, None, area, self._gpu)
        return buffer[::-1].copy()


_COVERED = 18
"""Grey value of a frame of a covered lens."""


class CameraFaults:
    """Noise, brightness, lost frames and a covered lens in one episode, drawn from `seed` alone.

    The caller applies the latency.
    """

    def __init__(self, effects: CameraEffects, seed: int, episode: int) -> None:
        self._effects = effects
        self._covered_s = effects.covered_s if episode in effects.covered_episodes else 0.0
        self._rng = np.random.Generator(np.random.PCG64([seed, 1]))
        self._noise = np.zeros(0, np.int16)
        if effects.noise_std > 0:
            # Drawing normals for a frame takes longer than rendering it, so the noise of each frame is cut from a bank.
            self._noise = np.rint(self._rng.standard_normal(_BANK) * effects.noise_std).astype(np.int16)

    @property
    def latency(self) -> float:
        """Return the time from the exposure to the arrival of a frame, s."""
        return self._effects.latency_s

    def lost(self) -> bool:
        """Draw the fate of the next frame; return True if it never arrives."""
        probability = self._effects.drop_probability
        return probability > 0 and bool(self._rng.uniform() < probability)

    def expose(self, frame: NDArray[np.uint8], time_s: float) -> NDArray[np.uint8]:
        """Return the frame (H, W, 3) uint8, exposed `time_s` into the episode, with all faults but losses applied."""
        if time_s < self._covered_s:
            return np.full_like(frame, _COVERED)
        if self._effects.brightness == 1.0 and not len(self._noise):
            return frame
        bright = frame.astype(np.float32) * self._effects.brightness
        if len(self._noise):
            offset = int(self._rng.integers(_BANK - frame.size))
            bright += self._noise[offset : offset + frame.size].reshape(frame.shape)
        return np.clip(np.rint(bright), 0, 255).astype(np.uint8)
