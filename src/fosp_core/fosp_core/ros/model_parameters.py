"""Parameters of every node with a model (`bundle`, `robot`, `provider`), and the status of its model."""

from __future__ import annotations

from pathlib import Path

from rclpy.node import Node
from rclpy.publisher import Publisher

from fosp_core import topics
from fosp_core.bundle.bundle import Bundle, load_bundle
from fosp_core.robot.config import RobotConfig, read_robot
from fosp_core.ros import qos
from fosp_core.ros.parameters import NodeParameter
from fosp_core.ros.robot_parameter import ROBOT, path_parameter
from fosp_msgs.msg import ModelStatus

MODEL_PARAMETERS = (
    NodeParameter("bundle", "", "Folder of the model bundle."),
    ROBOT,
    NodeParameter("provider", "auto", "Device that runs the networks.", choices=("auto", "cuda", "cpu")),
)
"""The parameters of every node with a model."""


def load_model(node: Node) -> tuple[RobotConfig, Bundle]:
    """Return the robot and the verified, warmed-up bundle that the parameters name; raise UserError at a fault."""
    robot = read_robot(path_parameter(node, "robot"))
    bundle = load_bundle_of(node, path_parameter(node, "bundle"), robot)
    manifest = bundle.manifest
    node.get_logger().info(f"model {manifest.id[:12]} ({manifest.task}, {manifest.size}) on {bundle.provider}")
    return robot, bundle


def load_bundle_of(node: Node, directory: Path, robot: RobotConfig) -> Bundle:
    """Load a bundle on the provider that the parameters of the node name; raise UserError as load_bundle."""
    provider = str(node.get_parameter("provider").value)
    return load_bundle(directory, robot, provider)  # type: ignore[arg-type]


def create_status_publisher(node: Node) -> Publisher:
    """Create the publisher that `publish_status` uses; late subscribers get the newest status."""
    return node.create_publisher(ModelStatus, topics.MODEL_STATUS, qos.LATCHED)


def publish_status(
    node: Node, publisher: Publisher, model_id: str, state: int, detail: str = "", path: Path | None = None
) -> None:
    """Publish which model this node runs or holds; `state` is a constant of fosp_msgs/ModelStatus."""
    name = node.get_fully_qualified_name()
    publisher.publish(ModelStatus(state=state, node=name, model_id=model_id, path=str(path or ""), detail=detail))
