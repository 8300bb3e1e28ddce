"""The newest of a fast stream is read, with the time at which it came, and an old one never after it."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from fosp_core.ros import qos
from fosp_core.ros.polling import PolledSubscription, keeping, receipt_s


class Reader:
    """Messages that the middleware keeps for a subscription: the last `depth` messages."""

    def __init__(self, depth: int = 1) -> None:
        self.kept: deque[bytes] = deque(maxlen=depth)
        self.msg_type, self.qos_profile, self.handle = bytes, SimpleNamespace(depth=depth), self
        self.read: list[bytes] = []
        self.stream = PolledSubscription(self, lambda data, received_s: self.read.append(data))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass

    def take_message(self, kind: type, raw: bool) -> Any:
        return (self.kept.popleft(), {"received_timestamp": 0}) if self.kept else None


def test_of_a_burst_the_newest_is_read_once() -> None:
    reader = Reader()
    for number in range(10):
        reader.kept.append(bytes([number]))
    reader.stream.poll()
    reader.stream.poll()
    assert reader.read == [bytes([9])]


def test_the_last_messages_are_read_in_their_order_where_more_are_kept() -> None:
    reader = Reader(depth=3)
    for number in range(10):
        reader.kept.append(bytes([number]))
    reader.stream.poll()
    assert reader.read == [bytes([7]), bytes([8]), bytes([9])]


def test_what_came_before_the_start_is_not_read() -> None:
    reader = Reader()
    reader.kept.append(b"old")
    reader.stream.forget()
    reader.stream.poll()
    assert reader.read == []


def test_a_message_that_cannot_be_read_leaves_the_stream_alive() -> None:
    reader = Reader()
    read = reader.read

    def refuse(data: bytes, received_s: float) -> None:
        read.append(data)
        raise ValueError("malformed")

    stream = PolledSubscription(reader, refuse)
    for data in (b"1", b"2"):
        reader.kept.append(data)
        with pytest.raises(ValueError, match="malformed"):
            stream.poll()
    assert read == [b"1", b"2"]


def test_a_thread_does_not_wait_for_another_that_reads() -> None:
    reader, reading, go_on = Reader(), threading.Event(), threading.Event()

    def slowly(data: bytes, received_s: float) -> None:
        reading.set()
        assert go_on.wait(10.0)

    stream = PolledSubscription(reader, slowly)
    reader.kept.append(b"1")
    other = threading.Thread(target=stream.poll)
    other.start()
    assert reading.wait(10.0)
    reader.kept.append(b"2")
    stream.poll()
    assert len(reader.kept) == 1
    go_on.set()
    other.join()
    with contextlib.suppress(IndexError):
        assert reader.kept[0] == b"2"


def test_the_receipt_is_that_of_the_middleware() -> None:
    assert receipt_s(10_000_000_000, 10_004_000_000, 50.0) == pytest.approx(49.996)
    assert receipt_s(0, 10_004_000_000, 50.0) == 50.0, "a middleware that tells none"
    assert receipt_s(10_005_000_000, 10_004_000_000, 50.0) == 50.0, "the clock was set back"
    assert receipt_s(1, 10_004_000_000, 50.0) < 45.0, "an old message is never taken for a new one"


def test_only_the_depth_of_a_profile_changes() -> None:
    profile: QoSProfile = keeping(qos.SENSOR, 3)
    assert (profile.depth, profile.reliability) == (3, ReliabilityPolicy.BEST_EFFORT)
    assert profile.durability == DurabilityPolicy.VOLATILE
