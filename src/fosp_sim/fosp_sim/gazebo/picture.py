"""Gazebo's picture without Gazebo: MuJoCo's renderer with the lights and the encoding of ogre2."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_core.errors import UserError
from fosp_sim.gazebo.light import AMBIENT_GAIN, LIGHT_GAIN, decoded, encoded, fitted_lighting
from fosp_sim.task.gl import mujoco
from fosp_sim.task.render import CAMERA, NATIVE_HEIGHT, NATIVE_WIDTH, MujocoPainter, Renderer
from fosp_sim.task.world import MujocoWorld, SimulatedWorld

_EXPOSURE = 0.5
"""Brightness is rendered in 8 bits at this scale, because it exceeds 1."""


class Ogre2Renderer(Renderer):
    """Renders what Gazebo's camera would show of a world that `world_sdf` writes.

    The spot below the arm's tip is shown as in MuJoCo. Edges are those of MuJoCo, without anti-aliasing.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        data = mujoco.MjData(model)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        self._lighting = fitted_lighting(model, camera_forward(data))

    def render(
        self, data: Any, height: int = NATIVE_HEIGHT, width: int = NATIVE_WIDTH, camera: str = CAMERA
    ) -> NDArray[np.uint8]:
        """Return the view of `data`, whose kinematics are computed, as a new array (height, width, 3) uint8 RGB."""
        brightness = self._brightness(data, height, width)
        black = np.zeros((1, 3))  # the background, geom -1
        colors = np.vstack([decoded(self._model.geom_rgba[:, :3]), black])[self._geoms(height, width)]
        return np.asarray(np.rint(255 * encoded(colors * brightness)), np.uint8)

    def _brightness(self, data: Any, height: int, width: int) -> NDArray[np.float64]:
        """Render all shapes in white, and return their brightness (height, width, 3)."""
        lighting, scene = self._lighting, self._scene
        mujoco.mjv_updateScene(
            self._model, data, self._option, self._perturb, self._camera, mujoco.mjtCatBit.mjCAT_ALL, scene
        )
        for shape in scene.geoms[: scene.ngeom]:
            shape.rgba[:], shape.specular = 1.0, 0.0
        lamps = iter(lighting.lamps)
        for light in scene.lights[: scene.nlight]:
            strength = lighting.headlight if light.headlight else next(lamps)
            light.ambient[:] = _EXPOSURE * AMBIENT_GAIN * lighting.ambient if light.headlight else 0.0
            light.diffuse[:], light.specular[:] = _EXPOSURE * LIGHT_GAIN * strength, 0.0
        return self._read(height, width) / (255.0 * _EXPOSURE)

    def _geoms(self, height: int, width: int) -> NDArray[np.int64]:
        """Return the geom (height, width) that each pixel of the scene shows, or -1."""
        flags, scene = mujoco.mjtRndFlag, self._scene
        scene.flags[flags.mjRND_SEGMENT] = scene.flags[flags.mjRND_IDCOLOR] = 1
        shades = self._read(height, width).astype(np.int64)
        scene.flags[flags.mjRND_SEGMENT] = scene.flags[flags.mjRND_IDCOLOR] = 0
        geoms = np.full(scene.ngeom + 1, -1)
        for shape in scene.geoms[: scene.ngeom]:
            geoms[shape.segid + 1] = shape.objid
        return np.asarray(geoms[shades[..., 0] + 256 * shades[..., 1] + 65536 * shades[..., 2]])

    def _read(self, height: int, width: int) -> NDArray[np.uint8]:
        buffer, area = np.empty((height, width, 3), np.uint8), mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(area, self._scene, self._gpu)
        mujoco.mjr_readPixels(buffer, None, area, self._gpu)
        return buffer[::-1]


def gazebo_painter(world: SimulatedWorld) -> MujocoPainter:
    """Return what takes the pictures of `world` as Gazebo would show it; UserError for worlds of other simulators."""
    if not isinstance(world, MujocoWorld):
        raise UserError("Gazebo's pictures are made of MuJoCo's worlds; this task is another environment's")
    return MujocoPainter(world, Ogre2Renderer)


def camera_forward(data: Any) -> NDArray[np.float64]:
    """Return the direction (3,) in which the first camera looks, of `data` whose kinematics are computed."""
    return -np.asarray(data.cam_xmat[0]).reshape(3, 3)[:, 2]
