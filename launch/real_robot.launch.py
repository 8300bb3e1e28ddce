"""The graph on a real robot: ros2 launch fosp_bringup real_robot.launch.py robot:=NAME model:=DIR camera:=realsense"""

from fosp_bringup.launch_description import launch_description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "robot": ("", "Always needed. Arm or base: a name in config/robots, or a path."),
            "model": ("", "Always needed. Model bundle: a folder."),
            "camera": (
                "none",
                "none (a driver publishes already), realsense or opencv (the robot file lists them), or file.",
            ),
            "camera_path": ("", "For camera:=file: a bag, a folder of images, or a RealSense recording."),
            "feedback": ("", "Rules of reward, cost and success: a name in config/feedback, or a path; empty: none."),
            "learner": ("", "Fine-tuning on: the folder of its run, new or gone on with; empty: off."),
            "learner_config": ("", "YAML with settings of the fine-tuning that differ from the defaults."),
            "offline": ("", "Folders of the bags that the bundle was trained on, separated by ':'."),
            "exploring": ("false", "The policy draws its actions; policy_node/exploring changes it at any time."),
            "simulator": ("none", "none: the robot is a real one."),
        }
    )
