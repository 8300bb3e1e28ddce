"""Conversion of a bag's serialised messages to numpy."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from fosp_core.bag_types import typestore
from fosp_core.errors import UserError
from fosp_core.image import check_image, decoded_observation, observation_image
from fosp_core.robot.config import RobotConfig
from fosp_learner.data.mcap_stream import StoredMessage

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
TWIST_STAMPED = "geometry_msgs/msg/TwistStamped"
TWIST = "geometry_msgs/msg/Twist"
POSE_STAMPED = "geometry_msgs/msg/PoseStamped"
STEP_FEEDBACK = "fosp_msgs/msg/StepFeedback"


class RecordedFeedback(NamedTuple):
    """Content of one fosp_msgs/StepFeedback."""

    reward: float
    cost: float
    is_first: bool
    is_last: bool
    terminal: bool
    success: bool


def deserialise(stored: StoredMessage) -> Any:
    """Return the message, by the bag's definition of its type or else by Jazzy's; UserError for damaged bytes."""
    try:
        return _types(stored.type, stored.definition).deserialize_cdr(stored.data, stored.type)
    except UserError:
        raise
    except Exception as error:  # a parser on arbitrary bytes raises anything
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"a message on {stored.topic} is damaged or cut off ({detail}); remove the bag") from None


@lru_cache(maxsize=64)
def _types(name: str, definition: str) -> Typestore:
    """Return the type store of one type; it is kept, since parsing a definition takes long."""
    if not definition:
        return typestore()
    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_msg(definition, name))
    return store


def stamp_ns(message: Any) -> int:
    """Return the header stamp in ns."""
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def read_observation(message: Any, kind: str, height: int, width: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Return the observation (height, width, 3) uint8 RGB of a raw (rgb8, bgr8, mono8) or compressed image.

    The image's own size (H, W) comes with it. UserError for anything else, and for a damaged image.
    """
    if kind == COMPRESSED:
        return decoded_observation(np.asarray(message.data, np.uint8), message.format, height, width)
    pixels = _read_raw(message, kind)
    return observation_image(pixels, height, width), pixels.shape[:2]  # type: ignore[return-value]


def _read_raw(message: Any, kind: str) -> NDArray[np.uint8]:
    """Return a raw image as (H, W, 3) uint8 RGB."""
    if kind != IMAGE:
        raise UserError(f"expected {IMAGE} or {COMPRESSED} on the camera topic, found {kind}")
    check_image(message.width, message.height, len(message.data))
    channels = {"rgb8": 3, "bgr8": 3, "mono8": 1}.get(message.encoding)
    if channels is None:
        raise UserError(f"image encoding '{message.encoding}' is not supported; record rgb8, bgr8, mono8 or compressed")
    row = message.width * channels
    if not row or message.step < row or len(message.data) != message.height * message.step:
        raise UserError(f"image of {message.width}x{message.height} holds {len(message.data)} bytes; remove the bag")
    pixels = np.asarray(message.data, np.uint8).reshape(message.height, message.step)[:, :row]
    pixels = pixels.reshape(message.height, message.width, channels)
    if message.encoding == "bgr8":
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    return pixels if channels == 3 else np.repeat(pixels, 3, axis=2)


def read_command(message: Any, kind: str, logged_ns: int, robot: RobotConfig) -> tuple[int, NDArray[np.float64]]:
    """Return the stamp in ns and the components of the action spec (n,) in m/s and rad/s.

    A target pose gives (7,), as `twists_of_poses` of fosp_core.executed takes it. A plain Twist has no stamp and takes
    its log time. UserError for another type or frame than the robot's.
    """
    allowed = (POSE_STAMPED,) if robot.command_type == "PoseStamped" else (TWIST_STAMPED, TWIST)
    if kind not in allowed:
        raise UserError(f"expected {' or '.join(allowed)} on the command topic, found {kind}")
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


def read_feedback(message: Any, kind: str) -> tuple[int, RecordedFeedback]:
    """Return stamp in ns and content; UserError for another type, a reward or cost not finite, or a cost below 0."""
    if kind != STEP_FEEDBACK:
        raise UserError(f"expected {STEP_FEEDBACK} on the feedback topic, found {kind}")
    try:
        feedback = RecordedFeedback(*(getattr(message, field) for field in RecordedFeedback._fields))
    except AttributeError as error:
        raise UserError(f"feedback is of another version of {STEP_FEEDBACK} ({error}); record it again") from None
    when = stamp_ns(message)
    if not (math.isfinite(feedback.reward) and math.isfinite(feedback.cost) and feedback.cost >= 0):
        raise UserError(
            f"feedback at {when * 1e-9:.3f} s holds reward {feedback.reward:g} and cost {feedback.cost:g}; "
            "both must be finite and the cost not below 0; remove the bag"
        )
    return when, feedback
