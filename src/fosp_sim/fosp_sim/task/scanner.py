"""A laser scanner on the simulated base: rays that MuJoCo casts against obstacles and walls."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fosp_sim.task.gl import mujoco
from fosp_sim.task.world import World

BEAMS = 360
HEIGHT = 0.04
"""Height of the plane of the scan above the ground, m: above no obstacle, and through the widest part of most."""
RANGE_MIN, RANGE_MAX = 0.05, 6.0
"""m. Closer is -inf, and further +inf, as REP 117 wants it."""
SCAN_FRAME = "laser"
_LARGEST = 1.0
"""Half side of a box that holds every obstacle, m."""
_UNSEEN = 2
"""Group of the geoms that the scanner looks through: the robot itself, and the goal, which is a mark and no thing."""


class LaserScanner:
    """Scans around the centre of the base of one world, counter-clockwise from straight ahead."""

    def __init__(self, world: World) -> None:
        self._model = world.model
        bodies = [int(mujoco.mj_name2id(world.model, mujoco.mjtObj.mjOBJ_BODY, name)) for name in ("base", "goal")]
        for geom, body in enumerate(world.model.geom_bodyid.tolist()):
            if body in bodies or int(world.model.body_rootid[body]) == bodies[0]:
                world.model.geom_group[geom] = _UNSEEN
        for body in np.flatnonzero(world.model.body_mocapid >= 0).tolist():
            # Rays are culled by the bounds of the compiled shapes, and each episode changes the shapes.
            first, count = int(world.model.body_bvhadr[body]), int(world.model.body_bvhnum[body])
            world.model.bvh_aabb[first : first + count, 3:] = _LARGEST
        self._seen = np.array([1, 1, 0, 1, 1, 1], np.uint8)
        angles = 2.0 * math.pi / BEAMS * np.arange(BEAMS)
        self._directions = np.stack([np.cos(angles), np.sin(angles)])
        self._geoms, self._distances = np.zeros(BEAMS, np.int32), np.zeros(BEAMS)
        self._rays = np.zeros((BEAMS, 3))

    def scan(self, data: Any, x: float, y: float, heading: float) -> NDArray[np.float32]:
        """Return the ranges (BEAMS,) float32, m, that a scanner at (x, y), m, with this heading, rad, measures."""
        c, s = math.cos(heading), math.sin(heading)
        ahead, left = self._directions
        self._rays[:, 0], self._rays[:, 1] = c * ahead - s * left, s * ahead + c * left
        origin = np.array([x, y, HEIGHT])
        rays, count = self._rays.reshape(-1), BEAMS
        mujoco.mj_multiRay(
            self._model, data, origin, rays, self._seen, 1, -1, self._geoms, self._distances, None, count, RANGE_MAX
        )
        found = self._distances.astype(np.float32)
        found[(self._distances < 0.0) | (self._distances > RANGE_MAX)] = np.inf
        found[(self._distances >= 0.0) & (self._distances < RANGE_MIN)] = -np.inf
        return found
