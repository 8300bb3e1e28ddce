"""Start a graph that learns while it runs: ros2 launch fosp_bringup finetune.launch.py learner:=runs/finetune/NAME ...

In simulation add simulator:=mujoco scenario:=NAME. On a robot whose driver runs add robot:=NAME model:=BUNDLE.
"""

from fosp_bringup.launch_description import launch_description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "robot": ("", "Robot: a name in config/robots, or a path; empty for the scenario's robot."),
            "model": (
                "",
                "Folder of a model bundle with training weights; empty for the one shipped for the scenario's task.",
            ),
            "simulator": ("none", "Simulator: mujoco, or none for a real robot."),
            "scenario": ("", "With simulator:=mujoco: a name in config/scenarios, or a path."),
            "camera": (
                "none",
                "Camera: none (its driver runs already), realsense, opencv, or file (plays camera_path).",
            ),
            "camera_path": ("", "With camera:=file: a bag, a folder of images, or a RealSense recording."),
            "feedback": (
                "",
                "On a real robot: rules of reward, cost and success, a name in config/feedback, or a path.",
            ),
            "learner": ("runs/finetune/online", "Folder of the fine-tuning run, new or to be continued."),
            "learner_config": ("", "YAML file with the settings of fine-tuning that differ from the defaults."),
            "offline": ("", "Folders of the bags that the bundle was trained on, separated by ':'."),
            "exploring": (
                "true",
                "The policy samples its actions; the parameter policy_node/exploring changes it.",
            ),
        }
    )
