"""The topics that are recorded: in the bag of each episode, in the black box, or in both.

TOPICS is the one place where a topic of the graph is added to a recording; topics that the robot file names are in
`robot_topics` and `camera_topics`. The recorder, the black box, `fosp bags topics` and the security policies read them.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig


@dataclass(frozen=True)
class RecordedTopic:
    """A topic of the graph, by its relative name and its type 'package/msg/Name'."""

    name: str
    type: str
    in_episodes: bool = True
    in_black_box: bool = True


TOPICS = (
    RecordedTopic(topics.LATENT, "fosp_msgs/msg/Latent"),
    RecordedTopic(topics.PROPOSAL, "fosp_msgs/msg/ActionProposal"),
    RecordedTopic(topics.VERDICT, "fosp_msgs/msg/SafetyVerdict"),
    RecordedTopic(topics.OPERATOR, "fosp_msgs/msg/OperatorAction"),
    RecordedTopic(topics.FEEDBACK, "fosp_msgs/msg/StepFeedback"),
    RecordedTopic(topics.MARK, "std_msgs/msg/String", in_black_box=False),
    RecordedTopic(topics.SAFETY_EVENT, "fosp_msgs/msg/SafetyEvent", in_episodes=False),
    RecordedTopic(topics.HEARTBEAT, "fosp_msgs/msg/Heartbeat", in_episodes=False),
    RecordedTopic(topics.DIAGNOSTICS, "diagnostic_msgs/msg/DiagnosticArray", in_episodes=False),
)


def episode_topics(robot: RobotConfig) -> dict[str, str]:
    """Return what the learner reads, and what explains an episode afterwards: relative topic -> type."""
    graph = {topic.name: topic.type for topic in TOPICS if topic.in_episodes}
    return {**camera_topics(robot), **robot_topics(robot), **graph}


def black_box_topics(robot: RobotConfig) -> dict[str, str]:
    """Return what explains a stop, but for the images: relative topic -> type."""
    found = {topic.name: topic.type for topic in TOPICS if topic.in_black_box} | robot_topics(robot)
    if robot.wrench_topic:
        found[robot.wrench_topic] = "geometry_msgs/msg/WrenchStamped"
    if robot.enabling is not None:
        found[robot.enabling.topic] = "sensor_msgs/msg/Joy" if robot.enabling.type == "Joy" else "std_msgs/msg/Bool"
    return {**found, **dict.fromkeys(robot.estop_topics, "std_msgs/msg/Bool")}


def robot_topics(robot: RobotConfig) -> dict[str, str]:
    """Return the topics of command, state and, where the robot file names them, gripper and pose: topic -> type."""
    states = {"JointState": "sensor_msgs/msg/JointState", "Odometry": "nav_msgs/msg/Odometry"}
    found = {
        robot.command_topic: f"geometry_msgs/msg/{robot.command_type}",
        robot.state_topic: states[robot.state_type],
    }
    if robot.gripper is not None:
        found |= dict.fromkeys((topics.GRIPPER, robot.gripper.feedback_topic), "sensor_msgs/msg/JointState")
    return {**found, robot.pose_topic: "geometry_msgs/msg/PoseStamped"} if robot.pose_topic else found


def camera_topics(robot: RobotConfig) -> dict[str, str]:
    """Return the topics of the robot's cameras, of camera_node or where its drivers publish the same: topic -> type."""
    found: dict[str, str] = {}
    for camera in robot.cameras:
        image = topics.of_camera(topics.COLOR_IMAGE, camera.name)
        found |= image_source(robot, image)
        found[info_beside(robot.image_topic(image))] = "sensor_msgs/msg/CameraInfo"
        if camera.depth:
            found[topics.of_camera(topics.DEPTH_IMAGE, camera.name)] = "sensor_msgs/msg/Image"
            found[topics.of_camera(topics.DEPTH_INFO, camera.name)] = "sensor_msgs/msg/CameraInfo"
    for image in _further_images(robot):
        found |= image_source(robot, image)
        found[info_beside(robot.image_topic(image))] = "sensor_msgs/msg/CameraInfo"
    return found


def _further_images(robot: RobotConfig) -> list[str]:
    """Return the image topics, as a bundle names them, of cameras that the robot file names by their topics alone."""
    own = [topics.of_camera(topics.COLOR_IMAGE, camera.name) for camera in robot.cameras]
    return [image for image in robot.camera_topics if not any(topics.are_one(image, name) for name in own)]


def image_source(robot: RobotConfig, image: str) -> dict[str, str]:
    """Return where the images of `image`, named as in a bundle, come from: one topic -> its type."""
    kind = "CompressedImage" if robot.is_compressed(image) else "Image"
    return {robot.image_topic(image): f"sensor_msgs/msg/{kind}"}


def image_topics(robot: RobotConfig) -> dict[str, str]:
    """Return those of `camera_topics` that are images: colour, and depth where a camera gives it; topic -> type."""
    return {topic: kind for topic, kind in camera_topics(robot).items() if not kind.endswith("CameraInfo")}


def required_topics(robot: RobotConfig) -> tuple[str, ...]:
    """Return the topics without which an episode teaches nothing: colour images, commands and feedback."""
    images = [topics.of_camera(topics.COLOR_IMAGE, camera.name) for camera in robot.cameras] + _further_images(robot)
    gripper = () if robot.gripper is None else (topics.GRIPPER,)
    return (*(robot.image_topic(image) for image in images), robot.command_topic, topics.FEEDBACK, *gripper)


def frame_topic(robot: RobotConfig) -> str:
    """Return the camera_info of the first camera: one small message for each frame, with its stamp."""
    return info_beside(robot.image_topic(topics.of_camera(topics.COLOR_IMAGE, robot.cameras[0].name)))


def info_beside(image: str) -> str:
    """Return the topic of the camera_info that belongs to the images of the topic `image`."""
    return f"{image.removesuffix('/compressed').rpartition('/')[0]}/camera_info"


def message_class(message_type: str) -> Any:
    """Return the class of 'package/msg/Name'; UserError when its package is not installed."""
    package, _, name = message_type.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        raise UserError(f"message type {message_type} is not installed here") from None
