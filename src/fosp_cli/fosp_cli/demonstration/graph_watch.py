"""A client that watches topics of the running graph: rate, age and publishers of each, and the cameras' health."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import Joy

from fosp_cli.demonstration.preflight import Brightness, Observed
from fosp_cli.graph_client import GraphClient
from fosp_core import topics
from fosp_core.errors import UserError
from fosp_core.image import ExposureSettling
from fosp_core.ros import qos
from fosp_core.ros.image_message import rgb_view
from fosp_core.ros.lifecycle import events_executor
from fosp_msgs.msg import StepFeedback
from fosp_recording.episode_recorder import has_header, stamp_of
from fosp_recording.recorded_topics import message_class

RATE_WINDOW_S = 2.0
CAMERA_STATUS = ": camera"
"""Suffix of the diagnostics of a camera; their name begins with the camera's node."""


class CameraHealth:
    """Health of several cameras, kept for each, so that a healthy camera does not hide a broken one."""

    def __init__(self) -> None:
        self._dropped: dict[str, int] = {}
        self._trouble: dict[str, str] = {}

    def report(self, camera: str, dropped: int, trouble: str) -> None:
        """Take a camera's report: the frames lost since it came up, and what is wrong with it now, or nothing."""
        self._dropped[camera], self._trouble[camera] = dropped, trouble

    @property
    def dropped(self) -> int:
        """Number of frames lost by all cameras."""
        return sum(self._dropped.values())

    @property
    def trouble(self) -> str:
        """One line that names each camera in trouble; empty when all are well."""
        return "; ".join(f"{camera}: {said}" for camera, said in sorted(self._trouble.items()) if said)


class GraphWatch(GraphClient):
    """Watches the topics of `wanted` (relative name -> type), the feedback and the diagnostics."""

    def __init__(self, wanted: dict[str, str], namespace: str = "") -> None:
        super().__init__("demonstration", namespace, make_executor=events_executor)
        self._ages: dict[str, list[float]] = {topic: [] for topic in wanted}
        self._receipts: dict[str, deque[float]] = {topic: deque() for topic in wanted}
        self._bytes: Counter[str] = Counter()
        self.newest: dict[str, bytes] = {}
        """The newest message of each watched topic, serialised."""
        self.feedback: StepFeedback | None = None
        self.episode_since_s = 0.0
        self.cameras = CameraHealth()
        for topic, message_type in wanted.items():
            self._watch(topic, message_type)
        self.node.create_subscription(StepFeedback, topics.FEEDBACK, self._on_feedback, qos.STEP)
        self.node.create_subscription(DiagnosticArray, topics.DIAGNOSTICS, self._on_diagnostics, qos.STEP)
        self._joy: Any = None

    @contextlib.contextmanager
    def watching(self, wanted: Mapping[str, str]) -> Iterator[None]:
        """Watch these topics (name -> type) as well for a while. Images are too many bytes to be watched for long."""
        subscriptions = []
        for topic, message_type in wanted.items():
            self._ages[topic], self._receipts[topic] = [], deque()
            subscriptions.append(self._watch(topic, message_type))
        try:
            yield
        finally:
            for subscription in subscriptions:
                self.node.destroy_subscription(subscription)

    def observe(self, seconds: float) -> dict[str, Observed]:
        """Return the messages of each topic during the next `seconds`."""
        for ages in self._ages.values():
            ages.clear()
        self._bytes.clear()
        begin = time.monotonic()
        self.spin(seconds)
        elapsed_s = time.monotonic() - begin
        return {
            topic: Observed(elapsed_s, self.node.count_publishers(topic), list(ages), self._bytes[topic])
            for topic, ages in self._ages.items()
        }

    def rate_hz(self, topic: str) -> float:
        """Return the rate of a topic over the last RATE_WINDOW_S, Hz."""
        receipts, oldest = self._receipts[topic], time.monotonic() - RATE_WINDOW_S
        while receipts and receipts[0] < oldest:
            receipts.popleft()
        return len(receipts) / RATE_WINDOW_S

    def settle_exposure(self, images: Mapping[str, str], timeout_s: float) -> dict[str, Brightness]:
        """Watch the colour images (topic -> type) until all exposures have settled, at most `timeout_s`."""
        settling = {topic: ExposureSettling() for topic in images}
        seen = {topic: Brightness() for topic in images}

        def receive(topic: str, message: Any) -> None:
            now = seen[topic]
            now.frames += 1
            try:
                settling[topic].add(rgb_view(message))
                now.settled, now.unreadable = settling[topic].settled, ""
            except UserError as error:
                now.settled, now.unreadable = False, str(error)

        subscriptions = [
            self.node.create_subscription(message_class(kind), topic, partial(receive, topic), qos.IMAGE)
            for topic, kind in images.items()
        ]
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and not all(one.settled for one in seen.values()):
            self.spin(0.1)
        for subscription in subscriptions:
            self.node.destroy_subscription(subscription)
        return seen

    def press(self, axes: list[float], buttons: list[int]) -> None:
        """Publish the state of this terminal's keyboard on `joy`."""
        if self._joy is None:
            self._joy = self.node.create_publisher(Joy, "joy", qos.STEP)
        message = Joy(axes=axes, buttons=buttons)
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._joy.publish(message)

    def _watch(self, topic: str, message_type: str) -> Any:
        stamped, ages, receipts = has_header(message_type), self._ages[topic], self._receipts[topic]

        def receive(data: bytes) -> None:
            now_ns = self.node.get_clock().now().nanoseconds
            age_s = (now_ns - stamp_of(data, message_type, now_ns)) * 1e-9 if stamped else math.nan
            ages.append(age_s)
            self.newest[topic] = data
            self._bytes[topic] += len(data)
            receipts.append(time.monotonic())

        profile = qos.RECORD_BEST_EFFORT
        return self.node.create_subscription(message_class(message_type), topic, receive, profile, raw=True)

    def _on_feedback(self, message: StepFeedback) -> None:
        if message.is_first:
            self.episode_since_s = time.monotonic()
        self.feedback = message

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            name, is_camera, _ = status.name.partition(CAMERA_STATUS)
            if is_camera:
                lost = {value.key: value.value for value in status.values}.get("dropped", "")
                trouble = status.message if status.level != DiagnosticStatus.OK else ""
                self.cameras.report(name, int(lost) if lost.isdecimal() else 0, trouble)
