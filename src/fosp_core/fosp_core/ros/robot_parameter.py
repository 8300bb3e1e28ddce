"""The parameter `robot` of every node that has one, and parameters that are paths."""

from __future__ import annotations

from pathlib import Path

from rclpy.node import Node

from fosp_core.errors import UserError
from fosp_core.ros.parameters import NodeParameter

ROBOT = NodeParameter("robot", "", "File of the robot's configuration.")


def path_parameter(node: Node, name: str) -> Path:
    """Return the path in the parameter `name`; raise UserError when it is empty."""
    value = str(node.get_parameter(name).value)
    if not value:
        raise UserError(f"parameter '{name}' of {node.get_fully_qualified_name()} is not set: it must be a path")
    return Path(value).expanduser()
