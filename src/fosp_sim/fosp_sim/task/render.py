"""The simulated camera: off-screen rendering, intrinsics, and the faults of a scenario."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_sim.task.gl import mujoco
from fosp_sim.task.scenario import CameraEffects
from fosp_sim.task.world import MujocoWorld, Painter, Picture, SimulatedWorld, WorldSnapshot

CAMERA = "color"
CAMERA_FRAME = "camera_color_optical_frame"
NATIVE_HEIGHT, NATIVE_WIDTH = 240, 320
_BANK = 1 << 20
_MARKS = 5
"""Group of the geoms that a depth camera does not see."""

_context: Any = None


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera and size of its frame, in pixels."""

    focal: float
    centre_x: float
    centre_y: float
    height: int = NATIVE_HEIGHT
    width: int = NATIVE_WIDTH


def intrinsics(model: Any, camera: str = CAMERA, size: tuple[int, int] = (NATIVE_HEIGHT, NATIVE_WIDTH)) -> Intrinsics:
    """Return the intrinsics of a camera of the model, for frames of `size` (height, width)."""
    height, width = size
    half_angle = math.radians(float(model.camera(camera).fovy[0])) / 2
    return Intrinsics(height / 2 / math.tan(half_angle), width / 2, height / 2, height, width)


def lenses(world: SimulatedWorld) -> dict[str, Intrinsics]:
    """Return the intrinsics of each camera of a world; where they are unknown, those of a lens of 90 degrees."""
    height, width = world.picture
    if world.model is not None:
        return {name: intrinsics(world.model, name, world.picture) for name in world.cameras}
    return {name: Intrinsics(height / 2, width / 2, height / 2, height, width) for name in world.cameras}


def optical_frame(camera: str) -> str:
    """Return the frame of a camera's pictures."""
    return CAMERA_FRAME if camera == CAMERA else f"{camera}_color_optical_frame"


def image_topics(camera: str) -> tuple[str, str]:
    """Return the topics of the pictures and of the camera_info of a camera of a world."""
    if camera == CAMERA:
        return topics.COLOR_IMAGE, topics.CAMERA_INFO
    return topics.of_camera(topics.COLOR_IMAGE, camera), topics.of_camera(topics.CAMERA_INFO, camera)


