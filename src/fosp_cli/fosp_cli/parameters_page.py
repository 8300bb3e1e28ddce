"""Writes docs/parameters.md from the tables by which the nodes declare their parameters.

python -m fosp_cli.parameters_page > docs/parameters.md
"""

from __future__ import annotations

import importlib
import sys

from fosp_core.ros.parameters import OF_ROS, NodeParameter

NODES = {
    "safety_monitor_node": "fosp_safety_monitor.node_parameters",
    "operator_guard_node": "fosp_safety_monitor.operator_guard_node",
    "encoder_node": "fosp_perception.encoder_node",
    "camera_node": "fosp_perception.camera_node",
    "robot_description_node": "fosp_perception.robot_description_node",
    "policy_node": "fosp_policy.policy_node",
    "teleop_node": "fosp_policy.teleop_node",
    "feedback_node": "fosp_recording.feedback_node",
    "recorder_node": "fosp_recording.recorder_node",
    "black_box_node": "fosp_recording.black_box_node",
    "learner_node": "fosp_learner.learner_node",
    "bundle_receiver": "fosp_learner.bundle_receiver",
    "console_node": "fosp_console.console_node",
    "lifecycle_manager": "fosp_bringup.lifecycle_manager",
    "sim_node": "fosp_sim.sim_node",
    "gazebo_node": "fosp_sim.gazebo_node",
    "gazebo_server": "fosp_sim.gazebo_server",
    "gazebo_bridge": "fosp_sim.gazebo_bridge",
}
"""The module with the table of each node, PARAMETERS, by the name of the executable."""
_HEAD = f"""# Parameters

<!-- Written by `python -m fosp_cli.parameters_page > docs/parameters.md`; edit the tables PARAMETERS of the nodes. -->

Every node declares its parameters in one table, with type, default, bounds and meaning, and `ros2 param describe` shows
the same. The tests hold these tables against the running nodes. A name that is not in its table, or a value that is not
allowed, ends a node at its start with one line and exit code 2. "Start" means read-only: a running node refuses to
change it, whatever its state. So a round through the lifecycle changes neither the robot nor the bundle of the monitor.

Besides these, rclpy declares {" and ".join(f"`{name}`" for name in OF_ROS)} in every node.
`use_sim_time` can only be changed while a managed node is inactive, and in the other nodes not at all.
"""


def table_of(node: str) -> tuple[NodeParameter, ...]:
    """Return the parameters of the node with this executable; KeyError for an unknown one."""
    table: tuple[NodeParameter, ...] = importlib.import_module(NODES[node]).PARAMETERS
    return table


def parameters_page() -> str:
    """Return the whole page, Markdown."""
    return _HEAD + "".join(f"\n## {node}\n\n{_rows(table_of(node))}" for node in NODES)


def _rows(table: tuple[NodeParameter, ...]) -> str:
    head = "| parameter | default | allowed | may be set | meaning |\n|---|---|---|---|---|\n"
    return head + "".join(
        f"| `{row.name}` | {_default(row)} | {row.allowed} | "
        f"{row.changes.replace('at the start only', 'start')} | {row.meaning} |\n"
        for row in table
    )


def _default(row: NodeParameter) -> str:
    if isinstance(row.default, bool):
        return str(row.default).lower()
    if isinstance(row.default, tuple):
        return ", ".join(f"`{text}`" for text in row.default) or "none"
    return f"`{row.default}`" if row.default != "" else "empty"


if __name__ == "__main__":
    sys.stdout.write(parameters_page())
