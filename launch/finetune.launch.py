"""Start a graph that learns while it runs: ros2 launch fosp_bringup finetune.launch.py learner:=runs/finetune/NAME ...

In simulation add simulator:=mujoco scenario:=NAME. On a robot whose driver runs add robot:=NAME model:=BUNDLE.
"""

from fosp_bringup.launch_description import TAKE_OVER, launch_description
from fosp_bringup.stack_options import NOTHING
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "robot": (NOTHING, "Robot: a name in config/robots, or a path; none for the scenario's robot."),
            "model": (
                NOTHING,
                "Folder of a model bundle with training weights; none for the one shipped for the scenario's task.",
            ),
            "simulator": ("none", "Simulator: mujoco, or none for a real robot."),
            "scenario": (NOTHING, "With simulator:=mujoco: a name in config/scenarios, or a path."),
            "camera": (
                "none",
                "Camera: none (its driver runs already), realsense, opencv, or file (plays camera_path).",
            ),
            "camera_path": (NOTHING, "With camera:=file: a bag, a folder of images, or a RealSense recording."),
            "camera_loop": ("false", "With camera:=file: begin the recording again at its end."),
            "feedback": (
                NOTHING,
                "On a real robot: rules of reward, cost and success, a name in config/feedback, or a path.",
            ),
            "learner": ("runs/finetune/online", "Folder of the fine-tuning run, new or to be continued."),
            "learner_config": (NOTHING, "YAML file with the settings of fine-tuning that differ from the defaults."),
            "offline": (NOTHING, "Folders of the bags that the bundle was trained on, separated by ':'."),
            "exploring": (
                "true",
                "The policy samples its actions; the parameter policy_node/exploring changes it.",
            ),
            "scene": (NOTHING, "Kind of scenes, in your words: the threshold is corrected for each kind by itself."),
            **TAKE_OVER,
        }
    )
