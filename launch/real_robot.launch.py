"""Start the graph on a real robot: ros2 launch fosp_bringup real_robot.launch.py robot:=NAME model:=BUNDLE ..."""

from fosp_bringup.launch_description import launch_description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "robot": ("", "Robot, required: a name in config/robots, or a path."),
            "model": ("", "Folder of a model bundle, required."),
            "camera": (
                "none",
                "Camera: none (its driver runs already), realsense or opencv (as the robot file lists it), or file.",
            ),
            "camera_path": ("", "With camera:=file: a bag, a folder of images, or a RealSense recording."),
            "feedback": (
                "",
                "Rules of reward, cost and success: a name in config/feedback, or a path; empty for none.",
            ),
            "learner": ("", "Folder of a fine-tuning run, new or to be continued; empty for no fine-tuning."),
            "learner_config": ("", "YAML file with the settings of fine-tuning that differ from the defaults."),
            "offline": ("", "Folders of the bags that the bundle was trained on, separated by ':'."),
            "exploring": (
                "false",
                "The policy samples its actions; the parameter policy_node/exploring changes it.",
            ),
            "simulator": ("none", "Simulator: none, because the robot is a real one."),
        }
    )
