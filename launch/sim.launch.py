"""Start the graph on a simulated robot: ros2 launch fosp_bringup sim.launch.py [scenario:=NAME] [model:=BUNDLE]"""

from fosp_bringup.launch_description import TAKE_OVER, launch_description
from fosp_bringup.stack_options import NOTHING
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "scenario": ("safe_reach", "Scenario: a name in config/scenarios, or a path."),
            "model": (NOTHING, "Folder of a model bundle; none for the one shipped for the scenario's task."),
            "robot": (NOTHING, "Robot: a name in config/robots, or a path; none for the scenario's robot."),
            "simulator": ("mujoco", "Simulator: mujoco, or gazebo (Harmonic, with its own clock)."),
            "gui": ("false", "With simulator:=gazebo: show the window of Gazebo."),
            "camera": ("simulated", "Camera: simulated."),
            "auto_reset": ("true", "Begin an episode at once, and the next one when it ends."),
            **TAKE_OVER,
        }
    )
