"""Fetches, on the robot, bundles that a learner on another machine offers, over topics alone, and announces them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.node import Node

from fosp_core import topics
from fosp_core.bundle.transfer import PAUSE_S, IncomingBundle, Offer, received
from fosp_core.errors import UserError
from fosp_core.processes import end_process
from fosp_core.robot.config import read_robot
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import run_node
from fosp_core.ros.parameters import NodeParameter, declare
from fosp_core.ros.robot_parameter import ROBOT, path_parameter
from fosp_core.ros.stamps import nanoseconds
from fosp_msgs.msg import BundleChunk, BundleOffer, BundleRequest, ModelAnnouncement

POLL_PERIOD_S = 0.02


PARAMETERS = (NodeParameter("folder", "", "Folder where bundles are kept."), ROBOT)


class BundleReceiver(Node):
    """Fetches the newest bundle on offer into `folder`/ID.

    Parameters: `folder` (where bundles are kept), `robot` (robot configuration file, whose keys decide which signatures
    count). A transfer that was interrupted goes on with the files that are whole; one that gets no answer goes on when
    the learner is there again.
    """

    def __init__(self) -> None:
        super().__init__("bundle_receiver")
        declare(self, PARAMETERS)
        self._folder = path_parameter(self, "folder")
        self._robot = read_robot(path_parameter(self, "robot"))
        self._incoming: IncomingBundle | None = None
        self._stamp_ns = -1
        self._requests = self.create_publisher(BundleRequest, topics.BUNDLE_REQUEST, qos.TRANSFER)
        self._announcements = self.create_publisher(ModelAnnouncement, topics.MODEL_ANNOUNCEMENT, qos.LATCHED)
        self.create_subscription(BundleOffer, topics.BUNDLE_OFFER, self._on_offer, qos.MODEL_STATUSES)
        self.create_subscription(BundleChunk, topics.BUNDLE_CHUNK, self._on_chunk, qos.TRANSFER)
        self.create_timer(POLL_PERIOD_S, self._poll)

    def _on_offer(self, message: BundleOffer) -> None:
        stamp_ns = nanoseconds(message.stamp)
        if stamp_ns <= self._stamp_ns:
            if stamp_ns < self._stamp_ns:
                self.get_logger().warning(
                    f"the offer of bundle {message.model_id[:12]} is older than one before it by "
                    f"{1e-9 * (self._stamp_ns - stamp_ns):.1f} s, and not fetched; was the learner's clock set back?"
                )
            return
        self._stamp_ns = stamp_ns
        offer = Offer(
            message.model_id,
            bytes(message.manifest),
            dict(zip(message.files, message.sizes, strict=False)),
            stamp_ns,
            message.parent_id,
        )
        self._incoming = None
        path = received(self._folder, offer.model_id)
        if path is not None:
            self._announce(offer, str(path.absolute()))
            return

        def begin() -> None:
            self._incoming = IncomingBundle(offer, self._folder, self._robot)

        self._guarded(begin)

    def _on_chunk(self, message: BundleChunk) -> None:
        incoming = self._incoming
        if incoming is not None and message.model_id == incoming.offer.model_id:
            self._guarded(lambda: incoming.receive(message.file, message.offset, bytes(message.data), message.crc32))

    def _poll(self) -> None:
        incoming = self._incoming
        if incoming is None:
            return

        def go_on() -> None:
            told, asked = incoming.silent, incoming.requests(time.monotonic())
            if incoming.silent and not told:
                name = incoming.offer.model_id[:12]
                self.get_logger().warning(f"bundle {name}: no answer; it is asked for again every {PAUSE_S:g} s")
            for request in asked:
                self._requests.publish(
                    BundleRequest(
                        model_id=incoming.offer.model_id,
                        file=request.file,
                        offset=request.offset,
                        length=request.length,
                    )
                )
            path = incoming.finish()
            if path is not None:
                self._incoming = None
                self._announce(incoming.offer, str(path.absolute()))

        self._guarded(go_on)

    def _announce(self, offer: Offer, path: str) -> None:
        """Announce a bundle, stamped by the clock of this machine: the learner may have another."""
        self.get_logger().info(f"bundle {offer.model_id[:12]} is here: {path}")
        stamp = self.get_clock().now().to_msg()
        self._announcements.publish(
            ModelAnnouncement(model_id=offer.model_id, parent_id=offer.parent_id, path=path, stamp=stamp)
        )

    def _guarded(self, action: Callable[[], Any]) -> None:
        """Run `action`; give up a transfer that cannot succeed, with one line in the log."""
        try:
            action()
        except UserError as error:
            self._incoming = None
            self.get_logger().error(str(error))


def main() -> None:
    end_process(run_node(BundleReceiver))


if __name__ == "__main__":
    main()
