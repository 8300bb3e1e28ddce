"""Starts MoveIt Servo for a Franka Research 3, beside franka_fr3_moveit_config's moveit.launch.py.

    ros2 launch config/servo/franka_servo.launch.py robot_ip:=172.16.0.2

The descriptions are those of that launch file, from the same packages; Servo's own parameters are in franka_fr3.yaml.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument
from launch.substitutions import Command, FindExecutable, LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription

ARGUMENTS = {
    "robot_ip": ("", "Address of the robot, as for moveit.launch.py."),
    "load_gripper": ("true", "Whether the Franka Hand is mounted, as for moveit.launch.py."),
    "ee_id": ("franka_hand", "End effector, as for moveit.launch.py."),
    "use_fake_hardware": ("false", "As for moveit.launch.py."),
}


def generate_launch_description() -> LaunchDescription:
    """Return servo_node with the descriptions of the arm."""
    description, moveit = (
        Path(get_package_share_directory(package)) for package in ("franka_description", "franka_fr3_moveit_config")
    )
    bringup = Path(get_package_share_directory("franka_bringup"))
    given = {name: LaunchConfiguration(name) for name in ARGUMENTS}
    urdf = _expanded(
        bringup / "urdf" / "franka_arm.urdf.xacro",
        {
            "hand": given["load_gripper"],
            "robot_type": "fr3",
            "robot_ip": given["robot_ip"],
            "ee_id": given["ee_id"],
            "use_fake_hardware": given["use_fake_hardware"],
        },
    )
    srdf = _expanded(
        description / "robots" / "fr3" / "fr3.srdf.xacro", {"hand": given["load_gripper"], "ee_id": given["ee_id"]}
    )
    servo = Node(
        package="moveit_servo",
        executable="servo_node",
        name="servo_node",
        output="screen",
        parameters=[
            {"robot_description": urdf, "robot_description_semantic": srdf},
            {"robot_description_kinematics": yaml.safe_load((moveit / "config" / "kinematics.yaml").read_text())},
            {"robot_description_planning": yaml.safe_load((moveit / "config" / "fr3_joint_limits.yaml").read_text())},
            str(Path(__file__).with_name("franka_fr3.yaml")),
        ],
    )
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=meaning)
        for name, (default, meaning) in ARGUMENTS.items()
    ]
    return LaunchDescription([*declared, servo])


def _expanded(path: Path, mappings: dict[str, object]) -> ParameterValue:
    """Return the output of xacro for a file, as a text."""
    words: list[object] = [FindExecutable(name="xacro"), " ", str(path)]
    for name, value in mappings.items():
        words += [f" {name}:=", value]
    return ParameterValue(Command(words), value_type=str)