class Renderer:
    """Renders the cameras of one model at any size up to 320x240.

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
        self._cameras = {str(model.camera(number).name): number for number in range(model.ncam)}
        self._camera.fixedcamid = self._cameras[CAMERA]
        self._gpu = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._gpu)
        self._flipped: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def render(
        self, data: Any, height: int = NATIVE_HEIGHT, width: int = NATIVE_WIDTH, camera: str = CAMERA
    ) -> NDArray[np.uint8]:
        """Return the view of `data`, whose kinematics are computed, as a new array (height, width, 3) uint8 RGB."""
        size = height, width
        if size not in self._flipped:
            self._flipped[size] = np.empty((height, width, 3), np.uint8)
        buffer, area = self._flipped[size], mujoco.MjrRect(0, 0, width, height)
        self._camera.fixedcamid = self._cameras[camera]
        mujoco.mjv_updateScene(
            self._model, data, self._option, self._perturb, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        mujoco.mjr_render(area, self._scene, self._gpu)
        mujoco.mjr_readPixels(buffer, None, area, self._gpu)
        return buffer[::-1].copy()

    def depth(self, data: Any, height: int, width: int, camera: str = CAMERA) -> NDArray[np.float32]:
        """Return the depth along the optical axis (height, width) float32, m; what nothing is drawn at is infinity.

        What is a mark and no thing, the goal and the dark spot below the tip, is left out.
        """
        near, far = (float(getattr(self._model.vis.map, name)) * self._model.stat.extent for name in ("znear", "zfar"))
        area, read = mujoco.MjrRect(0, 0, width, height), np.empty((height, width), np.float32)
        self._camera.fixedcamid = self._cameras[camera]
        groups = self._model.geom_group.copy()
        self._model.geom_group[[geom for geom in range(self._model.ngeom) if self._is_mark(geom)]] = _MARKS
        self._option.geomgroup[_MARKS] = 0
        mujoco.mjv_updateScene(
            self._model, data, self._option, self._perturb, self._camera, mujoco.mjtCatBit.mjCAT_ALL, self._scene
        )
        self._option.geomgroup[_MARKS] = 1
        self._model.geom_group[:] = groups
        mujoco.mjr_render(area, self._scene, self._gpu)
        mapped, self._gpu.readDepthMap = self._gpu.readDepthMap, mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        mujoco.mjr_readPixels(None, read, area, self._gpu)
        self._gpu.readDepthMap = mapped
        # The buffer is 1 at `near` and 0 at `far`, linear in the inverse of the depth.
        with np.errstate(divide="ignore"):
            found = (1.0 / (read[::-1].astype(np.float64) * (1.0 / near - 1.0 / far) + 1.0 / far)).astype(np.float32)
        found[read[::-1] == 0.0] = np.inf
        return found

    def _is_mark(self, geom: int) -> bool:
        body = str(self._model.body(int(self._model.geom_bodyid[geom])).name)
        return body in ("goal", "shadow")


class MujocoPainter:
    """Takes the pictures of a world in MuJoCo."""

    def __init__(self, world: MujocoWorld, renderer: type[Renderer] = Renderer) -> None:
        self._world, self._renderer = world, renderer(world.model)
        self._view = mujoco.MjData(world.model)

    def paint(self, snapshot: WorldSnapshot | None, height: int, width: int) -> list[Picture]:
        """Return the picture of each camera, of `snapshot` or, for None, of the present."""
        data = self._world.data
        if snapshot is not None:
            self._world.show(snapshot, self._view)
            data = self._view
        return [self._renderer.render(data, height, width, camera) for camera in self._world.cameras]

    def depth(self, snapshot: WorldSnapshot | None, height: int, width: int, camera: str) -> NDArray[np.float32]:
        """Return the depth (height, width) float32, m, that a camera sees of `snapshot`, or of the present for None."""
        if snapshot is not None:
            self._world.show(snapshot, self._view)
        return self._renderer.depth(self._world.data if snapshot is None else self._view, height, width, camera)


def painter_of(world: SimulatedWorld) -> Painter:
    """Return what takes the pictures of `world`, for this thread."""
    own = world.painter()
    if own is not None:
        return own
    assert isinstance(world, MujocoWorld)
    return MujocoPainter(world)


def as_range(value: float | tuple[float, float]) -> tuple[float, float]:
    """Return the range (lowest, highest) of a value that may be one number."""
    return value if isinstance(value, tuple) else (value, value)


class MovedCameras:
    """Cameras that were knocked: moved by `moved_m`, turned by `turned_deg`, in directions drawn for each episode."""

    def __init__(self, world: SimulatedWorld, effects: CameraEffects) -> None:
        """Raise UserError when the cameras are to move, and the world has none that can."""
        self._distance, self._angle = as_range(effects.moved_m), as_range(effects.turned_deg)
        self._world: MujocoWorld | None = None
        if not (self._distance[1] or self._angle[1]):
            return
        if not isinstance(world, MujocoWorld):
            raise UserError("camera.moved_m and turned_deg move the cameras of MuJoCo worlds; this task has none")
        self._world = world
        self._positions, self._turns = world.model.cam_pos.copy(), world.model.cam_quat.copy()

    def move(self, seed: int) -> None:
        """Put each camera where the episode of `seed` has it; call it after the world's reset."""
        if self._world is None:
            return
        model, data = self._world.model, self._world.data
        rng = np.random.Generator(np.random.PCG64([seed, 3]))
        for camera in range(model.ncam):
            way, axis = (direction / np.linalg.norm(direction) for direction in rng.standard_normal((2, 3)))
            distance, angle = rng.uniform(*self._distance), math.radians(rng.uniform(*self._angle))
            turn, turned = np.zeros(4), np.zeros(4)
            mujoco.mju_axisAngle2Quat(turn, axis, angle)
            mujoco.mju_mulQuat(turned, self._turns[camera], turn)
            model.cam_pos[camera] = self._positions[camera] + distance * way
            model.cam_quat[camera] = turned
        mujoco.mj_camlight(model, data)


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
        brightness = effects.brightness
        self._brightness = float(self._rng.uniform(*brightness)) if isinstance(brightness, tuple) else brightness
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
        if self._brightness == 1.0 and not len(self._noise):
            return frame
        bright = frame.astype(np.float32) * self._brightness
        if len(self._noise):
            offset = int(self._rng.integers(_BANK - frame.size))
            bright += self._noise[offset : offset + frame.size].reshape(frame.shape)
        return np.clip(np.rint(bright), 0, 255).astype(np.uint8)
