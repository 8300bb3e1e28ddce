"""Topics of Gazebo, and the bridge that connects them with those of ROS (ros_gz_bridge)."""

from __future__ import annotations

from typing import Any

from fosp_core import topics
from fosp_core.robot.config import RobotConfig
from fosp_sim.task.arm_kinematics import JOINTS

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
