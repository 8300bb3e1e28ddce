"""The followers' part in a hot swap: policy and safety monitor load announced models, and answer by each latent's own.

The encoder node leads (fosp_core.swap.sequence). It uses `announcement` and `candidate_loader` as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from rclpy.node import Node
from rclpy.publisher import Publisher

from fosp_core import topics
from fosp_core.bundle.agreement import require_agreement
from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.loader import BundleLoader
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.model_parameters import load_bundle_of, publish_status
from fosp_core.ros.stamps import nanoseconds
from fosp_core.swap.sequence import Announcement, ModelRegistry, require_same_interface
from fosp_msgs.msg import ModelAnnouncement, ModelStatus

POLL_PERIOD_S = 0.05
LEADER = "encoder_node"

Model = TypeVar("Model")


class ModelFollower(Generic[Model]):
    """The models that a node can answer with; `make` turns a bundle into the node's model, and may raise UserError.

    A node that was restarted catches up: it also loads the bundle that the encoder runs by now. `close` ends it.
    """

    def __init__(
        self,
        node: Node,
        robot: RobotConfig,
        bundle: Bundle,
        status: Publisher,
        make: Callable[[Bundle], Model],
        judges: bool = False,
    ) -> None:
        """Hold `bundle`, the one of the start. With `judges` a candidate's critic must agree with that of `bundle`."""
        self._node, self._status, self._make = node, status, make
        self._models = ModelRegistry(bundle.manifest.id, make(bundle))
        self._loader = candidate_loader(node, robot, bundle, judges)
        self._newest: Announcement | None = None
        self._untold = ""
        create = node.create_subscription
        self._subscriptions = [
            create(ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, self._on_announcement, qos.MODEL_STATUSES),
            create(ModelStatus, topics.MODEL_STATUS, self._on_status, qos.MODEL_STATUSES),
        ]
        self._timer = node.create_timer(POLL_PERIOD_S, self._poll)

    @property
    def active_id(self) -> str:
        """Id of the model that answered last."""
        return self._models.active_id

    def models(self) -> tuple[Model, ...]:
        """Return all loaded models."""
        return tuple(self._models.values())

    def of(self, model_id: str) -> Model | None:
        """Return the model that answers a message of `model_id`, or None when it is not loaded."""
        model = self.find(model_id)
        self.tell()
        return model

    def find(self, model_id: str) -> Model | None:
        """Return the same as `of`, but leave the report of a change to the next `tell`: for callers with a lock."""
        model = self._models.get(model_id)
        if model is not None and self._models.activate(model_id):
            self._untold = model_id
        return model

    def tell(self) -> None:
        """Log and publish that another model answers now, if that was not reported yet."""
        model_id, self._untold = self._untold, ""
        if model_id:
            self._node.get_logger().info(f"model {model_id[:12]} answers from now on")
            publish_status(self._node, self._status, model_id, ModelStatus.STATE_ACTIVE)

    def close(self) -> None:
        self._loader.close()
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_announcement(self, message: ModelAnnouncement) -> None:
        self._offer(announcement(message))

    def _on_status(self, message: ModelStatus) -> None:
        """Load the model that the encoder of this namespace decides with, if it is not loaded yet."""
        leads = message.state in (ModelStatus.STATE_ACTIVE, ModelStatus.STATE_TRIAL) and message.path
        if not leads or message.node != resolved_node(self._node, LEADER) or message.model_id in self._models:
            return
        now_ns = self._node.get_clock().now().nanoseconds
        self._loader.offer(Announcement(message.model_id, Path(message.path), now_ns))

    def _offer(self, offered: Announcement) -> None:
        if not offered.supersedes(self._newest):
            return
        self._newest = offered
        if offered.model_id in self._models:
            active = offered.model_id == self.active_id
            state = ModelStatus.STATE_ACTIVE if active else ModelStatus.STATE_READY
            publish_status(self._node, self._status, offered.model_id, state)
        else:
            self._loader.offer(offered)

    def _poll(self) -> None:
        for loaded in self._loader.take():
            model_id, refusal = loaded.announcement.model_id, loaded.refusal
            if loaded.bundle is not None:
                try:
                    self._models.add_candidate(model_id, self._make(loaded.bundle))
                except UserError as error:
                    refusal = str(error)
            state = ModelStatus.STATE_REFUSED if refusal else ModelStatus.STATE_READY
            publish_status(self._node, self._status, model_id, state, refusal)
            if refusal:
                self._node.get_logger().warning(f"model {model_id[:12]} refused: {refusal}")


def announcement(message: ModelAnnouncement) -> Announcement:
    """Return the announcement as the modules without ROS know it."""
    return Announcement(message.model_id, Path(message.path), nanoseconds(message.stamp), message.parent_id)


def candidate_loader(node: Node, robot: RobotConfig, running: Bundle, judges: bool = False) -> BundleLoader:
    """Return a loader, with the parameters of the node, of bundles that can take the place of `running`.

    With `judges` it refuses those whose judge does not agree with that of `running` on its probes. Without, it keeps
    nothing of `running` but the manifest: networks and probes take megabytes.
    """
    manifest, judge = running.manifest, running if judges else None

    def load(offered: Announcement) -> Bundle:
        bundle = load_bundle_of(node, offered.path, robot)
        require_same_interface(bundle.manifest, manifest)
        if judge is not None:
            require_agreement(judge, bundle, judge.probes)
        return bundle

    return BundleLoader(load)


def resolved_node(node: Node, name: str) -> str:
    """Return the fully qualified name of the node `name` in the namespace of `node`."""
    return f"{node.get_namespace().rstrip('/')}/{name}"
