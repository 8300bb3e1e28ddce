"""The sensors of the protective zones: their messages are read in a thread of their own, so that no command waits.

The executor only puts the newest serialised message of each source aside. A source that is slow, silent or malformed
has the zones stop the robot; it cannot stop this node.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2, Range

from fosp_core.clock import Received
from fosp_core.errors import UserError
from fosp_core.robot.config import RobotConfig
from fosp_core.ros import qos
from fosp_core.ros.lifecycle import ManagedNode
from fosp_core.ros.stamps import seconds
from fosp_safety_monitor.judge.inputs import Judge
from fosp_safety_monitor.zones.decoding import SourceDecoder
from fosp_safety_monitor.zones.field import ProtectiveField, SourceView

MESSAGE_TYPES = {"LaserScan": LaserScan, "PointCloud2": PointCloud2, "Depth": Image, "Range": Range}
"""Message type of each type of source."""
_WAIT_S = 0.5


class ZoneSide:
    """Subscriptions of one robot's zone sensors, from configuration to clean-up; none for a robot without zones.

    `judge` returns the judge of the moment; `heard` is called with the name of each source that sent something.
    """

    def __init__(
        self,
        node: ManagedNode,
        robot: RobotConfig,
        judge: Callable[[], Judge],
        heard: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._node, self._judge, self._heard = node, judge, heard
        self._field = ProtectiveField(robot)
        self._decoders = {source.name: SourceDecoder(source) for source in robot.sources}
        self._waiting: dict[str, tuple[bytes, float]] = {}
        self._wake = threading.Condition()
        self._closing = False
        self._subscriptions: list[Any] = []
        for source in robot.sources:
            profile = qos.IMAGE if source.type in ("Depth", "PointCloud2") else qos.SENSOR
            receive = partial(self._receive, source.name)
            kind = MESSAGE_TYPES[source.type]
            self._subscriptions.append(node.create_gated_subscription(kind, source.topic, receive, profile, raw=True))
            if source.info_topic:
                take = partial(self._take_info, source.name)
                self._subscriptions.append(node.create_subscription(CameraInfo, source.info_topic, take, qos.SENSOR))
        self._thread = threading.Thread(target=self._read_all, name="zones", daemon=True)
        if robot.sources:
            self._thread.start()

    def close(self) -> None:
        """Release the subscriptions and end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        if self._thread.is_alive():
            self._thread.join()

    # -- executor thread -----------------------------------------------------------------------------
    def _receive(self, name: str, data: bytes) -> None:
        self._heard(f"source {name}")
        with self._wake:
            self._waiting[name] = data, time.monotonic()
            self._wake.notify()

    def _take_info(self, name: str, message: CameraInfo) -> None:
        """Take in a camera_info; without a sound one every image of its camera is a fault, and the node goes on."""
        try:
            self._decoders[name].take_info(message)
        except UserError as error:
            topic = self._decoders[name].config.info_topic
            self._node.get_logger().error(f"{topic}: {error}", throttle_duration_sec=1.0)

    # -- the thread of the zones ---------------------------------------------------------------------
    def _read_all(self) -> None:
        while True:
            with self._wake:
                while not self._waiting and not self._closing:
                    self._wake.wait(_WAIT_S)
                if self._closing:
                    return
                waiting, self._waiting = self._waiting, {}
            for name, (data, receipt_s) in waiting.items():
                self._tell(name, self.read(name, data, receipt_s))

    def read(self, name: str, data: bytes, receipt_s: float) -> SourceView:
        """Return what a serialised message of source `name`, received at `receipt_s`, says to the zones."""
        decoder, stamp_s = self._decoders[name], math.nan
        try:
            message = deserialize_message(data, MESSAGE_TYPES[decoder.config.type])
            stamp_s = seconds(message.header.stamp)
            received = Received(stamp_s, receipt_s)
            return self._field.view(name, decoder.read(message), received, self._judge().robot_state.tool)
        except UserError as error:
            fault = str(error)
        except Exception as error:  # whatever a sensor sends, the thread goes on, and the robot stops
            fault = f"cannot be read: {type(error).__name__}: {error}"
        self._node.get_logger().error(f"{decoder.config.topic} {fault}", throttle_duration_sec=1.0)
        return SourceView(Received(stamp_s, receipt_s), fault)

    def _tell(self, name: str, view: SourceView) -> None:
        if self._node.is_active:
            self._judge().receive_zone_view(name, view)
