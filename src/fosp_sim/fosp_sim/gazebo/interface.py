"""The interface of Gazebo: its topics, their bridge to ROS, and its services, called through its command line tool.

The bridge is ros_gz_bridge, which does not forward the services in ROS 2 Jazzy.
"""

from __future__ import annotations

import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.specs import RobotConfig
from fosp_sim.task.arm_kinematics import JOINTS

INSTALL = "install Gazebo with its ROS packages: sudo apt install ros-jazzy-ros-gz"
TIMEOUT_MS = 2000
"""Time that Gazebo has for an answer."""

IMAGE = "/fosp/camera/color/image_raw"
CAMERA_INFO = "/fosp/camera/color/camera_info"
CONTACTS = "/fosp/contacts"
JOINT_STATES = "/fosp/joint_states"
ODOMETRY = "/fosp/odom"
WHEEL_COMMAND = "/fosp/wheel_command"

ROS_CONTACTS = "gazebo/contacts"
ROS_WHEEL_COMMAND = "gazebo/wheel_command"
"""Topics of ROS between Gazebo and gazebo_node, which stands between the robot's command topic and Gazebo."""


def joint_command(joint: str) -> str:
    """Return Gazebo's topic for the target position of a joint, rad."""
    return f"/fosp/{joint}/position"


def ros_joint_command(joint: str) -> str:
    """Return the topic of ROS that is bridged to `joint_command`."""
    return f"gazebo/{joint}/position"


def bridge_config(robot: RobotConfig, world: str) -> list[dict[str, Any]]:
    """Return the entries of ros_gz_bridge's YAML file. Topics of ROS are relative, so that a namespace moves them."""
    entries = [
        _to_ros(topics.CLOCK, f"/world/{world}/clock", "rosgraph_msgs/msg/Clock", "gz.msgs.Clock"),
        _to_ros(topics.COLOR_IMAGE, IMAGE, "sensor_msgs/msg/Image", "gz.msgs.Image"),
        _to_ros(topics.CAMERA_INFO, CAMERA_INFO, "sensor_msgs/msg/CameraInfo", "gz.msgs.CameraInfo"),
        _to_ros(ROS_CONTACTS, CONTACTS, "ros_gz_interfaces/msg/Contacts", "gz.msgs.Contacts"),
    ]
    if robot.kind == "arm":
        entries.append(_to_ros(robot.state_topic, JOINT_STATES, "sensor_msgs/msg/JointState", "gz.msgs.Model"))
        entries += [
            _to_gazebo(ros_joint_command(joint), joint_command(joint), "std_msgs/msg/Float64", "gz.msgs.Double")
            for joint in JOINTS
        ]
    else:
        entries.append(_to_ros(robot.state_topic, ODOMETRY, "nav_msgs/msg/Odometry", "gz.msgs.Odometry"))
        entries.append(_to_gazebo(ROS_WHEEL_COMMAND, WHEEL_COMMAND, "geometry_msgs/msg/Twist", "gz.msgs.Twist"))
    return entries


def _to_ros(ros: str, gazebo: str, ros_type: str, gazebo_type: str) -> dict[str, Any]:
    return _entry(ros, gazebo, ros_type, gazebo_type, "GZ_TO_ROS")


def _to_gazebo(ros: str, gazebo: str, ros_type: str, gazebo_type: str) -> dict[str, Any]:
    return _entry(ros, gazebo, ros_type, gazebo_type, "ROS_TO_GZ")


def _entry(ros: str, gazebo: str, ros_type: str, gazebo_type: str, direction: str) -> dict[str, Any]:
    return {
        "ros_topic_name": ros,
        "gz_topic_name": gazebo,
        "ros_type_name": ros_type,
        "gz_type_name": gazebo_type,
        "direction": direction,
    }


def require_gazebo() -> None:
    """Raise UserError when Gazebo's command line tool, or its bridge to ROS, is not installed."""
    if shutil.which("gz") is None:
        raise UserError(f"gz is not installed; {INSTALL}")
    bridge_prefix()


def bridge_prefix() -> Path:
    """Return the install prefix of ros_gz_bridge. Raise UserError when it is not installed."""
    try:
        return Path(get_package_prefix("ros_gz_bridge"))
    except PackageNotFoundError:
        raise UserError(f"ros_gz_bridge is not installed; {INSTALL}") from None


def create_command(world: str, sdf: str) -> list[str]:
    """Return the command that puts the model of an SDF text into the world."""
    quoted = sdf.replace("\\", "\\\\").replace('"', '\\"')
    return _command(world, "create", "gz.msgs.EntityFactory", f'sdf: "{quoted}"')


def remove_command(world: str, model: str) -> list[str]:
    """Return the command that takes a model out of the world."""
    return _command(world, "remove", "gz.msgs.Entity", f'name: "{model}" type: MODEL')


def place_command(world: str, model: str, position: tuple[float, float, float], heading: float) -> list[str]:
    """Return the command that puts a model at `position` (3,) m with `heading` rad."""
    x, y, z = position
    request = (
        f'name: "{model}" position {{ x: {x:.9g} y: {y:.9g} z: {z:.9g} }} '
        f"orientation {{ z: {math.sin(heading / 2):.9g} w: {math.cos(heading / 2):.9g} }}"
    )
    return _command(world, "set_pose", "gz.msgs.Pose", request)


def call(command: list[str]) -> None:
    """Call a service with one of these commands. Raise UserError when Gazebo refuses or does not answer."""
    service = command[command.index("-s") + 1]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=3 * TIMEOUT_MS / 1000, check=False)
    except FileNotFoundError:
        raise UserError(f"gz is not installed; {INSTALL}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"Gazebo did not answer {service} within {3 * TIMEOUT_MS / 1000:g} s") from None
    if done.returncode != 0 or "data: true" not in done.stdout:
        said = " ".join((done.stdout + done.stderr).split())[:200] or f"exit code {done.returncode}"
        raise UserError(f"Gazebo refused {service}: {said}")


def _command(world: str, service: str, request_type: str, request: str) -> list[str]:
    return [
        *("gz", "service", "-s", f"/world/{world}/{service}"),
        *("--reqtype", request_type, "--reptype", "gz.msgs.Boolean"),
        *("--timeout", str(TIMEOUT_MS), "--req", request),
    ]
