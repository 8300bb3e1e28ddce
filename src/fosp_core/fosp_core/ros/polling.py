"""Subscriptions that are polled: of a robot that publishes at 1 kHz a node handles what its next command can use.

The middleware keeps the newest messages and drops older ones in a thread of its own, without Python. No executor waits
for them, so a message costs nothing until it is taken. Its receipt is that of the middleware, not that of the poll.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.exceptions import InvalidHandle
from rclpy.qos import HistoryPolicy, QoSProfile


def keeping(profile: QoSProfile, depth: int) -> QoSProfile:
    """Return `profile` with a history of the last `depth` messages."""
    return QoSProfile(
        reliability=profile.reliability, durability=profile.durability, history=HistoryPolicy.KEEP_LAST, depth=depth
    )


def receipt_s(received_ns: int, now_ns: int, monotonic_s: float) -> float:
    """Return the receipt of a message on the monotonic clock, s; `received_ns` and `now_ns` are of the system's clock.

    A middleware that tells no receipt says 0, and a clock that was set back gives one of the future: then it is now.
    """
    age_s = (now_ns - received_ns) * 1e-9 if received_ns > 0 else 0.0
    return monotonic_s - max(0.0, age_s)


class PolledSubscription:
    """Reads what has come since the last poll: `read` is called with each serialised message and its receipt, s.

    The receipt is on the monotonic clock. Any thread may poll; `read` runs in the thread that does, one poll at a time.
    """

    def __init__(self, subscription: Any, read: Callable[[bytes, float], None]) -> None:
        self._subscription, self._read = subscription, read
        self._reading = threading.Lock()

    def poll(self) -> None:
        """Read all that has come, the oldest first; raise what `read` raises.

        It does not wait for a thread that is reading: what that one reads is the newest.
        """
        if not self._reading.acquire(blocking=False):
            return
        try:
            for data, received_s in self._taken():
                self._read(data, received_s)
        finally:
            self._reading.release()

    def forget(self) -> None:
        """Drop what has come."""
        with self._reading:
            self._taken()

    def _taken(self) -> list[tuple[bytes, float]]:
        taken: list[tuple[bytes, float]] = []
        subscription = self._subscription
        try:
            with subscription.handle:
                while len(taken) < subscription.qos_profile.depth:
                    message = subscription.handle.take_message(subscription.msg_type, True)
                    if message is None:
                        break
                    received_ns = int(message[1].get("received_timestamp") or 0)
                    taken.append((message[0], receipt_s(received_ns, time.time_ns(), time.monotonic())))
        except InvalidHandle:  # destroyed meanwhile
            return []
        return taken
