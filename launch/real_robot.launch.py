"""Start the graph on a real robot: ros2 launch fosp_bringup real_robot.launch.py robot:=NAME model:=BUNDLE ..."""

from fosp_bringup.launch_description import REQUIRED, TAKE_OVER, launch_description
from fosp_bringup.stack_options import NOTHING
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "robot": (REQUIRED, "Robot: a name in config/robots, or a path."),
            "model": (REQUIRED, "Folder of a model bundle."),
            "camera": (
                "none",
                "Camera: none (its driver runs already), realsense or opencv (as the robot file lists it), or file.",
            ),
            "camera_path": (NOTHING, "With camera:=file: a bag, a folder of images, or a RealSense recording."),
            "camera_loop": ("false", "With camera:=file: begin the recording again at its end."),
            "feedback": (
                NOTHING,
                "Rules of reward, cost and success: a name in config/feedback, or a path; none for no rules.",
            ),
            "learner": (NOTHING, "Folder of a fine-tuning run, new or to be continued; none for no fine-tuning."),
            "learner_config": (NOTHING, "YAML file with the settings of fine-tuning that differ from the defaults."),
            "offline": (NOTHING, "Folders of the bags that the bundle was trained on, separated by ':'."),
            "exploring": (
                "false",
                "The policy samples its actions; the parameter policy_node/exploring changes it.",
            ),
            "simulator": ("none", "Simulator: none, because the robot is a real one."),
            **TAKE_OVER,
        }
    )
