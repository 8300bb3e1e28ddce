"""What policy and safety monitor do for a hot swap: load what is announced, report, and answer each latent's own model.

The encoder leads (fosp_core.swap.sequence); its node is not a follower but uses `announcement`, `candidate_loader` and
`MODEL_STATUSES` as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from rclpy.node import Node
from rclpy.publisher import Publisher

from fosp_core import topics
from fosp_core.bundle.bundle import Bundle
from fosp_core.bundle.loader import BundleLoader
from fosp_core.errors import UserError
from fosp_core.ros import qos
from fosp_core.ros.model_parameters import load_bundle_of, publish_status
from fosp_core.ros.stamps import nanoseconds
from fosp_core.specs import RobotConfig
from fosp_core.swap.sequence import Announcement, ModelRegistry, require_same_interface
from fosp_msgs.msg import ModelAnnouncement, ModelStatus

POLL_PERIOD_S = 0.05
LEADER = "encoder_node"

Model = TypeVar("Model")


class ModelFollower(Generic[Model]):
    """The models that a node can answer with. `make` turns a bundle into the node's model; it may raise UserError.

    `close` ends it. A bundle that the encoder runs already, but that was announced before this node's time, is loaded
    as well: a node that was started anew catches up.
    """

    def __init__(
        self, node: Node, robot: RobotConfig, bundle: Bundle, status: Publisher, make: Callable[[Bundle], Model]
    ) -> None:
        self._node, self._status, self._make = node, status, make
        self._models = ModelRegistry(bundle.manifest.id, make(bundle))
        self._loader = candidate_loader(node, robot, bundle)
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
        """Of the model that answered last."""
        return self._models.active_id

    def models(self) -> tuple[Model, ...]:
        """All that are loaded."""
        return tuple(self._models.values())

    def of(self, model_id: str) -> Model | None:
        """The model that a message of `model_id` is to be answered with; None when it is not loaded."""
        model = self.find(model_id)
        self.tell()
        return model

    def find(self, model_id: str) -> Model | None:
        """As `of`, for a caller under a lock that others wait for: a change is told of by the next `tell`."""
        model = self._models.get(model_id)
        if model is not None and self._models.activate(model_id):
            self._untold = model_id
        return model

    def tell(self) -> None:
        """Log and publish that another model answers now, if that was not told yet."""
        model_id, self._untold = self._untold, ""
        if model_id:
            self._node.get_logger().info(f"answering with model {model_id[:12]} from now on")
            publish_status(self._node, self._status, model_id, ModelStatus.STATE_ACTIVE)

    def close(self) -> None:
        self._loader.close()
        self._node.destroy_timer(self._timer)
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def _on_announcement(self, message: ModelAnnouncement) -> None:
        self._offer(announcement(message))

    def _on_status(self, message: ModelStatus) -> None:
        """Of the encoder, in our namespace: what it decides with must be known here."""
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
    """The announcement as the pure modules know it."""
    return Announcement(message.model_id, Path(message.path), nanoseconds(message.stamp), message.parent_id)


def candidate_loader(node: Node, robot: RobotConfig, running: Bundle) -> BundleLoader:
    """Loads with the parameters of the node, in a thread, what can take the place of `running`."""

    def load(offered: Announcement) -> Bundle:
        bundle = load_bundle_of(node, offered.path, robot)
        require_same_interface(bundle.manifest, running.manifest)
        return bundle

    return BundleLoader(load)


def resolved_node(node: Node, name: str) -> str:
    """Fully qualified name of a node beside `node`."""
    return f"{node.get_namespace().rstrip('/')}/{name}"
