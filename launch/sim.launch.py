"""The graph on a simulated robot: ros2 launch fosp_bringup sim.launch.py [scenario:=safe_goal] [model:=BUNDLE] ..."""

from fosp_bringup.launch_description import launch_description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "scenario": ("safe_reach", "Name in config/scenarios, or a path."),
            "model": ("", "Model bundle; empty: the one shipped for the scenario's task."),
            "robot": ("", "Name in config/robots, or a path; empty: the scenario's."),
            "simulator": ("mujoco", "mujoco, or gazebo (Harmonic, with its own clock)."),
            "camera": ("simulated", "simulated."),
            "auto_reset": ("true", "Begin an episode at once, and the next one after the end of each."),
        }
    )
