"""Depth images of the simulated cameras, aligned with their pictures, for the protective zones of a robot."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.image_message import fill_depth
from fosp_core.ros.stamps import time_message
from fosp_sim.robot_messages import camera_info
from fosp_sim.task.render import MujocoPainter, lenses, optical_frame
from fosp_sim.task.world import MujocoWorld, SimulatedWorld

FARTHEST_M = 10.0
"""Depth beyond which a pixel is unknown, as with a real depth camera."""
EVERY = 2
"""Number of frames of the camera for one depth image."""


def millimetres(depth: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return depth (H, W), m, as a depth camera tells it: in whole mm, 0 where it is not known."""
    known = np.isfinite(depth) & (depth <= FARTHEST_M)
    return np.where(known, np.rint(1e3 * np.where(known, depth, 0.0)), 0.0).astype(np.uint16)


class DepthCameras:
    """The sources of type Depth of a robot whose frame is that of a simulated camera; raise UserError for another."""

    def __init__(self, node: Any, robot: RobotConfig, world: SimulatedWorld) -> None:
        cameras = {optical_frame(name): name for name in world.cameras}
        self._made: list[tuple[str, Any, Any, CameraInfo]] = []
        self._size, self._count = world.picture, 0
        for source in robot.sources:
            if source.type != "Depth":
                continue
            if not isinstance(world, MujocoWorld) or source.frame_id not in cameras:
                frames = ", ".join(cameras) if isinstance(world, MujocoWorld) else "none"
                raise UserError(
                    f"source {source.name}: the frames of the simulated depth cameras are {frames}, not "
                    f"{source.frame_id}"
                )
            image = node.create_publisher(Image, source.topic, qos.IMAGE_SOURCE)
            info = node.create_publisher(CameraInfo, source.info_topic, qos.IMAGE_SOURCE)
            camera = cameras[source.frame_id]
            self._made.append((camera, image, info, camera_info(lenses(world)[camera], source.frame_id)))

    def take(self, painter: Any, snapshot: Any) -> list[NDArray[np.uint16]]:
        """Return the depth of every second frame; call it in the thread of the painter while the model stands still."""
        self._count += 1
        if not self._made or self._count % EVERY or not isinstance(painter, MujocoPainter):
            return []
        return [millimetres(painter.depth(snapshot, *self._size, camera)) for camera, *_ in self._made]

    def publish(self, depths: list[NDArray[np.uint16]], stamp_ns: int) -> None:
        """Publish what `take` gave, with the stamp of its frame."""
        for depth, (_, images, infos, info) in zip(depths, self._made, strict=False):
            image = Image()
            fill_depth(image, depth)
            image.header.frame_id, image.header.stamp = info.header.frame_id, time_message(stamp_ns)
            info.header.stamp = image.header.stamp
            infos.publish(info)
            images.publish(image)
