"""A graph that learns while it runs: ros2 launch fosp_bringup finetune.launch.py learner:=runs/finetune/NAME ...

Simulated: simulator:=mujoco scenario:=NAME. On a robot whose driver runs: robot:=FILE model:=BUNDLE.
"""

from fosp_bringup.launch_description import launch_description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "robot": ("", "Name in config/robots, or a path; empty: the scenario's."),
            "model": ("", "Model bundle with training weights; empty: the one shipped for the scenario's task."),
            "simulator": ("none", "mujoco, or none: the robot is a real one."),
            "scenario": ("", "For simulator:=mujoco: name in config/scenarios, or a path."),
            "camera": ("none", "none (a driver publishes already), realsense, opencv, or file (replays camera_path)."),
            "camera_path": ("", "For camera:=file: a bag, or a folder of images."),
            "feedback": ("", "On a robot: rules of reward, cost and success, a name in config/feedback, or a path."),
            "learner": ("runs/finetune/online", "Folder of the run; one that is there already is gone on with."),
            "learner_config": ("", "YAML with settings that differ from the defaults."),
            "offline": ("", "Folders of the bags that the bundle was trained on, separated by ':'."),
            "exploring": ("true", "The policy draws its actions; policy_node/exploring changes it at any time."),
        }
    )
