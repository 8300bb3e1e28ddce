"""A client that looks at topics of the running graph: how often they come, how old they are, who publishes them."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import Joy

from fosp_bringup.graph_client import GraphClient
from fosp_bringup.preflight import Observed
from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.exposure import ExposureSettling
from fosp_core.ros import qos
from fosp_core.ros.image_message import rgb_view
from fosp_core.ros.lifecycle import events_executor
from fosp_learner.episode_recorder import has_header, stamp_of
from fosp_learner.recorder_node import message_class
from fosp_msgs.msg import StepFeedback

RATE_WINDOW_S = 2.0


class GraphWatch(GraphClient):
    """Topics are those of `wanted`: relative name -> type."""

    def __init__(self, wanted: dict[str, str], namespace: str = "") -> None:
        super().__init__("demonstration", namespace, make_executor=events_executor)
        self._ages: dict[str, list[float]] = {topic: [] for topic in wanted}
        self._receipts: dict[str, deque[float]] = {topic: deque() for topic in wanted}
        self._observed_since_s = time.monotonic()
        self.feedback: StepFeedback | None = None
        self.episode_since_s = 0.0
        self.dropped = 0
        self.camera_trouble = ""
        for topic, message_type in wanted.items():
            self._watch(topic, message_type)
        self.node.create_subscription(StepFeedback, topics.FEEDBACK, self._on_feedback, qos.STEP)
        self.node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.STEP)
        self._joy: Any = None

    # -- what was seen -------------------------------------------------------------------------------
    def observe(self, seconds: float) -> dict[str, Observed]:
        """What came on each topic during the next `seconds`."""
        for ages in self._ages.values():
            ages.clear()
        begin = time.monotonic()
        self.spin(seconds)
        elapsed_s = time.monotonic() - begin
        return {
            topic: Observed(elapsed_s, self.node.count_publishers(topic), list(ages))
            for topic, ages in self._ages.items()
        }

    def rate_hz(self, topic: str) -> float:
        """Over the last seconds."""
        receipts, oldest = self._receipts[topic], time.monotonic() - RATE_WINDOW_S
        while receipts and receipts[0] < oldest:
            receipts.popleft()
        return len(receipts) / RATE_WINDOW_S

    def settle_exposure(self, topics_of_images: Iterable[str], timeout_s: float) -> tuple[bool, int]:
        """Whether the images of every camera have one brightness by the end, and the bytes of one frame of each."""
        settling = {topic: ExposureSettling() for topic in topics_of_images}
        sizes: dict[str, int] = {}

        def receive(topic: str, message: Any) -> None:
            sizes[topic] = len(message.data)
            settling[topic].add(rgb_view(message))

        subscriptions = [
            self.node.create_subscription(
                message_class(_image_type(topic)), topic, lambda m, t=topic: receive(t, m), qos.IMAGE
            )
            for topic in settling
        ]
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and not all(s.settled for s in settling.values()):
            try:
                self.spin(0.1)
            except UserError:
                break
        for subscription in subscriptions:
            self.node.destroy_subscription(subscription)
        return all(s.settled for s in settling.values()), sum(sizes.values())

    def press(self, axes: list[float], buttons: list[int]) -> None:
        """Publish the state of a device of ours on `joy`."""
        if self._joy is None:
            self._joy = self.node.create_publisher(Joy, "joy", qos.STEP)
        message = Joy(axes=axes, buttons=buttons)
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._joy.publish(message)

    # -- messages ------------------------------------------------------------------------------------
    def _watch(self, topic: str, message_type: str) -> None:
        stamped = has_header(message_type)

        def receive(data: bytes) -> None:
            now_ns = self.node.get_clock().now().nanoseconds
            age_s = (now_ns - stamp_of(data, message_type, now_ns)) * 1e-9 if stamped else math.nan
            self._ages[topic].append(age_s)
            self._receipts[topic].append(time.monotonic())

        self.node.create_subscription(message_class(message_type), topic, receive, qos.RECORD_BEST_EFFORT, raw=True)

    def _on_feedback(self, message: StepFeedback) -> None:
        if message.is_first:
            self.episode_since_s = time.monotonic()
        self.feedback = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(": camera"):
                values = {value.key: value.value for value in status.values}
                self.dropped = int(values.get("dropped", "0"))
                self.camera_trouble = status.message if status.level != b"\x00" else ""


def _image_type(topic: str) -> str:
    return f"sensor_msgs/msg/{'CompressedImage' if topic.endswith('/compressed') else 'Image'}"
