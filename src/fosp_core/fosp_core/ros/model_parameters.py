"""Parameters that every node with a model has - `bundle`, `robot`, `provider` - and what it says about its model."""

from __future__ import annotations

import array
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.publisher import Publisher

from fosp_core import topics
from fosp_core.bundle.bundle import Bundle, load_bundle
from fosp_core.errors import UserError
from fosp_core.ros import qos
from fosp_core.specs import RobotConfig, read_robot
from fosp_msgs.msg import ModelStatus

_PROVIDERS = ("auto", "cuda", "cpu")


def declare_model_parameters(node: Node) -> None:
    """`bundle`: model bundle folder; `robot`: robot configuration file; `provider`: auto, cuda or cpu."""
    node.declare_parameter("bundle", "")
    node.declare_parameter("robot", "")
    node.declare_parameter("provider", "auto")


def load_model(node: Node) -> tuple[RobotConfig, Bundle]:
    """Robot configuration and verified, warmed-up bundle that the parameters name; UserError when one is at fault."""
    robot = read_robot(path_parameter(node, "robot"))
    bundle = load_bundle_of(node, path_parameter(node, "bundle"), robot)
    manifest = bundle.manifest
    node.get_logger().info(f"model {manifest.id[:12]} ({manifest.task}, {manifest.size}) on {bundle.provider}")
    return robot, bundle


def load_bundle_of(node: Node, directory: Path, robot: RobotConfig) -> Bundle:
    """Load a bundle on the provider that the parameters of the node name; UserError as load_bundle."""
    provider = str(node.get_parameter("provider").value)
    if provider not in _PROVIDERS:
        raise UserError(f"parameter 'provider' must be one of {', '.join(_PROVIDERS)}, got '{provider}'")
    return load_bundle(directory, robot, provider)  # type: ignore[arg-type]


def path_parameter(node: Node, name: str) -> Path:
    """A path that must be given; UserError when the parameter is empty."""
    value = str(node.get_parameter(name).value)
    if not value:
        raise UserError(f"parameter '{name}' of {node.get_fully_qualified_name()} is not set: it must be a path")
    return Path(value).expanduser()


def create_status_publisher(node: Node) -> Publisher:
    """Publisher of `publish_status`, transient local."""
    return node.create_publisher(ModelStatus, topics.MODEL_STATUS, qos.LATCHED)


def publish_status(
    node: Node, publisher: Publisher, model_id: str, state: int, detail: str = "", path: Path | None = None
) -> None:
    """Tell which model this node runs or holds; `state` is a ModelStatus constant."""
    name = node.get_fully_qualified_name()
    publisher.publish(ModelStatus(state=state, node=name, model_id=model_id, path=str(path or ""), detail=detail))


def float_field(values: NDArray[Any]) -> array.array[float]:
    """A float32[] message field: an array of 0.6 us, where rclpy takes 39 us over an ndarray."""
    return array.array("f", np.ascontiguousarray(values, np.float32).tobytes())
