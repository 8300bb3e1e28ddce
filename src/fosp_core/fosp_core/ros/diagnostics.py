"""Names on /diagnostics, which all robots of a ROS domain share (REP-107): they tell the namespace of a node."""

from __future__ import annotations

from typing import Any


def status_name(node: Any, what: str) -> str:
    """Return the name of the status `what` of a node, such as 'left/safety_monitor_node: safety monitor'."""
    return f"{node.get_fully_qualified_name().lstrip('/')}: {what}"


def hardware_id(node: Any, robot: str) -> str:
    """Return the identity of a robot by the name in its file, and by the namespace, which tells equal robots apart."""
    namespace = str(node.get_namespace()).strip("/")
    return f"{namespace}/{robot}" if namespace else robot
