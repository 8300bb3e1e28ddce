"""Plays a bag as `ros2 bag play --clock 40` does: recorded stamps, /clock, at any speed, in loops, with a pause.

    python played_bag.py BAG SUBSCRIBER [rate=1] [loops=1] [pause_at=S] [pause_s=S]

It waits for the node SUBSCRIBER to listen to all topics. Time stands still during a pause, and /clock goes on.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import rclpy
from rosbags.rosbag2 import Reader
from rosgraph_msgs.msg import Clock

from fosp_core import topics
from fosp_core.ros import qos
from fosp_core.ros.stamps import time_message
from fosp_recording.recorded_topics import message_class

CLOCK_PERIOD_S = 0.025


class Player:
    """A bag and its publishers."""

    def __init__(self, node: Any, bag: Path) -> None:
        self._node = node
        with Reader(bag) as reader:
            self._messages = [(c.topic, when, bytes(data)) for c, when, data in reader.messages()]
            kinds = {c.topic: c.msgtype for c in reader.connections if c.msgcount}
        self._publishers = {
            topic: node.create_publisher(message_class(kind), topic, qos.REPLAY) for topic, kind in kinds.items()
        }
        self._clock = node.create_publisher(Clock, topics.CLOCK, qos.SENSOR)
        self._due_s = time.monotonic()

    def await_listener(self, name: str) -> None:
        """Wait for a node to listen to every topic; the clock stands still at the beginning meanwhile."""
        for topic in self._publishers:
            while name not in {i.node_name for i in self._node.get_subscriptions_info_by_topic(topic)}:
                self._wait(time.monotonic() + CLOCK_PERIOD_S, self._messages[0][1])
        self._wait(time.monotonic() + 0.5, self._messages[0][1])

    def play(self, rate: float, pause_at: float, pause_s: float) -> None:
        """Play once from the beginning to the end."""
        first_ns, begin, waited = self._messages[0][1], time.monotonic(), 0.0
        for topic, when, data in self._messages:
            moment = (when - first_ns) * 1e-9
            if pause_s and not waited and moment >= pause_at:
                waited = pause_s
                self._wait(time.monotonic() + pause_s, first_ns + int(pause_at * 1e9))
            due = begin + waited + moment / rate
            while (ahead := due - time.monotonic()) > 0.0:
                self._wait(time.monotonic() + min(ahead, CLOCK_PERIOD_S), when - int(ahead * rate * 1e9))
            self._publishers[topic].publish(data)

    def _wait(self, until_s: float, now_ns: int) -> None:
        """Wait, and tell the time whenever it is due."""
        while time.monotonic() < until_s:
            if time.monotonic() >= self._due_s:
                self._clock.publish(Clock(clock=time_message(now_ns)))
                self._due_s = time.monotonic() + CLOCK_PERIOD_S
            time.sleep(0.001)


def main() -> None:
    bag, listener, *rest = sys.argv[1:]
    settings = {key: float(value) for key, _, value in (word.partition("=") for word in rest)}
    rclpy.init()
    player = Player(rclpy.create_node("played_bag"), Path(bag))
    player.await_listener(listener)
    for _ in range(int(settings.get("loops", 1))):
        player.play(settings.get("rate", 1.0), settings.get("pause_at", 0.0), settings.get("pause_s", 0.0))
    time.sleep(0.5)


if __name__ == "__main__":
    main()
