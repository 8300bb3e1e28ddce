"""The cell of an arm under a depth camera, the zone that it guards, a hand that reaches into it, and bad images."""

from __future__ import annotations

import array
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from relay import Tamper, changed
from sensor_msgs.msg import CameraInfo, Image

from fosp_bringup.paths import robot_path
from fosp_core.robot.extending import read_robot_content
from fosp_safety_monitor.zones.geometry import Transform
from fosp_sim.task.render import NATIVE_HEIGHT, NATIVE_WIDTH

_SHIPPED = read_robot_content(robot_path("sim_arm").with_name("sim_arm.zones.yaml"))
SOURCE: dict[str, Any] = _SHIPPED["sources"][0]
DEPTH, INFO = str(SOURCE["topic"]), str(SOURCE["info_topic"])
PERIOD_S = 0.05
"""Every second frame of a camera of 40 Hz has its depth."""
ZONES: dict[str, Any] = {
    "sources": [SOURCE],
    "self_filter": _SHIPPED["self_filter"],
    "zones": [
        {
            "name": "cell",
            "action": "stop",
            "lower": [0.28, -0.45, 0.03],
            "upper": [0.80, 0.45, 0.35],
            "sources": [SOURCE["name"]],
            "min_points": 8,
        }
    ],
}
"""Keys of a robot file: nothing but the arm's own tool may be above its table."""
HAND, HAND_RADIUS = (0.62, 0.32, 0.15), 0.06
"""A fist in the cell beside the tool, m, in base_link."""
_FIELD_OF_VIEW = np.radians(36.0)


@cache
def hand() -> NDArray[np.uint16]:
    """Return the depth, mm, that a fist has in the image of the camera; where it is not seen, the largest number."""
    focal = 0.5 * NATIVE_HEIGHT / np.tan(0.5 * _FIELD_OF_VIEW)
    u, v = np.meshgrid(np.arange(NATIVE_WIDTH), np.arange(NATIVE_HEIGHT))
    rays = np.stack([(u - NATIVE_WIDTH / 2) / focal, (v - NATIVE_HEIGHT / 2) / focal, np.ones(u.shape)], axis=-1)
    mounting = Transform.of(tuple(SOURCE["position"]), tuple(SOURCE["rotation"]))
    centre = mounting.rotation.T @ (np.array(HAND) - mounting.origin)
    a, b = (rays**2).sum(axis=-1), rays @ centre
    inside = b**2 - a * (centre @ centre - HAND_RADIUS**2)
    depth = np.where(inside > 0.0, (b - np.sqrt(np.maximum(inside, 0.0))) / a, 65.0)
    return np.rint(1e3 * depth).astype(np.uint16)


def _pixels(message: Image) -> NDArray[np.uint16]:
    return np.frombuffer(message.data, np.uint16).reshape(message.height, message.width).copy()


def _fill(message: Image, depth: NDArray[Any]) -> None:
    message.encoding = "32FC1" if depth.dtype == np.float32 else "16UC1"
    message.height, message.width = depth.shape
    message.step = depth.strides[0]
    message.data = array.array("B", depth.tobytes())


def reached_into(message: Image) -> None:
    """A hand reaches into the cell."""
    seen = _pixels(message)
    seen[seen == 0] = 65535
    _fill(message, np.minimum(seen, hand()))


def in_metres(message: Image) -> None:
    """The image is in m, with NaN for what is not known."""
    seen = _pixels(message).astype(np.float32) * np.float32(1e-3)
    seen[seen == 0.0] = np.nan
    _fill(message, seen)


def filled(value: float) -> Callable[[Image], None]:
    """Every pixel says this, in mm, or NaN in m."""

    def change(message: Image) -> None:
        shape = message.height, message.width
        _fill(message, np.full(shape, value, np.float32 if np.isnan(value) else np.uint16))

    return change


def cut_off(message: Image) -> None:
    """Half of the data is missing."""
    message.data = message.data[: len(message.data) // 2]


def smaller(message: Image) -> None:
    """The image is of another size than its camera_info."""
    _fill(message, np.ascontiguousarray(_pixels(message)[::2, ::2]))


def elsewhere(message: Image) -> None:
    """Name another frame."""
    message.header.frame_id = "other_camera"


def of_colour(message: Image) -> None:
    """Say that it is a picture."""
    message.encoding = "rgb8"


def without_focal_lengths(message: CameraInfo) -> None:
    """The camera_info of a camera that was never calibrated."""
    message.k = [0.0] * 9


def of_a_fisheye(message: CameraInfo) -> None:
    """The camera_info of a lens whose distortion is not undone here."""
    message.distortion_model, message.d = "equidistant", [0.1, 0.01, 0.0, 0.0]


def both(*changes: Callable[[Image], None]) -> Tamper:
    """Make several changes, one after the other."""

    def change(message: Image) -> None:
        for one in changes:
            one(message)

    return changed(change)
