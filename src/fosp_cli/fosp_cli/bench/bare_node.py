"""A node that answers each proposal at once with a zero command, which `fosp bench` compares the safety monitor with.

Nothing checks its commands: never run it next to a robot.
"""

from __future__ import annotations

import sys
from pathlib import Path

from geometry_msgs.msg import TwistStamped
from rclpy.node import Node

from fosp_core import topics
from fosp_core.processes import MONITOR_PRIORITY, end_process
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import run_node
from fosp_msgs.msg import ActionProposal


class BareNode(Node):  # type: ignore[misc]
    """Receives proposals as the safety monitor does, and commands zero."""

    def __init__(self, command_topic: str) -> None:
        super().__init__("bare_node")
        self._commands = self.create_publisher(TwistStamped, command_topic, qos.COMMAND)
        self.create_subscription(ActionProposal, topics.PROPOSAL, self._answer, qos.STEP)

    def _answer(self, message: ActionProposal) -> None:
        command = TwistStamped()
        command.header.stamp = self.get_clock().now().to_msg()
        self._commands.publish(command)


def main(robot_file: Path) -> None:
    topic = read_robot(robot_file).command_topic
    end_process(run_node(lambda: BareNode(topic), [], priority=MONITOR_PRIORITY))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
