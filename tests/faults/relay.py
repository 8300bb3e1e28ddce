"""A relay between the nodes of the graph: passes every message on as it came, or as the fault of the moment wants it.

The nodes publish under other names (`INSIDE` + topic); what the relay hears there it publishes under the real name. It
works on serialised messages and looks inside only while a fault needs it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from rclpy.node import Node
from rclpy.serialization import deserialize_message

from fosp_core.ros import qos

INSIDE = "inside/"

Tamper = Callable[[Any], Iterable[Any]]
"""One message in, those that are passed on in its place out."""


class Relay:
    """The streams of one graph; `tamper` with a topic until `mend`."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._tampers: dict[str, Tamper] = {}
        self._publishers: dict[str, Any] = {}
        self._timers: list[threading.Timer] = []

    def pass_on(self, kind: Any, topic: str, profile: Any = qos.STEP, inwards: bool = False) -> None:
        """Relay `topic` from now on; `inwards`: from the graph to the node that hears it under its other name."""
        inside = INSIDE + topic.lstrip("/")
        heard_on, told_on = (topic, inside) if inwards else (inside, topic)
        publisher = self._node.create_publisher(kind, told_on, profile)
        self._publishers[topic] = publisher

        def heard(data: bytes) -> None:
            tamper = self._tampers.get(topic)
            if tamper is None:
                publisher.publish(data)
                return
            for message in tamper(deserialize_message(data, kind)):
                publisher.publish(message)

        self._node.create_subscription(kind, heard_on, heard, profile, raw=True)

    def tamper(self, topic: str, change: Tamper) -> None:
        """Pass messages of `topic` on as `change` gives them."""
        self._tampers[topic] = change

    def later(self, topic: str, delay_s: float) -> None:
        """Hold every message of `topic` back for `delay_s`."""

        def change(message: Any) -> Iterable[Any]:
            timer = threading.Timer(delay_s, self._publishers[topic].publish, (message,))
            timer.daemon = True
            self._timers = [t for t in self._timers if t.is_alive()] + [timer]
            timer.start()
            return ()

        self._tampers[topic] = change

    def publish(self, topic: str, message: Any) -> None:
        """Say something of our own on a relayed topic."""
        self._publishers[topic].publish(message)

    def mend(self) -> None:
        """Pass everything on as it comes; what is held back is lost."""
        self._tampers.clear()
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def nothing(message: Any) -> Iterable[Any]:
    """Drop it."""
    return ()


def twice(message: Any) -> Iterable[Any]:
    """Duplicate it."""
    return message, message


def every_second() -> Tamper:
    """Drop every second one."""
    count = 0

    def change(message: Any) -> Iterable[Any]:
        nonlocal count
        count += 1
        return (message,) if count % 2 else ()

    return change


def reversed_by(count: int) -> Tamper:
    """So many at a time, the newest of them first."""
    kept: list[Any] = []

    def change(message: Any) -> Iterable[Any]:
        kept.append(message)
        if len(kept) < count:
            return ()
        newest_first = kept[::-1]
        kept.clear()
        return newest_first

    return change


def in_bursts(count: int) -> Tamper:
    """So many at a time, in their order."""
    kept: list[Any] = []

    def change(message: Any) -> Iterable[Any]:
        kept.append(message)
        if len(kept) < count:
            return ()
        burst = kept[:]
        kept.clear()
        return burst

    return change


def changed(change: Callable[[Any], None]) -> Tamper:
    """Each one with a change made in place."""

    def tamper(message: Any) -> Iterable[Any]:
        change(message)
        return (message,)

    return tamper


def stamped(offset_s: float | None) -> Tamper:
    """With a stamp that is off by `offset_s`; None: a zero stamp."""

    def change(message: Any) -> None:
        stamp = message.header.stamp
        if offset_s is None:
            stamp.sec = stamp.nanosec = 0
            return
        ns = stamp.sec * 1_000_000_000 + stamp.nanosec + round(offset_s * 1e9)
        stamp.sec, stamp.nanosec = divmod(max(ns, 0), 1_000_000_000)

    return changed(change)


def wall_s() -> float:
    """The clock of the stamps."""
    return time.time()
