"""Record demonstrations of a person: ros2 launch fosp_bringup record.launch.py robot:=NAME feedback:=RULES record:=DIR

With hazards:=true a person shows what is dangerous in slow approaches (docs/show_hazards.md).
With scenario:=NAME simulator:=mujoco the robot is a simulated one. Start the node of the device (joy_node,
spacenav_node) yourself. `fosp record` does the same, checks the graph before the first motion, and shows message rates.
"""

from fosp_bringup.launch_description import launch_description
from fosp_bringup.stack_options import NOTHING
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    return launch_description(
        {
            "record": ("runs/demonstrations", "Folder that gets one bag per episode."),
            "robot": (NOTHING, "Robot: a name in config/robots, or a path; none for the scenario's robot."),
            "teleop": (
                "gamepad",
                "Device that drives: gamepad, spacemouse, or the path of a file like config/teleop/gamepad.yaml.",
            ),
            "feedback": (NOTHING, "Rules of reward, cost and success: a name in config/feedback, or a path."),
            "camera": ("none", "Camera: none (its driver runs already), realsense, opencv, or file."),
            "camera_path": (NOTHING, "With camera:=file: a bag, a folder of images, or a RealSense recording."),
            "camera_loop": ("false", "With camera:=file: begin the recording again at its end."),
            "simulator": ("none", "Simulator: none for a real robot, or mujoco."),
            "scenario": (NOTHING, "Scenario of the simulation: a name in config/scenarios, or a path."),
            "black_box": ("none", "Folder that keeps the 30 s before every stop; none, because a person stops often."),
            "hazards": (
                "false",
                "Show hazards: the robot is slow, each approach ends where a violation begins, and the bags say so.",
            ),
            "scene": (NOTHING, "Kind of scenes, in your words, that is noted in each bag."),
            "auto_reset": (
                "false",
                "The simulation begins episodes by itself, not when the operator presses the button.",
            ),
        }
    )
