"""Publishes the URDF that a robot file names, and its frames from joint_states, as robot_state_publisher does.

It runs only where the robot file has the key `urdf`, because the drivers of most robots publish their own. No other
node listens to it, and the robot goes on without it.
"""

from __future__ import annotations

from rclpy.node import Node
from sensor_msgs.msg import JointState

from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.processes import end_process
from fosp_core.robot.config import read_robot
from fosp_core.robot.urdf import read_urdf
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import run_node
from fosp_core.ros.parameters import declare
from fosp_core.ros.robot_description import RobotDescription
from fosp_core.ros.robot_parameter import ROBOT, path_parameter
from fosp_core.ros.stamps import nanoseconds

PARAMETERS = (ROBOT,)


class RobotDescriptionNode(Node):
    """Publishes robot_description and TF of the robot whose file the parameter `robot` names.

    Raise UserError when that file names no URDF, or one that cannot be read.
    """

    def __init__(self) -> None:
        super().__init__("robot_description_node")
        declare(self, PARAMETERS)
        path = path_parameter(self, "robot")
        robot = read_robot(path)
        if not robot.urdf:
            raise UserError(f"{path}: no urdf is named, so there is nothing to publish")
        self._description = RobotDescription(self, read_urdf(robot.urdf, path.parent))
        joints = robot.state_topic if robot.state_type == "JointState" else topics.JOINT_STATES
        self.create_subscription(JointState, joints, self._on_joints, qos.SENSOR)

    def _on_joints(self, message: JointState) -> None:
        positions = dict(zip(message.name, message.position, strict=False))
        self._description.show(positions, nanoseconds(message.header.stamp))


def main() -> None:
    end_process(run_node(RobotDescriptionNode))


if __name__ == "__main__":
    main()
