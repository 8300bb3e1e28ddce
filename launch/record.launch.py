"""A person records demonstrations: ros2 launch fosp_bringup record.launch.py robot:=NAME feedback:=RULES record:=DIR

With scenario:=NAME simulator:=mujoco the robot is a simulated one. The device's own node (joy_node, spacenav_node) is
not started here. `fosp record` does the same, checks the graph before the first motion, and shows rates and losses.
"""

from fosp_bringup.launch_description import launch_description
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "record": ("runs/demonstrations", "Folder that gets one bag per episode."),
            "robot": ("", "Arm or base: a name in config/robots, or a path; empty: that of the scenario."),
            "teleop": (
                "gamepad",
                "Device that drives: gamepad, spacemouse, or a path like config/teleop/gamepad.yaml.",
            ),
            "feedback": ("", "Rules of reward, cost and success: a name in config/feedback, or a path."),
            "camera": ("none", "none (a driver publishes already), realsense, opencv, or file."),
            "camera_path": ("", "For camera:=file: a bag, a folder of images, or a RealSense recording."),
            "simulator": ("none", "none (a real robot), or mujoco."),
            "scenario": ("", "Of the simulation: a name in config/scenarios, or a path."),
            "black_box": ("none", "Folder for the 30 s before every stop; none: a person stops often."),
            "auto_reset": ("false", "Of the simulation: begin episodes by itself, not by the operator's button."),
        }
    )
