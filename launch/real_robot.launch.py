"""The graph on a robot whose driver runs: ros2 launch fosp_bringup real_robot.launch.py robot:=FILE model:=BUNDLE"""

from fosp_bringup.launch_description import launch_description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "robot": ("", "Name in config/robots, or a path."),
            "model": ("", "Model bundle."),
            "camera": ("none", "none (a driver publishes already), file (replays camera_path), or realsense."),
            "camera_path": ("", "For camera:=file: a bag, or a folder of images."),
            "simulator": ("none", "none: the robot is a real one."),
        }
    )
