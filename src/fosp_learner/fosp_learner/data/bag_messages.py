"""Conversion of a bag's serialised messages to numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fosp_core.bag.messages import stamp_ns
from fosp_core.errors import UserError
from fosp_core.image import check_image, decoded_observation, observation_image
from fosp_core.image.encodings import rgb_of_raw
from fosp_core.robot.config import RobotConfig
from fosp_core.robot.gripper import position_fault
from fosp_core.topics import GRIPPER

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
TWIST_STAMPED = "geometry_msgs/msg/TwistStamped"
TWIST = "geometry_msgs/msg/Twist"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"
JOINT_STATE = "sensor_msgs/msg/JointState"
STEP_FEEDBACK = "fosp_msgs/msg/StepFeedback"
CAMERA_TYPES = (IMAGE, COMPRESSED)


class RecordedFeedback(NamedTuple):
    """Content of one fosp_msgs/StepFeedback."""

    reward: float
    cost: float
    is_first: bool
    is_last: bool
    terminal: bool
    success: bool
    episode: int = 0


def command_types(robot: RobotConfig) -> tuple[str, ...]:
    """Return the types that the robot's command topic may have."""
    return (POSE_STAMPED,) if robot.command_type == "PoseStamped" else (TWIST_STAMPED, TWIST)


def read_observation(message: Any, kind: str, height: int, width: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the observation (height, width, 3) uint8 RGB of a raw or compressed image, as on the robot.

    The image's own size (H, W) comes with it. UserError for anything else, and for a damaged image.
    """
    if kind == COMPRESSED:
        return decoded_observation(np.asarray(message.data, np.uint8), message.format, height, width)
    pixels = _read_raw(message)
    return observation_image(pixels, height, width), pixels.shape[:2]  # type: ignore[return-value]


def _read_raw(message: Any) -> NDArray[np.uint8]:
    """Return a raw image as (H, W, 3) uint8 RGB."""
    check_image(message.width, message.height, len(message.data))
    data = np.asarray(message.data, np.uint8)
    return rgb_of_raw(data, message.encoding, message.height, message.width, message.step, bool(message.is_bigendian))


def read_command(message: Any, kind: str, logged_ns: int, robot: RobotConfig) -> tuple[int, NDArray[np.float64]]:
    """Return the stamp in ns and the components of the action spec (n,) in m/s and rad/s.

    A target pose gives (7,), as `twists_of_poses` of fosp_core.executed takes it. A plain Twist has no stamp and takes
    its log time. UserError for another frame than the robot's.
    """
    if kind == TWIST:
        when, twist = logged_ns, message
    elif message.header.frame_id != robot.action.frame_id:
        found = message.header.frame_id
        raise UserError(f"commands are in frame '{found}', the robot's are in '{robot.action.frame_id}'")
    elif kind == POSE_STAMPED:
        p, q = message.pose.position, message.pose.orientation
        return stamp_ns(message), np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w], np.float64)
    else:
        when, twist = stamp_ns(message), message.twist
    parts = (axis.name.split(".") for axis in robot.action.axes)
    return when, np.array([getattr(getattr(twist, part), component) for part, component in parts], np.float64)


def with_gripper(
    commands: Sequence[NDArray[np.float64]], places: Sequence[int], gripper: Sequence[tuple[int, float]]
) -> list[NDArray[np.float64]]:
    """Return the commands (n,), each with one value more: what the gripper was told last when it came.

    `places` are the places of the commands in the file, and `gripper` has places and setpoints: the monitor tells the
    gripper's before the command, and the encoder of the robot joins them in their order of arrival, too.
    """
    at = np.searchsorted(np.array([place for place, _ in gripper]), np.array(places), "right") - 1
    return [np.append(command, gripper[max(int(index), 0)][1]) for command, index in zip(commands, at, strict=True)]


def read_gripper(message: Any, robot: RobotConfig) -> float:
    """Return the normalised setpoint of the gripper; UserError for one that cannot be this robot's."""
    gripper = robot.action.gripper
    if gripper is None or len(message.position) != 1 or not math.isfinite(message.position[0]):
        raise UserError(f"{GRIPPER} holds no position of the gripper of robot '{robot.name}'")
    value = float(message.position[0])
    fault = position_fault(value, gripper)
    if fault:
        raise UserError(f"{GRIPPER} {fault} Give the robot file it was recorded with: --robot")
    return gripper.normalised(value)


def read_feedback(message: Any) -> tuple[int, RecordedFeedback]:
    """Return stamp in ns and content; UserError for a reward or cost not finite, or a cost below 0."""
    try:
        feedback = RecordedFeedback(*(getattr(message, field) for field in RecordedFeedback._fields))
    except AttributeError as error:
        raise UserError(f"feedback is of another version of {STEP_FEEDBACK} ({error}); record it again") from None
    when = stamp_ns(message)
    if not (math.isfinite(feedback.reward) and math.isfinite(feedback.cost) and feedback.cost >= 0):
        raise UserError(
            f"feedback at {when * 1e-9:.3f} s holds reward {feedback.reward:g} and cost {feedback.cost:g}; "
            "both must be finite and the cost not below 0; mend the rules, and record again"
        )
    return when, feedback
